/* progress.c - one line on a terminal that says how far a long command is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_MS = 2000, PERIOD_MS = 200, WIDTH_DEFAULT = 80 };

static const char clear[] = "\r\033[K";

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool on_terminal(void)
{
    return isatty(STDERR_FILENO);
}

const char *troupe__progress_clearing(void)
{
    return on_terminal() ? clear : "";
}

bool troupe__progress_due(struct troupe__progress *progress)
{
    int64_t now = monotonic_ms();
    if (progress->begun_ms == 0) {
        progress->begun_ms = now;
    }
    return now - progress->begun_ms >= FIRST_MS && now - progress->drawn_ms >= PERIOD_MS && on_terminal();
}

void troupe__progress_draw(struct troupe__progress *progress, const char *text)
{
    struct winsize size = {0};
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : WIDTH_DEFAULT;
    char line[512];
    snprintf(line, sizeof line, "troupe %s: %s", progress->command, text);
    fprintf(stderr, "%s%.*s", clear, width - 1, line);
    fflush(stderr);
    progress->drawn_ms = monotonic_ms();
    progress->drawn = true;
}

void troupe__progress_count(struct troupe__progress *progress, const char *what, uint64_t count, const char *unit)
{
    char text[128];
    if (troupe__progress_due(progress)) {
        snprintf(text, sizeof text, "%s: %s %s", what, troupe__progress_number(count), unit);
        troupe__progress_draw(progress, text);
    }
}

void troupe__progress_end(struct troupe__progress *progress)
{
    if (progress->drawn) {
        fputs(clear, stderr);
        fflush(stderr);
        progress->drawn = false;
    }
}

const char *troupe__progress_number(uint64_t number)
{
    static char texts[4][24];
    static unsigned next;
    static const char units[] = {'k', 'M', 'G', 'T'};
    char *text = texts[next++ % 4];
    double value = (double)number;
    int unit = -1;
    while (value >= 9999.5 && unit < 3) {
        value /= 1000;
        unit++;
    }
    if (unit < 0) {
        snprintf(text, sizeof texts[0], "%" PRIu64, number);
    } else {
        snprintf(text, sizeof texts[0], "%.*f%c",
                 value < 10     ? 2
                 : value < 100  ? 2
                 : value < 1000 ? 1
                                : 0,
                 value, units[unit]);
    }
    return text;
}
