/* progress_test.c - lines on a terminal that say how far a command is: drawn over themselves, cut to fit, taken away.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/progress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

/* The standard error is a terminal of 4 lines of 30 characters. */
struct terminal {
    int master, before;
};

static void open_terminal(struct terminal *terminal)
{
    struct winsize size = {.ws_row = 4, .ws_col = 30};
    terminal->before = dup(STDERR_FILENO);
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal->master >= 0 && grantpt(terminal->master) == 0 && unlockpt(terminal->master) == 0);
    int slave = open(ptsname(terminal->master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0 && dup2(slave, STDERR_FILENO) >= 0);
    close(slave);
}

/* What was written since the last call; a terminal turns \n into \r\n. */
static void expect(const struct terminal *terminal, const char *expected)
{
    char text[1024];
    size_t size = 0, wanted = strlen(expected);
    while (size < wanted) {
        ssize_t got = read(terminal->master, text + size, sizeof text - 1 - size);
        assert_true(got > 0);
        size += (size_t)got;
    }
    text[size] = '\0';
    assert_string_equal(text, expected);
}

static void close_terminal(struct terminal *terminal)
{
    dup2(terminal->before, STDERR_FILENO);
    close(terminal->before);
    close(terminal->master);
}

static void lines_are_drawn_over_themselves(void **state)
{
    (void)state;
    struct terminal terminal;
    struct troupe__progress progress = {.command = "x"};
    open_terminal(&terminal);
    troupe__progress_draw(&progress, "one");
    expect(&terminal, "\r\033[Ktroupe x: one");
    troupe__progress_draw(&progress, "two\nlines");
    expect(&terminal, "\r\033[Ktroupe x: two\r\nlines");
    troupe__progress_draw(&progress, "again");
    expect(&terminal, "\r\033[K\033[A\033[Ktroupe x: again");
    troupe__progress_end(&progress);
    expect(&terminal, "\r\033[K");
    troupe__progress_end(&progress); /* There is nothing to take away. */
    troupe__progress_draw(&progress, "last");
    expect(&terminal, "\r\033[Ktroupe x: last");
    close_terminal(&terminal);
}

/* Else the terminal would break or scroll lines, and they could not be drawn over. */
static void what_does_not_fit_is_cut_off(void **state)
{
    (void)state;
    struct terminal terminal;
    struct troupe__progress progress = {.command = "x"};
    open_terminal(&terminal);
    troupe__progress_draw(&progress, "123456789012345678901234567890\n123456789012345678901234567890\nc\nd\ne");
    expect(&terminal, "\r\033[Ktroupe x: 1234567890123456789\r\n12345678901234567890123456789\r\nc");
    troupe__progress_end(&progress);
    expect(&terminal, "\r\033[K\033[A\033[K\033[A\033[K");
    close_terminal(&terminal);
}

static void a_bar_is_full_only_when_all_is_done(void **state)
{
    (void)state;
    static const struct {
        uint64_t done, all;
        const char *bar;
    } cases[] = {{0, 0, "[--------------------]   0 %"},
                 {0, 10, "[--------------------]   0 %"},
                 {5, 10, "[##########----------]  50 %"},
                 {999, 1000, "[###################-]  99 %"},
                 {1000, 1000, "[####################] 100 %"},
                 {1500, 1000, "[###################-]  99 %"},
                 {UINT64_MAX - 1, UINT64_MAX, "[###################-]  99 %"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bar[TROUPE__PROGRESS_BAR_SIZE];
        troupe__progress_bar(cases[i].done, cases[i].all, bar);
        assert_string_equal(bar, cases[i].bar);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_drawn_over_themselves),
        cmocka_unit_test(what_does_not_fit_is_cut_off),
        cmocka_unit_test(a_bar_is_full_only_when_all_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
