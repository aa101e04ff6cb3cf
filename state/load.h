/* load.h - a new store on disk, made at once of all its rows: what restoring a snapshot is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows go straight into the tables, in large transactions that are not synced, and the files are synced once at the
 * end: committing them as epochs would write everything twice. So the directory is a store only after `end`; one that a
 * crash leaves before is to be thrown away, and nobody may take it for one: make it under another name. Not
 * thread-safe; blocks on the disk. Errors, each with a text: TROUPE_ENOSPACE, TROUPE_ENOMEM, TROUPE_EIO. */
#ifndef TROUPE_STATE_LOAD_H
#define TROUPE_STATE_LOAD_H

#include "core/store.h"

struct troupe__load;

/* In `directory`, which is made if need be. Errors: also TROUPE_EBUSY (a store is there), TROUPE_EINVAL (its path). */
enum troupe_error troupe__load_begin(const char *directory, struct troupe__load **ret, char *error, size_t error_size);

/* Set a row. Fast for rows that come in the order of table, then key; others may come at any time, and may replace. */
enum troupe_error troupe__load_row(struct troupe__load *load, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes value, char *error, size_t error_size);

/* Whether there is a row; with `remove` it is gone then. Errors: also TROUPE_ENOTFOUND (there is none), without a text.
 */
enum troupe_error troupe__load_find(struct troupe__load *load, enum troupe__table table, struct troupe_bytes key,
                                    bool remove, char *error, size_t error_size);

/* All rows are there: make a durable store of them whose last epoch is `epoch`. */
enum troupe_error troupe__load_end(struct troupe__load *load, uint64_t epoch, char *error, size_t error_size);

/* After `end`, or instead of it; NULL is fine. The directory stays. */
void troupe__load_free(struct troupe__load *load);

#endif
