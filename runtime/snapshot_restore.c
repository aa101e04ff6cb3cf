/* snapshot_restore.c - a node's directory made from a part of a snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot.h"
#include "state/lmdb_store.h"

enum { RECORD_SIZE = 4 << 20 }; /* of the epochs that a restored node is made of */

static const char cluster_name[] = "cluster";

static enum troupe_error open_store(const char *data, struct troupe__store **ret, char *error, size_t error_size)
{
    struct troupe__lmdb_options options = {.sync = true};
    return troupe__lmdb_store_open(data, &options, ret, error, error_size);
}

struct restore {
    struct troupe__store *store;
    uint64_t generation; /* of a troupe */
    struct troupe__buffer record;
    uint64_t epoch;
    char *error;
    size_t error_size;
};

static enum troupe_error commit_record(struct restore *restore)
{
    if (restore->record.failed) {
        snprintf(restore->error, restore->error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    struct troupe_bytes record = {restore->record.data, restore->record.size};
    enum troupe_error result = restore->store->commit(restore->store, ++restore->epoch, record);
    restore->record.size = 0;
    if (result != TROUPE_OK) {
        snprintf(restore->error, restore->error_size, "%s", restore->store->error);
    }
    return result;
}

/* META "cluster" (runtime/links.h): the same place in a new generation, so that what still flies from before finds
 * nobody. Numbers of links go on: every node goes back to the same cut. */
static enum troupe_error restore_place(struct restore *restore, struct troupe_bytes value)
{
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__buffer place = {0};
    troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    (void)troupe__cursor_varint(&cursor);
    troupe__buffer_put_varint(&place, restore->generation);
    troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    troupe__record_set(&restore->record, TROUPE__META, cluster_name, strlen(cluster_name), place.data, place.size);
    bool good = !cursor.failed && !place.failed;
    troupe__buffer_free(&place);
    if (!good) {
        snprintf(restore->error, restore->error_size, "the row 'cluster' of a part is malformed: use another snapshot");
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static enum troupe_error restore_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                     struct troupe_bytes value)
{
    struct restore *restore = context;
    if (table == TROUPE__META && key.size == 6 && memcmp(key.data, "output", 6) == 0) {
        return TROUPE_OK; /* Where the output stood does not hold for what has been written since. */
    }
    if (table == TROUPE__META && key.size == strlen(cluster_name) && memcmp(key.data, cluster_name, key.size) == 0) {
        return restore_place(restore, value);
    }
    troupe__record_set(&restore->record, table, key.data, key.size, value.data, value.size);
    return restore->record.size < RECORD_SIZE && !restore->record.failed ? TROUPE_OK : commit_record(restore);
}

enum troupe_error troupe__snapshot_restore_rows(const char *directory, const struct troupe__snapshot_part *part,
                                                uint64_t generation, struct troupe__store *store, char *error,
                                                size_t error_size)
{
    struct restore restore = {.store = store, .generation = generation, .error = error, .error_size = error_size};
    enum troupe_error result = troupe__snapshot_read_part(directory, part, restore_row, &restore, error, error_size);
    result = result == TROUPE_OK && restore.record.size > 0 ? commit_record(&restore) : result;
    troupe__buffer_free(&restore.record);
    return result;
}

static enum troupe_error restore_into(const char *directory, const struct troupe__snapshot_part *part,
                                      uint64_t generation, const char *fresh, char *error, size_t error_size)
{
    struct troupe__store *store;
    enum troupe_error result = open_store(fresh, &store, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = store->replay(store, NULL, NULL);
    result = result == TROUPE_OK ? troupe__snapshot_restore_rows(directory, part, generation, store, error, error_size)
                                 : result;
    store->close(store);
    return result;
}

enum troupe_error troupe__snapshot_restore(const char *directory, const struct troupe__snapshot_part *part,
                                           uint64_t generation, const char *data, char *error, size_t error_size)
{
    char fresh[PATH_MAX], unused[64];
    enum troupe_error result = troupe__files_join(fresh, data, "", ".restoring", error, error_size);
    if (result == TROUPE_OK && access(data, F_OK) == 0) {
        snprintf(error, error_size, "%s exists already: name a new directory, or move it away", data);
        result = TROUPE_EBUSY;
    }
    result = result == TROUPE_OK ? troupe__snapshot_read_part(directory, part, NULL, NULL, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__files_remove(fresh, error, error_size);
    result = result == TROUPE_OK ? restore_into(directory, part, generation, fresh, error, error_size) : result;
    if (result == TROUPE_OK && rename(fresh, data)) {
        result = troupe__files_fail("rename", fresh, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__files_remove(fresh, unused, sizeof unused);
    }
    return result;
}
