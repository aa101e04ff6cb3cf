/* store_test.c - the contract of a store, claimed of both kinds; then what is the disk's alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "state/fold.h"
#include "state/lmdb_store.h"
#include "state/memory_store.h"

struct fixture {
    bool disk;
    char base[64], directory[96];
    int copies;
    unsigned interval_ms;
    struct troupe__memory_disk *memory;
    struct troupe__store *store;
    char error[512];
};

static enum troupe_error try_open(struct fixture *f, struct troupe__store **ret)
{
    struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 28, .fold_interval_ms = f->interval_ms};
    return f->disk ? troupe__lmdb_store_open(f->directory, &options, ret, f->error, sizeof f->error)
                   : troupe__memory_store_open(f->memory, ret, f->error, sizeof f->error);
}

static void reopen(struct fixture *f)
{
    if (try_open(f, &f->store) != TROUPE_OK) {
        fail_msg("%s", f->error);
    }
}

static int setup(void **state, bool disk)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->disk = disk;
    f->interval_ms = 3600000; /* Nothing is folded unless a test wants it. */
    snprintf(f->base, sizeof f->base, "/tmp/troupe_store_test_XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->directory, sizeof f->directory, "%s/0", f->base);
    f->memory = troupe__memory_disk_new();
    *state = f;
    return 0;
}

static int setup_disk(void **state)
{
    return setup(state, true);
}

static int setup_memory(void **state)
{
    return setup(state, false);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->store) {
        f->store->close(f->store);
    }
    nftw(f->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    troupe__memory_disk_free(f->memory);
    free(f);
    return 0;
}

static void copy_file(const char *from_directory, const char *to_directory, const char *name)
{
    char path[256], bytes[65536];
    snprintf(path, sizeof path, "%s/%s", from_directory, name);
    int from = open(path, O_RDONLY);
    snprintf(path, sizeof path, "%s/%s", to_directory, name);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(from >= 0 && to >= 0);
    for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;) {
        assert_int_equal(write(to, bytes, (size_t)got), got);
    }
    close(from);
    close(to);
}

/* Go on with what is on disk now; the store that was open never gets to its close. */
static void crash(struct fixture *f)
{
    struct troupe__store *old = f->store;
    if (f->disk) {
        char from[96];
        memcpy(from, f->directory, sizeof from);
        snprintf(f->directory, sizeof f->directory, "%s/%d", f->base, ++f->copies);
        assert_int_equal(mkdir(f->directory, 0700), 0);
        copy_file(from, f->directory, "journal.log");
        copy_file(from, f->directory, "tables.mdb");
    }
    old->close(old);
    reopen(f);
}

static void set(struct troupe__buffer *record, const char *key, const char *value)
{
    troupe__record_set(record, TROUPE__STATE, key, strlen(key), value, strlen(value));
}

static void commit(struct fixture *f, uint64_t epoch, struct troupe__buffer *record)
{
    if (f->store->commit(f->store, epoch, (struct troupe_bytes){record->data, record->size}) != TROUPE_OK) {
        fail_msg("%s", f->store->error);
    }
    troupe__buffer_free(record);
}

static void commit_one(struct fixture *f, uint64_t epoch, const char *key, const char *value)
{
    struct troupe__buffer record = {0};
    set(&record, key, value);
    commit(f, epoch, &record);
}

struct seen {
    uint64_t first, last, count;
    size_t bytes;
    uint64_t hash;
};

static enum troupe_error see(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct seen *seen = context;
    seen->first = seen->count++ == 0 ? epoch : seen->first;
    assert_int_equal(epoch, seen->first + seen->count - 1);
    seen->last = epoch;
    seen->bytes = record.size;
    seen->hash = troupe__hash(record.data, record.size);
    return TROUPE_OK;
}

static struct seen replay(struct fixture *f)
{
    struct seen seen = {0};
    if (f->store->replay(f->store, see, &seen) != TROUPE_OK) {
        fail_msg("%s", f->store->error);
    }
    return seen;
}

static void wait_folded(struct fixture *f, uint64_t epoch)
{
    time_t deadline = time(NULL) + 20;
    struct timespec moment = {0, 1000000};
    while (f->store->refresh(f->store) < epoch) {
        assert_true(time(NULL) < deadline);
        nanosleep(&moment, NULL);
    }
}

static void expect(struct fixture *f, const char *key, const char *value)
{
    struct troupe_bytes found;
    enum troupe_error error = f->store->read(f->store, TROUPE__STATE, (struct troupe_bytes){key, strlen(key)}, &found);
    assert_int_equal(error, value ? TROUPE_OK : TROUPE_ENOTFOUND);
    if (value) {
        assert_int_equal(found.size, strlen(value));
        assert_memory_equal(found.data, value, found.size);
    }
}

static enum troupe_error list(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__buffer *text = context;
    troupe__buffer_put(text, key.data, key.size);
    troupe__buffer_put(text, "=", 1);
    troupe__buffer_put(text, value.data, value.size);
    troupe__buffer_put(text, " ", 1);
    return memcmp(key.data, "stop", key.size < 4 ? key.size : 4) == 0 ? TROUPE_EFAILED : TROUPE_OK;
}

static enum troupe_error scan(struct fixture *f, const char *prefix, const char *expected)
{
    struct troupe__buffer text = {0};
    enum troupe_error result =
        f->store->scan(f->store, TROUPE__STATE, (struct troupe_bytes){prefix, strlen(prefix)}, list, &text);
    troupe__buffer_put(&text, "", 1);
    assert_string_equal((char *)text.data, expected);
    troupe__buffer_free(&text);
    return result;
}

/* ---- the contract ------------------------------------------------------------------------------------------------ */

/* What was acknowledged comes back in order after a crash, and the epochs go on from there, several times over. */
static void commits_come_back_after_a_crash(void **state)
{
    struct fixture *f = *state;
    reopen(f);
    assert_int_equal(f->store->last_epoch, 0);
    assert_int_equal(replay(f).count, 0);
    commit_one(f, 1, "a", "1");
    commit_one(f, 2, "a", "2");
    crash(f);
    assert_int_equal(f->store->last_epoch, 2);
    struct seen seen = replay(f);
    assert_int_equal(seen.first, 1);
    assert_int_equal(seen.count, 2);
    commit_one(f, 3, "b", "3");
    crash(f);
    assert_int_equal(replay(f).count, 3);
    assert_int_equal(f->store->last_epoch, 3);
}

/* Folded rows are read, and scanned by prefix in key order, until the callback fails. */
static void folded_rows_are_read_and_scanned_by_prefix(void **state)
{
    struct fixture *f = *state;
    struct troupe__buffer record = {0};
    f->interval_ms = 1;
    reopen(f);
    replay(f);
    set(&record, "x/b", "2");
    set(&record, "w", "0");
    set(&record, "x/a", "1");
    set(&record, "x/", "");
    set(&record, "y", "9");
    set(&record, "stop1", "");
    set(&record, "stop2", "");
    troupe__record_set(&record, TROUPE__MAIL, "x/z", 3, "", 0);
    commit(f, 1, &record);
    wait_folded(f, 1);
    expect(f, "x/a", "1");
    expect(f, "x/", "");
    expect(f, "x", NULL);
    assert_int_equal(scan(f, "x/", "x/= x/a=1 x/b=2 "), TROUPE_OK);
    assert_int_equal(scan(f, "nothing", ""), TROUPE_OK);
    assert_int_equal(scan(f, "stop", "stop1= "), TROUPE_EFAILED);
}

static void range(struct fixture *f, enum troupe__table table, const char *low, const char *high, bool backward,
                  const char *expected)
{
    struct troupe__buffer text = {0};
    struct troupe__range wanted = {{low, strlen(low)}, {high, strlen(high)}, backward};
    enum troupe_error result = f->store->range(f->store, table, &wanted, list, &text);
    assert_int_equal(result, strstr(expected, "stop") ? TROUPE_EFAILED : TROUPE_OK);
    troupe__buffer_put(&text, "", 1);
    assert_string_equal((char *)text.data, expected);
    troupe__buffer_free(&text);
}

/* A range has its low bound and not its high one, in both directions, never leaves its table, and ends early when the
 * callback fails. The first and the last table have no neighbour on one side. */
static void folded_rows_are_walked_by_range_in_both_directions(void **state)
{
    static const enum troupe__table tables[] = {TROUPE__META, TROUPE__STATE, TROUPE__TABLE_COUNT - 1};
    struct fixture *f = *state;
    struct troupe__buffer record = {0};
    f->interval_ms = 1;
    reopen(f);
    replay(f);
    range(f, TROUPE__STATE, "", "", true, "");
    for (size_t i = 0; i < 3; i++) {
        static const char *const keys[] = {"b", "d", "da", "f"};
        for (size_t k = 0; k < 4; k++) {
            char value[] = {(char)('0' + i)};
            troupe__record_set(&record, tables[i], keys[k], strlen(keys[k]), value, 1);
        }
    }
    troupe__record_set(&record, TROUPE__DEAD, "stop1", 5, "", 0);
    troupe__record_set(&record, TROUPE__DEAD, "stop2", 5, "", 0);
    commit(f, 1, &record);
    wait_folded(f, 1);
    range(f, TROUPE__STATE, "", "", false, "b=1 d=1 da=1 f=1 ");
    range(f, TROUPE__STATE, "", "", true, "f=1 da=1 d=1 b=1 ");
    range(f, TROUPE__META, "", "e", true, "da=0 d=0 b=0 ");
    range(f, TROUPE__TABLE_COUNT - 1, "", "", true, "f=2 da=2 d=2 b=2 ");
    range(f, TROUPE__TABLE_COUNT - 1, "c", "", false, "d=2 da=2 f=2 ");
    for (int backward = 0; backward < 2; backward++) {
        range(f, TROUPE__STATE, "b", "d", backward, "b=1 ");
        range(f, TROUPE__STATE, "c", "da", backward, "d=1 ");
        range(f, TROUPE__STATE, "d", "f", backward, backward ? "da=1 d=1 " : "d=1 da=1 ");
        range(f, TROUPE__STATE, "d", "d", backward, "");
        range(f, TROUPE__STATE, "f", "b", backward, "");
        range(f, TROUPE__STATE, "g", "z", backward, "");
        range(f, TROUPE__STATE, "", "a", backward, "");
        range(f, TROUPE__MAIL, "", "", backward, "");
        range(f, TROUPE__DEAD, "", "", backward, backward ? "stop2= " : "stop1= ");
    }
    expect(f, "b", "1");
}

/* Within an epoch and between epochs the last change of a row counts, a removal too; in one fold or in several. */
static void last_change_wins_and_removed_rows_vanish(void **state)
{
    struct fixture *f = *state;
    for (int together = 0; together < 2; together++) {
        struct troupe__buffer record = {0};
        f->interval_ms = together ? 3600000 : 1;
        reopen(f);
        replay(f);
        uint64_t epoch = f->store->last_epoch;
        set(&record, "k", "old");
        set(&record, "k", "1");
        set(&record, "gone", "1");
        set(&record, "back", "1");
        troupe__record_remove(&record, TROUPE__STATE, "back", 4);
        troupe__record_remove(&record, TROUPE__STATE, "never", 5);
        commit(f, epoch + 1, &record);
        if (!together) {
            wait_folded(f, epoch + 1);
            expect(f, "k", "1");
            expect(f, "gone", "1");
            expect(f, "back", NULL);
        }
        set(&record, "k", "2");
        troupe__record_remove(&record, TROUPE__STATE, "gone", 4);
        set(&record, "back", "2");
        commit(f, epoch + 2, &record);
        if (together && f->disk) { /* Closing folds. */
            f->store->close(f->store);
            reopen(f);
            assert_int_equal(replay(f).count, 0);
        }
        wait_folded(f, epoch + 2);
        assert_int_equal(scan(f, "", "back=2 k=2 "), TROUPE_OK);
        f->store->close(f->store);
        f->store = NULL;
    }
    reopen(f);
    assert_int_equal(f->store->last_epoch, 4);
    assert_int_equal(scan(f, "", "back=2 k=2 "), TROUPE_OK);
}

/* Records of every size around a chunk's, and of 1 MiB, come back byte for byte, and are folded. */
static void large_records_come_back_whole(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {65464, 65465, 65466, 65467, 65468, 65469, 65470, 65471, 65472, 65473, 1 << 20};
    unsigned char *value = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) {
        value[i] = (unsigned char)(i * 31 + i / 251);
    }
    reopen(f);
    replay(f);
    uint64_t epoch = 0, hash = 0;
    size_t size = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct troupe__buffer record = {0};
        troupe__record_set(&record, TROUPE__STATE, "big", 3, value, sizes[i]);
        hash = troupe__hash(record.data, record.size);
        size = record.size;
        commit(f, ++epoch, &record);
    }
    f->interval_ms = 1;
    crash(f);
    struct seen seen = replay(f);
    assert_int_equal(seen.count, epoch);
    assert_int_equal(seen.bytes, size);
    assert_int_equal(seen.hash, hash);
    wait_folded(f, epoch);
    struct troupe_bytes found;
    assert_int_equal(f->store->read(f->store, TROUPE__STATE, (struct troupe_bytes){"big", 3}, &found), TROUPE_OK);
    assert_int_equal(found.size, 1 << 20);
    assert_memory_equal(found.data, value, found.size);
    free(value);
}

/* One directory, one owner; when it lets go the next one gets it. */
static void second_open_is_refused(void **state)
{
    struct fixture *f = *state;
    struct troupe__store *second = NULL;
    reopen(f);
    assert_int_equal(try_open(f, &second), TROUPE_EBUSY);
    assert_null(second);
    if (f->disk) {
        char pid[32];
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        assert_non_null(strstr(f->error, pid));
        assert_non_null(strstr(f->error, f->directory));
    }
    f->store->close(f->store);
    reopen(f);
}

/* Many folds while commits go on: rows are right at the end, and trimming keeps what is not folded. */
static void folding_and_committing_at_once_loses_nothing(void **state)
{
    struct fixture *f = *state;
    char key[16], value[16];
    f->interval_ms = 1;
    reopen(f);
    replay(f);
    for (uint64_t epoch = 1; epoch <= 600; epoch++) {
        snprintf(key, sizeof key, "%d", (int)(epoch % 50));
        snprintf(value, sizeof value, "%d", (int)epoch);
        commit_one(f, epoch, key, value);
        f->store->refresh(f->store);
    }
    wait_folded(f, 600);
    for (int i = 1; i <= 50; i++) {
        snprintf(key, sizeof key, "%d", i % 50);
        snprintf(value, sizeof value, "%d", 550 + i);
        expect(f, key, value);
    }
    f->store->close(f->store);
    reopen(f);
    assert_int_equal(f->store->last_epoch, 600);
    assert_int_equal(replay(f).count, 0);
    commit_one(f, 601, "a", "b");
}

/* ---- memory only ------------------------------------------------------------------------------------------------- */

/* A disk that is told to fail does so at that commit and all later ones, durable or not as it was told. */
static void memory_disk_fails_after_as_many_commits(void **state)
{
    struct fixture *f = *state;
    for (int durable = 0; durable < 2; durable++) {
        reopen(f);
        uint64_t epoch = f->store->last_epoch;
        troupe__memory_disk_fail_after(f->memory, 1, durable);
        commit_one(f, epoch + 1, "a", "1");
        assert_int_equal(f->store->commit(f->store, epoch + 2, (struct troupe_bytes){NULL, 0}), TROUPE_EIO);
        f->store->close(f->store);
        reopen(f);
        assert_int_equal(f->store->last_epoch, epoch + 1 + (uint64_t)durable);
        f->store->close(f->store);
        f->store = NULL;
        troupe__memory_disk_fail_after(f->memory, -1, false);
    }
}

/* ---- disk only --------------------------------------------------------------------------------------------------- */

/* Put `value` at a row of tables.mdb, checksum and all. */
static void forge_row(struct fixture *f, const char *name, const void *value, size_t size)
{
    char path[128];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    snprintf(path, sizeof path, "%s/tables.mdb", f->directory);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(troupe__fold_row_put(txn, dbi, TROUPE__META, (struct troupe_bytes){name, strlen(name)},
                                          (struct troupe_bytes){value, size}),
                     0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* A store that a newer program wrote is refused with a text that names both versions, and left as it is. */
static void newer_format_is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned char format[16] = "troupeT";
    reopen(f);
    f->store->close(f->store);
    f->store = NULL;
    troupe__put_be64(format + 8, 99);
    forge_row(f, "troupe.format", format, sizeof format);
    struct troupe__store *store;
    assert_int_equal(try_open(f, &store), TROUPE_EVERSION);
    assert_non_null(strstr(f->error, "99"));
}

/* Flip a bit of the last byte of each place where `needle` is in the file. Returns how many there were. */
static int flip(struct fixture *f, const char *name, const char *needle)
{
    char path[128];
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", f->directory, name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    unsigned char *bytes = malloc(1 << 22);
    size_t size = fread(bytes, 1, 1 << 22, file), length = strlen(needle);
    for (size_t i = 0; i + length <= size; i++) {
        if (memcmp(bytes + i, needle, length) == 0) {
            fseek(file, (long)(i + length - 1), SEEK_SET);
            fputc(bytes[i + length - 1] ^ 1, file);
            count++;
        }
    }
    fclose(file);
    free(bytes);
    return count;
}

/* A flipped byte in a row keeps a store from being opened by an owner. Who only reads gets an error at read and at
 * scan, naming table and key; other rows stay readable. */
static void flipped_byte_in_a_row_is_detected(void **state)
{
    struct fixture *f = *state;
    struct troupe__lmdb_options options = {.read_only = true, .map_size = 1 << 28};
    struct troupe_bytes found;
    reopen(f);
    replay(f);
    commit_one(f, 1, "k1", "precious value");
    commit_one(f, 2, "k2", "other");
    f->store->close(f->store);
    f->store = NULL;
    assert_true(flip(f, "tables.mdb", "precious value") > 0);
    assert_int_equal(try_open(f, &f->store), TROUPE_ECORRUPT);
    assert_non_null(strstr(f->error, "tables.mdb: page "));
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error), TROUPE_OK);
    replay(f);
    assert_int_equal(f->store->read(f->store, TROUPE__STATE, (struct troupe_bytes){"k1", 2}, &found), TROUPE_ECORRUPT);
    assert_non_null(strstr(f->store->error, "table state, key 6b31"));
    expect(f, "k2", "other");
    assert_int_equal(scan(f, "k", ""), TROUPE_ECORRUPT);
}

/* A flipped byte in the journal stops the replay at that epoch. In the newest record it cannot be told from a write
 * that a crash has cut off: the store is as of the epoch before, and says so. */
static void flipped_byte_in_the_journal_is_detected(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    reopen(f);
    replay(f);
    commit_one(f, 1, "k1", "first");
    commit_one(f, 2, "k2", "precious value");
    commit_one(f, 3, "k3", "the newest of all");
    crash(f);
    assert_int_equal(f->store->cut_off, 0);
    assert_true(flip(f, "journal.log", "precious value") > 0);
    crash(f);
    assert_int_equal(f->store->replay(f->store, see, &seen), TROUPE_ECORRUPT);
    assert_int_equal(seen.count, 1);
    assert_non_null(strstr(f->store->error, "epoch 2"));
    assert_true(flip(f, "journal.log", "precious valud") > 0); /* And back. */
    crash(f);
    assert_int_equal(replay(f).count, 3);
    commit_one(f, 4, "k4", "newer still");
    assert_true(flip(f, "journal.log", "newer still") > 0);
    crash(f);
    assert_int_equal(f->store->last_epoch, 3);
    assert_true(f->store->cut_off > 0);
    assert_int_equal(replay(f).count, 3);
}

/* Nor does one get in, as owner or reader, when somebody has taken the lock for a stale one and removed it. */
static void a_removed_lock_lets_nobody_in(void **state)
{
    struct fixture *f = *state;
    struct troupe__store *second = NULL;
    const struct troupe__lmdb_options options = {.read_only = true, .map_size = 1 << 28};
    char lock[300];
    snprintf(lock, sizeof lock, "%s/lock", f->directory);
    for (int i = 0; i < 2; i++) { /* The tables are new, and there already. */
        reopen(f);
        replay(f);
        assert_int_equal(unlink(lock), 0);
        assert_int_equal(try_open(f, &second), TROUPE_EBUSY);
        assert_non_null(strstr(f->error, "its lock was removed"));
        assert_int_equal(unlink(lock), 0);
        assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &second, f->error, sizeof f->error),
                         TROUPE_EBUSY);
        commit_one(f, (uint64_t)i + 1, "k", "v");
        f->store->close(f->store);
    }
    reopen(f);
}

/* A reader is refused while the owner runs; afterwards it reads rows and replays without changing anything. */
static void read_only_waits_for_the_owner_to_end(void **state)
{
    struct fixture *f = *state;
    struct troupe__lmdb_options options = {.read_only = true, .map_size = 1 << 28};
    struct troupe__store *reader;
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &reader, f->error, sizeof f->error),
                     TROUPE_ENOTFOUND);
    reopen(f);
    replay(f);
    commit_one(f, 1, "k", "v");
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &reader, f->error, sizeof f->error), TROUPE_EBUSY);
    f->store->close(f->store);
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(replay(f).count, 0);
    assert_int_equal(f->store->refresh(f->store), 1);
    expect(f, "k", "v");
}

/* Appends drop what is folded and nothing beyond: a crash right after that replays all the rest. */
static void trimming_keeps_what_is_not_folded(void **state)
{
    struct fixture *f = *state;
    struct troupe__lmdb_options options = {
        .sync = true, .map_size = 1 << 28, .fold_bytes = 100000, .fold_interval_ms = 3600000};
    struct troupe__buffer record = {0};
    static const char value[150000];
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error), TROUPE_OK);
    replay(f);
    troupe__record_set(&record, TROUPE__STATE, "big", 3, value, sizeof value);
    commit(f, 1, &record); /* Over fold_bytes: folded at once. */
    wait_folded(f, 1);
    commit_one(f, 2, "k", "v");
    commit_one(f, 3, "k", "w");
    troupe__record_set(&record, TROUPE__STATE, "big", 3, value, 70000);
    commit(f, 4, &record); /* Two chunks: drops what it can. Under fold_bytes: not folded. */
    crash(f);
    assert_int_equal(f->store->refresh(f->store), 1);
    struct seen seen = replay(f);
    assert_int_equal(seen.first, 2);
    assert_int_equal(seen.last, 4);
    f->store->close(f->store);
    reopen(f);
    expect(f, "k", "w");
}

/* Closing does not wait for a backlog: what was not folded in time is in the journal, and nothing is lost. */
static void a_close_leaves_to_the_journal_what_takes_long(void **state)
{
    struct fixture *f = *state;
    enum { EPOCHS = 20, ROWS = 5000 };
    struct troupe__lmdb_options options = {
        .sync = false, .map_size = 1 << 28, .fold_interval_ms = 3600000, .closing_ms = 1};
    struct troupe__buffer record = {0};
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error), TROUPE_OK);
    replay(f);
    for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++) {
        for (uint64_t i = 0; i < ROWS; i++) { /* Each row once: what is lost is missed. */
            char key[24];
            int size = snprintf(key, sizeof key, "%05d-%02d", (int)i, (int)epoch);
            troupe__record_set(&record, TROUPE__STATE, key, (size_t)size, &epoch, sizeof epoch);
        }
        commit(f, epoch, &record);
    }
    f->store->close(f->store);
    reopen(f);
    assert_int_equal(f->store->last_epoch, EPOCHS);
    struct seen seen = replay(f);
    assert_int_equal(seen.count, EPOCHS);
    f->store->close(f->store); /* Which has time. */
    reopen(f);
    assert_int_equal(f->store->refresh(f->store), EPOCHS);
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        for (int i = 0; i < ROWS; i++) {
            char key[24];
            struct troupe_bytes value;
            int size = snprintf(key, sizeof key, "%05d-%02d", i, epoch);
            assert_int_equal(f->store->read(f->store, TROUPE__STATE, (struct troupe_bytes){key, (size_t)size}, &value),
                             TROUPE_OK);
        }
    }
}

/* A full file refuses the epoch and keeps what it had; the same epoch can be tried again, and is refused again. */
static void full_disk_refuses_and_keeps_the_rest(void **state)
{
    struct fixture *f = *state;
    struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 20, .fold_interval_ms = 3600000};
    struct troupe__buffer record = {0};
    char value[60000] = {0};
    uint64_t epoch = 0;
    enum troupe_error error;
    assert_int_equal(troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error), TROUPE_OK);
    replay(f);
    troupe__record_set(&record, TROUPE__STATE, "k", 1, value, sizeof value);
    struct troupe_bytes bytes = {record.data, record.size};
    while ((error = f->store->commit(f->store, epoch + 1, bytes)) == TROUPE_OK) {
        assert_true(++epoch < 100);
    }
    assert_int_equal(error, TROUPE_ENOSPACE);
    assert_int_equal(f->store->commit(f->store, epoch + 1, bytes), TROUPE_ENOSPACE);
    troupe__buffer_free(&record);
    crash(f);
    assert_int_equal(f->store->last_epoch, epoch);
    assert_int_equal(replay(f).count, epoch);
}

/* Every acknowledged epoch survives kill -9, whatever the process was at; five times on one store. */
static void killed_process_loses_nothing_acknowledged(void **state)
{
    struct fixture *f = *state;
    f->interval_ms = 3;
    for (int round = 0; round < 5; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 28, .fold_interval_ms = 3};
            struct troupe__store *store;
            if (troupe__lmdb_store_open(f->directory, &options, &store, f->error, sizeof f->error) ||
                store->replay(store, NULL, NULL)) {
                _exit(1);
            }
            for (uint64_t epoch = store->last_epoch + 1;; epoch++) {
                struct troupe__buffer record = {0};
                troupe__record_set(&record, TROUPE__STATE, "n", 1, &epoch, sizeof epoch);
                troupe__record_set(&record, TROUPE__MAIL, &epoch, sizeof epoch, f->error, sizeof f->error);
                if (store->commit(store, epoch, (struct troupe_bytes){record.data, record.size}) ||
                    write(fds[1], &epoch, sizeof epoch) != sizeof epoch) {
                    _exit(1);
                }
                troupe__buffer_free(&record);
            }
        }
        close(fds[1]);
        uint64_t acknowledged = 0, epoch;
        for (int i = 0; i < 100 + 37 * round && read(fds[0], &epoch, sizeof epoch) == sizeof epoch; i++) {
            acknowledged = epoch;
        }
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &epoch, sizeof epoch) == sizeof epoch) {
            acknowledged = epoch;
        }
        close(fds[0]);
        reopen(f);
        replay(f);
        uint64_t last = f->store->last_epoch;
        assert_true(acknowledged > 0 && last >= acknowledged && last <= acknowledged + 1);
        wait_folded(f, last);
        struct troupe_bytes found;
        assert_int_equal(f->store->read(f->store, TROUPE__STATE, (struct troupe_bytes){"n", 1}, &found), TROUPE_OK);
        assert_memory_equal(found.data, &last, sizeof last);
        f->store->close(f->store);
        f->store = NULL;
    }
}

/* ---- a crash in the middle of a fold ----------------------------------------------------------------------------- */

enum { SPREAD_KEYS = 60000, SPREAD_ROWS = 3000 };

/* The rows that an epoch sets: every so many-th from some key on; every seventh epoch removes them. */
static uint32_t spread_key(uint64_t epoch, uint32_t i)
{
    return (uint32_t)((epoch * 7919 + (uint64_t)i * (SPREAD_KEYS / SPREAD_ROWS)) % SPREAD_KEYS);
}

static void spread_record(uint64_t epoch, struct troupe__buffer *record)
{
    unsigned char key[32] = "a key of some length, number";
    record->size = 0;
    for (uint32_t i = 0; i < SPREAD_ROWS; i++) {
        troupe__put_be64(key + 24, spread_key(epoch, i));
        if (epoch % 7 == 0) {
            troupe__record_remove(record, TROUPE__STATE, key, sizeof key);
        } else {
            troupe__record_set(record, TROUPE__STATE, key, sizeof key, &epoch, sizeof epoch);
        }
    }
    troupe__record_set(record, TROUPE__MAIL, &epoch, sizeof epoch, "x", 1);
}

static void spread_for_ever(const char *directory, int fd)
{
    struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 28, .fold_interval_ms = 30};
    struct troupe__store *store;
    struct troupe__buffer record = {0};
    char error[512];
    if (troupe__lmdb_store_open(directory, &options, &store, error, sizeof error) || store->replay(store, NULL, NULL)) {
        _exit(1);
    }
    for (uint64_t epoch = store->last_epoch + 1;; epoch++) {
        spread_record(epoch, &record);
        if (store->commit(store, epoch, (struct troupe_bytes){record.data, record.size}) || write(fd, "x", 1) != 1) {
            _exit(1);
        }
    }
}

/* The epoch that set each row last, 0 for none; and the newest of them. */
struct spread {
    uint64_t rows[SPREAD_KEYS], newest;
};

static enum troupe_error spread_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct spread *spread = context;
    uint64_t *row = &spread->rows[troupe__get_be64((const unsigned char *)key.data + 24)];
    memcpy(row, value.data, sizeof *row);
    spread->newest = *row > spread->newest ? *row : spread->newest;
    return TROUPE_OK;
}

static enum troupe_error spread_replay(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    uint64_t none = 0;
    (void)epoch;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == TROUPE__STATE) {
            struct troupe_bytes value = change.removed ? (struct troupe_bytes){&none, sizeof none} : change.value;
            spread_row(context, change.key, value);
        }
    }
    return TROUPE_OK;
}

/* A fold is many transactions. Killed between two of them the tables hold rows newer than the epoch they are up to; the
 * journal's rest makes the same of them. Repeated until that was met three times. */
static void killed_in_the_middle_of_a_fold_replays_to_the_same_rows(void **state)
{
    struct fixture *f = *state;
    struct spread *spread = calloc(1, sizeof *spread);
    uint64_t *model = calloc(SPREAD_KEYS, sizeof *model), modelled = 0;
    int met = 0;
    assert_true(spread && model);
    for (int round = 0; met < 3; round++) {
        int fds[2], status;
        char byte;
#if defined(__SANITIZE_THREAD__)
        if (round == 20) { /* So slow that it may never be met; what was killed elsewhere came back right. */
            break;
        }
#endif
        assert_true(round < 100);
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            spread_for_ever(f->directory, fds[1]);
        }
        close(fds[1]);
        struct timespec start, now;
        clock_gettime(CLOCK_MONOTONIC, &start);
        do { /* A few folds long. */
            assert_int_equal(read(fds[0], &byte, 1), 1);
            clock_gettime(CLOCK_MONOTONIC, &now);
        } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 70 + 17 * (round % 5));
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        close(fds[0]);
        assert_true(WIFSIGNALED(status));

        reopen(f);
        memset(spread, 0, sizeof *spread);
        uint64_t folded = f->store->refresh(f->store);
        assert_int_equal(f->store->scan(f->store, TROUPE__STATE, (struct troupe_bytes){"", 0}, spread_row, spread), 0);
        met += spread->newest > folded;
        assert_int_equal(f->store->replay(f->store, spread_replay, spread), TROUPE_OK);
        for (; modelled < f->store->last_epoch; modelled++) {
            for (uint32_t i = 0; i < SPREAD_ROWS; i++) {
                model[spread_key(modelled + 1, i)] = (modelled + 1) % 7 == 0 ? 0 : modelled + 1;
            }
        }
        assert_memory_equal(spread->rows, model, SPREAD_KEYS * sizeof *model);
        f->store->close(f->store);
        f->store = NULL;
    }
    free(spread);
    free(model);
}

#define BOTH(claim)                                                                                                    \
    {#claim " (disk)", claim, setup_disk, teardown, NULL},                                                             \
    {                                                                                                                  \
#claim " (memory)", claim, setup_memory, teardown, NULL                                                        \
    }
#define DISK(claim)                                                                                                    \
    {                                                                                                                  \
#claim, claim, setup_disk, teardown, NULL                                                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(commits_come_back_after_a_crash),
        BOTH(folded_rows_are_read_and_scanned_by_prefix),
        BOTH(folded_rows_are_walked_by_range_in_both_directions),
        BOTH(last_change_wins_and_removed_rows_vanish),
        BOTH(large_records_come_back_whole),
        BOTH(second_open_is_refused),
        BOTH(folding_and_committing_at_once_loses_nothing),
        {"memory_disk_fails_after_as_many_commits", memory_disk_fails_after_as_many_commits, setup_memory, teardown,
         NULL},
        DISK(newer_format_is_refused),
        DISK(flipped_byte_in_a_row_is_detected),
        DISK(flipped_byte_in_the_journal_is_detected),
        DISK(a_removed_lock_lets_nobody_in),
        DISK(read_only_waits_for_the_owner_to_end),
        DISK(trimming_keeps_what_is_not_folded),
        DISK(a_close_leaves_to_the_journal_what_takes_long),
        DISK(full_disk_refuses_and_keeps_the_rest),
        DISK(killed_process_loses_nothing_acknowledged),
        DISK(killed_in_the_middle_of_a_fold_replays_to_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
