/* sim_shrink_test.c - a case that fails is made smaller until nothing can be left out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/sim_shrink.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 300 };

struct fake {
    bool crashes;
};

/* Fails if lines 7 and 250 come, to two nodes at least, and faults 3 and 5 strike. Without 5 it fails in another way.
 */
static bool run(void *context, const struct troupe__sim_case *which, char failure[static TROUPE__SIM_FAILURE_SIZE])
{
    struct fake *fake = context;
    if (!which->kept[7] || !which->kept[250] || which->nodes < 2 || !(which->faults >> 3 & 1)) {
        return false;
    }
    if (!(which->faults >> 5 & 1)) {
        snprintf(failure, TROUPE__SIM_FAILURE_SIZE, "something else");
        return true;
    }
    if (fake->crashes) {
        abort();
    }
    size_t count = 0;
    for (size_t i = 0; i < which->count; i++) {
        count += which->kept[i];
    }
    snprintf(failure, TROUPE__SIM_FAILURE_SIZE, "at %zu ms: lost", count);
    return true;
}

static void check(bool crashes)
{
    static bool kept[LINES];
    struct fake fake = {crashes};
    memset(kept, true, sizeof kept);
    struct troupe__sim_case smallest = {.nodes = 5, .faults = UINT32_MAX, .kept = kept, .count = LINES};
    char failure[TROUPE__SIM_FAILURE_SIZE] = "";
    assert_true(troupe__sim_fails_apart(run, &fake, &smallest, failure));
    assert_non_null(strstr(failure, crashes ? "crashed" : "at 300 ms: lost"));
    size_t runs = troupe__sim_shrink(&smallest, failure, run, &fake);
    assert_int_equal(smallest.nodes, 2);
    assert_int_equal(smallest.faults, 1 << 3 | 1 << 5);
    for (size_t i = 0; i < LINES; i++) {
        assert_int_equal(kept[i], i == 7 || i == 250);
    }
    assert_true(runs < 200);
}

static void what_does_not_matter_is_left_out(void **state)
{
    (void)state;
    check(false);
}

static void a_crash_is_a_failure_like_others(void **state)
{
    (void)state;
    check(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_matter_is_left_out),
        cmocka_unit_test(a_crash_is_a_failure_like_others),
    };
    return cmocka_run_group_tests_name("sim_shrink", tests, NULL, NULL);
}
