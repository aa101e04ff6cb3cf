/* askers.c - who waits in this process for the answer to an ask from outside, and until when.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/askers.h"

#include <stdlib.h>

static struct troupe__asker **bucket_of(const struct troupe__askers *askers, uint64_t ask)
{
    return &askers->buckets[ask & (askers->capacity - 1)];
}

static bool grow(struct troupe__askers *askers)
{
    struct troupe__askers bigger = *askers;
    bigger.capacity = askers->capacity ? askers->capacity * 2 : 64;
    bigger.buckets = calloc(bigger.capacity, sizeof(struct troupe__asker *));
    if (!bigger.buckets) {
        return false;
    }
    for (size_t i = 0; i < askers->capacity; i++) {
        for (struct troupe__asker *at = askers->buckets[i], *next; at; at = next) {
            next = at->next;
            at->next = *bucket_of(&bigger, at->ask);
            *bucket_of(&bigger, at->ask) = at;
        }
    }
    free(askers->buckets);
    *askers = bigger;
    return true;
}

enum troupe_error troupe__askers_add(struct troupe__askers *askers, uint64_t ask, int64_t due_ms,
                                     troupe_answer_fn answer, void *context)
{
    struct troupe__asker *asker = malloc(sizeof *asker);
    struct troupe__timer timeout = {due_ms, askers->serial + 1, asker};
    if (!asker || (askers->count == askers->capacity && !grow(askers)) ||
        !troupe__timers_set(&askers->timeouts, timeout)) {
        free(asker);
        return TROUPE_ENOMEM;
    }
    *asker = (struct troupe__asker){ask, answer, context, ++askers->serial, *bucket_of(askers, ask)};
    *bucket_of(askers, ask) = asker;
    askers->count++;
    return TROUPE_OK;
}

static void take(struct troupe__askers *askers, struct troupe__asker **at, struct troupe__asker *ret)
{
    struct troupe__asker *asker = *at;
    *at = asker->next;
    *ret = *asker;
    askers->count--;
    free(asker);
}

bool troupe__askers_take(struct troupe__askers *askers, uint64_t ask, struct troupe__asker *ret)
{
    struct troupe__timer timeout;
    if (!askers->capacity) {
        return false;
    }
    struct troupe__asker **at = bucket_of(askers, ask);
    while (*at && (*at)->ask != ask) {
        at = &(*at)->next;
    }
    if (!*at) {
        return false;
    }
    troupe__timers_cancel(&askers->timeouts, (*at)->serial, &timeout);
    take(askers, at, ret);
    return true;
}

bool troupe__askers_take_late(struct troupe__askers *askers, int64_t now_ms, struct troupe__asker *ret)
{
    const struct troupe__timer *first = troupe__timers_first(&askers->timeouts);
    struct troupe__timer timeout;
    if (!first || first->due_ms > now_ms) {
        return false;
    }
    troupe__timers_cancel(&askers->timeouts, first->id, &timeout);
    struct troupe__asker *asker = timeout.what, **at = bucket_of(askers, asker->ask);
    while (*at != asker) {
        at = &(*at)->next;
    }
    take(askers, at, ret);
    return true;
}

int64_t troupe__askers_due(const struct troupe__askers *askers)
{
    const struct troupe__timer *first = troupe__timers_first(&askers->timeouts);
    return first ? first->due_ms : -1;
}

void troupe__askers_fini(struct troupe__askers *askers)
{
    for (size_t i = 0; i < askers->capacity; i++) {
        for (struct troupe__asker *at = askers->buckets[i], *next; at; at = next) {
            next = at->next;
            free(at);
        }
    }
    free(askers->buckets);
    troupe__timers_fini(&askers->timeouts);
    *askers = (struct troupe__askers){0};
}
