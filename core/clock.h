/* clock.h - the seam between a node and time: one clock per node, so that a simulated one can drift or jump alone.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two times: monotonic for waits and timeouts of the node itself, wall for what an application sees (troupe_now,
 * delayed messages), which may jump either way. Used on the loop's thread only; no call blocks. Owner: who made the
 * clock; it outlives what uses it. */
#ifndef TROUPE_CORE_CLOCK_H
#define TROUPE_CORE_CLOCK_H

#include <stdint.h>

#define TROUPE__NEVER UINT64_MAX /* a time that does not come */

struct troupe__clock {
    /* Nanoseconds since some moment in the past; never less than before. */
    uint64_t (*monotonic_ns)(struct troupe__clock *clock);
    /* Milliseconds since 1970. */
    int64_t (*wall_ms)(struct troupe__clock *clock);
    /* The clock's one timer: make the owner's loop turn once when monotonic_ns() >= `at_ns`, at once if it is already.
     * Replaces what was set before; TROUPE__NEVER clears it. It only wakes: what is due the owner finds out itself. */
    void (*wake_at)(struct troupe__clock *clock, uint64_t at_ns);
};

static inline uint64_t troupe__monotonic_ns(struct troupe__clock *clock)
{
    return clock->monotonic_ns(clock);
}

static inline int64_t troupe__wall_ms(struct troupe__clock *clock)
{
    return clock->wall_ms(clock);
}

static inline void troupe__wake_at(struct troupe__clock *clock, uint64_t at_ns)
{
    clock->wake_at(clock, at_ns);
}

#endif
