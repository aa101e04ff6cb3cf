/* snapshot_pack.c - a snapshot as one stream: its parts one behind the other, the manifest last.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/snapshot_stream.h"

/* Who is told of the progress, and how many bytes have gone by. */
struct passing {
    void (*progress)(void *context, uint64_t bytes);
    void *context;
    uint64_t bytes;
};

static void pass(void *context, uint64_t bytes)
{
    struct passing *passing = context;
    passing->bytes += bytes;
    if (passing->progress) {
        passing->progress(passing->context, passing->bytes);
    }
}

static enum troupe_error send_file(const char *path, int to, struct passing *passing, char *error, size_t error_size)
{
    char text[256];
    struct troupe__part_reader *reader;
    struct troupe_bytes head;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return troupe__files_fail("open", path, error, error_size);
    }
    enum troupe_error result = troupe__part_open(fd, &reader, &head, text, sizeof text);
    if (result == TROUPE_OK) {
        result = troupe__part_copy(reader, to, pass, passing, text, sizeof text);
        troupe__part_reader_free(reader);
    }
    close(fd);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s: %s", path, text);
    }
    return result;
}

enum troupe_error troupe__snapshot_send(const char *directory, const struct troupe__snapshot *snapshot, int to,
                                        void (*progress)(void *context, uint64_t bytes), void *progress_context,
                                        char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct passing passing = {progress, progress_context, 0};
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        result = troupe__snapshot_part_path(path, directory, snapshot->parts[i].node, error, error_size);
        result = result == TROUPE_OK ? send_file(path, to, &passing, error, error_size) : result;
    }
    result = result == TROUPE_OK ? troupe__files_join(path, directory, TROUPE__SNAPSHOT_MANIFEST, "", error, error_size)
                                 : result;
    return result == TROUPE_OK ? send_file(path, to, &passing, error, error_size) : result;
}

/* The file that a stream with this head belongs in. */
static enum troupe_error path_for(struct troupe_bytes head, const char *directory, char path[static PATH_MAX],
                                  bool *ret_last, char *error, size_t error_size)
{
    struct troupe__snapshot_text texts;
    const char *what = "", *node = "";
    if (!troupe__snapshot_get(&texts, head, "{s:s}", "what", &what)) {
        what = "";
    }
    *ret_last = strcmp(what, "manifest") == 0;
    if (*ret_last) {
        return troupe__files_join(path, directory, TROUPE__SNAPSHOT_MANIFEST, "", error, error_size);
    }
    struct troupe__snapshot_text more;
    if (strcmp(what, "part") != 0 || !troupe__snapshot_get(&more, head, "{s:s}", "node", &node) ||
        !troupe__snapshot_name_valid(node)) {
        snprintf(error, error_size, "a stream in it is neither a part nor a manifest: use another snapshot");
        return TROUPE_ECORRUPT;
    }
    return troupe__snapshot_part_path(path, directory, node, error, error_size);
}

static enum troupe_error receive_one(int from, const char *directory, struct passing *passing, bool *ret_last,
                                     char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__part_reader *reader;
    struct troupe_bytes head;
    enum troupe_error result = troupe__part_open(from, &reader, &head, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = path_for(head, directory, path, ret_last, error, error_size);
    int fd = result == TROUPE_OK ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (result == TROUPE_OK && fd < 0) {
        result = troupe__files_fail("create", path, error, error_size);
    }
    result = result == TROUPE_OK ? troupe__part_copy(reader, fd, pass, passing, error, error_size) : result;
    if (fd >= 0) {
        close(fd);
    }
    troupe__part_reader_free(reader);
    return result;
}

enum troupe_error troupe__snapshot_receive(int from, const char *target,
                                           void (*progress)(void *context, uint64_t bytes), void *progress_context,
                                           char *error, size_t error_size)
{
    char writing[PATH_MAX];
    struct passing passing = {progress, progress_context, 0};
    int lock;
    bool last = false;
    enum troupe_error result = troupe__files_join(writing, target, "", TROUPE__SNAPSHOT_WRITING, error, error_size);
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, &lock, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    while (result == TROUPE_OK && !last) {
        result = receive_one(from, writing, &passing, &last, error, error_size);
    }
    return troupe__snapshot_end(target, lock, result, error, error_size);
}
