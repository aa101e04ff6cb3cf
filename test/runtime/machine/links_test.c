/* links_test.c - two machines with links over a wire that the test holds in its hand: what the simulator does not do.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/clock.h"
#include "runtime/machine/links.h"
#include "state/memory_store.h"
#include "transport/sim_wire.h"

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static size_t handled; /* messages that the sink has got, in order; a static because the machine is what is looked at */
static bool in_order;

static enum troupe_error count(struct troupe_context *ctx, const struct troupe_message *message)
{
    uint64_t number;
    (void)ctx;
    assert_int_equal(message->body.size, sizeof number);
    memcpy(&number, message->body.data, sizeof number);
    in_order = in_order && number == handled;
    handled++;
    return TROUPE_OK;
}

static const struct troupe_type types[] = {{.name = "test/sink", .handler = count}};
static const struct troupe_module module = {TROUPE_ABI, "links", "1", types, 1};

struct end {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links;
    struct troupe__epoch epoch;
    struct troupe__slots slots;
    size_t errors; /* log lines of that level */
    char error[512], last_error[700];
    bool open;
};

struct pair {
    struct troupe__random_oracle oracle;
    struct troupe__sim_network *network;
    struct end ends[2];
    uint64_t now_ns;
};

static void log_line(void *context, enum troupe_level level, const char *text)
{
    struct end *end = context;
    if (level == TROUPE_ERROR) {
        end->errors++;
        snprintf(end->last_error, sizeof end->last_error, "%s", text);
    }
}

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct end *end = context;
    assert_int_equal(troupe__links_take(end->links, 0, peer, frame), TROUPE_OK);
}

/* The result of opening the links; the machine is open in any case. */
static enum troupe_error open_end(struct pair *pair, uint16_t self, const struct troupe__links_options *more)
{
    struct end *end = &pair->ends[self];
    struct troupe__wire *wire = troupe__sim_network_wire(pair->network, self);
    struct troupe__links_options options = *more;
    options.slots = &end->slots;
    options.self = self;
    options.chance = 5;
    options.wire = wire;
    assert_int_equal(troupe__memory_store_open(end->disk, &end->store, end->error, sizeof end->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&end->machine, &module, end->store, 1, log_line, end), TROUPE_OK);
    end->open = true;
    wire->on_frame = on_frame;
    wire->context = end;
    return troupe__links_open(&end->machine, &options, &end->links, end->error, sizeof end->error);
}

static void close_end(struct end *end)
{
    if (end->open) {
        troupe__links_close(end->links);
        troupe__machine_fini(&end->machine);
        end->store->close(end->store);
    }
    end->links = NULL;
    end->open = false;
}

static void new_pair(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    troupe__random_oracle_init(&pair->oracle, 1);
    struct troupe__sim_network_options options = {.oracle = &pair->oracle.base, .node_count = 2};
    pair->network = troupe__sim_network_new(&options);
    assert_non_null(pair->network);
    for (size_t i = 0; i < 2; i++) {
        pair->ends[i].disk = troupe__memory_disk_new();
        assert_non_null(pair->ends[i].disk);
        troupe__slots_spread(&pair->ends[i].slots, 7, 3, 2);
    }
    handled = 0;
    in_order = true;
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

/* Handle what there is, make it durable, send what may leave. */
static void turn(struct end *end)
{
    size_t done;
    assert_int_equal(troupe__machine_run(&end->machine, 1000000, &done), TROUPE_OK);
    if (troupe__machine_dirty(&end->machine)) {
        assert_int_equal(troupe__machine_seal(&end->machine, &end->epoch), TROUPE_OK);
        struct troupe_bytes record = {end->epoch.record.data, end->epoch.record.size};
        assert_int_equal(end->store->commit(end->store, end->epoch.number, record), TROUPE_OK);
        troupe__links_durable(end->links, 0);
        troupe__machine_refresh(&end->machine);
    }
    assert_int_equal(troupe__links_send_messages(end->links), TROUPE_OK);
    troupe__links_send_answers(end->links);
}

/* Until nothing is on its way. */
static void settle(struct pair *pair)
{
    struct troupe__sim_arrival arrival;
    do {
        for (size_t i = 0; i < 2; i++) {
            if (pair->ends[i].links) {
                turn(&pair->ends[i]);
            }
        }
        while (troupe__sim_network_next(pair->network, &arrival)) {
            if (pair->ends[arrival.to].links) {
                troupe__sim_network_deliver(pair->network);
            } else {
                troupe__sim_network_drop(pair->network);
            }
        }
        for (size_t i = 0; i < 2; i++) {
            if (pair->ends[i].links) {
                turn(&pair->ends[i]);
            }
        }
    } while (troupe__sim_network_next(pair->network, &arrival));
}

/* The key of a sink on a node. */
static const char *sink_on(uint16_t node)
{
    static char key[16];
    for (int i = 0;; i++) {
        snprintf(key, sizeof key, "s%d", i);
        if (troupe__slot_of("test/sink", key) / (TROUPE__SLOTS / 2) == node) {
            return key;
        }
    }
}

static void send(struct end *from, uint16_t to, uint64_t number)
{
    struct troupe_bytes body = {&number, sizeof number};
    assert_int_equal(troupe__machine_arrive(&from->machine, NULL, troupe_to("test/sink", sink_on(to)), "count", body),
                     TROUPE_OK);
}

static const struct troupe__links_options defaults = {0};

/* ---- claims ------------------------------------------------------------------------------------------------------ */

/* Hellos too: else two starts could share an incarnation, one of them lost in a crash. */
static void nothing_leaves_before_this_start_is_durable(void **state)
{
    (void)state;
    struct pair pair;
    struct troupe__sim_arrival arrival;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    send(&pair.ends[0], 1, 0);
    assert_int_equal(troupe__links_send_messages(pair.ends[0].links), TROUPE_OK);
    troupe__links_send_answers(pair.ends[0].links);
    assert_false(troupe__sim_network_next(pair.network, &arrival));
    turn(&pair.ends[0]);
    assert_true(troupe__sim_network_next(pair.network, &arrival));
    free_pair(&pair);
}

static void a_message_for_another_node_arrives_there_once(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    for (uint64_t number = 0; number < 10; number++) {
        send(&pair.ends[number % 2], 1, number); /* from here and from there: the order between the two is not held */
    }
    settle(&pair);
    assert_int_equal(handled, 10);
    assert_int_equal(pair.ends[0].machine.stats.deliveries, 0);
    assert_int_equal(pair.ends[1].machine.stats.deliveries, 10);
    free_pair(&pair);
}

/* The peer is down: memory stays within its limit, also after a new start; then all comes, in order. */
static void a_backlog_lies_on_disk_until_the_peer_comes(void **state)
{
    (void)state;
    enum { COUNT = 20000, MEMORY_MAX = 10000 };
    static const struct troupe__links_options small = {.outbox_memory_max = MEMORY_MAX};
    struct pair pair;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &small), TROUPE_OK);
    for (uint64_t number = 0; number < COUNT; number++) {
        send(&pair.ends[0], 1, number);
        if (number % 100 == 99) {
            turn(&pair.ends[0]);
            assert_in_range(troupe__outbox_memory(&pair.ends[0].links->outboxes[1]), 1, MEMORY_MAX);
        }
    }
    close_end(&pair.ends[0]);
    assert_int_equal(open_end(&pair, 0, &small), TROUPE_OK);
    assert_in_range(troupe__outbox_memory(&pair.ends[0].links->outboxes[1]), 0, MEMORY_MAX);
    assert_int_equal(open_end(&pair, 1, &small), TROUPE_OK);
    settle(&pair);
    troupe__links_tick(pair.ends[0].links, TROUPE__NEVER - 1); /* The trims have waited long enough. */
    settle(&pair);
    assert_int_equal(handled, COUNT);
    assert_true(in_order);
    assert_int_equal(pair.ends[0].links->links[1].row.trimmed, COUNT);
    for (int i = 0; i < 2; i++) { /* And nothing is left to do, nor in memory. */
        assert_int_equal(troupe__links_tick(pair.ends[i].links, 0), TROUPE__NEVER);
        assert_int_equal(pair.ends[i].links->active_count, 0);
        assert_int_equal(troupe__outbox_memory(&pair.ends[i].links->outboxes[1 - i]), 0);
    }
    free_pair(&pair);
}

/* Both sides say so, and nothing is taken in. */
static void another_generation_is_refused_on_both_sides(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    pair.ends[1].slots.generation = 4;
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    send(&pair.ends[0], 1, 0);
    settle(&pair);
    for (size_t i = 0; i < 2; i++) {
        assert_true(pair.ends[i].links->stats.refused > 0);
        assert_true(pair.ends[i].errors > 0);
        assert_non_null(strstr(pair.ends[i].last_error, "is of generation"));
        assert_int_equal(pair.ends[i].links->links[1 - i].state, TROUPE__LINK_GREETING);
    }
    assert_int_equal(handled, 0);
    free_pair(&pair);
}

static void another_cluster_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    pair.ends[1].slots.cluster = 8;
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    settle(&pair);
    assert_non_null(strstr(pair.ends[0].last_error, "two cluster files"));
    assert_non_null(strstr(pair.ends[1].last_error, "two cluster files"));
    free_pair(&pair);
}

/* Else each would take actors of the other for its own. */
static void other_slots_are_refused_on_both_sides(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    assert_int_equal(troupe__slots_give(&pair.ends[1].slots, 4095, 4095, 0), TROUPE_OK);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    send(&pair.ends[0], 1, 0);
    settle(&pair);
    for (size_t i = 0; i < 2; i++) {
        assert_non_null(strstr(pair.ends[i].last_error, "gives the slots to other nodes"));
        assert_int_equal(pair.ends[i].links->links[1 - i].state, TROUPE__LINK_GREETING);
    }
    assert_int_equal(handled, 0);
    free_pair(&pair);
}

/* A stranger who does not stop must not fill the log. */
static void strange_frames_are_counted_and_few_are_logged(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct pair pair;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    for (uint64_t i = 0; i < COUNT; i++) {
        unsigned char bytes[200];
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (unsigned char)troupe__id_mix(i, at);
        }
        struct troupe_bytes frame = {bytes, (size_t)(i % sizeof bytes)};
        assert_int_equal(troupe__links_take(pair.ends[0].links, 0, TROUPE__PEER_UNKNOWN, frame), TROUPE_OK);
    }
    assert_int_equal(pair.ends[0].links->stats.refused, COUNT);
    assert_in_range(pair.ends[0].errors, 1, 14);
    free_pair(&pair);
}

/* With a key that is another node's than the frame says. */
static void a_frame_in_another_ones_name_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    struct troupe__sim_arrival arrival;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    turn(&pair.ends[1]);
    assert_true(troupe__sim_network_next(pair.network, &arrival));
    assert_int_equal(troupe__links_take(pair.ends[0].links, 0, 0, arrival.frame), TROUPE_OK);
    assert_int_equal(pair.ends[0].links->stats.refused, 1);
    assert_int_equal(troupe__links_take(pair.ends[0].links, 0, 1, arrival.frame), TROUPE_OK);
    assert_int_equal(pair.ends[0].links->stats.refused, 1);
    free_pair(&pair);
}

/* The mark says that it is handled, mail or a dead letter: so what cannot be read is a dead letter, and the rest goes
 * on. */
static void what_cannot_be_delivered_becomes_a_dead_letter(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(open_end(&pair, 1, &defaults), TROUPE_OK);
    settle(&pair);
    struct troupe__frame head = {.kind = TROUPE__FRAME_DATA,
                                 .sender = 0,
                                 .receiver = 1,
                                 .cluster = 7,
                                 .generation = 3,
                                 .map = (uint16_t)pair.ends[0].links->map,
                                 .incarnation = pair.ends[0].links->incarnation,
                                 .first = 1};
    struct troupe__buffer frame = {0}, row = {0};
    uint64_t number = 0;
    struct troupe__actor *there = troupe__actors_get(&pair.ends[0].machine.actors, "test/sink", sink_on(1), 2);
    struct troupe__actor *here = troupe__actors_get(&pair.ends[0].machine.actors, "test/sink", sink_on(0), 2);
    assert_true(there && here);
    troupe__frame_begin(&head, &frame);
    troupe__frame_add(&frame, (struct troupe_bytes){"\007garbage", 8});
    for (int i = 0; i < 2; i++) { /* one whose slot is the sender's own, then a good one */
        struct troupe__message *message =
            troupe__message_new(i ? there : here, NULL, "count", 5, (struct troupe_bytes){&number, sizeof number});
        assert_non_null(message);
        row.size = 0;
        troupe__message_encode(message, &row);
        troupe__buffer_put_string(&frame, row.data, row.size);
        troupe__message_free(message);
    }
    troupe__frame_end(&frame, 3);
    struct troupe_bytes bytes = {frame.data, frame.size};
    assert_int_equal(troupe__links_take(pair.ends[1].links, 0, 0, bytes), TROUPE_OK);
    turn(&pair.ends[1]);
    assert_int_equal(pair.ends[1].machine.stats.dead, 2);
    assert_int_equal(handled, 1);
    assert_int_equal(pair.ends[1].links->links[0].durable.accepted, 3);
    troupe__buffer_free(&frame);
    troupe__buffer_free(&row);
    free_pair(&pair);
}

/* Its rows belong to its slots and its numbers to its peers. */
static void a_directory_belongs_to_its_place(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    struct end *end = &pair.ends[0];
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    turn(end);
    close_end(end);
    for (int what = 0; what < 2; what++) {
        troupe__slots_spread(&end->slots, what == 0 ? 8 : 7, what == 1 ? 4 : 3, 2);
        assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_EINVAL);
        assert_non_null(strstr(end->error, "this directory is of node 0"));
        close_end(end);
    }
    troupe__slots_spread(&end->slots, 7, 3, 2);
    assert_int_equal(troupe__slots_give(&end->slots, 0, 0, 1), TROUPE_OK);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_EINVAL);
    assert_non_null(strstr(end->error, "put the old slots back"));
    close_end(end);
    troupe__slots_spread(&end->slots, 7, 3, 2);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    assert_int_equal(end->links->incarnation >> 32, 2); /* What failed left no trace. */
    free_pair(&pair);
}

/* A directory from when its row did not tell of the slots: it is taken as it is, and belongs to them from then on. */
static void a_directory_that_knows_no_slots_gets_to_know_them(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    struct end *end = &pair.ends[0];
    struct troupe__buffer record = {0};
    static const unsigned char row[] = {7, 3, 0}; /* cluster, generation, node */
    troupe__record_set(&record, TROUPE__META, "cluster", 7, row, sizeof row);
    assert_int_equal(troupe__memory_store_open(end->disk, &end->store, end->error, sizeof end->error), TROUPE_OK);
    assert_int_equal(end->store->commit(end->store, 1, (struct troupe_bytes){record.data, record.size}), TROUPE_OK);
    end->store->close(end->store);
    troupe__buffer_free(&record);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
    turn(end);
    close_end(end);
    assert_int_equal(troupe__slots_give(&end->slots, 0, 0, 1), TROUPE_OK);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_EINVAL);
    assert_non_null(strstr(end->error, "put the old slots back"));
    free_pair(&pair);
}

static void a_directory_of_a_node_that_is_alone_does_not_join(void **state)
{
    (void)state;
    struct pair pair;
    new_pair(&pair);
    struct end *end = &pair.ends[0];
    assert_int_equal(end->disk != NULL, 1);
    assert_int_equal(troupe__memory_store_open(end->disk, &end->store, end->error, sizeof end->error), TROUPE_OK);
    assert_int_equal(end->store->commit(end->store, 1, (struct troupe_bytes){"", 0}), TROUPE_OK);
    end->store->close(end->store);
    assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_EINVAL);
    assert_non_null(strstr(end->error, "use an empty directory"));
    free_pair(&pair);
}

/* Nor the other way round: what it keeps is a part only. A troupe of one is whole. */
static void a_directory_of_one_of_several_is_not_run_alone(void **state)
{
    (void)state;
    for (uint16_t nodes = 1; nodes <= 2; nodes++) {
        struct pair pair;
        new_pair(&pair);
        struct end *end = &pair.ends[0];
        troupe__slots_spread(&end->slots, 7, 3, nodes);
        assert_int_equal(open_end(&pair, 0, &defaults), TROUPE_OK);
        assert_int_equal(troupe__links_none(&end->machine, end->error, sizeof end->error),
                         nodes == 1 ? TROUPE_OK : TROUPE_EINVAL);
        assert_true(nodes == 1 || strstr(end->error, "run it with --cluster"));
        free_pair(&pair);
    }
    struct pair pair;
    new_pair(&pair);
    struct end *end = &pair.ends[0];
    assert_int_equal(troupe__memory_store_open(end->disk, &end->store, end->error, sizeof end->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&end->machine, &module, end->store, 1, log_line, end), TROUPE_OK);
    end->open = true;
    assert_int_equal(troupe__links_none(&end->machine, end->error, sizeof end->error), TROUPE_OK);
    free_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leaves_before_this_start_is_durable),
        cmocka_unit_test(a_message_for_another_node_arrives_there_once),
        cmocka_unit_test(a_backlog_lies_on_disk_until_the_peer_comes),
        cmocka_unit_test(another_generation_is_refused_on_both_sides),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(other_slots_are_refused_on_both_sides),
        cmocka_unit_test(strange_frames_are_counted_and_few_are_logged),
        cmocka_unit_test(a_frame_in_another_ones_name_is_refused),
        cmocka_unit_test(what_cannot_be_delivered_becomes_a_dead_letter),
        cmocka_unit_test(a_directory_belongs_to_its_place),
        cmocka_unit_test(a_directory_that_knows_no_slots_gets_to_know_them),
        cmocka_unit_test(a_directory_of_a_node_that_is_alone_does_not_join),
        cmocka_unit_test(a_directory_of_one_of_several_is_not_run_alone),
    };
    return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}
