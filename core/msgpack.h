/* msgpack.h - reading msgpack, value by value, from bytes that nobody vouches for.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is allocated and nothing outside the cursor's bytes is read. A count that the rest of the bytes cannot hold
 * fails where it stands, before anybody trusts it. */
#ifndef TROUPE_CORE_MSGPACK_H
#define TROUPE_CORE_MSGPACK_H

#include "core/buffer.h"
#include "core/troupe.h"

enum troupe__msgpack_kind {
    TROUPE__NIL,
    TROUPE__BOOL,
    TROUPE__UNSIGNED,
    TROUPE__NEGATIVE,
    TROUPE__FLOAT,
    TROUPE__STR,
    TROUPE__BIN,
    TROUPE__EXT,
    TROUPE__ARRAY,
    TROUPE__MAP,
};

/* A scalar, or where a container begins: its values follow. */
struct troupe__msgpack {
    enum troupe__msgpack_kind kind;
    int8_t ext;                /* of an EXT: its type */
    uint64_t number;           /* BOOL, UNSIGNED; NEGATIVE as int64_t; FLOAT: bits of the double; else size or count */
    const unsigned char *data; /* STR, BIN, EXT: inside the bytes */
};

/* For troupe__msgpack_read: all but small numbers and short strings. */
bool troupe__msgpack_read_other(struct troupe__cursor *cursor, struct troupe__msgpack *ret);

/* Returns false at the end, or on bytes that are not msgpack. */
static inline bool troupe__msgpack_read(struct troupe__cursor *cursor, struct troupe__msgpack *ret)
{
    unsigned byte = !cursor->failed && cursor->at < cursor->end ? *cursor->at : 0xff;
    if (byte < 0x80) {
        ret->kind = TROUPE__UNSIGNED;
        ret->number = byte;
        cursor->at++;
        return true;
    }
    if (byte < 0xa0 || byte >= 0xc0) {
        return troupe__msgpack_read_other(cursor, ret);
    }
    cursor->at++;
    ret->kind = TROUPE__STR;
    ret->number = byte & 0x1f;
    ret->data = troupe__cursor_bytes(cursor, byte & 0x1f);
    return !cursor->failed;
}

/* How many values follow that belong to this one. */
static inline uint64_t troupe__msgpack_children(const struct troupe__msgpack *value)
{
    return value->kind == TROUPE__MAP ? value->number * 2 : value->kind == TROUPE__ARRAY ? value->number : 0;
}

/* Step over `count` values of any nesting. Returns false as reading does. */
bool troupe__msgpack_skip(struct troupe__cursor *cursor, uint64_t count);

/* Whether `body` is exactly one well-formed value nested no deeper than `depth_max`. */
bool troupe__msgpack_valid(struct troupe_bytes body, unsigned depth_max);

#endif
