/* cut.h - the rows of all nodes of a troupe at one consistent cut, walked through forwards.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They come from the parts of a snapshot, which are read as the walk goes on, or from rows in memory. A walk over parts
 * that is not ended early checks them like troupe__snapshot_read_part. A cut does not change: several threads may walk
 * over it at once. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_CUT_H
#define TROUPE_RUNTIME_SNAPSHOT_CUT_H

#include "core/link.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/view.h"

struct troupe__cut_node {
    char name[TROUPE__SNAPSHOT_NAME_MAX + 1];
    uint64_t number;                   /* as links know it; 0 for one that is alone */
    struct troupe__snapshot_part part; /* when `view` is NULL */
    const struct troupe__view *view;   /* settled; the tables that it wants are all there are */
    struct troupe__view *own;          /* the same, if it is the cut's to close */
    int64_t now_ms;                    /* its time at the cut */
    struct troupe__link_row *links;    /* by the number of the peer, as many as nodes */
};

struct troupe__cut {
    char *directory; /* of the parts */
    struct troupe__cut_node *nodes;
    size_t node_count;
    /* Called now and then, with the rows so far: of the directory that is read, of a walk, on its thread. May be NULL.
     */
    void (*progress)(void *context, uint64_t rows);
    void *progress_context;
    char error[640];
};

/* Zero bytes are an empty cut. Add nodes, then `ready` it. Errors of all, with a text in `cut->error`: TROUPE_ENOMEM
 * and what is said. After an error it is still to be finished. */
void troupe__cut_fini(struct troupe__cut *cut);

/* All parts of a snapshot that was read. */
enum troupe_error troupe__cut_add_snapshot(struct troupe__cut *cut, const char *directory,
                                           const struct troupe__snapshot *snapshot);

/* One node, whose rows `scan` finds in `source`: a store whose tables are complete, or a photo. They are copied.
 * `source_error` is where the source says what it met. Errors: the source's. */
enum troupe_error troupe__cut_add_rows(struct troupe__cut *cut, const char *name, uint64_t number, troupe__scan_fn scan,
                                       void *source, const char *source_error);

/* One node, whose settled view has all tables wanted. It becomes the cut's, also on failure: malloc'ed, closed and
 * freed by it. */
enum troupe_error troupe__cut_add_view(struct troupe__cut *cut, const char *name, uint64_t number,
                                       struct troupe__view *view);

/* One node that does not run: all of its rows come into memory, its directory is not changed. Errors: those of
 * troupe__view_open. */
enum troupe_error troupe__cut_add_directory(struct troupe__cut *cut, const char *name, uint64_t number,
                                            const char *data);

/* What the nodes say of their links and their time; call it once, before the first walk for messages. One node of a
 * troupe without the others may be looked at too: all that its outboxes hold then counts as in flight. Errors:
 * TROUPE_ECORRUPT, and those of reading. */
enum troupe_error troupe__cut_ready(struct troupe__cut *cut);

/* The rows of these tables (bits 1 << table), of all nodes. */
uint64_t troupe__cut_rows(const struct troupe__cut *cut, unsigned tables);

/* Whether the message whose outbox row has this key was not yet taken in at the cut. False too for a malformed key. */
bool troupe__cut_in_flight(const struct troupe__cut *cut, size_t node, struct troupe_bytes key);

/* A row, valid until the next step of its walk. The row of an outbox holds several messages: each comes by itself, with
 * the key that a row of it alone would have, and its row form as the value. */
struct troupe__cut_row {
    size_t node; /* its index in the cut */
    enum troupe__table table;
    struct troupe_bytes key, value;
};

struct troupe__cut_walk {
    const struct troupe__cut *cut;
    unsigned tables; /* bits 1 << table of those wanted */
    uint64_t rows;   /* that were read */
    size_t node, node_end;
    int fd;
    struct troupe__part_reader *reader; /* of the node's part; NULL: not opened, or it has a view */
    size_t table, at;                   /* of a view: the row that comes next */
    struct troupe__cursor chunk;        /* what is left of an outbox's row */
    unsigned char chunk_key[10];        /* of the message that comes next */
    unsigned char key[10];              /* of the one that came */
    char error[640];
};

void troupe__cut_walk_begin(struct troupe__cut_walk *walk, const struct troupe__cut *cut, unsigned tables);
/* Over one node only. */
void troupe__cut_walk_begin_node(struct troupe__cut_walk *walk, const struct troupe__cut *cut, unsigned tables,
                                 size_t node);
void troupe__cut_walk_end(struct troupe__cut_walk *walk);

/* The next row of the wanted tables, node by node, table by table, in the order of keys. Errors: TROUPE_ENOTFOUND at
 * the end; with a text in `walk->error`, TROUPE_ECORRUPT, TROUPE_EIO, TROUPE_EVERSION, TROUPE_ENOMEM. */
enum troupe_error troupe__cut_next(struct troupe__cut_walk *walk, struct troupe__cut_row *ret);

#endif
