/* journal_file.h - the form of journal.log (state/journal.h has it), and how it is read.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_JOURNAL_FILE_H
#define TROUPE_STATE_JOURNAL_FILE_H

#include "state/journal.h"

enum {
    TROUPE__JOURNAL_RECORDS = 2, /* the version of a record */
    TROUPE__JOURNAL_KEPT_HEADER = 40,
    TROUPE__JOURNAL_HEADER = 56, /* bytes before a record */
    TROUPE__JOURNAL_SLOTS = 2 * TROUPE__JOURNAL_BLOCK,
    TROUPE__JOURNAL_EXTENT_MIN = 4 * TROUPE__JOURNAL_BLOCK,
    TROUPE__JOURNAL_EXTENT_MAX = 1 << 30
};

struct troupe__journal_head { /* of a record */
    uint64_t epoch, previous, size, hash;
};

/* Fill a block. */
void troupe__journal_put_slot(unsigned char *block, const struct troupe__journal_slot *slot);
void troupe__journal_put_extent(unsigned char *block, uint64_t id, const struct troupe__extent *extent);

/* Fill the part of a record's header that its hash is made of, TROUPE__JOURNAL_KEPT_HEADER bytes, the same in all
 * versions of the file; returns the record's hash. */
uint64_t troupe__journal_put_kept_head(unsigned char *header, uint64_t epoch, uint64_t previous,
                                       struct troupe_bytes record);

/* Fill the header of a record; returns the record's hash. */
uint64_t troupe__journal_put_head(unsigned char *header, uint64_t id, uint64_t epoch, uint64_t previous,
                                  struct troupe_bytes record);

/* Where an extent begins in the file. */
static inline uint64_t troupe__journal_place(const struct troupe__journal *journal, uint64_t index)
{
    return TROUPE__JOURNAL_SLOTS + index * journal->slot.extent_size;
}

static inline uint64_t troupe__journal_whole_blocks(uint64_t size)
{
    return (size + TROUPE__JOURNAL_BLOCK - 1) / TROUPE__JOURNAL_BLOCK * TROUPE__JOURNAL_BLOCK;
}

/* Find out what `journal->fd` holds: slot, extents, the newest record. Those before the one of epoch `folded` + 1 are
 * not looked at. `*ret_gap`: an extent's first block is damaged, or was being written. Errors, with a text. */
enum troupe_error troupe__journal_survey(struct troupe__journal *journal, uint64_t folded, bool *ret_gap, char *error,
                                         size_t error_size);

/* The oldest epoch whose record is there; 0 when there is none. */
uint64_t troupe__journal_first(const struct troupe__journal *journal);

#endif
