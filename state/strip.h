/* strip.h - changes of rows whose numbers nearly follow each other, as those of mail do: a number is a place in a list.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where a table of hashes would miss the caches once or twice for each change, a strip is walked along. It begins with
 * the first number that it is given and takes what lies behind, as long as an eighth of its places or so are in use.
 * When more would stay empty it grows no more, and the rest is not its own. Not thread-safe. */
#ifndef TROUPE_STATE_STRIP_H
#define TROUPE_STATE_STRIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct troupe__strip { /* Zero bytes are an empty one. */
    const unsigned char **places;
    uint64_t first; /* the number of place 0, once there is one */
    size_t size, capacity;
    size_t count; /* of places that are not NULL */
    size_t put_count;
    bool begun, ended; /* ended: it grows no more */
};

/* Forget all; memory for more than `kept` places is given back. */
void troupe__strip_clear(struct troupe__strip *strip, size_t kept);

/* Whether a change of this number would probably be taken. */
static inline bool troupe__strip_covers(const struct troupe__strip *strip, uint64_t number)
{
    return !strip->begun || (number >= strip->first && (!strip->ended || number - strip->first < strip->size));
}

/* The last change of `number` is `at`, or NULL: there is none any more. Returns false if the number is not the strip's
 * own: then it never was, and never will be until it is cleared. */
bool troupe__strip_put(struct troupe__strip *strip, uint64_t number, const unsigned char *at);

#endif
