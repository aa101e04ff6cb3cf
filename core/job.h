/* job.h - blocking work of an actor whose result has not come back: the jobs of a node, one run of one, its row.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     asked for --> waits for its epoch to be durable --> begun (queued, running) --> result: the job ends
 *                        ^                                        |
 *                        +---- time of the next attempt <---------+ failure, attempts left
 *
 * A crash takes every job back to the first wait. The row is set when the job is asked for, again each time before it
 * is begun (`attempt` grows), and removed in the epoch that takes its result in, or cancels it.
 * Row form: varint attempt, varint failures, the actor's type and key, job name, result name, input (counted strings).
 *
 * A job is shared by the machine and by whoever runs it, each with a reference. Threads other than the loop's read what
 * never changes, and `cancelled`. */
#ifndef TROUPE_CORE_JOB_H
#define TROUPE_CORE_JOB_H

#include <stdatomic.h>

#include "core/message.h"

enum {
    TROUPE__JOBS_MAX = 65536,               /* jobs of a node */
    TROUPE__JOBS_SIZE_MAX = 256 * 1048576,  /* bytes of their inputs */
    TROUPE__JOB_REASON_MAX = 2048 + 256 + 1 /* a crash's backtrace fits */
};

struct troupe__job {
    uint64_t id;
    struct troupe__actor *actor;            /* for the loop thread only, and while it is one of the node's jobs */
    const struct troupe_job_type *declared; /* NULL: the module has none of that name */
    atomic_uint references;
    uint32_t attempt;  /* how often it was begun */
    uint32_t failures; /* how often it returned an error */
    uint32_t input_size;
    uint8_t name_size, result_size, type_size, key_size;
    atomic_bool cancelled;
    char data[]; /* name, result, the actor's type and key, each with a NUL, then the input */
};

static inline const char *troupe__job_name(const struct troupe__job *job)
{
    return job->data;
}

static inline const char *troupe__job_result(const struct troupe__job *job)
{
    return job->data + job->name_size + 1;
}

static inline const char *troupe__job_actor_type(const struct troupe__job *job)
{
    return troupe__job_result(job) + job->result_size + 1;
}

static inline const char *troupe__job_actor_key(const struct troupe__job *job)
{
    return troupe__job_actor_type(job) + job->type_size + 1;
}

static inline struct troupe_bytes troupe__job_input(const struct troupe__job *job)
{
    return (struct troupe_bytes){troupe__job_actor_key(job) + job->key_size + 1, job->input_size};
}

/* A new job with one reference, the caller's; NULL when out of memory. Lengths must have been checked. */
struct troupe__job *troupe__job_new(struct troupe__actor *actor, struct troupe_bytes name, struct troupe_bytes result,
                                    struct troupe_bytes input);

static inline struct troupe__job *troupe__job_hold(struct troupe__job *job)
{
    atomic_fetch_add(&job->references, 1);
    return job;
}

void troupe__job_release(struct troupe__job *job); /* NULL is fine. */

void troupe__job_encode(const struct troupe__job *job, struct troupe__buffer *buffer);

/* Decode a row form; the id is its key. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__job_decode(struct troupe__actors *actors, struct troupe_bytes row, struct troupe__job **ret);

/* ---- all jobs of a node, by id ----------------------------------------------------------------------------------- */

/* In the order of ids, which only grow; a removed one leaves a gap until the next growth. Zero bytes are an empty set.
 * Each job in it holds a reference. */
struct troupe__jobs {
    struct troupe__jobs_entry {
        uint64_t id;
        struct troupe__job *job; /* NULL: removed */
    } * entries;
    size_t used, capacity;
    size_t count, input_size;
};

void troupe__jobs_fini(struct troupe__jobs *jobs);

/* Takes over the reference. Returns false when out of memory; it is the caller's then. */
bool troupe__jobs_add(struct troupe__jobs *jobs, struct troupe__job *job);
struct troupe__job *troupe__jobs_find(const struct troupe__jobs *jobs, uint64_t id);

/* Gives up the reference. `job` must be in it. */
void troupe__jobs_remove(struct troupe__jobs *jobs, struct troupe__job *job);

/* ---- one run ----------------------------------------------------------------------------------------------------- */

/* Made and freed by the loop thread, handed to a worker and back. */
struct troupe_job_context {
    struct troupe_job_context *next; /* of whichever list it is in */
    struct troupe__job *job;         /* a reference of its own */
    const atomic_bool *stopping;     /* the node's; NULL: never */
    enum troupe_error result;
    struct troupe__buffer output;
    struct troupe__job_copy *copies; /* strings that live as long as the run */
    enum troupe_error sticky;
    char reason[TROUPE__JOB_REASON_MAX];
};

/* NULL when out of memory. Takes its own reference. */
struct troupe_job_context *troupe__job_run_new(struct troupe__job *job, const atomic_bool *stopping);
void troupe__job_run_free(struct troupe_job_context *run);

/* Run it, on any thread. Afterwards `result` says how it went, `output` or `reason` what came out. */
void troupe__job_run(struct troupe_job_context *run);

#endif
