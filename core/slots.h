/* slots.h - the cluster map: which node owns which of the 4,096 slots that addresses hash to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The same on every node of a troupe. `cluster` tells troupes apart; `generation` grows when a troupe is restored, so
 * that nothing of what was before reaches what is after. The slot of an address: troupe__slot_of in actor.h. */
#ifndef TROUPE_CORE_SLOTS_H
#define TROUPE_CORE_SLOTS_H

#include "core/actor.h"

enum { TROUPE__NODES_MAX = 1024 };

struct troupe__slots {
    uint64_t cluster, generation;
    uint16_t node_count;
    uint16_t owner[TROUPE__SLOTS]; /* slot -> node, below node_count */
};

/* Give each of `node_count` (1 to TROUPE__NODES_MAX) nodes an equal range. */
void troupe__slots_spread(struct troupe__slots *slots, uint64_t cluster, uint64_t generation, uint16_t node_count);

/* Give slots `first` to `last` to `node`. Errors: TROUPE_EINVAL (out of bounds). */
enum troupe_error troupe__slots_give(struct troupe__slots *slots, uint16_t first, uint16_t last, uint16_t node);

/* Tells one way to give them from another; never 0. */
uint64_t troupe__slots_hash(const struct troupe__slots *slots);

#endif
