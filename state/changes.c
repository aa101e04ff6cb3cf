/* changes.c - the last change of each row that a list of records makes, in the order of the rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A hash table finds the item of a row, but of most mail a strip does. What is sorted is 16 bytes an item, by eight
 * bytes of the keys at a time. */
#include "state/changes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/prefetch.h"

enum {
    ROWS_KEPT = 1 << 16, /* for which memory is kept */
    AHEAD = 16,          /* what is fetched before its turn comes */
};

/* A change, as it stands in its record. */
struct troupe__changes_item {
    uint64_t order; /* the table's place (1 byte), the key's first seven; when sorting, others of the key */
    const unsigned char *at;
};

struct troupe__changes_slot {
    uint32_t hash, item; /* 1 + its index; 0: free */
};

static size_t take_varint(const unsigned char **at)
{
    size_t number = 0;
    unsigned shift = 0;
    for (; **at >= 0x80; ++*at, shift += 7) {
        number |= (size_t)(**at & 0x7f) << shift;
    }
    number |= (size_t) * (*at)++ << shift;
    return number;
}

/* The table and key of a change; its form was checked when it was added. */
static struct troupe_bytes key_of(const unsigned char *at, unsigned *ret_table)
{
    *ret_table = *at++ >> 1;
    size_t size = take_varint(&at);
    return (struct troupe_bytes){at, size};
}

static bool same_key(const unsigned char *at, const struct troupe__change *change)
{
    unsigned table;
    struct troupe_bytes key = key_of(at, &table);
    return table == change->table && key.size == change->key.size && memcmp(key.data, change->key.data, key.size) == 0;
}

/* Begin to fetch what stands there: most changes are less than a cache line, and most of those stand on two. */
static void prefetch(const unsigned char *at)
{
    troupe__prefetch(at);
    troupe__prefetch(at + 40);
}

static uint64_t place_of(unsigned table)
{
    return table == TROUPE__STATE ? 0 : table + 1;
}

/* Eight bytes of a key behind its first `shared`, so that numbers compare as they do; zeros where it ends. */
static uint64_t part_of(struct troupe_bytes key, size_t shared)
{
    unsigned char part[8] = {0};
    const unsigned char *from = (const unsigned char *)key.data + shared;
    if (key.size >= shared + sizeof part) {
        return troupe__get_be64(from);
    }
    memcpy(part, from, key.size - shared);
    return troupe__get_be64(part);
}

static uint64_t order_of(unsigned table, struct troupe_bytes key)
{
    return place_of(table) << 56 | part_of(key, 0) >> 8;
}

static int compare_keys(struct troupe_bytes left, struct troupe_bytes right)
{
    int order = memcmp(left.data, right.data, left.size < right.size ? left.size : right.size);
    return order != 0 ? order : left.size < right.size ? -1 : left.size > right.size;
}

static uint32_t hash_of(const struct troupe__change *change)
{
    return (uint32_t)(troupe__hash(change->key.data, change->key.size) >> 32) + change->table;
}

/* Where to begin to look. */
static struct troupe__changes_slot *slot_of(const struct troupe__changes *changes, uint32_t hash)
{
    return &changes->slots[hash & (changes->slot_count - 1)];
}

/* The first slot that is free or has the row. */
static struct troupe__changes_slot *find_slot(const struct troupe__changes *changes, uint32_t hash,
                                              const struct troupe__change *wanted)
{
    size_t at = hash & (changes->slot_count - 1);
    for (; changes->slots[at].item != 0; at = (at + 1) & (changes->slot_count - 1)) {
        if (changes->slots[at].hash == hash && same_key(changes->items[changes->slots[at].item - 1].at, wanted)) {
            break;
        }
    }
    return &changes->slots[at];
}

/* Free slots, on huge pages if they are many: they are looked at in no order, and most of a cache miss would be the
 * walk of the page table. */
static struct troupe__changes_slot *new_slots(size_t count)
{
    const size_t huge = (size_t)1 << 21;
    size_t size = count * sizeof(struct troupe__changes_slot);
    if (size < huge) {
        return calloc(1, size);
    }
    struct troupe__changes_slot *slots = aligned_alloc(huge, size); /* Both are powers of two. */
    if (slots) {
        (void)madvise(slots, size, MADV_HUGEPAGE); /* Without, it is only slower. */
        memset(slots, 0, size);
    }
    return slots;
}

enum { FIRST = 1024 };

static bool grow_items(struct troupe__changes *changes)
{
    size_t capacity = changes->capacity > 0 ? changes->capacity * 2 : FIRST;
    struct troupe__changes_item *items = realloc(changes->items, capacity * sizeof *items);
    if (items) {
        changes->items = items;
        changes->capacity = capacity;
    }
    return items != NULL;
}

static bool grow_slots(struct troupe__changes *changes)
{
    size_t count = changes->slot_count > 0 ? changes->slot_count * 2 : 2 * (size_t)FIRST;
    struct troupe__changes_slot *slots = new_slots(count);
    if (!slots) {
        return false;
    }
    for (size_t i = 0; i < changes->slot_count; i++) { /* No two of them are the same row. */
        if (changes->slots[i].item != 0) {
            size_t at = changes->slots[i].hash & (count - 1);
            while (slots[at].item != 0) {
                at = (at + 1) & (count - 1);
            }
            slots[at] = changes->slots[i];
        }
    }
    free(changes->slots);
    changes->slots = slots;
    changes->slot_count = count;
    return true;
}

/* Room for AHEAD more: each may become an item when it is added, or, of a strip, when all are sorted. */
static bool make_room(struct troupe__changes *changes)
{
    return (changes->count + AHEAD <= changes->capacity || grow_items(changes)) &&
           (2 * (changes->item_count + AHEAD) <= changes->slot_count || grow_slots(changes));
}

void troupe__changes_free(struct troupe__changes *changes)
{
    free(changes->items);
    free(changes->slots);
    free(changes->new_mail.places);
    free(changes->old_mail.places);
    *changes = (struct troupe__changes){0};
}

void troupe__changes_clear(struct troupe__changes *changes)
{
    if (changes->capacity > ROWS_KEPT && changes->count < changes->capacity / 16) {
        troupe__changes_free(changes);
    }
    changes->count = changes->item_count = changes->other_count = 0;
    troupe__strip_clear(&changes->new_mail, ROWS_KEPT);
    troupe__strip_clear(&changes->old_mail, ROWS_KEPT);
    changes->mail_bounded = false;
    memset(changes->bounds, 0, sizeof changes->bounds);
    if (changes->slots) {
        memset(changes->slots, 0, changes->slot_count * sizeof *changes->slots);
    }
}

bool troupe__changes_large(const struct troupe__changes *changes)
{
    return changes->capacity > ROWS_KEPT || changes->new_mail.capacity > ROWS_KEPT ||
           changes->old_mail.capacity > ROWS_KEPT;
}

enum { EMPTY = 1 /* the bound of a table without rows; 0: it was not said */ };

void troupe__changes_bound(struct troupe__changes *changes, enum troupe__table table, struct troupe_bytes key)
{
    changes->bounds[table] = key.data ? order_of(table, key) : EMPTY;
    if (table == TROUPE__MAIL && (!key.data || key.size == 8)) {
        changes->mail_new = key.data ? troupe__get_be64(key.data) + 1 : 0;
        changes->mail_bounded = !key.data || changes->mail_new > 0;
    }
}

/* Whether a change, the last one of its row, is none to the tables: it removes what they do not have. A row whose order
 * is the bound's may stand before it. */
static bool is_gone(const struct troupe__changes *changes, const unsigned char *at, uint64_t order)
{
    uint64_t bound = changes->bounds[*at >> 1];
    return (*at & 1) != 0 && bound != 0 && order > bound;
}

/* The strip that a change is for, or NULL. Which one never changes for a row. */
static struct troupe__strip *strip_of(struct troupe__changes *changes, const struct troupe__change *change)
{
    if (change->table != TROUPE__MAIL || change->key.size != 8 || !changes->mail_bounded) {
        return NULL;
    }
    return troupe__get_be64(change->key.data) >= changes->mail_new ? &changes->new_mail : &changes->old_mail;
}

static bool fits_strip(struct troupe__changes *changes, const struct troupe__change *change)
{
    const struct troupe__strip *strip = strip_of(changes, change);
    return strip && troupe__strip_covers(strip, troupe__get_be64(change->key.data));
}

/* Whether a strip has taken the change. What is removed behind the tables' last has come and gone. */
static bool add_to_strip(struct troupe__changes *changes, const struct troupe__change *change, const unsigned char *at)
{
    struct troupe__strip *strip = strip_of(changes, change);
    if (!strip) {
        return false;
    }
    size_t before = strip->count;
    bool gone = change->removed && strip == &changes->new_mail;
    if (!troupe__strip_put(strip, troupe__get_be64(change->key.data), gone ? NULL : at)) {
        return false;
    }
    changes->count += strip->count - before;
    changes->other_count += strip->count - before;
    return true;
}

static void add(struct troupe__changes *changes, const struct troupe__change *change, uint32_t hash,
                const unsigned char *at)
{
    struct troupe__changes_slot *slot = find_slot(changes, hash, change);
    bool is_new = slot->item == 0, is_other = change->table != TROUPE__STATE;
    if (is_new) {
        changes->count++;
        *slot = (struct troupe__changes_slot){hash, (uint32_t)++changes->item_count};
        changes->items[changes->item_count - 1].order = order_of(change->table, change->key);
    }
    struct troupe__changes_item *item = &changes->items[slot->item - 1];
    if (is_other) {
        changes->other_count -= !is_new && !is_gone(changes, item->at, item->order);
        changes->other_count += !is_gone(changes, at, item->order);
    }
    item->at = at;
}

enum troupe_error troupe__changes_add(struct troupe__changes *changes, struct troupe_bytes record)
{
    struct troupe__cursor cursor = {.at = record.data, .end = (const unsigned char *)record.data + record.size};
    struct {
        struct troupe__change change;
        const unsigned char *at;
        uint32_t hash;
        bool hashed;
        struct troupe__changes_slot slot; /* the first that it may be in */
    } some[AHEAD];
    size_t count;
    do {
        if (!make_room(changes)) {
            return TROUPE_ENOMEM;
        }
        for (count = 0; count < AHEAD; count++) {
            some[count].at = cursor.at;
            if (!troupe__record_next(&cursor, &some[count].change)) {
                break;
            }
            some[count].hashed = !fits_strip(changes, &some[count].change);
            if (some[count].hashed) {
                some[count].hash = hash_of(&some[count].change);
                troupe__prefetch(slot_of(changes, some[count].hash));
            }
        }
        for (size_t i = 0; i < count; i++) { /* Most rows are changed again: their slots name what is looked at next. */
            some[i].slot = some[i].hashed ? *slot_of(changes, some[i].hash) : (struct troupe__changes_slot){0, 0};
            if (some[i].slot.item != 0 && some[i].slot.hash == some[i].hash) {
                troupe__prefetch(&changes->items[some[i].slot.item - 1]);
            }
        }
        for (size_t i = 0; i < count; i++) {
            if (some[i].slot.item != 0 && some[i].slot.hash == some[i].hash) {
                troupe__prefetch(changes->items[some[i].slot.item - 1].at);
            }
        }
        for (size_t i = 0; i < count; i++) {
            if (!add_to_strip(changes, &some[i].change, some[i].at)) {
                uint32_t hash = some[i].hashed ? some[i].hash : hash_of(&some[i].change);
                add(changes, &some[i].change, hash, some[i].at);
            }
        }
    } while (count == AHEAD);
    return cursor.failed ? TROUPE_ECORRUPT : TROUPE_OK;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static int compare_orders(const void *left_item, const void *right_item)
{
    const struct troupe__changes_item *left = left_item, *right = right_item;
    return (left->order > right->order) - (left->order < right->order);
}

/* By order. Many are not compared: with `spare`, which has room for as many, they are dealt out by each byte, from the
 * last to the first, but for those that all have alike. */
static void sort_orders(struct troupe__changes_item *items, size_t count, struct troupe__changes_item *spare)
{
    enum { BYTES = sizeof items->order, MANY = 256 };
    if (count < MANY || !spare) {
        qsort(items, count, sizeof *items, compare_orders);
        return;
    }
    uint32_t places[BYTES][256] = {0};
    for (size_t i = 0; i < count; i++) {
        for (unsigned byte = 0; byte < BYTES; byte++) {
            places[byte][items[i].order >> 8 * byte & 255]++;
        }
    }
    struct troupe__changes_item *from = items, *to = spare;
    for (unsigned byte = 0; byte < BYTES; byte++) {
        if (places[byte][items[0].order >> 8 * byte & 255] == count) {
            continue;
        }
        uint32_t place = 0;
        for (unsigned value = 0; value < 256; value++) {
            uint32_t next = place + places[byte][value];
            places[byte][value] = place;
            place = next;
        }
        for (size_t i = 0; i < count; i++) {
            to[places[byte][from[i].order >> 8 * byte & 255]++] = from[i];
        }
        struct troupe__changes_item *other = from;
        from = to;
        to = other;
    }
    if (from != items) {
        memcpy(items, from, count * sizeof *items);
    }
}

static int compare_rest(const void *left_item, const void *right_item)
{
    const struct troupe__changes_item *left = left_item, *right = right_item;
    unsigned table; /* The same one. */
    return compare_keys(key_of(left->at, &table), key_of(right->at, &table));
}

/* How many bytes all keys begin with, of which the first `shared` are known to be the same. */
static size_t common(const struct troupe__changes_item *items, size_t count, size_t shared)
{
    unsigned table;
    struct troupe_bytes first = key_of(items[0].at, &table);
    size_t size = first.size;
    for (size_t i = 1; i < count && size > shared; i++) {
        prefetch(items[i + AHEAD < count ? i + AHEAD : i].at);
        struct troupe_bytes key = key_of(items[i].at, &table);
        const unsigned char *left = first.data, *right = key.data;
        size_t at = shared;
        size = key.size < size ? key.size : size;
        while (at < size && left[at] == right[at]) {
            at++;
        }
        size = at;
    }
    return size;
}

static void sort_keys(struct troupe__changes_item *items, size_t count, size_t shared,
                      struct troupe__changes_item *spare);

/* Of sorted items: those whose orders are the same are still to be sorted. */
static void sort_runs(struct troupe__changes_item *items, size_t count, size_t shared,
                      struct troupe__changes_item *spare)
{
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && items[to].order == items[from].order; to++) {
        }
        sort_keys(items + from, to - from, shared, spare);
    }
}

/* Keys of one table that share their first bytes: by the eight bytes behind those that all have in common, which
 * compare without a look at the keys, wherever they are. */
static void sort_keys(struct troupe__changes_item *items, size_t count, size_t shared,
                      struct troupe__changes_item *spare)
{
    enum { FEW = 8 };
    if (count <= FEW) {
        if (count > 1) {
            qsort(items, count, sizeof *items, compare_rest);
        }
        return;
    }
    shared = common(items, count, shared);
    bool ends = false;
    for (size_t i = 0; i < count; i++) {
        unsigned table;
        struct troupe_bytes key = key_of(items[i].at, &table);
        items[i].order = part_of(key, shared);
        ends = ends || key.size - shared < sizeof items->order;
    }
    sort_orders(items, count, spare);
    if (!ends) {
        sort_runs(items, count, shared + sizeof items->order, spare);
        return;
    }
    for (size_t from = 0, to; from < count; from = to) { /* One that ends may look like one that goes on with zeros. */
        for (to = from + 1; to < count && items[to].order == items[from].order; to++) {
        }
        if (to - from > 1) {
            qsort(items + from, to - from, sizeof *items, compare_rest);
        }
    }
}

/* Write its changes, in their order, to `items`. Returns their end. */
static struct troupe__changes_item *unroll(const struct troupe__strip *strip, struct troupe__changes_item *items)
{
    for (size_t i = 0; i < strip->size; i++) {
        if (strip->places[i]) {
            unsigned char number[8];
            troupe__put_be64(number, strip->first + i);
            *items++ = (struct troupe__changes_item){
                order_of(TROUPE__MAIL, (struct troupe_bytes){number, sizeof number}), strip->places[i]};
        }
    }
    return items;
}

static void unroll_both(const struct troupe__changes *changes, struct troupe__changes_item *items)
{
    (void)unroll(&changes->new_mail, unroll(&changes->old_mail, items));
}

void troupe__changes_sort(struct troupe__changes *changes)
{
    struct troupe__changes_item *items = changes->items;
    size_t kept = 0, strips = changes->old_mail.count + changes->new_mail.count;
    bool other_mail = false;
    for (size_t i = 0; i < changes->item_count; i++) {
        bool state = items[i].order >> 56 == place_of(TROUPE__STATE); /* Nearly all: no need to look there. */
        if (state || !is_gone(changes, items[i].at, items[i].order)) {
            other_mail = other_mail || items[i].order >> 56 == place_of(TROUPE__MAIL);
            items[kept++] = items[i];
        }
    }
    if (other_mail) { /* Between that of the strips. */
        unroll_both(changes, items + kept);
        kept += strips;
        strips = 0;
    }
    changes->count = changes->item_count = kept;
    if (kept > 0) {
        struct troupe__changes_item *spare = malloc(kept * sizeof *spare);
        sort_orders(items, kept, spare);
        sort_runs(items, kept, 0, spare);
        free(spare);
    }
    if (strips > 0) {
        size_t place = troupe__changes_find(changes, TROUPE__MAIL, (struct troupe_bytes){"", 0});
        memmove(items + place + strips, items + place, (kept - place) * sizeof *items);
        unroll_both(changes, items + place);
        changes->count = changes->item_count = kept + strips;
    }
}

void troupe__changes_get(const struct troupe__changes *changes, size_t index, struct troupe__change *ret)
{
    const unsigned char *at = changes->items[index].at;
    unsigned table;
    prefetch(changes->items[index + AHEAD < changes->count ? index + AHEAD : index].at);
    *ret = (struct troupe__change){.removed = *at & 1, .key = key_of(at, &table)};
    ret->table = (enum troupe__table)table;
    if (!ret->removed) {
        at = (const unsigned char *)ret->key.data + ret->key.size;
        size_t size = take_varint(&at);
        ret->value = (struct troupe_bytes){at, size};
    }
}

size_t troupe__changes_find(const struct troupe__changes *changes, enum troupe__table table, struct troupe_bytes prefix)
{
    size_t low = 0, high = changes->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        unsigned of;
        struct troupe_bytes key = key_of(changes->items[middle].at, &of);
        bool before = place_of(of) != place_of(table) ? place_of(of) < place_of(table) : compare_keys(key, prefix) < 0;
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low;
}
