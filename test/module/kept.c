/* kept.c - actors that use everything that a node keeps on disk, and say whether it is all there (test/kept.sh).
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is kept in test/fixtures was written by this module as it was then: it may learn more, but what it does with
 * those messages and values must stay. With KEPT=finish in the environment what waits is let go on to its end. */
#include <troupe.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BOXES = 8, PEERS = 8, PASSES = 3, CLEARED = 100 };

static const int64_t ten_years_ms = INT64_C(10) * 365 * 86400 * 1000;

static bool is_to_finish(void)
{
    const char *said = getenv("KEPT");
    return said && strcmp(said, "finish") == 0;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static enum troupe_error no_older(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                  struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)old, (void)ret;
    return troupe_fail(ctx, TROUPE_EFAILED, "value %s is of version %u", value->name, version);
}

static const struct troupe_value
    integer = {.name = "integer", .kind = TROUPE_INT},
    real = {.name = "real", .kind = TROUPE_DOUBLE}, truth = {.name = "truth", .kind = TROUPE_BOOL},
    text = {.name = "text", .kind = TROUPE_STRING}, bytes = {.name = "bytes", .kind = TROUPE_BYTES},
    packed = {.name = "packed", .kind = TROUPE_PACKED},
    version_2 = {.name = "version_2", .kind = TROUPE_INT, .version = 2, .migrate = no_older},
    brief = {.name = "brief", .kind = TROUPE_INT, .ttl_ms = INT64_C(10) * 365 * 86400 * 1000},
    map = {.name = "map", .kind = TROUPE_MAP}, list = {.name = "list", .kind = TROUPE_LIST};
static const struct troupe_value *const values[] = {&integer,   &real,  &truth, &text, &bytes, &packed,
                                                    &version_2, &brief, &map,   &list, NULL};

static const char binary[] = "a\0b\xff";

#define DO(call)                                                                                                       \
    if ((error = (call)) != TROUPE_OK)                                                                                 \
    return error

static enum troupe_error fill(struct troupe_context *ctx)
{
    enum troupe_error error;
    char key[16];
    DO(troupe_set_int(ctx, &integer, INT64_MIN));
    DO(troupe_set_double(ctx, &real, 0.1));
    DO(troupe_set_bool(ctx, &truth, true));
    DO(troupe_set_bytes(ctx, &text, troupe_string("grüße")));
    DO(troupe_set_bytes(ctx, &bytes, (struct troupe_bytes){binary, sizeof binary}));
    DO(troupe_set_bytes(ctx, &packed, troupe_pack(ctx, "{s:[i,n]}", "a", (int64_t)-1)));
    DO(troupe_set_int(ctx, &version_2, 2));
    DO(troupe_set_int(ctx, &brief, 3));
    for (int i = 0; i < CLEARED; i++) { /* So many that what follows is of another generation. */
        snprintf(key, sizeof key, "gone%d", i);
        DO(troupe_map_set(ctx, &map, troupe_string(key), troupe_string("?")));
    }
    DO(troupe_clear(ctx, &map));
    for (int i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "key%d", i);
        DO(troupe_map_set(ctx, &map, troupe_string(key), troupe_string(key + 3)));
        DO(troupe_list_push_back(ctx, &list, troupe_string(key)));
    }
    return troupe_list_push_front(ctx, &list, troupe_string("front"));
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static enum troupe_error no_older_message(struct troupe_context *ctx, const struct troupe_message_type *type,
                                          uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)old, (void)ret;
    return troupe_fail(ctx, TROUPE_EFAILED, "message %s is of version %u", type->name, version);
}

static const struct troupe_message_type after_type = {.name = "after", .version = 4, .migrate = no_older_message},
                                        pass_type = {.name = "pass", .version = 1, .migrate = no_older_message};
static const struct troupe_message_type *const messages[] = {&after_type, &pass_type, NULL};

/* It lasts until it is to finish. */
static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    while (!is_to_finish() && !troupe_job_cancelled(job)) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    return is_to_finish() ? troupe_job_return(job, input) : troupe_job_fail(job, TROUPE_EFAILED, "not yet");
}

static const struct troupe_job_type work_type = {.name = "work", .run = work};
static const struct troupe_job_type *const jobs[] = {&work_type, NULL};

static enum troupe_error emit_body(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes nothing = troupe_pack(ctx, "n");
    return troupe_emit(ctx, message->type, troupe_self(ctx).key, message->body.size > 0 ? message->body : nothing);
}

static enum troupe_error box(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes body = troupe_pack(ctx, "{s:s}", "said", "this");
    enum troupe_error error;
    char key[16];
    if (strcmp(message->type, "fill") == 0) {
        return fill(ctx);
    }
    if (strcmp(message->type, "later") == 0) {
        return troupe_send_after(ctx, ten_years_ms, troupe_self(ctx), "after", body, NULL);
    }
    if (strcmp(message->type, "job") == 0) {
        return troupe_job(ctx, &work_type, body, "worked", NULL);
    }
    if (strcmp(message->type, "ask") == 0) {
        return troupe_reply(ctx, "answer", body);
    }
    if (strcmp(message->type, "stuck") == 0 && !is_to_finish()) {
        return troupe_fail(ctx, TROUPE_EFAILED, "not yet");
    }
    if (strcmp(message->type, "spread") == 0) {
        for (int64_t i = 0; i < PEERS * PASSES; i++) {
            snprintf(key, sizeof key, "p%d", (int)i % PEERS);
            DO(troupe_send(ctx, troupe_to("keep/peer", key), "pass", troupe_pack(ctx, "{s:i}", "n", i / PEERS + 1)));
        }
        return TROUPE_OK;
    }
    if (strcmp(message->type, "refuse") == 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "as was asked for");
    }
    return emit_body(ctx, message); /* stuck, after, worked, say */
}

static enum troupe_error peer(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t count = 0, n;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:i}", "n", &n);
    if (error != TROUPE_OK) {
        return error;
    }
    error = troupe_get_int(ctx, &integer, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    DO(troupe_set_int(ctx, &integer, count + 1));
    return troupe_emit(ctx, "passed", troupe_self(ctx).key,
                       troupe_pack(ctx, "{s:s, s:i}", "from", message->from.key, "n", n));
}

/* ---- whether all is there ---------------------------------------------------------------------------------------- */

static bool same(struct troupe_bytes bytes_seen, const void *expected, size_t size)
{
    return bytes_seen.size == size && memcmp(bytes_seen.data, expected, size) == 0;
}

static enum troupe_error check_values(struct troupe_view *view, struct troupe_report *report)
{
    int64_t i = 0, two = 0, three = 0;
    double fraction = 0;
    bool yes = false;
    struct troupe_bytes words, raw, one, key, element;
    enum troupe_error error;
    DO(troupe_view_int(view, &integer, &i));
    DO(troupe_view_double(view, &real, &fraction));
    DO(troupe_view_bool(view, &truth, &yes));
    DO(troupe_view_bytes(view, &text, &words));
    DO(troupe_view_bytes(view, &bytes, &raw));
    DO(troupe_view_bytes(view, &packed, &one));
    DO(troupe_view_int(view, &version_2, &two));
    DO(troupe_view_int(view, &brief, &three));
    if (i != INT64_MIN || fraction != 0.1 || !yes || !same(words, "grüße", strlen("grüße")) || two != 2 || three != 3 ||
        !same(raw, binary, sizeof binary) || !same(one, "\x81\xa1\x61\x92\xff\xc0", 6)) {
        troupe_report_fault(report, "a single value is not what it was");
    }
    for (int at = 0; at < 3; at++) {
        char name[16];
        snprintf(name, sizeof name, "key%d", at);
        DO(troupe_view_map_next(view, &map, &key, &element));
        if (!same(key, name, 4) || !same(element, name + 3, 1)) {
            troupe_report_fault(report, "the map is not what it was");
        }
    }
    if (troupe_view_map_next(view, &map, &key, &element) != TROUPE_ENOTFOUND) {
        troupe_report_fault(report, "the map has more than it had");
    }
    static const char *const elements[] = {"front", "key0", "key1", "key2"};
    for (int at = 0; at < 4; at++) {
        DO(troupe_view_list_next(view, &list, &element));
        if (!same(element, elements[at], strlen(elements[at]))) {
            troupe_report_fault(report, "the list is not what it was");
        }
    }
    return TROUPE_OK;
}

/* Which messages there are: a line of letters, one for each, in order. */
static enum troupe_error line_up(struct troupe_view *view, char line[static 64], int64_t *ret_passes)
{
    struct troupe_view_message seen;
    enum troupe_error error;
    size_t size = 0;
    while ((error = troupe_view_next_message(view, &seen)) == TROUPE_OK) {
        if (strcmp(seen.message.type, "pass") == 0) {
            ++*ret_passes;
        } else if (strcmp(seen.message.type, "spread") == 0) {
            *ret_passes += PEERS * PASSES;
        } else if (size < 62) {
            line[size++] = "MFTJD"[seen.place];
            line[size++] = seen.message.type[0];
        }
    }
    line[size] = '\0';
    return error == TROUPE_ENOTFOUND ? TROUPE_OK : error;
}

static enum troupe_error check(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_address actor;
    enum troupe_error error;
    char line[64];
    int64_t passes = 0, count;
    bool full = false;
    while ((error = troupe_view_next_actor(view, NULL, &actor)) == TROUPE_OK) {
        if (strcmp(actor.key, "full") == 0) {
            full = true;
            DO(check_values(view, report));
        } else {
            DO(troupe_view_int(view, &integer, &count));
            passes += count;
        }
    }
    if (error != TROUPE_ENOTFOUND) {
        return error;
    }
    DO(line_up(view, line, &passes));
    /* Mail: stuck and what is behind it; the timer, the dead letter, the job. */
    if (full && (strcmp(line, "MsMaMaMaTaDrJw") != 0 || passes != 0)) {
        troupe_report_fault(report, "there are other messages than there were: %s", line);
    }
    if (!full && (line[0] || passes != BOXES * PEERS * PASSES)) {
        troupe_report_fault(report, "%" PRId64 " messages were passed or are on the way, not %d", passes,
                            BOXES * PEERS * PASSES);
    }
    return TROUPE_OK;
}

static const struct troupe_type types[] = {
    {.name = "keep/box",
     .handler = box,
     .values = values,
     .messages = messages,
     .jobs = jobs,
     .retry = {.attempts = 1000, .backoff_ms = 3600000, .backoff_max_ms = 3600000}},
    {.name = "keep/peer", .handler = peer, .values = values, .messages = messages},
};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI,
    .name = "kept",
    .version = "1",
    .types = types,
    .type_count = sizeof types / sizeof *types,
    .check = check,
};
