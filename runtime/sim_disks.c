/* sim_disks.c - disks of simulated nodes are emptied, or older copies of them put back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/simulation.h"

/* As if restored from a snapshot of the very beginning. */
void troupe__sim_restore(struct troupe__simulator *simulator)
{
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        troupe__sim_node_take_down(node);
        troupe__memory_disk_free(node->disk);
        node->disk = NULL;
        troupe__sim_forget_outside(node);
        troupe__sim_forget_truth(node);
        node->starts = 0;
        troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_RESTART_NS, TROUPE__SIM_START, node);
    }
    simulator->slots.generation++;
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
