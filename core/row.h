/* row.h - the form of one row of state: what is kept, its schema version, and when it expires.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Row form: the payload alone (msgpack of a single value, any bytes of an element) where it has neither version nor
 * expiry and does not begin with 0xc1, a byte that msgpack never uses. Otherwise
 *   0xc1, flags (1), [varint version], [varint time of expiry in ms], payload
 * A map or a list has a head, whose row has the flag for it; its payload is
 *   kind (1: enum troupe_kind), varint generation, and of a list: varint first index (zigzag), varint count.
 *
 * Key: slot (2 bytes, big-endian), type NUL key NUL value; of an element there follow NUL, varint generation, and the
 * map's key or the list's index (8, big-endian, begins at 2^63). No generation's bytes begin another's. */
#ifndef TROUPE_CORE_ROW_H
#define TROUPE_CORE_ROW_H

#include "core/buffer.h"
#include "core/troupe.h"

enum {
    TROUPE__ROW_HEADED = 0xc1,
    TROUPE__ROW_HEADER_MAX = 2 + 5 + 10,
    TROUPE__GENERATION_SIZE_MAX = 5, /* bytes in a key */
};

#define TROUPE__GENERATION_MAX ((UINT64_C(1) << 35) - 1)
#define TROUPE__LIST_BEGIN (UINT64_C(1) << 63)

struct troupe__row {
    uint32_t version;
    int64_t expires_ms; /* 0: never */
    bool head;          /* of a map or list */
    struct troupe_bytes payload;
};

/* What stands in the head of a map or list. The head of an empty list of generation 0, and of any map of generation
 * 0, is not kept. */
struct troupe__head {
    uint64_t generation;
    uint64_t first, count; /* of a list */
};

/* A row's key, taken apart. Pointers lead into it; type and key are NUL-terminated. */
struct troupe__row_key {
    uint16_t slot;
    const char *type, *key;
    struct troupe_bytes value; /* its name */
    bool is_element;
    uint64_t generation;
    struct troupe_bytes element;
};

/* Returns false for a malformed key. The slot is not checked against type and key. */
bool troupe__row_key_decode(struct troupe_bytes bytes, struct troupe__row_key *ret);

/* Append what stands before the payload; nothing in most cases. */
void troupe__row_encode_header(const struct troupe__row *row, struct troupe__buffer *buffer);

/* The payload stays in `bytes`. Returns false for a malformed row. */
bool troupe__row_decode(struct troupe_bytes bytes, struct troupe__row *ret);

void troupe__head_encode(const struct troupe__head *head, enum troupe_kind kind, struct troupe__buffer *buffer);
bool troupe__head_decode(struct troupe_bytes payload, enum troupe_kind *ret_kind, struct troupe__head *ret);

#endif
