/* wire.h - the seam between a node and the network: send a frame to a node, hand over a frame that came.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A wire promises nothing but that a frame it hands over was once given to some wire's `send`, whole: frames may be
 * lost, repeated, late, or in another order; links (core/link.h) live with all of that. It knows nodes by their number
 * in the cluster map and does not read frames.
 *
 * Threads: everything happens on the loop's thread; no call blocks. `on_frame` is called from within the wire's own
 * poll or event, never from within `send`. */
#ifndef TROUPE_CORE_WIRE_H
#define TROUPE_CORE_WIRE_H

#include "core/troupe.h"

enum { TROUPE__PEER_UNKNOWN = -1 };

/* A frame has come. `peer` is the node that the wire has authenticated as its sender, TROUPE__PEER_UNKNOWN when it does
 * not authenticate. The bytes are the wire's and valid until the call returns. */
typedef void (*troupe__frame_fn)(void *context, int peer, struct troupe_bytes frame);

struct troupe__wire {
    /* Send a frame to node `node`; the bytes are copied before the call returns. Errors: TROUPE_EFULL (no room in the
     * peer's queue, or it is not connected: the frame is dropped, which is no more than a loss). */
    enum troupe_error (*send)(struct troupe__wire *wire, uint16_t node, struct troupe_bytes frame);
    /* Free; no frame is handed over after it. What was sent may still arrive. */
    void (*close)(struct troupe__wire *wire);
    /* Set by the owner before the first frame can come. */
    troupe__frame_fn on_frame;
    void *context;
};

#endif
