/* machine_epoch.c - the end of an epoch: when it is to be sealed, and what its record holds then.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/prefetch.h"
#include "runtime/machine/links.h"
#include "runtime/machine/machine_rows.h"

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
        troupe__prefetch(machine->fresh[index + AHEAD]);
    }
    const struct troupe__message *message =
        index + ACTORS_AHEAD < machine->fresh_count ? machine->fresh[index + ACTORS_AHEAD] : NULL;
    if (message) {
        troupe__prefetch_two(message->to);
    }
    if (message && message->from) {
        troupe__prefetch_two(message->from);
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
