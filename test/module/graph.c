/* graph.c - tokens that wander over a graph at random; each point checks that what comes from another one comes in
 * order, each once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A token goes `hops` times to a point that its seed decides, and ends as a record on "ends". What is wrong is a record
 * on "errors". GRAPH_SLOW_US makes a process take that long for each message. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/troupe.h"

static const struct troupe_value sent = {.name = "sent", .kind = TROUPE_MAP}, /* point -> messages to it */
    received = {.name = "received", .kind = TROUPE_MAP},                      /* point -> messages from it */
    visits = {.name = "visits", .kind = TROUPE_INT};
static const struct troupe_value *const values[] = {&sent, &received, &visits, NULL};

struct token {
    int64_t token, hops, points;
    struct troupe_bytes pad;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * UINT64_C(0x7fb5d329728ea185);
    x = (x ^ x >> 27) * UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

/* The next number in `map` for `point`: 1, 2, ... */
static enum troupe_error count_up(struct troupe_context *ctx, const struct troupe_value *map, const char *point,
                                  int64_t *ret)
{
    struct troupe_bytes bytes;
    *ret = 0;
    enum troupe_error error = troupe_map_get(ctx, map, troupe_string(point), &bytes);
    if (error == TROUPE_OK) {
        error = troupe_unpack(ctx, bytes, "i", ret);
    }
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    ++*ret;
    return troupe_map_set(ctx, map, troupe_string(point), troupe_pack(ctx, "i", *ret));
}

static enum troupe_error pass_on(struct troupe_context *ctx, const struct token *token)
{
    char key[32], point[32];
    if (token->hops == 0) {
        snprintf(key, sizeof key, "%" PRId64, token->token);
        return troupe_emit(ctx, "ends", key, troupe_pack(ctx, "{}"));
    }
    uint64_t chance = mix((uint64_t)token->token * 1000003 + (uint64_t)token->hops);
    snprintf(point, sizeof point, "p%" PRIu64, chance % (uint64_t)token->points);
    int64_t number;
    enum troupe_error error = count_up(ctx, &sent, point, &number);
    if (error != TROUPE_OK) {
        return error;
    }
    struct troupe_bytes body =
        troupe_pack(ctx, "{s:i, s:i, s:i, s:i, s:z}", "token", token->token, "hops", token->hops - 1, "points",
                    token->points, "number", number, "pad", token->pad);
    return troupe_send(ctx, (struct troupe_address){"graph/point", point}, "step", body);
}

static enum troupe_error check_order(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t number, expected;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i}", "number", &number);
    error = error == TROUPE_OK ? count_up(ctx, &received, message->from.key, &expected) : error;
    if (error == TROUPE_OK && number != expected) {
        error = troupe_emit(
            ctx, "errors", troupe_self(ctx).key,
            troupe_pack(ctx, "{s:s, s:i, s:i}", "from", message->from.key, "number", number, "expected", expected));
    }
    return error;
}

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    static const struct troupe_bytes no_pad = {"", 0};
    int64_t visit = 0;
    enum troupe_error error = troupe_get_int(ctx, &visits, &visit);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    if (strcmp(message->type, "report") == 0) {
        return troupe_emit(ctx, "visits", troupe_self(ctx).key, troupe_pack(ctx, "{s:i}", "visits", visit));
    }
    const char *slow = getenv("GRAPH_SLOW_US");
    struct timespec time = {0, slow ? strtol(slow, NULL, 10) * 1000 : 0};
    if (time.tv_nsec > 0) {
        nanosleep(&time, NULL);
    }
    if ((error = troupe_set_int(ctx, &visits, visit + 1)) != TROUPE_OK) {
        return error;
    }
    struct token token = {.pad = no_pad};
    if (strcmp(message->type, "step") == 0) {
        error = check_order(ctx, message);
        if (error == TROUPE_OK) {
            error = troupe_unpack(ctx, message->body, "{s:i, s:i, s:i, s:z}", "token", &token.token, "hops",
                                  &token.hops, "points", &token.points, "pad", &token.pad);
        }
    } else if (strcmp(message->type, "go") == 0) {
        int64_t pad;
        static const char zeros[4096];
        error = troupe_unpack(ctx, message->body, "{s:i, s:i, s:i, s:i}", "token", &token.token, "hops", &token.hops,
                              "points", &token.points, "pad", &pad);
        token.pad = (struct troupe_bytes){zeros, pad > 0 && pad < (int64_t)sizeof zeros ? (size_t)pad : 0};
    } else {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a point knows no message \"%s\"", message->type);
    }
    return error == TROUPE_OK ? pass_on(ctx, &token) : error;
}

static const struct troupe_type types[] = {{.name = "graph/point", .handler = handle, .values = values}};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "graph", "1", types, sizeof types / sizeof *types};
