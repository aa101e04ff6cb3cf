/* outbox.h - the messages to one other node that it has not acknowledged, in the order of their numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each is a row of the store (TROUPE__OUTBOX: link, number). The newest are in memory as well: those that the tables do
 * not have yet, and as many more as fit in `memory_max`. The others are read from the store when their turn comes, so
 * that a long backlog lies on disk. Not thread-safe. */
#ifndef TROUPE_MAILBOX_OUTBOX_H
#define TROUPE_MAILBOX_OUTBOX_H

#include "core/store.h"

struct troupe__outbox {
    uint16_t link;
    size_t memory_max;
    uint64_t first, last; /* numbers in the outbox; empty when first > last */
    struct troupe__outbox_entry {
        uint64_t epoch; /* that wrote it */
        size_t end;     /* of its bytes in `bytes` */
    } * entries;        /* of the newest; entries[head] is number last - (count - head) + 1 */
    size_t head, count, capacity;
    struct troupe__buffer bytes;
    size_t bytes_head;                  /* where those of entries[head] begin */
    uint64_t pushed_size, pushed_count; /* of all messages since the start: their average is that of those on disk */
};

/* `first` to `last` (none when first > last) are rows of the tables. */
void troupe__outbox_init(struct troupe__outbox *outbox, uint16_t link, size_t memory_max, uint64_t first,
                         uint64_t last);
void troupe__outbox_fini(struct troupe__outbox *outbox);

/* Append number last + 1, written by `epoch`; `found` says that it was found at the start. Returns false when out of
 * memory. */
bool troupe__outbox_push(struct troupe__outbox *outbox, uint64_t epoch, struct troupe_bytes message, bool found);

/* A message by number, which must be in it; valid until the next call of this or of the store's read. Errors: those of
 * the store's read; TROUPE_ENOTFOUND when its row is missing. */
enum troupe_error troupe__outbox_get(struct troupe__outbox *outbox, struct troupe__store *store, uint64_t number,
                                     struct troupe_bytes *ret);

/* Remove all up to `number`. */
void troupe__outbox_trim(struct troupe__outbox *outbox, uint64_t number);

/* Forget what the tables have (they hold everything up to epoch `folded`) and does not fit in memory_max. */
void troupe__outbox_spill(struct troupe__outbox *outbox, uint64_t folded);

static inline size_t troupe__outbox_memory(const struct troupe__outbox *outbox)
{
    return outbox->bytes.size - outbox->bytes_head;
}

/* Bytes of all that is in it, about: so many messages of average size. The same wherever they lie. */
uint64_t troupe__outbox_size(const struct troupe__outbox *outbox);

/* The key of a row. */
static inline void troupe__outbox_key(unsigned char key[static 10], uint16_t link, uint64_t number)
{
    troupe__put_be16(key, link);
    troupe__put_be64(key + 2, number);
}

#endif
