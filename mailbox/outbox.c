/* outbox.c - the messages to one other node that it has not acknowledged, in the order of their numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/outbox.h"

#include <assert.h>

#include "core/grow.h"

enum {
    ROW_SIZE_GUESS = 128, /* of a message, while none is known */
    KEPT_SIZE = 1 << 18,  /* bytes of memory that an empty outbox keeps, to be filled again */
};

void troupe__outbox_init(struct troupe__outbox *outbox, uint16_t link, size_t memory_max, uint64_t first, uint64_t last)
{
    assert(first >= 1 && last + 1 >= first);
    *outbox = (struct troupe__outbox){
        .link = link, .memory_max = memory_max, .first = first, .last = last, .memory_first = last + 1};
}

void troupe__outbox_fini(struct troupe__outbox *outbox)
{
    free(outbox->entries);
    troupe__buffer_free(&outbox->bytes);
    *outbox = (struct troupe__outbox){0};
}

uint64_t troupe__outbox_count(struct troupe_bytes row)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    uint64_t count = 0;
    while (cursor.at < cursor.end) {
        size_t size;
        troupe__cursor_string(&cursor, &size);
        count++;
    }
    return cursor.failed ? 0 : count;
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

/* Where the bytes of a chunk in memory begin. */
static size_t begin_of(const struct troupe__outbox *outbox, size_t at)
{
    return at == outbox->head ? outbox->bytes_head : outbox->entries[at - 1].end;
}

static uint64_t first_of(const struct troupe__outbox *outbox, size_t at)
{
    return at == outbox->head ? outbox->memory_first : outbox->entries[at - 1].last + 1;
}

static struct troupe_bytes bytes_of(const struct troupe__outbox *outbox, size_t at)
{
    size_t begin = begin_of(outbox, at);
    return (struct troupe_bytes){outbox->bytes.data + begin, outbox->entries[at].end - begin};
}

static bool add_entry(struct troupe__outbox *outbox, uint64_t epoch)
{
    struct troupe__outbox_entry *entries =
        troupe__grow(outbox->entries, outbox->count, &outbox->capacity, sizeof *entries);
    if (!entries) {
        return false;
    }
    outbox->entries = entries;
    outbox->entries[outbox->count++] = (struct troupe__outbox_entry){epoch, outbox->last, outbox->bytes.size};
    return true;
}

bool troupe__outbox_push(struct troupe__outbox *outbox, uint64_t epoch, struct troupe_bytes message, size_t chunk_size)
{
    size_t newest = outbox->count - 1, before = outbox->bytes.size;
    bool open = outbox->count > outbox->head && outbox->entries[newest].epoch == epoch &&
                outbox->bytes.size - begin_of(outbox, newest) < chunk_size;
    troupe__buffer_put_string(&outbox->bytes, message.data, message.size);
    if (outbox->bytes.failed || (!open && !add_entry(outbox, epoch))) {
        outbox->bytes.failed = false;
        outbox->bytes.size = before;
        return false;
    }
    struct troupe__outbox_entry *entry = &outbox->entries[outbox->count - 1];
    entry->last = ++outbox->last;
    entry->end = outbox->bytes.size;
    outbox->pushed_size += message.size;
    outbox->pushed_count++;
    return true;
}

enum troupe_error troupe__outbox_restore(struct troupe__outbox *outbox, uint64_t epoch, uint64_t first,
                                         struct troupe_bytes row)
{
    uint64_t count = troupe__outbox_count(row);
    size_t before = outbox->bytes.size;
    if (first != outbox->last + 1 || count == 0) {
        return TROUPE_ECORRUPT;
    }
    troupe__buffer_put(&outbox->bytes, row.data, row.size);
    outbox->last += count;
    if (outbox->bytes.failed || !add_entry(outbox, epoch)) {
        outbox->bytes.failed = false;
        outbox->bytes.size = before;
        outbox->last -= count;
        return TROUPE_ENOMEM;
    }
    return TROUPE_OK;
}

void troupe__outbox_seal(const struct troupe__outbox *outbox, uint64_t epoch, struct troupe__buffer *record)
{
    size_t at = outbox->count;
    while (at > outbox->head && outbox->entries[at - 1].epoch == epoch) {
        at--;
    }
    for (; at < outbox->count; at++) {
        unsigned char key[10];
        struct troupe_bytes row = bytes_of(outbox, at);
        troupe__outbox_key(key, outbox->link, first_of(outbox, at));
        troupe__record_set(record, TROUPE__OUTBOX, key, sizeof key, row.data, row.size);
    }
}

uint64_t troupe__outbox_size(const struct troupe__outbox *outbox)
{
    uint64_t count = outbox->last + 1 - outbox->first;
    return count > 0 ? count * ((outbox->pushed_size + ROW_SIZE_GUESS) / (outbox->pushed_count + 1)) : 0;
}

/* The chunk in memory that has `number`. */
static size_t find_in_memory(const struct troupe__outbox *outbox, uint64_t number)
{
    size_t low = outbox->head, high = outbox->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (outbox->entries[middle].last < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A walk over keys of rows that the tables have. */
struct walk {
    struct troupe__outbox *outbox;
    struct troupe__buffer *record; /* of the epoch that removes rows */
    uint64_t last;                 /* the number seen last; 0: none */
    bool malformed;
};

static enum troupe_error walk_over(struct walk *walk, struct troupe__store *store, uint64_t low, uint64_t high,
                                   bool backward, troupe__row_fn row)
{
    unsigned char low_key[10], high_key[10];
    troupe__outbox_key(low_key, walk->outbox->link, low);
    troupe__outbox_key(high_key, walk->outbox->link, high);
    struct troupe__range range = {{low_key, sizeof low_key}, {high_key, sizeof high_key}, backward};
    return store->range(store, TROUPE__OUTBOX, &range, row, walk);
}

static enum troupe_error see_one(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct walk *walk = context;
    (void)value;
    walk->malformed = key.size != 10;
    walk->last = walk->malformed ? 0 : troupe__get_be64((const unsigned char *)key.data + 2);
    return TROUPE_ENOTFOUND; /* One is enough. */
}

/* Transmission goes on where a chunk begins, whatever a peer says that it has: then the key is known. */
static enum troupe_error get_from_store(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                                        struct troupe__outbox_chunk *ret)
{
    unsigned char key[10];
    struct troupe__outbox_chunk chunk = {.first = number};
    troupe__outbox_key(key, outbox->link, number);
    enum troupe_error result =
        store->read(store, TROUPE__OUTBOX, (struct troupe_bytes){key, sizeof key}, &chunk.messages);
    if (result == TROUPE_ENOTFOUND) { /* In the middle of one: it is the last that begins before. */
        struct walk walk = {.outbox = outbox};
        enum troupe_error walked = walk_over(&walk, store, outbox->first, number, true, see_one);
        if (walk.last == 0 || (walked != TROUPE_ENOTFOUND && walked != TROUPE_OK)) {
            return walked == TROUPE_OK ? TROUPE_ENOTFOUND : walked;
        }
        chunk.first = walk.last;
        troupe__outbox_key(key, outbox->link, chunk.first);
        result = store->read(store, TROUPE__OUTBOX, (struct troupe_bytes){key, sizeof key}, &chunk.messages);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    uint64_t count = troupe__outbox_count(chunk.messages);
    chunk.last = chunk.first + count - 1;
    if (count == 0 || chunk.last < number || chunk.last >= outbox->memory_first) {
        return chunk.last < number && count > 0 ? TROUPE_ENOTFOUND : TROUPE_ECORRUPT;
    }
    *ret = chunk;
    return TROUPE_OK;
}

enum troupe_error troupe__outbox_get(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                                     struct troupe__outbox_chunk *ret)
{
    assert(number >= outbox->first && number <= outbox->last);
    if (number < outbox->memory_first) {
        return get_from_store(outbox, store, number, ret);
    }
    size_t at = find_in_memory(outbox, number);
    *ret = (struct troupe__outbox_chunk){first_of(outbox, at), outbox->entries[at].last, bytes_of(outbox, at)};
    return TROUPE_OK;
}

/* Forget the oldest chunk that is in memory. */
static void forget_first(struct troupe__outbox *outbox)
{
    outbox->bytes_head = outbox->entries[outbox->head].end;
    outbox->memory_first = outbox->entries[outbox->head].last + 1;
    outbox->head++;
}

static void remove_row(struct troupe__outbox *outbox, uint64_t number, struct troupe__buffer *record)
{
    unsigned char key[10];
    troupe__outbox_key(key, outbox->link, number);
    troupe__record_remove(record, TROUPE__OUTBOX, key, sizeof key);
}

/* A chunk ends where the next one begins. */
static enum troupe_error trim_before(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct walk *walk = context;
    (void)value;
    if (key.size != 10) {
        return TROUPE_ECORRUPT;
    }
    uint64_t number = troupe__get_be64((const unsigned char *)key.data + 2);
    if (walk->last > 0) {
        remove_row(walk->outbox, walk->last, walk->record);
        walk->outbox->first = number;
    }
    walk->last = number;
    return TROUPE_OK;
}

/* Those that are in the tables only; which they are stands there. */
static void trim_stored(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                        struct troupe__buffer *record)
{
    struct walk walk = {.outbox = outbox, .record = record};
    bool all = number + 1 >= outbox->memory_first;
    uint64_t high = all ? outbox->memory_first : number + 2;
    if (walk_over(&walk, store, outbox->first, high, false, trim_before) == TROUPE_OK && all && walk.last > 0) {
        remove_row(outbox, walk.last, record);
        outbox->first = outbox->memory_first;
    }
}

void troupe__outbox_trim(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                         struct troupe__buffer *record)
{
    assert(number <= outbox->last);
    if (number < outbox->first) {
        return;
    }
    if (outbox->first < outbox->memory_first) {
        trim_stored(outbox, store, number, record);
    }
    while (outbox->first == outbox->memory_first && outbox->head < outbox->count &&
           outbox->entries[outbox->head].last <= number) {
        remove_row(outbox, outbox->first, record);
        forget_first(outbox);
        outbox->first = outbox->memory_first;
    }
    compact(outbox);
}

void troupe__outbox_shrink(struct troupe__outbox *outbox)
{
    assert(troupe__outbox_empty(outbox) && outbox->head == outbox->count);
    if (outbox->bytes.capacity > KEPT_SIZE) {
        troupe__buffer_free(&outbox->bytes);
        outbox->bytes_head = 0;
    }
    if (outbox->capacity * sizeof *outbox->entries > KEPT_SIZE) {
        free(outbox->entries);
        outbox->entries = NULL;
        outbox->head = outbox->count = outbox->capacity = 0;
    }
}

void troupe__outbox_spill(struct troupe__outbox *outbox, uint64_t folded)
{
    while (troupe__outbox_memory(outbox) > outbox->memory_max && outbox->entries[outbox->head].epoch <= folded) {
        forget_first(outbox);
    }
    compact(outbox);
}
