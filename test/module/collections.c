/* collections.c - an actor whose state is a map, a list and a value that expires, for scripts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/troupe.h"

static const struct troupe_value map = {.name = "map", .kind = TROUPE_MAP},
                                 list = {.name = "list", .kind = TROUPE_LIST},
                                 brief = {.name = "brief", .kind = TROUPE_INT, .ttl_ms = 300};
static const struct troupe_value *const values[] = {&map, &list, &brief, NULL};

static enum troupe_error add(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *key;
    struct troupe_bytes value;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:s, s:m}", "key", &key, "value", &value);
    error = error == TROUPE_OK ? troupe_map_set(ctx, &map, troupe_string(key), value) : error;
    return error == TROUPE_OK ? troupe_list_push_back(ctx, &list, value) : error;
}

static enum troupe_error fill(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t count;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i}", "count", &count);
    for (int64_t i = 0; i < count && error == TROUPE_OK; i++) {
        char key[24];
        snprintf(key, sizeof key, "%08lld", (long long)i);
        struct troupe_bytes bytes = troupe_pack(ctx, "i", i);
        error = troupe_map_set(ctx, &map, troupe_string(key), bytes);
        error = error == TROUPE_OK ? troupe_list_push_back(ctx, &list, bytes) : error;
    }
    return error;
}

/* Emits how many elements the map has, and the sum of its numbers. */
static enum troupe_error count(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.backward = true};
    struct troupe_bytes key, bytes;
    int64_t elements = 0, sum = 0, number;
    uint64_t length;
    enum troupe_error error;
    while ((error = troupe_map_next(ctx, &map, &walk, &key, &bytes)) == TROUPE_OK) {
        elements++;
        sum += troupe_unpack(ctx, bytes, "i", &number) == TROUPE_OK ? number : 0;
    }
    error = error == TROUPE_ENOTFOUND ? troupe_list_count(ctx, &list, &length) : error;
    return error == TROUPE_OK
               ? troupe_emit(ctx, "counts", troupe_self(ctx).key,
                             troupe_pack(ctx, "{s:i, s:i, s:u}", "elements", elements, "sum", sum, "length", length))
               : error;
}

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "add") == 0) {
        return add(ctx, message);
    }
    if (strcmp(message->type, "fill") == 0) {
        return fill(ctx, message);
    }
    if (strcmp(message->type, "count") == 0) {
        return count(ctx);
    }
    if (strcmp(message->type, "brief") == 0) {
        return troupe_set_int(ctx, &brief, 1);
    }
    enum troupe_error error = troupe_clear(ctx, &map);
    return error == TROUPE_OK ? troupe_clear(ctx, &list) : error;
}

static const struct troupe_type types[] = {{.name = "test/box", .handler = handle, .values = values}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "collections", "1", types, 1, NULL};
