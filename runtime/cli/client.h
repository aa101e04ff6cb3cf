/* client.h - how a command talks to a node that runs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One connection, one request after the other. Texts of errors are complete; nothing is printed here. */
#ifndef TROUPE_RUNTIME_CLI_CLIENT_H
#define TROUPE_RUNTIME_CLI_CLIENT_H

#include "transport/keys.h"
#include "transport/protocol.h"
#include "transport/socket.h"

struct troupe__client {
    struct troupe__socket *socket;
    struct troupe__buffer out, texts;
    uint64_t number; /* of the last request */
    bool keyed;
    char endpoint[TROUPE__ENDPOINT_SIZE];
    char error[512];
};

/* Whether a process has the node's directory open. */
bool troupe__node_runs(const char *data);

/* The process that has the node's directory open; 0 when there is none. */
long troupe__node_process(const char *data);

/* Who a client is, and who it wants to talk to, where there are keys. */
struct troupe__client_keys {
    const struct troupe__key_pair *own;
    const char *server; /* the node's public key */
};

/* Where the node that runs on a directory listens, and its public key, "" when it has none. Errors, with a text:
 * TROUPE_ENOTFOUND (no node runs there, or it does not listen). */
enum troupe_error troupe__client_find(const char *data, char endpoint[static TROUPE__ENDPOINT_SIZE],
                                      char key[static TROUPE__KEY_SIZE + 1], char *error, size_t error_size);

/* Connect; `keys` NULL: nothing is encrypted. Errors, with a text: TROUPE_EINVAL, TROUPE_EIO, TROUPE_ENOMEM. Nothing is
 * left to close then. */
enum troupe_error troupe__client_connect(struct troupe__client *client, const char *endpoint,
                                         const struct troupe__client_keys *keys);

void troupe__client_close(struct troupe__client *client);

/* Send a request; its number is set. Errors: TROUPE_EFULL, TROUPE_EIO, TROUPE_ENOMEM, with a text. */
enum troupe_error troupe__client_send(struct troupe__client *client, struct troupe__request *request);

/* The next reply to the last request if it is there; valid until the next call. What is no reply is skipped. */
bool troupe__client_poll(struct troupe__client *client, struct troupe__reply *ret);

/* The same of any request since the one with the number `first`. */
bool troupe__client_poll_from(struct troupe__client *client, uint64_t first, struct troupe__reply *ret);

/* Write into client->error that no reply came within `timeout_ms`. Returns TROUPE_ETIMEOUT. */
enum troupe_error troupe__client_say_silent(struct troupe__client *client, int64_t timeout_ms);

/* Wait for it; valid until the next call. Errors: TROUPE_ETIMEOUT, with a text; what is no reply
 * is skipped. */
enum troupe_error troupe__client_receive(struct troupe__client *client, int64_t timeout_ms, struct troupe__reply *ret);

#endif
