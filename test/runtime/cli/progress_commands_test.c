/* progress_commands_test.c - commands that go through a snapshot say how far they are, on a terminal only.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They run in this process, whose monotonic clock makes a second of each time that somebody looks at it. */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/actor.h"
#include "core/pack.h"
#include "core/slots.h"
#include "runtime/cli/restore.h"
#include "runtime/cli/snapshot.h"
#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"
#include "state/lmdb_store.h"

enum { ROWS = 32768 }; /* A restoring says it each 4096 rows. */

static bool hurries;

/* Instead of the C library's. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
    static time_t more;
    int result = (int)syscall(SYS_clock_gettime, clock, ret);
    ret->tv_sec += hurries && clock == CLOCK_MONOTONIC ? ++more : 0;
    return result;
}

/* ---- a snapshot -------------------------------------------------------------------------------------------------- */

struct greeter {
    uint16_t slot;
    char name[16];
};

static int compare_greeters(const void *left, const void *right)
{
    const struct greeter *a = left, *b = right;
    return a->slot != b->slot ? (a->slot > b->slot) - (a->slot < b->slot) : strcmp(a->name, b->name);
}

/* Key of state: slot, type NUL key NUL value; its row: one number. */
static enum troupe_error scan_greeters(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                       troupe__row_fn row, void *context)
{
    static struct greeter greeters[ROWS];
    enum troupe_error result = TROUPE_OK;
    (void)source, (void)prefix;
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(greeters[i].name, sizeof greeters[i].name, "k%u", i);
        greeters[i].slot = troupe__slot_of("demo/greeter", greeters[i].name);
    }
    qsort(greeters, ROWS, sizeof *greeters, compare_greeters);
    for (unsigned i = 0; table == TROUPE__STATE && i < ROWS && result == TROUPE_OK; i++) {
        unsigned char key[64];
        troupe__put_be16(key, greeters[i].slot);
        int size = snprintf((char *)key + 2, sizeof key - 2, "demo/greeter%c%s%ccount", 0, greeters[i].name, 0);
        result = row(context, (struct troupe_bytes){key, 2 + (size_t)size}, (struct troupe_bytes){"\x07", 1});
    }
    return result;
}

struct fixture {
    char directory[64], snapshot[PATH_MAX];
};

static void make_snapshot(struct fixture *fixture)
{
    struct troupe__snapshot_part part;
    struct troupe__snapshot snapshot = {.name = "s", .taken_ms = 1, .parts = &part, .part_count = 1};
    char error[512], writing[PATH_MAX];
    int lock;
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/troupe-progress.XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->snapshot, sizeof fixture->snapshot, "%s/s", fixture->directory);
    snprintf(writing, sizeof writing, "%s/s.writing", fixture->directory);
    assert_int_equal(troupe__snapshot_begin(fixture->snapshot, &lock, error, sizeof error), TROUPE_OK);
    assert_int_equal(
        troupe__snapshot_write_part(writing, "node", 1, scan_greeters, NULL, "", &part, error, sizeof error),
        TROUPE_OK);
    assert_int_equal(troupe__snapshot_write_manifest(writing, &snapshot, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__snapshot_end(fixture->snapshot, lock, TROUPE_OK, error, sizeof error), TROUPE_OK);
}

static void make_stream(const struct fixture *fixture, const char *path)
{
    struct troupe__snapshot snapshot;
    char error[512];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(troupe__snapshot_read(fixture->snapshot, &snapshot, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__snapshot_send(fixture->snapshot, &snapshot, fd, NULL, NULL, error, sizeof error),
                     TROUPE_OK);
    troupe__snapshot_fini(&snapshot);
    close(fd);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(path);
}

static void remove_all(const char *directory)
{
    assert_int_equal(nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- a terminal -------------------------------------------------------------------------------------------------- */

typedef int (*command_fn)(int argc, char **argv);

/* Run the command with this as its standard error, and nothing that reads its standard output. */
static int run_on(int error, command_fn command, char **argv)
{
    int argc = 0, out = open("/dev/null", O_WRONLY | O_CLOEXEC), out_before = dup(STDOUT_FILENO),
        error_before = dup(STDERR_FILENO);
    while (argv[argc]) {
        argc++;
    }
    fflush(stdout);
    assert_true(out >= 0 && dup2(out, STDOUT_FILENO) >= 0 && dup2(error, STDERR_FILENO) >= 0);
    hurries = true;
    int code = command(argc, argv);
    hurries = false;
    fflush(stdout);
    fflush(stderr);
    dup2(out_before, STDOUT_FILENO);
    dup2(error_before, STDERR_FILENO);
    close(out_before);
    close(error_before);
    close(out);
    return code;
}

/* `says` is drawn, with a share of all rows, and in the end nothing is left of it. */
static void expect_progress(command_fn command, char **argv, const char *says)
{
    static const char clear[] = "\r\033[K";
    char text[65536], wanted[128];
    size_t size = 0;
    ssize_t got;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(end >= 0);
    int code = run_on(end, command, argv);
    while ((got = read(terminal, text + size, sizeof text - 1 - size)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    if (code != EXIT_SUCCESS) {
        fail_msg("it failed: %s", text);
    }
    close(end);
    close(terminal);
    snprintf(wanted, sizeof wanted, "%stroupe %s", clear, says);
    const char *at = strstr(text, wanted);
    if (!at) {
        fail_msg("'%s' is not drawn, but: '%s'", says, text);
    }
    assert_true(size >= strlen(clear) && strcmp(text + size - strlen(clear), clear) == 0);
}

/* ---- the tests --------------------------------------------------------------------------------------------------- */

/* A second is gone at each look, so the third draws; what stands at which row is not the matter. */
static void commands_over_a_whole_snapshot_say_how_far_they_are(void **state)
{
    (void)state;
    struct fixture fixture;
    char changes[PATH_MAX], fresh[PATH_MAX], data[PATH_MAX], module[PATH_MAX], stream[PATH_MAX], unused[512];
    const char *build = getenv("BUILD");
    make_snapshot(&fixture);
    snprintf(changes, sizeof changes, "%s/changes", fixture.directory);
    snprintf(fresh, sizeof fresh, "%s/fresh", fixture.directory);
    snprintf(data, sizeof data, "%s/data", fixture.directory);
    snprintf(stream, sizeof stream, "%s/stream", fixture.directory);
    snprintf(module, sizeof module, "%s/samples/greeter.so", build ? build : "build");
    FILE *file = fopen(changes, "w");
    assert_non_null(file);
    fputs("{\"do\":\"send\",\"to\":\"demo/greeter/a\",\"type\":\"hello\"}\n", file);
    fclose(file);

    char *verify[] = {"snapshot", "verify", fixture.snapshot, NULL};
    expect_progress(troupe__snapshot, verify, "snapshot verify: reading: ");
    char *show[] = {"snapshot", "show", fixture.snapshot, NULL};
    expect_progress(troupe__snapshot, show, "snapshot show: reading: ");
    char *export[] = {"snapshot", "export", fixture.snapshot, NULL};
    expect_progress(troupe__snapshot, export, "snapshot export: exporting: ");
    char *diff[] = {"snapshot", "diff", fixture.snapshot, fixture.snapshot, NULL};
    expect_progress(troupe__snapshot, diff, "snapshot diff: comparing: ");
    char *upgrade[] = {"snapshot", "check-upgrade", fixture.snapshot, module, NULL};
    expect_progress(troupe__snapshot, upgrade, "snapshot check-upgrade: checking: ");
    char *edit[] = {"snapshot", "edit", fixture.snapshot, fresh, "--changes", changes, NULL};
    expect_progress(troupe__snapshot, edit, "snapshot edit: reading: ");
    assert_int_equal(troupe__files_remove(fresh, unused, sizeof unused), TROUPE_OK);
    expect_progress(troupe__snapshot, edit, "snapshot edit: writing: ");
    char *restore[] = {"restore", fixture.snapshot, "--data", data, NULL};
    expect_progress(troupe__restore, restore, "restore: writing: ");
    char *create[] = {"snapshot", "create", "--data", data, NULL};
    expect_progress(troupe__snapshot, create, "snapshot create: writing: ");
    make_stream(&fixture, stream);
    char *verify_stream[] = {"snapshot", "verify", stream, NULL};
    expect_progress(troupe__snapshot, verify_stream, "snapshot: unpacking: ");
    char *of_directory[] = {"snapshot", "export", data, NULL};
    expect_progress(troupe__snapshot, of_directory, "snapshot export: reading: ");
    remove_all(fixture.directory);
}

/* A node that has kept some hundred epochs, of some colours. */
static void make_kept(const char *directory)
{
    struct troupe__lmdb_options options = {.keep_journal = true};
    struct troupe__store *store;
    char error[512];
    assert_int_equal(troupe__lmdb_store_open(directory, &options, &store, error, sizeof error), TROUPE_OK);
    assert_int_equal(store->replay(store, NULL, NULL), TROUPE_OK);
    for (uint64_t epoch = 1; epoch <= 600; epoch++) {
        struct troupe__buffer record = {0}, colour = {0};
        troupe__buffer_put_varint(&colour, 1000 + epoch / 100);
        troupe__buffer_put_varint(&colour, 1700000000000 + epoch / 100);
        troupe__record_set(&record, TROUPE__META, "colour", strlen("colour"), colour.data, colour.size);
        assert_int_equal(store->commit(store, epoch, (struct troupe_bytes){record.data, record.size}), TROUPE_OK);
        troupe__buffer_free(&record);
        troupe__buffer_free(&colour);
    }
    store->close(store);
}

static void ways_back_say_how_far_they_are(void **state)
{
    (void)state;
    char directory[] = "/tmp/troupe-progress.XXXXXX", data[64], fresh[64];
    assert_non_null(mkdtemp(directory));
    snprintf(data, sizeof data, "%s/data", directory);
    snprintf(fresh, sizeof fresh, "%s/fresh", directory);
    make_kept(data);
    char *cuts[] = {"snapshot", "cuts", "--data", data, NULL};
    expect_progress(troupe__snapshot, cuts, "snapshot cuts: reading: ");
    char *restore[] = {"restore", "--at", "2100-01-01T00:00:00Z", "--from", data, "--data", fresh, NULL};
    expect_progress(troupe__restore, restore, "restore: reading: ");
    remove_all(directory);
}

/* A file, a pipe: what is read by programs stays as it was. */
static void where_the_standard_error_is_no_terminal_nothing_is_drawn(void **state)
{
    (void)state;
    struct fixture fixture;
    char text[16];
    make_snapshot(&fixture);
    FILE *file = tmpfile();
    assert_non_null(file);
    char *verify[] = {"snapshot", "verify", fixture.snapshot, NULL};
    assert_int_equal(run_on(fileno(file), troupe__snapshot, verify), EXIT_SUCCESS);
    rewind(file);
    assert_int_equal(fread(text, 1, sizeof text, file), 0);
    fclose(file);
    remove_all(fixture.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_over_a_whole_snapshot_say_how_far_they_are),
        cmocka_unit_test(ways_back_say_how_far_they_are),
        cmocka_unit_test(where_the_standard_error_is_no_terminal_nothing_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
