/* post.c - messages that were just sent, on the way to their receivers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/post.h"

#include <assert.h>

static struct troupe__letter *letter_of(struct troupe__post *post, uint32_t number)
{
    return &post->letters[number % TROUPE__POST_SIZE];
}

/* A group is complete: for its letters begin to fetch where they will be looked up, and for those of the group before,
 * for which that is there by now, their actors. */
static void approach(struct troupe__post *post, const struct troupe__actors *actors)
{
    uint32_t count = post->put - post->taken, left = count < 2 * TROUPE__POST_GROUP ? count : 2 * TROUPE__POST_GROUP;
    for (; left > 0; left--) {
        const struct troupe__letter *letter = letter_of(post, post->put - left);
        if (letter->message->to) {
            continue; /* It was known. */
        }
        if (left > TROUPE__POST_GROUP) {
            troupe__actors_approach(actors, &letter->to);
        } else {
            troupe__actors_turn_to(actors, &letter->to);
        }
    }
}

void troupe__post_put(struct troupe__post *post, struct troupe__actors *actors, struct troupe__message *message,
                      const struct troupe__seek *to)
{
    assert(!troupe__post_full(post));
    struct troupe__letter *letter = letter_of(post, post->put);
    letter->message = message;
    if (!message->to) {
        letter->to = *to;
        letter->to.key = letter->key;
        memcpy(letter->key, to->key, to->key_size);
    }
    if (++post->put % TROUPE__POST_GROUP == 0) {
        approach(post, actors);
    }
}

struct troupe__message *troupe__post_take(struct troupe__post *post, struct troupe__actors *actors)
{
    assert(!troupe__post_empty(post));
    struct troupe__letter *letter = letter_of(post, post->taken);
    if (!letter->message->to) {
        struct troupe__actor *actor = troupe__actors_reach(actors, &letter->to);
        if (!actor) {
            return NULL;
        }
        troupe__message_address(letter->message, actor);
    }
    post->taken++;
    return letter->message;
}

void troupe__post_fini(struct troupe__post *post)
{
    while (!troupe__post_empty(post)) {
        troupe__message_free(letter_of(post, post->taken++)->message);
    }
}
