/* segment.c - records that wait in memory, in pieces that grow where they are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/segment.h"

#include <sys/mman.h>

enum {
    PAGE = 1 << 16,     /* bytes: the largest that a kernel has. Beginnings of memory must be those of pages */
    STEP_MIN = 1 << 16, /* bytes by which it grows: as many as it has, ... */
    STEP_MAX = 1 << 22, /* ... up to so many */
    PIECE = 1 << 22,    /* bytes of memory that are given back at once */
};

static size_t whole_pages(size_t size)
{
    return (size + PAGE - 1) / PAGE * PAGE;
}

/* Addresses without memory: `*span` bytes, or fewer if there are not so many, but `least`. */
static void *find_addresses(size_t *span, size_t least)
{
    for (;;) {
        void *at = mmap(NULL, *span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at != MAP_FAILED) {
            return at;
        }
        if (*span <= least) {
            return NULL;
        }
        *span = *span / 2 > least ? whole_pages(*span / 2) : least;
    }
}

struct troupe__segment *troupe__segment_new(size_t most)
{
    struct troupe__segment *segment = calloc(1, sizeof *segment);
    if (!segment) {
        return NULL;
    }
    segment->span = whole_pages(most > STEP_MIN ? most : STEP_MIN);
    segment->entries.data = find_addresses(&segment->span, STEP_MIN);
    if (!segment->entries.data) {
        free(segment);
        return NULL;
    }
    return segment;
}

/* Hundreds of megabytes given back at once would hold the address space for tens of milliseconds against every thread
 * that wants memory of the system. */
static void give_back(const struct troupe__segment *segment)
{
    for (size_t at = 0, size; at < segment->entries.capacity; at += size) {
        size = segment->entries.capacity - at < PIECE ? segment->entries.capacity - at : PIECE;
        (void)madvise(segment->entries.data + at, size, MADV_DONTNEED); /* Whatever it says, the memory is freed. */
    }
    (void)munmap(segment->entries.data, segment->span);
}

/* To where there are addresses for twice as much. */
static bool move(struct troupe__segment *segment, size_t needed)
{
    struct troupe__segment old = *segment;
    size_t span = whole_pages(2 * needed), least = whole_pages(needed);
    unsigned char *at = find_addresses(&span, least);
    if (!at) {
        return false;
    }
    if (mprotect(at, least, PROT_READ | PROT_WRITE)) {
        (void)munmap(at, span);
        return false;
    }
    if (old.entries.size > 0) {
        memcpy(at, old.entries.data, old.entries.size);
    }
    segment->entries.data = at;
    segment->entries.capacity = least;
    segment->span = span;
    give_back(&old);
    return true;
}

bool troupe__segment_reserve(struct troupe__segment *segment, size_t more)
{
    struct troupe__buffer *entries = &segment->entries;
    if (entries->capacity - entries->size >= more) {
        return true;
    }
    if (more > SIZE_MAX / 4) {
        return false;
    }
    size_t needed = entries->size + more;
    if (needed > segment->span) {
        return move(segment, needed);
    }
    size_t step = entries->capacity < STEP_MIN ? STEP_MIN : entries->capacity < STEP_MAX ? entries->capacity : STEP_MAX;
    size_t capacity = entries->capacity + step > needed ? entries->capacity + step : whole_pages(needed);
    capacity = capacity < segment->span ? capacity : segment->span;
    if (mprotect(entries->data + entries->capacity, capacity - entries->capacity, PROT_READ | PROT_WRITE)) {
        return false;
    }
    entries->capacity = capacity;
    return true;
}

void troupe__segment_free(struct troupe__segment *segment)
{
    while (segment) {
        struct troupe__segment *next = segment->next;
        give_back(segment);
        free(segment);
        segment = next;
    }
}
