/* misuse.c - a module whose handlers and jobs do what they must not, for test/misuse.sh.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Environment: MISUSE_GATE, a file that must exist before "forever" returns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <troupe.h>

static const struct troupe_value number = {"number", TROUPE_INT}, stranger = {"stranger", TROUPE_INT};
static const struct troupe_value *const values[] = {&number, NULL};

static void wait_for_gate(void)
{
    while (access(getenv("MISUSE_GATE"), F_OK) != 0) {
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

static enum troupe_error forever_job(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)job, (void)input;
    wait_for_gate();
    return TROUPE_OK;
}

static enum troupe_error exit_job(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)job, (void)input;
    exit(0);
}

static enum troupe_error format_job(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)input;
    (void)troupe_job_pack(job, "{s:", "key"); /* ignored; it fails all the same */
    return TROUPE_OK;
}

static const struct troupe_job_type forever = {.name = "forever", .run = forever_job},
                                    exits = {.name = "exits", .run = exit_job},
                                    format = {.name = "format", .run = format_job, .retry = {.attempts = 1}};
static const struct troupe_job_type *const jobs[] = {&forever, &exits, &format, NULL};

static volatile char sink;

/* Uses the stack up. */
static int recurse(int depth)
{
    volatile char much[4096];
    much[0] = (char)depth;
    sink = much[0];
    return depth < 0 ? depth : recurse(depth + 1) + much[0];
}

static enum troupe_error misuse(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *type = message->type;
    struct troupe_address self = troupe_self(ctx);
    struct troupe_bytes none = {NULL, 0};
    int64_t value;
    if (strcmp(type, "forever") == 0) {
        wait_for_gate();
    } else if (strcmp(type, "negative") == 0) {
        (void)troupe_send_after(ctx, -1, self, "x", none, NULL);
    } else if (strcmp(type, "century") == 0) {
        (void)troupe_send_after(ctx, INT64_C(100) * 366 * 86400 * 1000, self, "x", none, NULL);
    } else if (strcmp(type, "no-timeout") == 0) {
        (void)troupe_ask(ctx, self, "x", none, 0, NULL);
    } else if (strcmp(type, "open-format") == 0) {
        (void)troupe_send(ctx, self, "x", troupe_pack(ctx, "{s:i", "a", INT64_C(1)));
    } else if (strcmp(type, "wrong-letter") == 0) {
        (void)troupe_send(ctx, self, "x", troupe_pack(ctx, "[q]", INT64_C(1)));
    } else if (strcmp(type, "unpack-letter") == 0) {
        (void)troupe_unpack(ctx, (struct troupe_bytes){"\x91\x01", 2}, "[q]", &value);
    } else if (strcmp(type, "stranger") == 0) {
        (void)troupe_set_int(ctx, &stranger, 1);
    } else if (strcmp(type, "other-kind") == 0) {
        (void)troupe_set_bool(ctx, &number, true);
    } else if (strcmp(type, "no-name") == 0) {
        (void)troupe_send(ctx, self, NULL, none);
    } else if (strcmp(type, "no-slash") == 0) {
        (void)troupe_send(ctx, troupe_to("misuse", "x"), "x", none);
    } else if (strcmp(type, "no-key") == 0) {
        (void)troupe_send(ctx, troupe_to("test/misuse", NULL), "x", none);
    } else if (strcmp(type, "no-egress") == 0) {
        (void)troupe_emit(ctx, "", "k", none);
    } else if (strcmp(type, "odd-result") == 0) {
        return (enum troupe_error)99;
    } else if (strcmp(type, "write-const") == 0) {
        *(char *)(uintptr_t) "constant" = 'C';
    } else if (strcmp(type, "recurse") == 0) {
        return recurse(0) ? TROUPE_OK : TROUPE_EFAILED;
    } else if (strcmp(type, "double-free") == 0) {
        void *volatile memory = malloc(100);
        free(memory);
        free(memory);
    } else if (strcmp(type, "exit") == 0) {
        exit(0);
    } else if (strcmp(type, "job-forever") == 0) {
        return troupe_job(ctx, &forever, none, "done", NULL);
    } else if (strcmp(type, "job-exit") == 0) {
        return troupe_job(ctx, &exits, none, "done", NULL);
    } else if (strcmp(type, "job-format") == 0) {
        return troupe_job(ctx, &format, none, "done", NULL);
    } else {
        return troupe_emit(ctx, "out", self.key, message->body.size ? message->body : troupe_pack(ctx, "n"));
    }
    return TROUPE_OK; /* Whatever the call said. */
}

static const struct troupe_type types[] = {
    {.name = "test/misuse", .handler = misuse, .values = values, .retry = {.attempts = 1}, .jobs = jobs}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "misuse", "1", types, 1};
