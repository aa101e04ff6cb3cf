/* snapshot_edit_messages.c - messages that are added to a snapshot or taken out: in mailboxes, on their way, later.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Messages on their way have numbers without gaps, link by link (mailbox/outbox.h). What the receiver has accepted is
 * not on its way any more, so only what is behind that can be dropped, and those behind it move up. */
#include <string.h>

#include "core/delivery.h"
#include "core/frame.h"
#include "core/message.h"
#include "mailbox/outbox.h"
#include "runtime/snapshot/snapshot_edit_parts.h"

/* The place of the part of a node in the snapshot. */
static size_t index_of(const struct troupe__edit *edit, uint64_t number)
{
    size_t at = 0;
    while (edit->snapshot.parts[at].number != number) {
        at++;
    }
    return at;
}

static struct troupe__edit_part *part_of_number(struct troupe__edit *edit, uint64_t number)
{
    return &edit->parts[index_of(edit, number)];
}

static uint16_t number_of(const struct troupe__edit *edit, const struct troupe__edit_part *part)
{
    return (uint16_t)edit->snapshot.parts[part - edit->parts].number;
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* Behind all that wait. */
static enum troupe_error put_mail(struct troupe__edit *edit, struct troupe__edit_part *part,
                                  const struct troupe__buffer *row)
{
    unsigned char key[8];
    troupe__put_be64(key, ++part->counters.sequence);
    part->counters.waiting++;
    return troupe__edit_set_row(edit, part, TROUPE__MAIL, (struct troupe_bytes){key, sizeof key}, row);
}

/* It is with who set it. */
static enum troupe_error put_timer(struct troupe__edit *edit, struct troupe__edit_part *part, uint64_t due_ms,
                                   const struct troupe__buffer *row)
{
    unsigned char key[8];
    struct troupe__buffer value = {0};
    part->counters.timer = (part->counters.timer / TROUPE__ID_STEP + 1) * TROUPE__ID_STEP + number_of(edit, part);
    troupe__put_be64(key, part->counters.timer);
    troupe__buffer_put_varint(&value, due_ms);
    troupe__buffer_put(&value, row->data, row->size);
    value.failed |= row->failed;
    enum troupe_error result =
        troupe__edit_set_row(edit, part, TROUPE__TIMER, (struct troupe_bytes){key, sizeof key}, &value);
    troupe__buffer_free(&value);
    return result;
}

/* It failed for good, at the time of the cut. */
static enum troupe_error put_dead(struct troupe__edit *edit, struct troupe__edit_part *part, const char *reason,
                                  const struct troupe__buffer *row)
{
    unsigned char key[8];
    struct troupe__buffer value = {.failed = row->failed};
    troupe__put_be64(key, ++part->counters.sequence);
    troupe__buffer_put_varint(&value, part->counters.now_ms);
    troupe__buffer_put_string(&value, reason, strlen(reason));
    troupe__buffer_put_byte(&value, 1);
    troupe__buffer_put(&value, row->data, row->size);
    enum troupe_error result =
        troupe__edit_set_row(edit, part, TROUPE__DEAD, (struct troupe_bytes){key, sizeof key}, &value);
    troupe__buffer_free(&value);
    return result;
}

/* Behind all that are on their way from there. */
static enum troupe_error put_outbox(struct troupe__edit *edit, struct troupe__edit_part *from, uint16_t to,
                                    const struct troupe__buffer *row)
{
    unsigned char key[10];
    struct troupe__edit_link *link = &from->links[to];
    struct troupe__buffer value = {.failed = row->failed};
    link->row.sent++;
    link->changed = true;
    troupe__outbox_key(key, to, link->row.sent);
    troupe__buffer_put_string(&value, row->data, row->size);
    enum troupe_error result =
        troupe__edit_set_row(edit, from, TROUPE__OUTBOX, (struct troupe_bytes){key, sizeof key}, &value);
    troupe__buffer_free(&value);
    return result;
}

static enum troupe_error put_message(struct troupe__edit *edit, const struct troupe__edit_request *request,
                                     const struct troupe__edit_address *from, struct troupe__edit_part *to,
                                     const struct troupe__buffer *row)
{
    struct troupe__edit_part *sender = request->from[0] ? troupe__edit_part_of(edit, from) : to;
    if (request->has_due + request->in_flight + (request->dead != NULL) > 1) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "a message is delayed (due_ms), in_flight or dead, one of these");
    }
    if (request->dead) {
        return put_dead(edit, to, request->dead, row);
    }
    if (request->has_due) {
        return put_timer(edit, sender, request->due_ms, row);
    }
    if (!request->in_flight) {
        return put_mail(edit, to, row);
    }
    if (sender == to) {
        return troupe__edit_fail(edit, TROUPE_EINVAL,
                                 "in_flight is between two nodes: say 'from', an actor of another node than %s",
                                 edit->snapshot.parts[to - edit->parts].node);
    }
    return put_outbox(edit, sender, number_of(edit, to), row);
}

enum troupe_error troupe__edit_send(struct troupe__edit *edit, struct troupe__edit_request *request)
{
    struct troupe__edit_address to, from;
    size_t type_size = strlen(request->type);
    enum troupe_error result = troupe__edit_parse_address(edit, request->to, &to);
    result = result == TROUPE_OK && request->from[0] ? troupe__edit_parse_address(edit, request->from, &from) : result;
    if (result == TROUPE_OK && (type_size == 0 || type_size > TROUPE_NAME_MAX)) {
        result = troupe__edit_fail(edit, TROUPE_EINVAL, "send takes to, type and body; a type has 1 to %d bytes",
                                   TROUPE_NAME_MAX);
    }
    result = result == TROUPE_OK && request->body.data ? troupe__edit_take_data(edit, request, &request->body) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = troupe__edit_part_of(edit, &to);
    struct troupe__actors *actors = &part->view.actors;
    struct troupe__actor *receiver = troupe__actors_get(actors, to.type, to.key, strlen(to.key));
    struct troupe__actor *sender =
        request->from[0] ? troupe__actors_get(actors, from.type, from.key, strlen(from.key)) : NULL;
    struct troupe__message *message =
        receiver && (sender || !request->from[0])
            ? troupe__message_new(receiver, sender, request->type, type_size, request->body)
            : NULL;
    if (!message) {
        return troupe__edit_fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    const struct troupe__spec *spec = troupe__specs_find(&part->specs, TROUPE__SPEC_MESSAGE, to.type, request->type);
    message->version = (uint16_t)(request->has_version ? request->version : spec ? spec->version : 0);
    struct troupe__buffer row = {0};
    troupe__message_encode(message, &row);
    troupe__message_free(message);
    result = put_message(edit, request, &from, part, &row);
    troupe__buffer_free(&row);
    return result;
}

/* ---- taking out -------------------------------------------------------------------------------------------------- */

static bool is_actor(const struct troupe__actor *actor, const char *text)
{
    size_t size = strlen(actor->type->name);
    return strncmp(text, actor->type->name, size) == 0 && text[size] == '/' && strcmp(text + size + 1, actor->key) == 0;
}

static bool fits_words(const struct troupe__edit_request *request, const struct troupe__actor *to, const char *type)
{
    return (!request->to[0] || is_actor(to, request->to)) && (!request->type[0] || strcmp(type, request->type) == 0);
}

static bool fits_job(struct troupe__edit_part *part, const struct troupe__view_row *row,
                     const struct troupe__edit_request *request)
{
    struct troupe__job *job;
    if (troupe__view_job(&part->view, row, &job) != TROUPE_OK) {
        return false;
    }
    bool fits = fits_words(request, job->actor, troupe__job_name(job));
    troupe__job_release(job);
    return fits;
}

/* Whether a row fits what the request says of it; of a dead letter that never was one only by its number. */
static bool fits(struct troupe__edit_part *part, enum troupe__table table, const struct troupe__view_row *row,
                 const struct troupe__edit_request *request)
{
    struct troupe__message *message = NULL;
    struct troupe__view_dead dead;
    int64_t due_ms;
    uint64_t number;
    if (!troupe__view_number(row, &number) || (request->has_number && number != request->number)) {
        return false;
    }
    if (!request->to[0] && !request->type[0]) {
        return true;
    }
    if (table == TROUPE__JOB) {
        return fits_job(part, row, request);
    }
    enum troupe_error result = TROUPE_OK;
    if (table == TROUPE__MAIL) {
        result = troupe__view_mail(&part->view, row, &message);
    } else if (table == TROUPE__TIMER) {
        result = troupe__view_timer(&part->view, row, &due_ms, &message);
    } else {
        result = troupe__view_dead(&part->view, row, &dead);
        message = result == TROUPE_OK ? dead.message : NULL;
    }
    bool good = result == TROUPE_OK && message && fits_words(request, message->to, message->data);
    troupe__message_free(message);
    return good;
}

static enum troupe_error drop_rows(struct troupe__edit *edit, struct troupe__edit_part *part, enum troupe__table table,
                                   const struct troupe__edit_request *request, size_t *found)
{
    enum troupe_error result = TROUPE_OK;
    size_t count = part->view.tables[table].count;
    for (size_t k = 0; k < count && result == TROUPE_OK; k++) {
        const struct troupe__view_row *row = part->view.tables[table].rows[k];
        if (fits(part, table, row, request)) {
            result = troupe__edit_remove_row(edit, part, table, row->key);
            part->counters.waiting -= table == TROUPE__MAIL;
            ++*found;
        }
    }
    return result;
}

/* ---- what is on its way ------------------------------------------------------------------------------------------ */

/* The messages on their way over a link, being sorted out. */
struct flight {
    struct troupe__edit *edit;
    struct troupe__edit_part *from;
    uint16_t to;
    uint64_t accepted;           /* by the receiver */
    uint64_t number;             /* of the last that is kept */
    struct troupe__buffer chunk; /* messages of the row that is being made ... */
    uint64_t chunk_first;        /* ... and the number of its first */
};

static enum troupe_error end_chunk(struct flight *flight)
{
    unsigned char key[10];
    if (flight->chunk.size == 0) {
        return TROUPE_OK;
    }
    troupe__outbox_key(key, flight->to, flight->chunk_first);
    enum troupe_error result = troupe__edit_set_row(flight->edit, flight->from, TROUPE__OUTBOX,
                                                    (struct troupe_bytes){key, sizeof key}, &flight->chunk);
    flight->chunk.size = 0;
    return result;
}

static enum troupe_error keep(struct flight *flight, struct troupe_bytes message)
{
    enum troupe_error result =
        flight->chunk.size + message.size > TROUPE__FRAME_DATA_SIZE ? end_chunk(flight) : TROUPE_OK;
    flight->number++;
    if (flight->chunk.size == 0) {
        flight->chunk_first = flight->number;
    }
    troupe__buffer_put_string(&flight->chunk, message.data, message.size);
    return result;
}

static bool flies_and_fits(const struct flight *flight, uint64_t number, struct troupe_bytes row,
                           const struct troupe__edit_request *request)
{
    struct troupe__message *message;
    if (number <= flight->accepted || (request->has_number && number != request->number)) {
        return false;
    }
    if (!request->to[0] && !request->type[0]) {
        return true;
    }
    if (troupe__message_decode(&flight->from->view.actors, row, &message) != TROUPE_OK) {
        return false;
    }
    bool good = fits_words(request, message->to, message->data);
    troupe__message_free(message);
    return good;
}

/* All rows of the link, which are rows first to last of the table, are made anew without those that fit. */
static enum troupe_error drop_from(struct flight *flight, const struct troupe__view_table *table, size_t first,
                                   size_t end, const struct troupe__edit_request *request, size_t *found)
{
    enum troupe_error result = TROUPE_OK;
    size_t dropped = 0;
    flight->number = troupe__get_be64((const unsigned char *)table->rows[first]->key.data + 2) - 1;
    for (size_t i = first; i < end && result == TROUPE_OK; i++) {
        const struct troupe__view_row *row = table->rows[i];
        struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size,
                                        false};
        uint64_t number = troupe__get_be64((const unsigned char *)row->key.data + 2);
        result = troupe__edit_remove_row(flight->edit, flight->from, TROUPE__OUTBOX, row->key);
        for (; cursor.at < cursor.end && result == TROUPE_OK; number++) {
            struct troupe_bytes message;
            message.data = troupe__cursor_string(&cursor, &message.size);
            if (cursor.failed) {
                return troupe__edit_fail(flight->edit, TROUPE_ECORRUPT, "a row of an outbox is malformed");
            }
            if (flies_and_fits(flight, number, message, request)) {
                dropped++;
            } else {
                result = keep(flight, message);
            }
        }
    }
    result = result == TROUPE_OK ? end_chunk(flight) : result;
    struct troupe__edit_link *link = &flight->from->links[flight->to];
    if (result == TROUPE_OK && flight->number + dropped != link->row.sent) {
        return troupe__edit_fail(flight->edit, TROUPE_ECORRUPT, "an outbox does not hold what was sent");
    }
    link->row.sent = flight->number;
    link->row.left = link->row.left < link->row.sent ? link->row.left : link->row.sent;
    link->changed = true;
    *found += dropped;
    return result;
}

static bool any_fits(const struct flight *flight, const struct troupe__view_table *table, size_t first, size_t end,
                     const struct troupe__edit_request *request)
{
    for (size_t i = first; i < end; i++) {
        const struct troupe__view_row *row = table->rows[i];
        struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size,
                                        false};
        for (uint64_t number = troupe__get_be64((const unsigned char *)row->key.data + 2);
             cursor.at < cursor.end && !cursor.failed; number++) {
            struct troupe_bytes message;
            message.data = troupe__cursor_string(&cursor, &message.size);
            if (!cursor.failed && flies_and_fits(flight, number, message, request)) {
                return true;
            }
        }
    }
    return false;
}

/* Rows are in order, so those of a link stand together. */
static enum troupe_error drop_outbox(struct troupe__edit *edit, struct troupe__edit_part *part,
                                     const struct troupe__edit_request *request, size_t *found)
{
    const struct troupe__view_table *table = &part->view.tables[TROUPE__OUTBOX];
    size_t count = table->count; /* What is made anew is put behind them. */
    enum troupe_error result = TROUPE_OK;
    for (size_t first = 0, end; first < count && result == TROUPE_OK; first = end) {
        const unsigned char *key = table->rows[first]->key.data;
        uint16_t to = (uint16_t)(key[0] << 8 | key[1]);
        if (table->rows[first]->key.size != 10 || to >= edit->snapshot.part_count) {
            return troupe__edit_fail(edit, TROUPE_ECORRUPT, "a row of an outbox is malformed");
        }
        for (end = first + 1; end < count && memcmp(table->rows[end]->key.data, key, 2) == 0; end++) {
        }
        struct flight flight = {.edit = edit, .from = part, .to = to};
        flight.accepted = part_of_number(edit, to)->links[number_of(edit, part)].row.accepted;
        const char *name = edit->snapshot.parts[index_of(edit, to)].node;
        if ((!request->to_node[0] || strcmp(name, request->to_node) == 0) &&
            any_fits(&flight, table, first, end, request)) {
            result = drop_from(&flight, table, first, end, request, found);
        }
        troupe__buffer_free(&flight.chunk);
    }
    return result;
}

enum troupe_error troupe__edit_drop(struct troupe__edit *edit, const struct troupe__edit_request *request)
{
    static const struct {
        const char *name;
        enum troupe__table table;
    } tables[] = {{"mail", TROUPE__MAIL},
                  {"outbox", TROUPE__OUTBOX},
                  {"timer", TROUPE__TIMER},
                  {"dead", TROUPE__DEAD},
                  {"job", TROUPE__JOB}};
    enum { COUNT = sizeof tables / sizeof *tables };
    size_t which = 0, found = 0;
    while (which < COUNT && strcmp(tables[which].name, request->table) != 0) {
        which++;
    }
    if (which == COUNT) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "drop takes table: mail, outbox, timer, dead or job, not '%.32s'",
                                 request->table);
    }
    if (!request->has_number && !request->to[0] && !request->type[0]) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "say which: number, to or type");
    }
    enum troupe__table table = tables[which].table;
    struct troupe__edit_part *only = NULL;
    enum troupe_error result = request->node[0] ? troupe__edit_find_node(edit, request->node, &only) : TROUPE_OK;
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        struct troupe__edit_part *part = &edit->parts[i];
        if (only && part != only) {
            continue;
        }
        troupe__edit_settle(part);
        result = table == TROUPE__OUTBOX ? drop_outbox(edit, part, request, &found)
                                         : drop_rows(edit, part, table, request, &found);
    }
    return result != TROUPE_OK || found > 0
               ? result
               : troupe__edit_fail(edit, TROUPE_ENOTFOUND, "there is no such message to be dropped");
}
