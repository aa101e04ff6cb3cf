/* directory.h - whether a directory that a command was given is that of a node or a troupe, and what it is instead.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_DIRECTORY_H
#define TROUPE_RUNTIME_CLI_DIRECTORY_H

#include <stdbool.h>

#include "core/troupe.h"

/* TROUPE_OK: a node or a troupe lives there, running or not. Errors, each with a text that names the directory and what
 * to do: TROUPE_ENOTFOUND (there is none, it is empty, holds snapshots or something else), TROUPE_EIO (it cannot be
 * looked into). */
enum troupe_error troupe__directory_check(const char *data, char *error, size_t error_size);

/* Whether it is a snapshot: no place for a node. */
bool troupe__directory_is_snapshot(const char *data);

#endif
