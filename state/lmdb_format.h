/* lmdb_format.h - the rows of a tables file that say what it is: lmdb_store.c reads them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_LMDB_FORMAT_H
#define TROUPE_STATE_LMDB_FORMAT_H

#include <lmdb.h>

#include "state/fold.h"

#define TROUPE__LMDB_FORMAT_NAME "troupe.format" /* META: TROUPE__LMDB_MAGIC, version (8, big-endian) */
#define TROUPE__LMDB_RUN_NAME "troupe.run"       /* META: a random number (8) that each opening by an owner draws */
#define TROUPE__LMDB_MAGIC "troupeT"             /* and its NUL */

/* Put the format row, and the mark that the tables hold everything up to `epoch`, whose record had the hash `chain`.
 * Returns 0 or an MDB_ code, as the next. */
int troupe__lmdb_format_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint64_t chain);
int troupe__lmdb_format_put_run(MDB_txn *txn, MDB_dbi dbi, uint64_t run);

#endif
