/* message.h - a message as a node holds it, and its form in rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One allocation: the struct, the name with its NUL, the body. A message belongs to one list at a time.
 * Row form (varints and counted strings): flags, to type, to key, from type, from key, name, correlation, attempt,
 * job attempts (of a RESULT only), version (if it is not 0: flag 16), body. Both ends are written as text, so that a
 * row means the same without the module that wrote it. */
#ifndef TROUPE_CORE_MESSAGE_H
#define TROUPE_CORE_MESSAGE_H

#include "core/actor.h"
#include "core/buffer.h"
#include "core/troupe.h"

enum troupe__message_kind {
    TROUPE__PLAIN,
    TROUPE__ASK,     /* correlation is the id of the asker's timeout */
    TROUPE__ANSWER,  /* arrives only while that timer is pending, and cancels it */
    TROUPE__RESULT,  /* of a job; correlation is its id */
    TROUPE__OUTWARD, /* on its way to the node that was asked from outside, never delivered; correlation: see below */
    /* Never delivered as they are, see runtime/machine/machine_forward.h. */
    TROUPE__FORWARDED_SEND, /* from outside, with an id, by way of another node */
    TROUPE__FORWARDED_ASK,  /* the same of an ask, with or without an id */
    TROUPE__RESPONSE_BACK,  /* the answer to one, on its way back */
    TROUPE__MESSAGE_KIND_COUNT
};

/* Bytes that a forwarded body may be over TROUPE_BODY_MAX. */
enum { TROUPE__FORWARD_SIZE = 128 };

/* The number of an ask from outside, its correlation, is an id as those of timers are (core/delivery.h), with this bit.
 * An actor may hold it for long, as the right to answer later: so no two nodes give the same, and it stays what it is
 * when a snapshot is restored to another number of nodes. In an earlier format it was its message's sequence. */
#define TROUPE__ASK_BIT (UINT64_C(1) << 62)

/* The correlation of an OUTWARD: the number of the ask, shifted, and whether that has an id, so that its answer is kept
 * and it is known whether there is one already. */
enum { TROUPE__OUTWARD_SHIFT = 1, TROUPE__OUTWARD_KEPT = 1 };

struct troupe__message {
    struct troupe__message *next;
    struct troupe__actor *to;   /* NULL: its sender is known, and where it goes is yet to be found; see post.h */
    struct troupe__actor *from; /* NULL: from outside */
    uint64_t sequence;          /* order of sending on this node; the key of its mail row */
    uint64_t correlation;
    uint32_t fresh_index; /* its place in the epoch's list of messages without a row; see TROUPE__HAS_ROW */
    uint32_t body_size;
    uint16_t attempt; /* failed deliveries so far */
    uint16_t version; /* of the body's schema: what the module declared that sent it or took it in */
    uint8_t type_size;
    uint8_t kind;          /* enum troupe__message_kind */
    uint16_t job_attempts; /* of a RESULT */
    char data[];           /* name, NUL, body */
};

enum { TROUPE__HAS_ROW = UINT32_MAX };

/* A new message that copies name and body, and refers to both actors until it is freed; NULL when out of memory. It is
 * of the version that the type of `to` declares. Lengths must have been checked. One of the actors may be NULL: `from`
 * for good, `to` until troupe__message_address. */
struct troupe__message *troupe__message_new(struct troupe__actor *to, struct troupe__actor *from, const char *type,
                                            size_t type_size, struct troupe_bytes body);
void troupe__message_free(struct troupe__message *message);

/* The declaration of messages of that name to actors of that type; NULL when there is none. */
const struct troupe_message_type *troupe__message_declared(const struct troupe__type *type, const char *name);

/* Give it the version that the type of its receiver declares. */
static inline void troupe__message_stamp(struct troupe__message *message)
{
    const struct troupe_type *type = message->to->type->declared;
    const struct troupe_message_type *declared =
        type && type->messages ? troupe__message_declared(message->to->type, message->data) : NULL;
    message->version = declared ? (uint16_t)declared->version : 0;
}

/* Give a message that has none its receiver. */
static inline void troupe__message_address(struct troupe__message *message, struct troupe__actor *to)
{
    message->to = to;
    to->references++;
    troupe__message_stamp(message);
}

/* Bytes of memory, as malloc counts them, about. */
static inline size_t troupe__message_size(const struct troupe__message *message)
{
    return (sizeof *message + message->type_size + 1 + message->body_size + 8 + 15) & ~(size_t)15;
}

static inline const void *troupe__message_body(const struct troupe__message *message)
{
    return message->data + message->type_size + 1;
}

/* An actor's address within a row: type, key. Read: NULL, with cursor->failed for a bad name, without when out of
 * memory. */
void troupe__address_encode(const struct troupe__actor *actor, struct troupe__buffer *buffer);
struct troupe__actor *troupe__address_decode(struct troupe__actors *actors, struct troupe__cursor *cursor);

/* The same without the actor: type and key, each with a NUL. Returns false for a bad name, with cursor->failed. */
bool troupe__address_read(struct troupe__cursor *cursor, char type[static TROUPE_NAME_MAX + 1],
                          char key[static TROUPE_KEY_MAX + 1]);

void troupe__message_encode(const struct troupe__message *message, struct troupe__buffer *buffer);

/* What a row form says of where its message belongs, without the actors. */
struct troupe__message_row {
    enum troupe__message_kind kind;
    bool from_actor;
    uint16_t to_slot, from_slot; /* from_slot: of an actor */
    uint64_t correlation, version;
    struct troupe_bytes to, name;      /* as they stand in the row */
    struct troupe_bytes before, after; /* what stands before the correlation, and behind it */
    struct troupe_bytes body;
};

/* Pointers lead into `row`. Returns false when it is malformed. */
bool troupe__message_row_decode(struct troupe_bytes row, struct troupe__message_row *ret);

/* Append the row form of a message from outside; `to` and `name` as they stand in a row. */
void troupe__message_row_encode(struct troupe__buffer *buffer, enum troupe__message_kind kind, struct troupe_bytes to,
                                struct troupe_bytes name, uint64_t correlation, uint64_t version,
                                struct troupe_bytes body);

/* Decode a row form. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__message_decode(struct troupe__actors *actors, struct troupe_bytes row,
                                         struct troupe__message **ret);

#endif
