/* wire_test.c - what core/wire.h promises, with every kind of wire: simulated, and ZeroMQ with and without keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "transport/sim_wire.h"
#include "transport/zmq_wire.h"

enum { NODES = 3, DEADLINE_MS = 10000, FRAME_MAX = 1 << 21 };

enum kind { SIMULATED, PLAIN, SECURE };

struct node {
    struct troupe__wire *wire;
    uint64_t count, wrong; /* frames that came, and those that are not what was sent */
    bool sending;
};

struct fixture {
    enum kind kind;
    struct node nodes[NODES];
    struct troupe__random_oracle oracle;
    struct troupe__sim_network *network;
    char directory[64], endpoints[NODES][96];
    struct troupe__key_pair keys[NODES];
    struct troupe__zmq_peer peers[NODES];
};

/* A frame is its sender's number, its size (4), and bytes that follow from both. */
static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct node *node = context;
    const unsigned char *at = frame.data;
    size_t size = frame.size >= 5 ? (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4] : 0;
    node->wrong += size != frame.size || node->sending || (peer != TROUPE__PEER_UNKNOWN && peer != at[0]);
    for (size_t i = 5; i < frame.size; i++) {
        node->wrong += at[i] != (unsigned char)(at[0] + i + size);
    }
    node->count++;
}

static void refused(void *context, const char *address, const char *public_key)
{
    (void)context, (void)address, (void)public_key;
}

static void open_node(struct fixture *f, uint16_t i)
{
    char error[300];
    struct troupe__zmq_wire_options options = {.peers = f->peers,
                                               .count = NODES,
                                               .self = i,
                                               .keys = f->kind == SECURE ? &f->keys[i] : NULL,
                                               .frame_size_max = FRAME_MAX,
                                               .refused = refused,
                                               .context = f};
    if (f->kind == SIMULATED) {
        f->nodes[i].wire = troupe__sim_network_wire(f->network, i);
    } else if (troupe__zmq_wire_open(&options, &f->nodes[i].wire, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    f->nodes[i].wire->on_frame = on_frame;
    f->nodes[i].wire->context = &f->nodes[i];
}

static int setup(void **state, enum kind kind)
{
    struct fixture *f = calloc(1, sizeof *f);
    char error[300];
    *state = f;
    f->kind = kind;
    troupe__random_oracle_init(&f->oracle, 1);
    struct troupe__sim_network_options options = {
        .oracle = &f->oracle.base, .node_count = NODES, .delay_min_ns = 1, .delay_max_ns = 1000};
    f->network = troupe__sim_network_new(&options);
    strcpy(f->directory, "/tmp/troupe-wire.XXXXXX");
    if (!f->network || !mkdtemp(f->directory)) {
        return 1;
    }
    for (uint16_t i = 0; i < NODES; i++) {
        snprintf(f->endpoints[i], sizeof f->endpoints[i], "ipc://%s/n%u", f->directory, i);
        if (kind == SECURE && troupe__keys_make(&f->keys[i], error, sizeof error) != TROUPE_OK) {
            return 1;
        }
        f->peers[i] = (struct troupe__zmq_peer){f->endpoints[i], kind == SECURE ? f->keys[i].public_key : NULL};
    }
    for (uint16_t i = 0; i < NODES; i++) {
        open_node(f, i);
    }
    return 0;
}

static int setup_simulated(void **state)
{
    return setup(state, SIMULATED);
}

static int setup_plain(void **state)
{
    return setup(state, PLAIN);
}

static int setup_secure(void **state)
{
    return setup(state, SECURE);
}

static void close_node(struct fixture *f, size_t i)
{
    if (f->nodes[i].wire) {
        f->nodes[i].wire->close(f->nodes[i].wire);
        f->nodes[i].wire = NULL;
    }
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < NODES; i++) {
        char path[128];
        close_node(f, i);
        snprintf(path, sizeof path, "%s/n%zu.lock", f->directory, i);
        unlink(path);
    }
    troupe__sim_network_free(f->network);
    int code = rmdir(f->directory);
    free(f);
    return code;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Let frames arrive. */
static void pump(struct fixture *f)
{
    struct troupe__sim_arrival arrival;
    while (f->kind == SIMULATED && troupe__sim_network_next(f->network, &arrival)) {
        troupe__sim_network_deliver(f->network);
    }
    for (size_t i = 0; f->kind != SIMULATED && i < NODES; i++) {
        if (f->nodes[i].wire) {
            troupe__zmq_wire_poll(f->nodes[i].wire, 16);
        }
    }
}

static void receive(struct fixture *f, size_t to, uint64_t count)
{
    for (int64_t end = now_ms() + DEADLINE_MS; f->nodes[to].count < count; pump(f)) {
        if (now_ms() > end) {
            fail_msg("node %zu has %llu frames, not %llu", to, (unsigned long long)f->nodes[to].count,
                     (unsigned long long)count);
        }
    }
}

static enum troupe_error try_to_send(struct fixture *f, size_t from, size_t to, size_t size)
{
    unsigned char *frame = malloc(size);
    frame[0] = (unsigned char)from;
    for (size_t i = 0; i < 4; i++) {
        frame[1 + i] = (unsigned char)(size >> (24 - 8 * i));
    }
    for (size_t i = 5; i < size; i++) {
        frame[i] = (unsigned char)(from + i + size);
    }
    struct troupe__wire *wire = f->nodes[from].wire;
    for (size_t i = 0; i < NODES; i++) {
        f->nodes[i].sending = true;
    }
    enum troupe_error result = wire->send(wire, (uint16_t)to, (struct troupe_bytes){frame, size});
    for (size_t i = 0; i < NODES; i++) {
        f->nodes[i].sending = false;
    }
    memset(frame, 0xff, size); /* The wire has its own copy. */
    free(frame);
    return result;
}

/* Until it goes: a connection may not stand yet. */
static void send(struct fixture *f, size_t from, size_t to, size_t size)
{
    enum troupe_error result;
    int64_t end = now_ms() + DEADLINE_MS;
    while ((result = try_to_send(f, from, to, size)) != TROUPE_OK) {
        assert_int_equal(result, TROUPE_EFULL);
        assert_true(now_ms() < end);
        pump(f);
    }
}

static void frames_arrive_whole_at_the_node_they_were_sent_to(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {5, 48, 1000, 65536, 1 << 20};
    uint64_t expected[NODES] = {0};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t from = 0; from < NODES; from++) {
            size_t to = (from + 1 + s % 2) % NODES;
            send(f, from, to, sizes[s]);
            receive(f, to, ++expected[to]);
        }
    }
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(f->nodes[i].count, expected[i]);
        assert_int_equal(f->nodes[i].wrong, 0);
    }
}

/* To send to it is no more than a loss, does not block, and the others are reached. */
static void a_node_that_is_not_there_harms_nobody(void **state)
{
    struct fixture *f = *state;
    close_node(f, 2);
    for (int i = 0; i < 1000; i++) {
        enum troupe_error result = try_to_send(f, 0, 2, 1000);
        assert_true(result == TROUPE_OK || result == TROUPE_EFULL);
    }
    send(f, 0, 1, 100);
    receive(f, 1, 1);
    send(f, 1, 0, 100);
    receive(f, 0, 1);
    assert_int_equal(f->nodes[2].count, 0);
}

static void a_node_that_comes_back_is_reached(void **state)
{
    struct fixture *f = *state;
    send(f, 0, 1, 100);
    receive(f, 1, 1);
    close_node(f, 1);
    try_to_send(f, 0, 1, 100); /* lost, or late */
    pump(f);
    open_node(f, 1);
    uint64_t before = f->nodes[1].count;
    int64_t end = now_ms() + DEADLINE_MS;
    while (f->nodes[1].count == before) { /* What was accepted may be lost at a reconnect. */
        assert_true(now_ms() < end);
        try_to_send(f, 0, 1, 200);
        pump(f);
    }
    assert_int_equal(f->nodes[1].wrong, 0);
}

#define CLAIM(claim)                                                                                                   \
    cmocka_unit_test_setup_teardown(claim, setup_simulated, teardown),                                                 \
        cmocka_unit_test_setup_teardown(claim, setup_plain, teardown),                                                 \
        cmocka_unit_test_setup_teardown(claim, setup_secure, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(frames_arrive_whole_at_the_node_they_were_sent_to),
        CLAIM(a_node_that_is_not_there_harms_nobody),
        CLAIM(a_node_that_comes_back_is_reached),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
