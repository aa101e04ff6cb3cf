/* lmdb_store.h - the store on disk: a directory with a journal and, in LMDB, tables.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_LMDB_STORE_H
#define TROUPE_STATE_LMDB_STORE_H

#include "core/store.h"

enum { TROUPE__LMDB_FORMAT = 1 };

struct troupe__lmdb_options {
    bool sync;           /* true: a commit survives power loss; false: it survives the process, not the machine */
    bool read_only;      /* no commit, no folding; refused while a process has it open for writing */
    size_t map_size;     /* the limit of each file, in bytes; 0: 64 GiB, a kept journal 1 TiB */
    size_t fold_bytes;   /* fold when this much is queued, and at most about so much at once; 0: 64 MiB */
    size_t unfolded_max; /* commits wait while more than this is to be folded; 0: what suits the machine's memory */
    unsigned fold_interval_ms; /* fold when a record is so old; 0: 2000 */
    unsigned closing_ms;       /* that a close folds at most, about; the journal has the rest; 0: 5000 */
    bool keep_journal;         /* records stay when they are folded, until troupe__lmdb_store_forget */
    bool visit;                /* who opens it is not its node: all records stay, whether the node keeps them or not */
    size_t extent_size;        /* of a journal that is created, see state/journal.h; 0: 4 MiB, a kept one 16 MiB */
};

/* Open, or create, the store in `directory`. Call `replay` once before anything else. META rows whose names begin with
 * "troupe." are the store's own. Errors, each with a text in `error`: TROUPE_EBUSY (another store has it open),
 * TROUPE_EVERSION, TROUPE_ECORRUPT, TROUPE_ENOSPACE, TROUPE_ENOMEM, TROUPE_ENOTFOUND (nothing there, read-only),
 * TROUPE_EINVAL (path too long), TROUPE_EIO (all else, as access rights). */
enum troupe_error troupe__lmdb_store_open(const char *directory, const struct troupe__lmdb_options *options,
                                          struct troupe__store **ret, char *error, size_t error_size);

/* Of a store that keeps its journal: records up to `epoch` are not needed any more. Loop's thread. */
void troupe__lmdb_store_forget(struct troupe__store *store, uint64_t epoch);

/* A view of an open store: what is durable now, to be read and replayed while the store goes on. It may be made and
 * used on any one thread, and must be closed before the store. While it is open, pages that folds free are not used
 * again. Errors, with a text: TROUPE_EIO, TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__lmdb_store_view(struct troupe__store *store, struct troupe__store **ret, char *error,
                                          size_t error_size);

/* The hash of the journal's record of the epoch that the folded tables hold, 0 when it cannot be read. */
uint64_t troupe__lmdb_store_hash(struct troupe__store *store);

#endif
