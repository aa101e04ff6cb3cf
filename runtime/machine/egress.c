/* egress.c - records on their way out: their form in a row, and the rows that are not known to be out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/egress.h"

#include <assert.h>

#include "core/grow.h"

bool troupe__egress_next(struct troupe__cursor *cursor, struct troupe__egress *ret)
{
    if (cursor->at == cursor->end) {
        return false;
    }
    ret->number = troupe__cursor_varint(cursor);
    ret->name.data = troupe__cursor_string(cursor, &ret->name.size);
    ret->sequence = troupe__cursor_varint(cursor);
    ret->key.data = troupe__cursor_string(cursor, &ret->key.size);
    ret->body.data = troupe__cursor_string(cursor, &ret->body.size);
    return !cursor->failed;
}

bool troupe__egress_rows_push(struct troupe__egress_rows *rows, uint64_t first, uint64_t last)
{
    assert(first <= last);
    if (rows->end == rows->capacity && rows->begin > 0) {
        memmove(rows->items, rows->items + rows->begin, (rows->end - rows->begin) * sizeof *rows->items);
        rows->end -= rows->begin;
        rows->begin = 0;
    }
    struct troupe__egress_row *items = troupe__grow(rows->items, rows->end, &rows->capacity, sizeof *items);
    if (!items) {
        return false;
    }
    rows->items = items;
    assert(rows->end == rows->begin || rows->items[rows->end - 1].last < first);
    rows->items[rows->end++] = (struct troupe__egress_row){first, last};
    return true;
}

bool troupe__egress_rows_pop(struct troupe__egress_rows *rows, uint64_t number, uint64_t *ret_first)
{
    if (rows->begin == rows->end || rows->items[rows->begin].last > number) {
        return false;
    }
    *ret_first = rows->items[rows->begin++].first;
    return true;
}

void troupe__egress_rows_fini(struct troupe__egress_rows *rows)
{
    free(rows->items);
    *rows = (struct troupe__egress_rows){0};
}
