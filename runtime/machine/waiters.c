/* waiters.c - who is to be told when an epoch is durable, in the order of epochs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/waiters.h"

#include <assert.h>
#include <stdlib.h>

static struct troupe__waiter *at(const struct troupe__waiters *waiters, size_t index)
{
    return &waiters->ring[(waiters->head + index) & (waiters->capacity - 1)];
}

enum troupe_error troupe__waiters_reserve(struct troupe__waiters *waiters)
{
    if (waiters->count == waiters->capacity) {
        size_t capacity = waiters->capacity ? waiters->capacity * 2 : 64;
        struct troupe__waiter *ring = malloc(capacity * sizeof *ring);
        if (!ring) {
            return TROUPE_ENOMEM;
        }
        for (size_t i = 0; i < waiters->count; i++) {
            ring[i] = *at(waiters, i);
        }
        free(waiters->ring);
        *waiters = (struct troupe__waiters){ring, capacity, 0, waiters->count};
    }
    return TROUPE_OK;
}

void troupe__waiters_push(struct troupe__waiters *waiters, struct troupe__waiter waiter)
{
    assert(waiters->count < waiters->capacity);
    assert(waiters->count == 0 || at(waiters, waiters->count - 1)->epoch <= waiter.epoch);
    *at(waiters, waiters->count++) = waiter;
}

bool troupe__waiters_pop(struct troupe__waiters *waiters, uint64_t epoch, struct troupe__waiter *ret)
{
    if (waiters->count == 0 || at(waiters, 0)->epoch > epoch) {
        return false;
    }
    *ret = *at(waiters, 0);
    waiters->head = (waiters->head + 1) & (waiters->capacity - 1);
    waiters->count--;
    return true;
}

void troupe__waiters_fini(struct troupe__waiters *waiters)
{
    free(waiters->ring);
    *waiters = (struct troupe__waiters){0};
}
