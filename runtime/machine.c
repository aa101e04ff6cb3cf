/* machine.c - a node without its loop: messages in, epochs out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char counters_name[] = "counters", egress_prefix[] = "egress/", id_prefix[] = "id/";

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

static enum troupe_error out_of_memory(struct troupe__machine *machine)
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

static void push_message(struct troupe__machine *machine, struct troupe__message *message)
{
    struct troupe__actor *actor = message->to;
    message->next = NULL;
    if (actor->newest) {
        actor->newest->next = message;
    } else {
        actor->oldest = message;
    }
    actor->newest = message;
    machine->waiting++;
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
            return out_of_memory(machine);
        }
        machine->fresh = fresh;
        machine->fresh_capacity = capacity;
    }
    message->sequence = ++machine->sequence;
    machine->counters_changed = true;
    message->fresh_index = (uint32_t)machine->fresh_count;
    machine->fresh[machine->fresh_count++] = message;
    push_message(machine, message);
    return TROUPE_OK;
}

static void put_number_row(struct troupe__buffer *record, enum troupe__table table, uint64_t number,
                           const struct troupe__buffer *value)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_set(record, table, key, sizeof key, value->data, value->size);
}

static void remove_number_row(struct troupe__buffer *record, enum troupe__table table, uint64_t number)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_remove(record, table, key, sizeof key);
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
    if (message->fresh_index == TROUPE__HAS_ROW) {
        remove_number_row(&machine->record, TROUPE__MAIL, message->sequence);
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
    put_number_row(&machine->record, TROUPE__DEAD, ++machine->sequence, row);
    machine->counters_changed = true;
    machine->stats.dead++;
}

enum troupe_error troupe__machine_bury(struct troupe__machine *machine, const char *reason, struct troupe_bytes text)
{
    bury(machine, reason, NULL, text);
    return TROUPE_OK;
}

static void bury_oldest(struct troupe__machine *machine, struct troupe__actor *actor, const char *reason)
{
    struct troupe__message *message = actor->oldest;
    report(machine, TROUPE_WARNING, "dead letter: %s/%s message '%s' after %u attempts: %s", actor->type->name,
           actor->key, message->data, message->attempt, reason);
    bury(machine, reason, message, (struct troupe_bytes){NULL, 0});
    finish_message(machine, actor);
}

/* ---- effects of a delivery --------------------------------------------------------------------------------------- */

static struct troupe__egress_name *find_egress(struct troupe__machine *machine, const char *name)
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
    struct troupe__egress_name *egress = find_egress(machine, effect->egress);
    if (!egress) {
        return out_of_memory(machine);
    }
    egress->sequence++;
    egress->changed = true;
    machine->counters_changed = true;
    size_t start = machine->egress.size;
    troupe__buffer_put_varint(&machine->egress, ++machine->egress_number);
    size_t row = machine->egress.size;
    troupe__buffer_put_string(&machine->egress, effect->egress, strlen(effect->egress));
    troupe__buffer_put_varint(&machine->egress, egress->sequence);
    troupe__buffer_put_string(&machine->egress, effect->key, strlen(effect->key));
    troupe__buffer_put_string(&machine->egress, effect->body.data, effect->body.size);
    if (machine->egress.failed) {
        machine->egress.size = start;
        return out_of_memory(machine);
    }
    unsigned char key[8];
    troupe__put_be64(key, machine->egress_number);
    troupe__record_set(&machine->record, TROUPE__EGRESS, key, sizeof key, machine->egress.data + row,
                       machine->egress.size - row);
    return TROUPE_OK;
}

bool troupe__egress_next(struct troupe__cursor *cursor, struct troupe__egress *ret)
{
    if (cursor->at == cursor->end) {
        return false;
    }
    ret->number = troupe__cursor_varint(cursor);
    ret->name.data = troupe__cursor_string(cursor, &ret->name.size);
    ret->sequence = troupe__cursor_varint(cursor);
    ret->key.data = troupe__cursor_string(cursor, &ret->key.size);
    ret->body.data = troupe__cursor_string(cursor, &ret->body.size);
    return !cursor->failed;
}

/* Row form of a timer: varint due time (ms), message. */
static enum troupe_error set_timer(struct troupe__machine *machine, const struct troupe__effect *effect)
{
    struct troupe__timer timer = {effect->due_ms, effect->timer, effect->message};
    if (!troupe__timers_set(&machine->timers, timer)) {
        return out_of_memory(machine);
    }
    machine->scratch.size = 0;
    troupe__buffer_put_varint(&machine->scratch, (uint64_t)effect->due_ms);
    troupe__message_encode(effect->message, &machine->scratch);
    put_number_row(&machine->record, TROUPE__TIMER, effect->timer, &machine->scratch);
    machine->counters_changed = true;
    return TROUPE_OK;
}

static bool cancel_timer(struct troupe__machine *machine, uint64_t id)
{
    struct troupe__timer timer;
    if (!troupe__timers_cancel(&machine->timers, id, &timer)) {
        return false;
    }
    remove_number_row(&machine->record, TROUPE__TIMER, id);
    troupe__message_free(timer.what);
    return true;
}

static enum troupe_error carry_out(struct troupe__machine *machine)
{
    struct troupe_context *ctx = &machine->ctx;
    enum troupe_error result = TROUPE_OK;
    size_t done = 0;
    for (; done < ctx->effect_count && result == TROUPE_OK; done++) {
        const struct troupe__effect *effect = &ctx->effects[done];
        switch (effect->kind) {
        case TROUPE__SEND:
            if (effect->message->kind == TROUPE__ANSWER && !cancel_timer(machine, effect->message->correlation)) {
                troupe__message_free(effect->message); /* Too late: its timeout has been sent. */
                break;
            }
            result = accept_message(machine, effect->message);
            break;
        case TROUPE__SEND_AFTER:
            result = set_timer(machine, effect);
            break;
        case TROUPE__CANCEL:
            cancel_timer(machine, effect->timer);
            break;
        case TROUPE__EMIT:
            result = emit(machine, effect);
            break;
        }
    }
    if (result != TROUPE_OK) {
        done--; /* The machine stops now; the failed one and what follows are still ours to free. */
    }
    for (; done < ctx->effect_count; done++) {
        troupe__message_free(ctx->effects[done].message);
    }
    ctx->effect_count = 0;
    return result;
}

/* ---- deliveries -------------------------------------------------------------------------------------------------- */

/* Retry timers are not durable: their ids have the top bit, so that they never meet a handler's. */
static const uint64_t retry_bit = UINT64_C(1) << 63;

static int64_t backoff_ms(const struct troupe_retry *retry, uint32_t attempt)
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
        bury_oldest(machine, actor, reason);
        return TROUPE_OK;
    }
    int64_t delay_ms = backoff_ms(&actor->type->retry, message->attempt);
    report(machine, TROUPE_INFO, "%s/%s message '%s' failed, attempt %u of %u, next in %lld ms: %s", actor->type->name,
           actor->key, message->data, message->attempt, actor->type->retry.attempts, (long long)delay_ms, reason);
    struct troupe__timer timer = {machine->ctx.now_ms + delay_ms, retry_bit | message->sequence, actor};
    if (!troupe__timers_set(&machine->timers, timer)) {
        return out_of_memory(machine);
    }
    actor->blocked = true;
    machine->blocked++;
    if (message->fresh_index == TROUPE__HAS_ROW) { /* The row counts the attempts. */
        machine->scratch.size = 0;
        troupe__message_encode(message, &machine->scratch);
        put_number_row(&machine->record, TROUPE__MAIL, message->sequence, &machine->scratch);
    }
    return TROUPE_OK;
}

static void bury_crasher(struct troupe__machine *machine, struct troupe__actor *actor,
                         const struct troupe__suspect *suspect)
{
    char reason[TROUPE__TRACE_MAX + 160];
    snprintf(reason, sizeof reason, "crashed the node %u times: signal %d (%s)\n%s", suspect->crashes, suspect->signal,
             strsignal(suspect->signal), suspect->trace);
    bury_oldest(machine, actor, reason);
}

static enum troupe_error deliver(struct troupe__machine *machine, struct troupe__actor *actor)
{
    machine->stats.deliveries++;
    if (!actor->type->declared) {
        char reason[160];
        snprintf(reason, sizeof reason, "no actor type '%s' in this module", actor->type->name);
        bury_oldest(machine, actor, reason);
        return TROUPE_OK;
    }
    struct troupe__guard *guard = machine->guard;
    if (guard) {
        uint64_t fingerprint = troupe__guard_fingerprint(actor->oldest);
        const struct troupe__suspect *suspect = troupe__guard_convicted(guard, fingerprint);
        if (suspect) {
            bury_crasher(machine, actor, suspect);
            return TROUPE_OK;
        }
        troupe__guard_enter(guard, actor->oldest, fingerprint);
    }
    enum troupe_error result = troupe__delivery_run(&machine->ctx, actor->oldest);
    if (guard) {
        troupe__guard_leave(guard);
    }
    if (result != TROUPE_OK) {
        return handle_failure(machine, actor, result);
    }
    finish_message(machine, actor);
    return carry_out(machine);
}

enum troupe_error troupe__machine_run(struct troupe__machine *machine, size_t budget, size_t *ret_count)
{
    size_t count = 0;
    enum troupe_error result = TROUPE_OK;
    while (count < budget && machine->run_first && result == TROUPE_OK) {
        struct troupe__actor *actor = machine->run_first;
        machine->run_first = actor->run_next;
        if (!machine->run_first) {
            machine->run_last = NULL;
        }
        result = deliver(machine, actor);
        count++;
        actor->queued = false;
        enqueue_actor(machine, actor);
    }
    *ret_count = count;
    return result;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__machine_set_now(struct troupe__machine *machine, int64_t now_ms)
{
    if (now_ms > machine->ctx.now_ms) {
        machine->ctx.now_ms = now_ms;
    }
    const struct troupe__timer *first;
    while ((first = troupe__timers_first(&machine->timers)) != NULL && first->due_ms <= machine->ctx.now_ms) {
        struct troupe__timer timer;
        troupe__timers_cancel(&machine->timers, first->id, &timer);
        if (timer.id & retry_bit) {
            struct troupe__actor *actor = timer.what;
            actor->blocked = false;
            machine->blocked--;
            enqueue_actor(machine, actor);
            continue;
        }
        remove_number_row(&machine->record, TROUPE__TIMER, timer.id);
        enum troupe_error result = accept_message(machine, timer.what);
        if (result != TROUPE_OK) {
            troupe__message_free(timer.what);
            return result;
        }
    }
    struct troupe__id old;
    while (troupe__ids_expire(&machine->ids, machine->ctx.now_ms, &old)) {
        unsigned char key[3 + 16];
        memcpy(key, id_prefix, 3);
        troupe__put_be64(key + 3, old.low);
        troupe__put_be64(key + 11, old.high);
        troupe__record_remove(&machine->record, TROUPE__META, key, sizeof key);
    }
    return TROUPE_OK;
}

int64_t troupe__machine_next_due(const struct troupe__machine *machine)
{
    const struct troupe__timer *first = troupe__timers_first(&machine->timers);
    if (!first) {
        return -1;
    }
    return first->due_ms > machine->ctx.now_ms ? first->due_ms - machine->ctx.now_ms : 0;
}

/* ---- what comes from outside ------------------------------------------------------------------------------------- */

enum troupe_error troupe__machine_arrive(struct troupe__machine *machine, const char *id, struct troupe_address to,
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
    if (id) {
        struct troupe__id known = troupe__id_of(to.type, to.key, id);
        if (troupe__ids_has(&machine->ids, known)) {
            machine->stats.repeats++;
            return TROUPE_OK;
        }
        if (!troupe__ids_add(&machine->ids, known, machine->ctx.now_ms)) {
            return out_of_memory(machine);
        }
        unsigned char key[3 + 16];
        memcpy(key, id_prefix, 3);
        troupe__put_be64(key + 3, known.low);
        troupe__put_be64(key + 11, known.high);
        machine->scratch.size = 0;
        troupe__buffer_put_varint(&machine->scratch, (uint64_t)machine->ctx.now_ms);
        troupe__record_set(&machine->record, TROUPE__META, key, sizeof key, machine->scratch.data,
                           machine->scratch.size);
    }
    struct troupe__actor *actor = troupe__actors_get(&machine->actors, to.type, to.key, key_size);
    struct troupe__message *message = actor ? troupe__message_new(actor, NULL, type, type_size, body) : NULL;
    if (!message) {
        return out_of_memory(machine);
    }
    enum troupe_error result = accept_message(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static enum troupe_error remember_mark(struct troupe__machine *machine, const char *name, size_t name_size,
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
            return out_of_memory(machine);
        }
        mark = &marks[machine->mark_count++];
        *mark = (struct troupe__mark){.name = copy};
    }
    mark->value.size = 0;
    troupe__buffer_put(&mark->value, value.data, value.size);
    return mark->value.failed ? out_of_memory(machine) : TROUPE_OK;
}

enum troupe_error troupe__machine_mark(struct troupe__machine *machine, const char *name, struct troupe_bytes value)
{
    troupe__record_set(&machine->record, TROUPE__META, name, strlen(name), value.data, value.size);
    return remember_mark(machine, name, strlen(name), value);
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
    while (machine->egress_released < number) {
        remove_number_row(&machine->record, TROUPE__EGRESS, ++machine->egress_released);
    }
    machine->counters_changed = true;
}

bool troupe__machine_dirty(const struct troupe__machine *machine)
{
    return machine->record.size > 0 || machine->fresh_count > 0 || machine->ctx.dirty_count > 0 ||
           machine->counters_changed;
}

static void seal_cells(struct troupe__machine *machine)
{
    struct troupe_context *ctx = &machine->ctx;
    for (size_t i = 0; i < ctx->dirty_count; i++) {
        struct troupe__actor *actor = ctx->dirty[i].actor;
        struct troupe__cell *cell = &actor->cells[ctx->dirty[i].index];
        const struct troupe_value *value = actor->type->declared->values[ctx->dirty[i].index];
        unsigned char key[TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8];
        if (cell->state == TROUPE__SLOT_PRESENT) {
            machine->scratch.size = 0;
            troupe__cell_encode(cell, value->kind, &machine->scratch);
            troupe__record_set(&machine->record, TROUPE__STATE, key, troupe__actor_row_key(actor, value->name, key),
                               machine->scratch.data, machine->scratch.size);
            cell->stored = true;
        } else if (cell->state == TROUPE__SLOT_ABSENT && cell->stored) {
            troupe__record_remove(&machine->record, TROUPE__STATE, key, troupe__actor_row_key(actor, value->name, key));
            cell->stored = false;
        }
    }
    ctx->dirty_count = 0;
}

static void seal_messages(struct troupe__machine *machine)
{
    for (size_t i = 0; i < machine->fresh_count; i++) {
        struct troupe__message *message = machine->fresh[i];
        if (message) {
            machine->scratch.size = 0;
            troupe__message_encode(message, &machine->scratch);
            put_number_row(&machine->record, TROUPE__MAIL, message->sequence, &machine->scratch);
            message->fresh_index = TROUPE__HAS_ROW;
        }
    }
    machine->fresh_count = 0;
}

static void seal_counters(struct troupe__machine *machine)
{
    for (size_t i = 0; i < machine->egress_name_count; i++) {
        struct troupe__egress_name *egress = &machine->egress_names[i];
        if (egress->changed) {
            char key[sizeof egress_prefix + TROUPE_NAME_MAX];
            snprintf(key, sizeof key, "%s%s", egress_prefix, egress->name);
            machine->scratch.size = 0;
            troupe__buffer_put_varint(&machine->scratch, egress->sequence);
            troupe__record_set(&machine->record, TROUPE__META, key, strlen(key), machine->scratch.data,
                               machine->scratch.size);
            egress->changed = false;
        }
    }
    machine->scratch.size = 0;
    troupe__buffer_put_varint(&machine->scratch, machine->sequence);
    troupe__buffer_put_varint(&machine->scratch, machine->ctx.timer_last);
    troupe__buffer_put_varint(&machine->scratch, machine->egress_number);
    troupe__buffer_put_varint(&machine->scratch, machine->egress_released);
    troupe__buffer_put_varint(&machine->scratch, (uint64_t)machine->ctx.now_ms);
    troupe__record_set(&machine->record, TROUPE__META, counters_name, strlen(counters_name), machine->scratch.data,
                       machine->scratch.size);
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
    seal_cells(machine);
    seal_messages(machine);
    seal_counters(machine);
    if (machine->record.failed || machine->scratch.failed || machine->egress.failed) {
        return out_of_memory(machine);
    }
    swap_buffers(&machine->record, &epoch->record);
    swap_buffers(&machine->egress, &epoch->egress);
    machine->record.size = 0;
    machine->egress.size = 0;
    epoch->number = machine->epoch;
    epoch->egress_last = epoch->egress.size ? machine->egress_number : 0;
    machine->epoch++;
    machine->ctx.epoch = machine->epoch;
    machine->stats.epochs++;
    return TROUPE_OK;
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

/* Rows of numbered tables while the start collects them, in the order of their numbers. */
struct pile {
    struct pile_row {
        uint64_t number;
        char *value; /* NULL: removed again */
        size_t size;
    } * rows;
    size_t count, capacity;
};

struct start {
    struct troupe__machine *machine;
    struct pile piles[TROUPE__TABLE_COUNT];
    enum troupe__table table;   /* being scanned */
    struct troupe__id_age *ids; /* in the order noted */
    size_t id_count, id_capacity;
};

static struct pile_row *pile_find(struct pile *pile, uint64_t number)
{
    size_t low = 0, high = pile->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pile->rows[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < pile->count && pile->rows[low].number == number ? &pile->rows[low] : NULL;
}

static enum troupe_error pile_set(struct start *start, enum troupe__table table, uint64_t number,
                                  struct troupe_bytes value)
{
    struct pile *pile = &start->piles[table];
    struct pile_row *row = pile_find(pile, number);
    if (!row) {
        if (pile->count > 0 && pile->rows[pile->count - 1].number > number) {
            snprintf(start->machine->error, sizeof start->machine->error, "table %d: row %llu is out of order",
                     (int)table, (unsigned long long)number);
            return TROUPE_ECORRUPT; /* Numbers only grow: a row below the last one was never written. */
        }
        if (pile->count == pile->capacity) {
            size_t capacity = pile->capacity ? pile->capacity * 2 : 256;
            struct pile_row *rows = realloc(pile->rows, capacity * sizeof *rows);
            if (!rows) {
                return out_of_memory(start->machine);
            }
            pile->rows = rows;
            pile->capacity = capacity;
        }
        row = &pile->rows[pile->count++];
        *row = (struct pile_row){.number = number};
    }
    char *copy = malloc(value.size + 1);
    if (!copy) {
        return out_of_memory(start->machine);
    }
    memcpy(copy, value.data, value.size);
    free(row->value);
    row->value = copy;
    row->size = value.size;
    return TROUPE_OK;
}

/* since_ms -1: forgotten. */
static enum troupe_error note_id(struct start *start, struct troupe__id id, int64_t since_ms)
{
    if (start->id_count == start->id_capacity) {
        size_t capacity = start->id_capacity ? start->id_capacity * 2 : 256;
        struct troupe__id_age *ids = realloc(start->ids, capacity * sizeof *ids);
        if (!ids) {
            return out_of_memory(start->machine);
        }
        start->ids = ids;
        start->id_capacity = capacity;
    }
    start->ids[start->id_count++] = (struct troupe__id_age){id, since_ms};
    return TROUPE_OK;
}

/* An id may have been taken in, forgotten and taken in again: what was noted last holds. */
static enum troupe_error start_ids(struct start *start)
{
    struct troupe__ids seen = {0}, *ids = &start->machine->ids;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = start->id_count; i-- > 0 && result == TROUPE_OK;) {
        const struct troupe__id_age *age = &start->ids[i];
        if (!troupe__ids_has(&seen, age->id) &&
            (!troupe__ids_add(&seen, age->id, 0) ||
             (age->since_ms >= 0 && !troupe__ids_add(ids, age->id, age->since_ms)))) {
            result = out_of_memory(start->machine);
        }
    }
    troupe__ids_fini(&seen);
    troupe__ids_sort(ids);
    return result;
}

static enum troupe_error start_meta(struct start *start, struct troupe_bytes key, bool removed,
                                    struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    if (key.size == 3 + 16 && memcmp(key.data, id_prefix, 3) == 0) {
        const unsigned char *at = (const unsigned char *)key.data + 3;
        struct troupe__id id = {troupe__get_be64(at), troupe__get_be64(at + 8)};
        return note_id(start, id, removed ? -1 : (int64_t)troupe__cursor_varint(&cursor));
    }
    if (removed) {
        return TROUPE_OK; /* No other META row is ever removed. */
    }
    if (key.size > 7 && key.size <= 7 + TROUPE_NAME_MAX && memcmp(key.data, egress_prefix, 7) == 0) {
        char name[TROUPE_NAME_MAX + 1] = {0};
        memcpy(name, (const char *)key.data + 7, key.size - 7);
        struct troupe__egress_name *egress = find_egress(machine, name);
        if (!egress) {
            return out_of_memory(machine);
        }
        egress->sequence = troupe__cursor_varint(&cursor);
        return TROUPE_OK;
    }
    if (key.size == strlen(counters_name) && memcmp(key.data, counters_name, key.size) == 0) {
        machine->sequence = troupe__cursor_varint(&cursor);
        machine->ctx.timer_last = troupe__cursor_varint(&cursor);
        machine->egress_number = troupe__cursor_varint(&cursor);
        machine->egress_released = troupe__cursor_varint(&cursor);
        machine->ctx.now_ms = (int64_t)troupe__cursor_varint(&cursor);
        if (cursor.failed) {
            snprintf(machine->error, sizeof machine->error, "the counters' row is malformed: run troupe doctor");
            return TROUPE_ECORRUPT;
        }
        return TROUPE_OK;
    }
    return remember_mark(machine, key.data, key.size, value);
}

/* A change of state that the tables do not have: the actor's cell gets it. */
static enum troupe_error start_state(struct start *start, struct troupe_bytes key, bool removed,
                                     struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    const char *type = (const char *)key.data + 2, *end = (const char *)key.data + key.size;
    const char *type_end = key.size > 2 ? memchr(type, 0, (size_t)(end - type)) : NULL;
    const char *name = type_end ? type_end + 1 : NULL;
    const char *name_end = name ? memchr(name, 0, (size_t)(end - name)) : NULL;
    if (!name_end || !troupe__type_name_valid(type) || name_end == name || name_end - name > TROUPE_KEY_MAX) {
        snprintf(machine->error, sizeof machine->error, "a state row's key is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    struct troupe__actor *actor = troupe__actors_get(&machine->actors, type, name, (size_t)(name_end - name));
    if (!actor) {
        return out_of_memory(machine);
    }
    const char *value_name = name_end + 1;
    size_t value_size = (size_t)(end - value_name);
    for (size_t i = 0; i < actor->type->value_count; i++) {
        const struct troupe_value *declared = actor->type->declared->values[i];
        if (strlen(declared->name) != value_size || memcmp(declared->name, value_name, value_size) != 0) {
            continue;
        }
        struct troupe__cell *cells = troupe__actor_cells(actor);
        if (!cells) {
            return out_of_memory(machine);
        }
        if (cells[i].state == TROUPE__SLOT_PRESENT && declared->kind >= TROUPE_STRING) {
            free(cells[i].as.bytes);
        }
        cells[i] = (struct troupe__cell){.state = TROUPE__SLOT_ABSENT, .stored = !removed};
        enum troupe_error result = removed ? TROUPE_OK : troupe__cell_decode(&cells[i], declared->kind, value);
        if (result != TROUPE_OK) {
            snprintf(machine->error, sizeof machine->error,
                     "value '%s' of %s/%s is stored as another kind than the module declares: use the module that "
                     "wrote it",
                     declared->name, type, name);
        }
        return result;
    }
    return TROUPE_OK; /* The module has dropped this value; its rows stay. */
}

static enum troupe_error start_change(struct start *start, enum troupe__table table, struct troupe_bytes key,
                                      bool removed, struct troupe_bytes value)
{
    if (table == TROUPE__META) {
        return start_meta(start, key, removed, value);
    }
    if (table == TROUPE__STATE) {
        return start_state(start, key, removed, value);
    }
    if (key.size != 8) {
        snprintf(start->machine->error, sizeof start->machine->error,
                 "table %d: a key of %zu bytes, not 8: run troupe "
                 "doctor",
                 (int)table, key.size);
        return TROUPE_ECORRUPT;
    }
    uint64_t number = troupe__get_be64(key.data);
    if (!removed) {
        return pile_set(start, table, number, value);
    }
    struct pile_row *row = pile_find(&start->piles[table], number);
    if (row) {
        free(row->value);
        row->value = NULL;
    }
    return TROUPE_OK;
}

static enum troupe_error start_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct start *start = context;
    return start_change(start, start->table, key, false, value);
}

static enum troupe_error start_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct start *start = context;
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == TROUPE__DEAD) {
            continue; /* Only looked at in the tables. */
        }
        enum troupe_error result = start_change(start, change.table, change.key, change.removed, change.value);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (cursor.failed) {
        snprintf(start->machine->error, sizeof start->machine->error, "journal: epoch %llu is malformed",
                 (unsigned long long)epoch);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static enum troupe_error start_mail(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__MAIL];
    for (size_t i = 0; i < pile->count; i++) {
        if (pile->rows[i].value) {
            struct troupe__message *message;
            struct troupe_bytes row = {pile->rows[i].value, pile->rows[i].size};
            enum troupe_error result = troupe__message_decode(&machine->actors, row, &message);
            if (result != TROUPE_OK) {
                snprintf(machine->error, sizeof machine->error, "mail row %llu: %s",
                         (unsigned long long)pile->rows[i].number, troupe_error_text(result));
                return result;
            }
            message->sequence = pile->rows[i].number;
            push_message(machine, message);
        }
    }
    return TROUPE_OK;
}

static enum troupe_error start_timers(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__TIMER];
    for (size_t i = 0; i < pile->count; i++) {
        if (pile->rows[i].value) {
            struct troupe__cursor cursor = {(unsigned char *)pile->rows[i].value,
                                            (unsigned char *)pile->rows[i].value + pile->rows[i].size, false};
            int64_t due_ms = (int64_t)troupe__cursor_varint(&cursor);
            struct troupe__message *message;
            struct troupe_bytes row = {cursor.at, (size_t)(cursor.end - cursor.at)};
            enum troupe_error result = troupe__message_decode(&machine->actors, row, &message);
            if (result != TROUPE_OK) {
                snprintf(machine->error, sizeof machine->error, "timer row %llu: %s",
                         (unsigned long long)pile->rows[i].number, troupe_error_text(result));
                return result;
            }
            struct troupe__timer timer = {due_ms, pile->rows[i].number, message};
            if (!troupe__timers_set(&machine->timers, timer)) {
                troupe__message_free(message);
                return out_of_memory(machine);
            }
        }
    }
    return TROUPE_OK;
}

static enum troupe_error start_all(struct start *start)
{
    static const enum troupe__table tables[] = {TROUPE__META, TROUPE__MAIL, TROUPE__TIMER, TROUPE__EGRESS};
    struct troupe__machine *machine = start->machine;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && result == TROUPE_OK; i++) {
        start->table = tables[i];
        result = machine->store->scan(machine->store, tables[i], (struct troupe_bytes){"", 0}, start_row, start);
    }
    if (result == TROUPE_OK) {
        result = machine->store->replay(machine->store, start_record, start);
    }
    result = result == TROUPE_OK ? start_ids(start) : result;
    result = result == TROUPE_OK ? start_mail(start) : result;
    result = result == TROUPE_OK ? start_timers(start) : result;
    struct pile *egress = &start->piles[TROUPE__EGRESS];
    for (size_t i = 0; i < egress->count && result == TROUPE_OK; i++) {
        if (egress->rows[i].value) {
            troupe__buffer_put_varint(&machine->unreleased, egress->rows[i].number);
            troupe__buffer_put(&machine->unreleased, egress->rows[i].value, egress->rows[i].size);
        }
    }
    if (result != TROUPE_OK && machine->error[0] == '\0') {
        snprintf(machine->error, sizeof machine->error, "%s", machine->store->error);
    }
    return machine->unreleased.failed ? out_of_memory(machine) : result;
}

static bool timer_pending(void *owner, uint64_t timer)
{
    const struct troupe__machine *machine = owner;
    return !(timer & retry_bit) && troupe__timers_pending(&machine->timers, timer);
}

enum troupe_error troupe__machine_init(struct troupe__machine *machine, const struct troupe_module *module,
                                       struct troupe__store *store, uint64_t seed, troupe_log_fn log, void *log_context)
{
    *machine = (struct troupe__machine){.store = store, .log = log, .log_context = log_context};
    if (module->abi != TROUPE_ABI) {
        snprintf(machine->error, sizeof machine->error,
                 "module '%s' was built for interface %u, this is %d: build it again", module->name ? module->name : "",
                 module->abi, TROUPE_ABI);
        return TROUPE_EVERSION;
    }
    enum troupe_error result = troupe__actors_init(&machine->actors, module, machine->error, sizeof machine->error);
    if (result != TROUPE_OK) {
        return result;
    }
    machine->epoch = store->last_epoch + 1;
    machine->ctx = (struct troupe_context){.actors = &machine->actors,
                                           .store = store,
                                           .timer_pending = timer_pending,
                                           .owner = machine,
                                           .epoch = machine->epoch,
                                           .seed = seed};
    struct start start = {.machine = machine};
    result = start_all(&start);
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        for (size_t i = 0; i < start.piles[table].count; i++) {
            free(start.piles[table].rows[i].value);
        }
        free(start.piles[table].rows);
    }
    free(start.ids);
    if (result != TROUPE_OK) {
        troupe__machine_fini(machine);
    }
    return result;
}

static void free_inbox(struct troupe__actor *actor)
{
    while (actor->oldest) {
        struct troupe__message *next = actor->oldest->next;
        troupe__message_free(actor->oldest);
        actor->oldest = next;
    }
}

void troupe__machine_fini(struct troupe__machine *machine)
{
    for (size_t i = 0; i < machine->actors.capacity && machine->actors.table; i++) {
        if (machine->actors.table[i]) {
            free_inbox(machine->actors.table[i]);
        }
    }
    for (size_t i = 0; i < machine->timers.count; i++) {
        if (!(machine->timers.heap[i].id & retry_bit)) {
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
    troupe__ids_fini(&machine->ids);
    troupe__timers_fini(&machine->timers);
    troupe__buffer_free(&machine->record);
    troupe__buffer_free(&machine->egress);
    troupe__buffer_free(&machine->scratch);
    troupe__buffer_free(&machine->unreleased);
    troupe__delivery_fini(&machine->ctx);
    troupe__actors_fini(&machine->actors);
}
