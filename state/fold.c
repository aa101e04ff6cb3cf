/* fold.c - moves committed epochs from the journal's tail into the tables, in the background.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: (`tables.mdb`)
 *   key    table (1), key
 *   value  checksum (4, big-endian: the low half of XXH3(value) xor twice XXH3(key)), value
 *   META "troupe.folded": the epoch up to which the tables hold everything (8), the hash of its record (8)
 * A crash leaves the tables as of some epoch, with some STATE rows newer (see fold.h); opening goes on from that one.
 *
 * The thread sleeps without wake-ups while nothing is queued. A fold that fails for space keeps its batch and is tried
 * again after an interval. A fold whose sync failed is final: the kernel may have dropped what it could not write. */
#include "state/fold.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum {
    ENTRY_SIZE = 24,
    PAGE = 4096,
    BEHIND_MAX = 8,
    ROWS_PER_FOLD = 1 << 21,
    ROWS_KEPT = 1 << 16,       /* for which memory is kept from fold to fold */
    OTHERS_PER_FOLD = 1 << 16, /* of other tables than STATE: LMDB 0.9 has bugs over 131,071 dirty pages */
    PAGES_PER_TXN = 256,       /* that STATE rows stand on: 1 MiB, one or two milliseconds of the disk's time, ... */
    PAGES_PER_TXN_MAX = 32768, /* ... and when folding is behind: each transaction costs two syncs */
    SPREAD_MAX_MS = 2000,
    BUFFER_KEPT_MAX = 1 << 20, /* bytes of a batch's memory that is kept for the next one */
};

/* A change, as it stands in the batch: see core/store.h. */
struct troupe__fold_item {
    uint64_t order; /* sorts as the rows should be written; equal for rows that the rest of the key tells apart */
    const unsigned char *at;
};

struct troupe__fold_slot {
    uint32_t hash, item; /* 1 + its index; 0: free */
};

/* ---- rows -------------------------------------------------------------------------------------------------------- */

size_t troupe__fold_row_key(unsigned char *to, enum troupe__table table, struct troupe_bytes key)
{
    assert(key.size <= TROUPE__ROW_KEY_MAX);
    to[0] = (unsigned char)table;
    if (key.size > 0) {
        memcpy(to + 1, key.data, key.size);
    }
    return key.size + 1;
}

static uint32_t row_sum(const void *key, size_t key_size, const void *value, size_t value_size)
{
    return (uint32_t)(troupe__hash(value, value_size) ^ 2 * troupe__hash(key, key_size));
}

/* `*ret_at` becomes where the row stands. */
static int row_put(MDB_cursor *rows, MDB_val key, struct troupe_bytes value, const unsigned char **ret_at)
{
    MDB_val row = {TROUPE__FOLD_SUM_SIZE + value.size, NULL};
    int code = mdb_cursor_put(rows, &key, &row, MDB_RESERVE);
    if (!code) {
        uint32_t sum = row_sum(key.mv_data, key.mv_size, value.data, value.size);
        unsigned char *to = row.mv_data;
        troupe__put_be16(to, (uint16_t)(sum >> 16));
        troupe__put_be16(to + 2, (uint16_t)sum);
        if (value.size > 0) {
            memcpy(to + TROUPE__FOLD_SUM_SIZE, value.data, value.size);
        }
        *ret_at = to;
    }
    return code;
}

int troupe__fold_row_put(MDB_txn *txn, MDB_dbi dbi, enum troupe__table table, struct troupe_bytes key,
                         struct troupe_bytes value)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    const unsigned char *at;
    MDB_cursor *rows;
    int code = mdb_cursor_open(txn, dbi, &rows);
    if (!code) {
        code = row_put(rows, (MDB_val){troupe__fold_row_key(bytes, table, key), bytes}, value, &at);
        mdb_cursor_close(rows);
    }
    return code;
}

bool troupe__fold_row_check(MDB_val key, MDB_val value, struct troupe_bytes *ret)
{
    const unsigned char *at = value.mv_data;
    if (value.mv_size < TROUPE__FOLD_SUM_SIZE) {
        return false;
    }
    *ret = (struct troupe_bytes){at + TROUPE__FOLD_SUM_SIZE, value.mv_size - TROUPE__FOLD_SUM_SIZE};
    uint32_t sum = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    return sum == row_sum(key.mv_data, key.mv_size, ret->data, ret->size);
}

/* ---- one fold ---------------------------------------------------------------------------------------------------- */

/* The table and key of a change; its form was checked when it was gathered. */
static struct troupe_bytes key_of(const unsigned char *at, unsigned *ret_table)
{
    size_t size = 0;
    unsigned shift = 0;
    *ret_table = *at >> 1;
    for (at++; *at >= 0x80; at++, shift += 7) {
        size |= (size_t)(*at & 0x7f) << shift;
    }
    size |= (size_t)*at << shift;
    return (struct troupe_bytes){at + 1, size};
}

static bool same_key(const unsigned char *at, const struct troupe__change *change)
{
    unsigned table;
    struct troupe_bytes key = key_of(at, &table);
    return table == change->table && key.size == change->key.size && memcmp(key.data, change->key.data, key.size) == 0;
}

/* STATE before all other tables, each in the order of its keys. */
static uint64_t order_of(const struct troupe__change *change)
{
    unsigned char first[8] = {change->table == TROUPE__STATE ? 0 : (unsigned char)(change->table + 1)};
    memcpy(first + 1, change->key.data, change->key.size < 7 ? change->key.size : 7);
    return troupe__get_be64(first);
}

static int compare_items(const void *left_item, const void *right_item)
{
    const struct troupe__fold_item *left_at = left_item, *right_at = right_item;
    if (left_at->order != right_at->order) {
        return left_at->order < right_at->order ? -1 : 1;
    }
    unsigned table; /* The same one: it is a part of the order. */
    struct troupe_bytes left = key_of(left_at->at, &table), right = key_of(right_at->at, &table);
    int order = memcmp(left.data, right.data, left.size < right.size ? left.size : right.size);
    return order != 0 ? order : left.size < right.size ? -1 : left.size > right.size;
}

static uint32_t hash_of(const struct troupe__change *change)
{
    return (uint32_t)(troupe__hash(change->key.data, change->key.size) >> 32) + change->table;
}

/* The first slot that is free or has the row. */
static struct troupe__fold_slot *find_slot(const struct troupe__fold *fold, uint32_t hash,
                                           const struct troupe__change *wanted)
{
    size_t at = hash & (fold->slot_count - 1);
    for (; fold->slots[at].item != 0; at = (at + 1) & (fold->slot_count - 1)) {
        if (fold->slots[at].hash == hash && same_key(fold->items[fold->slots[at].item - 1].at, wanted)) {
            break;
        }
    }
    return &fold->slots[at];
}

static int grow(struct troupe__fold *fold)
{
    size_t capacity = fold->item_capacity > 0 ? fold->item_capacity * 2 : 1024;
    struct troupe__fold_item *items = realloc(fold->items, capacity * sizeof *items);
    if (!items) {
        return ENOMEM;
    }
    fold->items = items;
    struct troupe__fold_slot *slots = calloc(capacity * 2, sizeof *slots);
    if (!slots) {
        return ENOMEM;
    }
    for (size_t i = 0; i < fold->slot_count; i++) { /* No two of them are the same row. */
        if (fold->slots[i].item != 0) {
            size_t at = fold->slots[i].hash & (capacity * 2 - 1);
            while (slots[at].item != 0) {
                at = (at + 1) & (capacity * 2 - 1);
            }
            slots[at] = fold->slots[i];
        }
    }
    free(fold->slots);
    fold->slots = slots;
    fold->slot_count = capacity * 2;
    fold->item_capacity = capacity;
    return 0;
}

/* Memory of a load that is long over is given back. */
static void forget_items(struct troupe__fold *fold)
{
    if (fold->item_capacity > ROWS_KEPT && fold->item_count < fold->item_capacity / 16) {
        free(fold->items);
        free(fold->slots);
        fold->items = NULL;
        fold->slots = NULL;
        fold->item_capacity = fold->slot_count = 0;
    }
    fold->item_count = fold->other_count = 0;
    if (fold->slots) {
        memset(fold->slots, 0, fold->slot_count * sizeof *fold->slots);
    }
}

/* Merge a record's changes into `items`. */
static int gather(struct troupe__fold *fold, struct troupe_bytes record)
{
    struct troupe__cursor cursor = {.at = record.data, .end = (const unsigned char *)record.data + record.size};
    struct troupe__change change;
    const unsigned char *at = cursor.at;
    for (; troupe__record_next(&cursor, &change); at = cursor.at) {
        int code = fold->item_count == fold->item_capacity ? grow(fold) : 0;
        if (code) {
            return code;
        }
        uint32_t hash = hash_of(&change);
        struct troupe__fold_slot *slot = find_slot(fold, hash, &change);
        if (slot->item == 0) {
            *slot = (struct troupe__fold_slot){hash, (uint32_t)++fold->item_count};
            fold->items[fold->item_count - 1].order = order_of(&change);
            fold->other_count += change.table != TROUPE__STATE;
        }
        fold->items[slot->item - 1].at = at;
    }
    return cursor.failed ? MDB_CORRUPTED : 0;
}

/* `*at` is where the row stands, or where the one before stands if there is none. */
static int apply_change(MDB_cursor *rows, const struct troupe__change *change, const unsigned char **at)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    MDB_val key = {troupe__fold_row_key(bytes, change->table, change->key), bytes}, value;
    if (!change->removed) {
        return row_put(rows, key, change->value, at);
    }
    int code = mdb_cursor_get(rows, &key, &value, MDB_SET);
    if (code) {
        return code == MDB_NOTFOUND ? 0 : code; /* Not there: set and removed again before it was ever folded. */
    }
    *at = value.mv_data;
    return mdb_cursor_del(rows, 0);
}

/* How many pages lie between two rows that follow each other, at least: 0 on the same one. */
static size_t pages_between(const unsigned char *before, const unsigned char *at, size_t size)
{
    uintptr_t low = (uintptr_t)before, high = (uintptr_t)at;
    return (low < high ? high - low : low - high) < PAGE ? 0 : 1 + size / PAGE;
}

/* Write items from `*from` on, as many as one transaction should hold; the last ones together with the mark. */
static int apply_some(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, size_t *from)
{
    MDB_txn *txn = NULL;
    MDB_cursor *rows = NULL;
    const unsigned char *before, *place = NULL;
    size_t at = *from, pages = 0, state_count = fold->item_count - fold->other_count;
    size_t pages_max = fold->behind ? PAGES_PER_TXN_MAX : PAGES_PER_TXN;
    int code = mdb_txn_begin(fold->tables->env, NULL, 0, &txn);
    if (code) {
        return code;
    }
    code = mdb_cursor_open(txn, fold->tables->dbi, &rows);
    for (; !code && at < fold->item_count && (at >= state_count || pages < pages_max); at++) {
        struct troupe__cursor cursor = {fold->items[at].at, fold->batch.data + fold->batch.size, false};
        struct troupe__change change;
        before = place;
        code = troupe__record_next(&cursor, &change) ? apply_change(rows, &change, &place) : MDB_CORRUPTED;
        pages += pages_between(before, place, change.value.size);
    }
    if (!code && at == fold->item_count) {
        unsigned char mark[TROUPE__FOLD_MARK_SIZE];
        troupe__put_be64(mark, epoch);
        troupe__put_be64(mark + 8, hash);
        code = troupe__fold_row_put(txn, fold->tables->dbi, TROUPE__META,
                                    (struct troupe_bytes){TROUPE__FOLD_MARK, sizeof TROUPE__FOLD_MARK - 1},
                                    (struct troupe_bytes){mark, sizeof mark});
    }
    if (rows) {
        mdb_cursor_close(rows);
    }
    if (code) {
        mdb_txn_abort(txn);
        return code;
    }
    if ((code = mdb_txn_commit(txn)) == 0) {
        *from = at;
        atomic_fetch_add(&fold->transactions, 1);
    }
    return code;
}

static void add_ms(struct timespec *time, int64_t ms)
{
    time->tv_sec += (time_t)(ms / 1000);
    time->tv_nsec += (long)(ms % 1000) * 1000000;
    if (time->tv_nsec >= 1000000000) {
        time->tv_sec++;
        time->tv_nsec -= 1000000000;
    }
}

/* Wait until the part `done / all` of the time for `bytes` of the batch has passed since `start`; not when there is no
 * time. */
static void spread(struct troupe__fold *fold, struct timespec start, size_t bytes, size_t done, size_t all)
{
    unsigned whole_ms = fold->interval_ms < SPREAD_MAX_MS ? fold->interval_ms : SPREAD_MAX_MS;
    double part = (double)bytes / (double)fold->batch.size * (double)done / (double)all;
    add_ms(&start, (int64_t)(0.9 * whole_ms * part));
    pthread_mutex_lock(&fold->mutex);
    int code = 0;
    while (!code && !fold->closing && !fold->behind && fold->hold == 0 && fold->queue.size <= fold->bytes_max) {
        code = pthread_cond_timedwait(&fold->work, &fold->mutex, &start);
    }
    pthread_mutex_unlock(&fold->mutex);
}

/* Fold as much of the batch as is gathered at once. `*ret_done` is where the rest begins. */
static int fold_some(struct troupe__fold *fold, size_t *ret_done)
{
    size_t at = fold->batch_done, written = 0;
    uint64_t epoch = 0, hash = 0, hold = fold->hold;
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    forget_items(fold);
    do {
        const unsigned char *entry = fold->batch.data + at;
        struct troupe_bytes record = {entry + ENTRY_SIZE, (size_t)troupe__get_be64(entry + 16)};
        epoch = troupe__get_be64(entry);
        hash = troupe__get_be64(entry + 8);
        int code = gather(fold, record);
        if (code) {
            return code;
        }
        at += ENTRY_SIZE + record.size;
    } while (at < fold->batch.size && epoch != hold && fold->item_count < ROWS_PER_FOLD &&
             fold->other_count < OTHERS_PER_FOLD && at - fold->batch_done < fold->bytes_max);
    if (fold->item_count > 0) {
        qsort(fold->items, fold->item_count, sizeof *fold->items, compare_items);
    }
    int code;
    while ((code = apply_some(fold, epoch, hash, &written)) == 0 && written < fold->item_count) {
        spread(fold, start, at - fold->batch_done, written, fold->item_count);
    }
    if (!code) {
        atomic_store(&fold->folded, epoch);
        *ret_done = at;
    }
    return code;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static void set_due(struct troupe__fold *fold)
{
    clock_gettime(CLOCK_MONOTONIC, &fold->due);
    add_ms(&fold->due, fold->interval_ms);
}

/* Under the mutex: sleep until a fold is due, or it is time to end. */
static void wait_for_work(struct troupe__fold *fold)
{
    int code = 0;
    while (!fold->closing && code != ETIMEDOUT) {
        if (fold->held) {
            pthread_cond_wait(&fold->work, &fold->mutex);
            continue;
        }
        if (fold->hold > 0 && fold->pushed >= fold->hold && fold->failed == TROUPE_OK) {
            break;
        }
        if (fold->failed == TROUPE_OK && fold->queue.size > fold->bytes_max) {
            break;
        }
        if (fold->failed == TROUPE_EIO || fold->queue.size + fold->batch_left == 0) {
            pthread_cond_wait(&fold->work, &fold->mutex);
        } else {
            code = pthread_cond_timedwait(&fold->work, &fold->mutex, &fold->due);
        }
    }
}

/* Under the mutex: make the queue the batch. The next queue must hold what a commit in flight has reserved. */
static bool take_queue(struct troupe__fold *fold)
{
    assert(fold->batch_left == 0);
    fold->batch.size = 0;
    if (fold->reserved > 0 && !troupe__buffer_reserve(&fold->batch, fold->reserved)) {
        fold->batch.failed = false;
        return false;
    }
    struct troupe__buffer taken = fold->queue;
    fold->behind = taken.size > fold->bytes_max;
    fold->queue = fold->batch;
    fold->batch = taken;
    fold->batch_left = taken.size;
    fold->batch_done = 0;
    return true;
}

/* Under the mutex: whether the tables are where they are to stay. */
static bool at_hold(const struct troupe__fold *fold)
{
    return fold->hold > 0 && fold->folded >= fold->hold && !fold->closing;
}

/* Under the mutex, which it lets go while it writes: fold the batch. */
static int fold_batch(struct troupe__fold *fold)
{
    int code = 0;
    while (!code && fold->batch_left > 0 && !at_hold(fold)) {
        pthread_mutex_unlock(&fold->mutex);
        size_t done = 0;
        code = fold_some(fold, &done);
        pthread_mutex_lock(&fold->mutex);
        if (!code) {
            fold->batch_done = done;
            fold->batch_left = fold->batch.size - done;
            pthread_cond_broadcast(&fold->done);
        }
    }
    if (fold->batch_left == 0 && fold->batch.capacity > BUFFER_KEPT_MAX) {
        troupe__buffer_free(&fold->batch);
    }
    return code;
}

static void *run(void *context)
{
    struct troupe__fold *fold = context;
    pthread_mutex_lock(&fold->mutex);
    for (;;) {
        wait_for_work(fold);
        int code = 0;
        if (fold->failed == TROUPE_EIO) {
            break; /* Closing: nothing can be done any more. */
        }
        do {
            if (fold->batch_left == 0 && fold->queue.size > 0 && !at_hold(fold) && !take_queue(fold)) {
                code = ENOMEM;
            } else {
                code = fold_batch(fold);
            }
        } while (!code && fold->closing && fold->queue.size > 0);
        if (!code && at_hold(fold) && !fold->held) {
            code = mdb_txn_begin(fold->tables->env, NULL, MDB_RDONLY, &fold->held);
        }
        enum troupe_error failed = code ? troupe__lmdb_error(code) : TROUPE_OK;
        bool passing = failed == TROUPE_OK || failed == TROUPE_ENOSPACE || failed == TROUPE_ENOMEM;
        fold->failed = passing ? failed : TROUPE_EIO;
        if (code) {
            snprintf(fold->error, sizeof fold->error, "fold the journal into tables.mdb: %s", mdb_strerror(code));
            set_due(fold);
        }
        pthread_cond_broadcast(&fold->done);
        if (fold->closing) {
            break;
        }
    }
    pthread_mutex_unlock(&fold->mutex);
    return NULL;
}

enum troupe_error troupe__fold_start(struct troupe__fold *fold, struct troupe__lmdb_env *tables, uint64_t folded,
                                     size_t bytes_max, unsigned interval_ms)
{
    pthread_condattr_t monotonic;
    *fold = (struct troupe__fold){.tables = tables, .bytes_max = bytes_max, .interval_ms = interval_ms};
    atomic_init(&fold->folded, folded);
    fold->pushed = folded;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&fold->mutex, NULL);
    pthread_cond_init(&fold->work, &monotonic);
    pthread_cond_init(&fold->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return pthread_create(&fold->thread, NULL, run, fold) ? TROUPE_ENOMEM : TROUPE_OK;
}

enum troupe_error troupe__fold_reserve(struct troupe__fold *fold, size_t size, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    pthread_mutex_lock(&fold->mutex);
    while (fold->failed == TROUPE_OK && fold->queue.size + fold->batch_left > BEHIND_MAX * fold->bytes_max) {
        pthread_cond_wait(&fold->done, &fold->mutex);
    }
    if (fold->failed == TROUPE_EIO ||
        (fold->failed != TROUPE_OK && fold->queue.size + fold->batch_left > BEHIND_MAX * fold->bytes_max)) {
        result = fold->failed;
        snprintf(error, error_size, "nothing of the epoch is on disk: %s%s",
                 result == TROUPE_EIO ? "" : "too much waits to be folded: ", fold->error);
    } else if (!troupe__buffer_reserve(&fold->queue, ENTRY_SIZE + size)) {
        fold->queue.failed = false;
        snprintf(error, error_size, "commit: out of memory");
        result = TROUPE_ENOMEM;
    } else {
        fold->reserved = ENTRY_SIZE + size;
    }
    pthread_mutex_unlock(&fold->mutex);
    return result;
}

void troupe__fold_push(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    unsigned char entry[ENTRY_SIZE];
    troupe__put_be64(entry, epoch);
    troupe__put_be64(entry + 8, hash);
    troupe__put_be64(entry + 16, record.size);
    pthread_mutex_lock(&fold->mutex);
    assert(fold->queue.capacity - fold->queue.size >= ENTRY_SIZE + record.size);
    bool first = fold->queue.size == 0;
    size_t before = fold->queue.size;
    troupe__buffer_put(&fold->queue, entry, ENTRY_SIZE);
    troupe__buffer_put(&fold->queue, record.data, record.size);
    fold->reserved = 0;
    fold->pushed = epoch;
    if (first && fold->failed == TROUPE_OK) {
        set_due(fold);
    }
    if (first || epoch == fold->hold || (before <= fold->bytes_max && fold->queue.size > fold->bytes_max)) {
        pthread_cond_signal(&fold->work);
    }
    pthread_mutex_unlock(&fold->mutex);
}

void troupe__fold_hold(struct troupe__fold *fold, uint64_t epoch)
{
    pthread_mutex_lock(&fold->mutex);
    assert(fold->hold == 0 && epoch > 0);
    fold->hold = epoch;
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
}

enum troupe_error troupe__fold_wait_held(struct troupe__fold *fold, MDB_txn **ret, uint64_t *ret_epoch, char *error,
                                         size_t error_size)
{
    pthread_mutex_lock(&fold->mutex);
    while (!fold->held && fold->hold > 0 && fold->failed == TROUPE_OK) {
        pthread_cond_wait(&fold->done, &fold->mutex);
    }
    enum troupe_error result = fold->held ? TROUPE_OK : fold->failed != TROUPE_OK ? fold->failed : TROUPE_ECLOSED;
    if (result == TROUPE_OK) {
        *ret = fold->held;
        *ret_epoch = fold->folded;
    } else if (result == TROUPE_ECLOSED) {
        snprintf(error, error_size, "the node ended before the epoch was durable");
    } else {
        snprintf(error, error_size, "%s", fold->error);
    }
    pthread_mutex_unlock(&fold->mutex);
    return result;
}

void troupe__fold_cancel_hold(struct troupe__fold *fold)
{
    pthread_mutex_lock(&fold->mutex);
    if (!fold->held) {
        fold->hold = 0;
        pthread_cond_broadcast(&fold->done);
    }
    pthread_mutex_unlock(&fold->mutex);
}

void troupe__fold_release(struct troupe__fold *fold)
{
    pthread_mutex_lock(&fold->mutex);
    if (fold->held) {
        mdb_txn_abort(fold->held);
        fold->held = NULL;
    }
    fold->hold = 0;
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
}

void troupe__fold_stop(struct troupe__fold *fold)
{
    assert(fold->hold == 0);
    pthread_mutex_lock(&fold->mutex);
    fold->closing = true;
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
    pthread_join(fold->thread, NULL);
    pthread_cond_destroy(&fold->work);
    pthread_cond_destroy(&fold->done);
    pthread_mutex_destroy(&fold->mutex);
    troupe__buffer_free(&fold->queue);
    troupe__buffer_free(&fold->batch);
    free(fold->items);
    free(fold->slots);
}
