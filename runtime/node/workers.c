/* workers.c - the threads that run jobs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/workers.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct list {
    struct troupe_job_context *oldest, *newest;
};

struct worker {
    struct troupe__workers *owner;
    pthread_t thread;
    /* Under the mutex: */
    struct troupe_job_context *run; /* NULL: idle */
    bool left;                      /* by the stop, which nobody waits for */
    int64_t begun_ms, report_ms;    /* monotonic */
};

struct troupe__workers {
    struct troupe__workers_options options;
    struct troupe__guard *guard;
    pthread_mutex_t mutex;
    pthread_cond_t work, ended;
    atomic_bool stopping;
    /* Under the mutex: */
    struct list queue, done;
    unsigned idle, running;
    bool leaving;  /* threads end when they are idle */
    unsigned left; /* threads that were left behind; the last one frees all */
    /* Of the loop thread: */
    unsigned started;
    struct worker threads[];
};

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void push(struct list *list, struct troupe_job_context *run)
{
    run->next = NULL;
    if (list->oldest) {
        list->newest->next = run;
    } else {
        list->oldest = run;
    }
    list->newest = run;
}

static struct troupe_job_context *pop(struct list *list)
{
    struct troupe_job_context *run = list->oldest;
    if (run) {
        list->oldest = run->next;
    }
    return run;
}

/* A job that has crashed the node too often is not run again: its actor is told why. */
static void run_guarded(struct worker *worker, struct troupe_job_context *run)
{
    struct troupe__workers *workers = worker->owner;
    struct troupe__guard *guard = workers->guard;
    unsigned index = (unsigned)(worker - workers->threads);
    const struct troupe__suspect *suspect =
        guard ? troupe__guard_convicted(guard, troupe__guard_job_fingerprint(run->job)) : NULL;
    if (suspect) {
        run->result = TROUPE_EREJECTED;
        char text[TROUPE__SIGNAL_TEXT_MAX];
        snprintf(run->reason, sizeof run->reason, "crashed the node %u times: %s\n%s", suspect->crashes,
                 troupe__guard_signal_text(suspect->signal, text), suspect->trace);
        return;
    }
    if (guard) {
        troupe__guard_enter_job(guard, index, run->job);
    }
    troupe__job_run(run);
    if (guard) {
        troupe__guard_leave_job(guard, index);
    }
}

static void free_all(struct troupe__workers *workers)
{
    while (workers->queue.oldest) {
        troupe__job_run_free(pop(&workers->queue));
    }
    while (workers->done.oldest) {
        troupe__job_run_free(pop(&workers->done));
    }
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->ended);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct troupe__workers *workers = worker->owner;
    void *stack = workers->guard ? troupe__guard_catch_thread((unsigned)(worker - workers->threads)) : NULL;
    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        struct troupe_job_context *run = workers->leaving ? NULL : pop(&workers->queue);
        if (!run) {
            if (workers->leaving) {
                break;
            }
            workers->idle++;
            pthread_cond_wait(&workers->work, &workers->mutex);
            workers->idle--;
            continue;
        }
        worker->run = run;
        worker->begun_ms = monotonic_ms();
        worker->report_ms = worker->begun_ms + workers->options.slow_ms;
        workers->running++;
        pthread_mutex_unlock(&workers->mutex);
        if (!troupe_job_cancelled(run)) {
            run_guarded(worker, run);
        } else {
            run->result = TROUPE_EFAILED; /* Whoever takes it looks at the job first. */
        }
        pthread_mutex_lock(&workers->mutex);
        worker->run = NULL;
        workers->running--;
        push(&workers->done, run);
        pthread_cond_signal(&workers->ended);
        if (!workers->leaving) {
            workers->options.wake(workers->options.wake_context);
        }
    }
    bool last = worker->left && --workers->left == 0;
    pthread_mutex_unlock(&workers->mutex);
    if (last) {
        free_all(workers);
    }
    troupe__guard_forget_thread(stack);
    return NULL;
}

enum troupe_error troupe__workers_start(const struct troupe__workers_options *options, struct troupe__workers **ret)
{
    assert(options->count >= 1 && options->count <= TROUPE__WORKERS_MAX);
    struct troupe__workers *workers = calloc(1, sizeof *workers + options->count * sizeof *workers->threads);
    if (!workers) {
        return TROUPE_ENOMEM;
    }
    workers->options = *options;
    atomic_init(&workers->stopping, false);
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->work, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&workers->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    *ret = workers;
    return TROUPE_OK;
}

void troupe__workers_set_guard(struct troupe__workers *workers, struct troupe__guard *guard)
{
    assert(workers->started == 0);
    workers->guard = guard;
}

static bool start_thread(struct troupe__workers *workers)
{
    struct worker *worker = &workers->threads[workers->started];
    worker->owner = workers;
    sigset_t all, before; /* Signals belong to the loop, but for those of a crash. */
    sigfillset(&all);
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        sigdelset(&all, crashes[i]);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&worker->thread, NULL, work, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    workers->started += started;
    return started;
}

enum troupe_error troupe__workers_add(struct troupe__workers *workers, struct troupe__job *job)
{
    struct troupe_job_context *run = troupe__job_run_new(job, &workers->stopping);
    if (!run) {
        return TROUPE_ENOMEM;
    }
    pthread_mutex_lock(&workers->mutex);
    bool more = workers->idle == 0 || workers->queue.oldest;
    pthread_mutex_unlock(&workers->mutex);
    if (more && workers->started < workers->options.count && !start_thread(workers) && workers->started == 0) {
        troupe__job_run_free(run);
        return TROUPE_ENOMEM;
    }
    troupe__job_release(job); /* The run has its own. */
    pthread_mutex_lock(&workers->mutex);
    push(&workers->queue, run);
    pthread_cond_signal(&workers->work);
    pthread_mutex_unlock(&workers->mutex);
    return TROUPE_OK;
}

struct troupe_job_context *troupe__workers_take(struct troupe__workers *workers)
{
    struct troupe_job_context *run;
    do {
        pthread_mutex_lock(&workers->mutex);
        run = pop(&workers->done);
        pthread_mutex_unlock(&workers->mutex);
        if (run && !atomic_load(&run->job->cancelled)) {
            return run;
        }
        troupe__job_run_free(run);
    } while (run);
    return NULL;
}

bool troupe__workers_pending(struct troupe__workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    bool pending = workers->running > 0 || workers->done.oldest;
    pthread_mutex_unlock(&workers->mutex);
    return pending;
}

void troupe__workers_wait(struct troupe__workers *workers, int64_t timeout_ms)
{
    int64_t until_ms = monotonic_ms() + timeout_ms;
    struct timespec until = {(time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000};
    pthread_mutex_lock(&workers->mutex);
    int timed_out = 0;
    while (workers->running > 0 && !workers->done.oldest && !timed_out) {
        timed_out = pthread_cond_timedwait(&workers->ended, &workers->mutex, &until);
    }
    pthread_mutex_unlock(&workers->mutex);
}

unsigned troupe__workers_running(struct troupe__workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    unsigned running = workers->running;
    pthread_mutex_unlock(&workers->mutex);
    return running;
}

void troupe__workers_report_slow(struct troupe__workers *workers, troupe_log_fn log, void *log_context)
{
    int64_t now_ms = monotonic_ms();
    for (unsigned i = 0; i < workers->started; i++) {
        struct worker *worker = &workers->threads[i];
        char text[512] = "";
        pthread_mutex_lock(&workers->mutex);
        if (worker->run && now_ms >= worker->report_ms) {
            const struct troupe__job *job = worker->run->job;
            int64_t age_ms = now_ms - worker->begun_ms;
            snprintf(text, sizeof text, "job %llu '%s' of %s/%s has been running for %lld s",
                     (unsigned long long)job->id, troupe__job_name(job), troupe__job_actor_type(job),
                     troupe__job_actor_key(job), (long long)(age_ms / 1000));
            worker->report_ms = now_ms + age_ms;
        }
        pthread_mutex_unlock(&workers->mutex);
        if (text[0] && log) {
            log(log_context, TROUPE_WARNING, text);
        }
    }
}

void troupe__workers_hurry(struct troupe__workers *workers)
{
    atomic_store(&workers->stopping, true);
    pthread_mutex_lock(&workers->mutex);
    while (workers->queue.oldest) {
        troupe__job_run_free(pop(&workers->queue));
    }
    pthread_mutex_unlock(&workers->mutex);
}

void troupe__workers_stop(struct troupe__workers *workers)
{
    troupe__workers_hurry(workers);
    pthread_mutex_lock(&workers->mutex);
    workers->leaving = true;
    pthread_cond_broadcast(&workers->work);
    for (unsigned i = 0; i < workers->started; i++) {
        workers->threads[i].left = workers->threads[i].run != NULL;
        workers->left += workers->threads[i].left;
    }
    workers->left++; /* This thread too. */
    pthread_mutex_unlock(&workers->mutex);
    for (unsigned i = 0; i < workers->started; i++) {
        if (workers->threads[i].left) {
            pthread_detach(workers->threads[i].thread);
        } else {
            pthread_join(workers->threads[i].thread, NULL);
        }
    }
    pthread_mutex_lock(&workers->mutex);
    bool last = --workers->left == 0;
    pthread_mutex_unlock(&workers->mutex);
    if (last) {
        free_all(workers);
    }
}
