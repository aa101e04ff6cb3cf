/* memory.c - how much memory a node may use, and for what.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/memory.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number in a file, SIZE_MAX when there is none. */
static size_t read_number(const char *path)
{
    unsigned long long number;
    FILE *file = fopen(path, "r");
    if (!file) {
        return SIZE_MAX;
    }
    int count = fscanf(file, "%llu", &number);
    fclose(file);
    return count == 1 && number > 0 ? (size_t)number : SIZE_MAX;
}

size_t troupe__memory_default(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t size = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)2 << 30;
    size_t group = read_number("/sys/fs/cgroup/memory.max");                       /* version 2 */
    size_t old_group = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"); /* version 1 */
    size = group < size ? group : size;
    size = old_group < size ? old_group : size;
    return size / 2;
}

static size_t at_least(size_t memory)
{
    return memory > TROUPE__MEMORY_MIN ? memory : TROUPE__MEMORY_MIN;
}

size_t troupe__memory_for_machine(size_t memory)
{
    enum { OTHERS_MAX = 512 << 20 };
    memory = at_least(memory);
    size_t others = memory / 4 * 3;
    return memory - (others < OTHERS_MAX ? others : OTHERS_MAX);
}

size_t troupe__memory_for_fold(size_t memory)
{
    enum { FOLD_MAX = 64 << 20 };
    size_t fold = at_least(memory) / 128;
    return fold < FOLD_MAX ? fold : FOLD_MAX;
}

size_t troupe__memory_for_unfolded(size_t memory)
{
    /* What waits is in memory two or three times: as a record, as the rows that the node keeps, sorted. */
    enum { SHARE = 16, UNFOLDED_MAX = 1 << 30 };
    size_t size = at_least(memory) / SHARE;
    return size < UNFOLDED_MAX ? size : UNFOLDED_MAX;
}

size_t troupe__memory_parse(const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned long long number = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (number == 0) {
        return 0;
    }
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    return end[unit ? 1 : 0] == '\0' && number <= SIZE_MAX >> shift ? (size_t)number << shift : 0;
}
