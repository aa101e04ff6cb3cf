/* zmq.c - what ZeroMQ alone carries between two processes over tcp on this machine, in frames as large as a link's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/bench/bench.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "core/frame.h"
#include "transport/keys.h"

enum { BODY_SIZE = 100, BODIES = TROUPE__FRAME_DATA_SIZE / BODY_SIZE, QUEUE = 128 };

static void set_keys(void *socket, const struct troupe__key_pair *own, const char *server_key)
{
    int on = 1;
    CHECK(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, TROUPE__KEY_SIZE + 1) == 0);
    if (server_key) {
        CHECK(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own->public_key, TROUPE__KEY_SIZE + 1) == 0);
        CHECK(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, TROUPE__KEY_SIZE + 1) == 0);
    } else {
        CHECK(zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on) == 0);
    }
}

static void push_for_ever(const char *endpoint, const struct troupe__key_pair *keys, const char *server_key)
{
    static char frame[BODIES * BODY_SIZE];
    int queue = QUEUE;
    bench_use_core(1);
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_PUSH);
    CHECK(zmq_setsockopt(socket, ZMQ_SNDHWM, &queue, sizeof queue) == 0);
    if (keys) {
        set_keys(socket, keys, server_key);
    }
    CHECK(zmq_connect(socket, endpoint) == 0);
    for (;;) {
        CHECK(zmq_send(socket, frame, sizeof frame, 0) == sizeof frame);
    }
}

/* Messages that come in the given time, a second. */
static double pull(void *socket, int64_t time_ns)
{
    static char frame[BODIES * BODY_SIZE];
    int64_t start = bench_now_ns(), now;
    double count = 0;
    do {
        CHECK(zmq_recv(socket, frame, sizeof frame, 0) == sizeof frame);
        count += BODIES;
    } while ((now = bench_now_ns()) < start + time_ns);
    return count * 1e9 / (double)(now - start);
}

static void measure(const char *name, const struct troupe__key_pair *keys)
{
    char endpoint[64];
    double rates[RUNS];
    int fds[2], queue = QUEUE;
    size_t size = sizeof endpoint;
    CHECK(pipe(fds) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) { /* Forked before there is a socket. */
        CHECK(read(fds[0], endpoint, sizeof endpoint) == sizeof endpoint);
        push_for_ever(endpoint, keys ? &keys[1] : NULL, keys ? keys[0].public_key : NULL);
    }
    bench_use_core(0);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_PULL);
    CHECK(zmq_setsockopt(socket, ZMQ_RCVHWM, &queue, sizeof queue) == 0);
    if (keys) {
        set_keys(socket, &keys[0], NULL);
    }
    CHECK(zmq_bind(socket, "tcp://127.0.0.1:*") == 0);
    CHECK(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    CHECK(write(fds[1], endpoint, sizeof endpoint) == sizeof endpoint);
    pull(socket, 200000000);
    for (int run = 0; run < RUNS; run++) {
        rates[run] = pull(socket, 200000000);
    }
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    zmq_close(socket);
    zmq_ctx_term(context);
    close(fds[0]);
    close(fds[1]);
    bench_report(name, bench_percentile(rates, RUNS, 0.5), "/s", 0, "");
}

void measure_zmq_batches(void)
{
    struct troupe__key_pair keys[2];
    char error[256];
    measure("zmq_batches", NULL);
    for (int i = 0; i < 2; i++) {
        CHECK(troupe__keys_make(&keys[i], error, sizeof error) == TROUPE_OK);
    }
    measure("zmq_curve_batches", keys);
}
