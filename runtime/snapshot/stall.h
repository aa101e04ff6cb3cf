/* stall.h - the longest time in which a loop had something to deliver and delivered nothing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is told of each turn while it measures. What one turn delivers counts as delivered at its end, so a turn that
 * takes long is a stall too; a loop with nothing to deliver is not. Pure: time is an argument, in nanoseconds. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_STALL_H
#define TROUPE_RUNTIME_SNAPSHOT_STALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct troupe__stall { /* Zero bytes have seen nothing yet. */
    uint64_t since_ns; /* when something was delivered last, or had to be for the first time */
    uint64_t longest_ns;
    bool waits; /* something was left to deliver at the end of the last turn */
};

void troupe__stall_turn_begins(struct troupe__stall *stall, uint64_t now_ns);

/* `delivered` in this turn; something `waits` to be. */
void troupe__stall_turn_ends(struct troupe__stall *stall, uint64_t now_ns, size_t delivered, bool waits);

#endif
