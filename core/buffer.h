/* buffer.h - a growing byte buffer, and the varints and checksums of everything that is written.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Appending to a buffer can fail only for lack of memory; `failed` then stays set and later appends do nothing, so that
 * a caller checks once at the end. Not thread-safe. */
#ifndef TROUPE_CORE_BUFFER_H
#define TROUPE_CORE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct troupe__buffer { /* Zero bytes are an empty buffer. */
    unsigned char *data;
    size_t size, capacity;
    bool failed;
};

/* Make room for `more` bytes beyond size. Returns false when out of memory, with `failed` set. */
bool troupe__buffer_reserve_slow(struct troupe__buffer *buffer, size_t more);
void troupe__buffer_free(struct troupe__buffer *buffer);

static inline bool troupe__buffer_reserve(struct troupe__buffer *buffer, size_t more)
{
    return buffer->capacity - buffer->size >= more || troupe__buffer_reserve_slow(buffer, more);
}

static inline void troupe__buffer_put(struct troupe__buffer *buffer, const void *data, size_t size)
{
    if (size > 0 && troupe__buffer_reserve(buffer, size)) {
        memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
    }
}

static inline void troupe__buffer_put_byte(struct troupe__buffer *buffer, unsigned byte)
{
    if (troupe__buffer_reserve(buffer, 1)) {
        buffer->data[buffer->size++] = (unsigned char)byte;
    }
}

/* LEB128: seven bits a byte, least first, at most 10 bytes. */
static inline void troupe__buffer_put_varint(struct troupe__buffer *buffer, uint64_t number)
{
    if (!troupe__buffer_reserve(buffer, 10)) {
        return;
    }
    while (number >= 0x80) {
        buffer->data[buffer->size++] = (unsigned char)(number | 0x80);
        number >>= 7;
    }
    buffer->data[buffer->size++] = (unsigned char)number;
}

static inline void troupe__buffer_put_string(struct troupe__buffer *buffer, const void *data, size_t size)
{
    troupe__buffer_put_varint(buffer, size);
    troupe__buffer_put(buffer, data, size);
}

/* A bounds-checked reader. A read past the end sets `failed`, yields zeros, and all later reads do too. */
struct troupe__cursor {
    const unsigned char *at, *end;
    bool failed;
};

static inline uint64_t troupe__cursor_varint(struct troupe__cursor *cursor)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
        unsigned char byte = *cursor->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return number;
        }
    }
    cursor->failed = true;
    cursor->at = cursor->end;
    return 0;
}

static inline const unsigned char *troupe__cursor_bytes(struct troupe__cursor *cursor, size_t size)
{
    if ((size_t)(cursor->end - cursor->at) < size) {
        cursor->failed = true;
        cursor->at = cursor->end;
        return NULL;
    }
    const unsigned char *bytes = cursor->at;
    cursor->at += size;
    return bytes;
}

/* A counted string; {NULL, 0} with `failed` set when it does not fit. */
static inline const unsigned char *troupe__cursor_string(struct troupe__cursor *cursor, size_t *ret_size)
{
    size_t size = (size_t)troupe__cursor_varint(cursor);
    const unsigned char *bytes = troupe__cursor_bytes(cursor, size);
    *ret_size = bytes ? size : 0;
    return bytes;
}

static inline void troupe__put_be16(unsigned char *to, uint16_t number)
{
    to[0] = (unsigned char)(number >> 8);
    to[1] = (unsigned char)number;
}

static inline void troupe__put_be64(unsigned char *to, uint64_t number)
{
    for (int i = 0; i < 8; i++) {
        to[i] = (unsigned char)(number >> (56 - 8 * i));
    }
}

static inline uint64_t troupe__get_be64(const unsigned char *from)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++) {
        number = number << 8 | from[i];
    }
    return number;
}

/* XXH3, 64 bits (xxhash.com): the checksum and the hash of everything. */
uint64_t troupe__hash(const void *data, size_t size);

#endif
