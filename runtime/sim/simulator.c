/* simulator.c - a whole troupe in one thread: real machines and links, simulated time, network, crashes and clocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sim/simulation.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"

void troupe__sim_fail(struct troupe__simulator *simulator, const char *format, ...)
{
    if (simulator->failed) {
        return;
    }
    simulator->failed = true;
    int size = snprintf(simulator->result.failure, sizeof simulator->result.failure,
                        "at %" PRIu64 ".%06" PRIu64 " ms: ", simulator->now_ns / TROUPE__SIM_MS,
                        simulator->now_ns % TROUPE__SIM_MS);
    va_list args;
    va_start(args, format);
    vsnprintf(simulator->result.failure + size, sizeof simulator->result.failure - (size_t)size, format, args);
    va_end(args);
}

void troupe__sim_note(struct troupe__simulator *simulator, unsigned kind, uint16_t node, uint64_t outcome)
{
    simulator->result.events++;
    if (!simulator->options.no_hash) {
        uint64_t event = (uint64_t)kind << 48 | (uint64_t)node << 32 | (outcome & 0xffffffff);
        uint64_t *hash = &simulator->result.event_hash;
        *hash = troupe__id_mix(*hash ^ event, outcome ^ simulator->now_ns);
    }
}

bool troupe__sim_strikes(struct troupe__simulator *simulator, enum troupe__choice kind, uint32_t per_mille, uint64_t id)
{
    if (simulator->calm || per_mille == 0) {
        return false;
    }
    uint32_t dice = troupe__choose(simulator->options.oracle, kind, 1000, id);
    return dice > 0 && dice <= per_mille;
}

uint64_t troupe__sim_between(struct troupe__simulator *simulator, enum troupe__choice kind, uint64_t low, uint64_t high,
                             uint64_t id)
{
    return low + (high - low) * troupe__choose(simulator->options.oracle, kind, 1024, ~id) / 1024;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static bool earlier(const struct troupe__sim_event *a, const struct troupe__sim_event *b)
{
    if (a->at_ns != b->at_ns) {
        return a->at_ns < b->at_ns;
    }
    return a->tie != b->tie ? a->tie < b->tie : a->order < b->order;
}

void troupe__sim_push_for(struct troupe__simulator *simulator, uint64_t at_ns, enum troupe__sim_event_kind kind,
                          struct troupe__sim_node *node, uint32_t session, uint32_t detail)
{
    struct troupe__sim_event *events =
        troupe__grow(simulator->events, simulator->event_count, &simulator->event_capacity, sizeof *events);
    if (!events) {
        troupe__sim_fail(simulator, "out of memory");
        return;
    }
    simulator->events = events;
    struct troupe__sim_event event = {
        .at_ns = at_ns, .order = simulator->order++, .node = node->number, .life = node->life};
    event.kind = (uint16_t)kind;
    event.session = session;
    event.detail = detail;
    event.tie = troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_ORDER, 1 << 16, event.order);
    size_t at = simulator->event_count++;
    while (at > 0 && earlier(&event, &simulator->events[(at - 1) / 2])) {
        simulator->events[at] = simulator->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    simulator->events[at] = event;
}

void troupe__sim_push(struct troupe__simulator *simulator, uint64_t at_ns, enum troupe__sim_event_kind kind,
                      struct troupe__sim_node *node)
{
    troupe__sim_push_for(simulator, at_ns, kind, node, 0, 0);
}

static struct troupe__sim_event pop_event(struct troupe__simulator *simulator)
{
    struct troupe__sim_event first = simulator->events[0], last = simulator->events[--simulator->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < simulator->event_count && earlier(&simulator->events[child + 1], &simulator->events[child])) {
            child++;
        }
        if (child >= simulator->event_count || earlier(&last, &simulator->events[child])) {
            break;
        }
        simulator->events[at] = simulator->events[child];
        at = child;
    }
    simulator->events[at] = last;
    return first;
}

void troupe__sim_wake(struct troupe__sim_node *node, uint64_t at_ns)
{
    if (at_ns < node->turn_at_ns) {
        node->turn_at_ns = at_ns;
        troupe__sim_push(node->simulator, at_ns, TROUPE__SIM_TURN, node);
    }
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* Something is about to happen at the node: returns whether it crashes instead. */
static bool crashes(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    if (!troupe__sim_strikes(simulator, TROUPE__CHOOSE_CRASH, simulator->options.faults.crash,
                             troupe__id_mix(node->number, node->steps++)) &&
        !node->doomed) {
        return false;
    }
    troupe__sim_note(simulator, TROUPE__SIM_START, node->number, TROUPE__SIM_CRASHED);
    troupe__sim_node_crash(node);
    return true;
}

static void run_event(struct troupe__simulator *simulator, struct troupe__sim_event event)
{
    struct troupe__sim_node *node = &simulator->nodes[event.node];
    if (event.kind == TROUPE__SIM_FAULTS) {
        troupe__sim_strike(simulator);
        if (!simulator->calm) {
            troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_FAULTS_NS, TROUPE__SIM_FAULTS, node);
        }
        return;
    }
    if (event.kind == TROUPE__SIM_RESTORE) {
        troupe__sim_restore(simulator);
        return;
    }
    if (event.kind == TROUPE__SIM_COPY) {
        troupe__sim_copy_disk(simulator);
        return;
    }
    if (event.kind == TROUPE__SIM_PUT_BACK) {
        troupe__sim_put_back_disk(simulator);
        return;
    }
    if (event.kind == TROUPE__SIM_SNAPSHOT) {
        troupe__sim_take_snapshot(simulator);
        return;
    }
    if (event.kind > TROUPE__SIM_SNAPSHOT) {
        troupe__sim_session_event(simulator, &event);
        return;
    }
    if (event.life != node->life || (event.kind == TROUPE__SIM_TURN && event.at_ns != node->turn_at_ns)) {
        return;
    }
    if (simulator->now_ns < node->paused_until_ns) {
        node->turn_at_ns = event.kind == TROUPE__SIM_TURN ? node->paused_until_ns : node->turn_at_ns;
        troupe__sim_push(simulator, node->paused_until_ns, (enum troupe__sim_event_kind)event.kind, node);
        return;
    }
    if (event.kind == TROUPE__SIM_START) {
        troupe__sim_node_start(node);
        troupe__sim_note(simulator, TROUPE__SIM_START, node->number, TROUPE__SIM_DONE);
        return;
    }
    if (crashes(node)) {
        return;
    }
    switch ((enum troupe__sim_event_kind)event.kind) {
    case TROUPE__SIM_TURN:
        node->turn_at_ns = TROUPE__NEVER;
        troupe__sim_node_turn(node);
        break;
    case TROUPE__SIM_COMMIT:
        troupe__sim_node_commit(node);
        break;
    case TROUPE__SIM_RELEASE:
        troupe__sim_node_release(node);
        break;
    case TROUPE__SIM_WRITE:
        troupe__sim_write_part(node);
        break;
    case TROUPE__SIM_JOB:
        troupe__sim_node_end_job(node);
        break;
    default:
        troupe__sim_node_answer(node);
        break;
    }
}

static void run_arrival(struct troupe__simulator *simulator, const struct troupe__sim_arrival *arrival)
{
    struct troupe__sim_node *node = &simulator->nodes[arrival->to];
    uint64_t hash = arrival->frame.size >= TROUPE__FRAME_HEADER_SIZE
                        ? troupe__get_be64((const unsigned char *)arrival->frame.data + 40)
                        : 0;
    if (!node->alive) {
        troupe__sim_network_drop(simulator->network);
        return;
    }
    if (simulator->now_ns < node->paused_until_ns) {
        troupe__sim_network_postpone(simulator->network, node->paused_until_ns);
        return;
    }
    if (crashes(node)) {
        troupe__sim_network_drop(simulator->network);
        return;
    }
    troupe__sim_note(simulator, TROUPE__SIM_TURN, node->number, hash);
    troupe__sim_network_deliver(simulator->network);
    troupe__sim_wake(node, simulator->now_ns + TROUPE__SIM_TURN_NS);
}

static bool step(struct troupe__simulator *simulator)
{
    struct troupe__sim_arrival arrival;
    bool frames = troupe__sim_network_next(simulator->network, &arrival);
    if (!frames && simulator->event_count == 0) {
        return false;
    }
    bool frame_first = frames && (simulator->event_count == 0 || arrival.at_ns < simulator->events[0].at_ns);
    uint64_t at_ns = frame_first ? arrival.at_ns : simulator->events[0].at_ns;
    if (!simulator->calm && at_ns >= simulator->options.calm_ns) {
        troupe__sim_calm_down(simulator);
    }
    if (at_ns > simulator->options.end_ns) {
        troupe__sim_fail(simulator, "it does not end");
        return false;
    }
    simulator->now_ns = at_ns > simulator->now_ns ? at_ns : simulator->now_ns;
    troupe__sim_network_set_now(simulator->network, simulator->now_ns);
    if (frame_first) {
        run_arrival(simulator, &arrival);
    } else {
        run_event(simulator, pop_event(simulator));
    }
    return !simulator->failed;
}

enum troupe_error troupe__simulator_run(struct troupe__simulator *simulator, struct troupe__sim_result *ret)
{
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        troupe__sim_push(simulator, 0, TROUPE__SIM_START, &simulator->nodes[i]);
    }
    if (simulator->options.restore_ns > 0) {
        troupe__sim_push(simulator, simulator->options.restore_ns, TROUPE__SIM_RESTORE, &simulator->nodes[0]);
    }
    if (simulator->options.put_back_ns > 0) {
        troupe__sim_push(simulator, simulator->options.copy_ns, TROUPE__SIM_COPY, &simulator->nodes[0]);
        troupe__sim_push(simulator, simulator->options.put_back_ns, TROUPE__SIM_PUT_BACK, &simulator->nodes[0]);
    }
    if (simulator->options.calm_ns > 0) {
        troupe__sim_push(simulator, TROUPE__SIM_FAULTS_NS, TROUPE__SIM_FAULTS, &simulator->nodes[0]);
    } else {
        troupe__sim_calm_down(simulator);
    }
    while (step(simulator)) {
    }
    if (!simulator->failed) {
        troupe__sim_check_end(simulator);
    }
    simulator->result.now_ns = simulator->now_ns;
    simulator->result.hash = troupe__id_mix(simulator->result.hash, simulator->result.event_hash);
    simulator->result.nodes = simulator->options.node_count;
    *ret = simulator->result;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        const struct troupe__sim_node *node = &simulator->nodes[i];
        if (node->alive) {
            ret->deliveries += node->machine.stats.deliveries;
            ret->dead += node->machine.stats.dead;
            ret->frames += node->links ? node->links->stats.frames_in : 0;
        }
    }
    return simulator->failed ? TROUPE_EFAILED : TROUPE_OK;
}

struct troupe__store *troupe__simulator_store(struct troupe__simulator *simulator, uint16_t node)
{
    assert(simulator->nodes[node].alive);
    return simulator->nodes[node].store;
}

/* ---- new and free ------------------------------------------------------------------------------------------------ */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

struct troupe__simulator *troupe__simulator_new(const struct troupe__sim_options *options)
{
    assert(options->node_count >= 1 && options->node_count <= TROUPE__NODES_MAX);
    struct troupe__simulator *simulator = calloc(1, sizeof *simulator);
    if (!simulator) {
        return NULL;
    }
    simulator->options = *options;
    struct troupe__sim_options *own = &simulator->options;
    own->end_ns = or_default(own->end_ns, own->calm_ns + 3600 * UINT64_C(1000) * TROUPE__SIM_MS);
    own->delay_min_ns = or_default(own->delay_min_ns, 50000);
    own->delay_max_ns = or_default(own->delay_max_ns, 2 * TROUPE__SIM_MS);
    own->commit_ns = or_default(own->commit_ns, 200000);
    own->run_budget = own->run_budget ? own->run_budget : 64;
    simulator->source_count = own->node_count;
    simulator->node_max = own->restore_nodes > own->node_count ? own->restore_nodes : own->node_count;
    troupe__slots_spread(&simulator->slots, 1, 1, own->node_count);
    struct troupe__sim_network_options network = {.oracle = own->oracle,
                                                  .node_count = simulator->node_max,
                                                  .delay_min_ns = own->delay_min_ns,
                                                  .delay_max_ns = own->delay_max_ns,
                                                  .loss = own->faults.loss,
                                                  .duplication = own->faults.duplication,
                                                  .reordering = own->faults.reordering};
    simulator->network = troupe__sim_network_new(&network);
    simulator->nodes = calloc(simulator->node_max, sizeof *simulator->nodes);
    bool ok =
        simulator->network && simulator->nodes && (!own->snapshot_directory || troupe__sim_open_snapshots(simulator));
    for (uint16_t i = 0; ok && i < simulator->node_max; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        *node = (struct troupe__sim_node){.simulator = simulator, .number = i, .turn_at_ns = TROUPE__NEVER};
        node->truth = calloc(simulator->node_max, sizeof *node->truth);
        node->sources = calloc(simulator->source_count, sizeof *node->sources);
        ok = node->truth && node->sources;
    }
    if (!ok) {
        troupe__simulator_free(simulator);
        return NULL;
    }
    return simulator;
}

void troupe__simulator_free(struct troupe__simulator *simulator)
{
    if (!simulator) {
        return;
    }
    for (uint16_t i = 0; simulator->nodes && i < simulator->node_max; i++) {
        struct troupe__sim_node *node = &simulator->nodes[i];
        if (node->alive) {
            troupe__sim_node_take_down(node);
        }
        troupe__memory_disk_free(node->disk);
        troupe__sim_forget_outside(node);
        if (node->truth) {
            troupe__sim_forget_truth(node);
        }
        free(node->truth);
        free(node->sources);
        troupe__epoch_fini(&node->epoch);
    }
    troupe__sim_close_snapshots(simulator);
    troupe__memory_disk_free(simulator->copy);
    troupe__sim_network_free(simulator->network);
    free(simulator->nodes);
    free(simulator->events);
    free(simulator);
}
