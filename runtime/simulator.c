/* simulator.c - a whole troupe in one thread: real machines and links, simulated time, network, crashes and clocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/simulator.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "state/memory_store.h"
#include "transport/sim_wire.h"

#define MS UINT64_C(1000000) /* nanoseconds */

#define INPUT_ROW "simulator.input" /* META: varint, how many inputs the node has taken */

static const int64_t wall_begin_ms = INT64_C(1700000000000);
static const uint64_t turn_ns = 20000, step_ns = 5000, fault_step_ns = 10 * MS, restart_ns = 50 * MS;

enum event_kind {
    EVENT_START,
    EVENT_TURN,
    EVENT_COMMIT,
    EVENT_RELEASE,
    EVENT_ANSWERS,
    EVENT_FAULTS,
    EVENT_RESTORE,
    EVENT_COPY,
    EVENT_PUT_BACK,
    EVENT_JOB
};

enum outcome { DONE, CRASHED, FAILED_LOST, FAILED_DURABLE, FRAME_TAKEN, FRAME_LOST };

struct event {
    uint64_t at_ns, order;
    uint32_t tie;
    uint16_t node;
    uint16_t kind; /* enum event_kind */
    uint64_t life; /* of the node: an event of an earlier one is void */
};

/* The links of a node as its last epoch below some colours left them. */
struct cut {
    uint64_t colour_first, colour_last;
    struct troupe__link_row *rows; /* one per node */
};

/* What has left through one egress of a node. */
struct outside {
    char name[TROUPE_NAME_MAX + 1];
    uint64_t *hashes; /* of the records, by sequence - 1 */
    size_t count, capacity;
};

struct node {
    struct troupe__simulator *simulator;
    uint16_t number;
    bool alive, committing, started_once;
    uint64_t life, steps, starts, paused_until_ns, turn_at_ns, commits;
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links;
    struct troupe__epoch epoch;
    struct troupe_job_context *runs, *runs_last; /* jobs that are being done, first begun first ended */
    uint64_t jobs;
    size_t input_index;
    bool inputs_over;
    uint64_t input_at_ns;
    int64_t clock_offset_ms, clock_drift_ppm;
    struct troupe__link_row *truth; /* durable, one per node */
    uint64_t truth_colour;
    struct cut *cuts;
    size_t cut_count, cut_capacity;
    struct outside *outsides;
    size_t outside_count;
};

struct troupe__simulator {
    struct troupe__sim_options options;
    struct troupe__slots slots;
    struct troupe__sim_network *network;
    struct node *nodes;
    struct event *events; /* a binary heap */
    size_t event_count, event_capacity;
    uint64_t order, now_ns;
    bool calm, failed;
    struct troupe__memory_disk *copy; /* of node 0's disk */
    bool put_back;                    /* it runs on the copy: what was durable may be gone */
    struct troupe__sim_result result;
};

static void fail(struct troupe__simulator *simulator, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct troupe__simulator *simulator, const char *format, ...)
{
    if (simulator->failed) {
        return;
    }
    simulator->failed = true;
    int size = snprintf(simulator->result.failure, sizeof simulator->result.failure,
                        "at %" PRIu64 ".%06" PRIu64 " ms: ", simulator->now_ns / MS, simulator->now_ns % MS);
    va_list args;
    va_start(args, format);
    vsnprintf(simulator->result.failure + size, sizeof simulator->result.failure - (size_t)size, format, args);
    va_end(args);
}

static void note(struct troupe__simulator *simulator, unsigned kind, uint16_t node, uint64_t outcome)
{
    simulator->result.events++;
    if (!simulator->options.no_hash) {
        uint64_t event = (uint64_t)kind << 48 | (uint64_t)node << 32 | (outcome & 0xffffffff);
        uint64_t *hash = &simulator->result.event_hash;
        *hash = troupe__id_mix(*hash ^ event, outcome ^ simulator->now_ns);
    }
}

static bool strikes(struct troupe__simulator *simulator, enum troupe__choice kind, uint32_t per_mille, uint64_t id)
{
    if (simulator->calm || per_mille == 0) {
        return false;
    }
    uint32_t dice = troupe__choose(simulator->options.oracle, kind, 1000, id);
    return dice > 0 && dice <= per_mille;
}

static uint64_t between(struct troupe__simulator *simulator, enum troupe__choice kind, uint64_t low, uint64_t high,
                        uint64_t id)
{
    return low + (high - low) * troupe__choose(simulator->options.oracle, kind, 1024, ~id) / 1024;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static bool earlier(const struct event *a, const struct event *b)
{
    if (a->at_ns != b->at_ns) {
        return a->at_ns < b->at_ns;
    }
    return a->tie != b->tie ? a->tie < b->tie : a->order < b->order;
}

static void push_event(struct troupe__simulator *simulator, uint64_t at_ns, enum event_kind kind, struct node *node)
{
    if (simulator->event_count == simulator->event_capacity) {
        size_t capacity = simulator->event_capacity ? simulator->event_capacity * 2 : 64;
        struct event *events = realloc(simulator->events, capacity * sizeof *events);
        if (!events) {
            fail(simulator, "out of memory");
            return;
        }
        simulator->events = events;
        simulator->event_capacity = capacity;
    }
    struct event event = {.at_ns = at_ns, .order = simulator->order++, .node = node->number, .life = node->life};
    event.kind = (uint16_t)kind;
    event.tie = troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_ORDER, 1 << 16, event.order);
    size_t at = simulator->event_count++;
    while (at > 0 && earlier(&event, &simulator->events[(at - 1) / 2])) {
        simulator->events[at] = simulator->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    simulator->events[at] = event;
}

static struct event pop_event(struct troupe__simulator *simulator)
{
    struct event first = simulator->events[0], last = simulator->events[--simulator->event_count];
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

static void wake(struct node *node, uint64_t at_ns)
{
    if (at_ns < node->turn_at_ns) {
        node->turn_at_ns = at_ns;
        push_event(node->simulator, at_ns, EVENT_TURN, node);
    }
}

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

static int64_t wall_ms(const struct node *node, uint64_t now_ns)
{
    int64_t now_us = (int64_t)(now_ns / 1000);
    return wall_begin_ms + node->clock_offset_ms + (now_us + now_us / 1000000 * node->clock_drift_ppm) / 1000;
}

/* When the node's clock will show `due_ms`. */
static uint64_t moment_of(const struct node *node, int64_t due_ms)
{
    uint64_t now_ns = node->simulator->now_ns;
    int64_t left_ms = due_ms - wall_ms(node, now_ns);
    return left_ms <= 0 ? now_ns : now_ns + (uint64_t)left_ms * MS + (uint64_t)left_ms * MS / 1000;
}

/* ---- what leaves ------------------------------------------------------------------------------------------------- */

static struct outside *find_outside(struct node *node, struct troupe_bytes name)
{
    for (size_t i = 0; i < node->outside_count; i++) {
        if (strlen(node->outsides[i].name) == name.size && memcmp(node->outsides[i].name, name.data, name.size) == 0) {
            return &node->outsides[i];
        }
    }
    struct outside *outsides = realloc(node->outsides, (node->outside_count + 1) * sizeof *outsides);
    if (!outsides) {
        return NULL;
    }
    node->outsides = outsides;
    struct outside *outside = &outsides[node->outside_count++];
    *outside = (struct outside){0};
    memcpy(outside->name, name.data, name.size < TROUPE_NAME_MAX ? name.size : TROUPE_NAME_MAX);
    return outside;
}

/* A repeat must be what it was, a new record must be the next. */
static void let_record_out(struct node *node, const struct troupe__egress *egress)
{
    struct troupe__simulator *simulator = node->simulator;
    if (simulator->put_back) {
        return; /* What left since the copy was made leaves again. */
    }
    struct outside *outside = find_outside(node, egress->name);
    uint64_t hash = troupe__id_mix(troupe__hash(egress->key.data, egress->key.size),
                                   troupe__hash(egress->body.data, egress->body.size));
    if (outside && egress->sequence >= 1 && egress->sequence <= outside->count) {
        if (outside->hashes[egress->sequence - 1] != hash) {
            fail(simulator, "node %u: record %" PRIu64 " of '%s' is another one than before", node->number,
                 egress->sequence, outside->name);
        }
        return;
    }
    if (!outside || egress->sequence != outside->count + 1) {
        fail(simulator, "node %u: record %" PRIu64 " left after %zu", node->number, egress->sequence,
             outside ? outside->count : 0);
        return;
    }
    if (outside->count == outside->capacity) {
        size_t capacity = outside->capacity ? outside->capacity * 2 : 64;
        uint64_t *hashes = realloc(outside->hashes, capacity * sizeof *hashes);
        if (!hashes) {
            fail(simulator, "out of memory");
            return;
        }
        outside->hashes = hashes;
        outside->capacity = capacity;
    }
    outside->hashes[outside->count++] = hash;
    simulator->result.records++;
    if (simulator->options.record) {
        simulator->options.record(simulator->options.context, node->number, egress);
    }
}

static void let_out(struct node *node, const struct troupe__buffer *records)
{
    struct troupe__cursor cursor = {records->data, records->data + records->size, false};
    struct troupe__egress egress;
    uint64_t last = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        let_record_out(node, &egress);
        last = egress.number;
    }
    if (last > 0) {
        troupe__machine_released(&node->machine, last);
    }
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* Against what is durable, which the links cannot know of each other. */
static void check_links(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__links_options *options = &node->links->options;
    for (uint16_t peer = 0; peer < simulator->options.node_count; peer++) {
        const struct troupe__link *link = &node->links->links[peer];
        const struct troupe__outbox *outbox = &node->links->outboxes[peer];
        const struct troupe__link_row *truth = &simulator->nodes[peer].truth[node->number];
        if (peer == node->number) {
            continue;
        }
        if (link->state == TROUPE__LINK_LOST) {
            fail(simulator, "node %u: the link to node %u is lost: %s", node->number, peer, link->reason);
        }
        if (simulator->put_back) {
            continue;
        }
        if (link->acknowledged > truth->accepted) {
            fail(simulator,
                 "node %u takes %" PRIu64 " messages as acknowledged by node %u, where %" PRIu64 " are durable",
                 node->number, link->acknowledged, peer, truth->accepted);
        }
        if (link->row.accepted > truth->sent) {
            fail(simulator, "node %u took in %" PRIu64 " messages of node %u, where %" PRIu64 " are durable",
                 node->number, link->row.accepted, peer, truth->sent);
        }
        if (outbox->first != link->row.trimmed + 1 || outbox->last != link->row.sent) {
            fail(simulator, "node %u: the outbox to node %u does not hold what is sent and not trimmed", node->number,
                 peer);
        }
        if (link->flight_size > options->window + options->window / 4 + TROUPE_BODY_MAX) {
            fail(simulator, "node %u: %" PRIu64 " bytes are in flight to node %u", node->number, link->flight_size,
                 peer);
        }
    }
}

/* Right after the outboxes were told what the tables have: the rest is what they do not have. */
static void check_memory(struct node *node)
{
    for (uint16_t peer = 0; peer < node->simulator->options.node_count; peer++) {
        const struct troupe__outbox *outbox = &node->links->outboxes[peer];
        if (troupe__outbox_memory(outbox) > node->links->options.outbox_memory_max &&
            outbox->entries[outbox->head].epoch <= node->machine.folded) {
            fail(node->simulator, "node %u: the outbox to node %u holds %zu bytes in memory that are on disk",
                 node->number, peer, troupe__outbox_memory(outbox));
        }
    }
}

static bool keep_cut(struct node *node, uint64_t colour)
{
    uint16_t node_count = node->simulator->options.node_count;
    struct cut cut = {node->truth_colour + 1, colour, calloc(node_count, sizeof *cut.rows)};
    if (node->cut_count == node->cut_capacity) {
        size_t capacity = node->cut_capacity ? node->cut_capacity * 2 : 8;
        struct cut *cuts = realloc(node->cuts, capacity * sizeof *cuts);
        if (!cuts || !cut.rows) {
            node->cuts = cuts ? cuts : node->cuts;
            free(cut.rows);
            return false;
        }
        node->cuts = cuts;
        node->cut_capacity = capacity;
    }
    if (!cut.rows) {
        return false;
    }
    memcpy(cut.rows, node->truth, node_count * sizeof *cut.rows);
    node->cuts[node->cut_count++] = cut;
    return true;
}

/* The epoch sealed last is on the disk. */
static void learn_truth(struct node *node)
{
    if (node->links->sealed_colour > node->truth_colour) {
        if (!keep_cut(node, node->links->sealed_colour)) {
            fail(node->simulator, "out of memory");
            return;
        }
        node->truth_colour = node->links->sealed_colour;
    }
    for (uint16_t peer = 0; peer < node->simulator->options.node_count; peer++) {
        node->truth[peer] = node->links->links[peer].sealed;
    }
}

static const struct cut *find_cut(const struct node *node, uint64_t colour)
{
    for (size_t i = 0; i < node->cut_count; i++) {
        if (node->cuts[i].colour_first <= colour && colour <= node->cuts[i].colour_last) {
            return &node->cuts[i];
        }
    }
    return NULL;
}

static void check_cut(struct troupe__simulator *simulator, uint64_t colour)
{
    for (uint16_t a = 0; a < simulator->options.node_count; a++) {
        const struct cut *sender = find_cut(&simulator->nodes[a], colour);
        for (uint16_t b = 0; sender && b < simulator->options.node_count; b++) {
            const struct cut *receiver = a != b ? find_cut(&simulator->nodes[b], colour) : NULL;
            if (receiver && (sender->rows[b].trimmed > receiver->rows[a].accepted ||
                             receiver->rows[a].accepted > sender->rows[b].sent)) {
                fail(simulator,
                     "the cut below colour %" PRIu64 " is not consistent: of node %u's messages to node %u %" PRIu64
                     " are sent, %" PRIu64 " taken in, %" PRIu64 " trimmed",
                     colour, a, b, sender->rows[b].sent, receiver->rows[a].accepted, sender->rows[b].trimmed);
            }
        }
    }
}

static void check_cuts(struct troupe__simulator *simulator)
{
    uint64_t last = 0;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        last = simulator->nodes[i].truth_colour > last ? simulator->nodes[i].truth_colour : last;
    }
    for (uint64_t colour = 1; colour <= last; colour++) {
        check_cut(simulator, colour);
    }
}

struct row_counter {
    size_t count;
};

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ((struct row_counter *)context)->count++;
    return TROUPE_OK;
}

static size_t count_rows(struct node *node, enum troupe__table table)
{
    struct row_counter counter = {0};
    node->store->scan(node->store, table, (struct troupe_bytes){"", 0}, count_row, &counter);
    return counter.count;
}

static void check_end_of_node(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__machine *machine = &node->machine;
    if (!node->alive || node->committing || !node->inputs_over || machine->waiting > 0 || machine->timers.count > 0 ||
        machine->jobs.count > 0 || troupe__machine_dirty(machine)) {
        fail(simulator, "node %u did not come to its end: %s, input %zu, %zu messages and %zu timers wait",
             node->number, node->alive ? "alive" : "down", node->input_index, machine->waiting, machine->timers.count);
        return;
    }
    for (uint16_t peer = 0; peer < simulator->options.node_count; peer++) {
        const struct troupe__link *link = &node->links->links[peer];
        const struct troupe__link *other = &simulator->nodes[peer].links->links[node->number];
        if (peer != node->number && (link->state != TROUPE__LINK_UP || link->row.trimmed != link->row.sent ||
                                     other->durable.accepted != link->row.sent)) {
            fail(simulator,
                 "the link from node %u to node %u did not come to its end: %" PRIu64 " sent, %" PRIu64
                 " taken in, %" PRIu64 " trimmed",
                 node->number, peer, link->row.sent, other->durable.accepted, link->row.trimmed);
        }
    }
    troupe__machine_refresh(&node->machine);
    if (!simulator->options.open_store && count_rows(node, TROUPE__OUTBOX) + count_rows(node, TROUPE__MAIL) +
                                                  count_rows(node, TROUPE__TIMER) + count_rows(node, TROUPE__EGRESS) +
                                                  count_rows(node, TROUPE__JOB) >
                                              0) {
        fail(simulator, "node %u: rows of mail, outbox, timers, jobs or records are left", node->number);
    }
}

static void check_end(struct troupe__simulator *simulator)
{
    for (uint16_t i = 0; i < simulator->options.node_count && !simulator->failed; i++) {
        if (!simulator->nodes[i].alive) {
            fail(simulator, "node %u is down at the end", i);
        }
    }
    for (uint16_t i = 0; i < simulator->options.node_count && !simulator->failed; i++) {
        check_end_of_node(&simulator->nodes[i]);
    }
    if (!simulator->put_back) {
        check_cuts(simulator);
    }
}

/* ---- a node's life ----------------------------------------------------------------------------------------------- */

static void drop_jobs(struct node *node)
{
    while (node->runs) {
        struct troupe_job_context *run = node->runs;
        node->runs = run->next;
        troupe__job_run_free(run);
    }
    node->runs_last = NULL;
    troupe__epoch_drop_jobs(&node->epoch);
}

static void take_down(struct node *node)
{
    if (node->alive) {
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
    node->alive = node->committing = false;
    node->life++;
    node->turn_at_ns = TROUPE__NEVER;
}

static void crash(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    simulator->result.crashes++;
    take_down(node);
    uint64_t down_ns = restart_ns / 10 + restart_ns *
                                             troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_CRASH, 100,
                                                            ~troupe__id_mix(node->number, node->life)) /
                                             50;
    push_event(simulator, simulator->now_ns + down_ns, EVENT_START, node);
}

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct node *node = context;
    if (troupe__links_take(node->links, node->simulator->now_ns, peer, frame) != TROUPE_OK) {
        fail(node->simulator, "node %u: %s", node->number, node->links->error);
        return;
    }
    check_links(node);
}

static void read_input_position(struct node *node)
{
    struct troupe_bytes mark = troupe__machine_read_mark(&node->machine, INPUT_ROW);
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    node->input_index = mark.data ? (size_t)troupe__cursor_varint(&cursor) : 0;
    node->input_at_ns = 0;
    node->inputs_over = !node->simulator->options.input;
}

static enum troupe_error open_store(struct node *node, char *error, size_t error_size)
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

static void start(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_options *options = &simulator->options;
    char error[512] = "";
    assert(!node->alive);
    enum troupe_error result = open_store(node, error, sizeof error);
    if (result != TROUPE_OK) {
        fail(simulator, "node %u: %s", node->number, error);
        return;
    }
    result = troupe__machine_init(&node->machine, options->module, node->store, 7, options->log, options->log_context);
    if (result != TROUPE_OK) {
        fail(simulator, "node %u: start: %s", node->number, node->machine.error);
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
    if (result == TROUPE_OK) {
        result = troupe__machine_set_now(&node->machine, wall_ms(node, simulator->now_ns));
    }
    if (result != TROUPE_OK) {
        fail(simulator, "node %u: start: %s", node->number, error[0] ? error : node->machine.error);
        return;
    }
    let_out(node, &node->machine.unreleased);
    wire->on_frame = on_frame;
    wire->context = node;
    read_input_position(node);
    wake(node, simulator->now_ns + turn_ns);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static bool take_input(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_options *options = &simulator->options;
    struct troupe__sim_input input;
    if (node->inputs_over || node->input_at_ns > simulator->now_ns || node->machine.stalled) {
        return false;
    }
    if (!options->input(options->context, node->number, node->input_index, &input)) {
        node->inputs_over = true;
        return false;
    }
    node->input_at_ns = input.at_ns;
    if (input.at_ns > simulator->now_ns) {
        return false;
    }
    unsigned char mark[10];
    struct troupe__buffer buffer = {.data = mark, .capacity = sizeof mark};
    troupe__buffer_put_varint(&buffer, ++node->input_index);
    if (troupe__machine_arrive(&node->machine, NULL, input.to, input.type, input.body) != TROUPE_OK ||
        troupe__machine_mark(&node->machine, INPUT_ROW, (struct troupe_bytes){mark, buffer.size}) != TROUPE_OK) {
        fail(simulator, "node %u: input: %s", node->number, node->machine.error);
        return false;
    }
    return true;
}

static void send_all(struct node *node)
{
    if (troupe__links_send_messages(node->links) != TROUPE_OK) {
        fail(node->simulator, "node %u: %s", node->number, node->links->error);
    }
}

static void seal(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    if (troupe__machine_seal(&node->machine, &node->epoch) != TROUPE_OK) {
        fail(simulator, "node %u: %s", node->number, node->machine.error);
        return;
    }
    if (!simulator->options.no_hash) {
        uint64_t rows = troupe__hash(node->epoch.record.data, node->epoch.record.size);
        simulator->result.hash = troupe__id_mix(simulator->result.hash, rows);
    }
    node->committing = true;
    uint64_t id = troupe__id_mix(node->number, node->commits++);
    uint64_t commit_ns = simulator->options.commit_ns;
    if (strikes(simulator, TROUPE__CHOOSE_SLOW_COMMIT, simulator->options.faults.slow_commit, id)) {
        commit_ns *= between(simulator, TROUPE__CHOOSE_SLOW_COMMIT, 10, 5000, id);
    }
    push_event(simulator, simulator->now_ns + commit_ns, EVENT_COMMIT, node);
}

static uint64_t next_turn(struct node *node, uint64_t links_ns)
{
    uint64_t soon_ns = node->simulator->now_ns + turn_ns, next_ns = links_ns;
    int64_t due = troupe__machine_next_due(&node->machine);
    if (due >= 0) {
        uint64_t due_ns = moment_of(node, node->machine.ctx.now_ms + due);
        next_ns = due_ns < next_ns ? due_ns : next_ns;
    }
    if (!node->inputs_over && !node->machine.stalled) {
        next_ns = node->input_at_ns < next_ns ? node->input_at_ns : next_ns;
    }
    if (troupe__machine_runnable(&node->machine) || next_ns < soon_ns) {
        next_ns = soon_ns;
    }
    return next_ns;
}

static void turn(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    uint64_t id = troupe__id_mix(node->number, node->steps);
    size_t count = 0, budget = simulator->options.run_budget;
    if (!simulator->calm) {
        budget = 1 + troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_TURN, (uint32_t)budget, id);
    }
    enum troupe_error result = troupe__machine_set_now(&node->machine, wall_ms(node, simulator->now_ns));
    for (size_t i = 0; i < budget && !simulator->failed && take_input(node); i++) {
    }
    if (result == TROUPE_OK) {
        result = troupe__machine_run(&node->machine, budget, &count);
    }
    if (result != TROUPE_OK) {
        fail(simulator, "node %u: %s", node->number, node->machine.error);
        return;
    }
    uint64_t links_ns = troupe__links_tick(node->links, simulator->now_ns);
    if (!node->committing && troupe__machine_dirty(&node->machine)) {
        if (simulator->calm || troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_TURN, 3, ~id) == 0) {
            troupe__machine_refresh(&node->machine);
            check_memory(node);
        }
        if (troupe__machine_sweep(&node->machine, 64) != TROUPE_OK) {
            fail(simulator, "node %u: %s", node->number, node->machine.error);
            return;
        }
        seal(node);
        links_ns = troupe__links_tick(node->links, simulator->now_ns);
    }
    send_all(node);
    troupe__links_send_answers(node->links);
    check_links(node);
    note(simulator, EVENT_TURN, node->number, count);
    uint64_t next_ns = next_turn(node, links_ns);
    if (next_ns != TROUPE__NEVER) {
        wake(node, next_ns);
    }
}

static void commit(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    struct troupe_bytes record = {node->epoch.record.data, node->epoch.record.size};
    uint64_t id = troupe__id_mix(node->number, node->commits);
    bool fails =
        node->disk && strikes(simulator, TROUPE__CHOOSE_FAILING_COMMIT, simulator->options.faults.failing_commit, id);
    bool durable = true;
    if (fails) {
        durable = troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_FAILING_COMMIT, 2, ~id) == 1;
        troupe__memory_disk_fail_after(node->disk, 0, durable);
    }
    enum troupe_error result = node->store->commit(node->store, node->epoch.number, record);
    if ((result != TROUPE_OK) != fails) {
        fail(simulator, "node %u: %s", node->number, node->store->error);
        return;
    }
    if (durable) {
        learn_truth(node);
    }
    simulator->result.commits++;
    note(simulator, EVENT_COMMIT, node->number, fails ? (durable ? FAILED_DURABLE : FAILED_LOST) : DONE);
    if (fails) { /* The node stops, and finds out at its next start what is durable. */
        troupe__memory_disk_fail_after(node->disk, -1, false);
        crash(node);
        return;
    }
    push_event(simulator, simulator->now_ns + step_ns, EVENT_RELEASE, node);
}

/* The epoch that asked for them is durable. */
static void begin_jobs(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    for (size_t i = 0; i < node->epoch.job_count; i++) {
        struct troupe_job_context *run = troupe__job_run_new(node->epoch.jobs[i], NULL);
        if (!run) {
            fail(simulator, "out of memory");
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
        push_event(simulator, simulator->now_ns + between(simulator, TROUPE__CHOOSE_JOB, 100000, 20 * MS, id),
                   EVENT_JOB, node);
    }
    troupe__epoch_drop_jobs(&node->epoch);
}

static void end_job(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    struct troupe_job_context *run = node->runs;
    node->runs = run->next;
    node->runs_last = node->runs ? node->runs_last : NULL;
    if (!atomic_load(&run->job->cancelled)) {
        troupe__job_run(run);
        struct troupe_bytes output = {run->output.data, run->output.size};
        if (troupe__machine_job_done(&node->machine, run->job, run->result, output, run->reason) != TROUPE_OK) {
            fail(simulator, "node %u: %s", node->number, node->machine.error);
        }
    }
    troupe__job_run_free(run);
    note(simulator, EVENT_JOB, node->number, DONE);
    wake(node, simulator->now_ns + turn_ns);
}

static void release(struct node *node)
{
    node->committing = false;
    begin_jobs(node);
    troupe__links_durable(node->links, node->simulator->now_ns);
    let_out(node, &node->epoch.egress);
    send_all(node);
    note(node->simulator, EVENT_RELEASE, node->number, DONE);
    push_event(node->simulator, node->simulator->now_ns + step_ns, EVENT_ANSWERS, node);
}

static void answer(struct node *node)
{
    troupe__links_send_answers(node->links);
    note(node->simulator, EVENT_ANSWERS, node->number, DONE);
    wake(node, node->simulator->now_ns);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void strike_clock(struct node *node, uint64_t id)
{
    struct troupe__simulator *simulator = node->simulator;
    if (!strikes(simulator, TROUPE__CHOOSE_CLOCK, simulator->options.faults.clock, id)) {
        return;
    }
    if (between(simulator, TROUPE__CHOOSE_CLOCK, 0, 2, id) == 0) {
        node->clock_offset_ms += (int64_t)between(simulator, TROUPE__CHOOSE_CLOCK, 0, 4000, id + 1) - 2000;
    } else {
        node->clock_drift_ppm = (int64_t)between(simulator, TROUPE__CHOOSE_CLOCK, 0, 2000, id + 2) - 1000;
    }
    if (node->alive) {
        wake(node, simulator->now_ns + turn_ns);
    }
}

static void strike_paths(struct node *node, uint64_t id)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__sim_faults *faults = &simulator->options.faults;
    for (uint16_t peer = 0; peer < simulator->options.node_count; peer++) {
        uint64_t path = troupe__id_mix(id, peer);
        if (peer == node->number) {
            continue;
        }
        if (strikes(simulator, TROUPE__CHOOSE_PARTITION, faults->partition, path)) {
            uint64_t until_ns =
                simulator->now_ns + between(simulator, TROUPE__CHOOSE_PARTITION, 5 * MS, 500 * MS, path);
            troupe__sim_network_cut(simulator->network, node->number, peer, until_ns);
            if (between(simulator, TROUPE__CHOOSE_PARTITION, 0, 2, path + 1) == 0) {
                troupe__sim_network_cut(simulator->network, peer, node->number, until_ns);
            }
        }
        if (strikes(simulator, TROUPE__CHOOSE_SLOWNESS, faults->slowness, path)) {
            troupe__sim_network_slow(simulator->network, node->number, peer,
                                     simulator->now_ns +
                                         between(simulator, TROUPE__CHOOSE_SLOWNESS, 5 * MS, 300 * MS, path));
        }
    }
}

static void strike(struct troupe__simulator *simulator)
{
    uint64_t step = simulator->now_ns / fault_step_ns;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        struct node *node = &simulator->nodes[i];
        uint64_t id = troupe__id_mix(i, step);
        strike_clock(node, id);
        strike_paths(node, id);
        if (strikes(simulator, TROUPE__CHOOSE_PAUSE, simulator->options.faults.pause, id)) {
            node->paused_until_ns = simulator->now_ns + between(simulator, TROUPE__CHOOSE_PAUSE, 5 * MS, 1000 * MS, id);
        }
        if (node->alive && troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_COLOUR, 20, id) == 1) {
            troupe__links_colour(node->links, node->links->colour + 1);
        }
    }
    note(simulator, EVENT_FAULTS, 0, step);
}

static void calm_down(struct troupe__simulator *simulator)
{
    simulator->calm = true;
    troupe__sim_network_calm(simulator->network);
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        simulator->nodes[i].paused_until_ns = 0;
    }
}

static void forget_outside(struct node *node)
{
    for (size_t i = 0; i < node->outside_count; i++) {
        free(node->outsides[i].hashes);
    }
    free(node->outsides);
    node->outsides = NULL;
    node->outside_count = 0;
    for (size_t i = 0; i < node->cut_count; i++) {
        free(node->cuts[i].rows);
    }
    free(node->cuts);
    node->cuts = NULL;
    node->cut_count = node->cut_capacity = 0;
}

/* As if restored from a snapshot of the very beginning. */
static void restore(struct troupe__simulator *simulator)
{
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        struct node *node = &simulator->nodes[i];
        take_down(node);
        troupe__memory_disk_free(node->disk);
        node->disk = NULL;
        forget_outside(node);
        memset(node->truth, 0, simulator->options.node_count * sizeof *node->truth);
        node->truth_colour = 0;
        node->starts = 0;
        push_event(simulator, simulator->now_ns + restart_ns, EVENT_START, node);
    }
    simulator->slots.generation++;
    if (simulator->options.restored) {
        simulator->options.restored(simulator->options.context);
    }
    note(simulator, EVENT_RESTORE, 0, simulator->slots.generation);
}

static void copy_disk(struct troupe__simulator *simulator)
{
    struct node *node = &simulator->nodes[0];
    troupe__memory_disk_free(simulator->copy);
    simulator->copy = node->disk ? troupe__memory_disk_copy(node->disk) : troupe__memory_disk_new();
    if (!simulator->copy) {
        fail(simulator, "out of memory");
    }
}

static void put_back_disk(struct troupe__simulator *simulator)
{
    struct node *node = &simulator->nodes[0];
    take_down(node);
    troupe__memory_disk_free(node->disk);
    node->disk = simulator->copy;
    simulator->copy = NULL;
    simulator->put_back = true;
    forget_outside(node);
    push_event(simulator, simulator->now_ns + restart_ns, EVENT_START, node);
    note(simulator, EVENT_PUT_BACK, 0, DONE);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* Something is about to happen at the node: returns whether it crashes instead. */
static bool crashes(struct node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    if (!strikes(simulator, TROUPE__CHOOSE_CRASH, simulator->options.faults.crash,
                 troupe__id_mix(node->number, node->steps++))) {
        return false;
    }
    note(simulator, EVENT_START, node->number, CRASHED);
    crash(node);
    return true;
}

static void run_event(struct troupe__simulator *simulator, struct event event)
{
    struct node *node = &simulator->nodes[event.node];
    if (event.kind == EVENT_FAULTS) {
        strike(simulator);
        if (!simulator->calm) {
            push_event(simulator, simulator->now_ns + fault_step_ns, EVENT_FAULTS, node);
        }
        return;
    }
    if (event.kind == EVENT_RESTORE) {
        restore(simulator);
        return;
    }
    if (event.kind == EVENT_COPY) {
        copy_disk(simulator);
        return;
    }
    if (event.kind == EVENT_PUT_BACK) {
        put_back_disk(simulator);
        return;
    }
    if (event.life != node->life || (event.kind == EVENT_TURN && event.at_ns != node->turn_at_ns)) {
        return;
    }
    if (simulator->now_ns < node->paused_until_ns) {
        node->turn_at_ns = event.kind == EVENT_TURN ? node->paused_until_ns : node->turn_at_ns;
        push_event(simulator, node->paused_until_ns, (enum event_kind)event.kind, node);
        return;
    }
    if (event.kind == EVENT_START) {
        start(node);
        note(simulator, EVENT_START, node->number, DONE);
        return;
    }
    if (crashes(node)) {
        return;
    }
    switch ((enum event_kind)event.kind) {
    case EVENT_TURN:
        node->turn_at_ns = TROUPE__NEVER;
        turn(node);
        break;
    case EVENT_COMMIT:
        commit(node);
        break;
    case EVENT_RELEASE:
        release(node);
        break;
    case EVENT_JOB:
        end_job(node);
        break;
    default:
        answer(node);
        break;
    }
}

static void run_arrival(struct troupe__simulator *simulator, const struct troupe__sim_arrival *arrival)
{
    struct node *node = &simulator->nodes[arrival->to];
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
    note(simulator, EVENT_TURN, node->number, hash);
    troupe__sim_network_deliver(simulator->network);
    wake(node, simulator->now_ns + turn_ns);
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
        calm_down(simulator);
    }
    if (at_ns > simulator->options.end_ns) {
        fail(simulator, "it does not end");
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
        push_event(simulator, 0, EVENT_START, &simulator->nodes[i]);
    }
    if (simulator->options.restore_ns > 0) {
        push_event(simulator, simulator->options.restore_ns, EVENT_RESTORE, &simulator->nodes[0]);
    }
    if (simulator->options.put_back_ns > 0) {
        push_event(simulator, simulator->options.copy_ns, EVENT_COPY, &simulator->nodes[0]);
        push_event(simulator, simulator->options.put_back_ns, EVENT_PUT_BACK, &simulator->nodes[0]);
    }
    if (simulator->options.calm_ns > 0) {
        push_event(simulator, fault_step_ns, EVENT_FAULTS, &simulator->nodes[0]);
    } else {
        calm_down(simulator);
    }
    while (step(simulator)) {
    }
    if (!simulator->failed) {
        check_end(simulator);
    }
    simulator->result.now_ns = simulator->now_ns;
    simulator->result.hash = troupe__id_mix(simulator->result.hash, simulator->result.event_hash);
    *ret = simulator->result;
    for (uint16_t i = 0; i < simulator->options.node_count; i++) {
        const struct node *node = &simulator->nodes[i];
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
        .pause = often(seed, TROUPE__CHOOSE_PAUSE, faults, 20),
        .slow_commit = often(seed, TROUPE__CHOOSE_SLOW_COMMIT, faults, 50),
        .failing_commit = often(seed, TROUPE__CHOOSE_FAILING_COMMIT, faults, 50),
        .clock = often(seed, TROUPE__CHOOSE_CLOCK, faults, 50),
    };
    options->calm_ns = draw(seed, 0, 200, 1000) * MS;
    options->run_budget = (uint32_t)draw(seed, 1, 1, 16);
    options->links.window = draw(seed, 2, 200, 3000);
    options->links.outbox_memory_max = draw(seed, 3, 100, 2000);
    options->links.outbox_size_max = draw(seed, 4, 300, 5000);
    options->links.waiting_max = draw(seed, 5, 1, 50);
    options->links.resend_ns = draw(seed, 6, 5, 50) * MS;
    options->links.resend_max_ns = 400 * MS;
    options->links.trim_ns = draw(seed, 7, 1, 60) * MS;
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
    own->end_ns = or_default(own->end_ns, own->calm_ns + 3600 * UINT64_C(1000) * MS);
    own->delay_min_ns = or_default(own->delay_min_ns, 50000);
    own->delay_max_ns = or_default(own->delay_max_ns, 2 * MS);
    own->commit_ns = or_default(own->commit_ns, 200000);
    own->run_budget = own->run_budget ? own->run_budget : 64;
    troupe__slots_spread(&simulator->slots, 1, 1, own->node_count);
    struct troupe__sim_network_options network = {.oracle = own->oracle,
                                                  .node_count = own->node_count,
                                                  .delay_min_ns = own->delay_min_ns,
                                                  .delay_max_ns = own->delay_max_ns,
                                                  .loss = own->faults.loss,
                                                  .duplication = own->faults.duplication,
                                                  .reordering = own->faults.reordering};
    simulator->network = troupe__sim_network_new(&network);
    simulator->nodes = calloc(own->node_count, sizeof *simulator->nodes);
    bool ok = simulator->network && simulator->nodes;
    for (uint16_t i = 0; ok && i < own->node_count; i++) {
        struct node *node = &simulator->nodes[i];
        *node = (struct node){.simulator = simulator, .number = i, .turn_at_ns = TROUPE__NEVER};
        node->truth = calloc(own->node_count, sizeof *node->truth);
        ok = node->truth != NULL;
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
    for (uint16_t i = 0; simulator->nodes && i < simulator->options.node_count; i++) {
        struct node *node = &simulator->nodes[i];
        if (node->alive) {
            take_down(node);
        }
        troupe__memory_disk_free(node->disk);
        forget_outside(node);
        free(node->truth);
        troupe__epoch_fini(&node->epoch);
    }
    troupe__memory_disk_free(simulator->copy);
    troupe__sim_network_free(simulator->network);
    free(simulator->nodes);
    free(simulator->events);
    free(simulator);
}
