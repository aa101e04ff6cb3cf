/* progress.h - one line on a terminal, or some, that say how far a long command is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They stand on the standard error, are drawn over themselves, appear only after two seconds, and never if that is not
 * a terminal. Whoever prints other lines there puts troupe__progress_clearing() before them; that holds across
 * processes too, as a supervisor does not know what its child has drawn. */
#ifndef TROUPE_RUNTIME_CLI_PROGRESS_H
#define TROUPE_RUNTIME_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct troupe__progress { /* Zero bytes but for `command` and `first_ms` are one that has not begun. */
    const char *command;
    int first_ms;               /* when they appear, if not after two seconds */
    int64_t begun_ms, drawn_ms; /* on the monotonic clock */
    int lines;                  /* that stand there; 0: none */
};

/* Whether it is time for a new text: on a terminal, two seconds, or `first_ms`, after the first call, then five times a
 * second. Ask it before putting a text together. */
bool troupe__progress_due(struct troupe__progress *progress);

/* Draw `text`, which is plain, one line or some with newlines between; what is wider or longer than the terminal is cut
 * off. */
void troupe__progress_draw(struct troupe__progress *progress, const char *text);

/* Both for `count` of something: "reading: 12.34k rows". */
void troupe__progress_count(struct troupe__progress *progress, const char *what, uint64_t count, const char *unit);

/* The same as what libraries call back, of about `all` rows, 0 if that is not known: "reading: 1234 of 45.67k rows, 2
 * %". */
struct troupe__progress_rows {
    struct troupe__progress progress;
    const char *what;
    uint64_t all;
};
void troupe__progress_rows(void *progress_rows, uint64_t rows);
/* The same of bytes. */
void troupe__progress_bytes(void *progress_rows, uint64_t bytes);

/* A bar as "[#####-----]  50 %", full only when `done` is `all`: that may be a guess, and exceeded. */
enum { TROUPE__PROGRESS_BAR_SIZE = 32 };
void troupe__progress_bar(uint64_t done, uint64_t all, char text[static TROUPE__PROGRESS_BAR_SIZE]);

/* Take them away. */
void troupe__progress_end(struct troupe__progress *progress);

/* What to write before another line: what clears this one, or "" where there is no terminal. */
const char *troupe__progress_clearing(void);

/* `number` in a short form with at most 4 significant digits, such as 12.34k or 5000k; static, one of four in turn. */
const char *troupe__progress_number(uint64_t number);

#endif
