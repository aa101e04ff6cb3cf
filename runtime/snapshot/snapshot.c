/* snapshot.c - snapshots as directories of parts with a manifest: their directories, and their parts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Head of a part: {"what":"part","node":NODE,"epoch":EPOCH}. */
#include "runtime/snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/files.h"
#include "runtime/snapshot/snapshot_stream.h"

static const char own_prefix[] = "troupe.";

void troupe__snapshot_fini(struct troupe__snapshot *snapshot)
{
    free(snapshot->parts);
    *snapshot = (struct troupe__snapshot){0};
}

uint64_t troupe__snapshot_row_count(const struct troupe__snapshot *snapshot)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < snapshot->part_count; i++) {
        for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
            rows += snapshot->parts[i].summary.rows[table];
        }
    }
    return rows;
}

bool troupe__snapshot_name_valid(const char *name)
{
    size_t size = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
    return size > 0 && size <= TROUPE__SNAPSHOT_NAME_MAX && name[size] == '\0' && name[0] != '.' &&
           !troupe__snapshot_is_writing(name);
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

/* Make durable under which name it is there. */
static enum troupe_error sync_parent(const char *path, char *error, size_t error_size)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return troupe__files_sync(parent[0] ? parent : "/", error, error_size);
}

enum troupe_error troupe__snapshot_begin(const char *target, int *ret_lock, char *error, size_t error_size)
{
    char writing[PATH_MAX];
    enum troupe_error result = troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, error, error_size);
    return result == TROUPE_OK ? troupe__files_claim(writing, ret_lock, error, error_size) : result;
}

enum troupe_error troupe__snapshot_end(const char *target, int lock, enum troupe_error result, char *error,
                                       size_t error_size)
{
    char writing[PATH_MAX], unused[64];
    if (troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, unused, sizeof unused) != TROUPE_OK) {
        close(lock);
        return result; /* Nor can it have been begun. */
    }
    if (result == TROUPE_OK && rename(writing, target)) {
        bool exists = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR;
        result = troupe__files_fail("rename", writing, error, error_size);
        if (exists) { /* Another process was quicker. */
            snprintf(error, error_size, "%s exists already: name another one", target);
            result = TROUPE_EBUSY;
        }
    } else if (result == TROUPE_OK) {
        result = sync_parent(target, error, error_size);
        if (result != TROUPE_OK) {
            troupe__files_remove(target, unused, sizeof unused); /* It might be gone after a crash. */
        }
    }
    if (result != TROUPE_OK) {
        troupe__files_remove(writing, unused, sizeof unused);
    }
    close(lock);
    return result;
}

/* What an earlier deletion of one with that name has left. */
static enum troupe_error clear_away(const char *going, char *error, size_t error_size)
{
    if (access(going, F_OK)) {
        return TROUPE_OK;
    }
    enum troupe_error result = troupe__files_remove_dead(going, error, error_size);
    return result == TROUPE_EBUSY && access(going, F_OK) ? TROUPE_OK : result; /* Another process did. */
}

/* Renamed first, to a name of what is being made: so either all of it is there or, whatever ends this process, what a
 * `create` clears away. No part is gone before the name is. */
static enum troupe_error remove_locked(const char *path, char *error, size_t error_size)
{
    char going[PATH_MAX];
    enum troupe_error result =
        troupe__files_join(going, path, "", ".deleted" TROUPE__SNAPSHOT_WRITING, error, error_size);
    result = result == TROUPE_OK ? clear_away(going, error, error_size) : result;
    if (result == TROUPE_OK && rename(path, going)) {
        result = troupe__files_fail("remove", path, error, error_size);
    }
    result = result == TROUPE_OK ? sync_parent(path, error, error_size) : result;
    return result == TROUPE_OK ? troupe__files_remove(going, error, error_size) : result;
}

enum troupe_error troupe__snapshot_remove(const char *directory, char *error, size_t error_size)
{
    char manifest[PATH_MAX], path[PATH_MAX];
    int lock;
    size_t size = strlen(directory);
    while (size > 1 && directory[size - 1] == '/') {
        size--;
    }
    snprintf(path, sizeof path, "%.*s", (int)size, directory);
    enum troupe_error result = troupe__files_join(manifest, path, TROUPE__SNAPSHOT_MANIFEST, "", error, error_size);
    if (result == TROUPE_OK && access(manifest, F_OK)) {
        bool is_none = errno == ENOENT || errno == ENOTDIR;
        result = troupe__files_fail("remove", manifest, error, error_size);
        if (is_none) {
            snprintf(error, error_size, "%s is no snapshot: it has no manifest", path);
        }
    }
    result = result == TROUPE_OK ? troupe__files_lock(path, &lock, error, error_size) : result;
    if (result == TROUPE_EBUSY) {
        snprintf(error, error_size, "another process makes or deletes %s: wait for it", path);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    result = remove_locked(path, error, error_size);
    close(lock);
    return result;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

struct copy {
    struct troupe__part_writer *writer;
    enum troupe__table table;
    char *error;
    size_t error_size;
    bool wrote_error; /* the failure was the writer's, not the store's */
};

static enum troupe_error copy_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct copy *copy = context;
    if (copy->table == TROUPE__META && key.size >= strlen(own_prefix) &&
        memcmp(key.data, own_prefix, strlen(own_prefix)) == 0) {
        return TROUPE_OK; /* The store's own. */
    }
    enum troupe_error result = troupe__part_row(copy->writer, copy->table, key, value, copy->error, copy->error_size);
    copy->wrote_error = result != TROUPE_OK;
    return result;
}

struct source {
    troupe__scan_fn scan;
    void *of;
    const char *error;
};

static enum troupe_error write_rows(int fd, struct troupe_bytes head, const struct source *source,
                                    struct troupe__part_summary *ret, char *error, size_t error_size)
{
    struct copy copy = {.error = error, .error_size = error_size};
    enum troupe_error result = troupe__part_begin(fd, head, &copy.writer, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        copy.table = (enum troupe__table)table;
        result = source->scan(source->of, copy.table, (struct troupe_bytes){"", 0}, copy_row, &copy);
    }
    if (result != TROUPE_OK && !copy.wrote_error) {
        snprintf(error, error_size, "%s", source->error);
    }
    result = result == TROUPE_OK ? troupe__part_end(copy.writer, ret, error, error_size) : result;
    troupe__part_writer_free(copy.writer);
    return result;
}

enum troupe_error troupe__snapshot_write_part(const char *directory, const char *node, uint64_t epoch,
                                              troupe__scan_fn scan, void *source, const char *source_error,
                                              struct troupe__snapshot_part *ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__buffer head = {0};
    enum troupe_error result = troupe__snapshot_part_path(path, directory, node, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return troupe__files_fail("create", path, error, error_size);
    }
    *ret = (struct troupe__snapshot_part){.epoch = epoch};
    snprintf(ret->node, sizeof ret->node, "%s", node);
    troupe__snapshot_put(&head, "{s:s,s:s,s:u}", "what", "part", "node", node, "epoch", epoch);
    if (head.failed) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    } else {
        struct source from = {scan, source, source_error};
        result = write_rows(fd, (struct troupe_bytes){head.data, head.size}, &from, &ret->summary, error, error_size);
    }
    troupe__buffer_free(&head);
    close(fd);
    if (result != TROUPE_OK) {
        unlink(path);
    }
    return result;
}

struct troupe__snapshot_rows {
    const struct troupe__snapshot_part *part;
    struct troupe__part_reader *reader;
    int fd;
    char path[PATH_MAX];
};

enum troupe_error troupe__snapshot_open_part(const char *directory, const struct troupe__snapshot_part *part,
                                             struct troupe__snapshot_rows **ret, char *error, size_t error_size)
{
    struct troupe_bytes head;
    struct troupe__snapshot_text taken;
    const char *node = "";
    uint64_t epoch = 0;
    struct troupe__snapshot_rows *rows = calloc(1, sizeof *rows);
    if (!rows) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    rows->part = part;
    enum troupe_error result = troupe__snapshot_part_path(rows->path, directory, part->node, error, error_size);
    result = result == TROUPE_OK
                 ? troupe__snapshot_open_stream(rows->path, "part", &rows->fd, &rows->reader, &head, error, error_size)
                 : result;
    if (result == TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s is missing: use another snapshot", rows->path);
    }
    if (result != TROUPE_OK) {
        free(rows);
        return result;
    }
    if (!troupe__snapshot_get(&taken, head, "{s:s,s:u}", "node", &node, "epoch", &epoch) ||
        strcmp(node, part->node) != 0 || epoch != part->epoch) {
        result = troupe__snapshot_damaged(rows->path, "it is not the part that the manifest means", error, error_size);
        troupe__snapshot_close_part(rows);
        return result;
    }
    *ret = rows;
    return TROUPE_OK;
}

enum troupe_error troupe__snapshot_next_row(struct troupe__snapshot_rows *rows, enum troupe__table *ret_table,
                                            struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                            size_t error_size)
{
    char text[256];
    enum troupe_error result = troupe__part_next(rows->reader, ret_table, ret_key, ret_value, text, sizeof text);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s: %s", rows->path, text);
    } else if (result == TROUPE_ENOTFOUND &&
               memcmp(troupe__part_summary(rows->reader), &rows->part->summary, sizeof rows->part->summary) != 0) {
        result = troupe__snapshot_damaged(rows->path, "it does not hold what the manifest says", error, error_size);
    }
    return result;
}

void troupe__snapshot_close_part(struct troupe__snapshot_rows *rows)
{
    if (rows) {
        troupe__part_reader_free(rows->reader);
        close(rows->fd);
        free(rows);
    }
}

enum troupe_error troupe__snapshot_read_part(const char *directory, const struct troupe__snapshot_part *part,
                                             troupe__snapshot_row_fn row, void *context, char *error, size_t error_size)
{
    struct troupe__snapshot_rows *rows;
    struct troupe_bytes key, value;
    enum troupe__table table;
    enum troupe_error result = troupe__snapshot_open_part(directory, part, &rows, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    bool ended = false;
    while (result == TROUPE_OK && !ended) {
        result = troupe__snapshot_next_row(rows, &table, &key, &value, error, error_size);
        ended = result == TROUPE_ENOTFOUND;
        result = ended ? TROUPE_OK : result == TROUPE_OK && row ? row(context, table, key, value) : result;
    }
    troupe__snapshot_close_part(rows);
    return result;
}
