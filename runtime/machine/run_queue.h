/* run_queue.h - the actors that have something to run.
 * SPDX-License-Identifier: Apache-2.0
 *
 * First in, first out, but for those at hand: an actor that was just looked up, since it is sent a message, runs soon,
 * while all that it takes is still in the processor's cache: it, its message, and the actor that sent that. Most
 * workflows end that way without ever having waited. None goes on at the cost of others for ever: each eighth turn is
 * of the one that has waited longest, and sends one of those at hand behind all that wait. So an actor that waits
 * behind N others runs within 8 (N + 1) turns, whatever they send each other. (As Go's runnext and Tokio's LIFO slot,
 * which are bounded too.)
 *
 * Among millions of actors the next of those that wait is seldom in the cache, and a list tells where its next is only
 * once that is there: a node could not be faster than one such wait an actor. So they are several lists that take
 * turns. The first of each are the next to run, known before they are needed; and an actor's link leads as many places
 * ahead. (After Luk and Mowry, Compiler-Based Prefetching for Recursive Data Structures, 1996: jump pointers. Here the
 * jumps are all the links that there are.)
 *
 * Adding never fails: the links are the actors', and when there is no room at hand one waits. Who is queued must stay
 * in memory. Not thread-safe. */
#ifndef TROUPE_RUNTIME_MACHINE_RUN_QUEUE_H
#define TROUPE_RUNTIME_MACHINE_RUN_QUEUE_H

#include "core/actor.h"

enum {
    TROUPE__RUN_LISTS = 8,     /* how far ahead an actor that waits is known */
    TROUPE__RUN_NEAR_MAX = 64, /* at hand */
    TROUPE__RUN_NEAR_FEW = 16, /* with fewer at hand, which are not fetched yet, those that wait come first */
    TROUPE__RUN_TURNS = 8,     /* one out of so many is of those that would come later */
};

struct troupe__run_queue { /* Zero bytes are an empty one. */
    struct {
        struct troupe__actor *first, *last;
    } lists[TROUPE__RUN_LISTS];
    uint64_t put, taken; /* of those that wait, since ever */
    struct troupe__actor *near[TROUPE__RUN_NEAR_MAX];
    uint32_t near_put, near_taken; /* since ever */
    uint32_t turn;
};

static inline bool troupe__run_queue_empty(const struct troupe__run_queue *queue)
{
    return queue->put == queue->taken && queue->near_put == queue->near_taken;
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

/* One that is at hand. */
static inline void troupe__run_queue_put_near(struct troupe__run_queue *queue, struct troupe__actor *actor)
{
    if (queue->near_put - queue->near_taken == TROUPE__RUN_NEAR_MAX) {
        troupe__run_queue_put(queue, actor);
    } else {
        queue->near[queue->near_put++ % TROUPE__RUN_NEAR_MAX] = actor;
    }
}

/* Take out the next; it must not be empty. */
static inline struct troupe__actor *troupe__run_queue_take(struct troupe__run_queue *queue)
{
    uint32_t near = queue->near_put - queue->near_taken;
    if (near > 0) {
        bool many = near >= TROUPE__RUN_NEAR_FEW, others = ++queue->turn % TROUPE__RUN_TURNS == 0;
        bool waits = queue->put != queue->taken;
        if (!waits || many || others) {
            struct troupe__actor *next = queue->near[queue->near_taken++ % TROUPE__RUN_NEAR_MAX];
            if (!waits || many != others) {
                return next;
            }
            troupe__run_queue_put(queue, next);
        }
    }
    size_t at = queue->taken++ % TROUPE__RUN_LISTS;
    struct troupe__actor *actor = queue->lists[at].first;
    queue->lists[at].first = actor->run_next;
    return actor;
}

/* Of those that wait the one that is `ahead` places behind the first, less than RUN_LISTS; NULL when there is none. */
static inline const struct troupe__actor *troupe__run_queue_peek(const struct troupe__run_queue *queue, size_t ahead)
{
    return queue->lists[(queue->taken + ahead) % TROUPE__RUN_LISTS].first;
}

#endif
