/* throughput.c - how many messages a second a node's loop handles, and how much memory their actors take.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/bench/bench.h"
#include "test/bench/loop.h"

/* ---- the actors -------------------------------------------------------------------------------------------------- */

enum { RING_SIZE = 1000, RING_TOKENS = 100, BIG_IN_FLIGHT = 10000 };

static uint64_t big_size;

static enum troupe_error handle_ring(struct troupe_context *ctx, const struct troupe_message *message)
{
    char buffer[24];
    uint64_t index = 0;
    for (const char *at = troupe_self(ctx).key; *at; at++) {
        index = index * 10 + (uint64_t)(*at - '0');
    }
    enum troupe_error result = bench_count_one(ctx);
    return result == TROUPE_OK
               ? troupe_send(ctx, troupe_to("bench/ring", bench_format_key(buffer, (index + 1) % RING_SIZE)), "token",
                             message->body)
               : result;
}

static enum troupe_error handle_big(struct troupe_context *ctx, const struct troupe_message *message)
{
    char buffer[24];
    uint64_t state;
    enum troupe_error result = bench_count_one(ctx);
    if (result != TROUPE_OK || message->body.size != sizeof state) {
        return result; /* An empty body only makes the actor exist. */
    }
    memcpy(&state, message->body.data, sizeof state);
    uint64_t to = bench_random(&state) % big_size;
    return troupe_send(ctx, troupe_to("bench/big", bench_format_key(buffer, to)), "go",
                       (struct troupe_bytes){&state, sizeof state});
}

static const struct troupe_type types[] = {
    {.name = "bench/ring", .handler = handle_ring, .values = bench_values},
    {.name = "bench/big", .handler = handle_big, .values = bench_values},
};
static const struct troupe_module module = {TROUPE_ABI, "bench", "1", types, 2};

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static double windows_rate(struct bench_node *node, double warm_s, double window_s)
{
    double rates[RUNS];
    bench_node_run_until(node, bench_now_ns() + (int64_t)(warm_s * 1e9));
    for (int run = 0; run < RUNS; run++) {
        int64_t start = bench_now_ns();
        uint64_t before = node->machine.stats.deliveries;
        bench_node_run_until(node, start + (int64_t)(window_s * 1e9));
        rates[run] = (double)(node->machine.stats.deliveries - before) * 1e9 / (double)(bench_now_ns() - start);
    }
    CHECK(node->machine.stats.failures == 0);
    return bench_percentile(rates, RUNS, 0.5);
}

void measure_ring(void)
{
    struct bench_node node;
    bench_node_open(&node, bench_directory(), &module, &bench_on_disk);
    for (uint64_t i = 0; i < RING_TOKENS; i++) {
        bench_node_arrive(&node, "bench/ring", i * (RING_SIZE / RING_TOKENS), "token", NULL, 0);
    }
    bench_report("ring", windows_rate(&node, 1, 1.5), "hops/s", 8e6, "zmq_one_way");
    bench_node_close(&node);
}

/* Make actors 0 to count-1 exist, each by one message. The node's time stands still, so that all are in memory at the
 * end however long it takes. */
static void create_actors(struct bench_node *node, uint64_t count)
{
    bool sealed;
    node->stopped_ms = bench_wall_ms();
    for (uint64_t i = 0; i < count;) {
        while (i < count && node->machine.waiting < WAITING_MAX) {
            bench_node_arrive(node, "bench/big", i++, "go", NULL, 0);
        }
        bench_node_wait(node, bench_node_turn(node, &sealed) || i < count ? 0 : 100000000);
    }
    bench_node_fold(node);
    node->late_ms = bench_wall_ms() - node->stopped_ms;
    node->stopped_ms = 0;
}

/* After a warm-up, long enough that folding goes on as it will. */
static double big_rate(uint64_t count, double warm_s)
{
    struct bench_node node;
    big_size = count;
    bench_node_open(&node, bench_directory(), &module, &bench_on_disk);
    create_actors(&node, count);
    for (uint64_t i = 0; i < BIG_IN_FLIGHT; i++) {
        /* Not the generator's next number: then all chains would follow the first, each a step behind the other, and
         * the actors in use at a time would be as many as there are messages, not all. */
        uint64_t state = troupe__hash(&i, sizeof i) | 1;
        bench_node_arrive(&node, "bench/big", state % count, "go", &state, sizeof state);
    }
    double rate = windows_rate(&node, warm_s, 1.5);
    bench_node_close(&node);
    return rate;
}

void measure_big(void)
{
    bench_report("big", big_rate(100000, 1), "/s", 3e6, "zmq_one_way");
}

static double rss_anon(void)
{
    malloc_trim(0);
    return bench_status_number("/proc/self/status", "RssAnon") * 1024;
}

/* Time passes in which nobody sends anything, until no actor is in memory: two rounds of the hand, and a third for what
 * those miss. */
static void let_idle(struct bench_node *node)
{
    int64_t from_ms = node->machine.ctx.now_ms, ms = 0;
    for (; !troupe__index_empty(&node->machine.actors.index); ms += 10) {
        CHECK(troupe__machine_set_now(&node->machine, from_ms + ms) == TROUPE_OK);
        troupe__machine_refresh(&node->machine);
        CHECK(ms < 120000);
    }
}

/* A million of them, in small epochs, so that no buffer of the store is larger the second time than the first. */
static void create_slowly(struct bench_node *node, uint64_t count)
{
    for (uint64_t i = 0; i < count;) {
        for (uint64_t end = i + 2000; i < end; i++) {
            bench_node_arrive(node, "bench/big", i, "go", NULL, 0);
        }
        bench_node_settle(node);
    }
    bench_node_fold(node);
}

/* Memory per actor, without its one value: while it is in use, and when all have been idle. Twice before, so that what
 * the store needs for so many rows is there already: it keeps its buffers. */
void measure_actor_bytes(void)
{
    enum { COUNT = 1000000 };
    struct troupe__lmdb_options options = {.sync = false, .fold_bytes = 1 << 20};
    struct bench_node node;
    bench_node_open(&node, bench_directory(), &module, &options);
    for (int i = 0; i < 2; i++) {
        create_slowly(&node, COUNT);
        let_idle(&node);
    }
    double before = rss_anon();
    create_slowly(&node, COUNT);
    bench_report("actor_bytes", (rss_anon() - before) / COUNT - sizeof(int64_t), "B", -256, "");
    let_idle(&node);
    bench_report("actor_bytes_idle", (rss_anon() - before) / COUNT, "B", -1, "");
    bench_node_close(&node);
}

void measure_growth(void)
{
    bool roomy = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) > 7e9;
    uint64_t count = roomy ? 10000000 : 2000000;
    double few = big_rate(100000, 5), many = big_rate(count, 5);
    char name[32];
    snprintf(name, sizeof name, "big_%" PRIu64 "M", count / 1000000);
    bench_report(name, many, "/s", 0, "big");
    bench_report("growth", many / few, "x", 0.5, "");
}
