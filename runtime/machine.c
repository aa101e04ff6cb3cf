/* machine.c - a node without its loop: messages in, epochs out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/links.h"
#include "runtime/machine_forward.h"
#include "runtime/machine_rows.h"

__attribute__((format(printf, 3, 4))) static void report(struct troupe__machine *machine, enum troupe_level level,
                                                         const char *format, ...)
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

/* ---- inboxes and the run queue ----------------------------------------------------------------------------------- */

static void enqueue_actor(struct troupe__machine *machine, struct troupe__actor *actor)
{
    if (actor->queued || actor->blocked || !actor->oldest) {
        return;
    }
    actor->queued = true;
    actor->run_next = NULL;
    if (machine->run_last) {
        machine->run_last->run_next = actor;
    } else {
        machine->run_first = actor;
    }
    machine->run_last = actor;
}

void troupe__machine_push(struct troupe__machine *machine, struct troupe__message *message)
{
    struct troupe__actor *actor = message->to;
    message->next = NULL;
    if (actor->newest) {
        actor->newest->next = message;
    } else {
        actor->oldest = message;
    }
    actor->newest = message;
    machine->inbox_size += troupe__message_size(message);
    enqueue_actor(machine, actor);
}

/* Take in a message that has no row: number it, and let the seal find it if it still waits then. */
static enum troupe_error accept_message(struct troupe__machine *machine, struct troupe__message *message)
{
    if (machine->fresh_count == machine->fresh_capacity) {
        size_t capacity = machine->fresh_capacity ? machine->fresh_capacity * 2 : 1024;
        struct troupe__message **fresh = realloc(machine->fresh, capacity * sizeof *fresh);
        if (!fresh || capacity >= TROUPE__HAS_ROW) {
            machine->fresh = fresh ? fresh : machine->fresh;
            return troupe__machine_out_of_memory(machine);
        }
        machine->fresh = fresh;
        machine->fresh_capacity = capacity;
    }
    message->sequence = ++machine->sequence;
    machine->counters_changed = true;
    message->fresh_index = (uint32_t)machine->fresh_count;
    machine->fresh[machine->fresh_count++] = message;
    troupe__machine_wait(machine, message);
    return TROUPE_OK;
}

/* The oldest message of `actor` is done with, in this epoch. */
static void finish_message(struct troupe__machine *machine, struct troupe__actor *actor)
{
    struct troupe__message *message = actor->oldest;
    actor->oldest = message->next;
    if (!actor->oldest) {
        actor->newest = NULL;
    }
    machine->waiting--;
    machine->inbox_size -= troupe__message_size(message);
    if (message->fresh_index == TROUPE__HAS_ROW) {
        troupe__machine_remove_row(&machine->record, TROUPE__MAIL, message->sequence);
    } else {
        machine->fresh[message->fresh_index] = NULL;
    }
    troupe__message_free(message);
}

/* ---- dead letters ------------------------------------------------------------------------------------------------ */

/* Row form: varint time (ms), string reason, byte 1 and a message, or byte 0 and the raw text. */
static void bury(struct troupe__machine *machine, const char *reason, const struct troupe__message *message,
                 struct troupe_bytes text)
{
    struct troupe__buffer *row = &machine->scratch;
    row->size = 0;
    troupe__buffer_put_varint(row, (uint64_t)machine->ctx.now_ms);
    troupe__buffer_put_string(row, reason, strlen(reason));
    troupe__buffer_put_byte(row, message ? 1 : 0);
    if (message) {
        troupe__message_encode(message, row);
    } else {
        troupe__buffer_put(row, text.data, text.size);
    }
    troupe__machine_put_row(&machine->record, TROUPE__DEAD, ++machine->sequence, row);
    machine->counters_changed = true;
    machine->stats.dead++;
}

enum troupe_error troupe__machine_bury(struct troupe__machine *machine, const char *reason, struct troupe_bytes text)
{
    bury(machine, reason, NULL, text);
    return TROUPE_OK;
}

static enum troupe_error bury_oldest(struct troupe__machine *machine, struct troupe__actor *actor,
                                     enum troupe_error failure, const char *reason)
{
    struct troupe__message *message = actor->oldest;
    report(machine, TROUPE_WARNING, "dead letter: %s/%s message '%s' after %u attempts: %s", actor->type->name,
           actor->key, message->data, message->attempt, reason);
    bury(machine, reason, message, (struct troupe_bytes){NULL, 0});
    enum troupe_error result = troupe__machine_answer_failure(machine, message, failure, reason);
    finish_message(machine, actor);
    return result;
}

/* ---- effects of a delivery --------------------------------------------------------------------------------------- */

struct troupe__egress_name *troupe__machine_find_egress(struct troupe__machine *machine, const char *name)
{
    for (size_t i = 0; i < machine->egress_name_count; i++) {
        if (strcmp(machine->egress_names[i].name, name) == 0) {
            return &machine->egress_names[i];
        }
    }
    struct troupe__egress_name *names =
        realloc(machine->egress_names, (machine->egress_name_count + 1) * sizeof *names);
    if (!names) {
        return NULL;
    }
    machine->egress_names = names;
    struct troupe__egress_name *egress = &names[machine->egress_name_count++];
    *egress = (struct troupe__egress_name){0};
    snprintf(egress->name, sizeof egress->name, "%s", name);
    return egress;
}

static enum troupe_error emit(struct troupe__machine *machine, const struct troupe__effect *effect)
{
    struct troupe__egress_name *egress = troupe__machine_find_egress(machine, effect->egress);
    if (!egress) {
        return troupe__machine_out_of_memory(machine);
    }
    egress->sequence++;
    egress->changed = true;
    machine->counters_changed = true;
    struct troupe__egress record = {
        .number = ++machine->egress_number,
        .sequence = egress->sequence,
        .name = {effect->egress, strlen(effect->egress)},
        .key = {effect->key, strlen(effect->key)},
        .body = effect->body,
    };
    troupe__egress_put(&machine->egress, &record);
    return machine->egress.failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
}

enum troupe_error troupe__machine_take(struct troupe__machine *machine, struct troupe__message *message)
{
    if (machine->links && !troupe__links_local(machine->links, message->to)) {
        return troupe__links_put(machine->links, message);
    }
    if (message->kind >= TROUPE__FORWARDED_SEND) {
        return troupe__machine_take_forwarded(machine, message);
    }
    if (message->kind == TROUPE__OUTWARD) {
        return troupe__machine_answer_outside(machine, message);
    }
    if (message->kind == TROUPE__ANSWER) {
        bool open;
        enum troupe_error result = troupe__machine_end_ask(machine, message, &open);
        if (result != TROUPE_OK) {
            return result;
        }
        if (!open) {
            machine->stats.late_answers++; /* Its timeout has been sent, or it was answered before. */
            troupe__message_free(message);
            return TROUPE_OK;
        }
    }
    return accept_message(machine, message);
}

/* Let the oldest message in the post go where it belongs. */
static enum troupe_error take_post(struct troupe__machine *machine)
{
    struct troupe__message *message = troupe__post_take(&machine->post, &machine->actors);
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

static enum troupe_error empty_post(struct troupe__machine *machine)
{
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && !troupe__post_empty(&machine->post)) {
        result = take_post(machine);
    }
    return result;
}

/* `asked` is the number of the ask from outside that was handled, 0 when it was none: it has exactly one answer. */
static enum troupe_error carry_out(struct troupe__machine *machine, uint64_t asked)
{
    struct troupe_context *ctx = &machine->ctx;
    enum troupe_error result = TROUPE_OK;
    size_t done = 0;
    for (; done < ctx->effect_count && result == TROUPE_OK; done++) {
        const struct troupe__effect *effect = &ctx->effects[done];
        switch (effect->kind) {
        case TROUPE__SEND:
            if (troupe__post_full(&machine->post)) {
                result = take_post(machine);
            }
            if (result == TROUPE_OK) {
                troupe__post_put(&machine->post, &machine->actors, effect->message, &effect->to);
            }
            break;
        case TROUPE__SEND_AFTER:
            result = troupe__machine_set_timer(machine, effect);
            break;
        case TROUPE__CANCEL:
            if (!troupe__machine_cancel_timer(machine, effect->timer)) {
                troupe__machine_cancel_job(machine, effect->timer);
            }
            break;
        case TROUPE__EMIT:
            result = emit(machine, effect);
            break;
        case TROUPE__START_JOB:
            result = troupe__machine_add_job(machine, effect->job);
            break;
        case TROUPE__RESPOND:
            if (asked) {
                struct troupe__answer answer = {TROUPE_OK, {effect->egress, strlen(effect->egress)}, effect->body};
                result = troupe__machine_answer(machine, asked, &answer);
                asked = 0;
            }
            break;
        case TROUPE__DEFER:
            asked = 0;
            break;
        case TROUPE__SWEEP_ROWS:
            troupe__machine_note_sweep(machine, 0, effect->body);
            break;
        }
    }
    if (result != TROUPE_OK) {
        done--; /* The machine stops now; the failed one and what follows are still ours to free. */
    }
    for (; done < ctx->effect_count; done++) {
        troupe__message_free(ctx->effects[done].message);
        troupe__job_release(ctx->effects[done].job);
    }
    ctx->effect_count = 0;
    if (asked && result == TROUPE_OK) {
        static const char none[] = "it was handled without an answer";
        struct troupe__answer answer = {TROUPE_ENOTFOUND, {"", 0}, {none, sizeof none - 1}};
        result = troupe__machine_answer(machine, asked, &answer);
    }
    return result;
}

/* ---- deliveries -------------------------------------------------------------------------------------------------- */

int64_t troupe__machine_backoff(const struct troupe_retry *retry, uint32_t attempt)
{
    uint64_t delay = retry->backoff_ms;
    for (uint32_t i = 1; i < attempt && delay < retry->backoff_max_ms; i++) {
        delay *= 2;
    }
    return (int64_t)(delay < retry->backoff_max_ms ? delay : retry->backoff_max_ms);
}

static enum troupe_error handle_failure(struct troupe__machine *machine, struct troupe__actor *actor,
                                        enum troupe_error failure)
{
    struct troupe__message *message = actor->oldest;
    const char *reason = machine->ctx.error[0] ? machine->ctx.error : troupe_error_text(failure);
    machine->stats.failures++;
    message->attempt++;
    if (failure == TROUPE_EREJECTED || message->attempt >= actor->type->retry.attempts) {
        return bury_oldest(machine, actor, failure, reason);
    }
    int64_t delay_ms = troupe__machine_backoff(&actor->type->retry, message->attempt);
    report(machine, TROUPE_INFO, "%s/%s message '%s' failed, attempt %u of %u, next in %lld ms: %s", actor->type->name,
           actor->key, message->data, message->attempt, actor->type->retry.attempts, (long long)delay_ms, reason);
    struct troupe__timer timer = {machine->ctx.now_ms + delay_ms, TROUPE__RETRY_BIT | message->sequence, actor, 0};
    if (!troupe__timers_set(&machine->timers, timer)) {
        return troupe__machine_out_of_memory(machine);
    }
    actor->blocked = true;
    machine->blocked++;
    if (message->fresh_index == TROUPE__HAS_ROW) { /* The row counts the attempts. */
        machine->scratch.size = 0;
        troupe__message_encode(message, &machine->scratch);
        troupe__machine_put_row(&machine->record, TROUPE__MAIL, message->sequence, &machine->scratch);
    }
    return TROUPE_OK;
}

/* Before anything else is delivered that shall be durable: the next one may crash too, and undo it. */
static enum troupe_error bury_crasher(struct troupe__machine *machine, struct troupe__actor *actor,
                                      const struct troupe__suspect *suspect)
{
    char reason[TROUPE__TRACE_MAX + 160], text[TROUPE__SIGNAL_TEXT_MAX];
    snprintf(reason, sizeof reason, "crashed the node %u times: %s\n%s", suspect->crashes,
             troupe__guard_signal_text(suspect->signal, text), suspect->trace);
    machine->settling = machine->epoch;
    return bury_oldest(machine, actor, TROUPE_EFAILED, reason);
}

static enum troupe_error deliver(struct troupe__machine *machine, struct troupe__actor *actor)
{
    machine->stats.deliveries++;
    if (!actor->type->declared) {
        char reason[160];
        snprintf(reason, sizeof reason, "no actor type '%s' in this module", actor->type->name);
        return bury_oldest(machine, actor, TROUPE_EREJECTED, reason);
    }
    struct troupe__guard *guard = machine->guard;
    if (guard) {
        uint64_t fingerprint = troupe__guard_fingerprint(actor->oldest);
        const struct troupe__suspect *suspect = troupe__guard_convicted(guard, fingerprint);
        if (suspect) {
            return bury_crasher(machine, actor, suspect);
        }
        troupe__guard_enter(guard, actor->oldest, fingerprint);
    }
    enum troupe_error result = troupe__delivery_run(&machine->ctx, actor->oldest);
    troupe__actor_measure(actor);
    if (guard) {
        troupe__guard_leave(guard);
    }
    if (result != TROUPE_OK) {
        return handle_failure(machine, actor, result);
    }
    uint64_t asked = actor->oldest->kind == TROUPE__ASK && !actor->oldest->from ? actor->oldest->correlation : 0;
    finish_message(machine, actor);
    return carry_out(machine, asked);
}

/* What the next deliveries need, which among millions of actors is far away: one's sender, the next one's message, and
 * the actor of the third. Each is found by way of what was fetched for it one delivery before. */
static void prefetch(const struct troupe__actor *first)
{
    const struct troupe__actor *second = first->run_next, *third = second ? second->run_next : NULL;
    if (third) {
        __builtin_prefetch(third);
        __builtin_prefetch((const char *)third + 64);
    }
    if (second) {
        __builtin_prefetch(second->oldest);
    }
    __builtin_prefetch(first->oldest->from);
}

enum troupe_error troupe__machine_run(struct troupe__machine *machine, size_t budget, size_t *ret_count)
{
    size_t count = 0;
    enum troupe_error result = TROUPE_OK;
    while (count < budget && result == TROUPE_OK && troupe__machine_runnable(machine)) {
        if (troupe__machine_wants_mail(machine)) {
            result = troupe__machine_refill(machine);
            continue;
        }
        struct troupe__actor *actor = machine->run_first;
        machine->run_first = actor->run_next;
        if (!machine->run_first) {
            machine->run_last = NULL;
        }
        if (machine->run_first) {
            prefetch(machine->run_first);
        }
        result = deliver(machine, actor);
        count++;
        actor->queued = false;
        enqueue_actor(machine, actor);
        if (result == TROUPE_OK && !machine->run_first) {
            result = empty_post(machine);
        }
    }
    if (result == TROUPE_OK) {
        result = empty_post(machine);
    }
    *ret_count = count;
    return result;
}

enum { CROWDED_MS = 2 /* between two looks whether folding has got on */ };

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
            struct troupe__actor *actor = timer.what;
            actor->blocked = false;
            machine->blocked--;
            enqueue_actor(machine, actor);
            continue;
        }
        enum troupe_error result = troupe__machine_fire(machine, &timer);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    struct troupe__id old;
    while (troupe__ids_expire(&machine->ids, machine->ctx.now_ms, &old)) {
        unsigned char key[3 + 16];
        memcpy(key, TROUPE__ID_PREFIX, 3);
        troupe__put_be64(key + 3, old.low);
        troupe__put_be64(key + 11, old.high);
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
    unsigned char key[3 + 16];
    memcpy(key, TROUPE__ID_PREFIX, 3);
    troupe__put_be64(key + 3, id.low);
    troupe__put_be64(key + 11, id.high);
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
    result = troupe__machine_take(machine, message);
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

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

enum troupe_error troupe__machine_remember(struct troupe__machine *machine, const char *name, size_t name_size,
                                           struct troupe_bytes value)
{
    struct troupe__mark *mark = NULL;
    for (size_t i = 0; i < machine->mark_count && !mark; i++) {
        if (strlen(machine->marks[i].name) == name_size && memcmp(machine->marks[i].name, name, name_size) == 0) {
            mark = &machine->marks[i];
        }
    }
    if (!mark) {
        struct troupe__mark *marks = realloc(machine->marks, (machine->mark_count + 1) * sizeof *marks);
        char *copy = strndup(name, name_size);
        machine->marks = marks ? marks : machine->marks;
        if (!marks || !copy) {
            free(copy);
            return troupe__machine_out_of_memory(machine);
        }
        mark = &marks[machine->mark_count++];
        *mark = (struct troupe__mark){.name = copy};
    }
    mark->value.size = 0;
    troupe__buffer_put(&mark->value, value.data, value.size);
    return mark->value.failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
}

enum troupe_error troupe__machine_mark(struct troupe__machine *machine, const char *name, struct troupe_bytes value)
{
    troupe__record_set(&machine->record, TROUPE__META, name, strlen(name), value.data, value.size);
    return troupe__machine_remember(machine, name, strlen(name), value);
}

struct troupe_bytes troupe__machine_read_mark(const struct troupe__machine *machine, const char *name)
{
    for (size_t i = 0; i < machine->mark_count; i++) {
        if (strcmp(machine->marks[i].name, name) == 0) {
            return (struct troupe_bytes){machine->marks[i].value.data, machine->marks[i].value.size};
        }
    }
    return (struct troupe_bytes){NULL, 0};
}

void troupe__machine_released(struct troupe__machine *machine, uint64_t number)
{
    uint64_t first;
    assert(number >= machine->egress_released && number <= machine->egress_sealed);
    while (troupe__egress_rows_pop(&machine->egress_rows, number, &first)) {
        troupe__machine_remove_row(&machine->record, TROUPE__EGRESS, first);
    }
    machine->egress_released = number;
    machine->counters_changed = true;
}

bool troupe__machine_unripe(const struct troupe__machine *machine, int64_t age_ms)
{
    enum { RIPE_MS = 2, RIPE_MAX_MS = 20, RIPE_TIMES = 8 };
    uint64_t deliveries = machine->stats.deliveries - machine->sealed_deliveries;
    /* With other nodes there is more to gain by letting out early: they wait for what was sent. */
    bool few = !machine->links && deliveries < RIPE_TIMES * (uint64_t)machine->waiting;
    return age_ms < RIPE_MS || (age_ms < RIPE_MAX_MS && few);
}

bool troupe__machine_dirty(const struct troupe__machine *machine)
{
    return machine->record.size > 0 || machine->outgoing_size > 0 || machine->fresh_count > 0 ||
           machine->ctx.dirty_count > 0 || troupe__unfolded_has(&machine->actors.unfolded, machine->epoch) ||
           machine->counters_changed || (machine->links && troupe__links_dirty(machine->links));
}

/* What sealing a message some places on needs: it, and then the names of its receiver and sender. */
static void prefetch_fresh(const struct troupe__machine *machine, size_t index)
{
    enum { ACTORS_AHEAD = 12, AHEAD = 24 };
    if (index + AHEAD < machine->fresh_count) {
        __builtin_prefetch(machine->fresh[index + AHEAD]);
    }
    const struct troupe__message *message =
        index + ACTORS_AHEAD < machine->fresh_count ? machine->fresh[index + ACTORS_AHEAD] : NULL;
    if (message) {
        __builtin_prefetch(message->to);
        __builtin_prefetch(message->to->key);
    }
    if (message && message->from) {
        __builtin_prefetch(message->from);
        __builtin_prefetch(message->from->key);
    }
}

static void seal_messages(struct troupe__machine *machine)
{
    for (size_t i = 0; i < machine->fresh_count; i++) {
        struct troupe__message *message = machine->fresh[i];
        prefetch_fresh(machine, i);
        if (message) {
            machine->scratch.size = 0;
            troupe__message_encode(message, &machine->scratch);
            troupe__machine_put_row(&machine->record, TROUPE__MAIL, message->sequence, &machine->scratch);
            message->fresh_index = TROUPE__HAS_ROW;
        }
    }
    machine->fresh_count = 0;
}

static bool seal_egress(struct troupe__machine *machine)
{
    uint64_t first = machine->egress_sealed + 1;
    if (machine->egress.size == 0) {
        return true;
    }
    troupe__machine_put_row(&machine->record, TROUPE__EGRESS, first, &machine->egress);
    machine->egress_sealed = machine->egress_number;
    return troupe__egress_rows_push(&machine->egress_rows, first, machine->egress_number);
}

static void seal_counters(struct troupe__machine *machine)
{
    for (size_t i = 0; i < machine->egress_name_count; i++) {
        struct troupe__egress_name *egress = &machine->egress_names[i];
        if (egress->changed) {
            char key[sizeof TROUPE__EGRESS_PREFIX + TROUPE_NAME_MAX];
            snprintf(key, sizeof key, "%s%s", TROUPE__EGRESS_PREFIX, egress->name);
            machine->scratch.size = 0;
            troupe__buffer_put_varint(&machine->scratch, egress->sequence);
            troupe__record_set(&machine->record, TROUPE__META, key, strlen(key), machine->scratch.data,
                               machine->scratch.size);
            egress->changed = false;
        }
    }
    struct troupe__counters counters = {machine->sequence,        machine->ctx.timer_last,       machine->egress_number,
                                        machine->egress_released, (uint64_t)machine->ctx.now_ms, machine->waiting};
    machine->scratch.size = 0;
    troupe__counters_encode(&counters, &machine->scratch);
    troupe__record_set(&machine->record, TROUPE__META, TROUPE__COUNTERS_ROW, strlen(TROUPE__COUNTERS_ROW),
                       machine->scratch.data, machine->scratch.size);
    machine->counters_changed = false;
}

static void swap_buffers(struct troupe__buffer *a, struct troupe__buffer *b)
{
    struct troupe__buffer c = *a;
    *a = *b;
    *b = c;
}

enum troupe_error troupe__machine_seal(struct troupe__machine *machine, struct troupe__epoch *epoch)
{
    enum troupe_error result = troupe__machine_seal_specs(machine);
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__machine_seal_state(machine);
    seal_messages(machine);
    troupe__backlog_seal(&machine->backlog, machine->epoch, machine->sequence);
    troupe__machine_seal_timers(machine);
    bool noted = seal_egress(machine);
    if (machine->links) {
        troupe__links_seal(machine->links);
    }
    seal_counters(machine);
    if (!noted || machine->record.failed || machine->scratch.failed || machine->egress.failed ||
        machine->answers.failed) {
        return troupe__machine_out_of_memory(machine);
    }
    swap_buffers(&machine->record, &epoch->record);
    swap_buffers(&machine->egress, &epoch->egress);
    swap_buffers(&machine->answers, &epoch->answers);
    machine->record.size = 0;
    machine->egress.size = 0;
    troupe__machine_seal_jobs(machine, epoch);
    machine->answers.size = 0;
    epoch->number = machine->epoch;
    epoch->egress_last = epoch->egress.size ? machine->egress_number : 0;
    machine->epoch++;
    machine->ctx.epoch = machine->epoch;
    machine->stats.epochs++;
    machine->sealed_deliveries = machine->stats.deliveries;
    return TROUPE_OK;
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

/* ---- init and fini -------------------------------------------------------------------------------------------------
 */

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
