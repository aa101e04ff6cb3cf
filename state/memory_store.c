/* memory_store.c - the store in memory, for tests and simulations: its disk survives close, and so a simulated crash.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: nothing. Rows are a sorted array of pointers for each table, with a gap at both ends: what comes and goes in
 * the order of its keys, as mail and outboxes do, moves few. The journal is one buffer of epoch (8), size (8), record.
 */
#include "state/memory_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#include "core/grow.h"

struct row {
    size_t key_size, value_size;
    unsigned char bytes[]; /* key, value */
};

struct table {
    struct row **rows; /* the sorted ones: rows[begin] to rows[begin + count - 1] */
    size_t begin, count, capacity;
};

struct troupe__memory_disk {
    pthread_mutex_t mutex; /* of all but the rows, which are the loop's */
    struct troupe__buffer journal;
    uint64_t last, folded;
    int64_t commits_left; /* -1: no limit */
    bool fail_durable, open;
    struct table tables[TROUPE__TABLE_COUNT];
};

struct memory_store {
    struct troupe__store base;
    struct troupe__memory_disk *disk;
    bool photographed;
    uint64_t hold; /* nothing beyond this epoch is folded; 0: everything is */
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
    for (size_t t = 0; t < TROUPE__TABLE_COUNT; t++) {
        for (size_t i = 0; i < disk->tables[t].count; i++) {
            free(disk->tables[t].rows[disk->tables[t].begin + i]);
        }
        free(disk->tables[t].rows);
    }
    troupe__buffer_free(&disk->journal);
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

static bool copy_table(const struct table *from, struct table *to)
{
    if (from->count == 0) {
        return true;
    }
    to->rows = calloc(from->count, sizeof(struct row *));
    to->capacity = to->rows ? from->count : 0;
    for (; to->rows && to->count < from->count; to->count++) {
        const struct row *row = from->rows[from->begin + to->count];
        size_t size = sizeof *row + row->key_size + row->value_size;
        to->rows[to->count] = malloc(size);
        if (!to->rows[to->count]) {
            return false;
        }
        memcpy(to->rows[to->count], row, size);
    }
    return to->rows != NULL;
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
    bool ok = !copy->journal.failed;
    for (size_t t = 0; ok && t < TROUPE__TABLE_COUNT; t++) {
        ok = copy_table(&disk->tables[t], &copy->tables[t]);
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

static int compare(const struct row *row, struct troupe_bytes key)
{
    size_t shorter = row->key_size < key.size ? row->key_size : key.size;
    int order = shorter > 0 ? memcmp(row->bytes, key.data, shorter) : 0;
    return order != 0 ? order : row->key_size < key.size ? -1 : row->key_size > key.size;
}

/* The index of the first row not before the key. */
static size_t find(const struct table *table, struct troupe_bytes key)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(table->rows[table->begin + middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct table *table, size_t at, struct troupe_bytes key)
{
    return at < table->count && compare(table->rows[table->begin + at], key) == 0;
}

/* Close the place `at`, moving the shorter side. */
static void close_place(struct table *table, size_t at)
{
    struct row **first = table->rows + table->begin;
    if (at < table->count / 2) {
        memmove(first + 1, first, at * sizeof *first);
        table->begin++;
    } else {
        memmove(first + at, first + at + 1, (table->count - at - 1) * sizeof *first);
    }
    table->count--;
}

/* Open a place `at`. Returns false when out of memory. */
static bool open_place(struct table *table, size_t at)
{
    if (table->begin > 0 && at < table->count / 2) {
        struct row **first = table->rows + table->begin;
        memmove(first - 1, first, at * sizeof *first);
        table->begin--;
        table->count++;
        return true;
    }
    if (table->begin + table->count == table->capacity && table->begin > table->count) {
        memmove(table->rows, table->rows + table->begin, table->count * sizeof(struct row *));
        table->begin = 0;
    }
    struct row **rows = troupe__grow(table->rows, table->begin + table->count, &table->capacity, sizeof(struct row *));
    if (!rows) {
        return false;
    }
    table->rows = rows;
    struct row **place = table->rows + table->begin + at;
    memmove(place + 1, place, (table->count - at) * sizeof *place);
    table->count++;
    return true;
}

/* Returns false when out of memory; applying the whole record again is harmless. */
static bool apply_change(struct troupe__memory_disk *disk, const struct troupe__change *change)
{
    struct table *table = &disk->tables[change->table];
    size_t at = find(table, change->key);
    bool found = is_at(table, at, change->key);
    if (change->removed) {
        if (found) {
            free(table->rows[table->begin + at]);
            close_place(table, at);
        }
        return true;
    }
    struct row *row = malloc(sizeof *row + change->key.size + change->value.size);
    if (!row || (!found && !open_place(table, at))) {
        free(row);
        return false;
    }
    *row = (struct row){.key_size = change->key.size, .value_size = change->value.size};
    memcpy(row->bytes, change->key.data, change->key.size);
    if (change->value.size > 0) {
        memcpy(row->bytes + change->key.size, change->value.data, change->value.size);
    }
    if (found) {
        free(table->rows[table->begin + at]);
    }
    table->rows[table->begin + at] = row;
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

static const struct table *table_of(struct troupe__store *store, enum troupe__table table)
{
    return &disk_of(store)->tables[table];
}

static enum troupe_error memory_read(struct troupe__store *store, enum troupe__table which, struct troupe_bytes key,
                                     struct troupe_bytes *ret)
{
    const struct table *table = table_of(store, which);
    size_t at = find(table, key);
    if (!is_at(table, at, key)) {
        return TROUPE_ENOTFOUND;
    }
    const struct row *row = table->rows[table->begin + at];
    *ret = (struct troupe_bytes){row->bytes + row->key_size, row->value_size};
    return TROUPE_OK;
}

static enum troupe_error tell_row(const struct row *found, troupe__row_fn row, void *context)
{
    return row(context, (struct troupe_bytes){found->bytes, found->key_size},
               (struct troupe_bytes){found->bytes + found->key_size, found->value_size});
}

static enum troupe_error memory_scan(struct troupe__store *store, enum troupe__table which, struct troupe_bytes prefix,
                                     troupe__row_fn row, void *context)
{
    const struct table *table = table_of(store, which);
    enum troupe_error result = TROUPE_OK;
    for (size_t at = find(table, prefix); result == TROUPE_OK && at < table->count; at++) {
        const struct row *found = table->rows[table->begin + at];
        if (found->key_size < prefix.size || (prefix.size > 0 && memcmp(found->bytes, prefix.data, prefix.size) != 0)) {
            break;
        }
        result = tell_row(found, row, context);
    }
    return result;
}

static enum troupe_error memory_range(struct troupe__store *store, enum troupe__table which,
                                      const struct troupe__range *range, troupe__row_fn row, void *context)
{
    const struct table *table = table_of(store, which);
    enum troupe_error result = TROUPE_OK;
    size_t low = find(table, range->low);
    size_t high = range->high.size > 0 ? find(table, range->high) : table->count;
    while (result == TROUPE_OK && low < high) {
        result = tell_row(table->rows[table->begin + (range->backward ? --high : low++)], row, context);
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

static enum troupe_error fold_until_hold(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct memory_store *store = context;
    return store->hold > 0 && epoch > store->hold ? TROUPE_EFULL : fold_record(store->disk, epoch, record);
}

static uint64_t memory_refresh(struct troupe__store *store)
{
    struct troupe__memory_disk *disk = disk_of(store);
    pthread_mutex_lock(&disk->mutex);
    if (walk(disk, fold_until_hold, store) == TROUPE_OK) {
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

/* ---- photographs: the rows themselves, kept as they are until the photo is closed -------------------------------- */

struct memory_photo {
    struct troupe__photo base;
    struct memory_store *store;
};

static enum troupe_error memory_photo_wait(struct troupe__photo *base)
{
    struct memory_photo *photo = (struct memory_photo *)base;
    base->epoch = memory_refresh(&photo->store->base);
    if (base->epoch < photo->store->hold) { /* There is no one to wait for: who commits is on this thread. */
        snprintf(base->error, sizeof base->error, "photograph: epoch %llu is not durable yet",
                 (unsigned long long)photo->store->hold);
        return TROUPE_EFULL;
    }
    return TROUPE_OK;
}

static enum troupe_error memory_photo_scan(struct troupe__photo *base, enum troupe__table table,
                                           struct troupe_bytes prefix, troupe__row_fn row, void *context)
{
    return memory_scan(&((struct memory_photo *)base)->store->base, table, prefix, row, context);
}

static void memory_photo_release(struct troupe__photo *base)
{
    ((struct memory_photo *)base)->store->hold = 0;
}

static void memory_photo_cancel(struct troupe__photo *base)
{
    (void)base; /* Nothing ever waits. */
}

static void memory_photo_close(struct troupe__photo *base)
{
    struct memory_photo *photo = (struct memory_photo *)base;
    memory_photo_release(base);
    photo->store->photographed = false;
    free(photo);
}

static enum troupe_error memory_photograph(struct troupe__store *base, uint64_t epoch, struct troupe__photo **ret)
{
    struct memory_store *store = (struct memory_store *)base;
    if (store->photographed) {
        snprintf(base->error, sizeof base->error, "photograph: there is a photo already");
        return TROUPE_EBUSY;
    }
    struct memory_photo *photo = calloc(1, sizeof *photo);
    if (!photo) {
        snprintf(base->error, sizeof base->error, "photograph: out of memory");
        return TROUPE_ENOMEM;
    }
    photo->base = (struct troupe__photo){.wait = memory_photo_wait,
                                         .scan = memory_photo_scan,
                                         .release = memory_photo_release,
                                         .cancel = memory_photo_cancel,
                                         .close = memory_photo_close};
    photo->store = store;
    store->photographed = true;
    store->hold = epoch;
    *ret = &photo->base;
    return TROUPE_OK;
}

static void memory_close(struct troupe__store *store)
{
    disk_of(store)->open = false;
    free(store);
}

static bool memory_commit_waits(struct troupe__store *base)
{
    (void)base;
    return false;
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
        .commit_waits = memory_commit_waits,
        .read = memory_read,
        .scan = memory_scan,
        .range = memory_range,
        .refresh = memory_refresh,
        .photograph = memory_photograph,
        .replay = memory_replay,
        .last_epoch = disk->last,
        .close = memory_close,
    };
    *ret = &store->base;
    return TROUPE_OK;
}
