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
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    ENTRY_SIZE = 24,
    PAGE = 4096,
    BEHIND_TIMES = 8,      /* times bytes_max that may wait to be folded; on a machine with much memory ... */
    BEHIND_TIMES_MAX = 32, /* ... up to so many, */
    BEHIND_SHARE = 16,     /* as long as that is such a part of it: it takes in a burst of some seconds */
    /* The more is folded at once the less it costs: rows of one page are written together, and of a row that changes
     * twice only one is. So a fold that is behind takes all that has come since it began the one before, up to ... */
    ROWS_PER_FOLD = 1 << 24,
    AT_ONCE_PART = 2,          /* ... such a part of what may wait at all, so that commits need not wait for it */
    OTHERS_PER_FOLD = 1 << 16, /* of other tables than STATE: LMDB 0.9 has bugs over 131,071 dirty pages */
    PAGES_PER_TXN = 256,       /* that STATE rows stand on: 1 MiB, one or two milliseconds of the disk's time, ... */
    PAGES_PER_TXN_MAX = 8192, /* ... and when folding is behind: each costs two syncs, but more pages cost LMDB more, */
    BYTES_PER_PAGE = 8192,    /* ... and one for so much of bytes_max: LMDB keeps the memory of its dirty pages */
    SPREAD_MAX_MS = 2000,
    NICE = 5, /* folding can wait: else loop and committer wait for ticks of 4 ms on a machine with two cores */
    BUFFER_KEPT_MAX = 1 << 20, /* bytes of a batch's memory that is kept for the next one, ... */
    BUFFER_KEPT_TIMES = 4,     /* ... or if it is no more than so many times what the batch had */
    BYTES_PER_LOOK = 1 << 14,  /* gathered between two looks for a photograph: some ten microseconds, ... */
    ROWS_PER_LOOK = 1 << 7,    /* ... and written */
    PHOTO_TIMES = 12,          /* times bytes_max that may come to what waits while a photograph is taken, ... */
    PHOTO_SHARE = 2,           /* ... up to such a part over left_max, ... */
    PHOTO_SHARE_MAX = 1,       /* ... and such a part before commits wait ... */
    GIVEN_BACK = 8,            /* ... until it is given back: such a part of what is folded then */
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
static int row_put(MDB_cursor *rows, unsigned flags, MDB_val key, struct troupe_bytes value,
                   const unsigned char **ret_at)
{
    MDB_val row = {TROUPE__FOLD_SUM_SIZE + value.size, NULL};
    int code = mdb_cursor_put(rows, &key, &row, flags | MDB_RESERVE);
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
        code = row_put(rows, 0, (MDB_val){troupe__fold_row_key(bytes, table, key), bytes}, value, &at);
        mdb_cursor_close(rows);
    }
    return code;
}

int troupe__fold_row_put_at(MDB_cursor *rows, unsigned flags, enum troupe__table table, struct troupe_bytes key,
                            struct troupe_bytes value)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    const unsigned char *at;
    return row_put(rows, flags, (MDB_val){troupe__fold_row_key(bytes, table, key), bytes}, value, &at);
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

/* ---- beside a photograph ----------------------------------------------------------------------------------------- */

/* What may wait because of a photograph before folding goes on beside it. */
static size_t held_max(const struct troupe__fold *fold)
{
    size_t most = fold->left_max + fold->left_max / PHOTO_SHARE;
    size_t grown = fold->frozen_left + PHOTO_TIMES * fold->bytes_max;
    return grown < most ? grown : most;
}

/* Under the mutex: whether folding is to wait for the photograph. It must before it comes to what the photograph does
 * not have, until that has begun; and should as long as not too much waits. */
static bool photo_keeps(const struct troupe__fold *fold)
{
    bool few = fold->left <= held_max(fold), beyond = !fold->held && fold->photo_segments == 0;
    return fold->frozen && !fold->closing && (few || beyond);
}

/* Wait while a photograph is taken, also within a transaction: the tables have no other writer, and the photograph
 * reads them as they were before it. Whoever takes it needs the core more. */
static void wait_for_photo(struct troupe__fold *fold)
{
    pthread_mutex_lock(&fold->mutex);
    while (photo_keeps(fold)) {
        pthread_cond_wait(&fold->work, &fold->mutex);
    }
    pthread_mutex_unlock(&fold->mutex);
}

/* ---- one fold ---------------------------------------------------------------------------------------------------- */

/* `*at` is where the row stands, or where the one before stands if there is none. */
static int apply_change(MDB_cursor *rows, const struct troupe__change *change, const unsigned char **at)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    MDB_val key = {troupe__fold_row_key(bytes, change->table, change->key), bytes}, value;
    if (!change->removed) {
        return row_put(rows, 0, key, change->value, at);
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

/* How many pages one transaction may write when folding is behind. */
static size_t pages_behind(const struct troupe__fold *fold)
{
    size_t pages = fold->bytes_max / BYTES_PER_PAGE;
    pages = pages < PAGES_PER_TXN_MAX ? pages : PAGES_PER_TXN_MAX;
    return pages > PAGES_PER_TXN ? pages : PAGES_PER_TXN;
}

/* Write changes from `*from` on, as many as one transaction should hold; the last ones together with the mark. */
static int apply_some(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, size_t *from)
{
    MDB_txn *txn = NULL;
    MDB_cursor *rows = NULL;
    const unsigned char *before, *place = NULL;
    const struct troupe__changes *changes = &fold->changes;
    size_t at = *from, pages = 0, state_count = changes->count - changes->other_count;
    size_t pages_max = fold->behind ? pages_behind(fold) : PAGES_PER_TXN;
    int code = mdb_txn_begin(fold->tables->env, NULL, 0, &txn);
    if (code) {
        return code;
    }
    code = mdb_cursor_open(txn, fold->tables->dbi, &rows);
    for (; !code && at < changes->count && (at >= state_count || pages < pages_max); at++) {
        struct troupe__change change;
        if (at % ROWS_PER_LOOK == 0) {
            wait_for_photo(fold);
        }
        before = place;
        troupe__changes_get(changes, at, &change);
        code = apply_change(rows, &change, &place);
        pages += pages_between(before, place, change.value.size);
    }
    if (!code && at == changes->count) {
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

/* Between two transactions: wait while a photograph is taken; then until the part `done / all` of the time for `bytes`
 * of the batch has passed since `start`, unless there is no time. */
static void rest(struct troupe__fold *fold, struct timespec start, size_t bytes, size_t done, size_t all)
{
    unsigned whole_ms = fold->interval_ms < SPREAD_MAX_MS ? fold->interval_ms : SPREAD_MAX_MS;
    double part = (double)bytes / (double)fold->first->entries.size * (double)done / (double)all;
    add_ms(&start, (int64_t)(0.9 * whole_ms * part));
    pthread_mutex_lock(&fold->mutex);
    int code = 0;
    for (;;) {
        if (photo_keeps(fold)) {
            pthread_cond_wait(&fold->work, &fold->mutex);
        } else if (code || fold->closing || fold->behind || fold->left - fold->first_left > fold->bytes_max) {
            break;
        } else {
            code = pthread_cond_timedwait(&fold->work, &fold->mutex, &start);
        }
    }
    pthread_mutex_unlock(&fold->mutex);
}

static int error_code(enum troupe_error error)
{
    return error == TROUPE_ENOMEM ? ENOMEM : error == TROUPE_OK ? 0 : MDB_CORRUPTED;
}

int troupe__fold_bound(MDB_txn *txn, MDB_dbi dbi, struct troupe__changes *changes)
{
    MDB_cursor *rows;
    int code = mdb_cursor_open(txn, dbi, &rows);
    if (code) {
        return code;
    }
    for (unsigned table = TROUPE__STATE + 1; !code && table < TROUPE__TABLE_COUNT; table++) {
        unsigned char next = (unsigned char)(table + 1);
        MDB_val key = {1, &next};
        struct troupe_bytes last = {NULL, 0};
        code = mdb_cursor_get(rows, &key, NULL, MDB_SET_RANGE);
        if (!code || code == MDB_NOTFOUND) {
            code = mdb_cursor_get(rows, &key, NULL, code ? MDB_LAST : MDB_PREV);
        }
        if (!code && *(const unsigned char *)key.mv_data == table) {
            last = (struct troupe_bytes){(const unsigned char *)key.mv_data + 1, key.mv_size - 1};
        }
        code = code == MDB_NOTFOUND ? 0 : code;
        troupe__changes_bound(changes, (enum troupe__table)table, last);
    }
    mdb_cursor_close(rows);
    return code;
}

static int bound_changes(struct troupe__fold *fold)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(fold->tables->env, NULL, 0, &txn);
    if (!code) {
        code = troupe__fold_bound(txn, fold->tables->dbi, &fold->changes);
        mdb_txn_abort(txn);
    }
    return code;
}

/* Gather the changes that are folded at once, from `*at` of the batch on. */
static int gather(struct troupe__fold *fold, size_t *at, uint64_t *ret_epoch, uint64_t *ret_hash)
{
    const struct troupe__buffer *batch = &fold->first->entries;
    struct troupe__changes *changes = &fold->changes;
    size_t looked = *at;
    troupe__changes_clear(changes);
    int code = bound_changes(fold);
    do {
        if (*at - looked >= BYTES_PER_LOOK) {
            wait_for_photo(fold);
            looked = *at;
        }
        const unsigned char *entry = batch->data + *at;
        struct troupe_bytes record = {entry + ENTRY_SIZE, (size_t)troupe__get_be64(entry + 16)};
        *ret_epoch = troupe__get_be64(entry);
        *ret_hash = troupe__get_be64(entry + 8);
        code = code ? code : error_code(troupe__changes_add(changes, record));
        *at += ENTRY_SIZE + record.size;
    } while (!code && *at < batch->size && changes->count < ROWS_PER_FOLD && changes->other_count < OTHERS_PER_FOLD &&
             *at - fold->batch_done < fold->left_max / AT_ONCE_PART);
    if (!code) {
        troupe__changes_sort(changes);
    }
    return code;
}

/* Under the mutex: `bytes` have been folded. Once the photograph is over, what may wait shrinks with what does, but
 * more slowly: else commits would wait until all that it had kept is folded. */
static void give_back(struct troupe__fold *fold, size_t bytes)
{
    size_t part = bytes / GIVEN_BACK;
    if (!fold->frozen) {
        fold->allowance -= fold->allowance < part ? fold->allowance : part;
    }
}

/* Part `done / all` of `bytes` of the batch is in the tables: commits that wait for that may go on. */
static void note_done(struct troupe__fold *fold, size_t bytes, size_t done, size_t all)
{
    size_t noted = (size_t)((double)bytes * (double)done / (double)all);
    pthread_mutex_lock(&fold->mutex);
    give_back(fold, noted - fold->noted);
    fold->left -= noted - fold->noted;
    fold->first_left -= noted - fold->noted;
    fold->noted = noted;
    pthread_cond_broadcast(&fold->done);
    pthread_mutex_unlock(&fold->mutex);
}

/* Whether closing has taken long enough: the journal has the rest. */
static bool is_late(struct troupe__fold *fold)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&fold->mutex);
    const struct timespec *due = &fold->closing_due;
    bool late =
        fold->closing && (now.tv_sec > due->tv_sec || (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec));
    pthread_mutex_unlock(&fold->mutex);
    return late;
}

/* Fold as much of the batch as is gathered at once. `*ret_done` is where the rest begins. */
static int fold_some(struct troupe__fold *fold, size_t *ret_done)
{
    const struct troupe__changes *changes = &fold->changes;
    size_t at = fold->batch_done, written = 0;
    uint64_t epoch = 0, hash = 0;
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int code = gather(fold, &at, &epoch, &hash);
    if (code) {
        return code;
    }
    while ((code = is_late(fold) ? ECANCELED : apply_some(fold, epoch, hash, &written)) == 0 &&
           written < changes->count) {
        note_done(fold, at - fold->batch_done, written, changes->count);
        rest(fold, start, at - fold->batch_done, written, changes->count);
    }
    if (!code) {
        atomic_store(&fold->folded, epoch);
        *ret_done = at;
    }
    return code;
}

/* ---- the queue: records in segments ------------------------------------------------------------------------------ */

/* Under the mutex: a segment that is empty and holds at least `size` bytes. NULL when out of memory. */
static struct troupe__segment *new_segment(struct troupe__fold *fold, size_t size)
{
    size_t most = fold->left_max + fold->left_max / PHOTO_SHARE_MAX;
    struct troupe__segment *segment = fold->spare ? fold->spare : troupe__segment_new(most + most / 8);
    fold->spare = NULL;
    if (segment && !troupe__segment_reserve(segment, size)) {
        troupe__segment_free(segment);
        return NULL;
    }
    return segment;
}

/* Under the mutex: what comes from now on goes into another segment, which must hold what a commit in flight has
 * reserved. False when out of memory. */
static bool close_open(struct troupe__fold *fold)
{
    struct troupe__segment *next = NULL;
    if (fold->reserved > 0 && !(next = new_segment(fold, fold->reserved))) {
        return false;
    }
    if (fold->last) {
        fold->last->next = fold->open;
    } else {
        fold->first = fold->open;
        fold->first_left = fold->open->entries.size;
    }
    fold->last = fold->open;
    fold->open = next;
    return true;
}

/* Under the mutex: the first segment is folded. Returns what is left of it to be freed, or NULL. */
static struct troupe__segment *drop_first(struct troupe__fold *fold)
{
    struct troupe__segment *segment = fold->first;
    fold->first = segment->next;
    fold->last = fold->first ? fold->last : NULL;
    fold->first_left = fold->first ? fold->first->entries.size : 0;
    fold->batch_done = 0;
    segment->next = NULL;
    bool in_photo = fold->photo_segments > 0;
    fold->photo_segments -= in_photo;
    if (in_photo && fold->held) {
        segment->next = fold->kept;
        fold->kept = segment;
    } else if (!fold->spare && segment->entries.capacity <=
                                   BUFFER_KEPT_MAX + BUFFER_KEPT_TIMES * (fold->behind ? segment->entries.size : 0)) {
        segment->entries.size = 0; /* New memory has to be found and filled with zeros first. */
        fold->spare = segment;
    } else {
        return segment;
    }
    return NULL;
}

/* Under the mutex: the photograph is of what has been pushed by now. */
static void freeze(struct troupe__fold *fold)
{
    fold->out_of_memory = fold->open && fold->open->entries.size > 0 && !close_open(fold);
    fold->photo_segments = 0;
    for (const struct troupe__segment *segment = fold->first; segment; segment = segment->next) {
        fold->photo_segments++;
    }
    fold->photo_epoch = fold->pushed;
    fold->frozen = true;
    fold->frozen_left = fold->left;
    fold->allowance = fold->left_max / PHOTO_SHARE_MAX;
    pthread_cond_broadcast(&fold->done);
}

/* Under the mutex: the photograph is over. */
static void thaw(struct troupe__fold *fold)
{
    size_t over = fold->left > fold->left_max ? fold->left - fold->left_max : 0;
    fold->frozen = false;
    fold->allowance = over < fold->allowance ? over : fold->allowance;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static void set_due(struct troupe__fold *fold)
{
    clock_gettime(CLOCK_MONOTONIC, &fold->due);
    add_ms(&fold->due, fold->interval_ms);
}

/* Under the mutex, which it lets go: nothing is to be done, so the memory of a load that is over is not needed. Returns
 * false when there was none. */
static bool trim(struct troupe__fold *fold)
{
    struct troupe__segment *segment = fold->spare;
    bool large = segment && segment->entries.capacity > BUFFER_KEPT_MAX;
    if (!large && !troupe__changes_large(&fold->changes)) {
        return false;
    }
    fold->spare = large ? NULL : segment;
    pthread_mutex_unlock(&fold->mutex);
    troupe__segment_free(large ? segment : NULL);
    troupe__changes_free(&fold->changes);
    pthread_mutex_lock(&fold->mutex);
    return true;
}

/* Under the mutex: sleep until there is something to do, or it is time to end. */
static void wait_for_work(struct troupe__fold *fold)
{
    int code = 0;
    while (!fold->closing && code != ETIMEDOUT) {
        if (photo_keeps(fold)) {
            pthread_cond_wait(&fold->work, &fold->mutex);
            continue;
        }
        if (fold->failed == TROUPE_OK && fold->left > fold->bytes_max) {
            break;
        }
        if (fold->failed == TROUPE_EIO || fold->left == 0) {
            if (!trim(fold)) {
                pthread_cond_wait(&fold->work, &fold->mutex);
            }
        } else {
            code = pthread_cond_timedwait(&fold->work, &fold->mutex, &fold->due);
        }
    }
}

/* Under the mutex: make what is queued the batch, if there is none. */
static bool take_batch(struct troupe__fold *fold)
{
    return fold->first || close_open(fold);
}

/* Under the mutex, which it lets go while it writes: fold what is queued. */
static int fold_batch(struct troupe__fold *fold)
{
    int code = photo_keeps(fold) || take_batch(fold) ? 0 : ENOMEM;
    while (!code && fold->first && !photo_keeps(fold)) {
        fold->behind = fold->left > fold->bytes_max;
        pthread_mutex_unlock(&fold->mutex);
        size_t done = 0;
        code = fold_some(fold, &done);
        pthread_mutex_lock(&fold->mutex);
        fold->left += fold->noted;
        fold->first_left += fold->noted;
        fold->noted = 0;
        if (!code) {
            give_back(fold, done - fold->batch_done);
            fold->left -= done - fold->batch_done;
            fold->first_left -= done - fold->batch_done;
            fold->batch_done = done;
            struct troupe__segment *dropped = fold->first_left == 0 ? drop_first(fold) : NULL;
            pthread_cond_broadcast(&fold->done);
            if (dropped) {
                pthread_mutex_unlock(&fold->mutex);
                troupe__segment_free(dropped);
                pthread_mutex_lock(&fold->mutex);
            }
        }
    }
    return code;
}

static void *run(void *context)
{
    struct troupe__fold *fold = context;
    int own = getpriority(PRIO_PROCESS, (id_t)gettid());
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), own + NICE); /* Of this thread alone, on Linux. */
    pthread_mutex_lock(&fold->mutex);
    for (;;) {
        wait_for_work(fold);
        int code = 0;
        if (fold->failed == TROUPE_EIO && fold->closing) {
            break; /* Nothing can be done any more. */
        }
        do {
            code = fold->left > 0 ? fold_batch(fold) : 0;
        } while (!code && fold->closing && fold->left > 0);
        if (code == ECANCELED) {
            break; /* It is late. */
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

/* Commits wait when more than this is to be folded. */
static size_t default_left_max(size_t bytes_max)
{
    size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    size_t times = memory / BEHIND_SHARE / bytes_max;
    times = times < BEHIND_TIMES ? BEHIND_TIMES : times < BEHIND_TIMES_MAX ? times : BEHIND_TIMES_MAX;
    return times * bytes_max;
}

enum troupe_error troupe__fold_start(struct troupe__fold *fold, struct troupe__lmdb_env *tables, uint64_t folded,
                                     size_t bytes_max, size_t left_max, unsigned interval_ms, unsigned closing_ms)
{
    pthread_condattr_t monotonic;
    *fold = (struct troupe__fold){.tables = tables,
                                  .bytes_max = bytes_max,
                                  .left_max = left_max > 0 ? left_max : default_left_max(bytes_max),
                                  .interval_ms = interval_ms,
                                  .closing_ms = closing_ms};
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

/* Under the mutex: whether commits wait. */
static bool too_much(const struct troupe__fold *fold)
{
    return fold->left > fold->left_max + fold->allowance;
}

enum troupe_error troupe__fold_reserve(struct troupe__fold *fold, size_t size, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    pthread_mutex_lock(&fold->mutex);
    while (fold->failed == TROUPE_OK && too_much(fold)) {
        pthread_cond_wait(&fold->done, &fold->mutex);
    }
    fold->open = fold->open ? fold->open : new_segment(fold, 0);
    if (fold->failed == TROUPE_EIO || (fold->failed != TROUPE_OK && too_much(fold))) {
        result = fold->failed;
        snprintf(error, error_size, "nothing of the epoch is on disk: %s%s",
                 result == TROUPE_EIO ? "" : "too much waits to be folded: ", fold->error);
    } else if (!fold->open || !troupe__segment_reserve(fold->open, ENTRY_SIZE + size)) {
        snprintf(error, error_size, "commit: out of memory");
        result = TROUPE_ENOMEM;
    } else {
        fold->reserved = ENTRY_SIZE + size;
    }
    pthread_mutex_unlock(&fold->mutex);
    return result;
}

bool troupe__fold_is_behind(struct troupe__fold *fold)
{
    pthread_mutex_lock(&fold->mutex);
    bool behind = fold->failed == TROUPE_OK && fold->left > fold->left_max;
    pthread_mutex_unlock(&fold->mutex);
    return behind;
}

void troupe__fold_push(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    unsigned char entry[ENTRY_SIZE];
    troupe__put_be64(entry, epoch);
    troupe__put_be64(entry + 8, hash);
    troupe__put_be64(entry + 16, record.size);
    pthread_mutex_lock(&fold->mutex);
    struct troupe__buffer *queue = &fold->open->entries;
    assert(queue->capacity - queue->size >= ENTRY_SIZE + record.size);
    bool first = queue->size == 0;
    size_t before = fold->left;
    troupe__buffer_put(queue, entry, ENTRY_SIZE);
    troupe__buffer_put(queue, record.data, record.size);
    fold->left += ENTRY_SIZE + record.size;
    fold->reserved = 0;
    fold->pushed = epoch;
    if (first && fold->failed == TROUPE_OK) {
        set_due(fold);
    }
    if (epoch == fold->hold) {
        freeze(fold);
    }
    if (first || epoch == fold->hold || (before <= fold->bytes_max && fold->left > fold->bytes_max) ||
        (before <= held_max(fold) && fold->left > held_max(fold))) {
        pthread_cond_signal(&fold->work);
    }
    pthread_mutex_unlock(&fold->mutex);
}

/* ---- photographs ------------------------------------------------------------------------------------------------- */

void troupe__fold_hold(struct troupe__fold *fold, uint64_t epoch)
{
    pthread_mutex_lock(&fold->mutex);
    assert(fold->hold == 0 && !fold->frozen && epoch > 0);
    fold->hold = epoch;
    if (fold->pushed >= epoch) {
        freeze(fold);
    }
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
}

/* Under the mutex: the records that the photograph has and the tables have not, or not all of. */
static enum troupe_error list_rest(const struct troupe__fold *fold, struct troupe__fold_held *ret)
{
    size_t from = fold->held_from, count = fold->photo_segments;
    const struct troupe__segment *segment = fold->first;
    if (count > 0 && !(ret->rest = calloc(count, sizeof *ret->rest))) {
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < count; i++, segment = segment->next, from = 0) {
        ret->rest[i] = (struct troupe_bytes){segment->entries.data + from, segment->entries.size - from};
    }
    ret->rest_count = count;
    return TROUPE_OK;
}

/* Under the mutex. Beside a transaction of a fold, which may end at any moment: what it writes is among the rest. */
static enum troupe_error begin_photo(struct troupe__fold *fold, struct troupe__fold_held *ret, char *error,
                                     size_t error_size)
{
    int code = fold->out_of_memory ? ENOMEM : mdb_txn_begin(fold->tables->env, NULL, MDB_RDONLY, &fold->held);
    if (code) {
        fold->held = NULL;
        snprintf(error, error_size, "photograph tables.mdb: %s", mdb_strerror(code));
        return troupe__lmdb_error(code);
    }
    fold->held_from = fold->batch_done;
    pthread_cond_signal(&fold->work); /* Too much may wait already. */
    ret->txn = fold->held;
    ret->epoch = fold->photo_epoch;
    enum troupe_error result = list_rest(fold, ret);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "photograph: out of memory");
    }
    return result;
}

enum troupe_error troupe__fold_wait_held(struct troupe__fold *fold, struct troupe__fold_held *ret, char *error,
                                         size_t error_size)
{
    enum troupe_error result;
    *ret = (struct troupe__fold_held){.txn = NULL};
    pthread_mutex_lock(&fold->mutex);
    assert(!fold->held);
    while (!fold->frozen && fold->hold > 0 && fold->failed != TROUPE_EIO) {
        pthread_cond_wait(&fold->done, &fold->mutex);
    }
    if (fold->frozen) {
        result = begin_photo(fold, ret, error, error_size);
    } else if (fold->failed == TROUPE_EIO) {
        snprintf(error, error_size, "%s", fold->error);
        result = TROUPE_EIO;
    } else {
        snprintf(error, error_size, "the node ended before the epoch was durable");
        result = TROUPE_ECLOSED;
    }
    pthread_mutex_unlock(&fold->mutex);
    return result;
}

bool troupe__fold_held_next(struct troupe__cursor *cursor, struct troupe_bytes *ret_record)
{
    if (cursor->at == cursor->end) {
        return false;
    }
    size_t size = (size_t)troupe__get_be64(cursor->at + 16);
    *ret_record = (struct troupe_bytes){cursor->at + ENTRY_SIZE, size};
    cursor->at += ENTRY_SIZE + size;
    return true;
}

void troupe__fold_cancel_hold(struct troupe__fold *fold)
{
    pthread_mutex_lock(&fold->mutex);
    if (!fold->held) {
        fold->hold = 0;
        thaw(fold);
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
    struct troupe__segment *kept = fold->kept;
    fold->kept = NULL;
    fold->photo_segments = 0;
    fold->hold = 0;
    thaw(fold);
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
    troupe__segment_free(kept);
}

void troupe__fold_stop(struct troupe__fold *fold)
{
    assert(fold->hold == 0);
    pthread_mutex_lock(&fold->mutex);
    fold->closing = true;
    clock_gettime(CLOCK_MONOTONIC, &fold->closing_due);
    add_ms(&fold->closing_due, fold->closing_ms);
    pthread_cond_signal(&fold->work);
    pthread_mutex_unlock(&fold->mutex);
    pthread_join(fold->thread, NULL);
    pthread_cond_destroy(&fold->work);
    pthread_cond_destroy(&fold->done);
    pthread_mutex_destroy(&fold->mutex);
    troupe__segment_free(fold->first);
    troupe__segment_free(fold->open);
    troupe__segment_free(fold->spare);
    troupe__changes_free(&fold->changes);
}
