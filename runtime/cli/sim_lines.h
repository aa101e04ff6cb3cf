/* sim_lines.h - the input of a simulation: its lines, read once, and which node each of them goes to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each line goes to the node that owns its actor's slot, as a router would send it: so the order of the lines for one
 * actor stays, whatever the number of nodes. */
#ifndef TROUPE_RUNTIME_CLI_SIM_LINES_H
#define TROUPE_RUNTIME_CLI_SIM_LINES_H

#include "runtime/sim/simulator.h"

struct troupe__sim_line {
    char *text; /* as it came */
    char *to_type, *to_key, *type;
    struct troupe_bytes body;
    uint16_t slot;
};

struct troupe__sim_lines { /* Zero bytes are none. */
    struct troupe__sim_line *lines;
    size_t count, capacity;
    size_t **of_node; /* while they are split: numbers of the lines, by node, in their order */
    size_t *counts;
};

/* Read a file. Returns false when that fails, having printed why; troupe__sim_lines_fini is due all the same. */
bool troupe__sim_lines_read(struct troupe__sim_lines *lines, const char *path);
void troupe__sim_lines_fini(struct troupe__sim_lines *lines);

/* Split them among so many nodes; false when out of memory. Joining them is fine then too. */
bool troupe__sim_lines_split(struct troupe__sim_lines *lines, uint16_t node_count);
void troupe__sim_lines_join(struct troupe__sim_lines *lines);

/* Line `index` of a node, which comes at its part of the first `span_ns`. False when the node has no more. */
bool troupe__sim_lines_get(const struct troupe__sim_lines *lines, uint16_t node, size_t index, uint64_t span_ns,
                           struct troupe__sim_input *ret);

#endif
