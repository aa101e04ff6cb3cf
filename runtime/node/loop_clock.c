/* loop_clock.c - the machine's own clock, with its timer on a libev loop.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/loop_clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t troupe__now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

static uint64_t monotonic_ns(struct troupe__clock *clock)
{
    (void)clock;
    return troupe__now_ns();
}

uint64_t troupe__thread_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int64_t wall_ms(struct troupe__clock *clock)
{
    (void)clock;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events; /* It only makes the loop turn. */
}

static void wake_at(struct troupe__clock *base, uint64_t at_ns)
{
    struct troupe__loop_clock *clock = (struct troupe__loop_clock *)base;
    ev_timer_stop(clock->loop, &clock->timer);
    if (at_ns != TROUPE__NEVER) {
        uint64_t now_ns = monotonic_ns(base);
        ev_now_update(clock->loop);
        ev_timer_set(&clock->timer, at_ns > now_ns ? (double)(at_ns - now_ns) / 1e9 : 0, 0);
        ev_timer_start(clock->loop, &clock->timer);
    }
}

void troupe__loop_clock_init(struct troupe__loop_clock *clock, struct ev_loop *loop)
{
    *clock = (struct troupe__loop_clock){.base = {.monotonic_ns = monotonic_ns, .wall_ms = wall_ms, .wake_at = wake_at},
                                         .loop = loop};
    ev_timer_init(&clock->timer, on_timer, 0, 0);
}

void troupe__loop_clock_fini(struct troupe__loop_clock *clock)
{
    ev_timer_stop(clock->loop, &clock->timer);
}
