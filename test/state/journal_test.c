/* journal_test.c - the journal: what is appended comes back, whatever is overwritten, read beside it or torn.
 * SPDX-License-Identifier: Apache-2.0
 *
 * TROUPE_SEED sets the seed of what is torn, TROUPE_TEARS how often (400). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/journal.h"
#include "state/journal_old.h"

enum { EPOCHS_MAX = 200000, RECORD_MAX = 300000, TEARS = 400, SECTOR = 512, ATTEMPTS_MAX = 256 };

struct fixture {
    char directory[64], error[512];
    struct troupe__journal_options options;
    struct troupe__journal journal;
    bool open;
    uint64_t sizes[EPOCHS_MAX], salts[EPOCHS_MAX]; /* of the record of each epoch */
    uint64_t chains[EPOCHS_MAX];                   /* its hash */
    struct {
        uint64_t size, salt, chain;
    } attempts[ATTEMPTS_MAX]; /* at the newest epoch, since no later one was appended */
    uint64_t attempted;
    size_t attempt_count;
    unsigned char *bytes; /* RECORD_MAX */
};

static uint64_t draw(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15;
    return troupe__hash(random, sizeof *random);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->bytes = malloc(RECORD_MAX);
    f->options = (struct troupe__journal_options){.sync = true, .size_max = 1 << 30, .extent_size = 1 << 16};
    snprintf(f->directory, sizeof f->directory, "%s/troupe-journal.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->directory));
    *state = f;
    return 0;
}

static const char *path_of(const struct fixture *f, const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", f->directory, name);
    return path;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"journal.log", "journal.log.new", "journal.mdb", "journal.mdb-lock"};
    if (f->open) {
        troupe__journal_close(&f->journal);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unlink(path_of(f, names[i]));
    }
    assert_int_equal(rmdir(f->directory), 0);
    free(f->bytes);
    free(f);
    return 0;
}

static struct troupe_bytes record_of(struct fixture *f, uint64_t epoch)
{
    uint64_t random = f->salts[epoch] * 1000 + epoch;
    for (size_t at = 0; at < f->sizes[epoch]; at += 8) {
        uint64_t word = draw(&random);
        memcpy(f->bytes + at, &word, f->sizes[epoch] - at < 8 ? f->sizes[epoch] - at : 8);
    }
    return (struct troupe_bytes){f->bytes, f->sizes[epoch]};
}

static void create(struct fixture *f, uint64_t epoch)
{
    if (troupe__journal_create(f->directory, &f->options, epoch, 0, f->error, sizeof f->error) != TROUPE_OK) {
        fail_msg("%s", f->error);
    }
}

static enum troupe_error try_open(struct fixture *f, uint64_t folded)
{
    enum troupe_error result = troupe__journal_open(&f->journal, f->directory, &f->options, folded, f->chains[folded],
                                                    f->error, sizeof f->error);
    f->open = result == TROUPE_OK;
    return result;
}

static void reopen(struct fixture *f, uint64_t folded)
{
    if (f->open) {
        troupe__journal_close(&f->journal);
    }
    if (try_open(f, folded) != TROUPE_OK) {
        fail_msg("%s", f->error);
    }
}

static int try_append(struct fixture *f, size_t size, uint64_t folded)
{
    enum troupe__lmdb_left left;
    uint64_t epoch = f->journal.last + 1;
    assert_true(epoch < EPOCHS_MAX && size <= RECORD_MAX);
    f->sizes[epoch] = size;
    f->salts[epoch]++; /* Never the same as one that was torn. */
    int code = troupe__journal_append(&f->journal, epoch, record_of(f, epoch), folded, &left);
    assert_true(!code || left == TROUPE__LMDB_NOTHING);
    f->chains[epoch] = code ? f->chains[epoch] : f->journal.chain;
    f->attempt_count = f->attempted == epoch ? f->attempt_count : 0;
    f->attempted = epoch;
    assert_true(f->attempt_count < ATTEMPTS_MAX);
    f->attempts[f->attempt_count].size = size;
    f->attempts[f->attempt_count].salt = f->salts[epoch];
    f->attempts[f->attempt_count++].chain = f->chains[epoch];
    return code;
}

static void append(struct fixture *f, size_t size, uint64_t folded)
{
    assert_int_equal(try_append(f, size, folded), 0);
}

struct seen {
    struct fixture *fixture;
    uint64_t first, last;
};

static enum troupe_error see(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct seen *seen = context;
    struct troupe_bytes wanted = record_of(seen->fixture, epoch);
    assert_true(seen->last == 0 || epoch == seen->last + 1);
    assert_int_equal(record.size, wanted.size);
    assert_memory_equal(record.data, wanted.data, wanted.size);
    assert_int_equal(hash, seen->fixture->chains[epoch]);
    seen->first = seen->first ? seen->first : epoch;
    seen->last = epoch;
    return TROUPE_OK;
}

/* All records from `folded` + 1 on are there, and are those that were appended. */
static void expect_records(struct fixture *f, struct troupe__journal *journal, uint64_t folded, uint64_t last)
{
    struct seen seen = {.fixture = f};
    assert_int_equal(journal->last, last);
    if (troupe__journal_replay(journal, folded, f->chains[folded], see, &seen, f->error, sizeof f->error) !=
        TROUPE_OK) {
        fail_msg("%s", f->error);
    }
    assert_true(folded == last || (seen.first == folded + 1 && seen.last == last));
}

static size_t file_size(const struct fixture *f)
{
    struct stat status;
    assert_int_equal(stat(path_of(f, "journal.log"), &status), 0);
    return (size_t)status.st_size;
}

/* Records of many sizes, some over several extents, come back; the file grows by what is not folded and no more. */
static void extents_whose_records_are_folded_are_overwritten(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 1;
    create(f, 0);
    reopen(f, 0);
    for (uint64_t epoch = 1; epoch <= 3000; epoch++) {
        append(f, draw(&random) % (epoch % 50 == 0 ? RECORD_MAX : 6000), epoch > 20 ? epoch - 20 : 0);
        if (epoch % 400 == 0) {
            reopen(f, epoch - 20);
            expect_records(f, &f->journal, epoch - 20, epoch);
        }
    }
    assert_true(file_size(f) < 3 << 20);
    size_t before = file_size(f);
    for (int i = 0; i < 500; i++) {
        append(f, 5000, 3000);
    }
    assert_true(file_size(f) > before + 500 * 5000 - (1 << 20));
    reopen(f, 3000);
    expect_records(f, &f->journal, 3000, 3500);
}

/* The file of a node that had much to do becomes small when that is done with and it is closed, and goes on. */
static void a_backlog_gives_its_place_back(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    reopen(f, 0);
    for (int i = 0; i < 500; i++) {
        append(f, i == 200 ? RECORD_MAX : 9000, 0);
    }
    assert_int_equal(troupe__journal_trim(&f->journal, 300), 0);
    assert_true(file_size(f) > 3 << 20); /* The newest ones are behind. */
    reopen(f, 300);
    expect_records(f, &f->journal, 300, 500);
    for (int i = 0; i < 10; i++) {
        append(f, 9000, f->journal.last);
    }
    uint64_t last = f->journal.last;
    assert_int_equal(troupe__journal_trim(&f->journal, last), 0);
    assert_true(file_size(f) < 1 << 19);
    reopen(f, last);
    for (int i = 0; i < 100; i++) {
        append(f, 9000, last);
    }
    reopen(f, last);
    expect_records(f, &f->journal, last, last + 100);
}

/* Somebody who reads, in this process or in another, sees the journal of one moment to the end, and it goes on. */
static void readers_keep_what_they_see(void **state)
{
    struct fixture *f = *state;
    struct troupe__journal pinned, looked;
    uint64_t first;
    create(f, 0);
    reopen(f, 0);
    for (uint64_t epoch = 1; epoch <= 200; epoch++) {
        append(f, 3000, 0);
    }
    for (int how = 0; how < 2; how++) {
        uint64_t last = f->journal.last;
        size_t before = file_size(f);
        if (how == 0) {
            assert_int_equal(troupe__journal_pin(&f->journal, &pinned), 0);
        } else if (troupe__journal_look(&looked, f->directory, &first, f->error, sizeof f->error) != TROUPE_OK) {
            fail_msg("%s", f->error);
        }
        for (int i = 0; i < 300; i++) {
            append(f, 3000, f->journal.last);
        }
        assert_true(file_size(f) > before + 300 * 3000 - (1 << 20));
        if (how == 0) {
            expect_records(f, &pinned, 0, last);
            troupe__journal_unpin(&pinned);
            for (int i = 0; i < 300; i++) { /* What was not folded at first is needed by nobody now. */
                append(f, 3000, f->journal.last);
            }
        } else {
            uint64_t chain;
            assert_true(first > 0 && first < last);
            assert_true(troupe__journal_before(&looked, first + 1, &chain));
            assert_int_equal(chain, f->chains[first]);
            expect_records(f, &looked, first, last);
            troupe__journal_unlook(&looked);
        }
        before = file_size(f);
        for (int i = 0; i < 1000; i++) {
            append(f, 3000, f->journal.last);
        }
        assert_int_equal(file_size(f), before);
    }
}

/* A record that finds no room leaves nothing: another one goes in its place, and more once there is room. */
static void a_full_disk_takes_smaller_records_and_goes_on_later(void **state)
{
    struct fixture *f = *state;
    f->options.size_max = 900000;
    create(f, 0);
    reopen(f, 0);
    while (try_append(f, 100000, 0) == 0) {
    }
    assert_int_equal(try_append(f, 200000, 0), ENOSPC);
    uint64_t full = f->journal.last;
    for (int code = 0; !code;) {
        code = try_append(f, 100, 0);
        assert_true(!code || code == ENOSPC);
    }
    assert_true(full > 3 && f->journal.last > full);
    uint64_t last = f->journal.last;
    reopen(f, 0);
    expect_records(f, &f->journal, 0, last);
    assert_int_equal(try_append(f, 200000, 0), ENOSPC);
    for (int i = 0; i < 300; i++) {
        append(f, i % 9 == 0 ? 150000 : 5000, f->journal.last);
    }
    reopen(f, last + 290);
    expect_records(f, &f->journal, last + 290, last + 300);
}

/* ---- torn -------------------------------------------------------------------------------------------------------- */

struct image {
    unsigned char *bytes;
    size_t size;
};

static struct image take_image(const struct fixture *f)
{
    struct image image = {NULL, file_size(f)};
    int fd = open(path_of(f, "journal.log"), O_RDONLY);
    image.bytes = malloc(image.size);
    assert_true(fd >= 0 && image.bytes && read(fd, image.bytes, image.size) == (ssize_t)image.size);
    close(fd);
    return image;
}

/* Of what differs any sectors may be on the disk, or none, or all. What was synced on the way, when the file grew, is
 * taken for there: its size. */
static void tear(const struct fixture *f, const struct image *before, struct image *after, uint64_t *random)
{
    uint64_t mode = draw(random) % 4;
    for (size_t at = 0; at < before->size; at += SECTOR) {
        bool slot = at < 2 * TROUPE__JOURNAL_BLOCK; /* Synced before the record was written. */
        bool new = slot || (mode == 0 ? false : mode == 1 ? true : mode == 2 ? draw(random) % 2 : draw(random) % 16);
        if (!new) {
            memcpy(after->bytes + at, before->bytes + at, SECTOR);
        }
    }
    for (size_t at = before->size; at < after->size && mode != 1; at += SECTOR) {
        if (mode == 0 || draw(random) % 2) {
            memset(after->bytes + at, 0, SECTOR);
        }
    }
    int fd = open(path_of(f, "journal.log"), O_WRONLY | O_TRUNC);
    assert_true(fd >= 0 && write(fd, after->bytes, after->size) == (ssize_t)after->size && close(fd) == 0);
}

/* Of an epoch that was never acknowledged any attempt may come back: the header of an extent that one of them did not
 * bring to the disk is the same when another one does, and the first one's record may stand there. */
static void expect_attempt(struct fixture *f, uint64_t epoch)
{
    size_t i = f->attempt_count;
    assert_int_equal(f->attempted, epoch);
    while (i > 0 && f->attempts[i - 1].chain != f->journal.chain) {
        i--;
    }
    assert_true(i > 0);
    f->sizes[epoch] = f->attempts[i - 1].size;
    f->salts[epoch] = f->attempts[i - 1].salt;
    f->chains[epoch] = f->attempts[i - 1].chain;
}

/* Crash after crash in the middle of a commit: what was acknowledged stays, the one on its way is there or not, and the
 * next one takes its place; whether it is larger or smaller, in the same extent or another. */
static void records_that_are_torn_again_and_again_leave_no_trap(void **state)
{
    struct fixture *f = *state;
    const char *seed = getenv("TROUPE_SEED"), *count = getenv("TROUPE_TEARS");
    uint64_t random = seed ? strtoull(seed, NULL, 10) : 1, tears = count ? strtoull(count, NULL, 10) : TEARS;
    uint64_t folded = 0, survived = 0, cut_off = 0;
    print_message("TROUPE_SEED=%llu\n", (unsigned long long)random);
    create(f, 0);
    for (uint64_t i = 0; i < tears; i++) {
        static const size_t most[] = {100, 4000, 9000, 30000, 130000, RECORD_MAX};
        reopen(f, folded);
        assert_int_equal(troupe__journal_claim(&f->journal, i + 1, i), 0);
        for (uint64_t more = draw(&random) % 8; more > 0; more--) {
            append(f, draw(&random) % most[draw(&random) % 6], folded);
        }
        uint64_t last = f->journal.last;
        folded += draw(&random) % (last - folded + 1);
        struct image before = take_image(f);
        append(f, draw(&random) % most[draw(&random) % 6], folded);
        struct image after = take_image(f);
        troupe__journal_close(&f->journal);
        f->open = false;
        tear(f, &before, &after, &random);
        free(before.bytes);
        free(after.bytes);
        if (try_open(f, folded) != TROUPE_OK) {
            fail_msg("tear %llu: %s", (unsigned long long)i, f->error);
        }
        assert_true(f->journal.last == last || f->journal.last == last + 1);
        survived += f->journal.last > last;
        if (f->journal.last > last) {
            expect_attempt(f, f->journal.last);
        }
        cut_off += f->journal.cut_off > 0;
        expect_records(f, &f->journal, folded, f->journal.last);
    }
    print_message("%llu torn, %llu were seen as cut off, %llu were whole; %zu bytes\n", (unsigned long long)tears,
                  (unsigned long long)cut_off, (unsigned long long)survived, file_size(f));
    assert_true(survived > 0 && survived < tears);
}

/* Flip a bit of the file. */
static void flip(const struct fixture *f, uint64_t at)
{
    unsigned char byte = 0;
    int fd = open(path_of(f, "journal.log"), O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= 4;
    assert_true(pwrite(fd, &byte, 1, (off_t)at) == 1 && close(fd) == 0);
}

/* Of a record that was torn an extent may be left that says that it begins there. When the next one finds no room in
 * it, and goes elsewhere, it is found there. */
static void a_record_that_went_elsewhere_than_a_torn_one_is_found(void **state)
{
    struct fixture *f = *state;
    enum { BLOCK = TROUPE__JOURNAL_BLOCK, FOLDED = 20 };
    uint64_t last_extent = 2 * BLOCK + ((uint64_t)8 << 16);
    f->options.size_max = last_extent + (uint64_t)4 * BLOCK;
    create(f, 0);
    reopen(f, 0);
    while (file_size(f) < f->options.size_max) {
        append(f, 9000, 0);
    }
    uint64_t last = f->journal.last - 1;
    assert_true(last > FOLDED + 1);
    flip(f, last_extent + BLOCK + 60);
    reopen(f, FOLDED);
    expect_records(f, &f->journal, FOLDED, last);
    assert_true(f->journal.cut_off > 0);
    append(f, 20000, FOLDED);
    assert_int_equal(file_size(f), f->options.size_max);
    for (int i = 0; i < 3; i++) {
        reopen(f, FOLDED);
        expect_records(f, &f->journal, FOLDED, ++last);
        append(f, 100, FOLDED);
    }
}

/* Of a journal that was closed in order it is known where it ends; of another one the newest record may be torn. */
static void a_damaged_end_is_found_if_the_journal_was_closed(void **state)
{
    struct fixture *f = *state;
    for (int closed = 0; closed < 2; closed++) {
        memset(f->chains, 0, sizeof f->chains);
        create(f, 0);
        reopen(f, 0);
        for (int i = 0; i < 3; i++) {
            append(f, 10000, 0);
        }
        if (closed) {
            assert_int_equal(troupe__journal_trim(&f->journal, 0), 0);
        }
        flip(f, 2 * TROUPE__JOURNAL_BLOCK + f->journal.at - 5000);
        troupe__journal_close(&f->journal);
        f->open = false;
        assert_int_equal(try_open(f, 0), closed ? TROUPE_ECORRUPT : TROUPE_OK);
        if (closed) {
            assert_non_null(strstr(f->error, "epoch 3 is damaged, it went up to 3 at least"));
        } else {
            assert_int_equal(f->journal.last, 2);
            assert_true(f->journal.cut_off > 10000);
        }
    }
}

/* Nothing else tells that records are gone with the end of the file: those that are left are whole. */
static void a_file_that_ends_between_two_records_is_cut_off(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    reopen(f, 0);
    for (int i = 0; i < 2; i++) {
        append(f, 10000, 0);
    }
    uint64_t end = 2 * TROUPE__JOURNAL_BLOCK + f->journal.at;
    append(f, 10000, 0);
    troupe__journal_close(&f->journal); /* As a crash would: where it ends is not noted. */
    f->open = false;
    assert_int_equal(truncate(path_of(f, "journal.log"), (off_t)end), 0);
    assert_int_equal(try_open(f, 0), TROUPE_ECORRUPT);
    assert_non_null(strstr(f->error, "it is cut off"));
}

/* A damaged extent hides all that come before it: a journal that is kept must not overwrite those. */
static void a_kept_journal_does_not_overwrite_what_is_behind_damage(void **state)
{
    struct fixture *f = *state;
    f->options.kept = true;
    create(f, 0);
    for (int i = 0; i < 2; i++) {
        reopen(f, 0);
        assert_int_equal(troupe__journal_claim(&f->journal, i + 1, i), 0);
        for (int more = 0; more < 30; more++) {
            append(f, 9000, 0);
        }
    }
    uint64_t last = f->journal.last;
    flip(f, 2 * TROUPE__JOURNAL_BLOCK + ((uint64_t)3 << 16) + 50);
    troupe__journal_close(&f->journal);
    f->open = false;
    assert_int_equal(try_open(f, last), TROUPE_ECORRUPT);
    assert_non_null(strstr(f->error, "of the epochs 1 to 20, which it is to keep, something is damaged"));
    f->options.kept = false;
    reopen(f, last);
    assert_int_equal(f->journal.last, last);
    assert_int_equal(troupe__journal_claim(&f->journal, 3, 2), 0);
    f->options.kept = true; /* It was given up, and that is noted. */
    reopen(f, last);
    expect_records(f, &f->journal, 30, last);
}

/* ---- nonsense ---------------------------------------------------------------------------------------------------- */

enum { NONSENSES = 2000, SLOT_SIZE = 88, EXTENT_SIZE = 72, HEADER_SIZE = 56 };

/* The blocks that say something: where, and how many bytes with the check behind them. */
static size_t sealed_at(const struct image *image, size_t at)
{
    const unsigned char *block = image->bytes + at;
    return memcmp(block, "troupeJ", 8) == 0               ? SLOT_SIZE
           : memcmp(block, "troupeX", 8) == 0             ? EXTENT_SIZE
           : troupe__get_be64(block) == (uint64_t)2 << 32 ? HEADER_SIZE
                                                          : 0;
}

static uint64_t nonsense(uint64_t before, uint64_t *random)
{
    switch (draw(random) % 6) {
    case 0:
        return draw(random) % 3;
    case 1:
        return UINT64_MAX - draw(random) % 5000;
    case 2:
        return before + draw(random) % 9 - 4;
    case 3:
        return before ^ (uint64_t)1 << draw(random) % 64;
    case 4:
        return draw(random) % 100 * TROUPE__JOURNAL_BLOCK;
    default:
        return draw(random);
    }
}

static enum troupe_error take_any(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    (void)epoch, (void)hash;
    *(uint64_t *)context ^= troupe__hash(record.data, record.size);
    return TROUPE_OK;
}

/* Numbers that no journal wrote, with checks that fit: an error, or a journal that can be read and appended to. */
static void numbers_that_make_no_sense_do_no_harm(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 5, refused = 0, hash = 0;
    create(f, 0);
    reopen(f, 0);
    for (uint64_t epoch = 1; epoch <= 60; epoch++) {
        append(f, epoch % 20 == 0 ? 200000 : epoch * 100, epoch > 30 ? epoch - 30 : 0);
    }
    troupe__journal_close(&f->journal);
    f->open = false;
    struct image image = take_image(f);
    unsigned char *bytes = malloc(image.size);
    alarm(100);
    for (int i = 0; i < NONSENSES; i++) {
        memcpy(bytes, image.bytes, image.size);
        for (uint64_t changes = 1 + draw(&random) % 3; changes > 0;) {
            size_t at = draw(&random) % (image.size / TROUPE__JOURNAL_BLOCK) * TROUPE__JOURNAL_BLOCK;
            size_t size = sealed_at(&image, at);
            if (size > 0) {
                unsigned char *field = bytes + at + 8 + draw(&random) % (size / 8 - 2) * 8;
                troupe__put_be64(field, nonsense(troupe__get_be64(field), &random));
                troupe__put_be64(bytes + at + size - 8, troupe__hash(bytes + at, size - 8));
                changes--;
            }
        }
        int fd = open(path_of(f, "journal.log"), O_WRONLY | O_TRUNC);
        assert_true(fd >= 0 && write(fd, bytes, image.size) == (ssize_t)image.size && close(fd) == 0);
        enum troupe_error result = try_open(f, 30);
        assert_true(result == TROUPE_OK || f->error[0]);
        refused += result != TROUPE_OK;
        if (result == TROUPE_OK) {
            (void)troupe__journal_replay(&f->journal, 30, f->chains[30], take_any, &hash, f->error, sizeof f->error);
            enum troupe__lmdb_left left;
            for (int more = 0; more < 3; more++) {
                int code = troupe__journal_append(&f->journal, f->journal.last + 1, (struct troupe_bytes){bytes, 90000},
                                                  f->journal.last - 3, &left);
                assert_true(!code || code == ENOSPC);
            }
            troupe__journal_close(&f->journal);
            f->open = false;
        }
    }
    alarm(0);
    print_message("%d kinds of nonsense, %llu refused\n", NONSENSES, (unsigned long long)refused);
    assert_true(refused > NONSENSES / 4);
    free(image.bytes);
    free(bytes);
}

/* ---- the format before ------------------------------------------------------------------------------------------- */

enum { OLD_FIRST = 8, OLD_LAST = 60, OLD_CHUNK = 65520 };

static void put_old(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint32_t chunk, const void *data, size_t size)
{
    unsigned char bytes[12] = {0};
    MDB_val key = {sizeof bytes, bytes}, value = {size, (void *)(uintptr_t)data};
    troupe__put_be64(bytes, epoch);
    bytes[11] = (unsigned char)chunk;
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
}

/* Make the LMDB file that version 2 had: run 5, before that 4, up to epoch 7 dropped. */
static void make_old(struct fixture *f)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path_of(f, "journal.mdb"), MDB_NOSUBDIR, 0600), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 1 << 26), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    unsigned char format[40] = "troupeJ";
    const uint64_t numbers[] = {2, 5, 4, OLD_FIRST - 1};
    for (size_t i = 0; i < 4; i++) {
        troupe__put_be64(format + 8 + 8 * i, numbers[i]);
    }
    put_old(txn, dbi, 0, 0, format, sizeof format);
    f->chains[OLD_FIRST - 1] = 77;
    for (uint64_t epoch = OLD_FIRST; epoch <= OLD_LAST; epoch++) {
        static unsigned char whole[40 + RECORD_MAX];
        f->sizes[epoch] = epoch % 13 == 0 ? 200000 : epoch * 31;
        struct troupe_bytes record = record_of(f, epoch);
        troupe__put_be64(whole, (uint64_t)2 << 32);
        troupe__put_be64(whole + 8, epoch);
        troupe__put_be64(whole + 16, f->chains[epoch - 1]);
        troupe__put_be64(whole + 24, record.size);
        troupe__put_be64(whole + 32, troupe__hash(record.data, record.size));
        f->chains[epoch] = troupe__hash(whole, 40);
        troupe__put_be64(whole + 32, f->chains[epoch]);
        memcpy(whole + 40, record.data, record.size);
        size_t size = 40 + record.size;
        for (uint32_t chunk = 0; chunk * OLD_CHUNK < size; chunk++) {
            size_t rest = size - chunk * OLD_CHUNK;
            put_old(txn, dbi, epoch, chunk, whole + chunk * OLD_CHUNK, rest < OLD_CHUNK ? rest : OLD_CHUNK);
        }
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static bool is_there(const struct fixture *f, const char *name)
{
    return access(path_of(f, name), F_OK) == 0;
}

/* A journal of version 2 is read as it is by who only reads, and becomes one of today's for an owner, all hashes as
 * they were; whether a crash left the beginnings of it, or both. */
static void a_journal_of_the_version_before_is_read_and_taken_over(void **state)
{
    struct fixture *f = *state;
    make_old(f);
    f->options.read_only = true;
    reopen(f, OLD_FIRST + 2);
    expect_records(f, &f->journal, OLD_FIRST + 2, OLD_LAST);
    assert_false(is_there(f, "journal.log"));
    assert_true(f->journal.slot.run == 5 && f->journal.slot.previous_run == 4);
    struct troupe__journal looked;
    uint64_t first;
    assert_int_equal(troupe__journal_look(&looked, f->directory, &first, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(first, OLD_FIRST);
    expect_records(f, &looked, OLD_FIRST - 1, OLD_LAST);
    troupe__journal_unlook(&looked);

    int fd = open(path_of(f, "journal.log.new"), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0 && write(fd, "something", 9) == 9 && close(fd) == 0);
    f->options.read_only = false;
    for (int i = 0; i < 2; i++) { /* The second time both are there. */
        reopen(f, OLD_FIRST + 2);
        expect_records(f, &f->journal, OLD_FIRST + 2, OLD_LAST);
        assert_true(is_there(f, "journal.log") && !is_there(f, "journal.log.new") && is_there(f, "journal.mdb"));
        assert_true(f->journal.slot.run == 5 && f->journal.slot.previous_run == 4);
    }
    assert_int_equal(troupe__journal_claim(&f->journal, 6, 5), 0);
    troupe__journal_old_remove(f->directory);
    append(f, 1000, OLD_LAST);
    reopen(f, OLD_LAST);
    expect_records(f, &f->journal, OLD_LAST, OLD_LAST + 1);
    assert_false(is_there(f, "journal.mdb"));
    troupe__journal_close(&f->journal);
    assert_int_equal(try_open(f, OLD_FIRST - 2), TROUPE_ECORRUPT); /* Tables that are older than what it has. */
    assert_non_null(strstr(f->error, "tables.mdb is missing or an older copy"));
}

/* A journal of a version to come is refused, and both versions are named. */
static void a_version_to_come_is_refused(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    int fd = open(path_of(f, "journal.log"), O_WRONLY);
    unsigned char version[8];
    troupe__put_be64(version, 99);
    assert_true(fd >= 0 && pwrite(fd, version, 8, 8) == 8 && pwrite(fd, version, 8, 4096 + 8) == 8);
    close(fd);
    assert_int_equal(try_open(f, 0), TROUPE_EVERSION);
    assert_non_null(strstr(f->error, "format 99, this program knows 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(extents_whose_records_are_folded_are_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backlog_gives_its_place_back, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_keep_what_they_see, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_takes_smaller_records_and_goes_on_later, setup, teardown),
        cmocka_unit_test_setup_teardown(records_that_are_torn_again_and_again_leave_no_trap, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_of_the_version_before_is_read_and_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_went_elsewhere_than_a_torn_one_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_end_is_found_if_the_journal_was_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_ends_between_two_records_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kept_journal_does_not_overwrite_what_is_behind_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_that_make_no_sense_do_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_version_to_come_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
