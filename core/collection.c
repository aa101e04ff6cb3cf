/* collection.c - the rows of maps and lists: heads and elements, and how they are cleared, expire and are undone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/collection.h"

#include <stdlib.h>

#include "core/collection_use.h"
#include "core/grow.h"
#include "core/state.h"

enum { CLEAR_DIRECT = 64 /* elements that are removed one by one */ };

/* ---- rows -------------------------------------------------------------------------------------------------------- */

size_t troupe__use_key(const struct troupe__use *use, struct troupe_bytes element,
                       unsigned char to[static TROUPE__OVERLAY_KEY_MAX])
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

struct troupe_bytes troupe__use_full_key(struct troupe__use *use, struct troupe_bytes key)
{
    if (key.size > 0) {
        memcpy(use->key + use->prefix, key.data, key.size);
    }
    return (struct troupe_bytes){use->key, use->prefix + key.size};
}

enum troupe_error troupe__use_fail(const struct troupe__use *use, enum troupe_error error, const char *what)
{
    troupe_fail(use->ctx, error, "value '%s': %s", use->value->name, what);
    return troupe__delivery_misuse(use->ctx, error);
}

/* A row as it is, from the overlay or the tables. Bytes from the tables are valid until the next call of the store. */
static enum troupe_error get_row(struct troupe__use *use, struct troupe_bytes key, struct troupe_bytes *ret)
{
    const struct troupe__overlay_row *row = troupe__overlay_find(&use->collection->overlay, key);
    if (row) {
        *ret = (struct troupe_bytes){row->bytes, row->size};
        return row->bytes ? TROUPE_OK : TROUPE_ENOTFOUND;
    }
    struct troupe__store *store = use->ctx->store;
    enum troupe_error result = store->read(store, TROUPE__STATE, troupe__use_full_key(use, key), ret);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? result : troupe__use_fail(use, result, store->error);
}

/* Give a row other bytes, which the overlay owns from now on, also on failure; NULL: remove it. */
static enum troupe_error change_row(struct troupe__use *use, struct troupe_bytes key, char *bytes, size_t size)
{
    struct troupe_context *ctx = use->ctx;
    struct troupe__overlay *overlay = &use->collection->overlay;
    bool made = false;
    struct troupe__overlay_row *row = NULL;
    struct troupe__row_undo *undos =
        troupe__grow(ctx->row_undo, ctx->row_undo_count, &ctx->row_undo_capacity, sizeof *undos);
    if (undos) {
        ctx->row_undo = undos;
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
static enum troupe_error set_row(struct troupe__use *use, struct troupe_bytes key, const struct troupe__row *row)
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

static enum troupe_error clear(struct troupe__use *use);

enum troupe_error troupe__use_keep_head(struct troupe__use *use)
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

static enum troupe_error read_head(struct troupe__use *use)
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
            return troupe__use_fail(use, TROUPE_ECORRUPT, "its row is malformed: run troupe doctor");
        }
        if (!row.head) {
            return troupe__use_fail(use, TROUPE_ETYPE, "it is stored as another kind than the module declares");
        }
        if (!troupe__head_decode(row.payload, &kind, &collection->head)) {
            return troupe__use_fail(use, TROUPE_ECORRUPT, "its head is malformed: run troupe doctor");
        }
        if (kind != use->value->kind) {
            return troupe__use_fail(use, TROUPE_ETYPE, "it is stored as another kind than the module declares");
        }
        collection->expires_ms = row.expires_ms;
    } else if (result != TROUPE_ENOTFOUND) {
        return result;
    }
    collection->known = true;
    return TROUPE_OK;
}

/* A list whose time is over is cleared; one that lives on by being read is prolonged. */
static enum troupe_error check_list(struct troupe__use *use, bool reads)
{
    struct troupe__collection *collection = use->collection;
    if (use->value->ttl_ms == 0 || collection->head.count == 0) {
        return TROUPE_OK;
    }
    if (troupe__state_expired(use->ctx, use->value, collection->expires_ms)) {
        return clear(use);
    }
    if (reads && troupe__state_prolongs(use->ctx, use->value, collection->expires_ms)) {
        collection->expires_ms = troupe__use_lease_end(use);
        return troupe__use_keep_head(use);
    }
    return TROUPE_OK;
}

enum troupe_error troupe__use_begin(struct troupe__use *use, struct troupe_context *ctx,
                                    const struct troupe_value *value, enum troupe_kind kind, bool reads)
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

/* ---- elements ---------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__use_set(struct troupe__use *use, struct troupe_bytes element, struct troupe_bytes bytes)
{
    unsigned char key[TROUPE__OVERLAY_KEY_MAX];
    struct troupe__row row = {.version = use->value->version, .payload = bytes};
    row.expires_ms = use->value->kind == TROUPE_MAP ? troupe__use_lease_end(use) : 0;
    return set_row(use, (struct troupe_bytes){key, troupe__use_key(use, element, key)}, &row);
}

enum troupe_error troupe__use_remove(struct troupe__use *use, struct troupe_bytes element)
{
    unsigned char key[TROUPE__OVERLAY_KEY_MAX];
    struct troupe_bytes row = {key, troupe__use_key(use, element, key)};
    enum troupe_error result = troupe__delivery_check_size(use->ctx, (struct troupe_bytes){NULL, 0});
    return result == TROUPE_OK ? change_row(use, row, NULL, 0) : result;
}

/* What a row holds, in the declared version. TROUPE_ENOTFOUND: it has expired. */
static enum troupe_error open_row(struct troupe__use *use, struct troupe_bytes bytes, struct troupe__row *ret,
                                  bool *ret_older)
{
    if (!troupe__row_decode(bytes, ret) || ret->head) {
        return troupe__use_fail(use, TROUPE_ECORRUPT, "an element is malformed: run troupe doctor");
    }
    if (use->value->kind == TROUPE_MAP && troupe__state_expired(use->ctx, use->value, ret->expires_ms)) {
        return TROUPE_ENOTFOUND;
    }
    *ret_older = ret->version != use->value->version;
    return troupe__state_migrate(use->ctx, use->value, ret->version, &ret->payload);
}

enum troupe_error troupe__use_get(struct troupe__use *use, struct troupe_bytes element, struct troupe_bytes *ret)
{
    unsigned char key_bytes[TROUPE__OVERLAY_KEY_MAX];
    struct troupe_bytes bytes, key = {key_bytes, troupe__use_key(use, element, key_bytes)};
    struct troupe__row row;
    bool older = false;
    enum troupe_error result = get_row(use, key, &bytes);
    if (result != TROUPE_OK) {
        return result;
    }
    if ((result = open_row(use, bytes, &row, &older)) != TROUPE_OK) {
        if (result == TROUPE_ENOTFOUND) {
            (void)troupe__use_remove(use, element); /* It is gone; without it the sweep would remove it. */
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
        row.expires_ms = prolongs ? troupe__use_lease_end(use) : row.expires_ms;
        row.payload = *ret;
        result = set_row(use, key, &row);
    }
    return result;
}

enum troupe_error troupe__use_next(struct troupe__use *use, struct troupe__batch **batch, struct troupe_bytes from,
                                   struct troupe_bytes to, bool backward, struct troupe__row_at *ret)
{
    struct troupe__row row;
    bool older;
    enum troupe_error result;
    while ((result = troupe__walk_next(use, batch, from, to, backward, ret)) == TROUPE_OK) {
        result = open_row(use, ret->bytes, &row, &older);
        if (result != TROUPE_ENOTFOUND) {
            ret->bytes = row.payload;
            return result;
        }
    }
    return result;
}

static enum troupe_error clear(struct troupe__use *use)
{
    struct troupe__head *head = &use->collection->head;
    struct troupe__batch *batch = NULL;
    struct troupe_bytes none = {NULL, 0};
    struct troupe__row_at row;
    enum troupe_error result = TROUPE_OK;
    size_t count = 0;
    while (count <= CLEAR_DIRECT && (result = troupe__walk_next(use, &batch, none, none, false, &row)) == TROUPE_OK) {
        count++;
    }
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return result;
    }
    if (count > CLEAR_DIRECT) {
        unsigned char old[TROUPE__OVERLAY_KEY_MAX];
        struct troupe_bytes prefix =
            troupe__use_full_key(use, (struct troupe_bytes){old, troupe__use_key(use, none, old)});
        if (head->generation == TROUPE__GENERATION_MAX) {
            return troupe__use_fail(use, TROUPE_EFULL, "it cannot be cleared any more: no generation is left");
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
        result = troupe__walk_next(use, &batch, none, none, false, &row);
        result = result == TROUPE_OK ? troupe__use_remove(use, row.key) : result;
        if (result != TROUPE_OK) {
            return troupe__delivery_misuse(use->ctx, result);
        }
    }
    if (use->value->kind == TROUPE_MAP && head->generation == 0) {
        return TROUPE_OK;
    }
    head->first = TROUPE__LIST_BEGIN;
    head->count = 0;
    return troupe__use_keep_head(use);
}

enum troupe_error troupe__collection_clear(struct troupe_context *ctx, const struct troupe_value *value)
{
    struct troupe__use use;
    enum troupe_error result = troupe__use_begin(&use, ctx, value, value->kind, false);
    return result == TROUPE_OK ? clear(&use) : result;
}

enum troupe_error troupe__collection_expire(struct troupe_context *ctx, const struct troupe_value *value,
                                            struct troupe_bytes key)
{
    struct troupe__use use;
    struct troupe_bytes bytes;
    struct troupe__row row;
    unsigned char prefix[TROUPE__OVERLAY_KEY_MAX];
    enum troupe_error result =
        troupe__use_begin(&use, ctx, value, value->kind, false); /* Clears a list that has expired. */
    if (result != TROUPE_OK || value->kind != TROUPE_MAP) {
        return result;
    }
    size_t size = troupe__use_key(&use, (struct troupe_bytes){NULL, 0}, prefix);
    if (key.size <= size || key.size > TROUPE__OVERLAY_KEY_MAX || memcmp(key.data, prefix, size) != 0) {
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
    struct troupe__use use;
    enum troupe_error result = troupe__use_begin(&use, ctx, value, value->kind, false);
    struct troupe__collection *collection = use.collection;
    if (result != TROUPE_OK || collection->overlay.root || collection->head.generation == 0 ||
        (value->kind == TROUPE_LIST && collection->head.count > 0)) {
        return result; /* With an overlay the tables do not have all; what is in it may be elements. */
    }
    collection->head = (struct troupe__head){.first = TROUPE__LIST_BEGIN};
    return troupe__use_keep_head(&use);
}

/* ---- the end of a delivery --------------------------------------------------------------------------------------- */

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
    troupe__walk_end_all(ctx);
}

void troupe__collection_keep(struct troupe_context *ctx)
{
    for (size_t i = 0; i < ctx->row_undo_count; i++) {
        free(ctx->row_undo[i].bytes);
    }
    ctx->row_undo_count = 0;
    troupe__walk_end_all(ctx);
}
