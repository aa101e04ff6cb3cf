/* collection_walk.c - walks over a map or list: what has changed and what the tables have, merged in the order of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "core/collection_use.h"

enum {
    BATCH_ROWS = 64,   /* that a walk takes from the tables at once */
    BATCH_SIZE = 65536 /* bytes; one row may be more */
};

/* Where a walk is, and the rows of the tables that it has taken ahead. They stay right for the whole delivery, for the
 * tables that are read change between deliveries only. */
struct troupe__batch {
    struct troupe__batch *next; /* of the delivery's walks */
    const struct troupe__collection *of;
    uint64_t generation;        /* whose rows these are */
    bool started, drained;      /* drained: the tables have no more behind those taken */
    size_t prefix, count, at;   /* at: offset of the first row not yet passed */
    struct troupe__buffer rows; /* size and key, size and value; one behind the other */
    unsigned char place[TROUPE__OVERLAY_KEY_MAX + 1];
    size_t place_size; /* of the key last met */
};

static enum troupe_error take_ahead(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__batch *batch = context;
    if (batch->count == BATCH_ROWS || batch->rows.size >= BATCH_SIZE) {
        return TROUPE_EFULL; /* Enough for now. */
    }
    troupe__buffer_put_string(&batch->rows, (const unsigned char *)key.data + batch->prefix, key.size - batch->prefix);
    troupe__buffer_put_string(&batch->rows, value.data, value.size);
    troupe__buffer_put_byte(&batch->rows, '\0');
    batch->count++;
    return batch->rows.failed ? TROUPE_ENOMEM : TROUPE_OK;
}

static int compare(struct troupe_bytes left, struct troupe_bytes right)
{
    size_t shorter = left.size < right.size ? left.size : right.size;
    int order = shorter > 0 ? memcmp(left.data, right.data, shorter) : 0;
    return order ? order : (left.size > right.size) - (left.size < right.size);
}

/* The first row of the tables with low <= key < high, in the walk's direction. TROUPE_ENOTFOUND: none. */
static enum troupe_error next_stored(struct troupe__use *use, struct troupe__batch *batch, struct troupe_bytes low,
                                     struct troupe_bytes high, bool backward, struct troupe__row_at *ret)
{
    for (;;) {
        while (batch->at < batch->rows.size) {
            struct troupe__cursor cursor = {batch->rows.data + batch->at, batch->rows.data + batch->rows.size, false};
            struct troupe__row_at row;
            row.key.data = troupe__cursor_string(&cursor, &row.key.size);
            row.bytes.data = troupe__cursor_string(&cursor, &row.bytes.size);
            if (backward ? compare(row.key, high) < 0 : compare(row.key, low) >= 0) {
                *ret = row;
                return (backward ? compare(row.key, low) >= 0 : compare(row.key, high) < 0) ? TROUPE_OK
                                                                                            : TROUPE_ENOTFOUND;
            }
            batch->at = (size_t)(cursor.at + 1 - batch->rows.data);
        }
        if (batch->drained) {
            return TROUPE_ENOTFOUND;
        }
        unsigned char low_key[TROUPE__ROW_KEY_MAX + 1];
        struct troupe_bytes bound = troupe__use_full_key(use, low);
        memcpy(low_key, bound.data, bound.size);
        struct troupe__range range = {{low_key, bound.size}, troupe__use_full_key(use, high), backward};
        struct troupe__store *store = use->ctx->store;
        batch->rows.size = batch->at = batch->count = 0;
        batch->prefix = use->prefix;
        enum troupe_error result = store->range(store, TROUPE__STATE, &range, take_ahead, batch);
        if (result == TROUPE_ENOMEM) {
            batch->rows.failed = false;
            return troupe__delivery_misuse(use->ctx, result);
        }
        if (result != TROUPE_OK && result != TROUPE_EFULL) {
            return troupe__use_fail(use, result, store->error);
        }
        batch->drained = result == TROUPE_OK;
    }
}

/* The next row of overlay and tables together with low <= key < high; what is removed is passed over.
 * TROUPE_ENOTFOUND: none. */
static enum troupe_error next_row(struct troupe__use *use, struct troupe__batch *batch, struct troupe_bytes low,
                                  struct troupe_bytes high, bool backward, struct troupe__row_at *ret)
{
    for (;;) {
        const struct troupe__overlay_row *changed =
            troupe__overlay_next(&use->collection->overlay, low, high, backward);
        enum troupe_error result = next_stored(use, batch, low, high, backward, ret);
        if (result != TROUPE_OK && (result != TROUPE_ENOTFOUND || !changed)) {
            return result;
        }
        struct troupe_bytes key = changed ? (struct troupe_bytes){changed->key, changed->key_size} : ret->key;
        int order = changed && result == TROUPE_OK ? compare(key, ret->key) : 0;
        if (!changed || (backward ? order < 0 : order > 0)) {
            return TROUPE_OK; /* The row of the tables is first, and as it was. */
        }
        if (changed->bytes) {
            *ret = (struct troupe__row_at){key, {changed->bytes, changed->size}};
            return TROUPE_OK;
        }
        memcpy(batch->place, key.data, key.size);
        batch->place_size = key.size;
        if (backward) {
            high = (struct troupe_bytes){batch->place, key.size};
        } else {
            batch->place[batch->place_size++] = '\0'; /* The first key behind it. */
            low = (struct troupe_bytes){batch->place, batch->place_size};
        }
    }
}

static struct troupe__batch *new_batch(struct troupe_context *ctx)
{
    struct troupe__batch *batch = calloc(1, sizeof *batch);
    if (!batch) {
        troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
        return NULL;
    }
    batch->next = ctx->batches;
    ctx->batches = batch;
    return batch;
}

enum troupe_error troupe__walk_next(struct troupe__use *use, struct troupe__batch **batch, struct troupe_bytes from,
                                    struct troupe_bytes to, bool backward, struct troupe__row_at *ret)
{
    unsigned char low_bytes[TROUPE__OVERLAY_KEY_MAX + 1], high_bytes[TROUPE__OVERLAY_KEY_MAX + 1];
    if (!*batch && !(*batch = new_batch(use->ctx))) {
        return TROUPE_ENOMEM;
    }
    struct troupe__batch *at = *batch;
    if (at->of && at->of != use->collection) {
        return troupe__use_fail(use, TROUPE_EINVAL, "the walk is over another map or list");
    }
    at->of = use->collection;
    if (at->generation != use->collection->head.generation) {
        at->generation = use->collection->head.generation;
        at->rows.size = at->at = 0;
        at->drained = false;
    }
    struct troupe_bytes low = {low_bytes, troupe__use_key(use, from, low_bytes)};
    struct troupe_bytes high = {high_bytes, troupe__use_key(use, to, high_bytes)};
    if (to.size == 0) {
        high_bytes[high.size - 1]++; /* The last byte of a varint is below 0x80: nothing is carried. */
    }
    if (at->started) { /* Only what is behind the last one; its generation may be another. */
        const unsigned char *last = at->place;
        size_t skip = 1;
        while (last[skip++] >= 0x80) {
        }
        struct troupe_bytes element = {last + skip, at->place_size - skip};
        if (backward) {
            high.size = troupe__use_key(use, element, high_bytes);
        } else {
            low.size = troupe__use_key(use, element, low_bytes);
            low_bytes[low.size++] = '\0';
        }
    }
    enum troupe_error result = compare(low, high) < 0 ? next_row(use, at, low, high, backward, ret) : TROUPE_ENOTFOUND;
    if (result == TROUPE_OK) {
        memcpy(at->place, ret->key.data, ret->key.size);
        at->place_size = ret->key.size;
        at->place[at->place_size] = '\0';
        at->started = true;
        size_t skip = troupe__use_key(use, (struct troupe_bytes){NULL, 0}, low_bytes);
        ret->key = (struct troupe_bytes){at->place + skip, at->place_size - skip};
    }
    return result;
}

void troupe__walk_end_all(struct troupe_context *ctx)
{
    while (ctx->batches) {
        struct troupe__batch *batch = ctx->batches;
        ctx->batches = batch->next;
        troupe__buffer_free(&batch->rows);
        free(batch);
    }
}
