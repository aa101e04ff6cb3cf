/* failing_disk_test.c - a sync or a write fails, whichever: store and node stop at their last epoch, and go on later.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/lmdb_store.h"
#include "test/crash/counter.h"
#include "test/crash/disk.h"
#include "test/crash/model.h"

struct way {
    enum disk_fault fault;
    int error; /* 0: a short write */
    bool done; /* the bytes are written all the same */
    const char *text;
    bool plain; /* nothing goes past the page cache */
};

/* Commits are durable writes, past the page cache; or, where those are not to be had, writes and syncs. */
static const struct way ways[] = {
    {DISK_FAIL_SYNC, EIO, false, "sync, EIO"},
    {DISK_FAIL_SYNC, ENOSPC, false, "sync, ENOSPC"},
    {DISK_FAIL_WRITE, EIO, false, "write, EIO"},
    {DISK_FAIL_WRITE, ENOSPC, false, "write, ENOSPC"},
    {DISK_FAIL_WRITE, 0, false, "short write"},
    {DISK_FAIL_META, EIO, false, "durable write, EIO"},
    {DISK_FAIL_META, EIO, true, "durable write, EIO, written all the same"},
    {DISK_FAIL_META, ENOSPC, true, "durable write, ENOSPC, written all the same"},
    {DISK_FAIL_META, 0, false, "durable write, short"},
    {DISK_FAIL_SYNC, EIO, false, "sync, EIO, all through the page cache", true},
    {DISK_FAIL_WRITE, ENOSPC, false, "write, ENOSPC, all through the page cache", true},
    {DISK_FAIL_WRITE, 0, false, "short write, all through the page cache", true},
};

struct fixture {
    char base[64], directory[96], input[96], output[128];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->base, sizeof f->base, "%s/troupe-failing-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->directory, sizeof f->directory, "%s/data", f->base);
    snprintf(f->input, sizeof f->input, "%s/in.jsonl", f->base);
    snprintf(f->output, sizeof f->output, "%s/out.jsonl", f->directory);
    *state = f;
    return 0;
}

static void clear(const struct fixture *f)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->directory);
    assert_int_equal(system(command), 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    clear(f);
    unlink(f->input);
    rmdir(f->base);
    free(f);
    return 0;
}

/* ---- a store ----------------------------------------------------------------------------------------------------- */

enum { EPOCHS = 25 };

/* Open the store and commit up to EPOCHS, until something fails. Returns what did, its text in `error`; the last epoch
 * that was acknowledged, and the one that failed (0: none was tried). */
static enum troupe_error work(const struct fixture *f, const struct model *model, uint64_t *ret_last,
                              uint64_t *ret_failed, char *error, size_t error_size)
{
    struct troupe__lmdb_options options = {
        .sync = true, .map_size = 1 << 26, .fold_bytes = 4000, .fold_interval_ms = 1, .extent_size = 1 << 15};
    struct troupe__store *store;
    *ret_failed = 0;
    enum troupe_error result = troupe__lmdb_store_open(f->directory, &options, &store, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if ((result = store->replay(store, NULL, NULL)) != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->error);
    }
    *ret_last = store->last_epoch;
    while (result == TROUPE_OK && *ret_last < EPOCHS) {
        if ((result = model_commit(model, store, *ret_last + 1, 1)) == TROUPE_OK) {
            ++*ret_last;
            continue;
        }
        *ret_failed = *ret_last + 1;
        snprintf(error, error_size, "%s", store->error);
        if (result == TROUPE_EIO) { /* Final, even if the disk is well again. */
            assert_int_equal(model_commit(model, store, *ret_last + 1, 1), TROUPE_EIO);
        }
    }
    store->close(store);
    return result;
}

static void reopen_and_compare(const struct fixture *f, const struct model *model, uint64_t last, uint64_t failed,
                               const char *text)
{
    struct troupe__lmdb_options options = {.sync = true, .map_size = 1 << 26};
    struct troupe__store *store;
    char error[600];
    bool nothing = strstr(text, "nothing of it is on disk") || strstr(text, "nothing of the epoch is on disk");
    assert_true(failed == 0 || nothing || strstr(text, "whether it is on disk is not known"));
    if (troupe__lmdb_store_open(f->directory, &options, &store, error, sizeof error) != TROUPE_OK ||
        model_check(model, store, last, nothing || failed == 0 ? last : failed, error, sizeof error) != TROUPE_OK) {
        fail_msg("after '%s': %s", text, error);
    }
    assert_int_equal(model_commit(model, store, store->last_epoch + 1, 1), TROUPE_OK);
    store->close(store);
}

/* Whatever fails, in the journal or in the tables: the error is one of input and output or of space and names the
 * place; what was acknowledged is there when the store is opened again, and what the text says of the failed epoch is
 * true. */
static void a_store_stops_at_its_last_epoch_whichever_call_fails(void **state)
{
    struct fixture *f = *state;
    struct model *model = model_new(3);
    int64_t all_stops = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int64_t calls = 0, stops = 0;
        for (bool failed = true; failed; calls++) {
            char error[600] = "";
            uint64_t last = 0, failed_epoch = 0;
            disk_refuse_direct(ways[i].plain);
            disk_watch(f->directory);
            disk_fail(ways[i].fault, NULL, calls, ways[i].error, ways[i].done);
            enum troupe_error result = work(f, model, &last, &failed_epoch, error, sizeof error);
            failed = disk_failed();
            struct disk_log log = disk_unwatch();
            disk_log_free(&log);
            if (result != TROUPE_OK) {
                stops++;
                assert_true(failed);
                assert_true(result == TROUPE_EIO || result == TROUPE_ENOSPACE);
                assert_true(result != TROUPE_ENOSPACE || ways[i].error != EIO);
                assert_true(strstr(error, f->directory) || strstr(error, "tables.mdb"));
            }
            reopen_and_compare(f, model, last, failed_epoch, error);
            clear(f);
        }
        print_message("%s: %lld calls failed in turn, %lld stopped the store\n", ways[i].text, (long long)calls - 1,
                      (long long)stops);
        all_stops += stops;
        assert_true(calls > 5 && stops > 0); /* The journal goes on with the rest of a write that was cut short. */
    }
    assert_true(all_stops > 4 * EPOCHS);
    free(model);
}

/* ---- a node ------------------------------------------------------------------------------------------------------ */

/* Whichever call fails, of the store or of the output file: the node ends with an error and a text, and another run
 * ends with the output of one that never failed. */
static void a_node_ends_with_a_text_and_goes_on_later_whichever_call_fails(void **state)
{
    struct fixture *f = *state;
    counter_input(f->input);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int64_t calls = 0, ends = 0;
        for (bool failed = true; failed; calls++) {
            char error[600] = "", wrong[600];
            disk_refuse_direct(ways[i].plain);
            disk_watch(f->directory);
            disk_fail(ways[i].fault, NULL, calls, ways[i].error, ways[i].done);
            enum troupe_error result = counter_run(f->directory, f->input, f->output, error, sizeof error);
            failed = disk_failed();
            struct disk_log log = disk_unwatch();
            disk_log_free(&log);
            if (result != TROUPE_OK) {
                ends++;
                assert_true(failed && error[0]);
                assert_true(result == TROUPE_EIO || result == TROUPE_ENOSPACE);
                if (!counter_check_release(f->directory, f->output, wrong, sizeof wrong)) {
                    fail_msg("after '%s': %s", error, wrong);
                }
                char again[600] = "";
                if (counter_run(f->directory, f->input, f->output, again, sizeof again) != TROUPE_OK) {
                    fail_msg("after '%s': %s", error, again);
                }
            }
            if (!counter_check(f->output, wrong, sizeof wrong)) {
                fail_msg("after '%s': %s", error, wrong);
            }
            clear(f);
        }
        print_message("%s: %lld calls failed in turn, %lld ended the node\n", ways[i].text, (long long)calls - 1,
                      (long long)ends);
        assert_true(calls > 3 && ends > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_stops_at_its_last_epoch_whichever_call_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_ends_with_a_text_and_goes_on_later_whichever_call_fails, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("failing disk", tests, NULL, NULL);
}
