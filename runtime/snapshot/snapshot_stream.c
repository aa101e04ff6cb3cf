/* snapshot_stream.c - what manifest and parts have in common: streams with a head, and maps in them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/snapshot_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/files.h"

enum troupe_error troupe__snapshot_part_path(char path[static PATH_MAX], const char *directory, const char *node,
                                             char *error, size_t error_size)
{
    char file[TROUPE__SNAPSHOT_NAME_MAX + 16];
    snprintf(file, sizeof file, "node-%s", node);
    return troupe__files_join(path, directory, file, ".part", error, error_size);
}

void troupe__snapshot_put(struct troupe__buffer *buffer, const char *format, ...)
{
    va_list args;
    char text[160];
    va_start(args, format);
    if (troupe__pack(buffer, format, &args, text, sizeof text) != TROUPE_OK) {
        buffer->failed = true;
    }
    va_end(args);
}

static char *copy_text(void *context, const void *data, size_t size)
{
    struct troupe__snapshot_text *taken = context;
    return troupe__copy_into(taken->text, sizeof taken->text, &taken->size, data, size);
}

bool troupe__snapshot_get(struct troupe__snapshot_text *taken, struct troupe_bytes body, const char *format, ...)
{
    va_list args;
    char text[160];
    *taken = (struct troupe__snapshot_text){.size = 0};
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_text, taken, text, sizeof text);
    va_end(args);
    return result == TROUPE_OK;
}

enum troupe_error troupe__snapshot_damaged(const char *path, const char *what, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: %s: use another snapshot", path, what);
    return TROUPE_ECORRUPT;
}

enum troupe_error troupe__snapshot_open_stream(const char *path, const char *what, int *ret_fd,
                                               struct troupe__part_reader **ret_reader, struct troupe_bytes *ret_head,
                                               char *error, size_t error_size)
{
    struct troupe__snapshot_text taken;
    const char *is = "";
    char text[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return troupe__files_fail("open", path, error, error_size);
    }
    enum troupe_error result = troupe__part_open(fd, ret_reader, ret_head, text, sizeof text);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s: %s", path, text);
        close(fd);
        return result;
    }
    if (!troupe__snapshot_get(&taken, *ret_head, "{s:s}", "what", &is) || strcmp(is, what) != 0) {
        troupe__part_reader_free(*ret_reader);
        close(fd);
        return troupe__snapshot_damaged(path, "its head does not say what it should", error, error_size);
    }
    *ret_fd = fd;
    return TROUPE_OK;
}
