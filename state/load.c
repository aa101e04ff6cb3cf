/* load.c - a new store on disk, made at once of all its rows: what restoring a snapshot is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The files are those of lmdb_store.c. A row behind all others is appended without a search, and fills its page. */
#include "state/load.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/journal.h"
#include "state/lmdb_format.h"

enum { TXN_SIZE = 8 << 20 }; /* bytes of rows in a transaction: its pages stay in the processor's caches */

struct troupe__load {
    struct troupe__lmdb_env tables;
    MDB_txn *txn;
    MDB_cursor *rows;
    size_t txn_size;
    unsigned char last[TROUPE__ROW_KEY_MAX + 1]; /* the highest key so far */
    size_t last_size;
    char directory[PATH_MAX];
};

static const size_t map_size = (size_t)64 << 30;

static enum troupe_error fail(const struct troupe__load *load, const char *what, int code, char *error,
                              size_t error_size)
{
    snprintf(error, error_size, "%s %.3000s: %s", what, load->directory, mdb_strerror(code));
    return troupe__lmdb_error(code);
}

static void abort_txn(struct troupe__load *load)
{
    if (load->rows) {
        mdb_cursor_close(load->rows);
    }
    mdb_txn_abort(load->txn);
    load->rows = NULL;
    load->txn = NULL;
}

static int begin_txn(struct troupe__load *load)
{
    int code = mdb_txn_begin(load->tables.env, NULL, 0, &load->txn);
    if (!code && (code = mdb_cursor_open(load->txn, load->tables.dbi, &load->rows)) != 0) {
        abort_txn(load);
    }
    load->txn_size = 0;
    return code;
}

static int commit_txn(struct troupe__load *load)
{
    enum troupe__lmdb_left left;
    MDB_txn *txn = load->txn;
    mdb_cursor_close(load->rows);
    load->rows = NULL;
    load->txn = NULL;
    return troupe__lmdb_commit(&load->tables, txn, load->txn_size, &left);
}

static int put_nothing(MDB_txn *txn, MDB_dbi dbi)
{
    (void)txn, (void)dbi;
    return 0;
}

static enum troupe_error make_directory(const char *directory, char *error, size_t error_size)
{
    char tables[PATH_MAX + 16];
    if (mkdir(directory, 0700) && errno != EEXIST) {
        snprintf(error, error_size, "create %s: %s", directory, strerror(errno));
        return troupe__lmdb_error(errno);
    }
    snprintf(tables, sizeof tables, "%s/tables.mdb", directory);
    if (access(tables, F_OK) == 0) {
        snprintf(error, error_size, "%s holds a node already", directory);
        return TROUPE_EBUSY;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__load_begin(const char *directory, struct troupe__load **ret, char *error, size_t error_size)
{
    struct troupe__load *load = calloc(1, sizeof *load);
    if (!load) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    if ((size_t)snprintf(load->directory, sizeof load->directory, "%s", directory) >= sizeof load->directory) {
        snprintf(error, error_size, "the path %.100s... is too long", directory);
        free(load);
        return TROUPE_EINVAL;
    }
    enum troupe_error result = make_directory(directory, error, error_size);
    if (result != TROUPE_OK) {
        free(load);
        return result;
    }
    result = troupe__lmdb_env_open(directory, "tables.mdb", MDB_NOSYNC | MDB_NOLOCK, map_size, put_nothing, 0, NULL,
                                   &load->tables, error, error_size);
    if (result != TROUPE_OK) {
        free(load);
        return result;
    }
    int code = begin_txn(load);
    if (code) {
        result = fail(load, "write into", code, error, error_size);
        troupe__load_free(load);
        return result;
    }
    *ret = load;
    return TROUPE_OK;
}

/* Whether a row is behind all others; then it is the last one from now on. */
static bool is_behind(struct troupe__load *load, enum troupe__table table, struct troupe_bytes key)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    size_t size = troupe__fold_row_key(bytes, table, key);
    size_t shorter = size < load->last_size ? size : load->last_size;
    int order = memcmp(bytes, load->last, shorter);
    if (order < 0 || (order == 0 && size <= load->last_size)) {
        return false;
    }
    memcpy(load->last, bytes, size);
    load->last_size = size;
    return true;
}

enum troupe_error troupe__load_row(struct troupe__load *load, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes value, char *error, size_t error_size)
{
    int code = 0;
    if (load->txn_size >= TXN_SIZE) {
        code = commit_txn(load);
        code = code ? code : begin_txn(load);
    }
    unsigned flags = is_behind(load, table, key) ? MDB_APPEND : 0;
    code = code ? code : troupe__fold_row_put_at(load->rows, flags, table, key, value);
    load->txn_size += key.size + value.size;
    return code ? fail(load, "write into", code, error, error_size) : TROUPE_OK;
}

enum troupe_error troupe__load_find(struct troupe__load *load, enum troupe__table table, struct troupe_bytes key,
                                    bool remove, char *error, size_t error_size)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    MDB_val row_key = {troupe__fold_row_key(bytes, table, key), bytes}, value;
    int code = mdb_cursor_get(load->rows, &row_key, &value, MDB_SET);
    code = code || !remove ? code : mdb_cursor_del(load->rows, 0);
    return code == MDB_NOTFOUND ? TROUPE_ENOTFOUND
           : code               ? fail(load, "write into", code, error, error_size)
                                : TROUPE_OK;
}

/* Both files name the same run, as after an opening. */
static enum troupe_error end_journal(const struct troupe__load *load, uint64_t epoch, uint64_t run, char *error,
                                     size_t error_size)
{
    const struct troupe__journal_options options = {.size_max = map_size};
    return troupe__journal_create(load->directory, &options, epoch, run, error, error_size);
}

enum troupe_error troupe__load_end(struct troupe__load *load, uint64_t epoch, char *error, size_t error_size)
{
    uint64_t run = 0;
    while (run == 0) {
        if (getrandom(&run, sizeof run, 0) != sizeof run) {
            return fail(load, "get random numbers for", errno, error, error_size);
        }
    }
    int code = troupe__lmdb_format_put(load->txn, load->tables.dbi, epoch, 0);
    code = code ? code : troupe__lmdb_format_put_run(load->txn, load->tables.dbi, run);
    code = code ? code : commit_txn(load);
    code = code ? code : mdb_env_sync(load->tables.env, 1);
    enum troupe_error result =
        code ? fail(load, "write into", code, error, error_size) : end_journal(load, epoch, run, error, error_size);
    code = result == TROUPE_OK ? troupe__sync_path(load->directory) : 0;
    return code ? fail(load, "sync", code, error, error_size) : result;
}

void troupe__load_free(struct troupe__load *load)
{
    if (load) {
        if (load->txn) {
            abort_txn(load);
        }
        mdb_env_close(load->tables.env);
        free(load);
    }
}
