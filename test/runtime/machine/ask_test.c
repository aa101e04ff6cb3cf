/* ask_test.c - an ask gets exactly one of answer and timeout, also across a restart.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "runtime/machine/machine.h"
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
    if (strcmp(message->type, "dull") == 0) {
        return troupe_send(ctx, troupe_to("test/oracle", "delphi"), "patient", (struct troupe_bytes){NULL, 0});
    }
    if (strcmp(message->type, "patient") == 0) {
        return troupe_ask(ctx, troupe_to("test/oracle", "delphi"), message->type, (struct troupe_bytes){NULL, 0},
                          TIMEOUT_MS, NULL);
    }
    if (strcmp(message->type, "timer") == 0) { /* What no answer may cancel, whatever number it has. */
        return troupe_send_after(ctx, TIMEOUT_MS, troupe_self(ctx), TROUPE_TIMEOUT, (struct troupe_bytes){NULL, 0},
                                 NULL);
    }
    return count(ctx, strcmp(message->type, TROUPE_TIMEOUT) == 0 ? &timeouts_value : &answers_value);
}

static const struct troupe_value right_value = {.name = "right", .kind = TROUPE_PACKED};
static const struct troupe_value *const oracle_values[] = {&right_value, NULL};

/* Keeps the right to answer, and lets a deputy use it when it is told to: twice. */
static enum troupe_error keep_right(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes right;
    if (strcmp(message->type, "patient") == 0) {
        enum troupe_error result = troupe_reply_later(ctx, &right);
        return result == TROUPE_OK ? troupe_set_bytes(ctx, &right_value, right) : result;
    }
    enum troupe_error result = troupe_get_bytes(ctx, &right_value, &right);
    return result == TROUPE_OK ? troupe_send(ctx, troupe_to("test/deputy", "pythia"), "answer for me", right) : result;
}

static enum troupe_error deputy(struct troupe_context *ctx, const struct troupe_message *message)
{
    enum troupe_error result = troupe_reply_to(ctx, message->body, "answer", (struct troupe_bytes){"\x2a", 1});
    return result == TROUPE_OK ? troupe_reply_to(ctx, message->body, "again", (struct troupe_bytes){NULL, 0}) : result;
}

/* Answers a quick question at once. The answer to a slow one comes by way of a delayed question of its own. */
static enum troupe_error oracle(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "patient") == 0 || strcmp(message->type, "now") == 0) {
        return keep_right(ctx, message);
    }
    if (strcmp(message->type, "quick") == 0) {
        return troupe_reply(ctx, "answer", (struct troupe_bytes){NULL, 0});
    }
    /* Fails until the asker has given up: the answer of the last attempt is late. */
    return message->attempt < 3 ? TROUPE_EFAILED : troupe_reply(ctx, "answer", (struct troupe_bytes){NULL, 0});
}

static const struct troupe_type types[] = {
    {.name = "test/asker", .handler = asker, .values = asker_values},
    {.name = "test/oracle",
     .handler = oracle,
     .values = oracle_values,
     .retry = {.attempts = 5, .backoff_ms = TIMEOUT_MS}},
    {.name = "test/deputy", .handler = deputy, .retry = {.attempts = 1}},
};
static const struct troupe_module module = {TROUPE_ABI, "ask", "1", types, 3};

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
    troupe__epoch_fini(&bench->epoch);
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

static void arrive(struct bench *bench, struct troupe_address to, const char *type, struct troupe_bytes body)
{
    assert_int_equal(troupe__machine_arrive(&bench->machine, NULL, to, type, body), TROUPE_OK);
}

/* Asked, restarted, told to answer, restarted in between: one answer, the second is dropped and counted. */
static void an_answer_may_come_later_from_another_actor_and_across_restarts(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "patient");
    run(&bench, 1000);
    expect(&bench, 0, 0);
    stop(&bench);
    start(&bench);
    arrive(&bench, troupe_to("test/oracle", "delphi"), "now", (struct troupe_bytes){NULL, 0});
    run(&bench, 1100);
    expect(&bench, 1, 0);
    assert_int_equal(bench.machine.stats.late_answers, 1);
    assert_int_equal(troupe__machine_next_due(&bench.machine), -1);
    stop(&bench);
    start(&bench);
    arrive(&bench, troupe_to("test/oracle", "delphi"), "now", (struct troupe_bytes){NULL, 0});
    run(&bench, 1000 + 3 * TIMEOUT_MS);
    expect(&bench, 1, 0);
    assert_int_equal(bench.machine.stats.late_answers, 2);
    free_bench(&bench);
}

static void a_later_answer_after_the_timeout_is_dropped(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "patient");
    run(&bench, 1000);
    run(&bench, 1000 + TIMEOUT_MS);
    expect(&bench, 0, 1);
    arrive(&bench, troupe_to("test/oracle", "delphi"), "now", (struct troupe_bytes){NULL, 0});
    run(&bench, 1001 + TIMEOUT_MS);
    expect(&bench, 0, 1);
    assert_int_equal(bench.machine.stats.late_answers, 2);
    free_bench(&bench);
}

/* As troupe_reply does for a message that was sent and not asked: each answer is a message. */
static void a_message_that_was_not_asked_can_be_answered_later_too(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    start(&bench);
    ask(&bench, "dull");
    run(&bench, 1000);
    arrive(&bench, troupe_to("test/oracle", "delphi"), "now", (struct troupe_bytes){NULL, 0});
    run(&bench, 1001);
    expect(&bench, 2, 0);
    free_bench(&bench);
}

/* What no troupe_reply_later gave is refused, and one with the number of another timer does not cancel that. */
static void a_wrong_right_to_answer_does_no_harm(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    struct troupe_address to = troupe_to("test/deputy", "pythia");
    start(&bench);
    ask(&bench, "timer");
    run(&bench, 1000);
    static const char cancels[] = "\x94\x01\x01\xaatest/asker\xa2me", no_kind[] = "\x94\x07\x01\xaatest/asker\xa2me",
                      no_type[] = "\x94\x01\x01\xa4test\xa2me", no_number[] = "\x94\x01\x00\xaatest/asker\xa2me";
    arrive(&bench, to, "x", (struct troupe_bytes){cancels, sizeof cancels - 1});
    run(&bench, 1001);
    assert_int_equal(bench.machine.stats.late_answers, 2);
    assert_int_equal(bench.machine.stats.dead, 0);
    arrive(&bench, to, "x", (struct troupe_bytes){no_kind, sizeof no_kind - 1});
    arrive(&bench, to, "x", (struct troupe_bytes){no_type, sizeof no_type - 1});
    arrive(&bench, to, "x", (struct troupe_bytes){no_number, sizeof no_number - 1});
    arrive(&bench, to, "x", (struct troupe_bytes){NULL, 0});
    run(&bench, 1002);
    assert_int_equal(bench.machine.stats.dead, 4);
    run(&bench, 1000 + TIMEOUT_MS);
    expect(&bench, 0, 1);
    free_bench(&bench);
}

/* The answers in an epoch: their number; the first byte of the last one's body. */
static size_t answers_of(const struct bench *bench, int *ret_byte)
{
    const struct troupe__buffer *answers = &bench->epoch.answers;
    struct troupe__cursor cursor = {answers->data, answers->data + answers->size, false};
    size_t count = 0;
    while (cursor.at < cursor.end) {
        struct troupe_bytes row;
        struct troupe__answer answer;
        uint64_t number;
        bool answered;
        row.data = troupe__cursor_string(&cursor, &row.size);
        assert_true(troupe__response_decode(row, &number, &answered, &answer) && answered);
        *ret_byte = answer.body.size ? *(const char *)answer.body.data : -1;
        count++;
    }
    return count;
}

/* Thousands wait to run, each for itself; the answer is there after a few deliveries. */
static void an_ask_from_outside_does_not_stand_behind_all_that_waits(void **state)
{
    (void)state;
    enum { WAITING = 5000, SOON = 32 };
    struct bench bench = {.disk = troupe__memory_disk_new()};
    struct troupe_bytes none = {NULL, 0};
    const struct troupe__response *known;
    uint64_t number;
    size_t ran;
    int byte;
    start(&bench);
    for (int i = 0; i < WAITING; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        arrive(&bench, troupe_to("test/asker", key), "timer", none);
    }
    struct troupe_address to = troupe_to("test/oracle", "delphi");
    assert_int_equal(troupe__machine_ask(&bench.machine, NULL, to, "quick", none, &number, &known), TROUPE_OK);
    assert_int_equal(troupe__machine_set_now(&bench.machine, 1000), TROUPE_OK);
    assert_int_equal(troupe__machine_run(&bench.machine, SOON, &ran), TROUPE_OK);
    assert_int_equal(troupe__machine_seal(&bench.machine, &bench.epoch), TROUPE_OK);
    assert_int_equal(answers_of(&bench, &byte), 1);
    assert_int_equal(bench.machine.waiting, WAITING + 1 - SOON);
    free_bench(&bench);
}

/* It leaves with the epoch in which the deputy answered, and whoever asks again gets it. */
static void an_ask_from_outside_is_answered_later_across_a_restart(void **state)
{
    (void)state;
    struct bench bench = {.disk = troupe__memory_disk_new()};
    const struct troupe__response *known;
    struct troupe__answer answer;
    uint64_t number, again;
    int byte = 0;
    start(&bench);
    struct troupe_address to = troupe_to("test/oracle", "delphi");
    struct troupe_bytes none = {NULL, 0};
    assert_int_equal(troupe__machine_ask(&bench.machine, "one", to, "patient", none, &number, &known), TROUPE_OK);
    run(&bench, 1000);
    assert_int_equal(answers_of(&bench, &byte), 0);
    stop(&bench);
    start(&bench);
    assert_int_equal(troupe__machine_ask(&bench.machine, "one", to, "patient", none, &again, &known), TROUPE_OK);
    assert_true(again == number && known && !known->answered);
    arrive(&bench, to, "now", none);
    run(&bench, 1001);
    assert_int_equal(answers_of(&bench, &byte), 1);
    assert_int_equal(byte, 0x2a);
    assert_int_equal(bench.machine.stats.late_answers, 1);
    stop(&bench);
    start(&bench);
    arrive(&bench, to, "now", none);
    run(&bench, 1002);
    assert_int_equal(answers_of(&bench, &byte), 0);
    assert_int_equal(troupe__machine_ask(&bench.machine, "one", to, "patient", none, &again, &known), TROUPE_OK);
    assert_true(again == number && known && known->answered);
    assert_int_equal(troupe__machine_read_answer(&bench.machine, known->id, &answer), TROUPE_OK);
    assert_int_equal(answer.body.size, 1);
    free_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_in_time_cancels_the_timeout),
        cmocka_unit_test(after_the_timeout_the_answer_is_dropped),
        cmocka_unit_test(a_restart_between_ask_and_answer_changes_nothing),
        cmocka_unit_test(an_answer_may_come_later_from_another_actor_and_across_restarts),
        cmocka_unit_test(a_later_answer_after_the_timeout_is_dropped),
        cmocka_unit_test(a_message_that_was_not_asked_can_be_answered_later_too),
        cmocka_unit_test(a_wrong_right_to_answer_does_no_harm),
        cmocka_unit_test(an_ask_from_outside_does_not_stand_behind_all_that_waits),
        cmocka_unit_test(an_ask_from_outside_is_answered_later_across_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
