/* segment.h - records that wait in memory, one behind the other: a list of pieces, each of which grows where it is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Hundreds of megabytes may come to one. A buffer that is copied when it grows makes the commit that meets that wait
 * for tens of milliseconds, and its thread takes a core for as long. So addresses are reserved for all that a segment
 * may ever hold, and memory is had as it is needed. Not thread-safe. */
#ifndef TROUPE_STATE_SEGMENT_H
#define TROUPE_STATE_SEGMENT_H

#include "core/buffer.h"

struct troupe__segment {
    struct troupe__segment *next;
    struct troupe__buffer entries; /* `data` is not from malloc: it grows and is freed by these functions only */
    size_t span;                   /* bytes of addresses */
};

/* An empty one that may come to `most` bytes without being moved; NULL when out of memory. */
struct troupe__segment *troupe__segment_new(size_t most);

/* Make room for `more` bytes. When they were not foreseen, or addresses are short, it is copied after all. Returns
 * false when out of memory. */
bool troupe__segment_reserve(struct troupe__segment *segment, size_t more);

/* Free a list of them. Takes its time if they are large. */
void troupe__segment_free(struct troupe__segment *segment);

#endif
