/* photographer.h - takes a snapshot of a troupe that runs: what its nodes' cameras are told, and in which order.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     ASK all for their colours; n is above the highest
 *     ARM all for n: from now on whatever gives a node colour n, a frame of another node too, makes its cut
 *     when all are armed: COLOUR each
 *     each reports its part; the snapshot is complete when all have
 *
 * When one refuses, or is gone, the snapshot fails, and the others are told to DROP it: a part that is begun is still
 * waited for, so that nobody writes any more when it is over. A node that is alone is only armed.
 *
 * Pure: answers come in as events, requests come out; who drives it talks to the nodes, as messages or as connections.
 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_PHOTOGRAPHER_H
#define TROUPE_RUNTIME_SNAPSHOT_PHOTOGRAPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum troupe__photographer_request {
    TROUPE__PHOTO_ASK,    /* for the node's colour */
    TROUPE__PHOTO_ARM,    /* the camera, for `colour` */
    TROUPE__PHOTO_COLOUR, /* give the node `colour` */
    TROUPE__PHOTO_DROP,   /* disarm the camera */
};

/* What the photographer knows of one node. */
struct troupe__subject {
    enum troupe__photographer_request stage; /* what it was told last, or is to be told now */
    bool told, answered;                     /* it was told; it has answered */
    bool armed;                              /* it will report a part, or why there is none */
    bool finished;                           /* it has reported, has refused, or is gone */
};

struct troupe__photographer {
    struct troupe__subject *subjects;
    size_t count;
    bool alone, failed;
    uint64_t colour; /* the snapshot's; while they are asked the highest so far */
};

/* `subjects` has one for each node, stays the caller's, and outlives the photographer. */
void troupe__photographer_begin(struct troupe__photographer *photographer, struct troupe__subject *subjects,
                                size_t count, bool alone);

/* The next request that is to be sent now. Returns false when there is none before something is answered. */
bool troupe__photographer_next(struct troupe__photographer *photographer, size_t *ret_node,
                               enum troupe__photographer_request *ret_what);

/* A node has answered what it was told last: done (`colour` of the answer to ASK), or refused. */
void troupe__photographer_answered(struct troupe__photographer *photographer, size_t node, bool done, uint64_t colour);

/* A node that was armed has reported: its part is written, or will not be. */
void troupe__photographer_reported(struct troupe__photographer *photographer, size_t node, bool written);

/* A node cannot be talked to, or has been started anew. */
void troupe__photographer_gone(struct troupe__photographer *photographer, size_t node);

/* Nothing is to be sent and nothing is waited for: the snapshot is complete unless it has `failed`. */
bool troupe__photographer_over(const struct troupe__photographer *photographer);

#endif
