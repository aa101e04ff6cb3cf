/* overlay.h - the rows of one map or list that are not in the tables yet, in the order of their keys.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A treap: a search tree by key that is a heap by a hash of the key, so that it is balanced by chance and always the
 * same for the same keys. All overlays of a node share one list of their rows in the order of the epochs that changed
 * them: the open epoch's are its end, and once an epoch is in the tables its rows are forgotten from the beginning.
 * So memory holds what has not been folded, however large the collections are. */
#ifndef TROUPE_CORE_OVERLAY_H
#define TROUPE_CORE_OVERLAY_H

#include "core/buffer.h"
#include "core/troupe.h"

struct troupe__actor;

struct troupe__overlay_row {
    struct troupe__overlay_row *left, *right;
    struct troupe__overlay_row *older, *newer;
    struct troupe__overlay *overlay;
    uint64_t epoch; /* the newest that changed it */
    char *bytes;    /* owned, in row form, one NUL behind the last; NULL: removed */
    uint32_t size, priority;
    uint8_t key_size;
    unsigned char key[]; /* of the row, from behind the value's name on: empty for the head */
};

struct troupe__overlay {
    struct troupe__overlay_row *root;
    struct troupe__actor *actor;
    uint32_t index; /* of the value */
};

/* All rows of all overlays. Zero bytes are none. */
struct troupe__unfolded {
    struct troupe__overlay_row *oldest, *newest;
    size_t count, size; /* size: bytes of memory */
};

/* NULL: the tables know. */
struct troupe__overlay_row *troupe__overlay_find(const struct troupe__overlay *overlay, struct troupe_bytes key);

/* The first row, or backward the last, with low <= key < high. */
struct troupe__overlay_row *troupe__overlay_next(const struct troupe__overlay *overlay, struct troupe_bytes low,
                                                 struct troupe_bytes high, bool backward);

/* Find or make a row, as changed by `epoch`, which is not below that of any row. NULL when out of memory. A new one
 * has no bytes. Keys have at most 255 bytes. */
struct troupe__overlay_row *troupe__overlay_put(struct troupe__unfolded *unfolded, struct troupe__overlay *overlay,
                                                struct troupe_bytes key, uint64_t epoch);

/* Give a row other bytes, which it owns; the old ones become the caller's. */
static inline void troupe__overlay_give(struct troupe__unfolded *unfolded, struct troupe__overlay_row *row, char *bytes,
                                        uint32_t size)
{
    unfolded->size += (size_t)size - row->size;
    row->bytes = bytes;
    row->size = size;
}

void troupe__overlay_forget(struct troupe__unfolded *unfolded, struct troupe__overlay_row *row);
void troupe__overlay_fini(struct troupe__unfolded *unfolded, struct troupe__overlay *overlay);

/* Forget what the tables have: all rows that no epoch after `folded` changed. */
void troupe__unfolded_fold(struct troupe__unfolded *unfolded, uint64_t folded);

/* Whether `epoch`, the newest, changed any row. */
static inline bool troupe__unfolded_has(const struct troupe__unfolded *unfolded, uint64_t epoch)
{
    return unfolded->newest && unfolded->newest->epoch == epoch;
}

/* The oldest row that `epoch`, the newest, changed; NULL when there is none. Go on with ->newer. */
struct troupe__overlay_row *troupe__unfolded_of(const struct troupe__unfolded *unfolded, uint64_t epoch);

#endif
