/* segment_test.c - what waits in a segment stays as it was put, and where it was, however much comes to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "state/segment.h"

static void put(struct troupe__segment *segment, size_t size, unsigned char with)
{
    assert_true(troupe__segment_reserve(segment, size));
    assert_true(segment->entries.capacity - segment->entries.size >= size);
    memset(segment->entries.data + segment->entries.size, with, size);
    segment->entries.size += size;
}

/* The first byte of each piece, and the last one. */
static void check(const struct troupe__segment *segment, size_t size, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(segment->entries.data[(size_t)i * size], (unsigned char)i);
        assert_int_equal(segment->entries.data[((size_t)i + 1) * size - 1], (unsigned char)i);
    }
}

/* Nothing is copied as long as no more comes than was foreseen. */
static void a_segment_grows_where_it_is(void **state)
{
    enum { SIZE = 100003, COUNT = 300 };
    (void)state;
    struct troupe__segment *segment = troupe__segment_new((size_t)SIZE * COUNT);
    assert_non_null(segment);
    const unsigned char *data = segment->entries.data;
    for (int i = 0; i < COUNT; i++) {
        put(segment, SIZE, (unsigned char)i);
        assert_ptr_equal(segment->entries.data, data);
    }
    check(segment, SIZE, COUNT);
    segment->entries.size = 0; /* Used again, it needs no new memory. */
    size_t capacity = segment->entries.capacity;
    put(segment, SIZE, 1);
    assert_int_equal(segment->entries.capacity, capacity);
    troupe__segment_free(segment);
}

static void more_than_was_foreseen_is_taken_all_the_same(void **state)
{
    enum { SIZE = 50021, COUNT = 200 };
    (void)state;
    struct troupe__segment *segment = troupe__segment_new(1);
    assert_non_null(segment);
    for (int i = 0; i < COUNT; i++) {
        put(segment, SIZE, (unsigned char)i);
    }
    check(segment, SIZE, COUNT);
    troupe__segment_free(segment);
}

/* It stays as it was. */
static void what_no_machine_has_is_refused(void **state)
{
    (void)state;
    struct troupe__segment *segment = troupe__segment_new(SIZE_MAX / 8);
    assert_non_null(segment);
    put(segment, 100, 7);
    assert_false(troupe__segment_reserve(segment, SIZE_MAX / 2));
    assert_false(troupe__segment_reserve(segment, SIZE_MAX / 8));
    assert_int_equal(segment->entries.data[99], 7);
    put(segment, 100, 8);
    segment->next = troupe__segment_new(0);
    troupe__segment_free(segment);
    troupe__segment_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_grows_where_it_is),
        cmocka_unit_test(more_than_was_foreseen_is_taken_all_the_same),
        cmocka_unit_test(what_no_machine_has_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
