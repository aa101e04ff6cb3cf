/* gate.h - who may connect: the keys that a socket lets in, asked by ZeroMQ at every CURVE handshake.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Behind all gates of a process stands one ZAP handler (rfc.zeromq.org/spec/27) on a thread of its own, since ZeroMQ
 * asks at one address. A gate must be open before its sockets listen: without a handler ZeroMQ lets every key in. A
 * second check fails closed: a frame without the user that the gate gave to its connection is dropped by who receives
 * it. Opening and closing are thread-safe. */
#ifndef TROUPE_TRANSPORT_GATE_H
#define TROUPE_TRANSPORT_GATE_H

#include "core/troupe.h"

struct troupe__gate;

/* A key that may connect, and what its frames are then marked with. */
struct troupe__gate_entry {
    char public_key[41]; /* Z85 */
    char user[64];
};

/* A connection was refused. Called on the handler's thread, where no gate may be opened or closed; `public_key` is Z85,
 * "?" when there was none. */
typedef void (*troupe__gate_refused_fn)(void *context, const char *address, const char *public_key);

/* Open a gate for these keys, which are copied. Errors, with a text: TROUPE_EINVAL (a malformed key), TROUPE_ENOMEM,
 * TROUPE_EIO. */
enum troupe_error troupe__gate_open(const struct troupe__gate_entry *entries, size_t count,
                                    troupe__gate_refused_fn refused, void *context, struct troupe__gate **ret,
                                    char *error, size_t error_size);

/* What the sockets that it keeps must name as their domain. */
const char *troupe__gate_domain(const struct troupe__gate *gate);

/* After the sockets that it keeps. NULL is fine. */
void troupe__gate_close(struct troupe__gate *gate);

#endif
