/* stint.h - how long a loop runs deliveries before it looks at the world again.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_NODE_STINT_H
#define TROUPE_RUNTIME_NODE_STINT_H

#include "core/clock.h"
#include "runtime/machine/machine.h"

/* Deliver for about half a millisecond, at least 512 messages if so many wait, and until the open epoch has `size_max`
 * bytes. Each look at the world is a system call, and on some virtual machines the processor knows no addresses of
 * pages after one: among ten million actors a message then costs a third more when 512 are handled between two looks.
 * `*ret_count` are the messages. Errors: of troupe__machine_run. */
static inline enum troupe_error troupe__stint(struct troupe__machine *machine, struct troupe__clock *clock,
                                              size_t size_max, size_t *ret_count)
{
    enum { BUDGET = 512, STINT_NS = 500000 };
    uint64_t end_ns = troupe__monotonic_ns(clock) + STINT_NS;
    enum troupe_error result;
    size_t count;
    *ret_count = 0;
    do {
        result = troupe__machine_run(machine, BUDGET, &count);
        *ret_count += count;
    } while (result == TROUPE_OK && count == BUDGET && troupe__machine_epoch_size(machine) < size_max &&
             troupe__monotonic_ns(clock) < end_ns);
    return result;
}

#endif
