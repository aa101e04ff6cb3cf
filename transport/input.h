/* input.h - lines from a file or a stream, with the position they end at.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TRANSPORT_INPUT_H
#define TROUPE_TRANSPORT_INPUT_H

#include "core/buffer.h"
#include "core/troupe.h"

enum { TROUPE__LINE_SIZE_MAX = 4 * TROUPE_BODY_MAX }; /* a body as JSON can be longer than as msgpack */

struct troupe__input {
    int fd;
    bool regular; /* a file with positions; otherwise a stream */
    bool ended;
    bool awaits_writer;    /* a named pipe that nobody has written to yet */
    uint64_t offset, line; /* behind the last line taken, and its number */
    char path[4096];       /* absolute */
    struct troupe__buffer buffer;
    size_t taken;    /* bytes of the buffer behind us */
    size_t searched; /* bytes of the buffer known to hold no further line end */
    size_t endless;  /* bytes of the line taken last, if it had no end */
    uint64_t trace;  /* the last one */
};

/* Open `path` ("-": standard input). Errors: TROUPE_EIO with a text. */
enum troupe_error troupe__input_open(struct troupe__input *input, const char *path, char *error, size_t error_size);
void troupe__input_close(struct troupe__input *input);

/* A hash of the last bytes in front of the position, to know the file again by; never 0. Only of a file; of a
 * closed one the last that was asked for. Errors: TROUPE_EIO with a text. */
enum troupe_error troupe__input_trace(struct troupe__input *input, uint64_t *ret, char *error, size_t error_size);

/* Go on behind `offset`, where `trace` (0: not known) was taken. Errors: TROUPE_EINVAL when the file is shorter, or has
 * something else in front of it: it was not appended to but written anew. TROUPE_EIO. */
enum troupe_error troupe__input_seek(struct troupe__input *input, uint64_t offset, uint64_t line, uint64_t trace,
                                     char *error, size_t error_size);

/* Take the next line, without its end; valid until the next call. Errors: TROUPE_ENOTFOUND (no whole line yet, or
 * `ended`: see there), TROUPE_ETOOBIG (the line was skipped; `*ret` holds its beginning), TROUPE_EIO, TROUPE_ENOMEM. */
enum troupe_error troupe__input_next(struct troupe__input *input, struct troupe_bytes *ret, char *error,
                                     size_t error_size);

/* Whether the line taken last was the last one of a file and had no end: whoever writes it may not be done yet. It is
 * put back then, for the next opening; now nothing more is taken. */
bool troupe__input_put_back(struct troupe__input *input);

#endif
