/* source.c - the snapshot that a command is given: a directory, a stream, or a moment of the past.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/source.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cuts.h"
#include "runtime/cli/progress.h"
#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"

static enum troupe_error make_around(struct troupe__source *source, char *error, size_t error_size)
{
    const char *directory = getenv("TMPDIR");
    snprintf(source->around, sizeof source->around, "%.3900s/troupe-snapshot.XXXXXX", directory ? directory : "/tmp");
    if (!mkdtemp(source->around)) {
        enum troupe_error result = troupe__files_fail("create", source->around, error, error_size);
        source->around[0] = '\0';
        return result;
    }
    snprintf(source->path, sizeof source->path, "%.4000s/snapshot", source->around);
    return TROUPE_OK;
}

enum troupe_error troupe__source_open(const char *command, const char *operand, const char *scratch,
                                      struct troupe__source *ret, char *error, size_t error_size)
{
    struct troupe__progress_rows shown = {{.command = command}, "unpacking", 0};
    struct troupe__source source = {.temporary = false};
    struct stat status;
    bool piped = strcmp(operand, "-") == 0;
    if (!piped &&
        (stat(operand, &status) || S_ISDIR(status.st_mode))) { /* What is not there is told when it is read. */
        snprintf(source.path, sizeof source.path, "%s", operand);
        *ret = source;
        return TROUPE_OK;
    }
    int fd = piped ? STDIN_FILENO : open(operand, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return troupe__files_fail("open", operand, error, error_size);
    }
    enum troupe_error result = TROUPE_OK;
    if (scratch) {
        snprintf(source.path, sizeof source.path, "%s", scratch);
    } else {
        result = make_around(&source, error, error_size);
    }
    source.temporary = true;
    if (result == TROUPE_OK) {
        result = troupe__snapshot_receive(fd, source.path, troupe__progress_bytes, &shown, error, error_size);
        troupe__progress_end(&shown.progress);
    }
    if (!piped) {
        close(fd);
    }
    if (result != TROUPE_OK) {
        char text[512];
        snprintf(text, sizeof text, "%s", error);
        snprintf(error, error_size, "%s: %s", piped ? "the standard input" : operand, text);
        troupe__source_close(&source);
        return result;
    }
    *ret = source;
    return TROUPE_OK;
}

enum troupe_error troupe__source_rewind(const char *from, int64_t at_ms, const char *scratch,
                                        struct troupe__source *ret, char *error, size_t error_size)
{
    struct troupe__source source = {.temporary = true};
    snprintf(source.path, sizeof source.path, "%s", scratch);
    enum troupe_error result = troupe__cuts_rewind(from, at_ms, source.path, error, error_size);
    if (result == TROUPE_OK) {
        *ret = source;
    }
    return result;
}

void troupe__source_close(struct troupe__source *source)
{
    char unused[512];
    if (source->temporary) {
        (void)troupe__files_remove(source->path, unused, sizeof unused);
    }
    if (source->around[0]) {
        rmdir(source->around);
    }
}
