/* pages.h - checks the pages of an LMDB 0.9 file before LMDB, which believes whatever they say, gets to read them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_PAGES_H
#define TROUPE_STATE_PAGES_H

#include <lmdb.h>
#include <stdbool.h>

#include "core/troupe.h"

/* Whether a row is what was written. */
typedef bool (*troupe__pages_row_fn)(MDB_val key, MDB_val value);

/* Check the file: both meta pages; every page of its trees: its number, kind, bounds, the order of its keys, and that
 * nothing else uses it; the list of free pages; the counts. With `row` every row as well. Leaf pages are left out when
 * they are more than `leaves_max` bytes (SIZE_MAX: never): what is wrong in them alone is not found then. The file is
 * read with pread, so a disk that cannot read is an error and no signal.
 * Errors, with a text that names file and page: TROUPE_ECORRUPT, TROUPE_EVERSION, TROUPE_EIO, TROUPE_ENOMEM. */
enum troupe_error troupe__pages_check(const char *path, size_t leaves_max, troupe__pages_row_fn row, char *error,
                                      size_t error_size);

#endif
