/* sweeper.h - removes from the tables what has expired, and what large maps and lists held when they were cleared.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Its tasks are the rows of TROUPE__SWEEP whose time has come, as the tables have them: a task in the tables means that
 * all rows it speaks of are there too. It looks at the rows of state of one task after the other, a few at a time.
 *   - Rows of a generation that is over are removed; nobody can set them again while the head of their map or list
 *     stands. Then the value is looked at once more.
 *   - Where a row of the tables has expired, the actor is asked for it in the way a handler would, so what memory knows
 *     better counts, and the change is one like any other.
 *   - Where a value is looked at and nothing is left of it but the head of a map or list, and no other task, the head
 *     goes.
 * Then the task's row is removed, in the same epoch or a later one: after a crash a task begins anew, which is
 * harmless. Nothing that a handler can see depends on when this happens.
 *
 *     passing --(no task is left)--> waiting until the tables have what was changed, or until a task is due --> passing
 */
#ifndef TROUPE_RUNTIME_MACHINE_SWEEPER_H
#define TROUPE_RUNTIME_MACHINE_SWEEPER_H

#include "core/store.h"

struct troupe__machine;

struct troupe__sweeper { /* Zero bytes are one that has not begun. */
    bool passing, seen_once;
    uint64_t seen;          /* the tables of the last pass */
    uint64_t changed_epoch; /* the newest that this pass has changed something in; 0: none */
    uint64_t waits_for;     /* the tables that the next pass needs at least */
    int64_t due_ms;         /* of the first task that was not due in the last pass; 0: none */
    unsigned char task[TROUPE__ROW_KEY_MAX + 1], place[TROUPE__ROW_KEY_MAX + 1];
    size_t task_size;  /* the task at work, or the one last done; 0: none yet in this pass */
    size_t place_size; /* the row of state to go on at; 0: the task is done */
    struct troupe__buffer found;
};

/* Look at up to about `budget` rows. Errors: TROUPE_ENOMEM, and the store's, with the machine's `error`. */
enum troupe_error troupe__machine_sweep(struct troupe__machine *machine, size_t budget);

/* Milliseconds until there may be something to sweep; -1: not before something else happens. */
int64_t troupe__machine_sweep_due(const struct troupe__machine *machine);

void troupe__sweeper_fini(struct troupe__sweeper *sweeper);

#endif
