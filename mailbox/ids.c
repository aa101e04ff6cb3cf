/* ids.c - which messages from outside were taken in already, by the id their sender gave them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/ids.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct troupe__id troupe__id_of(const char *type, const char *key, const char *id)
{
    XXH128_hash_t hash = XXH3_128bits(type, strlen(type));
    hash = XXH3_128bits_withSeed(key, strlen(key), hash.low64 ^ hash.high64);
    hash = XXH3_128bits_withSeed(id, strlen(id), hash.low64 ^ hash.high64);
    return (struct troupe__id){hash.low64 | 1, hash.high64}; /* never {0, 0} */
}

static bool same(struct troupe__id a, struct troupe__id b)
{
    return a.low == b.low && a.high == b.high;
}

/* Where it is in the table, or the empty place where it would be. */
static size_t find(const struct troupe__ids *ids, struct troupe__id id)
{
    size_t mask = 2 * ids->capacity - 1, at = id.high & mask;
    while (ids->table[at] && !same(ids->queue[ids->table[at] - 1].id, id)) {
        at = (at + 1) & mask;
    }
    return at;
}

bool troupe__ids_has(const struct troupe__ids *ids, struct troupe__id id)
{
    return ids->capacity && ids->table[find(ids, id)];
}

static void fill_table(struct troupe__ids *ids)
{
    memset(ids->table, 0, 2 * ids->capacity * sizeof *ids->table);
    for (size_t i = 0; i < ids->count; i++) {
        size_t place = (ids->head + i) & (ids->capacity - 1);
        ids->table[find(ids, ids->queue[place].id)] = (uint32_t)place + 1;
    }
}

static bool grow(struct troupe__ids *ids)
{
    struct troupe__ids bigger = {.capacity = ids->capacity ? ids->capacity * 2 : 128, .count = ids->count};
    if (bigger.capacity > UINT32_MAX / 2) {
        return false;
    }
    bigger.table = malloc(2 * bigger.capacity * sizeof *bigger.table);
    bigger.queue = malloc(bigger.capacity * sizeof *bigger.queue);
    if (!bigger.table || !bigger.queue) {
        troupe__ids_fini(&bigger);
        return false;
    }
    for (size_t i = 0; i < ids->count; i++) {
        bigger.queue[i] = ids->queue[(ids->head + i) & (ids->capacity - 1)];
    }
    fill_table(&bigger);
    troupe__ids_fini(ids);
    *ids = bigger;
    return true;
}

bool troupe__ids_add(struct troupe__ids *ids, struct troupe__id id, int64_t now_ms)
{
    assert(!troupe__ids_has(ids, id));
    if (ids->count == ids->capacity && !grow(ids)) {
        return false;
    }
    size_t place = (ids->head + ids->count++) & (ids->capacity - 1), at = find(ids, id);
    ids->queue[place] = (struct troupe__id_age){id, now_ms};
    ids->table[at] = (uint32_t)place + 1;
    return true;
}

static int compare_ages(const void *a, const void *b)
{
    const struct troupe__id_age *left = a, *right = b;
    return (left->since_ms > right->since_ms) - (left->since_ms < right->since_ms);
}

void troupe__ids_sort(struct troupe__ids *ids)
{
    assert(ids->head == 0); /* Nothing has been forgotten yet. */
    if (ids->count > 1) {
        qsort(ids->queue, ids->count, sizeof *ids->queue, compare_ages);
        fill_table(ids);
    }
}

bool troupe__ids_expire(struct troupe__ids *ids, int64_t now_ms, struct troupe__id *ret)
{
    if (ids->count == 0 || now_ms - ids->queue[ids->head].since_ms < TROUPE__ID_AGE_MS) {
        return false;
    }
    size_t mask = 2 * ids->capacity - 1;
    *ret = ids->queue[ids->head].id;
    size_t hole = find(ids, *ret);
    assert(ids->table[hole]);
    for (size_t at = (hole + 1) & mask; ids->table[at]; at = (at + 1) & mask) {
        uint64_t home = ids->queue[ids->table[at] - 1].id.high;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            ids->table[hole] = ids->table[at];
            hole = at;
        }
    }
    ids->table[hole] = 0;
    ids->head = (ids->head + 1) & (ids->capacity - 1);
    ids->count--;
    return true;
}

void troupe__ids_fini(struct troupe__ids *ids)
{
    free(ids->table);
    free(ids->queue);
    *ids = (struct troupe__ids){0};
}
