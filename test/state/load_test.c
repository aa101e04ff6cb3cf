/* load_test.c - a store made at once of all its rows is as any other one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "state/lmdb_store.h"
#include "state/load.h"

static char directory[64], error[512];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/troupe-load.XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    static const char *const names[] = {"tables.mdb", "tables.mdb-lock", "journal.log", "lock"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

static struct troupe_bytes text(const char *text)
{
    return (struct troupe_bytes){text, strlen(text)};
}

static struct troupe_bytes number_key(unsigned char key[static 8], uint64_t number)
{
    troupe__put_be64(key, number);
    return (struct troupe_bytes){key, 8};
}

static void load(struct troupe__load *into, enum troupe__table table, const char *key, const char *value)
{
    assert_int_equal(troupe__load_row(into, table, text(key), text(value), error, sizeof error), TROUPE_OK);
}

static struct troupe__store *open_store(void)
{
    struct troupe__store *store = NULL;
    struct troupe__lmdb_options options = {.sync = true};
    if (troupe__lmdb_store_open(directory, &options, &store, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    return store;
}

static enum troupe_error count_epoch(void *context, uint64_t epoch, struct troupe_bytes record)
{
    (void)epoch, (void)record;
    ++*(size_t *)context;
    return TROUPE_OK;
}

static void expect(struct troupe__store *store, enum troupe__table table, const char *key, const char *value)
{
    struct troupe_bytes found;
    assert_int_equal(store->read(store, table, text(key), &found), TROUPE_OK);
    assert_int_equal(found.size, strlen(value));
    assert_memory_equal(found.data, value, found.size);
}

enum { MANY = 200000, LARGE = 100000 };

/* Rows in order and out of it, several transactions of them, small and large; the epochs go on from the given one. */
static void a_loaded_store_has_its_rows_and_goes_on_from_its_epoch(void **state)
{
    struct troupe__load *into;
    unsigned char key[8];
    char *large = calloc(1, LARGE);
    size_t replayed = 0;
    (void)state;
    assert_non_null(large);
    assert_int_equal(troupe__load_begin(directory, &into, error, sizeof error), TROUPE_OK);
    load(into, TROUPE__META, "id/x", "1");
    load(into, TROUPE__STATE, "a", "first");
    for (uint64_t i = 1; i <= MANY; i++) {
        struct troupe_bytes value = {large, i % 10000 == 0 ? LARGE : 100};
        assert_int_equal(troupe__load_row(into, TROUPE__MAIL, number_key(key, i), value, error, sizeof error),
                         TROUPE_OK);
    }
    load(into, TROUPE__STATE, "b", "late");
    load(into, TROUPE__STATE, "a", "replaced");
    load(into, TROUPE__META, "counters", "none");
    assert_int_equal(troupe__load_find(into, TROUPE__MAIL, number_key(key, 5), false, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__load_find(into, TROUPE__MAIL, number_key(key, 5), true, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__load_find(into, TROUPE__MAIL, number_key(key, 5), true, error, sizeof error),
                     TROUPE_ENOTFOUND);
    assert_int_equal(troupe__load_end(into, 41, error, sizeof error), TROUPE_OK);
    troupe__load_free(into);

    struct troupe__store *store = open_store();
    assert_int_equal(store->last_epoch, 41);
    assert_int_equal(store->replay(store, count_epoch, &replayed), TROUPE_OK);
    assert_int_equal(replayed, 0);
    expect(store, TROUPE__META, "id/x", "1");
    expect(store, TROUPE__META, "counters", "none");
    expect(store, TROUPE__STATE, "a", "replaced");
    expect(store, TROUPE__STATE, "b", "late");
    struct troupe_bytes found;
    for (uint64_t i = 1; i <= MANY; i++) {
        enum troupe_error result = store->read(store, TROUPE__MAIL, number_key(key, i), &found);
        assert_int_equal(result, i == 5 ? TROUPE_ENOTFOUND : TROUPE_OK);
        assert_true(i == 5 || found.size == (i % 10000 == 0 ? LARGE : 100));
    }
    struct troupe__buffer record = {0};
    troupe__record_set(&record, TROUPE__STATE, "c", 1, "new", 3);
    assert_int_equal(store->commit(store, 42, (struct troupe_bytes){record.data, record.size}), TROUPE_OK);
    store->close(store);

    store = open_store();
    assert_int_equal(store->last_epoch, 42);
    assert_int_equal(store->replay(store, NULL, NULL), TROUPE_OK);
    store->close(store);
    store = open_store();
    assert_int_equal(store->replay(store, NULL, NULL), TROUPE_OK);
    expect(store, TROUPE__STATE, "c", "new");
    store->close(store);
    troupe__buffer_free(&record);
    free(large);
}

/* What a crash leaves is no store, whatever of it is on the disk. */
static void a_store_that_was_not_loaded_to_its_end_is_refused(void **state)
{
    struct troupe__load *into;
    struct troupe__store *store;
    struct troupe__lmdb_options options = {.sync = true};
    unsigned char key[8];
    static const char value[1000];
    (void)state;
    assert_int_equal(troupe__load_begin(directory, &into, error, sizeof error), TROUPE_OK);
    for (uint64_t i = 1; i <= 20000; i++) {
        assert_int_equal(troupe__load_row(into, TROUPE__MAIL, number_key(key, i),
                                          (struct troupe_bytes){value, sizeof value}, error, sizeof error),
                         TROUPE_OK);
    }
    troupe__load_free(into);
    assert_int_equal(troupe__lmdb_store_open(directory, &options, &store, error, sizeof error), TROUPE_ECORRUPT);
    assert_int_equal(troupe__load_begin(directory, &into, error, sizeof error), TROUPE_EBUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_loaded_store_has_its_rows_and_goes_on_from_its_epoch, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_store_that_was_not_loaded_to_its_end_is_refused, make_directory,
                                        remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
