/* ids.h - which messages from outside were taken in already, by the id their sender gave them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Remembers the 128-bit hash of actor and id for TROUPE__ID_AGE_MS, oldest first out. Not thread-safe. */
#ifndef TROUPE_MAILBOX_IDS_H
#define TROUPE_MAILBOX_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TROUPE__ID_AGE_MS = 24 * 3600 * 1000 };

struct troupe__id {
    uint64_t low, high;
};

struct troupe__ids { /* Zero bytes are an empty set. */
    struct troupe__id_age {
        struct troupe__id id;
        int64_t since_ms;
    } * queue; /* in the order taken; a ring */
    size_t head, count, capacity;
    uint32_t *table; /* of twice the capacity: open addressing; place in the ring + 1, 0 is empty */
};

/* Bytes of memory. */
static inline size_t troupe__ids_size(const struct troupe__ids *ids)
{
    return ids->capacity * (sizeof *ids->queue + 2 * sizeof *ids->table);
}

struct troupe__id troupe__id_of(const char *type, const char *key, const char *id);
bool troupe__ids_has(const struct troupe__ids *ids, struct troupe__id id);
/* Remember `id`, which must not be there. Returns false when out of memory, or beyond 2^31 of them. */
bool troupe__ids_add(struct troupe__ids *ids, struct troupe__id id, int64_t now_ms);
/* Put the queue in the order of age, after ids were added out of that order. */
void troupe__ids_sort(struct troupe__ids *ids);
/* Forget the oldest id if it is too old. Returns false when there is none. */
bool troupe__ids_expire(struct troupe__ids *ids, int64_t now_ms, struct troupe__id *ret);
void troupe__ids_fini(struct troupe__ids *ids);

#endif
