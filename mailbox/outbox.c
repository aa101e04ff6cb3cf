/* outbox.c - the messages to one other node that it has not acknowledged, in the order of their numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/outbox.h"

#include <assert.h>

enum { ROW_SIZE_GUESS = 128 }; /* of a row, while none is known */

void troupe__outbox_init(struct troupe__outbox *outbox, uint16_t link, size_t memory_max, uint64_t first, uint64_t last)
{
    assert(first >= 1 && last + 1 >= first);
    *outbox = (struct troupe__outbox){.link = link, .memory_max = memory_max, .first = first, .last = last};
}

void troupe__outbox_fini(struct troupe__outbox *outbox)
{
    free(outbox->entries);
    troupe__buffer_free(&outbox->bytes);
    *outbox = (struct troupe__outbox){0};
}

/* The first number that is in memory; last + 1 when none is. */
static uint64_t memory_first(const struct troupe__outbox *outbox)
{
    return outbox->last + 1 - (outbox->count - outbox->head);
}

/* Close the gap that has grown at the front. */
static void compact(struct troupe__outbox *outbox)
{
    size_t count = outbox->count - outbox->head, size = outbox->bytes.size - outbox->bytes_head;
    if (outbox->head <= count && outbox->bytes_head <= size) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        outbox->entries[i] = outbox->entries[outbox->head + i];
        outbox->entries[i].end -= outbox->bytes_head;
    }
    if (size > 0) {
        memmove(outbox->bytes.data, outbox->bytes.data + outbox->bytes_head, size);
    }
    outbox->head = 0;
    outbox->count = count;
    outbox->bytes_head = 0;
    outbox->bytes.size = size;
}

bool troupe__outbox_push(struct troupe__outbox *outbox, uint64_t epoch, struct troupe_bytes message, bool found)
{
    if (outbox->count == outbox->capacity) {
        size_t capacity = outbox->capacity ? outbox->capacity * 2 : 64;
        struct troupe__outbox_entry *entries = realloc(outbox->entries, capacity * sizeof *entries);
        if (!entries) {
            return false;
        }
        outbox->entries = entries;
        outbox->capacity = capacity;
    }
    troupe__buffer_put(&outbox->bytes, message.data, message.size);
    if (outbox->bytes.failed) {
        outbox->bytes.failed = false;
        return false;
    }
    outbox->entries[outbox->count++] = (struct troupe__outbox_entry){epoch, outbox->bytes.size};
    outbox->last++;
    outbox->pushed_size += found ? 0 : message.size;
    outbox->pushed_count += found ? 0 : 1;
    return true;
}

uint64_t troupe__outbox_size(const struct troupe__outbox *outbox)
{
    uint64_t count = outbox->last + 1 - outbox->first;
    return count > 0 ? count * ((outbox->pushed_size + ROW_SIZE_GUESS) / (outbox->pushed_count + 1)) : 0;
}

enum troupe_error troupe__outbox_get(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                                     struct troupe_bytes *ret)
{
    assert(number >= outbox->first && number <= outbox->last);
    uint64_t first = memory_first(outbox);
    if (number >= first) {
        size_t at = outbox->head + (size_t)(number - first);
        size_t begin = at == outbox->head ? outbox->bytes_head : outbox->entries[at - 1].end;
        *ret = (struct troupe_bytes){outbox->bytes.data + begin, outbox->entries[at].end - begin};
        return TROUPE_OK;
    }
    unsigned char key[10];
    troupe__outbox_key(key, outbox->link, number);
    return store->read(store, TROUPE__OUTBOX, (struct troupe_bytes){key, sizeof key}, ret);
}

/* Forget the oldest that is in memory. */
static void forget_first(struct troupe__outbox *outbox)
{
    outbox->bytes_head = outbox->entries[outbox->head].end;
    outbox->head++;
}

void troupe__outbox_trim(struct troupe__outbox *outbox, uint64_t number)
{
    assert(number <= outbox->last);
    if (number < outbox->first) {
        return;
    }
    uint64_t spilled = memory_first(outbox) > outbox->first ? memory_first(outbox) - outbox->first : 0;
    uint64_t gone = number - outbox->first + 1;
    uint64_t gone_spilled = gone < spilled ? gone : spilled;
    for (uint64_t left = gone - gone_spilled; left > 0; left--) {
        forget_first(outbox);
    }
    outbox->first = number + 1;
    compact(outbox);
}

void troupe__outbox_spill(struct troupe__outbox *outbox, uint64_t folded)
{
    while (troupe__outbox_memory(outbox) > outbox->memory_max && outbox->entries[outbox->head].epoch <= folded) {
        forget_first(outbox);
    }
    compact(outbox);
}
