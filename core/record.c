/* record.c - decodes the row changes of one epoch.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The format is in store.h. Strict: an unknown table, or a key that is empty or over TROUPE__ROW_KEY_MAX, fails the
 * whole record: it was written by another version or is damaged, and no part of it may be applied. */
#include "core/store.h"

bool troupe__record_next(struct troupe__cursor *cursor, struct troupe__change *ret)
{
    if (cursor->failed || cursor->at == cursor->end) {
        return false;
    }
    unsigned tag = *cursor->at++;
    struct troupe__change change = {.table = (enum troupe__table)(tag >> 1), .removed = tag & 1};
    change.key.data = troupe__cursor_string(cursor, &change.key.size);
    if (!change.removed) {
        change.value.data = troupe__cursor_string(cursor, &change.value.size);
    }
    if (tag >> 1 >= TROUPE__TABLE_COUNT || change.key.size == 0 || change.key.size > TROUPE__ROW_KEY_MAX) {
        cursor->failed = true;
        cursor->at = cursor->end;
    }
    if (cursor->failed) {
        return false;
    }
    *ret = change;
    return true;
}
