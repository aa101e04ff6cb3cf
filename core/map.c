/* map.c - the maps of the actor that handles a message: see troupe.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/collection_use.h"

static enum troupe_error check_key(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                   size_t least)
{
    if (key.size < least || key.size > TROUPE_ELEMENT_KEY_MAX) {
        troupe_fail(ctx, TROUPE_EINVAL, "map '%s': a key of %zu bytes is not of 1 to %d", map->name, key.size,
                    TROUPE_ELEMENT_KEY_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    return TROUPE_OK;
}

static enum troupe_error begin_map(struct troupe__use *use, struct troupe_context *ctx, const struct troupe_value *map,
                                   struct troupe_bytes key)
{
    enum troupe_error result = troupe__use_begin(use, ctx, map, TROUPE_MAP, false);
    return result == TROUPE_OK ? check_key(ctx, map, key, 1) : result;
}

enum troupe_error troupe_map_get(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes *ret)
{
    struct troupe__use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? troupe__use_get(&use, key, ret) : result;
}

enum troupe_error troupe_map_set(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes bytes)
{
    struct troupe__use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? troupe__use_set(&use, key, bytes) : result;
}

enum troupe_error troupe_map_remove(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key)
{
    struct troupe__use use;
    enum troupe_error result = begin_map(&use, ctx, map, key);
    return result == TROUPE_OK ? troupe__use_remove(&use, key) : result;
}

enum troupe_error troupe_map_next(struct troupe_context *ctx, const struct troupe_value *map,
                                  struct troupe_map_walk *at, struct troupe_bytes *ret_key,
                                  struct troupe_bytes *ret_bytes)
{
    struct troupe__use use;
    struct troupe__row_at row;
    enum troupe_error result = troupe__use_begin(&use, ctx, map, TROUPE_MAP, true);
    result = result == TROUPE_OK ? check_key(ctx, map, at->from, 0) : result;
    result = result == TROUPE_OK ? check_key(ctx, map, at->to, 0) : result;
    result = result == TROUPE_OK ? troupe__use_next(&use, &at->batch, at->from, at->to, at->backward, &row) : result;
    if (result == TROUPE_OK) {
        *ret_key = row.key;
        *ret_bytes = row.bytes;
    }
    return result;
}
