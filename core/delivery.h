/* delivery.h - one run of one handler on one message: what it may see, and the effects it asks for.
 * SPDX-License-Identifier: Apache-2.0
 *
 * State is changed in place, with an undo list of what was there; messages, timers and records are staged in a list
 * that the machine carries out when the handler succeeds. A failed delivery leaves nothing behind. */
#ifndef TROUPE_CORE_DELIVERY_H
#define TROUPE_CORE_DELIVERY_H

#include "core/actor.h"
#include "core/job.h"
#include "core/message.h"
#include "core/slots.h"
#include "core/store.h"

enum { TROUPE__EFFECTS_SIZE_MAX = 64 * 1048576 }; /* bytes that one delivery may stage */

enum troupe__effect_kind {
    TROUPE__SEND,
    TROUPE__SEND_AFTER,
    TROUPE__CANCEL,
    TROUPE__EMIT,
    TROUPE__START_JOB,
    TROUPE__RESPOND,
    TROUPE__DEFER,      /* the answer to this ask from outside comes later */
    TROUPE__SWEEP_ROWS, /* remove the rows of state whose keys begin with `body`, in the background */
};

struct troupe__effect {
    enum troupe__effect_kind kind;
    struct troupe__message *message; /* owned, of SEND and SEND_AFTER */
    struct troupe__seek to;          /* of a SEND whose message has no receiver yet; its key is in the arena */
    struct troupe__job *job;         /* owned, of START_JOB */
    uint64_t timer;                  /* of SEND_AFTER, CANCEL and START_JOB */
    int64_t due_ms;                  /* of SEND_AFTER */
    const char *egress, *key;        /* of EMIT, in the arena, as is the body; egress: the name of a RESPOND */
    struct troupe_bytes body;        /* of EMIT, RESPOND and SWEEP_ROWS */
};

/* A cell that the open epoch changed. */
struct troupe__dirty {
    struct troupe__actor *actor;
    uint32_t index;
};

struct troupe__undo {
    struct troupe__cell *cell, before;
    int64_t expires_ms; /* of its lease, if the value has a time to live */
    uint32_t index;
    bool owned; /* `before` holds bytes to free on success */
};

/* What a row of a map or list was. */
struct troupe__row_undo {
    struct troupe__overlay_row *row;
    char *bytes; /* owned */
    uint32_t size;
    bool made; /* there was no such row */
};

struct troupe__chunk;
struct troupe__batch;

struct troupe_context {
    struct troupe__actors *actors;
    struct troupe__store *store;
    bool (*timer_pending)(void *owner, uint64_t timer);
    bool (*answer_open)(void *owner, uint64_t number); /* an ask from outside that has an id, and no answer yet */
    const struct troupe__jobs *jobs;                   /* of the node: how many there are; a cancel looks for it */
    void *owner;
    bool timers_full; /* so many that no more are taken */

    struct troupe__actor *actor;
    const struct troupe__message *message;
    int64_t now_ms;
    uint64_t epoch, seed, random_count, timer_last;
    uint16_t node; /* of the troupe; see troupe__delivery_next_id */

    struct troupe__effect *effects;
    size_t effect_count, effect_capacity, effects_size;
    size_t jobs_staged, jobs_staged_size; /* of the effects: how many are jobs, bytes of their inputs */
    struct troupe__undo *undo;
    size_t undo_count, undo_capacity;
    struct troupe__row_undo *row_undo;
    size_t row_undo_count, row_undo_capacity;
    struct troupe__batch *batches; /* of the walks of this delivery */
    struct troupe__dirty *dirty;   /* of the whole epoch; the machine empties it */
    size_t dirty_count, dirty_capacity;
    struct troupe__chunk *arena;
    size_t arena_used;
    struct troupe__buffer scratch;
    enum troupe_error sticky; /* what makes the delivery fail even if the handler returns TROUPE_OK */
    char error[256];
};

/* An id for a timer, an ask or a job. Handlers keep them in their state, so they stay what they are when a snapshot is
 * restored to another number of nodes, and no two nodes may ever give the same: they count up in steps of
 * TROUPE__ID_STEP from the node's number. */
enum { TROUPE__ID_STEP = TROUPE__NODES_MAX };

static inline uint64_t troupe__delivery_next_id(struct troupe_context *ctx)
{
    ctx->timer_last = (ctx->timer_last / TROUPE__ID_STEP + 1) * TROUPE__ID_STEP + ctx->node;
    return ctx->timer_last;
}

/* Wrong use by the handler: the delivery fails even if the handler does not look at what the call returned. */
enum troupe_error troupe__delivery_misuse(struct troupe_context *ctx, enum troupe_error error);

/* A copy that lives until the handler returns, with a NUL behind it; NULL when out of memory. */
char *troupe__delivery_copy(void *context, const void *data, size_t size);

/* Check bytes against the limit of one body and the delivery's limit. Errors: TROUPE_ETOOBIG. */
enum troupe_error troupe__delivery_check_size(struct troupe_context *ctx, struct troupe_bytes body);

/* Check the name of a message or egress, and measure it. Errors: TROUPE_EINVAL. */
enum troupe_error troupe__delivery_check_name(struct troupe_context *ctx, const char *what, const char *name,
                                              size_t *ret_size);

/* Stage a message of any kind. Errors: as troupe_send. */
enum troupe_error troupe__delivery_send(struct troupe_context *ctx, struct troupe_address to, const char *type,
                                        struct troupe_bytes body, enum troupe__message_kind kind, uint64_t correlation);

/* A new effect at the end of the list; NULL when out of memory, with the misuse noted. */
struct troupe__effect *troupe__delivery_stage(struct troupe_context *ctx, enum troupe__effect_kind kind);

/* Bring the body of a message to the version that its receiver's type declares; `*body` may be replaced, by bytes that
 * live as long as copies. Also outside of a delivery. Errors, with a text: TROUPE_EREJECTED (it is of a newer version),
 * what `migrate` returned. */
enum troupe_error troupe__delivery_migrate(struct troupe_context *ctx, const struct troupe__message *message,
                                           struct troupe_bytes *body);

/* Free what was copied, and forget what failed: for a context outside of a delivery. */
void troupe__delivery_forget(struct troupe_context *ctx);
void troupe__delivery_fini(struct troupe_context *ctx);

/* Run the handler of message->to. On TROUPE_OK the effects stand in ctx->effects, for the caller to carry out; on any
 * other result there are none and the state is as before, with the reason in ctx->error. */
enum troupe_error troupe__delivery_run(struct troupe_context *ctx, const struct troupe__message *message);

#endif
