/* snapshot_restore.c - the rows of a part as those of a node that gets it again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/store.h"
#include "runtime/snapshot/snapshot.h"

enum { RECORD_SIZE = 4 << 20 }; /* of the epochs that rows are committed in */

static const char cluster_row[] = "cluster", output_row[] = "output";

struct copy {
    const uint64_t *cluster; /* NULL: as it was */
    uint64_t generation;
    troupe__snapshot_row_fn row;
    void *context;
    char *error;
    size_t error_size;
};

/* META "cluster" (runtime/machine/links.h): the same place in a new generation, so that what still flies from before
 * finds nobody. Numbers of links go on: every node goes back to the same cut. */
static enum troupe_error copy_place(struct copy *copy, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__buffer place = {0};
    uint64_t cluster = troupe__cursor_varint(&cursor);
    (void)troupe__cursor_varint(&cursor);
    troupe__buffer_put_varint(&place, copy->cluster ? *copy->cluster : cluster);
    troupe__buffer_put_varint(&place, copy->generation);
    troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    if (cursor.at != cursor.end) { /* Its slots are the same. */
        troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    }
    enum troupe_error result = TROUPE_ECORRUPT;
    if (cursor.failed || place.failed) {
        snprintf(copy->error, copy->error_size, "the row 'cluster' of a part is malformed: use another snapshot");
    } else {
        result = copy->row(copy->context, TROUPE__META, key, (struct troupe_bytes){place.data, place.size});
    }
    troupe__buffer_free(&place);
    return result;
}

static enum troupe_error copy_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct copy *copy = context;
    if (table == TROUPE__META && key.size == strlen(output_row) && memcmp(key.data, output_row, key.size) == 0) {
        return TROUPE_OK; /* Where the output stood does not hold for what has been written since. */
    }
    if (table == TROUPE__META && key.size == strlen(cluster_row) && memcmp(key.data, cluster_row, key.size) == 0) {
        return copy_place(copy, key, value);
    }
    return copy->row(copy->context, table, key, value);
}

enum troupe_error troupe__snapshot_copy_part(const char *directory, const struct troupe__snapshot_part *part,
                                             const uint64_t *cluster, uint64_t generation, troupe__snapshot_row_fn row,
                                             void *context, char *error, size_t error_size)
{
    struct copy copy = {cluster, generation, row, context, error, error_size};
    return troupe__snapshot_read_part(directory, part, copy_row, &copy, error, error_size);
}

/* ---- into a store ------------------------------------------------------------------------------------------------ */

struct restore {
    struct troupe__store *store;
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

static enum troupe_error restore_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                     struct troupe_bytes value)
{
    struct restore *restore = context;
    troupe__record_set(&restore->record, table, key.data, key.size, value.data, value.size);
    return restore->record.size < RECORD_SIZE && !restore->record.failed ? TROUPE_OK : commit_record(restore);
}

enum troupe_error troupe__snapshot_restore_rows(const char *directory, const struct troupe__snapshot_part *part,
                                                uint64_t generation, struct troupe__store *store, char *error,
                                                size_t error_size)
{
    struct restore restore = {.store = store, .error = error, .error_size = error_size};
    enum troupe_error result =
        troupe__snapshot_copy_part(directory, part, NULL, generation, restore_row, &restore, error, error_size);
    result = result == TROUPE_OK && restore.record.size > 0 ? commit_record(&restore) : result;
    troupe__buffer_free(&restore.record);
    return result;
}
