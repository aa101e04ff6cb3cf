/* tally.c - how many rows tables have, counted without holding them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is folded is counted as it stands; then each key that the journal has changed since says whether there is one
 * more or one less. */
#include "runtime/snapshot/tally.h"

#include <stdio.h>

enum { ASK_EVERY = 256 }; /* rows, whether it may go on */

struct tally {
    struct troupe__view *view;
    uint64_t count;
};

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct tally *tally = context;
    struct troupe__view *view = tally->view;
    (void)key, (void)value;
    if (++tally->count % ASK_EVERY == 0 && view->may_go_on && !view->may_go_on(view->limits, view->size)) {
        snprintf(view->error, sizeof view->error, "counting rows takes too long");
        return TROUPE_ETOOBIG;
    }
    return TROUPE_OK;
}

/* Of the changes to a table, each key's last one. */
static enum troupe_error add_changes(struct troupe__view *view, enum troupe__table table, uint64_t *count)
{
    const struct troupe__view_table *changes = &view->tables[table];
    for (size_t i = 0; i < changes->count; i++) {
        struct troupe_bytes unused;
        enum troupe_error result = view->store->read(view->store, table, changes->rows[i]->key, &unused);
        if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
            return result;
        }
        *count += !changes->rows[i]->removed;
        *count -= result == TROUPE_OK;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__tally(struct troupe__view *view, unsigned tables, uint64_t counts[static TROUPE__TABLE_COUNT])
{
    enum troupe_error result = TROUPE_OK;
    view->error[0] = '\0';
    view->keys_only = true;
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        view->tables[t].wanted = (tables >> t & 1) != 0 && t != TROUPE__STATE;
    }
    if (tables & ~(1u << TROUPE__STATE)) {
        result = troupe__view_replay(view);
        troupe__view_settle_changes(view);
    }
    /* State comes last: it may be much, and the others be known all the same. */
    for (unsigned i = 1; i <= TROUPE__TABLE_COUNT && result == TROUPE_OK; i++) {
        unsigned t = (TROUPE__STATE + i) % TROUPE__TABLE_COUNT;
        struct tally tally = {.view = view};
        if ((tables >> t & 1) == 0) {
            continue;
        }
        result = view->store->scan(view->store, (enum troupe__table)t, (struct troupe_bytes){"", 0}, count_row, &tally);
        result = result == TROUPE_OK ? add_changes(view, (enum troupe__table)t, &tally.count) : result;
        if (result == TROUPE_OK) {
            counts[t] = tally.count;
        }
    }
    if (result != TROUPE_OK && view->error[0] == '\0') {
        snprintf(view->error, sizeof view->error, "%s", view->store->error);
    }
    return result;
}
