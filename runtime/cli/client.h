/* client.h - how a command talks to a node that runs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One connection, one request after the other. Texts of errors are complete; nothing is printed here. */
#ifndef TROUPE_RUNTIME_CLI_CLIENT_H
#define TROUPE_RUNTIME_CLI_CLIENT_H

#include "transport/protocol.h"
#include "transport/socket.h"

struct troupe__client {
    struct troupe__socket *socket;
    struct troupe__buffer out, texts;
    uint64_t number; /* of the last request */
    char endpoint[TROUPE__ENDPOINT_SIZE];
    char error[512];
};

/* Whether a process has the node's directory open. */
bool troupe__node_runs(const char *data);

/* The process that has the node's directory open; 0 when there is none. */
long troupe__node_process(const char *data);

/* Connect to `connect`, or when that is NULL to the node that runs on the directory `data`. Errors, with a text:
 * TROUPE_EINVAL, TROUPE_ENOTFOUND (no node runs there, or it does not listen), TROUPE_EIO, TROUPE_ENOMEM. Nothing is
 * left to close then. */
enum troupe_error troupe__client_open(struct troupe__client *client, const char *connect, const char *data);
void troupe__client_close(struct troupe__client *client);

/* Send a request; its number is set. Errors: TROUPE_EFULL, TROUPE_EIO, TROUPE_ENOMEM, with a text. */
enum troupe_error troupe__client_send(struct troupe__client *client, struct troupe__request *request);

/* The next reply to the last request; valid until the next call. Errors: TROUPE_ETIMEOUT, with a text; what is no reply
 * is skipped. */
enum troupe_error troupe__client_receive(struct troupe__client *client, int64_t timeout_ms, struct troupe__reply *ret);

#endif
