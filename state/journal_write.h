/* journal_write.h - how bytes get into a journal's file, durably.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of these return 0 or an errno. */
#ifndef TROUPE_STATE_JOURNAL_WRITE_H
#define TROUPE_STATE_JOURNAL_WRITE_H

#include "state/journal.h"

/* Bytes of a small record, with its header and in whole blocks; the buffer has one block more. */
enum { TROUPE__JOURNAL_SMALL_MAX = 1 << 17 };

/* Through the page cache: durable by the next flush. */
int troupe__journal_write_all(int fd, const void *data, size_t size, uint64_t offset);
int troupe__journal_write_zeros(int fd, uint64_t from, uint64_t to);
int troupe__journal_flush(const struct troupe__journal *journal);

/* Make `size` bytes of the buffer, whole blocks, durable. On failure sets `*ret_left`. */
int troupe__journal_write_buffer(struct troupe__journal *journal, size_t size, uint64_t offset,
                                 enum troupe__lmdb_left *ret_left);

/* Write what `journal->slot` says into the older of the slots. */
int troupe__journal_write_slot(struct troupe__journal *journal);

#endif
