/* remote.c - what the commands that look into nodes ask one that runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 15000 /* the node gives up an inspection after 5 s, and one may wait for others */ };

/* One request, one reply, which says that it was done. */
static enum troupe_error exchange(struct troupe__client *client, struct troupe__request *request, int64_t timeout_ms,
                                  struct troupe__reply *ret)
{
    enum troupe_error result = troupe__client_send(client, request);
    result = result == TROUPE_OK ? troupe__client_receive(client, timeout_ms, ret) : result;
    if (result == TROUPE_OK && !ret->ok) {
        snprintf(client->error, sizeof client->error, "%s", ret->text ? ret->text : "");
        result = ret->error;
    }
    return result;
}

/* Add the rows that a reply holds; they may end anywhere, so `rest` keeps what is not whole yet. */
static enum troupe_error receive_rows(struct troupe__client *client, struct troupe__buffer *rows, char *error,
                                      size_t error_size)
{
    struct troupe__reply reply;
    enum troupe_error result;
    while ((result = troupe__client_receive(client, TIMEOUT_MS, &reply)) == TROUPE_OK && reply.ok) {
        troupe__buffer_put(rows, reply.rows.data, reply.rows.size);
        if (!reply.more) {
            return rows->failed ? TROUPE_ENOMEM : TROUPE_OK;
        }
    }
    snprintf(error, error_size, "%.500s", result == TROUPE_OK ? reply.text ? reply.text : "" : client->error);
    return result == TROUPE_OK ? reply.error : result;
}

enum troupe_error troupe__remote_load(struct troupe__client *client, unsigned tables, struct troupe_bytes prefix,
                                      struct troupe__view *view)
{
    struct troupe__buffer rows = {0};
    struct troupe__request request = {.what = "rows", .tables = tables, .prefix = prefix};
    enum troupe_error result = troupe__view_of(view, NULL);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__client_send(client, &request);
    if (result == TROUPE_OK) {
        result = receive_rows(client, &rows, view->error, sizeof view->error);
    } else {
        snprintf(view->error, sizeof view->error, "%s", client->error);
    }
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        view->tables[t].wanted = tables >> t & 1;
    }
    result = result == TROUPE_OK ? troupe__view_add_record(view, (struct troupe_bytes){rows.data, rows.size}) : result;
    troupe__view_settle(view);
    troupe__buffer_free(&rows);
    if (result != TROUPE_OK) {
        troupe__view_close(view);
    }
    return result;
}

enum troupe_error troupe__remote_move_dead(struct troupe__client *client, uint64_t number, bool retry,
                                           uint64_t *ret_number)
{
    struct troupe__reply reply;
    struct troupe__request request = {.what = retry ? "dead.retry" : "dead.drop", .letter = number};
    enum troupe_error result = exchange(client, &request, TIMEOUT_MS, &reply);
    if (result == TROUPE_OK) {
        *ret_number = reply.sequence;
    }
    return result;
}

enum troupe_error troupe__remote_stats(struct troupe__client *client, unsigned tables, bool json, const char **ret)
{
    struct troupe__reply reply;
    struct troupe__request request = {.what = "stats", .tables = tables, .json = json};
    enum troupe_error result = exchange(client, &request, TIMEOUT_MS, &reply);
    if (result == TROUPE_OK) {
        *ret = reply.text ? reply.text : "";
    }
    return result;
}

bool troupe__remote_figure(const char *figures, const char *name, uint64_t *ret)
{
    size_t size = strlen(name);
    for (const char *at = figures; at && *at; at = strchr(at, '\n'), at += at != NULL) {
        if (strncmp(at, name, size) == 0 && at[size] == '\t') {
            *ret = strtoull(at + size + 1, NULL, 10);
            return true;
        }
    }
    return false;
}
