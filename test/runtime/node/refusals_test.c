/* refusals_test.c - strangers are told of at once, and however many there are they do not fill the log.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "runtime/node/refusals.h"

static struct troupe__refusals refusals;
static char text[300];

static int set_up(void **state)
{
    (void)state;
    troupe__refusals_init(&refusals);
    text[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    troupe__refusals_fini(&refusals);
    return 0;
}

static bool is_told(const char *address, const char *why, int64_t now_ms)
{
    troupe__refusals_note(&refusals, address, why);
    return troupe__refusals_tell(&refusals, "a client was", now_ms, text, sizeof text);
}

/* The first line says who and why; it is not said twice. */
static void one_refusal_is_told_once(void **state)
{
    (void)state;
    assert_false(troupe__refusals_tell(&refusals, "a client was", 1000000, text, sizeof text));
    assert_true(is_told("10.0.0.7", "it has no key", 1000000));
    assert_string_equal(text, "a client was refused (1 connections so far), the last from 10.0.0.7: it has no key");
    assert_false(troupe__refusals_tell(&refusals, "a client was", 2000000, text, sizeof text));
    assert_true(is_told("", "it has no key", 2000000));
    assert_non_null(strstr(text, "from this machine"));
}

/* A million attempts of one stranger within an hour: a line each time they have doubled, and one a minute. */
static void one_who_does_not_stop_does_not_fill_the_log(void **state)
{
    (void)state;
    int lines = 0;
    for (int64_t i = 0; i < 1000000; i++) {
        lines += is_told("10.0.0.7", "it has no key", 1000000 + i * 3600 / 1000);
    }
    assert_in_range(lines, 60, 60 + 20);
}

/* Whoever comes with another key each time: ten lines a minute, and what doubles. */
static void nor_does_one_with_many_keys(void **state)
{
    (void)state;
    int lines = 0;
    for (int64_t i = 0; i < 100000; i++) {
        char why[100];
        snprintf(why, sizeof why, "its key %d is not in the cluster file", (int)i);
        lines += is_told("10.0.0.7", why, 1000000 + i * 600 / 1000);
    }
    assert_in_range(lines, 10, 10 + 17);
    assert_true(is_told("10.0.0.8", "it has no key", 1000000 + 120000));
}

/* Another one is told of at once, however often the first has knocked. */
static void another_one_is_told_of_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)is_told("10.0.0.7", "it has no key", 1000000);
    }
    assert_false(is_told("10.0.0.7", "it has no key", 1000001));
    assert_true(is_told("10.0.0.7", "its key A is not in the cluster file", 1000001));
    assert_true(is_told("10.0.0.9", "its key A is not in the cluster file", 1000001));
    assert_non_null(strstr(text, "(1003 connections so far), the last from 10.0.0.9: its key A"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_refusal_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_who_does_not_stop_does_not_fill_the_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nor_does_one_with_many_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_one_is_told_of_at_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
