/* rewind.c - a snapshot of the past, made of an older one and of what the journals have kept since.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/rewind.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/files.h"
#include "state/lmdb_store.h"

enum {
    RECORD_SIZE = 4 << 20, /* of the epochs that the store is made of */
    PROGRESS_ROWS = 1024,  /* from one call of `progress` to the next */
};

static const struct troupe__snapshot_part *part_of(const struct troupe__snapshot *snapshot, size_t number)
{
    for (size_t i = 0; snapshot && i < snapshot->part_count; i++) {
        if (snapshot->parts[i].number == number) {
            return &snapshot->parts[i];
        }
    }
    return NULL;
}

bool troupe__rewind_fits(const struct troupe__history *history, uint64_t colour, const struct troupe__snapshot *base)
{
    for (size_t i = 0; i < history->count; i++) {
        const struct troupe__snapshot_part *part = part_of(base, i);
        uint64_t from = part ? part->epoch : 0, epoch = troupe__history_epoch(history, i, colour);
        if ((base && !part) || from > epoch || (from < epoch && from + 1 < history->nodes[i].first)) {
            return false;
        }
    }
    return !base || base->part_count == history->count;
}

bool troupe__rewind_belongs(const struct troupe__history *history, const struct troupe__snapshot *base)
{
    for (size_t i = 0; i < history->count; i++) {
        const struct troupe__snapshot_part *part = part_of(base, i);
        uint64_t hash;
        if (!part || part->hash == TROUPE__HASH_NONE ||
            (part->hash != TROUPE__HASH_UNKNOWN && troupe__history_hash(history, i, part->epoch, &hash) &&
             hash != part->hash)) {
            return false;
        }
    }
    return true;
}

/* ---- one node: its rows in a store of their own ------------------------------------------------------------------ */

struct load {
    const struct troupe__history *history; /* which says who is told of the progress */
    uint64_t rows;                         /* of the base, so far */
    struct troupe__store *store;
    struct troupe__buffer record;
    uint64_t epoch; /* of that store */
    uint64_t hash;  /* of the last record of the journal that is in it */
    char *error;
    size_t error_size;
};

static enum troupe_error commit(struct load *load)
{
    struct troupe_bytes record = {load->record.data, load->record.size};
    if (load->record.failed) {
        snprintf(load->error, load->error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = load->store->commit(load->store, ++load->epoch, record);
    load->record.size = 0;
    if (result != TROUPE_OK) {
        snprintf(load->error, load->error_size, "%s", load->store->error);
    }
    return result;
}

static enum troupe_error commit_if_large(struct load *load)
{
    return load->record.size < RECORD_SIZE && !load->record.failed ? TROUPE_OK : commit(load);
}

static enum troupe_error load_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct load *load = context;
    if (++load->rows % PROGRESS_ROWS == 0 && load->history->progress) {
        load->history->progress(load->history->progress_context, "rows", load->rows);
    }
    troupe__record_set(&load->record, table, key.data, key.size, value.data, value.size);
    return commit_if_large(load);
}

/* Changes of later epochs stand behind those of earlier ones, so they win. */
static enum troupe_error load_record(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct load *load = context;
    (void)epoch;
    load->hash = hash;
    troupe__buffer_put(&load->record, record.data, record.size);
    return commit_if_large(load);
}

static enum troupe_error scan_photo(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct troupe__photo *photo = source;
    return photo->scan(photo, table, prefix, row, context);
}

static enum troupe_error write_part(struct load *load, const char *directory, struct troupe__snapshot_part *part)
{
    struct troupe__photo *photo;
    struct troupe__store *store = load->store;
    struct troupe__snapshot_part written;
    enum troupe_error result = store->photograph(store, load->epoch, &photo);
    if (result != TROUPE_OK) {
        snprintf(load->error, load->error_size, "%s", store->error);
        return result;
    }
    result = photo->wait(photo);
    if (result != TROUPE_OK) {
        snprintf(load->error, load->error_size, "%s", photo->error);
    } else {
        result = troupe__snapshot_write_part(directory, part->node, part->epoch, scan_photo, photo, photo->error,
                                             &written, load->error, load->error_size);
    }
    photo->close(photo);
    if (result == TROUPE_OK) {
        part->summary = written.summary;
        part->hash = load->hash;
    }
    return result;
}

static enum troupe_error make_part(struct troupe__history *history, const char *base_directory,
                                   const struct troupe__snapshot_part *base, const char *scratch, const char *directory,
                                   struct troupe__snapshot_part *part, char *error, size_t error_size)
{
    struct load load = {
        .history = history, .hash = base ? base->hash : TROUPE__HASH_UNKNOWN, .error = error, .error_size = error_size};
    struct troupe__lmdb_options options = {.sync = false};
    char unused[64];
    enum troupe_error result = troupe__files_remove(scratch, error, error_size);
    result = result == TROUPE_OK ? troupe__lmdb_store_open(scratch, &options, &load.store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = load.store->replay(load.store, NULL, NULL);
    if (result == TROUPE_OK && base) {
        result = troupe__snapshot_read_part(base_directory, base, load_row, &load, error, error_size);
    }
    if (result == TROUPE_OK) {
        result = troupe__history_replay(history, (size_t)part->number, base ? base->epoch : 0, part->epoch, load_record,
                                        &load, error, error_size);
    }
    /* A node that had not begun has no epoch: one without a change is as good. */
    result = result == TROUPE_OK && (load.record.size > 0 || load.epoch == 0) ? commit(&load) : result;
    result = result == TROUPE_OK ? write_part(&load, directory, part) : result;
    load.store->close(load.store);
    troupe__buffer_free(&load.record);
    troupe__files_remove(scratch, unused, sizeof unused);
    return result;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__rewind_make(struct troupe__history *history, uint64_t colour, const char *base_directory,
                                      const struct troupe__snapshot *base, const char *target,
                                      struct troupe__snapshot *ret, char *error, size_t error_size)
{
    char writing[PATH_MAX], scratch[PATH_MAX];
    int lock;
    enum troupe_error result = troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, error, error_size);
    result = result == TROUPE_OK ? troupe__files_join(scratch, target, "", ".store", error, error_size) : result;
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, &lock, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    for (size_t i = 0; i < ret->part_count && result == TROUPE_OK; i++) {
        struct troupe__snapshot_part *part = &ret->parts[i];
        part->epoch = troupe__history_epoch(history, (size_t)part->number, colour);
        part->released = history->nodes[part->number].released; /* What its later epochs say holds for this one too. */
        result = make_part(history, base_directory, part_of(base, (size_t)part->number), scratch, writing, part, error,
                           error_size);
    }
    if (result == TROUPE_OK && ret->is_troupe) {
        result = troupe__snapshot_check_cut(writing, ret, error, error_size);
    }
    result = result == TROUPE_OK ? troupe__snapshot_write_manifest(writing, ret, error, error_size) : result;
    return troupe__snapshot_end(target, lock, result, error, error_size);
}
