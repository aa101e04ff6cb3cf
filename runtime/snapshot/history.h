/* history.h - what the journals of a troupe's nodes know of the past: the cuts that can be gone back to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * About once a second a node's epochs get another colour (runtime/machine/links.h). For each colour the last epochs
 * below it, one of each node, are a consistent cut. A node that has no epoch of that colour or a higher one was idle
 * then, or is still on its way there: its last epoch stands for it. A node that is alone has cuts too; any of its
 * epochs is one.
 *
 * Journals are read where they are, also while nodes write them. Blocks on the disk. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_HISTORY_H
#define TROUPE_RUNTIME_SNAPSHOT_HISTORY_H

#include "state/journal.h"

/* The first epoch of a node that has a colour. */
struct troupe__moment {
    uint64_t colour, epoch;
    int64_t time_ms;
};

struct troupe__past { /* of one node */
    char data[4096];
    struct troupe__journal journal;
    uint64_t first, last; /* epochs whose records are there; none when first is beyond last */
    uint64_t released;    /* egress records up to this number are out for good, as its last epoch knows */
    bool of_troupe;       /* it has said something of links to other nodes, or of being one of several */
    struct troupe__moment *moments;
    size_t count, capacity;
};

struct troupe__history { /* Zero bytes, but for the first two, are one that is not open. */
    /* Called now and then with how many "epochs", or "rows", have been read so far; may be NULL. */
    void (*progress)(void *context, const char *what, uint64_t count);
    void *progress_context;
    struct troupe__past *nodes;
    size_t count;
    uint64_t epochs_read;
};

/* Read the journals of the nodes in these directories. `ret` is zero bytes but for who is told of the progress. Errors,
 * each with a text: those of the journal; TROUPE_ENOMEM. */
enum troupe_error troupe__history_open(const char *const *directories, size_t count, struct troupe__history *ret,
                                       char *error, size_t error_size);
void troupe__history_close(struct troupe__history *history);

/* The lowest colour above `colour` that any node has taken, 0 when there is none. */
uint64_t troupe__history_next(const struct troupe__history *history, uint64_t colour);

/* The cut below a colour: node `node`'s epoch of it. */
uint64_t troupe__history_epoch(const struct troupe__history *history, size_t node, uint64_t colour);

/* When the last node had left that cut; nothing in it is younger. */
int64_t troupe__history_time(const struct troupe__history *history, uint64_t colour);

/* The hash of the record of a node's epoch. False when the next one is not there, which names it. */
bool troupe__history_hash(const struct troupe__history *history, size_t node, uint64_t epoch, uint64_t *ret);

/* Hand the records of a node's epochs after `after` and up to `last` to `record`, in order, checked; all of them must
 * be there. Errors: TROUPE_ECORRUPT, `record`'s. */
enum troupe_error troupe__history_replay(struct troupe__history *history, size_t node, uint64_t after, uint64_t last,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size);

#endif
