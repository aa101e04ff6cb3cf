/* json.h - JSON lines in and out: ingress lines become messages, egress records become lines.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parser is strict RFC 8259 (UTF-8 checked, one value, no trailing bytes; 64-bit integers stay integers, other
 * numbers become doubles) and writes msgpack in one pass, without a tree. Bytes that JSON cannot carry go out as
 * {"$bin":"base64"} and {"$ext":[type,"base64"]}; NaN and infinities as null. Nesting is limited to 64. */
#ifndef TROUPE_TRANSPORT_JSON_H
#define TROUPE_TRANSPORT_JSON_H

#include "core/buffer.h"
#include "core/troupe.h"

enum { TROUPE__JSON_NESTING_MAX = 64 };

/* An ingress line; pointers into the scratch buffer passed, valid until it is used again. Strings are NUL-terminated.
 */
struct troupe__line {
    const char *id; /* NULL when there is none */
    const char *to_type, *to_key;
    const char *type;
    struct troupe_bytes body; /* msgpack; nil (0xc0) when the line has none */
};

/* Parse {"id":..,"to":"ns/name/key","type":"..","body":..}. Unknown members, a missing `to` or `type`, a repeated
 * member, a key over its limit are TROUPE_EINVAL; a body over TROUPE_BODY_MAX is TROUPE_ETOOBIG; the text says what and
 * at which column (1-based). `scratch` is emptied first. */
enum troupe_error troupe__line_parse(const char *text, size_t size, struct troupe__buffer *scratch,
                                     struct troupe__line *ret, char *error, size_t error_size);

/* Append one JSON value as msgpack. Errors as above. */
enum troupe_error troupe__json_parse(const char *text, size_t size, struct troupe__buffer *msgpack, char *error,
                                     size_t error_size);

/* Append one msgpack value as JSON, without spaces. Errors: TROUPE_ECORRUPT when `msgpack` is not one whole value. */
enum troupe_error troupe__json_write(struct troupe_bytes msgpack, struct troupe__buffer *json);

/* Append a whole number. */
void troupe__json_write_number(uint64_t number, struct troupe__buffer *json);

/* Append a JSON string, escaped; bytes that are not UTF-8 become U+FFFD. */
void troupe__json_write_string(const char *text, size_t size, struct troupe__buffer *json);

#endif
