/* states_test.c - a store after loss of power at any moment: what its writes may have left on disk, state by state.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The writes of a store that commits, folds and is opened anew are recorded (disk.c). A state is built from them for a
 * moment: what was synced by then, and of all that was in flight none, all, a prefix, random pages, torn sectors or all
 * but one, for both files and the directory, each by itself. It must open, hold an epoch that was acknowledged or was
 * being committed, be equal to the model at that epoch (model.c), and commit again.
 * Two threads write, so no two recordings are alike: a failure keeps its log. TROUPE_LOG=file TROUPE_STATE=number
 * builds that state again; TROUPE_SEED sets the seed, TROUPE_STATES how many are built (3000). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "state/journal.h"
#include "state/lmdb_store.h"
#include "test/crash/counter.h"
#include "test/crash/disk.h"
#include "test/crash/model.h"

enum { EPOCHS = 150, OPENINGS = 4, STATES = 3000, STATES_PER_CHILD = 500, FIRST_OPS_WEIGHT = 20, HANG_S = 120 };

/* ---- what a disk may hold ---------------------------------------------------------------------------------------- */

/* A sync that is taken for one that never happened: what the test must notice. */
enum forget {
    FORGET_NOTHING,
    FORGET_JOURNAL_SYNCS,
    FORGET_JOURNAL_WRITES,
    FORGET_TABLES_SYNCS,
    FORGET_TABLES_METAS,
    FORGET_FIRST_SYNCS, /* of files that are not under their names yet */
    FORGET_DIRECTORY,
    FORGET_PARENT,
    FORGETS
};

static const char *const forget_names[FORGETS] = {"nothing",
                                                  "syncs of the journal",
                                                  "small records of the journal",
                                                  "syncs of the tables",
                                                  "metas of the tables",
                                                  "syncs of new files",
                                                  "the directory's sync",
                                                  "its parent's sync"};

struct file {
    unsigned char *bytes; /* durable */
    size_t size;
    size_t *pending; /* writes in flight, as indexes into the log */
    size_t pending_count;
};

struct disk {
    const struct disk_log *log;
    enum forget forget;
    struct file files[DISK_FILES_MAX];
    char names[DISK_FILES_MAX][DISK_NAME_MAX]; /* durable */
    char now[DISK_FILES_MAX][DISK_NAME_MAX];   /* as a running process sees them */
    bool made;                                 /* the directory's own entry is durable */
    size_t *pending;                           /* changes of names in flight */
    size_t pending_count;
    uint64_t floor, top; /* acknowledged; being committed */
};

enum { FILE_MAX = 1 << 23 };

/* In children, where cmocka's assertions would go on with the next test. */
#define must(holds) must_at(holds, __LINE__)
static void must_at(bool holds, int line)
{
    if (!holds) {
        fprintf(stderr, "line %d: errno %d\n", line, errno);
        abort();
    }
}

static void disk_init(struct disk *d, const struct disk_log *log, enum forget forget)
{
    *d = (struct disk){.log = log, .forget = forget};
    for (int i = 0; i < DISK_FILES_MAX; i++) {
        d->files[i].bytes = calloc(1, FILE_MAX);
        d->files[i].pending = calloc(log->count + 1, sizeof *d->files[i].pending);
        must(d->files[i].bytes && d->files[i].pending);
    }
    d->pending = calloc(log->count + 1, sizeof *d->pending);
}

static void disk_fini(struct disk *d)
{
    for (int i = 0; i < DISK_FILES_MAX; i++) {
        free(d->files[i].bytes);
        free(d->files[i].pending);
    }
    free(d->pending);
}

static void put(unsigned char *bytes, size_t *size, const struct disk_op *op, size_t from, size_t length)
{
    must(op->offset + from + length <= FILE_MAX);
    memcpy(bytes + op->offset + from, op->data + from, length);
    if (op->offset + from + length > *size) {
        *size = op->offset + from + length;
    }
}

static void change_name(char names[][DISK_NAME_MAX], const struct disk_op *op)
{
    const char *name = op->kind == DISK_RENAME ? op->to : op->name;
    for (int i = 0; i < DISK_FILES_MAX; i++) {
        if (strcmp(names[i], name) == 0) {
            names[i][0] = '\0';
        }
    }
    if (op->kind != DISK_UNLINK) {
        strcpy(names[op->file], name);
    }
}

static bool forgotten(const struct disk *d, const struct disk_op *op)
{
    bool file = op->file >= 0, meta = op->kind == DISK_WRITTEN;
    const char *name = file ? d->now[op->file] : "";
    if (d->floor == 0 && d->forget >= FORGET_JOURNAL_SYNCS && d->forget <= FORGET_TABLES_METAS) {
        return false; /* Those of commits and folds are meant, not those of the creation. */
    }
    switch (d->forget) {
    case FORGET_JOURNAL_SYNCS:
        return file && !meta && strncmp(name, "journal", 7) == 0;
    case FORGET_JOURNAL_WRITES:
        return meta && strncmp(name, "journal", 7) == 0;
    case FORGET_TABLES_SYNCS:
        return file && !meta && strncmp(name, "tables", 6) == 0;
    case FORGET_TABLES_METAS:
        return meta && strncmp(name, "tables", 6) == 0;
    case FORGET_FIRST_SYNCS:
        return file && strstr(name, ".new");
    case FORGET_DIRECTORY:
        return op->file == DISK_DIRECTORY;
    case FORGET_PARENT:
        return op->file == DISK_PARENT;
    default:
        return false;
    }
}

static void sync_file(struct disk *d, const struct disk_op *op)
{
    struct file *file = &d->files[op->file];
    size_t left = 0;
    for (size_t i = 0; i < file->pending_count; i++) {
        const struct disk_op *write = &d->log->ops[file->pending[i]];
        if (op->kind == DISK_SYNCED ? file->pending[i] < op->begin : file->pending[i] == op->begin) {
            put(file->bytes, &file->size, write, 0, write->size);
        } else {
            file->pending[left++] = file->pending[i];
        }
    }
    file->pending_count = left;
}

static void sync_names(struct disk *d, const struct disk_op *op)
{
    size_t left = 0;
    if (op->file == DISK_PARENT) {
        d->made = true;
        return;
    }
    for (size_t i = 0; i < d->pending_count; i++) {
        if (d->pending[i] < op->begin) {
            change_name(d->names, &d->log->ops[d->pending[i]]);
        } else {
            d->pending[left++] = d->pending[i];
        }
    }
    d->pending_count = left;
}

static void disk_step(struct disk *d, size_t at)
{
    const struct disk_op *op = &d->log->ops[at];
    switch (op->kind) {
    case DISK_CREATE:
    case DISK_RENAME:
    case DISK_UNLINK:
        change_name(d->now, op);
        d->pending[d->pending_count++] = at;
        break;
    case DISK_WRITE:
        d->files[op->file].pending[d->files[op->file].pending_count++] = at;
        break;
    case DISK_WRITTEN:
    case DISK_SYNCED:
        if (!forgotten(d, op)) {
            (op->file >= 0 ? sync_file : sync_names)(d, op);
        }
        break;
    case DISK_COMMITTING:
        d->top = op->value;
        break;
    case DISK_COMMITTED:
        d->floor = op->value;
        break;
    case DISK_MKDIR:
    case DISK_SYNC:
        break;
    }
}

/* ---- one state --------------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15;
    return troupe__hash(random, sizeof *random);
}

static void write_file(const char *directory, const char *name, const unsigned char *bytes, size_t size)
{
    char path[640];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

static void build_file(const struct disk *d, const struct file *file, const char *directory, const char *name,
                       uint64_t *random)
{
    static unsigned char bytes[FILE_MAX];
    enum { NONE, ALL, PREFIX, PAGES, SECTORS, ALL_BUT_ONE, MODES } mode = draw(random) % MODES;
    size_t size = file->size, most = 0;
    size_t chosen = file->pending_count > 0 ? draw(random) % file->pending_count : 0;
    memcpy(bytes, file->bytes, file->size);
    for (size_t i = 0; i < file->pending_count && mode != NONE; i++) {
        const struct disk_op *op = &d->log->ops[file->pending[i]];
        size_t unit = mode == PAGES ? 4096 : mode == SECTORS ? 512 : SIZE_MAX;
        if ((mode == PREFIX && i >= chosen) || (mode == ALL_BUT_ONE && i == chosen)) {
            continue;
        }
        if (op->offset + op->size > size) {
            memset(bytes + size, 0, op->offset + op->size - size);
        }
        most = op->offset + op->size > most ? op->offset + op->size : most;
        for (size_t at = 0; at < op->size; at += unit) {
            size_t length = op->size - at < unit ? op->size - at : unit;
            if (unit == SIZE_MAX || draw(random) % 2) {
                put(bytes, &size, op, at, length);
            }
            if (unit == SIZE_MAX) {
                break;
            }
        }
    }
    if (most > size && draw(random) % 2) { /* Its new size may be on disk, what belongs there not. */
        memset(bytes + size, 0, most - size);
        size = most;
    }
    write_file(directory, name, bytes, size);
}

static void empty(const char *directory)
{
    static const char *const names[] = {
        "journal.log", "tables.mdb", "tables.mdb-lock", "journal.log.new", "tables.mdb.new",     "journal.mdb",
        "lock",        "specs",      "specs.new",       "out.jsonl",       "tables.mdb.new-lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[640];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

static void build_state(const struct disk *d, const char *directory, uint64_t *random)
{
    char names[DISK_FILES_MAX][DISK_NAME_MAX];
    empty(directory);
    bool there = d->made || draw(random) % 2;
    size_t changes = d->pending_count > 0 ? draw(random) % (d->pending_count + 1) : 0;
    if (!there) {
        return;
    }
    must(mkdir(directory, 0700) == 0);
    memcpy(names, d->names, sizeof names);
    for (size_t i = 0; i < changes; i++) {
        change_name(names, &d->log->ops[d->pending[i]]);
    }
    for (int i = 0; i < DISK_FILES_MAX; i++) {
        if (names[i][0]) {
            build_file(d, &d->files[i], directory, names[i], random);
        }
    }
}

static const struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 26, .fold_interval_ms = 3600000};

/* Open it, compare it with the model, commit, and look again. Returns what is wrong, or NULL. */
static const char *check_state(const struct model *model, const char *directory, uint64_t floor, uint64_t top,
                               bool twice)
{
    static char error[600];
    struct troupe__store *store;
    for (int round = 0; round < (twice ? 2 : 1); round++) {
        if (troupe__lmdb_store_open(directory, &options, &store, error, sizeof error) != TROUPE_OK) {
            return error;
        }
        enum troupe_error result = model_check(model, store, floor, top, error, sizeof error);
        uint64_t next = store->last_epoch + 1;
        if (result == TROUPE_OK && round == 0 && (result = model_commit(model, store, next, 1)) != TROUPE_OK) {
            snprintf(error, sizeof error, "%s", store->error);
        }
        store->close(store);
        if (result != TROUPE_OK) {
            return error;
        }
        floor = top = next;
    }
    return NULL;
}

/* A node that goes on from it ends with the output of one that was never interrupted. */
static const char *check_node(const char *directory, const char *input)
{
    static char wrong[600];
    char output[640];
    snprintf(output, sizeof output, "%s/out.jsonl", directory);
    if (!counter_check_release(directory, output, wrong, sizeof wrong) ||
        counter_run(directory, input, output, wrong, sizeof wrong) != TROUPE_OK ||
        !counter_check(output, wrong, sizeof wrong)) {
        return wrong;
    }
    return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

struct progress { /* shared with the children */
    uint64_t state, at;
    uint64_t built;
    char wrong[640];
};

struct run {
    const struct model *model;
    const char *input; /* NULL: the store of a model; else of a node that has this input */
    const struct disk_log *log;
    size_t from; /* states of moments before are not looked at */
    enum forget forget;
    uint64_t seed, states;
    char directory[128];
    struct progress *progress;
};

/* States per moment: more of them while there are few operations, as when a store is made. */
static uint64_t states_at(const struct run *run, size_t at)
{
    size_t count = run->log->count - run->from, first = 60 < count / 4 ? 60 : count / 4;
    if (at < run->from) {
        return 0;
    }
    at -= run->from;
    uint64_t weights = count + first * (FIRST_OPS_WEIGHT - 1), weight = at < first ? FIRST_OPS_WEIGHT : 1;
    uint64_t before = at < first ? at * FIRST_OPS_WEIGHT : first * FIRST_OPS_WEIGHT + (at - first);
    return (before + weight) * run->states / weights - before * run->states / weights;
}

/* In a child: build and check the states from number `from` to `to`. */
static void check_some(const struct run *run, uint64_t from, uint64_t to)
{
    struct disk d;
    uint64_t state = 0;
    disk_init(&d, run->log, run->forget);
    for (size_t at = 0; at < run->log->count && state < to; at++) {
        disk_step(&d, at);
        for (uint64_t left = states_at(run, at); left > 0; left--, state++) {
            if (state < from || state >= to) {
                continue;
            }
            uint64_t random = run->seed + state * 1000003;
            run->progress->state = state;
            run->progress->at = at;
            build_state(&d, run->directory, &random);
            const char *wrong = run->input ? check_node(run->directory, run->input)
                                           : check_state(run->model, run->directory, d.floor,
                                                         d.top > d.floor ? d.top : d.floor, state % 3 == 0);
            run->progress->built++;
            if (wrong) {
                snprintf(run->progress->wrong, sizeof run->progress->wrong, "%s", wrong);
                _exit(1);
            }
        }
    }
    disk_fini(&d);
}

/* The parent is to see a signal as what it is, not cmocka in the child. */
static void behave_as_a_child(bool quiet)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        signal(signals[i], SIG_DFL);
    }
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    alarm(HANG_S);
    mallopt(M_MMAP_THRESHOLD, 1 << 17); /* Else each opening zeroes megabytes that LMDB never uses. */
    if (quiet) {                        /* LMDB prints what it asserts. */
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    }
}

/* Returns whether all states were good. */
static bool check_all(struct run *run, uint64_t from, uint64_t to)
{
    run->progress->wrong[0] = '\0';
    for (; from < to; from += STATES_PER_CHILD) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            behave_as_a_child(run->forget != FORGET_NOTHING);
            check_some(run, from, from + STATES_PER_CHILD < to ? from + STATES_PER_CHILD : to);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status)) {
            snprintf(run->progress->wrong, sizeof run->progress->wrong, "signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
        } else if (WEXITSTATUS(status) != 0 && !run->progress->wrong[0]) {
            snprintf(run->progress->wrong, sizeof run->progress->wrong, "exit status %d", WEXITSTATUS(status));
        }
        if (run->progress->wrong[0]) {
            empty(run->directory);
            return false;
        }
    }
    empty(run->directory);
    return true;
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

/* How a recording goes. */
struct plan {
    bool sync;           /* durability disk */
    bool sync_later;     /* not in the first of the openings, then on disk */
    uint64_t fail_epoch; /* from here on a write fails, and yet its bytes are written; 0: none */
    bool plain;          /* on a file system where nothing is written past the page cache */
    bool old;            /* it begins with a directory whose journal is of version 2 */
};

/* Commit epochs from `epoch` on, up to `end`. Returns the next one. */
static uint64_t commit_some(const struct model *model, struct troupe__store *store, const struct plan *plan,
                            uint64_t epoch, uint64_t end, bool acknowledge)
{
    for (; epoch < end; epoch++) {
        bool fail = plan->fail_epoch > 0 && epoch >= plan->fail_epoch; /* A large one has no such write. */
        disk_note(DISK_COMMITTING, epoch);
        if (fail) {
            disk_fail(DISK_FAIL_META, "journal.log", 0, EIO, true);
        }
        enum troupe_error result = model_commit(model, store, epoch, fail ? 3 : 1);
        if (fail && disk_failed() && result == TROUPE_EIO) {
            return epoch;
        }
        assert_int_equal(result, TROUPE_OK);
        if (acknowledge) {
            disk_note(DISK_COMMITTED, epoch);
        }
        /* Let the folder come to its turn: at times at once, at times after some epochs. */
        uint64_t want = epoch % 7 < 3 ? epoch : 0;
        for (time_t end_s = time(NULL) + 20; store->refresh(store) < want;) {
            assert_true(time(NULL) < end_s);
            nanosleep(&(struct timespec){0, 100000}, NULL);
        }
    }
    return epoch;
}

/* ---- a directory of the version before --------------------------------------------------------------------------- */

enum { OLD_FOLDED = 30, OLD_LAST = 40, OLD_CHUNK = 65520, OLD_HEADER = 40 };

struct old_journal {
    MDB_txn *txn;
    MDB_dbi dbi;
    uint64_t chain;
};

static void put_old(struct old_journal *old, uint64_t epoch, const unsigned char *data, size_t size)
{
    for (size_t done = 0, chunk = 0; done < size; chunk++) {
        unsigned char bytes[12] = {0};
        size_t part = size - done < OLD_CHUNK ? size - done : OLD_CHUNK;
        MDB_val key = {sizeof bytes, bytes}, value = {part, (void *)(uintptr_t)(data + done)};
        troupe__put_be64(bytes, epoch);
        bytes[11] = (unsigned char)chunk;
        assert_int_equal(mdb_put(old->txn, old->dbi, &key, &value, 0), 0);
        done += part;
    }
}

static enum troupe_error put_old_record(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct old_journal *old = context;
    unsigned char *bytes = malloc(OLD_HEADER + record.size);
    const uint64_t numbers[] = {(uint64_t)2 << 32, epoch, old->chain, record.size, hash};
    assert_non_null(bytes);
    for (size_t i = 0; i < 5; i++) {
        troupe__put_be64(bytes + 8 * i, numbers[i]);
    }
    memcpy(bytes + OLD_HEADER, record.data, record.size);
    put_old(old, epoch, bytes, OLD_HEADER + record.size);
    free(bytes);
    old->chain = hash;
    return TROUPE_OK;
}

/* Write what the journal of `directory` has beyond OLD_FOLDED as an LMDB file, as state/journal_old.c reads it. */
static void make_old_journal(const char *directory, const char *path)
{
    char error[512];
    unsigned char format[40] = "troupeJ";
    struct troupe__journal journal;
    struct old_journal old;
    uint64_t first;
    MDB_env *env;
    unlink(path);
    assert_int_equal(troupe__journal_look(&journal, directory, &first, error, sizeof error), TROUPE_OK);
    const uint64_t numbers[] = {2, journal.slot.run, journal.slot.previous_run, OLD_FOLDED};
    for (size_t i = 0; i < 4; i++) {
        troupe__put_be64(format + 8 + 8 * i, numbers[i]);
    }
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 1 << 26), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &old.txn), 0);
    assert_int_equal(mdb_dbi_open(old.txn, NULL, 0, &old.dbi), 0);
    put_old(&old, 0, format, sizeof format);
    assert_true(troupe__journal_before(&journal, OLD_FOLDED + 1, &old.chain));
    assert_int_equal(troupe__journal_replay(&journal, OLD_FOLDED, old.chain, put_old_record, &old, error, sizeof error),
                     TROUPE_OK);
    assert_int_equal(mdb_txn_commit(old.txn), 0);
    mdb_env_close(env);
    troupe__journal_unlook(&journal);
}

/* Copy a file, with calls that are recorded. */
static void copy_in(const char *from, const char *directory, const char *name)
{
    static unsigned char bytes[FILE_MAX];
    char path[640];
    int source = open(from, O_RDONLY);
    ssize_t size = read(source, bytes, sizeof bytes);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(source >= 0 && size > 0 && fd >= 0 && pwrite(fd, bytes, (size_t)size, 0) == size);
    assert_true(fsync(fd) == 0 && close(fd) == 0 && close(source) == 0);
}

/* Begin to watch a directory of the version before, with epochs up to OLD_LAST. */
static void watch_old(const struct model *model, const char *directory)
{
    struct troupe__lmdb_options busy = {.map_size = 1 << 26, .fold_interval_ms = 1};
    char from[160], tables[200], journal[200], parent[200], error[512];
    snprintf(from, sizeof from, "%s.from", directory);
    snprintf(tables, sizeof tables, "%s/tables.mdb", from);
    snprintf(journal, sizeof journal, "%s.old", directory);
    for (uint64_t last = OLD_FOLDED; last <= OLD_LAST; last += OLD_LAST - OLD_FOLDED) {
        struct troupe__store *store;
        assert_int_equal(troupe__lmdb_store_open(from, &busy, &store, error, sizeof error), TROUPE_OK);
        assert_int_equal(store->replay(store, NULL, NULL), TROUPE_OK);
        for (uint64_t epoch = store->last_epoch + 1; epoch <= last; epoch++) {
            assert_int_equal(model_commit(model, store, epoch, 1), TROUPE_OK);
        }
        busy.fold_interval_ms = 3600000;
        if (last == OLD_LAST) {
            make_old_journal(from, journal);
            disk_watch(directory);
            assert_int_equal(mkdir(directory, 0700), 0);
            copy_in(tables, directory, "tables.mdb");
            copy_in(journal, directory, "journal.mdb");
            snprintf(parent, sizeof parent, "%s/..", directory);
            assert_true(troupe__sync_path(directory) == 0 && troupe__sync_path(parent) == 0);
        }
        store->close(store);
    }
    unlink(journal);
    empty(from);
}

/* Commit EPOCHS epochs of the model, folding on the way and opening anew some times. `*ret_from`: states from there on
 * are promised to be good. */
static struct disk_log record(const struct model *model, const char *directory, struct plan plan, size_t *ret_from)
{
    struct troupe__lmdb_options busy = {
        .map_size = 1 << 26, .fold_bytes = 40000, .fold_interval_ms = 1, .extent_size = 1 << 16};
    char error[512];
    bool failed = false;
    *ret_from = 0;
    if (plan.old) {
        watch_old(model, directory);
        *ret_from = disk_note(DISK_COMMITTED, OLD_LAST);
    } else {
        disk_watch(directory);
    }
    for (uint64_t epoch = plan.old ? OLD_LAST + 1 : 1, opening = plan.old ? 2 : 1; epoch <= EPOCHS; opening++) {
        struct troupe__store *store;
        busy.sync = plan.sync || (plan.sync_later && opening > 1);
        if (troupe__lmdb_store_open(directory, &busy, &store, error, sizeof error) != TROUPE_OK ||
            store->replay(store, NULL, NULL) != TROUPE_OK) {
            fail_msg("%s", error);
        }
        assert_true(store->last_epoch + 1 == epoch || (store->last_epoch == epoch && failed));
        epoch = store->last_epoch + 1;
        if (plan.sync_later && opening == 2) {
            *ret_from = disk_note(DISK_COMMITTED, epoch - 1);
        }
        uint64_t end = opening * EPOCHS / OPENINGS + 1;
        epoch = commit_some(model, store, &plan, epoch, end, busy.sync || !plan.sync_later);
        if (plan.fail_epoch && disk_failed()) {
            plan.fail_epoch = 0;
            failed = true;
            *ret_from = disk_note(DISK_COMMITTED, epoch - 1);
        }
        store->close(store);
    }
    disk_fail(DISK_FAIL_META, NULL, -1, 0, false);
    struct disk_log log = disk_unwatch();
    empty(directory);
    return log;
}

static void save_log(const struct disk_log *log, const char *path)
{
    FILE *file = fopen(path, "wb");
    for (size_t i = 0; file && i < log->count; i++) {
        fwrite(&log->ops[i], sizeof log->ops[i], 1, file);
        fwrite(log->ops[i].data, 1, log->ops[i].data ? log->ops[i].size : 0, file);
    }
    assert_true(file && fclose(file) == 0);
}

static struct disk_log load_log(const char *path)
{
    struct disk_log log = {calloc(1 << 16, sizeof *log.ops), 0, 1 << 16};
    FILE *file = fopen(path, "rb");
    assert_true(file && log.ops);
    while (log.count < log.capacity && fread(&log.ops[log.count], sizeof *log.ops, 1, file) == 1) {
        struct disk_op *op = &log.ops[log.count++];
        if (op->data) {
            op->data = malloc(op->size);
            assert_true(op->data && fread(op->data, 1, op->size, file) == op->size);
        }
    }
    fclose(file);
    return log;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

struct fixture {
    struct model *model;
    struct run run;
    char source[128];
};

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    assert_non_null(f);
    f->run.seed = number_of("TROUPE_SEED", 1);
    f->run.states = number_of("TROUPE_STATES", STATES);
    f->model = model_new(f->run.seed);
    f->run.model = f->model;
    snprintf(f->run.directory, sizeof f->run.directory, "%s/troupe-state-%ld", base, (long)getpid());
    snprintf(f->source, sizeof f->source, "%s/troupe-source-%ld", base, (long)getpid());
    f->run.progress = mmap(NULL, sizeof *f->run.progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(f->run.progress != MAP_FAILED);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    munmap(f->run.progress, sizeof *f->run.progress);
    free(f->model);
    free(f);
    return 0;
}

/* Look at all states of a recording, or at the one that TROUPE_LOG and TROUPE_STATE name. */
static void check_recording(struct fixture *f, struct plan plan, uint64_t states)
{
    const char *kept = getenv("TROUPE_LOG");
    disk_refuse_direct(plan.plain);
    struct disk_log log = kept ? load_log(kept) : record(f->model, f->source, plan, &f->run.from);
    uint64_t only = number_of("TROUPE_STATE", UINT64_MAX);
    f->run.from = number_of("TROUPE_FROM", f->run.from);
    f->run.log = &log;
    f->run.states = states;
    f->run.progress->built = 0;
    bool good = only == UINT64_MAX ? check_all(&f->run, 0, states) : check_all(&f->run, only, only + 1);
    print_message("%zu operations, %llu states\n", log.count, (unsigned long long)f->run.progress->built);
    if (!good) {
        char path[128] = "";
        if (!kept) {
            snprintf(path, sizeof path, "/tmp/troupe-states-%ld.log", (long)getpid());
            save_log(&log, path);
        }
        fail_msg("TROUPE_SEED=%llu TROUPE_STATES=%llu TROUPE_STATE=%llu TROUPE_FROM=%zu TROUPE_LOG=%s: after operation "
                 "%llu: %s",
                 (unsigned long long)f->run.seed, (unsigned long long)states,
                 (unsigned long long)f->run.progress->state, f->run.from, kept ? kept : path,
                 (unsigned long long)f->run.progress->at, f->run.progress->wrong);
    }
    disk_log_free(&log);
}

/* Each state opens, none has lost or torn an acknowledged epoch, each one goes on. */
static void every_state_that_a_crash_may_leave_opens_with_all_that_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    check_recording(f, (struct plan){.sync = true}, f->run.states);
}

/* The same where commits go through the page cache, and are synced. */
static void every_state_opens_where_nothing_goes_past_the_page_cache(void **state)
{
    struct fixture *f = *state;
    check_recording(f, (struct plan){.sync = true, .plain = true}, number_of("TROUPE_STATES", STATES) / 4);
}

/* What a run with durability process has left is durable once a run with durability disk has opened it. */
static void a_store_that_was_run_without_syncs_is_durable_from_its_next_opening_on(void **state)
{
    struct fixture *f = *state;
    check_recording(f, (struct plan){.sync_later = true}, number_of("TROUPE_STATES", STATES) / 8);
}

/* A journal of the version before becomes one of today's, with all that it had, at whatever moment that is cut off. */
static void a_directory_of_the_version_before_is_taken_over_or_left_as_it_is(void **state)
{
    struct fixture *f = *state;
    check_recording(f, (struct plan){.sync = true, .old = true}, number_of("TROUPE_STATES", STATES) / 4);
}

/* An epoch whose write fails may be on disk all the same. The node stops and starts again: neither then nor later
 * does the epoch come back torn. */
static void a_failed_write_leaves_no_trap(void **state)
{
    struct fixture *f = *state;
    for (uint64_t epoch = 20; epoch < 100; epoch += 26) {
        check_recording(f, (struct plan){.sync = true, .fail_epoch = epoch}, number_of("TROUPE_STATES", STATES) / 8);
    }
}

/* A node with its output file: whatever a loss of power leaves of the three files, no record is out that is not
 * durable, and the node goes on to the output of one that was never interrupted. */
static void a_node_goes_on_from_every_state_to_the_same_output(void **state)
{
    struct fixture *f = *state;
    char input[160], output[160], error[600];
    snprintf(input, sizeof input, "%s.jsonl", f->source);
    snprintf(output, sizeof output, "%s/out.jsonl", f->source);
    counter_input(input);
    disk_watch(f->source);
    if (counter_run(f->source, input, output, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    struct disk_log log = disk_unwatch();
    empty(f->source);
    f->run.input = input;
    strcpy(f->run.directory, f->source); /* The position in the output goes by its path. */
    f->run.log = &log;
    f->run.states = f->run.states / 4;
    bool good = check_all(&f->run, 0, f->run.states);
    print_message("%zu operations, %llu states\n", log.count, (unsigned long long)f->run.progress->built);
    if (!good) {
        fail_msg("TROUPE_SEED=%llu: state %llu: after operation %llu: %s", (unsigned long long)f->run.seed,
                 (unsigned long long)f->run.progress->state, (unsigned long long)f->run.progress->at,
                 f->run.progress->wrong);
    }
    unlink(input);
    disk_log_free(&log);
}

/* The test itself: each sync that is taken away, and a store without any, gives states that it finds wrong. */
static void every_sync_that_is_left_out_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct disk_log with = record(f->model, f->source, (struct plan){.sync = true}, &f->run.from);
    struct disk_log without = record(f->model, f->source, (struct plan){.sync = false}, &f->run.from);
    for (int forget = FORGET_NOTHING; forget < FORGETS; forget++) {
        bool sync = forget != FORGET_NOTHING; /* The first one: durability process. */
        f->run.log = sync ? &with : &without;
        f->run.forget = sync ? (enum forget)forget : FORGET_JOURNAL_WRITES;
        f->run.progress->built = 0;
        if (check_all(&f->run, 0, f->run.states)) {
            fail_msg("without %s: all states were good", sync ? forget_names[forget] : "any sync");
        }
        print_message("without %s, state %llu: %.90s\n", sync ? forget_names[forget] : "any sync",
                      (unsigned long long)f->run.progress->built, f->run.progress->wrong);
    }
    disk_log_free(&with);
    disk_log_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_state_that_a_crash_may_leave_opens_with_all_that_was_acknowledged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_state_opens_where_nothing_goes_past_the_page_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_was_run_without_syncs_is_durable_from_its_next_opening_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_no_trap, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_of_the_version_before_is_taken_over_or_left_as_it_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_node_goes_on_from_every_state_to_the_same_output, setup, teardown),
        cmocka_unit_test_setup_teardown(every_sync_that_is_left_out_is_noticed, setup, teardown),
    };
    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
