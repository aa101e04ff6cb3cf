/* journal.c - the journal of epochs: opening it, appending to it. journal_file.c reads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Small records go past the page cache, by a descriptor whose writes are durable when they return: that is one call,
 * and half the processor time. Large ones go through it, since they are not copied then. */
#include "state/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "state/journal_file.h"
#include "state/journal_old.h"

enum { BLOCK = TROUPE__JOURNAL_BLOCK, HEADER = TROUPE__JOURNAL_HEADER };
enum {
    SMALL_MAX = 1 << 17, /* bytes, with the header and in whole blocks */
    GROW = 1 << 19,      /* bytes by which a file grows for small records */
    PLACES_KEPT = 4,     /* extents that a file has when it is closed */
    START = 1 << 18,     /* bytes of a new file's extents */
    SHORT_MAX = 8        /* times that a write past the page cache comes to no whole block */
};

#define NAME "journal.log"

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const void *data, size_t size, uint64_t offset)
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

static int flush(const struct troupe__journal *journal)
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

/* Make `size` bytes of the buffer, whole blocks, durable. Returns 0 or an errno, and then sets `*ret_left`. */
static int write_buffer(struct troupe__journal *journal, size_t size, uint64_t offset, enum troupe__lmdb_left *ret_left)
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
    code = write_all(journal->fd, journal->buffer, size, offset);
    if (!code && (code = flush(journal)) != 0) {
        *ret_left = TROUPE__LMDB_UNKNOWN;
    }
    return code;
}

/* Write what `journal->slot` says into the older of the slots. */
static int put_slot(struct troupe__journal *journal)
{
    enum troupe__lmdb_left left;
    struct troupe__journal_slot slot = journal->slot;
    slot.generation++;
    troupe__journal_put_slot(journal->buffer, &slot);
    int code = write_buffer(journal, BLOCK, slot.generation % 2 * BLOCK, &left);
    if (!code) {
        journal->slot.generation = slot.generation; /* Else the same one is tried again: the other is whole. */
    }
    return code;
}

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const unsigned char zeros[1 << 16];
    int code = 0;
    for (; !code && from < to; from += sizeof zeros) {
        code = write_all(fd, zeros, to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros, from);
    }
    return code;
}

/* Make the file at least `needed` bytes long, and up to the end of that extent at most. For large records, which gain
 * nothing from blocks that are written already, only its end is written. */
static int grow(struct troupe__journal *journal, uint64_t needed, bool large)
{
    uint64_t limit = journal->options.size_max / BLOCK * BLOCK, extent_size = journal->slot.extent_size;
    if (needed <= journal->size) {
        return 0;
    }
    if (needed > limit) {
        return ENOSPC;
    }
    uint64_t end = troupe__journal_place(journal, (needed - 1 - TROUPE__JOURNAL_SLOTS) / extent_size + 1);
    uint64_t size = large ? end : (needed + GROW - 1) / GROW * GROW;
    size = size < end ? size : end;
    size = size < limit ? size : limit;
    int code = write_zeros(journal->fd, large ? size - BLOCK : journal->size, size);
    if (code == ENOSPC && size > needed) {
        size = needed;
        code = write_zeros(journal->fd, large ? size - BLOCK : journal->size, size);
    }
    code = code ? code : flush(journal);
    if (!code) {
        journal->slot.size = size;
        journal->slot.reached = journal->last;
        code = put_slot(journal);
    }
    if (!code) {
        journal->size = size;
    }
    return code;
}

/* ---- places for extents ------------------------------------------------------------------------------------------ */

/* What an append is about. */
struct append {
    uint64_t epoch, folded, hash;
    struct troupe_bytes record;
    unsigned char header[HEADER];
    uint64_t padded;              /* header and record, in whole blocks */
    uint64_t here;                /* bytes of it that go into the newest extent; 0: it begins in a new one */
    struct troupe__extent *fresh; /* extents that are begun */
    size_t fresh_count;
    bool locked; /* no other process reads */
};

/* Room for `more` extents, and for their places among the spare ones. */
static bool reserve(struct troupe__journal *journal, size_t more)
{
    size_t capacity = (size_t)journal->places + more + 1;
    if (capacity <= journal->capacity) {
        return true;
    }
    capacity *= 2;
    uint64_t *spare = realloc(journal->spare, capacity * sizeof *spare);
    if (spare) {
        journal->spare = spare;
    }
    pthread_mutex_lock(&journal->readers->mutex);
    struct troupe__extent *extents = spare ? realloc(journal->extents, capacity * sizeof *extents) : NULL;
    if (extents) {
        journal->extents = extents;
        journal->capacity = capacity;
    }
    pthread_mutex_unlock(&journal->readers->mutex);
    return extents != NULL;
}

/* Whether nobody needs the oldest extent. There is a durable record behind it too: else nothing would tell that those
 * behind it are not left of one that is torn. */
static bool is_oldest_folded(const struct troupe__journal *journal, uint64_t folded)
{
    return journal->count > 1 && journal->extents[1].epoch - 1 <= folded && journal->extents[1].epoch <= journal->last;
}

/* Returns its place. */
static uint64_t drop_oldest(struct troupe__journal *journal)
{
    uint64_t place = journal->extents[0].index;
    journal->count--;
    memmove(journal->extents, journal->extents + 1, journal->count * sizeof *journal->extents);
    journal->dropped = journal->extents[0].epoch - 1;
    return place;
}

/* Whether the file need not grow for it. */
static bool is_whole(const struct troupe__journal *journal, uint64_t index)
{
    return troupe__journal_place(journal, index + 1) <= journal->size;
}

/* Find a place for another extent: one that nobody needs and nobody reads, else behind the last. */
static uint64_t take_place(struct troupe__journal *journal, struct append *append)
{
    uint64_t place = UINT64_MAX;
    bool oldest = is_oldest_folded(journal, append->folded), some = journal->spare_count > 0 || oldest;
    if (some && !append->locked) {
        append->locked = flock(journal->fd, LOCK_EX | LOCK_NB) == 0;
    }
    pthread_mutex_lock(&journal->readers->mutex);
    if (!append->locked || journal->readers->pins > 0) {
        some = false;
    }
    if (some && journal->spare_count > 0 && (!oldest || is_whole(journal, journal->spare[journal->spare_count - 1]))) {
        place = journal->spare[--journal->spare_count];
    } else if (some && oldest) {
        place = drop_oldest(journal);
    } else {
        place = journal->places++;
    }
    pthread_mutex_unlock(&journal->readers->mutex);
    return place;
}

/* Begin as many extents as the record needs. */
static int begin_extents(struct troupe__journal *journal, struct append *append)
{
    uint64_t payload = journal->slot.extent_size - BLOCK, left = append->padded - append->here;
    size_t count = (size_t)((left + payload - 1) / payload);
    if (count == 0) {
        return 0;
    }
    if (!reserve(journal, count) || !(append->fresh = calloc(count, sizeof *append->fresh))) {
        return ENOMEM;
    }
    uint64_t previous = journal->count > 0 ? journal->extents[journal->count - 1].sequence : 0;
    for (; append->fresh_count < count; append->fresh_count++) {
        struct troupe__extent *extent = &append->fresh[append->fresh_count];
        bool begins = append->here == 0 && append->fresh_count == 0;
        *extent = (struct troupe__extent){
            .index = take_place(journal, append),
            .sequence = ++journal->sequence,
            .previous = previous,
            .first = begins ? BLOCK : BLOCK + (left < payload ? left : payload),
            .epoch = begins ? append->epoch : append->epoch + 1,
            .before = begins ? journal->chain : append->hash,
        };
        previous = extent->sequence;
        left -= left < payload ? left : payload;
    }
    return 0;
}

/* How far the file is written. */
static uint64_t end_of(const struct troupe__journal *journal, const struct append *append)
{
    uint64_t end = 0, payload = journal->slot.extent_size - BLOCK, left = append->padded - append->here;
    if (append->here > 0) {
        end = troupe__journal_place(journal, journal->extents[journal->count - 1].index) + journal->at + append->here;
    }
    for (size_t i = 0; i < append->fresh_count; i++) {
        uint64_t part = left < payload ? left : payload;
        uint64_t to = troupe__journal_place(journal, append->fresh[i].index) + BLOCK + part;
        end = to > end ? to : end;
        left -= part;
    }
    return end;
}

/* The record is not there: its extents are nobody's. */
static void give_back(struct troupe__journal *journal, struct append *append)
{
    pthread_mutex_lock(&journal->readers->mutex);
    for (size_t i = append->fresh_count; i-- > 0;) {
        uint64_t index = append->fresh[i].index;
        if (index == journal->places - 1 && troupe__journal_place(journal, index) >= journal->size) {
            journal->places--;
        } else {
            journal->spare[journal->spare_count++] = index;
            if (!is_whole(journal, index)) { /* It is taken last. */
                journal->spare[journal->spare_count - 1] = journal->spare[0];
                journal->spare[0] = index;
            }
        }
    }
    pthread_mutex_unlock(&journal->readers->mutex);
    append->fresh_count = 0;
    free(append->fresh);
    append->fresh = NULL;
}

/* Find room for the record, if the file cannot grow where it is at then elsewhere. */
static int make_room(struct troupe__journal *journal, struct append *append, bool small)
{
    int code = begin_extents(journal, append);
    code = code ? code : grow(journal, end_of(journal, append), !small);
    if (code == ENOSPC) {
        give_back(journal, append);
        append->here = 0;
        code = begin_extents(journal, append);
        code = code ? code : grow(journal, end_of(journal, append), !small);
    }
    return code;
}

/* ---- appending --------------------------------------------------------------------------------------------------- */

/* A record that stands in one piece, maybe behind the first block of its extent. */
static int write_small(struct troupe__journal *journal, const struct append *append, enum troupe__lmdb_left *ret_left)
{
    unsigned char *to = journal->buffer;
    uint64_t offset;
    if (append->here > 0) {
        offset = troupe__journal_place(journal, journal->extents[journal->count - 1].index) + journal->at;
    } else {
        offset = troupe__journal_place(journal, append->fresh[0].index);
        troupe__journal_put_extent(to, journal->slot.id, &append->fresh[0]);
        to += BLOCK;
    }
    size_t used = HEADER + append->record.size;
    memcpy(to, append->header, HEADER);
    if (append->record.size > 0) {
        memcpy(to + HEADER, append->record.data, append->record.size);
    }
    memset(to + used, 0, (size_t)append->padded - used);
    return write_buffer(journal, (size_t)(to - journal->buffer) + (size_t)append->padded, offset, ret_left);
}

/* Write bytes of a record with its header from `done` on, at most `size`; `*ret_done` says how far it has come. */
static int write_part(const struct troupe__journal *journal, const struct append *append, uint64_t offset,
                      uint64_t size, uint64_t *done)
{
    int code = 0;
    struct troupe_bytes record = append->record;
    uint64_t total = HEADER + record.size, end = total - *done < size ? total : *done + size;
    if (*done < HEADER) { /* A piece is at least a block. */
        code = write_all(journal->fd, append->header, HEADER, offset);
        offset += HEADER;
        *done = HEADER;
    }
    if (!code && end > *done) {
        code = write_all(journal->fd, (const unsigned char *)record.data + (*done - HEADER), (size_t)(end - *done),
                         offset);
        *done = end;
    }
    return code;
}

static int write_large(struct troupe__journal *journal, const struct append *append, enum troupe__lmdb_left *ret_left)
{
    uint64_t done = 0, payload = journal->slot.extent_size - BLOCK;
    int code = 0;
    *ret_left = TROUPE__LMDB_NOTHING;
    if (append->here > 0) {
        uint64_t offset = troupe__journal_place(journal, journal->extents[journal->count - 1].index) + journal->at;
        code = write_part(journal, append, offset, append->here, &done);
    }
    for (size_t i = 0; i < append->fresh_count && !code; i++) {
        uint64_t offset = troupe__journal_place(journal, append->fresh[i].index);
        troupe__journal_put_extent(journal->buffer, journal->slot.id, &append->fresh[i]);
        code = write_all(journal->fd, journal->buffer, BLOCK, offset);
        code = code ? code : write_part(journal, append, offset + BLOCK, payload, &done);
    }
    if (!code && (code = flush(journal)) != 0) {
        *ret_left = TROUPE__LMDB_UNKNOWN;
    }
    return code;
}

/* The record is durable: it and its extents are the journal's. */
static void take_in(struct troupe__journal *journal, const struct append *append)
{
    uint64_t payload = journal->slot.extent_size - BLOCK, left = append->padded - append->here;
    pthread_mutex_lock(&journal->readers->mutex);
    for (size_t i = 0; i < append->fresh_count; i++) {
        journal->extents[journal->count++] = append->fresh[i];
    }
    journal->last = append->epoch;
    pthread_mutex_unlock(&journal->readers->mutex);
    journal->chain = append->hash;
    journal->at =
        append->fresh_count > 0 ? BLOCK + left - (append->fresh_count - 1) * payload : journal->at + append->here;
}

static int note_dropped(struct troupe__journal *journal, uint64_t folded)
{
    if (folded <= journal->slot.dropped) {
        return 0;
    }
    journal->slot.dropped = folded;
    journal->slot.reached = journal->last;
    return put_slot(journal);
}

int troupe__journal_append(struct troupe__journal *journal, uint64_t epoch, struct troupe_bytes record, uint64_t folded,
                           enum troupe__lmdb_left *ret_left)
{
    assert(epoch == journal->last + 1 && !journal->options.read_only);
    uint64_t extent_size = journal->slot.extent_size, room = journal->count > 0 ? extent_size - journal->at : 0;
    struct append append = {.epoch = epoch, .folded = folded, .record = record};
    append.padded = troupe__journal_whole_blocks(HEADER + record.size);
    append.hash = troupe__journal_put_head(append.header, journal->slot.id, epoch, journal->chain, record);
    bool small = append.padded <= SMALL_MAX && append.padded <= extent_size - BLOCK;
    append.here = append.padded <= room ? append.padded : small ? 0 : room;
    *ret_left = TROUPE__LMDB_NOTHING;
    int code = journal->options.kept ? note_dropped(journal, folded) : 0;
    code = code ? code : make_room(journal, &append, small);
    if (!code && (code = (small ? write_small : write_large)(journal, &append, ret_left)) != 0 &&
        append.fresh_count > 0) {
        journal->at = extent_size; /* An extent may say that it goes on from here: only a later one takes that back. */
    }
    if (code) {
        give_back(journal, &append);
    } else {
        take_in(journal, &append);
    }
    free(append.fresh);
    if (append.locked) {
        flock(journal->fd, LOCK_UN);
    }
    return code;
}

int troupe__journal_claim(struct troupe__journal *journal, uint64_t run, uint64_t previous)
{
    int code = flush(journal); /* What was found may be in memory only. */
    if (!code) {
        journal->slot.run = run;
        journal->slot.previous_run = previous;
        journal->slot.dropped = journal->dropped;
        journal->slot.reached = journal->last;
        journal->slot.size = journal->size;
        code = put_slot(journal);
    }
    return code;
}

/* Give back what a backlog has left at the file's end. The slot goes first: the file may be longer than it says. */
static int shrink(struct troupe__journal *journal)
{
    uint64_t places = PLACES_KEPT;
    for (size_t i = 0; i < journal->count; i++) {
        places = journal->extents[i].index + 1 > places ? journal->extents[i].index + 1 : places;
    }
    uint64_t size = troupe__journal_place(journal, places);
    if (size >= journal->size || flock(journal->fd, LOCK_EX | LOCK_NB)) {
        return 0;
    }
    journal->slot.size = size;
    int code = put_slot(journal);
    return code ? code : ftruncate(journal->fd, (off_t)size) ? errno : 0;
}

int troupe__journal_trim(struct troupe__journal *journal, uint64_t folded)
{
    int code = 0;
    if (journal->last > journal->slot.reached || folded > journal->slot.dropped) {
        journal->slot.dropped = folded > journal->slot.dropped ? folded : journal->slot.dropped;
        journal->slot.reached = journal->last;
        code = put_slot(journal);
    }
    while (is_oldest_folded(journal, folded)) {
        (void)drop_oldest(journal);
    }
    return code ? code : shrink(journal);
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

static bool make_parts(struct troupe__journal *journal)
{
    journal->buffer = journal->buffer ? journal->buffer : aligned_alloc(BLOCK, SMALL_MAX + BLOCK);
    journal->readers = journal->readers ? journal->readers : calloc(1, sizeof *journal->readers);
    if (!journal->buffer || !journal->readers) {
        return false;
    }
    pthread_mutex_init(&journal->readers->mutex, NULL);
    return true;
}

/* Make an empty journal behind epoch `epoch` of an empty file, which the journal takes over; nothing is synced. */
static int make(struct troupe__journal *journal, int fd, const struct troupe__journal_options *options, uint64_t epoch)
{
    size_t extent_size = options->extent_size > 0 ? options->extent_size : TROUPE__JOURNAL_EXTENT;
    assert(extent_size >= TROUPE__JOURNAL_EXTENT_MIN && extent_size % BLOCK == 0);
    *journal = (struct troupe__journal){.fd = fd, .direct_fd = -1, .options = *options, .last = epoch};
    journal->options.sync = journal->options.read_only = false;
    journal->slot = (struct troupe__journal_slot){.extent_size = extent_size, .dropped = epoch, .reached = epoch};
    if (!make_parts(journal)) {
        return ENOMEM;
    }
    if (getrandom(&journal->slot.id, sizeof journal->slot.id, 0) != sizeof journal->slot.id) {
        return errno;
    }
    journal->size = journal->slot.size = TROUPE__JOURNAL_SLOTS + START;
    int code = write_zeros(fd, 0, journal->size);
    code = code ? code : put_slot(journal);
    return code ? code : put_slot(journal);
}

static enum troupe_error fail(const char *verb, const char *path, int code, char *error, size_t error_size)
{
    const char *advice = code == EACCES || code == EPERM ? ": give this user the right to write there"
                         : code == EROFS                 ? ": it is on a read-only file system"
                         : code == ENOSPC                ? ": free space and start again"
                                                         : "";
    snprintf(error, error_size, "%s %s: %s%s", verb, path, strerror(code), advice);
    return code == ENOENT ? TROUPE_ENOTFOUND : troupe__lmdb_error(code);
}

static bool path_of(const char *directory, const char *name, char path[static PATH_MAX])
{
    return (size_t)snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX;
}

/* Give what was made as `path`.new its name. */
static int publish(const struct troupe__journal *journal, const char *directory, const char *fresh, const char *path)
{
    int code = fsync(journal->fd) ? errno : 0;
    code = code ? code : rename(fresh, path) ? errno : 0;
    return code ? code : troupe__sync_path(directory);
}

struct conversion {
    struct troupe__journal *journal;
    int code;
};

static enum troupe_error convert_record(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct conversion *conversion = context;
    enum troupe__lmdb_left left;
    conversion->code = troupe__journal_append(conversion->journal, epoch, record, 0, &left);
    assert(conversion->code || conversion->journal->chain == hash);
    return conversion->code ? TROUPE_EFAILED : TROUPE_OK;
}

/* Make what an LMDB file of version 2 holds a journal of today's in `fd`. */
static enum troupe_error convert(struct troupe__journal *journal, int fd, const struct troupe__journal_options *options,
                                 const char *directory, char *error, size_t error_size)
{
    struct troupe__journal_old old;
    enum troupe_error result = troupe__journal_old_open(&old, directory, error, error_size);
    struct conversion conversion = {journal, 0};
    if (result != TROUPE_OK) {
        return result;
    }
    conversion.code = make(journal, fd, options, old.first > 0 ? old.first - 1 : old.dropped);
    journal->chain = old.before;
    if (!conversion.code && old.first > 0) {
        result = troupe__journal_old_replay(&old, convert_record, &conversion, error, error_size);
    }
    if (result == TROUPE_OK && !conversion.code) {
        journal->slot.run = old.run;
        journal->slot.previous_run = old.previous_run;
        journal->slot.dropped = old.dropped;
        journal->slot.reached = journal->last;
        conversion.code = put_slot(journal);
    }
    troupe__journal_old_close(&old);
    return conversion.code ? fail("convert journal.mdb of", directory, conversion.code, error, error_size) : result;
}

enum troupe_error troupe__journal_create(const char *directory, const struct troupe__journal_options *options,
                                         uint64_t epoch, uint64_t run, char *error, size_t error_size)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    struct troupe__journal journal = {.fd = -1};
    if (!path_of(directory, NAME, path) || !path_of(directory, NAME ".new", fresh)) {
        snprintf(error, error_size, "create %s: the path is too long", directory);
        return TROUPE_EINVAL;
    }
    int fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), code = fd < 0 ? errno : 0;
    if (!code) {
        code = make(&journal, fd, options, epoch);
        journal.slot.run = journal.slot.previous_run = run;
        code = code || run == 0 ? code : put_slot(&journal);
        code = code ? code : publish(&journal, directory, fresh, path);
        if (code) {
            unlink(fresh);
        }
        troupe__journal_close(&journal);
    }
    return code ? fail("create", path, code, error, error_size) : TROUPE_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

bool troupe__journal_exists(const char *directory)
{
    char path[PATH_MAX];
    return (path_of(directory, NAME, path) && access(path, F_OK) == 0) ||
           (path_of(directory, TROUPE__JOURNAL_OLD, path) && access(path, F_OK) == 0);
}

void troupe__journal_close(struct troupe__journal *journal)
{
    if (journal->direct_fd >= 0) {
        close(journal->direct_fd);
    }
    if (journal->fd >= 0) {
        close(journal->fd);
    }
    if (journal->readers) {
        assert(journal->readers->pins == 0);
        pthread_mutex_destroy(&journal->readers->mutex);
    }
    free(journal->readers);
    free(journal->buffer);
    free(journal->extents);
    free(journal->spare);
    *journal = (struct troupe__journal){.fd = -1, .direct_fd = -1};
}

/* The journal of version 2 becomes one of today's, under its name or, to be read only, under none. */
static enum troupe_error convert_old(const char *directory, const struct troupe__journal_options *options, int *ret_fd,
                                     char *error, size_t error_size)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    struct troupe__journal made = {.fd = -1, .direct_fd = -1};
    (void)path_of(directory, NAME, path);
    snprintf(fresh, sizeof fresh, "%.*s.new", (int)sizeof fresh - 5, path);
    FILE *hidden = options->read_only ? tmpfile() : NULL;
    int fd = hidden               ? fcntl(fileno(hidden), F_DUPFD_CLOEXEC, 0)
             : options->read_only ? -1
                                  : open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (hidden) {
        fclose(hidden);
    }
    if (fd < 0) {
        return fail("convert", options->read_only ? "journal.mdb into a temporary file" : fresh, errno, error,
                    error_size);
    }
    enum troupe_error result = convert(&made, fd, options, directory, error, error_size);
    if (result == TROUPE_OK && !options->read_only) {
        int code = publish(&made, directory, fresh, path);
        result = code ? fail("convert", path, code, error, error_size) : TROUPE_OK;
    }
    if (result != TROUPE_OK) {
        if (!options->read_only) {
            unlink(fresh);
        }
        if (made.fd < 0) {
            close(fd);
        }
    } else {
        *ret_fd = options->read_only ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : open(path, O_RDWR | O_CLOEXEC);
        result = *ret_fd < 0 ? fail("convert", path, errno, error, error_size) : TROUPE_OK;
    }
    troupe__journal_close(&made);
    return result;
}

/* Open the file, making it of an older one if there is only that. */
static enum troupe_error open_file(const char *directory, const struct troupe__journal_options *options,
                                   struct troupe__journal *ret, char *error, size_t error_size)
{
    char path[PATH_MAX], old[PATH_MAX];
    *ret = (struct troupe__journal){.fd = -1, .direct_fd = -1, .options = *options};
    if (!path_of(directory, NAME, path) || !path_of(directory, TROUPE__JOURNAL_OLD, old)) {
        snprintf(error, error_size, "open %s: the path is too long", directory);
        return TROUPE_EINVAL;
    }
    ret->fd = open(path, (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (ret->fd < 0 && errno == ENOENT && access(old, F_OK) == 0) {
        enum troupe_error result = convert_old(directory, options, &ret->fd, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (ret->fd < 0) {
        return fail(options->read_only ? "read" : "open", path, errno, error, error_size);
    }
    if (!options->read_only && options->sync) {
        ret->direct_fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    }
    if (!make_parts(ret)) {
        troupe__journal_close(ret);
        snprintf(error, error_size, "open %s: out of memory", path);
        return TROUPE_ENOMEM;
    }
    return TROUPE_OK;
}

/* What is wrong between the journal and the tables it was opened for. */
static enum troupe_error compare_with_tables(const struct troupe__journal *journal, uint64_t folded, uint64_t chain,
                                             bool gap, char *error, size_t error_size)
{
    if (journal->dropped > folded) {
        snprintf(error, error_size,
                 "open journal: tables.mdb is missing or an older copy%s: it holds everything up to epoch %llu, the "
                 "journal has dropped what came up to %llu: put both back from one backup",
                 gap ? ", or the journal is damaged" : "", (unsigned long long)folded,
                 (unsigned long long)journal->dropped);
        return TROUPE_ECORRUPT;
    }
    if (journal->last < folded) {
        snprintf(error, error_size,
                 "open journal: it is an older copy%s: it ends at epoch %llu, tables.mdb holds everything up to %llu: "
                 "put both back from one backup",
                 gap ? ", or damaged" : "", (unsigned long long)journal->last, (unsigned long long)folded);
        return TROUPE_ECORRUPT;
    }
    if (journal->last == folded && journal->count > 0 && journal->chain != chain) {
        snprintf(error, error_size,
                 "open journal: its epoch %llu is another than that of tables.mdb: put both back from one backup",
                 (unsigned long long)folded);
        return TROUPE_ECORRUPT;
    }
    uint64_t before = journal->count > 0 ? journal->extents[0].epoch - 1 : 0;
    if (journal->options.kept && gap && before > journal->slot.dropped) { /* Else it would all be overwritten. */
        snprintf(error, error_size,
                 "open journal: of the epochs %llu to %llu, which it is to keep, something is damaged: restore a "
                 "backup; a node that does not keep its journal starts, and gives them up",
                 (unsigned long long)journal->slot.dropped + 1, (unsigned long long)before);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__journal_open(struct troupe__journal *journal, const char *directory,
                                       const struct troupe__journal_options *options, uint64_t folded, uint64_t chain,
                                       char *error, size_t error_size)
{
    char text[400];
    bool gap;
    enum troupe_error result = open_file(directory, options, journal, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__journal_survey(journal, folded, &gap, text, sizeof text);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "open %s/" NAME ": %s", directory, text);
    } else {
        result = compare_with_tables(journal, folded, chain, gap, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__journal_close(journal);
    } else if (journal->count == 0) {
        journal->chain = chain;
    }
    return result;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

int troupe__journal_pin(const struct troupe__journal *journal, struct troupe__journal *ret)
{
    struct troupe__journal_readers *readers = journal->readers;
    *ret = (struct troupe__journal){.fd = journal->fd, .direct_fd = -1, .pinned = true, .readers = readers};
    ret->slot.id = journal->slot.id; /* Neither changes. All else but this is the committer's. */
    ret->slot.extent_size = journal->slot.extent_size;
    pthread_mutex_lock(&readers->mutex);
    ret->extents = malloc((journal->count + 1) * sizeof *ret->extents);
    if (ret->extents) {
        memcpy(ret->extents, journal->extents, journal->count * sizeof *ret->extents);
        ret->count = journal->count;
        ret->places = journal->places;
        ret->last = journal->last;
        ret->dropped = journal->dropped;
        readers->pins++;
    }
    pthread_mutex_unlock(&readers->mutex);
    return ret->extents ? 0 : ENOMEM;
}

void troupe__journal_unpin(struct troupe__journal *journal)
{
    assert(journal->pinned);
    pthread_mutex_lock(&journal->readers->mutex);
    journal->readers->pins--;
    pthread_mutex_unlock(&journal->readers->mutex);
    free(journal->extents);
}

enum troupe_error troupe__journal_look(struct troupe__journal *journal, const char *directory, uint64_t *ret_first,
                                       char *error, size_t error_size)
{
    enum { TRIES = 20 }; /* beside a node that commits; each sees it further on */
    const struct troupe__journal_options options = {.read_only = true, .size_max = UINT64_MAX};
    enum troupe_error result = TROUPE_ECORRUPT;
    uint64_t seen = 0;
    for (int i = 0; i < TRIES && result == TROUPE_ECORRUPT; i++) {
        char text[400];
        bool gap;
        result = open_file(directory, &options, journal, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
        while (flock(journal->fd, LOCK_SH) && errno == EINTR) {
        }
        result = troupe__journal_survey(journal, UINT64_MAX, &gap, text, sizeof text);
        /* What it shows may be in memory only. A file system that is only read has nothing in memory. */
        if (result == TROUPE_OK && fdatasync(journal->fd) && errno != EROFS && errno != EINVAL) {
            snprintf(text, sizeof text, "%s", strerror(errno));
            result = TROUPE_EIO;
        }
        if (result != TROUPE_OK) {
            bool still = i > 0 && journal->last == seen;
            seen = journal->last;
            snprintf(error, error_size, "read %s/" NAME ": %s", directory, text);
            troupe__journal_close(journal);
            if (still) {
                return result;
            }
        }
    }
    if (result == TROUPE_OK) {
        *ret_first = troupe__journal_first(journal);
    }
    return result;
}

void troupe__journal_unlook(struct troupe__journal *journal)
{
    troupe__journal_close(journal);
}
