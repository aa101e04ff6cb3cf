/* rewind.h - a snapshot of the past, made of an older one and of what the journals have kept since.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is one like any other: to be verified, shown, and restored to as many nodes as one likes. Blocks on the disk. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_REWIND_H
#define TROUPE_RUNTIME_SNAPSHOT_REWIND_H

#include "runtime/snapshot/history.h"
#include "runtime/snapshot/snapshot.h"

/* Whether the cut below `colour` can be made from `base`: it is not younger at any node, and the journals have all that
 * came after it. NULL: from nothing, when the journals go back to the first epoch. */
bool troupe__rewind_fits(const struct troupe__history *history, uint64_t colour, const struct troupe__snapshot *base);

/* Whether the journals go on from `base`, as far as they and it tell: the record after its cut names the hash of the
 * one that it was taken at. Else one of both was put back, or changed, and what came after the snapshot is not what the
 * journals have. */
bool troupe__rewind_belongs(const struct troupe__history *history, const struct troupe__snapshot *base);

/* Make the snapshot `target` of the cut below `colour`, from the base in `base_directory` (NULL: from nothing), which
 * fits. `ret` says of what it is to be made: name, time, nodes (their names and numbers, which are those of the
 * history) and slots; epochs and summaries are filled in. Beside it `target`.store is needed for as much space as a
 * node's tables. Errors, each with a text: those of the history, of snapshots and stores; nothing is left then. */
enum troupe_error troupe__rewind_make(struct troupe__history *history, uint64_t colour, const char *base_directory,
                                      const struct troupe__snapshot *base, const char *target,
                                      struct troupe__snapshot *ret, char *error, size_t error_size);

#endif
