/* lmdb_rows.c - reads rows of the tables' file, each with its checksum.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/lmdb_rows.h"

#include <stdio.h>

#include "state/fold.h"
#include "state/lmdb_env.h"

static enum troupe_error fail_row(const struct troupe__lmdb_rows *rows, const void *row_key, size_t size)
{
    static const char *const names[TROUPE__TABLE_COUNT] = {"meta",   "state", "mail",     "timer",  "dead",
                                                           "egress", "job",   "response", "outbox", "sweep"};
    const unsigned char *at = row_key;
    char text[2 * 64 + 1] = "";
    for (size_t i = 1; i < size && i <= 64; i++) {
        snprintf(text + 2 * (i - 1), 3, "%02x", at[i]);
    }
    snprintf(rows->error, rows->error_size,
             "read %s: table %s, key %s (hexadecimal%s): its checksum is wrong: run `troupe doctor`, restore a backup",
             rows->directory, at[0] < TROUPE__TABLE_COUNT ? names[at[0]] : "?", text, size > 65 ? ", shortened" : "");
    return TROUPE_ECORRUPT;
}

static enum troupe_error fail_code(const struct troupe__lmdb_rows *rows, int code)
{
    snprintf(rows->error, rows->error_size, "read %s: %s", rows->directory, mdb_strerror(code));
    return troupe__lmdb_error(code);
}

enum troupe_error troupe__lmdb_rows_get(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                        struct troupe_bytes key, struct troupe_bytes *ret)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    if (key.size > TROUPE__ROW_KEY_MAX) {
        return TROUPE_ENOTFOUND;
    }
    MDB_val row_key = {troupe__fold_row_key(bytes, table, key), bytes}, value;
    int code = mdb_get(mdb_cursor_txn(rows->cursor), mdb_cursor_dbi(rows->cursor), &row_key, &value);
    if (code == MDB_NOTFOUND) {
        return TROUPE_ENOTFOUND;
    }
    if (code) {
        return fail_code(rows, code);
    }
    struct troupe_bytes found;
    if (!troupe__fold_row_check(row_key, value, &found)) {
        return fail_row(rows, bytes, row_key.mv_size);
    }
    *ret = found;
    return TROUPE_OK;
}

enum troupe_error troupe__lmdb_rows_scan(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                         struct troupe_bytes prefix, troupe__row_fn row, void *context)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX + 1];
    if (prefix.size > TROUPE__ROW_KEY_MAX) {
        return TROUPE_OK;
    }
    size_t size = troupe__fold_row_key(bytes, table, prefix);
    MDB_val key = {size, bytes}, value;
    enum troupe_error error = TROUPE_OK;
    int code = mdb_cursor_get(rows->cursor, &key, &value, MDB_SET_RANGE);
    while (error == TROUPE_OK && !code && key.mv_size >= size && memcmp(key.mv_data, bytes, size) == 0) {
        struct troupe_bytes found, name = {(unsigned char *)key.mv_data + 1, key.mv_size - 1};
        error = troupe__fold_row_check(key, value, &found) ? row(context, name, found)
                                                           : fail_row(rows, key.mv_data, key.mv_size);
        if (error == TROUPE_OK) {
            code = mdb_cursor_get(rows->cursor, &key, &value, MDB_NEXT);
        }
    }
    return error != TROUPE_OK || !code || code == MDB_NOTFOUND ? error : fail_code(rows, code);
}

int troupe__lmdb_rows_compare(const MDB_val *left, const unsigned char *right, size_t right_size)
{
    size_t shorter = left->mv_size < right_size ? left->mv_size : right_size;
    int order = memcmp(left->mv_data, right, shorter);
    return order ? order : (left->mv_size > right_size) - (left->mv_size < right_size);
}

enum troupe_error troupe__lmdb_rows_range(const struct troupe__lmdb_rows *rows, enum troupe__table table,
                                          const struct troupe__range *range, troupe__row_fn row, void *context)
{
    unsigned char low[TROUPE__ROW_KEY_MAX + 1], high[TROUPE__ROW_KEY_MAX + 1];
    size_t low_size = troupe__fold_row_key(low, table, range->low);
    /* No row has a table and an empty key: the next table's name alone is the end of this one. */
    size_t high_size =
        troupe__fold_row_key(high, range->high.size > 0 ? table : (enum troupe__table)(table + 1), range->high);
    enum troupe_error error = TROUPE_OK;
    if (troupe__lmdb_rows_compare(&(MDB_val){low_size, low}, high, high_size) >= 0) {
        return error;
    }
    MDB_val key = {range->backward ? high_size : low_size, range->backward ? high : low}, value;
    int code = mdb_cursor_get(rows->cursor, &key, &value, MDB_SET_RANGE);
    if (range->backward && (!code || code == MDB_NOTFOUND)) {
        code = mdb_cursor_get(rows->cursor, &key, &value, code ? MDB_LAST : MDB_PREV);
    }
    while (error == TROUPE_OK && !code &&
           (range->backward ? troupe__lmdb_rows_compare(&key, low, low_size) >= 0
                            : troupe__lmdb_rows_compare(&key, high, high_size) < 0)) {
        struct troupe_bytes found, name = {(unsigned char *)key.mv_data + 1, key.mv_size - 1};
        error = troupe__fold_row_check(key, value, &found) ? row(context, name, found)
                                                           : fail_row(rows, key.mv_data, key.mv_size);
        if (error == TROUPE_OK) {
            code = mdb_cursor_get(rows->cursor, &key, &value, range->backward ? MDB_PREV : MDB_NEXT);
        }
    }
    return error != TROUPE_OK || !code || code == MDB_NOTFOUND ? error : fail_code(rows, code);
}
