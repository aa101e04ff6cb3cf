/* snapshot_take.c - a snapshot of a node, or of all nodes of a troupe, that do not run.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The last durable epochs of nodes that are at rest are a consistent cut: nothing has left a node before its epoch was
 * durable, and nothing was trimmed before it was durable where it went. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"
#include "state/lmdb_store.h"

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The rows of stores that are written, one after the other. */
struct taking {
    struct troupe__store *store;
    void (*progress)(void *context, uint64_t rows);
    void *progress_context;
    uint64_t rows;
    troupe__row_fn row;
    void *row_context;
};

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct taking *taking = context;
    if (++taking->rows % 1024 == 0 && taking->progress) {
        taking->progress(taking->progress_context, taking->rows);
    }
    return taking->row(taking->row_context, key, value);
}

static enum troupe_error scan_store(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct taking *taking = source;
    taking->row = row;
    taking->row_context = context;
    return taking->store->scan(taking->store, table, prefix, count_row, taking);
}

static enum troupe_error open_store(const char *data, bool read_only, struct troupe__store **ret, char *error,
                                    size_t error_size)
{
    struct troupe__lmdb_options options = {.sync = true, .read_only = read_only, .visit = true};
    return troupe__lmdb_store_open(data, &options, ret, error, error_size);
}

static enum troupe_error count_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    (void)epoch, (void)record;
    ++*(uint64_t *)context;
    return TROUPE_OK;
}

/* Open the store of a stopped node for reading, with all of its journal in its tables. */
static enum troupe_error open_folded(const char *data, struct troupe__store **ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__store *store;
    enum troupe_error result = troupe__files_join(path, data, "tables.mdb", "", error, error_size);
    if (result == TROUPE_OK && access(path, F_OK)) {
        result = troupe__files_fail("this is no node's directory:", path, error, error_size);
    }
    result = result == TROUPE_OK ? open_store(data, false, &store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = store->replay(store, NULL, NULL); /* Queued again for the tables; closing folds it. */
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->error);
    }
    store->close(store);
    result = result == TROUPE_OK ? open_store(data, true, &store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    uint64_t left = 0;
    result = store->replay(store, count_record, &left);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->error);
    } else if (left > 0) {
        snprintf(error, error_size, "%s: %llu epochs could not be folded into the tables: is the disk full?", data,
                 (unsigned long long)left);
        result = TROUPE_ENOSPACE;
    }
    if (result != TROUPE_OK) {
        store->close(store);
        return result;
    }
    *ret = store;
    return TROUPE_OK;
}

/* All of them are held before anything is read: none can start meanwhile. */
static enum troupe_error open_all(const struct troupe__snapshot_resting *nodes, size_t count,
                                  struct troupe__store **stores, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        result = open_folded(nodes[i].data, &stores[i], error, error_size);
    }
    return result;
}

static enum troupe_error write_parts(const struct troupe__snapshot_resting *nodes, struct troupe__store **stores,
                                     const char *writing, struct taking *taking, struct troupe__snapshot *snapshot,
                                     char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        struct troupe__store *store = stores[i];
        struct troupe__snapshot_part *part = &snapshot->parts[i];
        taking->store = store;
        result = troupe__snapshot_write_part(writing, nodes[i].node, store->last_epoch, scan_store, taking,
                                             store->error, part, error, error_size);
        part->number = i;
        part->hash = troupe__lmdb_store_hash(store);
    }
    return result == TROUPE_OK && snapshot->is_troupe ? troupe__snapshot_check_cut(writing, snapshot, error, error_size)
                                                      : result;
}

static enum troupe_error take_into(const struct troupe__snapshot_resting *nodes, struct troupe__store **stores,
                                   const char *target, struct taking *taking, struct troupe__snapshot *snapshot,
                                   char *error, size_t error_size)
{
    char writing[PATH_MAX];
    int lock;
    enum troupe_error result = troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, error, error_size);
    result = result == TROUPE_OK ? open_all(nodes, snapshot->part_count, stores, error, error_size) : result;
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, &lock, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = write_parts(nodes, stores, writing, taking, snapshot, error, error_size);
    snapshot->took_ms = wall_ms() - snapshot->taken_ms;
    result = result == TROUPE_OK ? troupe__snapshot_write_manifest(writing, snapshot, error, error_size) : result;
    return troupe__snapshot_end(target, lock, result, error, error_size);
}

enum troupe_error troupe__snapshot_take(const struct troupe__snapshot_resting *nodes, size_t count,
                                        const struct troupe__slots *slots, const char *target,
                                        void (*progress)(void *context, uint64_t rows), void *progress_context,
                                        struct troupe__snapshot *ret, char *error, size_t error_size)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    if (!troupe__snapshot_name_valid(name)) {
        snprintf(error, error_size, "'%.64s' cannot name a snapshot: " TROUPE__SNAPSHOT_NAME_RULE, name);
        return TROUPE_EINVAL;
    }
    if (access(target, F_OK) == 0) {
        snprintf(error, error_size, "%s exists already: name another one", target);
        return TROUPE_EBUSY;
    }
    struct troupe__snapshot snapshot = {.taken_ms = wall_ms(), .part_count = count, .is_troupe = slots != NULL};
    struct troupe__store **stores = calloc(count, sizeof *stores);
    struct taking taking = {.progress = progress, .progress_context = progress_context};
    snprintf(snapshot.name, sizeof snapshot.name, "%s", name);
    snapshot.parts = calloc(count, sizeof *snapshot.parts);
    enum troupe_error result = TROUPE_ENOMEM;
    if (slots) {
        snapshot.slots = *slots;
    }
    if (stores && snapshot.parts) {
        result = take_into(nodes, stores, target, &taking, &snapshot, error, error_size);
    } else {
        snprintf(error, error_size, "out of memory");
    }
    for (size_t i = 0; stores && i < count; i++) {
        if (stores[i]) {
            stores[i]->close(stores[i]);
        }
    }
    free(stores);
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    *ret = snapshot;
    return TROUPE_OK;
}
