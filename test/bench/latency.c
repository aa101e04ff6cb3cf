/* latency.c - how long it takes from a message's arrival until what it did is durable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/node/stint.h"
#include "test/bench/bench.h"
#include "test/bench/loop.h"

/* The open loop's messages handled in the open epoch: their numbers. */
static uint32_t *handled;
static size_t handled_count;

static enum troupe_error handle_open(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (handled) {
        memcpy(&handled[handled_count++], message->body.data, sizeof *handled);
    }
    return bench_count_one(ctx);
}

static const struct troupe_type types[] = {{.name = "bench/update", .handler = handle_open, .values = bench_values}};
static const struct troupe_module module = {TROUPE_ABI, "bench", "1", types, 1};

void measure_update(void)
{
    double medians[RUNS + 1], times[SYNCS];
    struct bench_node node;
    bool sealed;
    bench_node_open(&node, bench_directory(), &module, &bench_on_disk);
    for (int run = 0; run <= RUNS; run++) {
        for (int i = 0; i < SYNCS; i++) {
            int64_t start = bench_now_ns();
            uint64_t epoch = node.machine.epoch;
            bench_node_arrive(&node, "bench/update", (uint64_t)i % 100, "go", NULL, 0);
            bench_node_turn(&node, &sealed);
            while (node.committed.epoch < epoch) {
                bench_node_wait(&node, -1);
                bench_node_poll(&node);
            }
            times[i] = (double)(bench_now_ns() - start) / 1000;
        }
        medians[run] = bench_percentile(times, SYNCS, 0.5);
    }
    double median = bench_percentile(medians + 1, RUNS, 0.5);
    bench_report("update_p50_us", median, "us", 0, "append_sync_p50");
    bench_report("update_p50", median / bench_figure("append_sync_p50"), "x", -2, "");
    bench_node_close(&node);
}

enum { OPEN_RATE = 200000, OPEN_ACTORS = 1000000, OPEN_WARM_S = 2, OPEN_WINDOW_S = 5 };

/* Arrival number i is due i / OPEN_RATE seconds after the start. */
void measure_open(void)
{
    size_t warm = (size_t)OPEN_RATE * OPEN_WARM_S, window = (size_t)OPEN_RATE * OPEN_WINDOW_S;
    size_t count = warm + window * RUNS, issued = 0, durable = 0, sealed_count = 0;
    double *latencies = malloc(count * sizeof *latencies), p50[RUNS], p99[RUNS];
    uint32_t *lists[2] = {malloc(count * sizeof **lists), malloc(count * sizeof **lists)}; /* open, sealed */
    uint64_t random = 4242;
    struct bench_node node;
    CHECK(latencies && lists[0] && lists[1]);
    handled = lists[0];
    bench_node_open(&node, bench_directory(), &module, &bench_on_disk);
    int64_t start = bench_now_ns(), period = 1000000000 / OPEN_RATE;
    int64_t give_up = start + (int64_t)(OPEN_WARM_S + OPEN_WINDOW_S * RUNS + 5) * 1000000000;
    while (durable < count && bench_now_ns() < give_up) {
        int64_t now = bench_now_ns();
        while (issued < count && start + (int64_t)issued * period <= now && node.machine.waiting < WAITING_MAX) {
            uint32_t number = (uint32_t)issued++;
            bench_node_arrive(&node, "bench/update", bench_random(&random) % OPEN_ACTORS, "go", &number, sizeof number);
        }
        bool sealed, was_busy = node.committed.busy;
        bench_node_poll(&node);
        if (was_busy && !node.committed.busy) {
            now = bench_now_ns();
            for (size_t i = 0; i < sealed_count; i++) {
                uint32_t number = lists[1][i];
                latencies[number] = (double)(now - start - (int64_t)number * period) / 1e6;
            }
            durable += sealed_count;
            sealed_count = 0;
        }
        size_t ran; /* not node_turn, whose poll could see the end of an epoch that is not accounted for above */
        CHECK(troupe__machine_set_now(&node.machine, bench_wall_ms()) == TROUPE_OK);
        if (troupe__machine_epoch_size(&node.machine) < EPOCH_SIZE_MAX) {
            CHECK(troupe__stint(&node.machine, &bench_clock, EPOCH_SIZE_MAX, &ran) == TROUPE_OK);
        }
        bool runnable = troupe__machine_runnable(&node.machine);
        sealed = bench_node_seal(&node, runnable);
        if (sealed) {
            uint32_t *list = lists[0];
            lists[0] = lists[1];
            lists[1] = list;
            sealed_count = handled_count;
            handled = lists[0];
            handled_count = 0;
        }
        bench_node_wait(&node, runnable ? 0 : 20000);
    }
    if (durable < count) {
        fprintf(stderr, "open: overloaded, %zu of %zu durable after %d s more\n", durable, count, 5);
        bench_report("open_durable", (double)durable / (double)count, "x", 1, "");
    } else {
        for (int run = 0; run < RUNS; run++) {
            double *from = latencies + warm + window * (size_t)run;
            p50[run] = bench_percentile(from, window, 0.5);
            p99[run] = bench_percentile(from, window, 0.99);
        }
        bench_report("open_p50", bench_percentile(p50, RUNS, 0.5), "ms", -1, "append_sync_p50");
        bench_report("open_p99", bench_percentile(p99, RUNS, 0.5), "ms", -8, "append_sync_p50");
    }
    handled = NULL;
    bench_node_settle(&node);
    bench_node_close(&node);
}
