/* lmdb_format.c - the rows of a tables file that say what it is: lmdb_store.c reads them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/lmdb_format.h"

#include "state/lmdb_store.h"

static int put_row(MDB_txn *txn, MDB_dbi dbi, const char *name, const unsigned char *value, size_t size)
{
    return troupe__fold_row_put(txn, dbi, TROUPE__META, (struct troupe_bytes){name, strlen(name)},
                                (struct troupe_bytes){value, size});
}

int troupe__lmdb_format_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint64_t chain)
{
    unsigned char format[16], mark[TROUPE__FOLD_MARK_SIZE];
    memcpy(format, TROUPE__LMDB_MAGIC, 8);
    troupe__put_be64(format + 8, TROUPE__LMDB_FORMAT);
    troupe__put_be64(mark, epoch);
    troupe__put_be64(mark + 8, chain);
    int code = put_row(txn, dbi, TROUPE__LMDB_FORMAT_NAME, format, sizeof format);
    return code ? code : put_row(txn, dbi, TROUPE__FOLD_MARK, mark, sizeof mark);
}

int troupe__lmdb_format_put_run(MDB_txn *txn, MDB_dbi dbi, uint64_t run)
{
    unsigned char bytes[8];
    troupe__put_be64(bytes, run);
    return put_row(txn, dbi, TROUPE__LMDB_RUN_NAME, bytes, sizeof bytes);
}
