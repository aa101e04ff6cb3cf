/* schedule.h - snapshots of a node or troupe that runs, one after the other by the clock.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A process of its own beside the nodes of one directory, or beside one node of a troupe on several machines, under
 * their supervisor: which of them crashes does not matter to it, and if it crashes it is started again. When the next
 * one is due is told by what stands in its directory. One that fails is said, and tried again soon. Older ones go only
 * when a newer one is complete, and with them what kept journals hold from before the oldest that is left. Others than
 * those of this troupe that it has taken itself, named auto-TIME, stay. */
#ifndef TROUPE_RUNTIME_CLI_SCHEDULE_H
#define TROUPE_RUNTIME_CLI_SCHEDULE_H

#include "runtime/cli/reach.h"

struct troupe__schedule {
    struct troupe__reach_options where; /* all nodes */
    const struct troupe__slots *slots;  /* of the troupe; NULL: it is one node that is alone */
    char directory[PATH_MAX];           /* where snapshots stand, made if missing */
    int64_t every_ms;
    unsigned long keep;                 /* how many */
    const struct troupe_module *module; /* whose check runs over each of them; NULL: none */
    troupe_log_fn log;
    void *log_context;
};

/* Run it; `schedule` is a struct troupe__schedule. Never returns but for lack of memory, with the exit code. */
int troupe__schedule_run(void *schedule);

#endif
