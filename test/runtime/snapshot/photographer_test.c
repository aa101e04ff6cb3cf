/* photographer_test.c - the order in which the nodes of a troupe are told what makes a snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/photographer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 3 };

struct fixture {
    struct troupe__subject subjects[COUNT];
    struct troupe__photographer photographer;
};

static void begin(struct fixture *fixture)
{
    troupe__photographer_begin(&fixture->photographer, fixture->subjects, COUNT, false);
}

/* Requests of this kind, and no other, are sent now to these nodes (a bit each). */
static void expect(struct fixture *fixture, enum troupe__photographer_request expected, unsigned nodes)
{
    size_t node;
    enum troupe__photographer_request what;
    unsigned told = 0;
    while (troupe__photographer_next(&fixture->photographer, &node, &what)) {
        assert_int_equal(what, expected);
        told |= 1u << node;
    }
    assert_int_equal(told, nodes);
}

static void answer_all(struct fixture *fixture)
{
    for (size_t node = 0; node < COUNT; node++) {
        troupe__photographer_answered(&fixture->photographer, node, true, 10 * node);
    }
}

static void nobody_gets_the_colour_before_all_are_armed(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    expect(&fixture, TROUPE__PHOTO_ASK, 7);
    answer_all(&fixture);
    expect(&fixture, TROUPE__PHOTO_ARM, 7);
    assert_true(fixture.photographer.colour > 20);
    troupe__photographer_answered(&fixture.photographer, 2, true, 0);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    expect(&fixture, TROUPE__PHOTO_ARM, 0);
    troupe__photographer_answered(&fixture.photographer, 1, true, 0);
    expect(&fixture, TROUPE__PHOTO_COLOUR, 7);
    troupe__photographer_reported(&fixture.photographer, 1, true); /* By a frame it has the colour already. */
    answer_all(&fixture);
    troupe__photographer_reported(&fixture.photographer, 0, true);
    assert_false(troupe__photographer_over(&fixture.photographer));
    troupe__photographer_reported(&fixture.photographer, 2, true);
    assert_true(troupe__photographer_over(&fixture.photographer));
    assert_false(fixture.photographer.failed);
}

static void when_one_refuses_those_that_are_armed_drop_it(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    expect(&fixture, TROUPE__PHOTO_ASK, 7);
    answer_all(&fixture);
    expect(&fixture, TROUPE__PHOTO_ARM, 7);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    troupe__photographer_answered(&fixture.photographer, 1, false, 0);
    expect(&fixture, TROUPE__PHOTO_DROP, 1);
    troupe__photographer_answered(&fixture.photographer, 2, true, 0); /* It was armed after all. */
    expect(&fixture, TROUPE__PHOTO_DROP, 4);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    troupe__photographer_answered(&fixture.photographer, 2, true, 0);
    troupe__photographer_reported(&fixture.photographer, 0, false);
    assert_false(troupe__photographer_over(&fixture.photographer));
    troupe__photographer_reported(&fixture.photographer, 2, true); /* It had begun. */
    assert_true(troupe__photographer_over(&fixture.photographer));
    assert_true(fixture.photographer.failed);
}

static void when_one_dies_on_the_way_the_parts_of_the_others_are_waited_for(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    expect(&fixture, TROUPE__PHOTO_ASK, 7);
    answer_all(&fixture);
    expect(&fixture, TROUPE__PHOTO_ARM, 7);
    answer_all(&fixture);
    expect(&fixture, TROUPE__PHOTO_COLOUR, 7);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    troupe__photographer_gone(&fixture.photographer, 1);
    expect(&fixture, TROUPE__PHOTO_DROP, 1);
    troupe__photographer_answered(&fixture.photographer, 2, true, 0);
    expect(&fixture, TROUPE__PHOTO_DROP, 4);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    troupe__photographer_answered(&fixture.photographer, 2, true, 0);
    assert_false(troupe__photographer_over(&fixture.photographer));
    troupe__photographer_reported(&fixture.photographer, 2, true);
    troupe__photographer_reported(&fixture.photographer, 0, true);
    assert_true(troupe__photographer_over(&fixture.photographer));
    assert_true(fixture.photographer.failed);
}

static void a_node_that_is_alone_is_only_armed(void **state)
{
    (void)state;
    struct fixture fixture;
    troupe__photographer_begin(&fixture.photographer, fixture.subjects, 1, true);
    expect(&fixture, TROUPE__PHOTO_ARM, 1);
    troupe__photographer_answered(&fixture.photographer, 0, true, 0);
    expect(&fixture, TROUPE__PHOTO_ARM, 0);
    troupe__photographer_reported(&fixture.photographer, 0, true);
    assert_true(troupe__photographer_over(&fixture.photographer) && !fixture.photographer.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_gets_the_colour_before_all_are_armed),
        cmocka_unit_test(when_one_refuses_those_that_are_armed_drop_it),
        cmocka_unit_test(when_one_dies_on_the_way_the_parts_of_the_others_are_waited_for),
        cmocka_unit_test(a_node_that_is_alone_is_only_armed),
    };
    return cmocka_run_group_tests_name("photographer", tests, NULL, NULL);
}
