/* cut.c - the rows of all nodes of a troupe at one consistent cut, walked through forwards.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/cut.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/machine/links.h"

enum { PROGRESS_ROWS = 1024 }; /* from one call of `progress` to the next */

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static enum troupe_error out_of_memory(struct troupe__cut *cut)
{
    snprintf(cut->error, sizeof cut->error, "out of memory");
    return TROUPE_ENOMEM;
}

void troupe__cut_fini(struct troupe__cut *cut)
{
    for (size_t i = 0; i < cut->node_count; i++) {
        free(cut->nodes[i].links);
        if (cut->nodes[i].own) {
            troupe__view_close(cut->nodes[i].own);
            free(cut->nodes[i].own);
        }
    }
    free(cut->nodes);
    free(cut->directory);
    *cut = (struct troupe__cut){0};
}

static struct troupe__cut_node *add_node(struct troupe__cut *cut, const char *name, uint64_t number)
{
    struct troupe__cut_node *nodes = realloc(cut->nodes, (cut->node_count + 1) * sizeof *nodes);
    if (!nodes) {
        return NULL;
    }
    cut->nodes = nodes;
    struct troupe__cut_node *node = &nodes[cut->node_count++];
    *node = (struct troupe__cut_node){.number = number};
    snprintf(node->name, sizeof node->name, "%s", name);
    return node;
}

enum troupe_error troupe__cut_add_snapshot(struct troupe__cut *cut, const char *directory,
                                           const struct troupe__snapshot *snapshot)
{
    if (!(cut->directory = strdup(directory))) {
        return out_of_memory(cut);
    }
    for (size_t i = 0; i < snapshot->part_count; i++) {
        struct troupe__cut_node *node = add_node(cut, snapshot->parts[i].node, snapshot->parts[i].number);
        if (!node) {
            return out_of_memory(cut);
        }
        node->part = snapshot->parts[i];
    }
    return TROUPE_OK;
}

enum troupe_error troupe__cut_add_view(struct troupe__cut *cut, const char *name, uint64_t number,
                                       struct troupe__view *view)
{
    struct troupe__cut_node *node = add_node(cut, name, number);
    if (!node) {
        troupe__view_close(view);
        free(view);
        return out_of_memory(cut);
    }
    node->view = node->own = view;
    return TROUPE_OK;
}

struct copy {
    struct troupe__view *view;
    enum troupe__table table;
    bool failed; /* the failure was the view's, not the source's */
};

static enum troupe_error copy_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct copy *copy = context;
    enum troupe_error result = troupe__view_add_row(copy->view, copy->table, key, value);
    copy->failed = result != TROUPE_OK;
    return result;
}

enum troupe_error troupe__cut_add_rows(struct troupe__cut *cut, const char *name, uint64_t number, troupe__scan_fn scan,
                                       void *source, const char *source_error)
{
    struct troupe__view *view = malloc(sizeof *view);
    if (!view) {
        return out_of_memory(cut);
    }
    enum troupe_error result = troupe__view_of(view, NULL);
    if (result != TROUPE_OK) {
        free(view);
        return out_of_memory(cut);
    }
    struct copy copy = {.view = view};
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        copy.table = (enum troupe__table)table;
        view->tables[table].wanted = true;
        result = scan(source, copy.table, (struct troupe_bytes){"", 0}, copy_row, &copy);
    }
    if (result != TROUPE_OK) {
        snprintf(cut->error, sizeof cut->error, "%s", copy.failed ? view->error : source_error);
        troupe__view_close(view);
        free(view);
        return result;
    }
    troupe__view_settle(view);
    return troupe__cut_add_view(cut, name, number, view);
}

enum troupe_error troupe__cut_add_directory(struct troupe__cut *cut, const char *name, uint64_t number,
                                            const char *data)
{
    struct troupe__view *view = malloc(sizeof *view);
    if (!view) {
        return out_of_memory(cut);
    }
    enum troupe_error result = troupe__view_open(view, data, false);
    bool opened = result == TROUPE_OK;
    view->progress = cut->progress;
    view->progress_context = cut->progress_context;
    result = opened ? troupe__view_load(view, (1u << TROUPE__TABLE_COUNT) - 1) : result;
    if (result == TROUPE_OK) {
        return troupe__cut_add_view(cut, name, number, view);
    }
    snprintf(cut->error, sizeof cut->error, "%s", view->error);
    if (opened) {
        troupe__view_close(view);
    }
    free(view);
    return result;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

void troupe__cut_walk_begin(struct troupe__cut_walk *walk, const struct troupe__cut *cut, unsigned tables)
{
    *walk = (struct troupe__cut_walk){.cut = cut, .tables = tables, .node_end = cut->node_count, .fd = -1};
}

void troupe__cut_walk_begin_node(struct troupe__cut_walk *walk, const struct troupe__cut *cut, unsigned tables,
                                 size_t node)
{
    troupe__cut_walk_begin(walk, cut, tables);
    walk->node = node;
    walk->node_end = node + 1;
}

static void close_node(struct troupe__cut_walk *walk)
{
    if (walk->reader) {
        troupe__part_reader_free(walk->reader);
        close(walk->fd);
    }
    walk->reader = NULL;
    walk->table = walk->at = 0;
}

void troupe__cut_walk_end(struct troupe__cut_walk *walk)
{
    close_node(walk);
}

static enum troupe_error open_part(struct troupe__cut_walk *walk, const struct troupe__cut_node *node)
{
    char path[PATH_MAX], text[256];
    struct troupe_bytes head;
    if ((size_t)snprintf(path, sizeof path, "%s/node-%s.part", walk->cut->directory, node->name) >= sizeof path) {
        snprintf(walk->error, sizeof walk->error, "the path of the snapshot is too long");
        return TROUPE_EINVAL;
    }
    walk->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (walk->fd < 0) {
        snprintf(walk->error, sizeof walk->error, "open %.400s: %s", path, strerror(errno));
        return errno == ENOENT ? TROUPE_ECORRUPT : TROUPE_EIO;
    }
    enum troupe_error result = troupe__part_open(walk->fd, &walk->reader, &head, text, sizeof text);
    if (result != TROUPE_OK) {
        snprintf(walk->error, sizeof walk->error, "%.300s: %s", path, text);
        close(walk->fd);
    }
    return result;
}

static bool wanted(const struct troupe__cut_walk *walk, size_t table)
{
    return (walk->tables >> table & 1) != 0;
}

/* TROUPE_ENOTFOUND: this node has no more. */
static enum troupe_error next_of_part(struct troupe__cut_walk *walk, const struct troupe__cut_node *node,
                                      struct troupe__cut_row *ret)
{
    char text[256];
    enum troupe_error result = walk->reader ? TROUPE_OK : open_part(walk, node);
    if (result != TROUPE_OK) {
        return result;
    }
    do {
        result = troupe__part_next(walk->reader, &ret->table, &ret->key, &ret->value, text, sizeof text);
        if (result == TROUPE_OK && walk->tables >> ret->table == 0) {
            return TROUPE_ENOTFOUND; /* Tables stand in their order. */
        }
    } while (result == TROUPE_OK && !wanted(walk, ret->table));
    if (result == TROUPE_ENOTFOUND) {
        if (memcmp(troupe__part_summary(walk->reader), &node->part.summary, sizeof node->part.summary) == 0) {
            return TROUPE_ENOTFOUND;
        }
        snprintf(text, sizeof text, "it does not hold what the manifest says: use another snapshot");
        result = TROUPE_ECORRUPT;
    }
    if (result != TROUPE_OK) {
        snprintf(walk->error, sizeof walk->error, "%.300s: node %s: %s", walk->cut->directory, node->name, text);
    }
    return result;
}

static enum troupe_error next_of_view(struct troupe__cut_walk *walk, const struct troupe__view *view,
                                      struct troupe__cut_row *ret)
{
    for (; walk->table < TROUPE__TABLE_COUNT; walk->table++, walk->at = 0) {
        const struct troupe__view_table *table = &view->tables[walk->table];
        if (wanted(walk, walk->table) && walk->at < table->count) {
            const struct troupe__view_row *row = table->rows[walk->at++];
            ret->table = (enum troupe__table)walk->table;
            ret->key = row->key;
            ret->value = row->value;
            return TROUPE_OK;
        }
    }
    return TROUPE_ENOTFOUND;
}

/* The next message of an outbox's row (mailbox/outbox.h). */
static enum troupe_error next_of_chunk(struct troupe__cut_walk *walk, struct troupe__cut_row *ret)
{
    struct troupe__cut_row row = {.node = walk->node, .table = TROUPE__OUTBOX};
    row.value.data = troupe__cursor_string(&walk->chunk, &row.value.size);
    if (walk->chunk.failed) {
        snprintf(walk->error, sizeof walk->error, "node %s: a row of an outbox is malformed",
                 walk->cut->nodes[walk->node].name);
        return TROUPE_ECORRUPT;
    }
    memcpy(walk->key, walk->chunk_key, sizeof walk->key);
    row.key = (struct troupe_bytes){walk->key, sizeof walk->key};
    troupe__put_be64(walk->chunk_key + 2, troupe__get_be64(walk->chunk_key + 2) + 1);
    *ret = row;
    return TROUPE_OK;
}

static enum troupe_error begin_chunk(struct troupe__cut_walk *walk, const struct troupe__cut_row *row)
{
    if (row->key.size != sizeof walk->chunk_key || row->value.size == 0) {
        snprintf(walk->error, sizeof walk->error, "node %s: a row of an outbox is malformed",
                 walk->cut->nodes[walk->node].name);
        return TROUPE_ECORRUPT;
    }
    memcpy(walk->chunk_key, row->key.data, sizeof walk->chunk_key);
    walk->chunk =
        (struct troupe__cursor){row->value.data, (const unsigned char *)row->value.data + row->value.size, false};
    return TROUPE_OK;
}

enum troupe_error troupe__cut_next(struct troupe__cut_walk *walk, struct troupe__cut_row *ret)
{
    while (walk->node < walk->node_end) {
        if (walk->chunk.at != walk->chunk.end) {
            return next_of_chunk(walk, ret);
        }
        const struct troupe__cut_node *node = &walk->cut->nodes[walk->node];
        struct troupe__cut_row row = {.node = walk->node};
        enum troupe_error result = node->view ? next_of_view(walk, node->view, &row) : next_of_part(walk, node, &row);
        if (result == TROUPE_ENOTFOUND) {
            close_node(walk);
            walk->node++;
            continue;
        }
        if (++walk->rows % PROGRESS_ROWS == 0 && walk->cut->progress) {
            walk->cut->progress(walk->cut->progress_context, walk->rows);
        }
        if (result == TROUPE_OK && row.table == TROUPE__OUTBOX) {
            result = begin_chunk(walk, &row);
        } else if (result == TROUPE_OK) {
            *ret = row;
        }
        if (result != TROUPE_OK || row.table != TROUPE__OUTBOX) {
            return result;
        }
    }
    return TROUPE_ENOTFOUND;
}

/* ---- what the nodes say ------------------------------------------------------------------------------------------ */

/* A META row: "counters" (runtime/machine/counters.h) and "link/PEER" (runtime/machine/links.h). */
static bool note_row(struct troupe__cut *cut, const struct troupe__cut_row *row)
{
    struct troupe__cut_node *node = &cut->nodes[row->node];
    struct troupe__counters counters;
    if (troupe__counters_is(row->key)) {
        bool good = troupe__counters_decode(row->value, &counters);
        node->now_ms = good ? (int64_t)counters.now_ms : 0;
        return good;
    }
    if (cut->node_count == 1) {
        return true; /* One of a troupe, without its peers. */
    }
    struct troupe__link_row link;
    int peer = troupe__links_row_read(row->key, row->value, cut->node_count, &link);
    if (peer >= 0) {
        node->links[peer] = link;
    }
    return peer != TROUPE__LINK_ROW_BAD;
}

enum troupe_error troupe__cut_ready(struct troupe__cut *cut)
{
    struct troupe__cut_walk walk;
    struct troupe__cut_row row;
    enum troupe_error result;
    for (size_t i = 0; i < cut->node_count; i++) {
        if (cut->nodes[i].number >= cut->node_count) {
            snprintf(cut->error, sizeof cut->error, "node %s has number %llu, of %zu nodes", cut->nodes[i].name,
                     (unsigned long long)cut->nodes[i].number, cut->node_count);
            return TROUPE_EINVAL;
        }
        if (!(cut->nodes[i].links = calloc(cut->node_count, sizeof *cut->nodes[i].links))) {
            return out_of_memory(cut);
        }
    }
    troupe__cut_walk_begin(&walk, cut, 1u << TROUPE__META);
    while ((result = troupe__cut_next(&walk, &row)) == TROUPE_OK) {
        if (!note_row(cut, &row)) {
            snprintf(walk.error, sizeof walk.error, "node %s: its row '%.*s' is malformed: use another snapshot",
                     cut->nodes[row.node].name, (int)(row.key.size < 64 ? row.key.size : 64),
                     (const char *)row.key.data);
            result = TROUPE_ECORRUPT;
            break;
        }
    }
    troupe__cut_walk_end(&walk);
    if (result != TROUPE_ENOTFOUND) {
        snprintf(cut->error, sizeof cut->error, "%s", walk.error);
        return result;
    }
    return TROUPE_OK;
}

uint64_t troupe__cut_rows(const struct troupe__cut *cut, unsigned tables)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < cut->node_count; i++) {
        const struct troupe__cut_node *node = &cut->nodes[i];
        for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
            uint64_t count = node->view ? node->view->tables[table].count : node->part.summary.rows[table];
            rows += (tables >> table & 1) != 0 ? count : 0;
        }
    }
    return rows;
}

bool troupe__cut_in_flight(const struct troupe__cut *cut, size_t node, struct troupe_bytes key)
{
    const unsigned char *at = key.data;
    if (key.size != 10) {
        return false;
    }
    uint64_t peer = (uint64_t)at[0] << 8 | at[1], number = troupe__get_be64(at + 2);
    for (size_t i = 0; i < cut->node_count; i++) {
        if (cut->nodes[i].number == peer) {
            return number > cut->nodes[i].links[cut->nodes[node].number].accepted;
        }
    }
    return true; /* It is not part of the cut: nobody has it. */
}
