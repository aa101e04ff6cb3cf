/* machine_run.c - a machine's deliveries: the queue of actors that have mail, and what a handler's effects become.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of this is in one file since it is done for each message, millions of times a second. */
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "core/prefetch.h"
#include "runtime/machine/links.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"

/* ---- inboxes and the run queue ----------------------------------------------------------------------------------- */

static void enqueue_actor(struct troupe__machine *machine, struct troupe__actor *actor)
{
    if (actor->queued || actor->blocked || !actor->oldest) {
        return;
    }
    actor->queued = true;
    if (machine->at_hand) {
        troupe__run_queue_put_near(&machine->run_queue, actor);
    } else {
        troupe__run_queue_put(&machine->run_queue, actor);
    }
}

void troupe__machine_unblock(struct troupe__machine *machine, struct troupe__actor *actor)
{
    actor->blocked = false;
    machine->blocked--;
    enqueue_actor(machine, actor);
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
    struct troupe__message **fresh =
        troupe__grow(machine->fresh, machine->fresh_count, &machine->fresh_capacity, sizeof *fresh);
    machine->fresh = fresh ? fresh : machine->fresh;
    if (!fresh || machine->fresh_count >= TROUPE__HAS_ROW) {
        return troupe__machine_out_of_memory(machine);
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

static enum troupe_error bury_oldest(struct troupe__machine *machine, struct troupe__actor *actor,
                                     enum troupe_error failure, const char *reason)
{
    struct troupe__message *message = actor->oldest;
    troupe__machine_report(machine, TROUPE_WARNING, "dead letter: %s/%s message '%s' after %u attempts: %s",
                           actor->type->name, actor->key, message->data, message->attempt, reason);
    troupe__machine_bury_message(machine, reason, message);
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
    machine->at_hand = troupe__actors_far(&machine->actors);
    enum troupe_error result = troupe__machine_take(machine, message);
    machine->at_hand = false;
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
    troupe__machine_report(machine, TROUPE_INFO, "%s/%s message '%s' failed, attempt %u of %u, next in %lld ms: %s",
                           actor->type->name, actor->key, message->data, message->attempt, actor->type->retry.attempts,
                           (long long)delay_ms, reason);
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

/* What the next deliveries need of those that wait, which among millions of actors is far away, in three steps, each
 * found by way of what the one before fetched some deliveries ago: an actor, its message, and the actor that sent that.
 */
static void prefetch(const struct troupe__run_queue *queue)
{
    enum { ACTOR = 4, MESSAGE = 2, SENDER = 1 };
    const struct troupe__actor *actor = troupe__run_queue_peek(queue, ACTOR);
    if (actor) {
        troupe__prefetch_two(actor);
    }
    if ((actor = troupe__run_queue_peek(queue, MESSAGE)) != NULL) {
        troupe__prefetch_two(actor->oldest);
    }
    if ((actor = troupe__run_queue_peek(queue, SENDER)) != NULL) {
        troupe__prefetch_two(actor->oldest->from);
    }
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
        uint64_t taken = machine->run_queue.taken;
        struct troupe__actor *actor = troupe__run_queue_take(&machine->run_queue);
        if (machine->run_queue.taken != taken && troupe__actors_far(&machine->actors)) {
            prefetch(&machine->run_queue);
        }
        result = deliver(machine, actor);
        count++;
        actor->queued = false;
        enqueue_actor(machine, actor);
        if (result == TROUPE_OK && troupe__run_queue_empty(&machine->run_queue)) {
            result = empty_post(machine);
        }
    }
    if (result == TROUPE_OK) {
        result = empty_post(machine);
    }
    *ret_count = count;
    return result;
}
