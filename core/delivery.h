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
#include "core/store.h"

enum { TROUPE__EFFECTS_SIZE_MAX = 64 * 1048576 }; /* bytes that one delivery may stage */

enum troupe__effect_kind {
    TROUPE__SEND,
    TROUPE__SEND_AFTER,
    TROUPE__CANCEL,
    TROUPE__EMIT,
    TROUPE__START_JOB,
    TROUPE__RESPOND
};

struct troupe__effect {
    enum troupe__effect_kind kind;
    struct troupe__message *message; /* owned, of SEND and SEND_AFTER */
    struct troupe__job *job;         /* owned, of START_JOB */
    uint64_t timer;                  /* of SEND_AFTER, CANCEL and START_JOB */
    int64_t due_ms;                  /* of SEND_AFTER */
    const char *egress, *key;        /* of EMIT, in the arena, as is the body; egress: the name of a RESPOND */
    struct troupe_bytes body;
};

/* A cell that the open epoch changed. */
struct troupe__dirty {
    struct troupe__actor *actor;
    uint32_t index;
};

struct troupe__undo {
    struct troupe__cell *cell, before;
    bool owned; /* `before` holds bytes to free on success */
};

struct troupe__chunk;

struct troupe_context {
    struct troupe__actors *actors;
    struct troupe__store *store;
    bool (*timer_pending)(void *owner, uint64_t timer);
    const struct troupe__jobs *jobs; /* of the node: how many there are; a cancel looks for it */
    void *owner;

    struct troupe__actor *actor;
    const struct troupe__message *message;
    int64_t now_ms;
    uint64_t epoch, seed, random_count, timer_last;

    struct troupe__effect *effects;
    size_t effect_count, effect_capacity, effects_size;
    size_t jobs_staged, jobs_staged_size; /* of the effects: how many are jobs, bytes of their inputs */
    struct troupe__undo *undo;
    size_t undo_count, undo_capacity;
    struct troupe__dirty *dirty; /* of the whole epoch; the machine empties it */
    size_t dirty_count, dirty_capacity;
    struct troupe__chunk *arena;
    size_t arena_used;
    struct troupe__buffer scratch;
    enum troupe_error sticky; /* what makes the delivery fail even if the handler returns TROUPE_OK */
    char error[256];
};

void troupe__delivery_fini(struct troupe_context *ctx);

/* Run the handler of message->to. On TROUPE_OK the effects stand in ctx->effects, for the caller to carry out; on any
 * other result there are none and the state is as before, with the reason in ctx->error. */
enum troupe_error troupe__delivery_run(struct troupe_context *ctx, const struct troupe__message *message);

#endif
