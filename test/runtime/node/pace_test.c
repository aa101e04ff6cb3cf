/* pace_test.c - who commits: the loop while it would only sleep, the committer when that would cost; and when to yield.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/node/pace.h"

enum { QUICK_NS = 100000, SLOW_NS = 2 * TROUPE__PACE_COMMIT_NS };

/* Before anything is known, and while commits are quick and there is little to do between them. */
static void a_loop_with_little_to_do_commits_by_itself(void **state)
{
    struct troupe__pace pace = {0};
    uint64_t cpu_ns = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_true(troupe__pace_commits_here(&pace, cpu_ns));
        troupe__pace_took(&pace, QUICK_NS);
        troupe__pace_begin(&pace, cpu_ns);
        cpu_ns += TROUPE__PACE_WORK_NS;
    }
}

/* It counts what was done for this epoch, not for those before it. */
static void a_loop_that_has_worked_long_for_an_epoch_leaves_it_to_the_committer(void **state)
{
    struct troupe__pace pace = {0};
    (void)state;
    assert_false(troupe__pace_commits_here(&pace, TROUPE__PACE_WORK_NS + 1));
    troupe__pace_begin(&pace, TROUPE__PACE_WORK_NS + 1);
    assert_true(troupe__pace_commits_here(&pace, TROUPE__PACE_WORK_NS + 1));
}

/* One slow commit is remembered for a few, a disk that is always slow for ever; a quick one after it changes nothing at
 * once. */
static void a_slow_disk_is_left_to_the_committer_until_it_has_been_quick_for_a_while(void **state)
{
    struct troupe__pace pace = {0};
    int commits = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        troupe__pace_took(&pace, SLOW_NS);
        assert_false(troupe__pace_commits_here(&pace, 0));
    }
    while (!troupe__pace_commits_here(&pace, 0)) {
        troupe__pace_took(&pace, QUICK_NS);
        commits++;
    }
    assert_in_range(commits, 2, 20);
}

/* The epochs until the next one that may yield; that one is the last of them. */
static int epochs_to_yield(struct troupe__pace *pace)
{
    int epochs = 1;
    while (!troupe__pace_yields(pace)) {
        epochs++;
    }
    return epochs;
}

/* While nobody wants the core long there is one for each epoch. Beside a program that computes they become rare, up to
 * a limit; when it has ended they come back. */
static void yields_become_rare_while_they_take_long(void **state)
{
    struct troupe__pace pace = {0};
    int before = 1, epochs;
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(epochs_to_yield(&pace), 1);
        troupe__pace_yielded(&pace, TROUPE__PACE_YIELD_NS);
    }
    for (int i = 0; i < 20; i++) {
        troupe__pace_yielded(&pace, TROUPE__PACE_YIELD_NS + 1);
        epochs = epochs_to_yield(&pace);
        assert_true(epochs > before || epochs == TROUPE__PACE_PAUSE_MAX + 1);
        before = epochs;
    }
    assert_int_equal(before, TROUPE__PACE_PAUSE_MAX + 1);
    for (int i = 0; i < 20; i++) {
        troupe__pace_yielded(&pace, 1000);
        assert_int_equal(epochs_to_yield(&pace), 1);
    }
    troupe__pace_yielded(&pace, TROUPE__PACE_YIELD_NS + 1);
    assert_int_equal(epochs_to_yield(&pace), TROUPE__PACE_PAUSE_MIN + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_with_little_to_do_commits_by_itself),
        cmocka_unit_test(a_loop_that_has_worked_long_for_an_epoch_leaves_it_to_the_committer),
        cmocka_unit_test(a_slow_disk_is_left_to_the_committer_until_it_has_been_quick_for_a_while),
        cmocka_unit_test(yields_become_rare_while_they_take_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
