/* claim.h - who has a node's directory open: one owner, or any number of readers.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   lock         flock'ed while open; holds the owner's pid in decimal, which is for people only
 *   tables.mdb   flock'ed too: whoever removes a lock that he takes for a stale one does not let a second owner in
 *
 * Both locks go with the process, however it ends. */
#ifndef TROUPE_STATE_CLAIM_H
#define TROUPE_STATE_CLAIM_H

#include <stdbool.h>

#include "core/troupe.h"

struct troupe__claim { /* -1: not held */
    int lock_fd, tables_fd;
};

/* Claim `directory`, which exists; with `shared` a copy of one, without a lock, too.
 * Errors, each with a text and nothing held: TROUPE_EBUSY (another process has it), TROUPE_EINVAL (the path is too
 * long), TROUPE_EIO (its file system has no locks, or another reason). */
enum troupe_error troupe__claim_take(struct troupe__claim *claim, const char *directory, bool shared, char *error,
                                     size_t error_size);

/* The same for the tables, if they were not there yet when it was taken. Errors: as above, with the lock still held. */
enum troupe_error troupe__claim_tables(struct troupe__claim *claim, const char *directory, bool shared, char *error,
                                       size_t error_size);

/* After all files are closed. */
void troupe__claim_release(struct troupe__claim *claim);

#endif
