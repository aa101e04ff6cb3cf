/* lmdb_rows.h - reads rows of the tables' file, each with its checksum.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_LMDB_ROWS_H
#define TROUPE_STATE_LMDB_ROWS_H

#include <lmdb.h>

#include "core/store.h"

/* What rows are read with, in a transaction that lives, and where an error's text goes. */
struct troupe__lmdb_rows {
    MDB_cursor *cursor;
    const char *directory; /* of the store, for that text */
    char *error;
    size_t error_size;
};

/* As the functions of those names in core/store.h, which have no more to say. Errors, with a text: TROUPE_EIO,
 * TROUPE_ECORRUPT (a wrong checksum), `row`'s; of get, without one, TROUPE_ENOTFOUND. */
enum troupe_error troupe__lmdb_rows_get(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                        struct troupe_bytes key, struct troupe_bytes *ret);
enum troupe_error troupe__lmdb_rows_scan(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                         struct troupe_bytes prefix, troupe__row_fn row, void *context);
enum troupe_error troupe__lmdb_rows_range(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                          const struct troupe__range *range, troupe__row_fn row, void *context);

/* The order of keys in the file: by their bytes, a shorter one first. */
int troupe__lmdb_rows_compare(const MDB_val *left, const unsigned char *right, size_t right_size);

#endif
