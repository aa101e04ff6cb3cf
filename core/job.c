/* job.c - blocking work of an actor whose result has not come back: the jobs of a node, one run of one, its row.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/job.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "core/pack.h"

/* ---- a job ------------------------------------------------------------------------------------------------------- */

static const struct troupe_job_type *find_declared(const struct troupe__actor *actor, struct troupe_bytes name)
{
    const struct troupe_type *type = actor->type->declared;
    for (size_t i = 0; type && type->jobs && type->jobs[i]; i++) {
        const char *declared = type->jobs[i]->name;
        if (strlen(declared) == name.size && memcmp(declared, name.data, name.size) == 0) {
            return type->jobs[i];
        }
    }
    return NULL;
}

static char *put_text(char *at, struct troupe_bytes text)
{
    memcpy(at, text.data, text.size);
    at[text.size] = '\0';
    return at + text.size + 1;
}

struct troupe__job *troupe__job_new(struct troupe__actor *actor, struct troupe_bytes name, struct troupe_bytes result,
                                    struct troupe_bytes input)
{
    assert(name.size <= TROUPE_NAME_MAX && result.size <= TROUPE_NAME_MAX && input.size <= UINT32_MAX);
    struct troupe_bytes type = {actor->type->name, strlen(actor->type->name)}, key = {actor->key, actor->key_size};
    struct troupe__job *job =
        malloc(sizeof *job + name.size + 1 + result.size + 1 + type.size + 1 + key.size + 1 + input.size);
    if (!job) {
        return NULL;
    }
    *job = (struct troupe__job){.actor = actor,
                                .declared = find_declared(actor, name),
                                .input_size = (uint32_t)input.size,
                                .name_size = (uint8_t)name.size,
                                .result_size = (uint8_t)result.size,
                                .type_size = (uint8_t)type.size,
                                .key_size = (uint8_t)key.size};
    atomic_init(&job->references, 1);
    atomic_init(&job->cancelled, false);
    put_text(put_text(put_text(put_text(job->data, name), result), type), key);
    if (input.size > 0) {
        memcpy((char *)troupe__job_input(job).data, input.data, input.size);
    }
    return job;
}

void troupe__job_release(struct troupe__job *job)
{
    if (job && atomic_fetch_sub(&job->references, 1) == 1) {
        free(job);
    }
}

void troupe__job_encode(const struct troupe__job *job, struct troupe__buffer *buffer)
{
    struct troupe_bytes input = troupe__job_input(job);
    troupe__buffer_put_varint(buffer, job->attempt);
    troupe__buffer_put_varint(buffer, job->failures);
    troupe__address_encode(job->actor, buffer);
    troupe__buffer_put_string(buffer, troupe__job_name(job), job->name_size);
    troupe__buffer_put_string(buffer, troupe__job_result(job), job->result_size);
    troupe__buffer_put_string(buffer, input.data, input.size);
}

enum troupe_error troupe__job_decode(struct troupe__actors *actors, struct troupe_bytes row, struct troupe__job **ret)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    uint64_t attempt = troupe__cursor_varint(&cursor), failures = troupe__cursor_varint(&cursor);
    struct troupe__actor *actor = troupe__address_decode(actors, &cursor);
    if (!actor) {
        return cursor.failed ? TROUPE_ECORRUPT : TROUPE_ENOMEM;
    }
    struct troupe_bytes name, result, input;
    name.data = troupe__cursor_string(&cursor, &name.size);
    result.data = troupe__cursor_string(&cursor, &result.size);
    input.data = troupe__cursor_string(&cursor, &input.size);
    if (cursor.failed || cursor.at != cursor.end || name.size == 0 || name.size > TROUPE_NAME_MAX || result.size == 0 ||
        result.size > TROUPE_NAME_MAX || input.size > TROUPE_BODY_MAX || attempt > UINT32_MAX ||
        failures > UINT32_MAX || memchr(name.data, 0, name.size) || memchr(result.data, 0, result.size)) {
        return TROUPE_ECORRUPT;
    }
    struct troupe__job *job = troupe__job_new(actor, name, result, input);
    if (!job) {
        return TROUPE_ENOMEM;
    }
    job->attempt = (uint32_t)attempt;
    job->failures = (uint32_t)failures;
    *ret = job;
    return TROUPE_OK;
}

/* ---- all jobs of a node, by id ----------------------------------------------------------------------------------- */

void troupe__jobs_fini(struct troupe__jobs *jobs)
{
    for (size_t i = 0; i < jobs->used; i++) {
        troupe__job_release(jobs->entries[i].job);
    }
    free(jobs->entries);
    *jobs = (struct troupe__jobs){0};
}

/* Close the gaps; if that does not help, double. */
static bool make_room(struct troupe__jobs *jobs)
{
    size_t kept = 0;
    for (size_t i = 0; i < jobs->used; i++) {
        if (jobs->entries[i].job) {
            jobs->entries[kept++] = jobs->entries[i];
        }
    }
    jobs->used = kept;
    if (kept > 0 && kept * 2 <= jobs->capacity) {
        return true;
    }
    struct troupe__jobs_entry *entries = troupe__grow(jobs->entries, jobs->capacity, &jobs->capacity, sizeof *entries);
    jobs->entries = entries ? entries : jobs->entries;
    return entries != NULL;
}

bool troupe__jobs_add(struct troupe__jobs *jobs, struct troupe__job *job)
{
    assert(jobs->used == 0 || jobs->entries[jobs->used - 1].id < job->id);
    if (jobs->used == jobs->capacity && !make_room(jobs)) {
        return false;
    }
    jobs->entries[jobs->used++] = (struct troupe__jobs_entry){job->id, job};
    jobs->count++;
    jobs->input_size += job->input_size;
    job->actor->references++;
    return true;
}

static struct troupe__jobs_entry *find(const struct troupe__jobs *jobs, uint64_t id)
{
    size_t low = 0, high = jobs->used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (jobs->entries[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < jobs->used && jobs->entries[low].id == id ? &jobs->entries[low] : NULL;
}

struct troupe__job *troupe__jobs_find(const struct troupe__jobs *jobs, uint64_t id)
{
    const struct troupe__jobs_entry *entry = find(jobs, id);
    return entry ? entry->job : NULL;
}

void troupe__jobs_remove(struct troupe__jobs *jobs, struct troupe__job *job)
{
    struct troupe__jobs_entry *entry = find(jobs, job->id);
    assert(entry && entry->job == job);
    entry->job = NULL;
    jobs->count--;
    jobs->input_size -= job->input_size;
    job->actor->references--;
    while (jobs->used > 0 && !jobs->entries[jobs->used - 1].job) {
        jobs->used--;
    }
    troupe__job_release(job);
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

struct troupe__job_copy {
    struct troupe__job_copy *older;
    char data[];
};

struct troupe_job_context *troupe__job_run_new(struct troupe__job *job, const atomic_bool *stopping)
{
    struct troupe_job_context *run = calloc(1, sizeof *run);
    if (run) {
        run->job = troupe__job_hold(job);
        run->stopping = stopping;
    }
    return run;
}

void troupe__job_run_free(struct troupe_job_context *run)
{
    if (run) {
        while (run->copies) {
            struct troupe__job_copy *older = run->copies->older;
            free(run->copies);
            run->copies = older;
        }
        troupe__buffer_free(&run->output);
        troupe__job_release(run->job);
        free(run);
    }
}

void troupe__job_run(struct troupe_job_context *run)
{
    assert(run->job->declared);
    run->sticky = TROUPE_OK;
    run->result = run->job->declared->run(run, troupe__job_input(run->job));
    if (run->result == TROUPE_OK) {
        run->result = run->sticky;
    }
    if (run->result != TROUPE_OK && run->reason[0] == '\0') {
        snprintf(run->reason, sizeof run->reason, "%s", troupe_error_text(run->result));
    }
}

enum troupe_error troupe_job_fail(struct troupe_job_context *job, enum troupe_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(job->reason, sizeof job->reason, format, args);
    va_end(args);
    return error;
}

/* The job fails even if it does not look at what the call returned. */
static enum troupe_error misuse(struct troupe_job_context *job, enum troupe_error error)
{
    job->sticky = job->sticky == TROUPE_OK ? error : job->sticky;
    return error;
}

uint32_t troupe_job_attempt(const struct troupe_job_context *job)
{
    return job->job->attempt;
}

uint64_t troupe_job_id(const struct troupe_job_context *job)
{
    return job->job->id;
}

struct troupe_address troupe_job_actor(const struct troupe_job_context *job)
{
    return troupe_to(troupe__job_actor_type(job->job), troupe__job_actor_key(job->job));
}

bool troupe_job_cancelled(const struct troupe_job_context *job)
{
    return atomic_load(&job->job->cancelled) || (job->stopping && atomic_load(job->stopping));
}

static enum troupe_error check_output(struct troupe_job_context *job)
{
    if (job->output.failed) {
        return misuse(job, TROUPE_ENOMEM);
    }
    if (job->output.size > TROUPE_BODY_MAX) {
        troupe_job_fail(job, TROUPE_ETOOBIG, "a result of %zu bytes is over the limit of %d", job->output.size,
                        TROUPE_BODY_MAX);
        return misuse(job, TROUPE_ETOOBIG);
    }
    return TROUPE_OK;
}

enum troupe_error troupe_job_return(struct troupe_job_context *job, struct troupe_bytes output)
{
    job->output.size = 0;
    troupe__buffer_put(&job->output, output.data, output.size);
    return check_output(job);
}

enum troupe_error troupe_job_pack(struct troupe_job_context *job, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    job->output.size = 0;
    enum troupe_error result = troupe__pack(&job->output, format, &args, text, sizeof text);
    va_end(args);
    if (result == TROUPE_EINVAL) {
        troupe_job_fail(job, result, "troupe_job_pack: %s", text);
    }
    return result == TROUPE_OK ? check_output(job) : misuse(job, result);
}

static char *copy_string(void *context, const void *data, size_t size)
{
    struct troupe_job_context *job = context;
    struct troupe__job_copy *copy = malloc(sizeof *copy + size + 1);
    if (!copy) {
        return NULL;
    }
    copy->older = job->copies;
    job->copies = copy;
    if (size > 0) {
        memcpy(copy->data, data, size);
    }
    copy->data[size] = '\0';
    return copy->data;
}

enum troupe_error troupe_job_unpack(struct troupe_job_context *job, struct troupe_bytes body, const char *format, ...)
{
    char text[256] = "";
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_string, job, text, sizeof text);
    va_end(args);
    if (result != TROUPE_OK) {
        snprintf(job->reason, sizeof job->reason, "%s", text);
    }
    return result == TROUPE_EINVAL || result == TROUPE_ENOMEM ? misuse(job, result) : result;
}
