/* responses.h - asks from outside that carry an id, and the answers to them, kept for whoever asks again.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One entry for each such ask, found by its id or, until it is answered, by its number. An answer's bytes stay in
 * memory until the tables have them. Row form (key: the two halves of the id): varint number, varint slot of the actor,
 * byte answered, and if so varint error, string name, string body (of an error: its text). Not thread-safe. */
#ifndef TROUPE_MAILBOX_RESPONSES_H
#define TROUPE_MAILBOX_RESPONSES_H

#include "core/buffer.h"
#include "core/troupe.h"
#include "mailbox/ids.h"

struct troupe__answer {
    enum troupe_error result;
    struct troupe_bytes type, body;
};

struct troupe__response {
    struct troupe__id id;
    uint64_t number; /* of the ask */
    uint16_t slot;   /* of the actor that was asked */
    uint64_t epoch;  /* in which it was answered */
    bool answered;
    char *row; /* of an answer that may not be in the tables yet; owned */
    size_t row_size;
    struct troupe__response *next_id, *next_number, *next_unfolded;
};

struct troupe__responses { /* Zero bytes are an empty set. */
    struct troupe__response **by_id, **by_number;
    size_t capacity, count;
    struct troupe__response *unfolded, *unfolded_last; /* those with a row in memory, in the order of their epochs */
};

enum { TROUPE__RESPONSE_KEY_SIZE = 16 };
void troupe__response_key(struct troupe__id id, unsigned char key[static TROUPE__RESPONSE_KEY_SIZE]);

/* NULL when there is none. */
struct troupe__response *troupe__responses_find(const struct troupe__responses *responses, struct troupe__id id);
struct troupe__response *troupe__responses_find_open(const struct troupe__responses *responses, uint64_t number);

/* Add an ask without an answer, which must not be there. NULL when out of memory. */
struct troupe__response *troupe__responses_add(struct troupe__responses *responses, struct troupe__id id,
                                               uint64_t number, uint16_t slot);

/* It is answered by `epoch`, not before the epoch of the answer before; `row` is copied if it must be kept in memory,
 * NULL if the tables have it. Returns false when out of memory. */
bool troupe__responses_answer(struct troupe__responses *responses, struct troupe__response *response, uint64_t epoch,
                              const struct troupe_bytes *row);

/* The tables hold everything up to `epoch`: rows up to it leave memory. */
void troupe__responses_folded(struct troupe__responses *responses, uint64_t epoch);

void troupe__responses_remove(struct troupe__responses *responses, struct troupe__response *response);
void troupe__responses_fini(struct troupe__responses *responses);

/* The row forms. Decode returns false when the row is malformed; `*ret_answered` says whether there is an answer. */
void troupe__response_encode(struct troupe__buffer *row, uint64_t number, uint16_t slot,
                             const struct troupe__answer *answer);
bool troupe__response_decode(struct troupe_bytes row, uint64_t *ret_number, bool *ret_answered,
                             struct troupe__answer *ret);
/* The slot of the actor, of a row that can be decoded. */
uint16_t troupe__response_slot(struct troupe_bytes row);

#endif
