/* index.c - finds blocks by hash, and neither grows nor shrinks in one long step.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEGMENT_FULL = TROUPE__INDEX_SEGMENT / 4 * 3,
    SEGMENTS_MERGE = TROUPE__INDEX_SEGMENT / 4, /* two with no more than this together become one */
    DEPTH_MAX = 20,                             /* the bits of a tag that a place in a segment does not use */
};

static struct troupe__index_segment *new_segment(struct troupe__index *index, uint32_t depth)
{
    struct troupe__index_segment *segment = troupe__pool_take(index->slabs, &index->pool);
    if (segment) {
        memset(segment, 0, sizeof *segment);
        segment->depth = depth;
        index->segment_count++;
        index->depth_counts[depth]++;
    }
    return segment;
}

bool troupe__index_init(struct troupe__index *index, struct troupe__slabs *slabs)
{
    *index = (struct troupe__index){.slabs = slabs, .pool = {.block_size = sizeof(struct troupe__index_segment)}};
    index->directory = malloc(sizeof(void *));
    struct troupe__index_segment *segment = index->directory ? new_segment(index, 0) : NULL;
    if (!segment) {
        free(index->directory);
        return false;
    }
    index->directory[0] = segment;
    return true;
}

void troupe__index_fini(struct troupe__index *index)
{
    free(index->directory);
}

static void put(struct troupe__index_segment *segment, uint32_t tag, troupe__block block)
{
    uint32_t at = tag % TROUPE__INDEX_SEGMENT;
    while (segment->entries[at].block) {
        at = (at + 1) % TROUPE__INDEX_SEGMENT;
    }
    segment->entries[at] = (struct troupe__index_entry){tag, block};
    segment->count++;
}

/* The part of the directory that leads to `segment`, of which `tag` is a member. */
static struct troupe__index_segment **places(const struct troupe__index *index, uint32_t tag, uint32_t depth,
                                             size_t *ret_count)
{
    *ret_count = (size_t)1 << (index->depth - depth);
    return index->directory + (((uint64_t)tag << depth >> 32) << (index->depth - depth));
}

static bool double_directory(struct troupe__index *index)
{
    size_t count = (size_t)1 << index->depth;
    struct troupe__index_segment **directory = realloc(index->directory, 2 * count * sizeof *directory);
    if (!directory) {
        return false;
    }
    for (size_t i = count; i-- > 0;) {
        directory[2 * i] = directory[2 * i + 1] = directory[i];
    }
    index->directory = directory;
    index->depth++;
    index->hand_segment *= 2;
    return true;
}

static bool split(struct troupe__index *index, uint32_t tag)
{
    struct troupe__index_segment *low = troupe__index_segment(index, tag);
    if (low->depth == index->depth && !double_directory(index)) {
        return false;
    }
    struct troupe__index_segment *high = new_segment(index, low->depth + 1);
    if (!high) {
        return false;
    }
    size_t count;
    struct troupe__index_segment **place = places(index, tag, low->depth, &count);
    for (size_t i = count / 2; i < count; i++) {
        place[i] = high;
    }
    struct troupe__index_entry moved[TROUPE__INDEX_SEGMENT];
    memcpy(moved, low->entries, sizeof low->entries);
    memset(low->entries, 0, sizeof low->entries);
    low->count = 0;
    index->depth_counts[low->depth++]--;
    index->depth_counts[low->depth]++;
    for (size_t i = 0; i < TROUPE__INDEX_SEGMENT; i++) {
        if (moved[i].block) {
            bool upper = moved[i].tag >> (32 - low->depth) & 1;
            put(upper ? high : low, moved[i].tag, moved[i].block);
        }
    }
    return true;
}

bool troupe__index_add(struct troupe__index *index, uint64_t hash, troupe__block block)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    struct troupe__index_segment *segment = troupe__index_segment(index, tag);
    while (segment->count >= SEGMENT_FULL) {
        if (segment->depth == DEPTH_MAX) {
            if (segment->count == TROUPE__INDEX_SEGMENT - 1) {
                return false; /* So many whose hashes begin alike: somebody made them so. */
            }
            break;
        }
        if (!split(index, tag)) {
            return false;
        }
        segment = troupe__index_segment(index, tag);
    }
    put(segment, tag, block);
    index->count++;
    return true;
}

static void halve_directory(struct troupe__index *index)
{
    size_t half = (size_t)1 << (index->depth - 1);
    for (size_t i = 0; i < half; i++) {
        index->directory[i] = index->directory[2 * i];
    }
    struct troupe__index_segment **directory = realloc(index->directory, half * sizeof *directory);
    index->directory = directory ? directory : index->directory;
    index->depth--;
}

/* The hand has left the segment at `place` of the directory. If it and the one before, which it was split from, are
 * nearly empty, make one of them. Returns whether it did. (Done by the hand, so that nothing moves to behind it.) */
static bool merge(struct troupe__index *index, size_t place)
{
    struct troupe__index_segment *segment = index->directory[place];
    size_t span = (size_t)1 << (index->depth - segment->depth), first = place & ~(span - 1);
    if (segment->depth == 0 || (first & span) == 0) {
        return false;
    }
    struct troupe__index_segment *into = index->directory[first - span];
    if (into->depth != segment->depth || segment->count + into->count > SEGMENTS_MERGE) {
        return false;
    }
    for (size_t i = 0; i < TROUPE__INDEX_SEGMENT; i++) {
        if (segment->entries[i].block) {
            put(into, segment->entries[i].tag, segment->entries[i].block);
        }
    }
    index->depth_counts[into->depth--] -= 2;
    index->depth_counts[into->depth]++;
    for (size_t i = 0; i < span; i++) {
        index->directory[first + i] = into;
    }
    index->segment_count--;
    troupe__pool_give(index->slabs, &index->pool, segment);
    return true;
}

void troupe__index_remove(struct troupe__index *index, uint64_t hash, troupe__block block)
{
    uint32_t tag = (uint32_t)(hash >> 32), mask = TROUPE__INDEX_SEGMENT - 1;
    struct troupe__index_segment *segment = troupe__index_segment(index, tag);
    uint32_t hole = tag & mask, elsewhere = 0;
    uint32_t *hand = segment == index->directory[index->hand_segment] ? &index->hand_at : &elsewhere;
    while (segment->entries[hole].block != block) {
        assert(segment->entries[hole].block != 0);
        hole = (hole + 1) & mask;
    }
    /* Closes the gap, so that no tombstones are needed (Knuth, TAOCP 3, 6.4, algorithm R). */
    for (uint32_t at = (hole + 1) & mask; segment->entries[at].block; at = (at + 1) & mask) {
        if (((at - segment->entries[at].tag) & mask) >= ((at - hole) & mask)) {
            segment->entries[hole] = segment->entries[at];
            if (hole < *hand && at >= *hand) {
                *hand = hole; /* What comes to behind the hand would be missed. */
            }
            hole = at;
        }
    }
    segment->entries[hole] = (struct troupe__index_entry){0, 0};
    segment->count--;
    index->count--;
}

troupe__block troupe__index_next(struct troupe__index *index)
{
    const struct troupe__index_segment *segment = index->directory[index->hand_segment];
    troupe__block block = segment->entries[index->hand_at++].block;
    if (index->hand_at == TROUPE__INDEX_SEGMENT) {
        size_t last = index->hand_segment | (((size_t)1 << (index->depth - segment->depth)) - 1);
        while (merge(index, last)) {
        }
        index->hand_at = 0;
        index->hand_segment = (last + 1) & (((size_t)1 << index->depth) - 1);
        while (index->hand_segment == 0 && index->depth > 0 && index->depth_counts[index->depth] == 0) {
            halve_directory(index);
        }
    }
    return block;
}

void troupe__index_each(const struct troupe__index *index, void (*each)(void *context, troupe__block block),
                        void *context)
{
    for (size_t place = 0; index->directory && place < (size_t)1 << index->depth;) { /* Zero bytes hold nothing. */
        const struct troupe__index_segment *segment = index->directory[place];
        for (size_t i = 0; i < TROUPE__INDEX_SEGMENT; i++) {
            if (segment->entries[i].block) {
                each(context, segment->entries[i].block);
            }
        }
        place += (size_t)1 << (index->depth - segment->depth);
    }
}
