/* recent.h - the records that went out last, kept in memory for those who follow an egress.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A queue of chunks, one for each epoch that emitted anything; the oldest go when all are over the limit. Not
 * thread-safe. */
#ifndef TROUPE_RUNTIME_NODE_RECENT_H
#define TROUPE_RUNTIME_NODE_RECENT_H

#include "runtime/machine/egress.h"

enum { TROUPE__RECENT_SIZE_MAX = 8 << 20 /* bytes; one chunk is kept whatever its size */ };

struct troupe__recent { /* Zero bytes are empty. */
    struct troupe__recent_chunk {
        unsigned char *data;
        size_t size;
    } * chunks; /* a ring */
    size_t capacity, head, count, size;
    uint64_t first; /* the number of the oldest chunk, from 0 */
};

/* A place in it; {0, 0} is the oldest there ever was. */
struct troupe__recent_place {
    uint64_t chunk;
    size_t offset;
};

/* Copy records, in the form of an epoch's `egress`. Out of memory they are not kept: followers see a gap. */
void troupe__recent_push(struct troupe__recent *recent, const struct troupe__buffer *records);

struct troupe__recent_place troupe__recent_end(const struct troupe__recent *recent);

/* The record at `*place`, or at the oldest place there is; moves the place behind it. Returns false at the end. Valid
 * until the next push. */
bool troupe__recent_next(const struct troupe__recent *recent, struct troupe__recent_place *place,
                         struct troupe__egress *ret);

void troupe__recent_fini(struct troupe__recent *recent);

#endif
