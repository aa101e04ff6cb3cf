/* progress.c - one line on a terminal, or some, that say how far a long command is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/buffer.h"
#include "runtime/cli/monotonic.h"

enum { FIRST_MS = 2000, PERIOD_MS = 200, WIDTH_DEFAULT = 80, HEIGHT_DEFAULT = 24 };

static const char clear[] = "\r\033[K";

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
    int64_t now = troupe__monotonic_ms();
    if (progress->begun_ms == 0) {
        progress->begun_ms = now;
    }
    return now - progress->begun_ms >= (progress->first_ms ? progress->first_ms : FIRST_MS) &&
           now - progress->drawn_ms >= PERIOD_MS && on_terminal();
}

/* What takes the lines away and leaves the cursor where the first one began. */
static void put_clearing(struct troupe__buffer *out, const struct troupe__progress *progress)
{
    static const char up[] = "\033[A\033[K";
    troupe__buffer_put(out, clear, strlen(clear));
    for (int i = 1; i < progress->lines; i++) {
        troupe__buffer_put(out, up, strlen(up));
    }
}

/* In one piece: other processes write there too. */
static void write_out(struct troupe__buffer *out)
{
    if (!out->failed) {
        fwrite(out->data, 1, out->size, stderr);
        fflush(stderr);
    }
    troupe__buffer_free(out);
}

void troupe__progress_draw(struct troupe__progress *progress, const char *text)
{
    struct winsize size = {0};
    char head[64];
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
    size_t width = known && size.ws_col > 1 ? size.ws_col - 1 : WIDTH_DEFAULT - 1;
    int height = known && size.ws_row > 1 ? size.ws_row - 1 : HEIGHT_DEFAULT - 1, lines = 0;
    struct troupe__buffer out = {0};
    put_clearing(&out, progress);
    snprintf(head, sizeof head, "troupe %s: ", progress->command);
    while (*text && lines < height) {
        const char *before = lines == 0 ? head : "\n";
        size_t length = strcspn(text, "\n"), room = lines > 0 ? width : width > strlen(head) ? width - strlen(head) : 0;
        troupe__buffer_put(&out, before, strlen(before));
        troupe__buffer_put(&out, text, length < room ? length : room);
        text += length + (text[length] == '\n');
        lines++;
    }
    progress->lines = out.failed ? progress->lines : lines;
    progress->drawn_ms = troupe__monotonic_ms();
    write_out(&out);
}

void troupe__progress_bar(uint64_t done, uint64_t all, char text[static TROUPE__PROGRESS_BAR_SIZE])
{
    enum { WIDTH = 20 };
    int percent = all == 0 ? 0 : done == all ? 100 : done < all ? (int)((double)done / (double)all * 100) : 99;
    percent = percent == 100 && done != all ? 99 : percent;
    text[0] = '[';
    for (int i = 0; i < WIDTH; i++) {
        text[1 + i] = i < percent * WIDTH / 100 ? '#' : '-';
    }
    snprintf(text + 1 + WIDTH, TROUPE__PROGRESS_BAR_SIZE - 1 - WIDTH, "] %3d %%", percent);
}

void troupe__progress_count(struct troupe__progress *progress, const char *what, uint64_t count, const char *unit)
{
    char text[128];
    if (troupe__progress_due(progress)) {
        snprintf(text, sizeof text, "%s: %s %s", what, troupe__progress_number(count), unit);
        troupe__progress_draw(progress, text);
    }
}

static void show_share(struct troupe__progress_rows *shown, uint64_t count, const char *unit)
{
    char text[160];
    if (shown->all == 0) {
        troupe__progress_count(&shown->progress, shown->what, count, unit);
    } else if (troupe__progress_due(&shown->progress)) {
        unsigned percent = count < shown->all ? (unsigned)((double)count / (double)shown->all * 100) : 99;
        snprintf(text, sizeof text, "%s: %s of %s %s, %u %%", shown->what, troupe__progress_number(count),
                 troupe__progress_number(shown->all), unit, percent);
        troupe__progress_draw(&shown->progress, text);
    }
}

void troupe__progress_rows(void *progress_rows, uint64_t rows)
{
    show_share(progress_rows, rows, "rows");
}

void troupe__progress_bytes(void *progress_rows, uint64_t bytes)
{
    show_share(progress_rows, bytes, "bytes");
}

void troupe__progress_end(struct troupe__progress *progress)
{
    if (progress->lines > 0) {
        struct troupe__buffer out = {0};
        put_clearing(&out, progress);
        write_out(&out);
        progress->lines = 0;
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
