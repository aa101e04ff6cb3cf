/* run_schedule.c - `troupe run`: the process beside nodes that takes snapshots by the clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "runtime/cli/run_parts.h"

int troupe__run_take_schedule(struct troupe__run *run, bool shared)
{
    const struct troupe__cluster *cluster = &run->cluster;
    const struct troupe__cluster_snapshots *snapshots = &cluster->snapshots;
    if (snapshots->every_ms == 0 || run->every_ms > 0 || (shared && snapshots->node != run->place.self)) {
        return -1;
    }
    for (int i = 0; shared && i < cluster->slots.node_count; i++) {
        if (!cluster->nodes[i].clients[0]) {
            char text[TROUPE__NODE_NAME_MAX + 128];
            snprintf(
                text, sizeof text,
                "the cluster file has 'snapshots', but no client_endpoint of node %s, where it is asked for its part",
                cluster->nodes[i].name);
            return troupe__run_fail(text, TROUPE_EINVAL);
        }
    }
    if (snapshots->check && !run->node.module->check) {
        return troupe__run_fail(
            "the cluster file has 'snapshots' with 'check', but the module has no check, see troupe.h", TROUPE_EINVAL);
    }
    run->every_ms = snapshots->every_ms;
    run->keep = snapshots->keep;
    run->checks = snapshots->check;
    run->snapshots = snapshots->to;
    return -1;
}

bool troupe__run_companion_init(struct troupe__run_companion *companion, const struct troupe__run *run)
{
    *companion = (struct troupe__run_companion){.is_needed = run->every_ms > 0, .log = run->log};
    companion->log.node = "snapshots";
    struct troupe__reach_options where = {.data = run->node.data};
    if (run->place.cluster) {
        where = (struct troupe__reach_options){.cluster = run->cluster_path,
                                               .key = run->cluster.keys ? run->key_path : NULL};
    }
    bool is_troupe = run->nodes > 0 || run->place.cluster;
    companion->schedule = (struct troupe__schedule){.where = where,
                                                    .slots = is_troupe ? &run->cluster.slots : NULL,
                                                    .every_ms = run->every_ms,
                                                    .keep = run->keep,
                                                    .module = run->checks ? run->node.module : NULL,
                                                    .log = troupe__log_line,
                                                    .log_context = &companion->log};
    snprintf(companion->schedule.directory, sizeof companion->schedule.directory, "%.4000s%s",
             run->snapshots && *run->snapshots ? run->snapshots : run->node.data,
             run->snapshots && *run->snapshots ? "" : "/snapshots");
    companion->child = (struct troupe__child){.name = "snapshots",
                                              .guard = companion->is_needed ? troupe__guard_new() : NULL,
                                              .run = troupe__schedule_run,
                                              .context = &companion->schedule,
                                              .companion = true};
    return !companion->is_needed || companion->child.guard;
}
