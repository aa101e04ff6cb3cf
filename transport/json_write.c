/* json_write.c - msgpack to JSON, in one pass; recurses at most TROUPE__JSON_NESTING_MAX deep.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/msgpack.h"
#include "transport/json.h"
#include "transport/json_plain.h"
#include "transport/utf8.h"

void troupe__json_write_string(const char *text, size_t size, struct troupe__buffer *json)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)text, *end = size > 0 ? at + size : at;
    if (troupe__json_skip_plain(at, end) == end && troupe__buffer_reserve(json, size + 2)) { /* nearly always */
        unsigned char *to = json->data + json->size;
        *to = '"';
        if (size > 0) {
            memcpy(to + 1, text, size);
        }
        to[size + 1] = '"';
        json->size += size + 2;
        return;
    }
    troupe__buffer_put_byte(json, '"');
    while (at < end) {
        const unsigned char *plain = at;
        at = troupe__json_skip_plain(at, end);
        troupe__buffer_put(json, plain, (size_t)(at - plain));
        if (at == end) {
            break;
        }
        if (*at >= 0x80) {
            size_t length = troupe__utf8_length(at, end);
            if (length > 0) {
                troupe__buffer_put(json, at, length);
            } else {
                troupe__buffer_put(json, "\xef\xbf\xbd", 3);
            }
            at += length > 0 ? length : 1;
            continue;
        }
        unsigned char byte = *at++;
        char escape[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
        char letter = byte == '\n'   ? 'n'
                      : byte == '\r' ? 'r'
                      : byte == '\t' ? 't'
                      : byte == '\b' ? 'b'
                      : byte == '\f' ? 'f'
                      : byte >= 0x20 ? (char)byte
                                     : '\0';
        if (letter != '\0') {
            escape[1] = letter;
        }
        troupe__buffer_put(json, escape, letter != '\0' ? 2 : 6);
    }
    troupe__buffer_put_byte(json, '"');
}

/* ---- scalars ----------------------------------------------------------------------------------------------------- */

static void put_literal(struct troupe__buffer *json, const char *text)
{
    troupe__buffer_put(json, text, strlen(text));
}

static void write_base64(const unsigned char *data, size_t size, struct troupe__buffer *json)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    troupe__buffer_put_byte(json, '"');
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        unsigned bits = (unsigned)data[i] << 16 | (left > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                        (left > 2 ? (unsigned)data[i + 2] : 0);
        char four[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63], left > 1 ? alphabet[bits >> 6 & 63] : '=',
                        left > 2 ? alphabet[bits & 63] : '='};
        troupe__buffer_put(json, four, sizeof four);
    }
    troupe__buffer_put_byte(json, '"');
}

static void write_uint(struct troupe__buffer *json, uint64_t number, bool negative)
{
    char text[21], *at = text + sizeof text;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    if (negative) {
        *--at = '-';
    }
    troupe__buffer_put(json, at, (size_t)(text + sizeof text - at));
}

void troupe__json_write_number(uint64_t number, struct troupe__buffer *json)
{
    write_uint(json, number, false);
}

static void write_int(struct troupe__buffer *json, int64_t number)
{
    write_uint(json, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0);
}

/* The fewest of 15 to 17 digits that read back as the same double, and a sign that it is one. */
static void write_double(struct troupe__buffer *json, double number)
{
    char text[40];
    if (!isfinite(number)) {
        put_literal(json, "null");
        return;
    }
    if (number != 0 && fabs(number) < 1e15 && number == (double)(int64_t)number) {
        write_int(json, (int64_t)number);
        put_literal(json, ".0");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, number);
        if (precision == 17 || strtod(text, NULL) == number) {
            break;
        }
    }
    put_literal(json, text);
    if (strpbrk(text, ".e") == NULL) {
        put_literal(json, ".0");
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool write_next(struct troupe__cursor *cursor, struct troupe__buffer *json, unsigned depth);

static void write_bin(const struct troupe__msgpack *value, struct troupe__buffer *json)
{
    put_literal(json, "{\"$bin\":");
    write_base64(value->data, (size_t)value->number, json);
    troupe__buffer_put_byte(json, '}');
}

static void write_ext(const struct troupe__msgpack *value, struct troupe__buffer *json)
{
    put_literal(json, "{\"$ext\":[");
    write_int(json, value->ext);
    troupe__buffer_put_byte(json, ',');
    write_base64(value->data, (size_t)value->number, json);
    put_literal(json, "]}");
}

/* What needs no brackets. Returns false for arrays and maps. */
static bool write_scalar(const struct troupe__msgpack *value, struct troupe__buffer *json)
{
    double number;
    switch (value->kind) {
    case TROUPE__NIL:
        put_literal(json, "null");
        return true;
    case TROUPE__BOOL:
        put_literal(json, value->number ? "true" : "false");
        return true;
    case TROUPE__UNSIGNED:
        write_uint(json, value->number, false);
        return true;
    case TROUPE__NEGATIVE:
        write_int(json, (int64_t)value->number);
        return true;
    case TROUPE__FLOAT:
        memcpy(&number, &value->number, sizeof number);
        write_double(json, number);
        return true;
    case TROUPE__STR:
        troupe__json_write_string((const char *)value->data, (size_t)value->number, json);
        return true;
    case TROUPE__BIN:
        write_bin(value, json);
        return true;
    case TROUPE__EXT:
        write_ext(value, json);
        return true;
    case TROUPE__ARRAY:
    case TROUPE__MAP:
        break;
    }
    return false;
}

/* JSON has only strings as keys. Others become the text of their JSON; what would need escaping in there (and, nested,
 * grow without bounds) becomes the base64 of its msgpack instead. */
static bool write_key(struct troupe__cursor *cursor, struct troupe__buffer *json, unsigned depth)
{
    const unsigned char *start = cursor->at;
    size_t size_before = json->size;
    struct troupe__msgpack key;
    if (!troupe__msgpack_read(cursor, &key)) {
        return false;
    }
    if (key.kind == TROUPE__STR) {
        troupe__json_write_string((const char *)key.data, (size_t)key.number, json);
        return true;
    }
    if (key.kind <= TROUPE__FLOAT) {
        troupe__buffer_put_byte(json, '"');
        write_scalar(&key, json);
        troupe__buffer_put_byte(json, '"');
        return true;
    }
    cursor->at = start;
    if (!write_next(cursor, json, depth)) { /* Written to learn where it ends, then taken back. */
        return false;
    }
    if (!json->failed) {
        json->size = size_before;
        write_base64(start, (size_t)(cursor->at - start), json);
    }
    return true;
}

static bool write_container(struct troupe__cursor *cursor, const struct troupe__msgpack *value,
                            struct troupe__buffer *json, unsigned depth)
{
    bool map = value->kind == TROUPE__MAP;
    if (depth == TROUPE__JSON_NESTING_MAX) {
        return false;
    }
    troupe__buffer_put_byte(json, map ? '{' : '[');
    for (uint64_t i = 0; i < value->number; i++) {
        if (i > 0) {
            troupe__buffer_put_byte(json, ',');
        }
        if (map) {
            if (!write_key(cursor, json, depth + 1)) {
                return false;
            }
            troupe__buffer_put_byte(json, ':');
        }
        if (!write_next(cursor, json, depth + 1)) {
            return false;
        }
    }
    troupe__buffer_put_byte(json, map ? '}' : ']');
    return true;
}

static bool write_next(struct troupe__cursor *cursor, struct troupe__buffer *json, unsigned depth)
{
    struct troupe__msgpack value;
    return troupe__msgpack_read(cursor, &value) &&
           (write_scalar(&value, json) || write_container(cursor, &value, json, depth));
}

enum troupe_error troupe__json_write(struct troupe_bytes msgpack, struct troupe__buffer *json)
{
    if (msgpack.size == 0) {
        return TROUPE_ECORRUPT;
    }
    struct troupe__cursor cursor = {msgpack.data, (const unsigned char *)msgpack.data + msgpack.size, false};
    size_t size_before = json->size;
    if (!write_next(&cursor, json, 0) || cursor.at != cursor.end) {
        json->size = size_before;
        json->capacity = json->failed ? size_before : json->capacity; /* appends must go on to do nothing */
        return TROUPE_ECORRUPT;
    }
    return json->failed ? TROUPE_ENOMEM : TROUPE_OK;
}
