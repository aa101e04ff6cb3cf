/* live.h - a snapshot of nodes that run: the command tells each what to do, and puts their parts together.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nodes whose directories are known are on this machine, and write their parts into that of the snapshot. Those that
 * only an endpoint is known of write them at home, and they come over the wire. */
#ifndef TROUPE_RUNTIME_CLI_LIVE_H
#define TROUPE_RUNTIME_CLI_LIVE_H

#include "runtime/cli/progress.h"
#include "runtime/cli/reach.h"
#include "runtime/snapshot/snapshot.h"

/* Take a snapshot of the node or of all nodes of the troupe that `reach` leads to, into the new directory `target`.
 * With `progress` (may be NULL) a terminal shows how far each is. Errors, each with a text: TROUPE_ENOTFOUND (a node
 * does not run), TROUPE_ETIMEOUT (one does not answer), TROUPE_EBUSY (`target` exists, or another snapshot is being
 * taken), what a node says; nothing is left then. */
enum troupe_error troupe__live_snapshot(const struct troupe__reach *reach, const char *target,
                                        struct troupe__progress *progress, struct troupe__snapshot *ret, char *error,
                                        size_t error_size);

#endif
