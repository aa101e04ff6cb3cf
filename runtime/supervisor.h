/* supervisor.h - the parent process of a node: starts it again when a handler crashed it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SUPERVISOR_H
#define TROUPE_RUNTIME_SUPERVISOR_H

#include "runtime/guard.h"

/* Run `child` in a process of its own, and again with growing pauses (0.1 to 5 s) whenever it dies of a signal, until
 * it exits by itself; returns its exit code. SIGINT and SIGTERM are passed on to it. When this process dies the child
 * is killed. A handler that has been running for more than ten seconds is reported while it runs. Call before any
 * thread is started. */
int troupe__supervise(struct troupe__guard *guard, int (*child)(void *context), void *context, troupe_log_fn log,
                      void *log_context);

#endif
