/* slab.c - memory for many small blocks of the same sizes, given back to the system when they are no longer used.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

struct block { /* one that is free */
    struct block *next;
};

struct troupe__slab { /* at the slab's beginning; blocks follow */
    struct troupe__slab *before, *after;
    struct block *free;
    uint32_t number, used;
    size_t fresh; /* where the part begins that was never used */
    _Alignas(64) char blocks[];
};

static struct troupe__slab *slab_of(const void *block)
{
    return (struct troupe__slab *)((uintptr_t)block & ~(uintptr_t)(TROUPE__SLAB_SIZE - 1));
}

troupe__block troupe__slab_number(const void *block)
{
    const struct troupe__slab *slab = slab_of(block);
    size_t offset = (size_t)((const char *)block - (const char *)slab);
    return (troupe__block)(slab->number << TROUPE__SLAB_BITS | offset / TROUPE__SLAB_GRAIN);
}

/* Aligned to its size, so that a block leads to its slab. */
static struct troupe__slab *map_slab(bool huge)
{
    size_t size = TROUPE__SLAB_SIZE;
    char *memory = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    size_t before = (size_t)(-(uintptr_t)memory & (size - 1));
    if (before > 0) {
        munmap(memory, before);
    }
    munmap(memory + before + size, size - before);
    memory += before;
    if (mprotect(memory, size, PROT_READ | PROT_WRITE)) {
        munmap(memory, size);
        return NULL;
    }
    if (huge) {
        (void)madvise(memory, size, MADV_HUGEPAGE); /* Without, it is only slower. */
    }
    return (struct troupe__slab *)memory;
}

static struct troupe__slab *add_slab(struct troupe__slabs *slabs, struct troupe__pool *pool)
{
    if (slabs->free_count == 0 && slabs->count == slabs->capacity) {
        uint32_t capacity = slabs->capacity ? slabs->capacity * 2 : 16;
        struct troupe__slab **grown =
            capacity <= 1u << (32 - TROUPE__SLAB_BITS) ? realloc(slabs->slabs, capacity * sizeof(void *)) : NULL;
        uint32_t *numbers = grown ? realloc(slabs->free_numbers, capacity * sizeof *numbers) : NULL;
        slabs->slabs = grown ? grown : slabs->slabs;
        if (!numbers) {
            return NULL;
        }
        slabs->free_numbers = numbers;
        slabs->capacity = capacity;
    }
    struct troupe__slab *slab = map_slab(pool->slab_count > 0);
    if (!slab) {
        return NULL;
    }
    slab->number = slabs->free_count > 0 ? slabs->free_numbers[--slabs->free_count] : slabs->count++;
    slabs->slabs[slab->number] = slab;
    slab->fresh = sizeof *slab;
    slab->after = pool->partial;
    if (pool->partial) {
        pool->partial->before = slab;
    }
    pool->partial = slab;
    pool->slab_count++;
    slabs->mapped += TROUPE__SLAB_SIZE;
    ASAN_POISON_MEMORY_REGION(slab->blocks, TROUPE__SLAB_SIZE - sizeof *slab);
    return slab;
}

static void unlink_slab(struct troupe__pool *pool, struct troupe__slab *slab)
{
    if (slab->before) {
        slab->before->after = slab->after;
    } else {
        pool->partial = slab->after;
    }
    if (slab->after) {
        slab->after->before = slab->before;
    }
    slab->before = slab->after = NULL;
}

static bool is_full(const struct troupe__pool *pool, const struct troupe__slab *slab)
{
    return !slab->free && slab->fresh + pool->block_size > TROUPE__SLAB_SIZE;
}

void *troupe__pool_take(struct troupe__slabs *slabs, struct troupe__pool *pool)
{
    assert(pool->block_size >= sizeof(struct block) && pool->block_size <= TROUPE__SLAB_BLOCK_MAX &&
           pool->block_size % TROUPE__SLAB_GRAIN == 0);
    struct troupe__slab *slab = pool->partial ? pool->partial : add_slab(slabs, pool);
    if (!slab) {
        return NULL;
    }
    void *memory = slab->free;
    if (memory) {
        ASAN_UNPOISON_MEMORY_REGION(memory, pool->block_size);
        slab->free = slab->free->next;
    } else {
        memory = (char *)slab + slab->fresh;
        ASAN_UNPOISON_MEMORY_REGION(memory, pool->block_size);
        slab->fresh += pool->block_size;
    }
    slab->used++;
    if (is_full(pool, slab)) {
        unlink_slab(pool, slab);
    }
    return memory;
}

static void unmap_slab(struct troupe__slabs *slabs, struct troupe__slab *slab)
{
    slabs->slabs[slab->number] = NULL;
    slabs->mapped -= TROUPE__SLAB_SIZE;
    ASAN_UNPOISON_MEMORY_REGION(slab->blocks, TROUPE__SLAB_SIZE - sizeof *slab);
    munmap(slab, TROUPE__SLAB_SIZE);
}

void troupe__pool_give(struct troupe__slabs *slabs, struct troupe__pool *pool, void *memory)
{
    struct troupe__slab *slab = slab_of(memory);
    assert(slabs->slabs[slab->number] == slab && slab->used > 0);
    bool was_full = is_full(pool, slab);
    struct block *block = memory;
    block->next = slab->free;
    slab->free = block;
    ASAN_POISON_MEMORY_REGION(memory, pool->block_size);
    slab->used--;
    if (was_full) {
        slab->after = pool->partial;
        if (pool->partial) {
            pool->partial->before = slab;
        }
        pool->partial = slab;
    }
    if (slab->used == 0) {
        if (pool->slab_count == 1) { /* The last one stays, or one block more or less could map and unmap for ever. */
            if (slab->fresh > TROUPE__SLAB_SIZE / 32) {
                char *from = (char *)slab + 4096;
                madvise(from, TROUPE__SLAB_SIZE - 4096, MADV_DONTNEED);
            }
            slab->free = NULL;
            slab->fresh = sizeof *slab;
        } else {
            unlink_slab(pool, slab);
            slabs->free_numbers[slabs->free_count++] = slab->number;
            pool->slab_count--;
            unmap_slab(slabs, slab);
        }
    }
}

void troupe__slabs_fini(struct troupe__slabs *slabs)
{
    for (uint32_t i = 0; i < slabs->count; i++) {
        if (slabs->slabs[i]) {
            unmap_slab(slabs, slabs->slabs[i]);
        }
    }
    free(slabs->slabs);
    free(slabs->free_numbers);
    *slabs = (struct troupe__slabs){0};
}
