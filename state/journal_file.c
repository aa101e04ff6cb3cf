/* journal_file.c - the form of journal.log, and how it is read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/journal_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = TROUPE__JOURNAL_BLOCK, HEADER = TROUPE__JOURNAL_HEADER, WINDOW = 1 << 18 };
enum { SLOT_SIZE = 88, EXTENT_SIZE = 72, KEPT_HEADER = TROUPE__JOURNAL_KEPT_HEADER };

static const unsigned char slot_magic[8] = "troupeJ", extent_magic[8] = "troupeX";

/* ---- forms ------------------------------------------------------------------------------------------------------- */

static void put_numbers(unsigned char *to, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        troupe__put_be64(to + 8 * i, numbers[i]);
    }
}

static void seal(unsigned char *block, size_t size)
{
    troupe__put_be64(block + size - 8, troupe__hash(block, size - 8));
}

static bool is_sealed(const unsigned char *block, size_t size)
{
    return troupe__get_be64(block + size - 8) == troupe__hash(block, size - 8);
}

void troupe__journal_put_slot(unsigned char *block, const struct troupe__journal_slot *slot)
{
    const uint64_t numbers[] = {TROUPE__JOURNAL_VERSION, slot->generation, slot->id,   slot->extent_size, slot->run,
                                slot->previous_run,      slot->dropped,    slot->size, slot->reached};
    memset(block, 0, BLOCK);
    memcpy(block, slot_magic, 8);
    put_numbers(block + 8, numbers, 9);
    seal(block, SLOT_SIZE);
}

static bool get_slot(const unsigned char *block, struct troupe__journal_slot *ret)
{
    if (memcmp(block, slot_magic, 8) != 0 || !is_sealed(block, SLOT_SIZE) ||
        troupe__get_be64(block + 8) != TROUPE__JOURNAL_VERSION) {
        return false;
    }
    *ret = (struct troupe__journal_slot){
        .generation = troupe__get_be64(block + 16),
        .id = troupe__get_be64(block + 24),
        .extent_size = troupe__get_be64(block + 32),
        .run = troupe__get_be64(block + 40),
        .previous_run = troupe__get_be64(block + 48),
        .dropped = troupe__get_be64(block + 56),
        .size = troupe__get_be64(block + 64),
        .reached = troupe__get_be64(block + 72),
    };
    return ret->extent_size >= TROUPE__JOURNAL_EXTENT_MIN && ret->extent_size <= TROUPE__JOURNAL_EXTENT_MAX &&
           ret->extent_size % BLOCK == 0;
}

void troupe__journal_put_extent(unsigned char *block, uint64_t id, const struct troupe__extent *extent)
{
    const uint64_t numbers[] = {
        id, extent->index, extent->sequence, extent->previous, extent->first, extent->epoch, extent->before};
    memset(block, 0, BLOCK);
    memcpy(block, extent_magic, 8);
    put_numbers(block + 8, numbers, 7);
    seal(block, EXTENT_SIZE);
}

static bool get_extent(const unsigned char *block, const struct troupe__journal_slot *slot, uint64_t index,
                       struct troupe__extent *ret)
{
    if (memcmp(block, extent_magic, 8) != 0 || !is_sealed(block, EXTENT_SIZE) ||
        troupe__get_be64(block + 8) != slot->id || troupe__get_be64(block + 16) != index) {
        return false;
    }
    *ret = (struct troupe__extent){
        .index = index,
        .sequence = troupe__get_be64(block + 24),
        .previous = troupe__get_be64(block + 32),
        .first = troupe__get_be64(block + 40),
        .epoch = troupe__get_be64(block + 48),
        .before = troupe__get_be64(block + 56),
    };
    return ret->first >= BLOCK && ret->first <= slot->extent_size && ret->first % BLOCK == 0 && ret->epoch > 0 &&
           ret->sequence > ret->previous;
}

uint64_t troupe__journal_put_kept_head(unsigned char *header, uint64_t epoch, uint64_t previous,
                                       struct troupe_bytes record)
{
    troupe__put_be64(header, (uint64_t)TROUPE__JOURNAL_RECORDS << 32);
    troupe__put_be64(header + 8, epoch);
    troupe__put_be64(header + 16, previous);
    troupe__put_be64(header + 24, record.size);
    troupe__put_be64(header + 32, troupe__hash(record.data, record.size));
    uint64_t hash = troupe__hash(header, KEPT_HEADER);
    troupe__put_be64(header + 32, hash);
    return hash;
}

uint64_t troupe__journal_put_head(unsigned char *header, uint64_t id, uint64_t epoch, uint64_t previous,
                                  struct troupe_bytes record)
{
    uint64_t hash = troupe__journal_put_kept_head(header, epoch, previous, record);
    troupe__put_be64(header + KEPT_HEADER, id);
    seal(header, HEADER);
    return hash;
}

static bool get_head(const unsigned char *header, uint64_t id, struct troupe__journal_head *ret)
{
    if (troupe__get_be64(header) != (uint64_t)TROUPE__JOURNAL_RECORDS << 32 ||
        troupe__get_be64(header + KEPT_HEADER) != id || !is_sealed(header, HEADER)) {
        return false;
    }
    *ret = (struct troupe__journal_head){troupe__get_be64(header + 8), troupe__get_be64(header + 16),
                                         troupe__get_be64(header + 24), troupe__get_be64(header + 32)};
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Reads ahead. All that it reads was written before it began. */
struct reader {
    const struct troupe__journal *journal;
    unsigned char *window; /* WINDOW bytes */
    uint64_t from;
    size_t size;
    struct troupe__buffer whole; /* a record that is not in the window as a whole */
    bool out_of_memory;
};

static bool reader_init(struct reader *reader, const struct troupe__journal *journal)
{
    *reader = (struct reader){.journal = journal, .window = malloc(WINDOW)};
    return reader->window != NULL;
}

static void reader_fini(struct reader *reader)
{
    free(reader->window);
    troupe__buffer_free(&reader->whole);
}

/* Read up to `size` bytes; returns how many there are. */
static size_t read_at(int fd, void *to, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (unsigned char *)to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
    return done;
}

/* `size` bytes at a place of an extent, at most WINDOW; NULL when they are not there. Valid until the next call. */
static const unsigned char *peek(struct reader *reader, const struct troupe__extent *extent, uint64_t at, size_t size)
{
    const struct troupe__journal *journal = reader->journal;
    uint64_t extent_size = journal->slot.extent_size, offset = troupe__journal_place(journal, extent->index) + at;
    assert(size <= WINDOW);
    if (at > extent_size || extent_size - at < size) {
        return NULL;
    }
    if (offset < reader->from || offset + size > reader->from + reader->size) {
        uint64_t rest = extent_size - at;
        reader->from = offset;
        reader->size = read_at(journal->fd, reader->window, rest < WINDOW ? (size_t)rest : WINDOW, offset);
        if (reader->size < size) {
            return NULL;
        }
    }
    return reader->window + (offset - reader->from);
}

/* A place in the journal. */
struct place {
    size_t extent; /* of journal->extents */
    uint64_t at;
};

static bool peek_head(struct reader *reader, struct place place, struct troupe__journal_head *ret)
{
    const struct troupe__journal *journal = reader->journal;
    const unsigned char *header = peek(reader, &journal->extents[place.extent], place.at, HEADER);
    return header && get_head(header, journal->slot.id, ret);
}

/* Go from where a record begins to behind it. False when the extents do not go on with it. */
static bool go_behind(const struct troupe__journal *journal, const struct troupe__journal_head *head,
                      struct place *place)
{
    uint64_t extent_size = journal->slot.extent_size;
    if (head->size > (uint64_t)journal->places * extent_size) {
        return false;
    }
    uint64_t left = troupe__journal_whole_blocks(HEADER + head->size), room = extent_size - place->at;
    while (left > room) {
        const struct troupe__extent *next = &journal->extents[place->extent + 1];
        left -= room;
        room = extent_size - BLOCK;
        if (place->extent + 1 == journal->count || next->epoch != head->epoch + 1 || next->before != head->hash ||
            next->first != (left < room ? BLOCK + left : extent_size)) {
            return false;
        }
        place->extent++;
        place->at = BLOCK;
    }
    place->at += left;
    return true;
}

/* Read the record that begins there. Returns what is wrong, or NULL. */
static const char *read_body(struct reader *reader, struct place place, const struct troupe__journal_head *head,
                             struct troupe_bytes *ret)
{
    const struct troupe__journal *journal = reader->journal;
    uint64_t extent_size = journal->slot.extent_size, total = HEADER + head->size;
    struct place end = place;
    if (!go_behind(journal, head, &end)) {
        return "a part of it is missing";
    }
    if (total <= WINDOW && total <= extent_size - place.at) {
        const unsigned char *bytes = peek(reader, &journal->extents[place.extent], place.at, (size_t)total);
        *ret = (struct troupe_bytes){bytes + HEADER, (size_t)head->size};
        return bytes ? NULL : "a part of it is missing";
    }
    reader->whole.size = 0;
    if (!troupe__buffer_reserve(&reader->whole, (size_t)total)) {
        reader->out_of_memory = true;
        return "out of memory";
    }
    for (uint64_t done = 0; done < total; place = (struct place){place.extent + 1, BLOCK}) {
        uint64_t room = extent_size - place.at, part = total - done < room ? total - done : room;
        uint64_t offset = troupe__journal_place(journal, journal->extents[place.extent].index) + place.at;
        if (read_at(journal->fd, reader->whole.data + done, (size_t)part, offset) < part) {
            return "a part of it is missing";
        }
        done += part;
    }
    *ret = (struct troupe_bytes){reader->whole.data + HEADER, (size_t)head->size};
    return NULL;
}

static const char *read_record(struct reader *reader, struct place place, const struct troupe__journal_head *head,
                               struct troupe_bytes *ret)
{
    unsigned char again[KEPT_HEADER];
    const char *wrong = read_body(reader, place, head, ret);
    if (!wrong && troupe__journal_put_kept_head(again, head->epoch, head->previous, *ret) != head->hash) {
        wrong = "its checksum is wrong";
    }
    return wrong;
}

/* From the end of a record, where that of `epoch` is expected, to the last extent that says that it begins there. What
 * stands here, or in one before that, is at most a part of a record that was never acknowledged. */
static void go_on(const struct troupe__journal *journal, uint64_t epoch, uint64_t previous, struct place *place)
{
    for (size_t i = place->extent + 1; i < journal->count; i++) {
        const struct troupe__extent *next = &journal->extents[i];
        if (next->epoch != epoch || next->before != previous || next->first != BLOCK) {
            break;
        }
        *place = (struct place){i, BLOCK};
    }
}

/* The extent in which the record of `epoch` begins, or would. */
static size_t extent_of(const struct troupe__journal *journal, uint64_t epoch)
{
    size_t low = 0, high = journal->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (journal->extents[middle].epoch <= epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? low - 1 : 0;
}

/* Go to the record of `epoch`, over the headers of those before it in its extent. */
static bool find(struct reader *reader, uint64_t epoch, struct place *ret, struct troupe__journal_head *ret_head)
{
    const struct troupe__journal *journal = reader->journal;
    if (journal->count == 0) {
        return false;
    }
    size_t index = extent_of(journal, epoch);
    struct place place = {index, journal->extents[index].first};
    uint64_t expected = journal->extents[index].epoch, previous = journal->extents[index].before;
    while (peek_head(reader, place, ret_head) && ret_head->epoch == expected && ret_head->previous == previous) {
        if (expected == epoch) {
            *ret = place;
            return true;
        }
        previous = ret_head->hash;
        if (!go_behind(journal, ret_head, &place)) {
            return false;
        }
        go_on(journal, ++expected, previous, &place);
    }
    return false;
}

bool troupe__journal_before(const struct troupe__journal *journal, uint64_t epoch, uint64_t *ret_hash)
{
    struct reader reader;
    struct place place;
    struct troupe__journal_head head;
    bool found = reader_init(&reader, journal) && find(&reader, epoch, &place, &head);
    if (found) {
        *ret_hash = head.previous;
    }
    reader_fini(&reader);
    return found;
}

uint64_t troupe__journal_first(const struct troupe__journal *journal)
{
    uint64_t first = journal->count > 0 ? journal->extents[0].epoch : journal->last + 1;
    first = first > journal->dropped ? first : journal->dropped + 1;
    return first <= journal->last ? first : 0;
}

enum troupe_error troupe__journal_replay(struct troupe__journal *journal, uint64_t folded, uint64_t chain,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size)
{
    struct reader reader;
    struct place place;
    struct troupe__journal_head head;
    enum troupe_error result = TROUPE_OK;
    if (folded >= journal->last) {
        return TROUPE_OK;
    }
    if (!reader_init(&reader, journal)) {
        snprintf(error, error_size, "replay journal: out of memory");
        return TROUPE_ENOMEM;
    }
    bool found = find(&reader, folded + 1, &place, &head);
    for (uint64_t epoch = folded + 1; result == TROUPE_OK && epoch <= journal->last; epoch++) {
        struct troupe_bytes bytes;
        found = found && peek_head(&reader, place, &head) && head.epoch == epoch;
        const char *wrong = !found                   ? "it is missing or its header is damaged"
                            : head.previous != chain ? "it does not follow the record before it"
                                                     : read_record(&reader, place, &head, &bytes);
        if (wrong) {
            result = reader.out_of_memory ? TROUPE_ENOMEM : TROUPE_ECORRUPT;
            snprintf(error, error_size, "replay journal: epoch %llu: %s: run `troupe doctor`",
                     (unsigned long long)epoch, wrong);
            break;
        }
        chain = head.hash;
        result = record(context, epoch, head.hash, bytes);
        found = go_behind(journal, &head, &place);
        if (found && epoch < journal->last) {
            go_on(journal, epoch + 1, chain, &place);
        }
    }
    reader_fini(&reader);
    return result;
}

/* ---- what a file holds ------------------------------------------------------------------------------------------- */

static enum troupe_error read_slots(struct troupe__journal *journal, char *error, size_t error_size)
{
    unsigned char blocks[TROUPE__JOURNAL_SLOTS] = {0};
    struct troupe__journal_slot slots[2];
    size_t got = read_at(journal->fd, blocks, sizeof blocks, 0);
    bool good[2] = {got >= BLOCK && get_slot(blocks, &slots[0]), got > BLOCK && get_slot(blocks + BLOCK, &slots[1])};
    if (good[0] || good[1]) {
        journal->slot = slots[!good[0] || (good[1] && slots[1].generation > slots[0].generation)];
        return TROUPE_OK;
    }
    for (size_t i = 0; i < 2; i++) {
        uint64_t version = troupe__get_be64(blocks + i * BLOCK + 8);
        if (memcmp(blocks + i * BLOCK, slot_magic, 8) == 0 && version > TROUPE__JOURNAL_VERSION && version < 1 << 16) {
            snprintf(error, error_size, "format %llu, this program knows %d: use the one that wrote it",
                     (unsigned long long)version, TROUPE__JOURNAL_VERSION);
            return TROUPE_EVERSION;
        }
    }
    snprintf(error, error_size, "its first blocks are missing or damaged: run `troupe doctor`, restore a backup");
    return TROUPE_ECORRUPT;
}

static int compare_sequences(const void *left, const void *right)
{
    uint64_t a = ((const struct troupe__extent *)left)->sequence, b = ((const struct troupe__extent *)right)->sequence;
    return (a > b) - (a < b);
}

/* All that a file has. */
struct finds {
    struct troupe__extent *extents; /* in the order of their sequence numbers */
    bool *tried;                    /* there is no record in it that could be the journal's */
    size_t count;
    uint64_t *damaged; /* places of those whose first block is none; one of them may have been the newest */
    size_t damaged_count;
};

static void finds_free(struct finds *finds)
{
    free(finds->extents);
    free(finds->tried);
    free(finds->damaged);
}

/* Read the first block of each extent. `*ret_gap`: one is neither good nor empty. */
static enum troupe_error list_extents(struct troupe__journal *journal, struct finds *finds, bool *ret_gap, char *error,
                                      size_t error_size)
{
    uint64_t payload = journal->size > TROUPE__JOURNAL_SLOTS ? journal->size - TROUPE__JOURNAL_SLOTS : 0;
    journal->places = (payload + journal->slot.extent_size - 1) / journal->slot.extent_size;
    journal->capacity = (size_t)journal->places + 1;
    journal->extents = calloc(journal->capacity, sizeof *journal->extents);
    journal->spare = calloc(journal->capacity, sizeof *journal->spare);
    finds->extents = calloc(journal->capacity, sizeof *finds->extents);
    finds->tried = calloc(journal->capacity, sizeof *finds->tried);
    finds->damaged = calloc(journal->capacity, sizeof *finds->damaged);
    *ret_gap = false;
    if (!journal->extents || !journal->spare || !finds->extents || !finds->tried || !finds->damaged) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (uint64_t i = 0; i < journal->places; i++) {
        static const unsigned char nothing[EXTENT_SIZE];
        unsigned char block[EXTENT_SIZE] = {0};
        if (read_at(journal->fd, block, sizeof block, troupe__journal_place(journal, i)) == sizeof block &&
            get_extent(block, &journal->slot, i, &finds->extents[finds->count])) {
            finds->count++;
            continue;
        }
        *ret_gap |= memcmp(block, nothing, sizeof block) != 0;
        finds->damaged[finds->damaged_count++] = i;
    }
    qsort(finds->extents, finds->count, sizeof *finds->extents, compare_sequences);
    journal->sequence = finds->count > 0 ? finds->extents[finds->count - 1].sequence : 0;
    return TROUPE_OK;
}

/* Take those that lead to the one at `head`. */
static void take_chain(struct troupe__journal *journal, struct finds *finds, size_t head)
{
    uint64_t wanted = finds->extents[head].sequence;
    size_t from = journal->capacity;
    for (size_t i = head + 1; i-- > 0 && wanted > 0;) {
        if (finds->extents[i].sequence == wanted) {
            wanted = finds->extents[i].previous;
            finds->tried[i] = true;
            journal->extents[--from] = finds->extents[i];
        }
    }
    journal->count = journal->capacity - from;
    memmove(journal->extents, journal->extents + from, journal->count * sizeof *journal->extents);
}

/* Follow the records from the first of extent `index`. False when there is none; else where the next one goes, and the
 * newest one's epoch and hash. Of a record whose end is torn only `cut_off` is told. */
static bool follow(struct reader *reader, size_t index, struct troupe__journal *journal, struct place *ret)
{
    struct troupe__journal_head head, newest = {0};
    struct place place = {index, journal->extents[index].first}, newest_at = place;
    uint64_t expected = journal->extents[index].epoch, previous = journal->extents[index].before;
    bool whole = true;
    journal->cut_off = 0;
    while (whole && peek_head(reader, place, &head) && head.epoch == expected && head.previous == previous) {
        newest = head;
        newest_at = place;
        previous = head.hash;
        whole = go_behind(journal, &head, &place);
        if (whole) {
            go_on(journal, ++expected, previous, &place);
        }
    }
    if (newest.epoch == 0) {
        return false;
    }
    struct troupe_bytes record;
    if (!whole || read_record(reader, newest_at, &newest, &record)) { /* Those before it were acknowledged. */
        journal->cut_off = HEADER + newest.size;
        place = newest_at;
        newest = (struct troupe__journal_head){.epoch = newest.epoch - 1, .hash = newest.previous};
    }
    journal->last = newest.epoch;
    journal->chain = newest.hash;
    *ret = place;
    return true;
}

/* Whether an extent has, from `at` on, the header of a record later than the one behind the newest. */
static bool has_later(struct reader *reader, uint64_t index, uint64_t at, uint64_t last, uint64_t *ret_epoch)
{
    struct troupe__extent extent = {.index = index};
    const unsigned char *block;
    for (; (block = peek(reader, &extent, at, HEADER)) != NULL; at += BLOCK) {
        struct troupe__journal_head head;
        if (get_head(block, reader->journal->slot.id, &head) && head.epoch > last + 1) {
            *ret_epoch = head.epoch;
            return true;
        }
    }
    return false;
}

/* Find the newest record. A chain of extents in which there is none is what is left of a record that is torn. False
 * when there is none at all. */
static bool find_newest(struct reader *reader, struct troupe__journal *journal, struct finds *finds, uint64_t folded,
                        struct place *ret)
{
    for (size_t head = finds->count; head-- > 0;) {
        if (finds->tried[head]) {
            continue;
        }
        take_chain(journal, finds, head);
        size_t start = extent_of(journal, folded == UINT64_MAX ? folded : folded + 1);
        for (size_t i = start + 1; i-- > 0;) { /* The records behind the last one of an extent are found from it. */
            if (follow(reader, i, journal, ret)) {
                return true;
            }
        }
        for (size_t i = start + 1; i < journal->count; i++) {
            if (follow(reader, i, journal, ret)) {
                return true;
            }
        }
    }
    journal->count = 0;
    journal->last = journal->slot.dropped;
    return false;
}

/* What comes behind an epoch that is bad shows that it was good once. It is in an extent that came after, or whose
 * first block is damaged. */
static bool has_later_anywhere(struct reader *reader, const struct troupe__journal *journal, const struct finds *finds,
                               struct place end, uint64_t *ret_epoch)
{
    uint64_t newest = journal->count > 0 ? journal->extents[end.extent].sequence : 0;
    bool later = newest > 0 && has_later(reader, journal->extents[end.extent].index, end.at, journal->last, ret_epoch);
    for (size_t i = finds->count; !later && i-- > 0 && finds->extents[i].sequence > newest;) {
        later = has_later(reader, finds->extents[i].index, BLOCK, journal->last, ret_epoch);
    }
    for (size_t i = 0; i < finds->damaged_count && !later; i++) {
        later = has_later(reader, finds->damaged[i], 0, journal->last, ret_epoch);
    }
    return later;
}

static int compare_places(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a < b) - (a > b);
}

/* All other extents are spare, those in front the first to be taken. */
static void list_spare(struct troupe__journal *journal, const struct finds *finds)
{
    size_t next = 0;
    for (size_t i = 0; i < finds->count; i++) {
        if (next < journal->count && journal->extents[next].sequence == finds->extents[i].sequence) {
            next++;
        } else {
            journal->spare[journal->spare_count++] = finds->extents[i].index;
        }
    }
    for (size_t i = 0; i < finds->damaged_count; i++) {
        journal->spare[journal->spare_count++] = finds->damaged[i];
    }
    assert(next == journal->count && next + journal->spare_count == journal->places);
    qsort(journal->spare, journal->spare_count, sizeof *journal->spare, compare_places);
}

static enum troupe_error find_end(struct reader *reader, struct troupe__journal *journal, struct finds *finds,
                                  uint64_t folded, char *error, size_t error_size)
{
    struct place end = {0, BLOCK};
    uint64_t later = 0;
    bool found = find_newest(reader, journal, finds, folded, &end);
    if (has_later_anywhere(reader, journal, finds, end, &later)) {
        snprintf(error, error_size,
                 "epoch %llu is damaged, of those behind it at least %llu is there: run `troupe doctor`, restore a "
                 "backup",
                 (unsigned long long)journal->last + 1, (unsigned long long)later);
        return TROUPE_ECORRUPT;
    }
    if (journal->last < journal->slot.reached) {
        snprintf(error, error_size,
                 "epoch %llu is damaged, it went up to %llu at least: run `troupe doctor`, restore a backup",
                 (unsigned long long)journal->last + 1, (unsigned long long)journal->slot.reached);
        return TROUPE_ECORRUPT;
    }
    journal->count = found ? end.extent + 1 : 0;
    journal->at = end.at;
    list_spare(journal, finds);
    return TROUPE_OK;
}

enum troupe_error troupe__journal_survey(struct troupe__journal *journal, uint64_t folded, bool *ret_gap, char *error,
                                         size_t error_size)
{
    struct stat status;
    struct reader reader;
    if (fstat(journal->fd, &status)) {
        snprintf(error, error_size, "%s", strerror(errno));
        return TROUPE_EIO;
    }
    enum troupe_error result = read_slots(journal, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    journal->size = (uint64_t)status.st_size / BLOCK * BLOCK;
    if ((uint64_t)status.st_size < journal->slot.size) {
        snprintf(error, error_size, "it is cut off: it has %llu bytes, it had %llu: restore a backup",
                 (unsigned long long)status.st_size, (unsigned long long)journal->slot.size);
        return TROUPE_ECORRUPT;
    }
    struct finds finds = {0};
    result = list_extents(journal, &finds, ret_gap, error, error_size);
    if (result == TROUPE_OK && !reader_init(&reader, journal)) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    } else if (result == TROUPE_OK) {
        result = find_end(&reader, journal, &finds, folded, error, error_size);
        reader_fini(&reader);
    }
    finds_free(&finds);
    journal->dropped = journal->slot.dropped;
    if (result == TROUPE_OK && journal->count > 0 && journal->extents[0].epoch - 1 > journal->dropped) {
        journal->dropped = journal->extents[0].epoch - 1;
    }
    return result;
}
