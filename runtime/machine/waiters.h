/* waiters.h - who is to be told when an epoch is durable, in the order of epochs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A ring that grows; a waiter never waits for an earlier epoch than the one before it. Not thread-safe. */
#ifndef TROUPE_RUNTIME_MACHINE_WAITERS_H
#define TROUPE_RUNTIME_MACHINE_WAITERS_H

#include "core/troupe.h"

struct troupe__waiter {
    uint64_t epoch;
    troupe_done_fn done;
    void *context;
};

struct troupe__waiters { /* Zero bytes are none. */
    struct troupe__waiter *ring;
    size_t capacity, head, count;
};

/* Make room for one more. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__waiters_reserve(struct troupe__waiters *waiters);

/* There must be room. */
void troupe__waiters_push(struct troupe__waiters *waiters, struct troupe__waiter waiter);

/* Take the oldest if it waits for `epoch` or an earlier one. Returns false when there is none. */
bool troupe__waiters_pop(struct troupe__waiters *waiters, uint64_t epoch, struct troupe__waiter *ret);

/* Whether pop would give one. */
static inline bool troupe__waiters_due(const struct troupe__waiters *waiters, uint64_t epoch)
{
    return waiters->count > 0 && waiters->ring[waiters->head].epoch <= epoch;
}

void troupe__waiters_fini(struct troupe__waiters *waiters);

#endif
