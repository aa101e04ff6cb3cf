/* evolve.c - boxes of one module in several versions, to be upgraded from one to the next (test/upgrade.sh).
 * SPDX-License-Identifier: Apache-2.0
 *
 * EVOLVE is the version: 1 counts in ones; 2 counts in hundredths, values and messages; 3 is like 2, but fails to
 * migrate 13; 4 has neither labels nor type test/odd, and keeps items in a list; 5 counts in a string, without a
 * migrate. */
#include <troupe.h>

#include <stdio.h>
#include <string.h>

enum { UNIT = EVOLVE == 1 || EVOLVE == 5 ? 1 : 100 };

#if EVOLVE >= 2 && EVOLVE <= 4
static enum troupe_error migrate_count(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                       struct troupe_bytes old, struct troupe_bytes *ret)
{
    int64_t count;
    (void)value, (void)version;
    enum troupe_error error = troupe_unpack(ctx, old, "i", &count);
    if (error == TROUPE_OK && EVOLVE == 3 && count == 13) {
        return troupe_fail(ctx, TROUPE_EFAILED, "no luck with 13");
    }
    *ret = troupe_pack(ctx, "i", count * UNIT);
    return error;
}

static enum troupe_error migrate_add(struct troupe_context *ctx, const struct troupe_message_type *type,
                                     uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    int64_t count;
    (void)type, (void)version;
    enum troupe_error error = troupe_unpack(ctx, old, "{s:i}", "count", &count);
    if (error == TROUPE_OK && EVOLVE == 3 && count == 13) {
        return troupe_fail(ctx, TROUPE_EFAILED, "no luck with 13");
    }
    *ret = troupe_pack(ctx, "{s:i}", "hundredths", count * UNIT);
    return error;
}

static const struct troupe_value count_value = {
    .name = "count", .kind = TROUPE_INT, .version = 1, .migrate = migrate_count};
static const struct troupe_message_type add_type = {.name = "add", .version = 1, .migrate = migrate_add};
#elif EVOLVE == 5
static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_STRING};
static const struct troupe_message_type add_type = {.name = "add"};
#else
static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT};
static const struct troupe_message_type add_type = {.name = "add"};
#endif

static const struct troupe_value label_value = {.name = "label", .kind = TROUPE_STRING};
static const struct troupe_value items_value = {.name = "items", .kind = EVOLVE == 4 ? TROUPE_LIST : TROUPE_MAP};
static const struct troupe_value *const values[] = {&count_value, &items_value, EVOLVE == 4 ? NULL : &label_value,
                                                    NULL};
static const struct troupe_message_type *const messages[] = {&add_type, NULL};

static enum troupe_error add(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t more, count = 0;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i}", UNIT == 1 ? "count" : "hundredths", &more);
    if (error != TROUPE_OK) {
        return error;
    }
    error = troupe_get_int(ctx, &count_value, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    if ((error = troupe_set_int(ctx, &count_value, count + more)) != TROUPE_OK) {
        return error;
    }
    return troupe_emit(ctx, "counts", troupe_self(ctx).key,
                       troupe_pack(ctx, "{s:i}", UNIT == 1 ? "count" : "hundredths", count + more));
}

/* {"ms": after so long, "count": add that} */
static enum troupe_error later(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t ms, count;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i, s:i}", "ms", &ms, "count", &count);
    return error != TROUPE_OK
               ? error
               : troupe_send_after(ctx, ms, troupe_self(ctx), "add",
                                   troupe_pack(ctx, "{s:i}", UNIT == 1 ? "count" : "hundredths", count * UNIT), NULL);
}

static enum troupe_error fill(struct troupe_context *ctx)
{
    enum troupe_error error = troupe_set_bytes(ctx, &label_value, troupe_string("a label"));
    return error != TROUPE_OK ? error : troupe_map_set(ctx, &items_value, troupe_string("a"), troupe_string("\1"));
}

static enum troupe_error box(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "add") == 0) {
        return add(ctx, message);
    }
    if (strcmp(message->type, "later") == 0) {
        return later(ctx, message);
    }
    if (strcmp(message->type, "fill") == 0) {
        return fill(ctx);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "a box knows no message \"%s\"", message->type);
}

static const struct troupe_type types[] = {
    {.name = "test/box", .handler = box, .values = values, .messages = messages},
    {.name = "test/odd", .handler = box, .values = values, .messages = messages},
};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI,
    .name = "evolve",
    .version = "0." EVOLVE_TEXT,
    .types = types,
    .type_count = EVOLVE == 4 ? 1 : 2,
};
