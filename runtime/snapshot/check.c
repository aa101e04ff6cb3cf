/* check.c - runs what a module says must hold over a consistent cut: the view that it is given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "core/pack.h"
#include "core/state.h"
#include "runtime/machine/machine_forward.h"

/* One row of the actor at hand; offsets into the buffer, which moves while it grows. */
struct actor_row {
    size_t key_at, value_at;
    uint32_t key_size, value_size;
    bool is_element;
};

struct troupe_view {
    const struct troupe__cut *cut;
    struct troupe_context ctx; /* outside of any delivery: memory for copies, and for migrate */
    char error[640];

    /* actors */
    struct troupe__cut_walk actor_walk;
    bool actors_begun;
    char wanted[TROUPE_NAME_MAX + 1]; /* the type that is walked; "": all */
    struct troupe__cut_row ahead;     /* the first row of the next actor */
    bool has_ahead, has_actor;
    struct troupe__buffer bytes; /* of the rows of the actor at hand */
    struct actor_row *rows;
    size_t row_count, row_capacity;
    size_t actor_node;
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    const struct troupe_value *walked; /* the map or list of which elements are given */
    size_t walked_at;                  /* the row that comes next */

    /* messages */
    struct troupe__actors actors; /* of the messages */
    struct troupe__cut_walk message_walk;
    bool messages_begun;
    struct troupe__message *message; /* the one that was given last */
    struct troupe__job *job;
};

/* ---- reports ----------------------------------------------------------------------------------------------------- */

void troupe_report_fault(struct troupe_report *report, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report->fault_count++;
    if (report->faults.size < TROUPE__FAULTS_SIZE_MAX) {
        troupe__buffer_put(&report->faults, text, strlen(text));
        troupe__buffer_put_byte(&report->faults, '\n');
    }
}

void troupe__report_fini(struct troupe_report *report)
{
    troupe__buffer_free(&report->faults);
    *report = (struct troupe_report){0};
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static enum troupe_error fail(struct troupe_view *view, enum troupe_error error,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(view->error, sizeof view->error, format, args);
    va_end(args);
    return error;
}

static enum troupe_error fail_value(struct troupe_view *view, const struct troupe_value *value, enum troupe_error error,
                                    const char *what)
{
    return fail(view, error, "%s/%s: value '%s': %s", view->type, view->key, value->name, what);
}

/* ---- actors ------------------------------------------------------------------------------------------------------ */

/* Whether the row is of the actor whose row has the first key; both keys are well-formed. */
static bool same_actor(const struct troupe__row_key *parts, const struct troupe_view *view)
{
    return strcmp(parts->key, view->key) == 0 && strcmp(parts->type, view->type) == 0;
}

static enum troupe_error keep_row(struct troupe_view *view, const struct troupe__cut_row *row, bool is_element)
{
    struct actor_row *rows = troupe__grow(view->rows, view->row_count, &view->row_capacity, sizeof *rows);
    if (!rows) {
        return fail(view, TROUPE_ENOMEM, "out of memory");
    }
    view->rows = rows;
    struct actor_row *kept = &view->rows[view->row_count++];
    *kept = (struct actor_row){.key_at = view->bytes.size, .key_size = (uint32_t)row->key.size};
    kept->is_element = is_element;
    troupe__buffer_put(&view->bytes, row->key.data, row->key.size);
    troupe__buffer_put_byte(&view->bytes, '\0');
    kept->value_at = view->bytes.size;
    kept->value_size = (uint32_t)row->value.size;
    troupe__buffer_put(&view->bytes, row->value.data, row->value.size);
    troupe__buffer_put_byte(&view->bytes, '\0');
    return view->bytes.failed ? fail(view, TROUPE_ENOMEM, "out of memory") : TROUPE_OK;
}

static enum troupe_error next_state(struct troupe_view *view, struct troupe__cut_row *row,
                                    struct troupe__row_key *ret_parts)
{
    if (view->has_ahead) {
        *row = view->ahead;
        view->has_ahead = false;
    } else {
        enum troupe_error result = troupe__cut_next(&view->actor_walk, row);
        if (result != TROUPE_OK) {
            return result == TROUPE_ENOTFOUND ? result : fail(view, result, "%s", view->actor_walk.error);
        }
    }
    if (!troupe__row_key_decode(row->key, ret_parts)) {
        return fail(view, TROUPE_ECORRUPT, "node %s: the key of a row of state is malformed",
                    view->cut->nodes[row->node].name);
    }
    return TROUPE_OK;
}

static void end_actors(struct troupe_view *view)
{
    if (view->actors_begun) {
        troupe__cut_walk_end(&view->actor_walk);
    }
    view->actors_begun = view->has_ahead = view->has_actor = false;
}

static enum troupe_error gather_actor(struct troupe_view *view)
{
    struct troupe__cut_row row;
    struct troupe__row_key parts;
    enum troupe_error result;
    view->has_actor = false;
    view->walked = NULL;
    view->row_count = view->bytes.size = 0;
    while ((result = next_state(view, &row, &parts)) == TROUPE_OK) {
        if (view->has_actor && (row.node != view->actor_node || !same_actor(&parts, view))) {
            view->ahead = row;
            view->has_ahead = true;
            return TROUPE_OK;
        }
        if (view->wanted[0] && strcmp(parts.type, view->wanted) != 0) {
            continue;
        }
        if (!view->has_actor) {
            snprintf(view->type, sizeof view->type, "%s", parts.type);
            snprintf(view->key, sizeof view->key, "%s", parts.key);
            view->actor_node = row.node;
            view->has_actor = true;
        }
        if ((result = keep_row(view, &row, parts.is_element)) != TROUPE_OK) {
            return result;
        }
    }
    return result == TROUPE_ENOTFOUND && view->has_actor ? TROUPE_OK : result;
}

enum troupe_error troupe_view_next_actor(struct troupe_view *view, const char *type, struct troupe_address *ret)
{
    type = type ? type : "";
    if (strlen(type) > TROUPE_NAME_MAX) {
        return fail(view, TROUPE_EINVAL, "'%.64s...' is too long for a type", type);
    }
    troupe__delivery_forget(&view->ctx);
    if (!view->actors_begun || strcmp(type, view->wanted) != 0) {
        end_actors(view);
        snprintf(view->wanted, sizeof view->wanted, "%s", type);
        troupe__cut_walk_begin(&view->actor_walk, view->cut, 1u << TROUPE__STATE);
        view->actors_begun = true;
    }
    enum troupe_error result = gather_actor(view);
    if (result == TROUPE_OK) {
        *ret = troupe_to(view->type, view->key);
    } else {
        end_actors(view);
    }
    return result;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static struct troupe_bytes value_of(const struct troupe_view *view, const struct actor_row *row)
{
    return (struct troupe_bytes){view->bytes.data + row->value_at, row->value_size};
}

static struct troupe_bytes key_of(const struct troupe_view *view, const struct actor_row *row)
{
    return (struct troupe_bytes){view->bytes.data + row->key_at, row->key_size};
}

static bool is_of(const struct troupe_view *view, const struct actor_row *row, const struct troupe_value *value,
                  struct troupe__row_key *ret)
{
    return troupe__row_key_decode(key_of(view, row), ret) && ret->value.size == strlen(value->name) &&
           memcmp(ret->value.data, value->name, ret->value.size) == 0;
}

static bool has_expired(const struct troupe_view *view, const struct troupe_value *value, int64_t expires_ms)
{
    return value->ttl_ms > 0 && expires_ms > 0 && expires_ms <= view->cut->nodes[view->actor_node].now_ms;
}

static enum troupe_error migrate(struct troupe_view *view, const struct troupe_value *value, struct troupe__row *row)
{
    enum troupe_error result = troupe__state_migrate(&view->ctx, value, row->version, &row->payload);
    return result == TROUPE_OK ? result : fail(view, result, "%s/%s: %s", view->type, view->key, view->ctx.error);
}

/* The row of a value, or of the head of a map or list, that has not expired. */
static enum troupe_error find_row(struct troupe_view *view, const struct troupe_value *value, struct troupe__row *ret)
{
    struct troupe__row_key parts;
    if (!view->has_actor) {
        return fail(view, TROUPE_EINVAL, "value '%s' is asked for, but no actor is at hand", value->name);
    }
    for (size_t i = 0; i < view->row_count; i++) {
        const struct actor_row *row = &view->rows[i];
        if (!row->is_element && is_of(view, row, value, &parts)) {
            if (!troupe__row_decode(value_of(view, row), ret)) {
                return fail_value(view, value, TROUPE_ECORRUPT, "its row is malformed");
            }
            if (ret->head != troupe__kind_is_collection(value->kind)) {
                return fail_value(view, value, TROUPE_ETYPE, "it is stored as another kind than the module declares");
            }
            return has_expired(view, value, ret->expires_ms) ? TROUPE_ENOTFOUND : TROUPE_OK;
        }
    }
    return TROUPE_ENOTFOUND;
}

/* `*ret` owns bytes if the kind does. */
static enum troupe_error read_cell(struct troupe_view *view, const struct troupe_value *value, unsigned kinds,
                                   struct troupe__cell *ret)
{
    struct troupe__row row;
    if (!(kinds & 1u << value->kind)) {
        return fail_value(view, value, TROUPE_ETYPE, "it is declared as another kind than it is asked for as");
    }
    enum troupe_error result = find_row(view, value, &row);
    result = result == TROUPE_OK ? migrate(view, value, &row) : result;
    if (result == TROUPE_OK && (result = troupe__cell_decode(ret, value->kind, row.payload)) != TROUPE_OK) {
        fail_value(view, value, result, "it is stored as another kind than the module declares");
    }
    return result;
}

enum troupe_error troupe_view_int(struct troupe_view *view, const struct troupe_value *value, int64_t *ret)
{
    struct troupe__cell cell = {0};
    enum troupe_error result = read_cell(view, value, 1u << TROUPE_INT, &cell);
    if (result == TROUPE_OK) {
        *ret = cell.as.integer;
    }
    return result;
}

enum troupe_error troupe_view_double(struct troupe_view *view, const struct troupe_value *value, double *ret)
{
    struct troupe__cell cell = {0};
    enum troupe_error result = read_cell(view, value, 1u << TROUPE_DOUBLE, &cell);
    if (result == TROUPE_OK) {
        *ret = cell.as.number;
    }
    return result;
}

enum troupe_error troupe_view_bool(struct troupe_view *view, const struct troupe_value *value, bool *ret)
{
    struct troupe__cell cell = {0};
    enum troupe_error result = read_cell(view, value, 1u << TROUPE_BOOL, &cell);
    if (result == TROUPE_OK) {
        *ret = cell.as.truth;
    }
    return result;
}

enum troupe_error troupe_view_bytes(struct troupe_view *view, const struct troupe_value *value,
                                    struct troupe_bytes *ret)
{
    struct troupe__cell cell = {0};
    enum troupe_error result =
        read_cell(view, value, 1u << TROUPE_STRING | 1u << TROUPE_BYTES | 1u << TROUPE_PACKED, &cell);
    if (result != TROUPE_OK) {
        return result;
    }
    const char *copy = troupe__delivery_copy(&view->ctx, cell.as.bytes, cell.size);
    free(cell.as.bytes);
    if (!copy) {
        return fail(view, TROUPE_ENOMEM, "out of memory");
    }
    *ret = (struct troupe_bytes){copy, cell.size};
    return TROUPE_OK;
}

/* The next element of the generation that counts, of a list one that is within it. */
static enum troupe_error next_element(struct troupe_view *view, const struct troupe_value *value, enum troupe_kind kind,
                                      struct troupe_bytes *ret_key, struct troupe_bytes *ret_bytes)
{
    struct troupe__row row = {0};
    struct troupe__head head = {.first = TROUPE__LIST_BEGIN};
    enum troupe_kind stored = kind;
    if (value->kind != kind) {
        return fail_value(view, value, TROUPE_ETYPE, "it is declared as another kind than it is walked as");
    }
    enum troupe_error result = find_row(view, value, &row);
    bool has_head = result == TROUPE_OK;
    if (view->walked != value) {
        view->walked = value;
        view->walked_at = 0;
    }
    if (has_head && (!troupe__head_decode(row.payload, &stored, &head) || stored != kind)) {
        return fail_value(view, value, TROUPE_ETYPE, "it is stored as another kind than the module declares");
    }
    bool empty = result == TROUPE_ENOTFOUND && kind == TROUPE_LIST; /* Or its time is over. */
    result = result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
    while (result == TROUPE_OK && !empty && view->walked_at < view->row_count) {
        const struct actor_row *at = &view->rows[view->walked_at++];
        struct troupe__row_key parts;
        if (!at->is_element || !is_of(view, at, value, &parts) || parts.generation != head.generation) {
            continue;
        }
        if (!troupe__row_decode(value_of(view, at), &row) || (kind == TROUPE_LIST && parts.element.size != 8)) {
            return fail_value(view, value, TROUPE_ECORRUPT, "the row of an element is malformed");
        }
        if (kind == TROUPE_LIST && troupe__get_be64(parts.element.data) - head.first >= head.count) {
            continue;
        }
        if (kind == TROUPE_MAP && has_expired(view, value, row.expires_ms)) {
            continue;
        }
        if ((result = migrate(view, value, &row)) == TROUPE_OK) {
            *ret_key = parts.element;
            *ret_bytes = row.payload;
        }
        return result;
    }
    view->walked = NULL;
    return result == TROUPE_OK ? TROUPE_ENOTFOUND : result;
}

enum troupe_error troupe_view_map_next(struct troupe_view *view, const struct troupe_value *map,
                                       struct troupe_bytes *ret_key, struct troupe_bytes *ret_bytes)
{
    return next_element(view, map, TROUPE_MAP, ret_key, ret_bytes);
}

enum troupe_error troupe_view_list_next(struct troupe_view *view, const struct troupe_value *list,
                                        struct troupe_bytes *ret_bytes)
{
    struct troupe_bytes key;
    return next_element(view, list, TROUPE_LIST, &key, ret_bytes);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Actors are in memory only while a message is at hand. */
static void let_go(struct troupe_view *view)
{
    struct troupe__actor *actors[2] = {NULL, NULL};
    if (view->message) {
        actors[0] = view->message->to;
        actors[1] = view->message->from != view->message->to ? view->message->from : NULL;
        troupe__message_free(view->message);
    } else if (view->job) {
        actors[0] = view->job->actor;
        troupe__job_release(view->job);
    }
    view->message = NULL;
    view->job = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (actors[i]) {
            troupe__actor_evict(actors[i], UINT64_MAX);
        }
    }
}

static enum troupe_error decode_message(struct troupe_view *view, struct troupe__cursor *cursor)
{
    struct troupe_bytes rest = {cursor->at, (size_t)(cursor->end - cursor->at)}, body;
    enum troupe_error result =
        cursor->failed ? TROUPE_ECORRUPT : troupe__message_decode(&view->actors, rest, &view->message);
    if (result == TROUPE_OK && !troupe__forwarded_body(view->message, &body)) {
        let_go(view); /* An answer on its way to a client. */
        return TROUPE_ENOTFOUND;
    }
    return result;
}

/* TROUPE_ENOTFOUND: the row is none that is shown. */
static enum troupe_error decode_row(struct troupe_view *view, const struct troupe__cut_row *row,
                                    struct troupe_view_message *shown)
{
    const unsigned char *data = row->value.data, *form;
    struct troupe__cursor cursor = {data, data + row->value.size, false};
    struct troupe_bytes reason;
    switch (row->table) {
    case TROUPE__MAIL:
        shown->place = TROUPE_IN_MAILBOX;
        break;
    case TROUPE__OUTBOX:
        shown->place = TROUPE_IN_FLIGHT;
        if (!troupe__cut_in_flight(view->cut, row->node, row->key)) {
            return TROUPE_ENOTFOUND;
        }
        break;
    case TROUPE__TIMER:
        shown->place = TROUPE_IN_TIMER;
        shown->due_ms = (int64_t)troupe__cursor_varint(&cursor);
        break;
    case TROUPE__DEAD:
        shown->place = TROUPE_IN_DEAD;
        (void)troupe__cursor_varint(&cursor);
        reason.data = troupe__cursor_string(&cursor, &reason.size);
        form = troupe__cursor_bytes(&cursor, 1);
        if (!form || !(shown->reason = troupe__delivery_copy(&view->ctx, reason.data, reason.size))) {
            return form ? TROUPE_ENOMEM : TROUPE_ECORRUPT;
        }
        if (*form == 0) {
            return TROUPE_ENOTFOUND; /* It never was a message. */
        }
        break;
    default:
        shown->place = TROUPE_IN_JOB;
        return troupe__job_decode(&view->actors, row->value, &view->job);
    }
    return decode_message(view, &cursor);
}

static enum troupe_error show_message(struct troupe_view *view, struct troupe_view_message *shown)
{
    if (view->job) {
        const struct troupe__actor *actor = view->job->actor;
        shown->to = troupe_to(actor->type->name, actor->key);
        shown->message = (struct troupe_message){.type = troupe__job_name(view->job),
                                                 .from = troupe_to("", ""),
                                                 .body = troupe__job_input(view->job),
                                                 .attempt = view->job->failures + 1};
        return TROUPE_OK;
    }
    const struct troupe__message *message = view->message;
    struct troupe_bytes body = {NULL, 0};
    (void)troupe__forwarded_body(message, &body);
    shown->to = troupe_to(message->to->type->name, message->to->key);
    shown->message = (struct troupe_message){
        .type = message->data,
        .from = message->from ? troupe_to(message->from->type->name, message->from->key) : troupe_to("", ""),
        .body = body,
        .correlation = message->correlation,
        .attempt = message->attempt + 1,
        .job_attempts = message->job_attempts,
    };
    enum troupe_error result = troupe__delivery_migrate(&view->ctx, message, &shown->message.body);
    if (result != TROUPE_OK) {
        fail(view, result, "%s/%s: %s", shown->to.type, shown->to.key, view->ctx.error);
    }
    return result;
}

static void end_messages(struct troupe_view *view)
{
    let_go(view);
    if (view->messages_begun) {
        troupe__cut_walk_end(&view->message_walk);
    }
    view->messages_begun = false;
}

enum troupe_error troupe_view_next_message(struct troupe_view *view, struct troupe_view_message *ret)
{
    const unsigned tables =
        1u << TROUPE__MAIL | 1u << TROUPE__TIMER | 1u << TROUPE__DEAD | 1u << TROUPE__JOB | 1u << TROUPE__OUTBOX;
    struct troupe__cut_row row;
    enum troupe_error result;
    troupe__delivery_forget(&view->ctx);
    let_go(view);
    view->error[0] = '\0';
    if (!view->messages_begun) {
        troupe__cut_walk_begin(&view->message_walk, view->cut, tables);
        view->messages_begun = true;
    }
    while ((result = troupe__cut_next(&view->message_walk, &row)) == TROUPE_OK) {
        struct troupe_view_message shown = {.reason = ""};
        result = decode_row(view, &row, &shown);
        if (result == TROUPE_OK) {
            if ((result = show_message(view, &shown)) == TROUPE_OK) {
                *ret = shown;
                return TROUPE_OK;
            }
            break;
        }
        if (result != TROUPE_ENOTFOUND) {
            fail(view, result, "node %s: a row of table %s: %s", view->cut->nodes[row.node].name,
                 troupe__view_table_names[row.table], troupe_error_text(result));
            break;
        }
    }
    if (result != TROUPE_ENOTFOUND && !view->error[0]) {
        fail(view, result, "%s", view->message_walk.error);
    }
    end_messages(view);
    return result;
}

enum troupe_error troupe_view_unpack(struct troupe_view *view, struct troupe_bytes body, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error result =
        troupe__unpack(body, format, &args, troupe__delivery_copy, &view->ctx, view->error, sizeof view->error);
    va_end(args);
    return result;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__check_cut(const struct troupe_module *module, const struct troupe__cut *cut,
                                    struct troupe_report *ret, char *error, size_t error_size)
{
    if (!module->check) {
        return TROUPE_OK;
    }
    struct troupe_view *view = calloc(1, sizeof *view);
    if (!view) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    view->cut = cut;
    enum troupe_error result = troupe__actors_init(&view->actors, module, error, error_size);
    if (result != TROUPE_OK) {
        free(view);
        return result;
    }
    result = module->check(view, ret);
    if ((unsigned)result >= TROUPE_ERROR_COUNT) {
        fail(view, TROUPE_EFAILED, "it returned %d, which is no enum troupe_error", (int)result);
        result = TROUPE_EFAILED;
    }
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "the check of module '%s' did not come to its end: %s",
                 module->name ? module->name : "", view->error[0] ? view->error : troupe_error_text(result));
    }
    end_actors(view);
    end_messages(view);
    free(view->rows);
    troupe__buffer_free(&view->bytes);
    troupe__delivery_fini(&view->ctx);
    troupe__actors_fini(&view->actors);
    free(view);
    return result;
}

enum troupe_error troupe__check_snapshot(const struct troupe_module *module, const char *directory,
                                         void (*progress)(void *context, uint64_t rows), void *progress_context,
                                         char *error, size_t error_size)
{
    struct troupe__snapshot snapshot;
    struct troupe__cut cut = {.progress = progress, .progress_context = progress_context};
    struct troupe_report report = {0};
    enum troupe_error result = troupe__snapshot_read(directory, &snapshot, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__cut_add_snapshot(&cut, directory, &snapshot);
    result = result == TROUPE_OK ? troupe__cut_ready(&cut) : result;
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", cut.error);
    } else {
        result = troupe__check_cut(module, &cut, &report, error, error_size);
    }
    if (result == TROUPE_OK && report.fault_count > 0) {
        int size = (int)(report.faults.size < 400 ? report.faults.size : 400);
        snprintf(error, error_size, "the check of module '%s' found %llu faults: %.*s",
                 module->name ? module->name : "", (unsigned long long)report.fault_count, size,
                 (const char *)report.faults.data);
        result = TROUPE_EFAILED;
    }
    troupe__report_fini(&report);
    troupe__cut_fini(&cut);
    troupe__snapshot_fini(&snapshot);
    return result;
}
