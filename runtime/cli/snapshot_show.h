/* snapshot_show.h - prints what a snapshot holds, and what it cost its nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_SNAPSHOT_SHOW_H
#define TROUPE_RUNTIME_CLI_SNAPSHOT_SHOW_H

#include <stdbool.h>
#include <stddef.h>

#include "core/troupe.h"

/* Print the snapshot in `directory`: its nodes, their cuts, rows, actors and messages that wait of each type, what flew
 * from node to node, sizes, times. All of it is read, so what is printed has been checked. Errors, each with a text;
 * some may have been printed by then. */
enum troupe_error troupe__snapshot_show(const char *directory, bool json, char *error, size_t error_size);

#endif
