/* lmdb_photo.c - a store as of one epoch: its tables as they are, and the records that they are short of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/lmdb_photo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "state/lmdb_rows.h"

struct lmdb_photo {
    struct troupe__photo base;
    struct troupe__lmdb_photos *of;
    MDB_cursor *cursor;
    struct troupe__changes changes; /* what the tables are short of */
    bool released;
};

/* The memory of the records stays as long as the photo is held. */
static enum troupe_error gather_rest(struct lmdb_photo *photo, struct troupe__fold_held *held)
{
    int code = troupe__fold_bound(held->txn, photo->of->tables->dbi, &photo->changes);
    enum troupe_error result = code ? troupe__lmdb_error(code) : TROUPE_OK;
    for (size_t i = 0; i < held->rest_count; i++) {
        const unsigned char *data = held->rest[i].data;
        struct troupe__cursor cursor = {data, data + held->rest[i].size, false};
        struct troupe_bytes record;
        const unsigned char *entry = cursor.at;
        while (result == TROUPE_OK && troupe__fold_held_next(&cursor, &record)) {
            photo->base.hash = troupe__get_be64(entry + 8); /* The last one is of the photo's epoch. */
            entry = cursor.at;
            result = troupe__changes_add(&photo->changes, record);
            if (photo->base.pause) {
                photo->base.pause(photo->base.pause_context);
            }
        }
    }
    free(held->rest);
    troupe__changes_sort(&photo->changes);
    return result;
}

/* Of the epoch that tables hold as they are, with nothing beyond. */
static int read_folded_hash(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret)
{
    unsigned char name[TROUPE__ROW_KEY_MAX + 1];
    struct troupe_bytes mark;
    size_t size = troupe__fold_row_key(name, TROUPE__META, troupe_string(TROUPE__FOLD_MARK));
    MDB_val key = {size, name}, value;
    int code = mdb_get(txn, dbi, &key, &value);
    if (!code && troupe__fold_row_check(key, value, &mark) && mark.size == TROUPE__FOLD_MARK_SIZE) {
        *ret = troupe__get_be64((const unsigned char *)mark.data + 8);
    }
    return code == MDB_NOTFOUND ? 0 : code; /* Of no epoch yet. */
}

static enum troupe_error photo_wait(struct troupe__photo *base)
{
    struct lmdb_photo *photo = (struct lmdb_photo *)base;
    struct troupe__fold_held held;
    assert(!photo->cursor);
    enum troupe_error result = troupe__fold_wait_held(photo->of->fold, &held, base->error, sizeof base->error);
    if (result != TROUPE_OK) {
        return result;
    }
    base->epoch = held.epoch;
    result = gather_rest(photo, &held);
    if (result != TROUPE_OK) {
        snprintf(base->error, sizeof base->error, "photograph %s: %s", photo->of->directory, troupe_error_text(result));
        return result;
    }
    MDB_stat tables;
    int code = mdb_stat(held.txn, photo->of->tables->dbi, &tables);
    code = code ? code : mdb_cursor_open(held.txn, photo->of->tables->dbi, &photo->cursor);
    base->rows = code == 0 && tables.ms_entries > photo->changes.count ? tables.ms_entries : photo->changes.count;
    code = code || base->hash ? code : read_folded_hash(held.txn, photo->of->tables->dbi, &base->hash);
    if (code) {
        snprintf(base->error, sizeof base->error, "read %s: %s", photo->of->directory, mdb_strerror(code));
        result = troupe__lmdb_error(code);
    }
    return result;
}

/* A scan of the tables, into which changes are merged. */
struct merge {
    const struct troupe__changes *changes;
    size_t at; /* the next change */
    enum troupe__table table;
    struct troupe_bytes prefix;
    troupe__row_fn row;
    void *context;
};

/* Hand over the changed rows before `key`, or all with NULL; `*ret_same` when the next one is the row of that key. */
static enum troupe_error merge_changes(struct merge *merge, const struct troupe_bytes *key, bool *ret_same)
{
    enum troupe_error result = TROUPE_OK;
    *ret_same = false;
    while (result == TROUPE_OK && merge->at < merge->changes->count) {
        struct troupe__change change;
        troupe__changes_get(merge->changes, merge->at, &change);
        if (change.table != merge->table || change.key.size < merge->prefix.size ||
            memcmp(change.key.data, merge->prefix.data, merge->prefix.size) != 0) {
            return TROUPE_OK;
        }
        MDB_val name = {change.key.size, (void *)(uintptr_t)change.key.data};
        int order = key ? troupe__lmdb_rows_compare(&name, key->data, key->size) : -1;
        if (order > 0) {
            return TROUPE_OK;
        }
        merge->at++;
        result = change.removed ? TROUPE_OK : merge->row(merge->context, change.key, change.value);
        if (order == 0) {
            *ret_same = true;
            return result;
        }
    }
    return result;
}

static enum troupe_error merge_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct merge *merge = context;
    bool same;
    enum troupe_error result = merge_changes(merge, &key, &same);
    return result == TROUPE_OK && !same ? merge->row(merge->context, key, value) : result;
}

static enum troupe_error photo_scan(struct troupe__photo *base, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct lmdb_photo *photo = (struct lmdb_photo *)base;
    const struct troupe__lmdb_rows rows = {photo->cursor, photo->of->directory, base->error, sizeof base->error};
    struct merge merge = {&photo->changes, 0, table, prefix, row, context};
    bool same;
    assert(photo->cursor);
    merge.at = troupe__changes_find(&photo->changes, table, prefix);
    enum troupe_error result = troupe__lmdb_rows_scan(&rows, table, prefix, merge_row, &merge);
    return result == TROUPE_OK ? merge_changes(&merge, NULL, &same) : result;
}

static void photo_cancel(struct troupe__photo *base)
{
    troupe__fold_cancel_hold(((struct lmdb_photo *)base)->of->fold);
}

static void photo_release(struct troupe__photo *base)
{
    struct lmdb_photo *photo = (struct lmdb_photo *)base;
    if (photo->released) {
        return;
    }
    if (photo->cursor) {
        mdb_cursor_close(photo->cursor);
        photo->cursor = NULL;
    }
    troupe__changes_free(&photo->changes);
    troupe__fold_release(photo->of->fold);
    photo->released = true;
}

static void photo_close(struct troupe__photo *base)
{
    struct lmdb_photo *photo = (struct lmdb_photo *)base;
    photo_release(base);
    atomic_store(&photo->of->taken, false);
    free(photo);
}

enum troupe_error troupe__lmdb_photo_take(struct troupe__lmdb_photos *of, uint64_t epoch, struct troupe__photo **ret,
                                          char *error, size_t error_size)
{
    if (atomic_exchange(&of->taken, true)) {
        snprintf(error, error_size, "photograph %s: another snapshot is being taken: try again later", of->directory);
        return TROUPE_EBUSY;
    }
    struct lmdb_photo *photo = calloc(1, sizeof *photo);
    if (!photo) {
        atomic_store(&of->taken, false);
        snprintf(error, error_size, "photograph %s: out of memory", of->directory);
        return TROUPE_ENOMEM;
    }
    photo->base = (struct troupe__photo){
        .wait = photo_wait,
        .scan = photo_scan,
        .release = photo_release,
        .cancel = photo_cancel,
        .close = photo_close,
    };
    photo->of = of;
    troupe__fold_hold(of->fold, epoch);
    *ret = &photo->base;
    return TROUPE_OK;
}
