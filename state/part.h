/* part.h - one node's rows at a cut, as a stream of blocks: what a snapshot is made of.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The format is documented to the byte in docs/snapshot-format.md. A part is written and read forwards only, so it may
 * come through a pipe. Every block has a checksum, the last one counts and chains them all: a part that was cut off,
 * changed or put together from two is found. Not thread-safe; used by one thread at a time, which may block. */
#ifndef TROUPE_STATE_PART_H
#define TROUPE_STATE_PART_H

#include "core/store.h"

enum {
    TROUPE__PART_VERSION = 1,
    TROUPE__PART_BLOCK_SIZE = 256 * 1024,     /* bytes of rows after which a block is closed */
    TROUPE__PART_BLOCK_MAX = 64 * 1024 * 1024 /* bytes of one block before compression; a larger one is refused */
};

/* What the last block says. */
struct troupe__part_summary {
    uint64_t rows[TROUPE__TABLE_COUNT];
    uint64_t row_bytes; /* of keys and values */
    uint64_t blocks;    /* before the last one */
    uint64_t chain;     /* of all block checksums before the last one's */
};

struct troupe__part_writer;

/* Begin a part on `fd`, which stays the caller's; `head` is what the caller wants to say of it (any bytes, at most
 * TROUPE__PART_BLOCK_MAX). Errors, each with a text: TROUPE_ENOMEM, TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__part_begin(int fd, struct troupe_bytes head, struct troupe__part_writer **ret, char *error,
                                     size_t error_size);

/* Add a row; rows come in the order of table, then key, each key once. After an error the part is spoilt: free the
 * writer and remove what was written. Errors: as begin; TROUPE_EINVAL (out of order), TROUPE_ETOOBIG. */
enum troupe_error troupe__part_row(struct troupe__part_writer *writer, enum troupe__table table,
                                   struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size);

/* Close the part; a regular file is synced. `*ret` says what it holds. The writer is still to be freed. */
enum troupe_error troupe__part_end(struct troupe__part_writer *writer, struct troupe__part_summary *ret, char *error,
                                   size_t error_size);
void troupe__part_writer_free(struct troupe__part_writer *writer);

struct troupe__part_reader;

/* Open a part on `fd`, which stays the caller's; `*ret_head` is valid as long as the reader. Errors, each with a text:
 * TROUPE_ECORRUPT (no part, or damaged), TROUPE_EVERSION, TROUPE_ENOMEM, TROUPE_EIO. */
enum troupe_error troupe__part_open(int fd, struct troupe__part_reader **ret, struct troupe_bytes *ret_head,
                                    char *error, size_t error_size);

/* The next row, valid until the next call. Errors: TROUPE_ENOTFOUND (the end, all of it checked: see summary);
 * TROUPE_ECORRUPT, TROUPE_ENOMEM, TROUPE_EIO, each with a text; no further row can be read then. */
enum troupe_error troupe__part_next(struct troupe__part_reader *reader, enum troupe__table *ret_table,
                                    struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                    size_t error_size);

/* Instead of reading rows: copy the whole stream to `to`, byte for byte; the checksum of each block is checked, and
 * nothing behind the last one is read. A regular file is synced. `copied` is called with the bytes of each block; it
 * may be NULL. Errors: those of reading and of writing. */
enum troupe_error troupe__part_copy(struct troupe__part_reader *reader, int to,
                                    void (*copied)(void *context, uint64_t bytes), void *context, char *error,
                                    size_t error_size);

/* What the part holds; after the end only. */
const struct troupe__part_summary *troupe__part_summary(const struct troupe__part_reader *reader);
void troupe__part_reader_free(struct troupe__part_reader *reader);

#endif
