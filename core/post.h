/* post.h - messages that were just sent, on the way to their receivers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Strictly first in, first out. Its only purpose is that the receivers of several messages are looked up at a time, see
 * troupe__actors_seek: among ten million actors that makes a node faster by more than half. What it takes to fetch from
 * far away is begun for a group of letters at once, not for each as it comes: a processor goes on while it waits for
 * some hundred instructions only, fewer than a delivery has, and so would wait for one page's address at a time. Who
 * sends on another way than through the post, or looks at what waits, empties it first. */
#ifndef TROUPE_CORE_POST_H
#define TROUPE_CORE_POST_H

#include "core/message.h"

enum {
    TROUPE__POST_SIZE = 16,
    TROUPE__POST_GROUP = 4 /* letters that are sought together */
};

struct troupe__letter {
    struct troupe__message *message; /* owned */
    struct troupe__seek to;          /* leads to its receiver, if it has none yet */
    char key[TROUPE_KEY_MAX + 1];
};

struct troupe__post { /* Zero bytes are an empty one. */
    struct troupe__letter letters[TROUPE__POST_SIZE];
    uint32_t taken, put; /* since ever */
};

static inline bool troupe__post_empty(const struct troupe__post *post)
{
    return post->put == post->taken;
}

static inline bool troupe__post_full(const struct troupe__post *post)
{
    return post->put - post->taken == TROUPE__POST_SIZE;
}

/* Put in a message, which is the post's from now on; it must not be full. `to` is copied. */
void troupe__post_put(struct troupe__post *post, struct troupe__actors *actors, struct troupe__message *message,
                      const struct troupe__seek *to);

/* Take out the oldest, which has its receiver then. NULL when out of memory: it stays. Must not be empty. */
struct troupe__message *troupe__post_take(struct troupe__post *post, struct troupe__actors *actors);

/* Free what is in it. */
void troupe__post_fini(struct troupe__post *post);

#endif
