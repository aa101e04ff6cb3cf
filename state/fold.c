/* fold.c - moves committed epochs from the journal's tail into the tables, in the background.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: (`tables.mdb`)
 *   key    table (1), key
 *   value  checksum (4, big-endian: the low half of XXH3(value) xor twice XXH3(key)), value
 *   META "troupe.folded": the epoch up to which the tables hold everything (8), the hash of its record (8)
 * A fold is one transaction, so a crash leaves the tables as of some epoch; opening goes on from that one.
 *
 * The thread sleeps without wake-ups while nothing is queued. A fold that fails for space keeps its batch and is tried
 * again after an interval. A fold whose sync failed is final: the kernel may have dropped what it could not write. */
#include "state/fold.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { ENTRY_SIZE = 24, BEHIND_MAX = 8, CHANGES_PER_FOLD = 65536 /* LMDB 0.9 has bugs over 131071 dirty pages */ };

struct troupe__fold_change {
    struct troupe__change change;
    uint64_t hash;
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

int troupe__fold_row_put(MDB_txn *txn, MDB_dbi dbi, enum troupe__table table, struct troupe_bytes key,
                         struct troupe_bytes value)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    MDB_val row_key = {troupe__fold_row_key(bytes, table, key), bytes};
    MDB_val row_value = {TROUPE__FOLD_SUM_SIZE + value.size, NULL};
    int code = mdb_put(txn, dbi, &row_key, &row_value, MDB_RESERVE);
    if (!code) {
        uint32_t sum = row_sum(bytes, row_key.mv_size, value.data, value.size);
        unsigned char *to = row_value.mv_data;
        troupe__put_be16(to, (uint16_t)(sum >> 16));
        troupe__put_be16(to + 2, (uint16_t)sum);
        if (value.size > 0) {
            memcpy(to + TROUPE__FOLD_SUM_SIZE, value.data, value.size);
        }
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

static bool same_row(const struct troupe__change *left, const struct troupe__change *right)
{
    return left->table == right->table && left->key.size == right->key.size &&
           memcmp(left->key.data, right->key.data, left->key.size) == 0;
}

static int compare_rows(const void *left_item, const void *right_item)
{
    const struct troupe__change *left = &((const struct troupe__fold_change *)left_item)->change;
    const struct troupe__change *right = &((const struct troupe__fold_change *)right_item)->change;
    if (left->table != right->table) {
        return left->table < right->table ? -1 : 1;
    }
    size_t shorter = left->key.size < right->key.size ? left->key.size : right->key.size;
    int order = memcmp(left->key.data, right->key.data, shorter);
    return order != 0 ? order : left->key.size < right->key.size ? -1 : left->key.size > right->key.size;
}

/* Slots hold 1 + the index of a change; 0 is free. The first slot that is free or has the row. */
static uint32_t *find_slot(const struct troupe__fold *fold, const struct troupe__fold_change *wanted)
{
    size_t at = wanted->hash & (fold->slot_count - 1);
    while (fold->slots[at] != 0) {
        const struct troupe__fold_change *other = &fold->changes[fold->slots[at] - 1];
        if (other->hash == wanted->hash && same_row(&other->change, &wanted->change)) {
            break;
        }
        at = (at + 1) & (fold->slot_count - 1);
    }
    return &fold->slots[at];
}

static int grow(struct troupe__fold *fold)
{
    size_t capacity = fold->change_capacity > 0 ? fold->change_capacity * 2 : 1024;
    struct troupe__fold_change *changes = realloc(fold->changes, capacity * sizeof *changes);
    if (!changes) {
        return ENOMEM;
    }
    fold->changes = changes;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!slots) {
        return ENOMEM;
    }
    free(fold->slots);
    fold->slots = slots;
    fold->slot_count = capacity * 2;
    fold->change_capacity = capacity;
    for (size_t i = 0; i < fold->change_count; i++) {
        *find_slot(fold, &changes[i]) = (uint32_t)i + 1;
    }
    return 0;
}

/* Merge a record's changes into `changes`. */
static int gather(struct troupe__fold *fold, struct troupe_bytes record)
{
    struct troupe__cursor cursor = {.at = record.data, .end = (const unsigned char *)record.data + record.size};
    struct troupe__fold_change item;
    while (troupe__record_next(&cursor, &item.change)) {
        int code = fold->change_count == fold->change_capacity ? grow(fold) : 0;
        if (code) {
            return code;
        }
        item.hash = troupe__hash(item.change.key.data, item.change.key.size) + item.change.table;
        uint32_t *slot = find_slot(fold, &item);
        if (*slot == 0) {
            *slot = (uint32_t)++fold->change_count;
        }
        fold->changes[*slot - 1] = item;
    }
    return cursor.failed ? MDB_CORRUPTED : 0;
}

static int apply(struct troupe__fold *fold, uint64_t epoch, uint64_t hash)
{
    MDB_txn *txn = NULL;
    unsigned char mark[TROUPE__FOLD_MARK_SIZE], bytes[TROUPE__ROW_KEY_MAX + 1];
    size_t size = 0; /* at most, unless rows are far apart */
    enum troupe__lmdb_left left;
    int code = mdb_txn_begin(fold->tables->env, NULL, 0, &txn);
    if (code) {
        return code;
    }
    for (size_t i = 0; !code && i < fold->change_count; i++) {
        const struct troupe__change *change = &fold->changes[i].change;
        size += change->key.size + change->value.size;
        if (change->removed) {
            MDB_val key = {troupe__fold_row_key(bytes, change->table, change->key), bytes};
            code = mdb_del(txn, fold->tables->dbi, &key, NULL);
            code = code == MDB_NOTFOUND ? 0 : code; /* Set and removed again before it was ever folded. */
        } else {
            code = troupe__fold_row_put(txn, fold->tables->dbi, change->table, change->key, change->value);
        }
    }
    if (!code) {
        troupe__put_be64(mark, epoch);
        troupe__put_be64(mark + 8, hash);
        code = troupe__fold_row_put(txn, fold->tables->dbi, TROUPE__META,
                                    (struct troupe_bytes){TROUPE__FOLD_MARK, sizeof TROUPE__FOLD_MARK - 1},
                                    (struct troupe_bytes){mark, sizeof mark});
    }
    if (code) {
        mdb_txn_abort(txn);
        return code;
    }
    return troupe__lmdb_commit(fold->tables, txn, size, &left);
}

/* Fold as much of the batch as fits one transaction. `*ret_done` is where the rest begins. */
static int fold_some(struct troupe__fold *fold, size_t *ret_done)
{
    size_t at = fold->batch_done;
    uint64_t epoch = 0, hash = 0;
    fold->change_count = 0;
    if (fold->slots) {
        memset(fold->slots, 0, fold->slot_count * sizeof *fold->slots);
    }
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
    } while (at < fold->batch.size && fold->change_count < CHANGES_PER_FOLD && at - fold->batch_done < fold->bytes_max);
    if (fold->change_count > 0) {
        qsort(fold->changes, fold->change_count, sizeof *fold->changes, compare_rows);
    }
    int code = apply(fold, epoch, hash);
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
    fold->due.tv_sec += fold->interval_ms / 1000;
    fold->due.tv_nsec += (long)(fold->interval_ms % 1000) * 1000000;
    if (fold->due.tv_nsec >= 1000000000) {
        fold->due.tv_sec++;
        fold->due.tv_nsec -= 1000000000;
    }
}

/* Under the mutex: sleep until a fold is due, or it is time to end. */
static void wait_for_work(struct troupe__fold *fold)
{
    int code = 0;
    while (!fold->closing && code != ETIMEDOUT) {
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
    fold->queue = fold->batch;
    fold->batch = taken;
    fold->batch_left = taken.size;
    fold->batch_done = 0;
    return true;
}

/* Under the mutex, which it lets go while it writes: fold the batch. */
static int fold_batch(struct troupe__fold *fold)
{
    int code = 0;
    while (!code && fold->batch_left > 0) {
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
            if (fold->batch_left == 0 && fold->queue.size > 0 && !take_queue(fold)) {
                code = ENOMEM;
            } else {
                code = fold_batch(fold);
            }
        } while (!code && fold->closing && fold->queue.size > 0);
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
        snprintf(error, error_size, "commit: too much waits to be folded: %s", fold->error);
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
    if (first && fold->failed == TROUPE_OK) {
        set_due(fold);
    }
    if (first || (before <= fold->bytes_max && fold->queue.size > fold->bytes_max)) {
        pthread_cond_signal(&fold->work);
    }
    pthread_mutex_unlock(&fold->mutex);
}

void troupe__fold_stop(struct troupe__fold *fold)
{
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
    free(fold->changes);
    free(fold->slots);
}
