/* greeter.c - the smallest actor: it counts how often it was greeted, and greets back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * {"to":"demo/greeter/ada","type":"hello"} puts {"text":"Hello, ada!","count":1} out on the egress "greetings"; who
 * asks, an actor or a client (`troupe ask demo/greeter/ada hello`), gets the same as a reply, "greeting". */
#include <troupe.h>

#include <stdio.h>
#include <string.h>

static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT};
static const struct troupe_value *const values[] = {&count_value, NULL};

static enum troupe_error greeter(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "hello") != 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a greeter knows no message \"%s\"", message->type);
    }
    int64_t count = 0; /* stays 0 when the value was never set */
    enum troupe_error error = troupe_get_int(ctx, &count_value, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    count++;
    error = troupe_set_int(ctx, &count_value, count);
    if (error != TROUPE_OK) {
        return error;
    }
    const char *name = troupe_self(ctx).key;
    char text[TROUPE_KEY_MAX + sizeof "Hello, !"];
    snprintf(text, sizeof text, "Hello, %s!", name);
    struct troupe_bytes body = troupe_pack(ctx, "{s:s, s:i}", "text", text, "count", count);
    bool sent_from_outside = message->from.type[0] == '\0' && message->correlation == 0;
    return sent_from_outside ? troupe_emit(ctx, "greetings", name, body) : troupe_reply(ctx, "greeting", body);
}

static const struct troupe_type types[] = {{.name = "demo/greeter", .handler = greeter, .values = values}};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI, .name = "greeter", .version = "1.0.0", .types = types, .type_count = 1};
