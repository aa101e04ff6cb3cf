/* backlog.c - the messages of a node that wait behind those in inboxes: the middle of that queue is in the store only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/backlog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct troupe__message *pop(struct troupe__backlog *backlog)
{
    struct troupe__message *message = backlog->oldest;
    backlog->oldest = message->next;
    if (!backlog->oldest) {
        backlog->newest = NULL;
    }
    backlog->count--;
    backlog->size -= troupe__message_size(message);
    return message;
}

void troupe__backlog_fini(struct troupe__backlog *backlog)
{
    while (backlog->oldest) {
        troupe__message_free(pop(backlog));
    }
    for (size_t i = 0; i < backlog->change_count; i++) {
        free(backlog->changes[i].value);
    }
    free(backlog->changes);
    *backlog = (struct troupe__backlog){0};
}

static int compare_changes(const void *left, const void *right)
{
    const struct troupe__backlog_change *a = left, *b = right;
    return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

/* Stable: neighbours are mostly in order, and the number of changes is that of a second's messages. */
static bool sort_changes(struct troupe__backlog_change *changes, size_t count)
{
    struct troupe__backlog_change *other = malloc(count * sizeof *other);
    if (!other) {
        return false;
    }
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low < count; low += 2 * width) {
            size_t middle = low + width < count ? low + width : count;
            size_t high = low + 2 * width < count ? low + 2 * width : count;
            size_t a = low, b = middle;
            for (size_t to = low; to < high; to++) {
                bool left = a < middle && (b == high || compare_changes(&changes[a], &changes[b]) <= 0);
                other[to] = changes[left ? a++ : b++];
            }
        }
        memcpy(changes, other, count * sizeof *changes);
    }
    free(other);
    return true;
}

bool troupe__backlog_start(struct troupe__backlog *backlog, size_t stored, struct troupe__backlog_change *changes,
                           size_t change_count)
{
    assert(troupe__backlog_empty(backlog) && !backlog->changes);
    if (change_count > 0 && !sort_changes(changes, change_count)) {
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < change_count; i++) {
        if (i + 1 < change_count && changes[i].sequence == changes[i + 1].sequence) {
            free(changes[i].value);
        } else {
            changes[kept++] = changes[i];
        }
    }
    size_t removed = 0;
    for (size_t i = 0; i < kept; i++) {
        removed += changes[i].value == NULL;
    }
    backlog->changes = changes;
    backlog->change_count = kept;
    backlog->stored = stored > removed ? stored - removed : 0;
    backlog->next = 1;
    return true;
}

void troupe__backlog_push(struct troupe__backlog *backlog, struct troupe__message *message)
{
    assert(!backlog->newest || backlog->newest->sequence < message->sequence);
    message->next = NULL;
    if (backlog->newest) {
        backlog->newest->next = message;
    } else {
        backlog->oldest = message;
    }
    backlog->newest = message;
    backlog->count++;
    backlog->size += troupe__message_size(message);
}

void troupe__backlog_seal(struct troupe__backlog *backlog, uint64_t epoch, uint64_t sequence)
{
    backlog->last = sequence;
    if (backlog->count == 0) {
        backlog->sealed_count = 0; /* What is sealed is of no interest until there is something to let go. */
        return;
    }
    if (backlog->sealed_count == TROUPE__BACKLOG_SEALED) {
        backlog->sealed_count--; /* Two become one: what the first has is known to be folded a little later. */
    }
    backlog->sealed[backlog->sealed_count].epoch = epoch;
    backlog->sealed[backlog->sealed_count++].sequence = sequence;
}

static void note_folded(struct troupe__backlog *backlog, uint64_t folded)
{
    size_t done = 0;
    while (done < backlog->sealed_count && backlog->sealed[done].epoch <= folded) {
        backlog->folded = backlog->sealed[done++].sequence;
    }
    backlog->sealed_count -= done;
    memmove(backlog->sealed, backlog->sealed + done, backlog->sealed_count * sizeof *backlog->sealed);
}

void troupe__backlog_drop(struct troupe__backlog *backlog, uint64_t folded, size_t size_max)
{
    note_folded(backlog, folded);
    while (backlog->oldest && backlog->size > size_max && backlog->oldest->sequence <= backlog->folded) {
        struct troupe__message *message = pop(backlog);
        struct troupe__actor *to = message->to, *from = message->from;
        assert(message->fresh_index == TROUPE__HAS_ROW);
        if (backlog->stored++ == 0) {
            backlog->next = message->sequence;
        }
        troupe__message_free(message);
        troupe__actor_evict(to, folded);
        if (from && from != to) {
            troupe__actor_evict(from, folded);
        }
    }
}

/* ---- reading back ------------------------------------------------------------------------------------------------ */

struct reading {
    struct troupe__backlog *backlog;
    struct troupe__store *store;
    struct troupe__actors *actors;
    size_t size;
    struct troupe__message *first, *last;
};

static enum troupe_error read_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct reading *reading = context;
    struct troupe__backlog *backlog = reading->backlog;
    if (reading->size == 0 || backlog->stored == 0) {
        return TROUPE_EFULL; /* Ends the reading. */
    }
    uint64_t sequence = key.size == 8 ? troupe__get_be64(key.data) : 0;
    while (backlog->change_at < backlog->change_count && backlog->changes[backlog->change_at].sequence < sequence) {
        backlog->change_at++;
    }
    if (backlog->change_at < backlog->change_count && backlog->changes[backlog->change_at].sequence == sequence) {
        const struct troupe__backlog_change *change = &backlog->changes[backlog->change_at];
        if (!change->value) {
            return TROUPE_OK;
        }
        value = (struct troupe_bytes){change->value, change->size};
    }
    struct troupe__message *message = NULL;
    enum troupe_error result = sequence == 0 || sequence > backlog->last
                                   ? TROUPE_ECORRUPT
                                   : troupe__message_decode(reading->actors, value, &message);
    if (result != TROUPE_OK) {
        snprintf(reading->store->error, sizeof reading->store->error, "mail row %llu: %s: run troupe doctor",
                 (unsigned long long)sequence, troupe_error_text(result));
        return result;
    }
    message->sequence = sequence;
    if (reading->last) {
        reading->last->next = message;
    } else {
        reading->first = message;
    }
    reading->last = message;
    size_t size = troupe__message_size(message);
    reading->size = reading->size > size ? reading->size - size : 0;
    backlog->stored--;
    backlog->read_back++;
    backlog->next = sequence + 1;
    return TROUPE_OK;
}

static enum troupe_error read_rows(struct reading *reading)
{
    struct troupe__backlog *backlog = reading->backlog;
    unsigned char low[8], high[8];
    troupe__put_be64(low, backlog->next);
    struct troupe__range range = {.low = {low, 8}};
    if (backlog->oldest) {
        troupe__put_be64(high, backlog->oldest->sequence);
        range.high = (struct troupe_bytes){high, 8};
    }
    enum troupe_error result = reading->store->range(reading->store, TROUPE__MAIL, &range, read_row, reading);
    if (result == TROUPE_OK && backlog->stored > 0) {
        snprintf(reading->store->error, sizeof reading->store->error,
                 "%zu messages that were counted are not in the tables: run troupe doctor, restore a backup",
                 backlog->stored);
        result = TROUPE_ECORRUPT;
    }
    return result == TROUPE_EFULL ? TROUPE_OK : result;
}

enum troupe_error troupe__backlog_take(struct troupe__backlog *backlog, struct troupe__store *store,
                                       struct troupe__actors *actors, size_t size, struct troupe__message **ret)
{
    struct reading reading = {backlog, store, actors, size > 0 ? size : 1, NULL, NULL};
    enum troupe_error result = backlog->stored > 0 ? read_rows(&reading) : TROUPE_OK;
    while (result == TROUPE_OK && backlog->stored == 0 && backlog->oldest && reading.size > 0) {
        struct troupe__message *message = pop(backlog);
        message->next = NULL;
        if (reading.last) {
            reading.last->next = message;
        } else {
            reading.first = message;
        }
        reading.last = message;
        size_t used = troupe__message_size(message);
        reading.size = reading.size > used ? reading.size - used : 0;
    }
    if (backlog->stored == 0 && backlog->changes) {
        for (size_t i = 0; i < backlog->change_count; i++) {
            free(backlog->changes[i].value);
        }
        free(backlog->changes);
        backlog->changes = NULL;
        backlog->change_count = backlog->change_at = 0;
    }
    if (result != TROUPE_OK) {
        while (reading.first) {
            struct troupe__message *message = reading.first;
            reading.first = message->next;
            troupe__message_free(message);
        }
    }
    *ret = reading.first;
    return result;
}
