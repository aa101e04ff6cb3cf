/* machine_test.c - what one machine makes of messages, timers, failures, repeats and asks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "test/runtime/machine/lone.h"

/* ---- a scripted actor: the name of a message says what happens --------------------------------------------------- */

static const struct troupe_value log_value = {"log", TROUPE_STRING}, timer_value = {"timer", TROUPE_INT};
static const struct troupe_value *const script_values[] = {&log_value, &timer_value, NULL};

static enum troupe_error append_log(struct troupe_context *ctx, const char *word)
{
    struct troupe_bytes log = {"", 0};
    enum troupe_error result = troupe_get_bytes(ctx, &log_value, &log);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return result;
    }
    char text[1024];
    int size = snprintf(text, sizeof text, "%s%s ", (const char *)log.data, word);
    return troupe_set_bytes(ctx, &log_value, (struct troupe_bytes){text, (size_t)size});
}

enum { MANY = 2000000 }; /* more than a delivery may stage */

static enum troupe_error send_many(struct troupe_context *ctx, bool stop)
{
    for (int i = 0; i < MANY; i++) {
        enum troupe_error result =
            troupe_send(ctx, troupe_to("test/sink", i % 2 ? "odd" : "even"), "drop", (struct troupe_bytes){"", 0});
        if (result != TROUPE_OK) {
            assert_int_equal(result, TROUPE_ETOOBIG);
            return stop ? result : TROUPE_OK;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error script(struct troupe_context *ctx, const struct troupe_message *message)
{
    static char long_key[TROUPE_KEY_MAX + 2], big[TROUPE_BODY_MAX + 1];
    struct troupe_bytes none = {"", 0};
    struct troupe_address self = troupe_self(ctx);
    const char *type = message->type;
    enum troupe_error result = append_log(ctx, type);
    assert_int_equal(result, TROUPE_OK);
    if (strcmp(type, "fail") == 0 || strcmp(type, "reject") == 0) {
        assert_int_equal(troupe_send(ctx, self, "ghost", none), TROUPE_OK);
        assert_int_equal(troupe_send_after(ctx, 1, self, "ghost", none, NULL), TROUPE_OK);
        assert_int_equal(troupe_emit(ctx, "out", "ghost", none), TROUPE_OK);
        return troupe_fail(ctx, type[0] == 'f' ? TROUPE_EFAILED : TROUPE_EREJECTED, "as told");
    }
    if (strcmp(type, "twice") == 0) {
        return message->attempt < 3 ? TROUPE_EFAILED : TROUPE_OK;
    }
    if (strcmp(type, "timers") == 0) { /* Set out of order; the names say the order. */
        uint64_t timer;
        troupe_send_after(ctx, 300, self, "t3", none, NULL);
        troupe_send_after(ctx, 100, self, "t1", none, NULL);
        troupe_send_after(ctx, 200, self, "t2a", none, NULL);
        troupe_send_after(ctx, 200, self, "t2b", none, NULL);
        troupe_send_after(ctx, 150, self, "never", none, &timer);
        assert_int_equal(troupe_cancel(ctx, timer), TROUPE_OK);
        assert_int_equal(troupe_cancel(ctx, timer), TROUPE_ENOTFOUND);
        assert_int_equal(troupe_send(ctx, troupe_to("test/sink", "a"), "drop", none), TROUPE_OK);
        assert_int_equal(troupe_cancel(ctx, 0), TROUPE_ENOTFOUND); /* What is sent at once has no timer either. */
        troupe_send_after(ctx, 250, self, "never", none, &timer);
        return troupe_set_int(ctx, &timer_value, (int64_t)timer);
    }
    if (strcmp(type, "cancel") == 0) {
        int64_t timer;
        assert_int_equal(troupe_get_int(ctx, &timer_value, &timer), TROUPE_OK);
        return troupe_cancel(ctx, (uint64_t)timer);
    }
    if (strcmp(type, "negative") == 0) { /* The result is ignored: the delivery fails all the same. */
        troupe_send_after(ctx, -1, self, "ghost", none, NULL);
    }
    if (strcmp(type, "long-key") == 0) {
        memset(long_key, 'k', sizeof long_key - 1);
        assert_int_equal(troupe_send(ctx, troupe_to("test/sink", long_key), "drop", none), TROUPE_EINVAL);
    }
    if (strcmp(type, "big") == 0) {
        assert_int_equal(troupe_send(ctx, self, "ghost", (struct troupe_bytes){big, sizeof big}), TROUPE_ETOOBIG);
        return troupe_send(ctx, self, "instead", none);
    }
    if (strcmp(type, "many") == 0 || strcmp(type, "many-or-none") == 0) {
        return send_many(ctx, type[4] == '-');
    }
    if (strcmp(type, "emit") == 0) {
        return troupe_emit(ctx, "out", self.key, none);
    }
    if (strcmp(type, "answer") == 0) {
        assert_int_equal(troupe_reply(ctx, "word", (struct troupe_bytes){"well", 4}), TROUPE_OK);
        return troupe_reply(ctx, "word", (struct troupe_bytes){"dropped", 7});
    }
    if (strcmp(type, "to-nobody") == 0) {
        return troupe_send(ctx, troupe_to("no/body", "x"), "hello", none);
    }
    return TROUPE_OK;
}

static size_t dropped; /* messages that the sink has got; a static because no state is to be made for them */

static enum troupe_error sink(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)ctx, (void)message;
    dropped++;
    return TROUPE_OK;
}

static const struct troupe_type script_types[] = {
    {.name = "test/script",
     .handler = script,
     .values = script_values,
     .retry = {.attempts = 4, .backoff_ms = 100, .backoff_max_ms = 250}},
    {.name = "test/sink", .handler = sink},
};
static const struct troupe_module script_module = {TROUPE_ABI, "script", "1", script_types, 2};

/* The log of test/script/`key`, durable and folded. The last text is valid until the next call. */
static const char *log_of(struct lone *f, const char *key)
{
    static char text[1024];
    lone_settle(f, true);
    unsigned char row_key[TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8];
    struct troupe__actor *actor = troupe__actors_get(&f->machine.actors, "test/script", key, strlen(key));
    struct troupe_bytes row, at = {row_key, troupe__actor_row_key(actor, log_value.name, row_key)};
    if (f->store->read(f->store, TROUPE__STATE, at, &row) != TROUPE_OK) {
        return "";
    }
    struct troupe__cell cell = {0};
    assert_int_equal(troupe__cell_decode(&cell, TROUPE_STRING, row), TROUPE_OK);
    snprintf(text, sizeof text, "%s", cell.as.bytes);
    free(cell.as.bytes);
    return text;
}

/* ---- claims about one machine ------------------------------------------------------------------------------------ */

/* A message to a type that the module does not have, from outside or from an actor, is kept with its reason. */
static void an_unknown_type_becomes_a_dead_letter_and_the_rest_goes_on(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "no/body", "x", "hello");
    lone_arrive(f, NULL, "test/script", "a", "to-nobody");
    lone_arrive(f, NULL, "test/script", "a", "after");
    lone_run(f, 100);
    assert_string_equal(log_of(f, "a"), "to-nobody after ");
    assert_int_equal(lone_rows(f, TROUPE__DEAD), 2);
    assert_int_equal(lone_rows(f, TROUPE__MAIL), 0);
    lone_free(f);
}

/* Its state, messages, timers and records are all dropped; what waits behind it waits; others do not. */
static void a_failing_message_has_no_effect_and_is_retried_in_order_then_buried(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "first");
    lone_arrive(f, NULL, "test/script", "a", "fail");
    lone_arrive(f, NULL, "test/script", "a", "last");
    lone_arrive(f, NULL, "test/script", "b", "other");
    lone_run(f, 100);
    static const int64_t backoff_ms[] = {100, 200, 250}; /* doubled, up to the maximum of the type */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f->machine.stats.failures, i + 1);
        assert_string_equal(log_of(f, "a"), "first ");
        assert_string_equal(log_of(f, "b"), "other ");
        assert_int_equal(lone_rows(f, TROUPE__DEAD), 0);
        assert_int_equal(troupe__machine_next_due(&f->machine), backoff_ms[i]);
        lone_advance(f, backoff_ms[i] - 1);
        lone_run(f, 100);
        assert_int_equal(f->machine.stats.failures, i + 1);
        lone_advance(f, 1);
        lone_run(f, 100);
    }
    assert_int_equal(f->machine.stats.failures, 4);
    assert_string_equal(log_of(f, "a"), "first last ");
    assert_int_equal(lone_rows(f, TROUPE__DEAD), 1);
    assert_int_equal(lone_rows(f, TROUPE__MAIL), 0);
    assert_int_equal(lone_rows(f, TROUPE__TIMER), 0);
    assert_int_equal(f->outside.count, 0);
    assert_int_equal(troupe__machine_next_due(&f->machine), -1);
    assert_int_equal(f->machine.blocked, 0);
    lone_free(f);
}

/* Attempts made before the machine was closed count, and order is kept. */
static void attempts_are_counted_on_after_reopening(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, NULL, "test/script", "a", "twice");
        lone_arrive(f, NULL, "test/script", "a", "fail");
        lone_arrive(f, NULL, "test/script", "a", "last");
        lone_settle(f, folded); /* They have rows from here on. */
        lone_run(f, 100);
        lone_settle(f, folded);
        lone_reopen(f);
        lone_run(f, 100);
        lone_settle(f, folded);
        lone_reopen(f);
        lone_run(f, 100); /* `twice` succeeds, `fail` fails for the first time. */
        assert_string_equal(log_of(f, "a"), "twice ");
        for (int i = 0; i < 3; i++) {
            assert_int_equal(lone_rows(f, TROUPE__DEAD), 0);
            lone_reopen(f);
            lone_run(f, 100);
            lone_settle(f, true);
        }
        assert_int_equal(lone_rows(f, TROUPE__DEAD), 1);
        assert_string_equal(log_of(f, "a"), "twice last ");
        lone_free(f);
    }
}

static void a_rejected_message_is_buried_at_once_without_effect(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "reject");
    lone_arrive(f, NULL, "test/script", "a", "last");
    lone_run(f, 100);
    assert_string_equal(log_of(f, "a"), "last ");
    assert_int_equal(lone_rows(f, TROUPE__DEAD), 1);
    assert_int_equal(f->outside.count, 0);
    lone_free(f);
}

/* Ids are per actor, and survive reopening from the journal and from the tables. */
static void a_repeated_id_has_no_effect_also_after_reopening(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, "id-1", "test/script", "a", "one");
        lone_arrive(f, "id-1", "test/script", "a", "again");
        lone_arrive(f, "id-1", "test/script", "b", "one");
        lone_run(f, 100);
        lone_settle(f, folded);
        lone_reopen(f);
        lone_arrive(f, "id-1", "test/script", "a", "again");
        lone_arrive(f, "id-2", "test/script", "a", "two");
        lone_run(f, 100);
        assert_string_equal(log_of(f, "a"), "one two ");
        assert_string_equal(log_of(f, "b"), "one ");
        lone_free(f);
    }
}

/* An id is forgotten after 24 hours; taken in anew, it is known for 24 hours from then, also after reopening with the
 * old row in the tables and the new one in the journal. */
static void an_id_taken_in_anew_is_known_from_then_on(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, "id", "test/script", "a", "one");
        lone_run(f, 100);
        lone_settle(f, true);
        lone_advance(f, TROUPE__ID_AGE_MS);
        lone_arrive(f, "id", "test/script", "a", "two");
        lone_run(f, 100);
        lone_settle(f, folded);
        lone_advance(f, TROUPE__ID_AGE_MS / 2);
        lone_reopen(f);
        lone_arrive(f, "id", "test/script", "a", "again");
        lone_run(f, 100);
        assert_string_equal(log_of(f, "a"), "one two ");
        lone_free(f);
    }
}

/* By due time, and by the order of setting where that is the same. */
static void timers_fire_in_order_and_cancelled_ones_never(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) { /* not reopened, reopened from the journal, reopened from the tables */
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, NULL, "test/script", "a", "timers");
        lone_run(f, 100);
        lone_settle(f, how == 2);
        if (how > 0) {
            lone_reopen(f);
        }
        lone_advance(f, 99);
        lone_run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers ");
        lone_advance(f, 1);
        lone_run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers t1 ");
        lone_arrive(f, NULL, "test/script", "a", "cancel");
        lone_run(f, 100);
        lone_settle(f, how == 2);
        if (how > 0) {
            lone_reopen(f);
        }
        lone_advance(f, 10000);
        lone_run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers t1 cancel t2a t2b t3 ");
        assert_int_equal(lone_rows(f, TROUPE__TIMER), 0);
        assert_int_equal(troupe__machine_next_due(&f->machine), -1);
        lone_free(f);
    }
}

/* Wrong use fails the delivery even if the handler ignores what the call returned. */
static void a_negative_delay_or_too_long_a_key_fails_the_delivery(void **state)
{
    (void)state;
    static const char *const wrong[] = {"negative", "long-key"};
    for (int i = 0; i < 2; i++) {
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, NULL, "test/script", "a", wrong[i]);
        lone_run(f, 100);
        assert_int_equal(f->machine.stats.failures, 1);
        assert_string_equal(log_of(f, "a"), "");
        for (int j = 0; j < 3; j++) {
            lone_advance(f, 250);
            lone_run(f, 100);
        }
        lone_settle(f, true);
        assert_int_equal(lone_rows(f, TROUPE__DEAD), 1);
        lone_free(f);
    }
}

static void what_arrives_over_a_limit_is_refused(void **state)
{
    (void)state;
    static char key[TROUPE_KEY_MAX + 2], name[TROUPE_NAME_MAX + 2], big[TROUPE_BODY_MAX + 1];
    memset(key, 'k', sizeof key - 1);
    memset(name, 'n', sizeof name - 1);
    struct troupe_bytes none = {"", 0}, too_big = {big, sizeof big};
    struct lone *f = lone_new(&script_module);
    struct troupe__machine *machine = &f->machine;
    assert_int_equal(troupe__machine_arrive(machine, NULL, troupe_to("test/sink", key), "m", none), TROUPE_EINVAL);
    assert_int_equal(troupe__machine_arrive(machine, NULL, troupe_to("test/sink", ""), "m", none), TROUPE_EINVAL);
    assert_int_equal(troupe__machine_arrive(machine, NULL, troupe_to("sink", "k"), "m", none), TROUPE_EINVAL);
    assert_int_equal(troupe__machine_arrive(machine, NULL, troupe_to("test/sink", "k"), name, none), TROUPE_EINVAL);
    assert_int_equal(troupe__machine_arrive(machine, "i", troupe_to("test/sink", "k"), "m", too_big), TROUPE_ETOOBIG);
    assert_false(troupe__machine_dirty(machine));
    key[TROUPE_KEY_MAX] = name[TROUPE_NAME_MAX] = '\0';
    too_big.size--;
    dropped = 0;
    assert_int_equal(troupe__machine_arrive(machine, "i", troupe_to("test/sink", key), name, too_big), TROUPE_OK);
    lone_settle(f, true);
    lone_reopen(f);
    lone_run(f, 100);
    assert_int_equal(dropped, 1);
    lone_free(f);
}

static void a_body_over_the_limit_is_refused_and_the_handler_may_go_on(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "big");
    lone_run(f, 100);
    assert_string_equal(log_of(f, "a"), "big instead ");
    assert_int_equal(f->machine.stats.failures, 0);
    lone_free(f);
}

/* Under the limit on a delivery's effects all arrive; over it the handler is told, and either all or none are sent. */
static void a_million_messages_of_one_handler_are_all_or_none(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "many");
    lone_run(f, 1);
    size_t sent = f->machine.waiting;
    assert_true(sent > MANY / 4 && sent < MANY); /* The limit is met on the way. */
    dropped = 0;
    lone_run(f, 1000);
    lone_settle(f, false); /* The rest gets rows. */
    lone_reopen(f);
    assert_int_equal(f->machine.waiting, sent - 1000);
    lone_run(f, SIZE_MAX);
    assert_int_equal(dropped, sent);
    lone_settle(f, false);
    lone_reopen(f); /* Not folded: the store in memory takes long for that. */
    assert_int_equal(f->machine.waiting, 0);
    lone_free(f);

    f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "many-or-none");
    lone_run(f, 100);
    assert_int_equal(f->machine.waiting, 1);
    assert_int_equal(f->machine.stats.failures, 1);
    assert_string_equal(log_of(f, "a"), "");
    lone_free(f);
}

/* Records are numbered on after reopening, and those not known to be out are handed back. */
static void records_are_numbered_on_and_kept_until_they_are_out(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    lone_arrive(f, NULL, "test/script", "a", "emit");
    lone_run(f, 100);
    lone_settle(f, true);
    assert_int_equal(lone_rows(f, TROUPE__EGRESS), 0);
    lone_arrive(f, NULL, "test/script", "b", "emit");
    lone_run(f, 100);
    assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK); /* and not let out */
    assert_int_equal(f->outside.count, 1);
    lone_reopen(f);
    assert_int_equal(f->outside.count, 2);
    assert_string_equal(f->outside.records[1].key, "b");
    assert_int_equal(f->outside.records[1].sequence, 2);
    lone_settle(f, true);
    assert_int_equal(lone_rows(f, TROUPE__EGRESS), 0);
    assert_int_equal(f->outside.faults, 0);
    lone_free(f);
}

/* The records of one epoch are one row. When only some of them are out it stays, and hands back the others. */
static void a_row_of_records_stays_until_all_of_them_are_out(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct lone *f = lone_new(&script_module);
        lone_arrive(f, NULL, "test/script", "a", "emit");
        lone_arrive(f, NULL, "test/script", "b", "emit");
        lone_arrive(f, NULL, "test/script", "c", "emit");
        lone_run(f, 100);
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
        assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
        troupe__machine_released(&f->machine, 2);
        lone_settle(f, folded);
        assert_int_equal(lone_rows(f, TROUPE__EGRESS), folded);
        f->outside.count = 0;
        lone_reopen(f);
        assert_int_equal(f->outside.count, 1);
        assert_string_equal(f->outside.records[0].key, "c");
        assert_int_equal(f->outside.records[0].sequence, 3);
        lone_settle(f, true);
        assert_int_equal(lone_rows(f, TROUPE__EGRESS), 0);
        lone_free(f);
    }
}

/* ---- asks from outside ------------------------------------------------------------------------------------------- */

static void must_ask(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
}

static uint64_t hash_of(enum troupe_error result, const char *type, const char *body)
{
    struct troupe__answer answer = {result, {type, strlen(type)}, {body, strlen(body)}};
    return lone_hash_answer(&answer);
}

static enum troupe_error ask(struct lone *f, const char *id, const char *key, const char *type, uint64_t *ret_number,
                             const struct troupe__response **ret_known)
{
    return troupe__machine_ask(&f->machine, id, troupe_to("test/script", key), type, (struct troupe_bytes){"", 0},
                               ret_number, ret_known);
}

/* One answer leaves with the epoch that made it, and none before; what failed says so, and so does no answer. */
static void an_ask_from_outside_has_one_answer_once_it_is_durable(void **state)
{
    (void)state;
    struct lone *f = lone_new(&script_module);
    const struct troupe__response *known;
    uint64_t answered, silent, rejected, failed;
    must_ask(ask(f, NULL, "a", "answer", &answered, &known));
    must_ask(ask(f, NULL, "a", "silent", &silent, &known));
    must_ask(ask(f, NULL, "a", "reject", &rejected, &known));
    must_ask(ask(f, NULL, "b", "fail", &failed, &known));
    assert_null(known);
    lone_run(f, 100);
    assert_int_equal(f->outside.answer_count, 0);
    lone_settle(f, false);
    assert_int_equal(f->outside.answer_count, 3);
    assert_int_equal(f->outside.faults, 0);
    assert_int_equal(f->outside.answers[0].number, answered);
    assert_int_equal(f->outside.answers[0].hash, hash_of(TROUPE_OK, "word", "well"));
    assert_int_equal(f->outside.answers[1].number, silent);
    assert_int_equal(f->outside.answers[1].hash, hash_of(TROUPE_ENOTFOUND, "", "it was handled without an answer"));
    assert_int_equal(f->outside.answers[2].number, rejected);
    assert_int_equal(f->outside.answers[2].hash, hash_of(TROUPE_EREJECTED, "", "as told"));
    for (int i = 0; i < 3; i++) { /* The failing one answers with its last attempt. */
        lone_advance(f, 1000);
        lone_run(f, 100);
    }
    lone_settle(f, false);
    assert_int_equal(f->outside.answer_count, 4);
    assert_int_equal(f->outside.answers[3].number, failed);
    assert_int_equal(lone_rows(f, TROUPE__RESPONSE), 0); /* Without an id nobody can ask again. */
    lone_free(f);
}

/* Whether the answer is in the journal or in the tables, and whatever restarts: the handler runs once. */
static void an_ask_with_an_id_can_be_repeated_and_is_handled_once(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct lone *f = lone_new(&script_module);
        const struct troupe__response *known;
        struct troupe__answer answer;
        uint64_t first, second;
        must_ask(ask(f, "x", "a", "answer", &first, &known));
        lone_settle(f, folded);
        lone_reopen(f); /* It is durable, and not handled yet. */
        must_ask(ask(f, "x", "a", "answer", &second, &known));
        assert_non_null(known);
        assert_false(known->answered);
        assert_int_equal(first, second);
        lone_run(f, 100);
        lone_settle(f, folded);
        assert_int_equal(f->outside.answer_count, 1);
        assert_int_equal(f->outside.answers[0].number, first);
        for (int again = 0; again < 2; again++) {
            must_ask(ask(f, "x", "a", "answer", &second, &known));
            assert_true(known && known->answered);
            assert_int_equal(troupe__machine_read_answer(&f->machine, known->id, &answer), TROUPE_OK);
            assert_int_equal(lone_hash_answer(&answer), f->outside.answers[0].hash);
            lone_reopen(f);
        }
        assert_string_equal(log_of(f, "a"), "answer ");
        lone_arrive(f, "sent", "test/script", "a", "silent");
        assert_int_equal(ask(f, "sent", "a", "answer", &second, &known), TROUPE_EINVAL);
        lone_advance(f, 24 * 3600 * 1000);
        lone_settle(f, true);
        assert_int_equal(lone_rows(f, TROUPE__RESPONSE), 0);
        assert_int_equal(f->machine.responses.count, 0);
        must_ask(ask(f, "x", "a", "answer", &second, &known));
        assert_null(known);
        lone_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_type_becomes_a_dead_letter_and_the_rest_goes_on),
        cmocka_unit_test(a_failing_message_has_no_effect_and_is_retried_in_order_then_buried),
        cmocka_unit_test(attempts_are_counted_on_after_reopening),
        cmocka_unit_test(a_rejected_message_is_buried_at_once_without_effect),
        cmocka_unit_test(a_repeated_id_has_no_effect_also_after_reopening),
        cmocka_unit_test(an_id_taken_in_anew_is_known_from_then_on),
        cmocka_unit_test(timers_fire_in_order_and_cancelled_ones_never),
        cmocka_unit_test(a_negative_delay_or_too_long_a_key_fails_the_delivery),
        cmocka_unit_test(what_arrives_over_a_limit_is_refused),
        cmocka_unit_test(a_body_over_the_limit_is_refused_and_the_handler_may_go_on),
        cmocka_unit_test(a_million_messages_of_one_handler_are_all_or_none),
        cmocka_unit_test(records_are_numbered_on_and_kept_until_they_are_out),
        cmocka_unit_test(a_row_of_records_stays_until_all_of_them_are_out),
        cmocka_unit_test(an_ask_from_outside_has_one_answer_once_it_is_durable),
        cmocka_unit_test(an_ask_with_an_id_can_be_repeated_and_is_handled_once),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
