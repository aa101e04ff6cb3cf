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
#include "state/lmdb_env.h"

enum { TROUPE__FOLD_SUM_SIZE = 4, TROUPE__FOLD_MARK_SIZE = 16 };

#define TROUPE__FOLD_MARK "troupe.folded" /* META row: epoch (8), hash of that epoch's record (8), big-endian */

struct troupe__fold_item;
struct troupe__fold_slot;

struct troupe__fold {
    struct troupe__lmdb_env *tables;
    size_t bytes_max;
    unsigned interval_ms;
    _Atomic uint64_t folded;       /* the tables on disk hold everything up to this epoch */
    _Atomic uint64_t transactions; /* committed to the tables so far */

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    /* Under the mutex. */
    struct troupe__buffer queue; /* epoch (8), hash (8), size (8), record; one behind the other */
    size_t batch_left;           /* bytes of the folder's batch that are not in the tables yet */
    size_t reserved;             /* what a commit in flight will push */
    struct timespec due;         /* when the oldest queued record is to be folded */
    bool behind;                 /* the batch was taken because of its size: it is not spread */
    uint64_t pushed;             /* the last epoch pushed */
    _Atomic uint64_t hold;       /* folding stops at this epoch; 0: it does not */
    MDB_txn *held;               /* the tables as they are there, once it has */
    bool closing;
    enum troupe_error failed; /* the last fold's result; TROUPE_EIO is final */
    char error[256];

    /* The folder's own. */
    struct troupe__buffer batch;
    size_t batch_done;
    struct troupe__fold_item *items; /* the last change of each row */
    struct troupe__fold_slot *slots;
    size_t item_count, item_capacity, slot_count, other_count;
};

/* A row's key in the file is its table (1 byte) and its key; its value a checksum and its value. `to` has room for
 * TROUPE__ROW_KEY_MAX + 1 bytes. */
size_t troupe__fold_row_key(unsigned char *to, enum troupe__table table, struct troupe_bytes key);
int troupe__fold_row_put(MDB_txn *txn, MDB_dbi dbi, enum troupe__table table, struct troupe_bytes key,
                         struct troupe_bytes value);
/* Check a row as it is in the file, and get its value, still in the map. Returns false when it is damaged. */
bool troupe__fold_row_check(MDB_val key, MDB_val value, struct troupe_bytes *ret);

/* Start the thread. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__fold_start(struct troupe__fold *fold, struct troupe__lmdb_env *tables, uint64_t folded,
                                     size_t bytes_max, unsigned interval_ms);

/* Make sure that a record of `size` bytes can be pushed. Waits while folding is behind by 8 times bytes_max.
 * Errors: TROUPE_ENOSPACE when it is behind and cannot go on; TROUPE_EIO when it never will; TROUPE_ENOMEM. */
enum troupe_error troupe__fold_reserve(struct troupe__fold *fold, size_t size, char *error, size_t error_size);

/* Queue a committed record for which room was reserved. Never fails. */
void troupe__fold_push(struct troupe__fold *fold, uint64_t epoch, uint64_t hash, struct troupe_bytes record);

/* Stop folding at the first moment when the tables hold everything up to `epoch` and nothing else; exactly that if it
 * was not pushed yet. What is pushed behind it waits in the queue. One at a time. */
void troupe__fold_hold(struct troupe__fold *fold, uint64_t epoch);

/* Wait for that; `*ret` is a read transaction of the tables, for the caller's use until the release. Blocks; on any
 * thread but those that commit and fold. Errors: TROUPE_ENOSPACE and others, with a text: folding cannot go on. */
enum troupe_error troupe__fold_wait_held(struct troupe__fold *fold, MDB_txn **ret, uint64_t *ret_epoch, char *error,
                                         size_t error_size);

/* Give up a hold that has not come about: who waits for it is told TROUPE_ECLOSED. */
void troupe__fold_cancel_hold(struct troupe__fold *fold);

/* Go on folding, whether it was held already or not. */
void troupe__fold_release(struct troupe__fold *fold);

/* Fold what is queued if that works, end the thread, free. Nothing may be held. */
void troupe__fold_stop(struct troupe__fold *fold);

#endif
