/* lmdb_store.c - the store on disk: a directory with a journal and, in LMDB, tables.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk:
 *   lock         see state/claim.h
 *   journal.log  epochs, see journal.h; it is written and flushed by each commit
 *   tables.mdb   rows, see fold.c; it is written in the background, by folds
 *   META "troupe.format"  "troupeT" NUL, version (8, big-endian)
 *   META "troupe.run"     a random number (8) that each opening by an owner draws; the journal has it too, and the one
 *                         before: files that do not belong together are refused
 * A crash leaves tables as of some epoch and a journal that goes on from there; a commit is in it or is not. */
#include "state/lmdb_store.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/claim.h"
#include "state/fold.h"
#include "state/journal.h"
#include "state/journal_old.h"
#include "state/lmdb_env.h"
#include "state/lmdb_format.h"
#include "state/lmdb_photo.h"
#include "state/lmdb_rows.h"

enum { CHECK_LEAVES_MAX = 1 << 26 /* bytes of tables that are checked whole at an opening */ };

struct lmdb_store {
    struct troupe__store base;
    char *directory;
    struct troupe__claim claim;
    bool read_only, replayed;
    struct troupe__lmdb_env tables;
    MDB_txn *reader; /* what read and scan see; the loop's */
    MDB_cursor *cursor;
    bool reader_lives; /* false: renew it before use */
    uint64_t reader_folded, reader_transactions;
    uint64_t opened_folded, opened_chain; /* where replay begins */
    struct troupe__fold fold;
    struct troupe__lmdb_photos photos;
    _Atomic uint64_t trim_to; /* records beyond this epoch are kept, folded or not */
    /* The committer's. */
    struct troupe__journal journal;
    bool dead; /* a commit failed: whether it is durable is not known */
};

static struct lmdb_store *of(struct troupe__store *store)
{
    return (struct lmdb_store *)store;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static enum troupe_error fail_code(struct lmdb_store *store, const char *what, int code)
{
    snprintf(store->base.error, sizeof store->base.error, "%s %s: %s", what, store->directory, mdb_strerror(code));
    return troupe__lmdb_error(code);
}

static struct troupe__lmdb_rows rows_of(struct lmdb_store *store)
{
    return (struct troupe__lmdb_rows){store->cursor, store->directory, store->base.error, sizeof store->base.error};
}

static enum troupe_error wake_reader(struct lmdb_store *store)
{
    int code = store->reader_lives ? 0 : mdb_txn_renew(store->reader);
    if (!code && !store->reader_lives) {
        store->reader_lives = true;
        if ((code = mdb_cursor_renew(store->reader, store->cursor)) != 0) {
            mdb_txn_reset(store->reader);
            store->reader_lives = false;
        }
    }
    return code ? fail_code(store, "read", code) : TROUPE_OK;
}

static enum troupe_error lmdb_read(struct troupe__store *base, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes *ret)
{
    const struct troupe__lmdb_rows rows = rows_of(of(base));
    enum troupe_error error = wake_reader(of(base));
    return error == TROUPE_OK ? troupe__lmdb_rows_get(&rows, table, key, ret) : error;
}

static enum troupe_error lmdb_scan(struct troupe__store *base, enum troupe__table table, struct troupe_bytes prefix,
                                   troupe__row_fn row, void *context)
{
    const struct troupe__lmdb_rows rows = rows_of(of(base));
    enum troupe_error error = wake_reader(of(base));
    return error == TROUPE_OK ? troupe__lmdb_rows_scan(&rows, table, prefix, row, context) : error;
}

static enum troupe_error lmdb_range(struct troupe__store *base, enum troupe__table table,
                                    const struct troupe__range *range, troupe__row_fn row, void *context)
{
    const struct troupe__lmdb_rows rows = rows_of(of(base));
    enum troupe_error error = wake_reader(of(base));
    return error == TROUPE_OK ? troupe__lmdb_rows_range(&rows, table, range, row, context) : error;
}

/* The epoch and hash the reader's tables go up to. */
static enum troupe_error read_mark(struct lmdb_store *store, uint64_t *ret_epoch, uint64_t *ret_hash)
{
    struct troupe_bytes name = {TROUPE__FOLD_MARK, sizeof TROUPE__FOLD_MARK - 1}, mark;
    enum troupe_error error = lmdb_read(&store->base, TROUPE__META, name, &mark);
    if (error == TROUPE_ENOTFOUND || (error == TROUPE_OK && mark.size != TROUPE__FOLD_MARK_SIZE)) {
        snprintf(store->base.error, sizeof store->base.error, "read %s: no META row %s: run `troupe doctor`",
                 store->directory, TROUPE__FOLD_MARK);
        return TROUPE_ECORRUPT;
    }
    if (error == TROUPE_OK) {
        *ret_epoch = troupe__get_be64(mark.data);
        *ret_hash = troupe__get_be64((const unsigned char *)mark.data + 8);
    }
    return error;
}

uint64_t troupe__lmdb_store_hash(struct troupe__store *store)
{
    uint64_t epoch, hash = 0;
    return read_mark(of(store), &epoch, &hash) == TROUPE_OK ? hash : 0;
}

static uint64_t lmdb_refresh(struct troupe__store *base)
{
    struct lmdb_store *store = of(base);
    uint64_t hash;
    uint64_t transactions = store->read_only ? 0 : atomic_load(&store->fold.transactions);
    if (transactions != store->reader_transactions) { /* A reader that lags behind keeps freed pages from being used. */
        store->reader_transactions = transactions;
        mdb_txn_reset(store->reader);
        store->reader_lives = false;
        /* On failure the caller keeps what it has in memory, and the next read says what is wrong. */
        (void)read_mark(store, &store->reader_folded, &hash);
    }
    return store->reader_folded;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Up to which epoch records may be dropped. */
static uint64_t droppable(const struct lmdb_store *store)
{
    uint64_t folded = atomic_load(&store->fold.folded), trim_to = atomic_load(&store->trim_to);
    return folded < trim_to ? folded : trim_to;
}

void troupe__lmdb_store_forget(struct troupe__store *base, uint64_t epoch)
{
    struct lmdb_store *store = of(base);
    if (epoch > atomic_load(&store->trim_to)) {
        atomic_store(&store->trim_to, epoch);
    }
}

static enum troupe_error lmdb_commit(struct troupe__store *base, uint64_t epoch, struct troupe_bytes record)
{
    struct lmdb_store *store = of(base);
    assert(!store->read_only && store->replayed);
    if (store->dead) {
        return TROUPE_EIO; /* The text of the first failure stands. */
    }
    enum troupe_error error = troupe__fold_reserve(&store->fold, record.size, base->error, sizeof base->error);
    if (error != TROUPE_OK) {
        return error;
    }
    enum troupe__lmdb_left left;
    int code = troupe__journal_append(&store->journal, epoch, record, droppable(store), &left);
    if (!code) {
        troupe__fold_push(&store->fold, epoch, store->journal.chain, record);
        return TROUPE_OK;
    }
    bool full = left == TROUPE__LMDB_NOTHING && troupe__lmdb_error(code) == TROUPE_ENOSPACE;
    store->dead = !full;
    snprintf(base->error, sizeof base->error, "commit epoch %llu to %s/journal.log: %s: %s", (unsigned long long)epoch,
             store->directory, mdb_strerror(code),
             full                           ? "nothing of it is on disk: free space, start again"
             : left == TROUPE__LMDB_NOTHING ? "nothing of it is on disk: see to the disk, start again"
                                            : "whether it is on disk is not known: start again, that finds out");
    return full ? TROUPE_ENOSPACE : TROUPE_EIO;
}

static bool lmdb_commit_waits(struct troupe__store *base)
{
    return troupe__fold_is_behind(&of(base)->fold);
}

struct replay {
    struct lmdb_store *store;
    troupe__replay_fn record;
    void *context;
};

static enum troupe_error replay_one(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct replay *replay = context;
    struct lmdb_store *store = replay->store;
    enum troupe_error error = replay->record ? replay->record(replay->context, epoch, record) : TROUPE_OK;
    if (error == TROUPE_OK && !store->read_only) {
        error = troupe__fold_reserve(&store->fold, record.size, store->base.error, sizeof store->base.error);
        if (error == TROUPE_OK) {
            troupe__fold_push(&store->fold, epoch, hash, record);
        }
    }
    return error;
}

static enum troupe_error lmdb_replay(struct troupe__store *base, troupe__replay_fn record, void *context)
{
    struct lmdb_store *store = of(base);
    struct replay replay = {store, record, context};
    assert(!store->replayed);
    enum troupe_error error = troupe__journal_replay(&store->journal, store->opened_folded, store->opened_chain,
                                                     replay_one, &replay, base->error, sizeof base->error);
    store->replayed = error == TROUPE_OK;
    return error;
}

static enum troupe_error lmdb_photograph(struct troupe__store *base, uint64_t epoch, struct troupe__photo **ret)
{
    struct lmdb_store *store = of(base);
    assert(!store->read_only && store->replayed);
    return troupe__lmdb_photo_take(&store->photos, epoch, ret, base->error, sizeof base->error);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int put_first_rows(MDB_txn *txn, MDB_dbi dbi)
{
    return troupe__lmdb_format_put(txn, dbi, 0, 0);
}

static enum troupe_error check_format(struct lmdb_store *store)
{
    struct troupe_bytes format;
    struct troupe_bytes name = {TROUPE__LMDB_FORMAT_NAME, sizeof TROUPE__LMDB_FORMAT_NAME - 1};
    enum troupe_error result = lmdb_read(&store->base, TROUPE__META, name, &format);
    if (result == TROUPE_ENOTFOUND ||
        (result == TROUPE_OK && (format.size != 16 || memcmp(format.data, TROUPE__LMDB_MAGIC, 8) != 0))) {
        snprintf(store->base.error, sizeof store->base.error, "open store %s: tables.mdb is not a troupe store",
                 store->directory);
        return TROUPE_ECORRUPT;
    }
    uint64_t version = result == TROUPE_OK ? troupe__get_be64((const unsigned char *)format.data + 8) : 0;
    if (result == TROUPE_OK && version != TROUPE__LMDB_FORMAT) {
        snprintf(store->base.error, sizeof store->base.error,
                 "open store %s: it has format %llu, this program knows %d: use the version that wrote it",
                 store->directory, (unsigned long long)version, TROUPE__LMDB_FORMAT);
        return TROUPE_EVERSION;
    }
    return result;
}

/* The transaction that read and scan use from now on. */
static enum troupe_error start_reader(struct lmdb_store *store)
{
    int code = mdb_txn_begin(store->tables.env, NULL, MDB_RDONLY, &store->reader);
    if (!code && (code = mdb_cursor_open(store->reader, store->tables.dbi, &store->cursor)) != 0) {
        mdb_txn_abort(store->reader);
    }
    if (code) {
        return fail_code(store, "open store", code);
    }
    store->reader_lives = true;
    enum troupe_error result = check_format(store);
    if (result == TROUPE_OK) {
        result = read_mark(store, &store->opened_folded, &store->opened_chain);
    }
    if (result != TROUPE_OK) {
        mdb_cursor_close(store->cursor);
        mdb_txn_abort(store->reader);
    }
    store->reader_folded = store->opened_folded;
    return result;
}

static bool exists(const char *directory, const char *name)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) < sizeof path && access(path, F_OK) == 0;
}

static enum troupe_error prepare_directory(struct lmdb_store *store, char *error, size_t error_size)
{
    bool tables = exists(store->directory, "tables.mdb"), journal = troupe__journal_exists(store->directory);
    if (store->read_only && (!tables || !journal)) {
        snprintf(error, error_size, "open store %s: there is none", store->directory);
        return TROUPE_ENOTFOUND;
    }
    if (!store->read_only && mkdir(store->directory, 0700) && errno != EEXIST) {
        snprintf(error, error_size, "open store %s: mkdir: %s", store->directory, strerror(errno));
        return troupe__lmdb_error(errno);
    }
    struct stat info;
    if (stat(store->directory, &info) == 0 && !S_ISDIR(info.st_mode)) {
        snprintf(error, error_size, "open store %s: it is no directory", store->directory);
        return TROUPE_EINVAL;
    }
    if (!store->read_only && !tables) { /* Also when a crash came between the mkdir and this. */
        char parent[PATH_MAX];
        snprintf(parent, sizeof parent, "%s/..", store->directory);
        int code = troupe__sync_path(parent);
        if (code && code != EACCES) { /* A parent that this user cannot read is not this user's to sync. */
            snprintf(error, error_size, "open store %s: sync the directory it is in: %s", store->directory,
                     strerror(code));
            return troupe__lmdb_error(code);
        }
    }
    return TROUPE_OK;
}

/* A damaged key would make its row be missed, not be seen as damaged: so all rows are looked at before the first is
 * read. Who only reads is told of each row as it is read. */
static bool row_is_sound(MDB_val key, MDB_val value)
{
    struct troupe_bytes found;
    return troupe__fold_row_check(key, value, &found);
}

static struct troupe__journal_options journal_options(const struct troupe__lmdb_options *options, size_t map_size)
{
    size_t extent_size = options->keep_journal ? TROUPE__JOURNAL_EXTENT_KEPT : TROUPE__JOURNAL_EXTENT;
    bool may_be_kept = options->keep_journal || options->visit;
    return (struct troupe__journal_options){
        .sync = options->sync,
        .read_only = options->read_only,
        .kept = options->keep_journal,
        .size_max = may_be_kept && options->map_size == 0 ? (uint64_t)1 << 40 : map_size,
        .extent_size = options->extent_size > 0 ? options->extent_size : extent_size,
    };
}

/* Open both files. The journal is created first: tables without a journal have lost it. */
static enum troupe_error open_files(struct lmdb_store *store, const struct troupe__lmdb_options *options, char *error,
                                    size_t error_size)
{
    size_t map_size = options->map_size > 0 ? options->map_size : (size_t)64 << 30;
    /* Read-only: the shared flock keeps writers out, so LMDB's locks are not needed, nor the right to write them. */
    unsigned flags = options->read_only ? MDB_RDONLY | MDB_NOLOCK : options->sync ? 0 : MDB_NOSYNC;
    const struct troupe__journal_options journal = journal_options(options, map_size);
    enum troupe_error result;
    if (!exists(store->directory, "tables.mdb") && !troupe__journal_exists(store->directory)) {
        result = troupe__journal_create(store->directory, &journal, 0, 0, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    result = troupe__lmdb_env_open(store->directory, "tables.mdb", flags, map_size,
                                   options->read_only ? NULL : put_first_rows,
                                   options->read_only ? SIZE_MAX : CHECK_LEAVES_MAX,
                                   options->read_only ? NULL : row_is_sound, &store->tables, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = start_reader(store);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->base.error);
        goto err_after_tables;
    }
    if (!troupe__journal_exists(store->directory)) {
        snprintf(error, error_size, "open store %s: journal.log is missing: restore it, or a backup", store->directory);
        result = TROUPE_ECORRUPT;
    } else {
        result = troupe__journal_open(&store->journal, store->directory, &journal, store->opened_folded,
                                      store->opened_chain, error, error_size);
    }
    if (result != TROUPE_OK) {
        mdb_cursor_close(store->cursor);
        mdb_txn_abort(store->reader);
        goto err_after_tables;
    }
    return TROUPE_OK;

err_after_tables:
    mdb_env_close(store->tables.env);
    return result;
}

/* ---- whether the two files belong together ----------------------------------------------------------------------- */

static enum troupe_error read_run(struct lmdb_store *store, uint64_t *ret)
{
    struct troupe_bytes name = {TROUPE__LMDB_RUN_NAME, sizeof TROUPE__LMDB_RUN_NAME - 1}, row;
    enum troupe_error result = lmdb_read(&store->base, TROUPE__META, name, &row);
    *ret = result == TROUPE_OK && row.size == 8 ? troupe__get_be64(row.data) : 0;
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

enum { RUN_SIZE = 32768 }; /* bytes that changing one small row writes, at most */

static int put_run(struct lmdb_store *store, uint64_t run)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(store->tables.env, NULL, 0, &txn);
    if (!code && (code = troupe__lmdb_format_put_run(txn, store->tables.dbi, run)) != 0) {
        mdb_txn_abort(txn);
    } else if (!code) {
        enum troupe__lmdb_left left;
        code = troupe__lmdb_commit(&store->tables, txn, RUN_SIZE, &left);
    }
    return code;
}

/* The journal first: should a crash come in between, the tables have the run that the journal calls previous. Tables
 * that hold nothing yet are anybody's, since the journal then has everything. */
static enum troupe_error pair_files(struct lmdb_store *store, char *error, size_t error_size)
{
    uint64_t tables_run = 0, run = 0;
    enum troupe_error result = read_run(store, &tables_run);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->base.error);
        return result;
    }
    if (store->opened_folded > 0 && tables_run != store->journal.slot.run &&
        tables_run != store->journal.slot.previous_run) {
        snprintf(
            error, error_size,
            "open store %s: journal.log and tables.mdb are not of one store, or not of one time: put both back from "
            "one backup",
            store->directory);
        return TROUPE_ECORRUPT;
    }
    if (store->read_only) {
        return TROUPE_OK;
    }
    while (run == 0) {
        if (getrandom(&run, sizeof run, 0) != sizeof run) {
            snprintf(error, error_size, "open store %s: getrandom: %s", store->directory, strerror(errno));
            return TROUPE_EIO;
        }
    }
    int code = troupe__journal_claim(&store->journal, run, tables_run);
    code = code ? code : put_run(store, run);
    if (code) {
        snprintf(error, error_size, "open store %s: claim it: %s%s", store->directory, mdb_strerror(code),
                 code == ENOSPC ? ": free space, start again" : "");
    }
    if (!code) {
        troupe__journal_old_remove(store->directory);
    }
    return code ? troupe__lmdb_error(code) : TROUPE_OK;
}

static void close_files(struct lmdb_store *store)
{
    troupe__journal_close(&store->journal);
    mdb_cursor_close(store->cursor);
    mdb_txn_abort(store->reader);
    mdb_env_close(store->tables.env);
}

static void lmdb_close(struct troupe__store *base)
{
    struct lmdb_store *store = of(base);
    if (!store->read_only) {
        troupe__fold_stop(&store->fold);
        if (!store->dead) {
            (void)troupe__journal_trim(&store->journal, droppable(store)); /* Else a later append. */
        }
    }
    close_files(store);
    troupe__claim_release(&store->claim);
    free(store->directory);
    free(store);
}

enum troupe_error troupe__lmdb_store_open(const char *directory, const struct troupe__lmdb_options *options,
                                          struct troupe__store **ret, char *error, size_t error_size)
{
    struct lmdb_store *store = calloc(1, sizeof *store);
    enum troupe_error result = TROUPE_ENOMEM;
    if (!store || !(store->directory = strdup(directory))) {
        snprintf(error, error_size, "open store %s: out of memory", directory);
        goto err_after_memory;
    }
    store->read_only = options->read_only;
    atomic_init(&store->trim_to, options->keep_journal || options->visit ? 0 : UINT64_MAX);
    if ((result = prepare_directory(store, error, error_size)) != TROUPE_OK ||
        (result = troupe__claim_take(&store->claim, directory, store->read_only, error, error_size)) != TROUPE_OK) {
        goto err_after_memory;
    }
    if ((result = open_files(store, options, error, error_size)) != TROUPE_OK) {
        goto err_after_lock;
    }
    if ((result = troupe__claim_tables(&store->claim, directory, store->read_only, error, error_size)) != TROUPE_OK ||
        (result = pair_files(store, error, error_size)) != TROUPE_OK) {
        goto err_after_files;
    }
    if (!store->read_only &&
        troupe__fold_start(&store->fold, &store->tables, store->opened_folded,
                           options->fold_bytes > 0 ? options->fold_bytes : (size_t)64 << 20, options->unfolded_max,
                           options->fold_interval_ms > 0 ? options->fold_interval_ms : 2000,
                           options->closing_ms > 0 ? options->closing_ms : 5000) != TROUPE_OK) {
        snprintf(error, error_size, "open store %s: cannot start a thread", directory);
        result = TROUPE_ENOMEM;
        goto err_after_files;
    }
    store->photos = (struct troupe__lmdb_photos){store->directory, &store->tables, &store->fold, false};
    store->base = (struct troupe__store){
        .commit = lmdb_commit,
        .commit_waits = lmdb_commit_waits,
        .read = lmdb_read,
        .scan = lmdb_scan,
        .range = lmdb_range,
        .refresh = lmdb_refresh,
        .photograph = lmdb_photograph,
        .replay = lmdb_replay,
        .last_epoch = store->journal.last,
        .cut_off = store->journal.cut_off,
        .close = lmdb_close,
    };
    *ret = &store->base;
    return TROUPE_OK;

err_after_files:
    close_files(store);
err_after_lock:
    troupe__claim_release(&store->claim);
err_after_memory:
    if (store) {
        free(store->directory);
    }
    free(store);
    return result;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static void view_close(struct troupe__store *base)
{
    struct lmdb_store *view = of(base);
    mdb_cursor_close(view->cursor);
    mdb_txn_abort(view->reader);
    troupe__journal_unpin(&view->journal);
    free(view);
}

/* The journal's moment comes first: what is folded and dropped after it, the tables have. Nothing of `base` is used but
 * what never changes while it is open. */
enum troupe_error troupe__lmdb_store_view(struct troupe__store *base, struct troupe__store **ret, char *error,
                                          size_t error_size)
{
    const struct lmdb_store *store = of(base);
    struct lmdb_store *view = calloc(1, sizeof *view);
    if (!view) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    view->directory = store->directory;
    view->tables = store->tables;
    view->claim = (struct troupe__claim){-1, -1};
    view->read_only = true;
    enum troupe_error result = TROUPE_OK;
    int code = troupe__journal_pin(&store->journal, &view->journal);
    if (code) {
        result = fail_code(view, "look into", code);
        goto err_after_view;
    }
    code = mdb_txn_begin(view->tables.env, NULL, MDB_RDONLY, &view->reader);
    if (code) {
        result = fail_code(view, "look into", code);
        goto err_after_journal;
    }
    code = mdb_cursor_open(view->reader, view->tables.dbi, &view->cursor);
    if (code) {
        result = fail_code(view, "look into", code);
        goto err_after_reader;
    }
    view->reader_lives = true;
    result = read_mark(view, &view->opened_folded, &view->opened_chain);
    if (result != TROUPE_OK) {
        goto err_after_cursor;
    }
    view->reader_folded = view->opened_folded;
    view->base.read = lmdb_read;
    view->base.scan = lmdb_scan;
    view->base.range = lmdb_range;
    view->base.refresh = lmdb_refresh;
    view->base.replay = lmdb_replay;
    view->base.close = view_close;
    view->base.last_epoch = view->journal.last > view->opened_folded ? view->journal.last : view->opened_folded;
    *ret = &view->base;
    return TROUPE_OK;

err_after_cursor:
    mdb_cursor_close(view->cursor);
err_after_reader:
    mdb_txn_abort(view->reader);
err_after_journal:
    troupe__journal_unpin(&view->journal);
err_after_view:
    snprintf(error, error_size, "%s", view->base.error);
    free(view);
    return result;
}
