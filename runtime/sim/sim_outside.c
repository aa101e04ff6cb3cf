/* sim_outside.c - what leaves a simulated node for good: once, in order, and the same when it comes again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sim/simulation.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/grow.h"

/* ---- what leaves ------------------------------------------------------------------------------------------------- */

static struct troupe__sim_outside *find_outside(struct troupe__sim_node *node, struct troupe_bytes name)
{
    for (size_t i = 0; i < node->outside_count; i++) {
        if (strlen(node->outsides[i].name) == name.size && memcmp(node->outsides[i].name, name.data, name.size) == 0) {
            return &node->outsides[i];
        }
    }
    struct troupe__sim_outside *outsides = realloc(node->outsides, (node->outside_count + 1) * sizeof *outsides);
    if (!outsides) {
        return NULL;
    }
    node->outsides = outsides;
    struct troupe__sim_outside *outside = &outsides[node->outside_count++];
    *outside = (struct troupe__sim_outside){0};
    memcpy(outside->name, name.data, name.size < TROUPE_NAME_MAX ? name.size : TROUPE_NAME_MAX);
    return outside;
}

/* A repeat must be what it was, a new record must be the next. */
static void let_record_out(struct troupe__sim_node *node, const struct troupe__egress *egress)
{
    struct troupe__simulator *simulator = node->simulator;
    if (simulator->put_back) {
        return; /* What left since the copy was made leaves again. */
    }
    struct troupe__sim_outside *outside = find_outside(node, egress->name);
    uint64_t hash = troupe__id_mix(troupe__hash(egress->key.data, egress->key.size),
                                   troupe__hash(egress->body.data, egress->body.size));
    if (outside && outside->again && egress->sequence >= 1 && egress->sequence <= outside->count + 1) {
        outside->again = false;
        outside->count = egress->sequence - 1;
    }
    if (outside && egress->sequence >= 1 && egress->sequence <= outside->count) {
        if (outside->hashes[egress->sequence - 1] != hash) {
            troupe__sim_fail(simulator, "node %u: record %" PRIu64 " of '%s' is another one than before", node->number,
                             egress->sequence, outside->name);
        }
        return;
    }
    if (!outside || egress->sequence != outside->count + 1) {
        troupe__sim_fail(simulator, "node %u: record %" PRIu64 " left after %zu", node->number, egress->sequence,
                         outside ? outside->count : 0);
        return;
    }
    uint64_t *hashes = troupe__grow(outside->hashes, outside->count, &outside->capacity, sizeof *hashes);
    if (!hashes) {
        troupe__sim_fail(simulator, "out of memory");
        return;
    }
    outside->hashes = hashes;
    outside->hashes[outside->count++] = hash;
    simulator->result.records++;
    if (simulator->options.record) {
        simulator->options.record(simulator->options.context, node->number, egress);
    }
}

void troupe__sim_let_out(struct troupe__sim_node *node, const struct troupe__buffer *records)
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

void troupe__sim_go_back_outside(struct troupe__sim_node *node)
{
    for (size_t i = 0; i < node->outside_count; i++) {
        node->outsides[i].again = true;
    }
}

void troupe__sim_forget_outside(struct troupe__sim_node *node)
{
    for (size_t i = 0; i < node->outside_count; i++) {
        free(node->outsides[i].hashes);
    }
    free(node->outsides);
    node->outsides = NULL;
    node->outside_count = 0;
}
