/* jobs.c - a module whose actors begin jobs, for test/jobs.sh.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Environment: JOBS_TRACE, a file that each run of "square" appends a line to when it begins; JOBS_GATE, a file that
 * must exist before it goes on. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "troupe.h"

static void trace(const char *text)
{
    int file = open(getenv("JOBS_TRACE"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file < 0 || write(file, text, strlen(text)) < 0) {
        abort();
    }
    close(file);
}

static enum troupe_error square(struct troupe_job_context *job, struct troupe_bytes input)
{
    int64_t n;
    char line[64];
    enum troupe_error error = troupe_job_unpack(job, input, "{s:i}", "n", &n);
    if (error != TROUPE_OK) {
        return error;
    }
    snprintf(line, sizeof line, "%lld %u\n", (long long)n, troupe_job_attempt(job));
    trace(line);
    while (access(getenv("JOBS_GATE"), F_OK) != 0) {
        if (troupe_job_cancelled(job)) {
            return troupe_job_fail(job, TROUPE_EFAILED, "cancelled");
        }
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return troupe_job_pack(job, "{s:i s:i}", "n", n, "square", n * n);
}

static enum troupe_error crash(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)job, (void)input;
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    return TROUPE_OK;
}

static enum troupe_error fail(struct troupe_job_context *job, struct troupe_bytes input)
{
    (void)input;
    return troupe_job_fail(job, TROUPE_EFAILED, "attempt %u failed as told", troupe_job_attempt(job));
}

static const struct troupe_job_type square_job = {.name = "square", .run = square},
                                    crash_job = {.name = "crash", .run = crash},
                                    fail_job = {.name = "fail", .run = fail, .retry = {.attempts = 2, .backoff_ms = 1}};
static const struct troupe_job_type *const jobs[] = {&square_job, &crash_job, &fail_job, NULL};

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "square") == 0) {
        return troupe_job(ctx, &square_job, message->body, "squared", NULL);
    }
    if (strcmp(message->type, "crash") == 0) {
        return troupe_job(ctx, &crash_job, message->body, "survived", NULL);
    }
    if (strcmp(message->type, "fail") == 0) {
        return troupe_job(ctx, &fail_job, message->body, "succeeded", NULL);
    }
    return troupe_emit(ctx, "out", troupe_self(ctx).key,
                       troupe_pack(ctx, "{s:s s:i s:m}", "message", message->type, "attempts",
                                   (int64_t)message->job_attempts, "body", message->body));
}

static const struct troupe_type types[] = {{.name = "test/jobs", .handler = handle, .jobs = jobs}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "jobs", "1", types, 1};
