/* lmdb_env.h - creates and opens one LMDB file, and puts LMDB's errors into ours.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_LMDB_ENV_H
#define TROUPE_STATE_LMDB_ENV_H

#include <lmdb.h>

#include "core/troupe.h"
#include "state/pages.h"

/* Called once with the first transaction of a new file; returns an MDB_ or errno code. */
typedef int (*troupe__lmdb_first_fn)(MDB_txn *txn, MDB_dbi dbi);

struct troupe__lmdb_env {
    MDB_env *env;
    MDB_dbi dbi; /* the file's only, unnamed, database */
};

/* What has become of a transaction that could not be committed. */
enum troupe__lmdb_left {
    TROUPE__LMDB_NOTHING, /* it is not in the file, for certain */
    TROUPE__LMDB_UNKNOWN  /* the page that makes it valid may have been written or not */
};

/* TROUPE_ENOSPACE, TROUPE_ECORRUPT, TROUPE_EVERSION, TROUPE_ENOMEM, or else TROUPE_EIO. */
enum troupe_error troupe__lmdb_error(int code);

/* Open `directory`/`name`; `flags` go to mdb_env_open. With `first` a missing file is created, crash-safely: it appears
 * under its name only when its first transaction and its directory entry are on disk. A file that is there has its
 * pages checked first, and with `row` its rows, as troupe__pages_check does. */
enum troupe_error troupe__lmdb_env_open(const char *directory, const char *name, unsigned flags, size_t map_size,
                                        troupe__lmdb_first_fn first, size_t leaves_max, troupe__pages_row_fn row,
                                        struct troupe__lmdb_env *ret, char *error, size_t error_size);

/* Commit `txn`, which has written about `size` bytes. Returns 0 or a code, and then sets `*ret_left`; a write that the
 * file system cut short for lack of space comes back as ENOSPC. */
int troupe__lmdb_commit(const struct troupe__lmdb_env *file, MDB_txn *txn, size_t size,
                        enum troupe__lmdb_left *ret_left);

/* Sync a file, or the entries of a directory. Returns 0 or an errno. */
int troupe__sync_path(const char *path);

#endif
