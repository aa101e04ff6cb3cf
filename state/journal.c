/* journal.c - the journal of epochs: making one, opening it, views of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * journal_append.c writes, journal_file.c reads. */
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
#include "state/journal_write.h"

enum { BLOCK = TROUPE__JOURNAL_BLOCK, START = 1 << 18 /* bytes of a new file's extents */ };

#define NAME "journal.log"

/* ---- making one -------------------------------------------------------------------------------------------------- */

static bool make_parts(struct troupe__journal *journal)
{
    journal->buffer = journal->buffer ? journal->buffer : aligned_alloc(BLOCK, TROUPE__JOURNAL_SMALL_MAX + BLOCK);
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
    int code = troupe__journal_write_zeros(fd, 0, journal->size);
    code = code ? code : troupe__journal_write_slot(journal);
    return code ? code : troupe__journal_write_slot(journal);
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
        conversion.code = troupe__journal_write_slot(journal);
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
        code = code || run == 0 ? code : troupe__journal_write_slot(&journal);
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
