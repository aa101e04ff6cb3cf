/* refusals.h - connections that a gate did not let in, until the node's log tells of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Noted on ZeroMQ's side of things, told on the loop's. A stranger who does not stop must not fill the log: it is told
 * of at the first refusal, the second, the fourth and so on, and else once a minute at most; of others at once, but of
 * no more than ten in a minute. */
#ifndef TROUPE_RUNTIME_NODE_REFUSALS_H
#define TROUPE_RUNTIME_NODE_REFUSALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct troupe__refusals {
    pthread_mutex_t mutex;
    uint64_t count, told;
    int64_t told_ms, minute_ms;           /* of the last line; when the minute of `lines` began */
    unsigned lines;                       /* of others than the last */
    char address[64], why[100];           /* of the last one */
    char told_address[64], told_why[100]; /* of the last that was told of */
};

void troupe__refusals_init(struct troupe__refusals *refusals);
void troupe__refusals_fini(struct troupe__refusals *refusals);

/* Thread-safe; fits troupe__gate_refused_fn. */
void troupe__refusals_note(void *refusals, const char *address, const char *why);

/* Whether there is something to tell: how many, and who was last. `who` is as "a client was"; `now_ms` monotonic. */
bool troupe__refusals_tell(struct troupe__refusals *refusals, const char *who, int64_t now_ms, char *text, size_t size);

#endif
