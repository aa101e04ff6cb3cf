/* recast.c - the rows of a troupe's nodes dealt out anew to another number of nodes: restoring N nodes to M.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the tables in their order. META comes first and is kept, but for the ids: numbers of links say what
 * flew, counters and egresses are carried on, and all of it is written at the end. */
#include "runtime/recast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/message.h"
#include "core/specs.h"
#include "mailbox/responses.h"
#include "runtime/egress.h"
#include "runtime/links.h"
#include "runtime/machine_forward.h"
#include "runtime/machine_rows.h"

/* META rows of others, as links.c and node.c write them. */
static const char cluster_row[] = "cluster", colour_row[] = "colour", link_prefix[] = "link/",
                  input_prefix[] = "input/";

/* META rows that say nothing to a new node: its links, outputs and snapshots are its own. */
static const char *const left_behind[] = {"cluster", "incarnation", "coloured", "output", "snapshot"};

struct old_node {
    struct troupe__recast_source *source;
    enum troupe__table table; /* of the row that is next; TROUPE__TABLE_COUNT at the end */
    struct troupe_bytes key, value;
    struct troupe__buffer meta; /* its META rows but for the ids, as a record */
    struct troupe__counters counters;
    uint64_t colour;
    uint64_t *accepted; /* by the number of the sender */
};

struct new_node {
    uint64_t sequence, waiting, egress_number, egress_released;
    struct troupe__egress_name *egresses;
    size_t egress_count;
    uint64_t id_last; /* of timers, asks and jobs */
    uint64_t *kept;   /* numbers of asks from outside that are answered later, of the earlier format */
    size_t kept_count;
};

/* An ask from outside that waits, of the earlier format: its numbers as they were and as they are. */
struct ask {
    uint64_t old_number, new_number;
    uint16_t old_node, new_node;
};

/* One with an id that is not answered. */
struct open {
    uint64_t number;
    uint16_t slot, node; /* of the actor */
    bool answered;       /* since */
    unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
};

struct recast {
    const struct troupe__recast_options *options;
    struct old_node *olds;
    struct new_node *news;
    uint16_t old_count, new_count;
    struct ask *asks; /* sorted once MAIL is done */
    size_t ask_count, ask_capacity;
    struct open *opens; /* sorted once RESPONSE is done */
    size_t open_count, open_capacity;
    struct troupe__buffer row; /* what is being written */
    struct troupe__recast_counts counts;
    char *error;
    size_t error_size;
};

static enum troupe_error out_of_memory(struct recast *recast)
{
    snprintf(recast->error, recast->error_size, "out of memory");
    return TROUPE_ENOMEM;
}

static enum troupe_error corrupt(struct recast *recast, uint16_t node, const char *what)
{
    snprintf(recast->error, recast->error_size, "%s in the part of node %u: use another snapshot", what, node);
    return TROUPE_ECORRUPT;
}

static struct troupe__cursor cursor_of(struct troupe_bytes bytes)
{
    return (struct troupe__cursor){bytes.data, (const unsigned char *)bytes.data + bytes.size, false};
}

/* ---- sources and sink -------------------------------------------------------------------------------------------- */

static enum troupe_error advance(struct recast *recast, struct old_node *old)
{
    enum troupe_error result =
        old->source->next(old->source, &old->table, &old->key, &old->value, recast->error, recast->error_size);
    if (result == TROUPE_ENOTFOUND) {
        old->table = TROUPE__TABLE_COUNT;
        return TROUPE_OK;
    }
    return result;
}

static enum troupe_error set(struct recast *recast, uint16_t node, enum troupe__table table, struct troupe_bytes key,
                             struct troupe_bytes value)
{
    struct troupe__recast_sink *sink = recast->options->sink;
    return sink->set(sink, node, table, key, value, recast->error, recast->error_size);
}

/* Set a row to what stands in recast->row. */
static enum troupe_error set_row(struct recast *recast, uint16_t node, enum troupe__table table,
                                 struct troupe_bytes key)
{
    return recast->row.failed
               ? out_of_memory(recast)
               : set(recast, node, table, key, (struct troupe_bytes){recast->row.data, recast->row.size});
}

static enum troupe_error set_number_row(struct recast *recast, uint16_t node, enum troupe__table table, uint64_t number)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    return set_row(recast, node, table, (struct troupe_bytes){key, sizeof key});
}

static uint16_t owner(const struct recast *recast, uint16_t slot)
{
    return recast->options->slots->owner[slot];
}

/* ---- META -------------------------------------------------------------------------------------------------------- */

static bool has_prefix(struct troupe_bytes key, const char *prefix)
{
    size_t size = strlen(prefix);
    return key.size > size && memcmp(key.data, prefix, size) == 0;
}

static bool is(struct troupe_bytes key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static bool is_left_behind(struct troupe_bytes key)
{
    for (size_t i = 0; i < sizeof left_behind / sizeof *left_behind; i++) {
        if (is(key, left_behind[i])) {
            return true;
        }
    }
    return has_prefix(key, link_prefix) || has_prefix(key, TROUPE__RETURN_PREFIX);
}

/* Returns false when the row is malformed. */
static bool note_meta(struct recast *recast, struct old_node *old)
{
    struct troupe__cursor cursor = cursor_of(old->value);
    if (troupe__counters_is(old->key)) {
        return troupe__counters_decode(old->value, &old->counters);
    }
    struct troupe__link_row link;
    int peer = troupe__links_row_read(old->key, old->value, recast->old_count, &link);
    if (peer >= 0) {
        old->accepted[peer] = link.accepted;
        return true;
    }
    if (peer == TROUPE__LINK_ROW_BAD) {
        return false;
    }
    if (is(old->key, colour_row)) {
        old->colour = troupe__cursor_varint(&cursor);
    } else if (!is_left_behind(old->key)) {
        troupe__record_set(&old->meta, TROUPE__META, old->key.data, old->key.size, old->value.data, old->value.size);
    }
    return !cursor.failed;
}

static int compare_keys(struct troupe_bytes a, struct troupe_bytes b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The old node whose next row of `table` has the lowest key, and the one with the lowest but one; -1: none. */
static void find_lowest(const struct recast *recast, enum troupe__table table, int *ret_first, int *ret_second)
{
    *ret_first = *ret_second = -1;
    for (int i = 0; i < recast->old_count; i++) {
        if (recast->olds[i].table != table) {
            continue;
        }
        if (*ret_first < 0 || compare_keys(recast->olds[i].key, recast->olds[*ret_first].key) < 0) {
            *ret_second = *ret_first;
            *ret_first = i;
        } else if (*ret_second < 0 || compare_keys(recast->olds[i].key, recast->olds[*ret_second].key) < 0) {
            *ret_second = i;
        }
    }
}

/* An id belongs to its actor. */
static enum troupe_error recast_id(struct recast *recast, uint16_t from)
{
    struct old_node *old = &recast->olds[from];
    struct troupe__cursor cursor = cursor_of(old->value);
    (void)troupe__cursor_varint(&cursor);
    uint64_t slot = troupe__cursor_varint(&cursor);
    if (cursor.failed || slot >= TROUPE__SLOTS) {
        return corrupt(recast, from, "a malformed id");
    }
    return set(recast, owner(recast, (uint16_t)slot), TROUPE__META, old->key, old->value);
}

static enum troupe_error recast_meta(struct recast *recast)
{
    enum troupe_error result = TROUPE_OK;
    int first, second;
    for (find_lowest(recast, TROUPE__META, &first, &second); first >= 0 && result == TROUPE_OK;
         find_lowest(recast, TROUPE__META, &first, &second)) {
        struct old_node *old = &recast->olds[first];
        if (has_prefix(old->key, TROUPE__ID_PREFIX)) {
            result = recast_id(recast, (uint16_t)first);
        } else if (!note_meta(recast, old)) {
            result = corrupt(recast, (uint16_t)first, "a malformed row of meta");
        }
        result = result == TROUPE_OK ? advance(recast, old) : result;
    }
    return result;
}

/* ---- rows that keep their keys ----------------------------------------------------------------------------------- */

static bool slot_in_key(struct troupe_bytes key, size_t offset, uint16_t *ret_slot)
{
    const unsigned char *at = (const unsigned char *)key.data + offset;
    if (key.size < offset + 2) {
        return false;
    }
    *ret_slot = (uint16_t)(at[0] << 8 | at[1]);
    return *ret_slot < TROUPE__SLOTS;
}

/* The handle that cancels a timer is with who set it. */
static bool slot_of_timer(struct troupe_bytes value, uint16_t *ret_slot)
{
    struct troupe__cursor cursor = cursor_of(value);
    struct troupe__message_row message;
    (void)troupe__cursor_varint(&cursor);
    struct troupe_bytes row = {cursor.at, (size_t)(cursor.end - cursor.at)};
    if (cursor.failed || !troupe__message_row_decode(row, &message)) {
        return false;
    }
    *ret_slot = message.from_actor ? message.from_slot : message.to_slot;
    return true;
}

static bool slot_of_job(struct troupe_bytes value, uint16_t *ret_slot)
{
    struct troupe__cursor cursor = cursor_of(value);
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    (void)troupe__cursor_varint(&cursor);
    (void)troupe__cursor_varint(&cursor);
    if (!troupe__address_read(&cursor, type, key)) {
        return false;
    }
    *ret_slot = troupe__slot_of(type, key);
    return true;
}

static int compare_asks(const void *a, const void *b)
{
    const struct ask *left = a, *right = b;
    int order = (left->old_node > right->old_node) - (left->old_node < right->old_node);
    return order ? order : (left->old_number > right->old_number) - (left->old_number < right->old_number);
}

/* Whether no other ask that is answered later has this number on the new node; from now on one has. */
static bool keep_number(struct recast *recast, uint16_t node, uint64_t number)
{
    struct new_node *new = &recast->news[node];
    for (size_t i = 0; i < new->kept_count; i++) {
        if (new->kept[i] == number) {
            return false;
        }
    }
    uint64_t *kept = realloc(new->kept, (new->kept_count + 1) * sizeof *kept);
    if (!kept) {
        return false;
    }
    new->kept = kept;
    kept[new->kept_count++] = number;
    return true;
}

/* Whether no other node has given it, nor ever will: it stays. */
static bool is_unique(uint64_t number)
{
    return (number & TROUPE__ASK_BIT) != 0;
}

static int compare_opens(const void *a, const void *b)
{
    const struct open *left = a, *right = b;
    int order = (left->number > right->number) - (left->number < right->number);
    return order ? order : left->slot - right->slot;
}

/* An answer to it may be on its way. */
static enum troupe_error note_open(struct recast *recast, struct open open, struct troupe_bytes key)
{
    if (recast->open_count == recast->open_capacity) {
        size_t capacity = recast->open_capacity ? recast->open_capacity * 2 : 64;
        struct open *opens = realloc(recast->opens, capacity * sizeof *opens);
        if (!opens) {
            return out_of_memory(recast);
        }
        recast->opens = opens;
        recast->open_capacity = capacity;
    }
    memcpy(open.key, key.data, sizeof open.key);
    recast->opens[recast->open_count++] = open;
    return TROUPE_OK;
}

/* Of the earlier format: the number of an ask that waits is now another one, and an answered one must not share one
 * with it. */
static enum troupe_error renumber(struct recast *recast, uint16_t from, uint16_t node, bool answered,
                                  uint64_t old_number, uint64_t *ret_number)
{
    struct ask wanted = {.old_number = old_number, .old_node = from};
    if (answered) {
        *ret_number = ++recast->news[node].sequence;
        return TROUPE_OK;
    }
    const struct ask *ask = recast->ask_count > 0
                                ? bsearch(&wanted, recast->asks, recast->ask_count, sizeof *recast->asks, compare_asks)
                                : NULL;
    if (ask && ask->new_node != node) {
        return corrupt(recast, from, "an answer of another node");
    }
    *ret_number = ask ? ask->new_number : old_number;
    return ask || keep_number(recast, node, old_number)
               ? TROUPE_OK
               : corrupt(recast, from, "an ask to be answered later, whose number an ask of another node has too,");
}

static enum troupe_error recast_response(struct recast *recast, uint16_t from, const struct old_node *old)
{
    struct troupe__answer answer;
    uint16_t slot = troupe__response_slot(old->value), node;
    uint64_t number;
    bool answered;
    if (!troupe__response_decode(old->value, &number, &answered, &answer) || slot >= TROUPE__SLOTS ||
        old->key.size != TROUPE__RESPONSE_KEY_SIZE) {
        return corrupt(recast, from, "a malformed answer");
    }
    node = owner(recast, slot);
    enum troupe_error result = is_unique(number) ? TROUPE_OK : renumber(recast, from, node, answered, number, &number);
    if (result == TROUPE_OK && !answered) {
        result = note_open(recast, (struct open){.number = number, .node = node, .slot = slot}, old->key);
    }
    recast->row.size = 0;
    troupe__response_encode(&recast->row, number, slot, answered ? &answer : NULL);
    return result == TROUPE_OK ? set_row(recast, node, TROUPE__RESPONSE, old->key) : result;
}

static enum troupe_error recast_row(struct recast *recast, enum troupe__table table, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    uint16_t slot = 0;
    bool good = false;
    switch (table) {
    case TROUPE__STATE:
        good = slot_in_key(old->key, 0, &slot);
        break;
    case TROUPE__SWEEP:
        good = slot_in_key(old->key, 8, &slot);
        break;
    case TROUPE__TIMER:
        good = slot_of_timer(old->value, &slot);
        break;
    case TROUPE__JOB:
        good = slot_of_job(old->value, &slot);
        break;
    case TROUPE__RESPONSE:
        return recast_response(recast, from, old);
    default:
        break;
    }
    return good ? set(recast, owner(recast, slot), table, old->key, old->value)
                : corrupt(recast, from, "a row that belongs to no slot");
}

/* All old nodes' rows side by side, so that those of each new one come in order. */
static enum troupe_error recast_merged(struct recast *recast, enum troupe__table table)
{
    enum troupe_error result = TROUPE_OK;
    int first, second;
    for (find_lowest(recast, table, &first, &second); first >= 0 && result == TROUPE_OK;
         find_lowest(recast, table, &first, &second)) {
        struct old_node *old = &recast->olds[first];
        const struct old_node *next = second >= 0 ? &recast->olds[second] : NULL;
        if (next && compare_keys(old->key, next->key) == 0) {
            return corrupt(recast, (uint16_t)second, "a row that another part has too");
        }
        do {
            result = recast_row(recast, table, (uint16_t)first);
            result = result == TROUPE_OK ? advance(recast, old) : result;
        } while (result == TROUPE_OK && old->table == table && (!next || compare_keys(old->key, next->key) < 0));
    }
    return result;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Whether it is an ask from outside that is known by the number that its message had on its old node. */
static bool is_renumbered(const struct troupe__message_row *message)
{
    return message->kind == TROUPE__ASK && !message->from_actor && !is_unique(message->correlation);
}

/* Append a message to recast->row; `number` is its new one here. */
static void put_message(struct recast *recast, struct troupe_bytes row, const struct troupe__message_row *message,
                        uint64_t number)
{
    if (is_renumbered(message)) {
        troupe__buffer_put(&recast->row, message->before.data, message->before.size);
        troupe__buffer_put_varint(&recast->row, number);
        troupe__buffer_put(&recast->row, message->after.data, message->after.size);
    } else {
        troupe__buffer_put(&recast->row, row.data, row.size);
    }
}

static enum troupe_error note_ask(struct recast *recast, uint16_t from, uint64_t old_number, uint16_t node,
                                  uint64_t number)
{
    if (recast->ask_count == recast->ask_capacity) {
        size_t capacity = recast->ask_capacity ? recast->ask_capacity * 2 : 64;
        struct ask *asks = realloc(recast->asks, capacity * sizeof *asks);
        if (!asks) {
            return out_of_memory(recast);
        }
        recast->asks = asks;
        recast->ask_capacity = capacity;
    }
    recast->asks[recast->ask_count++] = (struct ask){old_number, number, from, node};
    return TROUPE_OK;
}

/* A message that waits from now on at the new node of its actor. */
static enum troupe_error set_mail(struct recast *recast, uint16_t from, struct troupe_bytes row,
                                  const struct troupe__message_row *message)
{
    uint16_t node = owner(recast, message->to_slot);
    uint64_t number = ++recast->news[node].sequence;
    enum troupe_error result = TROUPE_OK;
    if (is_renumbered(message)) {
        result = note_ask(recast, from, message->correlation, node, number);
    }
    recast->news[node].waiting++;
    recast->row.size = 0;
    put_message(recast, row, message, number);
    return result == TROUPE_OK ? set_number_row(recast, node, TROUPE__MAIL, number) : result;
}

static enum troupe_error recast_mail(struct recast *recast, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    struct troupe__message_row message;
    if (!troupe__message_row_decode(old->value, &message)) {
        return corrupt(recast, from, "a malformed message that waits");
    }
    recast->counts.waited++;
    return set_mail(recast, from, old->value, &message);
}

/* Whether a new node has a row; with `remove` it is gone then. */
static enum troupe_error find(struct recast *recast, uint16_t node, enum troupe__table table, struct troupe_bytes key,
                              bool remove, bool *ret_found)
{
    struct troupe__recast_sink *sink = recast->options->sink;
    enum troupe_error result = sink->find(sink, node, table, key, remove, recast->error, recast->error_size);
    *ret_found = result == TROUPE_OK;
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

static enum troupe_error set_new_id(struct recast *recast, uint16_t node, struct troupe_bytes key, uint16_t slot)
{
    uint64_t now_ms = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        uint64_t then_ms = recast->olds[i].counters.now_ms;
        now_ms = then_ms > now_ms ? then_ms : now_ms;
    }
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, now_ms);
    troupe__buffer_put_varint(&recast->row, slot);
    return set_row(recast, node, TROUPE__META, key);
}

/* Above all that there were, and of this node: see troupe__delivery_next_id. */
static uint64_t next_ask(struct recast *recast, uint16_t node)
{
    uint64_t *last = &recast->news[node].id_last;
    *last = (*last / TROUPE__ID_STEP + 1) * TROUPE__ID_STEP + node;
    return TROUPE__ASK_BIT | *last;
}

/* A message from outside that flew in its wrapping: the id (16 bytes), then the body. */
static enum troupe_error set_unwrapped(struct recast *recast, const struct troupe__message_row *message)
{
    static const unsigned char no_id[16];
    bool ask = message->kind == TROUPE__FORWARDED_ASK, known = false;
    uint16_t slot = message->to_slot, node = owner(recast, slot);
    const unsigned char *id = message->body.data;
    bool has_id = memcmp(id, no_id, sizeof no_id) != 0;
    unsigned char key[3 + 16];
    struct troupe_bytes id_key = {key, sizeof key}, response_key = {key + 3, 16};
    enum troupe_error result = TROUPE_OK;
    memcpy(key, TROUPE__ID_PREFIX, 3);
    memcpy(key + 3, id, 16);
    if (has_id) {
        result = find(recast, node, TROUPE__META, id_key, false, &known);
        result = result == TROUPE_OK && !known ? set_new_id(recast, node, id_key, slot) : result;
    }
    if (result != TROUPE_OK || known) {
        recast->counts.late += known;
        return result;
    }
    uint64_t number = ask ? next_ask(recast, node) : 0;
    recast->news[node].waiting++;
    recast->counts.flew++;
    recast->row.size = 0;
    troupe__message_row_encode(&recast->row, ask ? TROUPE__ASK : TROUPE__PLAIN, message->to, message->name, number,
                               message->version, (struct troupe_bytes){id + 16, message->body.size - 16});
    result = set_number_row(recast, node, TROUPE__MAIL, ++recast->news[node].sequence);
    if (result == TROUPE_OK && ask && has_id) {
        recast->row.size = 0;
        troupe__response_encode(&recast->row, number, slot, NULL);
        result = set_row(recast, node, TROUPE__RESPONSE, response_key);
    }
    return result;
}

/* An answer to an ask from outside, on its way to the node of the actor that was asked: as if it had come there. Who
 * waits for one without an id is gone. */
static enum troupe_error recast_outward(struct recast *recast, const struct troupe__message_row *message)
{
    struct open wanted = {.number = message->correlation >> TROUPE__OUTWARD_SHIFT, .slot = message->to_slot};
    bool kept = (message->correlation & TROUPE__OUTWARD_KEPT) != 0;
    struct open *open = kept && recast->open_count > 0
                            ? bsearch(&wanted, recast->opens, recast->open_count, sizeof *recast->opens, compare_opens)
                            : NULL;
    if (!open || open->answered) {
        recast->counts.late++;
        return TROUPE_OK;
    }
    struct troupe__answer answer = {TROUPE_OK, message->name, message->body};
    recast->row.size = 0;
    troupe__response_encode(&recast->row, open->number, open->slot, &answer);
    open->answered = true;
    recast->counts.flew++;
    return set_row(recast, open->node, TROUPE__RESPONSE, (struct troupe_bytes){open->key, sizeof open->key});
}

/* A message that flew is taken in as troupe__machine_take does. */
static enum troupe_error recast_flown(struct recast *recast, uint16_t from, struct troupe_bytes row)
{
    struct troupe__message_row message;
    if (!troupe__message_row_decode(row, &message) ||
        (message.kind >= TROUPE__FORWARDED_SEND && message.body.size < 16)) {
        return corrupt(recast, from, "a malformed message that flies");
    }
    if (message.kind == TROUPE__RESPONSE_BACK) {
        recast->counts.late++;
        return TROUPE_OK;
    }
    if (message.kind == TROUPE__FORWARDED_SEND || message.kind == TROUPE__FORWARDED_ASK) {
        return set_unwrapped(recast, &message);
    }
    if (message.kind == TROUPE__OUTWARD) {
        return recast_outward(recast, &message);
    }
    if (message.kind != TROUPE__PLAIN && message.kind != TROUPE__ASK && message.kind != TROUPE__ANSWER) {
        return corrupt(recast, from, "a message that flies and never could");
    }
    bool in_time = true;
    enum troupe_error result = TROUPE_OK;
    if (message.kind == TROUPE__ANSWER) {
        unsigned char key[8];
        troupe__put_be64(key, message.correlation);
        result = find(recast, owner(recast, message.to_slot), TROUPE__TIMER, (struct troupe_bytes){key, sizeof key},
                      true, &in_time);
    }
    if (result != TROUPE_OK || !in_time) {
        recast->counts.late += !in_time;
        return result;
    }
    recast->counts.flew++;
    return set_mail(recast, from, row, &message);
}

/* What the receiver has not accepted of a row (mailbox/outbox.h) flew. */
static enum troupe_error recast_outbox(struct recast *recast, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    const unsigned char *at = old->key.data;
    struct troupe__cursor cursor = cursor_of(old->value);
    uint16_t to = old->key.size == 10 ? (uint16_t)(at[0] << 8 | at[1]) : UINT16_MAX;
    if (to >= recast->old_count) {
        return corrupt(recast, from, "messages that fly to nowhere");
    }
    enum troupe_error result = TROUPE_OK;
    for (uint64_t number = troupe__get_be64(at + 2); cursor.at < cursor.end && result == TROUPE_OK; number++) {
        struct troupe_bytes row;
        row.data = troupe__cursor_string(&cursor, &row.size);
        if (cursor.failed) {
            return corrupt(recast, from, "malformed messages that fly");
        }
        result = number > recast->olds[to].accepted[from] ? recast_flown(recast, from, row) : TROUPE_OK;
    }
    return result;
}

/* Row form: machine.c. */
static enum troupe_error recast_dead(struct recast *recast, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    struct troupe__cursor cursor = cursor_of(old->value);
    struct troupe__message_row message;
    size_t size;
    (void)troupe__cursor_varint(&cursor);
    troupe__cursor_string(&cursor, &size);
    const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
    struct troupe_bytes row = {cursor.at, (size_t)(cursor.end - cursor.at)};
    if (!form || (*form == 1 && !troupe__message_row_decode(row, &message))) {
        return corrupt(recast, from, "a malformed dead letter");
    }
    uint16_t node = *form == 1 ? owner(recast, message.to_slot) : recast->options->heirs[from];
    uint64_t number = ++recast->news[node].sequence;
    recast->row.size = 0;
    troupe__buffer_put(&recast->row, old->value.data, (size_t)(cursor.at - (const unsigned char *)old->value.data));
    if (*form == 1) {
        put_message(recast, row, &message, number);
    } else {
        troupe__buffer_put(&recast->row, row.data, row.size);
    }
    return set_number_row(recast, node, TROUPE__DEAD, number);
}

/* ---- records on their way out ------------------------------------------------------------------------------------ */

static struct troupe__egress_name *find_egress(struct new_node *node, struct troupe_bytes name)
{
    for (size_t i = 0; i < node->egress_count; i++) {
        if (is(name, node->egresses[i].name)) {
            return &node->egresses[i];
        }
    }
    struct troupe__egress_name *egresses = realloc(node->egresses, (node->egress_count + 1) * sizeof *egresses);
    if (!egresses || name.size > TROUPE_NAME_MAX) {
        node->egresses = egresses ? egresses : node->egresses;
        return NULL;
    }
    node->egresses = egresses;
    struct troupe__egress_name *egress = &egresses[node->egress_count++];
    *egress = (struct troupe__egress_name){0};
    memcpy(egress->name, name.data, name.size);
    return egress;
}

static void note_released(struct recast *recast)
{
    for (uint16_t i = 0; i < recast->old_count; i++) {
        struct old_node *old = &recast->olds[i];
        uint64_t released = recast->options->released[i];
        released = released < old->counters.egress ? released : old->counters.egress;
        if (released > old->counters.egress_released) {
            old->counters.egress_released = released;
        }
    }
}

/* Messages are numbered anew, above all numbers there were: an ask of the earlier format that was handled and is
 * answered later keeps its own, which an actor may hold. Ids go on from the highest. */
static void note_sequences(struct recast *recast)
{
    uint64_t last = 0, id_last = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__counters *counters = &recast->olds[i].counters;
        last = counters->sequence > last ? counters->sequence : last;
        id_last = counters->timer > id_last ? counters->timer : id_last;
    }
    for (uint16_t i = 0; i < recast->new_count; i++) {
        recast->news[i].sequence = last;
        recast->news[i].id_last = id_last;
    }
}

/* What a new node carries on of its predecessor. */
static enum troupe_error inherit(struct recast *recast, uint16_t node)
{
    struct new_node *new = &recast->news[node];
    uint16_t before = recast->options->predecessors[node];
    if (before == TROUPE__RECAST_NOBODY) {
        return TROUPE_OK;
    }
    const struct old_node *old = &recast->olds[before];
    struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
    struct troupe__change change;
    new->egress_number = old->counters.egress;
    new->egress_released = old->counters.egress_released;
    while (troupe__record_next(&cursor, &change)) {
        if (has_prefix(change.key, TROUPE__EGRESS_PREFIX)) {
            size_t prefix = strlen(TROUPE__EGRESS_PREFIX);
            struct troupe_bytes name = {(const char *)change.key.data + prefix, change.key.size - prefix};
            struct troupe__cursor value = cursor_of(change.value);
            struct troupe__egress_name *egress = find_egress(new, name);
            if (!egress) {
                return out_of_memory(recast);
            }
            egress->sequence = troupe__cursor_varint(&value);
        }
    }
    return TROUPE_OK;
}

/* Records that are out are left behind, a row of which some are not is kept whole, as its node would. Those of an old
 * node that is nobody's predecessor are numbered anew. */
static enum troupe_error recast_egress(struct recast *recast, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    uint16_t heir = recast->options->heirs[from];
    struct new_node *new = &recast->news[heir];
    bool as_before = recast->options->predecessors[heir] == from;
    struct troupe__cursor cursor = cursor_of(old->value);
    struct troupe__egress egress;
    uint64_t first = new->egress_number + 1;
    recast->row.size = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        if (egress.number <= old->counters.egress_released) {
            continue;
        }
        if (as_before) {
            return set(recast, heir, TROUPE__EGRESS, old->key, old->value);
        }
        struct troupe__egress_name *name = find_egress(new, egress.name);
        if (!name) {
            return out_of_memory(recast);
        }
        egress.number = ++new->egress_number;
        egress.sequence = ++name->sequence;
        troupe__egress_put(&recast->row, &egress);
    }
    if (cursor.failed) {
        return corrupt(recast, from, "a malformed record on its way out");
    }
    return recast->row.size > 0 ? set_number_row(recast, heir, TROUPE__EGRESS, first) : TROUPE_OK;
}

/* ---- what a new node begins with --------------------------------------------------------------------------------- */

static struct troupe_bytes name_bytes(const char *name)
{
    return (struct troupe_bytes){name, strlen(name)};
}

static enum troupe_error set_counters(struct recast *recast, uint16_t node)
{
    struct new_node *new = &recast->news[node];
    struct troupe__counters counters = {new->sequence, new->id_last, new->egress_number, new->egress_released, 0,
                                        new->waiting};
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__counters *old = &recast->olds[i].counters;
        counters.now_ms = old->now_ms > counters.now_ms ? old->now_ms : counters.now_ms;
    }
    recast->row.size = 0;
    troupe__counters_encode(&counters, &recast->row);
    enum troupe_error result = set_row(recast, node, TROUPE__META, name_bytes(TROUPE__COUNTERS_ROW));
    for (size_t i = 0; i < new->egress_count &&result == TROUPE_OK; i++) {
        char key[sizeof TROUPE__EGRESS_PREFIX + TROUPE_NAME_MAX];
        snprintf(key, sizeof key, "%s%s", TROUPE__EGRESS_PREFIX, new->egresses[i].name);
        recast->row.size = 0;
        troupe__buffer_put_varint(&recast->row, new->egresses[i].sequence);
        result = set_row(recast, node, TROUPE__META, name_bytes(key));
    }
    return result;
}

static enum troupe_error set_place(struct recast *recast, uint16_t node)
{
    const struct troupe__slots *slots = recast->options->slots;
    uint64_t colour = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        colour = recast->olds[i].colour > colour ? recast->olds[i].colour : colour;
    }
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, slots->cluster);
    troupe__buffer_put_varint(&recast->row, slots->generation);
    troupe__buffer_put_varint(&recast->row, node);
    enum troupe_error result = set_row(recast, node, TROUPE__META, name_bytes(cluster_row));
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, colour);
    return result == TROUPE_OK && colour > 0 ? set_row(recast, node, TROUPE__META, name_bytes(colour_row)) : result;
}

/* The position that a new node without a predecessor that had one goes on from: lines may come again, none is lost. */
static bool is_least_position(const struct recast *recast, const struct troupe__change *input)
{
    struct troupe__cursor mine = cursor_of(input->value);
    uint64_t least = troupe__cursor_varint(&mine);
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct old_node *old = &recast->olds[i];
        struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
        struct troupe__change change;
        while (troupe__record_next(&cursor, &change)) {
            struct troupe__cursor value = cursor_of(change.value);
            if (compare_keys(change.key, input->key) == 0 && troupe__cursor_varint(&value) < least) {
                return false;
            }
        }
    }
    return true;
}

/* A position without what the file is known again by: on another machine one of that name may be another file. */
static struct troupe_bytes without_trace(struct troupe_bytes input)
{
    struct troupe__cursor cursor = cursor_of(input);
    (void)troupe__cursor_varint(&cursor); /* offset */
    (void)troupe__cursor_varint(&cursor); /* line */
    return cursor.failed ? input
                         : (struct troupe_bytes){input.data, (size_t)(cursor.at - (const unsigned char *)input.data)};
}

/* Whether all old nodes have the same row. */
static bool is_everywhere(const struct recast *recast, const struct troupe__change *row)
{
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct old_node *old = &recast->olds[i];
        struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
        struct troupe__change change;
        bool found = false;
        while (!found && troupe__record_next(&cursor, &change)) {
            found = compare_keys(change.key, row->key) == 0;
        }
        if (!found || change.value.size != row->value.size ||
            memcmp(change.value.data, row->value.data, row->value.size) != 0) {
            return false;
        }
    }
    return true;
}

/* META rows of old node `from` that are kept as they are. What modules declared is: if the nodes do not agree, none is
 * told, and all its rows are looked at when it starts. */
static enum troupe_error set_kept(struct recast *recast, uint16_t node, uint16_t from)
{
    const struct old_node *old = &recast->olds[from];
    struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
    struct troupe__change change;
    bool is_predecessor = recast->options->predecessors[node] == from;
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && troupe__record_next(&cursor, &change)) {
        bool is_input = has_prefix(change.key, input_prefix);
        if (has_prefix(change.key, TROUPE__EGRESS_PREFIX)) {
            continue;
        }
        if (is(change.key, TROUPE__SPECS_ROW)) {
            result =
                is_everywhere(recast, &change) ? set(recast, node, TROUPE__META, change.key, change.value) : result;
            continue;
        }
        if (is_predecessor) {
            result = set(recast, node, TROUPE__META, change.key, change.value);
        } else if (is_input && is_least_position(recast, &change)) {
            result = set(recast, node, TROUPE__META, change.key, without_trace(change.value));
        }
    }
    return result;
}

static enum troupe_error set_meta(struct recast *recast, uint16_t node)
{
    uint16_t before = recast->options->predecessors[node];
    enum troupe_error result = set_counters(recast, node);
    if (result == TROUPE_OK && !recast->options->alone) {
        result = set_place(recast, node);
    }
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        result = i == before ? TROUPE_OK : set_kept(recast, node, i);
    }
    return result == TROUPE_OK && before != TROUPE__RECAST_NOBODY ? set_kept(recast, node, before) : result;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

typedef enum troupe_error (*recast_fn)(struct recast *recast, uint16_t from);

/* One old node's rows after the other's. */
static enum troupe_error recast_in_turn(struct recast *recast, enum troupe__table table, recast_fn row)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        while (result == TROUPE_OK && recast->olds[i].table == table) {
            result = row(recast, i);
            result = result == TROUPE_OK ? advance(recast, &recast->olds[i]) : result;
        }
    }
    return result;
}

static enum troupe_error recast_table(struct recast *recast, enum troupe__table table)
{
    enum troupe_error result;
    switch (table) {
    case TROUPE__META:
        result = recast_meta(recast);
        note_released(recast);
        note_sequences(recast);
        for (uint16_t i = 0; i < recast->new_count && result == TROUPE_OK; i++) {
            result = inherit(recast, i);
        }
        return result;
    case TROUPE__MAIL:
        result = recast_in_turn(recast, table, recast_mail);
        if (recast->ask_count > 0) {
            qsort(recast->asks, recast->ask_count, sizeof *recast->asks, compare_asks);
        }
        return result;
    case TROUPE__RESPONSE:
        result = recast_merged(recast, table);
        if (recast->open_count > 0) {
            qsort(recast->opens, recast->open_count, sizeof *recast->opens, compare_opens);
        }
        return result;
    case TROUPE__DEAD:
        return recast_in_turn(recast, table, recast_dead);
    case TROUPE__EGRESS:
        return recast_in_turn(recast, table, recast_egress);
    case TROUPE__OUTBOX:
        return recast_in_turn(recast, table, recast_outbox);
    default:
        return recast_merged(recast, table);
    }
}

static enum troupe_error recast_all(struct recast *recast)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        struct old_node *old = &recast->olds[i];
        old->source = recast->options->sources[i];
        old->accepted = calloc(recast->old_count, sizeof *old->accepted);
        result = old->accepted ? advance(recast, old) : out_of_memory(recast);
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        result = recast_table(recast, (enum troupe__table)table);
    }
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        result = recast->olds[i].meta.failed ? out_of_memory(recast) : TROUPE_OK;
    }
    for (uint16_t node = 0; node < recast->new_count && result == TROUPE_OK; node++) {
        result = set_meta(recast, node);
    }
    return result;
}

enum troupe_error troupe__recast(const struct troupe__recast_options *options, struct troupe__recast_counts *ret,
                                 char *error, size_t error_size)
{
    struct recast recast = {.options = options,
                            .old_count = options->source_count,
                            .new_count = options->slots->node_count,
                            .error = error,
                            .error_size = error_size};
    recast.olds = calloc(recast.old_count, sizeof *recast.olds);
    recast.news = calloc(recast.new_count, sizeof *recast.news);
    enum troupe_error result = recast.olds && recast.news ? recast_all(&recast) : out_of_memory(&recast);
    for (uint16_t i = 0; recast.olds && i < recast.old_count; i++) {
        troupe__buffer_free(&recast.olds[i].meta);
        free(recast.olds[i].accepted);
    }
    for (uint16_t i = 0; recast.news && i < recast.new_count; i++) {
        free(recast.news[i].egresses);
        free(recast.news[i].kept);
    }
    free(recast.olds);
    free(recast.news);
    free(recast.asks);
    free(recast.opens);
    troupe__buffer_free(&recast.row);
    if (result == TROUPE_OK) {
        *ret = recast.counts;
    }
    return result;
}
