/* sim_disks.c - disks of simulated nodes are emptied, or older copies of them put back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/simulation.h"

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
    for (uint16_t i = 0; i < simulator->options.node_count && result == TROUPE_OK; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        troupe__sim_node_take_down(node);
        troupe__memory_disk_free(node->disk);
        node->disk = NULL;
        node->starts = 0;
        if (snapshot) {
            troupe__sim_go_back_outside(node);
            result = restore_part(node, directory, part_of(snapshot, i), error, sizeof error);
        } else {
            troupe__sim_forget_outside(node);
            troupe__sim_forget_truth(node);
        }
        troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_RESTART_NS, TROUPE__SIM_START, node);
    }
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "restore: %s", error);
        return;
    }
    simulator->result.restored = snapshot != NULL;
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
