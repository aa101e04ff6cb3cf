/* egress.h - records on their way out: their form in a row, and the rows that are not known to be out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The records that one epoch emits are one row, in the order emitted: a row for each would be made, found and removed
 * one by one for nothing. Its key is the number of its first record; numbers count all egresses together, from 1,
 * without gaps. Record: varint number, string egress, varint sequence (from 1 per egress), string key, string body. */
#ifndef TROUPE_RUNTIME_MACHINE_EGRESS_H
#define TROUPE_RUNTIME_MACHINE_EGRESS_H

#include "core/buffer.h"
#include "core/troupe.h"

struct troupe__egress {
    uint64_t number, sequence;
    struct troupe_bytes name, key, body;
};

static inline void troupe__egress_put(struct troupe__buffer *records, const struct troupe__egress *egress)
{
    troupe__buffer_put_varint(records, egress->number);
    troupe__buffer_put_string(records, egress->name.data, egress->name.size);
    troupe__buffer_put_varint(records, egress->sequence);
    troupe__buffer_put_string(records, egress->key.data, egress->key.size);
    troupe__buffer_put_string(records, egress->body.data, egress->body.size);
}

/* Decode the next record. Returns false at the end; a malformed one sets `cursor->failed` too. */
bool troupe__egress_next(struct troupe__cursor *cursor, struct troupe__egress *ret);

/* A queue of rows, oldest first. Zero bytes are an empty one. */
struct troupe__egress_rows {
    struct troupe__egress_row {
        uint64_t first, last; /* record numbers */
    } * items;
    size_t begin, end, capacity;
};

/* Append a row; returns false when out of memory. */
bool troupe__egress_rows_push(struct troupe__egress_rows *rows, uint64_t first, uint64_t last);

/* Take the oldest row if all of its records have numbers up to `number`; `*ret_first` is its key. */
bool troupe__egress_rows_pop(struct troupe__egress_rows *rows, uint64_t number, uint64_t *ret_first);

void troupe__egress_rows_fini(struct troupe__egress_rows *rows);

#endif
