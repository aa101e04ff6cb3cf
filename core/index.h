/* index.h - finds blocks by hash, and neither grows nor shrinks in one long step.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Extendible hashing (Fagin and others, 1979): the hash's first bits choose a segment from a directory; in a segment it
 * is open addressing. A segment that is full is split into two, two that are nearly empty become one; all that ever
 * moves at once is one segment (16 KiB) or the directory (8 bytes a segment). An entry holds 32 bits of the hash, so
 * that hardly ever a block is looked at that is not the one wanted. Not thread-safe. */
#ifndef TROUPE_CORE_INDEX_H
#define TROUPE_CORE_INDEX_H

#include <stdbool.h>

#include "core/prefetch.h"
#include "core/slab.h"

enum { TROUPE__INDEX_SEGMENT = 2048 /* entries */ };

struct troupe__index_entry {
    uint32_t tag; /* the high half of the hash */
    troupe__block block;
};

struct troupe__index_segment {
    uint32_t count;
    uint32_t depth; /* so many bits of the hash are the same for all of it */
    uint64_t unused;
    struct troupe__index_entry entries[TROUPE__INDEX_SEGMENT];
};

struct troupe__index {
    struct troupe__slabs *slabs;
    struct troupe__pool pool; /* of segments */
    struct troupe__index_segment **directory;
    unsigned depth; /* the directory has 1 << depth entries */
    size_t count;
    size_t segment_count;
    uint32_t depth_counts[33]; /* segments of each depth */
    size_t hand_segment;       /* see troupe__index_next: a place in the directory ... */
    uint32_t hand_at;          /* ... and the entry that comes next */
};

/* Errors: returns false when out of memory. */
bool troupe__index_init(struct troupe__index *index, struct troupe__slabs *slabs);
/* The segments go with the slabs. */
void troupe__index_fini(struct troupe__index *index);

static inline struct troupe__index_segment *troupe__index_segment(const struct troupe__index *index, uint32_t tag)
{
    return index->directory[(uint64_t)tag << index->depth >> 32];
}

/* Begin to fetch the place where an iteration will start. */
static inline void troupe__index_prefetch(const struct troupe__index *index, uint32_t tag)
{
    troupe__prefetch(&troupe__index_segment(index, tag)->entries[tag % TROUPE__INDEX_SEGMENT]);
}

/* An iteration over the entries whose hash may be the one: `*at` is where to look; start with the tag. Returns false
 * when there is no other. */
static inline bool troupe__index_probe(const struct troupe__index_segment *segment, uint32_t tag, uint32_t *at,
                                       troupe__block *ret)
{
    for (;; ++*at) {
        const struct troupe__index_entry *entry = &segment->entries[*at % TROUPE__INDEX_SEGMENT];
        if (entry->block == 0) {
            return false;
        }
        if (entry->tag == tag) {
            ++*at;
            *ret = entry->block;
            return true;
        }
    }
}

/* Add a block, which must not be there. Returns false when out of memory. */
bool troupe__index_add(struct troupe__index *index, uint64_t hash, troupe__block block);

/* Remove a block that is there. Adding and removing end iterations. */
void troupe__index_remove(struct troupe__index *index, uint64_t hash, troupe__block block);

/* Move the hand over one more place and return the block there, 0 if there is none. In at most troupe__index_places()
 * calls it passes all blocks, but for a few that adding and removing have moved meanwhile. It joins segments that are
 * nearly empty. */
troupe__block troupe__index_next(struct troupe__index *index);

/* Call `each` for every block. It may not change the index. */
void troupe__index_each(const struct troupe__index *index, void (*each)(void *context, troupe__block block),
                        void *context);

static inline size_t troupe__index_places(const struct troupe__index *index)
{
    return (size_t)TROUPE__INDEX_SEGMENT << index->depth;
}

/* Whether there is nothing for the hand to find or to join. */
static inline bool troupe__index_empty(const struct troupe__index *index)
{
    return index->count == 0 && index->segment_count == 1;
}

/* Bytes in use. */
static inline size_t troupe__index_size(const struct troupe__index *index)
{
    return index->segment_count * sizeof(struct troupe__index_segment) + (sizeof(void *) << index->depth);
}

#endif
