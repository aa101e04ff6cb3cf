/* recast_messages.c - messages, dead letters and asks from outside, dealt out to other nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/grow.h"
#include "core/message.h"
#include "runtime/machine/machine_rows.h"
#include "runtime/snapshot/recast_parts.h"

/* ---- asks from outside, and their answers ------------------------------------------------------------------------ */

static int compare_asks(const void *a, const void *b)
{
    const struct troupe__recast_ask *left = a, *right = b;
    int order = (left->old_node > right->old_node) - (left->old_node < right->old_node);
    return order ? order : (left->old_number > right->old_number) - (left->old_number < right->old_number);
}

/* Whether no other ask that is answered later has this number on the new node; from now on one has. */
static bool keep_number(struct troupe__recasting *recast, uint16_t node, uint64_t number)
{
    struct troupe__recast_new *new = &recast->news[node];
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
    const struct troupe__recast_open *left = a, *right = b;
    int order = (left->number > right->number) - (left->number < right->number);
    return order ? order : left->slot - right->slot;
}

/* An answer to it may be on its way. */
static enum troupe_error note_open(struct troupe__recasting *recast, struct troupe__recast_open open,
                                   struct troupe_bytes key)
{
    struct troupe__recast_open *opens =
        troupe__grow(recast->opens, recast->open_count, &recast->open_capacity, sizeof *opens);
    if (!opens) {
        return troupe__recast_no_memory(recast);
    }
    recast->opens = opens;
    memcpy(open.key, key.data, sizeof open.key);
    recast->opens[recast->open_count++] = open;
    return TROUPE_OK;
}

/* Of the earlier format: the number of an ask that waits is now another one, and an answered one must not share one
 * with it. */
static enum troupe_error renumber(struct troupe__recasting *recast, uint16_t from, uint16_t node, bool answered,
                                  uint64_t old_number, uint64_t *ret_number)
{
    struct troupe__recast_ask wanted = {.old_number = old_number, .old_node = from};
    if (answered) {
        *ret_number = ++recast->news[node].sequence;
        return TROUPE_OK;
    }
    const struct troupe__recast_ask *ask =
        recast->ask_count > 0 ? bsearch(&wanted, recast->asks, recast->ask_count, sizeof *recast->asks, compare_asks)
                              : NULL;
    if (ask && ask->new_node != node) {
        return troupe__recast_corrupt(recast, from, "an answer of another node");
    }
    *ret_number = ask ? ask->new_number : old_number;
    return ask || keep_number(recast, node, old_number)
               ? TROUPE_OK
               : troupe__recast_corrupt(recast, from,
                                        "an ask to be answered later, whose number an ask of another node has too,");
}

enum troupe_error troupe__recast_response(struct troupe__recasting *recast, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    struct troupe__answer answer;
    uint16_t slot = troupe__response_slot(old->value), node;
    uint64_t number;
    bool answered;
    if (!troupe__response_decode(old->value, &number, &answered, &answer) || slot >= TROUPE__SLOTS ||
        old->key.size != TROUPE__RESPONSE_KEY_SIZE) {
        return troupe__recast_corrupt(recast, from, "a malformed answer");
    }
    node = troupe__recast_owner(recast, slot);
    enum troupe_error result = is_unique(number) ? TROUPE_OK : renumber(recast, from, node, answered, number, &number);
    if (result == TROUPE_OK && !answered) {
        result =
            note_open(recast, (struct troupe__recast_open){.number = number, .node = node, .slot = slot}, old->key);
    }
    recast->row.size = 0;
    troupe__response_encode(&recast->row, number, slot, answered ? &answer : NULL);
    return result == TROUPE_OK ? troupe__recast_set_row(recast, node, TROUPE__RESPONSE, old->key) : result;
}

void troupe__recast_sort_asks(struct troupe__recasting *recast)
{
    if (recast->ask_count > 0) {
        qsort(recast->asks, recast->ask_count, sizeof *recast->asks, compare_asks);
    }
}

void troupe__recast_sort_opens(struct troupe__recasting *recast)
{
    if (recast->open_count > 0) {
        qsort(recast->opens, recast->open_count, sizeof *recast->opens, compare_opens);
    }
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Whether it is an ask from outside that is known by the number that its message had on its old node. */
static bool is_renumbered(const struct troupe__message_row *message)
{
    return message->kind == TROUPE__ASK && !message->from_actor && !is_unique(message->correlation);
}

/* Append a message to recast->row; `number` is its new one here. */
static void put_message(struct troupe__recasting *recast, struct troupe_bytes row,
                        const struct troupe__message_row *message, uint64_t number)
{
    if (is_renumbered(message)) {
        troupe__buffer_put(&recast->row, message->before.data, message->before.size);
        troupe__buffer_put_varint(&recast->row, number);
        troupe__buffer_put(&recast->row, message->after.data, message->after.size);
    } else {
        troupe__buffer_put(&recast->row, row.data, row.size);
    }
}

static enum troupe_error note_ask(struct troupe__recasting *recast, uint16_t from, uint64_t old_number, uint16_t node,
                                  uint64_t number)
{
    struct troupe__recast_ask *asks =
        troupe__grow(recast->asks, recast->ask_count, &recast->ask_capacity, sizeof *asks);
    if (!asks) {
        return troupe__recast_no_memory(recast);
    }
    recast->asks = asks;
    recast->asks[recast->ask_count++] = (struct troupe__recast_ask){old_number, number, from, node};
    return TROUPE_OK;
}

/* A message that waits from now on at the new node of its actor. */
static enum troupe_error set_mail(struct troupe__recasting *recast, uint16_t from, struct troupe_bytes row,
                                  const struct troupe__message_row *message)
{
    uint16_t node = troupe__recast_owner(recast, message->to_slot);
    uint64_t number = ++recast->news[node].sequence;
    enum troupe_error result = TROUPE_OK;
    if (is_renumbered(message)) {
        result = note_ask(recast, from, message->correlation, node, number);
    }
    recast->news[node].waiting++;
    recast->row.size = 0;
    put_message(recast, row, message, number);
    return result == TROUPE_OK ? troupe__recast_set_number_row(recast, node, TROUPE__MAIL, number) : result;
}

enum troupe_error troupe__recast_mail(struct troupe__recasting *recast, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    struct troupe__message_row message;
    if (!troupe__message_row_decode(old->value, &message)) {
        return troupe__recast_corrupt(recast, from, "a malformed message that waits");
    }
    recast->counts.waited++;
    return set_mail(recast, from, old->value, &message);
}

/* Whether a new node has a row; with `remove` it is gone then. */
static enum troupe_error find(struct troupe__recasting *recast, uint16_t node, enum troupe__table table,
                              struct troupe_bytes key, bool remove, bool *ret_found)
{
    struct troupe__recast_sink *sink = recast->options->sink;
    enum troupe_error result = sink->find(sink, node, table, key, remove, recast->error, recast->error_size);
    *ret_found = result == TROUPE_OK;
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

static enum troupe_error set_new_id(struct troupe__recasting *recast, uint16_t node, struct troupe_bytes key,
                                    uint16_t slot)
{
    uint64_t now_ms = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        uint64_t then_ms = recast->olds[i].counters.now_ms;
        now_ms = then_ms > now_ms ? then_ms : now_ms;
    }
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, now_ms);
    troupe__buffer_put_varint(&recast->row, slot);
    return troupe__recast_set_row(recast, node, TROUPE__META, key);
}

/* Above all that there were, and of this node: see troupe__delivery_next_id. */
static uint64_t next_ask(struct troupe__recasting *recast, uint16_t node)
{
    uint64_t *last = &recast->news[node].id_last;
    *last = (*last / TROUPE__ID_STEP + 1) * TROUPE__ID_STEP + node;
    return TROUPE__ASK_BIT | *last;
}

/* A message from outside that flew in its wrapping: the id (16 bytes), then the body. */
static enum troupe_error set_unwrapped(struct troupe__recasting *recast, const struct troupe__message_row *message)
{
    static const unsigned char no_id[16];
    bool ask = message->kind == TROUPE__FORWARDED_ASK, known = false;
    uint16_t slot = message->to_slot, node = troupe__recast_owner(recast, slot);
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
    result = troupe__recast_set_number_row(recast, node, TROUPE__MAIL, ++recast->news[node].sequence);
    if (result == TROUPE_OK && ask && has_id) {
        recast->row.size = 0;
        troupe__response_encode(&recast->row, number, slot, NULL);
        result = troupe__recast_set_row(recast, node, TROUPE__RESPONSE, response_key);
    }
    return result;
}

/* An answer to an ask from outside, on its way to the node of the actor that was asked: as if it had come there. Who
 * waits for one without an id is gone. */
static enum troupe_error recast_outward(struct troupe__recasting *recast, const struct troupe__message_row *message)
{
    struct troupe__recast_open wanted = {.number = message->correlation >> TROUPE__OUTWARD_SHIFT,
                                         .slot = message->to_slot};
    bool kept = (message->correlation & TROUPE__OUTWARD_KEPT) != 0;
    struct troupe__recast_open *open =
        kept && recast->open_count > 0
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
    return troupe__recast_set_row(recast, open->node, TROUPE__RESPONSE,
                                  (struct troupe_bytes){open->key, sizeof open->key});
}

/* A message that flew is taken in as troupe__machine_take does. */
static enum troupe_error recast_flown(struct troupe__recasting *recast, uint16_t from, struct troupe_bytes row)
{
    struct troupe__message_row message;
    if (!troupe__message_row_decode(row, &message) ||
        (message.kind >= TROUPE__FORWARDED_SEND && message.body.size < 16)) {
        return troupe__recast_corrupt(recast, from, "a malformed message that flies");
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
        return troupe__recast_corrupt(recast, from, "a message that flies and never could");
    }
    bool in_time = true;
    enum troupe_error result = TROUPE_OK;
    if (message.kind == TROUPE__ANSWER) {
        unsigned char key[8];
        troupe__put_be64(key, message.correlation);
        result = find(recast, troupe__recast_owner(recast, message.to_slot), TROUPE__TIMER,
                      (struct troupe_bytes){key, sizeof key}, true, &in_time);
    }
    if (result != TROUPE_OK || !in_time) {
        recast->counts.late += !in_time;
        return result;
    }
    recast->counts.flew++;
    return set_mail(recast, from, row, &message);
}

/* What the receiver has not accepted of a row (mailbox/outbox.h) flew. */
enum troupe_error troupe__recast_outbox(struct troupe__recasting *recast, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    const unsigned char *at = old->key.data;
    struct troupe__cursor cursor = troupe__recast_cursor(old->value);
    uint16_t to = old->key.size == 10 ? (uint16_t)(at[0] << 8 | at[1]) : UINT16_MAX;
    if (to >= recast->old_count) {
        return troupe__recast_corrupt(recast, from, "messages that fly to nowhere");
    }
    enum troupe_error result = TROUPE_OK;
    for (uint64_t number = troupe__get_be64(at + 2); cursor.at < cursor.end && result == TROUPE_OK; number++) {
        struct troupe_bytes row;
        row.data = troupe__cursor_string(&cursor, &row.size);
        if (cursor.failed) {
            return troupe__recast_corrupt(recast, from, "malformed messages that fly");
        }
        result = number > recast->olds[to].accepted[from] ? recast_flown(recast, from, row) : TROUPE_OK;
    }
    return result;
}

/* Row form: machine_dead.c. */
enum troupe_error troupe__recast_dead(struct troupe__recasting *recast, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    struct troupe__cursor cursor = troupe__recast_cursor(old->value);
    struct troupe__message_row message;
    size_t size;
    (void)troupe__cursor_varint(&cursor);
    troupe__cursor_string(&cursor, &size);
    const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
    struct troupe_bytes row = {cursor.at, (size_t)(cursor.end - cursor.at)};
    if (!form || (*form == 1 && !troupe__message_row_decode(row, &message))) {
        return troupe__recast_corrupt(recast, from, "a malformed dead letter");
    }
    uint16_t node = *form == 1 ? troupe__recast_owner(recast, message.to_slot) : recast->options->heirs[from];
    uint64_t number = ++recast->news[node].sequence;
    recast->row.size = 0;
    troupe__buffer_put(&recast->row, old->value.data, (size_t)(cursor.at - (const unsigned char *)old->value.data));
    if (*form == 1) {
        put_message(recast, row, &message, number);
    } else {
        troupe__buffer_put(&recast->row, row.data, row.size);
    }
    return troupe__recast_set_number_row(recast, node, TROUPE__DEAD, number);
}
