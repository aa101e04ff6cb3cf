/* slab.h - memory for many small blocks of the same sizes, given back to the system when they are no longer used.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A slab is 2 MiB of address space and holds blocks of one size; a pool is the slabs of one size. From its second slab
 * on a pool asks for huge pages: with millions of blocks most of a cache miss is the walk of the page table. A slab
 * whose last block goes is unmapped, so what is given back is given back to the system, which malloc does not promise.
 * Blocks have a number of 32 bits, half a pointer: the index of actors is that much smaller. Not thread-safe. */
#ifndef TROUPE_CORE_SLAB_H
#define TROUPE_CORE_SLAB_H

#include <stddef.h>
#include <stdint.h>

enum {
    TROUPE__SLAB_SIZE = 1 << 21,
    TROUPE__SLAB_GRAIN = 16,         /* sizes are multiples of it, blocks are aligned to it */
    TROUPE__SLAB_BLOCK_MAX = 1 << 15 /* bytes of the largest block */
};

struct troupe__slab;

struct troupe__slabs { /* Zero bytes are an empty set. What numbers mean: shared by the pools. */
    struct troupe__slab **slabs;
    uint32_t *free_numbers;
    uint32_t count, capacity, free_count;
    size_t mapped; /* bytes of address space */
};

struct troupe__pool { /* `{.block_size = n}` is an empty pool. */
    uint32_t block_size;
    uint32_t slab_count;
    struct troupe__slab *partial; /* slabs with room */
};

/* A block's number; never 0. */
typedef uint32_t troupe__block;

/* Take a block, not initialised; NULL when out of memory. */
void *troupe__pool_take(struct troupe__slabs *slabs, struct troupe__pool *pool);
void troupe__pool_give(struct troupe__slabs *slabs, struct troupe__pool *pool, void *block);

/* Unmap everything. Pools must not be used afterwards. */
void troupe__slabs_fini(struct troupe__slabs *slabs);

troupe__block troupe__slab_number(const void *block);

enum { TROUPE__SLAB_BITS = 17 }; /* grains of a slab */

static inline void *troupe__slab_block(const struct troupe__slabs *slabs, troupe__block block)
{
    size_t offset = (size_t)(block & ((1u << TROUPE__SLAB_BITS) - 1)) * TROUPE__SLAB_GRAIN;
    return (char *)slabs->slabs[block >> TROUPE__SLAB_BITS] + offset;
}

#endif
