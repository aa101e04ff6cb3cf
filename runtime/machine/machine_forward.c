/* machine_forward.c - messages from outside that one node takes in for an actor of another: ids and answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/machine_forward.h"

#include <assert.h>
#include <stdio.h>

#include "runtime/machine/links.h"
#include "runtime/machine/machine_rows.h"

#define ASKER_TYPE "troupe/asker"

enum { ID_SIZE = 16, ASKER_KEYS_TRIED = 1 << 20 };

/* ---- the node that takes it in ----------------------------------------------------------------------------------- */

/* The address that stands for this node; NULL when out of memory, or with an error when it owns no slot. */
static struct troupe__actor *own_asker(struct troupe__machine *machine)
{
    const struct troupe__slots *slots = machine->links->options.slots;
    char *key = machine->asker_key;
    bool found = key[0] != '\0';
    for (unsigned i = 0; !found && i < ASKER_KEYS_TRIED; i++) {
        snprintf(key, sizeof machine->asker_key, "%u", i);
        found = slots->owner[troupe__slot_of(ASKER_TYPE, key)] == machine->links->options.self;
    }
    if (!found) {
        key[0] = '\0';
        snprintf(machine->error, sizeof machine->error, "this node owns no slots: ask another one");
        return NULL;
    }
    return troupe__actors_get(&machine->actors, ASKER_TYPE, key, strlen(key));
}

/* The top bit tells it from the number of an ask that is answered here, which is a count. */
static uint64_t next_number(struct troupe__machine *machine)
{
    uint64_t from[2] = {machine->links->incarnation, ++machine->forwarded};
    return troupe__hash(from, sizeof from) | UINT64_C(1) << 63;
}

enum troupe_error troupe__machine_forward(struct troupe__machine *machine, const char *id, struct troupe__actor *to,
                                          const char *type, struct troupe_bytes body, enum troupe__message_kind kind,
                                          uint64_t *ret_number)
{
    bool ask = kind == TROUPE__ASK;
    struct troupe__id known = {0, 0};
    machine->error[0] = '\0';
    struct troupe__actor *from = ask ? own_asker(machine) : NULL;
    if (ask && !from) {
        return machine->error[0] ? TROUPE_EINVAL : troupe__machine_out_of_memory(machine);
    }
    if (id) {
        known = troupe__id_of(to->type->name, to->key, id);
    }
    struct troupe__buffer *wrapped = &machine->scratch;
    unsigned char halves[ID_SIZE];
    troupe__put_be64(halves, known.low);
    troupe__put_be64(halves + 8, known.high);
    wrapped->size = 0;
    troupe__buffer_put(wrapped, halves, sizeof halves);
    troupe__buffer_put(wrapped, body.data, body.size);
    struct troupe__message *message =
        wrapped->failed
            ? NULL
            : troupe__message_new(to, from, type, strlen(type), (struct troupe_bytes){wrapped->data, wrapped->size});
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    message->kind = ask ? TROUPE__FORWARDED_ASK : TROUPE__FORWARDED_SEND;
    message->correlation = ask ? next_number(machine) : 0;
    *ret_number = message->correlation;
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

/* ---- the node of the actor --------------------------------------------------------------------------------------- */

static void return_row_key(unsigned char key[static TROUPE__RETURN_ROW_KEY_SIZE], const struct troupe__return *entry)
{
    memcpy(key, TROUPE__RETURN_PREFIX, 7);
    troupe__put_be64(key + 7, entry->number);
    troupe__put_be64(key + 15, entry->asked);
}

static void forget_return(struct troupe__machine *machine, struct troupe__return *entry)
{
    unsigned char key[TROUPE__RETURN_ROW_KEY_SIZE];
    return_row_key(key, entry);
    troupe__record_remove(&machine->record, TROUPE__META, key, sizeof key);
    troupe__returns_remove(&machine->returns, entry);
}

static enum troupe_error note_return(struct troupe__machine *machine, uint64_t number,
                                     const struct troupe__message *ask)
{
    struct troupe__return *oldest = NULL;
    if (troupe__returns_count(&machine->returns, number, &oldest) >= TROUPE__RETURNS_EACH) {
        forget_return(machine, oldest);
    }
    struct troupe__return *entry =
        troupe__returns_add(&machine->returns, number, ask->correlation, ask->from->key, machine->ctx.now_ms);
    if (!entry) {
        return troupe__machine_out_of_memory(machine);
    }
    unsigned char key[TROUPE__RETURN_ROW_KEY_SIZE];
    return_row_key(key, entry);
    machine->scratch.size = 0;
    troupe__buffer_put_string(&machine->scratch, entry->key, strlen(entry->key));
    troupe__buffer_put_varint(&machine->scratch, (uint64_t)entry->since_ms);
    troupe__record_set(&machine->record, TROUPE__META, key, sizeof key, machine->scratch.data, machine->scratch.size);
    return TROUPE_OK;
}

static enum troupe_error respond(struct troupe__machine *machine, const char *asker_key, uint64_t asked,
                                 const struct troupe__answer *answer)
{
    struct troupe__buffer *row = &machine->scratch;
    row->size = 0;
    troupe__response_encode(row, asked, 0, answer);
    struct troupe__actor *asker =
        row->failed ? NULL : troupe__actors_get(&machine->actors, ASKER_TYPE, asker_key, strlen(asker_key));
    struct troupe__message *message =
        asker ? troupe__message_new(asker, NULL, "answer", 6, (struct troupe_bytes){row->data, row->size}) : NULL;
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    message->kind = TROUPE__RESPONSE_BACK;
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

enum troupe_error troupe__machine_answer_returns(struct troupe__machine *machine, uint64_t number,
                                                 const struct troupe__answer *answer)
{
    struct troupe__return *entry;
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && (entry = troupe__returns_find(&machine->returns, number)) != NULL) {
        result = respond(machine, entry->key, entry->asked, answer);
        if (result == TROUPE_OK) {
            forget_return(machine, entry);
        }
    }
    return result;
}

void troupe__machine_expire_returns(struct troupe__machine *machine)
{
    struct troupe__return *oldest;
    while ((oldest = machine->returns.oldest) != NULL &&
           machine->ctx.now_ms - oldest->since_ms >= TROUPE__RETURN_AGE_MS) {
        forget_return(machine, oldest);
    }
}

enum troupe_error troupe__machine_start_return(struct troupe__machine *machine, struct troupe_bytes key, bool removed,
                                               struct troupe_bytes value)
{
    const unsigned char *at = key.data;
    uint64_t number = troupe__get_be64(at + 7), asked = troupe__get_be64(at + 15);
    char asker[TROUPE__RETURN_KEY_MAX + 1] = "";
    if (removed) {
        struct troupe__return *entry = troupe__returns_find_both(&machine->returns, number, asked);
        if (entry) {
            troupe__returns_remove(&machine->returns, entry);
        }
        return TROUPE_OK;
    }
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    size_t size = 0;
    const unsigned char *text = troupe__cursor_string(&cursor, &size);
    int64_t since_ms = (int64_t)troupe__cursor_varint(&cursor);
    if (cursor.failed || cursor.at != cursor.end || size == 0 || size > TROUPE__RETURN_KEY_MAX ||
        memchr(text, 0, size)) {
        snprintf(machine->error, sizeof machine->error,
                 "a row of who waits for an answer is malformed: run troupe "
                 "doctor");
        return TROUPE_ECORRUPT;
    }
    memcpy(asker, text, size);
    return troupe__returns_add(&machine->returns, number, asked, asker, since_ms)
               ? TROUPE_OK
               : troupe__machine_out_of_memory(machine);
}

/* An ask whose id was taken in before: the answer there is, or will be. */
static enum troupe_error join_ask(struct troupe__machine *machine, const struct troupe__message *ask,
                                  struct troupe__id id)
{
    static const char no_answer[] = "this id was sent to this actor before, not asked: there is no answer to it";
    const struct troupe__response *known = troupe__responses_find(&machine->responses, id);
    if (known && !known->answered) {
        return note_return(machine, known->number, ask);
    }
    struct troupe__answer answer = {TROUPE_EINVAL, {"", 0}, {no_answer, sizeof no_answer - 1}};
    if (known) {
        enum troupe_error result = troupe__machine_read_answer(machine, id, &answer);
        if (result != TROUPE_OK) {
            answer = (struct troupe__answer){result, {"", 0}, {machine->error, strlen(machine->error)}};
        }
    }
    return respond(machine, ask->from->key, ask->correlation, &answer);
}

/* Into its actor's inbox, as if it had come from outside here. */
static enum troupe_error enter(struct troupe__machine *machine, const struct troupe__message *wrapped,
                               struct troupe__id id, struct troupe_bytes body)
{
    bool ask = wrapped->kind == TROUPE__FORWARDED_ASK;
    struct troupe__message *message = troupe__message_new(wrapped->to, NULL, wrapped->data, wrapped->type_size, body);
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    message->kind = ask ? TROUPE__ASK : TROUPE__PLAIN;
    message->version = wrapped->version;
    uint64_t number = ask ? troupe__machine_next_ask(machine) : 0;
    message->correlation = number;
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
        return result;
    }
    if (!ask) {
        return TROUPE_OK;
    }
    result = id.low ? troupe__machine_expect_answer(machine, id, number, wrapped->to->slot) : TROUPE_OK;
    return result == TROUPE_OK ? note_return(machine, number, wrapped) : result;
}

static enum troupe_error unwrap(struct troupe__machine *machine, const struct troupe__message *wrapped)
{
    const unsigned char *bytes = troupe__message_body(wrapped);
    struct troupe__id id = {troupe__get_be64(bytes), troupe__get_be64(bytes + 8)};
    struct troupe_bytes body = {bytes + ID_SIZE, wrapped->body_size - ID_SIZE};
    bool known = false;
    enum troupe_error result = id.low ? troupe__machine_note_id(machine, id, wrapped->to->slot, &known) : TROUPE_OK;
    if (result != TROUPE_OK) {
        return result;
    }
    if (!known) {
        return enter(machine, wrapped, id, body);
    }
    return wrapped->kind == TROUPE__FORWARDED_ASK ? join_ask(machine, wrapped, id) : TROUPE_OK;
}

bool troupe__forwarded_body(const struct troupe__message *message, struct troupe_bytes *ret)
{
    const char *bytes = troupe__message_body(message);
    bool wrapped = message->kind == TROUPE__FORWARDED_SEND || message->kind == TROUPE__FORWARDED_ASK;
    if (message->kind == TROUPE__RESPONSE_BACK || (wrapped && message->body_size < ID_SIZE)) {
        return false;
    }
    *ret = wrapped ? (struct troupe_bytes){bytes + ID_SIZE, message->body_size - ID_SIZE}
                   : (struct troupe_bytes){bytes, message->body_size};
    return true;
}

static bool well_formed(const struct troupe__message *message)
{
    struct troupe_bytes body = {troupe__message_body(message), message->body_size};
    struct troupe__answer answer;
    uint64_t number;
    bool answered;
    if (message->kind == TROUPE__RESPONSE_BACK) {
        return troupe__response_decode(body, &number, &answered, &answer) && answered;
    }
    bool from_asker = message->from && strcmp(message->from->type->name, ASKER_TYPE) == 0 &&
                      message->from->key_size <= TROUPE__RETURN_KEY_MAX;
    return body.size >= ID_SIZE && body.size <= TROUPE_BODY_MAX + ID_SIZE && message->type_size > 0 &&
           (message->kind == TROUPE__FORWARDED_SEND || from_asker);
}

enum troupe_error troupe__machine_take_forwarded(struct troupe__machine *machine, struct troupe__message *message)
{
    struct troupe_bytes body = {troupe__message_body(message), message->body_size};
    enum troupe_error result = TROUPE_OK;
    if (!well_formed(message)) {
        result =
            troupe__machine_bury(machine, "link: a forwarded message is malformed: is it of another version?", body);
    } else if (message->kind == TROUPE__RESPONSE_BACK) {
        troupe__buffer_put_string(&machine->answers, body.data, body.size);
        result = machine->answers.failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
    } else {
        result = unwrap(machine, message);
    }
    if (result == TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}
