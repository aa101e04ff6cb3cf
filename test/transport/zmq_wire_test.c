/* zmq_wire_test.c - frames between nodes over ZeroMQ on this machine, with keys and without.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/buffer.h"
#include "transport/socket.h"
#include "transport/zmq_wire.h"

enum { NODES = 3, DEADLINE_MS = 10000, SIZE_MAX_OF_FRAME = 100000 };

struct node {
    struct troupe__wire *wire;
    uint64_t count, last, wrong; /* frames that came; the last number; frames out of order or damaged */
    int peer;
    size_t size_most; /* of a frame */
};

struct fixture {
    char directory[64], endpoints[NODES][96];
    struct troupe__key_pair keys[NODES];
    struct troupe__zmq_peer peers[NODES];
    struct node nodes[NODES];
    bool secure;
    atomic_int unlisted, keyless, mistaken, other; /* refused connections, by the reason */
};

static char error[300];

static void refused(void *context, const char *address, const char *why)
{
    struct fixture *f = context;
    (void)address;
    atomic_fetch_add(strstr(why, "not in the cluster file")     ? &f->unlisted
                     : strstr(why, "it has no key")             ? &f->keyless
                     : strstr(why, "it expects another public") ? &f->mistaken
                                                                : &f->other,
                     1);
}

/* A frame is a number and then bytes that follow from it. */
static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct node *node = context;
    const unsigned char *at = frame.data;
    uint64_t number = frame.size >= 8 ? troupe__get_be64(at) : 0;
    for (size_t i = 8; i < frame.size; i++) {
        node->wrong += at[i] != (unsigned char)(number + i);
    }
    node->wrong += number <= node->last;
    node->last = number;
    node->count++;
    node->peer = peer;
    node->size_most = frame.size > node->size_most ? frame.size : node->size_most;
}

static void open_node(struct fixture *f, uint16_t i)
{
    struct troupe__zmq_wire_options options = {.peers = f->peers,
                                               .count = NODES,
                                               .self = i,
                                               .keys = f->secure ? &f->keys[i] : NULL,
                                               .frame_size_max = SIZE_MAX_OF_FRAME,
                                               .refused = refused,
                                               .context = f};
    enum troupe_error result = troupe__zmq_wire_open(&options, &f->nodes[i].wire, error, sizeof error);
    if (result != TROUPE_OK) {
        fail_msg("%s", error);
    }
    f->nodes[i].wire->on_frame = on_frame;
    f->nodes[i].wire->context = &f->nodes[i];
}

static int setup(void **state, bool secure)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->secure = secure;
    strcpy(f->directory, "/tmp/troupe-wire.XXXXXX");
    if (!mkdtemp(f->directory)) {
        return 1;
    }
    for (uint16_t i = 0; i < NODES; i++) {
        snprintf(f->endpoints[i], sizeof f->endpoints[i], "ipc://%s/n%u", f->directory, i);
        if (troupe__keys_make(&f->keys[i], error, sizeof error) != TROUPE_OK) {
            return 1;
        }
        f->peers[i] = (struct troupe__zmq_peer){f->endpoints[i], secure ? f->keys[i].public_key : NULL};
    }
    for (uint16_t i = 0; i < NODES; i++) {
        open_node(f, i);
    }
    return 0;
}

static int setup_plain(void **state)
{
    return setup(state, false);
}

static int setup_secure(void **state)
{
    return setup(state, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < NODES; i++) {
        char path[128];
        if (f->nodes[i].wire) {
            f->nodes[i].wire->close(f->nodes[i].wire);
        }
        snprintf(path, sizeof path, "%s/n%d.lock", f->directory, i);
        unlink(path);
    }
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

/* Take in what comes at node `to` until `count` frames are there; `between` is called meanwhile, before each wait. */
static void receive(struct fixture *f, int to, uint64_t count)
{
    int64_t end = now_ms() + DEADLINE_MS;
    while (f->nodes[to].count < count) {
        if (now_ms() > end) {
            fail_msg("node %d has %llu frames, not %llu", to, (unsigned long long)f->nodes[to].count,
                     (unsigned long long)count);
        }
        if (troupe__zmq_wire_poll(f->nodes[to].wire, 16) == 0) {
            struct pollfd readable = {.fd = troupe__zmq_wire_fd(f->nodes[to].wire), .events = POLLIN};
            poll(&readable, 1, 5);
        }
    }
}

/* Send frame `number` until it goes: a connection may not stand yet. Others take in what comes meanwhile. */
static void send_frame(struct fixture *f, int from, int to, uint64_t number, size_t size)
{
    unsigned char *frame = malloc(size);
    troupe__put_be64(frame, number);
    for (size_t i = 8; i < size; i++) {
        frame[i] = (unsigned char)(number + i);
    }
    int64_t end = now_ms() + DEADLINE_MS;
    while (f->nodes[from].wire->send(f->nodes[from].wire, (uint16_t)to, (struct troupe_bytes){frame, size}) !=
           TROUPE_OK) {
        assert_true(now_ms() < end);
        troupe__zmq_wire_poll(f->nodes[to].wire, 16);
        poll(NULL, 0, 1);
    }
    free(frame);
}

static void frames_come_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    for (uint64_t number = 1; number <= 500; number++) {
        send_frame(f, 0, 1, number, number % 7 ? 8 + number * 3 : SIZE_MAX_OF_FRAME);
        troupe__zmq_wire_poll(f->nodes[1].wire, 16);
    }
    receive(f, 1, 500);
    send_frame(f, 1, 0, 1, 100);
    receive(f, 0, 1);
    send_frame(f, 2, 1, 501, 100);
    receive(f, 1, 501);
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(f->nodes[i].wrong, 0);
    }
    assert_int_equal(f->nodes[1].peer, f->secure ? 2 : TROUPE__PEER_UNKNOWN);
    assert_int_equal(f->nodes[0].peer, f->secure ? 1 : TROUPE__PEER_UNKNOWN);
}

/* A node that has gone and comes back at the same place is reached again; what was sent in between may be lost. */
static void a_node_that_comes_back_is_reached_again(void **state)
{
    struct fixture *f = *state;
    send_frame(f, 0, 1, 1, 100);
    receive(f, 1, 1);
    f->nodes[1].wire->close(f->nodes[1].wire);
    open_node(f, 1);
    int64_t end = now_ms() + DEADLINE_MS;
    for (uint64_t number = 2; f->nodes[1].count < 2; number++) {
        assert_true(now_ms() < end);
        send_frame(f, 0, 1, number, 100);
        troupe__zmq_wire_poll(f->nodes[1].wire, 16);
    }
    assert_int_equal(f->nodes[1].wrong, 0);
}

/* Over the limit the connection ends, and nothing of it comes; it is made anew for what follows. */
static void a_frame_over_the_limit_harms_nobody(void **state)
{
    struct fixture *f = *state;
    send_frame(f, 0, 1, 1, 100);
    receive(f, 1, 1);
    send_frame(f, 0, 1, 2, SIZE_MAX_OF_FRAME + 1);
    int64_t end = now_ms() + DEADLINE_MS;
    for (uint64_t number = 3; f->nodes[1].count < 2; number++) {
        assert_true(now_ms() < end);
        send_frame(f, 0, 1, number, 100);
        troupe__zmq_wire_poll(f->nodes[1].wire, 16);
    }
    assert_int_equal(f->nodes[1].size_most, 100);
    assert_int_equal(f->nodes[1].wrong, 0);
}

/* Connect to node 0 as somebody else, and send until it was refused for that reason. */
static void knock(struct fixture *f, const struct troupe__socket_keys *keys, const atomic_int *refused_so)
{
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER, .keys = keys};
    struct troupe__socket *socket;
    struct troupe_bytes frame = {"\0\0\0\0\0\0\0\1", 8};
    assert_int_equal(troupe__socket_open(&options, &socket, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_connect(socket, f->endpoints[0], error, sizeof error), TROUPE_OK);
    int64_t end = now_ms() + DEADLINE_MS;
    while (now_ms() < end && atomic_load(refused_so) == 0) {
        troupe__socket_send(socket, &frame, 1);
        troupe__zmq_wire_poll(f->nodes[0].wire, 16);
        poll(NULL, 0, 1);
    }
    troupe__socket_close(socket);
    assert_true(atomic_load(refused_so) > 0);
    assert_int_equal(f->nodes[0].count, 0);
}

/* A key that is not listed, no key at all, and who takes this node for another get nothing in, and are told of; those
 * listed still do. */
static void a_stranger_gets_nothing_in(void **state)
{
    struct fixture *f = *state;
    struct troupe__key_pair stranger;
    assert_int_equal(troupe__keys_make(&stranger, error, sizeof error), TROUPE_OK);
    struct troupe__socket_keys keys = {
        .public_key = stranger.public_key, .secret_key = stranger.secret_key, .server_key = f->keys[0].public_key};
    knock(f, &keys, &f->unlisted);
    assert_int_equal(atomic_load(&f->keyless) + atomic_load(&f->mistaken), 0);
    knock(f, NULL, &f->keyless);
    assert_int_equal(atomic_load(&f->mistaken), 0);
    keys.server_key = f->keys[1].public_key;
    knock(f, &keys, &f->mistaken);
    send_frame(f, 2, 0, 1, 100);
    receive(f, 0, 1);
    assert_int_equal(f->nodes[0].peer, 2);
}

/* Send until something comes: what a connection has taken may be lost with it. */
static void receive_from(struct fixture *f, int from, int to)
{
    static uint64_t number = 1000;
    uint64_t before = f->nodes[to].count;
    int64_t end = now_ms() + DEADLINE_MS;
    while (f->nodes[to].count == before) {
        assert_true(now_ms() < end);
        send_frame(f, from, to, ++number, 100);
        troupe__zmq_wire_poll(f->nodes[to].wire, 16);
        poll(NULL, 0, 1);
    }
    while (troupe__zmq_wire_poll(f->nodes[to].wire, 16) > 0) {
    }
    assert_int_equal(f->nodes[to].peer, from);
}

/* A node gets another key while the others run: what comes with the old one is not heard any more, though the
 * connection stands; with the new one all goes on, in both directions. */
static void a_key_is_changed_while_nodes_run(void **state)
{
    struct fixture *f = *state;
    struct troupe__key_pair fresh;
    const char *public_keys[NODES];
    receive_from(f, 1, 0);
    receive_from(f, 0, 1);
    assert_int_equal(troupe__keys_make(&fresh, error, sizeof error), TROUPE_OK);
    for (int i = 0; i < NODES; i++) {
        public_keys[i] = i == 1 ? fresh.public_key : f->keys[i].public_key;
    }
    for (int i = 0; i < NODES; i += 2) {
        assert_int_equal(troupe__zmq_wire_change_keys(f->nodes[i].wire, public_keys, error, sizeof error), TROUPE_OK);
    }
    uint64_t before = f->nodes[0].count;
    send_frame(f, 1, 0, 1, 100); /* It is in the connection that stands before those of node 2 are. */
    for (int i = 0; i < 50; i++) {
        troupe__zmq_wire_poll(f->nodes[0].wire, 16);
        poll(NULL, 0, 1);
    }
    assert_int_equal(f->nodes[0].count, before);
    receive_from(f, 2, 0);

    f->nodes[1].wire->close(f->nodes[1].wire);
    f->keys[1] = fresh;
    open_node(f, 1);
    receive_from(f, 1, 0);
    receive_from(f, 0, 1);
    receive_from(f, 0, 2);
    assert_int_equal(f->nodes[0].wrong + f->nodes[1].wrong + f->nodes[2].wrong, 0);

    public_keys[2] = "no key";
    assert_int_equal(troupe__zmq_wire_change_keys(f->nodes[0].wire, public_keys, error, sizeof error), TROUPE_EINVAL);
    receive_from(f, 2, 0);
}

/* A secret key that is not the one the cluster knows is found before anything listens. */
static void a_wrong_key_of_ones_own_is_told(void **state)
{
    struct fixture *f = *state;
    struct troupe__wire *wire;
    f->nodes[1].wire->close(f->nodes[1].wire);
    f->nodes[1].wire = NULL;
    struct troupe__zmq_wire_options options = {.peers = f->peers, .count = NODES, .self = 1, .keys = &f->keys[2]};
    assert_int_equal(troupe__zmq_wire_open(&options, &wire, error, sizeof error), TROUPE_EINVAL);
    assert_non_null(strstr(error, f->keys[1].public_key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_come_whole_and_in_order, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(frames_come_whole_and_in_order, setup_secure, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_comes_back_is_reached_again, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_comes_back_is_reached_again, setup_secure, teardown),
        cmocka_unit_test_setup_teardown(a_frame_over_the_limit_harms_nobody, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(a_stranger_gets_nothing_in, setup_secure, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_changed_while_nodes_run, setup_secure, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_key_of_ones_own_is_told, setup_secure, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
