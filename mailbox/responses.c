/* responses.c - asks from outside that carry an id, and the answers to them, kept for whoever asks again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/responses.h"

#include <assert.h>

void troupe__response_key(struct troupe__id id, unsigned char key[static TROUPE__RESPONSE_KEY_SIZE])
{
    troupe__put_be64(key, id.low);
    troupe__put_be64(key + 8, id.high);
}

/* ---- the two tables of chains ------------------------------------------------------------------------------------ */

static size_t id_bucket(const struct troupe__responses *responses, struct troupe__id id)
{
    return id.high & (responses->capacity - 1);
}

static size_t number_bucket(const struct troupe__responses *responses, uint64_t number)
{
    return number & (responses->capacity - 1); /* Numbers only grow: as good as a hash. */
}

static void link_id(struct troupe__responses *responses, struct troupe__response *response)
{
    struct troupe__response **bucket = &responses->by_id[id_bucket(responses, response->id)];
    response->next_id = *bucket;
    *bucket = response;
}

static void link_number(struct troupe__responses *responses, struct troupe__response *response)
{
    struct troupe__response **bucket = &responses->by_number[number_bucket(responses, response->number)];
    response->next_number = *bucket;
    *bucket = response;
}

static void unlink_number(struct troupe__responses *responses, struct troupe__response *response)
{
    struct troupe__response **at = &responses->by_number[number_bucket(responses, response->number)];
    while (*at != response) {
        at = &(*at)->next_number;
    }
    *at = response->next_number;
}

static bool grow(struct troupe__responses *responses)
{
    size_t capacity = responses->capacity ? responses->capacity * 2 : 64;
    struct troupe__responses bigger = *responses;
    bigger.capacity = capacity;
    bigger.by_id = calloc(capacity, sizeof(struct troupe__response *));
    bigger.by_number = calloc(capacity, sizeof(struct troupe__response *));
    if (!bigger.by_id || !bigger.by_number) {
        free(bigger.by_id);
        free(bigger.by_number);
        return false;
    }
    for (size_t i = 0; i < responses->capacity; i++) {
        for (struct troupe__response *at = responses->by_id[i], *next; at; at = next) {
            next = at->next_id;
            link_id(&bigger, at);
            if (!at->answered) {
                link_number(&bigger, at);
            }
        }
    }
    free(responses->by_id);
    free(responses->by_number);
    *responses = bigger;
    return true;
}

struct troupe__response *troupe__responses_find(const struct troupe__responses *responses, struct troupe__id id)
{
    struct troupe__response *at = responses->capacity ? responses->by_id[id_bucket(responses, id)] : NULL;
    while (at && (at->id.low != id.low || at->id.high != id.high)) {
        at = at->next_id;
    }
    return at;
}

struct troupe__response *troupe__responses_find_open(const struct troupe__responses *responses, uint64_t number)
{
    struct troupe__response *at = responses->capacity ? responses->by_number[number_bucket(responses, number)] : NULL;
    while (at && at->number != number) {
        at = at->next_number;
    }
    return at;
}

struct troupe__response *troupe__responses_add(struct troupe__responses *responses, struct troupe__id id,
                                               uint64_t number, uint16_t slot)
{
    assert(!troupe__responses_find(responses, id) && !troupe__responses_find_open(responses, number));
    struct troupe__response *response = calloc(1, sizeof *response);
    if (!response || (responses->count == responses->capacity && !grow(responses))) {
        free(response);
        return NULL;
    }
    response->id = id;
    response->number = number;
    response->slot = slot;
    link_id(responses, response);
    link_number(responses, response);
    responses->count++;
    return response;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

bool troupe__responses_answer(struct troupe__responses *responses, struct troupe__response *response, uint64_t epoch,
                              const struct troupe_bytes *row)
{
    assert(!response->answered);
    if (row) {
        response->row = malloc(row->size);
        if (!response->row) {
            return false;
        }
        memcpy(response->row, row->data, row->size);
        response->row_size = row->size;
        assert(!responses->unfolded_last || responses->unfolded_last->epoch <= epoch);
        if (responses->unfolded_last) {
            responses->unfolded_last->next_unfolded = response;
        } else {
            responses->unfolded = response;
        }
        responses->unfolded_last = response;
    }
    response->answered = true;
    response->epoch = epoch;
    unlink_number(responses, response);
    return true;
}

void troupe__responses_folded(struct troupe__responses *responses, uint64_t epoch)
{
    while (responses->unfolded && responses->unfolded->epoch <= epoch) {
        struct troupe__response *response = responses->unfolded;
        responses->unfolded = response->next_unfolded;
        response->next_unfolded = NULL;
        free(response->row);
        response->row = NULL;
    }
    if (!responses->unfolded) {
        responses->unfolded_last = NULL;
    }
}

static void unlink_unfolded(struct troupe__responses *responses, struct troupe__response *response)
{
    struct troupe__response *before = NULL, *at = responses->unfolded;
    while (at != response) {
        before = at;
        at = at->next_unfolded;
    }
    *(before ? &before->next_unfolded : &responses->unfolded) = response->next_unfolded;
    if (responses->unfolded_last == response) {
        responses->unfolded_last = before;
    }
}

void troupe__responses_remove(struct troupe__responses *responses, struct troupe__response *response)
{
    struct troupe__response **at = &responses->by_id[id_bucket(responses, response->id)];
    while (*at != response) {
        at = &(*at)->next_id;
    }
    *at = response->next_id;
    if (!response->answered) {
        unlink_number(responses, response);
    }
    if (response->row) {
        unlink_unfolded(responses, response);
    }
    responses->count--;
    free(response->row);
    free(response);
}

void troupe__responses_fini(struct troupe__responses *responses)
{
    for (size_t i = 0; i < responses->capacity; i++) {
        for (struct troupe__response *at = responses->by_id[i], *next; at; at = next) {
            next = at->next_id;
            free(at->row);
            free(at);
        }
    }
    free(responses->by_id);
    free(responses->by_number);
    *responses = (struct troupe__responses){0};
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

void troupe__response_encode(struct troupe__buffer *row, uint64_t number, uint16_t slot,
                             const struct troupe__answer *answer)
{
    troupe__buffer_put_varint(row, number);
    troupe__buffer_put_varint(row, slot);
    troupe__buffer_put_byte(row, answer != NULL);
    if (answer) {
        troupe__buffer_put_varint(row, answer->result);
        troupe__buffer_put_string(row, answer->type.data, answer->type.size);
        troupe__buffer_put_string(row, answer->body.data, answer->body.size);
    }
}

uint16_t troupe__response_slot(struct troupe_bytes row)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    (void)troupe__cursor_varint(&cursor);
    return (uint16_t)troupe__cursor_varint(&cursor);
}

bool troupe__response_decode(struct troupe_bytes row, uint64_t *ret_number, bool *ret_answered,
                             struct troupe__answer *ret)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    *ret_number = troupe__cursor_varint(&cursor);
    uint64_t slot = troupe__cursor_varint(&cursor);
    const unsigned char *answered = troupe__cursor_bytes(&cursor, 1);
    *ret_answered = answered && *answered;
    if (*ret_answered) {
        uint64_t result = troupe__cursor_varint(&cursor);
        ret->result = (enum troupe_error)result;
        ret->type.data = troupe__cursor_string(&cursor, &ret->type.size);
        ret->body.data = troupe__cursor_string(&cursor, &ret->body.size);
        cursor.failed |= result >= TROUPE_ERROR_COUNT || ret->type.size > TROUPE_NAME_MAX;
    }
    return !cursor.failed && cursor.at == cursor.end && slot <= UINT16_MAX && (!answered || *answered <= 1);
}
