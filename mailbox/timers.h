/* timers.h - what is due later: delayed messages and the next attempts of failed ones.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A binary heap by (due time, id), and a hash table from id to place in the heap, so that cancelling is as cheap as
 * setting. Equal due times fire in the order they were set. Not thread-safe. */
#ifndef TROUPE_MAILBOX_TIMERS_H
#define TROUPE_MAILBOX_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct troupe__timer {
    int64_t due_ms;
    uint64_t id; /* unique, not 0 */
    void *what;  /* the owner's */
    uint32_t at; /* private: its place in the table */
};

struct troupe__timers { /* Zero bytes are an empty set. */
    struct troupe__timer *heap;
    size_t count, capacity;
    uint32_t *table; /* place in the heap + 1; 0: empty */
    size_t table_capacity;
};

enum { TROUPE__TIMER_SIZE = sizeof(struct troupe__timer) + 2 * sizeof(uint32_t) }; /* bytes of one, without `what` */

/* Bytes of memory. */
static inline size_t troupe__timers_size(const struct troupe__timers *timers)
{
    return timers->capacity * TROUPE__TIMER_SIZE;
}

void troupe__timers_fini(struct troupe__timers *timers);

/* Returns false when out of memory, or beyond 2^31 timers. `id` must not be set. */
bool troupe__timers_set(struct troupe__timers *timers, struct troupe__timer timer);
bool troupe__timers_pending(const struct troupe__timers *timers, uint64_t id);

/* By id; valid until anything is set or removed. NULL when it is not set. `what` may be changed. */
struct troupe__timer *troupe__timers_find(const struct troupe__timers *timers, uint64_t id);

/* Remove by id. Returns false when it is not set. */
bool troupe__timers_cancel(struct troupe__timers *timers, uint64_t id, struct troupe__timer *ret);

/* The earliest timer; NULL when there is none. */
static inline const struct troupe__timer *troupe__timers_first(const struct troupe__timers *timers)
{
    return timers->count ? &timers->heap[0] : NULL;
}

#endif
