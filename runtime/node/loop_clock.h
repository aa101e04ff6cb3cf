/* loop_clock.h - the machine's own clock, with its timer on a libev loop.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_NODE_LOOP_CLOCK_H
#define TROUPE_RUNTIME_NODE_LOOP_CLOCK_H

#include <ev.h>

#include "core/clock.h"

struct troupe__loop_clock { /* Private; `base` is what others see. */
    struct troupe__clock base;
    struct ev_loop *loop;
    ev_timer timer;
};

/* The loop stays the caller's and must outlive the clock. */
void troupe__loop_clock_init(struct troupe__loop_clock *clock, struct ev_loop *loop);
void troupe__loop_clock_fini(struct troupe__loop_clock *clock);

/* Monotonic time, and the processor time of the thread that calls; on any thread. */
uint64_t troupe__now_ns(void);
uint64_t troupe__thread_cpu_ns(void);

#endif
