/* journal.h - the journal of epochs: a file of its own, one record per commit, one flush per record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: `journal.log` (all integers big-endian; a block is 4096 bytes)
 *   two slots, a block each    what tells whether tables belong to it; written in turn, so that one is always whole
 *     "troupeJ" NUL, version (8), generation (8), id (8), extent size (8), run (8), previous run (8), dropped (8),
 *     size (8), reached (8), check (8)
 *   extents, of equal size     the last one may be cut off: the file grows as it is needed
 *     a block that says what it is: "troupeX" NUL, id (8), index (8), sequence (8), previous (8), first (8), epoch (8),
 *     before (8), check (8); then records
 *   record                     begins a block
 *     version of the record, 2 (4)  0 (4)  epoch (8)  hash of the previous record (8)  size (8)
 *     hash (8): XXH3 of the 32 bytes before it and the XXH3 of the record
 *     id (8)  check (8)  the record; what is left of its last block is anything
 * The id is a random number of the file; a check is the XXH3 of all that stands before it. Where an extent stands says
 * nothing: it names the sequence number of the one that it goes on from, and the place, the epoch and the hash of the
 * first record that begins in it. A record goes on in the next extent, behind its first block, if it must.
 *
 * A commit writes blocks that are in the file already and flushes once. It never writes a block of an acknowledged
 * record; extents whose records are all folded are overwritten. Growing comes before: zeros, flushed, then the slot
 * that says the new size. So after a crash the newest record may be torn, as seen by its hash, and that is a clean end.
 * If anything of a later epoch stands behind it, if the file is shorter than its slot says or ends before the epoch
 * that its slot says was reached, then it is damage. What an extent held before never passes for new: its epochs are
 * lower, and its records do not follow from those before. But of an epoch that was never acknowledged, tried again
 * after a crash and torn again, an earlier attempt may come back.
 *
 * Readers of other processes hold a shared flock on the file; while there is one no extent is overwritten, and the file
 * grows instead. To change the format: raise the version; an older program refuses the file. Version 2 was an LMDB
 * file, see journal_old.c. */
#ifndef TROUPE_STATE_JOURNAL_H
#define TROUPE_STATE_JOURNAL_H

#include <pthread.h>

#include "core/store.h"
#include "state/lmdb_env.h"

enum {
    TROUPE__JOURNAL_VERSION = 3,
    TROUPE__JOURNAL_BLOCK = 4096,
    TROUPE__JOURNAL_EXTENT = 4 << 20,       /* bytes */
    TROUPE__JOURNAL_EXTENT_KEPT = 16 << 20, /* of a journal that is kept */
};

struct troupe__journal_options {
    bool sync;          /* false: a record survives the process, not the machine */
    bool read_only;     /* nobody writes to it meanwhile */
    bool kept;          /* records are dropped when told only: each time that is noted at once */
    uint64_t size_max;  /* bytes the file may have; beyond that it counts as a full disk */
    size_t extent_size; /* of a file that is created; whole blocks, at least 4; 0: TROUPE__JOURNAL_EXTENT */
};

/* What a slot says. */
struct troupe__journal_slot {
    uint64_t generation, id, extent_size;
    uint64_t run, previous_run; /* a random number that each opening by an owner draws; the one of the tables then */
    uint64_t dropped;           /* records up to this epoch are not part of it any more */
    uint64_t size;              /* the file has had at least so many bytes */
    uint64_t reached;           /* and records up to this epoch */
};

struct troupe__extent {
    uint64_t index;              /* its place in the file */
    uint64_t sequence, previous; /* its number, never given twice, and that of the one it goes on from; 0: none */
    uint64_t first;              /* bytes from its begin to the first record that begins in it; its size: none does */
    uint64_t epoch, before;      /* of that record, or the next one: its epoch, the hash of the one before it */
};

struct troupe__journal_readers { /* in this process */
    pthread_mutex_t mutex;
    size_t pins;
};

struct troupe__journal {
    int fd;        /* -1: not open */
    int direct_fd; /* writes past the page cache, durable when they return; -1: there is none */
    struct troupe__journal_options options;
    struct troupe__journal_slot slot;
    uint64_t last;    /* newest epoch in the file, or what open was told */
    uint64_t dropped; /* no epoch up to this one is left in the file */
    uint64_t chain;   /* hash of the newest record; the next one names it */
    uint64_t cut_off; /* bytes of a record that a crash has cut off, as open found */

    struct troupe__extent *extents; /* those that hold records, the oldest first */
    size_t count, capacity;
    uint64_t at;           /* where in the newest of them the next record goes */
    uint64_t *spare;       /* places of others */
    size_t spare_count;    /* there is always room for one of each place */
    uint64_t places;       /* how many extents the file has */
    uint64_t size;         /* bytes of the file that are known to be there */
    uint64_t sequence;     /* the highest ever given */
    unsigned char *buffer; /* what is written past the page cache */
    struct troupe__journal_readers *readers;
    bool pinned; /* a view of another journal: its fd and readers are that one's */
};

/* `hash` is the record's own, to be kept with what it was folded into. */
typedef enum troupe_error (*troupe__journal_fn)(void *context, uint64_t epoch, uint64_t hash,
                                                struct troupe_bytes record);

/* Make a new, empty journal that goes on behind epoch `epoch`, crash-safely. What is there under its name is replaced.
 * Errors: with a text. */
enum troupe_error troupe__journal_create(const char *directory, const struct troupe__journal_options *options,
                                         uint64_t epoch, uint64_t run, char *error, size_t error_size);

/* Open the journal beside tables that hold everything up to epoch `folded`, whose record had the hash `chain`. A
 * journal of version 2 is made one of today's; read-only, a copy of it is. Errors: also TROUPE_ECORRUPT when it cannot
 * be theirs. */
enum troupe_error troupe__journal_open(struct troupe__journal *journal, const char *directory,
                                       const struct troupe__journal_options *options, uint64_t folded, uint64_t chain,
                                       char *error, size_t error_size);
void troupe__journal_close(struct troupe__journal *journal);

/* Whether the directory has a journal, of whatever version. */
bool troupe__journal_exists(const char *directory);

/* Note that this is run `run`, of tables that were last in run `previous`. Returns 0 or an errno. */
int troupe__journal_claim(struct troupe__journal *journal, uint64_t run, uint64_t previous);

/* Append a record and make it durable; extents with records up to `folded` only may be overwritten. Returns 0 or an
 * errno, and then sets `*ret_left`. */
int troupe__journal_append(struct troupe__journal *journal, uint64_t epoch, struct troupe_bytes record, uint64_t folded,
                           enum troupe__lmdb_left *ret_left);

/* Of a journal that is about to be closed, and has nobody pinned: note where it ends, and that records up to `folded`
 * are not part of it any more. A backlog's place at the end of the file is given back. */
int troupe__journal_trim(struct troupe__journal *journal, uint64_t folded);

/* The journal as it is now, to be replayed beside the one that is appended to, on any one thread. Returns 0 or an
 * errno. troupe__journal_unpin ends it. */
int troupe__journal_pin(const struct troupe__journal *journal, struct troupe__journal *ret);
void troupe__journal_unpin(struct troupe__journal *journal);

/* Read the journal of a directory as it is now, whether a node has it open or not; `*ret_first` is the oldest epoch
 * whose record is there, 0 when there is none: then `last` is the last that was dropped. All that it shows is durable.
 * troupe__journal_unlook ends it. Errors, with a text: TROUPE_ENOTFOUND (there is no journal), TROUPE_EVERSION,
 * TROUPE_ECORRUPT, TROUPE_EIO. */
enum troupe_error troupe__journal_look(struct troupe__journal *journal, const char *directory, uint64_t *ret_first,
                                       char *error, size_t error_size);
void troupe__journal_unlook(struct troupe__journal *journal);

/* The hash of the record before that of `epoch`. False when that is not there. */
bool troupe__journal_before(const struct troupe__journal *journal, uint64_t epoch, uint64_t *ret_hash);

/* Hand the records after epoch `folded`, up to `journal->last`, to `record`, in order, checked. Errors:
 * TROUPE_ECORRUPT, TROUPE_ENOMEM, `record`'s. */
enum troupe_error troupe__journal_replay(struct troupe__journal *journal, uint64_t folded, uint64_t chain,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size);

#endif
