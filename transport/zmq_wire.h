/* zmq_wire.h - the wire between the nodes of a troupe over ZeroMQ.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One socket takes in what all others send; one socket for each other node connects to it when there is first
 * something to send. A frame for a node that is not connected is dropped: the link sends it again.
 *
 * In an event loop: watch troupe__zmq_wire_fd for reading, and call troupe__zmq_wire_poll each time before the loop
 * would block. */
#ifndef TROUPE_TRANSPORT_ZMQ_WIRE_H
#define TROUPE_TRANSPORT_ZMQ_WIRE_H

#include "core/wire.h"
#include "transport/gate.h"
#include "transport/keys.h"

struct troupe__zmq_peer {
    const char *endpoint;
    const char *public_key; /* Z85; NULL or "": none */
};

struct troupe__zmq_wire_options {
    const struct troupe__zmq_peer *peers; /* of all nodes, this one among them; copied */
    uint16_t count, self;
    const struct troupe__key_pair *keys; /* NULL: no encryption, and no one is authenticated */
    size_t frame_size_max;               /* of what comes in: over it the connection ends */
    troupe__gate_refused_fn refused;     /* with keys: a connection was refused; called on another thread */
    void *context;
};

/* Listen at the own endpoint. Errors, with a text: those of socket.h and gate.h. */
enum troupe_error troupe__zmq_wire_open(const struct troupe__zmq_wire_options *options, struct troupe__wire **ret,
                                        char *error, size_t error_size);

/* The nodes have these keys from now on, one for each; only with keys. Whoever has come in with another one is not
 * heard any more; the own key stays what it was opened with. Errors, with a text and nothing changed: those of
 * troupe__gate_change. */
enum troupe_error troupe__zmq_wire_change_keys(struct troupe__wire *wire, const char *const *public_keys, char *error,
                                               size_t error_size);

int troupe__zmq_wire_fd(struct troupe__wire *wire);

/* Hand over at most `budget` frames that have come. Returns how many; with fewer than `budget` none is left. */
size_t troupe__zmq_wire_poll(struct troupe__wire *wire, size_t budget);

#endif
