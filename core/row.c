/* row.c - the form of one row of state: what is kept, its schema version, and when it expires.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/row.h"

#include "core/actor.h"

enum { HAS_VERSION = 1, HAS_EXPIRY = 2, IS_HEAD = 4, FLAGS = 7 };

bool troupe__row_key_decode(struct troupe_bytes bytes, struct troupe__row_key *ret)
{
    const unsigned char *at = bytes.data;
    const char *end = (const char *)at + bytes.size;
    const char *type = (const char *)at + 2;
    const char *type_end = bytes.size > 2 ? memchr(type, 0, (size_t)(end - type)) : NULL;
    const char *key = type_end ? type_end + 1 : NULL;
    const char *key_end = key ? memchr(key, 0, (size_t)(end - key)) : NULL;
    if (!key_end || !troupe__type_name_valid(type) || key_end == key || key_end - key > TROUPE_KEY_MAX) {
        return false;
    }
    const char *value = key_end + 1, *value_end = value < end ? memchr(value, 0, (size_t)(end - value)) : NULL;
    size_t value_size = (size_t)((value_end ? value_end : end) - value);
    if (value_size == 0 || value_size > TROUPE_NAME_MAX) {
        return false;
    }
    *ret = (struct troupe__row_key){
        .slot = (uint16_t)(at[0] << 8 | at[1]), .type = type, .key = key, .value = {value, value_size}};
    if (value_end) {
        struct troupe__cursor cursor = {(const unsigned char *)value_end + 1, (const unsigned char *)end, false};
        ret->is_element = true;
        ret->generation = troupe__cursor_varint(&cursor);
        ret->element = (struct troupe_bytes){cursor.at, (size_t)(cursor.end - cursor.at)};
        return !cursor.failed && ret->generation <= TROUPE__GENERATION_MAX && ret->element.size > 0;
    }
    return true;
}

void troupe__row_encode_header(const struct troupe__row *row, struct troupe__buffer *buffer)
{
    unsigned flags =
        (row->version > 0 ? HAS_VERSION : 0) | (row->expires_ms > 0 ? HAS_EXPIRY : 0) | (row->head ? IS_HEAD : 0);
    bool ambiguous = row->payload.size > 0 && *(const unsigned char *)row->payload.data == TROUPE__ROW_HEADED;
    if (flags == 0 && !ambiguous) {
        return;
    }
    troupe__buffer_put_byte(buffer, TROUPE__ROW_HEADED);
    troupe__buffer_put_byte(buffer, flags);
    if (flags & HAS_VERSION) {
        troupe__buffer_put_varint(buffer, row->version);
    }
    if (flags & HAS_EXPIRY) {
        troupe__buffer_put_varint(buffer, (uint64_t)row->expires_ms);
    }
}

bool troupe__row_decode(struct troupe_bytes bytes, struct troupe__row *ret)
{
    const unsigned char *data = bytes.data;
    if (bytes.size == 0 || data[0] != TROUPE__ROW_HEADED) {
        *ret = (struct troupe__row){.payload = bytes};
        return true;
    }
    struct troupe__cursor cursor = {data + 1, data + bytes.size, false};
    const unsigned char *flags = troupe__cursor_bytes(&cursor, 1);
    if (!flags || *flags & ~FLAGS) {
        return false;
    }
    uint64_t version = *flags & HAS_VERSION ? troupe__cursor_varint(&cursor) : 0;
    uint64_t expires = *flags & HAS_EXPIRY ? troupe__cursor_varint(&cursor) : 0;
    if (cursor.failed || version > UINT32_MAX || expires > INT64_MAX) {
        return false;
    }
    *ret = (struct troupe__row){
        (uint32_t)version, (int64_t)expires, *flags & IS_HEAD, {cursor.at, (size_t)(cursor.end - cursor.at)}};
    return true;
}

void troupe__head_encode(const struct troupe__head *head, enum troupe_kind kind, struct troupe__buffer *buffer)
{
    troupe__buffer_put_byte(buffer, kind);
    troupe__buffer_put_varint(buffer, head->generation);
    if (kind == TROUPE_LIST) {
        int64_t shift = (int64_t)(head->first - TROUPE__LIST_BEGIN);
        troupe__buffer_put_varint(buffer, (uint64_t)shift << 1 ^ (uint64_t)(shift < 0 ? -1 : 0));
        troupe__buffer_put_varint(buffer, head->count);
    }
}

bool troupe__head_decode(struct troupe_bytes payload, enum troupe_kind *ret_kind, struct troupe__head *ret)
{
    struct troupe__cursor cursor = {payload.data, (const unsigned char *)payload.data + payload.size, false};
    const unsigned char *kind = troupe__cursor_bytes(&cursor, 1);
    struct troupe__head head = {.generation = troupe__cursor_varint(&cursor), .first = TROUPE__LIST_BEGIN};
    if (!kind || (*kind != TROUPE_MAP && *kind != TROUPE_LIST)) {
        return false;
    }
    if (*kind == TROUPE_LIST) {
        uint64_t zigzag = troupe__cursor_varint(&cursor);
        head.first += zigzag >> 1 ^ (zigzag & 1 ? UINT64_MAX : 0);
        head.count = troupe__cursor_varint(&cursor);
    }
    if (cursor.failed || cursor.at != cursor.end || head.generation > TROUPE__GENERATION_MAX) {
        return false;
    }
    *ret_kind = (enum troupe_kind) * kind;
    *ret = head;
    return true;
}
