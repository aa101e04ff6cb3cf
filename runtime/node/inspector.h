/* inspector.h - a thread that reads a running node's rows, as of its last durable epoch, without holding it up.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One inspection at a time, of the store's view: folded tables with the journal on top. It is given up when it takes
 * too long or holds too much: while it reads, pages that folds free are not used again. Nothing but `wake` is called on
 * the thread. */
#ifndef TROUPE_RUNTIME_NODE_INSPECTOR_H
#define TROUPE_RUNTIME_NODE_INSPECTOR_H

#include "core/buffer.h"
#include "core/store.h"

enum {
    TROUPE__INSPECTION_MS = 5000,
    TROUPE__INSPECTION_SIZE = 64 << 20 /* bytes of rows */
};

struct troupe__inspection {
    unsigned tables; /* 1 << table for each that is wanted */
    bool counted;    /* their rows are only to be counted (runtime/snapshot/tally.h) */
    size_t prefix_size;
    unsigned char prefix[TROUPE__ROW_KEY_MAX]; /* of the keys wanted */
    /* What came of it: */
    enum troupe_error result;
    char error[512];
    struct troupe__buffer rows;           /* changes that set them, as in a record ... */
    uint64_t counts[TROUPE__TABLE_COUNT]; /* ... or how many there are */
    uint64_t epoch;                       /* as of which */
};

/* Make a view of the running store, to be closed by the thread that made it. */
typedef enum troupe_error (*troupe__view_fn)(struct troupe__store *store, struct troupe__store **ret, char *error,
                                             size_t error_size);

struct troupe__inspector;

/* Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__inspector_start(struct troupe__store *store, troupe__view_fn open,
                                          void (*wake)(void *context), void *context, struct troupe__inspector **ret);

/* It is the inspector's until it comes back; none may be under way. */
void troupe__inspector_begin(struct troupe__inspector *inspector, struct troupe__inspection *inspection);

/* The one that was begun, if it has ended; else NULL. */
struct troupe__inspection *troupe__inspector_take(struct troupe__inspector *inspector);

/* Ends the thread, whatever it is at; what was begun is the caller's again. */
void troupe__inspector_stop(struct troupe__inspector *inspector);

#endif
