/* grow.h - room for one more item at the end of a list.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_CORE_GROW_H
#define TROUPE_CORE_GROW_H

#include <stddef.h>
#include <stdlib.h>

/* The list `items`, which has `count` items of `item_size` bytes and room for `*capacity`, with room for one more:
 * where it is from now on. NULL when out of memory: nothing has changed then. */
static inline void *troupe__grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    enum { LEAST = 16 };
    if (count < *capacity) {
        return items;
    }
    size_t more = *capacity ? *capacity * 2 : LEAST;
    void *grown = realloc(items, more * item_size);
    *capacity = grown ? more : *capacity;
    return grown;
}

#endif
