/* lull_test.c - a thread beside a loop sleeps after each piece of work, unless it hardly gets any done.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/snapshot/lull.h"

enum { STEP_NS = TROUPE__LULL_WORK_NS / 2 };

/* Look `looks` times; between two, `wall_ns` pass and the thread works for `work_ns`. Returns how often it slept. */
static int count_lulls(struct troupe__lull *lull, uint64_t *now_ns, uint64_t *cpu_ns, int looks, uint64_t wall_ns,
                       uint64_t work_ns)
{
    int count = 0;
    for (int i = 0; i < looks; i++) {
        *now_ns += wall_ns;
        *cpu_ns += work_ns;
        if (troupe__lull_looks(lull, *now_ns) && troupe__lull_due(lull, *now_ns, *cpu_ns)) {
            *now_ns += TROUPE__LULL_SLEEP_NS;
            count++;
        }
    }
    return count;
}

/* The first look begins the first piece, whatever the thread has done before. */
static void each_piece_of_work_is_followed_by_a_lull(void **state)
{
    struct troupe__lull lull = {0};
    uint64_t now_ns = 1000000000, cpu_ns = 777000000;
    (void)state;
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, 2, STEP_NS, STEP_NS), 0);
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, 1, STEP_NS, STEP_NS), 1);
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, 2000, STEP_NS, STEP_NS), 1000);
}

/* Small steps add up to a piece, with few looks at the processor time. */
static void a_look_is_not_due_before_half_a_piece(void **state)
{
    struct troupe__lull lull = {0};
    uint64_t now_ns = 1000000000;
    (void)state;
    assert_true(troupe__lull_looks(&lull, now_ns));
    assert_false(troupe__lull_due(&lull, now_ns, 0));
    assert_false(troupe__lull_looks(&lull, now_ns + STEP_NS - 1));
    assert_true(troupe__lull_looks(&lull, now_ns + STEP_NS));
}

/* What it waits for, as the disk, is not work. */
static void time_that_passes_without_work_brings_no_lull(void **state)
{
    struct troupe__lull lull = {0};
    uint64_t now_ns = 1000000000, cpu_ns = 0;
    (void)state;
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, 1000, 10 * STEP_NS, 0), 0);
}

/* Each lull would cost it the core for a tick of the scheduler. */
static void a_thread_that_hardly_gets_a_core_goes_on_without_lulls(void **state)
{
    struct troupe__lull lull = {0};
    uint64_t now_ns = 1000000000, cpu_ns = 0;
    (void)state;
    int windows = 4 * TROUPE__LULL_WINDOW_NS / (4 * STEP_NS);
    (void)count_lulls(&lull, &now_ns, &cpu_ns, windows, 4 * STEP_NS, STEP_NS);
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, windows, 4 * STEP_NS, STEP_NS), 0);
    (void)count_lulls(&lull, &now_ns, &cpu_ns, 4 * windows, STEP_NS, STEP_NS); /* It is alone again. */
    assert_int_equal(count_lulls(&lull, &now_ns, &cpu_ns, 100, STEP_NS, STEP_NS), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_piece_of_work_is_followed_by_a_lull),
        cmocka_unit_test(a_look_is_not_due_before_half_a_piece),
        cmocka_unit_test(time_that_passes_without_work_brings_no_lull),
        cmocka_unit_test(a_thread_that_hardly_gets_a_core_goes_on_without_lulls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
