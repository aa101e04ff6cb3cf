/* snapshot_edit.c - a new snapshot that is an old one with changes: for repair, and to seed a troupe with history.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Changes join the rows of a view as those of a journal's record do: the last one of a key wins when they are settled.
 */
#include "runtime/snapshot/snapshot_edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pack.h"
#include "core/state.h"
#include "runtime/files.h"
#include "runtime/machine/links.h"
#include "runtime/snapshot/snapshot_edit_parts.h"

enum { PROGRESS_ROWS = 1024 }; /* from one call of `progress` to the next */

enum troupe_error troupe__edit_fail(struct troupe__edit *edit, enum troupe_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(edit->error, sizeof edit->error, format, args);
    va_end(args);
    return error;
}

void troupe__edit_settle(struct troupe__edit_part *part)
{
    troupe__view_settle(&part->view);
    part->settled = part->view.tables[TROUPE__STATE].count;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void note_row(struct troupe__edit *edit)
{
    if (++edit->row_count % PROGRESS_ROWS == 0 && edit->progress) {
        edit->progress(edit->progress_context, edit->row_count);
    }
}

struct taking {
    struct troupe__edit *edit;
    struct troupe__view *view;
};

static enum troupe_error take_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct taking *taking = context;
    note_row(taking->edit);
    return troupe__view_add_row(taking->view, table, key, value);
}

/* What it says of its links to the other nodes. */
static enum troupe_error open_links(struct troupe__edit *edit, struct troupe__edit_part *part)
{
    const struct troupe__view_table *meta = &part->view.tables[TROUPE__META];
    size_t count = edit->snapshot.part_count;
    if (!(part->links = calloc(count, sizeof *part->links))) {
        return troupe__edit_fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < meta->count && edit->snapshot.is_troupe; i++) {
        struct troupe__link_row row;
        int peer = troupe__links_row_read(meta->rows[i]->key, meta->rows[i]->value, count, &row);
        if (peer == TROUPE__LINK_ROW_BAD) {
            return troupe__edit_fail(edit, TROUPE_ECORRUPT, "a row of a link is malformed");
        }
        if (peer >= 0) {
            part->links[peer].row = row;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error open_part(struct troupe__edit *edit, const char *directory, size_t index)
{
    struct troupe__edit_part *part = &edit->parts[index];
    struct troupe__view *view = &part->view;
    enum troupe_error result = troupe__view_of(view, NULL);
    if (result != TROUPE_OK) {
        return troupe__edit_fail(edit, result, "out of memory");
    }
    part->open = true;
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        view->tables[table].wanted = true;
    }
    struct taking taking = {edit, view};
    result = troupe__snapshot_read_part(directory, &edit->snapshot.parts[index], take_row, &taking, edit->error,
                                        sizeof edit->error);
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__edit_settle(part);
    result = troupe__view_counters(view, &part->counters);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return troupe__edit_fail(edit, result, "%s", view->error);
    }
    const struct troupe__view_row *specs =
        troupe__view_find(view, TROUPE__META, (struct troupe_bytes){TROUPE__SPECS_ROW, strlen(TROUPE__SPECS_ROW)});
    result = specs ? troupe__specs_decode(specs->value, &part->specs) : TROUPE_OK;
    if (result == TROUPE_OK) {
        return open_links(edit, part);
    }
    return troupe__edit_fail(edit, result, "its row '%s' cannot be read", TROUPE__SPECS_ROW);
}

enum troupe_error troupe__edit_open(struct troupe__edit *edit, const char *directory)
{
    enum troupe_error result = troupe__snapshot_read(directory, &edit->snapshot, edit->error, sizeof edit->error);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!(edit->parts = calloc(edit->snapshot.part_count, sizeof *edit->parts))) {
        return troupe__edit_fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    edit->row_count = 0;
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        result = open_part(edit, directory, i);
    }
    return result;
}

void troupe__edit_fini(struct troupe__edit *edit)
{
    for (size_t i = 0; edit->parts && i < edit->snapshot.part_count; i++) {
        if (edit->parts[i].open) {
            troupe__view_close(&edit->parts[i].view);
        }
        troupe__specs_fini(&edit->parts[i].specs);
        free(edit->parts[i].links);
        troupe__edit_forget_lists(&edit->parts[i]);
    }
    free(edit->parts);
    troupe__snapshot_fini(&edit->snapshot);
    *edit = (struct troupe__edit){0};
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static char *copy_text(void *context, const void *data, size_t size)
{
    struct troupe__edit_request *change = context;
    return troupe__copy_into(change->text, sizeof change->text, &change->text_size, data, size);
}

enum troupe_error troupe__edit_unpack(struct troupe__edit_request *change, char *error, size_t error_size,
                                      struct troupe_bytes body, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_text, change, error, error_size);
    va_end(args);
    return result;
}

enum troupe_error troupe__edit_parse_address(struct troupe__edit *edit, const char *text,
                                             struct troupe__edit_address *ret)
{
    const char *slash = strchr(text, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    size_t size = slash ? (size_t)(slash - text) : 0;
    if (!slash || size > TROUPE_NAME_MAX || !slash[1] || strlen(slash + 1) > TROUPE_KEY_MAX) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "'%.100s' is no address namespace/name/key", text);
    }
    memcpy(ret->type, text, size);
    ret->type[size] = '\0';
    ret->key = slash + 1;
    return troupe__type_name_valid(ret->type) ? TROUPE_OK
                                              : troupe__edit_fail(edit, TROUPE_EINVAL, "'%.100s' is no address", text);
}

/* The part of the node where the actor lives. */
struct troupe__edit_part *troupe__edit_part_of(struct troupe__edit *edit, const struct troupe__edit_address *address)
{
    uint16_t owner =
        edit->snapshot.is_troupe ? edit->snapshot.slots.owner[troupe__slot_of(address->type, address->key)] : 0;
    for (size_t i = 0; i < edit->snapshot.part_count; i++) {
        if (edit->snapshot.parts[i].number == owner) {
            return &edit->parts[i];
        }
    }
    return &edit->parts[0];
}

enum troupe_error troupe__edit_find_node(struct troupe__edit *edit, const char *name, struct troupe__edit_part **ret)
{
    size_t count = edit->snapshot.part_count, at = 0;
    while (name[0] && at < count && strcmp(edit->snapshot.parts[at].node, name) != 0) {
        at++;
    }
    if (at == count) {
        return troupe__edit_fail(edit, TROUPE_ENOTFOUND, "the snapshot has no node '%.100s', but %s%s", name,
                                 edit->snapshot.parts[0].node, count > 1 ? " and others" : "");
    }
    if (!name[0] && count > 1) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "say of which node: each counts by itself; one is %s",
                                 edit->snapshot.parts[0].node);
    }
    *ret = &edit->parts[at];
    return TROUPE_OK;
}

static enum troupe_error apply(struct troupe__edit *edit, struct troupe__edit_part *part, struct troupe__buffer *record)
{
    enum troupe_error result = TROUPE_ENOMEM;
    if (!record->failed) {
        result = troupe__view_add_record(&part->view, (struct troupe_bytes){record->data, record->size});
    }
    troupe__buffer_free(record);
    edit->changes += result == TROUPE_OK;
    return result == TROUPE_OK
               ? result
               : troupe__edit_fail(edit, result, "%s", part->view.error[0] ? part->view.error : "out of memory");
}

enum troupe_error troupe__edit_remove_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                          enum troupe__table table, struct troupe_bytes key)
{
    struct troupe__buffer record = {0};
    troupe__record_remove(&record, table, key.data, key.size);
    return apply(edit, part, &record);
}

enum troupe_error troupe__edit_set_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                       enum troupe__table table, struct troupe_bytes key,
                                       const struct troupe__buffer *value)
{
    struct troupe__buffer record = {.failed = value->failed};
    troupe__record_set(&record, table, key.data, key.size, value->data, value->size);
    return apply(edit, part, &record);
}

/* ---- any change -------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__edit_change(struct troupe__edit *edit, struct troupe_bytes change)
{
    struct troupe__edit_request said = {.what = "", .actor = "", .value = "", .element = "", .to = "", .from = ""};
    const uint64_t none = UINT64_MAX;
    said.type = said.table = said.node = said.to_node = said.input = said.egress = "";
    said.number = said.version = said.due_ms = said.index = said.line = said.offset = said.next = none;
    enum troupe_error result = troupe__edit_unpack(
        &said, edit->error, sizeof edit->error, change,
        "{s:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:m,s?:m,s?:u,s?:u,s?:u,s?:b,s?:u,s?:b,s?:s,s?:s,s?:s,s?:u,"
        "s?:u,s?:u}",
        "do", &said.what, "actor", &said.actor, "value", &said.value, "element", &said.element, "to", &said.to, "from",
        &said.from, "type", &said.type, "table", &said.table, "node", &said.node, "to_node", &said.to_node, "data",
        &said.data, "body", &said.body, "number", &said.number, "version", &said.version, "due_ms", &said.due_ms,
        "in_flight", &said.in_flight, "index", &said.index, "append", &said.append, "input", &said.input, "egress",
        &said.egress, "dead", &said.dead, "line", &said.line, "offset", &said.offset, "next", &said.next);
    if (result != TROUPE_OK) {
        return result == TROUPE_ENOMEM ? troupe__edit_fail(edit, TROUPE_EINVAL, "its texts are too long") : result;
    }
    said.has_number = said.number != none;
    said.has_version = said.version != none;
    said.has_due = said.due_ms != none;
    said.has_index = said.index != none;
    said.has_line = said.line != none;
    said.has_offset = said.offset != none;
    said.has_next = said.next != none;
    said.version = said.has_version ? said.version : 0;
    if (said.version > UINT16_MAX) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "a version is at most 65535");
    }
    if ((said.actor[0] != 0) + (said.input[0] != 0) + (said.egress[0] != 0) > 1) {
        result = troupe__edit_fail(edit, TROUPE_EINVAL, "say one of actor, input and egress");
    } else if (strcmp(said.what, "set") == 0) {
        result = said.input[0]    ? troupe__edit_set_input(edit, &said)
                 : said.egress[0] ? troupe__edit_set_egress(edit, &said)
                                  : troupe__edit_set(edit, &said);
    } else if (strcmp(said.what, "clear") == 0) {
        result = said.input[0] ? troupe__edit_clear_input(edit, &said) : troupe__edit_clear(edit, &said);
    } else if (strcmp(said.what, "send") == 0) {
        result = troupe__edit_send(edit, &said);
    } else if (strcmp(said.what, "drop") == 0) {
        result = troupe__edit_drop(edit, &said);
    } else {
        result = troupe__edit_fail(edit, TROUPE_EINVAL, "do is set, clear, send or drop, not '%.32s'", said.what);
    }
    troupe__buffer_free(&said.made);
    return result;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static enum troupe_error scan_view(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                   troupe__row_fn row, void *context)
{
    struct taking *written = source;
    const struct troupe__view *view = written->view;
    enum troupe_error result = TROUPE_OK;
    (void)prefix; /* All of them. */
    for (size_t i = 0; i < view->tables[table].count && result == TROUPE_OK; i++) {
        note_row(written->edit);
        result = row(context, view->tables[table].rows[i]->key, view->tables[table].rows[i]->value);
    }
    return result;
}

static enum troupe_error write_part(struct troupe__edit *edit, size_t index, const char *writing)
{
    struct troupe__edit_part *part = &edit->parts[index];
    struct troupe__snapshot_part *said = &edit->snapshot.parts[index], written;
    struct troupe__buffer counters = {0};
    uint64_t changes = edit->changes; /* What follows is none of the caller's. */
    enum troupe_error result = troupe__edit_write_lists(edit, part);
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__counters_encode(&part->counters, &counters);
    result = troupe__edit_set_row(edit, part, TROUPE__META, troupe_string(TROUPE__COUNTERS_ROW), &counters);
    troupe__buffer_free(&counters);
    if (result != TROUPE_OK) {
        return result;
    }
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        if (part->links[i].changed) {
            char key[16];
            struct troupe__buffer row = {0};
            troupe__links_row_key((uint16_t)i, key);
            troupe__links_row_put(&row, &part->links[i].row);
            result = troupe__edit_set_row(edit, part, TROUPE__META, troupe_string(key), &row);
            troupe__buffer_free(&row);
        }
    }
    if (result != TROUPE_OK) {
        return result;
    }
    edit->changes = changes;
    troupe__edit_settle(part);
    struct taking taking = {edit, &part->view};
    result = troupe__snapshot_write_part(writing, said->node, said->epoch, scan_view, &taking, part->view.error,
                                         &written, edit->error, sizeof edit->error);
    if (result == TROUPE_OK) {
        said->summary = written.summary;
        said->hash = TROUPE__HASH_NONE;
        said->measured = false;
    }
    return result;
}

enum troupe_error troupe__edit_write(struct troupe__edit *edit, const char *target)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    char writing[PATH_MAX];
    int lock;
    if (!troupe__snapshot_name_valid(name)) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "'%.64s' cannot name a snapshot: " TROUPE__SNAPSHOT_NAME_RULE,
                                 name);
    }
    if (access(target, F_OK) == 0) {
        return troupe__edit_fail(edit, TROUPE_EBUSY, "%.400s exists already: name another one", target);
    }
    snprintf(edit->snapshot.name, sizeof edit->snapshot.name, "%s", name);
    enum troupe_error result =
        troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, edit->error, sizeof edit->error);
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, &lock, edit->error, sizeof edit->error) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    edit->row_count = 0;
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        result = write_part(edit, i, writing);
    }
    result = result == TROUPE_OK
                 ? troupe__snapshot_write_manifest(writing, &edit->snapshot, edit->error, sizeof edit->error)
                 : result;
    return troupe__snapshot_end(target, lock, result, edit->error, sizeof edit->error);
}
