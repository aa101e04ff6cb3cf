/* log_test.c - an event is one line, whatever its text holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/cli/log.h"
#include "runtime/cli/progress.h"

static void expect_line(const struct troupe__log *log, const char *text, const char *wanted)
{
    struct troupe__buffer line = {0};
    troupe__log_write(log, TROUPE_WARNING, 1764063005007, text, &line);
    assert_false(line.failed);
    troupe__buffer_put_byte(&line, '\0');
    assert_string_equal((char *)line.data, wanted);
    troupe__buffer_free(&line);
}

/* Text from a user can neither end the line nor command the terminal, and can be read back. */
static void logfmt_escapes_what_is_no_text(void **state)
{
    (void)state;
    struct troupe__log log = {.format = TROUPE__LOGFMT};
#define HEAD "time=2025-11-25T09:30:05.007Z level=warning msg="
    expect_line(&log, "plain", HEAD "\"plain\"\n");
    expect_line(&log, "a\"b\\c", HEAD "\"a\\\"b\\\\c\"\n");
    expect_line(&log, "a\nb\tc\rd", HEAD "\"a\\nb\\tc\\rd\"\n");
    expect_line(&log, "\033[31m\x7f", HEAD "\"\\x1b[31m\\x7f\"\n");
    expect_line(&log, "\xc3\xa4 \xe2\x82\xac", HEAD "\"\xc3\xa4 \xe2\x82\xac\"\n");
    expect_line(&log, "\xff \xc3", HEAD "\"\\xff \\xc3\"\n");
    expect_line(&log, "\xc2\x9b", HEAD "\"\\xc2\\x9b\"\n");
    expect_line(&log, "", HEAD "\"\"\n");
#undef HEAD
}

static void json_escapes_what_is_no_text(void **state)
{
    (void)state;
    struct troupe__log log = {.format = TROUPE__LOG_JSON};
#define HEAD "{\"time\":\"2025-11-25T09:30:05.007Z\",\"level\":\"warning\",\"msg\":"
    expect_line(&log, "a\"b\\c\nd", HEAD "\"a\\\"b\\\\c\\nd\"}\n");
    expect_line(&log, "\033 \xff", HEAD "\"\\u001b \xef\xbf\xbd\"}\n");
#undef HEAD
}

static void a_node_with_a_name_says_it(void **state)
{
    (void)state;
    struct troupe__log log = {.format = TROUPE__LOGFMT, .node = "n1"};
    expect_line(&log, "x", "time=2025-11-25T09:30:05.007Z level=warning node=n1 msg=\"x\"\n");
    log.format = TROUPE__LOG_JSON;
    expect_line(&log, "x",
                "{\"time\":\"2025-11-25T09:30:05.007Z\",\"level\":\"warning\",\"node\":\"n1\",\"msg\":\"x\"}\n");
}

static void a_number_stays_short(void **state)
{
    (void)state;
    assert_string_equal(troupe__progress_number(0), "0");
    assert_string_equal(troupe__progress_number(9999), "9999");
    assert_string_equal(troupe__progress_number(12340), "12.34k");
    assert_string_equal(troupe__progress_number(5000000), "5000k");
    assert_string_equal(troupe__progress_number(12345678), "12.35M");
    assert_string_equal(troupe__progress_number(UINT64_MAX), "18446744T");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_escapes_what_is_no_text),
        cmocka_unit_test(json_escapes_what_is_no_text),
        cmocka_unit_test(a_node_with_a_name_says_it),
        cmocka_unit_test(a_number_stays_short),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
