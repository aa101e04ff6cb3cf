/* log.h - the events of a node as lines on the standard error.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One line per event, written at once, so that the lines of several processes do not mix:
 *   logfmt  time=2026-11-23T09:30:00.125Z level=info node=n1 msg="node open: data, epoch 7"
 *   json    {"time":"2026-11-23T09:30:00.125Z","level":"info","node":"n1","msg":"node open: data, epoch 7"}
 * `node` is there if it has a name. Text comes from users and from disk, and is escaped: in logfmt control characters
 * and bytes that are not UTF-8 become \n, \r, \t or \xNN; in JSON they become \u00NN and U+FFFD. */
#ifndef TROUPE_RUNTIME_CLI_LOG_H
#define TROUPE_RUNTIME_CLI_LOG_H

#include "core/buffer.h"
#include "core/troupe.h"

enum troupe__log_format { TROUPE__LOGFMT, TROUPE__LOG_JSON };

struct troupe__log {
    enum troupe_level least; /* events below it are dropped */
    enum troupe__log_format format;
    const char *node; /* NULL: no name */
};

/* The names of the levels, by number. */
extern const char *const troupe__log_levels[TROUPE_ERROR + 1];

/* A troupe_log_fn; `log` is a struct troupe__log. A progress line that stands on the terminal is cleared first. */
void troupe__log_line(void *log, enum troupe_level level, const char *text);

/* Append the line, with its end, of an event at `time_ms` (since 1970). */
void troupe__log_write(const struct troupe__log *log, enum troupe_level level, int64_t time_ms, const char *text,
                       struct troupe__buffer *line);

#endif
