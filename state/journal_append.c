/* journal_append.c - appending to the journal of epochs: where a record goes, and how it gets there.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "state/journal_file.h"
#include "state/journal_write.h"

enum { BLOCK = TROUPE__JOURNAL_BLOCK, HEADER = TROUPE__JOURNAL_HEADER };
enum {
    GROW = 1 << 19, /* bytes by which a file grows for small records */
    PLACES_KEPT = 4 /* extents that a file has when it is closed */
};

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
    int code = troupe__journal_write_zeros(journal->fd, large ? size - BLOCK : journal->size, size);
    if (code == ENOSPC && size > needed) {
        size = needed;
        code = troupe__journal_write_zeros(journal->fd, large ? size - BLOCK : journal->size, size);
    }
    code = code ? code : troupe__journal_flush(journal);
    if (!code) {
        journal->slot.size = size;
        journal->slot.reached = journal->last;
        code = troupe__journal_write_slot(journal);
    }
    if (!code) {
        journal->size = size;
    }
    return code;
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
    return troupe__journal_write_buffer(journal, (size_t)(to - journal->buffer) + (size_t)append->padded, offset,
                                        ret_left);
}

/* Write bytes of a record with its header from `done` on, at most `size`; `*ret_done` says how far it has come. */
static int write_part(const struct troupe__journal *journal, const struct append *append, uint64_t offset,
                      uint64_t size, uint64_t *done)
{
    int code = 0;
    struct troupe_bytes record = append->record;
    uint64_t total = HEADER + record.size, end = total - *done < size ? total : *done + size;
    if (*done < HEADER) { /* A piece is at least a block. */
        code = troupe__journal_write_all(journal->fd, append->header, HEADER, offset);
        offset += HEADER;
        *done = HEADER;
    }
    if (!code && end > *done) {
        code = troupe__journal_write_all(journal->fd, (const unsigned char *)record.data + (*done - HEADER),
                                         (size_t)(end - *done), offset);
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
        code = troupe__journal_write_all(journal->fd, journal->buffer, BLOCK, offset);
        code = code ? code : write_part(journal, append, offset + BLOCK, payload, &done);
    }
    if (!code && (code = troupe__journal_flush(journal)) != 0) {
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
    return troupe__journal_write_slot(journal);
}

int troupe__journal_append(struct troupe__journal *journal, uint64_t epoch, struct troupe_bytes record, uint64_t folded,
                           enum troupe__lmdb_left *ret_left)
{
    assert(epoch == journal->last + 1 && !journal->options.read_only);
    uint64_t extent_size = journal->slot.extent_size, room = journal->count > 0 ? extent_size - journal->at : 0;
    struct append append = {.epoch = epoch, .folded = folded, .record = record};
    append.padded = troupe__journal_whole_blocks(HEADER + record.size);
    append.hash = troupe__journal_put_head(append.header, journal->slot.id, epoch, journal->chain, record);
    bool small = append.padded <= TROUPE__JOURNAL_SMALL_MAX && append.padded <= extent_size - BLOCK;
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
    int code = troupe__journal_flush(journal); /* What was found may be in memory only. */
    if (!code) {
        journal->slot.run = run;
        journal->slot.previous_run = previous;
        journal->slot.dropped = journal->dropped;
        journal->slot.reached = journal->last;
        journal->slot.size = journal->size;
        code = troupe__journal_write_slot(journal);
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
    int code = troupe__journal_write_slot(journal);
    return code ? code : ftruncate(journal->fd, (off_t)size) ? errno : 0;
}

int troupe__journal_trim(struct troupe__journal *journal, uint64_t folded)
{
    int code = 0;
    if (journal->last > journal->slot.reached || folded > journal->slot.dropped) {
        journal->slot.dropped = folded > journal->slot.dropped ? folded : journal->slot.dropped;
        journal->slot.reached = journal->last;
        code = troupe__journal_write_slot(journal);
    }
    while (is_oldest_folded(journal, folded)) {
        (void)drop_oldest(journal);
    }
    return code ? code : shrink(journal);
}
