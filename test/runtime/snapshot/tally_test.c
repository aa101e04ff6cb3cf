/* tally_test.c - rows are counted as they are: what is folded, and what the journal has made of it since.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/files.h"
#include "state/lmdb_store.h"

struct fixture {
    char directory[64], error[512];
    struct troupe__store *store;
};

/* Nothing is folded but by a close. */
static void open_store(struct fixture *fixture)
{
    struct troupe__lmdb_options options = {.fold_interval_ms = 3600000};
    assert_int_equal(
        troupe__lmdb_store_open(fixture->directory, &options, &fixture->store, fixture->error, sizeof fixture->error),
        TROUPE_OK);
    assert_int_equal(fixture->store->replay(fixture->store, NULL, NULL), TROUPE_OK);
}

static void change(struct troupe__buffer *record, enum troupe__table table, const char *key, bool removed)
{
    if (removed) {
        troupe__record_remove(record, table, key, strlen(key));
    } else {
        troupe__record_set(record, table, key, strlen(key), "value", 5);
    }
}

static void commit(struct fixture *fixture, uint64_t epoch, struct troupe__buffer *record)
{
    assert_int_equal(fixture->store->commit(fixture->store, epoch, (struct troupe_bytes){record->data, record->size}),
                     TROUPE_OK);
    troupe__buffer_free(record);
}

static void open_view(struct fixture *fixture, struct troupe__view *view)
{
    struct troupe__store *store;
    assert_int_equal(troupe__lmdb_store_view(fixture->store, &store, fixture->error, sizeof fixture->error), TROUPE_OK);
    assert_int_equal(troupe__view_of(view, store), TROUPE_OK);
}

static void forget_counts(uint64_t counts[static TROUPE__TABLE_COUNT])
{
    for (size_t t = 0; t < TROUPE__TABLE_COUNT; t++) {
        counts[t] = TROUPE__NOT_COUNTED;
    }
}

/* Folded are a, b, c; then a goes, b is set anew, d comes, e comes and goes. */
static void begin(struct fixture *fixture)
{
    struct troupe__buffer record = {0};
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/troupe-tally.XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    open_store(fixture);
    for (size_t i = 0; i < 3; i++) {
        change(&record, TROUPE__DEAD, (const char *[]){"a", "b", "c"}[i], false);
        change(&record, TROUPE__STATE, (const char *[]){"x", "y", "z"}[i], false);
    }
    commit(fixture, 1, &record);
    fixture->store->close(fixture->store);
    open_store(fixture);
    change(&record, TROUPE__DEAD, "a", true);
    change(&record, TROUPE__DEAD, "b", false);
    change(&record, TROUPE__DEAD, "d", false);
    change(&record, TROUPE__DEAD, "e", false);
    change(&record, TROUPE__STATE, "more", false);
    change(&record, TROUPE__SWEEP, "s", false);
    commit(fixture, 2, &record);
    change(&record, TROUPE__DEAD, "e", true);
    commit(fixture, 3, &record);
}

static void end(struct fixture *fixture)
{
    char unused[256];
    fixture->store->close(fixture->store);
    assert_int_equal(troupe__files_remove(fixture->directory, unused, sizeof unused), TROUPE_OK);
}

static void rows_are_counted_with_what_the_journal_changed(void **state)
{
    (void)state;
    struct fixture fixture;
    struct troupe__view view;
    uint64_t counts[TROUPE__TABLE_COUNT];
    begin(&fixture);
    open_view(&fixture, &view);
    forget_counts(counts);
    assert_int_equal(troupe__tally(&view, 1u << TROUPE__STATE | 1u << TROUPE__DEAD | 1u << TROUPE__SWEEP, counts),
                     TROUPE_OK);
    assert_int_equal(counts[TROUPE__DEAD], 3); /* b, c, d */
    assert_int_equal(counts[TROUPE__SWEEP], 1);
    assert_int_equal(counts[TROUPE__STATE], 3); /* those that are folded */
    assert_true(counts[TROUPE__MAIL] == TROUPE__NOT_COUNTED);
    troupe__view_close(&view);
    end(&fixture);
}

static bool is_little(void *limits, size_t size)
{
    (void)limits;
    return size < 100000;
}

/* Records and messages of megabytes are counted like others. */
static void values_are_not_held(void **state)
{
    (void)state;
    struct fixture fixture;
    struct troupe__view view;
    struct troupe__buffer record = {0};
    static const char large[1 << 20];
    uint64_t counts[TROUPE__TABLE_COUNT];
    begin(&fixture);
    troupe__record_set(&record, TROUPE__EGRESS, "key", 3, large, sizeof large);
    commit(&fixture, 4, &record);
    open_view(&fixture, &view);
    view.may_go_on = is_little;
    forget_counts(counts);
    assert_int_equal(troupe__tally(&view, 1u << TROUPE__EGRESS, counts), TROUPE_OK);
    assert_int_equal(counts[TROUPE__EGRESS], 1);
    troupe__view_close(&view);
    end(&fixture);
}

static bool may_not_go_on(void *limits, size_t size)
{
    (void)limits, (void)size;
    return false;
}

/* Then nothing is said of a table, rather than something wrong. */
static void what_takes_too_long_is_not_counted(void **state)
{
    (void)state;
    struct fixture fixture;
    struct troupe__view view;
    uint64_t counts[TROUPE__TABLE_COUNT];
    begin(&fixture);
    open_view(&fixture, &view);
    view.may_go_on = may_not_go_on;
    forget_counts(counts);
    assert_int_equal(troupe__tally(&view, 1u << TROUPE__DEAD, counts), TROUPE_ETOOBIG);
    assert_true(counts[TROUPE__DEAD] == TROUPE__NOT_COUNTED);
    troupe__view_close(&view);
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_counted_with_what_the_journal_changed),
        cmocka_unit_test(values_are_not_held),
        cmocka_unit_test(what_takes_too_long_is_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
