/* collection_use.h - a map or list of the actor that handles a message, during one call: its head and its elements.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Errors of all of these have failed the delivery, with a text, but TROUPE_ENOTFOUND, and TROUPE_ETOOBIG of set
 * and remove. */
#ifndef TROUPE_CORE_COLLECTION_USE_H
#define TROUPE_CORE_COLLECTION_USE_H

#include "core/delivery.h"

enum { TROUPE__OVERLAY_KEY_MAX = 1 + TROUPE__GENERATION_SIZE_MAX + TROUPE_ELEMENT_KEY_MAX };

/* One more than a key has: the first key behind it. */
_Static_assert(2 + TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1 + TROUPE_NAME_MAX + TROUPE__OVERLAY_KEY_MAX + 1 <=
                   TROUPE__ROW_KEY_MAX,
               "every element has a row key");

struct troupe__use {
    struct troupe_context *ctx;
    const struct troupe_value *value;
    struct troupe__collection *collection;
    uint32_t index;
    size_t prefix; /* bytes of `key` up to the value's name */
    unsigned char key[TROUPE__ROW_KEY_MAX + 1];
};

/* Begin a call: find the collection and its head. */
enum troupe_error troupe__use_begin(struct troupe__use *use, struct troupe_context *ctx,
                                    const struct troupe_value *value, enum troupe_kind kind, bool reads);

/* An element, in the declared version; its bytes live until the handler returns. Errors: TROUPE_ENOTFOUND. */
enum troupe_error troupe__use_get(struct troupe__use *use, struct troupe_bytes element, struct troupe_bytes *ret);
enum troupe_error troupe__use_set(struct troupe__use *use, struct troupe_bytes element, struct troupe_bytes bytes);
enum troupe_error troupe__use_remove(struct troupe__use *use, struct troupe_bytes element);

/* The head, or when a list expires, has changed. */
enum troupe_error troupe__use_keep_head(struct troupe__use *use);

/* When what is set or used now expires; 0: never. */
static inline int64_t troupe__use_lease_end(const struct troupe__use *use)
{
    return use->value->ttl_ms > 0 ? use->ctx->now_ms + use->value->ttl_ms : 0;
}

/* Fail the delivery: returns `error`. */
enum troupe_error troupe__use_fail(const struct troupe__use *use, enum troupe_error error, const char *what);

/* ---- keys ---- */

/* The key of an element's row, from behind the value's name on. Returns its size. */
size_t troupe__use_key(const struct troupe__use *use, struct troupe_bytes element,
                       unsigned char to[static TROUPE__OVERLAY_KEY_MAX]);
/* The whole of it; valid until the next call. */
struct troupe_bytes troupe__use_full_key(struct troupe__use *use, struct troupe_bytes key);

/* ---- walks: collection_walk.c ---- */

struct troupe__row_at { /* A row that a walk is at. */
    struct troupe_bytes key, bytes;
};

/* The next element of a walk between two elements' keys; no bytes are no bound. `*batch` is NULL at its beginning. The
 * row comes as it is, expired or not. Errors: TROUPE_ENOTFOUND when there is none. */
enum troupe_error troupe__walk_next(struct troupe__use *use, struct troupe__batch **batch, struct troupe_bytes from,
                                    struct troupe_bytes to, bool backward, struct troupe__row_at *ret);
/* The same for the next one that has not expired, in the declared version. */
enum troupe_error troupe__use_next(struct troupe__use *use, struct troupe__batch **batch, struct troupe_bytes from,
                                   struct troupe_bytes to, bool backward, struct troupe__row_at *ret);
/* The delivery ends, and all its walks do. */
void troupe__walk_end_all(struct troupe_context *ctx);

#endif
