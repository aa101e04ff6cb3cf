/* state.c - the values of the actor that handles a message: read, changed in place, undone if the handler fails.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/state.h"

#include <assert.h>
#include <stdio.h>

#include "core/collection.h"
#include "core/grow.h"
#include "core/msgpack.h"
#include "core/pack.h"

enum {
    BYTES_KINDS = 1 << TROUPE_STRING | 1 << TROUPE_BYTES | 1 << TROUPE_PACKED,
    SINGLE_KINDS = BYTES_KINDS | 1 << TROUPE_INT | 1 << TROUPE_DOUBLE | 1 << TROUPE_BOOL,
};

/* The texts stand apart: what is called for every value of every delivery is to be short. */
__attribute__((noinline, cold)) static enum troupe_error not_declared(struct troupe_context *ctx,
                                                                      const struct troupe_value *value)
{
    troupe_fail(ctx, TROUPE_EINVAL, "value '%s' is not declared by type '%s'", value ? value->name : "NULL",
                ctx->actor->type->name);
    return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
}

__attribute__((noinline, cold)) static enum troupe_error wrong_kind(struct troupe_context *ctx,
                                                                    const struct troupe_value *value, const char *done)
{
    troupe_fail(ctx, TROUPE_ETYPE, "value '%s' is declared as another kind than it is %s as", value->name, done);
    return troupe__delivery_misuse(ctx, TROUPE_ETYPE);
}

static inline enum troupe_error find_cell(struct troupe_context *ctx, const struct troupe_value *value,
                                          struct troupe__cell **ret, uint32_t *ret_index)
{
    const struct troupe_value *const *values = ctx->actor->type->declared->values;
    size_t count = ctx->actor->type->value_count, index = 0;
    while (index < count && values[index] != value) {
        index++;
    }
    if (index == count) {
        return not_declared(ctx, value);
    }
    *ret = &troupe__actor_cells(ctx->actor)[index];
    *ret_index = (uint32_t)index;
    return TROUPE_OK;
}

enum troupe_error troupe__state_find(struct troupe_context *ctx, const struct troupe_value *value,
                                     struct troupe__cell **ret, uint32_t *ret_index)
{
    return find_cell(ctx, value, ret, ret_index);
}

/* ---- changing ---------------------------------------------------------------------------------------------------- */

/* Note what the cell holds and that the epoch changes it, before it is changed. It lives anew from now on. */
static enum troupe_error touch(struct troupe_context *ctx, const struct troupe_value *value, struct troupe__cell *cell,
                               uint32_t index)
{
    struct troupe__undo *undos = troupe__grow(ctx->undo, ctx->undo_count, &ctx->undo_capacity, sizeof *undos);
    ctx->undo = undos ? undos : ctx->undo;
    struct troupe__dirty *dirty = troupe__grow(ctx->dirty, ctx->dirty_count, &ctx->dirty_capacity, sizeof *dirty);
    ctx->dirty = dirty ? dirty : ctx->dirty;
    if (!undos || !dirty) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    if (cell->epoch != ctx->epoch) {
        cell->epoch = ctx->epoch;
        ctx->actor->changed_epoch = ctx->epoch;
        ctx->dirty[ctx->dirty_count++] = (struct troupe__dirty){ctx->actor, index};
    }
    if (cell->state == TROUPE__SLOT_UNKNOWN) {
        cell->stored = true; /* Perhaps it is: a later clear must remove the row. */
    }
    struct troupe__undo *undo = &ctx->undo[ctx->undo_count++];
    bool bytes = troupe__kind_is_bytes(value->kind) && cell->state == TROUPE__SLOT_PRESENT;
    *undo = (struct troupe__undo){
        .cell = cell, .before = *cell, .index = index, .owned = bytes || cell->state == TROUPE__SLOT_ROW};
    if (value->ttl_ms > 0) {
        struct troupe__lease *lease = troupe__actor_lease(ctx->actor, index);
        undo->expires_ms = lease->expires_ms;
        lease->expires_ms = ctx->now_ms + value->ttl_ms;
    }
    return TROUPE_OK;
}

static enum troupe_error touch_to_set(struct troupe_context *ctx, const struct troupe_value *value, unsigned kinds,
                                      struct troupe__cell **ret)
{
    uint32_t index = 0;
    enum troupe_error result = find_cell(ctx, value, ret, &index);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!(kinds & 1u << value->kind)) {
        return wrong_kind(ctx, value, "set");
    }
    return touch(ctx, value, *ret, index);
}

enum troupe_error troupe_set_int(struct troupe_context *ctx, const struct troupe_value *value, int64_t number)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = touch_to_set(ctx, value, 1 << TROUPE_INT, &cell);
    if (result == TROUPE_OK) {
        cell->as.integer = number;
        cell->state = TROUPE__SLOT_PRESENT;
    }
    return result;
}

enum troupe_error troupe_set_double(struct troupe_context *ctx, const struct troupe_value *value, double number)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = touch_to_set(ctx, value, 1 << TROUPE_DOUBLE, &cell);
    if (result == TROUPE_OK) {
        cell->as.number = number;
        cell->state = TROUPE__SLOT_PRESENT;
    }
    return result;
}

enum troupe_error troupe_set_bool(struct troupe_context *ctx, const struct troupe_value *value, bool truth)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = touch_to_set(ctx, value, 1 << TROUPE_BOOL, &cell);
    if (result == TROUPE_OK) {
        cell->as.truth = truth;
        cell->state = TROUPE__SLOT_PRESENT;
    }
    return result;
}

enum troupe_error troupe_set_bytes(struct troupe_context *ctx, const struct troupe_value *value,
                                   struct troupe_bytes bytes)
{
    enum troupe_error result = troupe__delivery_check_size(ctx, bytes);
    if (result != TROUPE_OK) {
        return result;
    }
    if (value && value->kind == TROUPE_PACKED && !troupe__msgpack_valid(bytes, TROUPE__DEPTH_MAX)) {
        return troupe_fail(ctx, TROUPE_EINVAL, "value '%s': the bytes are not one msgpack value", value->name);
    }
    char *copy = malloc(bytes.size + 1);
    if (!copy) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    copy[bytes.size] = '\0';
    struct troupe__cell *cell = NULL;
    result = touch_to_set(ctx, value, BYTES_KINDS, &cell);
    if (result != TROUPE_OK) {
        free(copy);
        return result;
    }
    cell->as.bytes = copy;
    cell->size = (uint32_t)bytes.size;
    cell->state = TROUPE__SLOT_PRESENT;
    ctx->effects_size += bytes.size;
    return TROUPE_OK;
}

enum troupe_error troupe_clear(struct troupe_context *ctx, const struct troupe_value *value)
{
    struct troupe__cell *cell = NULL;
    if (value && troupe__kind_is_collection(value->kind)) {
        return troupe__collection_clear(ctx, value);
    }
    enum troupe_error result = touch_to_set(ctx, value, SINGLE_KINDS, &cell);
    if (result == TROUPE_OK) {
        cell->state = TROUPE__SLOT_ABSENT;
    }
    return result;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__state_migrate(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                        struct troupe_bytes *payload)
{
    if (version == value->version) {
        return TROUPE_OK;
    }
    if (version > value->version) {
        troupe_fail(ctx, TROUPE_EVERSION, "value '%s' is stored in version %u, the module knows %u: use a newer one",
                    value->name, version, value->version);
        return troupe__delivery_misuse(ctx, TROUPE_EVERSION);
    }
    struct troupe_bytes old = {troupe__delivery_copy(ctx, payload->data, payload->size), payload->size};
    struct troupe_bytes migrated = {NULL, 0};
    if (!old.data) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    ctx->error[0] = '\0';
    enum troupe_error result = value->migrate(ctx, value, version, old, &migrated);
    if (result != TROUPE_OK || ctx->sticky != TROUPE_OK) {
        char why[sizeof ctx->error];
        result = result != TROUPE_OK ? result : ctx->sticky;
        snprintf(why, sizeof why, "%s", ctx->error[0] ? ctx->error : troupe_error_text(result));
        troupe_fail(ctx, result, "value '%s': migrate from version %u to %u: %.160s", value->name, version,
                    value->version, why);
        return troupe__delivery_misuse(ctx, result);
    }
    *payload = migrated;
    return TROUPE_OK;
}

static enum troupe_error load_failed(struct troupe_context *ctx, const struct troupe_value *value,
                                     enum troupe_error error)
{
    if (error == TROUPE_ETYPE) {
        troupe_fail(ctx, error, "value '%s' is stored as another kind than the module declares", value->name);
    } else {
        troupe_fail(ctx, error, "value '%s': %s", value->name,
                    error == TROUPE_ECORRUPT ? "its row is malformed: run troupe doctor" : troupe_error_text(error));
    }
    return troupe__delivery_misuse(ctx, error);
}

/* A cell gets what its row holds. */
static enum troupe_error take_row(struct troupe_context *ctx, const struct troupe_value *value,
                                  struct troupe__cell *cell, uint32_t index, struct troupe_bytes bytes)
{
    struct troupe__row row;
    struct troupe__cell loaded = {0};
    if (!troupe__row_decode(bytes, &row)) {
        return load_failed(ctx, value, TROUPE_ECORRUPT);
    }
    if (row.head) {
        return load_failed(ctx, value, TROUPE_ETYPE);
    }
    cell->stored = true;
    enum troupe_error result = troupe__state_migrate(ctx, value, row.version, &row.payload);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__cell_decode(&loaded, value->kind, row.payload);
    if (result != TROUPE_OK) {
        return load_failed(ctx, value, result);
    }
    if (row.version != value->version) {
        result = touch(ctx, value, cell, index);
        if (result != TROUPE_OK) {
            troupe__cell_free(&loaded, value->kind);
            return result;
        }
    } else {
        troupe__cell_free(cell, value->kind);
    }
    cell->as = loaded.as;
    cell->size = loaded.size;
    cell->state = TROUPE__SLOT_PRESENT;
    if (value->ttl_ms > 0) {
        troupe__actor_lease(ctx->actor, index)->expires_ms = row.expires_ms;
    }
    return TROUPE_OK;
}

/* Which values an actor has rows of. */
struct survey {
    const struct troupe_value *const *values;
    size_t value_count, prefix_size, wanted, other_count;
    uint64_t found; /* a bit for each value */
    size_t size;    /* of the row wanted, if found */
    unsigned char row[256];
};

static enum troupe_error survey_row(void *context, struct troupe_bytes key, struct troupe_bytes row)
{
    struct survey *survey = context;
    const char *name = (const char *)key.data + survey->prefix_size;
    size_t name_size = key.size - survey->prefix_size, i = 0;
    if (memchr(name, 0, name_size)) {
        return TROUPE_EFULL; /* An element of a map or list: there may be many. */
    }
    while (i < survey->value_count &&
           (strncmp(survey->values[i]->name, name, name_size) != 0 || survey->values[i]->name[name_size] != '\0')) {
        i++;
    }
    if (i == survey->value_count) { /* Not declared any more. */
        return ++survey->other_count > survey->value_count ? TROUPE_EFULL : TROUPE_OK;
    }
    survey->found |= UINT64_C(1) << i;
    if (i == survey->wanted) {
        survey->size = row.size;
        if (row.size <= sizeof survey->row) {
            memcpy(survey->row, row.data, row.size);
        }
    }
    return TROUPE_OK;
}

/* One look for all values of the actor: which of them have no row is known from then on, so that an actor that is new
 * is read once, and clearing what it never had needs no row. `*ret_row` is the row wanted, {NULL, 0} if it is there but
 * was not copied. Errors: TROUPE_ENOTFOUND. */
static enum troupe_error survey(struct troupe_context *ctx, uint32_t wanted, struct survey *survey,
                                struct troupe_bytes *ret_row)
{
    unsigned char key[TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8];
    const struct troupe__type *type = ctx->actor->type;
    size_t prefix_size = troupe__actor_row_key(ctx->actor, "", key);
    survey->values = type->declared->values;
    survey->value_count = type->value_count;
    survey->prefix_size = prefix_size;
    survey->wanted = wanted;
    survey->other_count = survey->size = 0;
    survey->found = 0;
    enum troupe_error result =
        ctx->store->scan(ctx->store, TROUPE__STATE, (struct troupe_bytes){key, prefix_size}, survey_row, survey);
    if (result != TROUPE_OK && result != TROUPE_EFULL) {
        return result;
    }
    if (survey->found >> wanted & 1) {
        bool copied = survey->size <= sizeof survey->row;
        *ret_row = copied ? (struct troupe_bytes){survey->row, survey->size} : (struct troupe_bytes){NULL, 0};
    } else if (result == TROUPE_EFULL) { /* It may come later. */
        *ret_row = (struct troupe_bytes){NULL, 0};
        return TROUPE_OK;
    }
    struct troupe__cell *cells = troupe__actor_cells(ctx->actor);
    for (size_t i = 0; result == TROUPE_OK && i < type->value_count; i++) {
        if (cells[i].state == TROUPE__SLOT_UNKNOWN && !(survey->found >> i & 1) &&
            !troupe__kind_is_collection(survey->values[i]->kind)) {
            cells[i].state = TROUPE__SLOT_ABSENT;
        }
    }
    return survey->found >> wanted & 1 ? TROUPE_OK : TROUPE_ENOTFOUND;
}

static enum troupe_error read_row(struct troupe_context *ctx, const struct troupe_value *value, uint32_t index,
                                  struct survey *memory, struct troupe_bytes *ret)
{
    unsigned char key[TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8];
    *ret = (struct troupe_bytes){NULL, 0};
    if (ctx->actor->type->value_count > 1) {
        enum troupe_error result = survey(ctx, index, memory, ret);
        if (result != TROUPE_OK || ret->data) {
            return result;
        }
    }
    struct troupe_bytes row_key = {key, troupe__actor_row_key(ctx->actor, value->name, key)};
    return ctx->store->read(ctx->store, TROUPE__STATE, row_key, ret);
}

static enum troupe_error load_cell(struct troupe_context *ctx, const struct troupe_value *value,
                                   struct troupe__cell *cell, uint32_t index)
{
    if (cell->state == TROUPE__SLOT_ROW) {
        return take_row(ctx, value, cell, index, (struct troupe_bytes){cell->as.bytes, cell->size});
    }
    struct troupe_bytes row;
    struct survey memory;
    enum troupe_error result = read_row(ctx, value, index, &memory, &row);
    if (result == TROUPE_ENOTFOUND) {
        cell->state = TROUPE__SLOT_ABSENT;
        return TROUPE_OK;
    }
    if (result != TROUPE_OK) {
        troupe_fail(ctx, result, "read value '%s': %s", value->name, ctx->store->error);
        return troupe__delivery_misuse(ctx, result);
    }
    return take_row(ctx, value, cell, index, row);
}

/* A present cell whose time is over becomes absent; one that lives on by being read is prolonged. */
static enum troupe_error check_lease(struct troupe_context *ctx, const struct troupe_value *value,
                                     struct troupe__cell *cell, uint32_t index)
{
    int64_t expires_ms = troupe__actor_lease(ctx->actor, index)->expires_ms;
    bool expired = troupe__state_expired(ctx, value, expires_ms);
    if (!expired && !troupe__state_prolongs(ctx, value, expires_ms)) {
        return TROUPE_OK;
    }
    enum troupe_error result = touch(ctx, value, cell, index);
    if (result != TROUPE_OK) {
        return result;
    }
    if (expired) {
        cell->state = TROUPE__SLOT_ABSENT;
        return TROUPE_ENOTFOUND;
    }
    ctx->undo[ctx->undo_count - 1].owned = false; /* It keeps its bytes. */
    return TROUPE_OK;
}

static enum troupe_error get_cell(struct troupe_context *ctx, const struct troupe_value *value, unsigned kinds,
                                  struct troupe__cell **ret)
{
    uint32_t index = 0;
    enum troupe_error result = find_cell(ctx, value, ret, &index);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!(kinds & 1u << value->kind)) {
        return wrong_kind(ctx, value, "used");
    }
    if ((*ret)->state < TROUPE__SLOT_ABSENT && (result = load_cell(ctx, value, *ret, index)) != TROUPE_OK) {
        return result;
    }
    if ((*ret)->state != TROUPE__SLOT_PRESENT) {
        return TROUPE_ENOTFOUND;
    }
    return value->ttl_ms > 0 ? check_lease(ctx, value, *ret, index) : TROUPE_OK;
}

enum troupe_error troupe_get_int(struct troupe_context *ctx, const struct troupe_value *value, int64_t *ret)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = get_cell(ctx, value, 1 << TROUPE_INT, &cell);
    if (result == TROUPE_OK) {
        *ret = cell->as.integer;
    }
    return result;
}

enum troupe_error troupe_get_double(struct troupe_context *ctx, const struct troupe_value *value, double *ret)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = get_cell(ctx, value, 1 << TROUPE_DOUBLE, &cell);
    if (result == TROUPE_OK) {
        *ret = cell->as.number;
    }
    return result;
}

enum troupe_error troupe_get_bool(struct troupe_context *ctx, const struct troupe_value *value, bool *ret)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = get_cell(ctx, value, 1 << TROUPE_BOOL, &cell);
    if (result == TROUPE_OK) {
        *ret = cell->as.truth;
    }
    return result;
}

enum troupe_error troupe_get_bytes(struct troupe_context *ctx, const struct troupe_value *value,
                                   struct troupe_bytes *ret)
{
    struct troupe__cell *cell = NULL;
    enum troupe_error result = get_cell(ctx, value, BYTES_KINDS, &cell);
    if (result == TROUPE_OK) {
        *ret = (struct troupe_bytes){cell->as.bytes, cell->size};
    }
    return result;
}

/* ---- the end of a delivery, and of an epoch ---------------------------------------------------------------------- */

void troupe__state_encode(struct troupe__actor *actor, uint32_t index, struct troupe__buffer *buffer)
{
    const struct troupe_value *value = actor->type->declared->values[index];
    if (value->version > 0 || value->ttl_ms > 0) {
        struct troupe__row row = {.version = value->version};
        row.expires_ms = value->ttl_ms > 0 ? troupe__actor_lease(actor, index)->expires_ms : 0;
        troupe__row_encode_header(&row, buffer);
    }
    troupe__cell_encode(&troupe__actor_cells(actor)[index], value->kind, buffer);
}

static enum troupe_error expire_cell(struct troupe_context *ctx, const struct troupe_value *value,
                                     struct troupe__cell *cell, uint32_t index)
{
    bool expired = cell->state == TROUPE__SLOT_UNKNOWN; /* The tables know, and they say so. */
    struct troupe__row row;
    if (cell->state == TROUPE__SLOT_ROW) {
        expired = troupe__row_decode((struct troupe_bytes){cell->as.bytes, cell->size}, &row) &&
                  troupe__state_expired(ctx, value, row.expires_ms);
    } else if (cell->state == TROUPE__SLOT_PRESENT) {
        expired = troupe__state_expired(ctx, value, troupe__actor_lease(ctx->actor, index)->expires_ms);
    }
    enum troupe_error result = expired ? touch(ctx, value, cell, index) : TROUPE_OK;
    if (expired && result == TROUPE_OK) {
        cell->state = TROUPE__SLOT_ABSENT;
    }
    return result;
}

/* A change of an actor that no delivery makes. */
static void begin_between(struct troupe_context *ctx, struct troupe__actor *actor)
{
    assert(ctx->undo_count == 0 && ctx->row_undo_count == 0 && ctx->effect_count == 0);
    ctx->actor = actor;
    ctx->sticky = TROUPE_OK;
    ctx->error[0] = '\0';
    ctx->effects_size = 0;
}

static enum troupe_error end_between(struct troupe_context *ctx, enum troupe_error result)
{
    if (result == TROUPE_OK) {
        troupe__state_keep(ctx);
    } else {
        troupe__state_roll_back(ctx);
        ctx->effect_count = 0; /* None of them owns anything. */
    }
    return result;
}

enum troupe_error troupe__state_drop_head(struct troupe_context *ctx, struct troupe__actor *actor, uint32_t index)
{
    const struct troupe_value *value = actor->type->declared->values[index];
    begin_between(ctx, actor);
    return end_between(ctx,
                       troupe__kind_is_collection(value->kind) ? troupe__collection_drop_head(ctx, value) : TROUPE_OK);
}

enum troupe_error troupe__state_expire(struct troupe_context *ctx, struct troupe__actor *actor, uint32_t index,
                                       struct troupe_bytes key)
{
    const struct troupe_value *value = actor->type->declared->values[index];
    enum troupe_error result = TROUPE_OK;
    begin_between(ctx, actor);
    if (value->ttl_ms > 0 && troupe__kind_is_collection(value->kind)) {
        result = troupe__collection_expire(ctx, value, key);
    } else if (value->ttl_ms > 0 && key.size == 0) {
        result = expire_cell(ctx, value, &troupe__actor_cells(actor)[index], index);
    }
    return end_between(ctx, result);
}

/* Backwards, so that a cell changed twice ends as it began. */
void troupe__state_roll_back(struct troupe_context *ctx)
{
    const struct troupe_value *const *values = ctx->actor->type->declared->values;
    while (ctx->undo_count > 0) {
        struct troupe__undo *undo = &ctx->undo[--ctx->undo_count];
        struct troupe__cell *cell = undo->cell;
        const struct troupe_value *value = values[undo->index];
        bool bytes = troupe__kind_is_bytes(value->kind) && cell->state == TROUPE__SLOT_PRESENT;
        if (bytes && cell->as.bytes != undo->before.as.bytes) { /* The same after a mere prolonging. */
            free(cell->as.bytes);
        }
        uint64_t epoch = cell->epoch;
        bool stored = cell->stored;
        *cell = undo->before;
        cell->epoch = epoch; /* It stays in the dirty list. */
        cell->stored = stored;
        if (value->ttl_ms > 0) {
            troupe__actor_lease(ctx->actor, undo->index)->expires_ms = undo->expires_ms;
        }
    }
    troupe__collection_roll_back(ctx);
}

void troupe__state_keep(struct troupe_context *ctx)
{
    for (size_t i = 0; i < ctx->undo_count; i++) {
        if (ctx->undo[i].owned) {
            free(ctx->undo[i].before.as.bytes);
        }
    }
    ctx->undo_count = 0;
    if (ctx->row_undo_count > 0 || ctx->batches) {
        troupe__collection_keep(ctx);
    }
}
