/* remote.h - what the commands that look into nodes ask one that runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_REMOTE_H
#define TROUPE_RUNTIME_CLI_REMOTE_H

#include "runtime/cli/client.h"
#include "runtime/snapshot/view.h"

/* Make a view of the rows of a running node: those of the tables whose bits are set, with keys that begin with
 * `prefix`. It is settled, and has no store. Errors, with a text in view->error; there is nothing to close then. */
enum troupe_error troupe__remote_load(struct troupe__client *client, unsigned tables, struct troupe_bytes prefix,
                                      struct troupe__view *view);

/* Retry or drop a dead letter. `*ret_number`: its new number. Errors, with a text in client->error. */
enum troupe_error troupe__remote_move_dead(struct troupe__client *client, uint64_t number, bool retry,
                                           uint64_t *ret_number);

/* The figures of a running node, as lines or as one JSON object; valid until the client is used again. With those of
 * how many rows `tables` (bits) have, which takes longer. Errors, with a text in client->error. */
enum troupe_error troupe__remote_stats(struct troupe__client *client, unsigned tables, bool json, const char **ret);

/* The number behind a name in such lines; false when it is not there. */
bool troupe__remote_figure(const char *figures, const char *name, uint64_t *ret);

#endif
