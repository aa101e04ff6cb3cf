/* limits.c - what disk, LMDB and ZeroMQ can do by themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>
#include <zmq.h>

#include "test/bench/bench.h"

void measure_append(void)
{
    char path[600], page[4096];
    double medians[RUNS + 1], times[SYNCS];
    memset(page, 0x5a, sizeof page);
    snprintf(path, sizeof path, "%s/append", bench_data_path);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(fd >= 0);
    for (int run = 0; run <= RUNS; run++) {
        for (int i = 0; i < SYNCS; i++) {
            int64_t start = bench_now_ns();
            CHECK(write(fd, page, sizeof page) == sizeof page && fdatasync(fd) == 0);
            times[i] = (double)(bench_now_ns() - start) / 1000;
        }
        medians[run] = bench_percentile(times, SYNCS, 0.5);
    }
    close(fd);
    unlink(path);
    bench_report("append_sync_p50", bench_percentile(medians + 1, RUNS, 0.5), "us", 0, "");
}

void measure_lmdb(void)
{
    char path[600], value[100];
    double medians[RUNS + 1], times[SYNCS];
    uint64_t random = 42;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    memset(value, 1, sizeof value);
    snprintf(path, sizeof path, "%s/lmdb", bench_data_path);
    CHECK(mkdir(path, 0700) == 0 && mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, (size_t)1 << 30) == 0);
    CHECK(mdb_env_open(env, path, 0, 0600) == 0 && mdb_txn_begin(env, NULL, 0, &txn) == 0);
    CHECK(mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && mdb_txn_commit(txn) == 0);
    for (int run = 0; run <= RUNS; run++) {
        for (int i = 0; i < SYNCS; i++) {
            uint64_t key = bench_random(&random) % 100000;
            MDB_val name = {sizeof key, &key}, row = {sizeof value, value};
            int64_t start = bench_now_ns();
            CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_put(txn, dbi, &name, &row, 0) == 0);
            CHECK(mdb_txn_commit(txn) == 0);
            times[i] = (double)(bench_now_ns() - start) / 1000;
        }
        medians[run] = bench_percentile(times, SYNCS, 0.5);
    }
    mdb_env_close(env);
    bench_remove_tree(path);
    bench_report("lmdb_commit_p50", bench_percentile(medians + 1, RUNS, 0.5), "us", 0, "append_sync_p50");
}

enum { ZMQ_COUNT = 1000000, ZMQ_SIZE = 100 };

static void *push_messages(void *socket)
{
    char body[ZMQ_SIZE] = {0};
    for (int i = 0; i < ZMQ_COUNT; i++) {
        CHECK(zmq_send(socket, body, sizeof body, 0) == sizeof body);
    }
    return NULL;
}

void measure_zmq(void)
{
    double rates[RUNS + 1];
    char body[ZMQ_SIZE];
    void *context = zmq_ctx_new();
    for (int run = 0; run <= RUNS; run++) {
        void *pull = zmq_socket(context, ZMQ_PULL), *push = zmq_socket(context, ZMQ_PUSH);
        pthread_t thread;
        char address[32]; /* a socket is closed in the background, so its address is not free at once */
        snprintf(address, sizeof address, "inproc://bench%d", run);
        CHECK(zmq_bind(pull, address) == 0 && zmq_connect(push, address) == 0);
        int64_t start = bench_now_ns();
        CHECK(pthread_create(&thread, NULL, push_messages, push) == 0);
        for (int i = 0; i < ZMQ_COUNT; i++) {
            CHECK(zmq_recv(pull, body, sizeof body, 0) == sizeof body);
        }
        rates[run] = ZMQ_COUNT * 1e9 / (double)(bench_now_ns() - start);
        pthread_join(thread, NULL);
        zmq_close(push);
        zmq_close(pull);
    }
    zmq_ctx_term(context);
    bench_report("zmq_one_way", bench_percentile(rates + 1, RUNS, 0.5), "/s", 0, "");
}
