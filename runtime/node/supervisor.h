/* supervisor.h - the parent process of one node or several: starts them again when they crash.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_NODE_SUPERVISOR_H
#define TROUPE_RUNTIME_NODE_SUPERVISOR_H

#include "runtime/guard.h"

enum { TROUPE__DEATHS_MAX = 10 };

struct troupe__child {
    const char *name; /* of its node, for the log; NULL where there is only one */
    struct troupe__guard *guard;
    int (*run)(void *context); /* in a process of its own; what it returns is the exit code */
    void *context;
    bool needed;    /* by other nodes */
    bool ends_all;  /* when it has ended well all others are stopped, as by SIGTERM */
    bool companion; /* no node, but what goes on beside them: always started again, and ended when they have ended */
};

/* Run each child in a process of its own. One that dies of a signal, or whose handler or job calls exit, is started
 * again, with growing pauses (0.1 to 5 s), while the others go on. One that ends by itself has ended, with one
 * exception: one that others need and that failed (exit code 1, as when its disk is full) after it could once be opened
 * is started again too; among several also before, unless its guard says that this is hopeless: then all end. One that
 * died TROUPE__DEATHS_MAX times in a row soon after its start, and not in a handler or job, is given up, and all end:
 * starting it does not help, somebody has to look. Wrong arguments (2) of any end all. The first SIGINT or SIGTERM is
 * passed on to all, the second kills them at once. When this process dies so do they. A handler that has been running
 * for more than `slow_ms` is reported while it runs. Returns, when none is left, the exit code of the only one, or 0 if
 * all have ended well, else 1; SIGINT and SIGTERM stay blocked then, so that one more does not make a clean end that of
 * a killed process. Call before any thread is started. */
int troupe__supervise(const struct troupe__child *children, size_t count, int64_t slow_ms, troupe_log_fn log,
                      void *log_context);

/* The same with shorter pauses, for tests. */
int troupe__supervise_pausing(const struct troupe__child *children, size_t count, int64_t pause_max_ms, int64_t slow_ms,
                              troupe_log_fn log, void *log_context);

#endif
