/* endpoint.h - where clients reach a node: the socket, the requests under way, the tails.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The protocol is docs/protocol.md. A request is answered by one reply, a tail by many. While the node has no room for
 * messages requests wait in the socket, and their clients' sockets fill; after a second of that sends and asks are
 * refused (TROUPE_EFULL) so that the rest gets through. A client that leaves its replies unread loses those beyond its
 * queue; a tail never sends more than its client gave credit for.
 * All of it is of the loop's thread. */
#ifndef TROUPE_RUNTIME_NODE_ENDPOINT_H
#define TROUPE_RUNTIME_NODE_ENDPOINT_H

#include <ev.h>

#include "core/troupe.h"

struct troupe__endpoint;

/* The file in a node's directory that names its endpoints, one a line, while it runs. A crash leaves it behind. */
#define TROUPE__ENDPOINT_FILE "endpoint"
/* With keys it has one more line: this and the node's public key. */
#define TROUPE__ENDPOINT_KEY "key "

/* Listen as the node's options say, and write the endpoints down. Errors, with a text: those of troupe__socket_listen;
 * TROUPE_EINVAL (not on this machine only), TROUPE_EIO, TROUPE_ENOMEM. `wake` makes the node's loop turn, from any
 * thread; its context is the node. */
enum troupe_error troupe__endpoint_open(struct troupe_node *node, void (*wake)(void *context),
                                        struct troupe__endpoint **ret, char *error, size_t error_size);

/* NULL is fine. Nobody may still wait for a callback of the node. */
void troupe__endpoint_close(struct troupe__endpoint *endpoint);

/* The place's cluster lists other keys now: let those in. Errors, with a text and nothing changed: those of gate.h. */
enum troupe_error troupe__endpoint_change_keys(struct troupe__endpoint *endpoint, char *error, size_t error_size);

void troupe__endpoint_start(struct troupe__endpoint *endpoint, struct ev_loop *loop);
void troupe__endpoint_stop(struct troupe__endpoint *endpoint, struct ev_loop *loop);

/* Take in requests that there is room for, send what tails wait for. Before the loop blocks; nothing may use the socket
 * between this and that. Returns whether there is more to do at once. */
bool troupe__endpoint_turn(struct troupe__endpoint *endpoint);

/* When to turn again even if nothing comes: monotonic milliseconds, INT64_MAX for never. */
int64_t troupe__endpoint_due_ms(const struct troupe__endpoint *endpoint);

struct troupe__endpoint_figures {
    uint64_t requests, refused, dropped; /* dropped: replies that their client had no room for, or was gone */
    size_t clients, under_way, tails;
};
struct troupe__endpoint_figures troupe__endpoint_figures(const struct troupe__endpoint *endpoint);

#endif
