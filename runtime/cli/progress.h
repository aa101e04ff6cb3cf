/* progress.h - one line on a terminal that says how far a long command is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It stands on the standard error, is drawn over itself, appears only after two seconds, and never if that is not a
 * terminal. Whoever prints other lines there puts troupe__progress_clearing() before them; that holds across
 * processes too, as a supervisor does not know what its child has drawn. */
#ifndef TROUPE_RUNTIME_CLI_PROGRESS_H
#define TROUPE_RUNTIME_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct troupe__progress { /* Zero bytes but for `command` are one that has not begun. */
    const char *command;
    int64_t begun_ms, drawn_ms; /* on the monotonic clock */
    bool drawn;
};

/* Whether it is time for a new text: on a terminal, two seconds after the first call, then five times a second. Ask it
 * before putting a text together. */
bool troupe__progress_due(struct troupe__progress *progress);

/* Draw `text` (plain, one line; what is wider than the terminal is cut off). */
void troupe__progress_draw(struct troupe__progress *progress, const char *text);

/* Both for `count` of something: "reading: 12.34k rows". */
void troupe__progress_count(struct troupe__progress *progress, const char *what, uint64_t count, const char *unit);

/* Take the line away. */
void troupe__progress_end(struct troupe__progress *progress);

/* What to write before another line: what clears this one, or "" where there is no terminal. */
const char *troupe__progress_clearing(void);

/* `number` in a short form with at most 4 significant digits, such as 12.34k or 5000k; static, one of four in turn. */
const char *troupe__progress_number(uint64_t number);

#endif
