/* journal_old.h - reads the journal of version 2, `journal.mdb`, an LMDB file.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_JOURNAL_OLD_H
#define TROUPE_STATE_JOURNAL_OLD_H

#include "state/journal.h"

#define TROUPE__JOURNAL_OLD "journal.mdb"

struct troupe__journal_old {
    struct troupe__lmdb_env file;
    MDB_txn *txn;
    uint64_t run, previous_run, dropped; /* as in a slot of today's */
    uint64_t first, last;                /* the records that are there; 0: none */
    uint64_t before;                     /* the hash of the record before the first one */
};

/* Open it for reading; nobody may write to it. Errors, with a text: TROUPE_ENOTFOUND, TROUPE_EVERSION,
 * TROUPE_ECORRUPT, TROUPE_EIO. */
enum troupe_error troupe__journal_old_open(struct troupe__journal_old *old, const char *directory, char *error,
                                           size_t error_size);
void troupe__journal_old_close(struct troupe__journal_old *old);

/* Hand over all records, checked. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM, with a text; `record`'s. */
enum troupe_error troupe__journal_old_replay(struct troupe__journal_old *old, troupe__journal_fn record, void *context,
                                             char *error, size_t error_size);

/* Remove it, once today's journal has proved to be that of the tables. */
void troupe__journal_old_remove(const char *directory);

#endif
