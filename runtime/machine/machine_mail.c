/* machine_mail.c - where a machine's messages wait: inboxes up to a size, behind them the backlog.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of memory_max an eighth is for messages in inboxes, an eighth for the end of the backlog and an eighth for delayed
 * messages, both of which are in memory until the tables have them; the rest is for the actors that they name, and
 * others. When one of those two is over its part the machine is crowded: it handles nothing until folding has got on,
 * since handling could send more. */
#include <assert.h>
#include <stdio.h>

#include "runtime/machine/machine_rows.h"

enum { REFILL_SIZE = 1 << 18 /* bytes taken out of the backlog at once: that takes about a millisecond */ };

void troupe__machine_see_crowd(struct troupe__machine *machine)
{
    machine->crowded =
        machine->backlog.size > troupe__machine_part(machine) || machine->spill.size > troupe__machine_part(machine);
}

void troupe__machine_wait(struct troupe__machine *machine, struct troupe__message *message)
{
    machine->waiting++;
    if (machine->inbox_size < troupe__machine_part(machine) && troupe__backlog_empty(&machine->backlog)) {
        troupe__machine_push(machine, message);
        return;
    }
    troupe__backlog_push(&machine->backlog, message);
    troupe__machine_see_crowd(machine);
}

bool troupe__machine_wants_mail(const struct troupe__machine *machine)
{
    if (troupe__backlog_empty(&machine->backlog)) {
        return false;
    }
    /* With nothing to run, what is in inboxes waits for a next attempt. Others should not wait for that, but neither
     * may such inboxes fill all memory. */
    return !troupe__run_queue_empty(&machine->run_queue)
               ? machine->inbox_size < troupe__machine_part(machine) / 2
               : machine->inbox_size <= (machine->memory_max < SIZE_MAX ? 4 * troupe__machine_part(machine) : SIZE_MAX);
}

enum troupe_error troupe__machine_refill(struct troupe__machine *machine)
{
    size_t room =
        troupe__machine_part(machine) > machine->inbox_size ? troupe__machine_part(machine) - machine->inbox_size : 1;
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
    troupe__machine_see_crowd(machine);
    return TROUPE_OK;
}

void troupe__machine_drop_mail(struct troupe__machine *machine)
{
    troupe__backlog_drop(&machine->backlog, machine->folded, troupe__machine_part(machine));
    troupe__machine_see_crowd(machine);
}
