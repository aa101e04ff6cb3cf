/* remote.h - what the commands that look into a directory do when a node runs on it: they ask the node.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_REMOTE_H
#define TROUPE_RUNTIME_CLI_REMOTE_H

#include "runtime/cli/client.h"
#include "runtime/view.h"

/* Make a view of the rows of a running node: those of the tables whose bits are set, with keys that begin with
 * `prefix`. It is settled, and has no store. Errors, with a text in view->error; there is nothing to close then. */
enum troupe_error troupe__remote_load(const char *connect, const char *data, unsigned tables,
                                      struct troupe_bytes prefix, struct troupe__view *view);

/* `request.what` is dead.retry or dead.drop. `*ret_number`: the new number of the letter. Errors, with a text. */
enum troupe_error troupe__remote_move_dead(const char *connect, const char *data, uint64_t number, bool retry,
                                           uint64_t *ret_number, char *error, size_t error_size);

/* Print the figures of a running node, with `interval_s` > 0 again and again. Returns the exit code. */
int troupe__remote_stats(const char *connect, const char *data, bool json, unsigned interval_s);

#endif
