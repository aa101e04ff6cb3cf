/* journal_old.c - reads the journal of version 2, an LMDB file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: (`journal.mdb`; all integers big-endian)
 *   key    epoch (8)  chunk number (4)
 *   value  at most 65520 bytes of the record with its header
 *   header version (4)  flags, 0 (4)  epoch (8)  hash of the previous record (8)  record size (8)
 *          hash (8): XXH3 of the 32 bytes before it and the XXH3 of the record
 *   the row of epoch 0 is the file's format: "troupeJ" NUL, version (8), run (8), previous run (8), dropped (8)
 * Half a folded record may be left at the front. */
#include "state/journal_old.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/journal_file.h"

enum { CHECK_LEAVES_MAX = 1 << 26 /* bytes of leaf pages, records themselves left out */ };
enum { VERSION = 2, KEY_SIZE = 12, HEADER_SIZE = TROUPE__JOURNAL_KEPT_HEADER, FORMAT_SIZE = 40 };

static const unsigned char magic[8] = "troupeJ";

static void put_key(unsigned char *key, uint64_t epoch, uint32_t chunk)
{
    troupe__put_be64(key, epoch);
    troupe__put_be16(key + 8, (uint16_t)(chunk >> 16));
    troupe__put_be16(key + 10, (uint16_t)chunk);
}

/* Of the oldest record the first chunks may be gone. */
static uint64_t oldest_whole(MDB_cursor *cursor)
{
    unsigned char from[KEY_SIZE];
    MDB_val key = {KEY_SIZE, from}, value;
    put_key(from, 1, 0);
    if (mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)) {
        return 0;
    }
    const unsigned char *at = key.mv_data;
    uint64_t epoch = troupe__get_be64(at);
    bool whole = at[8] == 0 && at[9] == 0 && at[10] == 0 && at[11] == 0;
    if (!whole) {
        put_key(from, ++epoch, 0);
        key = (MDB_val){KEY_SIZE, from};
        return mdb_cursor_get(cursor, &key, &value, MDB_SET) ? 0 : epoch;
    }
    return epoch;
}

/* Read the format row, and which records there are. */
static enum troupe_error survey(struct troupe__journal_old *old, char *error, size_t error_size)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    unsigned char wanted[KEY_SIZE];
    int code = mdb_cursor_open(old->txn, old->file.dbi, &cursor);
    if (code || (code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)) != 0 || key.mv_size != KEY_SIZE ||
        value.mv_size < 16 || memcmp(value.mv_data, magic, 8) != 0) {
        snprintf(error, error_size, "open journal.mdb: its format row is missing or damaged: run `troupe doctor`");
        goto err_after_cursor;
    }
    const unsigned char *format = value.mv_data;
    if (troupe__get_be64(format + 8) != VERSION) {
        snprintf(error, error_size, "open journal.mdb: format %llu, this program knows %d: use the one that wrote it",
                 (unsigned long long)troupe__get_be64(format + 8), VERSION);
        mdb_cursor_close(cursor);
        return TROUPE_EVERSION;
    }
    if (value.mv_size != FORMAT_SIZE) {
        snprintf(error, error_size, "open journal.mdb: its format row is damaged: run `troupe doctor`");
        goto err_after_cursor;
    }
    old->run = troupe__get_be64(format + 16);
    old->previous_run = troupe__get_be64(format + 24);
    old->dropped = troupe__get_be64(format + 32);
    old->first = oldest_whole(cursor);
    if (old->first > 0) {
        code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
        old->last = code || key.mv_size != KEY_SIZE ? 0 : troupe__get_be64(key.mv_data);
        put_key(wanted, old->first, 0);
        key = (MDB_val){KEY_SIZE, wanted};
        if (old->last < old->first || mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY) ||
            value.mv_size < HEADER_SIZE) {
            snprintf(error, error_size, "open journal.mdb: epoch %llu: its header is cut off: run `troupe doctor`",
                     (unsigned long long)old->first);
            goto err_after_cursor;
        }
        old->before = troupe__get_be64((const unsigned char *)value.mv_data + 16);
    }
    mdb_cursor_close(cursor);
    return TROUPE_OK;

err_after_cursor:
    if (cursor) {
        mdb_cursor_close(cursor);
    }
    return TROUPE_ECORRUPT;
}

enum troupe_error troupe__journal_old_open(struct troupe__journal_old *old, const char *directory, char *error,
                                           size_t error_size)
{
    char path[PATH_MAX];
    struct stat status = {0};
    *old = (struct troupe__journal_old){.txn = NULL};
    if ((size_t)snprintf(path, sizeof path, "%s/" TROUPE__JOURNAL_OLD, directory) < sizeof path) {
        (void)stat(path, &status); /* Opening says why. */
    }
    enum troupe_error result = troupe__lmdb_env_open(directory, TROUPE__JOURNAL_OLD, MDB_RDONLY | MDB_NOLOCK,
                                                     (size_t)status.st_size * 2 + (1 << 20), NULL, CHECK_LEAVES_MAX,
                                                     NULL, &old->file, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    int code = mdb_txn_begin(old->file.env, NULL, MDB_RDONLY, &old->txn);
    if (code) {
        snprintf(error, error_size, "open journal.mdb: %s", mdb_strerror(code));
        result = troupe__lmdb_error(code);
    } else {
        result = survey(old, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__journal_old_close(old);
    }
    return result;
}

void troupe__journal_old_close(struct troupe__journal_old *old)
{
    if (old->txn) {
        mdb_txn_abort(old->txn);
    }
    mdb_env_close(old->file.env);
}

/* Read and check the record at `epoch`; `*ret` points into the map or into `whole`. Returns what is wrong, or NULL. */
static const char *read_record(MDB_cursor *cursor, uint64_t epoch, uint64_t previous, struct troupe__buffer *whole,
                               struct troupe_bytes *ret, uint64_t *ret_hash)
{
    unsigned char wanted[KEY_SIZE], header[HEADER_SIZE];
    MDB_val key = {KEY_SIZE, wanted}, value;
    put_key(wanted, epoch, 0);
    if (mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY)) {
        return "it is missing";
    }
    if (value.mv_size < HEADER_SIZE) {
        return "its header is cut off";
    }
    const unsigned char *head = value.mv_data;
    uint64_t size = troupe__get_be64(head + 24), hash = troupe__get_be64(head + 32);
    struct troupe_bytes record = {head + HEADER_SIZE, value.mv_size - HEADER_SIZE};
    if (record.size < size) { /* More chunks follow. */
        whole->size = 0;
        memcpy(header, head, HEADER_SIZE);
        troupe__buffer_put(whole, record.data, record.size);
        for (uint32_t chunk = 1; whole->size < size; chunk++) {
            put_key(wanted, epoch, chunk);
            key = (MDB_val){KEY_SIZE, wanted};
            if (mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY) || value.mv_size == 0) {
                return "a part of it is missing";
            }
            troupe__buffer_put(whole, value.mv_data, value.mv_size);
            if (whole->failed) {
                return "out of memory";
            }
        }
        head = header;
        record = (struct troupe_bytes){whole->data, whole->size};
    }
    unsigned char again[HEADER_SIZE];
    if (record.size != size || troupe__journal_put_kept_head(again, epoch, previous, record) != hash ||
        memcmp(again, head, HEADER_SIZE) != 0) {
        return troupe__get_be64(head + 16) != previous ? "it does not follow the record before it"
                                                       : "its checksum is wrong";
    }
    *ret = record;
    *ret_hash = hash;
    return NULL;
}

enum troupe_error troupe__journal_old_replay(struct troupe__journal_old *old, troupe__journal_fn record, void *context,
                                             char *error, size_t error_size)
{
    MDB_cursor *cursor = NULL;
    struct troupe__buffer whole = {0};
    enum troupe_error result = TROUPE_OK;
    uint64_t chain = old->before;
    int code = mdb_cursor_open(old->txn, old->file.dbi, &cursor);
    if (code) {
        snprintf(error, error_size, "replay journal.mdb: %s", mdb_strerror(code));
        return troupe__lmdb_error(code);
    }
    for (uint64_t epoch = old->first; result == TROUPE_OK && epoch <= old->last; epoch++) {
        struct troupe_bytes bytes;
        uint64_t hash;
        const char *wrong = read_record(cursor, epoch, chain, &whole, &bytes, &hash);
        if (wrong) {
            result = whole.failed ? TROUPE_ENOMEM : TROUPE_ECORRUPT;
            snprintf(error, error_size, "replay journal.mdb: epoch %llu: %s: run `troupe doctor`",
                     (unsigned long long)epoch, wrong);
            break;
        }
        chain = hash;
        result = record(context, epoch, hash, bytes);
    }
    troupe__buffer_free(&whole);
    mdb_cursor_close(cursor);
    return result;
}

void troupe__journal_old_remove(const char *directory)
{
    static const char *const names[] = {TROUPE__JOURNAL_OLD, TROUPE__JOURNAL_OLD "-lock"};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, names[i]) < sizeof path) {
            (void)unlink(path); /* Else the next start. */
        }
    }
}
