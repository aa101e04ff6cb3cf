/* workers_test.c - the threads that run jobs: all come back, cancelled ones do not, slow ones are reported, and a stop
 * waits for none.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <stdlib.h>

#include "runtime/node/workers.h"

enum { THREADS = 3, JOBS = 200, DEADLINE_MS = 20000 };

static sem_t begun, gate; /* "wait" posts the one and takes the other */
static atomic_int running, running_most;

static enum troupe_error quick(struct troupe_job_context *job, struct troupe_bytes input)
{
    int now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&running_most);
    while (now > most && !atomic_compare_exchange_weak(&running_most, &most, now)) {
    }
    enum troupe_error result = troupe_job_return(job, input);
    atomic_fetch_sub(&running, 1);
    return result;
}

static enum troupe_error wait_for_gate(struct troupe_job_context *job, struct troupe_bytes input)
{
    sem_post(&begun);
    sem_wait(&gate);
    return troupe_job_cancelled(job) ? TROUPE_EFAILED : troupe_job_return(job, input);
}

static const struct troupe_job_type quick_job = {.name = "quick", .run = quick},
                                    wait_job = {.name = "wait", .run = wait_for_gate};
static const struct troupe_job_type *const jobs[] = {&quick_job, &wait_job, NULL};

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)ctx, (void)message;
    return TROUPE_OK;
}

static const struct troupe_type types[] = {{.name = "test/jobs", .handler = handle, .jobs = jobs}};
static const struct troupe_module module = {TROUPE_ABI, "jobs", "1", types, 1};

struct fixture {
    struct troupe__actors actors;
    struct troupe__workers *workers;
    uint64_t id;
};

static void wake(void *context)
{
    (void)context;
}

static void setup(struct fixture *f)
{
    char error[200];
    struct troupe__workers_options options = {.count = THREADS, .slow_ms = 0, .wake = wake};
    *f = (struct fixture){0};
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
    assert_int_equal(troupe__actors_init(&f->actors, &module, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__workers_start(&options, &f->workers), TROUPE_OK);
}

static struct troupe_bytes text(const char *string)
{
    return (struct troupe_bytes){string, strlen(string)};
}

/* The caller holds a reference too. */
static struct troupe__job *add(struct fixture *f, const char *name)
{
    struct troupe__actor *actor = troupe__actors_get(&f->actors, "test/jobs", "a", 1);
    struct troupe__job *job = troupe__job_new(actor, text(name), text("done"), text(name));
    assert_non_null(job);
    job->id = ++f->id;
    assert_int_equal(troupe__workers_add(f->workers, troupe__job_hold(job)), TROUPE_OK);
    return job;
}

/* The next one that ends, waited for; NULL when none runs any more. */
static struct troupe_job_context *take(struct fixture *f)
{
    struct troupe_job_context *run = troupe__workers_take(f->workers);
    if (!run) {
        troupe__workers_wait(f->workers, DEADLINE_MS);
        run = troupe__workers_take(f->workers);
    }
    return run;
}

static void all_jobs_come_back_and_no_more_run_at_once_than_there_are_threads(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    bool seen[JOBS + 1] = {false};
    size_t count = 0;
    for (int i = 0; i < JOBS; i++) {
        troupe__job_release(add(&f, "quick"));
    }
    while (count < JOBS) { /* Between two of them none may run for a moment. */
        struct troupe_job_context *run = take(&f);
        if (run) {
            assert_int_equal(run->result, TROUPE_OK);
            assert_memory_equal(run->output.data, "quick", 5);
            assert_false(seen[run->job->id]);
            seen[run->job->id] = true;
            count++;
            troupe__job_run_free(run);
        }
    }
    assert_null(troupe__workers_take(f.workers));
    assert_false(troupe__workers_pending(f.workers));
    assert_true(atomic_load(&running_most) <= THREADS);
    troupe__workers_stop(f.workers);
    troupe__actors_fini(&f.actors);
}

/* Whether it waits for its turn or runs. */
static void a_cancelled_job_does_not_come_back(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    struct troupe__job *waiting[THREADS], *queued;
    for (int i = 0; i < THREADS; i++) {
        waiting[i] = add(&f, "wait");
    }
    for (int i = 0; i < THREADS; i++) {
        sem_wait(&begun);
    }
    queued = add(&f, "quick");
    atomic_store(&queued->cancelled, true);
    atomic_store(&waiting[1]->cancelled, true);
    assert_int_equal(troupe__workers_running(f.workers), THREADS);
    for (int i = 0; i < THREADS; i++) {
        sem_post(&gate);
    }
    size_t count = 0;
    while (count < THREADS - 1) {
        struct troupe_job_context *run = take(&f);
        if (run) {
            assert_ptr_not_equal(run->job, waiting[1]);
            assert_int_equal(run->result, TROUPE_OK);
            count++;
            troupe__job_run_free(run);
        }
    }
    while (troupe__workers_pending(f.workers)) {
        assert_null(take(&f));
    }
    troupe__workers_stop(f.workers);
    troupe__job_release(queued);
    for (int i = 0; i < THREADS; i++) {
        troupe__job_release(waiting[i]);
    }
    troupe__actors_fini(&f.actors);
}

static void count_line(void *context, enum troupe_level level, const char *line)
{
    assert_int_equal(level, TROUPE_WARNING);
    assert_non_null(strstr(line, "job 1 'wait' of test/jobs/a has been running for"));
    ++*(size_t *)context;
}

/* With no time at all allowed, at the first look. */
static void a_slow_job_is_reported_while_it_runs(void **state)
{
    (void)state;
    struct fixture f;
    size_t lines = 0;
    setup(&f);
    troupe__job_release(add(&f, "wait"));
    sem_wait(&begun);
    troupe__workers_report_slow(f.workers, count_line, &lines);
    assert_int_equal(lines, 1);
    sem_post(&gate);
    struct troupe_job_context *run;
    while (!(run = take(&f))) {
    }
    troupe__job_run_free(run);
    troupe__workers_report_slow(f.workers, count_line, &lines);
    assert_int_equal(lines, 1);
    troupe__workers_stop(f.workers);
    troupe__actors_fini(&f.actors);
}

/* The job that runs is told, and left; what it still touches stays. */
static void a_stop_drops_what_waits_and_leaves_what_runs(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    struct troupe__job *running_jobs[THREADS], *queued;
    for (int i = 0; i < THREADS; i++) {
        running_jobs[i] = add(&f, "wait");
    }
    for (int i = 0; i < THREADS; i++) {
        sem_wait(&begun);
    }
    queued = add(&f, "wait");
    assert_int_equal(atomic_load(&queued->references), 2);
    troupe__workers_hurry(f.workers);
    assert_int_equal(atomic_load(&queued->references), 1);
    sem_post(&gate); /* One of them ends, as a failure since it was told. */
    struct troupe_job_context *run;
    while (!(run = take(&f))) {
    }
    assert_int_equal(run->result, TROUPE_EFAILED);
    troupe__job_run_free(run);
    troupe__workers_stop(f.workers); /* It does not wait for the gate. */
    troupe__job_release(queued);
    troupe__actors_fini(&f.actors);
    for (int i = 0; i < THREADS; i++) {
        sem_post(&gate); /* Their threads end by themselves, or with the process. */
        troupe__job_release(running_jobs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_jobs_come_back_and_no_more_run_at_once_than_there_are_threads),
        cmocka_unit_test(a_cancelled_job_does_not_come_back),
        cmocka_unit_test(a_slow_job_is_reported_while_it_runs),
        cmocka_unit_test(a_stop_drops_what_waits_and_leaves_what_runs),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
