/* node_jobs.c - the jobs of a node: begun when their epoch is durable, their results taken in.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "runtime/node/node.h"

enum {
    PATIENCE_MS = 5000, /* how long running jobs may take to end when the node stops */
    WATCH_MS = 1000,    /* how often slow jobs are looked for while there are any */
};

static int64_t monotonic_ms(const struct troupe_node *node)
{
    return (int64_t)(troupe__monotonic_ns(node->clock) / 1000000);
}

static void on_watch(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct troupe_node *node = watcher->data;
    troupe__workers_report_slow(node->workers, node->options.log, node->options.log_context);
    if (node->machine.jobs.count == 0 && troupe__workers_running(node->workers) == 0) {
        ev_timer_stop(loop, watcher);
    }
}

enum troupe_error troupe__node_start_jobs(struct troupe_node *node, void (*wake)(void *context))
{
    struct troupe__workers_options options = {.count = node->options.workers,
                                              .slow_ms =
                                                  node->options.slow_ms ? node->options.slow_ms : TROUPE__SLOW_MS,
                                              .wake = wake,
                                              .wake_context = node};
    if (options.count > TROUPE__WORKERS_MAX) {
        snprintf(node->error, sizeof node->error, "%u workers are over the limit of %d", options.count,
                 TROUPE__WORKERS_MAX);
        return TROUPE_EINVAL;
    }
    if (options.count == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        options.count = cores < 1 ? 1 : cores > TROUPE__WORKERS_MAX ? TROUPE__WORKERS_MAX : (unsigned)cores;
    }
    ev_timer_init(&node->watch, on_watch, 0, (double)WATCH_MS / 1000);
    node->watch.data = node;
    enum troupe_error result = troupe__workers_start(&options, &node->workers);
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "cannot start the workers: out of memory");
    }
    return result;
}

static enum troupe_error begin(struct troupe_node *node)
{
    for (size_t i = 0; i < node->epoch.job_count && !node->stopping; i++) {
        struct troupe__job *job = node->epoch.jobs[i];
        if (troupe__workers_add(node->workers, troupe__job_hold(job)) != TROUPE_OK) {
            troupe__job_release(job);
            snprintf(node->error, sizeof node->error, "cannot start a thread for jobs: out of memory or threads");
            return TROUPE_ENOMEM;
        }
        if (!ev_is_active(&node->watch)) {
            ev_timer_again(node->loop, &node->watch);
        }
    }
    troupe__epoch_drop_jobs(&node->epoch);
    return TROUPE_OK;
}

enum troupe_error troupe__node_turn_jobs(struct troupe_node *node)
{
    enum troupe_error result = node->committed.busy ? TROUPE_OK : begin(node);
    struct troupe_job_context *run;
    while (result == TROUPE_OK && troupe__machine_epoch_size(&node->machine) < TROUPE__RECORD_SIZE_MAX &&
           (run = troupe__workers_take(node->workers)) != NULL) {
        struct troupe_bytes output = {run->output.data, run->output.size};
        /* One that gave up because the node stops has not failed: the next start runs it. */
        if (!node->stopping || run->result == TROUPE_OK) {
            result = troupe__machine_job_done(&node->machine, run->job, run->result, output, run->reason);
        }
        troupe__job_run_free(run);
    }
    if (result != TROUPE_OK && node->error[0] == '\0') {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
    }
    if (node->stopping && node->hurried_ms == 0) {
        node->hurried_ms = monotonic_ms(node);
        troupe__workers_hurry(node->workers);
    }
    return result;
}

bool troupe__node_jobs_ended(const struct troupe_node *node)
{
    if (!node->stopping) {
        return node->machine.jobs.count == 0;
    }
    return node->hurried_ms != 0 &&
           (!troupe__workers_pending(node->workers) || monotonic_ms(node) - node->hurried_ms >= PATIENCE_MS);
}

void troupe__node_wait_jobs(struct troupe_node *node)
{
    troupe__workers_wait(node->workers, WATCH_MS);
}

void troupe__node_stop_jobs(struct troupe_node *node)
{
    unsigned running = troupe__workers_running(node->workers);
    if (running > 0 && node->options.log) {
        char text[128];
        snprintf(text, sizeof text, "%u jobs run on and are left behind: the next start runs them again", running);
        node->options.log(node->options.log_context, TROUPE_WARNING, text);
    }
    ev_timer_stop(node->loop, &node->watch);
    troupe__workers_stop(node->workers);
    node->workers = NULL;
}
