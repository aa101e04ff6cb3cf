/* changes_test.c - of records that set and remove rows at random each row's last change comes out, in order of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/changes.h"

enum { KEYS = 3000 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* A row, and the number of its last change, 0 when there was none. */
struct row {
    enum troupe__table table;
    unsigned char key[TROUPE__ROW_KEY_MAX];
    size_t size;
    uint32_t change;
    bool removed;
};

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    if (a->table != b->table) { /* STATE first */
        return a->table == TROUPE__STATE ? -1 : b->table == TROUPE__STATE ? 1 : a->table < b->table ? -1 : 1;
    }
    int order = memcmp(a->key, b->key, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : a->size < b->size ? -1 : a->size > b->size;
}

/* Sort rows and leave out what is there twice. */
static size_t put_in_order(struct row *rows)
{
    size_t count = 0;
    qsort(rows, KEYS, sizeof *rows, compare_rows);
    for (size_t i = 0; i < KEYS; i++) {
        if (i == 0 || compare_rows(&rows[i - 1], &rows[i]) != 0) {
            rows[count++] = rows[i];
        }
    }
    return count;
}

/* Mail, and some other rows, with numbers from 1000 on, of which there are `spread`. */
static size_t make_numbered_rows(struct row *rows, uint64_t spread, uint64_t *random)
{
    static const enum troupe__table tables[] = {TROUPE__MAIL, TROUPE__MAIL, TROUPE__MAIL, TROUPE__STATE};
    for (size_t i = 0; i < KEYS; i++) {
        rows[i] = (struct row){.table = tables[next_random(random) % 4], .size = 8};
        troupe__put_be64(rows[i].key, 1000 + next_random(random) % spread);
    }
    return put_in_order(rows);
}

/* Keys with long parts in common, some the beginning of others, some that differ by zero bytes at their end. */
static size_t make_rows(struct row *rows, uint64_t *random)
{
    static const enum troupe__table tables[] = {TROUPE__STATE, TROUPE__META, TROUPE__MAIL, TROUPE__SWEEP};
    for (size_t i = 0; i < KEYS; i++) {
        struct row *row = &rows[i];
        *row = (struct row){.table = tables[next_random(random) % 4]};
        size_t same = next_random(random) % 5 * 25;
        memset(row->key, 'a', same);
        row->size = same;
        for (size_t more = 1 + next_random(random) % 12; more > 0; more--) {
            row->key[row->size++] = (unsigned char)(next_random(random) % 3 * (next_random(random) % 4 ? 1 : 100));
        }
    }
    return put_in_order(rows);
}

/* `record` gets changes of rows, whose numbers are their values; of rows that are `near` to each other, or further on.
 */
static void change_rows(struct troupe__buffer *record, struct row *rows, size_t count, size_t changes, size_t near,
                        uint32_t *change, uint64_t *random)
{
    record->size = 0;
    while (changes-- > 0) {
        struct row *row = &rows[(*change / 2 + next_random(random) % near) % count];
        row->removed = next_random(random) % 3 == 0;
        row->change = ++*change;
        if (row->removed) {
            troupe__record_remove(record, row->table, row->key, row->size);
        } else {
            troupe__record_set(record, row->table, row->key, row->size, change, sizeof *change);
        }
    }
}

static bool is_of(const struct troupe__change *change, const struct row *row)
{
    return change->table == row->table && change->key.size == row->size &&
           memcmp(change->key.data, row->key, row->size) == 0;
}

static void check_change(const struct troupe__change *change, const struct row *row)
{
    assert_int_equal(change->removed, row->removed);
    if (!change->removed) {
        assert_int_equal(change->value.size, sizeof row->change);
        assert_memory_equal(change->value.data, &row->change, sizeof row->change);
    }
}

/* Nothing is missing but what may be: rows of other tables than STATE that are removed and stand behind their bound. */
static void check_changes(const struct troupe__changes *changes, const struct row *rows, size_t count,
                          const size_t bounds[TROUPE__TABLE_COUNT], size_t *ret_left_out)
{
    size_t at = 0, others = 0;
    *ret_left_out = 0;
    for (size_t i = 0; i < count; i++) {
        struct troupe__change change = {0};
        if (rows[i].change == 0) {
            continue;
        }
        if (at < changes->count) {
            troupe__changes_get(changes, at, &change);
        }
        if (at == changes->count || !is_of(&change, &rows[i])) {
            assert_true(rows[i].removed && rows[i].table != TROUPE__STATE && i >= bounds[rows[i].table]);
            ++*ret_left_out;
            continue;
        }
        check_change(&change, &rows[i]);
        others += rows[i].table != TROUPE__STATE;
        at++;
    }
    assert_int_equal(at, changes->count);
    assert_int_equal(others, changes->other_count);
}

/* The last row of each table, but for STATE, is drawn: bounds[table] is the first row behind it. */
static void bound_changes(struct troupe__changes *changes, const struct row *rows, size_t count,
                          size_t bounds[TROUPE__TABLE_COUNT], uint64_t *random)
{
    for (unsigned table = TROUPE__STATE + 1; table < TROUPE__TABLE_COUNT; table++) {
        size_t last = next_random(random) % count;
        bool any = rows[last].table == table;
        bounds[table] = any ? last + 1 : 0;
        troupe__changes_bound(changes, table,
                              any ? (struct troupe_bytes){rows[last].key, rows[last].size}
                                  : (struct troupe_bytes){NULL, 0});
    }
}

static size_t gather_once(uint64_t seed, uint64_t spread, size_t change_count, bool bounded)
{
    enum { RECORDS = 5 };
    static struct row rows[KEYS];
    struct troupe__buffer records[RECORDS] = {0};
    struct troupe__changes changes = {0};
    uint64_t random = seed;
    uint32_t change = 0;
    size_t count = spread > 0 ? make_numbered_rows(rows, spread, &random) : make_rows(rows, &random);
    size_t near = spread > 0 ? 1 + next_random(&random) % count : count;
    size_t left_out, bounds[TROUPE__TABLE_COUNT];
    memset(bounds, 0xff, sizeof bounds);
    if (bounded) {
        bound_changes(&changes, rows, count, bounds, &random);
    }
    for (size_t i = 0; i < RECORDS; i++) {
        change_rows(&records[i], rows, count, change_count, near, &change, &random);
        assert_int_equal(troupe__changes_add(&changes, (struct troupe_bytes){records[i].data, records[i].size}),
                         TROUPE_OK);
    }
    troupe__changes_sort(&changes);
    check_changes(&changes, rows, count, bounds, &left_out);
    for (size_t i = 0; i < RECORDS; i++) {
        troupe__buffer_free(&records[i]);
    }
    troupe__changes_free(&changes);
    return left_out;
}

static void the_last_change_of_each_row_comes_out_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        print_message("seed %d\n", (int)seed);
        uint64_t mixed = seed * 0x9e3779b97f4a7c15u;
        size_t change_count = seed % 3 == 0 ? 5 : KEYS;
        assert_int_equal(gather_once(mixed, 0, change_count, false), 0);
        assert_true(gather_once(mixed, 0, change_count, true) > 0 || change_count < KEYS);
    }
}

/* Whether the numbers nearly follow each other, are far apart, or something in between. */
static void so_it_does_of_rows_with_numbers(void **state)
{
    (void)state;
    size_t left_out = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        print_message("seed %d\n", (int)seed);
        uint64_t mixed = seed * 0x9e3779b97f4a7c15u, spread = (uint64_t)100 << seed % 20;
        assert_int_equal(gather_once(mixed, spread, KEYS, false), 0);
        left_out += gather_once(mixed, spread, KEYS, true);
    }
    assert_true(left_out > 0);
}

/* Mail that was sent and handled between two folds does not count among what a fold must write at once. */
static void mail_that_came_and_went_is_nothing(void **state)
{
    (void)state;
    struct troupe__changes changes = {0};
    struct troupe__buffer record = {0};
    unsigned char key[8];
    troupe__put_be64(key, 4096);
    troupe__changes_bound(&changes, TROUPE__MAIL, (struct troupe_bytes){key, sizeof key});
    for (uint64_t number = 4000; number < 10000; number++) { /* Those to 4096 were there before. */
        troupe__put_be64(key, number);
        troupe__record_set(&record, TROUPE__MAIL, key, sizeof key, "message", 7);
        if (number < 9999) {
            troupe__record_remove(&record, TROUPE__MAIL, key, sizeof key);
        }
    }
    assert_int_equal(troupe__changes_add(&changes, (struct troupe_bytes){record.data, record.size}), TROUPE_OK);
    assert_in_range(changes.other_count, 98, 98 + 256);
    troupe__changes_sort(&changes);
    assert_int_equal(changes.count, changes.other_count);
    troupe__buffer_free(&record);
    troupe__changes_free(&changes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_change_of_each_row_comes_out_in_order),
        cmocka_unit_test(so_it_does_of_rows_with_numbers),
        cmocka_unit_test(mail_that_came_and_went_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
