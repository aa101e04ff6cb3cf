/* timers.c - what is due later: delayed messages and the next attempts of failed ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/timers.h"

#include <assert.h>
#include <stdlib.h>

static size_t home(const struct troupe__timers *timers, uint64_t id)
{
    return (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (timers->table_capacity - 1);
}

/* Its place in the table; table_capacity when it is not there. */
static size_t find(const struct troupe__timers *timers, uint64_t id)
{
    if (timers->table_capacity == 0) {
        return 0;
    }
    for (size_t at = home(timers, id); timers->table[at]; at = (at + 1) & (timers->table_capacity - 1)) {
        if (timers->heap[timers->table[at] - 1].id == id) {
            return at;
        }
    }
    return timers->table_capacity;
}

/* The heap has it at `place`. */
static void insert(struct troupe__timers *timers, size_t place)
{
    size_t at = home(timers, timers->heap[place].id);
    while (timers->table[at]) {
        at = (at + 1) & (timers->table_capacity - 1);
    }
    timers->table[at] = (uint32_t)place + 1;
    timers->heap[place].at = (uint32_t)at;
}

/* Closes the gap, so that no tombstones are needed (Knuth, TAOCP 3, 6.4, algorithm R). */
static void erase(struct troupe__timers *timers, size_t hole)
{
    size_t mask = timers->table_capacity - 1;
    for (size_t at = (hole + 1) & mask; timers->table[at]; at = (at + 1) & mask) {
        struct troupe__timer *timer = &timers->heap[timers->table[at] - 1];
        if (((at - home(timers, timer->id)) & mask) >= ((at - hole) & mask)) {
            timers->table[hole] = timers->table[at];
            timer->at = (uint32_t)hole;
            hole = at;
        }
    }
    timers->table[hole] = 0;
}

static bool earlier(const struct troupe__timer *a, const struct troupe__timer *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->id < b->id;
}

static void place(struct troupe__timers *timers, size_t at, struct troupe__timer timer)
{
    timers->heap[at] = timer;
    timers->table[timer.at] = (uint32_t)at + 1;
}

static void sift_up(struct troupe__timers *timers, size_t at, struct troupe__timer timer)
{
    while (at > 0 && earlier(&timer, &timers->heap[(at - 1) / 2])) {
        place(timers, at, timers->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(timers, at, timer);
}

static void sift_down(struct troupe__timers *timers, size_t at, struct troupe__timer timer)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= timers->count) {
            break;
        }
        if (child + 1 < timers->count && earlier(&timers->heap[child + 1], &timers->heap[child])) {
            child++;
        }
        if (!earlier(&timers->heap[child], &timer)) {
            break;
        }
        place(timers, at, timers->heap[child]);
        at = child;
    }
    place(timers, at, timer);
}

static bool grow(struct troupe__timers *timers)
{
    size_t capacity = timers->capacity ? timers->capacity * 2 : 64;
    struct troupe__timer *heap = capacity <= UINT32_MAX / 2 ? realloc(timers->heap, capacity * sizeof *heap) : NULL;
    if (!heap) {
        return false;
    }
    timers->heap = heap;
    uint32_t *table = calloc(capacity * 2, sizeof *table);
    if (!table) {
        return false;
    }
    free(timers->table);
    timers->table = table;
    timers->table_capacity = capacity * 2;
    timers->capacity = capacity;
    for (size_t i = 0; i < timers->count; i++) {
        insert(timers, i);
    }
    return true;
}

bool troupe__timers_set(struct troupe__timers *timers, struct troupe__timer timer)
{
    assert(timer.id != 0 && !troupe__timers_pending(timers, timer.id));
    if (timers->count == timers->capacity && !grow(timers)) {
        return false;
    }
    timers->heap[timers->count] = timer;
    insert(timers, timers->count);
    timer.at = timers->heap[timers->count].at;
    sift_up(timers, timers->count++, timer);
    return true;
}

bool troupe__timers_pending(const struct troupe__timers *timers, uint64_t id)
{
    return id != 0 && find(timers, id) < timers->table_capacity;
}

struct troupe__timer *troupe__timers_find(const struct troupe__timers *timers, uint64_t id)
{
    size_t at = id ? find(timers, id) : timers->table_capacity;
    return at < timers->table_capacity ? &timers->heap[timers->table[at] - 1] : NULL;
}

bool troupe__timers_cancel(struct troupe__timers *timers, uint64_t id, struct troupe__timer *ret)
{
    size_t entry = id ? find(timers, id) : timers->table_capacity;
    if (entry >= timers->table_capacity) {
        return false;
    }
    size_t at = timers->table[entry] - 1;
    *ret = timers->heap[at];
    assert(ret->id == id);
    erase(timers, entry);
    struct troupe__timer last = timers->heap[--timers->count];
    if (at < timers->count) {
        if (at > 0 && earlier(&last, &timers->heap[(at - 1) / 2])) {
            sift_up(timers, at, last);
        } else {
            sift_down(timers, at, last);
        }
    }
    return true;
}

void troupe__timers_fini(struct troupe__timers *timers)
{
    free(timers->heap);
    free(timers->table);
    *timers = (struct troupe__timers){0};
}
