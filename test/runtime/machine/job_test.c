/* job_test.c - jobs of a machine, begun and ended by the test, without a thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

/* ---- an actor that does what messages say, and notes what it got ------------------------------------------------- */

static char heard[1024]; /* "name/which id/attempts/body " of each result; ids are counted from 1 */

static enum troupe_error echo(struct troupe_job_context *job, struct troupe_bytes input)
{
    if (input.size > 0 && memcmp(input.data, "fail", 4) == 0) {
        return troupe_job_fail(job, TROUPE_EFAILED, "failed at %u", troupe_job_attempt(job));
    }
    if (input.size > 0 && memcmp(input.data, "refu", 4) == 0) {
        return troupe_job_fail(job, TROUPE_EREJECTED, "refused");
    }
    if (input.size > 0 && memcmp(input.data, "huge", 4) == 0) {
        static char huge[TROUPE_BODY_MAX + 1];
        assert_int_equal(troupe_job_return(job, (struct troupe_bytes){huge, sizeof huge}), TROUPE_ETOOBIG);
        return TROUPE_OK; /* ignored; it fails all the same */
    }
    assert_string_equal(troupe_job_actor(job).type, "test/jobs");
    assert_string_equal(troupe_job_actor(job).key, "a");
    return troupe_job_return(job, input);
}

static const struct troupe_job_type echo_job = {.name = "echo", .run = echo, .retry = {2, 100, 1000}},
                                    stranger = {.name = "echo", .run = echo};
static const struct troupe_job_type *const jobs[] = {&echo_job, NULL};

static struct troupe_bytes text(const char *string)
{
    return (struct troupe_bytes){string, strlen(string)};
}

static void hear(struct troupe_context *ctx, const struct troupe_message *message)
{
    size_t at = strlen(heard);
    const char *job, *body = message->body.data;
    int size = (int)message->body.size;
    if (strcmp(message->type, TROUPE_JOB_FAILED) == 0) {
        assert_int_equal(troupe_unpack(ctx, message->body, "{s:s s:s}", "job", &job, "reason", &body), TROUPE_OK);
        assert_string_equal(job, "echo");
        size = (int)strlen(body);
    }
    snprintf(heard + at, sizeof heard - at, "%s/%u/%u/%.*s ", message->type,
             (unsigned)(message->correlation / TROUPE__ID_STEP), message->job_attempts, size, body);
}

/* "begin": a job with the body as input. "drop": one, and then a failure. "never": one that is cancelled at once.
 * "cancel": the one whose id is the body's first byte. */
static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    static char long_name[TROUPE_NAME_MAX + 2];
    uint64_t id;
    if (strcmp(message->type, "begin") == 0) {
        return troupe_job(ctx, &echo_job, message->body, "echoed", &id);
    }
    if (strcmp(message->type, "drop") == 0) {
        assert_int_equal(troupe_job(ctx, &echo_job, message->body, "echoed", &id), TROUPE_OK);
        return TROUPE_EREJECTED;
    }
    if (strcmp(message->type, "never") == 0) {
        assert_int_equal(troupe_job(ctx, &echo_job, message->body, "echoed", &id), TROUPE_OK);
        assert_int_equal(troupe_cancel(ctx, id), TROUPE_OK);
        assert_int_equal(troupe_cancel(ctx, id), TROUPE_ENOTFOUND);
        return TROUPE_OK;
    }
    if (strcmp(message->type, "cancel") == 0) {
        return troupe_cancel(ctx, *(const unsigned char *)message->body.data * (uint64_t)TROUPE__ID_STEP);
    }
    if (strcmp(message->type, "stranger") == 0) {
        assert_int_equal(troupe_job(ctx, &stranger, message->body, "echoed", &id), TROUPE_EINVAL);
        return TROUPE_OK; /* ignored; the delivery fails all the same */
    }
    if (strcmp(message->type, "long") == 0) {
        memset(long_name, 'n', sizeof long_name - 1);
        assert_int_equal(troupe_job(ctx, &echo_job, message->body, long_name, &id), TROUPE_EINVAL);
        return TROUPE_OK;
    }
    if (strcmp(message->type, "fill") == 0) {
        enum troupe_error error;
        while ((error = troupe_job(ctx, &echo_job, (struct troupe_bytes){NULL, 0}, "echoed", &id)) == TROUPE_OK) {
        }
        assert_int_equal(error, TROUPE_EFULL);
        return TROUPE_OK;
    }
    hear(ctx, message);
    return TROUPE_OK;
}

static const struct troupe_type types[] = {
    {.name = "test/jobs", .handler = handle, .retry = {.attempts = 1}, .jobs = jobs}};
static const struct troupe_type jobless[] = {{.name = "test/jobs", .handler = handle, .retry = {.attempts = 1}}};
static const struct troupe_module module = {TROUPE_ABI, "jobs", "1", types, 1},
                                  without_jobs = {TROUPE_ABI, "jobs", "2", jobless, 1};

/* ---- a machine and its worker ------------------------------------------------------------------------------------ */

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    int64_t now_ms;
    char error[512];
};

static void open_machine(struct fixture *f, const struct troupe_module *with)
{
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&f->machine, with, f->store, 7, NULL, NULL), TROUPE_OK);
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

static void close_machine(struct fixture *f)
{
    troupe__epoch_drop_jobs(&f->epoch);
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.now_ms = 1000, .disk = troupe__memory_disk_new()};
    heard[0] = '\0';
    open_machine(f, &module);
}

static void teardown(struct fixture *f)
{
    close_machine(f);
    troupe__epoch_fini(&f->epoch);
    troupe__memory_disk_free(f->disk);
}

static void tell(struct fixture *f, const char *type, const char *body)
{
    size_t count;
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, troupe_to("test/jobs", "a"), type, text(body)),
                     TROUPE_OK);
    assert_int_equal(troupe__machine_run(&f->machine, 100, &count), TROUPE_OK);
}

static void commit(struct fixture *f)
{
    assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
}

/* Do the work of the n-th job of the epoch; the actor hears of it. */
static void work(struct fixture *f, size_t n)
{
    size_t count;
    assert_true(n < f->epoch.job_count);
    struct troupe_job_context *run = troupe__job_run_new(f->epoch.jobs[n], NULL);
    assert_non_null(run);
    troupe__job_run(run);
    struct troupe_bytes output = {run->output.data, run->output.size};
    assert_int_equal(troupe__machine_job_done(&f->machine, run->job, run->result, output, run->reason), TROUPE_OK);
    troupe__job_run_free(run);
    assert_int_equal(troupe__machine_run(&f->machine, 100, &count), TROUPE_OK);
}

static void advance(struct fixture *f, int64_t ms)
{
    f->now_ms += ms;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

static size_t job_rows(struct fixture *f)
{
    size_t count = 0;
    f->store->refresh(f->store);
    assert_int_equal(f->store->scan(f->store, TROUPE__JOB, text(""), count_row, &count), TROUPE_OK);
    return count;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

/* By that the outside tells a repeat from another job; the handler that asked for it knows the same one. */
static void a_job_has_the_same_id_in_each_attempt(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    tell(&f, "begin", "one");
    tell(&f, "begin", "fail");
    commit(&f);
    for (uint32_t attempt = 1; attempt <= 2; attempt++) {
        size_t at = attempt == 1 ? 1 : 0; /* the second attempt is alone */
        struct troupe_job_context *run = troupe__job_run_new(f.epoch.jobs[at], NULL);
        assert_int_equal(troupe_job_attempt(run), attempt);
        assert_int_equal(troupe_job_id(run), 2 * TROUPE__ID_STEP);
        troupe__job_run_free(run);
        work(&f, at);
        troupe__epoch_drop_jobs(&f.epoch);
        advance(&f, 1000);
        commit(&f);
    }
    teardown(&f);
}

/* It is named by the epoch that made it durable, once; its row ends with its result, in the same epoch. */
static void a_job_begins_after_its_epoch_and_its_result_comes_once(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    tell(&f, "begin", "one");
    tell(&f, "begin", "two");
    commit(&f);
    assert_int_equal(f.epoch.job_count, 2);
    assert_int_equal(job_rows(&f), 2);
    work(&f, 1);
    assert_string_equal(heard, "echoed/2/1/two ");
    work(&f, 0);
    assert_string_equal(heard, "echoed/2/1/two echoed/1/1/one ");
    work(&f, 0); /* A result that comes again finds no job. */
    troupe__epoch_drop_jobs(&f.epoch);
    commit(&f);
    assert_int_equal(f.epoch.job_count, 0);
    assert_int_equal(job_rows(&f), 0);
    assert_string_equal(heard, "echoed/2/1/two echoed/1/1/one ");
    teardown(&f);
}

static void a_failed_delivery_begins_no_job(void **state)
{
    (void)state;
    static const char *const wrong[] = {"drop", "stranger", "long"};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        setup(&f);
        tell(&f, wrong[i], "one");
        assert_int_equal(f.machine.stats.dead, 1);
        commit(&f);
        assert_int_equal(f.epoch.job_count, 0);
        assert_int_equal(f.machine.jobs.count, 0);
        assert_int_equal(job_rows(&f), 0);
        teardown(&f);
    }
}

/* Whether its row is in the journal or in the tables; each start counts, and only what is durable is begun. */
static void a_job_without_a_result_is_begun_again_by_the_next_start(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture f;
        setup(&f);
        tell(&f, "begin", "one");
        for (unsigned start = 1; start <= 3; start++) {
            commit(&f);
            assert_int_equal(f.epoch.job_count, 1);
            assert_int_equal(f.epoch.jobs[0]->attempt, start);
            if (folded) {
                assert_int_equal(job_rows(&f), 1);
            }
            close_machine(&f);
            open_machine(&f, &module);
        }
        commit(&f);
        work(&f, 0);
        assert_string_equal(heard, "echoed/1/4/one ");
        troupe__epoch_drop_jobs(&f.epoch);
        commit(&f);
        close_machine(&f);
        open_machine(&f, &module);
        assert_int_equal(f.machine.jobs.count, 0);
        assert_false(troupe__machine_dirty(&f.machine));
        teardown(&f);
    }
}

/* After its pause, each time durable first; restarts between do not use up attempts. */
static void a_failing_job_is_tried_again_by_its_policy_then_the_actor_is_told(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    tell(&f, "begin", "fail");
    commit(&f);
    close_machine(&f);
    open_machine(&f, &module);
    commit(&f);
    work(&f, 0);
    troupe__epoch_drop_jobs(&f.epoch);
    assert_string_equal(heard, "");
    assert_int_equal(troupe__machine_next_due(&f.machine), 100);
    commit(&f);
    assert_int_equal(f.epoch.job_count, 0);
    assert_int_equal(job_rows(&f), 1);
    advance(&f, 99);
    commit(&f);
    assert_int_equal(f.epoch.job_count, 0);
    advance(&f, 1);
    close_machine(&f); /* The failure is remembered. */
    open_machine(&f, &module);
    commit(&f);
    work(&f, 0);
    assert_string_equal(heard, "troupe.job-failed/1/3/failed at 3 ");
    troupe__epoch_drop_jobs(&f.epoch);
    commit(&f);
    assert_int_equal(job_rows(&f), 0);
    teardown(&f);
}

static void a_refusal_or_a_result_over_the_limit_is_a_failure(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    tell(&f, "begin", "refuse");
    commit(&f);
    work(&f, 0);
    assert_string_equal(heard, "troupe.job-failed/1/1/refused ");
    troupe__epoch_drop_jobs(&f.epoch);
    heard[0] = '\0';
    tell(&f, "begin", "huge");
    commit(&f);
    work(&f, 0);
    troupe__epoch_drop_jobs(&f.epoch);
    advance(&f, 100);
    commit(&f);
    work(&f, 0);
    assert_string_equal(heard, "troupe.job-failed/2/2/a result of 16777217 bytes is over the limit of 16777216 ");
    teardown(&f);
}

/* At once, before it is durable, while it runs, while it waits for its next attempt, and after a restart. */
static void a_cancelled_job_has_no_result_and_no_row(void **state)
{
    (void)state;
    for (int when = 0; when < 5; when++) {
        struct fixture f;
        setup(&f);
        tell(&f, when == 0 ? "never" : "begin", when == 3 ? "fail" : "one");
        if (when > 1) {
            commit(&f);
        }
        if (when == 3) {
            work(&f, 0);
            troupe__epoch_drop_jobs(&f.epoch);
        }
        if (when == 4) {
            close_machine(&f);
            open_machine(&f, &module);
        }
        if (when > 0) {
            tell(&f, "cancel", "\1");
        }
        assert_int_equal(f.machine.stats.dead, 0);
        if (when == 2) {
            assert_true(atomic_load(&f.epoch.jobs[0]->cancelled));
            work(&f, 0);
            troupe__epoch_drop_jobs(&f.epoch);
        }
        commit(&f);
        for (size_t i = 0; i < f.epoch.job_count; i++) {
            assert_true(atomic_load(&f.epoch.jobs[i]->cancelled));
            work(&f, i);
        }
        troupe__epoch_drop_jobs(&f.epoch);
        advance(&f, 100000);
        commit(&f);
        assert_int_equal(f.epoch.job_count, 0);
        assert_string_equal(heard, "");
        assert_int_equal(job_rows(&f), 0);
        tell(&f, "cancel", "\1"); /* It is not there: the handler is told, and fails here. */
        assert_int_equal(f.machine.stats.dead, 1);
        teardown(&f);
    }
}

/* A later version of the module may have dropped it. */
static void a_job_that_the_module_no_longer_has_fails(void **state)
{
    (void)state;
    struct fixture f;
    size_t count;
    setup(&f);
    tell(&f, "begin", "one");
    commit(&f);
    close_machine(&f);
    open_machine(&f, &without_jobs);
    assert_int_equal(troupe__machine_run(&f.machine, 100, &count), TROUPE_OK);
    assert_string_equal(heard, "troupe.job-failed/1/1/type 'test/jobs' has no job 'echo' in this module ");
    commit(&f);
    assert_int_equal(f.epoch.job_count, 0);
    assert_int_equal(job_rows(&f), 0);
    teardown(&f);
}

static void jobs_over_the_limit_are_refused_until_some_end(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    tell(&f, "fill", "");
    assert_int_equal(f.machine.jobs.count, TROUPE__JOBS_MAX);
    tell(&f, "begin", "one more");
    assert_int_equal(f.machine.stats.dead, 1);
    commit(&f);
    work(&f, 7);
    tell(&f, "begin", "one more");
    assert_int_equal(f.machine.stats.dead, 1);
    assert_int_equal(f.machine.jobs.count, TROUPE__JOBS_MAX);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_begins_after_its_epoch_and_its_result_comes_once),
        cmocka_unit_test(a_job_has_the_same_id_in_each_attempt),
        cmocka_unit_test(a_failed_delivery_begins_no_job),
        cmocka_unit_test(a_job_without_a_result_is_begun_again_by_the_next_start),
        cmocka_unit_test(a_failing_job_is_tried_again_by_its_policy_then_the_actor_is_told),
        cmocka_unit_test(a_refusal_or_a_result_over_the_limit_is_a_failure),
        cmocka_unit_test(a_cancelled_job_has_no_result_and_no_row),
        cmocka_unit_test(a_job_that_the_module_no_longer_has_fails),
        cmocka_unit_test(jobs_over_the_limit_are_refused_until_some_end),
    };
    return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
