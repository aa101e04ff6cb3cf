/* doctor_test.c - `troupe doctor` on directories that are damaged in every way that the tests of the store know.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It ends, by itself, with an exit code and a text, and a node agrees with it.
 *
 * TROUPE_SEED sets the seed, TROUPE_DAMAGES how many places are damaged (150); a failure prints which, and
 * TROUPE_DAMAGE=number does that one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/store.h"
#include "core/troupe.h"
#include "runtime/cli/look.h"
#include "state/lmdb_store.h"

enum { DAMAGES = 150, PAGE = 4096, FILES = 2, HANG_S = 60, GOOD = 0, DAMAGED = 1, UNSURE = 3 };
static const char *const names[FILES] = {"journal.log", "tables.mdb"};

/* ---- a node that has rows of every kind -------------------------------------------------------------------------- */

static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT},
                                 text_value = {.name = "text", .kind = TROUPE_STRING},
                                 map_value = {.name = "map", .kind = TROUPE_MAP},
                                 list_value = {.name = "list", .kind = TROUPE_LIST},
                                 brief_value = {.name = "brief", .kind = TROUPE_INT, .ttl_ms = 3600000};
static const struct troupe_value *const values[] = {&count_value, &text_value,  &map_value,
                                                    &list_value,  &brief_value, NULL};

static enum troupe_error fail_later(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)input;
    return troupe_job_fail(job, TROUPE_EFAILED, "later");
}

static const struct troupe_job_type fail_job = {.name = "fail", .run = fail_later, .retry = {9, 3600000, 3600000}};
static const struct troupe_job_type *const jobs[] = {&fail_job, NULL};

static enum troupe_error work(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes right, none = {NULL, 0};
    enum troupe_error result = troupe_set_int(ctx, &count_value, 7);
    for (uint64_t i = 0; i < 100 && result == TROUPE_OK; i++) {
        result = troupe_map_set(ctx, &map_value, (struct troupe_bytes){&i, sizeof i}, troupe_string("element"));
        result = result == TROUPE_OK ? troupe_list_push_back(ctx, &list_value, troupe_string("element")) : result;
    }
    if (result != TROUPE_OK || (result = troupe_clear(ctx, &map_value)) != TROUPE_OK ||
        (result = troupe_map_set(ctx, &map_value, troupe_string("k"), troupe_string("v"))) != TROUPE_OK ||
        (result = troupe_set_bytes(ctx, &text_value, troupe_string("text"))) != TROUPE_OK ||
        (result = troupe_set_int(ctx, &brief_value, 1)) != TROUPE_OK ||
        (result = troupe_send_after(ctx, 3600000, troupe_self(ctx), "later", none, NULL)) != TROUPE_OK ||
        (result = troupe_send(ctx, troupe_to("test/stuck", "s"), "stuck", none)) != TROUPE_OK ||
        (result = troupe_send(ctx, troupe_to("test/none", "n"), "lost", none)) != TROUPE_OK ||
        (result = troupe_job(ctx, &fail_job, none, "done", NULL)) != TROUPE_OK ||
        (result = troupe_emit(ctx, "out", "k", none)) != TROUPE_OK) {
        return result;
    }
    return message->correlation % 2 ? troupe_reply_later(ctx, &right) : troupe_reply(ctx, "worked", none);
}

static enum troupe_error stuck(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)message;
    return troupe_fail(ctx, TROUPE_EFAILED, "later");
}

static enum troupe_error ping(struct troupe_context *ctx, const struct troupe_message *message)
{
    return troupe_emit(ctx, "pong", "k", message->body);
}

static const struct troupe_type types[] = {
    {.name = "test/work", .handler = work, .values = values, .jobs = jobs},
    {.name = "test/stuck", .handler = stuck, .retry = {9, 3600000, 3600000}},
    {.name = "test/ping", .handler = ping},
};
static const struct troupe_module module = {TROUPE_ABI, "doctor", "1", types, 3};

struct play {
    struct troupe_node *node;
    bool answered, kill;
};

static void on_record(void *context, const struct troupe_record *record)
{
    struct play *play = context;
    if (strcmp(record->egress, "pong") == 0) {
        play->answered = true;
        if (play->kill) {
            raise(SIGKILL);
        }
        troupe_node_stop(play->node);
    }
}

static void on_worked(void *context, const struct troupe_answer *answer)
{
    (void)context;
    (void)answer;
}

/* Input that lets two actors work and another one answer; its name is one that no node has read yet. */
static void write_input(const char *directory, bool work, char path[static 256])
{
    snprintf(path, 256, "%s.in.%d", directory, (int)getpid());
    FILE *file = fopen(path, "w");
    if (file && work) {
        fputs("{\"to\":\"test/work/a\",\"type\":\"work\"}\n{\"to\":\"test/work/b\",\"type\":\"work\"}\n", file);
    }
    if (file) {
        fputs("{\"to\":\"test/ping/p\",\"type\":\"ping\"}\n", file);
        fclose(file);
    }
}

/* Open a node, let it work, if `work`, and answer. The exit code is 0, or 1 when it does not open or fails, with its
 * text in `said`. */
static int run_node(const char *directory, bool work, bool kill, FILE *said)
{
    struct play play = {.kill = kill};
    char error[600], input[256];
    write_input(directory, work, input);
    const struct troupe_node_options options = {.module = &module,
                                                .data = directory,
                                                .durability = TROUPE_PROCESS,
                                                .input = input,
                                                .on_record = on_record,
                                                .record_context = &play};
    enum troupe_error result = troupe_node_open(&options, &play.node, error, sizeof error);
    if (result != TROUPE_OK) {
        fprintf(said, "%s\n", error);
        unlink(input);
        return 1;
    }
    for (int i = 0; i < 2 && work; i++) { /* Refused when there is a backlog. */
        (void)troupe_node_ask(play.node, i ? "one" : "two", troupe_to("test/work", i ? "b" : "a"), "work",
                              (struct troupe_bytes){NULL, 0}, 30000, on_worked, NULL);
    }
    result = troupe_node_run(play.node);
    fprintf(said, "%s\n", troupe_node_error(play.node));
    enum troupe_error closed = troupe_node_close(play.node);
    unlink(input);
    return closed == TROUPE_OK && result == TROUPE_OK && play.answered ? 0 : 1;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

struct ended {
    int code; /* -1: by a signal */
    int signal;
    char said[4000]; /* the beginning of what it printed */
};

static int be_doctor(const char *directory, bool work, bool kill, FILE *said)
{
    (void)work;
    (void)kill;
    char name[] = "doctor", path[300];
    snprintf(path, sizeof path, "%s", directory);
    char *arguments[] = {name, path, NULL};
    dup2(fileno(said), STDOUT_FILENO);
    dup2(fileno(said), STDERR_FILENO);
    return troupe__doctor(2, arguments);
}

typedef int (*role_fn)(const char *directory, bool work, bool kill, FILE *said);

/* Play a role in a child, which may end by a signal, and does after HANG_S. */
static void in_a_child(role_fn role, const char *directory, bool work, bool kill, struct ended *ret)
{
    FILE *said = tmpfile();
    assert_non_null(said);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
            signal(signals[i], SIG_DFL); /* Not cmocka's. */
        }
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        alarm(HANG_S);
        int code = role(directory, work, kill, said);
        fflush(NULL);
        _exit(code);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    ret->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    rewind(said);
    ret->said[fread(ret->said, 1, sizeof ret->said - 1, said)] = '\0';
    fclose(said);
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

struct image {
    unsigned char *bytes;
    size_t size;
};

/* Both files at one time. */
struct copy {
    struct image images[FILES];
};

struct fixture {
    char root[64], directory[96];
    struct copy closed, killed, later, other; /* of one store in this order; of another one */
    uint64_t seed;
    size_t good, found;
};

static void path_of(const struct fixture *f, const char *name, char path[static 256])
{
    snprintf(path, 256, "%s/%s", f->directory, name);
}

static struct copy take(const struct fixture *f)
{
    struct copy copy;
    for (size_t i = 0; i < FILES; i++) {
        char path[256];
        struct stat status;
        path_of(f, names[i], path);
        int file = open(path, O_RDONLY);
        assert_true(file >= 0 && fstat(file, &status) == 0);
        copy.images[i] = (struct image){malloc((size_t)status.st_size), (size_t)status.st_size};
        assert_int_equal(read(file, copy.images[i].bytes, copy.images[i].size), status.st_size);
        close(file);
    }
    return copy;
}

static void empty(const struct fixture *f)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", f->directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(mkdir(f->directory, 0700), 0);
}

static void put(const struct fixture *f, const char *name, const void *bytes, size_t size)
{
    char path[256];
    path_of(f, name, path);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, size), size);
    close(file);
}

/* Fill the directory: the journal of one copy, the tables of another. NULL: no such file. */
static void lay_out(const struct fixture *f, const struct copy *journal, const struct copy *tables)
{
    empty(f);
    if (journal) {
        put(f, names[0], journal->images[0].bytes, journal->images[0].size);
    }
    if (tables) {
        put(f, names[1], tables->images[1].bytes, tables->images[1].size);
    }
}

static void work_on(const struct fixture *f, bool kill)
{
    struct ended ended;
    in_a_child(run_node, f->directory, true, kill, &ended);
    if (kill ? ended.signal != SIGKILL : ended.code != 0) {
        fail_msg("status %d, signal %d: %s", ended.code, ended.signal, ended.said);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *seed = getenv("TROUPE_SEED");
    f->seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    snprintf(f->root, sizeof f->root, "/tmp/troupe-doctor.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->directory, sizeof f->directory, "%s/data", f->root);
    empty(f);
    work_on(f, false);
    f->other = take(f);
    empty(f);
    work_on(f, false);
    f->closed = take(f);
    work_on(f, true);
    f->killed = take(f);
    work_on(f, false);
    f->later = take(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", f->root);
    assert_int_equal(system(command), 0);
    const struct copy *copies[] = {&f->closed, &f->killed, &f->later, &f->other};
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        free(copies[i]->images[0].bytes);
        free(copies[i]->images[1].bytes);
    }
    free(f);
    return 0;
}

/* ---- the claim --------------------------------------------------------------------------------------------------- */

/* The doctor's verdict on what lies in the directory. It ends by itself, says why it is not content, changes nothing
 * that matters; a node starts, and answers, where it finds nothing, and what a node refuses it finds too. */
static int examine(struct fixture *f, const char *what)
{
    struct ended doctor, node;
    in_a_child(be_doctor, f->directory, false, false, &doctor);
    in_a_child(run_node, f->directory, false, false, &node);
    bool verdict = doctor.code == GOOD || doctor.code == DAMAGED || doctor.code == UNSURE;
    bool told = doctor.code == GOOD || strlen(doctor.said) > 20;
    bool agrees = doctor.code != GOOD || node.code == 0;
    bool node_ended = node.code >= 0 && (node.code == 0 || strlen(node.said) > 10);
    if (!verdict || !told || !agrees || !node_ended) {
        fail_msg("TROUPE_SEED=%llu: %s: doctor: status %d, signal %d: %s\nnode: status %d, signal %d: %s",
                 (unsigned long long)f->seed, what, doctor.code, doctor.signal, doctor.said, node.code, node.signal,
                 node.said);
    }
    f->good += doctor.code == GOOD;
    f->found += doctor.code != GOOD;
    return doctor.code;
}

static uint64_t draw(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15;
    return troupe__hash(random, sizeof *random);
}

/* Damage one file; the other stays. */
static void damage(const struct fixture *f, const struct copy *copy, uint64_t *random, char what[static 128])
{
    size_t hit = draw(random) % FILES, size = copy->images[hit].size, pages = size / PAGE;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, copy->images[hit].bytes, size);
    size_t at = draw(random) % 2 ? draw(random) % pages * PAGE + draw(random) % 64 : draw(random) % size;
    switch (draw(random) % 5) {
    case 0:
        bytes[at] ^= (unsigned char)(1 << draw(random) % 8);
        snprintf(what, 128, "%s: a bit flipped at %zu", names[hit], at);
        break;
    case 1:
        at = at / 512 * 512;
        memset(bytes + at, 0, 512);
        snprintf(what, 128, "%s: sector at %zu zeroed", names[hit], at);
        break;
    case 2:
        at = at / PAGE * PAGE;
        for (size_t i = 0; i < PAGE; i++) {
            bytes[at + i] = (unsigned char)draw(random);
        }
        snprintf(what, 128, "%s: page at %zu overwritten with noise", names[hit], at);
        break;
    case 3: {
        size_t from = draw(random) % pages * PAGE;
        at = at / PAGE * PAGE;
        memmove(bytes + at, bytes + from, PAGE);
        snprintf(what, 128, "%s: page at %zu overwritten with that at %zu", names[hit], at, from);
        break;
    }
    default:
        size = draw(random) % 2 ? at : at / PAGE * PAGE;
        snprintf(what, 128, "%s: cut off at %zu", names[hit], size);
        break;
    }
    lay_out(f, copy, copy);
    put(f, names[hit], bytes, size);
    free(bytes);
}

static void a_damaged_file_is_found_or_the_node_starts(void **state)
{
    struct fixture *f = *state;
    const char *only = getenv("TROUPE_DAMAGE"), *count = getenv("TROUPE_DAMAGES");
    uint64_t from = only ? strtoull(only, NULL, 10) : 0;
    uint64_t to = only ? from + 1 : count ? strtoull(count, NULL, 10) : DAMAGES;
    for (uint64_t number = from; number < to; number++) {
        uint64_t random = f->seed + number * 1000003;
        char what[128], numbered[200];
        damage(f, number % 2 ? &f->killed : &f->closed, &random, what);
        snprintf(numbered, sizeof numbered, "TROUPE_DAMAGE=%llu, %s", (unsigned long long)number, what);
        examine(f, numbered);
    }
    print_message("%zu damages found, %zu harmless\n", f->found, f->good);
    assert_true(only || f->found > to / 4);
}

static void files_that_are_sound_and_belong_together_are_good(void **state)
{
    struct fixture *f = *state;
    const struct copy *copies[] = {&f->closed, &f->killed, &f->later, &f->other};
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        lay_out(f, copies[i], copies[i]);
        assert_int_equal(examine(f, "sound"), GOOD);
    }
}

static void files_that_do_not_belong_together_are_found_or_caught_up(void **state)
{
    struct fixture *f = *state;
    static const char nothing[] = "";
    lay_out(f, &f->closed, &f->later);
    assert_int_equal(examine(f, "tables ahead of the journal"), DAMAGED);
    lay_out(f, &f->later, &f->closed);
    (void)examine(f, "older tables");
    lay_out(f, &f->other, &f->closed);
    assert_int_equal(examine(f, "another's journal"), DAMAGED);
    lay_out(f, NULL, &f->closed);
    assert_int_equal(examine(f, "no journal"), DAMAGED);
    lay_out(f, &f->later, NULL);
    assert_int_not_equal(examine(f, "no tables"), GOOD);
    lay_out(f, &f->closed, &f->closed);
    put(f, names[0], nothing, 0);
    assert_int_equal(examine(f, "an empty journal"), DAMAGED);
    lay_out(f, &f->closed, &f->closed);
    put(f, names[1], nothing, 0);
    assert_int_equal(examine(f, "empty tables"), DAMAGED);
    empty(f);
    assert_int_equal(examine(f, "an empty directory"), UNSURE);
}

/* Lock files are made anew; what stands in them does not matter. */
static void lock_files_may_be_missing_or_filled_with_anything(void **state)
{
    struct fixture *f = *state;
    static const char *const locks[] = {"lock", "tables.mdb-lock"};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        lay_out(f, &f->killed, &f->killed);
        put(f, locks[i], "something else", 14);
        assert_int_equal(examine(f, locks[i]), GOOD);
    }
}

static enum troupe_error ignore_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    (void)context;
    (void)epoch;
    (void)record;
    return TROUPE_OK;
}

/* Commit `record` to the store in the directory. */
static void commit(const struct fixture *f, const struct troupe__buffer *record)
{
    static const struct troupe__lmdb_options options = {.sync = false};
    struct troupe__store *store;
    char error[600];
    if (troupe__lmdb_store_open(f->directory, &options, &store, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    assert_int_equal(store->replay(store, ignore_record, NULL), TROUPE_OK);
    assert_int_equal(store->commit(store, store->last_epoch + 1, (struct troupe_bytes){record->data, record->size}),
                     TROUPE_OK);
    store->close(store);
}

/* Rows that no node wrote: doctor finds each, whether a node refuses it at its start or later. */
static void rows_that_no_node_wrote_are_found(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum troupe__table table;
        const char *key, *value;
        size_t key_size, value_size;
    } rows[] = {
        {TROUPE__MAIL, "\0\0\0\0\0\x0f\0\0", "x", 8, 1},
        {TROUPE__MAIL, "\0\0\0\0\0\x0f\0\0", "\0\x09test/work\1a\1x\0\0\0", 8, 18},
        {TROUPE__MAIL, "short", "x", 5, 1},
        {TROUPE__TIMER, "\0\0\0\0\0\x0f\0\0", "x", 8, 1},
        {TROUPE__TIMER, "\0\0\0\0\0\0\0\0", "", 8, 0},
        {TROUPE__DEAD, "\0\0\0\0\0\0\0\1", "x", 8, 1},
        {TROUPE__EGRESS, "\0\0\0\0\0\x0f\0\0", "x", 8, 1},
        {TROUPE__JOB, "\0\0\0\0\0\x0f\0\0", "x", 8, 1},
        {TROUPE__RESPONSE, "short", "x", 5, 1},
        {TROUPE__OUTBOX, "short", "x", 5, 1},
        {TROUPE__STATE, "x", "x", 1, 1},
        {TROUPE__SWEEP, "x", "x", 1, 1},
        {TROUPE__META, "counters", "", 8, 0},
        {TROUPE__META, "egress/out", "\xff", 10, 1},
        {TROUPE__META, "colour", "", 6, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct troupe__buffer record = {0};
        char what[64];
        troupe__record_set(&record, rows[i].table, rows[i].key, rows[i].key_size, rows[i].value, rows[i].value_size);
        lay_out(f, &f->closed, &f->closed);
        commit(f, &record);
        snprintf(what, sizeof what, "row %zu, of table %d", i, (int)rows[i].table);
        if (examine(f, what) != DAMAGED) {
            fail_msg("%s was not found", what);
        }
        troupe__buffer_free(&record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_sound_and_belong_together_are_good),
        cmocka_unit_test(a_damaged_file_is_found_or_the_node_starts),
        cmocka_unit_test(files_that_do_not_belong_together_are_found_or_caught_up),
        cmocka_unit_test(lock_files_may_be_missing_or_filled_with_anything),
        cmocka_unit_test(rows_that_no_node_wrote_are_found),
    };
    return cmocka_run_group_tests_name("doctor", tests, setup, teardown);
}
