/* fold.h - moves committed epochs from the journal's tail into the tables, in the background.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Committed records wait in a queue in memory. About once an interval the folder's thread takes them, keeps the last
 * change of each row and writes them in key order: that costs a fraction of what writing every epoch's scattered rows
 * would. Nothing is lost with the queue: the journal has it until it is folded.
 *
 * All at once they would fill the disk's queue for longer than a commit may take: 200,000 rows among 1,000,000 are
 * nearly every page of the tables. So a fold is many small transactions, a key range each, spread over the interval.
 * STATE rows go first; the last transaction holds all other tables and the epoch that the tables are then up to. A
 * crash in between leaves STATE rows newer than that epoch. They are what replaying the rest of the journal makes of
 * them anyway: whoever reads a row that the journal's rest changes must use what the journal says. */
#ifndef TROUPE_STATE_FOLD_H
#define TROUPE_STATE_FOLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/store.h"
#include "state/changes.h"
#include "state/lmdb_env.h"
#include "state/segment.h"

enum { TROUPE__FOLD_SUM_SIZE = 4, TROUPE__FOLD_MARK_SIZE = 16 };

#define TROUPE__FOLD_MARK "troupe.folded" /* META row: epoch (8), hash of that epoch's record (8), big-endian */

struct troupe__fold {
    struct troupe__lmdb_env *tables;
    size_t bytes_max; /* that wait for the next fold; beyond that it begins at once, and is not spread */
    size_t left_max;  /* that wait to be folded at all; beyond that commits wait, ... */
    unsigned interval_ms;
    _Atomic uint64_t folded;       /* the tables on disk hold everything up to this epoch */
    _Atomic uint64_t transactions; /* committed to the tables so far */

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    /* Under the mutex. What waits: epoch (8), hash (8), size (8), record; one behind the other. */
    struct troupe__segment *first, *last; /* closed: nothing is added. The first is the folder's batch */
    struct troupe__segment *open;         /* what is pushed goes there; NULL: none yet */
    struct troupe__segment *spare;
    size_t left;         /* bytes of all of them that are not in the tables yet */
    size_t allowance;    /* ... but for so much more, because of a photograph */
    size_t first_left;   /* of the first */
    size_t reserved;     /* what a commit in flight will push */
    struct timespec due; /* when the oldest queued record is to be folded */
    bool behind;         /* the batch was taken because of its size: it is not spread */
    uint64_t pushed;     /* the last epoch pushed */
    bool closing;
    unsigned closing_ms;         /* that folding goes on then, at most */
    struct timespec closing_due; /* until when */
    enum troupe_error failed;    /* the last fold's result; TROUPE_EIO is final */
    char error[256];
    /* The photograph. */
    uint64_t hold, photo_epoch;   /* which epoch it is to be of, 0: there is none; which it is of */
    bool frozen;                  /* that is pushed, and the end of a segment */
    size_t frozen_left;           /* what waited then */
    size_t photo_segments;        /* the first so many segments belong to it */
    MDB_txn *held;                /* the tables, since its beginning; of the first segment they have ... */
    size_t held_from;             /* ... what comes before this, and STATE rows of what comes behind it */
    struct troupe__segment *kept; /* segments of it that have been folded since */
    bool out_of_memory;           /* the segment could not be ended */

    /* The folder's own. */
    size_t batch_done; /* of the first segment; it changes under the mutex */
    size_t noted;      /* bytes behind that which `left` and `first_left` are less already; under the mutex */
    struct troupe__changes changes;
};

/* A photograph: the tables as they were at some moment, and the records that they are short of. STATE rows may be newer
 * than the tables' mark, not newer than the last of the records. */
struct troupe__fold_held {
    MDB_txn *txn;
    uint64_t epoch;
    struct troupe_bytes *rest; /* to be freed; each for troupe__fold_held_next */
    size_t rest_count;
};

/* A row's key in the file is its table (1 byte) and its key; its value a checksum and its value. `to` has room for
 * TROUPE__ROW_KEY_MAX + 1 bytes. */
size_t troupe__fold_row_key(unsigned char *to, enum troupe__table table, struct troupe_bytes key);
int troupe__fold_row_put(MDB_txn *txn, MDB_dbi dbi, enum troupe__table table, struct troupe_bytes key,
                         struct troupe_bytes value);
/* The same with a cursor; `flags` go to mdb_cursor_put. */
int troupe__fold_row_put_at(MDB_cursor *rows, unsigned flags, enum troupe__table table, struct troupe_bytes key,
                            struct troupe_bytes value);
/* Check a row as it is in the file, and get its value, still in the map. Returns false when it is damaged. */
bool troupe__fold_row_check(MDB_val key, MDB_val value, struct troupe_bytes *ret);

/* Tell `changes` where the tables end. Returns 0 or a code. */
int troupe__fold_bound(MDB_txn *txn, MDB_dbi dbi, struct troupe__changes *changes);

/* Start the thread. `left_max` 0: what suits the machine's memory. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__fold_start(struct troupe__fold *fold, struct troupe__lmdb_env *tables, uint64_t folded,
                                     size_t bytes_max, size_t left_max, unsigned interval_ms, unsigned closing_ms);

/* Make sure that a record of `size` bytes can be pushed. Waits while folding is behind by left_max.
 * Errors: TROUPE_ENOSPACE when it is behind and cannot go on; TROUPE_EIO when it never will; TROUPE_ENOMEM. */
enum troupe_error troupe__fold_reserve(struct troupe__fold *fold, size_t size, char *error, size_t error_size);

/* Whether a reserve would wait. While nobody pushes, what is false stays so. */
bool troupe__fold_is_behind(struct troupe__fold *fold);

/* Queue a committed record for which room was reserved. Never fails. */
void troupe__fold_push(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, struct troupe_bytes record);

/* Take a photograph of what is pushed once `epoch` is; exactly of that if it was not pushed yet. One at a time. */
void troupe__fold_hold(struct troupe__fold *fold, uint64_t epoch);

/* Wait until the epoch is pushed, and begin it. Until the release nothing is folded, and what is under way rests where
 * it is: so the tables' file need not grow, and the disk and a core are the photograph's. When 12 times bytes_max have
 * come, or half more than left_max waits, folding goes on beside the photograph; commits wait when twice as much does.
 * What that leaves over left_max is worked off step by step. Blocks; on any thread but those that commit and fold.
 * Errors: TROUPE_ECLOSED (it was given up) and others, with a text. */
enum troupe_error troupe__fold_wait_held(struct troupe__fold *fold, struct troupe__fold_held *ret, char *error,
                                         size_t error_size);

/* The next record of one of `rest`. */
bool troupe__fold_held_next(struct troupe__cursor *cursor, struct troupe_bytes *ret_record);

/* Give up a hold that has not come about: who waits for it is told TROUPE_ECLOSED. */
void troupe__fold_cancel_hold(struct troupe__fold *fold);

/* The photograph is done with, whether it has come about or not. */
void troupe__fold_release(struct troupe__fold *fold);

/* Fold what is queued if that works, end the thread, free. Nothing may be held. */
void troupe__fold_stop(struct troupe__fold *fold);

#endif
