/* sim_disks.c - disks of simulated nodes are emptied, or older copies of them put back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/snapshot/recast.h"
#include "runtime/sim/simulation.h"

#define RETRY_NS (20 * TROUPE__SIM_MS) /* while there is no snapshot yet */

static const struct troupe__snapshot_part *part_of(const struct troupe__snapshot *snapshot, uint16_t node)
{
    size_t i = 0;
    while (snapshot->parts[i].number != node) {
        i++;
    }
    return &snapshot->parts[i];
}

/* Make a node's disk anew, of a part of a snapshot. */
static enum troupe_error restore_part(struct troupe__sim_node *node, const char *directory,
                                      const struct troupe__snapshot_part *part, char *error, size_t error_size)
{
    uint64_t generation = node->simulator->slots.generation;
    enum troupe_error result = troupe__sim_node_open_store(node, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = node->store->replay(node->store, NULL, NULL);
    result = result == TROUPE_OK
                 ? troupe__snapshot_restore_rows(directory, part, generation, node->store, error, error_size)
                 : result;
    node->store->close(node->store);
    node->store = NULL;
    return result == TROUPE_OK ? troupe__sim_read_truth(node, directory, part, error, error_size) : result;
}

/* ---- other numbers of nodes: rows are dealt out anew ------------------------------------------------------------ */

struct part_source {
    struct troupe__recast_source base;
    struct troupe__snapshot_rows *rows;
};

/* A disk in memory for each new node: what was dealt out is found again at once, whatever its own store is. */
struct disks {
    struct troupe__recast_sink base;
    struct troupe__memory_disk *disks[TROUPE__NODES_MAX];
    struct troupe__store *stores[TROUPE__NODES_MAX];
};

struct dealing {
    struct part_source sources[TROUPE__NODES_MAX];
    struct troupe__recast_source *bases[TROUPE__NODES_MAX];
    uint64_t released[TROUPE__NODES_MAX];
    uint16_t heirs[TROUPE__NODES_MAX], predecessors[TROUPE__NODES_MAX];
    struct disks disks;
};

static enum troupe_error next_row(struct troupe__recast_source *source, enum troupe__table *ret_table,
                                  struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                  size_t error_size)
{
    return troupe__snapshot_next_row(((struct part_source *)source)->rows, ret_table, ret_key, ret_value, error,
                                     error_size);
}

static enum troupe_error commit_row(struct troupe__store *store, struct troupe__buffer *record, char *error,
                                    size_t error_size)
{
    enum troupe_error result =
        record->failed ? TROUPE_ENOMEM
                       : store->commit(store, ++store->last_epoch, (struct troupe_bytes){record->data, record->size});
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", record->failed ? "out of memory" : store->error);
    }
    store->refresh(store);
    troupe__buffer_free(record);
    return result;
}

static enum troupe_error set_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                 struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size)
{
    struct troupe__buffer record = {0};
    troupe__record_set(&record, table, key.data, key.size, value.data, value.size);
    return commit_row(((struct disks *)sink)->stores[node], &record, error, error_size);
}

static enum troupe_error find_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                  struct troupe_bytes key, bool remove, char *error, size_t error_size)
{
    struct troupe__store *store = ((struct disks *)sink)->stores[node];
    struct troupe__buffer record = {0};
    struct troupe_bytes value;
    enum troupe_error result = store->read(store, table, key, &value);
    if (result != TROUPE_OK || !remove) {
        return result;
    }
    troupe__record_remove(&record, table, key.data, key.size);
    return commit_row(store, &record, error, error_size);
}

static enum troupe_error open_disk(struct disks *disks, uint16_t node, char *error, size_t error_size)
{
    if (!(disks->disks[node] = troupe__memory_disk_new())) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = troupe__memory_store_open(disks->disks[node], &disks->stores[node], error, error_size);
    return result == TROUPE_OK ? disks->stores[node]->replay(disks->stores[node], NULL, NULL) : result;
}

struct filling {
    struct troupe__buffer record;
    enum troupe__table table;
};

static enum troupe_error fill_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct filling *filling = context;
    troupe__record_set(&filling->record, filling->table, key.data, key.size, value.data, value.size);
    return TROUPE_OK;
}

/* All that was dealt out to a node is the first epoch of its store. */
static enum troupe_error fill_store(struct troupe__sim_node *node, struct troupe__store *from, char *error,
                                    size_t error_size)
{
    struct filling filling = {.table = TROUPE__META};
    enum troupe_error result = troupe__sim_node_open_store(node, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = node->store->replay(node->store, NULL, NULL);
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        filling.table = (enum troupe__table)table;
        result = from->scan(from, filling.table, (struct troupe_bytes){"", 0}, fill_row, &filling);
    }
    result = result == TROUPE_OK ? commit_row(node->store, &filling.record, error, error_size) : result;
    node->store->close(node->store);
    node->store = NULL;
    return result;
}

static enum troupe_error deal(struct dealing *dealing, struct troupe__simulator *simulator, const char *directory,
                              const struct troupe__snapshot *snapshot, char *error, size_t error_size)
{
    struct troupe__recast_options options = {.sources = dealing->bases,
                                             .source_count = (uint16_t)snapshot->part_count,
                                             .released = dealing->released,
                                             .heirs = dealing->heirs,
                                             .slots = &simulator->slots,
                                             .predecessors = dealing->predecessors,
                                             .sink = &dealing->disks.base};
    struct troupe__recast_counts counts;
    enum troupe_error result = TROUPE_OK;
    dealing->disks.base = (struct troupe__recast_sink){set_row, find_row};
    for (uint16_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        const struct troupe__snapshot_part *part = part_of(snapshot, i);
        dealing->sources[i].base.next = next_row;
        dealing->bases[i] = &dealing->sources[i].base;
        dealing->released[i] = part->released;
        dealing->heirs[i] = i % simulator->options.node_count;
        result = troupe__snapshot_open_part(directory, part, &dealing->sources[i].rows, error, error_size);
    }
    for (uint16_t i = 0; i < simulator->options.node_count && result == TROUPE_OK; i++) {
        dealing->predecessors[i] = i < snapshot->part_count ? i : TROUPE__RECAST_NOBODY;
        troupe__sim_forget_truth(&simulator->nodes[i]);
        troupe__sim_go_back_outside(&simulator->nodes[i]);
        result = open_disk(&dealing->disks, i, error, error_size);
    }
    result = result == TROUPE_OK ? troupe__recast(&options, &counts, error, error_size) : result;
    for (uint16_t i = 0; i < snapshot->part_count; i++) {
        troupe__snapshot_close_part(dealing->sources[i].rows);
    }
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        result = result == TROUPE_OK ? fill_store(&simulator->nodes[i], dealing->disks.stores[i], error, error_size)
                                     : result;
        if (dealing->disks.stores[i]) {
            dealing->disks.stores[i]->close(dealing->disks.stores[i]);
        }
        troupe__memory_disk_free(dealing->disks.disks[i]);
    }
    return result;
}

static enum troupe_error restore_others(struct troupe__simulator *simulator, const char *directory,
                                        const struct troupe__snapshot *snapshot, char *error, size_t error_size)
{
    simulator->options.node_count = simulator->options.restore_nodes;
    troupe__slots_spread(&simulator->slots, simulator->slots.cluster, simulator->slots.generation,
                         simulator->options.node_count);
    struct dealing *dealing = calloc(1, sizeof *dealing);
    if (!dealing) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = deal(dealing, simulator, directory, snapshot, error, error_size);
    free(dealing);
    return result;
}

/* ---- restoring --------------------------------------------------------------------------------------------------- */

static enum troupe_error restore_same(struct troupe__simulator *simulator, const char *directory,
                                      const struct troupe__snapshot *snapshot, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < simulator->options.node_count && result == TROUPE_OK; i++) {
        troupe__sim_go_back_outside(&simulator->nodes[i]);
        result = restore_part(&simulator->nodes[i], directory, part_of(snapshot, i), error, error_size);
    }
    return result;
}

void troupe__sim_restore(struct troupe__simulator *simulator)
{
    char directory[PATH_MAX], error[512] = "";
    const struct troupe__snapshot *snapshot = troupe__sim_last_snapshot(simulator, directory);
    enum troupe_error result = TROUPE_OK;
    if (simulator->snapshots && !snapshot && !simulator->calm) {
        troupe__sim_push(simulator, simulator->now_ns + RETRY_NS, TROUPE__SIM_RESTORE, &simulator->nodes[0]);
        return;
    }
    troupe__sim_abandon_snapshots(simulator);
    simulator->slots.generation++;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        troupe__sim_node_take_down(node);
        troupe__memory_disk_free(node->disk);
        node->disk = NULL;
        node->starts = 0;
        if (!snapshot) {
            troupe__sim_forget_outside(node);
            troupe__sim_forget_truth(node);
        }
    }
    uint16_t others = simulator->options.restore_nodes;
    if (snapshot) {
        result = others && others != snapshot->part_count
                     ? restore_others(simulator, directory, snapshot, error, sizeof error)
                     : restore_same(simulator, directory, snapshot, error, sizeof error);
    }
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "restore: %s", error);
        return;
    }
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_RESTART_NS, TROUPE__SIM_START,
                         &simulator->nodes[i]);
    }
    simulator->result.restored = snapshot != NULL;
    simulator->result.moved = snapshot && snapshot->part_count != simulator->options.node_count;
    if (simulator->options.restored) {
        simulator->options.restored(simulator->options.context);
    }
    troupe__sim_note(simulator, TROUPE__SIM_RESTORE, 0, simulator->slots.generation);
}

void troupe__sim_copy_disk(struct troupe__simulator *simulator)
{
    struct troupe__sim_node *node = &simulator->nodes[0];
    troupe__memory_disk_free(simulator->copy);
    simulator->copy = node->disk ? troupe__memory_disk_copy(node->disk) : troupe__memory_disk_new();
    if (!simulator->copy) {
        troupe__sim_fail(simulator, "out of memory");
    }
}

void troupe__sim_put_back_disk(struct troupe__simulator *simulator)
{
    struct troupe__sim_node *node = &simulator->nodes[0];
    troupe__sim_node_take_down(node);
    troupe__memory_disk_free(node->disk);
    node->disk = simulator->copy;
    simulator->copy = NULL;
    simulator->put_back = true;
    troupe__sim_forget_outside(node);
    troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_RESTART_NS, TROUPE__SIM_START, node);
    troupe__sim_note(simulator, TROUPE__SIM_PUT_BACK, 0, TROUPE__SIM_DONE);
}
