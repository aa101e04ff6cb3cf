/* stall_test.c - the longest time in which a loop had something to deliver and delivered nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/stall.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void turn(struct troupe__stall *stall, uint64_t begin_ns, uint64_t end_ns, size_t delivered, bool waits)
{
    troupe__stall_turn_begins(stall, begin_ns);
    troupe__stall_turn_ends(stall, end_ns, delivered, waits);
}

/* However long it sleeps: nobody waits. */
static void a_loop_with_nothing_to_deliver_does_not_stall(void **state)
{
    (void)state;
    struct troupe__stall stall = {0};
    turn(&stall, 10, 12, 0, false);
    turn(&stall, 5000, 5003, 0, false);
    turn(&stall, 90000, 90004, 0, false);
    assert_int_equal(stall.longest_ns, 0);
    turn(&stall, 200000, 200007, 3, false);
    assert_int_equal(stall.longest_ns, 7);
}

/* Turns that deliver nothing while something waits are one gap, with the time between them. */
static void turns_without_a_delivery_add_up(void **state)
{
    (void)state;
    struct troupe__stall stall = {0};
    turn(&stall, 100, 110, 5, true);
    assert_int_equal(stall.longest_ns, 10);
    turn(&stall, 115, 120, 0, true);
    turn(&stall, 150, 155, 0, true);
    assert_int_equal(stall.longest_ns, 45); /* It is one already, before it ends. */
    turn(&stall, 160, 170, 1, true);
    assert_int_equal(stall.longest_ns, 60);
    turn(&stall, 175, 180, 1, true);
    assert_int_equal(stall.longest_ns, 60);
}

/* What came at the end of a turn, a refresh perhaps, waits from its beginning on. */
static void what_has_come_waits_from_the_turn_on_in_which_it_came(void **state)
{
    (void)state;
    struct troupe__stall stall = {0};
    turn(&stall, 100, 110, 1, false);
    turn(&stall, 500, 520, 0, true);
    turn(&stall, 530, 540, 1, false);
    assert_int_equal(stall.longest_ns, 40);
    turn(&stall, 900, 901, 0, false);
    assert_int_equal(stall.longest_ns, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_with_nothing_to_deliver_does_not_stall),
        cmocka_unit_test(turns_without_a_delivery_add_up),
        cmocka_unit_test(what_has_come_waits_from_the_turn_on_in_which_it_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
