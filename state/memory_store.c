/* memory_store.c - the store in memory, for tests and simulations: its disk survives close, and so a simulated crash.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: nothing. Rows are a sorted array of pointers; the journal is one buffer of epoch (8), size (8), record. */
#include "state/memory_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

struct row {
    enum troupe__table table;
    size_t key_size, value_size;
    unsigned char bytes[]; /* key, value */
};

struct troupe__memory_disk {
    pthread_mutex_t mutex; /* of all but the rows, which are the loop's */
    struct troupe__buffer journal;
    uint64_t last, folded;
    int64_t commits_left; /* -1: no limit */
    bool fail_durable, open;
    struct row **rows;
    size_t row_count, row_capacity;
};

struct memory_store {
    struct troupe__store base;
    struct troupe__memory_disk *disk;
};

struct troupe__memory_disk *troupe__memory_disk_new(void)
{
    struct troupe__memory_disk *disk = calloc(1, sizeof *disk);
    if (disk) {
        pthread_mutex_init(&disk->mutex, NULL);
        disk->commits_left = -1;
    }
    return disk;
}

void troupe__memory_disk_free(struct troupe__memory_disk *disk)
{
    if (!disk) {
        return;
    }
    assert(!disk->open);
    for (size_t i = 0; i < disk->row_count; i++) {
        free(disk->rows[i]);
    }
    free(disk->rows);
    troupe__buffer_free(&disk->journal);
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

struct troupe__memory_disk *troupe__memory_disk_copy(struct troupe__memory_disk *disk)
{
    struct troupe__memory_disk *copy = troupe__memory_disk_new();
    if (!copy) {
        return NULL;
    }
    pthread_mutex_lock(&disk->mutex);
    troupe__buffer_put(&copy->journal, disk->journal.data, disk->journal.size);
    copy->last = disk->last;
    copy->folded = disk->folded;
    copy->row_capacity = disk->row_count;
    copy->rows = disk->row_count > 0 ? calloc(disk->row_count, sizeof(struct row *)) : NULL;
    bool ok = !copy->journal.failed && (copy->rows || disk->row_count == 0);
    for (size_t i = 0; ok && i < disk->row_count; i++) {
        size_t size = sizeof(struct row) + disk->rows[i]->key_size + disk->rows[i]->value_size;
        struct row *row = malloc(size);
        ok = row != NULL;
        if (ok) {
            memcpy(row, disk->rows[i], size);
            copy->rows[copy->row_count++] = row;
        }
    }
    pthread_mutex_unlock(&disk->mutex);
    if (!ok) {
        troupe__memory_disk_free(copy);
        return NULL;
    }
    return copy;
}

void troupe__memory_disk_fail_after(struct troupe__memory_disk *disk, int64_t commits, bool durable)
{
    pthread_mutex_lock(&disk->mutex);
    disk->commits_left = commits;
    disk->fail_durable = durable;
    pthread_mutex_unlock(&disk->mutex);
}

static int compare(const struct row *row, enum troupe__table table, struct troupe_bytes key)
{
    if (row->table != table) {
        return row->table < table ? -1 : 1;
    }
    size_t shorter = row->key_size < key.size ? row->key_size : key.size;
    int order = shorter > 0 ? memcmp(row->bytes, key.data, shorter) : 0;
    return order != 0 ? order : row->key_size < key.size ? -1 : row->key_size > key.size;
}

/* The first row not before the key. */
static size_t find(const struct troupe__memory_disk *disk, enum troupe__table table, struct troupe_bytes key)
{
    size_t low = 0, high = disk->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(disk->rows[middle], table, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct troupe__memory_disk *disk, size_t at, enum troupe__table table, struct troupe_bytes key)
{
    return at < disk->row_count && compare(disk->rows[at], table, key) == 0;
}

/* Returns false when out of memory; applying the whole record again is harmless. */
static bool apply_change(struct troupe__memory_disk *disk, const struct troupe__change *change)
{
    size_t at = find(disk, change->table, change->key);
    bool found = is_at(disk, at, change->table, change->key);
    if (change->removed) {
        if (found) {
            free(disk->rows[at]);
            disk->row_count--;
            memmove(disk->rows + at, disk->rows + at + 1, (disk->row_count - at) * sizeof *disk->rows);
        }
        return true;
    }
    if (!found && disk->row_count == disk->row_capacity) {
        size_t capacity = disk->row_capacity > 0 ? disk->row_capacity * 2 : 64;
        struct row **rows = realloc(disk->rows, capacity * sizeof(struct row *));
        if (!rows) {
            return false;
        }
        disk->rows = rows;
        disk->row_capacity = capacity;
    }
    struct row *row = malloc(sizeof *row + change->key.size + change->value.size);
    if (!row) {
        return false;
    }
    *row = (struct row){.table = change->table, .key_size = change->key.size, .value_size = change->value.size};
    memcpy(row->bytes, change->key.data, change->key.size);
    if (change->value.size > 0) {
        memcpy(row->bytes + change->key.size, change->value.data, change->value.size);
    }
    if (found) {
        free(disk->rows[at]);
    } else {
        memmove(disk->rows + at + 1, disk->rows + at, (disk->row_count - at) * sizeof *disk->rows);
        disk->row_count++;
    }
    disk->rows[at] = row;
    return true;
}

static struct troupe__memory_disk *disk_of(struct troupe__store *store)
{
    return ((struct memory_store *)store)->disk;
}

static enum troupe_error memory_commit(struct troupe__store *store, uint64_t epoch, struct troupe_bytes record)
{
    struct troupe__memory_disk *disk = disk_of(store);
    unsigned char head[16];
    enum troupe_error result = TROUPE_OK;
    troupe__put_be64(head, epoch);
    troupe__put_be64(head + 8, record.size);
    pthread_mutex_lock(&disk->mutex);
    assert(epoch == disk->last + 1);
    bool fails = disk->commits_left == 0;
    if (disk->commits_left > 0) {
        disk->commits_left--;
    }
    if (fails) {
        snprintf(store->error, sizeof store->error, "commit epoch %llu: the disk fails as it was told to",
                 (unsigned long long)epoch);
        result = TROUPE_EIO;
    }
    if (!fails || disk->fail_durable) {
        if (!troupe__buffer_reserve(&disk->journal, sizeof head + record.size)) {
            disk->journal.failed = false;
            snprintf(store->error, sizeof store->error, "commit: out of memory");
            result = TROUPE_ENOMEM;
        } else {
            troupe__buffer_put(&disk->journal, head, sizeof head);
            troupe__buffer_put(&disk->journal, record.data, record.size);
            disk->last = epoch;
        }
    }
    if (fails) {
        disk->fail_durable = false; /* Only the first failing commit may be durable. */
    }
    pthread_mutex_unlock(&disk->mutex);
    return result;
}

static enum troupe_error memory_read(struct troupe__store *store, enum troupe__table table, struct troupe_bytes key,
                                     struct troupe_bytes *ret)
{
    struct troupe__memory_disk *disk = disk_of(store);
    size_t at = find(disk, table, key);
    if (!is_at(disk, at, table, key)) {
        return TROUPE_ENOTFOUND;
    }
    *ret = (struct troupe_bytes){disk->rows[at]->bytes + disk->rows[at]->key_size, disk->rows[at]->value_size};
    return TROUPE_OK;
}

static enum troupe_error memory_scan(struct troupe__store *store, enum troupe__table table, struct troupe_bytes prefix,
                                     troupe__row_fn row, void *context)
{
    struct troupe__memory_disk *disk = disk_of(store);
    enum troupe_error result = TROUPE_OK;
    for (size_t at = find(disk, table, prefix); result == TROUPE_OK && at < disk->row_count; at++) {
        const struct row *found = disk->rows[at];
        if (found->table != table || found->key_size < prefix.size ||
            (prefix.size > 0 && memcmp(found->bytes, prefix.data, prefix.size) != 0)) {
            break;
        }
        result = row(context, (struct troupe_bytes){found->bytes, found->key_size},
                     (struct troupe_bytes){found->bytes + found->key_size, found->value_size});
    }
    return result;
}

static enum troupe_error memory_range(struct troupe__store *store, enum troupe__table table,
                                      const struct troupe__range *range, troupe__row_fn row, void *context)
{
    struct troupe__memory_disk *disk = disk_of(store);
    enum troupe_error result = TROUPE_OK;
    struct troupe_bytes none = {NULL, 0};
    size_t low = find(disk, table, range->low);
    size_t high =
        range->high.size > 0 ? find(disk, table, range->high) : find(disk, (enum troupe__table)(table + 1), none);
    while (result == TROUPE_OK && low < high) {
        const struct row *found = disk->rows[range->backward ? --high : low++];
        result = row(context, (struct troupe_bytes){found->bytes, found->key_size},
                     (struct troupe_bytes){found->bytes + found->key_size, found->value_size});
    }
    return result;
}

/* Call `each` for each record of the journal that is not folded, until it fails. Under the mutex. */
static enum troupe_error walk(struct troupe__memory_disk *disk, troupe__replay_fn each, void *context)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t at = 0; result == TROUPE_OK && at < disk->journal.size;) {
        const unsigned char *head = disk->journal.data + at;
        struct troupe_bytes record = {head + 16, (size_t)troupe__get_be64(head + 8)};
        at += 16 + record.size;
        if (troupe__get_be64(head) > disk->folded) { /* A fold that ran out of memory leaves some that are. */
            result = each(context, troupe__get_be64(head), record);
        }
    }
    return result;
}

static enum troupe_error fold_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct troupe__memory_disk *disk = context;
    struct troupe__cursor cursor = {.at = record.data, .end = (const unsigned char *)record.data + record.size};
    struct troupe__change change;
    while (troupe__record_next(&cursor, &change)) {
        if (!apply_change(disk, &change)) {
            return TROUPE_ENOMEM;
        }
    }
    assert(!cursor.failed);
    disk->folded = epoch;
    return TROUPE_OK;
}

static uint64_t memory_refresh(struct troupe__store *store)
{
    struct troupe__memory_disk *disk = disk_of(store);
    pthread_mutex_lock(&disk->mutex);
    if (walk(disk, fold_record, disk) == TROUPE_OK) {
        disk->journal.size = 0;
    }
    uint64_t folded = disk->folded;
    pthread_mutex_unlock(&disk->mutex);
    return folded;
}

static enum troupe_error memory_replay(struct troupe__store *store, troupe__replay_fn record, void *context)
{
    return record ? walk(disk_of(store), record, context) : TROUPE_OK; /* At open: there is no other thread. */
}

static void memory_close(struct troupe__store *store)
{
    disk_of(store)->open = false;
    free(store);
}

enum troupe_error troupe__memory_store_open(struct troupe__memory_disk *disk, struct troupe__store **ret, char *error,
                                            size_t error_size)
{
    if (disk->open) {
        snprintf(error, error_size, "open store in memory: it is open");
        return TROUPE_EBUSY;
    }
    struct memory_store *store = calloc(1, sizeof *store);
    if (!store) {
        snprintf(error, error_size, "open store in memory: out of memory");
        return TROUPE_ENOMEM;
    }
    disk->open = true;
    store->disk = disk;
    store->base = (struct troupe__store){
        .commit = memory_commit,
        .read = memory_read,
        .scan = memory_scan,
        .range = memory_range,
        .refresh = memory_refresh,
        .replay = memory_replay,
        .last_epoch = disk->last,
        .close = memory_close,
    };
    *ret = &store->base;
    return TROUPE_OK;
}
