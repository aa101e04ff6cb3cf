/* returns.h - which other nodes wait for the answer to an ask from outside: where it goes back to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An ask that another node took in has a number on the node of its actor, and the number that it has where it came in;
 * several may wait for one, since a repeat with the same id may come in anywhere. What waits for longer than any client
 * does is forgotten. Row form (META, key "return/" and both numbers): string key of the one who waits (runtime/
 * machine_forward.c), varint since when, in ms. Not thread-safe. */
#ifndef TROUPE_MAILBOX_RETURNS_H
#define TROUPE_MAILBOX_RETURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/troupe.h"

enum {
    TROUPE__RETURN_AGE_MS = 61 * 60 * 1000, /* a client waits for an hour at most */
    TROUPE__RETURNS_EACH = 16,              /* that wait for one ask: beyond it the oldest is forgotten */
    TROUPE__RETURN_KEY_MAX = 31,            /* bytes of the key of the one who waits */
};

struct troupe__return {
    struct troupe__return *next;          /* in its bucket, newest first */
    struct troupe__return *older, *newer; /* of all */
    uint64_t number;                      /* of the ask, here */
    uint64_t asked;                       /* its number where it came in */
    int64_t since_ms;
    char key[TROUPE__RETURN_KEY_MAX + 1];
};

struct troupe__returns { /* Zero bytes are none. */
    struct troupe__return **buckets;
    size_t capacity, count;
    struct troupe__return *oldest, *newest;
};

/* Add one, or replace the one with the same numbers; the key must fit. NULL when out of memory. */
struct troupe__return *troupe__returns_add(struct troupe__returns *returns, uint64_t number, uint64_t asked,
                                           const char *key, int64_t since_ms);

/* The one added last that waits for `number`; NULL when there is none. */
struct troupe__return *troupe__returns_find(const struct troupe__returns *returns, uint64_t number);

/* The one with both numbers; NULL when there is none. */
struct troupe__return *troupe__returns_find_both(const struct troupe__returns *returns, uint64_t number,
                                                 uint64_t asked);

/* How many wait for `number`, and the oldest of them. */
size_t troupe__returns_count(const struct troupe__returns *returns, uint64_t number,
                             struct troupe__return **ret_oldest);

void troupe__returns_remove(struct troupe__returns *returns, struct troupe__return *entry);
void troupe__returns_fini(struct troupe__returns *returns);

#endif
