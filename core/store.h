/* store.h - the seam between a node and its disk: an epoch is committed, rows are read.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A store holds rows (table, key, value) and a journal of epochs. An epoch is a list of row changes; `commit` makes it
 * durable as one journal record, all or nothing; a row that is not in the tables yet is folded into them later, in the
 * background, so that `read` sees only what has been folded: the node keeps what has not in memory, and asks `folded`
 * when it may forget it. Opening replays what the journal has beyond the tables through `replay`. STATE rows may be
 * folded before all else of their epochs is: a STATE row that an epoch after `folded` changes may already be read as
 * that epoch left it, or a later one. What the node has in memory, and what `replay` says, goes before what is read.
 *
 * Record: (one commit; all integers LEB128 varints unless said)
 *   changes, one behind the other:  tag (1 byte: table << 1 | removed)  key size, key  [value size, value]
 * The store adds its own header (epoch, previous hash, checksum). Later changes to one key win.
 *
 * Threads: `commit` is called on the committer's thread or on the loop's, one at a time, each after the one before has
 * returned (a mutex in between); all else on the loop's; folding is the store's own business.
 * Errors: TROUPE_ENOSPACE (nothing of the epoch is durable; the caller stops), TROUPE_EIO (stop, reopen, never retry;
 * the text says whether it is known that nothing of the epoch is durable), TROUPE_ECORRUPT. */
#ifndef TROUPE_CORE_STORE_H
#define TROUPE_CORE_STORE_H

#include "core/buffer.h"
#include "core/troupe.h"

enum troupe__table {
    TROUPE__META,     /* name -> anything: format, module, egress numbers, ingress positions, counters */
    TROUPE__STATE,    /* actor, value name [and element] -> see row.h */
    TROUPE__MAIL,     /* sequence (8 bytes, big-endian) -> message that waits */
    TROUPE__TIMER,    /* id (8 bytes, big-endian) -> due time, message */
    TROUPE__DEAD,     /* sequence (8 bytes, big-endian) -> reason, message */
    TROUPE__EGRESS,   /* number of the first (8 bytes, big-endian) -> an epoch's records, not yet known to be out */
    TROUPE__JOB,      /* id (8 bytes, big-endian) -> blocking work whose result has not come back */
    TROUPE__RESPONSE, /* id of a message from outside -> the answer to it, kept for a repeated ask */
    TROUPE__OUTBOX,   /* link (2 bytes), number of the first (8 bytes, both big-endian) -> messages on their way to
                         another node, one behind the other as counted strings: see mailbox/outbox.h */
    TROUPE__SWEEP,    /* time (8, big-endian), then a value's key: look there for rows that have expired by then; time
                         0, then a prefix of keys: remove all rows of state that have it */
    TROUPE__TABLE_COUNT
};

enum { TROUPE__ROW_KEY_MAX = 510 }; /* bytes; LMDB takes 511, one of them is the table */

/* One change of a record, as it is decoded. */
struct troupe__change {
    enum troupe__table table;
    bool removed;
    struct troupe_bytes key, value;
};

static inline void troupe__record_set(struct troupe__buffer *record, enum troupe__table table, const void *key,
                                      size_t key_size, const void *value, size_t value_size)
{
    troupe__buffer_put_byte(record, (unsigned)table << 1);
    troupe__buffer_put_string(record, key, key_size);
    troupe__buffer_put_string(record, value, value_size);
}

static inline void troupe__record_remove(struct troupe__buffer *record, enum troupe__table table, const void *key,
                                         size_t key_size)
{
    troupe__buffer_put_byte(record, (unsigned)table << 1 | 1);
    troupe__buffer_put_string(record, key, key_size);
}

/* Decode the next change. Returns false at the end; a malformed record sets `cursor->failed` too. */
bool troupe__record_next(struct troupe__cursor *cursor, struct troupe__change *ret);

typedef enum troupe_error (*troupe__row_fn)(void *context, struct troupe_bytes key, struct troupe_bytes value);
typedef enum troupe_error (*troupe__replay_fn)(void *context, uint64_t epoch, struct troupe_bytes record);

/* Rows by key. Bounds have at most TROUPE__ROW_KEY_MAX bytes; an empty `high` is the table's end. */
struct troupe__range {
    struct troupe_bytes low, high;
    bool backward; /* the last row first */
};

/* All rows as they are after one epoch, while the store goes on: what a snapshot is made of. From `wait` to `close` it
 * is used on one thread, which may be any but the committer's; it must be closed before its store. */
struct troupe__photo {
    /* Wait until the rows can be read; the photo is of `epoch` then. Blocks until the epoch is durable and folded.
     * Errors, with `error`: folding cannot go on, as TROUPE_ENOSPACE; TROUPE_EFULL from a store whose commits are on
     * this very thread: wait again when the epoch is durable. */
    enum troupe_error (*wait)(struct troupe__photo *photo);
    /* As the store's, after a `wait` that succeeded. */
    enum troupe_error (*scan)(struct troupe__photo *photo, enum troupe__table table, struct troupe_bytes prefix,
                              troupe__row_fn row, void *context);
    /* The rows have been read, or never will be: what was held for them is let go, and folding goes on. It may give
     * back much memory, which takes its time: so this is not for the loop's thread. Only `close` may follow. */
    void (*release)(struct troupe__photo *photo);
    /* From another thread: a `wait` that has not succeeded fails with TROUPE_ECLOSED. */
    void (*cancel)(struct troupe__photo *photo);
    /* Also when it was not released. */
    void (*close)(struct troupe__photo *photo);
    /* If not NULL, called now and then while `wait` works, so that it may let others have the core. */
    void (*pause)(void *context);
    void *pause_context;
    uint64_t epoch;
    uint64_t rows; /* after `wait`: how many there are, about ... */
    uint64_t hash; /* ... and the hash of the journal's record of `epoch`; 0: the store has none */
    char error[512];
};

struct troupe__store {
    /* Make epoch `epoch` (one more than the last) durable. Blocks for a disk sync. `record` stays the caller's. */
    enum troupe_error (*commit)(struct troupe__store *store, uint64_t epoch, struct troupe_bytes record);
    /* Whether a commit would wait for more than the disk's sync, as for folding that is behind, which may itself wait
     * for the loop. Asked while no commit is under way, and true of the next one. Never blocks. */
    bool (*commit_waits)(struct troupe__store *store);
    /* Read a folded row. Errors: TROUPE_ENOTFOUND. The value is valid until the next call of read, scan or refresh. */
    enum troupe_error (*read)(struct troupe__store *store, enum troupe__table table, struct troupe_bytes key,
                              struct troupe_bytes *ret);
    /* Call `row` for each folded row whose key begins with `prefix`, in key order, until it fails. `row` may not call
     * the store. */
    enum troupe_error (*scan)(struct troupe__store *store, enum troupe__table table, struct troupe_bytes prefix,
                              troupe__row_fn row, void *context);
    /* Call `row` for each folded row with range->low <= key < range->high, until it fails. `row` may not call the
     * store. Costs one search, then one step a row. */
    enum troupe_error (*range)(struct troupe__store *store, enum troupe__table table, const struct troupe__range *range,
                               troupe__row_fn row, void *context);
    /* Move reads to the newest folded tables; returns the epoch up to which they hold everything. Never blocks. */
    uint64_t (*refresh)(struct troupe__store *store);
    /* Have all rows photographed as of `epoch`; exactly as of that if it is not committed yet, else of that or a later
     * one. Folding stops there until the photo is closed: that should be within seconds, since memory holds what is not
     * folded, and in the end commits wait. Loop's thread; does not block. Errors: TROUPE_EBUSY (there is a photo),
     * TROUPE_ENOMEM. */
    enum troupe_error (*photograph)(struct troupe__store *store, uint64_t epoch, struct troupe__photo **ret);
    /* At open, once: the records beyond the tables, in order. */
    enum troupe_error (*replay)(struct troupe__store *store, troupe__replay_fn record, void *context);
    uint64_t last_epoch; /* the last durable epoch when the store was opened; 0 for a new store */
    uint64_t cut_off;    /* bytes of a commit that a crash had cut off, as opening found; nobody was told of it */
    /* Fold what is left if it can, and free. Never fails: the journal has it all. */
    void (*close)(struct troupe__store *store);
    char error[512]; /* what the last failing call met: what, where, what to do */
};

#endif
