/* msgpack.c - reading msgpack, value by value, from bytes that nobody vouches for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/msgpack.h"

#include <assert.h>
#include <string.h>

static inline uint64_t read_be(struct troupe__cursor *cursor, size_t width)
{
    const unsigned char *bytes = troupe__cursor_bytes(cursor, width);
    uint64_t number = 0;
    for (size_t i = 0; bytes != NULL && i < width; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

static inline void set_signed(struct troupe__msgpack *value, int64_t number)
{
    value->kind = number < 0 ? TROUPE__NEGATIVE : TROUPE__UNSIGNED;
    value->number = (uint64_t)number;
}

static inline void read_counted(struct troupe__cursor *cursor, struct troupe__msgpack *value,
                                enum troupe__msgpack_kind kind, uint64_t size)
{
    value->kind = kind;
    value->number = size;
    if (kind == TROUPE__EXT) {
        value->ext = (int8_t)read_be(cursor, 1);
    }
    value->data = troupe__cursor_bytes(cursor, (size_t)size);
}

/* Each element takes a byte at least. */
static inline void read_container(struct troupe__cursor *cursor, struct troupe__msgpack *value,
                                  enum troupe__msgpack_kind kind, uint64_t count)
{
    value->kind = kind;
    value->number = count;
    if (count * (kind == TROUPE__MAP ? 2 : 1) > (uint64_t)(cursor->end - cursor->at)) {
        cursor->failed = true;
    }
}

bool troupe__msgpack_read_other(struct troupe__cursor *cursor, struct troupe__msgpack *ret)
{
    if (cursor->failed || cursor->at >= cursor->end) {
        return false;
    }
    unsigned byte = *cursor->at++;
    if (byte >= 0xe0) {
        set_signed(ret, (int)byte - 256);
        return true;
    }
    assert(byte >= 0x80 && (byte < 0xa0 || byte >= 0xc0)); /* The others are read in msgpack.h. */
    if (byte < 0xa0) {
        read_container(cursor, ret, byte < 0x90 ? TROUPE__MAP : TROUPE__ARRAY, byte & 0x0f);
        return !cursor->failed;
    }
    switch (byte) {
    case 0xc0:
        ret->kind = TROUPE__NIL;
        break;
    case 0xc2:
    case 0xc3:
        ret->kind = TROUPE__BOOL;
        ret->number = byte & 1;
        break;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        read_counted(cursor, ret, TROUPE__BIN, read_be(cursor, (size_t)1 << (byte - 0xc4)));
        break;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        read_counted(cursor, ret, TROUPE__EXT, read_be(cursor, (size_t)1 << (byte - 0xc7)));
        break;
    case 0xca: {
        uint32_t bits = (uint32_t)read_be(cursor, 4);
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        double wide = (double)narrow;
        ret->kind = TROUPE__FLOAT;
        memcpy(&ret->number, &wide, sizeof wide);
        break;
    }
    case 0xcb:
        ret->kind = TROUPE__FLOAT;
        ret->number = read_be(cursor, 8);
        break;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        ret->kind = TROUPE__UNSIGNED;
        ret->number = read_be(cursor, (size_t)1 << (byte - 0xcc));
        break;
    case 0xd0:
        set_signed(ret, (int8_t)read_be(cursor, 1));
        break;
    case 0xd1:
        set_signed(ret, (int16_t)read_be(cursor, 2));
        break;
    case 0xd2:
        set_signed(ret, (int32_t)read_be(cursor, 4));
        break;
    case 0xd3:
        set_signed(ret, (int64_t)read_be(cursor, 8));
        break;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        read_counted(cursor, ret, TROUPE__EXT, (uint64_t)1 << (byte - 0xd4));
        break;
    case 0xd9:
    case 0xda:
    case 0xdb:
        read_counted(cursor, ret, TROUPE__STR, read_be(cursor, (size_t)1 << (byte - 0xd9)));
        break;
    case 0xdc:
    case 0xdd:
        read_container(cursor, ret, TROUPE__ARRAY, read_be(cursor, (size_t)2 << (byte - 0xdc)));
        break;
    case 0xde:
    case 0xdf:
        read_container(cursor, ret, TROUPE__MAP, read_be(cursor, (size_t)2 << (byte - 0xde)));
        break;
    default: /* 0xc1 is never used. */
        return false;
    }
    return !cursor->failed;
}

/* The count cannot overflow: each value adds at most the bytes that are left. */
bool troupe__msgpack_skip(struct troupe__cursor *cursor, uint64_t count)
{
    struct troupe__msgpack value;
    while (count > 0) {
        if (!troupe__msgpack_read(cursor, &value)) {
            return false;
        }
        count += troupe__msgpack_children(&value);
        count--;
    }
    return true;
}

static bool values_valid(struct troupe__cursor *cursor, uint64_t count, unsigned depth_left)
{
    struct troupe__msgpack value;
    while (count-- > 0) {
        if (!troupe__msgpack_read(cursor, &value)) {
            return false;
        }
        if (value.kind == TROUPE__ARRAY || value.kind == TROUPE__MAP) {
            if (depth_left == 0 || !values_valid(cursor, troupe__msgpack_children(&value), depth_left - 1)) {
                return false;
            }
        }
    }
    return true;
}

bool troupe__msgpack_valid(struct troupe_bytes body, unsigned depth_max)
{
    if (body.size == 0) {
        return false;
    }
    struct troupe__cursor cursor = {body.data, (const unsigned char *)body.data + body.size, false};
    return values_valid(&cursor, 1, depth_max) && cursor.at == cursor.end;
}
