/* ring.c - a token goes round a ring of actors, each of which counts how often it saw it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * {"to":"demo/ring/0","type":"token","body":{"hops":1000,"size":10}} starts a token at actor 0 of the ten actors 0
 * to 9. The actor that gets it with no hops left puts {"at":"0","seen":101} out on the egress "finished". */
#include <troupe.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct troupe_value seen_value = {.name = "seen", .kind = TROUPE_INT};
static const struct troupe_value *const values[] = {&seen_value, NULL};

static enum troupe_error ring(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "token") != 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a ring knows no message \"%s\"", message->type);
    }
    int64_t hops, size, seen = 0;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i, s:i}", "hops", &hops, "size", &size);
    if (error != TROUPE_OK) {
        return error;
    }
    const char *key = troupe_self(ctx).key;
    char *end;
    errno = 0;
    int64_t index = strtoll(key, &end, 10);
    if (errno != 0 || *end != '\0' || hops < 0 || index < 0 || index >= size) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "no actor \"%s\" in a ring of %" PRId64 ", or hops below 0", key,
                           size);
    }
    error = troupe_get_int(ctx, &seen_value, &seen);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    seen++;
    error = troupe_set_int(ctx, &seen_value, seen);
    if (error != TROUPE_OK) {
        return error;
    }
    if (hops == 0) {
        return troupe_emit(ctx, "finished", key, troupe_pack(ctx, "{s:s, s:i}", "at", key, "seen", seen));
    }
    char next[32];
    snprintf(next, sizeof next, "%" PRId64, (index + 1) % size);
    struct troupe_bytes body = troupe_pack(ctx, "{s:i, s:i}", "hops", hops - 1, "size", size);
    return troupe_send(ctx, troupe_to("demo/ring", next), "token", body);
}

static const struct troupe_type types[] = {{.name = "demo/ring", .handler = ring, .values = values}};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI, .name = "ring", .version = "1.0.0", .types = types, .type_count = 1};
