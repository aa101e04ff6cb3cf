/* restore.h - the directories of new nodes made from a snapshot: of as many nodes as were photographed, or others.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     begin (DATA.restoring) --> nodes (all rows, checked on the way, synced) --> what else belongs there --> end: DATA
 *
 * DATA appears whole, by one rename. A crash on the way leaves DATA.restoring, which the next `begin` throws away.
 * Everything blocks on the disk. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_RESTORE_H
#define TROUPE_RUNTIME_SNAPSHOT_RESTORE_H

#include <limits.h>

#include "runtime/cluster.h"
#include "runtime/snapshot/recast.h"
#include "runtime/snapshot/snapshot.h"

struct troupe__restore {
    char data[PATH_MAX];  /* absolute */
    char fresh[PATH_MAX]; /* where it is made */
    int lock_fd;
    /* Told now and then how many rows have been read; NULL: not. */
    void (*progress)(void *context, uint64_t rows);
    void *progress_context;
    uint64_t rows;
};

/* `data` does not exist yet, or is an empty directory. Errors, each with a text: TROUPE_EBUSY (it holds something, or
 * another process restores to it), TROUPE_EINVAL (its path), TROUPE_ENOTFOUND (the directory it is to be in),
 * TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__restore_begin(const char *data, struct troupe__restore *ret, char *error, size_t error_size);

/* Make the nodes of `cluster`, each in a directory of its name; NULL: one node that is alone. Where slots are as in the
 * snapshot each node gets its part; else see recast.h. A node's output begins anew at the end of the file it is given.
 * Errors, each with a text: those of reading and checking a snapshot, of recast.h and of state/load.h. */
enum troupe_error troupe__restore_nodes(struct troupe__restore *restore, const char *snapshot_directory,
                                        const struct troupe__snapshot *snapshot, const struct troupe__cluster *cluster,
                                        struct troupe__recast_counts *ret, char *error, size_t error_size);

/* `result` is what came of it. TROUPE_OK: there is DATA from now on, durable. Else, and when that fails, nothing is
 * left. Returns `result`, with `error` as it was, or the error of the renaming. */
enum troupe_error troupe__restore_end(struct troupe__restore *restore, enum troupe_error result, char *error,
                                      size_t error_size);

#endif
