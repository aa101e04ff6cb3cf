/* ask_test.c - an ask gets exactly one of answer and timeout, also across a restart.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/machine.h"
#include "state/memory_store.h"

enum { TIMEOUT_MS = 1000 };

static const struct troupe_value answers_value = {"answers", TROUPE_INT}, timeouts_value = {"timeouts", TROUPE_INT};
static const struct troupe_value *const asker_values[] = {&answers_value, &timeouts_value, NULL};

static enum troupe_error count(struct troupe_context *ctx, const struct troupe_value *value)
{
    int64_t number = 0;
    enum troupe_error result = troupe_get_int(ctx, value, &number);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? troupe_set_int(ctx, value, number + 1) : result;
}

static enum troupe_error asker(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "quick") == 0 || strcmp(message->type, "slow") == 0) {
        return troupe_ask(ctx, troupe_to("test/oracle", "delphi"), message->type, (struct troupe_bytes){NULL, 0},
                          TIMEOUT_MS, NULL);
    }
    return count(ctx, strcmp(message->type, TROUPE_TIMEOUT) == 0 ? &timeouts_value : &answers_value);
}

/* Answers a quick question at once. The answer to a slow one comes by way of a delayed question of its own. */
static enum troupe_error oracle(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "quick") == 0) {
        return troupe_reply(ctx, "answer", (struct troupe_bytes){NULL, 0});
    }
    /* Fails until the asker has given up: the answer of the last attempt is late. */
    return message->attempt < 3 ? TROUPE_EFAILED : troupe_reply(ctx, "answer", (struct troupe_bytes){NULL, 0});
}

static const struct troupe_type types[] = {
    {.name = "test/asker", .handler = asker, .values = asker_values},
    {.name = "test/oracle", .handler = oracle, .retry = {.attempts = 5, .backoff_ms = TIMEOUT_MS}},
};
static const struct troupe_module module = {TROUPE_ABI, "ask", "1", types, 2};

struct bench {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
};

static void start(struct bench *bench)
{
    char error[256];
    assert_int_equal(troupe__memory_store_open(bench->disk, &bench->store, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&bench->machine, &module, bench->store, 1, NULL, NULL), TROUPE_OK);
}

static void stop(struct bench *bench)
{
    troupe__machine_fini(&bench->machine);
    bench->store->close(bench->store);
}

static void run(struct bench *bench, int64_t now_ms)
{
    size_t ran;
    assert_int_equal(troupe__machine_set_now(&bench->machine, now_ms), TROUPE_OK);
    assert_int_equal(troupe__machine_run(&bench->machine, 1000, &ran), TROUPE_OK);
    assert_int_equal(troupe__machine_seal(&bench->machine, &bench->epoch), TROUPE_OK);
    struct troupe_bytes record = {bench->epoch.record.data, bench->epoch.record.size};
    assert_int_equal(bench->store->commit(bench->store, bench->epoch.number, record), TROUPE_OK);
}

static void ask(struct bench *bench, const char *type)
{
    assert_int_equal(troupe__machine_arrive(&bench->machine, NULL, troupe_to("test/asker", "me"), type,
                                            (struct troupe_bytes){NULL, 0}),
                     TROUPE_OK);
}

static int64_t value_of(struct bench *bench, size_t index)
{
    struct troupe__actor *actor = troupe__actors_get(&bench->machine.actors, "test/asker", "me", 2);
    struct troupe__cell cell = troupe__actor_cells(actor)[index];
    if (cell.state == TROUPE__SLOT_ROW) { /* Replayed, and not yet asked for. */
        struct troupe_bytes row = {cell.as.bytes, cell.size};
        assert_int_equal(troupe__cell_decode(&cell, TROUPE_INT, row), TROUPE_OK);
    }
    return cell.state == TROUPE__SLOT_PRESENT ? cell.as.integer : 0;
}

static void expect(struct bench *bench, int64_t answers, int64_t timeouts)
{
    assert_int_equal(value_of(bench, 0), answers);
    assert_int_equal(value_of(bench, 1), timeouts);
}

static void free_bench(struct bench *bench)
{
    stop(bench);
    troupe__memory_disk_free(bench->disk);
    troupe__buffer_free(&bench->epoch.record);
    troupe__buffer_free(&bench->epoch.egress);
}

static void an_answer_in_time_cancels_the_timeout(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "quick");
    run(&bench, 1000);
    expect(&bench, 1, 0);
    assert_int_equal(troupe__machine_next_due(&bench.machine), -1);
    run(&bench, 1000 + 10 * TIMEOUT_MS);
    expect(&bench, 1, 0);
    free_bench(&bench);
}

/* The oracle answers at its third attempt, three timeouts later. */
static void after_the_timeout_the_answer_is_dropped(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "slow");
    for (int64_t now = 1000; now < 1000 + 20 * TIMEOUT_MS; now += TIMEOUT_MS) {
        run(&bench, now);
    }
    expect(&bench, 0, 1);
    assert_int_equal(bench.machine.waiting, 0);
    assert_int_equal(bench.machine.stats.dead, 0);
    free_bench(&bench);
}

static void a_restart_between_ask_and_answer_changes_nothing(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "slow");
    for (int64_t now = 1000; now < 1000 + 20 * TIMEOUT_MS; now += TIMEOUT_MS) {
        run(&bench, now);
        stop(&bench);
        start(&bench);
    }
    expect(&bench, 0, 1);
    assert_int_equal(bench.machine.waiting, 0);
    free_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_in_time_cancels_the_timeout),
        cmocka_unit_test(after_the_timeout_the_answer_is_dropped),
        cmocka_unit_test(a_restart_between_ask_and_answer_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
