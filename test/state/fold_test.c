/* fold_test.c - folding rests wherever it is while a photograph is taken, and loses nothing by it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "state/fold.h"

enum {
    EPOCHS = 200,
    ROWS = 300, /* of an epoch; mail, so all that is folded at once is written in one transaction */
    BYTES_MAX = 1 << 22,
    LEFT_MAX = 1 << 28, /* all of it is folded at once */
    CLOSING_MS = 60000,
    TRIES = 20,
};

struct fixture {
    char directory[64];
    struct troupe__lmdb_env tables;
    struct troupe__fold fold;
    char error[512];
};

static int put_nothing(MDB_txn *txn, MDB_dbi dbi)
{
    (void)txn, (void)dbi;
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->directory, sizeof f->directory, "/tmp/troupe-fold.XXXXXX");
    *state = f;
    if (!mkdtemp(f->directory) ||
        troupe__lmdb_env_open(f->directory, "tables.mdb", MDB_NOSYNC, (size_t)1 << 30, put_nothing, SIZE_MAX, NULL,
                              &f->tables, f->error, sizeof f->error) != TROUPE_OK) {
        return 1;
    }
    return troupe__fold_start(&f->fold, &f->tables, 0, BYTES_MAX, LEFT_MAX, 60000, CLOSING_MS) != TROUPE_OK;
}

static int teardown(void **state)
{
    static const char *const names[] = {"tables.mdb", "tables.mdb-lock"};
    struct fixture *f = *state;
    char path[128];
    mdb_env_close(f->tables.env);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", f->directory, names[i]);
        unlink(path);
    }
    int code = rmdir(f->directory);
    free(f);
    return code;
}

/* Messages that stay. */
static void push_epoch(struct fixture *f, uint64_t epoch)
{
    static const char body[100];
    struct troupe__buffer record = {0};
    for (uint64_t i = 0; i < ROWS; i++) {
        unsigned char number[8];
        troupe__put_be64(number, epoch * ROWS + i);
        troupe__record_set(&record, TROUPE__MAIL, number, sizeof number, body, sizeof body);
    }
    assert_int_equal(troupe__fold_reserve(&f->fold, record.size, f->error, sizeof f->error), TROUPE_OK);
    troupe__fold_push(&f->fold, epoch, epoch, (struct troupe_bytes){record.data, record.size});
    troupe__buffer_free(&record);
}

static double folder_seconds(const struct fixture *f)
{
    clockid_t clock;
    struct timespec used;
    assert_int_equal(pthread_getcpuclockid(f->fold.thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &used), 0);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Until the folder does nothing for a while: it has done all that it may. */
static void wait_until_it_rests(const struct fixture *f)
{
    double before = -1, now = folder_seconds(f);
    while (now > before) {
        before = now;
        sleep_ms(50);
        now = folder_seconds(f);
    }
}

static size_t count_rows(struct fixture *f)
{
    MDB_txn *txn;
    MDB_stat status;
    assert_int_equal(mdb_txn_begin(f->tables.env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_stat(txn, f->tables.dbi, &status), 0);
    mdb_txn_abort(txn);
    return status.ms_entries;
}

/* Each try comes to the folder at another place: while it gathers, sorts, writes or, seldom, commits. Only then it goes
 * on to the end of that. */
static void what_is_under_way_rests_while_a_photograph_is_taken(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 0;
    int caught = 0, rested = 0;
    for (int try = 0; try < TRIES; try++) {
        struct troupe__fold_held held;
        uint64_t last = epoch + EPOCHS;
        while (epoch < last) {
            push_epoch(f, ++epoch);
        }
        sleep_ms(2 + try % 8); /* All of it takes the folder some ten milliseconds, or more. */
        troupe__fold_hold(&f->fold, epoch);
        assert_int_equal(troupe__fold_wait_held(&f->fold, &held, f->error, sizeof f->error), TROUPE_OK);
        assert_int_equal(held.epoch, epoch);
        uint64_t transactions = atomic_load(&f->fold.transactions);
        bool under_way = atomic_load(&f->fold.folded) < epoch;
        wait_until_it_rests(f);
        assert_in_range(atomic_load(&f->fold.transactions), transactions, transactions + 1);
        caught += under_way;
        rested += under_way && atomic_load(&f->fold.folded) < epoch;
        free(held.rest);
        troupe__fold_release(&f->fold);
    }
    assert_true(rested >= caught * 2 / 3);
    troupe__fold_stop(&f->fold);
    assert_int_equal(atomic_load(&f->fold.folded), epoch);
    assert_int_equal(count_rows(f), epoch * ROWS + 1); /* and the mark */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_under_way_rests_while_a_photograph_is_taken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
