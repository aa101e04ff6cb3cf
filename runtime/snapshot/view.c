/* view.c - the rows of a node that does not run: its tables with its journal on top, in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/view.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/grow.h"
#include "state/lmdb_store.h"

const char *const troupe__view_table_names[TROUPE__TABLE_COUNT] = {"meta",   "state", "mail",     "timer",  "dead",
                                                                   "egress", "job",   "response", "outbox", "sweep"};

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static enum troupe_error add_row(struct troupe__view *view, enum troupe__table table, struct troupe_bytes key,
                                 bool removed, struct troupe_bytes value)
{
    struct troupe__view_table *into = &view->tables[table];
    value.size = view->keys_only ? 0 : value.size;
    struct troupe__view_row **rows = troupe__grow(into->rows, into->count, &into->capacity, sizeof *rows);
    if (!rows) {
        goto err;
    }
    into->rows = rows;
    view->size += sizeof(struct troupe__view_row) + key.size + value.size;
    if (view->may_go_on && !view->may_go_on(view->limits, view->size)) {
        snprintf(view->error, sizeof view->error,
                 "this takes too long or is too much for a node that runs: ask for less, or stop it and look then");
        return TROUPE_ETOOBIG;
    }
    struct troupe__view_row *row = malloc(sizeof *row + key.size + value.size);
    if (!row) {
        goto err;
    }
    *row = (struct troupe__view_row){.order = view->order++, .removed = removed};
    row->key = (struct troupe_bytes){row->data, key.size};
    row->value = (struct troupe_bytes){row->data + key.size, value.size};
    memcpy(row->data, key.data, key.size);
    if (value.size > 0) {
        memcpy(row->data + key.size, value.data, value.size);
    }
    into->rows[into->count++] = row;
    if (view->progress && view->order % 1024 == 0) {
        view->progress(view->progress_context, view->order);
    }
    return TROUPE_OK;

err:
    snprintf(view->error, sizeof view->error, "out of memory: the rows do not fit");
    return TROUPE_ENOMEM;
}

struct scan {
    struct troupe__view *view;
    enum troupe__table table;
};

static enum troupe_error scan_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct scan *scan = context;
    return add_row(scan->view, scan->table, key, false, value);
}

static enum troupe_error replay_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct troupe__view *view = context;
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    view->record_count++;
    if (view->may_go_on && !view->may_go_on(view->limits, view->size)) {
        snprintf(view->error, sizeof view->error,
                 "this takes too long for a node that runs: ask again later, or stop it and look then");
        return TROUPE_ETOOBIG;
    }
    while (troupe__record_next(&cursor, &change)) {
        const struct troupe__view_table *table = &view->tables[change.table];
        view->change_count++;
        if (!table->wanted || change.key.size < table->prefix.size ||
            (table->prefix.size > 0 && memcmp(change.key.data, table->prefix.data, table->prefix.size) != 0)) {
            continue;
        }
        enum troupe_error result = add_row(view, change.table, change.key, change.removed, change.value);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (cursor.failed) {
        snprintf(view->error, sizeof view->error, "journal: epoch %llu: its changes are malformed",
                 (unsigned long long)epoch);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static int compare_keys(struct troupe_bytes left, struct troupe_bytes right)
{
    size_t size = left.size < right.size ? left.size : right.size;
    int order = size > 0 ? memcmp(left.data, right.data, size) : 0;
    return order ? order : (left.size > right.size) - (left.size < right.size);
}

static int compare_rows(const void *a, const void *b)
{
    const struct troupe__view_row *left = *(struct troupe__view_row *const *)a;
    const struct troupe__view_row *right = *(struct troupe__view_row *const *)b;
    int order = compare_keys(left->key, right->key);
    return order ? order : (left->order > right->order) - (left->order < right->order);
}

static void settle(struct troupe__view *view, bool with_removed)
{
    for (size_t t = 0; t < TROUPE__TABLE_COUNT; t++) {
        struct troupe__view_table *table = &view->tables[t];
        size_t kept = 0;
        if (table->count > 0) {
            qsort(table->rows, table->count, sizeof *table->rows, compare_rows);
        }
        for (size_t i = 0; i < table->count; i++) {
            struct troupe__view_row *row = table->rows[i];
            bool last = i + 1 == table->count || compare_keys(row->key, table->rows[i + 1]->key) != 0;
            if (last && (with_removed || !row->removed)) {
                table->rows[kept++] = row;
            } else {
                free(row);
            }
        }
        table->count = kept;
    }
}

void troupe__view_settle(struct troupe__view *view)
{
    settle(view, false);
}

void troupe__view_settle_changes(struct troupe__view *view)
{
    settle(view, true);
}

const struct troupe__view_row *troupe__view_find(const struct troupe__view *view, enum troupe__table table,
                                                 struct troupe_bytes key)
{
    const struct troupe__view_table *in = &view->tables[table];
    size_t low = 0, high = in->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_keys(in->rows[middle]->key, key);
        if (order == 0) {
            return in->rows[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__view_open(struct troupe__view *view, const char *directory, bool writable)
{
    static const struct troupe_module no_module = {.abi = TROUPE_ABI, .name = "none"};
    struct troupe__lmdb_options options = {.sync = true, .read_only = !writable, .visit = true};
    char path[PATH_MAX];
    *view = (struct troupe__view){0};
    /* Opening for writing would make a new store. */
    if ((size_t)snprintf(path, sizeof path, "%s/tables.mdb", directory) >= sizeof path || access(path, F_OK)) {
        snprintf(view->error, sizeof view->error, "%s is not a node's directory: it has no readable tables.mdb",
                 directory);
        return TROUPE_ENOTFOUND;
    }
    enum troupe_error result =
        troupe__lmdb_store_open(directory, &options, &view->store, view->error, sizeof view->error);
    if (result == TROUPE_OK &&
        (result = troupe__actors_init(&view->actors, &no_module, view->error, sizeof view->error)) != TROUPE_OK) {
        view->store->close(view->store);
    }
    return result;
}

enum troupe_error troupe__view_of(struct troupe__view *view, struct troupe__store *store)
{
    static const struct troupe_module no_module = {.abi = TROUPE_ABI, .name = "none"};
    *view = (struct troupe__view){.store = store};
    enum troupe_error result = troupe__actors_init(&view->actors, &no_module, view->error, sizeof view->error);
    if (result != TROUPE_OK && store) {
        store->close(store);
    }
    return result;
}

enum troupe_error troupe__view_add_record(struct troupe__view *view, struct troupe_bytes record)
{
    return replay_record(view, 0, record);
}

enum troupe_error troupe__view_add_row(struct troupe__view *view, enum troupe__table table, struct troupe_bytes key,
                                       struct troupe_bytes value)
{
    return add_row(view, table, key, false, value);
}

void troupe__view_close(struct troupe__view *view)
{
    for (size_t t = 0; t < TROUPE__TABLE_COUNT; t++) {
        for (size_t i = 0; i < view->tables[t].count; i++) {
            free(view->tables[t].rows[i]);
        }
        free(view->tables[t].rows);
    }
    troupe__actors_fini(&view->actors);
    if (view->store) {
        view->store->close(view->store);
    }
}

static enum troupe_error explain(struct troupe__view *view, enum troupe_error result)
{
    if (result != TROUPE_OK && view->error[0] == '\0') {
        snprintf(view->error, sizeof view->error, "%s", view->store->error);
    }
    return result;
}

enum troupe_error troupe__view_scan(struct troupe__view *view, enum troupe__table table, struct troupe_bytes prefix)
{
    struct scan scan = {view, table};
    view->tables[table].wanted = true;
    view->tables[table].prefix = prefix;
    view->error[0] = '\0';
    return explain(view, view->store->scan(view->store, table, prefix, scan_row, &scan));
}

enum troupe_error troupe__view_replay(struct troupe__view *view)
{
    view->error[0] = '\0';
    return explain(view, view->store->replay(view->store, replay_record, view));
}

enum troupe_error troupe__view_load(struct troupe__view *view, unsigned tables)
{
    enum troupe_error result = TROUPE_OK;
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT && result == TROUPE_OK; t++) {
        if (tables & 1u << t) {
            result = troupe__view_scan(view, (enum troupe__table)t, (struct troupe_bytes){"", 0});
        }
    }
    result = result == TROUPE_OK ? troupe__view_replay(view) : result;
    troupe__view_settle(view);
    return result;
}

/* ---- the forms of rows ------------------------------------------------------------------------------------------- */

bool troupe__view_number(const struct troupe__view_row *row, uint64_t *ret)
{
    if (row->key.size != 8) {
        return false;
    }
    *ret = troupe__get_be64(row->key.data);
    return true;
}

static enum troupe_error decode_rest(struct troupe__view *view, const struct troupe__cursor *cursor,
                                     struct troupe__message **ret)
{
    return troupe__message_decode(&view->actors, (struct troupe_bytes){cursor->at, (size_t)(cursor->end - cursor->at)},
                                  ret);
}

static struct troupe__cursor cursor_of(struct troupe_bytes bytes)
{
    return (struct troupe__cursor){bytes.data, (const unsigned char *)bytes.data + bytes.size, false};
}

enum troupe_error troupe__view_mail(struct troupe__view *view, const struct troupe__view_row *row,
                                    struct troupe__message **ret)
{
    return troupe__message_decode(&view->actors, row->value, ret);
}

enum troupe_error troupe__view_timer(struct troupe__view *view, const struct troupe__view_row *row, int64_t *ret_due_ms,
                                     struct troupe__message **ret)
{
    struct troupe__cursor cursor = cursor_of(row->value);
    int64_t due_ms = (int64_t)troupe__cursor_varint(&cursor);
    enum troupe_error result = cursor.failed ? TROUPE_ECORRUPT : decode_rest(view, &cursor, ret);
    if (result == TROUPE_OK) {
        *ret_due_ms = due_ms;
    }
    return result;
}

enum troupe_error troupe__view_dead(struct troupe__view *view, const struct troupe__view_row *row,
                                    struct troupe__view_dead *ret)
{
    struct troupe__cursor cursor = cursor_of(row->value);
    struct troupe__view_dead dead = {.time_ms = (int64_t)troupe__cursor_varint(&cursor)};
    dead.reason.data = troupe__cursor_string(&cursor, &dead.reason.size);
    const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
    if (!form || *form > 1) {
        return TROUPE_ECORRUPT;
    }
    if (*form == 1) {
        enum troupe_error result = decode_rest(view, &cursor, &dead.message);
        if (result != TROUPE_OK) {
            return result;
        }
    } else {
        dead.text = (struct troupe_bytes){cursor.at, (size_t)(cursor.end - cursor.at)};
    }
    *ret = dead;
    return TROUPE_OK;
}

enum troupe_error troupe__view_job(struct troupe__view *view, const struct troupe__view_row *row,
                                   struct troupe__job **ret)
{
    uint64_t id;
    enum troupe_error result =
        troupe__view_number(row, &id) ? troupe__job_decode(&view->actors, row->value, ret) : TROUPE_ECORRUPT;
    if (result == TROUPE_OK) {
        (*ret)->id = id;
    }
    return result;
}

enum troupe_error troupe__view_counters(struct troupe__view *view, struct troupe__counters *ret)
{
    const struct troupe__view_row *row = troupe__view_find(view, TROUPE__META, troupe_string(TROUPE__COUNTERS_ROW));
    if (!row) {
        *ret = (struct troupe__counters){0};
        return TROUPE_ENOTFOUND;
    }
    if (!troupe__counters_decode(row->value, ret)) {
        snprintf(view->error, sizeof view->error, "the counters' row is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}
