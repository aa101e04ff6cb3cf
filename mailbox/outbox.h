/* outbox.h - the messages to one other node that it has not acknowledged, in the order of their numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They lie in chunks: what one epoch sent, cut where a frame would be full. A chunk is one row of the store
 * (TROUPE__OUTBOX: link, number of its first message), written when its epoch is sealed and removed as a whole, and
 * what a data frame carries (core/frame.h), byte for byte; so a message costs no row, and leaves without being touched
 * again. The newest chunks are in memory as well: those that the tables do not have yet, and as many more as fit in
 * `memory_max`. The others are read from the store when their turn comes, so that a long backlog lies on disk. Not
 * thread-safe. */
#ifndef TROUPE_MAILBOX_OUTBOX_H
#define TROUPE_MAILBOX_OUTBOX_H

#include "core/store.h"

struct troupe__outbox {
    uint16_t link;
    size_t memory_max;
    uint64_t first, last;  /* numbers in the outbox; empty when first > last. `first` begins a chunk */
    uint64_t memory_first; /* the first number that is in memory; last + 1 when none is */
    struct troupe__outbox_entry {
        uint64_t epoch; /* that wrote it */
        uint64_t last;  /* number */
        size_t end;     /* of its bytes in `bytes` */
    } * entries;        /* the newest chunks; entries[head] begins with memory_first */
    size_t head, count, capacity;
    struct troupe__buffer bytes;
    size_t bytes_head;                  /* where those of entries[head] begin */
    uint64_t pushed_size, pushed_count; /* of all messages since the start: their average is that of those on disk */
};

struct troupe__outbox_chunk {
    uint64_t first, last;
    struct troupe_bytes messages; /* counted strings, the row form of message.h in each */
};

/* `first` to `last` (none when first > last) are in rows of the tables. */
void troupe__outbox_init(struct troupe__outbox *outbox, uint16_t link, size_t memory_max, uint64_t first,
                         uint64_t last);
void troupe__outbox_fini(struct troupe__outbox *outbox);

/* Append number last + 1, sent by the open epoch `epoch`: to the chunk that this epoch has begun last, unless that has
 * `chunk_size` bytes. Returns false when out of memory. */
bool troupe__outbox_push(struct troupe__outbox *outbox, uint64_t epoch, struct troupe_bytes message, size_t chunk_size);

/* Append a chunk that was found in the journal at the start, written by `epoch` or before. Errors: TROUPE_ECORRUPT (it
 * is malformed, or does not begin with last + 1), TROUPE_ENOMEM. */
enum troupe_error troupe__outbox_restore(struct troupe__outbox *outbox, uint64_t epoch, uint64_t first,
                                         struct troupe_bytes row);

/* The open epoch is sealed: write the rows of its chunks into its record. */
void troupe__outbox_seal(const struct troupe__outbox *outbox, uint64_t epoch, struct troupe__buffer *record);

/* The chunk that has message `number`, which must be in the outbox; valid until the next call of this or of the store's
 * read. Errors: those of the store's read; TROUPE_ENOTFOUND when its row is missing, TROUPE_ECORRUPT when malformed. */
enum troupe_error troupe__outbox_get(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                                     struct troupe__outbox_chunk *ret);

/* Remove all chunks that end with `number` or before, and have the open epoch remove their rows. Those whose keys
 * cannot be read now stay until the next call. */
void troupe__outbox_trim(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                         struct troupe__buffer *record);

/* Forget what the tables have (they hold everything up to epoch `folded`) and does not fit in memory_max. */
void troupe__outbox_spill(struct troupe__outbox *outbox, uint64_t folded);

/* Nothing is in it: give back memory that it needed when there was more. */
void troupe__outbox_shrink(struct troupe__outbox *outbox);

static inline bool troupe__outbox_empty(const struct troupe__outbox *outbox)
{
    return outbox->first > outbox->last;
}

static inline size_t troupe__outbox_memory(const struct troupe__outbox *outbox)
{
    return outbox->bytes.size - outbox->bytes_head;
}

/* Bytes of all that is in it, about: so many messages of average size. The same wherever they lie. */
uint64_t troupe__outbox_size(const struct troupe__outbox *outbox);

/* How many messages a row holds; 0 when it is malformed. */
uint64_t troupe__outbox_count(struct troupe_bytes row);

/* The key of a row. */
static inline void troupe__outbox_key(unsigned char key[static 10], uint16_t link, uint64_t number)
{
    troupe__put_be16(key, link);
    troupe__put_be64(key + 2, number);
}

#endif
