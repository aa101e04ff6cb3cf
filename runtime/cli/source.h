/* source.h - the snapshot that a command is given: a directory, a stream, or a moment of the past.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_SOURCE_H
#define TROUPE_RUNTIME_CLI_SOURCE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/troupe.h"

struct troupe__source {
    char path[PATH_MAX];   /* of the snapshot's directory */
    bool temporary;        /* it was made for the command */
    char around[PATH_MAX]; /* a directory made for it, "" for none */
};

/* `operand` is a directory as it is, else a stream: "-" is the standard input, or a file. A stream is unpacked to the
 * new directory `scratch`, NULL: to one for temporary files; a terminal is shown how far that is, for `command`.
 * Errors, each with a text. */
enum troupe_error troupe__source_open(const char *command, const char *operand, const char *scratch,
                                      struct troupe__source *ret, char *error, size_t error_size);

/* The cut at or before a time, of what lives in `from`; made in `scratch`. Errors, each with a text. */
enum troupe_error troupe__source_rewind(const char *from, int64_t at_ms, const char *scratch,
                                        struct troupe__source *ret, char *error, size_t error_size);

/* Remove what was made. */
void troupe__source_close(struct troupe__source *source);

#endif
