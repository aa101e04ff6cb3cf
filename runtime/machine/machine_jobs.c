/* machine_jobs.c - the jobs of a machine: asked for, begun, tried again, done, cancelled.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "core/pack.h"
#include "runtime/machine/machine_rows.h"

static void set_row(struct troupe__machine *machine, const struct troupe__job *job)
{
    unsigned char key[8];
    troupe__put_be64(key, job->id);
    machine->scratch.size = 0;
    troupe__job_encode(job, &machine->scratch);
    troupe__record_set(&machine->record, TROUPE__JOB, key, sizeof key, machine->scratch.data, machine->scratch.size);
    machine->counters_changed = true;
}

/* The job has ended, in this epoch. Frees it unless somebody else holds it. */
static void end_job(struct troupe__machine *machine, struct troupe__job *job)
{
    unsigned char key[8];
    struct troupe__timer timer;
    troupe__put_be64(key, job->id);
    troupe__record_remove(&machine->record, TROUPE__JOB, key, sizeof key);
    troupe__timers_cancel(&machine->timers, TROUPE__JOB_RETRY | job->id, &timer);
    troupe__jobs_remove(&machine->jobs, job);
}

static enum troupe_error send_result(struct troupe__machine *machine, const struct troupe__job *job, const char *name,
                                     struct troupe_bytes body)
{
    struct troupe__message *message = troupe__message_new(job->actor, job->actor, name, strlen(name), body);
    if (!message) {
        return troupe__machine_out_of_memory(machine);
    }
    message->kind = TROUPE__RESULT;
    message->correlation = job->id;
    message->job_attempts = (uint16_t)(job->attempt < UINT16_MAX ? job->attempt : UINT16_MAX);
    enum troupe_error result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
    }
    return result;
}

static bool pack_failure(struct troupe__buffer *body, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__pack(body, format, &args, text, sizeof text);
    va_end(args);
    assert(result != TROUPE_EINVAL);
    return result == TROUPE_OK;
}

static enum troupe_error fail_job(struct troupe__machine *machine, struct troupe__job *job, const char *reason)
{
    struct troupe__buffer body = {0};
    enum troupe_error result =
        pack_failure(&body, "{s:s s:s}", "job", troupe__job_name(job), "reason", reason)
            ? send_result(machine, job, TROUPE_JOB_FAILED, (struct troupe_bytes){body.data, body.size})
            : troupe__machine_out_of_memory(machine);
    troupe__buffer_free(&body);
    if (result == TROUPE_OK) {
        end_job(machine, job);
    }
    return result;
}

enum troupe_error troupe__machine_begin_job(struct troupe__machine *machine, struct troupe__job *job)
{
    if (!job->declared) {
        char reason[256];
        snprintf(reason, sizeof reason, "type '%s' has no job '%s' in this module", job->actor->type->name,
                 troupe__job_name(job));
        return fail_job(machine, job, reason);
    }
    struct troupe__job **begun =
        troupe__grow(machine->begun, machine->begun_count, &machine->begun_capacity, sizeof *begun);
    if (!begun) {
        return troupe__machine_out_of_memory(machine);
    }
    machine->begun = begun;
    machine->begun[machine->begun_count++] = troupe__job_hold(job);
    machine->stats.jobs_begun++;
    job->attempt++;
    set_row(machine, job);
    return TROUPE_OK;
}

enum troupe_error troupe__machine_add_job(struct troupe__machine *machine, struct troupe__job *job)
{
    if (!troupe__jobs_add(&machine->jobs, job)) {
        return troupe__machine_out_of_memory(machine);
    }
    enum troupe_error result = troupe__machine_begin_job(machine, job);
    if (result != TROUPE_OK && troupe__jobs_find(&machine->jobs, job->id)) {
        troupe__jobs_remove(&machine->jobs, troupe__job_hold(job)); /* On failure it stays the caller's. */
    }
    return result;
}

bool troupe__machine_cancel_job(struct troupe__machine *machine, uint64_t id)
{
    struct troupe__job *job = troupe__jobs_find(&machine->jobs, id);
    if (!job) {
        return false;
    }
    atomic_store(&job->cancelled, true);
    end_job(machine, job);
    return true;
}

static struct troupe_retry policy_of(const struct troupe__job *job)
{
    struct troupe_retry retry = job->declared->retry;
    retry.attempts = retry.attempts ? retry.attempts : 3;
    retry.backoff_ms = retry.backoff_ms ? retry.backoff_ms : 100;
    retry.backoff_max_ms = retry.backoff_max_ms ? retry.backoff_max_ms : 60000;
    return retry;
}

enum troupe_error troupe__machine_job_done(struct troupe__machine *machine, const struct troupe__job *done,
                                           enum troupe_error outcome, struct troupe_bytes output, const char *reason)
{
    struct troupe__job *job = troupe__jobs_find(&machine->jobs, done->id);
    if (!job) {
        return TROUPE_OK; /* Cancelled. */
    }
    assert(job == done);
    if (outcome == TROUPE_OK) {
        enum troupe_error result = send_result(machine, job, troupe__job_result(job), output);
        if (result == TROUPE_OK) {
            end_job(machine, job);
        }
        return result;
    }
    job->failures++;
    struct troupe_retry retry = policy_of(job);
    bool final = outcome == TROUPE_EREJECTED || job->failures >= retry.attempts;
    int64_t delay_ms = final ? 0 : troupe__machine_backoff(&retry, job->failures);
    if (machine->log) {
        char text[512];
        snprintf(text, sizeof text, "job %llu '%s' of %s/%s failed, attempt %u of %u%s: %.200s",
                 (unsigned long long)job->id, troupe__job_name(job), job->actor->type->name, job->actor->key,
                 job->failures, retry.attempts, final ? ", the actor is told" : ", it is tried again", reason);
        machine->log(machine->log_context, final ? TROUPE_WARNING : TROUPE_INFO, text);
    }
    if (final) {
        return fail_job(machine, job, reason);
    }
    set_row(machine, job); /* It counts the failures. */
    struct troupe__timer timer = {machine->ctx.now_ms + delay_ms, TROUPE__JOB_RETRY | job->id, job, 0};
    return troupe__timers_set(&machine->timers, timer) ? TROUPE_OK : troupe__machine_out_of_memory(machine);
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

void troupe__machine_seal_jobs(struct troupe__machine *machine, struct troupe__epoch *epoch)
{
    assert(epoch->job_count == 0); /* A job left in it would never be begun. */
    struct troupe__job **jobs = epoch->jobs;
    size_t capacity = epoch->job_capacity;
    epoch->jobs = machine->begun;
    epoch->job_count = machine->begun_count;
    epoch->job_capacity = machine->begun_capacity;
    machine->begun = jobs;
    machine->begun_count = 0;
    machine->begun_capacity = capacity;
}

void troupe__epoch_drop_jobs(struct troupe__epoch *epoch)
{
    for (size_t i = 0; i < epoch->job_count; i++) {
        troupe__job_release(epoch->jobs[i]);
    }
    epoch->job_count = 0;
}

void troupe__epoch_fini(struct troupe__epoch *epoch)
{
    troupe__epoch_drop_jobs(epoch);
    free(epoch->jobs);
    troupe__buffer_free(&epoch->record);
    troupe__buffer_free(&epoch->egress);
    troupe__buffer_free(&epoch->answers);
    *epoch = (struct troupe__epoch){0};
}
