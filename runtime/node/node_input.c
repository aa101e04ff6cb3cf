/* node_input.c - the input of a node: lines taken in as there is room, from where the last epoch stopped.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "runtime/machine/machine_rows.h"
#include "runtime/node/node.h"
#include "transport/json.h"

enum {
    LINES_BUDGET = 256,   /* lines taken in between two runs, ... */
    WAITING_ENOUGH = 256, /* ... unless so many messages wait: what is finished in its epoch leaves no row ... */
    LINES_TRICKLE = 8,    /* ... and then so few, so that messages that go around for ever do not stop the input */
};

/* A line that is no message: kept as a dead letter, so that nothing is lost, and the rest goes on. But what has no end,
 * and is not `whole`, is left in its file, since who writes there may be in the middle of it. */
static enum troupe_error refuse_line(struct troupe_node *node, struct troupe_bytes text, bool whole, const char *reason)
{
    char why[512];
    snprintf(why, sizeof why, "line %llu: %.300s (%.150s)", (unsigned long long)node->input.line, reason,
             node->options.input);
    if (!whole && troupe__input_put_back(&node->input)) {
        troupe__node_report(node, TROUPE_WARNING, "%s; it has no line end: left for the next start", why);
        return TROUPE_OK;
    }
    troupe__node_report(node, TROUPE_ERROR, "%s; kept as a dead letter", why);
    node->bad_lines++;
    return troupe__machine_bury(&node->machine, why, text);
}

static bool blank(struct troupe_bytes text)
{
    const char *at = text.data;
    for (size_t i = 0; i < text.size; i++) {
        if (at[i] != ' ' && at[i] != '\t' && at[i] != '\r') {
            return false;
        }
    }
    return true;
}

static enum troupe_error take_line(struct troupe_node *node, struct troupe_bytes text)
{
    struct troupe__line line;
    char error[300];
    if (blank(text)) {
        return TROUPE_OK;
    }
    enum troupe_error result = troupe__line_parse(text.data, text.size, &node->line, &line, error, sizeof error);
    bool whole = result == TROUPE_OK;
    if (whole) {
        result =
            troupe__machine_arrive(&node->machine, line.id, troupe_to(line.to_type, line.to_key), line.type, line.body);
        snprintf(error, sizeof error, "%.290s", node->machine.error);
    }
    return result == TROUPE_EINVAL || result == TROUPE_ETOOBIG ? refuse_line(node, text, whole, error) : result;
}

static int lines_wanted(const struct troupe_node *node)
{
    return node->machine.waiting < WAITING_ENOUGH + node->machine.blocked ? LINES_BUDGET : LINES_TRICKLE;
}

enum troupe_error troupe__node_pump_input(struct troupe_node *node, bool *ret_more)
{
    *ret_more = false;
    if (node->input.fd < 0 || node->stopping) {
        return TROUPE_OK;
    }
    if (node->drain_turns > 0) {
        *ret_more = true;
        return TROUPE_OK;
    }
    enum troupe_error result = TROUPE_OK;
    for (int i = 0; i < lines_wanted(node) && result == TROUPE_OK && troupe__node_has_room(node); i++) {
        struct troupe_bytes text;
        char error[300];
        result = troupe__input_next(&node->input, &text, error, sizeof error);
        if (result == TROUPE_ENOTFOUND) {
            if (node->input.ended) {
                uint64_t trace; /* For the mark, which comes after the file is closed. */
                result = node->input.regular
                             ? troupe__input_trace(&node->input, &trace, node->error, sizeof node->error)
                             : TROUPE_OK;
                if (result != TROUPE_OK) {
                    return result;
                }
                troupe__node_report(node, TROUPE_INFO, "input %s ended after line %llu", node->input.path,
                                    (unsigned long long)node->input.line);
                ev_io_stop(node->loop, &node->readable);
                troupe__input_close(&node->input);
            } else {
                ev_io_start(node->loop, &node->readable);
            }
            return TROUPE_OK;
        }
        node->input_moved = node->input.regular; /* What came through a pipe leaves no position. */
        if (result == TROUPE_OK) {
            result = take_line(node, text);
        } else if (result == TROUPE_ETOOBIG) {
            result = refuse_line(node, text, false, error);
        } else {
            snprintf(node->error, sizeof node->error, "%s", error);
            return result;
        }
    }
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
    }
    *ret_more = troupe__node_has_room(node);
    return result;
}

enum troupe_error troupe__node_open_input(struct troupe_node *node)
{
    if (!node->options.input) {
        node->input.fd = -1;
        return TROUPE_OK;
    }
    enum troupe_error result = troupe__input_open(&node->input, node->options.input, node->error, sizeof node->error);
    if (result != TROUPE_OK || !node->input.regular) {
        return result;
    }
    char name[sizeof TROUPE__INPUT_PREFIX + sizeof node->input.path];
    snprintf(name, sizeof name, "%s%s", TROUPE__INPUT_PREFIX, node->input.path);
    if (strlen(name) > TROUPE__ROW_KEY_MAX) {
        snprintf(node->error, sizeof node->error,
                 "input %.300s: the path is too long to remember a position by; use one of "
                 "at most %d bytes",
                 node->input.path, TROUPE__ROW_KEY_MAX - (int)strlen(TROUPE__INPUT_PREFIX));
        return TROUPE_EINVAL;
    }
    struct troupe_bytes mark = troupe__machine_read_mark(&node->machine, name);
    if (!mark.data) {
        return TROUPE_OK;
    }
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    uint64_t offset = troupe__cursor_varint(&cursor), line = troupe__cursor_varint(&cursor);
    uint64_t trace = cursor.at != cursor.end ? troupe__cursor_varint(&cursor) : 0; /* Older ones have none. */
    troupe__node_report(node, TROUPE_INFO, "input %s goes on behind line %llu", node->input.path,
                        (unsigned long long)line);
    return troupe__input_seek(&node->input, offset, line, trace, node->error, sizeof node->error);
}

enum troupe_error troupe__node_mark_input(struct troupe_node *node)
{
    if (!node->input_moved || !node->input.regular) {
        return TROUPE_OK;
    }
    uint64_t trace;
    enum troupe_error result =
        troupe__input_trace(&node->input, &trace, node->machine.error, sizeof node->machine.error);
    if (result != TROUPE_OK) {
        return result;
    }
    node->input_moved = false;
    char name[sizeof TROUPE__INPUT_PREFIX + sizeof node->input.path];
    snprintf(name, sizeof name, "%s%s", TROUPE__INPUT_PREFIX, node->input.path);
    struct troupe__buffer mark = {0};
    troupe__buffer_put_varint(&mark, node->input.offset);
    troupe__buffer_put_varint(&mark, node->input.line);
    troupe__buffer_put_varint(&mark, trace);
    result = mark.failed ? TROUPE_ENOMEM
                         : troupe__machine_mark(&node->machine, name, (struct troupe_bytes){mark.data, mark.size});
    troupe__buffer_free(&mark);
    return result;
}
