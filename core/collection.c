/* collection.c - the maps and lists of the actor that handles a message.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/collection.h"

#include <assert.h>

#include "core/state.h"

enum {
    CLEAR_DIRECT = 64,  /* elements that are removed one by one */
    BATCH_ROWS = 64,    /* that a walk takes from the tables at once */
    BATCH_SIZE = 65536, /* bytes; one row may be more */
    LIST_KEY_SIZE = 8,
    OVERLAY_KEY_MAX = 1 + TROUPE__GENERATION_SIZE_MAX + TROUPE_ELEMENT_KEY_MAX,
};

/* One more than a key has: the first key behind it. */
_Static_assert(2 + TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1 + TROUPE_NAME_MAX + OVERLAY_KEY_MAX + 1 <=
                   TROUPE__ROW_KEY_MAX,
               "every element has a row key");

/* One map or list during one call. */
struct use {
    struct troupe_context *ctx;
    const struct troupe_value *value;
    struct troupe__collection *collection;
    uint32_t index;
    size_t prefix; /* bytes of `key` up to the value's name */
    unsigned char key[TROUPE__ROW_KEY_MAX + 1];
};

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* The key of an element's row, from behind the value's name on. Returns its size. */
static size_t element_key(const struct use *use, struct troupe_bytes element, unsigned char to[static OVERLAY_KEY_MAX])
{
    size_t size = 0;
    uint64_t generation = use->collection->head.generation;
    to[size++] = '\0';
    for (; generation >= 0x80; generation >>= 7) {
        to[size++] = (unsigned char)(generation | 0x80);
    }
    to[size++] = (unsigned char)generation;
    if (element.size > 0) {
        memcpy(to + size, element.data, element.size);
    }
    return size + element.size;
}

static struct troupe_bytes full_key(struct use *use, struct troupe_bytes key)
{
    if (key.size > 0) {
        memcpy(use->key + use->prefix, key.data, key.size);
    }
    return (struct troupe_bytes){use->key, use->prefix + key.size};
}

static enum troupe_error fail_row(const struct use *use, enum troupe_error error, const char *what)
{
    troupe_fail(use->ctx, error, "value '%s': %s", use->value->name, what);
    return troupe__delivery_misuse(use->ctx, error);
}

/* A row as it is, from the overlay or the tables. Bytes from the tables are valid until the next call of the store. */
static enum troupe_error get_row(struct use *use, struct troupe_bytes key, struct troupe_bytes *ret)
{
    const struct troupe__overlay_row *row = troupe__overlay_find(&use->collection->overlay, key);
    if (row) {
        *ret = (struct troupe_bytes){row->bytes, row->size};
        return row->bytes ? TROUPE_OK : TROUPE_ENOTFOUND;
    }
    struct troupe__store *store = use->ctx->store;
    enum troupe_error result = store->read(store, TROUPE__STATE, full_key(use, key), ret);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? result : fail_row(use, result, store->error);
}

/* Give a row other bytes, which the overlay owns from now on, also on failure; NULL: remove it. */
static enum troupe_error change_row(struct use *use, struct troupe_bytes key, char *bytes, size_t size)
{
    struct troupe_context *ctx = use->ctx;
    struct troupe__overlay *overlay = &use->collection->overlay;
    bool made = false;
    struct troupe__overlay_row *row = NULL;
    if (troupe__delivery_ensure((void **)&ctx->row_undo, ctx->row_undo_count, &ctx->row_undo_capacity,
                                sizeof *ctx->row_undo)) {
        made = !troupe__overlay_find(overlay, key);
        row = troupe__overlay_put(&ctx->actors->unfolded, overlay, key, ctx->epoch);
    }
    if (!row) {
        free(bytes);
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    ctx->row_undo[ctx->row_undo_count++] = (struct troupe__row_undo){row, row->bytes, row->size, made};
    troupe__overlay_give(&ctx->actors->unfolded, row, bytes, (uint32_t)size);
    ctx->actor->changed_epoch = ctx->actor->row_epoch = ctx->epoch;
    ctx->effects_size += sizeof *row + sizeof *ctx->row_undo + key.size + size;
    return TROUPE_OK;
}

/* Set a row to this header and payload. */
static enum troupe_error set_row(struct use *use, struct troupe_bytes key, const struct troupe__row *row)
{
    struct troupe__buffer bytes = {0};
    enum troupe_error result = troupe__delivery_check_size(use->ctx, row->payload);
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__buffer_reserve(&bytes, TROUPE__ROW_HEADER_MAX + row->payload.size + 1);
    troupe__row_encode_header(row, &bytes);
    troupe__buffer_put(&bytes, row->payload.data, row->payload.size);
    troupe__buffer_put_byte(&bytes, '\0');
    if (bytes.failed) {
        troupe__buffer_free(&bytes);
        return troupe__delivery_misuse(use->ctx, TROUPE_ENOMEM);
    }
    return change_row(use, key, (char *)bytes.data, bytes.size - 1);
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

static enum troupe_error clear(struct use *use);

static int64_t lease_end(const struct use *use)
{
    return use->value->ttl_ms > 0 ? use->ctx->now_ms + use->value->ttl_ms : 0;
}

static enum troupe_error keep_head(struct use *use)
{
    struct troupe__collection *collection = use->collection;
    struct troupe_bytes none = {NULL, 0};
    bool list = use->value->kind == TROUPE_LIST;
    if (collection->head.generation == 0 && (!list || collection->head.count == 0)) {
        return change_row(use, none, NULL, 0);
    }
    struct troupe__buffer payload = {0};
    troupe__head_encode(&collection->head, use->value->kind, &payload);
    struct troupe__row row = {.head = true, .payload = {payload.data, payload.size}};
    row.expires_ms = list ? collection->expires_ms : 0;
    enum troupe_error result =
        payload.failed ? troupe__delivery_misuse(use->ctx, TROUPE_ENOMEM) : set_row(use, none, &row);
    if (result != TROUPE_OK) {
        collection->known = false;
        troupe__delivery_misuse(use->ctx, result); /* Elements may have changed already. */
    }
    troupe__buffer_free(&payload);
    return result;
}

static enum troupe_error read_head(struct use *use)
{
    struct troupe__collection *collection = use->collection;
    struct troupe__row row = {0};
    struct troupe_bytes bytes;
    enum troupe_kind kind;
    collection->head = (struct troupe__head){.first = TROUPE__LIST_BEGIN};
    collection->expires_ms = 0;
    enum troupe_error result = get_row(use, (struct troupe_bytes){NULL, 0}, &bytes);
    if (result == TROUPE_OK) {
        if (!troupe__row_decode(bytes, &row)) {
            return fail_row(use, TROUPE_ECORRUPT, "its row is malformed: run troupe doctor");
        }
        if (!row.head) {
            return fail_row(use, TROUPE_ETYPE, "it is stored as another kind than the module declares");
        }
        if (!troupe__head_decode(row.payload, &kind, &collection->head)) {
            return fail_row(use, TROUPE_ECORRUPT, "its head is malformed: run troupe doctor");
        }
        if (kind != use->value->kind) {
            return fail_row(use, TROUPE_ETYPE, "it is stored as another kind than the module declares");
        }
        collection->expires_ms = row.expires_ms;
    } else if (result != TROUPE_ENOTFOUND) {
        return result;
    }
    collection->known = true;
    return TROUPE_OK;
}

/* A list whose time is over is cleared; one that lives on by being read is prolonged. */
static enum troupe_error check_list(struct use *use, bool reads)
{
    struct troupe__collection *collection = use->collection;
    if (use->value->ttl_ms == 0 || collection->head.count == 0) {
        return TROUPE_OK;
    }
    if (troupe__state_expired(use->ctx, use->value, collection->expires_ms)) {
        return clear(use);
    }
    if (reads && troupe__state_prolongs(use->ctx, use->value, collection->expires_ms)) {
        collection->expires_ms = lease_end(use);
        return keep_head(use);
    }
    return TROUPE_OK;
}

/* Begin a call: find the collection and its head. */
static enum troupe_error begin(struct use *use, struct troupe_context *ctx, const struct troupe_value *value,
                               enum troupe_kind kind, bool reads)
{
    struct troupe__cell *cell = NULL;
    use->ctx = ctx;
    use->value = value;
    enum troupe_error result = troupe__state_find(ctx, value, &cell, &use->index);
    if (result != TROUPE_OK) {
        return result;
    }
    if (value->kind != kind) {
        troupe_fail(ctx, TROUPE_ETYPE, "value '%s' is declared as another kind than it is used as", value->name);
        return troupe__delivery_misuse(ctx, TROUPE_ETYPE);
    }
    use->collection = troupe__actor_collection(ctx->actor, use->index);
    if (!use->collection) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    use->prefix = troupe__actor_row_key(ctx->actor, value->name, use->key);
    result = use->collection->known ? TROUPE_OK : read_head(use);
    return result == TROUPE_OK && kind == TROUPE_LIST ? check_list(use, reads) : result;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

/* Where a walk is, and the rows of the tables that it has taken ahead. They stay right for the whole delivery, for the
 * tables that are read change between deliveries only. */
struct troupe__batch {
    struct troupe__batch *next; /* of the delivery's walks */
    const struct troupe__collection *of;
    uint64_t generation;        /* whose rows these are */
    bool started, drained;      /* drained: the tables have no more behind those taken */
    size_t prefix, count, at;   /* at: offset of the first row not yet passed */
    struct troupe__buffer rows; /* size and key, size and value; one behind the other */
    unsigned char place[OVERLAY_KEY_MAX + 1];
    size_t place_size; /* of the key last met */
};

struct row_at { /* A row that a walk is at. */
    struct troupe_bytes key, bytes;
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
static enum troupe_error next_stored(struct use *use, struct troupe__batch *batch, struct troupe_bytes low,
                                     struct troupe_bytes high, bool backward, struct row_at *ret)
{
    for (;;) {
        while (batch->at < batch->rows.size) {
            struct troupe__cursor cursor = {batch->rows.data + batch->at, batch->rows.data + batch->rows.size, false};
            struct row_at row;
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
        struct troupe_bytes bound = full_key(use, low);
        memcpy(low_key, bound.data, bound.size);
        struct troupe__range range = {{low_key, bound.size}, full_key(use, high), backward};
        struct troupe__store *store = use->ctx->store;
        batch->rows.size = batch->at = batch->count = 0;
        batch->prefix = use->prefix;
        enum troupe_error result = store->range(store, TROUPE__STATE, &range, take_ahead, batch);
        if (result == TROUPE_ENOMEM) {
            batch->rows.failed = false;
            return troupe__delivery_misuse(use->ctx, result);
        }
        if (result != TROUPE_OK && result != TROUPE_EFULL) {
            return fail_row(use, result, store->error);
        }
        batch->drained = result == TROUPE_OK;
    }
}

/* The next row of overlay and tables together with low <= key < high; what is removed is passed over.
 * TROUPE_ENOTFOUND: none. */
static enum troupe_error next_row(struct use *use, struct troupe__batch *batch, struct troupe_bytes low,
                                  struct troupe_bytes high, bool backward, struct row_at *ret)
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
            *ret = (struct row_at){key, {changed->bytes, changed->size}};
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

/* The next element of a walk between two elements' keys; no bytes are no bound. */
static enum troupe_error walk(struct use *use, struct troupe__batch **batch, struct troupe_bytes from,
                              struct troupe_bytes to, bool backward, struct row_at *ret)
{
    unsigned char low_bytes[OVERLAY_KEY_MAX + 1], high_bytes[OVERLAY_KEY_MAX + 1];
    if (!*batch && !(*batch = new_batch(use->ctx))) {
        return TROUPE_ENOMEM;
    }
    struct troupe__batch *at = *batch;
    if (at->of && at->of != use->collection) {
        return fail_row(use, TROUPE_EINVAL, "the walk is over another map or list");
    }
    at->of = use->collection;
    if (at->generation != use->collection->head.generation) {
        at->generation = use->collection->head.generation;
        at->rows.size = at->at = 0;
        at->drained = false;
    }
    struct troupe_bytes low = {low_bytes, element_key(use, from, low_bytes)};
    struct troupe_bytes high = {high_bytes, element_key(use, to, high_bytes)};
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
            high.size = element_key(use, element, high_bytes);
        } else {
            low.size = element_key(use, element, low_bytes);
            low_bytes[low.size++] = '\0';
        }
    }
    enum troupe_error result = compare(low, high) < 0 ? next_row(use, at, low, high, backward, ret) : TROUPE_ENOTFOUND;
    if (result == TROUPE_OK) {
        memcpy(at->place, ret->key.data, ret->key.size);
        at->place_size = ret->key.size;
        at->place[at->place_size] = '\0';
        at->started = true;
        size_t skip = element_key(use, (struct troupe_bytes){NULL, 0}, low_bytes);
        ret->key = (struct troupe_bytes){at->place + skip, at->place_size - skip};
    }
    return result;
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static enum troupe_error set_element(struct use *use, struct troupe_bytes element, struct troupe_bytes bytes)
{
    unsigned char key[OVERLAY_KEY_MAX];
    struct troupe__row row = {.version = use->value->version, .payload = bytes};
    row.expires_ms = use->value->kind == TROUPE_MAP ? lease_end(use) : 0;
    return set_row(use, (struct troupe_bytes){key, element_key(use, element, key)}, &row);
}

static enum troupe_error remove_element(struct use *use, struct troupe_bytes element)
{
    unsigned char key[OVERLAY_KEY_MAX];
    struct troupe_bytes row = {key, element_key(use, element, key)};
    enum troupe_error result = troupe__delivery_check_size(use->ctx, (struct troupe_bytes){NULL, 0});
    return result == TROUPE_OK ? change_row(use, row, NULL, 0) : result;
}

/* What a row holds, in the declared version. TROUPE_ENOTFOUND: it has expired. */
static enum troupe_error open_row(struct use *use, struct troupe_bytes bytes, struct troupe__row *ret, bool *ret_older)
{
    if (!troupe__row_decode(bytes, ret) || ret->head) {
        return fail_row(use, TROUPE_ECORRUPT, "an element is malformed: run troupe doctor");
    }
    if (use->value->kind == TROUPE_MAP && troupe__state_expired(use->ctx, use->value, ret->expires_ms)) {
        return TROUPE_ENOTFOUND;
    }
    *ret_older = ret->version != use->value->version;
    return troupe__state_migrate(use->ctx, use->value, ret->version, &ret->payload);
}

static enum troupe_error get_element(struct use *use, struct troupe_bytes element, struct troupe_bytes *ret)
{
    unsigned char key_bytes[OVERLAY_KEY_MAX];
    struct troupe_bytes bytes, key = {key_bytes, element_key(use, element, key_bytes)};
    struct troupe__row row;
    bool older = false;
    enum troupe_error result = get_row(use, key, &bytes);
    if (result != TROUPE_OK) {
        return result;
    }
    if ((result = open_row(use, bytes, &row, &older)) != TROUPE_OK) {
        if (result == TROUPE_ENOTFOUND) {
            (void)remove_element(use, element); /* It is gone; without it the sweep would remove it. */
        }
        return result;
    }
    if (!older && troupe__overlay_find(&use->collection->overlay, key)) {
        *ret = row.payload; /* Stays until the delivery ends, whatever happens to the element. */
    } else {
        *ret = (struct troupe_bytes){troupe__delivery_copy(use->ctx, row.payload.data, row.payload.size),
                                     row.payload.size};
        if (!ret->data) {
            return troupe__delivery_misuse(use->ctx, TROUPE_ENOMEM);
        }
    }
    bool prolongs = use->value->kind == TROUPE_MAP && troupe__state_prolongs(use->ctx, use->value, row.expires_ms);
    if (older || prolongs) {
        row.version = use->value->version;
        row.expires_ms = prolongs ? lease_end(use) : row.expires_ms;
        row.payload = *ret;
        result = set_row(use, key, &row);
    }
    return result;
}

static enum troupe_error clear(struct use *use)
{
    struct troupe__head *head = &use->collection->head;
    struct troupe__batch *batch = NULL;
    struct troupe_bytes none = {NULL, 0};
    struct row_at row;
    enum troupe_error result = TROUPE_OK;
    size_t count = 0;
    while (count <= CLEAR_DIRECT && (result = walk(use, &batch, none, none, false, &row)) == TROUPE_OK) {
        count++;
    }
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return result;
    }
    if (count > CLEAR_DIRECT) {
        unsigned char old[OVERLAY_KEY_MAX];
        struct troupe_bytes prefix = full_key(use, (struct troupe_bytes){old, element_key(use, none, old)});
        if (head->generation == TROUPE__GENERATION_MAX) {
            return fail_row(use, TROUPE_EFULL, "it cannot be cleared any more: no generation is left");
        }
        const char *copy = troupe__delivery_copy(use->ctx, prefix.data, prefix.size);
        struct troupe__effect *effect = copy ? troupe__delivery_stage(use->ctx, TROUPE__SWEEP_ROWS) : NULL;
        if (!effect) {
            return troupe__delivery_misuse(use->ctx, TROUPE_ENOMEM);
        }
        effect->body = (struct troupe_bytes){copy, prefix.size};
        head->generation++;
    }
    for (batch = NULL; count > 0 && count <= CLEAR_DIRECT; count--) {
        result = walk(use, &batch, none, none, false, &row);
        result = result == TROUPE_OK ? remove_element(use, row.key) : result;
        if (result != TROUPE_OK) {
            return troupe__delivery_misuse(use->ctx, result);
        }
    }
    if (use->value->kind == TROUPE_MAP && head->generation == 0) {
        return TROUPE_OK;
    }
    head->first = TROUPE__LIST_BEGIN;
    head->count = 0;
    return keep_head(use);
}

enum troupe_error troupe__collection_clear(struct troupe_context *ctx, const struct troupe_value *value)
{
    struct use use;
    enum troupe_error result = begin(&use, ctx, value, value->kind, false);
    return result == TROUPE_OK ? clear(&use) : result;
}

enum troupe_error troupe__collection_expire(struct troupe_context *ctx, const struct troupe_value *value,
                                            struct troupe_bytes key)
{
    struct use use;
    struct troupe_bytes bytes;
    struct troupe__row row;
    unsigned char prefix[OVERLAY_KEY_MAX];
    enum troupe_error result = begin(&use, ctx, value, value->kind, false); /* Clears a list that has expired. */
    if (result != TROUPE_OK || value->kind != TROUPE_MAP) {
        return result;
    }
    size_t size = element_key(&use, (struct troupe_bytes){NULL, 0}, prefix);
    if (key.size <= size || key.size > OVERLAY_KEY_MAX || memcmp(key.data, prefix, size) != 0) {
        return TROUPE_OK; /* The head, or an element of a generation that is over. */
    }
    result = get_row(&use, key, &bytes);
    if (result != TROUPE_OK) {
        return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
    }
    bool expired = troupe__row_decode(bytes, &row) && troupe__state_expired(ctx, value, row.expires_ms);
    return expired ? change_row(&use, key, NULL, 0) : TROUPE_OK;
}

enum troupe_error troupe__collection_drop_head(struct troupe_context *ctx, const struct troupe_value *value)
{
    struct use use;
    enum troupe_error result = begin(&use, ctx, value, value->kind, false);
    struct troupe__collection *collection = use.collection;
    if (result != TROUPE_OK || collection->overlay.root || collection->head.generation == 0 ||
        (value->kind == TROUPE_LIST && collection->head.count > 0)) {
        return result; /* With an overlay the tables do not have all; what is in it may be elements. */
    }
    collection->head = (struct troupe__head){.first = TROUPE__LIST_BEGIN};
    return keep_head(&use);
}

/* ---- maps -------------------------------------------------------------------------------------------------------- */

static enum troupe_error check_key(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                   size_t least)
{
    if (key.size < least || key.size > TROUPE_ELEMENT_KEY_MAX) {
        troupe_fail(ctx, TROUPE_EINVAL, "map '%s': a key of %zu bytes is not of 1 to %d", map->name, key.size,
                    TROUPE_ELEMENT_KEY_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    return TROUPE_OK;
}

static enum troupe_error begin_map(struct use *use, struct troupe_context *ctx, const struct troupe_value *map,
                                   struct troupe_bytes key)
{
    enum troupe_error result = begin(use, ctx, map, TROUPE_MAP, false);
    return result == TROUPE_OK ? check_key(ctx, map, key, 1) : result;
}

enum troupe_error troupe_map_get(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes *ret)
{
    struct use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? get_element(&use, key, ret) : result;
}

enum troupe_error troupe_map_set(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes bytes)
{
    struct use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? set_element(&use, key, bytes) : result;
}

enum troupe_error troupe_map_remove(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key)
{
    struct use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? remove_element(&use, key) : result;
}

/* The next element that has not expired. */
static enum troupe_error next_element(struct use *use, struct troupe__batch **batch, struct troupe_bytes from,
                                      struct troupe_bytes to, bool backward, struct row_at *ret)
{
    struct troupe__row row;
    bool older;
    enum troupe_error result;
    while ((result = walk(use, batch, from, to, backward, ret)) == TROUPE_OK) {
        result = open_row(use, ret->bytes, &row, &older);
        if (result != TROUPE_ENOTFOUND) {
            ret->bytes = row.payload;
            return result;
        }
    }
    return result;
}

enum troupe_error troupe_map_next(struct troupe_context *ctx, const struct troupe_value *map,
                                  struct troupe_map_walk *at, struct troupe_bytes *ret_key,
                                  struct troupe_bytes *ret_bytes)
{
    struct use use;
    struct row_at row;
    enum troupe_error result = begin(&use, ctx, map, TROUPE_MAP, true);
    result = result == TROUPE_OK ? check_key(ctx, map, at->from, 0) : result;
    result = result == TROUPE_OK ? check_key(ctx, map, at->to, 0) : result;
    result = result == TROUPE_OK ? next_element(&use, &at->batch, at->from, at->to, at->backward, &row) : result;
    if (result == TROUPE_OK) {
        *ret_key = row.key;
        *ret_bytes = row.bytes;
    }
    return result;
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static struct troupe_bytes list_key(uint64_t number, unsigned char to[static LIST_KEY_SIZE])
{
    troupe__put_be64(to, number);
    return (struct troupe_bytes){to, LIST_KEY_SIZE};
}

static enum troupe_error push(struct troupe_context *ctx, const struct troupe_value *list, struct troupe_bytes bytes,
                              bool front)
{
    struct use use;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, false);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__head *head = &use.collection->head;
    result = set_element(&use, list_key(front ? head->first - 1 : head->first + head->count, key), bytes);
    if (result != TROUPE_OK) {
        return result;
    }
    head->first -= front;
    head->count++;
    use.collection->expires_ms = lease_end(&use);
    return keep_head(&use);
}

enum troupe_error troupe_list_push_front(struct troupe_context *ctx, const struct troupe_value *list,
                                         struct troupe_bytes bytes)
{
    return push(ctx, list, bytes, true);
}

enum troupe_error troupe_list_push_back(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes bytes)
{
    return push(ctx, list, bytes, false);
}

/* An element that the head says is there. */
static enum troupe_error get_number(struct use *use, uint64_t number, struct troupe_bytes *ret)
{
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = get_element(use, list_key(number, key), ret);
    return result == TROUPE_ENOTFOUND ? fail_row(use, TROUPE_ECORRUPT, "the list lacks an element: run troupe doctor")
                                      : result;
}

static enum troupe_error pop(struct troupe_context *ctx, const struct troupe_value *list, struct troupe_bytes *ret,
                             bool front)
{
    struct use use;
    struct troupe_bytes bytes;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, false);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__head *head = &use.collection->head;
    if (head->count == 0) {
        return TROUPE_ENOTFOUND;
    }
    uint64_t number = front ? head->first : head->first + head->count - 1;
    result = get_number(&use, number, &bytes);
    result = result == TROUPE_OK ? remove_element(&use, list_key(number, key)) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    head->first = head->count == 1 ? TROUPE__LIST_BEGIN : head->first + front;
    head->count--;
    use.collection->expires_ms = lease_end(&use);
    result = keep_head(&use);
    if (result == TROUPE_OK && ret) {
        *ret = bytes;
    }
    return result;
}

enum troupe_error troupe_list_pop_front(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes *ret)
{
    return pop(ctx, list, ret, true);
}

enum troupe_error troupe_list_pop_back(struct troupe_context *ctx, const struct troupe_value *list,
                                       struct troupe_bytes *ret)
{
    return pop(ctx, list, ret, false);
}

enum troupe_error troupe_list_count(struct troupe_context *ctx, const struct troupe_value *list, uint64_t *ret)
{
    struct use use;
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, true);
    if (result == TROUPE_OK) {
        *ret = use.collection->head.count;
    }
    return result;
}

enum troupe_error troupe_list_get(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes *ret)
{
    struct use use;
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, true);
    if (result == TROUPE_OK && position >= use.collection->head.count) {
        return TROUPE_ENOTFOUND;
    }
    return result == TROUPE_OK ? get_number(&use, use.collection->head.first + position, ret) : result;
}

enum troupe_error troupe_list_set(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes bytes)
{
    struct use use;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, false);
    if (result == TROUPE_OK && position >= use.collection->head.count) {
        return TROUPE_ENOTFOUND;
    }
    result =
        result == TROUPE_OK ? set_element(&use, list_key(use.collection->head.first + position, key), bytes) : result;
    if (result == TROUPE_OK && list->ttl_ms > 0) {
        use.collection->expires_ms = lease_end(&use);
        result = keep_head(&use);
    }
    return result;
}

enum troupe_error troupe_list_next(struct troupe_context *ctx, const struct troupe_value *list,
                                   struct troupe_list_walk *at, uint64_t *ret_position, struct troupe_bytes *ret_bytes)
{
    struct use use;
    struct row_at row;
    unsigned char from[LIST_KEY_SIZE], to[LIST_KEY_SIZE];
    enum troupe_error result = begin(&use, ctx, list, TROUPE_LIST, true);
    if (result != TROUPE_OK) {
        return result;
    }
    const struct troupe__head *head = &use.collection->head;
    uint64_t end = at->to > 0 && at->to < head->count ? at->to : head->count;
    if (at->from >= end) {
        return TROUPE_ENOTFOUND;
    }
    result = next_element(&use, &at->batch, list_key(head->first + at->from, from), list_key(head->first + end, to),
                          at->backward, &row);
    if (result == TROUPE_OK) {
        *ret_position = troupe__get_be64(row.key.data) - head->first;
        *ret_bytes = row.bytes;
    }
    return result;
}

/* ---- the end of a delivery --------------------------------------------------------------------------------------- */

static void free_batches(struct troupe_context *ctx)
{
    while (ctx->batches) {
        struct troupe__batch *batch = ctx->batches;
        ctx->batches = batch->next;
        troupe__buffer_free(&batch->rows);
        free(batch);
    }
}

void troupe__collection_roll_back(struct troupe_context *ctx)
{
    while (ctx->row_undo_count > 0) {
        struct troupe__row_undo *undo = &ctx->row_undo[--ctx->row_undo_count];
        struct troupe__overlay_row *row = undo->row;
        struct troupe__collection *collection = (struct troupe__collection *)row->overlay;
        collection->known = false;
        if (undo->made) {
            troupe__overlay_forget(&ctx->actors->unfolded, row);
        } else {
            free(row->bytes);
            troupe__overlay_give(&ctx->actors->unfolded, row, undo->bytes, undo->size);
        }
    }
    free_batches(ctx);
}

void troupe__collection_keep(struct troupe_context *ctx)
{
    for (size_t i = 0; i < ctx->row_undo_count; i++) {
        free(ctx->row_undo[i].bytes);
    }
    ctx->row_undo_count = 0;
    free_batches(ctx);
}
