/* gate.h - who may connect: the keys that a socket lets in, asked by ZeroMQ at every CURVE handshake.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Behind all gates of a process stands one ZAP handler (rfc.zeromq.org/spec/27) on a thread of its own, since ZeroMQ
 * asks at one address. A gate must be open before its socket listens: without a handler ZeroMQ lets every key in. A
 * second check fails closed: a frame without a user that the gate admits is dropped by who receives it. Opening and
 * closing are thread-safe. */
#ifndef TROUPE_TRANSPORT_GATE_H
#define TROUPE_TRANSPORT_GATE_H

#include "transport/socket.h"

struct troupe__gate;

/* A key that may connect, and what its frames are then marked with. */
struct troupe__gate_entry {
    char public_key[41]; /* Z85 */
    char user[64];       /* of no other key */
};

/* A connection was refused. Called on the handler's thread, where no gate may be opened or closed; `address` is "" for
 * this machine, `why` says what is wrong with "it". */
typedef void (*troupe__gate_refused_fn)(void *context, const char *address, const char *why);

/* Open a gate for these keys, which are copied. Errors, with a text: TROUPE_EINVAL (a malformed key), TROUPE_ENOMEM,
 * TROUPE_EIO. */
enum troupe_error troupe__gate_open(const struct troupe__gate_entry *entries, size_t count,
                                    troupe__gate_refused_fn refused, void *context, struct troupe__gate **ret,
                                    char *error, size_t error_size);

/* What the socket that it keeps must name as its domain. */
const char *troupe__gate_domain(const struct troupe__gate *gate);

/* Report those too that break off at that socket before their key is known, because they have none; at 60 gates of a
 * process. Before it listens; once. Errors: TROUPE_EIO. */
enum troupe_error troupe__gate_watch(struct troupe__gate *gate, struct troupe__socket *socket);

/* Let in these from now on, and nobody else. Errors, with a text and nothing changed: TROUPE_EINVAL (a malformed key),
 * TROUPE_ENOMEM. */
enum troupe_error troupe__gate_change(struct troupe__gate *gate, const struct troupe__gate_entry *entries, size_t count,
                                      char *error, size_t error_size);

/* Whether who came in as `user` (NULL: never authenticated) would still be let in: a connection outlives a change. On
 * the thread that makes the changes. */
bool troupe__gate_admits(const struct troupe__gate *gate, const char *user);

/* After the socket that it keeps. NULL is fine. */
void troupe__gate_close(struct troupe__gate *gate);

#endif
