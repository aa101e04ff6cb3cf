/* lull.h - when a thread that works beside a loop sleeps for a moment.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where a loop and a thread that computes for long want the same core, the one that has it keeps it until the
 * scheduler's tick, some milliseconds, even while another core has nothing to do: nobody looks for a place before
 * somebody wakes. So such a thread works in short pieces and sleeps between them. Whoever waits for its core has it at
 * once, and it wakes where nobody works.
 *
 * A lull is also room for all that a processor's time is not counted for in here: where a group of processes or a
 * virtual machine may use so much of each tenth of a second, using all of it brings everything to a stand, the loop
 * too, until that is over.
 *
 * Where more threads want cores than there are, each lull is at the cost of those milliseconds, and the work would
 * never end. So there is none while the thread gets less than a third of a core.
 *
 * Pure: times are told. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_LULL_H
#define TROUPE_RUNTIME_SNAPSHOT_LULL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TROUPE__LULL_WORK_NS = 300000,     /* of the thread, between two lulls */
    TROUPE__LULL_SLEEP_NS = 60000,     /* asked for; a timer's slack comes to it */
    TROUPE__LULL_SHARE = 3,            /* such a part of a core is to be had at least */
    TROUPE__LULL_WINDOW_NS = 40000000, /* over about so long */
};

struct troupe__lull { /* {0} before the first look */
    uint64_t looked_ns, looked_cpu_ns;
    uint64_t worked_ns;       /* since the last lull */
    uint64_t wall_ns, cpu_ns; /* in the last while, older ones counting less */
};

/* Whether it is time for a look: that costs a system call. */
static inline bool troupe__lull_looks(const struct troupe__lull *lull, uint64_t now_ns)
{
    return now_ns - lull->looked_ns >= TROUPE__LULL_WORK_NS / 2;
}

/* `cpu_ns` is the processor time that the thread has had: whether it should sleep now, for TROUPE__LULL_SLEEP_NS. */
bool troupe__lull_due(struct troupe__lull *lull, uint64_t now_ns, uint64_t cpu_ns);

#endif
