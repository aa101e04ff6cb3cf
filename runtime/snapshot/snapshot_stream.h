/* snapshot_stream.h - what manifest and parts have in common: streams with a head, and maps in them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_STREAM_H
#define TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_STREAM_H

#include <limits.h>

#include "core/buffer.h"
#include "runtime/snapshot/snapshot.h"

#define TROUPE__SNAPSHOT_MANIFEST "manifest"
#define TROUPE__SNAPSHOT_MANIFEST_NEW TROUPE__SNAPSHOT_MANIFEST ".new" /* until it is durable */

/* Of the part of `node`. Errors: TROUPE_EINVAL (too long). */
enum troupe_error troupe__snapshot_part_path(char path[static PATH_MAX], const char *directory, const char *node,
                                             char *error, size_t error_size);

/* Append by a format of troupe_pack; sizes and formats are ours. */
void troupe__snapshot_put(struct troupe__buffer *buffer, const char *format, ...);

/* Strings that were read out of a map: copied into `text`, one behind the other. */
struct troupe__snapshot_text {
    char text[256];
    size_t size;
};

/* Read by a format of troupe_unpack; false if `body` does not match it. */
bool troupe__snapshot_get(struct troupe__snapshot_text *taken, struct troupe_bytes body, const char *format, ...);

/* TROUPE_ECORRUPT, with a text. */
enum troupe_error troupe__snapshot_damaged(const char *path, const char *what, char *error, size_t error_size);

/* Open a stream of the kind `what`; `*ret_fd` and the reader are to be closed on TROUPE_OK. Errors, each with a text:
 * TROUPE_ENOTFOUND, and those of part.h. */
enum troupe_error troupe__snapshot_open_stream(const char *path, const char *what, int *ret_fd,
                                               struct troupe__part_reader **ret_reader, struct troupe_bytes *ret_head,
                                               char *error, size_t error_size);

#endif
