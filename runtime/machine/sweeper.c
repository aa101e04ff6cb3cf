/* sweeper.c - removes from the tables what has expired, and what large maps and lists held when they were cleared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/sweeper.h"

#include <stdio.h>

#include "core/state.h"
#include "runtime/machine/machine_rows.h"

enum { FOUND_MAX = 64 /* rows that are asked for at once */, FOLD_WAIT_MS = 2000 };

static struct troupe_bytes task_of(const struct troupe__sweeper *sweeper)
{
    return (struct troupe_bytes){sweeper->task, sweeper->task_size};
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static enum troupe_error take_key(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__sweeper *sweeper = context;
    (void)value;
    memcpy(sweeper->task, key.data, key.size);
    sweeper->task_size = key.size;
    return TROUPE_EFULL; /* One is enough. */
}

static enum troupe_error fail_store(struct troupe__machine *machine, enum troupe_error error)
{
    snprintf(machine->error, sizeof machine->error, "sweep: %.480s", machine->store->error);
    return error;
}

/* When the first task that is not due yet will be. */
static enum troupe_error take_due(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__sweeper *sweeper = context;
    (void)value;
    sweeper->due_ms = key.size > 8 ? (int64_t)troupe__get_be64(key.data) : 0;
    return TROUPE_EFULL;
}

static enum troupe_error end_pass(struct troupe__machine *machine)
{
    struct troupe__sweeper *sweeper = &machine->sweeper;
    unsigned char now[8];
    sweeper->passing = false;
    sweeper->due_ms = 0;
    if (sweeper->changed_epoch > 0) { /* Until then the tables still have what was removed. */
        sweeper->waits_for = sweeper->changed_epoch;
        return TROUPE_OK;
    }
    troupe__put_be64(now, (uint64_t)machine->ctx.now_ms + 1);
    struct troupe__range later = {.low = {now, sizeof now}};
    enum troupe_error result = machine->store->range(machine->store, TROUPE__SWEEP, &later, take_due, sweeper);
    return result == TROUPE_OK || result == TROUPE_EFULL ? TROUPE_OK : fail_store(machine, result);
}

/* Go on to the next task; without one the pass ends. */
static enum troupe_error next_task(struct troupe__machine *machine)
{
    struct troupe__sweeper *sweeper = &machine->sweeper;
    unsigned char low[TROUPE__ROW_KEY_MAX + 1], high[8];
    size_t low_size = sweeper->task_size;
    memcpy(low, sweeper->task, low_size);
    if (low_size > 0) {
        low[low_size++] = '\0'; /* The first key behind the last task. */
    }
    troupe__put_be64(high, (uint64_t)machine->ctx.now_ms + 1);
    struct troupe__range due = {.low = {low, low_size}, .high = {high, sizeof high}};
    enum troupe_error result = machine->store->range(machine->store, TROUPE__SWEEP, &due, take_key, sweeper);
    if (result == TROUPE_OK) {
        return end_pass(machine);
    }
    if (result != TROUPE_EFULL) {
        return fail_store(machine, result);
    }
    if (sweeper->task_size <= 8 || sweeper->task_size >= TROUPE__ROW_KEY_MAX) {
        snprintf(machine->error, sizeof machine->error, "a sweep row's key is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    sweeper->place_size = sweeper->task_size - 8;
    memcpy(sweeper->place, sweeper->task + 8, sweeper->place_size);
    return TROUPE_OK;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

struct look {
    struct troupe__machine *machine;
    size_t left, found;
    bool removes; /* all rows; else find those that have expired */
};

static enum troupe_error look_at(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct look *look = context;
    struct troupe__machine *machine = look->machine;
    struct troupe__sweeper *sweeper = &machine->sweeper;
    struct troupe__row row;
    memcpy(sweeper->place, key.data, key.size);
    sweeper->place_size = key.size;
    if (look->left == 0 || look->found == FOUND_MAX) {
        return TROUPE_EFULL; /* Go on at this one. */
    }
    look->left--;
    if (look->removes) {
        troupe__record_remove(&machine->record, TROUPE__STATE, key.data, key.size);
        sweeper->changed_epoch = machine->epoch;
    } else if (troupe__row_decode(value, &row) && row.expires_ms > 0 && row.expires_ms <= machine->ctx.now_ms) {
        troupe__buffer_put_string(&sweeper->found, key.data, key.size);
        look->found++;
    }
    return TROUPE_OK;
}

/* Ask the actor for a row that has expired, or with `drops_head` to drop the head that is the last row of a value. */
static enum troupe_error change(struct troupe__machine *machine, struct troupe_bytes key, bool drops_head)
{
    struct troupe__row_key parts;
    if (!troupe__row_key_decode(key, &parts)) {
        return TROUPE_OK; /* The doctor says so. */
    }
    struct troupe__actor *actor = troupe__actors_get(&machine->actors, parts.type, parts.key, strlen(parts.key));
    if (!actor) {
        return troupe__machine_out_of_memory(machine);
    }
    const unsigned char *rest = (const unsigned char *)parts.value.data + parts.value.size;
    size_t rest_size = key.size - (size_t)(rest - (const unsigned char *)key.data);
    for (size_t i = 0; i < actor->type->value_count; i++) {
        const struct troupe_value *value = actor->type->declared->values[i];
        if (strlen(value->name) != parts.value.size || memcmp(value->name, parts.value.data, parts.value.size) != 0) {
            continue;
        }
        enum troupe_error result = drops_head ? troupe__state_drop_head(&machine->ctx, actor, (uint32_t)i)
                                              : troupe__state_expire(&machine->ctx, actor, (uint32_t)i,
                                                                     (struct troupe_bytes){rest, rest_size});
        if (result != TROUPE_OK) {
            snprintf(machine->error, sizeof machine->error, "sweep %s/%s: %.256s", parts.type, parts.key,
                     machine->ctx.error);
            return result;
        }
        for (size_t e = 0; e < machine->ctx.effect_count; e++) { /* A list that expired may leave its rows behind. */
            troupe__machine_note_sweep(machine, 0, machine->ctx.effects[e].body);
        }
        machine->ctx.effect_count = 0;
        troupe__actor_measure(actor);
        machine->sweeper.changed_epoch = machine->epoch;
    }
    return TROUPE_OK;
}

static enum troupe_error expire_found(struct troupe__machine *machine)
{
    struct troupe__buffer *found = &machine->sweeper.found;
    struct troupe__cursor cursor = {found->data, found->data + found->size, false};
    enum troupe_error result = found->failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
    while (result == TROUPE_OK && cursor.at < cursor.end) {
        struct troupe_bytes key;
        key.data = troupe__cursor_string(&cursor, &key.size);
        result = change(machine, key, false);
    }
    found->size = 0;
    found->failed = false;
    return result;
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

/* A value's key begins that of its rows and of its tasks. Its size in a task's, which goes on with a NUL and a
 * generation. */
static size_t value_size(const unsigned char *key, size_t size)
{
    size_t at = 2; /* behind the slot: type, key and value, each with a NUL */
    for (int names = 0; names < 3 && at < size; at++) {
        names += key[at] == '\0';
    }
    return at - 1;
}

struct head_look {
    size_t size; /* of the value's key */
    size_t rows;
    bool is_head;
};

static enum troupe_error look_at_head(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct head_look *look = context;
    struct troupe__row row;
    look->rows++;
    look->is_head = key.size == look->size && troupe__row_decode(value, &row) && row.head;
    return look->is_head ? TROUPE_OK : TROUPE_EFULL; /* A second row decides as well as a third. */
}

static enum troupe_error any_task(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    *(bool *)context = true;
    return TROUPE_EFULL;
}

/* The value that was looked at may be nothing but a head. A task for one of its generations would remove rows that are
 * set when generations have begun anew: so there must be none. One that the tables do not have yet came with a head
 * that they do not have either. */
static enum troupe_error drop_head(struct troupe__machine *machine, struct troupe_bytes key)
{
    struct troupe__store *store = machine->store;
    unsigned char low[TROUPE__ROW_KEY_MAX + 1] = {0}, high[TROUPE__ROW_KEY_MAX + 1] = {0};
    struct head_look look = {.size = key.size};
    bool tasks = false;
    memcpy(low + 8, key.data, key.size);
    memcpy(high + 8, key.data, key.size);
    high[8 + key.size] = 1;
    struct troupe__range rows = {{low + 8, key.size}, {high + 8, key.size + 1}, false};
    enum troupe_error result = store->range(store, TROUPE__STATE, &rows, look_at_head, &look);
    if (result == TROUPE_OK && look.is_head && look.rows == 1) {
        struct troupe__range removals = {{low, 8 + key.size + 1}, {high, 8 + key.size + 1}, false};
        result = store->range(store, TROUPE__SWEEP, &removals, any_task, &tasks);
    }
    if (result != TROUPE_OK && result != TROUPE_EFULL) {
        return fail_store(machine, result);
    }
    return look.is_head && look.rows == 1 && !tasks ? change(machine, key, true) : TROUPE_OK;
}

/* Look at rows of the task, at most `*budget`, which gets less. */
static enum troupe_error work(struct troupe__machine *machine, size_t *budget)
{
    struct troupe__sweeper *sweeper = &machine->sweeper;
    struct look look = {.machine = machine, .left = *budget, .removes = troupe__get_be64(sweeper->task) == 0};
    unsigned char low[TROUPE__ROW_KEY_MAX + 1], high[TROUPE__ROW_KEY_MAX + 1];
    size_t low_size = sweeper->place_size, high_size = sweeper->task_size - 8;
    memcpy(low, sweeper->place, low_size);
    memcpy(high, sweeper->task + 8, high_size);
    if (look.removes) {
        high[high_size - 1]++; /* The last byte of a generation: it has room for one more. */
    } else {
        high[high_size++] = 1; /* The value's row, and all whose key goes on with a NUL. */
    }
    struct troupe__range rows = {{low, low_size}, {high, high_size}, false};
    enum troupe_error result = machine->store->range(machine->store, TROUPE__STATE, &rows, look_at, &look);
    if (result != TROUPE_OK && result != TROUPE_EFULL) {
        return fail_store(machine, result);
    }
    *budget = look.left;
    if (result == TROUPE_OK) {
        struct troupe_bytes task = task_of(sweeper), value = {sweeper->task + 8, high_size};
        sweeper->place_size = 0;
        result = expire_found(machine);
        if (look.removes) { /* The rows are gone when the tables know of this. */
            value.size = value_size(value.data, value.size);
            troupe__machine_note_sweep(machine, machine->ctx.now_ms > 0 ? machine->ctx.now_ms : 1, value);
        } else if (result == TROUPE_OK) {
            value.size--; /* See above. */
            result = drop_head(machine, value);
        }
        troupe__record_remove(&machine->record, TROUPE__SWEEP, task.data, task.size);
        sweeper->changed_epoch = machine->epoch;
        return result;
    }
    return expire_found(machine);
}

/* Whether the tables have what was changed by the last pass, and what the journal had at the start. */
static bool has_all(const struct troupe__machine *machine)
{
    return machine->folded >= machine->sweeper.waits_for && machine->folded >= machine->store->last_epoch;
}

enum troupe_error troupe__machine_sweep(struct troupe__machine *machine, size_t budget)
{
    struct troupe__sweeper *sweeper = &machine->sweeper;
    enum troupe_error result = TROUPE_OK;
    if (!sweeper->passing) {
        if (!has_all(machine)) {
            troupe__machine_refresh(machine);
        }
        if (troupe__machine_sweep_due(machine) != 0) {
            return TROUPE_OK;
        }
        sweeper->passing = true;
        sweeper->changed_epoch = 0;
        sweeper->seen_once = true;
        sweeper->seen = machine->folded;
        sweeper->task_size = sweeper->place_size = 0;
    }
    while (result == TROUPE_OK && sweeper->passing && budget > 0) {
        if (sweeper->place_size > 0) {
            result = work(machine, &budget);
        } else {
            result = next_task(machine);
            budget--;
        }
    }
    return result;
}

int64_t troupe__machine_sweep_due(const struct troupe__machine *machine)
{
    const struct troupe__sweeper *sweeper = &machine->sweeper;
    if (sweeper->passing) {
        return 0;
    }
    if (!has_all(machine)) {
        return FOLD_WAIT_MS;
    }
    if (!sweeper->seen_once || sweeper->seen != machine->folded) {
        return 0;
    }
    if (sweeper->due_ms == 0) {
        return -1;
    }
    return sweeper->due_ms > machine->ctx.now_ms ? sweeper->due_ms - machine->ctx.now_ms : 0;
}

void troupe__sweeper_fini(struct troupe__sweeper *sweeper)
{
    troupe__buffer_free(&sweeper->found);
}
