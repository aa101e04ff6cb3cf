/* cuts.h - the moments that a node or troupe can be restored to, and a snapshot of one of them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_CUTS_H
#define TROUPE_RUNTIME_CLI_CUTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/troupe.h"

/* A time as `2026-11-25T23:11:05Z`, with or without a fraction, or as `-90s`, `-10m`, `-2h`, `-1d`: so long ago.
 * Returns false when it is neither. */
bool troupe__cuts_time(const char *text, int64_t now_ms, int64_t *ret_ms);

/* Print the cuts that can be restored: their times, and each node's epoch. Errors, with a text. */
enum troupe_error troupe__cuts_list(const char *data, bool json, FILE *to, char *error, size_t error_size);

/* Make the snapshot `target` of the youngest cut that is not after `time_ms`, of the node or troupe in `data`, from a
 * snapshot in DATA/snapshots that is old enough and what the journals have kept. Errors, with a text. */
enum troupe_error troupe__cuts_rewind(const char *data, int64_t time_ms, const char *target, char *error,
                                      size_t error_size);

#endif
