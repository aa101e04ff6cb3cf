/* machine_mail.c - where a machine's messages wait: inboxes up to a size, behind them the backlog.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of memory_max an eighth is for messages in inboxes and an eighth for the end of the backlog, which is in memory until
 * the tables have it; the rest is for the actors that they name, and others. When that end is over its part the machine
 * is crowded: it handles nothing until folding has got on, since handling could send more. */
#include <assert.h>
#include <stdio.h>

#include "runtime/machine_rows.h"

enum { REFILL_SIZE = 1 << 18 /* bytes taken out of the backlog at once: that takes about a millisecond */ };

static size_t part(const struct troupe__machine *machine)
{
    return machine->memory_max / 8;
}

void troupe__machine_wait(struct troupe__machine *machine, struct troupe__message *message)
{
    machine->waiting++;
    if (machine->inbox_size < part(machine) && troupe__backlog_empty(&machine->backlog)) {
        troupe__machine_push(machine, message);
        return;
    }
    troupe__backlog_push(&machine->backlog, message);
    machine->crowded = machine->backlog.size > part(machine);
}

bool troupe__machine_wants_mail(const struct troupe__machine *machine)
{
    if (troupe__backlog_empty(&machine->backlog)) {
        return false;
    }
    /* With nothing to run, what is in inboxes waits for a next attempt. Others should not wait for that, but neither
     * may such inboxes fill all memory. */
    return machine->run_first ? machine->inbox_size < part(machine) / 2
                              : machine->inbox_size <= (machine->memory_max < SIZE_MAX ? 4 * part(machine) : SIZE_MAX);
}

enum troupe_error troupe__machine_refill(struct troupe__machine *machine)
{
    size_t room = part(machine) > machine->inbox_size ? part(machine) - machine->inbox_size : 1;
    struct troupe__message *message;
    enum troupe_error result = troupe__backlog_take(&machine->backlog, machine->store, &machine->actors,
                                                    room < REFILL_SIZE ? room : REFILL_SIZE, &message);
    if (result != TROUPE_OK) {
        snprintf(machine->error, sizeof machine->error, "%s",
                 result == TROUPE_ENOMEM ? "out of memory: nothing durable is lost; start again with more"
                                         : machine->store->error);
        return result;
    }
    while (message) {
        struct troupe__message *next = message->next;
        troupe__machine_push(machine, message);
        message = next;
    }
    machine->crowded = machine->backlog.size > part(machine);
    return TROUPE_OK;
}

void troupe__machine_drop_mail(struct troupe__machine *machine)
{
    troupe__backlog_drop(&machine->backlog, machine->folded, part(machine));
    machine->crowded = machine->backlog.size > part(machine);
}
