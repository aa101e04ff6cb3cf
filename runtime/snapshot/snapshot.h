/* snapshot.h - snapshots as directories of parts with a manifest: how they are written, read, checked and put back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot NAME is the directory NAME, made as NAME.writing and renamed when its manifest is durable: what has
 * another name, or no manifest, is none. The manifest is a stream like a part (docs/snapshot-format.md); its rows say
 * what the parts must hold. Functions block on the disk. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_H
#define TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_H

#include "core/slots.h"
#include "state/part.h"

enum { TROUPE__SNAPSHOT_NAME_MAX = 63 };

/* Which journal goes on from a part: not known, as of older snapshots; none, since it was changed. */
#define TROUPE__HASH_UNKNOWN UINT64_C(0)
#define TROUPE__HASH_NONE UINT64_MAX

struct troupe__snapshot_part {
    char node[TROUPE__SNAPSHOT_NAME_MAX + 1]; /* its file is node-NODE.part */
    uint64_t number;                          /* of the node, as slots and links know it */
    uint64_t epoch;                           /* the cut: all up to it is in the part, nothing beyond */
    uint64_t hash;                            /* of the journal's record of that epoch, or one of TROUPE__HASH_.. */
    uint64_t released; /* egress records up to this number were out for good when it was reported; 0: not known */
    /* Of a node that ran: the time from its cut until its part was written, and the longest time meanwhile, from the
     * request on, in which it had something to deliver and delivered nothing (runtime/snapshot/stall.h). */
    bool measured;
    uint64_t took_us, stall_us;
    struct troupe__part_summary summary;
};

struct troupe__snapshot {
    char name[TROUPE__SNAPSHOT_NAME_MAX + 1];
    int64_t taken_ms, took_ms; /* wall time of the request; until the last part was written */
    struct troupe__snapshot_part *parts;
    size_t part_count;
    bool is_troupe; /* of several nodes */
    struct troupe__slots slots;
};

void troupe__snapshot_fini(struct troupe__snapshot *snapshot);

/* Of all parts. */
uint64_t troupe__snapshot_row_count(const struct troupe__snapshot *snapshot);

/* What stands behind a name while its snapshot is being made. */
#define TROUPE__SNAPSHOT_WRITING ".writing"

/* For people: what troupe__snapshot_name_valid wants. */
#define TROUPE__SNAPSHOT_NAME_RULE                                                                                     \
    "1 to 63 letters, digits, '-', '_' and '.', not beginning with '.' nor ending in " TROUPE__SNAPSHOT_WRITING

/* Whether `name` may name a snapshot or a node. */
bool troupe__snapshot_name_valid(const char *name);

/* Whether it is the name of one that is being made. */
bool troupe__snapshot_is_writing(const char *name);

/* Tell of each NAME.writing in `directory` that holds nothing but parts and a manifest, and whether what made or
 * deleted it was killed: it is dead; or, with `remove`, it was and is removed. */
typedef void (*troupe__snapshot_leftover_fn)(void *context, const char *name, bool is_dead);
void troupe__snapshot_leftovers(const char *directory, bool remove, troupe__snapshot_leftover_fn found, void *context);

/* Scans rows as the store's and the photo's `scan` do; `source` is one of them. */
typedef enum troupe_error (*troupe__scan_fn)(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                             troupe__row_fn row, void *context);

/* Write a part of `node` into `directory` from the rows of `source`, which are those of `epoch`; `source_error` is
 * where it says what it met. On failure the file is removed. Errors, each with a text: those of part.h and of the
 * source. */
enum troupe_error troupe__snapshot_write_part(const char *directory, const char *node, uint64_t epoch,
                                              troupe__scan_fn scan, void *source, const char *source_error,
                                              struct troupe__snapshot_part *ret, char *error, size_t error_size);

/* Write the manifest into `directory`, synced. */
enum troupe_error troupe__snapshot_write_manifest(const char *directory, const struct troupe__snapshot *snapshot,
                                                  char *error, size_t error_size);

/* Make the directory TARGET.writing for the parts of a new snapshot `target`, and lock it; one that a crash left is
 * removed first. `*ret_lock` is for troupe__snapshot_end. Errors, each with a text: TROUPE_EBUSY (another process is
 * writing there), TROUPE_EINVAL, TROUPE_ENOTFOUND, TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__snapshot_begin(const char *target, int *ret_lock, char *error, size_t error_size);

/* Gives up the lock. `result` is what came of it. TROUPE_OK, with parts and manifest in TARGET.writing: rename it to
 * TARGET, synced. Else, and when that fails, nothing is left of it. Returns `result`, with `error` as it was, or the
 * error of the renaming.
 */
enum troupe_error troupe__snapshot_end(const char *target, int lock, enum troupe_error result, char *error,
                                       size_t error_size);

/* A node that does not run. */
struct troupe__snapshot_resting {
    const char *node, *data; /* its name, "node" of one that is alone; its directory */
};

/* Take a snapshot of stopped nodes into the new directory `target`, whose last name is the snapshot's: of one that is
 * alone, or with `slots` of all of a troupe, by their numbers. What journals have beyond the tables is folded first.
 * `progress`, which may be NULL, is called now and then with the rows written. Errors, each with a text: TROUPE_EINVAL
 * (a bad name), TROUPE_EBUSY (a node runs, or `target` exists), those of the stores and of part.h; nothing is left
 * then.
 */
enum troupe_error troupe__snapshot_take(const struct troupe__snapshot_resting *nodes, size_t count,
                                        const struct troupe__slots *slots, const char *target,
                                        void (*progress)(void *context, uint64_t rows), void *progress_context,
                                        struct troupe__snapshot *ret, char *error, size_t error_size);

/* Read the manifest of the snapshot in `directory`. Errors, each with a text: TROUPE_ENOTFOUND (there is none),
 * TROUPE_ECORRUPT, TROUPE_EVERSION, TROUPE_EIO, TROUPE_ENOMEM. `ret` is to be finished on TROUPE_OK. */
enum troupe_error troupe__snapshot_read(const char *directory, struct troupe__snapshot *ret, char *error,
                                        size_t error_size);

/* The rows of a part, one by one. `part` outlives them. Errors as above; TROUPE_ENOTFOUND, with a text: it is missing.
 */
struct troupe__snapshot_rows;
enum troupe_error troupe__snapshot_open_part(const char *directory, const struct troupe__snapshot_part *part,
                                             struct troupe__snapshot_rows **ret, char *error, size_t error_size);
/* In the order of table, then key; valid until the next call. Errors: TROUPE_ENOTFOUND (the end, and all of it is what
 * the manifest says), and as above. */
enum troupe_error troupe__snapshot_next_row(struct troupe__snapshot_rows *rows, enum troupe__table *ret_table,
                                            struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                            size_t error_size);
void troupe__snapshot_close_part(struct troupe__snapshot_rows *rows);

/* Called for each row of a part, in order; anything but TROUPE_OK ends the reading with it. */
typedef enum troupe_error (*troupe__snapshot_row_fn)(void *context, enum troupe__table table, struct troupe_bytes key,
                                                     struct troupe_bytes value);

/* Read a part through to its end, which is checked against the manifest; `row` may be NULL. Errors as above. */
enum troupe_error troupe__snapshot_read_part(const char *directory, const struct troupe__snapshot_part *part,
                                             troupe__snapshot_row_fn row, void *context, char *error,
                                             size_t error_size);

/* Check that the parts of a troupe are one consistent cut: over each link `trimmed <= accepted <= sent`, so that no
 * message is lost and none is there twice. Errors, each with a text: TROUPE_ECORRUPT, and those of reading. */
enum troupe_error troupe__snapshot_check_cut(const char *directory, const struct troupe__snapshot *snapshot,
                                             char *error, size_t error_size);

/* How many messages are on their way over each link: from node a to node b in `ret[a * part_count + b]`. Errors: as
 * check_cut. */
enum troupe_error troupe__snapshot_flights(const char *directory, const struct troupe__snapshot *snapshot,
                                           uint64_t *ret, char *error, size_t error_size);

/* Write a snapshot to `to` as one stream: its parts, the manifest last. `progress`, which may be NULL, is called now
 * and then with the bytes so far. Errors, each with a text: those of reading and writing. */
enum troupe_error troupe__snapshot_send(const char *directory, const struct troupe__snapshot *snapshot, int to,
                                        void (*progress)(void *context, uint64_t bytes), void *progress_context,
                                        char *error, size_t error_size);

/* Make the directory `target` of such a stream; it is named as the manifest says, whatever that of the directory is.
 * `progress` as above. Errors, each with a text: those of reading and writing; nothing is left then. */
enum troupe_error troupe__snapshot_receive(int from, const char *target,
                                           void (*progress)(void *context, uint64_t bytes), void *progress_context,
                                           char *error, size_t error_size);

/* Remove a snapshot, which only this process does meanwhile. If that fails it is still there, whole, or what is left of
 * it is called as one that is being made. Errors, each with a text: TROUPE_ENOTFOUND (it is none, or gone),
 * TROUPE_EBUSY (another process removes it), TROUPE_EIO. */
enum troupe_error troupe__snapshot_remove(const char *directory, char *error, size_t error_size);

/* Read a part as troupe__snapshot_read_part does, with its rows as they are for a node that gets it again: a node of a
 * troupe has the same place in `generation` (and of another `cluster`, unless that is NULL); where its output stood is
 * left out, so that it begins anew at the end of the file it is given: what came out after the cut comes again. */
enum troupe_error troupe__snapshot_copy_part(const char *directory, const struct troupe__snapshot_part *part,
                                             const uint64_t *cluster, uint64_t generation, troupe__snapshot_row_fn row,
                                             void *context, char *error, size_t error_size);

/* Likewise, into a store that is open and empty. Node directories: runtime/snapshot/restore.h. */
enum troupe_error troupe__snapshot_restore_rows(const char *directory, const struct troupe__snapshot_part *part,
                                                uint64_t generation, struct troupe__store *store, char *error,
                                                size_t error_size);

#endif
