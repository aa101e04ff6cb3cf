/* view.h - the rows of a node that does not run: its tables with its journal on top, in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Open, scan the tables that are wanted, replay, settle; `load` does the last three. What settle leaves is what the
 * node would find at its next start. All rows asked for are held in memory. Not thread-safe. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_VIEW_H
#define TROUPE_RUNTIME_SNAPSHOT_VIEW_H

#include "core/job.h"
#include "core/message.h"
#include "core/store.h"
#include "runtime/machine/counters.h"

/* One allocation: the struct, the key, the value. */
struct troupe__view_row {
    uint64_t order; /* a later change of the same key wins */
    struct troupe_bytes key, value;
    bool removed;
    unsigned char data[];
};

struct troupe__view {
    struct troupe__store *store;
    struct troupe__actors actors; /* of the messages that were decoded; none is declared */
    struct troupe__view_table {
        struct troupe__view_row **rows; /* after settle: in the order of their keys, each once */
        size_t count, capacity;
        bool wanted;
        struct troupe_bytes prefix; /* of the keys that are wanted; the caller's */
    } tables[TROUPE__TABLE_COUNT];
    uint64_t order;
    uint64_t record_count, change_count; /* what the journal had */
    /* Called now and then with the rows read so far; set behind the opening. NULL: not. */
    void (*progress)(void *context, uint64_t rows);
    void *progress_context;
    /* Asked before each row and record, with the bytes of rows that are held: false gives up. NULL: no limit. */
    bool (*may_go_on)(void *limits, size_t size);
    void *limits;
    bool keys_only; /* values are not kept: they are empty */
    size_t size;
    char error[640];
};

/* The lower-case names of the tables, for people. */
extern const char *const troupe__view_table_names[TROUPE__TABLE_COUNT];

/* Open the store in `directory`, which must exist. While it is open no node can start there. Errors, with a text in
 * `view->error`: those of troupe__lmdb_store_open; there is nothing to close then. */
enum troupe_error troupe__view_open(struct troupe__view *view, const char *directory, bool writable);
void troupe__view_close(struct troupe__view *view);

/* A view of a store that is open already and becomes the view's; NULL: none, the rows come by view_add_record. Errors:
 * TROUPE_ENOMEM; the store is closed then. */
enum troupe_error troupe__view_of(struct troupe__view *view, struct troupe__store *store);

/* Add a record's changes to the wanted tables. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM, with a text in `view->error`. */
enum troupe_error troupe__view_add_record(struct troupe__view *view, struct troupe_bytes record);

/* Add one row to a wanted table. Errors: TROUPE_ENOMEM, with a text in `view->error`. */
enum troupe_error troupe__view_add_row(struct troupe__view *view, enum troupe__table table, struct troupe_bytes key,
                                       struct troupe_bytes value);

/* Want the rows of `table` whose keys begin with `prefix`, and read the folded ones. Errors: the store's,
 * TROUPE_ENOMEM, with a text in `view->error`; the rows before a damaged one are kept. */
enum troupe_error troupe__view_scan(struct troupe__view *view, enum troupe__table table, struct troupe_bytes prefix);

/* Add the journal's changes to the wanted tables. Once. Errors: as troupe__view_scan. */
enum troupe_error troupe__view_replay(struct troupe__view *view);

/* Sort, and keep the last change of each row. */
void troupe__view_settle(struct troupe__view *view);

/* The same, but rows whose last change removed them stay too, with `removed` set. */
void troupe__view_settle_changes(struct troupe__view *view);

/* Scan the tables whose bits (1 << table) are set, replay, settle. */
enum troupe_error troupe__view_load(struct troupe__view *view, unsigned tables);

/* ---- the forms of rows ------------------------------------------------------------------------------------------- */

/* Each decodes one form whole; false, or TROUPE_ECORRUPT, when it has another. Pointers lead into the row. */

/* The number that is the key of a mail, timer, dead or egress row. */
bool troupe__view_number(const struct troupe__view_row *row, uint64_t *ret);

struct troupe__view_dead {
    int64_t time_ms;
    struct troupe_bytes reason;
    struct troupe__message *message; /* the caller frees it; NULL: what came in was no message */
    struct troupe_bytes text;        /* that, as it came */
};
enum troupe_error troupe__view_dead(struct troupe__view *view, const struct troupe__view_row *row,
                                    struct troupe__view_dead *ret);

/* The caller frees the message. */
enum troupe_error troupe__view_timer(struct troupe__view *view, const struct troupe__view_row *row, int64_t *ret_due_ms,
                                     struct troupe__message **ret);
enum troupe_error troupe__view_mail(struct troupe__view *view, const struct troupe__view_row *row,
                                    struct troupe__message **ret);

/* The caller releases the job; its id is the row's number. */
enum troupe_error troupe__view_job(struct troupe__view *view, const struct troupe__view_row *row,
                                   struct troupe__job **ret);

/* META "counters". TROUPE_ENOTFOUND: this node never committed anything; all are 0. */
enum troupe_error troupe__view_counters(struct troupe__view *view, struct troupe__counters *ret);

/* The row of that key; NULL when there is none. */
const struct troupe__view_row *troupe__view_find(const struct troupe__view *view, enum troupe__table table,
                                                 struct troupe_bytes key);

#endif
