/* remote.c - what the commands that look into a directory do when a node runs on it: they ask the node.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/remote.h"

#include <stdio.h>
#include <time.h>

enum { TIMEOUT_MS = 15000 /* the node gives up an inspection after 5 s, and one may wait for others */ };

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

enum troupe_error troupe__remote_load(const char *connect, const char *data, unsigned tables,
                                      struct troupe_bytes prefix, struct troupe__view *view)
{
    struct troupe__client client;
    struct troupe__buffer rows = {0};
    struct troupe__request request = {.what = "rows", .tables = tables, .prefix = prefix};
    enum troupe_error result = troupe__view_of(view, NULL);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__client_open(&client, connect, data);
    if (result != TROUPE_OK) {
        snprintf(view->error, sizeof view->error, "%s", client.error);
        troupe__view_close(view);
        return result;
    }
    result = troupe__client_send(&client, &request);
    if (result == TROUPE_OK) {
        result = receive_rows(&client, &rows, view->error, sizeof view->error);
    } else {
        snprintf(view->error, sizeof view->error, "%s", client.error);
    }
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        view->tables[t].wanted = tables >> t & 1;
    }
    result = result == TROUPE_OK ? troupe__view_add_record(view, (struct troupe_bytes){rows.data, rows.size}) : result;
    troupe__view_settle(view);
    troupe__buffer_free(&rows);
    troupe__client_close(&client);
    if (result != TROUPE_OK) {
        troupe__view_close(view);
    }
    return result;
}

enum troupe_error troupe__remote_move_dead(const char *connect, const char *data, uint64_t number, bool retry,
                                           uint64_t *ret_number, char *error, size_t error_size)
{
    struct troupe__client client;
    struct troupe__reply reply;
    struct troupe__request request = {.what = retry ? "dead.retry" : "dead.drop", .letter = number};
    enum troupe_error result = troupe__client_open(&client, connect, data);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", client.error);
        return result;
    }
    result = troupe__client_send(&client, &request);
    result = result == TROUPE_OK ? troupe__client_receive(&client, TIMEOUT_MS, &reply) : result;
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", client.error);
    } else if (!reply.ok) {
        snprintf(error, error_size, "%s", reply.text ? reply.text : "");
        result = reply.error;
    } else {
        *ret_number = reply.sequence;
    }
    troupe__client_close(&client);
    return result;
}

int troupe__remote_stats(const char *connect, const char *data, bool json, unsigned interval_s)
{
    struct troupe__client client;
    struct troupe__reply reply;
    struct troupe__request request = {.what = "stats", .json = json};
    enum troupe_error result = troupe__client_open(&client, connect, data);
    bool opened = result == TROUPE_OK, again = true;
    while (result == TROUPE_OK && again) {
        result = troupe__client_send(&client, &request);
        result = result == TROUPE_OK ? troupe__client_receive(&client, TIMEOUT_MS, &reply) : result;
        if (result == TROUPE_OK && !reply.ok) {
            snprintf(client.error, sizeof client.error, "%s", reply.text ? reply.text : "");
            result = reply.error;
        }
        if (result == TROUPE_OK) {
            again = fputs(reply.text ? reply.text : "", stdout) >= 0 && interval_s > 0;
            again = again && (json || putchar('\n') == '\n');
            again = fflush(stdout) == 0 && again && nanosleep(&(struct timespec){interval_s, 0}, NULL) == 0;
        }
    }
    if (result != TROUPE_OK) {
        fprintf(stderr, "troupe stats: %s (%s)\n", client.error, troupe_error_text(result));
    }
    if (opened) {
        troupe__client_close(&client);
    }
    return result == TROUPE_OK && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
