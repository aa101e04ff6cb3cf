/* log.c - the events of a node as lines on the standard error.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/progress.h"
#include "transport/json.h"
#include "transport/utf8.h"

const char *const troupe__log_levels[TROUPE_ERROR + 1] = {"debug", "info", "warning", "error"};

static void put_text(struct troupe__buffer *line, const char *text)
{
    troupe__buffer_put(line, text, strlen(text));
}

/* Characters that a terminal would take as commands: C0, DEL, and C1 (U+0080 to U+009F). */
static bool is_control(const unsigned char *at, size_t length)
{
    return length == 1 ? *at < ' ' || *at == 0x7f : length == 2 && at[0] == 0xc2 && at[1] < 0xa0;
}

static void put_quoted(struct troupe__buffer *line, const char *text)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
    troupe__buffer_put_byte(line, '"');
    while (at < end) {
        size_t length = *at < 0x80 ? 1 : troupe__utf8_length(at, end);
        if (*at == '"' || *at == '\\') {
            troupe__buffer_put_byte(line, '\\');
            troupe__buffer_put_byte(line, *at++);
        } else if (*at == '\n' || *at == '\r' || *at == '\t') {
            put_text(line, *at == '\n' ? "\\n" : *at == '\r' ? "\\r" : "\\t");
            at++;
        } else if (length == 0 || is_control(at, length)) {
            char escape[5];
            snprintf(escape, sizeof escape, "\\x%02x", *at++); /* The second byte of a C1 is then alone: escaped too. */
            put_text(line, escape);
        } else {
            troupe__buffer_put(line, at, length);
            at += length;
        }
    }
    troupe__buffer_put_byte(line, '"');
}

void troupe__log_write(const struct troupe__log *log, enum troupe_level level, int64_t time_ms, const char *text,
                       struct troupe__buffer *line)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char second[32], when[40];
    gmtime_r(&seconds, &parts);
    strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(when, sizeof when, "%s.%03dZ", second, (int)(time_ms % 1000));
    bool json = log->format == TROUPE__LOG_JSON;
    put_text(line, json ? "{\"time\":\"" : "time=");
    put_text(line, when);
    put_text(line, json ? "\",\"level\":\"" : " level=");
    put_text(line, troupe__log_levels[level]);
    put_text(line, json ? "\"" : "");
    if (log->node) {
        put_text(line, json ? ",\"node\":" : " node=");
        json ? troupe__json_write_string(log->node, strlen(log->node), line) : put_text(line, log->node);
    }
    put_text(line, json ? ",\"msg\":" : " msg=");
    json ? troupe__json_write_string(text, strlen(text), line) : put_quoted(line, text);
    put_text(line, json ? "}\n" : "\n");
}

static void write_all(const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t count = write(STDERR_FILENO, at, size);
        if (count < 0 && errno != EINTR) {
            return; /* There is nowhere left to say so. */
        }
        at += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
}

void troupe__log_line(void *context, enum troupe_level level, const char *text)
{
    const struct troupe__log *log = context;
    struct troupe__buffer line = {0};
    struct timespec now;
    if (level < log->least) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    put_text(&line, troupe__progress_clearing());
    troupe__log_write(log, level, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, text, &line);
    if (line.failed) {
        static const char lost[] = "level=error msg=\"out of memory: an event is not logged\"\n";
        write_all(lost, sizeof lost - 1);
    } else {
        write_all(line.data, line.size);
    }
    troupe__buffer_free(&line);
}
