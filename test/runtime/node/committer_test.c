/* committer_test.c - epochs are committed in order, on its thread or on the caller's; a failure on either stops it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#include "runtime/node/committer.h"

enum { EPOCHS = 300 };

/* A store that notes who commits. */
struct fixture {
    struct troupe__store store;
    uint64_t last, fails_at;
    pthread_t by; /* the last commit */
    struct troupe__committer *committer;
};

static enum troupe_error note_commit(struct troupe__store *store, uint64_t epoch, struct troupe_bytes record)
{
    struct fixture *f = (struct fixture *)store;
    assert(epoch == f->last + 1 && record.size == 0);
    f->by = pthread_self();
    if (epoch == f->fails_at) {
        snprintf(store->error, sizeof store->error, "the disk is gone");
        return TROUPE_EIO;
    }
    f->last = epoch;
    return TROUPE_OK;
}

static void wake_nobody(void *context)
{
    (void)context;
}

static void start(struct fixture *f, uint64_t fails_at)
{
    *f = (struct fixture){.store.commit = note_commit, .fails_at = fails_at};
    assert_int_equal(troupe__committer_start(&f->store, NULL, wake_nobody, NULL, &f->committer), TROUPE_OK);
}

static void commit(struct fixture *f, struct troupe__epoch *epoch, bool here)
{
    if (here) {
        troupe__committer_commit_here(f->committer, epoch);
    } else {
        troupe__committer_commit(f->committer, epoch);
        troupe__committer_wait(f->committer);
    }
}

/* In turns and in runs: each is durable when it is said to be, by the thread that was asked. */
static void epochs_are_committed_on_either_thread(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0);
    for (uint64_t number = 1; number <= EPOCHS; number++) {
        struct troupe__epoch epoch = {.number = number};
        struct troupe__committed committed;
        bool here = number % 2 || number % 7 > 3;
        commit(&f, &epoch, here);
        troupe__committer_poll(f.committer, &committed);
        assert_int_equal(committed.result, TROUPE_OK);
        assert_int_equal(committed.epoch, number);
        assert_int_equal(f.last, number);
        assert_false(committed.busy);
        assert_int_equal(pthread_equal(f.by, pthread_self()) != 0, here);
    }
    troupe__committer_stop(f.committer);
}

/* The epoch is not said to be durable, the store's text comes along, and nothing is committed any more. */
static void what_fails_on_either_thread_stops_it(void **state)
{
    (void)state;
    for (int here = 0; here < 2; here++) {
        struct fixture f;
        struct troupe__epoch first = {.number = 1}, second = {.number = 2}, third = {.number = 3};
        struct troupe__committed committed;
        start(&f, 2);
        commit(&f, &first, !here);
        commit(&f, &second, here);
        troupe__committer_poll(f.committer, &committed);
        assert_int_equal(committed.result, TROUPE_EIO);
        assert_string_equal(committed.error, "the disk is gone");
        assert_int_equal(committed.epoch, 1);
        if (here) {
            f.fails_at = 0;
            troupe__committer_commit_here(f.committer, &third);
            assert_int_equal(f.last, 1);
        }
        troupe__committer_wait(f.committer); /* Does not wait for ever. */
        troupe__committer_stop(f.committer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_are_committed_on_either_thread),
        cmocka_unit_test(what_fails_on_either_thread_stops_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
