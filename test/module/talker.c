/* talker.c - an actor for the tests of the client protocol.
 * SPDX-License-Identifier: Apache-2.0
 *
 * count: count, reply the count. emit: count, put it out. silent: no reply. slow: fail, a minute before the next
 * attempt. echo: reply the body. raw: reply bytes that are not msgpack. */
#include <troupe.h>

#include <string.h>

static const struct troupe_value count_value = {"count", TROUPE_INT};
static const struct troupe_value *const values[] = {&count_value, NULL};

static enum troupe_error talker(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "silent") == 0) {
        return TROUPE_OK;
    }
    if (strcmp(message->type, "slow") == 0) {
        return troupe_fail(ctx, TROUPE_EFAILED, "as told");
    }
    if (strcmp(message->type, "echo") == 0) {
        return troupe_reply(ctx, "echo", message->body);
    }
    if (strcmp(message->type, "raw") == 0) {
        return troupe_reply(ctx, "raw", (struct troupe_bytes){"\xc1raw", 4});
    }
    int64_t count = 0;
    enum troupe_error error = troupe_get_int(ctx, &count_value, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    error = troupe_set_int(ctx, &count_value, ++count);
    if (error != TROUPE_OK) {
        return error;
    }
    if (strcmp(message->type, "emit") == 0) {
        return troupe_emit(ctx, "out", troupe_self(ctx).key, troupe_pack(ctx, "{s:i}", "count", count));
    }
    return troupe_reply(ctx, "count", troupe_pack(ctx, "i", count));
}

static const struct troupe_type types[] = {{.name = "test/talker",
                                            .handler = talker,
                                            .values = values,
                                            .retry = {.attempts = 2, .backoff_ms = 60000, .backoff_max_ms = 60000}}};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "talker", "1", types, 1};
