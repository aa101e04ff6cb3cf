/* machine.c - a node without its loop: messages in, epochs out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/machine/links.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"

void troupe__machine_report(struct troupe__machine *machine, enum troupe_level level, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (machine->log) {
        machine->log(machine->log_context, level, text);
    }
}

enum troupe_error troupe__machine_out_of_memory(struct troupe__machine *machine)
{
    snprintf(machine->error, sizeof machine->error, "out of memory: nothing durable is lost; start again with more");
    return TROUPE_ENOMEM;
}

enum { CROWDED_MS = 2 /* between two looks whether folding has got on */ };
enum { ID_KEY_SIZE = sizeof TROUPE__ID_PREFIX - 1 + 16 };

static void id_key(struct troupe__id id, unsigned char to[static ID_KEY_SIZE])
{
    memcpy(to, TROUPE__ID_PREFIX, ID_KEY_SIZE - 16);
    troupe__put_be64(to + ID_KEY_SIZE - 16, id.low);
    troupe__put_be64(to + ID_KEY_SIZE - 8, id.high);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* Whether a timer that is late by `late_ms` may fire in this turn, after `fired` others. A million may be due at once;
 * what would only wait behind a long backlog waits as a timer, which costs less, but not for ever. */
static bool may_fire(const struct troupe__machine *machine, int64_t late_ms, size_t fired)
{
    enum { FIRE_AT_ONCE = 4096, BACKLOG_MAX = 4096, FIRE_LATE_AT_ONCE = 16, LATE_MS = 10000 };
    const struct troupe__backlog *backlog = &machine->backlog;
    return late_ms >= 0 && (troupe__backlog_empty(backlog) || !machine->crowded) &&
           (backlog->count + backlog->stored < BACKLOG_MAX ? fired < FIRE_AT_ONCE
                                                           : late_ms > LATE_MS && fired < FIRE_LATE_AT_ONCE);
}

enum troupe_error troupe__machine_set_now(struct troupe__machine *machine, int64_t now_ms)
{
    if (now_ms > machine->ctx.now_ms) {
        machine->ctx.now_ms = now_ms;
    }
    const struct troupe__timer *first;
    for (size_t fired = 0; (first = troupe__timers_first(&machine->timers)) != NULL &&
                           may_fire(machine, machine->ctx.now_ms - first->due_ms, fired);
         fired++) {
        struct troupe__timer timer;
        troupe__timers_cancel(&machine->timers, first->id, &timer);
        if ((timer.id & TROUPE__JOB_RETRY) == TROUPE__JOB_RETRY) {
            enum troupe_error result = troupe__machine_begin_job(machine, timer.what);
            if (result != TROUPE_OK) {
                return result;
            }
            continue;
        }
        if (timer.id & TROUPE__RETRY_BIT) {
            troupe__machine_unblock(machine, timer.what);
            continue;
        }
        enum troupe_error result = troupe__machine_fire(machine, &timer);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    struct troupe__id old;
    while (troupe__ids_expire(&machine->ids, machine->ctx.now_ms, &old)) {
        unsigned char key[ID_KEY_SIZE];
        id_key(old, key);
        troupe__record_remove(&machine->record, TROUPE__META, key, sizeof key);
        troupe__machine_forget_answer(machine, old);
    }
    troupe__machine_expire_returns(machine);
    return TROUPE_OK;
}

int64_t troupe__machine_next_due(const struct troupe__machine *machine)
{
    const struct troupe__timer *first = troupe__timers_first(&machine->timers);
    if (!first) {
        return -1;
    }
    int64_t least_ms = troupe__backlog_empty(&machine->backlog) ? 0 : CROWDED_MS,
            due_ms = first->due_ms - machine->ctx.now_ms;
    return due_ms > least_ms ? due_ms : least_ms;
}

/* ---- what comes from outside ------------------------------------------------------------------------------------- */

enum troupe_error troupe__machine_check_outside(struct troupe__machine *machine, struct troupe_address to,
                                                const char *type, struct troupe_bytes body)
{
    size_t key_size = strlen(to.key), type_size = strlen(type);
    if (!troupe__type_name_valid(to.type) || key_size == 0 || key_size > TROUPE_KEY_MAX || type_size == 0 ||
        type_size > TROUPE_NAME_MAX) {
        snprintf(machine->error, sizeof machine->error,
                 "address %.64s/%.32s or message name '%.64s' is empty or over its limit", to.type, to.key, type);
        return TROUPE_EINVAL;
    }
    if (body.size > TROUPE_BODY_MAX) {
        snprintf(machine->error, sizeof machine->error, "a body of %zu bytes is over the limit of %d", body.size,
                 TROUPE_BODY_MAX);
        return TROUPE_ETOOBIG;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__machine_note_id(struct troupe__machine *machine, struct troupe__id id, uint16_t slot,
                                          bool *ret_known)
{
    *ret_known = troupe__ids_has(&machine->ids, id);
    if (*ret_known) {
        machine->stats.repeats++;
        return TROUPE_OK;
    }
    if (!troupe__ids_add(&machine->ids, id, machine->ctx.now_ms)) {
        return troupe__machine_out_of_memory(machine);
    }
    unsigned char key[ID_KEY_SIZE];
    id_key(id, key);
    machine->scratch.size = 0;
    troupe__buffer_put_varint(&machine->scratch, (uint64_t)machine->ctx.now_ms);
    troupe__buffer_put_varint(&machine->scratch, slot);
    troupe__record_set(&machine->record, TROUPE__META, key, sizeof key, machine->scratch.data, machine->scratch.size);
    return TROUPE_OK;
}

enum troupe_error troupe__machine_take_in(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                          const char *type, struct troupe_bytes body, enum troupe__message_kind kind,
                                          bool *ret_known, uint64_t *ret_number)
{
    *ret_known = false;
    enum troupe_error result = troupe__machine_check_outside(machine, to, type, body);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__actor *actor = troupe__actors_get(&machine->actors, to.type, to.key, strlen(to.key));
    if (!actor) {
        return troupe__machine_out_of_memory(machine);
    }
    if (id && machine->links && !troupe__links_local(machine->links, actor)) {
        /* The id belongs to the actor: its node knows it. */
        return troupe__machine_forward(machine, id, actor, type, body, kind, ret_number);
    }
    if (id) {
        result = troupe__machine_note_id(machine, troupe__id_of(to.type, to.key, id), actor->slot, ret_known);
        if (result != TROUPE_OK || *ret_known) {
            return result;
        }
    }
    struct troupe__message *message = troupe__message_new(actor, NULL, type, strlen(type), body);
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    message->kind = (uint8_t)kind;
    message->correlation = kind == TROUPE__ASK ? troupe__machine_next_ask(machine) : 0;
    *ret_number = message->correlation;
    machine->at_hand = kind == TROUPE__ASK; /* Somebody waits for the answer. */
    result = troupe__machine_take(machine, message);
    machine->at_hand = false;
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

enum troupe_error troupe__machine_arrive(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                         const char *type, struct troupe_bytes body)
{
    bool known;
    uint64_t none;
    return troupe__machine_take_in(machine, id, to, type, body, TROUPE__PLAIN, &known, &none);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* An actor that nobody uses is gone after one to two rounds of the hand. */
enum {
    ROUND_MS = 30000,
    SWEEP_MAX = 65536,
    SWEEP_PER_DELIVERY = 8,
};

/* Let the hand go as far as time has. */
static void keep_up(struct troupe__machine *machine)
{
    int64_t now_ms = machine->ctx.now_ms;
    if (troupe__index_empty(&machine->actors.index) || machine->swept_ms == 0) { /* 0: the hand has not moved yet. */
        machine->swept_ms = now_ms;
    } else if (now_ms - machine->swept_ms > ROUND_MS) {
        machine->swept_ms = now_ms - ROUND_MS;
    }
    size_t all = troupe__index_places(&machine->actors.index);
    size_t places = all * (size_t)(now_ms - machine->swept_ms) / ROUND_MS;
    places = places < SWEEP_MAX ? places : SWEEP_MAX;
    machine->swept_ms += (int64_t)(places * ROUND_MS / all);
    troupe__actors_sweep(&machine->actors, places, machine->folded);
}

void troupe__machine_refresh(struct troupe__machine *machine)
{
    machine->folded = machine->store->refresh(machine->store);
    troupe__unfolded_fold(&machine->actors.unfolded, machine->folded);
    troupe__responses_folded(&machine->responses, machine->folded);
    if (machine->links) {
        troupe__links_folded(machine->links, machine->folded);
    }
    troupe__machine_drop_timers(machine);
    troupe__machine_drop_mail(machine);
    keep_up(machine);
    if (troupe__machine_memory(machine) > machine->memory_max) {
        size_t done = machine->stats.deliveries - machine->swept_deliveries;
        troupe__actors_sweep(&machine->actors, SWEEP_MAX / 16 + done * SWEEP_PER_DELIVERY, machine->folded);
    }
    machine->swept_deliveries = machine->stats.deliveries;
}

int64_t troupe__machine_refresh_due(const struct troupe__machine *machine)
{
    if (machine->crowded) {
        return CROWDED_MS;
    }
    if (troupe__index_empty(&machine->actors.index)) {
        return -1;
    }
    size_t all = troupe__index_places(&machine->actors.index);
    size_t some = all / 4 < SWEEP_MAX ? all / 4 : SWEEP_MAX;
    int64_t due_ms = machine->swept_ms + (int64_t)(some * ROUND_MS / all) + 1 - machine->ctx.now_ms;
    return due_ms > 0 ? due_ms : 0;
}

/* ---- init and fini ----------------------------------------------------------------------------------------------- */

static bool timer_pending(void *owner, uint64_t timer)
{
    const struct troupe__machine *machine = owner;
    return !(timer & TROUPE__RETRY_BIT) && troupe__timers_pending(&machine->timers, timer);
}

static bool answer_open(void *owner, uint64_t number)
{
    const struct troupe__machine *machine = owner;
    return troupe__responses_find_open(&machine->responses, number) != NULL;
}

enum troupe_error troupe__machine_init(struct troupe__machine *machine, const struct troupe_module *module,
                                       struct troupe__store *store, uint64_t seed, troupe_log_fn log, void *log_context)
{
    *machine = (struct troupe__machine){.store = store, .log = log, .log_context = log_context};
    enum troupe_error result = troupe__actors_init(&machine->actors, module, machine->error, sizeof machine->error);
    if (result != TROUPE_OK) {
        return result;
    }
    machine->memory_max = SIZE_MAX;
    machine->epoch = store->last_epoch + 1;
    machine->ctx = (struct troupe_context){.actors = &machine->actors,
                                           .store = store,
                                           .timer_pending = timer_pending,
                                           .answer_open = answer_open,
                                           .owner = machine,
                                           .jobs = &machine->jobs,
                                           .epoch = machine->epoch,
                                           .seed = seed};
    result = troupe__machine_load(machine);
    result = result == TROUPE_OK ? troupe__machine_begin_specs(machine, module) : result;
    if (result != TROUPE_OK) {
        troupe__machine_fini(machine);
    }
    return result;
}

static void free_inbox(void *context, troupe__block block)
{
    struct troupe__machine *machine = context;
    struct troupe__actor *actor = troupe__slab_block(&machine->actors.slabs, block);
    while (actor->oldest) {
        struct troupe__message *message = actor->oldest;
        actor->oldest = message->next;
        troupe__message_free(message);
    }
}

void troupe__machine_fini(struct troupe__machine *machine)
{
    troupe__post_fini(&machine->post);
    troupe__index_each(&machine->actors.index, free_inbox, machine);
    troupe__backlog_fini(&machine->backlog);
    for (size_t i = 0; i < machine->timers.count; i++) {
        if (!(machine->timers.heap[i].id & TROUPE__RETRY_BIT)) {
            troupe__message_free(machine->timers.heap[i].what);
        }
    }
    for (size_t i = 0; i < machine->mark_count; i++) {
        free(machine->marks[i].name);
        troupe__buffer_free(&machine->marks[i].value);
    }
    free(machine->marks);
    free(machine->egress_names);
    free(machine->fresh);
    troupe__egress_rows_fini(&machine->egress_rows);
    for (size_t i = 0; i < machine->begun_count; i++) {
        troupe__job_release(machine->begun[i]);
    }
    free(machine->begun);
    troupe__jobs_fini(&machine->jobs);
    troupe__ids_fini(&machine->ids);
    troupe__responses_fini(&machine->responses);
    troupe__returns_fini(&machine->returns);
    troupe__timers_fini(&machine->timers);
    troupe__buffer_free(&machine->record);
    troupe__buffer_free(&machine->egress);
    troupe__buffer_free(&machine->answers);
    troupe__buffer_free(&machine->scratch);
    troupe__buffer_free(&machine->unreleased);
    troupe__buffer_free(&machine->unsent);
    troupe__buffer_free(&machine->specs);
    troupe__sweeper_fini(&machine->sweeper);
    troupe__delivery_fini(&machine->ctx);
    troupe__actors_fini(&machine->actors);
}
