/* photo_test.c - a photograph of a store shows one epoch and nothing of any other, while the store goes on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "state/lmdb_store.h"
#include "state/memory_store.h"

enum { KEYS = 100 };

struct fixture {
    char directory[64];
    struct troupe__memory_disk *memory;
    struct troupe__store *store;
    uint64_t epoch; /* committed last */
    char error[512];
};

static int setup_with(void **state, bool disk, size_t fold_bytes)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct troupe__lmdb_options options = {
        .sync = false, .map_size = 1 << 28, .fold_interval_ms = 20, .fold_bytes = fold_bytes};
    strcpy(f->directory, "/tmp/troupe_photo_test_XXXXXX");
    f->memory = troupe__memory_disk_new();
    if (!mkdtemp(f->directory) ||
        (disk ? troupe__lmdb_store_open(f->directory, &options, &f->store, f->error, sizeof f->error)
              : troupe__memory_store_open(f->memory, &f->store, f->error, sizeof f->error)) != TROUPE_OK) {
        return 1;
    }
    *state = f;
    return f->store->replay(f->store, NULL, NULL) != TROUPE_OK;
}

static int setup_disk(void **state)
{
    return setup_with(state, true, 0);
}

static int setup_memory(void **state)
{
    return setup_with(state, false, 0);
}

static int setup_small(void **state)
{
    return setup_with(state, true, 4096);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->store->close(f->store);
    nftw(f->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    troupe__memory_disk_free(f->memory);
    free(f);
    return 0;
}

/* Commit the next epoch: all keys get its number, and one row of mail takes the place of the one before. */
static void commit_next(struct fixture *f)
{
    struct troupe__buffer record = {0};
    unsigned char number[8], before[8];
    troupe__put_be64(before, f->epoch);
    troupe__put_be64(number, ++f->epoch);
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        int size = snprintf(key, sizeof key, "key%d", i);
        troupe__record_set(&record, TROUPE__STATE, key, (size_t)size, number, sizeof number);
    }
    troupe__record_remove(&record, TROUPE__MAIL, before, sizeof before);
    troupe__record_set(&record, TROUPE__MAIL, number, sizeof number, "m", 1);
    if (f->store->commit(f->store, f->epoch, (struct troupe_bytes){record.data, record.size}) != TROUPE_OK) {
        abort(); /* Perhaps not the test's thread. */
    }
    troupe__buffer_free(&record);
}

struct look {
    uint64_t epoch, state_rows, mail_rows;
};

static enum troupe_error look_at_state(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct look *look = context;
    (void)key;
    assert_int_equal(value.size, 8);
    assert_int_equal(troupe__get_be64(value.data), look->epoch);
    look->state_rows++;
    return TROUPE_OK;
}

static enum troupe_error look_at_mail(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct look *look = context;
    (void)value;
    assert_int_equal(troupe__get_be64(key.data), look->epoch);
    look->mail_rows++;
    return TROUPE_OK;
}

/* All rows of the photo are of `epoch`. */
static void check_photo(struct troupe__photo *photo, uint64_t epoch)
{
    struct look look = {.epoch = epoch};
    assert_int_equal(photo->epoch, epoch);
    assert_int_equal(photo->scan(photo, TROUPE__STATE, (struct troupe_bytes){"", 0}, look_at_state, &look), TROUPE_OK);
    assert_int_equal(photo->scan(photo, TROUPE__MAIL, (struct troupe_bytes){"", 0}, look_at_mail, &look), TROUPE_OK);
    assert_int_equal(look.state_rows, KEYS);
    assert_int_equal(look.mail_rows, 1);
}

static struct troupe__photo *ask(struct fixture *f, uint64_t epoch)
{
    struct troupe__photo *photo;
    assert_int_equal(f->store->photograph(f->store, epoch, &photo), TROUPE_OK);
    return photo;
}

/* Wait until the tables hold everything: folding goes on by itself. */
static void wait_folded(struct fixture *f)
{
    while (f->store->refresh(f->store) < f->epoch) {
    }
}

static void a_photo_shows_the_epoch_that_was_asked_for(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        commit_next(f);
    }
    struct troupe__photo *photo = ask(f, f->epoch + 1), *another;
    assert_int_equal(f->store->photograph(f->store, f->epoch + 2, &another), TROUPE_EBUSY);
    for (int i = 0; i < 20; i++) {
        commit_next(f);
    }
    assert_int_equal(photo->wait(photo), TROUPE_OK);
    check_photo(photo, 21);
    for (int i = 0; i < 20; i++) {
        commit_next(f);
    }
    check_photo(photo, 21);
    photo->close(photo);
    wait_folded(f);
    struct troupe_bytes value, key = {"key0", 4};
    assert_int_equal(f->store->read(f->store, TROUPE__STATE, key, &value), TROUPE_OK);
    assert_int_equal(troupe__get_be64(value.data), 60);
}

/* Of what is durable already, folded or not: some epoch from there on, whole. */
static void a_photo_of_now_needs_no_further_commit(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        commit_next(f);
        struct troupe__photo *photo = ask(f, f->epoch);
        assert_int_equal(photo->wait(photo), TROUPE_OK);
        check_photo(photo, f->epoch);
        photo->close(photo);
    }
    wait_folded(f);
    struct troupe__photo *photo = ask(f, 3);
    assert_int_equal(photo->wait(photo), TROUPE_OK);
    check_photo(photo, f->epoch);
    photo->close(photo);
}

/* Folding goes on before it is closed; who cancels it late, as a node that ends, does no harm. */
static void a_photo_that_is_released_keeps_nothing_up(void **state)
{
    struct fixture *f = *state;
    commit_next(f);
    struct troupe__photo *photo = ask(f, f->epoch), *another;
    assert_int_equal(photo->wait(photo), TROUPE_OK);
    check_photo(photo, 1);
    for (int i = 0; i < 5; i++) {
        commit_next(f);
    }
    photo->release(photo);
    wait_folded(f);
    photo->cancel(photo);
    photo->release(photo);
    assert_int_equal(f->store->photograph(f->store, f->epoch, &another), TROUPE_EBUSY);
    photo->close(photo);
    photo = ask(f, f->epoch + 1);
    commit_next(f);
    assert_int_equal(photo->wait(photo), TROUPE_OK);
    check_photo(photo, 7);
    photo->close(photo);
}

/* One that nobody waits for any more keeps nothing up. */
static void a_photo_may_be_given_up(void **state)
{
    struct fixture *f = *state;
    commit_next(f);
    struct troupe__photo *photo = ask(f, f->epoch + 5);
    commit_next(f);
    photo->close(photo);
    for (int i = 0; i < 10; i++) {
        commit_next(f);
    }
    wait_folded(f);
}

/* Who waits for it comes late: what is committed until then is more than may wait to be folded, and is folded all the
 * same, but not into the photo. */
static void a_photo_is_exact_however_late_it_is_begun(void **state)
{
    struct fixture *f = *state;
    for (int turn = 0; turn < 5; turn++) {
        uint64_t epoch = f->epoch + 1;
        wait_folded(f);
        struct troupe__photo *photo = ask(f, epoch);
        for (int i = 0; i < 92; i++) { /* 150 kB: more than folding waits for, fewer than commits wait for. */
            commit_next(f);
        }
        for (int i = 0; i < turn * 20000; i++) { /* The folder may have come far. */
            f->store->refresh(f->store);
        }
        assert_int_equal(photo->wait(photo), TROUPE_OK);
        for (int i = 0; i < 200; i++) { /* Much more than may wait. */
            commit_next(f);
        }
        check_photo(photo, epoch);
        photo->close(photo);
    }
    wait_folded(f);
}

/* Who commits is told before that a commit would wait for folding, and not when it would not. */
static void a_commit_that_would_wait_for_folding_says_so(void **state)
{
    struct fixture *f = *state;
    bool waits = false;
    assert_false(f->store->commit_waits(f->store));
    for (int i = 0; i < 100000 && !waits; i++) {
        commit_next(f);
        waits = f->store->commit_waits(f->store);
    }
    assert_true(waits);
    wait_folded(f);
    assert_false(f->store->commit_waits(f->store));
}

struct photographer {
    struct fixture *f;
    struct troupe__photo *photo;
    uint64_t epoch;
    bool good;
};

static enum troupe_error compare_number(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct photographer *photographer = context;
    (void)key;
    photographer->good = photographer->good && troupe__get_be64(value.data) == photographer->epoch;
    return TROUPE_OK;
}

static void *take_photo(void *context)
{
    struct photographer *photographer = context;
    struct troupe__photo *photo = photographer->photo;
    photographer->good = photo->wait(photo) == TROUPE_OK && photo->epoch == photographer->epoch;
    struct troupe_bytes all = {"", 0};
    photographer->good = photographer->good &&
                         photo->scan(photo, TROUPE__STATE, all, compare_number, photographer) == TROUPE_OK &&
                         photographer->good;
    photo->close(photo);
    return NULL;
}

/* Commits and folds go on while another thread reads: never a row of another epoch. */
static void photos_are_exact_while_commits_go_on(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        struct photographer photographer = {.f = f, .epoch = f->epoch + 1 + (uint64_t)i % 3};
        pthread_t thread;
        photographer.photo = ask(f, photographer.epoch);
        assert_int_equal(pthread_create(&thread, NULL, take_photo, &photographer), 0);
        for (int k = 0; k < 40; k++) {
            commit_next(f);
        }
        pthread_join(thread, NULL);
        assert_true(photographer.good);
    }
}

static void count_pause(void *context)
{
    ++*(int *)context;
}

/* What is not folded is gathered with a pause after each record, so that it may let others have the core. */
static void a_photo_that_gathers_records_pauses_between_them(void **state)
{
    enum { EPOCHS = 5 };
    struct fixture *f = *state;
    int pauses = 0;
    struct troupe__photo *photo = ask(f, EPOCHS); /* From now on nothing is folded. */
    photo->pause = count_pause;
    photo->pause_context = &pauses;
    while (f->epoch < EPOCHS) {
        commit_next(f);
    }
    assert_int_equal(photo->wait(photo), TROUPE_OK);
    check_photo(photo, EPOCHS);
    photo->close(photo);
    assert_in_range(pauses, 1, EPOCHS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_photo_shows_the_epoch_that_was_asked_for, setup_disk, teardown),
        cmocka_unit_test_setup_teardown(a_photo_shows_the_epoch_that_was_asked_for, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_photo_of_now_needs_no_further_commit, setup_disk, teardown),
        cmocka_unit_test_setup_teardown(a_photo_of_now_needs_no_further_commit, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_photo_that_is_released_keeps_nothing_up, setup_disk, teardown),
        cmocka_unit_test_setup_teardown(a_photo_that_is_released_keeps_nothing_up, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_photo_that_gathers_records_pauses_between_them, setup_disk, teardown),
        cmocka_unit_test_setup_teardown(a_photo_may_be_given_up, setup_disk, teardown),
        cmocka_unit_test_setup_teardown(a_photo_may_be_given_up, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_photo_is_exact_however_late_it_is_begun, setup_small, teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_would_wait_for_folding_says_so, setup_small, teardown),
        cmocka_unit_test_setup_teardown(photos_are_exact_while_commits_go_on, setup_small, teardown),
        cmocka_unit_test_setup_teardown(photos_are_exact_while_commits_go_on, setup_disk, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
