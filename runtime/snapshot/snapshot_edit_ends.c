/* snapshot_edit_ends.c - where a node of a snapshot goes on: with the lines of an input, with the numbers of an egress.
 * SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/machine/egress.h"
#include "runtime/machine/machine_rows.h"
#include "runtime/snapshot/snapshot_edit_parts.h"
#include "transport/input.h"

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

/* What a node knows the input by: the path without links, as far as that can be told here. Returns one of both. */
static const char *known_path(const char *path, char real[static PATH_MAX])
{
    return realpath(path, real) ? real : path;
}

static enum troupe_error set_position(struct troupe__edit *edit, struct troupe__edit_part *part, const char *path,
                                      const struct troupe__buffer *value)
{
    char key[TROUPE__ROW_KEY_MAX + 1];
    if ((size_t)snprintf(key, sizeof key, "%s%s", TROUPE__INPUT_PREFIX, path) >= sizeof key) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "the path '%.60s..' has more than %zu bytes", path,
                                 sizeof key - sizeof TROUPE__INPUT_PREFIX);
    }
    return troupe__edit_set_row(edit, part, TROUPE__META, troupe_string(key), value);
}

/* Read up to the end of that line, as a node would. */
static enum troupe_error go_to_line(struct troupe__input *input, uint64_t line, char *error, size_t error_size)
{
    struct troupe_bytes text;
    enum troupe_error result = TROUPE_OK;
    while (input->line < line && (result == TROUPE_OK || result == TROUPE_ETOOBIG)) {
        result = troupe__input_next(input, &text, error, error_size);
    }
    if (result == TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%.300s has %llu lines", input->path, (unsigned long long)input->line);
        return TROUPE_EINVAL;
    }
    return result == TROUPE_ETOOBIG ? TROUPE_OK : result;
}

/* The position behind a line of a file that is here, and the hash that it is known again by. */
static enum troupe_error set_by_file(struct troupe__edit *edit, struct troupe__edit_part *part,
                                     const struct troupe__edit_request *request)
{
    struct troupe__input input;
    struct troupe__buffer mark = {0};
    uint64_t trace = 0;
    char text[400] = "";
    enum troupe_error result = troupe__input_open(&input, request->input, text, sizeof text);
    if (result != TROUPE_OK) {
        return troupe__edit_fail(edit, result, "%.400s: give 'offset' too, the bytes of these lines, if it is not here",
                                 text);
    }
    if (!input.regular) {
        snprintf(text, sizeof text, "input %.300s is no file: it has no positions", input.path);
        result = TROUPE_EINVAL;
    }
    result = result == TROUPE_OK ? go_to_line(&input, request->line, text, sizeof text) : result;
    result = result == TROUPE_OK ? troupe__input_trace(&input, &trace, text, sizeof text) : result;
    if (result == TROUPE_OK) {
        troupe__buffer_put_varint(&mark, input.offset);
        troupe__buffer_put_varint(&mark, input.line);
        troupe__buffer_put_varint(&mark, trace);
        result = set_position(edit, part, input.path, &mark);
        troupe__buffer_free(&mark);
    } else {
        troupe__edit_fail(edit, result, "%s", text);
    }
    troupe__input_close(&input);
    return result;
}

enum troupe_error troupe__edit_set_input(struct troupe__edit *edit, const struct troupe__edit_request *request)
{
    struct troupe__edit_part *part;
    struct troupe__buffer mark = {0};
    enum troupe_error result = troupe__edit_find_node(edit, request->node, &part);
    if (result != TROUPE_OK) {
        return result;
    }
    if (request->input[0] != '/') {
        return troupe__edit_fail(edit, TROUPE_EINVAL,
                                 "'%.100s' is no absolute path, which is what an input is known by", request->input);
    }
    if (!request->has_line) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "say 'line': how many lines were taken in, 0 for none");
    }
    if (!request->has_offset) {
        return set_by_file(edit, part, request);
    }
    if (request->offset < request->line || (request->line == 0 && request->offset > 0)) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "%llu lines do not end at byte %llu",
                                 (unsigned long long)request->line, (unsigned long long)request->offset);
    }
    troupe__buffer_put_varint(&mark, request->offset);
    troupe__buffer_put_varint(&mark, request->line);
    char real[PATH_MAX];
    result = set_position(edit, part, known_path(request->input, real), &mark);
    troupe__buffer_free(&mark);
    return result;
}

static bool has_position(const struct troupe__edit_part *part, const char *path, char key[TROUPE__ROW_KEY_MAX + 1])
{
    return (size_t)snprintf(key, TROUPE__ROW_KEY_MAX + 1, "%s%s", TROUPE__INPUT_PREFIX, path) <= TROUPE__ROW_KEY_MAX &&
           troupe__view_find(&part->view, TROUPE__META, troupe_string(key));
}

/* The path itself was a file's, perhaps, when it was read. */
enum troupe_error troupe__edit_clear_input(struct troupe__edit *edit, const struct troupe__edit_request *request)
{
    struct troupe__edit_part *part;
    char key[TROUPE__ROW_KEY_MAX + 1], real[PATH_MAX];
    enum troupe_error result = troupe__edit_find_node(edit, request->node, &part);
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__edit_settle(part);
    if (!has_position(part, known_path(request->input, real), key) && !has_position(part, request->input, key)) {
        return troupe__edit_fail(edit, TROUPE_ENOTFOUND, "node %s knows no position in '%.300s'",
                                 edit->snapshot.parts[part - edit->parts].node, request->input);
    }
    return troupe__edit_remove_row(edit, part, TROUPE__META, troupe_string(key));
}

/* ---- egresses ---------------------------------------------------------------------------------------------------- */

/* An egress of a node whose numbers change. Records of all egresses of the node are also counted together, so that the
 * numbers of those that are not out move by as much. */
struct renumbering {
    struct troupe__edit *edit;
    struct troupe__edit_part *part;
    const char *name;
    uint64_t last, new_last; /* the number of the egress's last record */
    uint64_t released;       /* the last record of any that is out */
};

static uint64_t moved(const struct renumbering *at, uint64_t number)
{
    return number - at->last + at->new_last; /* Modulo 2^64. */
}

/* A row of records, without those that are out. */
static enum troupe_error move_row(const struct renumbering *at, const struct troupe__view_row *row)
{
    struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size, false};
    struct troupe__egress record;
    struct troupe__buffer kept = {0};
    unsigned char key[8];
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && troupe__egress_next(&cursor, &record)) {
        bool is_its = record.name.size == strlen(at->name) && memcmp(record.name.data, at->name, record.name.size) == 0;
        if (record.number <= at->released) {
            continue;
        }
        if (is_its) {
            result = troupe__edit_fail(at->edit, TROUPE_EINVAL,
                                       "egress '%s' has records that are not known to be out, up to %llu: let the node "
                                       "put them out first, and edit a snapshot of then",
                                       at->name, (unsigned long long)at->last);
        }
        record.number = moved(at, record.number);
        if (kept.size == 0) {
            troupe__put_be64(key, record.number);
        }
        troupe__egress_put(&kept, &record);
    }
    if (cursor.failed) {
        result = troupe__edit_fail(at->edit, TROUPE_ECORRUPT, "a row of records is malformed");
    }
    result = result == TROUPE_OK ? troupe__edit_remove_row(at->edit, at->part, TROUPE__EGRESS, row->key) : result;
    if (result == TROUPE_OK && (kept.size > 0 || kept.failed)) {
        result =
            troupe__edit_set_row(at->edit, at->part, TROUPE__EGRESS, (struct troupe_bytes){key, sizeof key}, &kept);
    }
    troupe__buffer_free(&kept);
    return result;
}

/* A row may come to stand where another one is still to be moved from: so those that move up are moved last first. */
static enum troupe_error move_rows(const struct renumbering *at)
{
    const struct troupe__view_table *table = &at->part->view.tables[TROUPE__EGRESS];
    uint64_t changes = at->edit->changes; /* They belong to the one that is counted. */
    size_t count = table->count;          /* What is set is put behind them. */
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        result = move_row(at, table->rows[at->new_last > at->last ? count - 1 - i : i]);
    }
    at->edit->changes = changes;
    return result;
}

enum troupe_error troupe__edit_set_egress(struct troupe__edit *edit, const struct troupe__edit_request *request)
{
    char key[sizeof TROUPE__EGRESS_PREFIX + TROUPE_NAME_MAX];
    struct troupe__edit_part *part;
    struct troupe__buffer mark = {0};
    enum troupe_error result = troupe__edit_find_node(edit, request->node, &part);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!request->has_next || request->next == 0 || request->next > INT64_MAX) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "say 'next': the number of its next record, from 1");
    }
    if ((size_t)snprintf(key, sizeof key, "%s%s", TROUPE__EGRESS_PREFIX, request->egress) >= sizeof key) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "the name of an egress has 1 to %d bytes", TROUPE_NAME_MAX);
    }
    troupe__edit_settle(part);
    struct troupe__snapshot_part *said = &edit->snapshot.parts[part - edit->parts];
    struct troupe__counters *counters = &part->counters;
    const struct troupe__view_row *row = troupe__view_find(&part->view, TROUPE__META, troupe_string(key));
    struct troupe__cursor cursor = {0};
    if (row) {
        cursor =
            (struct troupe__cursor){row->value.data, (const unsigned char *)row->value.data + row->value.size, false};
    }
    struct renumbering at = {.edit = edit, .part = part, .name = request->egress, .new_last = request->next - 1};
    at.last = row ? troupe__cursor_varint(&cursor) : 0;
    at.released = said->released < counters->egress ? said->released : counters->egress;
    at.released = at.released > counters->egress_released ? at.released : counters->egress_released;
    if (cursor.failed || counters->egress < at.last) {
        return troupe__edit_fail(edit, TROUPE_ECORRUPT, "the row of egress '%s' is malformed", request->egress);
    }
    if (row && at.last == at.new_last) {
        return TROUPE_OK;
    }
    result = move_rows(&at);
    if (result != TROUPE_OK) {
        return result;
    }
    counters->egress = moved(&at, counters->egress);
    counters->egress_released = moved(&at, at.released);
    said->released = said->released ? counters->egress_released : 0;
    troupe__buffer_put_varint(&mark, at.new_last);
    result = troupe__edit_set_row(edit, part, TROUPE__META, troupe_string(key), &mark);
    troupe__buffer_free(&mark);
    return result;
}
