/* fetch.h - parts of a snapshot that nodes have at home come over the wire.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of many nodes at once, of each several pieces under way, so that neither a node's turn nor the way to it is waited
 * for. */
#ifndef TROUPE_RUNTIME_CLI_FETCH_H
#define TROUPE_RUNTIME_CLI_FETCH_H

#include <limits.h>

#include "runtime/cli/client.h"

enum { TROUPE__FETCH_WINDOW = 4 /* pieces of a part that are under way */ };

struct troupe__fetch {             /* Zero bytes but for the first two. */
    struct troupe__client *client; /* connected, to the node that has the part; nothing else is under way */
    char path[PATH_MAX];           /* of the file, which is made */
    uint64_t size, received;       /* bytes, of how many; 0: that is not known yet */
    /* fetch.c's: */
    enum { TROUPE__FETCH_WAITS, TROUPE__FETCH_GOES_ON, TROUPE__FETCH_DONE } state;
    int fd;
    uint64_t first, next, piece; /* number of its first request; where the next one begins; bytes that a node gives */
    struct {
        uint64_t number, from, size; /* of a request; size 0: none, or it is not known */
        bool under_way;
    } window[TROUPE__FETCH_WINDOW];
    int64_t heard_ms;
};

/* Called now and then meanwhile, to show how far they are. */
typedef void (*troupe__fetch_look_fn)(void *context);

/* Fetch all of these parts of the snapshot with that colour; their files are synced. Errors, with a text in `error` and
 * the one that failed in `*ret_failed`: what its node said, TROUPE_ETIMEOUT, those of writing. Files may be left then.
 */
enum troupe_error troupe__fetch_parts(struct troupe__fetch *fetches, size_t count, uint64_t colour,
                                      troupe__fetch_look_fn look, void *context, size_t *ret_failed, char *error,
                                      size_t error_size);

#endif
