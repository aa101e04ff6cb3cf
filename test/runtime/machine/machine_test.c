/* machine_test.c - a machine on the store in memory, without a thread, a socket or a clock; then it crashes everywhere.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A failure of the crash test prints its seed; TROUPE_SEED=seed runs that graph alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

/* ---- a machine and what is outside of it ------------------------------------------------------------------------- */

enum { EPOCH_MS = 1000 }; /* Where simulated time begins. */

/* What the outside has got, in order. */
struct record {
    char name[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    uint64_t sequence, hash; /* of the body */
};

enum { ASKS_MAX = 16 };

struct outside {
    struct record *records;
    size_t count, capacity, faults; /* faults: gaps, and repeats that differ from the first time */
    struct {
        uint64_t number, hash;
    } answers[ASKS_MAX]; /* to asks, as they came */
    size_t answer_count;
};

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    struct outside outside;
    struct troupe__job **running; /* jobs that a durable epoch said to begin */
    size_t running_count, running_capacity;
    const struct troupe_module *module;
    int64_t now_ms;
    size_t memory_max;
    bool far; /* runs actors in the order of a node that has too many for a cache */
    char error[512];
};

/* Records are told apart by name and sequence: a repeat must be what it was, a new one must be the next. */
static void outside_take(struct outside *outside, const struct troupe__egress *egress)
{
    struct record record = {.sequence = egress->sequence, .hash = troupe__hash(egress->body.data, egress->body.size)};
    memcpy(record.name, egress->name.data, egress->name.size);
    memcpy(record.key, egress->key.data, egress->key.size);
    uint64_t last = 0;
    for (size_t i = 0; i < outside->count; i++) {
        struct record *old = &outside->records[i];
        if (strcmp(old->name, record.name) == 0) {
            last = old->sequence;
            if (last == record.sequence) {
                outside->faults += old->hash != record.hash || strcmp(old->key, record.key) != 0;
                return;
            }
        }
    }
    outside->faults += record.sequence != last + 1;
    if (outside->count == outside->capacity) {
        outside->capacity = outside->capacity ? outside->capacity * 2 : 64;
        outside->records = realloc(outside->records, outside->capacity * sizeof *outside->records);
        assert_non_null(outside->records);
    }
    outside->records[outside->count++] = record;
}

static uint64_t hash_answer(const struct troupe__answer *answer)
{
    return troupe__hash(answer->body.data, answer->body.size) + answer->result +
           troupe__hash(answer->type.data, answer->type.size);
}

/* Each answer comes once. */
static void outside_take_answers(struct outside *outside, const struct troupe__buffer *answers)
{
    struct troupe__cursor cursor = {answers->data, answers->data + answers->size, false};
    while (cursor.at < cursor.end) {
        struct troupe_bytes row;
        struct troupe__answer answer;
        uint64_t number;
        bool answered;
        row.data = troupe__cursor_string(&cursor, &row.size);
        assert_true(troupe__response_decode(row, &number, &answered, &answer) && answered);
        for (size_t i = 0; i < outside->answer_count; i++) {
            outside->faults += outside->answers[i].number == number;
        }
        assert_true(outside->answer_count < ASKS_MAX);
        outside->answers[outside->answer_count].number = number;
        outside->answers[outside->answer_count++].hash = hash_answer(&answer);
    }
}

/* Let out what is durable, and tell the machine so. */
static void let_out(struct fixture *f, const struct troupe__buffer *records)
{
    struct troupe__cursor cursor = {records->data, records->data + records->size, false};
    struct troupe__egress egress;
    uint64_t last = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        outside_take(&f->outside, &egress);
        last = egress.number;
    }
    f->outside.faults += cursor.failed;
    if (last > 0) {
        troupe__machine_released(&f->machine, last);
    }
}

static void open_machine(struct fixture *f)
{
    if (troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error) != TROUPE_OK) {
        fail_msg("open: %s", f->error);
    }
    if (troupe__machine_init(&f->machine, f->module, f->store, 7, NULL, NULL) != TROUPE_OK) {
        fail_msg("init: %s", f->machine.error);
    }
    f->machine.memory_max = f->memory_max;
    f->machine.actors.far_count = f->far ? 0 : TROUPE__ACTORS_NEAR;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
    let_out(f, &f->machine.unreleased);
}

/* What runs when the machine ends is lost. */
static void drop_running(struct fixture *f)
{
    while (f->running_count > 0) {
        troupe__job_release(f->running[--f->running_count]);
    }
    troupe__epoch_drop_jobs(&f->epoch);
}

static void close_machine(struct fixture *f)
{
    drop_running(f);
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

static struct fixture *fixture_new(const struct troupe_module *module)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->module = module;
    f->now_ms = EPOCH_MS;
    f->memory_max = SIZE_MAX;
    f->disk = troupe__memory_disk_new();
    assert_non_null(f->disk);
    open_machine(f);
    return f;
}

static void fixture_free(struct fixture *f)
{
    close_machine(f);
    troupe__memory_disk_free(f->disk);
    troupe__epoch_fini(&f->epoch);
    free(f->running);
    free(f->outside.records);
    free(f);
}

static void run(struct fixture *f, size_t budget)
{
    size_t count;
    assert_int_equal(troupe__machine_run(&f->machine, budget, &count), TROUPE_OK);
}

static void advance(struct fixture *f, int64_t ms)
{
    f->now_ms += ms;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

static bool commit_sealed(struct fixture *f)
{
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    if (f->store->commit(f->store, f->epoch.number, record) != TROUPE_OK) {
        return false;
    }
    let_out(f, &f->epoch.egress);
    for (size_t i = 0; i < f->epoch.job_count; i++) {
        if (f->running_count == f->running_capacity) {
            f->running_capacity = f->running_capacity ? f->running_capacity * 2 : 16;
            f->running = realloc(f->running, f->running_capacity * sizeof *f->running);
            assert_non_null(f->running);
        }
        f->running[f->running_count++] = f->epoch.jobs[i];
    }
    f->epoch.job_count = 0;
    outside_take_answers(&f->outside, &f->epoch.answers);
    return true;
}

/* Make all durable that has happened; `fold` moves it to the tables too. */
static void settle(struct fixture *f, bool fold)
{
    while (troupe__machine_dirty(&f->machine)) {
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        assert_true(commit_sealed(f));
    }
    if (fold) {
        troupe__machine_refresh(&f->machine);
    }
}

static void reopen(struct fixture *f)
{
    close_machine(f);
    open_machine(f);
}

static void arrive(struct fixture *f, const char *id, const char *to_type, const char *to_key, const char *type)
{
    struct troupe_bytes body = {"", 0};
    assert_int_equal(troupe__machine_arrive(&f->machine, id, troupe_to(to_type, to_key), type, body), TROUPE_OK);
}

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

/* Rows of a table, as of the last fold. */
static size_t rows(struct fixture *f, enum troupe__table table)
{
    size_t count = 0;
    assert_int_equal(f->store->scan(f->store, table, (struct troupe_bytes){"", 0}, count_row, &count), TROUPE_OK);
    return count;
}

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
static const char *log_of(struct fixture *f, const char *key)
{
    static char text[1024];
    settle(f, true);
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
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "no/body", "x", "hello");
    arrive(f, NULL, "test/script", "a", "to-nobody");
    arrive(f, NULL, "test/script", "a", "after");
    run(f, 100);
    assert_string_equal(log_of(f, "a"), "to-nobody after ");
    assert_int_equal(rows(f, TROUPE__DEAD), 2);
    assert_int_equal(rows(f, TROUPE__MAIL), 0);
    fixture_free(f);
}

/* Its state, messages, timers and records are all dropped; what waits behind it waits; others do not. */
static void a_failing_message_has_no_effect_and_is_retried_in_order_then_buried(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "first");
    arrive(f, NULL, "test/script", "a", "fail");
    arrive(f, NULL, "test/script", "a", "last");
    arrive(f, NULL, "test/script", "b", "other");
    run(f, 100);
    static const int64_t backoff_ms[] = {100, 200, 250}; /* doubled, up to the maximum of the type */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f->machine.stats.failures, i + 1);
        assert_string_equal(log_of(f, "a"), "first ");
        assert_string_equal(log_of(f, "b"), "other ");
        assert_int_equal(rows(f, TROUPE__DEAD), 0);
        assert_int_equal(troupe__machine_next_due(&f->machine), backoff_ms[i]);
        advance(f, backoff_ms[i] - 1);
        run(f, 100);
        assert_int_equal(f->machine.stats.failures, i + 1);
        advance(f, 1);
        run(f, 100);
    }
    assert_int_equal(f->machine.stats.failures, 4);
    assert_string_equal(log_of(f, "a"), "first last ");
    assert_int_equal(rows(f, TROUPE__DEAD), 1);
    assert_int_equal(rows(f, TROUPE__MAIL), 0);
    assert_int_equal(rows(f, TROUPE__TIMER), 0);
    assert_int_equal(f->outside.count, 0);
    assert_int_equal(troupe__machine_next_due(&f->machine), -1);
    assert_int_equal(f->machine.blocked, 0);
    fixture_free(f);
}

/* Attempts made before the machine was closed count, and order is kept. */
static void attempts_are_counted_on_after_reopening(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&script_module);
        arrive(f, NULL, "test/script", "a", "twice");
        arrive(f, NULL, "test/script", "a", "fail");
        arrive(f, NULL, "test/script", "a", "last");
        settle(f, folded); /* They have rows from here on. */
        run(f, 100);
        settle(f, folded);
        reopen(f);
        run(f, 100);
        settle(f, folded);
        reopen(f);
        run(f, 100); /* `twice` succeeds, `fail` fails for the first time. */
        assert_string_equal(log_of(f, "a"), "twice ");
        for (int i = 0; i < 3; i++) {
            assert_int_equal(rows(f, TROUPE__DEAD), 0);
            reopen(f);
            run(f, 100);
            settle(f, true);
        }
        assert_int_equal(rows(f, TROUPE__DEAD), 1);
        assert_string_equal(log_of(f, "a"), "twice last ");
        fixture_free(f);
    }
}

static void a_rejected_message_is_buried_at_once_without_effect(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "reject");
    arrive(f, NULL, "test/script", "a", "last");
    run(f, 100);
    assert_string_equal(log_of(f, "a"), "last ");
    assert_int_equal(rows(f, TROUPE__DEAD), 1);
    assert_int_equal(f->outside.count, 0);
    fixture_free(f);
}

/* Ids are per actor, and survive reopening from the journal and from the tables. */
static void a_repeated_id_has_no_effect_also_after_reopening(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&script_module);
        arrive(f, "id-1", "test/script", "a", "one");
        arrive(f, "id-1", "test/script", "a", "again");
        arrive(f, "id-1", "test/script", "b", "one");
        run(f, 100);
        settle(f, folded);
        reopen(f);
        arrive(f, "id-1", "test/script", "a", "again");
        arrive(f, "id-2", "test/script", "a", "two");
        run(f, 100);
        assert_string_equal(log_of(f, "a"), "one two ");
        assert_string_equal(log_of(f, "b"), "one ");
        fixture_free(f);
    }
}

/* An id is forgotten after 24 hours; taken in anew, it is known for 24 hours from then, also after reopening with the
 * old row in the tables and the new one in the journal. */
static void an_id_taken_in_anew_is_known_from_then_on(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&script_module);
        arrive(f, "id", "test/script", "a", "one");
        run(f, 100);
        settle(f, true);
        advance(f, TROUPE__ID_AGE_MS);
        arrive(f, "id", "test/script", "a", "two");
        run(f, 100);
        settle(f, folded);
        advance(f, TROUPE__ID_AGE_MS / 2);
        reopen(f);
        arrive(f, "id", "test/script", "a", "again");
        run(f, 100);
        assert_string_equal(log_of(f, "a"), "one two ");
        fixture_free(f);
    }
}

/* By due time, and by the order of setting where that is the same. */
static void timers_fire_in_order_and_cancelled_ones_never(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) { /* not reopened, reopened from the journal, reopened from the tables */
        struct fixture *f = fixture_new(&script_module);
        arrive(f, NULL, "test/script", "a", "timers");
        run(f, 100);
        settle(f, how == 2);
        if (how > 0) {
            reopen(f);
        }
        advance(f, 99);
        run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers ");
        advance(f, 1);
        run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers t1 ");
        arrive(f, NULL, "test/script", "a", "cancel");
        run(f, 100);
        settle(f, how == 2);
        if (how > 0) {
            reopen(f);
        }
        advance(f, 10000);
        run(f, 100);
        assert_string_equal(log_of(f, "a"), "timers t1 cancel t2a t2b t3 ");
        assert_int_equal(rows(f, TROUPE__TIMER), 0);
        assert_int_equal(troupe__machine_next_due(&f->machine), -1);
        fixture_free(f);
    }
}

/* Wrong use fails the delivery even if the handler ignores what the call returned. */
static void a_negative_delay_or_too_long_a_key_fails_the_delivery(void **state)
{
    (void)state;
    static const char *const wrong[] = {"negative", "long-key"};
    for (int i = 0; i < 2; i++) {
        struct fixture *f = fixture_new(&script_module);
        arrive(f, NULL, "test/script", "a", wrong[i]);
        run(f, 100);
        assert_int_equal(f->machine.stats.failures, 1);
        assert_string_equal(log_of(f, "a"), "");
        for (int j = 0; j < 3; j++) {
            advance(f, 250);
            run(f, 100);
        }
        settle(f, true);
        assert_int_equal(rows(f, TROUPE__DEAD), 1);
        fixture_free(f);
    }
}

static void what_arrives_over_a_limit_is_refused(void **state)
{
    (void)state;
    static char key[TROUPE_KEY_MAX + 2], name[TROUPE_NAME_MAX + 2], big[TROUPE_BODY_MAX + 1];
    memset(key, 'k', sizeof key - 1);
    memset(name, 'n', sizeof name - 1);
    struct troupe_bytes none = {"", 0}, too_big = {big, sizeof big};
    struct fixture *f = fixture_new(&script_module);
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
    settle(f, true);
    reopen(f);
    run(f, 100);
    assert_int_equal(dropped, 1);
    fixture_free(f);
}

static void a_body_over_the_limit_is_refused_and_the_handler_may_go_on(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "big");
    run(f, 100);
    assert_string_equal(log_of(f, "a"), "big instead ");
    assert_int_equal(f->machine.stats.failures, 0);
    fixture_free(f);
}

/* Under the limit on a delivery's effects all arrive; over it the handler is told, and either all or none are sent. */
static void a_million_messages_of_one_handler_are_all_or_none(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "many");
    run(f, 1);
    size_t sent = f->machine.waiting;
    assert_true(sent > MANY / 4 && sent < MANY); /* The limit is met on the way. */
    dropped = 0;
    run(f, 1000);
    settle(f, false); /* The rest gets rows. */
    reopen(f);
    assert_int_equal(f->machine.waiting, sent - 1000);
    run(f, SIZE_MAX);
    assert_int_equal(dropped, sent);
    settle(f, false);
    reopen(f); /* Not folded: the store in memory takes long for that. */
    assert_int_equal(f->machine.waiting, 0);
    fixture_free(f);

    f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "many-or-none");
    run(f, 100);
    assert_int_equal(f->machine.waiting, 1);
    assert_int_equal(f->machine.stats.failures, 1);
    assert_string_equal(log_of(f, "a"), "");
    fixture_free(f);
}

/* Records are numbered on after reopening, and those not known to be out are handed back. */
static void records_are_numbered_on_and_kept_until_they_are_out(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    arrive(f, NULL, "test/script", "a", "emit");
    run(f, 100);
    settle(f, true);
    assert_int_equal(rows(f, TROUPE__EGRESS), 0);
    arrive(f, NULL, "test/script", "b", "emit");
    run(f, 100);
    assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK); /* and not let out */
    assert_int_equal(f->outside.count, 1);
    reopen(f);
    assert_int_equal(f->outside.count, 2);
    assert_string_equal(f->outside.records[1].key, "b");
    assert_int_equal(f->outside.records[1].sequence, 2);
    settle(f, true);
    assert_int_equal(rows(f, TROUPE__EGRESS), 0);
    assert_int_equal(f->outside.faults, 0);
    fixture_free(f);
}

/* The records of one epoch are one row. When only some of them are out it stays, and hands back the others. */
static void a_row_of_records_stays_until_all_of_them_are_out(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&script_module);
        arrive(f, NULL, "test/script", "a", "emit");
        arrive(f, NULL, "test/script", "b", "emit");
        arrive(f, NULL, "test/script", "c", "emit");
        run(f, 100);
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
        assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
        troupe__machine_released(&f->machine, 2);
        settle(f, folded);
        assert_int_equal(rows(f, TROUPE__EGRESS), folded);
        f->outside.count = 0;
        reopen(f);
        assert_int_equal(f->outside.count, 1);
        assert_string_equal(f->outside.records[0].key, "c");
        assert_int_equal(f->outside.records[0].sequence, 3);
        settle(f, true);
        assert_int_equal(rows(f, TROUPE__EGRESS), 0);
        fixture_free(f);
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
    return hash_answer(&answer);
}

static enum troupe_error ask(struct fixture *f, const char *id, const char *key, const char *type, uint64_t *ret_number,
                             const struct troupe__response **ret_known)
{
    return troupe__machine_ask(&f->machine, id, troupe_to("test/script", key), type, (struct troupe_bytes){"", 0},
                               ret_number, ret_known);
}

/* One answer leaves with the epoch that made it, and none before; what failed says so, and so does no answer. */
static void an_ask_from_outside_has_one_answer_once_it_is_durable(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&script_module);
    const struct troupe__response *known;
    uint64_t answered, silent, rejected, failed;
    must_ask(ask(f, NULL, "a", "answer", &answered, &known));
    must_ask(ask(f, NULL, "a", "silent", &silent, &known));
    must_ask(ask(f, NULL, "a", "reject", &rejected, &known));
    must_ask(ask(f, NULL, "b", "fail", &failed, &known));
    assert_null(known);
    run(f, 100);
    assert_int_equal(f->outside.answer_count, 0);
    settle(f, false);
    assert_int_equal(f->outside.answer_count, 3);
    assert_int_equal(f->outside.faults, 0);
    assert_int_equal(f->outside.answers[0].number, answered);
    assert_int_equal(f->outside.answers[0].hash, hash_of(TROUPE_OK, "word", "well"));
    assert_int_equal(f->outside.answers[1].number, silent);
    assert_int_equal(f->outside.answers[1].hash, hash_of(TROUPE_ENOTFOUND, "", "it was handled without an answer"));
    assert_int_equal(f->outside.answers[2].number, rejected);
    assert_int_equal(f->outside.answers[2].hash, hash_of(TROUPE_EREJECTED, "", "as told"));
    for (int i = 0; i < 3; i++) { /* The failing one answers with its last attempt. */
        advance(f, 1000);
        run(f, 100);
    }
    settle(f, false);
    assert_int_equal(f->outside.answer_count, 4);
    assert_int_equal(f->outside.answers[3].number, failed);
    assert_int_equal(rows(f, TROUPE__RESPONSE), 0); /* Without an id nobody can ask again. */
    fixture_free(f);
}

/* Whether the answer is in the journal or in the tables, and whatever restarts: the handler runs once. */
static void an_ask_with_an_id_can_be_repeated_and_is_handled_once(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&script_module);
        const struct troupe__response *known;
        struct troupe__answer answer;
        uint64_t first, second;
        must_ask(ask(f, "x", "a", "answer", &first, &known));
        settle(f, folded);
        reopen(f); /* It is durable, and not handled yet. */
        must_ask(ask(f, "x", "a", "answer", &second, &known));
        assert_non_null(known);
        assert_false(known->answered);
        assert_int_equal(first, second);
        run(f, 100);
        settle(f, folded);
        assert_int_equal(f->outside.answer_count, 1);
        assert_int_equal(f->outside.answers[0].number, first);
        for (int again = 0; again < 2; again++) {
            must_ask(ask(f, "x", "a", "answer", &second, &known));
            assert_true(known && known->answered);
            assert_int_equal(troupe__machine_read_answer(&f->machine, known->id, &answer), TROUPE_OK);
            assert_int_equal(hash_answer(&answer), f->outside.answers[0].hash);
            reopen(f);
        }
        assert_string_equal(log_of(f, "a"), "answer ");
        arrive(f, "sent", "test/script", "a", "silent");
        assert_int_equal(ask(f, "sent", "a", "answer", &second, &known), TROUPE_EINVAL);
        advance(f, 24 * 3600 * 1000);
        settle(f, true);
        assert_int_equal(rows(f, TROUPE__RESPONSE), 0);
        assert_int_equal(f->machine.responses.count, 0);
        must_ask(ask(f, "x", "a", "answer", &second, &known));
        assert_null(known);
        fixture_free(f);
    }
}

/* ---- graphs of actors for the crash test ------------------------------------------------------------------------- */

/* What an actor does depends on the content of the message alone, so that every run ends in the same state. Messages
 * of one pair are numbered by the sender and checked by the receiver; delayed and rejected ones have no number. */
enum { ACTORS_MAX = 6, PEERS = ACTORS_MAX + 1 /* and the outside */, INPUTS_MAX = 8 };

struct body {
    uint64_t id;
    uint32_t hops, number;
};

static size_t graph_actors; /* of the graph under test */

static const struct troupe_value count_value = {"count", TROUPE_INT}, sum_value = {"sum", TROUPE_INT},
                                 faults_value = {"faults", TROUPE_INT}, odd_value = {"odd", TROUPE_BOOL},
                                 sent_value = {"sent", TROUPE_BYTES}, chain_value = {"chain", TROUPE_BYTES};

/* Maps hold what the order of messages does not change. What does depend on order or time has a name in capitals: the
 * actor checks it itself, and it is no part of the outcome. */
enum { TTL_MS = 40 };

static const struct troupe_value map_value = {.name = "map", .kind = TROUPE_MAP},
                                 bulk_value = {.name = "bulk", .kind = TROUPE_MAP},
                                 pushed_value = {.name = "pushed", .kind = TROUPE_INT},
                                 popped_value = {.name = "POPPED", .kind = TROUPE_INT},
                                 list_value = {.name = "LIST", .kind = TROUPE_LIST},
                                 rights_value = {.name = "rights", .kind = TROUPE_MAP},
                                 times_value = {.name = "TIMES", .kind = TROUPE_BYTES},
                                 brief_value = {.name = "BRIEF", .kind = TROUPE_INT, .ttl_ms = TTL_MS},
                                 brief_map_value = {.name = "BRIEF_MAP", .kind = TROUPE_MAP, .ttl_ms = TTL_MS},
                                 brief_list_value = {.name = "BRIEF_LIST", .kind = TROUPE_LIST, .ttl_ms = TTL_MS},
                                 read_value = {.name = "READ",
                                               .kind = TROUPE_INT,
                                               .ttl_ms = TTL_MS,
                                               .ttl = TROUPE_TTL_AFTER_READ};
static const struct troupe_value *const graph_values[] = {
    &count_value, &sum_value,       &faults_value,     &odd_value,    &sent_value,   &chain_value,
    &map_value,   &bulk_value,      &pushed_value,     &popped_value, &list_value,   &times_value,
    &brief_value, &brief_map_value, &brief_list_value, &read_value,   &rights_value, NULL};

/* What an actor got of each peer: how many, and a hash over their numbers in order. */
struct chain {
    uint64_t count, hash;
};

static struct troupe_address actor_at(size_t index)
{
    static const char *const types[] = {"graph/red", "graph/green", "graph/blue"};
    static const char *const keys[ACTORS_MAX] = {"0", "1", "2", "3", "4", "5"};
    return troupe_to(types[index % 3], keys[index]);
}

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t from[3] = {a, b, c};
    return troupe__hash(from, sizeof from);
}

static void must(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
}

static void add_int(struct troupe_context *ctx, const struct troupe_value *value, uint64_t more)
{
    int64_t number = 0;
    enum troupe_error result = troupe_get_int(ctx, value, &number);
    assert_true(result == TROUPE_OK || result == TROUPE_ENOTFOUND);
    must(troupe_set_int(ctx, value, (int64_t)((uint64_t)number + more)));
}

/* Read an array that is kept as bytes; zeros when it was never set. */
static void get_array(struct troupe_context *ctx, const struct troupe_value *value, void *array, size_t size)
{
    struct troupe_bytes bytes;
    memset(array, 0, size);
    if (troupe_get_bytes(ctx, value, &bytes) == TROUPE_OK) {
        assert_int_equal(bytes.size, size);
        memcpy(array, bytes.data, size);
    }
}

static void check_number(struct troupe_context *ctx, size_t peer, uint32_t number)
{
    struct chain chains[PEERS];
    get_array(ctx, &chain_value, chains, sizeof chains);
    if (number != chains[peer].count + 1) {
        add_int(ctx, &faults_value, 1);
    }
    chains[peer].count = number;
    chains[peer].hash = mix(chains[peer].hash, number, peer);
    must(troupe_set_bytes(ctx, &chain_value, (struct troupe_bytes){chains, sizeof chains}));
}

static void send_numbered(struct troupe_context *ctx, size_t target, struct body body)
{
    uint32_t sent[ACTORS_MAX];
    get_array(ctx, &sent_value, sent, sizeof sent);
    body.number = ++sent[target];
    must(troupe_set_bytes(ctx, &sent_value, (struct troupe_bytes){sent, sizeof sent}));
    must(troupe_send(ctx, actor_at(target), "go", (struct troupe_bytes){&body, sizeof body}));
}

/* Sums by key, and a map that is filled and cleared while it is large. */
static void change_maps(struct troupe_context *ctx, uint64_t hash)
{
    uint64_t key = (hash >> 4) % 5, sum = 0;
    struct troupe_bytes name = {&key, sizeof key}, bytes;
    if (troupe_map_get(ctx, &map_value, name, &bytes) == TROUPE_OK) {
        assert_int_equal(bytes.size, sizeof sum);
        memcpy(&sum, bytes.data, sizeof sum);
    }
    sum += hash;
    must(troupe_map_set(ctx, &map_value, name, (struct troupe_bytes){&sum, sizeof sum}));
    if ((hash >> 12) % 8 == 0) {
        for (uint64_t i = 0; i < 70; i++) {
            must(troupe_map_set(ctx, &bulk_value, (struct troupe_bytes){&i, sizeof i}, name));
        }
        must(troupe_clear(ctx, &bulk_value));
        must(troupe_map_set(ctx, &bulk_value, troupe_string("last"), troupe_string("one")));
    }
}

/* What was pushed is what was popped and what is left. */
static void change_list(struct troupe_context *ctx, uint64_t hash)
{
    struct troupe_bytes item = {&hash, sizeof hash}, bytes;
    struct troupe_list_walk walk = {.backward = hash % 2};
    uint64_t left = 0, number, count, position;
    int64_t pushed, popped = 0;
    must(hash % 2 ? troupe_list_push_back(ctx, &list_value, item) : troupe_list_push_front(ctx, &list_value, item));
    add_int(ctx, &pushed_value, hash);
    must(troupe_list_count(ctx, &list_value, &count));
    if (count > 4) {
        must(hash % 3 ? troupe_list_pop_back(ctx, &list_value, &bytes)
                      : troupe_list_pop_front(ctx, &list_value, &bytes));
        memcpy(&number, bytes.data, sizeof number);
        add_int(ctx, &popped_value, number);
    }
    while (troupe_list_next(ctx, &list_value, &walk, &position, &bytes) == TROUPE_OK) {
        memcpy(&number, bytes.data, sizeof number);
        left += number;
    }
    must(troupe_get_int(ctx, &pushed_value, &pushed));
    (void)troupe_get_int(ctx, &popped_value, &popped);
    if ((uint64_t)pushed != (uint64_t)popped + left) {
        add_int(ctx, &faults_value, 1);
    }
}

/* When each of the values that expire was last set or read; 0: never. */
struct times {
    int64_t brief, brief_map, brief_list, read;
};

/* A value is there until its time is over, and not any longer; one that is prolonged by reading may go by an eighth of
 * it earlier. */
static void check_expiry(struct troupe_context *ctx, bool there, int64_t since_ms, int64_t early_ms)
{
    int64_t age_ms = troupe_now(ctx) - since_ms;
    if (there ? since_ms == 0 || age_ms >= TTL_MS : since_ms != 0 && age_ms < TTL_MS - early_ms) {
        add_int(ctx, &faults_value, 1);
    }
}

static void live_briefly(struct troupe_context *ctx, uint64_t hash)
{
    struct times times;
    struct troupe_bytes key = {"k", 1}, bytes;
    int64_t number, now_ms = troupe_now(ctx);
    uint64_t count;
    get_array(ctx, &times_value, &times, sizeof times);
    check_expiry(ctx, troupe_get_int(ctx, &brief_value, &number) == TROUPE_OK, times.brief, 0);
    check_expiry(ctx, troupe_map_get(ctx, &brief_map_value, key, &bytes) == TROUPE_OK, times.brief_map, 0);
    must(troupe_list_count(ctx, &brief_list_value, &count));
    check_expiry(ctx, count > 0, times.brief_list, 0);
    bool read = troupe_get_int(ctx, &read_value, &number) == TROUPE_OK;
    check_expiry(ctx, read, times.read, TTL_MS / 8);
    times.read = read ? now_ms : times.read;
    if (hash % 2) {
        must(troupe_set_int(ctx, &brief_value, 1));
        must(troupe_map_set(ctx, &brief_map_value, key, key));
        times.brief = times.brief_map = now_ms;
    }
    if (hash % 3 == 0) {
        must(troupe_list_push_front(ctx, &brief_list_value, key));
        must(troupe_set_int(ctx, &read_value, 1));
        times.brief_list = times.read = now_ms;
    }
    must(troupe_set_bytes(ctx, &times_value, (struct troupe_bytes){&times, sizeof times}));
}

static void count_message(struct troupe_context *ctx, uint64_t hash)
{
    int64_t count;
    add_int(ctx, &count_value, 1);
    add_int(ctx, &sum_value, hash);
    must(troupe_get_int(ctx, &count_value, &count));
    must(count % 2 ? troupe_set_bool(ctx, &odd_value, true) : troupe_clear(ctx, &odd_value));
}

/* Jobs of a graph: how often one fails first, and whether for good, is by its input. */
static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    uint64_t id;
    assert_int_equal(input.size, sizeof id);
    memcpy(&id, input.data, sizeof id);
    assert_true(troupe_job_attempt(job) > job->job->failures);
    if (job->job->failures < id % 3) {
        return troupe_job_fail(job, id % 7 ? TROUPE_EFAILED : TROUPE_EREJECTED, "as told, %u", job->job->failures);
    }
    id = mix(id, 0, 7);
    return troupe_job_return(job, (struct troupe_bytes){&id, sizeof id});
}

/* One that returns when it is cancelled, and not before: see work_on. */
static enum troupe_error wait_for_cancel(struct troupe_job_context *job, struct troupe_bytes input)
{
    assert_true(troupe_job_cancelled(job));
    return troupe_job_return(job, input);
}

static const struct troupe_job_type work_job = {"work", work, {.attempts = 2, .backoff_ms = 5}},
                                    wait_job = {"wait", wait_for_cancel, {0}};
static const struct troupe_job_type *const graph_jobs[] = {&work_job, &wait_job, NULL};

/* Let the n-th running job return. */
static void work_on(struct fixture *f, size_t n)
{
    struct troupe__job *job = f->running[n];
    if (job->declared == &wait_job && !atomic_load(&job->cancelled)) {
        return;
    }
    f->running[n] = f->running[--f->running_count];
    if (job->declared == &work_job && atomic_load(&job->cancelled)) {
        troupe__job_release(job); /* as the owner may */
        return;
    }
    struct troupe_job_context *run = troupe__job_run_new(job, NULL);
    assert_non_null(run);
    troupe__job_run(run);
    must(troupe__machine_job_done(&f->machine, job, run->result,
                                  (struct troupe_bytes){run->output.data, run->output.size}, run->reason));
    troupe__job_run_free(run);
    troupe__job_release(job);
}

static void spread(struct troupe_context *ctx, uint64_t hash, struct body body)
{
    struct body child = {.hops = body.hops - 1};
    for (uint64_t i = 0; i < 1 + (hash >> 8) % 2; i++) {
        child.id = mix(hash, i, 1);
        send_numbered(ctx, child.id % graph_actors, child);
    }
    if ((hash >> 16) % 3 == 0) {
        child.id = mix(hash, 0, 2);
        must(troupe_send_after(ctx, (int64_t)(child.id % 50), actor_at(child.id % graph_actors), "later",
                               (struct troupe_bytes){&child, sizeof child}, NULL));
    }
    if ((hash >> 24) % 3 == 0) { /* A timer that an own message cancels long before. */
        uint64_t timer;
        must(troupe_send_after(ctx, 3600000, troupe_self(ctx), "never", (struct troupe_bytes){NULL, 0}, &timer));
        must(troupe_send(ctx, troupe_self(ctx), "cancel", (struct troupe_bytes){&timer, sizeof timer}));
    }
    if ((hash >> 28) % 3 == 0) {
        uint64_t ids[] = {mix(hash, 0, 5), mix(hash, 1, 5)}, id;
        for (size_t i = 0; i < 2; i++) {
            must(troupe_job(ctx, &work_job, (struct troupe_bytes){&ids[i], sizeof ids[i]}, "worked", &id));
        }
        if (hash & 1 << 20) {
            must(troupe_cancel(ctx, id));
        }
        must(troupe_job(ctx, &wait_job, (struct troupe_bytes){NULL, 0}, "never", &id));
        must(troupe_send(ctx, troupe_self(ctx), "cancel", (struct troupe_bytes){&id, sizeof id}));
    }
    if ((hash >> 32) % 4 == 0) {
        child.id = mix(hash, 0, 3);
        must(
            troupe_send(ctx, actor_at(child.id % graph_actors), "refuse", (struct troupe_bytes){&child, sizeof child}));
    }
    if ((hash >> 36) % 3 == 0) { /* Asked for long, and answered later by another, once or twice. */
        uint64_t question = mix(hash, 0, 4);
        must(troupe_ask(ctx, actor_at(question % graph_actors), "question",
                        (struct troupe_bytes){&question, sizeof question}, 3600000, NULL));
    }
}

/* Let another actor answer: the right goes through a message and, on the way, through its state. */
static enum troupe_error hand_on(struct troupe_context *ctx, uint64_t question)
{
    struct troupe_bytes right;
    must(troupe_reply_later(ctx, &right));
    assert_true(right.size <= TROUPE_REPLY_MAX);
    must(troupe_send(ctx, actor_at((question >> 8) % graph_actors), "keep", troupe_pack(ctx, "[um]", question, right)));
    return TROUPE_OK;
}

static enum troupe_error answer_for(struct troupe_context *ctx, const struct troupe_message *message)
{
    uint64_t question;
    struct troupe_bytes right, key = {&question, sizeof question};
    if (strcmp(message->type, "keep") == 0) {
        must(troupe_unpack(ctx, message->body, "[um]", &question, &right));
        must(troupe_map_set(ctx, &rights_value, key, right));
        return troupe_send_after(ctx, (int64_t)(question % 20), troupe_self(ctx), "answer now", key, NULL);
    }
    memcpy(&question, message->body.data, sizeof question);
    must(troupe_map_get(ctx, &rights_value, key, &right));
    must(troupe_reply_to(ctx, right, "answered", key));
    if (question % 2) {
        must(troupe_reply_to(ctx, right, "answered", key));
    }
    return troupe_map_remove(ctx, &rights_value, key);
}

static enum troupe_error graph(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "cancel") == 0) {
        uint64_t timer;
        memcpy(&timer, message->body.data, sizeof timer);
        return troupe_cancel(ctx, timer);
    }
    if (strcmp(message->type, "never") == 0) {
        add_int(ctx, &faults_value, 1000);
        return TROUPE_OK;
    }
    if (strcmp(message->type, "worked") == 0 || strcmp(message->type, TROUPE_JOB_FAILED) == 0) {
        count_message(ctx, mix(troupe__hash(message->body.data, message->body.size), (uint64_t)message->type[0], 9));
        if (message->correlation == 0 || message->job_attempts == 0) {
            add_int(ctx, &faults_value, 1);
        }
        return troupe_emit(ctx, "jobs", troupe_self(ctx).key, message->body);
    }
    if (strcmp(message->type, "question") == 0) {
        uint64_t question;
        memcpy(&question, message->body.data, sizeof question);
        return hand_on(ctx, question);
    }
    if (strcmp(message->type, "keep") == 0 || strcmp(message->type, "answer now") == 0) {
        return answer_for(ctx, message);
    }
    if (strcmp(message->type, "answered") == 0) { /* Once: a second time would change the sum. */
        count_message(ctx, troupe__hash(message->body.data, message->body.size));
        if (message->correlation == 0) {
            add_int(ctx, &faults_value, 1);
        }
        return TROUPE_OK;
    }
    struct body body;
    assert_int_equal(message->body.size, sizeof body);
    memcpy(&body, message->body.data, sizeof body);
    uint64_t hash = mix(body.id, body.hops, (uint64_t)troupe_self(ctx).key[0]);
    if (strcmp(message->type, "go") == 0) {
        check_number(ctx, message->from.key[0] ? (size_t)(message->from.key[0] - '0') : ACTORS_MAX, body.number);
    }
    count_message(ctx, hash);
    change_maps(ctx, hash);
    change_list(ctx, hash >> 20);
    live_briefly(ctx, hash >> 40);
    if ((hash >> 40) % 3 == 0) {
        must(troupe_emit(ctx, hash % 2 ? "odd" : "even", troupe_self(ctx).key,
                         (struct troupe_bytes){&body.id, sizeof body.id}));
    }
    if (strcmp(message->type, "go") == 0 && message->correlation && hash % 5 == 0) { /* Asked from outside. */
        must(hand_on(ctx, mix(hash, 1, 4)));
    } else if (strcmp(message->type, "go") == 0 && message->correlation &&
               hash % 3) { /* Some get no answer, some a second one. */
        must(troupe_reply(ctx, "did", (struct troupe_bytes){&hash, sizeof hash}));
        must(hash % 3 == 1 ? TROUPE_OK : troupe_reply(ctx, "again", (struct troupe_bytes){NULL, 0}));
    }
    if (body.hops > 0) {
        spread(ctx, hash, body);
    }
    if (strcmp(message->type, "refuse") == 0) {
        return TROUPE_EREJECTED;
    }
    return message->attempt <= (hash >> 48) % 8 / 5 ? TROUPE_EFAILED : TROUPE_OK; /* 0, 1: three of eight fail once */
}

/* Nothing is ever of another version than this module's. */
static enum troupe_error never_older(struct troupe_context *ctx, const struct troupe_message_type *type,
                                     uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)ctx, (void)old, (void)ret;
    fail_msg("message %s came in version %u", type->name, version);
    return TROUPE_EFAILED;
}

static const struct troupe_message_type go_3 = {.name = "go", .version = 3, .migrate = never_older},
                                        later_300 = {.name = "later", .version = 300, .migrate = never_older};
static const struct troupe_message_type *const graph_messages[] = {&go_3, &later_300, NULL};

static const struct troupe_type graph_types[] = {
    {"graph/red",
     graph,
     graph_values,
     {.attempts = 5, .backoff_ms = 1, .backoff_max_ms = 8},
     graph_jobs,
     graph_messages},
    {"graph/green",
     graph,
     graph_values,
     {.attempts = 5, .backoff_ms = 20, .backoff_max_ms = 100},
     graph_jobs,
     graph_messages},
    {"graph/blue", graph, graph_values, {.attempts = 5, .backoff_ms = 5, .backoff_max_ms = 5}, graph_jobs},
};
static const struct troupe_module graph_module = {TROUPE_ABI, "graph", "1", graph_types, 3};

struct input {
    char id[24]; /* "" for none */
    bool ask;    /* then it has an id */
    struct troupe_address to;
    struct body body;
};

struct plan {
    uint64_t seed;
    struct input inputs[INPUTS_MAX];
    size_t input_count;
};

static struct plan make_plan(uint64_t seed)
{
    struct plan plan = {.seed = seed, .input_count = 3 + seed % (INPUTS_MAX - 2)};
    uint32_t numbers[ACTORS_MAX] = {0};
    graph_actors = 1 + (size_t)(mix(seed, 0, 10) % ACTORS_MAX);
    for (size_t i = 0; i < plan.input_count; i++) {
        struct input *input = &plan.inputs[i];
        uint64_t dice = mix(seed, i, 11);
        if (i > 0 && dice % 4 == 0 && plan.inputs[i - 1].id[0]) {
            *input = plan.inputs[i - 1]; /* A repeat that must have no effect. */
            continue;
        }
        size_t target = (dice >> 8) % graph_actors;
        input->to = (dice >> 16) % 6 == 0 ? troupe_to("no/body", "x") : actor_at(target);
        input->body = (struct body){.id = dice, .hops = (uint32_t)(dice >> 24) % 4};
        input->body.number = input->to.type[0] == 'n' ? 0 : ++numbers[target];
        if ((dice >> 32) % 2) {
            snprintf(input->id, sizeof input->id, "i%zu", i);
            input->ask = (dice >> 33) % 2;
        }
    }
    return plan;
}

static size_t position(const struct troupe__machine *machine)
{
    size_t at = 0;
    struct troupe_bytes mark = troupe__machine_read_mark(machine, "in");
    if (mark.data) {
        assert_int_equal(mark.size, sizeof at);
        memcpy(&at, mark.data, sizeof at);
    }
    return at;
}

static void feed(struct fixture *f, const struct plan *plan, size_t most)
{
    size_t at = position(&f->machine);
    for (; most > 0 && at < plan->input_count; most--) {
        const struct input *input = &plan->inputs[at++];
        struct troupe_bytes body = {&input->body, sizeof input->body};
        const struct troupe__response *known;
        uint64_t number;
        must(input->ask ? troupe__machine_ask(&f->machine, input->id, input->to, "go", body, &number, &known)
                        : troupe__machine_arrive(&f->machine, input->id[0] ? input->id : NULL, input->to, "go", body));
        must(troupe__machine_mark(&f->machine, "in", (struct troupe_bytes){&at, sizeof at}));
    }
}

static bool at_rest(const struct fixture *f, const struct plan *plan)
{
    return position(&f->machine) == plan->input_count && f->machine.waiting == 0 && f->machine.timers.count == 0 &&
           f->machine.jobs.count == 0 && !troupe__machine_dirty(&f->machine);
}

/* Run to the end, or to a commit that fails: returns false then. How much happens between two commits, whether more
 * happens while one is under way, and whether the tables are behind, is by the seed. */
static bool play(struct fixture *f, const struct plan *plan, uint64_t *step)
{
    while (!at_rest(f, plan)) {
        uint64_t dice = mix(plan->seed, ++*step, 12);
        feed(f, plan, dice % 3);
        run(f, (dice >> 8) % 12);
        if (f->running_count > 0 && (dice >> 12) % 2) {
            work_on(f, (dice >> 13) % f->running_count);
        }
        if ((dice >> 16) % 3 == 0) {
            advance(f, (int64_t)((dice >> 20) % 10));
        } else if (!troupe__machine_runnable(&f->machine) && !f->machine.crowded &&
                   troupe__machine_next_due(&f->machine) > 0) {
            advance(f, troupe__machine_next_due(&f->machine));
        }
        if (f->machine.crowded && !troupe__machine_dirty(&f->machine)) {
            troupe__machine_refresh(&f->machine); /* It waits for that alone. */
        }
        if ((dice >> 24) % 2 == 0 || !troupe__machine_dirty(&f->machine)) {
            continue;
        }
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        if ((dice >> 32) % 2) {
            feed(f, plan, 1);
            run(f, (dice >> 40) % 6); /* in the next epoch, while this one is not durable */
        }
        if (!commit_sealed(f)) {
            return false;
        }
        if ((dice >> 48) % 3 == 0) {
            troupe__machine_refresh(&f->machine);
        }
        if ((dice >> 52) % 3 == 0) {
            must(troupe__machine_sweep(&f->machine, 1 + (dice >> 56) % 40));
        }
    }
    return true;
}

/* ---- the crash test ---------------------------------------------------------------------------------------------- */

static enum troupe_error hash_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    uint64_t *sum = context;
    struct troupe__row_key parts;
    assert_true(troupe__row_key_decode(key, &parts));
    if (isupper(*(const unsigned char *)parts.value.data)) {
        return TROUPE_OK;
    }
    *sum = mix(*sum, troupe__hash(key.data, key.size), troupe__hash(value.data, value.size));
    return TROUPE_OK;
}

struct dead {
    struct troupe__actors *actors;
    uint64_t sum; /* in any order */
};

/* Numbers and times differ between runs; actor, message and reason do not. */
static enum troupe_error hash_dead(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key;
    struct dead *dead = context;
    size_t size;
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    troupe__cursor_varint(&cursor);
    const unsigned char *reason = troupe__cursor_string(&cursor, &size);
    uint64_t hash = troupe__hash(reason, size);
    assert_true(cursor.at < cursor.end && *cursor.at == 1);
    struct troupe_bytes row = {cursor.at + 1, (size_t)(cursor.end - cursor.at - 1)};
    struct troupe__message *message;
    must(troupe__message_decode(dead->actors, row, &message));
    hash = mix(hash, troupe__hash(message->to->key, message->to->key_size),
               troupe__hash(message->data, message->type_size));
    dead->sum += mix(hash, troupe__hash(troupe__message_body(message), message->body_size), 1);
    troupe__message_free(message);
    return TROUPE_OK;
}

static enum troupe_error add_faults(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    static const char suffix[] = "faults";
    const char *end = (const char *)key.data + key.size;
    (void)value;
    *(size_t *)context += key.size > 6 && memcmp(end - 6, suffix, 6) == 0;
    return TROUPE_OK;
}

/* All that must be the same whatever crashed. */
struct outcome {
    uint64_t state, records, dead, answers;
    size_t state_rows, record_count, dead_rows;
    size_t left;   /* rows that should be gone: mail, timers, records, jobs */
    size_t faults; /* of order, of repeats, of cancelled timers */
};

/* Ask all again: each has its one answer, the same that came before if it came. */
static void ask_again(struct fixture *f, const struct plan *plan, struct outcome *outcome)
{
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct input *input = &plan->inputs[i];
        const struct troupe__response *known = NULL;
        struct troupe__answer answer;
        uint64_t number;
        if (!input->ask) {
            continue;
        }
        must(troupe__machine_ask(&f->machine, input->id, input->to, "go", (struct troupe_bytes){NULL, 0}, &number,
                                 &known));
        assert_true(known && known->answered);
        must(troupe__machine_read_answer(&f->machine, known->id, &answer));
        outcome->answers += mix(i, hash_answer(&answer), 13);
        for (size_t j = 0; j < f->outside.answer_count; j++) {
            outcome->faults +=
                f->outside.answers[j].number == number && f->outside.answers[j].hash != hash_answer(&answer);
        }
    }
}

/* Let all that expires do so, and leave the disk. */
static void sweep_all(struct fixture *f)
{
    troupe__memory_disk_fail_after(f->disk, -1, false);
    advance(f, 10000);
    for (int i = 0; i < 10000 && troupe__machine_sweep_due(&f->machine) == 0; i++) {
        must(troupe__machine_sweep(&f->machine, 100));
        settle(f, true);
    }
    assert_int_equal(troupe__machine_sweep_due(&f->machine), -1);
}

static struct outcome outcome_of(struct fixture *f, const struct plan *plan)
{
    struct troupe_bytes all = {"", 0};
    troupe__machine_refresh(&f->machine);
    sweep_all(f);
    struct outcome outcome = {
        .state_rows = rows(f, TROUPE__STATE),
        .record_count = f->outside.count,
        .dead_rows = rows(f, TROUPE__DEAD),
        .left = rows(f, TROUPE__MAIL) + rows(f, TROUPE__TIMER) + rows(f, TROUPE__EGRESS) + rows(f, TROUPE__JOB) +
                rows(f, TROUPE__SWEEP),
        .faults = f->outside.faults,
    };
    must(f->store->scan(f->store, TROUPE__STATE, all, hash_row, &outcome.state));
    must(f->store->scan(f->store, TROUPE__STATE, all, add_faults, &outcome.faults));
    struct dead dead = {&f->machine.actors, 0};
    must(f->store->scan(f->store, TROUPE__DEAD, all, hash_dead, &dead));
    outcome.dead = dead.sum;
    for (size_t i = 0; i < f->outside.count; i++) {
        const struct record *record = &f->outside.records[i];
        outcome.records += mix(troupe__hash(record->name, strlen(record->name)),
                               troupe__hash(record->key, strlen(record->key)), record->hash);
    }
    ask_again(f, plan, &outcome);
    return outcome;
}

static bool same_outcome(const struct outcome *a, const struct outcome *b)
{
    return a->state == b->state && a->records == b->records && a->dead == b->dead && a->answers == b->answers &&
           a->state_rows == b->state_rows && a->record_count == b->record_count && a->dead_rows == b->dead_rows &&
           a->left == b->left && a->faults == b->faults;
}

struct totals {
    size_t crashes, records, dead;
    uint64_t deliveries, jobs, evicted, read_back, late_answers, timers_read_back;
};

/* Run a graph; up to `crashes` times let the commit after `commits` more fail. Returns how often it did. */
static int play_crashing(const struct plan *plan, size_t memory_max, int64_t commits, bool durable, int crashes,
                         struct outcome *ret, struct totals *totals)
{
    struct fixture *f = fixture_new(&graph_module);
    f->memory_max = f->machine.memory_max = memory_max;
    f->far = crashes > 0 && commits % 3 != 0;
    f->machine.actors.far_count = f->far ? 0 : TROUPE__ACTORS_NEAR;
    uint64_t step = 0;
    int crashed = 0;
    troupe__memory_disk_fail_after(f->disk, crashes > 0 ? commits : -1, durable);
    while (!play(f, plan, &step)) {
        crashed++;
        totals->deliveries += f->machine.stats.deliveries;
        totals->jobs += f->machine.stats.jobs_begun;
        totals->evicted += f->machine.actors.evicted;
        totals->read_back += f->machine.backlog.read_back;
        totals->late_answers += f->machine.stats.late_answers;
        totals->timers_read_back += f->machine.spill.read_back;
        troupe__memory_disk_fail_after(f->disk, crashed < crashes ? commits : -1, durable);
        reopen(f);
        if (step > 100000) {
            break; /* The comparison will say so. */
        }
    }
    *ret = outcome_of(f, plan);
    totals->deliveries += f->machine.stats.deliveries;
    totals->jobs += f->machine.stats.jobs_begun;
    totals->evicted += f->machine.actors.evicted;
    totals->read_back += f->machine.backlog.read_back;
    totals->late_answers += f->machine.stats.late_answers;
    totals->timers_read_back += f->machine.spill.read_back;
    totals->crashes += (size_t)crashed;
    fixture_free(f);
    return crashed;
}

static void print_outcome(const char *what, const struct outcome *o)
{
    print_error("%s: state %016" PRIx64 " (%zu rows), records %016" PRIx64 " (%zu), dead %016" PRIx64
                " (%zu), answers %016" PRIx64 ", rows left %zu, faults %zu\n",
                what, o->state, o->state_rows, o->records, o->record_count, o->dead, o->dead_rows, o->answers, o->left,
                o->faults);
}

static void crash_everywhere(uint64_t seed, struct totals *totals)
{
    struct plan plan = make_plan(seed);
    struct outcome expected;
    play_crashing(&plan, SIZE_MAX, -1, false, 0, &expected, totals);
    totals->records += expected.record_count;
    totals->dead += expected.dead_rows;
    bool clean = expected.left == 0 && expected.faults == 0;
    if (!clean) {
        print_outcome("no crash", &expected);
        fail_msg("TROUPE_SEED=%" PRIu64 ": wrong without a crash", seed);
    }
    for (int variant = 0; variant < 4; variant++) {
        bool durable = variant & 1;
        int crashes = variant & 2 ? 3 : 1, crashed = 1;
        for (int64_t commits = 0; crashed > 0; commits++) {
            struct outcome outcome;
            /* 0: nothing stays in memory that need not; 1500: some messages do, some actors are let go. */
            size_t memory_max = (commits + variant) % 2 ? SIZE_MAX : commits % 4 < 2 ? 0 : 1500;
            crashed = play_crashing(&plan, memory_max, commits, durable, crashes, &outcome, totals);
            if (!same_outcome(&outcome, &expected)) {
                print_outcome("no crash", &expected);
                print_outcome("crashed ", &outcome);
                fail_msg("TROUPE_SEED=%" PRIu64 ": %d crashes, each after %" PRId64 " commits, the next one %s", seed,
                         crashed, commits, durable ? "durable" : "lost");
            }
        }
    }
}

/* Whichever commit fails, durable or not, once or three times: state, records and dead letters are those of a run
 * without a crash, every record is out once under its number, and the messages of each pair came in order. */
static void a_crash_at_any_commit_changes_nothing(void **state)
{
    (void)state;
    struct totals totals = {0};
    const char *seed = getenv("TROUPE_SEED");
    if (seed) {
        crash_everywhere(strtoull(seed, NULL, 10), &totals);
        return;
    }
    clock_t end = clock() + 5 * CLOCKS_PER_SEC;
    uint64_t graphs = 0;
    while (graphs < 20 || (graphs < 200 && clock() < end)) {
        crash_everywhere(++graphs, &totals);
    }
    print_message("%" PRIu64 " graphs, %zu crashes, %" PRIu64 " deliveries, %" PRIu64 " jobs begun, %" PRIu64
                  " evictions; per run %zu records, %zu dead letters\n",
                  graphs, totals.crashes, totals.deliveries, totals.jobs, totals.evicted, totals.records / graphs,
                  totals.dead / graphs);
    assert_true(totals.records > graphs && totals.dead > graphs / 4 && totals.jobs > graphs * 10 &&
                totals.evicted > totals.crashes && totals.late_answers > totals.crashes &&
                totals.timers_read_back > totals.crashes &&
                totals.read_back > totals.crashes); /* The graphs do what they are for. */
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
        cmocka_unit_test(a_crash_at_any_commit_changes_nothing),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
