/* journal.c - the journal of epochs: one LMDB file, one record per commit.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: (`journal.mdb`; all integers big-endian)
 *   key    epoch (8)  chunk number (4)
 *   value  at most 65520 bytes of the record with its header, so that with LMDB's 16 bytes a chunk is 16 whole pages
 *   header version (4)  flags, 0 (4)  epoch (8)  hash of the previous record (8)  record size (8)
 *          hash (8): XXH3 of the 32 bytes before it and the XXH3 of the record
 *   the row of epoch 0 is the file's format: "troupeJ" NUL, version (8), run (8), previous run (8), dropped (8)
 * A record is appended in one transaction: after a crash it is there or it is not. Records that are folded are dropped,
 * oldest first, by later appends: a transaction of its own would make a commit wait for its sync. Half a folded record
 * may be left at the front. To change the format: raise the version; an older program refuses the file. */
#include "state/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

enum { CHECK_LEAVES_MAX = 1 << 26 /* bytes of leaf pages, records themselves left out */ };
enum { KEY_SIZE = 12, HEADER_SIZE = 40, CHUNK_SIZE = 65520, FORMAT_SIZE = 40, TRIM_KEYS = 64, TRIM_EPOCHS = 32 };

static const unsigned char magic[8] = "troupeJ";

static void put_key(unsigned char *key, uint64_t epoch, uint32_t chunk)
{
    troupe__put_be64(key, epoch);
    troupe__put_be16(key + 8, (uint16_t)(chunk >> 16));
    troupe__put_be16(key + 10, (uint16_t)chunk);
}

/* The header without its hash, followed by the record's hash; returns the hash of all that. */
static uint64_t put_header(unsigned char *header, uint64_t epoch, uint64_t previous, struct troupe_bytes record)
{
    troupe__put_be64(header, (uint64_t)TROUPE__JOURNAL_VERSION << 32);
    troupe__put_be64(header + 8, epoch);
    troupe__put_be64(header + 16, previous);
    troupe__put_be64(header + 24, record.size);
    troupe__put_be64(header + 32, troupe__hash(record.data, record.size));
    uint64_t hash = troupe__hash(header, HEADER_SIZE);
    troupe__put_be64(header + 32, hash);
    return hash;
}

static int put_format_row(MDB_txn *txn, MDB_dbi dbi, uint64_t run, uint64_t previous_run, uint64_t dropped)
{
    unsigned char key_bytes[KEY_SIZE] = {0}, format[FORMAT_SIZE];
    memcpy(format, magic, 8);
    troupe__put_be64(format + 8, TROUPE__JOURNAL_VERSION);
    troupe__put_be64(format + 16, run);
    troupe__put_be64(format + 24, previous_run);
    troupe__put_be64(format + 32, dropped);
    MDB_val key = {KEY_SIZE, key_bytes}, value = {sizeof format, format};
    return mdb_put(txn, dbi, &key, &value, 0);
}

static int put_format(MDB_txn *txn, MDB_dbi dbi)
{
    return put_format_row(txn, dbi, 0, 0, 0);
}

/* What is wrong between the journal and the tables it was opened for. */
static enum troupe_error compare_with_tables(const struct troupe__journal *journal, uint64_t folded, uint64_t newest,
                                             char *error, size_t error_size)
{
    if (journal->dropped > folded) {
        snprintf(error, error_size,
                 "open journal: tables.mdb is missing or an older copy: it holds everything up to epoch %llu, the "
                 "journal has dropped what came up to %llu: put both back from one backup",
                 (unsigned long long)folded, (unsigned long long)journal->dropped);
        return TROUPE_ECORRUPT;
    }
    if (newest < folded && journal->dropped < folded) {
        snprintf(
            error, error_size,
            "open journal: it is an older copy: it ends at epoch %llu, tables.mdb holds everything up to %llu: put "
            "both back from one backup",
            (unsigned long long)newest, (unsigned long long)folded);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

/* Set `last` and `oldest` from the file. */
static enum troupe_error survey(struct troupe__journal *journal, char *error, size_t error_size)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key = {0, NULL}, value = {0, NULL};
    enum troupe_error result = TROUPE_OK;
    int code = mdb_txn_begin(journal->file.env, NULL, MDB_RDONLY, &txn);
    if (code) {
        snprintf(error, error_size, "open journal: %s", mdb_strerror(code));
        return troupe__lmdb_error(code);
    }
    code = mdb_cursor_open(txn, journal->file.dbi, &cursor);
    if (!code) {
        code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    }
    if (code || key.mv_size != KEY_SIZE || value.mv_size < 16 || memcmp(value.mv_data, magic, 8) != 0) {
        snprintf(error, error_size, "open journal: its format row is missing or damaged: run `troupe doctor`");
        result = TROUPE_ECORRUPT;
    } else if (troupe__get_be64((unsigned char *)value.mv_data + 8) != TROUPE__JOURNAL_VERSION) {
        snprintf(error, error_size, "open journal: format %llu, this program knows %d: use the one that wrote it",
                 (unsigned long long)troupe__get_be64((unsigned char *)value.mv_data + 8), TROUPE__JOURNAL_VERSION);
        result = TROUPE_EVERSION;
    } else if (value.mv_size != FORMAT_SIZE) {
        snprintf(error, error_size, "open journal: its format row is damaged: run `troupe doctor`");
        result = TROUPE_ECORRUPT;
    } else {
        const unsigned char *format = value.mv_data;
        uint64_t newest = 0, folded = journal->last;
        journal->run = troupe__get_be64(format + 16);
        journal->previous_run = troupe__get_be64(format + 24);
        journal->dropped = troupe__get_be64(format + 32);
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        if (!code && key.mv_size == KEY_SIZE) {
            journal->oldest = troupe__get_be64(key.mv_data);
            code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
            newest = code ? 0 : troupe__get_be64(key.mv_data);
            journal->last = newest > folded ? newest : folded;
        }
        if (!code || code == MDB_NOTFOUND) {
            result = compare_with_tables(journal, folded, newest, error, error_size);
        }
    }
    if (result == TROUPE_OK && code && code != MDB_NOTFOUND) {
        snprintf(error, error_size, "open journal: %s", mdb_strerror(code));
        result = troupe__lmdb_error(code);
    }
    if (cursor) {
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return result;
}

enum troupe_error troupe__journal_open(struct troupe__journal *journal, const char *directory, unsigned flags,
                                       size_t map_size, bool create, uint64_t folded, uint64_t chain, char *error,
                                       size_t error_size)
{
    *journal = (struct troupe__journal){.last = folded, .oldest = folded + 1, .chain = chain};
    enum troupe_error result =
        troupe__lmdb_env_open(directory, "journal.mdb", flags, map_size, create ? put_format : NULL, CHECK_LEAVES_MAX,
                              NULL, &journal->file, error, error_size);
    if (result == TROUPE_OK && (result = survey(journal, error, error_size)) != TROUPE_OK) {
        troupe__journal_close(journal);
    }
    return result;
}

void troupe__journal_close(struct troupe__journal *journal)
{
    mdb_env_close(journal->file.env);
    journal->file.env = NULL;
}

enum { CLAIM_SIZE = 32768 }; /* bytes that changing one small row writes, at most */

int troupe__journal_claim(struct troupe__journal *journal, uint64_t run, uint64_t previous)
{
    enum troupe__lmdb_left left;
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(journal->file.env, NULL, 0, &txn);
    if (!code && (code = put_format_row(txn, journal->file.dbi, run, previous, journal->dropped)) != 0) {
        mdb_txn_abort(txn);
    } else if (!code && (code = troupe__lmdb_commit(&journal->file, txn, CLAIM_SIZE, &left)) == 0) {
        journal->run = run;
        journal->previous_run = previous;
    }
    return code;
}

int troupe__journal_skip(struct troupe__journal *journal, uint64_t epoch, uint64_t run)
{
    journal->dropped = epoch;
    return troupe__journal_claim(journal, run, run);
}

/* The last epoch that is dropped, all or a part of it, when `oldest` is what trimming up to `folded` has left. */
static uint64_t dropped_by(const struct troupe__journal *journal, uint64_t oldest, uint64_t folded)
{
    uint64_t dropped = oldest <= journal->oldest ? journal->dropped : oldest <= folded ? oldest : folded;
    return dropped > journal->dropped ? dropped : journal->dropped;
}

/* Delete at most `limit` chunks of epochs up to `folded`; sets the oldest epoch that is left. */
static int trim(struct troupe__journal *journal, MDB_txn *txn, uint64_t folded, size_t limit, uint64_t *ret_oldest)
{
    unsigned char from[KEY_SIZE];
    MDB_cursor *cursor = NULL;
    MDB_val key = {KEY_SIZE, from}, value;
    put_key(from, 1, 0);
    int code = mdb_cursor_open(txn, journal->file.dbi, &cursor);
    if (code) {
        return code;
    }
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!code) {
        uint64_t epoch = troupe__get_be64(key.mv_data);
        *ret_oldest = epoch;
        if (epoch > folded || limit-- == 0) {
            break;
        }
        code = mdb_cursor_del(cursor, 0);
        if (!code) {
            key = (MDB_val){KEY_SIZE, from};
            code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        }
    }
    mdb_cursor_close(cursor);
    if (code == MDB_NOTFOUND) {
        *ret_oldest = folded + 1;
        code = 0;
    }
    uint64_t dropped = dropped_by(journal, *ret_oldest, folded);
    if (!code && dropped > journal->dropped) {
        code = put_format_row(txn, journal->file.dbi, journal->run, journal->previous_run, dropped);
    }
    return code;
}

int troupe__journal_append(struct troupe__journal *journal, uint64_t epoch, struct troupe_bytes record, uint64_t folded,
                           enum troupe__lmdb_left *ret_left)
{
    assert(epoch == journal->last + 1);
    *ret_left = TROUPE__LMDB_NOTHING;
    MDB_txn *txn = NULL;
    unsigned char header[HEADER_SIZE], key_bytes[KEY_SIZE];
    uint64_t oldest = journal->oldest, hash = put_header(header, epoch, journal->chain, record);
    size_t total = HEADER_SIZE + record.size, chunks = (total + CHUNK_SIZE - 1) / CHUNK_SIZE;
    int code = mdb_txn_begin(journal->file.env, NULL, 0, &txn);
    if (code) {
        return code;
    }
    if (folded >= oldest && (folded - oldest >= TRIM_EPOCHS || chunks > 1)) {
        code = trim(journal, txn, folded, chunks * 2 > TRIM_KEYS ? chunks * 2 : TRIM_KEYS, &oldest);
    }
    size_t done = 0; /* of the record */
    for (uint32_t chunk = 0; !code && chunk < chunks; chunk++) {
        size_t head = chunk == 0 ? HEADER_SIZE : 0, rest = record.size - done;
        size_t part = rest < CHUNK_SIZE - head ? rest : CHUNK_SIZE - head;
        MDB_val key = {KEY_SIZE, key_bytes}, value = {head + part, NULL};
        put_key(key_bytes, epoch, chunk);
        code = mdb_put(txn, journal->file.dbi, &key, &value, MDB_APPEND | MDB_RESERVE);
        if (!code) {
            memcpy(value.mv_data, header, head);
            if (part > 0) {
                memcpy((unsigned char *)value.mv_data + head, (const unsigned char *)record.data + done, part);
            }
            done += part;
        }
    }
    if (code) {
        mdb_txn_abort(txn);
        return code;
    }
    if ((code = troupe__lmdb_commit(&journal->file, txn, total, ret_left)) != 0) {
        return code;
    }
    assert(done == record.size);
    journal->last = epoch;
    journal->dropped = dropped_by(journal, oldest, folded);
    journal->oldest = oldest < epoch ? oldest : epoch;
    journal->chain = hash;
    return 0;
}

int troupe__journal_trim(struct troupe__journal *journal, uint64_t folded)
{
    MDB_txn *txn = NULL;
    uint64_t oldest = journal->oldest;
    if (folded < oldest) {
        return 0;
    }
    int code = mdb_txn_begin(journal->file.env, NULL, 0, &txn);
    if (code) {
        return code;
    }
    if ((code = trim(journal, txn, folded, SIZE_MAX, &oldest)) != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    if ((code = mdb_txn_commit(txn)) == 0) {
        journal->dropped = dropped_by(journal, oldest, folded);
        journal->oldest = oldest;
    }
    return code;
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
    if (record.size != size || put_header(again, epoch, previous, record) != hash ||
        memcmp(again, head, HEADER_SIZE) != 0) {
        return troupe__get_be64(head + 16) != previous ? "it does not follow the record before it"
                                                       : "its checksum is wrong";
    }
    *ret = record;
    *ret_hash = hash;
    return NULL;
}

int troupe__journal_pin(const struct troupe__journal *journal, struct troupe__journal *ret)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    *ret = (struct troupe__journal){.file = journal->file}; /* All else is the committer's, and changes. */
    int code = mdb_txn_begin(ret->file.env, NULL, MDB_RDONLY, &ret->pinned);
    if (!code) {
        code = mdb_cursor_open(ret->pinned, ret->file.dbi, &cursor);
        code = code ? code : mdb_cursor_get(cursor, &key, &value, MDB_LAST);
        if (!code && key.mv_size == KEY_SIZE) {
            ret->last = troupe__get_be64(key.mv_data); /* 0: the row of the format */
        }
        if (cursor) {
            mdb_cursor_close(cursor);
        }
        if (code) {
            mdb_txn_abort(ret->pinned);
        }
    }
    return code;
}

void troupe__journal_unpin(struct troupe__journal *journal)
{
    mdb_txn_abort(journal->pinned);
}

bool troupe__journal_before(const struct troupe__journal *journal, uint64_t epoch, uint64_t *ret_hash)
{
    unsigned char wanted[KEY_SIZE];
    MDB_val key = {KEY_SIZE, wanted}, value;
    put_key(wanted, epoch, 0);
    if (mdb_get(journal->pinned, journal->file.dbi, &key, &value) || value.mv_size < HEADER_SIZE) {
        return false;
    }
    *ret_hash = troupe__get_be64((const unsigned char *)value.mv_data + 16);
    return true;
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

enum troupe_error troupe__journal_look(struct troupe__journal *journal, const char *directory, uint64_t *ret_first,
                                       char *error, size_t error_size)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    *journal = (struct troupe__journal){.last = 0};
    enum troupe_error result = troupe__lmdb_env_look(directory, "journal.mdb", &journal->file, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    int code = mdb_txn_begin(journal->file.env, NULL, MDB_RDONLY, &journal->pinned);
    if (code) {
        snprintf(error, error_size, "read %s/journal.mdb: %s", directory, mdb_strerror(code));
        mdb_env_close(journal->file.env);
        return troupe__lmdb_error(code);
    }
    code = mdb_cursor_open(journal->pinned, journal->file.dbi, &cursor);
    code = code ? code : mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (code || key.mv_size != KEY_SIZE || value.mv_size != FORMAT_SIZE || memcmp(value.mv_data, magic, 8) != 0) {
        snprintf(error, error_size, "read %s/journal.mdb: its format row is missing or damaged: run `troupe doctor`",
                 directory);
        result = TROUPE_ECORRUPT;
    } else if (troupe__get_be64((unsigned char *)value.mv_data + 8) != TROUPE__JOURNAL_VERSION) {
        snprintf(error, error_size, "read %s/journal.mdb: it is of another format: use the program that wrote it",
                 directory);
        result = TROUPE_EVERSION;
    } else {
        journal->dropped = troupe__get_be64((unsigned char *)value.mv_data + 32);
        *ret_first = oldest_whole(cursor);
        code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
        journal->last = code || *ret_first == 0 ? journal->dropped : troupe__get_be64(key.mv_data);
    }
    if (cursor) {
        mdb_cursor_close(cursor);
    }
    if (result != TROUPE_OK) {
        troupe__journal_unlook(journal);
    }
    return result;
}

void troupe__journal_unlook(struct troupe__journal *journal)
{
    mdb_txn_abort(journal->pinned);
    mdb_env_close(journal->file.env);
}

enum troupe_error troupe__journal_replay(struct troupe__journal *journal, uint64_t folded, uint64_t chain,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size)
{
    MDB_txn *txn = journal->pinned;
    MDB_cursor *cursor = NULL;
    struct troupe__buffer whole = {0};
    enum troupe_error result = TROUPE_OK;
    int code = txn ? 0 : mdb_txn_begin(journal->file.env, NULL, MDB_RDONLY, &txn);
    if (!code && (code = mdb_cursor_open(txn, journal->file.dbi, &cursor)) != 0 && !journal->pinned) {
        mdb_txn_abort(txn);
    }
    if (code) {
        snprintf(error, error_size, "replay journal: %s", mdb_strerror(code));
        return troupe__lmdb_error(code);
    }
    for (uint64_t epoch = folded + 1; result == TROUPE_OK && epoch <= journal->last; epoch++) {
        struct troupe_bytes bytes;
        uint64_t hash;
        const char *wrong = read_record(cursor, epoch, chain, &whole, &bytes, &hash);
        if (wrong) {
            result = whole.failed ? TROUPE_ENOMEM : TROUPE_ECORRUPT;
            snprintf(error, error_size, "replay journal: epoch %llu: %s: run `troupe doctor`",
                     (unsigned long long)epoch, wrong);
            break;
        }
        chain = hash;
        result = record(context, epoch, hash, bytes);
    }
    if (result == TROUPE_OK) {
        journal->chain = chain;
    }
    troupe__buffer_free(&whole);
    mdb_cursor_close(cursor);
    if (!journal->pinned) {
        mdb_txn_abort(txn);
    }
    return result;
}
