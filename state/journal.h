/* journal.h - the journal of epochs: one LMDB file, one record per commit, one disk sync per record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Used by one thread at a time. Calls on failure return an MDB_ or errno code, or an enum troupe_error, as declared. */
#ifndef TROUPE_STATE_JOURNAL_H
#define TROUPE_STATE_JOURNAL_H

#include "core/store.h"
#include "state/lmdb_env.h"

enum { TROUPE__JOURNAL_VERSION = 2 };

#define TROUPE__JOURNAL_MAP_MAX ((size_t)1 << 40) /* address space for a journal that is kept */

struct troupe__journal {
    struct troupe__lmdb_env file;
    uint64_t last;   /* newest epoch in the file, or what open was told */
    uint64_t oldest; /* no epoch before this one is left in the file */
    uint64_t chain;  /* hash of the newest record; the next one names it */
    /* The file's format row: what tells whether tables belong to it. */
    uint64_t run, previous_run; /* a random number that each opening by an owner draws; the one of the tables then */
    uint64_t dropped;           /* records up to this epoch were folded and dropped */
    MDB_txn *pinned;            /* of a view: what replay reads; else NULL */
};

/* `hash` is the record's own, to be kept with what it was folded into. */
typedef enum troupe_error (*troupe__journal_fn)(void *context, uint64_t epoch, uint64_t hash,
                                                struct troupe_bytes record);

/* Open the journal beside tables that hold everything up to epoch `folded`, whose record had the hash `chain`. Errors:
 * also TROUPE_ECORRUPT when it cannot be theirs. */
enum troupe_error troupe__journal_open(struct troupe__journal *journal, const char *directory, unsigned flags,
                                       size_t map_size, bool create, uint64_t folded, uint64_t chain, char *error,
                                       size_t error_size);
void troupe__journal_close(struct troupe__journal *journal);

/* Note that this is run `run`, of tables that were last in run `previous`. Returns 0 or a code. */
int troupe__journal_claim(struct troupe__journal *journal, uint64_t run, uint64_t previous);

/* Of a new journal: it goes on behind epoch `epoch`, which the tables hold, as if all up to it had been dropped. */
int troupe__journal_skip(struct troupe__journal *journal, uint64_t epoch, uint64_t run);

/* Append a record and sync; in the same transaction drop some records up to epoch `folded`. Returns 0 or a code, and
 * then sets `*ret_left`. */
int troupe__journal_append(struct troupe__journal *journal, uint64_t epoch, struct troupe_bytes record, uint64_t folded,
                           enum troupe__lmdb_left *ret_left);

/* Drop all records up to `folded`. */
int troupe__journal_trim(struct troupe__journal *journal, uint64_t folded);

/* The journal as it is now, to be replayed beside the one that is appended to, on any one thread. Returns 0 or a code.
 * troupe__journal_unpin ends it. */
int troupe__journal_pin(const struct troupe__journal *journal, struct troupe__journal *ret);
void troupe__journal_unpin(struct troupe__journal *journal);

/* Read the journal of a directory as it is now, whether a node has it open or not; `*ret_first` is the oldest epoch
 * whose record is there, 0 when there is none: then `last` is the last that was dropped. troupe__journal_unlook ends
 * it. Errors, with a text: TROUPE_ENOTFOUND (there is no journal), TROUPE_EVERSION, TROUPE_ECORRUPT, TROUPE_EIO. */
enum troupe_error troupe__journal_look(struct troupe__journal *journal, const char *directory, uint64_t *ret_first,
                                       char *error, size_t error_size);
void troupe__journal_unlook(struct troupe__journal *journal);

/* Of a journal that is pinned or looked into: the hash of the record before that of `epoch`. False when it is not
 * there. */
bool troupe__journal_before(const struct troupe__journal *journal, uint64_t epoch, uint64_t *ret_hash);

/* Hand the records after epoch `folded` to `record`, in order, checked. Errors: TROUPE_ECORRUPT, `record`'s. */
enum troupe_error troupe__journal_replay(struct troupe__journal *journal, uint64_t folded, uint64_t chain,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size);

#endif
