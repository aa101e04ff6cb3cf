/* run_queue.h - the actors that have something to run, first in first out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Among millions of actors the next one is seldom in the processor's cache, and a list tells where its next is only
 * once that is there: a node could not be faster than one such wait an actor. So the queue is several lists that take
 * turns. The first of each are the next to run, known before they are needed; and an actor's link leads as many places
 * ahead. (After Luk and Mowry, Compiler-Based Prefetching for Recursive Data Structures, 1996: jump pointers. Here the
 * jumps are all the links that there are.)
 *
 * Adding never fails, since the links are the actors'. Who is queued must stay in memory. Not thread-safe. */
#ifndef TROUPE_RUNTIME_RUN_QUEUE_H
#define TROUPE_RUNTIME_RUN_QUEUE_H

#include "core/actor.h"

enum {
    TROUPE__RUN_LISTS = 8, /* how far ahead an actor is known */
};

struct troupe__run_queue { /* Zero bytes are an empty one. */
    struct {
        struct troupe__actor *first, *last;
    } lists[TROUPE__RUN_LISTS];
    uint64_t put, taken; /* since ever */
};

static inline bool troupe__run_queue_empty(const struct troupe__run_queue *queue)
{
    return queue->put == queue->taken;
}

static inline void troupe__run_queue_put(struct troupe__run_queue *queue, struct troupe__actor *actor)
{
    size_t at = queue->put++ % TROUPE__RUN_LISTS;
    actor->run_next = NULL;
    if (queue->lists[at].first) {
        queue->lists[at].last->run_next = actor;
    } else {
        queue->lists[at].first = actor;
    }
    queue->lists[at].last = actor;
}

/* Take out the first; it must not be empty. */
static inline struct troupe__actor *troupe__run_queue_take(struct troupe__run_queue *queue)
{
    size_t at = queue->taken++ % TROUPE__RUN_LISTS;
    struct troupe__actor *actor = queue->lists[at].first;
    queue->lists[at].first = actor->run_next;
    return actor;
}

/* The one that is `ahead` places behind the first, less than RUN_LISTS; NULL when there is none. */
static inline const struct troupe__actor *troupe__run_queue_peek(const struct troupe__run_queue *queue, size_t ahead)
{
    return queue->lists[(queue->taken + ahead) % TROUPE__RUN_LISTS].first;
}

#endif
