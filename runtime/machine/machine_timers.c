/* machine_timers.c - delayed messages: set, cancelled, due; those that wait long are in the tables only.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A timer costs TROUPE__TIMER_SIZE bytes of memory as long as it is set. Its message, and the actors that this refers
 * to, are in memory while all timers' messages together are within an eighth of memory_max; beyond that they leave it
 * once the tables have the row (`what` is NULL then), and it is read again when it is due.
 * Row form of a timer: varint due time (ms), message. */
#include <assert.h>
#include <stdio.h>

#include "runtime/machine/machine_rows.h"

enum {
    SPILL_AT_ONCE = 16384, /* timers looked at by one refresh: about a millisecond */
    TIMERS_MIN = 32 << 20, /* bytes of timers that are never too many */
};

enum troupe_error troupe__machine_set_timer(struct troupe__machine *machine, const struct troupe__effect *effect)
{
    struct troupe__timer timer = {effect->due_ms, effect->timer, effect->message, 0};
    if (!troupe__timers_set(&machine->timers, timer)) {
        return troupe__machine_out_of_memory(machine);
    }
    machine->spill.size += troupe__message_size(effect->message);
    machine->scratch.size = 0;
    troupe__buffer_put_varint(&machine->scratch, (uint64_t)effect->due_ms);
    troupe__message_encode(effect->message, &machine->scratch);
    troupe__machine_put_row(&machine->record, TROUPE__TIMER, effect->timer, &machine->scratch);
    machine->counters_changed = true;
    troupe__machine_see_crowd(machine);
    return TROUPE_OK;
}

bool troupe__machine_cancel_timer(struct troupe__machine *machine, uint64_t id)
{
    struct troupe__timer timer;
    if (!troupe__timers_cancel(&machine->timers, id, &timer)) {
        return false;
    }
    troupe__machine_remove_row(&machine->record, TROUPE__TIMER, id);
    if (timer.what) {
        machine->spill.size -= troupe__message_size(timer.what);
        troupe__message_free(timer.what);
    }
    return true;
}

/* The message of a timer whose row is in the tables. */
static enum troupe_error read_back(struct troupe__machine *machine, uint64_t id, struct troupe__message **ret)
{
    unsigned char key[8];
    struct troupe_bytes row;
    int64_t due_ms;
    troupe__put_be64(key, id);
    enum troupe_error result =
        machine->store->read(machine->store, TROUPE__TIMER, (struct troupe_bytes){key, sizeof key}, &row);
    if (result == TROUPE_OK) {
        result = troupe__machine_decode_timer(machine, row, &due_ms, ret);
        machine->spill.read_back++;
    } else {
        result = result == TROUPE_ENOTFOUND ? TROUPE_ECORRUPT : result;
    }
    if (result != TROUPE_OK) {
        snprintf(machine->error, sizeof machine->error, "timer row %llu: %s: run troupe doctor", (unsigned long long)id,
                 troupe_error_text(result));
    }
    return result;
}

enum troupe_error troupe__machine_decode_timer(struct troupe__machine *machine, struct troupe_bytes row,
                                               int64_t *ret_due_ms, struct troupe__message **ret)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    *ret_due_ms = (int64_t)troupe__cursor_varint(&cursor);
    struct troupe_bytes rest = {cursor.at, (size_t)(cursor.end - cursor.at)};
    return cursor.failed ? TROUPE_ECORRUPT : troupe__message_decode(&machine->actors, rest, ret);
}

enum troupe_error troupe__machine_end_ask(struct troupe__machine *machine, const struct troupe__message *answer,
                                          bool *ret)
{
    const struct troupe__timer *timer = troupe__timers_find(&machine->timers, answer->correlation);
    *ret = false;
    if (!timer || (timer->id & TROUPE__RETRY_BIT)) {
        return TROUPE_OK;
    }
    struct troupe__message *timeout = timer->what, *read = NULL;
    if (!timeout) {
        enum troupe_error result = read_back(machine, timer->id, &read);
        if (result != TROUPE_OK) {
            return result;
        }
        timeout = read;
    }
    bool is_it = timeout->to == answer->to && timeout->correlation == answer->correlation;
    troupe__message_free(read);
    *ret = is_it && troupe__machine_cancel_timer(machine, answer->correlation);
    return TROUPE_OK;
}

enum troupe_error troupe__machine_fire(struct troupe__machine *machine, const struct troupe__timer *timer)
{
    struct troupe__message *message = timer->what;
    if (message) {
        machine->spill.size -= troupe__message_size(message);
    } else {
        enum troupe_error result = read_back(machine, timer->id, &message);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    troupe__machine_remove_row(&machine->record, TROUPE__TIMER, timer->id);
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

void troupe__machine_seal_timers(struct troupe__machine *machine)
{
    struct troupe__timer_spill *spill = &machine->spill;
    spill->last = (struct troupe__timer_seal){machine->epoch, machine->ctx.timer_last};
    if (spill->next.epoch == 0) {
        spill->next = spill->last;
    }
}

static void note_folded(struct troupe__timer_spill *spill, uint64_t folded)
{
    if (spill->next.epoch && spill->next.epoch <= folded) {
        spill->folded = spill->next.timer;
        spill->next = spill->last;
    }
    if (spill->next.epoch && spill->next.epoch <= folded) {
        spill->folded = spill->next.timer;
        spill->next.epoch = 0;
    }
}

void troupe__machine_drop_timers(struct troupe__machine *machine)
{
    struct troupe__timer_spill *spill = &machine->spill;
    note_folded(spill, machine->folded);
    size_t used = machine->timers.count * TROUPE__TIMER_SIZE;
    machine->ctx.timers_full = used > TIMERS_MIN && used > machine->memory_max;
    /* From the end of the heap, where those are that are due late. */
    for (size_t i = 0; i < SPILL_AT_ONCE && spill->size > troupe__machine_part(machine) && machine->timers.count > 0;
         i++) {
        if (spill->hand == 0 || spill->hand > machine->timers.count) {
            spill->hand = machine->timers.count;
        }
        struct troupe__timer *timer = &machine->timers.heap[--spill->hand];
        struct troupe__message *message = timer->id & TROUPE__RETRY_BIT ? NULL : timer->what;
        if (message && timer->id <= spill->folded) {
            struct troupe__actor *to = message->to, *from = message->from;
            timer->what = NULL;
            spill->size -= troupe__message_size(message);
            troupe__message_free(message);
            troupe__actor_evict(to, machine->folded);
            if (from && from != to) {
                troupe__actor_evict(from, machine->folded);
            }
        }
    }
}
