/* askers.h - who waits in this process for the answer to an ask from outside, and until when.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Several may wait for the same ask. Nothing here survives the process: who still wants to know asks again. Not
 * thread-safe. */
#ifndef TROUPE_RUNTIME_NODE_ASKERS_H
#define TROUPE_RUNTIME_NODE_ASKERS_H

#include "core/troupe.h"
#include "mailbox/timers.h"

struct troupe__asker {
    uint64_t ask; /* its number */
    troupe_answer_fn answer;
    void *context;
    uint64_t serial;
    struct troupe__asker *next;
};

struct troupe__askers { /* Zero bytes are none. */
    struct troupe__asker **buckets;
    size_t capacity, count;
    struct troupe__timers timeouts; /* id: the serial */
    uint64_t serial;
};

/* Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__askers_add(struct troupe__askers *askers, uint64_t ask, int64_t due_ms,
                                     troupe_answer_fn answer, void *context);

/* Take one that waits for `ask`. Returns false when there is none. */
bool troupe__askers_take(struct troupe__askers *askers, uint64_t ask, struct troupe__asker *ret);

/* Take one whose time is over by `now_ms`. Returns false when there is none. */
bool troupe__askers_take_late(struct troupe__askers *askers, int64_t now_ms, struct troupe__asker *ret);

/* When the next one's time is over; -1: never. */
int64_t troupe__askers_due(const struct troupe__askers *askers);

void troupe__askers_fini(struct troupe__askers *askers);

#endif
