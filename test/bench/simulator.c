/* simulator.c - how fast troupes are simulated.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <time.h>

#include "runtime/sim/simulator.h"
#include "test/bench/bench.h"

static const struct troupe_value seen = {"seen", TROUPE_INT};
static const struct troupe_value *const values[] = {&seen, NULL};

/* Messages hop over 1,000 actors on five nodes, each counting. */
static enum troupe_error handle_hop(struct troupe_context *ctx, const struct troupe_message *message)
{
    char key[24];
    int64_t count = 0;
    uint32_t left;
    troupe_get_int(ctx, &seen, &count);
    CHECK(troupe_set_int(ctx, &seen, count + 1) == TROUPE_OK && message->body.size == sizeof left);
    memcpy(&left, message->body.data, sizeof left);
    if (left-- == 0) {
        return TROUPE_OK;
    }
    struct troupe_address to = troupe_to("bench/hop", bench_format_key(key, troupe_random(ctx) % 1000));
    return troupe_send(ctx, to, "hop", (struct troupe_bytes){&left, sizeof left});
}

static const struct troupe_type hop_types[] = {{.name = "bench/hop", .handler = handle_hop, .values = values}};
static const struct troupe_module hop_module = {TROUPE_ABI, "hop", "1", hop_types, 1};

struct hops {
    size_t count; /* of each node */
    uint64_t gap_ns;
    uint32_t hops;
    char key[24];
};

static bool next_hop(void *context, uint16_t node, size_t index, struct troupe__sim_input *ret)
{
    struct hops *hops = context;
    if (index >= hops->count) {
        return false;
    }
    *ret = (struct troupe__sim_input){.at_ns = index * hops->gap_ns,
                                      .to = {"bench/hop", bench_format_key(hops->key, (index * 7919 + node) % 1000)},
                                      .type = "hop",
                                      .body = {&hops->hops, sizeof hops->hops}};
    return true;
}

/* Processor seconds of one run without faults. */
static double simulate(struct hops hops, bool no_hash, struct troupe__sim_result *ret)
{
    struct troupe__random_oracle oracle;
    troupe__random_oracle_init(&oracle, 1);
    struct troupe__sim_options options = {.module = &hop_module,
                                          .oracle = &oracle.base,
                                          .node_count = 5,
                                          .run_budget = 512,
                                          .no_hash = no_hash,
                                          .input = next_hop,
                                          .context = &hops};
    struct troupe__simulator *simulator = troupe__simulator_new(&options);
    CHECK(simulator);
    clock_t begin = clock();
    CHECK(troupe__simulator_run(simulator, ret) == TROUPE_OK);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    troupe__simulator_free(simulator);
    return seconds;
}

void measure_sim(void)
{
    static const struct hops many = {200, 0, 500, ""}, steady = {2000, 50000000, 1, ""}; /* five nodes: 100 a second */
    double rates[RUNS], speeds[RUNS], costs[RUNS];
    struct troupe__sim_result result;
    simulate(many, false, &result);
    for (int run = 0; run < RUNS; run++) {
        rates[run] = (double)result.deliveries / simulate(many, false, &result);
        double with = simulate(steady, false, &result), without = simulate(steady, true, &result);
        speeds[run] = (double)result.now_ns / 1e9 / with;
        costs[run] = (with - without) / without * 100;
        simulate(many, false, &result);
    }
    bench_report("sim_rate", bench_percentile(rates, RUNS, 0.5), "/s", 300000, "");
    bench_report("sim_speed", bench_percentile(speeds, RUNS, 0.5), "s/s", 700, "");
    bench_report("sim_hash", bench_percentile(costs, RUNS, 0.5), "%", -6, "");
}
