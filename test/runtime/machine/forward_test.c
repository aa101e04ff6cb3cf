/* forward_test.c - messages from outside that one node takes in for an actor of another: ids hold, answers come back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/clock.h"
#include "mailbox/returns.h"
#include "runtime/machine/links.h"
#include "state/memory_store.h"
#include "transport/sim_wire.h"

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT};
static const struct troupe_value *const values[] = {&count_value, NULL};

static const char *counter_on(uint16_t node);

/* The right to answer goes to the other node, where it is used twice: of the second answer nobody must hear. */
static enum troupe_error answer_later(struct troupe_context *ctx)
{
    struct troupe_bytes right;
    enum troupe_error result = troupe_reply_later(ctx, &right);
    assert_int_equal(result, TROUPE_OK);
    return troupe_send(ctx, troupe_to("test/counter", counter_on(0)), "answer", right);
}

static enum troupe_error answer_for(struct troupe_context *ctx, struct troupe_bytes right)
{
    enum troupe_error result = troupe_reply_to(ctx, right, "deferred", troupe_pack(ctx, "i", (int64_t)42));
    return result == TROUPE_OK ? troupe_reply_to(ctx, right, "deferred", troupe_pack(ctx, "i", (int64_t)43)) : result;
}

/* Counts, and replies how often; "later" lets another one reply 42; "silent" replies nothing, "refuse" fails. It must
 * not see who took the ask in. */
static enum troupe_error counter(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t count = 0;
    if (strcmp(message->type, "answer") == 0) {
        return answer_for(ctx, message->body);
    }
    assert_string_equal(message->from.type, "");
    if (strcmp(message->type, "refuse") == 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "not today");
    }
    enum troupe_error result = troupe_get_int(ctx, &count_value, &count);
    assert_true(result == TROUPE_OK || result == TROUPE_ENOTFOUND);
    assert_int_equal(troupe_set_int(ctx, &count_value, ++count), TROUPE_OK);
    if (strcmp(message->type, "later") == 0) {
        return answer_later(ctx);
    }
    return strcmp(message->type, "ask") == 0 ? troupe_reply(ctx, "count", troupe_pack(ctx, "i", count)) : TROUPE_OK;
}

static const struct troupe_type types[] = {
    {.name = "test/counter", .handler = counter, .values = values, .retry = {.attempts = 1}}};
static const struct troupe_module module = {TROUPE_ABI, "forward", "1", types, 1};

enum { ANSWERS_MAX = 64 };

struct end {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links; /* NULL: it is down */
    struct troupe__epoch epoch;
    struct {
        uint64_t number;
        enum troupe_error result;
        char body[80];
        size_t size;
    } answers[ANSWERS_MAX]; /* that have come since it was opened, durable */
    size_t answer_count;
    char error[512];
    uint32_t starts;
};

struct pair {
    struct troupe__random_oracle oracle;
    struct troupe__sim_network *network;
    struct troupe__slots slots;
    struct end ends[2];
    unsigned seals, crash_at; /* seals so far; at which the node that seals is lost, 0: none */
};

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct end *end = context;
    assert_int_equal(troupe__links_take(end->links, 0, peer, frame), TROUPE_OK);
}

static void open_end(struct pair *pair, uint16_t self)
{
    struct end *end = &pair->ends[self];
    struct troupe__wire *wire = troupe__sim_network_wire(pair->network, self);
    struct troupe__links_options options = {.slots = &pair->slots, .self = self, .chance = ++end->starts, .wire = wire};
    assert_int_equal(troupe__memory_store_open(end->disk, &end->store, end->error, sizeof end->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&end->machine, &module, end->store, 1, NULL, NULL), TROUPE_OK);
    wire->on_frame = on_frame;
    wire->context = end;
    assert_int_equal(troupe__links_open(&end->machine, &options, &end->links, end->error, sizeof end->error),
                     TROUPE_OK);
    end->answer_count = 0;
}

static void close_end(struct end *end)
{
    if (end->links) {
        troupe__links_close(end->links);
        troupe__machine_fini(&end->machine);
        end->store->close(end->store);
        end->links = NULL;
    }
}

static void reopen_end(struct pair *pair, uint16_t self)
{
    close_end(&pair->ends[self]);
    open_end(pair, self);
}

static void new_pair(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    troupe__random_oracle_init(&pair->oracle, 1);
    struct troupe__sim_network_options options = {.oracle = &pair->oracle.base, .node_count = 2};
    pair->network = troupe__sim_network_new(&options);
    assert_non_null(pair->network);
    troupe__slots_spread(&pair->slots, 7, 3, 2);
    for (uint16_t i = 0; i < 2; i++) {
        pair->ends[i].disk = troupe__memory_disk_new();
        assert_non_null(pair->ends[i].disk);
        open_end(pair, i);
    }
}

static void free_pair(struct pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        close_end(&pair->ends[i]);
        troupe__epoch_fini(&pair->ends[i].epoch);
        troupe__memory_disk_free(pair->ends[i].disk);
    }
    troupe__sim_network_free(pair->network);
}

static void take_answers(struct end *end)
{
    struct troupe__cursor cursor = {end->epoch.answers.data, end->epoch.answers.data + end->epoch.answers.size, false};
    while (cursor.at < cursor.end) {
        struct troupe_bytes row;
        struct troupe__answer answer;
        bool answered;
        assert_in_range(end->answer_count, 0, ANSWERS_MAX - 1);
        row.data = troupe__cursor_string(&cursor, &row.size);
        assert_true(troupe__response_decode(row, &end->answers[end->answer_count].number, &answered, &answer));
        assert_true(answered && answer.body.size < sizeof end->answers[0].body);
        end->answers[end->answer_count].result = answer.result;
        memcpy(end->answers[end->answer_count].body, answer.body.data, answer.body.size);
        end->answers[end->answer_count].body[answer.body.size] = '\0';
        end->answers[end->answer_count].size = answer.body.size;
        end->answer_count++;
    }
}

/* Make what there is durable, or lose it. */
static void commit(struct pair *pair, uint16_t self)
{
    struct end *end = &pair->ends[self];
    assert_int_equal(troupe__machine_seal(&end->machine, &end->epoch), TROUPE_OK);
    if (++pair->seals == pair->crash_at) {
        reopen_end(pair, self);
        return;
    }
    struct troupe_bytes record = {end->epoch.record.data, end->epoch.record.size};
    assert_int_equal(end->store->commit(end->store, end->epoch.number, record), TROUPE_OK);
    troupe__links_durable(end->links, 0);
    take_answers(end);
    troupe__machine_refresh(&end->machine);
}

/* Handle what there is, commit, send what may leave. */
static void turn(struct pair *pair, uint16_t self)
{
    struct end *end = &pair->ends[self];
    size_t done;
    assert_int_equal(troupe__machine_run(&end->machine, 1000000, &done), TROUPE_OK);
    if (troupe__machine_dirty(&end->machine)) {
        commit(pair, self);
    }
    assert_int_equal(troupe__links_send_messages(end->links), TROUPE_OK);
    troupe__links_send_answers(end->links);
}

/* Until nothing is on its way. */
static void settle(struct pair *pair)
{
    struct troupe__sim_arrival arrival;
    uint64_t now_ns = 1;
    for (int round = 0; round < 8; round++) { /* What was lost with a crash is sent again when its time has come. */
        do {
            turn(pair, 0);
            turn(pair, 1);
            while (troupe__sim_network_next(pair->network, &arrival)) {
                troupe__sim_network_deliver(pair->network);
            }
            turn(pair, 0);
            turn(pair, 1);
        } while (troupe__sim_network_next(pair->network, &arrival));
        now_ns += UINT64_C(10000000000);
        troupe__links_tick(pair->ends[0].links, now_ns);
        troupe__links_tick(pair->ends[1].links, now_ns);
    }
}

/* The key of a counter on a node. */
static const char *counter_on(uint16_t node)
{
    static char key[2][16];
    for (int i = 0;; i++) {
        snprintf(key[node], sizeof key[node], "c%d", i);
        if (troupe__slot_of("test/counter", key[node]) / (TROUPE__SLOTS / 2) == node) {
            return key[node];
        }
    }
}

/* Ask the counter of node 1, by way of node `by`. The number of the ask; 0: it is known already, and answered. */
static uint64_t ask(struct pair *pair, uint16_t by, const char *id, const char *type)
{
    const struct troupe__response *known = NULL;
    uint64_t number;
    assert_int_equal(troupe__machine_ask(&pair->ends[by].machine, id, troupe_to("test/counter", counter_on(1)), type,
                                         (struct troupe_bytes){"\xc0", 1}, &number, &known),
                     TROUPE_OK);
    return known && known->answered ? 0 : number;
}

/* The answers that have come at `by` for `number`: each is this. Returns how many. */
static size_t expect_answers(const struct pair *pair, uint16_t by, uint64_t number, enum troupe_error result,
                             const char *body)
{
    size_t count = 0;
    for (size_t i = 0; i < pair->ends[by].answer_count; i++) {
        if (pair->ends[by].answers[i].number == number) {
            assert_int_equal(pair->ends[by].answers[i].result, result);
            assert_non_null(strstr(pair->ends[by].answers[i].body, body));
            count++;
        }
    }
    return count;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

static void an_ask_by_way_of_another_node_is_answered_there_once(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    uint64_t first = ask(&pair, 0, NULL, "ask"), second = ask(&pair, 0, NULL, "ask");
    assert_true(first != second);
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, first, TROUPE_OK, "\x01"), 1);
    assert_int_equal(expect_answers(&pair, 0, second, TROUPE_OK, "\x02"), 1);
    assert_int_equal(pair.ends[0].answer_count, 2);
    assert_int_equal(pair.ends[1].machine.returns.count, 0);
    free_pair(&pair);
}

static void what_is_no_answer_comes_back_too(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    uint64_t silent = ask(&pair, 0, NULL, "silent"), refused = ask(&pair, 0, "r", "refuse");
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, silent, TROUPE_ENOTFOUND, "without an answer"), 1);
    assert_int_equal(expect_answers(&pair, 0, refused, TROUPE_EREJECTED, "not today"), 1);
    free_pair(&pair);
}

/* Whichever node took it first, and whether it is answered already. */
static void a_repeat_on_any_node_gets_the_one_answer(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    uint64_t first = ask(&pair, 0, "x", "ask"), here = ask(&pair, 1, "x", "ask"), again = ask(&pair, 0, "x", "ask");
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, first, TROUPE_OK, "\x01"), 1);
    assert_int_equal(expect_answers(&pair, 0, again, TROUPE_OK, "\x01"), 1);
    assert_int_equal(expect_answers(&pair, 1, here, TROUPE_OK, "\x01"), 1);
    uint64_t late = ask(&pair, 0, "x", "ask");
    assert_int_equal(ask(&pair, 1, "x", "ask"), 0); /* answered: read, not sent */
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, late, TROUPE_OK, "\x01"), 1);
    free_pair(&pair);
}

static void an_id_is_sent_once_by_way_of_any_node(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    for (int round = 0; round < 3; round++) {
        for (uint16_t by = 0; by < 2; by++) {
            assert_int_equal(troupe__machine_arrive(&pair.ends[by].machine, "once",
                                                    troupe_to("test/counter", counter_on(1)), "count",
                                                    (struct troupe_bytes){NULL, 0}),
                             TROUPE_OK);
        }
        settle(&pair);
        reopen_end(&pair, (uint16_t)round % 2);
    }
    assert_int_equal(pair.ends[1].machine.stats.deliveries, 0); /* since its last start */
    uint64_t number = ask(&pair, 0, NULL, "ask"), wrong = ask(&pair, 0, "once", "ask");
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, number, TROUPE_OK, "\x02"), 1);
    assert_int_equal(expect_answers(&pair, 0, wrong, TROUPE_EINVAL, "sent to this actor before, not asked"), 1);
    free_pair(&pair);
}

/* Each seal of either node is lost in turn, with all that is in memory. The client repeats, on either node, until it
 * has an answer: it is the first one's. */
static void crash_at_any_seal(const char *type, const char *reply)
{
    unsigned crash_at = 0, seals;
    do {
        struct pair pair;
        crash_at++;
        new_pair(&pair);
        pair.crash_at = crash_at;
        size_t answers = 0;
        for (int attempt = 0; attempt < 6 && answers == 0; attempt++) {
            uint16_t by = attempt % 2 ? 1 : 0;
            uint64_t number = ask(&pair, by, "once", type);
            settle(&pair);
            answers = number ? expect_answers(&pair, by, number, TROUPE_OK, reply) : 1;
        }
        assert_int_equal(answers, 1);
        seals = pair.seals;
        pair.crash_at = 0;
        uint64_t next = ask(&pair, 0, NULL, "ask");
        settle(&pair);
        assert_int_equal(expect_answers(&pair, 0, next, TROUPE_OK, "\x02"), 1); /* It was handled once. */
        assert_int_equal(pair.ends[1].machine.returns.count, 0);
        free_pair(&pair);
    } while (crash_at < seals);
    assert_in_range(crash_at, 6, 100);
}

static void a_crash_at_any_seal_changes_no_answer(void **state)
{
    (void)state;
    crash_at_any_seal("ask", "\x01");
}

static void a_crash_at_any_seal_changes_no_answer_that_another_one_gives_later(void **state)
{
    (void)state;
    crash_at_any_seal("later", "\x2a");
}

/* By an actor of the node that took the ask in, for one of the other node; with an id and without. */
static void an_answer_that_comes_later_finds_its_way_back(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    uint64_t forwarded = ask(&pair, 0, NULL, "later"), named = ask(&pair, 0, "n", "later");
    uint64_t here = ask(&pair, 1, "h", "later");
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, forwarded, TROUPE_OK, "\x2a"), 1);
    assert_int_equal(expect_answers(&pair, 0, named, TROUPE_OK, "\x2a"), 1);
    assert_int_equal(expect_answers(&pair, 1, here, TROUPE_OK, "\x2a"), 1);
    assert_int_equal(pair.ends[1].machine.stats.late_answers, 2); /* to those with an id */
    assert_int_equal(pair.ends[1].machine.returns.count, 0);
    free_pair(&pair);
}

/* It is durable together with the ask: without an id nobody could ask again. */
static void who_waits_is_known_after_a_crash_of_the_actors_node(void **state)
{
    (void)state;
    struct pair pair;
    struct troupe__sim_arrival arrival;
    new_pair(&pair);
    settle(&pair);
    uint64_t number = ask(&pair, 0, NULL, "ask");
    turn(&pair, 0);
    while (troupe__sim_network_next(pair.network, &arrival)) {
        troupe__sim_network_deliver(pair.network);
    }
    commit(&pair, 1); /* Taken in, not handled. */
    reopen_end(&pair, 1);
    assert_int_equal(pair.ends[1].machine.waiting, 1);
    assert_int_equal(pair.ends[1].machine.returns.count, 1);
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, number, TROUPE_OK, "\x01"), 1);
    reopen_end(&pair, 1);
    assert_int_equal(pair.ends[1].machine.returns.count, 0);
    free_pair(&pair);
}

/* Who asked before its node died is told nothing, and nobody else is instead. */
static void an_answer_that_nobody_waits_for_is_dropped(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    settle(&pair);
    uint64_t before = ask(&pair, 0, NULL, "ask");
    turn(&pair, 0);
    reopen_end(&pair, 0);
    uint64_t after = ask(&pair, 0, NULL, "ask");
    assert_true(before != after);
    settle(&pair);
    assert_int_equal(expect_answers(&pair, 0, before, TROUPE_OK, "\x01"), 1); /* Whose number nobody has. */
    assert_int_equal(expect_answers(&pair, 0, after, TROUPE_OK, "\x02"), 1);
    free_pair(&pair);
}

static void who_waits_for_an_answer_is_known_by_both_numbers_and_by_age(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct troupe__returns returns = {0};
    struct troupe__return *oldest = NULL;
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_non_null(troupe__returns_add(&returns, i % 100, i, "7", (int64_t)i));
    }
    assert_non_null(troupe__returns_add(&returns, 5, 5, "8", COUNT)); /* The same again is newer. */
    assert_int_equal(returns.count, COUNT);
    assert_int_equal(troupe__returns_count(&returns, 5, &oldest), 3);
    assert_int_equal(oldest->asked, 105);
    assert_int_equal(troupe__returns_find(&returns, 5)->asked, 5);
    assert_null(troupe__returns_find_both(&returns, 5, 6));
    for (uint64_t i = 0; i < COUNT; i++) {
        if (i != 5) {
            assert_int_equal(returns.oldest->asked, i);
            troupe__returns_remove(&returns, returns.oldest);
        }
    }
    assert_string_equal(returns.oldest->key, "8");
    assert_ptr_equal(returns.oldest, returns.newest);
    troupe__returns_fini(&returns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ask_by_way_of_another_node_is_answered_there_once),
        cmocka_unit_test(what_is_no_answer_comes_back_too),
        cmocka_unit_test(a_repeat_on_any_node_gets_the_one_answer),
        cmocka_unit_test(an_id_is_sent_once_by_way_of_any_node),
        cmocka_unit_test(a_crash_at_any_seal_changes_no_answer),
        cmocka_unit_test(a_crash_at_any_seal_changes_no_answer_that_another_one_gives_later),
        cmocka_unit_test(an_answer_that_comes_later_finds_its_way_back),
        cmocka_unit_test(who_waits_is_known_after_a_crash_of_the_actors_node),
        cmocka_unit_test(an_answer_that_nobody_waits_for_is_dropped),
        cmocka_unit_test(who_waits_for_an_answer_is_known_by_both_numbers_and_by_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
