/* sim_wire.h - the network of a simulation: a wire for each node, and frames on their way between them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Frames take their time; they may be lost, repeated, overtaken, held up by a slow link or cut off by a partition that
 * may be one-way. What happens to a frame is asked of the oracle, each kind of fault by itself. Time is what the owner
 * says. Not thread-safe. */
#ifndef TROUPE_TRANSPORT_SIM_WIRE_H
#define TROUPE_TRANSPORT_SIM_WIRE_H

#include "core/oracle.h"
#include "core/wire.h"

struct troupe__sim_network_options {
    struct troupe__oracle *oracle; /* the caller's */
    uint16_t node_count;
    uint64_t delay_min_ns, delay_max_ns;
    uint32_t loss, duplication, reordering; /* how many of 1,000 frames */
};

struct troupe__sim_network;

struct troupe__sim_arrival {
    uint64_t at_ns;
    uint16_t to;
    struct troupe_bytes frame;
};

/* Returns NULL when out of memory. */
struct troupe__sim_network *troupe__sim_network_new(const struct troupe__sim_network_options *options);
void troupe__sim_network_free(struct troupe__sim_network *network);

/* The wire of a node; the network's. Its close only stops frames from being handed over until on_frame is set again. */
struct troupe__wire *troupe__sim_network_wire(struct troupe__sim_network *network, uint16_t node);

/* What is sent from now on is sent at this time. */
void troupe__sim_network_set_now(struct troupe__sim_network *network, uint64_t now_ns);

/* The frame that arrives next. Returns false when none is on its way. Valid until the network is used again. */
bool troupe__sim_network_next(const struct troupe__sim_network *network, struct troupe__sim_arrival *ret);

/* Hand the next frame over, lose it, or let it arrive later. */
void troupe__sim_network_deliver(struct troupe__sim_network *network);
void troupe__sim_network_drop(struct troupe__sim_network *network);
void troupe__sim_network_postpone(struct troupe__sim_network *network, uint64_t until_ns);

/* Until then nothing from `from` reaches `to`, or only slowly. */
void troupe__sim_network_cut(struct troupe__sim_network *network, uint16_t from, uint16_t to, uint64_t until_ns);
void troupe__sim_network_slow(struct troupe__sim_network *network, uint16_t from, uint16_t to, uint64_t until_ns);

/* No faults from now on. */
void troupe__sim_network_calm(struct troupe__sim_network *network);

#endif
