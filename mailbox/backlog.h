/* backlog.h - the messages of a node that wait behind those in inboxes: the middle of that queue is in the store only.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     sent --> [ newest .... oldest ] --> [ rows of MAIL, in no memory ] --> inboxes --> handled
 *                   in memory                  `stored` of them
 *
 * All messages of a node are numbered as they are sent, and the rows of MAIL have that number as their key; so one
 * queue in the order of numbers keeps the order per actor, writes the rows side by side, and reads them back side by
 * side. Its near part are the inboxes, which the owner keeps to a size; all that comes while they are full, or while a
 * backlog is there, goes to its end. What is in the tables (see core/store.h) may leave memory: it is read again when
 * its turn has come. Not thread-safe. */
#ifndef TROUPE_MAILBOX_BACKLOG_H
#define TROUPE_MAILBOX_BACKLOG_H

#include "core/message.h"
#include "core/store.h"

enum { TROUPE__BACKLOG_SEALED = 64 };

/* What the journal's rest made of a row that the tables have: the value of a message tried again, or none. */
struct troupe__backlog_change {
    uint64_t sequence;
    char *value; /* owned; NULL: removed */
    size_t size;
};

struct troupe__backlog {                     /* Zero bytes are an empty one. */
    struct troupe__message *oldest, *newest; /* the part in memory */
    size_t count, size;                      /* of it: messages, bytes */
    size_t stored;                           /* messages before those, in the store only */
    uint64_t read_back;                      /* messages so far that were stored and came into memory again */
    uint64_t next;                           /* the stored ones have at least this number */
    uint64_t last;   /* the last number that any sealed epoch gave; none is in the tables beyond it */
    uint64_t folded; /* messages up to this number have their rows in the tables */
    struct {
        uint64_t epoch, sequence; /* when that epoch is in the tables, so are all up to that number */
    } sealed[TROUPE__BACKLOG_SEALED];
    size_t sealed_count;
    struct troupe__backlog_change *changes; /* in the order of numbers */
    size_t change_count, change_at;
};

static inline bool troupe__backlog_empty(const struct troupe__backlog *backlog)
{
    return backlog->count == 0 && backlog->stored == 0;
}

/* Free what is in memory. */
void troupe__backlog_fini(struct troupe__backlog *backlog);

/* At the start, once: there are `stored` messages in the tables; `changes` (taken over, with their values) is what
 * became of rows there since, later changes of a number behind earlier ones. Returns false when out of memory. */
bool troupe__backlog_start(struct troupe__backlog *backlog, size_t stored, struct troupe__backlog_change *changes,
                           size_t change_count);

/* Append a message, which is taken over; its number is higher than all before. */
void troupe__backlog_push(struct troupe__backlog *backlog, struct troupe__message *message);

/* The open epoch is `epoch`, and becomes the one that has rows of all messages so far; the last has number `sequence`.
 */
void troupe__backlog_seal(struct troupe__backlog *backlog, uint64_t epoch, uint64_t sequence);

/* The tables that are read hold everything up to epoch `folded`: let go of messages while more than `size_max` bytes of
 * them are in memory, and of actors that are then referred to by nothing. */
void troupe__backlog_drop(struct troupe__backlog *backlog, uint64_t folded, size_t size_max);

/* Take the oldest ones out, up to about `size` bytes and at least one, as a list linked by `next` (NULL: none are
 * left). `store` must have been refreshed to what `drop` was told last. Errors: TROUPE_EIO and TROUPE_ECORRUPT of the
 * store, with a text in store->error; TROUPE_ENOMEM. */
enum troupe_error troupe__backlog_take(struct troupe__backlog *backlog, struct troupe__store *store,
                                       struct troupe__actors *actors, size_t size, struct troupe__message **ret);

#endif
