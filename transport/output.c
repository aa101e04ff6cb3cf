/* output.c - egress records as JSON lines, appended to a file or a stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/json.h"

/* Of an absolute path. A directory that this user may write but not read cannot be synced; then nothing is done. */
static bool sync_directory(const char *path)
{
    char directory[PATH_MAX];
    size_t size = (size_t)(strrchr(path, '/') - path);
    memcpy(directory, path, size);
    strcpy(directory + size, "/.");
    int fd = open(directory, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES;
    }
    bool good = fsync(fd) == 0 || errno == EINVAL; /* EINVAL: not something that this file system does. */
    close(fd);
    return good;
}

enum troupe_error troupe__output_open(struct troupe__output *output, const char *path, char *error, size_t error_size)
{
    *output = (struct troupe__output){.fd = -1, .lock_fd = -1};
    struct stat info;
    if (strcmp(path, "-") == 0) {
        strcpy(output->path, "-");
        output->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    } else {
        output->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        char *absolute = output->fd >= 0 ? realpath(path, NULL) : NULL;
        if (absolute && strlen(absolute) < sizeof output->path) {
            strcpy(output->path, absolute);
        }
        free(absolute);
    }
    if (output->fd < 0 || !output->path[0] || fstat(output->fd, &info) != 0) {
        snprintf(error, error_size, "output %s: %s", path, strerror(errno));
        troupe__output_close(output);
        return TROUPE_EIO;
    }
    /* A standard output that was redirected to a file may be shared: treated as a stream. */
    output->regular = S_ISREG(info.st_mode) && strcmp(path, "-") != 0;
    output->size = output->regular ? (uint64_t)info.st_size : 0;
    /* A file system that has no locks goes without. */
    if (output->regular && flock(output->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        snprintf(error, error_size, "output %s: another process writes to it: a node needs a file of its own", path);
        troupe__output_close(output);
        return TROUPE_EBUSY;
    }
    /* Records are forgotten once their lines are synced: by then the file must be found under its name. */
    if (output->regular && output->size == 0 && !sync_directory(output->path)) {
        snprintf(error, error_size, "output %s: sync the directory it is in: %s", path, strerror(errno));
        troupe__output_close(output);
        return TROUPE_EIO;
    }
    return TROUPE_OK;
}

void troupe__output_close(struct troupe__output *output)
{
    if (output->fd >= 0) {
        close(output->fd);
    }
    if (output->lock_fd >= 0) {
        close(output->lock_fd);
    }
    output->fd = output->lock_fd = -1;
    troupe__buffer_free(&output->lines);
}

enum troupe_error troupe__output_share(struct troupe__output *output, const char *lock, const char *node, char *error,
                                       size_t error_size)
{
    if (output->regular) {
        return TROUPE_OK;
    }
    output->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (output->lock_fd < 0) {
        snprintf(error, error_size, "output %s: %s: %s", output->path, lock, strerror(errno));
        return TROUPE_EIO;
    }
    output->node = node;
    return TROUPE_OK;
}

static inline void put_text(struct troupe__buffer *lines, const char *text)
{
    troupe__buffer_put(lines, text, strlen(text));
}

enum troupe_error troupe__output_add(struct troupe__output *output, struct troupe_bytes egress, uint64_t sequence,
                                     struct troupe_bytes key, struct troupe_bytes body)
{
    struct troupe__buffer *lines = &output->lines;
    put_text(lines, "{");
    if (output->node) {
        put_text(lines, "\"node\":");
        troupe__json_write_string(output->node, strlen(output->node), lines);
        put_text(lines, ",");
    }
    put_text(lines, "\"egress\":");
    troupe__json_write_string(egress.data, egress.size, lines);
    put_text(lines, ",\"seq\":");
    troupe__json_write_number(sequence, lines);
    put_text(lines, ",\"key\":");
    troupe__json_write_string(key.data, key.size, lines);
    put_text(lines, ",\"body\":");
    size_t at = lines->size;
    enum troupe_error result = TROUPE_OK;
    if (body.size == 0) {
        put_text(lines, "null");
    } else {
        result = troupe__json_write(body, lines);
        if (result == TROUPE_ECORRUPT) {
            /* Not msgpack: wrapped as bin, which always can be written. */
            struct troupe__buffer wrapped = {0};
            unsigned char head[5] = {0xc6, (unsigned char)(body.size >> 24), (unsigned char)(body.size >> 16),
                                     (unsigned char)(body.size >> 8), (unsigned char)body.size};
            troupe__buffer_put(&wrapped, head, sizeof head);
            troupe__buffer_put(&wrapped, body.data, body.size);
            lines->size = at;
            if (wrapped.failed ||
                troupe__json_write((struct troupe_bytes){wrapped.data, wrapped.size}, lines) != TROUPE_OK) {
                result = TROUPE_ENOMEM;
            }
            troupe__buffer_free(&wrapped);
        }
    }
    put_text(lines, "}\n");
    return lines->failed ? TROUPE_ENOMEM : result;
}

/* Whether `size` bytes that stand in the file were to be `wanted`, of which some may not have reached the disk. */
static bool was_written(const unsigned char *bytes, size_t size, const unsigned char *wanted)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != wanted[i] && bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

enum troupe_error troupe__output_check_rest(struct troupe__output *output, char *error, size_t error_size)
{
    uint64_t rest = output->size > output->offset ? output->size - output->offset : 0;
    if (!output->regular || rest == 0) {
        return TROUPE_OK;
    }
    int fd = open(output->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM)) {
        return TROUPE_OK; /* Who may only write there is believed. */
    }
    bool own = rest <= output->lines.size, failed = fd < 0;
    for (size_t done = 0; own && !failed && done < rest;) {
        unsigned char bytes[4096];
        size_t left = (size_t)rest - done;
        ssize_t size = pread(fd, bytes, left < sizeof bytes ? left : sizeof bytes, (off_t)(output->offset + done));
        if (size > 0) {
            own = was_written(bytes, (size_t)size, output->lines.data + done);
            done += (size_t)size;
        } else if (size == 0 || errno != EINTR) {
            errno = size == 0 ? EIO : errno; /* It has become shorter. */
            failed = true;
        }
    }
    if (failed) {
        snprintf(error, error_size, "output %s: read what stands behind the %llu bytes that are this node's: %s",
                 output->path, (unsigned long long)output->offset, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    if (failed) {
        return TROUPE_EIO;
    }
    if (!own) {
        snprintf(
            error, error_size,
            "output %s: behind the %llu bytes that this node has written stand others: somebody else writes there, "
            "or an older copy of its directory was put back: move the file away, or name another; if nobody needs "
            "them, truncate -s %llu it",
            output->path, (unsigned long long)output->offset, (unsigned long long)output->offset);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

static enum troupe_error write_all(struct troupe__output *output, const unsigned char *from, size_t left, char *error,
                                   size_t error_size)
{
    while (left > 0) {
        ssize_t size =
            output->regular ? pwrite(output->fd, from, left, (off_t)output->offset) : write(output->fd, from, left);
        if (size > 0) {
            from += size;
            left -= (size_t)size;
            output->offset += (size_t)size;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){output->fd, POLLOUT, 0}, 1, -1);
        } else if (errno != EINTR) {
            snprintf(error, error_size,
                     "output %s: %s; the records are safe in the data directory and come out at the next start",
                     output->path, strerror(errno));
            return errno == ENOSPC || errno == EDQUOT ? TROUPE_ENOSPACE : TROUPE_EIO;
        }
    }
    return TROUPE_OK;
}

/* Under the lock, whose file says whether somebody is in the middle of lines: who was, and was killed there, may have
 * left half a line, which is ended first. */
static enum troupe_error write_in_turn(struct troupe__output *output, char *error, size_t error_size)
{
    static const char in_the_middle = '1', at_an_end = '0';
    char before = at_an_end;
    enum troupe_error result = TROUPE_OK;
    if (pread(output->lock_fd, &before, 1, 0) < 0 || pwrite(output->lock_fd, &in_the_middle, 1, 0) != 1) {
        snprintf(error, error_size, "output %s: the file of its lock: %s", output->path, strerror(errno));
        return TROUPE_EIO;
    }
    if (before == in_the_middle) {
        result = write_all(output, (const unsigned char *)"\n", 1, error, error_size);
    }
    result =
        result == TROUPE_OK ? write_all(output, output->lines.data, output->lines.size, error, error_size) : result;
    if (result == TROUPE_OK) {
        (void)!pwrite(output->lock_fd, &at_an_end, 1, 0); /* If that fails the next one begins with an empty line. */
    }
    return result;
}

enum troupe_error troupe__output_write(struct troupe__output *output, char *error, size_t error_size)
{
    enum troupe_error result;
    if (output->lines.size == 0) {
        return TROUPE_OK;
    }
    if (output->lock_fd < 0) {
        result = write_all(output, output->lines.data, output->lines.size, error, error_size);
    } else {
        while (flock(output->lock_fd, LOCK_EX) != 0 && errno == EINTR) {
        }
        result = write_in_turn(output, error, error_size);
        flock(output->lock_fd, LOCK_UN);
    }
    if (result == TROUPE_OK) {
        output->lines.size = 0;
    }
    return result;
}

enum troupe_error troupe__output_sync(struct troupe__output *output, char *error, size_t error_size)
{
    if (!output->regular) {
        return TROUPE_OK;
    }
    if (output->size > output->offset) {
        if (ftruncate(output->fd, (off_t)output->offset) != 0) {
            snprintf(error, error_size, "output %s: %s", output->path, strerror(errno));
            return TROUPE_EIO;
        }
        output->size = 0;
    }
    if (fdatasync(output->fd) != 0) {
        snprintf(error, error_size, "output %s: sync: %s", output->path, strerror(errno));
        return TROUPE_EIO;
    }
    return TROUPE_OK;
}
