/* sim_checks.c - what must hold in a simulated troupe, on the way and at its end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sim/simulation.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/grow.h"

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* Against what is durable, which the links cannot know of each other. */
void troupe__sim_check_links(struct troupe__sim_node *node)
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
            troupe__sim_fail(simulator, "node %u: the link to node %u is lost: %s", node->number, peer, link->reason);
        }
        if (simulator->put_back) {
            continue;
        }
        if (link->acknowledged > truth->accepted) {
            troupe__sim_fail(simulator,
                             "node %u takes %" PRIu64 " messages as acknowledged by node %u, where %" PRIu64
                             " are durable",
                             node->number, link->acknowledged, peer, truth->accepted);
        }
        if (link->row.accepted > truth->sent) {
            troupe__sim_fail(simulator,
                             "node %u took in %" PRIu64 " messages of node %u, where %" PRIu64 " are durable",
                             node->number, link->row.accepted, peer, truth->sent);
        }
        if (outbox->first != link->row.trimmed + 1 || outbox->last != link->row.sent) {
            troupe__sim_fail(simulator, "node %u: the outbox to node %u does not hold what is sent and not trimmed",
                             node->number, peer);
        }
        if (link->flight_size > options->window + options->window / 4 + TROUPE_BODY_MAX) {
            troupe__sim_fail(simulator, "node %u: %" PRIu64 " bytes are in flight to node %u", node->number,
                             link->flight_size, peer);
        }
    }
}

/* Right after the outboxes were told what the tables have: the rest is what they do not have. */
void troupe__sim_check_memory(struct troupe__sim_node *node)
{
    for (uint16_t peer = 0; peer < node->simulator->options.node_count; peer++) {
        const struct troupe__outbox *outbox = &node->links->outboxes[peer];
        if (troupe__outbox_memory(outbox) > node->links->options.outbox_memory_max &&
            outbox->entries[outbox->head].epoch <= node->machine.folded) {
            troupe__sim_fail(node->simulator,
                             "node %u: the outbox to node %u holds %zu bytes in memory that are on disk", node->number,
                             peer, troupe__outbox_memory(outbox));
        }
    }
}

static bool keep_cut(struct troupe__sim_node *node, uint64_t colour)
{
    uint16_t node_count = node->simulator->options.node_count;
    struct troupe__sim_cut cut = {node->truth_colour + 1, colour, calloc(node_count, sizeof *cut.rows)};
    struct troupe__sim_cut *cuts = troupe__grow(node->cuts, node->cut_count, &node->cut_capacity, sizeof *cuts);
    node->cuts = cuts ? cuts : node->cuts;
    if (!cuts || !cut.rows) {
        free(cut.rows);
        return false;
    }
    memcpy(cut.rows, node->truth, node_count * sizeof *cut.rows);
    node->cuts[node->cut_count++] = cut;
    return true;
}

/* The epoch sealed last is on the disk. */
void troupe__sim_learn_truth(struct troupe__sim_node *node)
{
    if (node->links->sealed_colour > node->truth_colour) {
        if (!keep_cut(node, node->links->sealed_colour)) {
            troupe__sim_fail(node->simulator, "out of memory");
            return;
        }
        node->truth_colour = node->links->sealed_colour;
    }
    for (uint16_t peer = 0; peer < node->simulator->options.node_count; peer++) {
        node->truth[peer] = node->links->links[peer].sealed;
    }
}

void troupe__sim_forget_truth(struct troupe__sim_node *node)
{
    for (size_t i = 0; i < node->cut_count; i++) {
        free(node->cuts[i].rows);
    }
    free(node->cuts);
    node->cuts = NULL;
    node->cut_count = node->cut_capacity = 0;
    memset(node->truth, 0, node->simulator->node_max * sizeof *node->truth);
    node->truth_colour = 0;
}

/* Rows of META "link/PEER" and "colour" (runtime/machine/links.h); META stands first. */
static enum troupe_error read_truth_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                        struct troupe_bytes value)
{
    struct troupe__sim_node *node = context;
    if (table != TROUPE__META) {
        return TROUPE_ECLOSED;
    }
    struct troupe__link_row link;
    int peer = troupe__links_row_read(key, value, node->simulator->options.node_count, &link);
    if (peer == TROUPE__LINK_ROW_BAD) {
        return TROUPE_ECORRUPT;
    }
    if (peer >= 0) {
        node->truth[peer] = link;
    } else if (key.size == strlen("colour") && memcmp(key.data, "colour", key.size) == 0) {
        struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
        node->truth_colour = troupe__cursor_varint(&cursor);
    }
    return TROUPE_OK;
}

enum troupe_error troupe__sim_read_truth(struct troupe__sim_node *node, const char *directory,
                                         const struct troupe__snapshot_part *part, char *error, size_t error_size)
{
    troupe__sim_forget_truth(node);
    enum troupe_error result = troupe__snapshot_read_part(directory, part, read_truth_row, node, error, error_size);
    return result == TROUPE_ECLOSED ? TROUPE_OK : result;
}

static const struct troupe__sim_cut *find_cut(const struct troupe__sim_node *node, uint64_t colour)
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
        const struct troupe__sim_cut *sender = find_cut(&simulator->nodes[a], colour);
        for (uint16_t b = 0; sender && b < simulator->options.node_count; b++) {
            const struct troupe__sim_cut *receiver = a != b ? find_cut(&simulator->nodes[b], colour) : NULL;
            if (receiver && (sender->rows[b].trimmed > receiver->rows[a].accepted ||
                             receiver->rows[a].accepted > sender->rows[b].sent)) {
                troupe__sim_fail(
                    simulator,
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

static size_t count_rows(struct troupe__sim_node *node, enum troupe__table table)
{
    struct row_counter counter = {0};
    node->store->scan(node->store, table, (struct troupe_bytes){"", 0}, count_row, &counter);
    return counter.count;
}

/* Links on which all is said and done cost nothing. That a peer has started again is noted by the next epoch there is.
 */
static void check_quiet(struct troupe__sim_node *node)
{
    struct troupe__links *links = node->links;
    bool quiet = troupe__links_tick(links, node->simulator->now_ns) == TROUPE__NEVER;
    for (uint16_t i = 0; i < links->active_count; i++) {
        const struct troupe__link *link = &links->links[links->active[i]];
        quiet = quiet && link->row.peer_incarnation != link->durable.peer_incarnation;
    }
    if (!quiet) {
        troupe__sim_fail(node->simulator, "node %u: one of %u links is not settled", node->number, links->active_count);
    }
}

static void check_end_of_node(struct troupe__sim_node *node)
{
    struct troupe__simulator *simulator = node->simulator;
    const struct troupe__machine *machine = &node->machine;
    bool inputs_over = true;
    for (uint16_t i = 0; i < simulator->source_count; i++) {
        inputs_over = inputs_over && node->sources[i].over;
    }
    if (!node->alive || node->committing || !inputs_over || machine->waiting > 0 || machine->timers.count > 0 ||
        machine->jobs.count > 0 || troupe__machine_dirty(machine)) {
        troupe__sim_fail(simulator, "node %u did not come to its end: %s, %s, %zu messages and %zu timers wait",
                         node->number, node->alive ? "alive" : "down",
                         inputs_over ? "all inputs taken" : "input is left", machine->waiting, machine->timers.count);
        return;
    }
    for (uint16_t peer = 0; peer < simulator->options.node_count; peer++) {
        const struct troupe__link *link = &node->links->links[peer];
        const struct troupe__link *other = &simulator->nodes[peer].links->links[node->number];
        if (peer != node->number && (link->state != TROUPE__LINK_UP || link->row.trimmed != link->row.sent ||
                                     other->durable.accepted != link->row.sent)) {
            troupe__sim_fail(simulator,
                             "the link from node %u to node %u did not come to its end: %" PRIu64 " sent, %" PRIu64
                             " taken in, %" PRIu64 " trimmed",
                             node->number, peer, link->row.sent, other->durable.accepted, link->row.trimmed);
        }
    }
    check_quiet(node);
    troupe__machine_refresh(&node->machine);
    if (!simulator->options.open_store && count_rows(node, TROUPE__OUTBOX) + count_rows(node, TROUPE__MAIL) +
                                                  count_rows(node, TROUPE__TIMER) + count_rows(node, TROUPE__EGRESS) +
                                                  count_rows(node, TROUPE__JOB) >
                                              0) {
        troupe__sim_fail(simulator, "node %u: rows of mail, outbox, timers, jobs or records are left", node->number);
    }
}

void troupe__sim_check_end(struct troupe__simulator *simulator)
{
    for (uint16_t i = 0; i < simulator->options.node_count && !simulator->failed; i++) {
        if (!simulator->nodes[i].alive) {
            troupe__sim_fail(simulator, "node %u is down at the end", i);
        }
    }
    for (uint16_t i = 0; i < simulator->options.node_count && !simulator->failed; i++) {
        check_end_of_node(&simulator->nodes[i]);
    }
    if (!simulator->put_back) {
        check_cuts(simulator);
    }
    if (simulator->snapshots && !simulator->failed) {
        troupe__sim_check_snapshots(simulator);
    }
}
