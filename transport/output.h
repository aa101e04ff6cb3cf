/* output.h - egress records as JSON lines, appended to a file or a stream.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Used on the committer's thread once the node runs. */
#ifndef TROUPE_TRANSPORT_OUTPUT_H
#define TROUPE_TRANSPORT_OUTPUT_H

#include "core/buffer.h"
#include "core/troupe.h"

struct troupe__output {
    int fd;
    bool regular;
    uint64_t offset; /* where the next byte goes, of a regular file */
    uint64_t size;   /* of the file when it was opened */
    char path[4096]; /* absolute */
    int lock_fd;     /* of a stream that other nodes write to as well, see troupe__output_share; -1: it is this one's */
    const char *node;
    struct troupe__buffer lines;
};

/* Open or create `path` ("-": standard output). Errors: TROUPE_EBUSY (another process has it open), TROUPE_EIO, each
 * with a text. */
enum troupe_error troupe__output_open(struct troupe__output *output, const char *path, char *error, size_t error_size);
void troupe__output_close(struct troupe__output *output);

/* Of a stream that several nodes of this machine write to: whole lines at a time, while the file `lock` is locked, each
 * with the name of its node, which numbers its own records. That file also says whether somebody was in the middle of a
 * line: when a node was killed there, half a line is ended before the next one's. It must be empty, or gone, when the
 * first node opens the stream. `node` must outlive the output. A file is never shared. Errors: TROUPE_EIO with a text.
 */
enum troupe_error troupe__output_share(struct troupe__output *output, const char *lock, const char *node, char *error,
                                       size_t error_size);

/* Append a record's line to `lines`; it reaches the file with the next write. Errors: TROUPE_ECORRUPT (the body is not
 * msgpack: it goes out as {"$bin":...}, nothing is lost), TROUPE_ENOMEM. */
enum troupe_error troupe__output_add(struct troupe__output *output, struct troupe_bytes egress, uint64_t sequence,
                                     struct troupe_bytes key, struct troupe_bytes body);

/* At a start, with `offset` set and all that is to be repeated in `lines`: whether what stands behind `offset`, and
 * will be overwritten, is the beginning of that. Errors, with a text: TROUPE_EINVAL: it is somebody else's; TROUPE_EIO:
 * it cannot be read. */
enum troupe_error troupe__output_check_rest(struct troupe__output *output, char *error, size_t error_size);

/* Write `lines` out. Errors: TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__output_write(struct troupe__output *output, char *error, size_t error_size);

/* Make what was written durable, and cut off what stands behind it of a file whose rest was not checked. */
enum troupe_error troupe__output_sync(struct troupe__output *output, char *error, size_t error_size);

#endif
