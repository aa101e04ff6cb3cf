/* workers.h - the threads that run jobs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread is started when a job finds all others at work, up to the number wanted: a node without jobs has none.
 * The queue needs no limit of its own, since a node has at most TROUPE__JOBS_MAX jobs. All functions are for the loop
 * thread. */
#ifndef TROUPE_RUNTIME_NODE_WORKERS_H
#define TROUPE_RUNTIME_NODE_WORKERS_H

#include "core/job.h"
#include "runtime/guard.h"

struct troupe__workers;

struct troupe__workers_options {
    unsigned count;              /* 1 to TROUPE__WORKERS_MAX */
    int64_t slow_ms;             /* a job that runs longer is reported */
    void (*wake)(void *context); /* on a worker's thread: there is something to take */
    void *wake_context;
};

/* Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__workers_start(const struct troupe__workers_options *options, struct troupe__workers **ret);

/* Where jobs are written down before they begin; before the first is added. */
void troupe__workers_set_guard(struct troupe__workers *workers, struct troupe__guard *guard);

/* Let `job` be run; on TROUPE_OK its reference is the workers'. Errors: TROUPE_ENOMEM: no memory, or not one thread. */
enum troupe_error troupe__workers_add(struct troupe__workers *workers, struct troupe__job *job);

/* A run that has ended, the caller's to free; NULL when there is none. A job that was cancelled before its turn is not
 * run and does not come back. */
struct troupe_job_context *troupe__workers_take(struct troupe__workers *workers);

/* Whether anything runs, or can be taken. */
bool troupe__workers_pending(struct troupe__workers *workers);

/* Until something can be taken, or `timeout_ms` has passed; at once when nothing runs. */
void troupe__workers_wait(struct troupe__workers *workers, int64_t timeout_ms);

/* Jobs that run now. */
unsigned troupe__workers_running(struct troupe__workers *workers);

/* Log each job that has been running for `slow_ms`, then twice as long, and so on. */
void troupe__workers_report_slow(struct troupe__workers *workers, troupe_log_fn log, void *log_context);

/* Begin no more, and let troupe_job_cancelled say so to those that run. */
void troupe__workers_hurry(struct troupe__workers *workers);

/* Free all. A thread whose job still runs is left alone, with the memory it needs. */
void troupe__workers_stop(struct troupe__workers *workers);

#endif
