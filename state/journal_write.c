/* journal_write.c - how bytes get into a journal's file, durably.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Small records go past the page cache, by a descriptor whose writes are durable when they return: that is one call,
 * and half the processor time. Large ones go through it, since they are not copied then. */
#include "state/journal_write.h"

#include <errno.h>
#include <unistd.h>

#include "state/journal_file.h"

enum {
    BLOCK = TROUPE__JOURNAL_BLOCK,
    SHORT_MAX = 8 /* times that a write past the page cache comes to no whole block */
};

int troupe__journal_write_all(int fd, const void *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t done = pwrite(fd, data, size, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? errno : EIO;
        }
        data = (const unsigned char *)data + done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return 0;
}

int troupe__journal_flush(const struct troupe__journal *journal)
{
    return journal->options.sync && fdatasync(journal->fd) ? errno : 0;
}

/* Whether the file shows what is in the buffer, or cannot tell. */
static bool is_there(const struct troupe__journal *journal, size_t size, uint64_t offset)
{
    unsigned char block[BLOCK];
    for (size_t at = 0; at < size; at += BLOCK) {
        ssize_t got = pread(journal->fd, block, BLOCK, (off_t)(offset + at));
        if (got < 0) {
            return true;
        }
        if (got < BLOCK || memcmp(block, journal->buffer + at, BLOCK) != 0) {
            return false;
        }
    }
    return true;
}

/* Past the page cache. A write that is cut short goes on behind its last whole block; so a full disk says what it is.
 */
static int write_directly(const struct troupe__journal *journal, size_t size, uint64_t offset)
{
    size_t at = 0;
    for (int short_count = 0; at < size;) {
        ssize_t done = pwrite(journal->direct_fd, journal->buffer + at, size - at, (off_t)(offset + at));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return errno;
        }
        if (done < BLOCK && ++short_count == SHORT_MAX) {
            return EIO;
        }
        at += (size_t)done / BLOCK * BLOCK;
    }
    return 0;
}

int troupe__journal_write_buffer(struct troupe__journal *journal, size_t size, uint64_t offset,
                                 enum troupe__lmdb_left *ret_left)
{
    int code;
    if (journal->direct_fd >= 0) {
        code = write_directly(journal, size, offset);
        if (code != EINVAL && code != EOPNOTSUPP) {
            *ret_left = code && is_there(journal, size, offset) ? TROUPE__LMDB_UNKNOWN : TROUPE__LMDB_NOTHING;
            return code;
        }
        close(journal->direct_fd); /* This file system does not take it after all. */
        journal->direct_fd = -1;
    }
    *ret_left = TROUPE__LMDB_NOTHING;
    code = troupe__journal_write_all(journal->fd, journal->buffer, size, offset);
    if (!code && (code = troupe__journal_flush(journal)) != 0) {
        *ret_left = TROUPE__LMDB_UNKNOWN;
    }
    return code;
}

int troupe__journal_write_slot(struct troupe__journal *journal)
{
    enum troupe__lmdb_left left;
    struct troupe__journal_slot slot = journal->slot;
    slot.generation++;
    troupe__journal_put_slot(journal->buffer, &slot);
    int code = troupe__journal_write_buffer(journal, BLOCK, slot.generation % 2 * BLOCK, &left);
    if (!code) {
        journal->slot.generation = slot.generation; /* Else the same one is tried again: the other is whole. */
    }
    return code;
}

int troupe__journal_write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const unsigned char zeros[1 << 16];
    int code = 0;
    for (; !code && from < to; from += sizeof zeros) {
        code =
            troupe__journal_write_all(fd, zeros, to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros, from);
    }
    return code;
}
