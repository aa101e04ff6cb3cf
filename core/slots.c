/* slots.c - the cluster map: which node owns which of the 4,096 slots that addresses hash to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/slots.h"

#include <assert.h>

#include "core/buffer.h"

void troupe__slots_spread(struct troupe__slots *slots, uint64_t cluster, uint64_t generation, uint16_t node_count)
{
    assert(node_count >= 1 && node_count <= TROUPE__NODES_MAX);
    slots->cluster = cluster;
    slots->generation = generation;
    slots->node_count = node_count;
    for (uint32_t slot = 0; slot < TROUPE__SLOTS; slot++) {
        slots->owner[slot] = (uint16_t)(slot * node_count / TROUPE__SLOTS);
    }
}

enum troupe_error troupe__slots_give(struct troupe__slots *slots, uint16_t first, uint16_t last, uint16_t node)
{
    if (first > last || last >= TROUPE__SLOTS || node >= slots->node_count) {
        return TROUPE_EINVAL;
    }
    for (uint32_t slot = first; slot <= last; slot++) {
        slots->owner[slot] = node;
    }
    return TROUPE_OK;
}

uint64_t troupe__slots_hash(const struct troupe__slots *slots)
{
    unsigned char owners[TROUPE__SLOTS * 2];
    for (size_t slot = 0; slot < TROUPE__SLOTS; slot++) {
        troupe__put_be16(owners + slot * 2, slots->owner[slot]);
    }
    uint64_t hash = troupe__hash(owners, sizeof owners) + slots->node_count;
    return hash ? hash : 1;
}
