/* flood.c - a module of actors that send more messages than fit into memory, for test/backlog.sh.
 * SPDX-License-Identifier: Apache-2.0
 *
 * test/flood/F sends FLOOD messages at once: at "few" to 1,000 workers, at "many" to FLOOD / 2 actors of its own, two
 * to each, which pass them on to 1,000 checkers. Whoever receives checks that what comes is next in order, and says
 * when all of it was there. At "later" it sends LATER delayed messages, to one actor each;
 * TROUPE_FLOODS (100) says how many floods there are. */
#include <stdlib.h>
#include <string.h>

#include "troupe.h"

enum {
    FLOODS = 100,
    FLOOD = 50000,
    WORKERS = 1000,
    OWN = FLOOD / 2,
    CHECKED = FLOODS * OWN / WORKERS,
    LATER = 10000,
    LATER_MS = 5000
};

struct body {
    uint32_t from, number;
};

static const struct troupe_value state_value = {"state", TROUPE_BYTES}, faults_value = {"faults", TROUPE_INT},
                                 count_value = {"count", TROUPE_INT};
static const struct troupe_value *const values[] = {&state_value, &faults_value, &count_value, NULL};

static struct troupe_address number_address(const char *type, char key[12], uint32_t number)
{
    char *at = key + 11;
    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
    } while (number /= 10);
    return troupe_to(type, at);
}

/* A million delayed messages, to as many actors, some seconds later. */
static enum troupe_error flood_later(struct troupe_context *ctx)
{
    struct body body = {0};
    char key[12];
    uint32_t first = (uint32_t)strtoul(troupe_self(ctx).key, NULL, 10) * LATER;
    for (uint32_t i = 0; i < LATER; i++) {
        enum troupe_error error = troupe_send_after(ctx, LATER_MS, number_address("test/late", key, first + i), "go",
                                                    (struct troupe_bytes){&body, sizeof body}, NULL);
        if (error != TROUPE_OK) {
            return error;
        }
    }
    return troupe_emit(ctx, "flooded", troupe_self(ctx).key, troupe_pack(ctx, "{}"));
}

static enum troupe_error flood(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "later") == 0) {
        return flood_later(ctx);
    }
    bool many = strcmp(message->type, "many") == 0;
    struct body body = {.from = (uint32_t)strtoul(troupe_self(ctx).key, NULL, 10)};
    char key[12];
    enum troupe_error error = TROUPE_OK;
    for (uint32_t i = 0; i < FLOOD && error == TROUPE_OK; i++) {
        body.number = many ? i / OWN : i / WORKERS;
        struct troupe_address to = many ? number_address("test/one", key, body.from * OWN + i % OWN)
                                        : number_address("test/worker", key, i % WORKERS);
        error = troupe_send(ctx, to, "go", (struct troupe_bytes){&body, sizeof body});
    }
    return error != TROUPE_OK ? error : troupe_emit(ctx, "flooded", troupe_self(ctx).key, troupe_pack(ctx, "{}"));
}

/* One more of `all` has come, in order or not. */
static enum troupe_error count_one(struct troupe_context *ctx, bool in_order, int64_t all)
{
    int64_t faults = 0, count = 0;
    enum troupe_error error = troupe_get_int(ctx, &count_value, &count);
    if (error == TROUPE_OK || error == TROUPE_ENOTFOUND) {
        error = troupe_set_int(ctx, &count_value, ++count);
    }
    if (error == TROUPE_OK && (!in_order || count == all)) {
        error = troupe_get_int(ctx, &faults_value, &faults);
        error = error == TROUPE_ENOTFOUND ? TROUPE_OK : error;
    }
    if (error == TROUPE_OK && !in_order) {
        error = troupe_set_int(ctx, &faults_value, ++faults);
    }
    if (error == TROUPE_OK && count == all) {
        error = troupe_emit(ctx, "done", troupe_self(ctx).key, troupe_pack(ctx, "{s:i}", "faults", faults));
    }
    return error;
}

/* Read `size` bytes of state, zeros at first. */
static enum troupe_error get_state(struct troupe_context *ctx, void *state, size_t size)
{
    struct troupe_bytes bytes;
    enum troupe_error error = troupe_get_bytes(ctx, &state_value, &bytes);
    memset(state, 0, size);
    if (error == TROUPE_OK) {
        memcpy(state, bytes.data, size);
    }
    return error == TROUPE_ENOTFOUND ? TROUPE_OK : error;
}

/* Each flood numbers what it sends to each worker. */
static enum troupe_error worker(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct body body;
    unsigned char next[FLOODS];
    memcpy(&body, message->body.data, sizeof body);
    enum troupe_error error = get_state(ctx, next, sizeof next);
    bool in_order = body.number == next[body.from]++;
    error = error == TROUPE_OK ? troupe_set_bytes(ctx, &state_value, (struct troupe_bytes){next, sizeof next}) : error;
    return error == TROUPE_OK ? count_one(ctx, in_order, FLOODS * FLOOD / WORKERS) : error;
}

/* Passes on which of its two messages came. */
static enum troupe_error one(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct body body;
    char key[12];
    memcpy(&body, message->body.data, sizeof body);
    body.from = (uint32_t)strtoul(troupe_self(ctx).key, NULL, 10);
    return troupe_send(ctx, number_address("test/checker", key, body.from % WORKERS), "go",
                       (struct troupe_bytes){&body, sizeof body});
}

/* Of each pair the first sets a bit and the second finds it set. */
static enum troupe_error checker(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct body body;
    unsigned char bits[CHECKED / 8 + 1];
    memcpy(&body, message->body.data, sizeof body);
    enum troupe_error error = get_state(ctx, bits, sizeof bits);
    uint32_t pair = body.from / WORKERS;
    unsigned char bit = (unsigned char)(1 << pair % 8);
    bool in_order = (bits[pair / 8] & bit) == (body.number ? bit : 0);
    bits[pair / 8] ^= bit;
    error = error == TROUPE_OK ? troupe_set_bytes(ctx, &state_value, (struct troupe_bytes){bits, sizeof bits}) : error;
    return error == TROUPE_OK ? count_one(ctx, in_order, 2 * CHECKED) : error;
}

static enum troupe_error late(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct body body = {.number = (uint32_t)strtoul(troupe_self(ctx).key, NULL, 10)};
    char key[12];
    (void)message;
    return troupe_send(ctx, number_address("test/tally", key, body.number % WORKERS), "go",
                       (struct troupe_bytes){&body, sizeof body});
}

/* Each of those that share a tally comes once. */
static enum troupe_error tally(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct body body;
    const char *floods = getenv("TROUPE_FLOODS");
    unsigned char bits[FLOODS * LATER / WORKERS / 8 + 1];
    memcpy(&body, message->body.data, sizeof body);
    enum troupe_error error = get_state(ctx, bits, sizeof bits);
    uint32_t place = body.number / WORKERS;
    bool first = !(bits[place / 8] & 1 << place % 8);
    bits[place / 8] |= (unsigned char)(1 << place % 8);
    error = error == TROUPE_OK ? troupe_set_bytes(ctx, &state_value, (struct troupe_bytes){bits, sizeof bits}) : error;
    return error == TROUPE_OK ? count_one(ctx, first, (floods ? atoi(floods) : FLOODS) * LATER / WORKERS) : error;
}

static const struct troupe_type types[] = {
    {.name = "test/flood", .handler = flood}, {.name = "test/worker", .handler = worker, .values = values},
    {.name = "test/one", .handler = one},     {.name = "test/checker", .handler = checker, .values = values},
    {.name = "test/late", .handler = late},   {.name = "test/tally", .handler = tally, .values = values}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "flood", "1", types, 6};
