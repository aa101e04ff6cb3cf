/* client.c - how a command talks to a node that runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "runtime/cli/monotonic.h"
#include "runtime/node/endpoint.h"

bool troupe__node_runs(const char *data)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool held = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

long troupe__node_process(const char *data)
{
    char path[PATH_MAX];
    long pid = 0;
    snprintf(path, sizeof path, "%s/lock", data);
    FILE *file = troupe__node_runs(data) ? fopen(path, "r") : NULL;
    if (file) {
        pid = fscanf(file, "%ld", &pid) == 1 ? pid : 0;
        fclose(file);
    }
    return pid;
}

enum troupe_error troupe__client_find(const char *data, char endpoint[static TROUPE__ENDPOINT_SIZE],
                                      char key[static TROUPE__KEY_SIZE + 1], char *error, size_t error_size)
{
    char path[PATH_MAX], line[TROUPE__ENDPOINT_SIZE + 8];
    if (!troupe__node_runs(data)) {
        snprintf(error, error_size,
                 "no node runs on the directory %.300s: start one with troupe run, or say --connect ENDPOINT", data);
        return TROUPE_ENOTFOUND;
    }
    snprintf(path, sizeof path, "%s/" TROUPE__ENDPOINT_FILE, data);
    FILE *file = fopen(path, "r");
    bool found = false;
    key[0] = '\0';
    while (file && fgets(line, sizeof line, file) && strchr(line, '\n')) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, TROUPE__ENDPOINT_KEY, strlen(TROUPE__ENDPOINT_KEY)) == 0) {
            snprintf(key, TROUPE__KEY_SIZE + 1, "%.40s", line + strlen(TROUPE__ENDPOINT_KEY));
        } else if (!found) {
            found = true;
            snprintf(endpoint, TROUPE__ENDPOINT_SIZE, "%.255s", line);
        }
    }
    if (file) {
        fclose(file);
    }
    if (!found) {
        snprintf(
            error, error_size,
            "what runs on the directory %.300s does not listen: wait, if it is a command at work there; else start "
            "the node with --listen",
            data);
        return TROUPE_ENOTFOUND;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__client_connect(struct troupe__client *client, const char *endpoint,
                                         const struct troupe__client_keys *keys)
{
    *client = (struct troupe__client){0};
    struct troupe__socket_keys socket_keys;
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER, .queue_max = TROUPE__CREDIT_MAX + 64};
    if (keys) {
        socket_keys = (struct troupe__socket_keys){
            .public_key = keys->own->public_key, .secret_key = keys->own->secret_key, .server_key = keys->server};
        options.keys = &socket_keys;
        client->keyed = true;
    }
    snprintf(client->endpoint, sizeof client->endpoint, "%s", endpoint);
    enum troupe_error result = troupe__socket_open(&options, &client->socket, client->error, sizeof client->error);
    if (result == TROUPE_OK) {
        result = troupe__socket_connect(client->socket, client->endpoint, client->error, sizeof client->error);
    }
    if (result != TROUPE_OK) {
        troupe__client_close(client);
    }
    return result;
}

void troupe__client_close(struct troupe__client *client)
{
    troupe__socket_close(client->socket);
    client->socket = NULL;
    troupe__buffer_free(&client->out);
    troupe__buffer_free(&client->texts);
}

enum troupe_error troupe__client_send(struct troupe__client *client, struct troupe__request *request)
{
    request->number = ++client->number;
    client->out.size = 0;
    troupe__request_put(&client->out, request);
    struct troupe_bytes part = {client->out.data, client->out.size};
    enum troupe_error result = client->out.failed ? TROUPE_ENOMEM : troupe__socket_send(client->socket, &part, 1);
    if (result != TROUPE_OK) {
        snprintf(client->error, sizeof client->error, "send to %.250s: %s", client->endpoint,
                 troupe_error_text(result));
    }
    return result;
}

bool troupe__client_poll(struct troupe__client *client, struct troupe__reply *ret)
{
    return troupe__client_poll_from(client, client->number, ret);
}

bool troupe__client_poll_from(struct troupe__client *client, uint64_t first, struct troupe__reply *ret)
{
    struct troupe__frames frames;
    while (troupe__socket_receive(client->socket, &frames) == TROUPE_OK) {
        if (frames.count == 1 && troupe__reply_parse(frames.part[0], &client->texts, ret) == TROUPE_OK &&
            ret->number >= first && ret->number <= client->number) {
            return true;
        }
    }
    return false;
}

enum troupe_error troupe__client_say_silent(struct troupe__client *client, int64_t timeout_ms)
{
    snprintf(client->error, sizeof client->error, "no answer from %.250s within %.3g s%s", client->endpoint,
             (double)timeout_ms / 1000, client->keyed ? "; does its cluster file list the key?" : "");
    return TROUPE_ETIMEOUT;
}

enum troupe_error troupe__client_receive(struct troupe__client *client, int64_t timeout_ms, struct troupe__reply *ret)
{
    int64_t end_ms = troupe__monotonic_ms() + timeout_ms, left_ms;
    while ((left_ms = end_ms - troupe__monotonic_ms()) >= 0) {
        if (troupe__client_poll(client, ret)) {
            return TROUPE_OK;
        }
        troupe__socket_wait(client->socket, TROUPE__SOCKET_READABLE, (long)left_ms);
    }
    return troupe__client_say_silent(client, timeout_ms);
}
