/* machine_asks.c - asks from outside: taking one in, and its one answer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An ask is known by a number (TROUPE__ASK_BIT). Its answer leaves the machine with the epoch that made it
 * (`epoch->answers`); with an id it is a row too, so that asking again gets the same, also after a crash. */
#include <assert.h>
#include <stdio.h>

#include "runtime/machine/links.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"

enum troupe_error troupe__machine_ask(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                      const char *type, struct troupe_bytes body, uint64_t *ret_number,
                                      const struct troupe__response **ret_known)
{
    bool known = false;
    if (machine->links) {
        enum troupe_error checked = troupe__machine_check_outside(machine, to, type, body);
        struct troupe__actor *actor =
            checked == TROUPE_OK ? troupe__actors_get(&machine->actors, to.type, to.key, strlen(to.key)) : NULL;
        if (!actor) {
            return checked != TROUPE_OK ? checked : troupe__machine_out_of_memory(machine);
        }
        if (!troupe__links_local(machine->links, actor)) {
            *ret_known = NULL; /* Its node knows the id. */
            return troupe__machine_forward(machine, id, actor, type, body, TROUPE__ASK, ret_number);
        }
    }
    uint64_t number = 0;
    enum troupe_error result = troupe__machine_take_in(machine, id, to, type, body, TROUPE__ASK, &known, &number);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!known) {
        *ret_number = number;
        *ret_known = NULL;
        if (!id) {
            return TROUPE_OK;
        }
        return troupe__machine_expect_answer(machine, troupe__id_of(to.type, to.key, id), number,
                                             troupe__slot_of(to.type, to.key));
    }
    const struct troupe__response *response =
        troupe__responses_find(&machine->responses, troupe__id_of(to.type, to.key, id));
    if (!response) {
        snprintf(machine->error, sizeof machine->error,
                 "id '%.100s' was sent to this actor before, not asked: there is "
                 "no answer to it",
                 id);
        return TROUPE_EINVAL;
    }
    *ret_number = response->number;
    *ret_known = response;
    return TROUPE_OK;
}

enum troupe_error troupe__machine_expect_answer(struct troupe__machine *machine, struct troupe__id id, uint64_t number,
                                                uint16_t slot)
{
    const struct troupe__response *response = troupe__responses_add(&machine->responses, id, number, slot);
    if (!response) {
        return troupe__machine_out_of_memory(machine);
    }
    unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
    troupe__response_key(id, key);
    machine->scratch.size = 0;
    troupe__response_encode(&machine->scratch, number, slot, NULL);
    troupe__record_set(&machine->record, TROUPE__RESPONSE, key, sizeof key, machine->scratch.data,
                       machine->scratch.size);
    return TROUPE_OK;
}

enum troupe_error troupe__machine_read_answer(struct troupe__machine *machine, struct troupe__id id,
                                              struct troupe__answer *ret)
{
    const struct troupe__response *response = troupe__responses_find(&machine->responses, id);
    if (!response || !response->answered) {
        return TROUPE_ENOTFOUND;
    }
    struct troupe_bytes row = {response->row, response->row_size};
    if (!response->row) {
        unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
        troupe__response_key(id, key);
        enum troupe_error result =
            machine->store->read(machine->store, TROUPE__RESPONSE, (struct troupe_bytes){key, sizeof key}, &row);
        if (result != TROUPE_OK) {
            snprintf(machine->error, sizeof machine->error, "read an answer: %.450s", machine->store->error);
            return result == TROUPE_ENOTFOUND ? TROUPE_ECORRUPT : result;
        }
    }
    uint64_t number;
    bool answered;
    if (!troupe__response_decode(row, &number, &answered, ret) || !answered) {
        snprintf(machine->error, sizeof machine->error, "an answer's row is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__machine_answer(struct troupe__machine *machine, uint64_t number,
                                         const struct troupe__answer *answer)
{
    struct troupe__response *response = troupe__responses_find_open(&machine->responses, number);
    machine->scratch.size = 0;
    troupe__response_encode(&machine->scratch, number, response ? response->slot : 0, answer);
    struct troupe_bytes row = {machine->scratch.data, machine->scratch.size};
    if (machine->scratch.failed ||
        (response && !troupe__responses_answer(&machine->responses, response, machine->epoch, &row))) {
        return troupe__machine_out_of_memory(machine);
    }
    if (response) {
        unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
        troupe__response_key(response->id, key);
        troupe__record_set(&machine->record, TROUPE__RESPONSE, key, sizeof key, row.data, row.size);
    }
    troupe__buffer_put_string(&machine->answers, row.data, row.size);
    if (machine->answers.failed) {
        return troupe__machine_out_of_memory(machine);
    }
    return machine->returns.count > 0 ? troupe__machine_answer_returns(machine, number, answer) : TROUPE_OK;
}

enum troupe_error troupe__machine_answer_outside(struct troupe__machine *machine, struct troupe__message *message)
{
    uint64_t number = message->correlation >> TROUPE__OUTWARD_SHIFT;
    bool kept = (message->correlation & TROUPE__OUTWARD_KEPT) != 0;
    struct troupe__answer answer = {
        TROUPE_OK, {message->data, message->type_size}, {troupe__message_body(message), message->body_size}};
    enum troupe_error result = TROUPE_OK;
    if (kept && !troupe__responses_find_open(&machine->responses, number)) {
        machine->stats.late_answers++;
    } else {
        result = troupe__machine_answer(machine, number, &answer); /* Whoever waits for one without an id is outside. */
    }
    if (result == TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

enum troupe_error troupe__machine_answer_failure(struct troupe__machine *machine, const struct troupe__message *message,
                                                 enum troupe_error failure, const char *reason)
{
    if (message->kind != TROUPE__ASK || message->from) {
        return TROUPE_OK;
    }
    struct troupe__answer answer = {failure, {"", 0}, {reason, strlen(reason)}};
    return troupe__machine_answer(machine, message->correlation, &answer);
}

void troupe__machine_forget_answer(struct troupe__machine *machine, struct troupe__id id)
{
    struct troupe__response *response = troupe__responses_find(&machine->responses, id);
    if (response) {
        unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
        troupe__response_key(id, key);
        troupe__record_remove(&machine->record, TROUPE__RESPONSE, key, sizeof key);
        troupe__responses_remove(&machine->responses, response);
    }
}
