/* sim_faults.c - what strikes a simulated troupe, and how often.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sim/simulation.h"

enum { COLOURS_JUMP = 20 /* more than a photographer reckons with */ };

#define CALM_SNAPSHOT_NS (5000 * TROUPE__SIM_MS) /* after all has been calmed */

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void strike_clock(struct troupe__sim_node *node, uint64_t id)
{
    struct troupe__simulator *simulator = node->simulator;
    if (!troupe__sim_strikes(simulator, TROUPE__CHOOSE_CLOCK, simulator->options.faults.clock, id)) {
        return;
    }
    if (troupe__sim_between(simulator, TROUPE__CHOOSE_CLOCK, 0, 2, id) == 0) {
        node->clock_offset_ms += (int64_t)troupe__sim_between(simulator, TROUPE__CHOOSE_CLOCK, 0, 4000, id + 1) - 2000;
    } else {
        node->clock_drift_ppm = (int64_t)troupe__sim_between(simulator, TROUPE__CHOOSE_CLOCK, 0, 2000, id + 2) - 1000;
    }
    if (node->alive) {
        troupe__sim_wake(node, simulator->now_ns + TROUPE__SIM_TURN_NS);
    }
}

static void strike_paths(struct troupe__sim_node *node, uint64_t id)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_faults *faults = &simulator->options.faults;
    for (uint16_t peer = 0; peer < simulator->options.node_count; peer++) {
        uint64_t path = troupe__id_mix(id, peer);
        if (peer == node->number) {
            continue;
        }
        if (troupe__sim_strikes(simulator, TROUPE__CHOOSE_PARTITION, faults->partition, path)) {
            uint64_t until_ns = simulator->now_ns + troupe__sim_between(simulator, TROUPE__CHOOSE_PARTITION,
                                                                        5 * TROUPE__SIM_MS, 500 * TROUPE__SIM_MS, path);
            troupe__sim_network_cut(simulator->network, node->number, peer, until_ns);
            if (troupe__sim_between(simulator, TROUPE__CHOOSE_PARTITION, 0, 2, path + 1) == 0) {
                troupe__sim_network_cut(simulator->network, peer, node->number, until_ns);
            }
        }
        if (troupe__sim_strikes(simulator, TROUPE__CHOOSE_SLOWNESS, faults->slowness, path)) {
            troupe__sim_network_slow(simulator->network, node->number, peer,
                                     simulator->now_ns + troupe__sim_between(simulator, TROUPE__CHOOSE_SLOWNESS,
                                                                             5 * TROUPE__SIM_MS, 300 * TROUPE__SIM_MS,
                                                                             path));
        }
    }
}

void troupe__sim_strike(struct troupe__simulator *simulator)
{
    uint64_t step = simulator->now_ns / TROUPE__SIM_FAULTS_NS;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        uint64_t id = troupe__id_mix(i, step);
        strike_clock(node, id);
        strike_paths(node, id);
        if (troupe__sim_strikes(simulator, TROUPE__CHOOSE_PAUSE, simulator->options.faults.pause, id)) {
            node->paused_until_ns =
                simulator->now_ns +
                troupe__sim_between(simulator, TROUPE__CHOOSE_PAUSE, 5 * TROUPE__SIM_MS, 1000 * TROUPE__SIM_MS, id);
        }
        uint32_t dice = troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_COLOUR, 200, id);
        if (node->alive && dice >= 1 && dice <= 10) {
            troupe__links_colour(node->links, node->links->colour + (dice == 1 ? COLOURS_JUMP : 1));
        }
    }
    if (simulator->snapshots && troupe__sim_strikes(simulator, TROUPE__CHOOSE_SNAPSHOT, simulator->options.snapshots,
                                                    troupe__id_mix(step, 0))) {
        troupe__sim_take_snapshot(simulator);
        if (troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_SNAPSHOT, 3, troupe__id_mix(step, 1)) == 1) {
            troupe__sim_take_snapshot(simulator);
        }
    }
    troupe__sim_note(simulator, TROUPE__SIM_FAULTS, 0, step);
}

void troupe__sim_calm_down(struct troupe__simulator *simulator)
{
    simulator->calm = true;
    troupe__sim_network_calm(simulator->network);
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        simulator->nodes[i].paused_until_ns = 0;
        simulator->nodes[i].doomed = false;
    }
    if (simulator->snapshots) { /* When whatever was begun before is over. */
        troupe__sim_push(simulator, simulator->now_ns + CALM_SNAPSHOT_NS, TROUPE__SIM_SNAPSHOT, &simulator->nodes[0]);
    }
}

/* A fault is on in half of the seeds, more or less often. */
static uint32_t often(uint64_t seed, enum troupe__choice fault, unsigned faults, uint32_t most)
{
    uint64_t dice = troupe__id_mix(seed, UINT64_C(0xfa17) + fault);
    return faults >> fault & 1 && dice % 2 ? 1 + (uint32_t)((dice >> 8) % most) : 0;
}

static uint64_t draw(uint64_t seed, uint64_t what, uint64_t low, uint64_t count)
{
    return low + troupe__id_mix(seed, UINT64_C(0xd1ce) + what) % count;
}

void troupe__sim_draw(struct troupe__sim_options *options, uint64_t seed, unsigned faults)
{
    options->faults = (struct troupe__sim_faults){
        .loss = often(seed, TROUPE__CHOOSE_LOSS, faults, 200),
        .duplication = often(seed, TROUPE__CHOOSE_DUPLICATION, faults, 200),
        .reordering = often(seed, TROUPE__CHOOSE_REORDERING, faults, 200),
        .partition = often(seed, TROUPE__CHOOSE_PARTITION, faults, 20),
        .slowness = often(seed, TROUPE__CHOOSE_SLOWNESS, faults, 20),
        .crash = often(seed, TROUPE__CHOOSE_CRASH, faults, 30),
        .snapshot_crash = often(~seed, TROUPE__CHOOSE_CRASH, faults, 600),
        .pause = often(seed, TROUPE__CHOOSE_PAUSE, faults, 20),
        .slow_commit = often(seed, TROUPE__CHOOSE_SLOW_COMMIT, faults, 50),
        .failing_commit = often(seed, TROUPE__CHOOSE_FAILING_COMMIT, faults, 50),
        .clock = often(seed, TROUPE__CHOOSE_CLOCK, faults, 50),
    };
    options->calm_ns = draw(seed, 0, 200, 1000) * TROUPE__SIM_MS;
    options->run_budget = (uint32_t)draw(seed, 1, 1, 16);
    options->snapshots = (uint32_t)draw(seed, 8, 5, 50);
    options->links.window = draw(seed, 2, 200, 3000);
    options->links.outbox_memory_max = draw(seed, 3, 100, 2000);
    options->links.outbox_size_max = draw(seed, 4, 300, 5000);
    options->links.backlog_max = options->links.outbox_size_max / 2;
    options->links.waiting_max = draw(seed, 5, 1, 50);
    options->links.resend_ns = draw(seed, 6, 5, 50) * TROUPE__SIM_MS;
    options->links.resend_max_ns = 400 * TROUPE__SIM_MS;
    options->links.trim_ns = draw(seed, 7, 1, 60) * TROUPE__SIM_MS;
}
