/* input.c - lines from a file or a stream, with the position they end at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/input.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 18, TRACE_SIZE = 1024 };

enum troupe_error troupe__input_open(struct troupe__input *input, const char *path, char *error, size_t error_size)
{
    *input = (struct troupe__input){.fd = -1};
    if (strcmp(path, "-") == 0) {
        snprintf(input->path, sizeof input->path, "-");
        input->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    } else {
        char *absolute = realpath(path, NULL);
        if (absolute && strlen(absolute) < sizeof input->path) {
            strcpy(input->path, absolute);
            input->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* A pipe would wait for who writes to it. */
        }
        free(absolute);
    }
    struct stat info;
    if (input->fd < 0 || fstat(input->fd, &info) != 0) {
        snprintf(error, error_size, "input %s: %s", path, strerror(errno));
        troupe__input_close(input);
        return TROUPE_EIO;
    }
    if (S_ISDIR(info.st_mode)) {
        snprintf(error, error_size, "input %s: is a directory; name a file of JSON lines", path);
        troupe__input_close(input);
        return TROUPE_EIO;
    }
    /* Standard input has no name to remember a position by. */
    input->regular = S_ISREG(info.st_mode) && strcmp(path, "-") != 0;
    input->awaits_writer = S_ISFIFO(info.st_mode) && strcmp(path, "-") != 0;
    if (!input->regular) {
        fcntl(input->fd, F_SETFL, fcntl(input->fd, F_GETFL) | O_NONBLOCK);
    }
    if (!troupe__buffer_reserve(&input->buffer, READ_SIZE)) { /* From here on `data` is never NULL. */
        snprintf(error, error_size, "input %s: out of memory", path);
        troupe__input_close(input);
        return TROUPE_ENOMEM;
    }
    return TROUPE_OK;
}

void troupe__input_close(struct troupe__input *input)
{
    if (input->fd >= 0) {
        close(input->fd);
    }
    input->fd = -1;
    troupe__buffer_free(&input->buffer);
}

enum troupe_error troupe__input_trace(struct troupe__input *input, uint64_t *ret, char *error, size_t error_size)
{
    unsigned char bytes[TRACE_SIZE];
    size_t size = input->offset < TRACE_SIZE ? (size_t)input->offset : TRACE_SIZE, done = 0;
    assert(input->regular);
    while (input->fd >= 0 && done < size) {
        ssize_t now = pread(input->fd, bytes + done, size - done, (off_t)(input->offset - size + done));
        if (now < 0 && errno == EINTR) {
            continue;
        }
        if (now <= 0) {
            snprintf(error, error_size, "input %s: %s", input->path, now < 0 ? strerror(errno) : "it was cut off");
            return TROUPE_EIO;
        }
        done += (size_t)now;
    }
    if (input->fd >= 0) {
        uint64_t hash = troupe__hash(bytes, size);
        input->trace = hash ? hash : 1;
    }
    *ret = input->trace;
    return TROUPE_OK;
}

enum troupe_error troupe__input_seek(struct troupe__input *input, uint64_t offset, uint64_t line, uint64_t trace,
                                     char *error, size_t error_size)
{
    struct stat info;
    uint64_t found;
    assert(input->regular && input->buffer.size == 0);
    if (fstat(input->fd, &info) != 0 || (uint64_t)info.st_size < offset) {
        snprintf(error, error_size,
                 "input %s: is shorter than the %llu bytes taken from it before; put the old file back, or give new "
                 "records under another name",
                 input->path, (unsigned long long)offset);
        return TROUPE_EINVAL;
    }
    if (lseek(input->fd, (off_t)offset, SEEK_SET) < 0) {
        snprintf(error, error_size, "input %s: %s", input->path, strerror(errno));
        return TROUPE_EIO;
    }
    input->offset = offset;
    input->line = line;
    enum troupe_error result = trace ? troupe__input_trace(input, &found, error, error_size) : TROUPE_OK;
    if (result == TROUPE_OK && trace && found != trace) {
        snprintf(error, error_size,
                 "input %s: is not the file that %llu bytes were taken from before: what stands there has changed; put "
                 "the old file back, or give new records under another name",
                 input->path, (unsigned long long)offset);
        return TROUPE_EINVAL;
    }
    return result;
}

/* Whether who reads nothing from a named pipe does so because nobody has opened it yet. */
static bool may_begin_yet(const struct troupe__input *input)
{
    struct pollfd look = {input->fd, POLLIN, 0};
    return input->awaits_writer && poll(&look, 1, 0) >= 0 && (look.revents & (POLLHUP | POLLIN)) != POLLHUP;
}

/* Read more behind what the buffer holds. TROUPE_ENOTFOUND: nothing now. */
static enum troupe_error read_more(struct troupe__input *input, char *error, size_t error_size)
{
    struct troupe__buffer *buffer = &input->buffer;
    if (input->taken > 0) {
        memmove(buffer->data, buffer->data + input->taken, buffer->size - input->taken);
    }
    buffer->size -= input->taken;
    input->searched -= input->taken;
    input->taken = 0;
    if (!troupe__buffer_reserve(buffer, READ_SIZE)) {
        snprintf(error, error_size, "input %s: out of memory", input->path);
        return TROUPE_ENOMEM;
    }
    for (;;) {
        ssize_t size = read(input->fd, buffer->data + buffer->size, READ_SIZE);
        if (size > 0) {
            buffer->size += (size_t)size;
            input->awaits_writer = false;
            return TROUPE_OK;
        }
        if (size == 0) {
            input->ended = !may_begin_yet(input);
            return TROUPE_ENOTFOUND;
        }
        if (errno == EAGAIN) {
            return TROUPE_ENOTFOUND;
        }
        if (errno != EINTR) {
            snprintf(error, error_size, "input %s: at byte %llu: %s", input->path, (unsigned long long)input->offset,
                     strerror(errno));
            return TROUPE_EIO;
        }
    }
}

enum troupe_error troupe__input_next(struct troupe__input *input, struct troupe_bytes *ret, char *error,
                                     size_t error_size)
{
    struct troupe__buffer *buffer = &input->buffer;
    for (;;) {
        unsigned char *start = buffer->data + input->taken;
        unsigned char *from = buffer->data + input->searched;
        unsigned char *end = buffer->size > input->searched ? memchr(from, '\n', buffer->size - input->searched) : NULL;
        if (!end && input->ended && buffer->size > input->taken) {
            end = buffer->data + buffer->size; /* The last line needs no line end. */
        }
        if (end) {
            size_t size = (size_t)(end - start);
            size_t with_end = size + (end < buffer->data + buffer->size ? 1 : 0);
            input->taken += with_end;
            input->searched = input->taken;
            input->offset += with_end;
            input->line++;
            input->endless = with_end > size ? 0 : size;
            *ret = (struct troupe_bytes){start, size};
            if (size > TROUPE__LINE_SIZE_MAX) {
                ret->size = 200;
                snprintf(error, error_size, "line of %zu bytes, over the limit of %d", size, TROUPE__LINE_SIZE_MAX);
                return TROUPE_ETOOBIG;
            }
            return TROUPE_OK;
        }
        input->searched = buffer->size;
        if (input->ended) {
            return TROUPE_ENOTFOUND;
        }
        enum troupe_error result = read_more(input, error, error_size);
        if (result != TROUPE_OK && !(result == TROUPE_ENOTFOUND && input->ended)) {
            return result;
        }
    }
}

bool troupe__input_put_back(struct troupe__input *input)
{
    size_t size = input->endless;
    if (!input->regular || size == 0) {
        return false;
    }
    assert(input->ended && input->taken == input->buffer.size);
    input->offset -= size;
    input->line--;
    input->endless = 0;
    return true;
}
