/* sim_node.c - a simulated node: its life from start to crash, and its steps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sim/simulation.h"

#include <assert.h>
#include <stdio.h>

static const int64_t wall_begin_ms = INT64_C(1700000000000);

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

static int64_t wall_ms(const struct troupe__sim_node *node, uint64_t now_ns)
{
    int64_t now_us = (int64_t)(now_ns / 1000);
    return wall_begin_ms + node->clock_offset_ms + (now_us + now_us / 1000000 * node->clock_drift_ppm) / 1000;
}

/* When the node's clock will show `due_ms`. */
static uint64_t moment_of(const struct troupe__sim_node *node, int64_t due_ms)
{
    uint64_t now_ns = node->simulator->now_ns;
    int64_t left_ms = due_ms - wall_ms(node, now_ns);
    return left_ms <= 0 ? now_ns
                        : now_ns + (uint64_t)left_ms * TROUPE__SIM_MS + (uint64_t)left_ms * TROUPE__SIM_MS / 1000;
}

/* ---- a node's life ----------------------------------------------------------------------------------------------- */

static void drop_jobs(struct troupe__sim_node *node)
{
    while (node->runs) {
        struct troupe_job_context *run = node->runs;
        node->runs = run->next;
        troupe__job_run_free(run);
    }
    node->runs_last = NULL;
    troupe__epoch_drop_jobs(&node->epoch);
}

void troupe__sim_node_take_down(struct troupe__sim_node *node)
{
    if (node->alive) {
        troupe__sim_node_lost(node);
        node->alive = false;
        troupe__camera_close(node->camera);
        node->camera = NULL;
        node->simulator->result.deliveries += node->machine.stats.deliveries;
        node->simulator->result.dead += node->machine.stats.dead;
        node->simulator->result.frames += node->links ? node->links->stats.frames_in : 0;
        drop_jobs(node);
        troupe__links_close(node->links);
        troupe__machine_fini(&node->machine);
        node->store->close(node->store);
        node->links = NULL;
        node->store = NULL;
        struct troupe__wire *wire = troupe__sim_network_wire(node->simulator->network, node->number);
        wire->close(wire);
    }
    node->committing = node->doomed = node->writes_part = false;
    node->life++;
    node->turn_at_ns = TROUPE__NEVER;
}

void troupe__sim_node_crash(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    simulator->result.crashes++;
    bool short_one = node->doomed;
    troupe__sim_node_take_down(node);
    uint32_t dice =
        troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_CRASH, 100, ~troupe__id_mix(node->number, node->life));
    uint64_t down_ns = TROUPE__SIM_RESTART_NS / 10 + (short_one ? 0 : TROUPE__SIM_RESTART_NS * dice / 50);
    troupe__sim_push(simulator, simulator->now_ns + down_ns, TROUPE__SIM_START, node);
}

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct troupe__sim_node *node = context;
    if (troupe__links_take(node->links, node->simulator->now_ns, peer, frame) != TROUPE_OK) {
        troupe__sim_fail(node->simulator, "node %u: %s", node->number, node->links->error);
        return;
    }
    troupe__sim_check_links(node);
}

static bool is_own_source(const struct troupe__sim_node *node, uint16_t source)
{
    return source % node->simulator->options.node_count == node->number;
}

static void name_input(char name[static 16], uint16_t source)
{
    snprintf(name, 16, "input/%u", source);
}

static void read_input_positions(struct troupe__sim_node *node)
{
    for (uint16_t i = 0; i < node->simulator->source_count; i++) {
        char name[16];
        name_input(name, i);
        struct troupe_bytes mark = troupe__machine_read_mark(&node->machine, name);
        struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
        node->sources[i] =
            (struct troupe__sim_source){.index = mark.data ? (size_t)troupe__cursor_varint(&cursor) : 0,
                                        .over = !node->simulator->options.input || !is_own_source(node, i)};
    }
}

enum troupe_error troupe__sim_node_open_store(struct troupe__sim_node *node, char *error, size_t error_size)
{
    struct troupe__simulator *simulator = node->simulator;
    if (simulator->options.open_store) {
        return simulator->options.open_store(simulator->options.context, node->number, simulator->slots.generation,
                                             &node->store, error, error_size);
    }
    if (!node->disk && !(node->disk = troupe__memory_disk_new())) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    return troupe__memory_store_open(node->disk, &node->store, error, error_size);
}

void troupe__sim_node_start(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_options *options = &simulator->options;
    char error[512] = "";
    assert(!node->alive);
    enum troupe_error result = troupe__sim_node_open_store(node, error, sizeof error);
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: %s", node->number, error);
        return;
    }
    result = troupe__machine_init(&node->machine, options->module, node->store, 7, options->log, options->log_context);
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: start: %s", node->number, node->machine.error);
        node->store->close(node->store);
        return;
    }
    node->alive = true;
    struct troupe__wire *wire = troupe__sim_network_wire(simulator->network, node->number);
    struct troupe__links_options links = options->links;
    links.slots = &simulator->slots;
    links.self = node->number;
    links.wire = wire;
    links.chance = (uint32_t)troupe__id_mix(simulator->slots.generation, troupe__id_mix(node->number, ++node->starts));
    result = troupe__links_open(&node->machine, &links, &node->links, error, sizeof error);
    node->durable = node->store->last_epoch;
    if (result == TROUPE_OK && node->links->colour > node->truth_colour) { /* It has just been restored. */
        node->truth_colour = node->links->colour;
    }
    result = result == TROUPE_OK ? troupe__sim_open_camera(node) : result;
    if (result == TROUPE_OK) {
        result = troupe__machine_set_now(&node->machine, wall_ms(node, simulator->now_ns));
    }
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: start: %s", node->number, error[0] ? error : node->machine.error);
        return;
    }
    node->machine.actors.far_count = links.chance % 2 ? TROUPE__ACTORS_NEAR : 0; /* In another order, just as right. */
    troupe__sim_let_out(node, &node->machine.unreleased);
    wire->on_frame = on_frame;
    wire->context = node;
    read_input_positions(node);
    troupe__sim_wake(node, simulator->now_ns + TROUPE__SIM_TURN_NS);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static bool take_line(struct troupe__sim_node *node, uint16_t number)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_options *options = &simulator->options;
    struct troupe__sim_source *source = &node->sources[number];
    struct troupe__sim_input input;
    if (source->over || source->at_ns > simulator->now_ns || node->machine.held) {
        return false;
    }
    if (!options->input(options->context, number, source->index, &input)) {
        source->over = true;
        return false;
    }
    source->at_ns = input.at_ns;
    if (input.at_ns > simulator->now_ns) {
        return false;
    }
    char name[16];
    unsigned char mark[20];
    struct troupe__buffer buffer = {.data = mark, .capacity = sizeof mark};
    name_input(name, number);
    troupe__buffer_put_varint(&buffer, ++source->index); /* As a node's: the position, and the line there. */
    troupe__buffer_put_varint(&buffer, source->index);
    uint64_t ask;
    const struct troupe__response *known;
    enum troupe_error result =
        input.ask ? troupe__machine_ask(&node->machine, input.id, input.to, input.type, input.body, &ask, &known)
                  : troupe__machine_arrive(&node->machine, input.id, input.to, input.type, input.body);
    if (result != TROUPE_OK ||
        troupe__machine_mark(&node->machine, name, (struct troupe_bytes){mark, buffer.size}) != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: input: %s", node->number, node->machine.error);
        return false;
    }
    return true;
}

static bool take_input(struct troupe__sim_node *node)
{
    bool taken = false;
    for (uint16_t i = 0; i < node->simulator->source_count && !taken; i++) {
        taken = take_line(node, i);
    }
    return taken;
}

static void send_all(struct troupe__sim_node *node)
{
    if (troupe__links_send_messages(node->links) != TROUPE_OK) {
        troupe__sim_fail(node->simulator, "node %u: %s", node->number, node->links->error);
    }
}

static void seal(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    troupe__camera_before_seal(node->camera);
    if (troupe__machine_seal(&node->machine, &node->epoch) != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: %s", node->number, node->machine.error);
        return;
    }
    if (!simulator->options.no_hash) {
        uint64_t rows = troupe__hash(node->epoch.record.data, node->epoch.record.size);
        simulator->result.hash = troupe__id_mix(simulator->result.hash, rows);
    }
    node->committing = true;
    uint64_t id = troupe__id_mix(node->number, node->commits++);
    uint64_t commit_ns = simulator->options.commit_ns;
    uint32_t often =
        simulator->options.faults.slow_commit * (node->writes_part ? 10 : 1); /* The disk has more to do. */
    if (troupe__sim_strikes(simulator, TROUPE__CHOOSE_SLOW_COMMIT, often, id)) {
        commit_ns *= troupe__sim_between(simulator, TROUPE__CHOOSE_SLOW_COMMIT, 10, node->writes_part ? 250 : 5000, id);
    }
    troupe__sim_push(simulator, simulator->now_ns + commit_ns, TROUPE__SIM_COMMIT, node);
}

static uint64_t next_turn(struct troupe__sim_node *node, uint64_t links_ns)
{
    uint64_t soon_ns = node->simulator->now_ns + TROUPE__SIM_TURN_NS, next_ns = links_ns;
    int64_t due = troupe__machine_next_due(&node->machine);
    if (due >= 0) {
        uint64_t due_ns = moment_of(node, node->machine.ctx.now_ms + due);
        next_ns = due_ns < next_ns ? due_ns : next_ns;
    }
    for (uint16_t i = 0; i < node->simulator->source_count && !node->machine.held; i++) {
        const struct troupe__sim_source *source = &node->sources[i];
        next_ns = !source->over && source->at_ns < next_ns ? source->at_ns : next_ns;
    }
    if (troupe__machine_runnable(&node->machine) || next_ns < soon_ns) {
        next_ns = soon_ns;
    }
    return next_ns;
}

void troupe__sim_node_turn(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    uint64_t id = troupe__id_mix(node->number, node->steps);
    size_t count = 0, budget = simulator->options.run_budget;
    if (!simulator->calm) {
        budget = 1 + troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_TURN, (uint32_t)budget, id);
    }
    enum troupe_error result = troupe__machine_set_now(&node->machine, wall_ms(node, simulator->now_ns));
    troupe__camera_turn(node->camera, node->durable);
    for (size_t i = 0; i < budget && !simulator->failed && take_input(node); i++) {
    }
    if (result == TROUPE_OK) {
        result = troupe__machine_run(&node->machine, budget, &count);
    }
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "node %u: %s", node->number, node->machine.error);
        return;
    }
    uint64_t links_ns = troupe__links_tick(node->links, simulator->now_ns);
    if (!node->committing && troupe__machine_dirty(&node->machine)) {
        if (simulator->calm || troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_TURN, 3, ~id) == 0) {
            troupe__machine_refresh(&node->machine);
            troupe__sim_check_memory(node);
        }
        if (troupe__machine_sweep(&node->machine, 64) != TROUPE_OK) {
            troupe__sim_fail(simulator, "node %u: %s", node->number, node->machine.error);
            return;
        }
        seal(node);
        links_ns = troupe__links_tick(node->links, simulator->now_ns);
    }
    send_all(node);
    troupe__links_send_answers(node->links);
    troupe__sim_check_links(node);
    troupe__sim_note(simulator, TROUPE__SIM_TURN, node->number, count);
    uint64_t next_ns = next_turn(node, links_ns);
    if (next_ns != TROUPE__NEVER) {
        troupe__sim_wake(node, next_ns);
    }
}

void troupe__sim_node_commit(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    struct troupe_bytes record = {node->epoch.record.data, node->epoch.record.size};
    uint64_t id = troupe__id_mix(node->number, node->commits);
    bool fails = node->disk && troupe__sim_strikes(simulator, TROUPE__CHOOSE_FAILING_COMMIT,
                                                   simulator->options.faults.failing_commit, id);
    bool durable = true;
    if (fails) {
        durable = troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_FAILING_COMMIT, 2, ~id) == 1;
        troupe__memory_disk_fail_after(node->disk, 0, durable);
    }
    enum troupe_error result = node->store->commit(node->store, node->epoch.number, record);
    if ((result != TROUPE_OK) != fails) {
        troupe__sim_fail(simulator, "node %u: %s", node->number, node->store->error);
        return;
    }
    if (durable) {
        troupe__sim_learn_truth(node);
    }
    simulator->result.commits++;
    troupe__sim_note(simulator, TROUPE__SIM_COMMIT, node->number,
                     fails ? (durable ? TROUPE__SIM_FAILED_DURABLE : TROUPE__SIM_FAILED_LOST) : TROUPE__SIM_DONE);
    if (fails) { /* The node stops, and finds out at its next start what is durable. */
        troupe__memory_disk_fail_after(node->disk, -1, false);
        troupe__sim_node_crash(node);
        return;
    }
    troupe__sim_push(simulator, simulator->now_ns + TROUPE__SIM_STEP_NS, TROUPE__SIM_RELEASE, node);
}

/* The epoch that asked for them is durable. */
static void begin_jobs(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    for (size_t i = 0; i < node->epoch.job_count; i++) {
        struct troupe_job_context *run = troupe__job_run_new(node->epoch.jobs[i], NULL);
        if (!run) {
            troupe__sim_fail(simulator, "out of memory");
            return;
        }
        run->next = NULL;
        if (node->runs_last) {
            node->runs_last->next = run;
        } else {
            node->runs = run;
        }
        node->runs_last = run;
        uint64_t id = troupe__id_mix(node->number, node->jobs++);
        troupe__sim_push(simulator,
                         simulator->now_ns +
                             troupe__sim_between(simulator, TROUPE__CHOOSE_JOB, 100000, 20 * TROUPE__SIM_MS, id),
                         TROUPE__SIM_JOB, node);
    }
    troupe__epoch_drop_jobs(&node->epoch);
}

void troupe__sim_node_end_job(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    struct troupe_job_context *run = node->runs;
    node->runs = run->next;
    node->runs_last = node->runs ? node->runs_last : NULL;
    if (!atomic_load(&run->job->cancelled)) {
        troupe__job_run(run);
        struct troupe_bytes output = {run->output.data, run->output.size};
        if (troupe__machine_job_done(&node->machine, run->job, run->result, output, run->reason) != TROUPE_OK) {
            troupe__sim_fail(simulator, "node %u: %s", node->number, node->machine.error);
        }
    }
    troupe__job_run_free(run);
    troupe__sim_note(simulator, TROUPE__SIM_JOB, node->number, TROUPE__SIM_DONE);
    troupe__sim_wake(node, simulator->now_ns + TROUPE__SIM_TURN_NS);
}

void troupe__sim_node_release(struct troupe__sim_node *node)
{
    node->committing = false;
    node->durable = node->epoch.number;
    begin_jobs(node);
    troupe__links_durable(node->links, node->simulator->now_ns);
    troupe__sim_let_out(node, &node->epoch.egress);
    send_all(node);
    troupe__sim_note(node->simulator, TROUPE__SIM_RELEASE, node->number, TROUPE__SIM_DONE);
    troupe__sim_push(node->simulator, node->simulator->now_ns + TROUPE__SIM_STEP_NS, TROUPE__SIM_ANSWERS, node);
}

void troupe__sim_node_answer(struct troupe__sim_node *node)
{
    troupe__links_send_answers(node->links);
    troupe__sim_note(node->simulator, TROUPE__SIM_ANSWERS, node->number, TROUPE__SIM_DONE);
    troupe__sim_wake(node, node->simulator->now_ns);
}
