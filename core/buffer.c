/* buffer.c - how a byte buffer grows, and the hash of everything.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/buffer.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CAPACITY_MIN = 64 };

bool troupe__buffer_reserve_slow(struct troupe__buffer *buffer, size_t more)
{
    assert(buffer->size <= buffer->capacity);
    if (buffer->failed) {
        return false;
    }
    if (more <= SIZE_MAX - buffer->size) {
        size_t needed = buffer->size + more;
        size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
        while (capacity < needed) {
            capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
        }
        unsigned char *data = realloc(buffer->data, capacity);
        if (data != NULL) {
            buffer->data = data;
            buffer->capacity = capacity;
            return true;
        }
    }
    /* Hide the room that is left: a later, smaller append must not slip in behind one that is missing. */
    buffer->capacity = buffer->size;
    buffer->failed = true;
    return false;
}

void troupe__buffer_free(struct troupe__buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct troupe__buffer){0};
}

uint64_t troupe__hash(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}
