/* returns.c - which other nodes wait for the answer to an ask from outside: where it goes back to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/returns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct troupe__return **bucket_of(const struct troupe__returns *returns, uint64_t number)
{
    return &returns->buckets[number & (returns->capacity - 1)];
}

/* The age is kept; in a bucket the newest comes first. */
static bool grow(struct troupe__returns *returns)
{
    size_t capacity = returns->capacity ? returns->capacity * 2 : 64;
    struct troupe__return **buckets = calloc(capacity, sizeof(struct troupe__return *));
    if (!buckets) {
        return false;
    }
    free(returns->buckets);
    returns->buckets = buckets;
    returns->capacity = capacity;
    for (struct troupe__return *at = returns->oldest; at; at = at->newer) {
        at->next = *bucket_of(returns, at->number);
        *bucket_of(returns, at->number) = at;
    }
    return true;
}

struct troupe__return *troupe__returns_find(const struct troupe__returns *returns, uint64_t number)
{
    struct troupe__return *at = returns->capacity ? *bucket_of(returns, number) : NULL;
    while (at && at->number != number) {
        at = at->next;
    }
    return at;
}

struct troupe__return *troupe__returns_find_both(const struct troupe__returns *returns, uint64_t number, uint64_t asked)
{
    struct troupe__return *at = troupe__returns_find(returns, number);
    while (at && (at->number != number || at->asked != asked)) {
        at = at->next;
    }
    return at;
}

size_t troupe__returns_count(const struct troupe__returns *returns, uint64_t number, struct troupe__return **ret_oldest)
{
    size_t count = 0;
    for (struct troupe__return *at = troupe__returns_find(returns, number); at; at = at->next) {
        if (at->number == number) {
            *ret_oldest = at;
            count++;
        }
    }
    return count;
}

struct troupe__return *troupe__returns_add(struct troupe__returns *returns, uint64_t number, uint64_t asked,
                                           const char *key, int64_t since_ms)
{
    assert(strlen(key) <= TROUPE__RETURN_KEY_MAX);
    struct troupe__return *entry = troupe__returns_find_both(returns, number, asked);
    if (entry) {
        troupe__returns_remove(returns, entry);
    }
    entry = calloc(1, sizeof *entry);
    if (!entry || (returns->count == returns->capacity && !grow(returns))) {
        free(entry);
        return NULL;
    }
    entry->number = number;
    entry->asked = asked;
    entry->since_ms = since_ms;
    memcpy(entry->key, key, strlen(key) + 1);
    entry->next = *bucket_of(returns, number);
    *bucket_of(returns, number) = entry;
    entry->older = returns->newest;
    *(returns->newest ? &returns->newest->newer : &returns->oldest) = entry;
    returns->newest = entry;
    returns->count++;
    return entry;
}

void troupe__returns_remove(struct troupe__returns *returns, struct troupe__return *entry)
{
    struct troupe__return **at = bucket_of(returns, entry->number);
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    *(entry->older ? &entry->older->newer : &returns->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &returns->newest) = entry->older;
    returns->count--;
    free(entry);
}

void troupe__returns_fini(struct troupe__returns *returns)
{
    while (returns->oldest) {
        troupe__returns_remove(returns, returns->oldest);
    }
    free(returns->buckets);
    *returns = (struct troupe__returns){0};
}
