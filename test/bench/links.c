/* links.c - measures messages between nodes: real nodes with their own loops, each a process pinned to a core, over tcp
 * on the loopback interface.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/bench/bench.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "runtime/node/node.h"

enum {
    NODES_MAX = 64,
    ACTORS = 64,
    HOPPERS = 1024,
    BODY_SIZE = 100,
    BATCH = 100,
    BATCHES = 4,
    CHAINS = 100,
    TRIPS = 300
};

/* What the processes share: numbers of each node, and the times of round trips. */
struct board {
    struct {
        _Alignas(64) atomic_ullong accepted; /* messages from other nodes, durable */
        atomic_ullong deliveries;            /* in epochs that are sealed */
        atomic_ullong epochs;
    } nodes[NODES_MAX];
    atomic_int trips;
    double trip_us[(RUNS + 1) * TRIPS];
};

static struct board *board;
static char source_keys[ACTORS][24], sink_keys[ACTORS][24]; /* of actors of the first node, and of the last */
static int64_t trip_start_ns;

/* ---- the actors -------------------------------------------------------------------------------------------------- */

static const struct troupe_value seen = {"seen", TROUPE_INT};
static const struct troupe_value *const values[] = {&seen, NULL};

static enum troupe_error count_one(struct troupe_context *ctx)
{
    int64_t number = 0;
    enum troupe_error result = troupe_get_int(ctx, &seen, &number);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? troupe_set_int(ctx, &seen, number + 1) : result;
}

/* A batch for the sink of the same index; when that has handled the last one it asks for the next batch. */
static enum troupe_error handle_source(struct troupe_context *ctx, const struct troupe_message *message)
{
    char body[BODY_SIZE] = {0};
    uint8_t index;
    CHECK(message->body.size == sizeof index);
    memcpy(&index, message->body.data, sizeof index);
    body[1] = (char)index;
    struct troupe_address sink = troupe_to("bench/sink", sink_keys[index]);
    enum troupe_error result = TROUPE_OK;
    for (int i = 1; i <= BATCH && result == TROUPE_OK; i++) {
        body[0] = i == BATCH;
        result = troupe_send(ctx, sink, "data", (struct troupe_bytes){body, sizeof body});
    }
    return result;
}

static enum troupe_error handle_sink(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *body = message->body.data;
    enum troupe_error result = count_one(ctx);
    return result == TROUPE_OK && body[0]
               ? troupe_send(ctx, message->from, "more", (struct troupe_bytes){body + 1, sizeof(uint8_t)})
               : result;
}

static enum troupe_error handle_ping(struct troupe_context *ctx, const struct troupe_message *message)
{
    int trips = atomic_load(&board->trips);
    int64_t now = bench_now_ns();
    if (trip_start_ns != 0 && trips < (RUNS + 1) * TRIPS) {
        board->trip_us[trips] = (double)(now - trip_start_ns) / 1000;
        atomic_store(&board->trips, trips + 1);
    }
    trip_start_ns = now;
    return troupe_send(ctx, troupe_to("bench/pong", sink_keys[0]), "ping", message->body);
}

static enum troupe_error handle_pong(struct troupe_context *ctx, const struct troupe_message *message)
{
    return troupe_send(ctx, message->from, "pong", message->body);
}

static enum troupe_error handle_hop(struct troupe_context *ctx, const struct troupe_message *message)
{
    char key[24];
    enum troupe_error result = count_one(ctx);
    struct troupe_address to = troupe_to("bench/hop", bench_format_key(key, troupe_random(ctx) % HOPPERS));
    return result == TROUPE_OK ? troupe_send(ctx, to, "hop", message->body) : result;
}

static const struct troupe_type types[] = {
    {.name = "bench/source", .handler = handle_source},
    {.name = "bench/sink", .handler = handle_sink, .values = values},
    {.name = "bench/ping", .handler = handle_ping},
    {.name = "bench/pong", .handler = handle_pong},
    {.name = "bench/hop", .handler = handle_hop, .values = values},
};
static const struct troupe_module module = {TROUPE_ABI, "links", "1", types, sizeof types / sizeof *types};

/* ---- the nodes --------------------------------------------------------------------------------------------------- */

static struct troupe__cluster_node cluster_nodes[NODES_MAX];
static struct troupe__cluster cluster = {.nodes = cluster_nodes};
static struct troupe__key_pair keys[NODES_MAX];
static pid_t pids[NODES_MAX];
static const char *directory;

struct process {
    struct troupe_node *node;
    uint16_t self;
    ev_check check;
};

static void log_trouble(void *context, enum troupe_level level, const char *text)
{
    (void)context;
    if (level != TROUPE_INFO) {
        fprintf(stderr, "links: %s\n", text);
    }
}

/* Each turn of the loop. */
static void on_check(struct ev_loop *loop, ev_check *check, int events)
{
    const struct process *process = check->data;
    const struct troupe_node *node = process->node;
    uint64_t accepted = 0;
    (void)loop, (void)events;
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        accepted += i == process->self ? 0 : node->links->links[i].durable.accepted;
    }
    atomic_store_explicit(&board->nodes[process->self].accepted, accepted, memory_order_relaxed);
    atomic_store_explicit(&board->nodes[process->self].deliveries, node->machine.sealed_deliveries,
                          memory_order_relaxed);
    atomic_store_explicit(&board->nodes[process->self].epochs, node->machine.stats.epochs, memory_order_relaxed);
}

static void send_first(struct troupe_node *node, const char *type, const char *key, uint8_t index)
{
    CHECK(troupe_node_send(node, NULL, troupe_to(type, key), "more", (struct troupe_bytes){&index, sizeof index}, NULL,
                           NULL) == TROUPE_OK);
}

static _Noreturn void run_node(uint16_t self, const char *work)
{
    char path[600], error[512];
    struct process process = {.self = self};
    bench_use_core(self % 2);
    snprintf(path, sizeof path, "%s/%u", directory, self);
    struct troupe_node_options options = {.module = &module, .data = path, .stop_on_signals = true, .log = log_trouble};
    struct troupe__place place = {.cluster = &cluster, .self = self, .keys = cluster.keys ? &keys[self] : NULL};
    if (troupe__node_open(&options, &place, &process.node, error, sizeof error) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "open", error);
    }
    ev_check_init(&process.check, on_check);
    process.check.data = &process;
    ev_check_start(process.node->loop, &process.check);
    for (uint8_t i = 0; self == 0 && i < ACTORS && strcmp(work, "link") == 0; i++) {
        for (int batch = 0; batch < BATCHES; batch++) {
            send_first(process.node, "bench/source", source_keys[i], i);
        }
    }
    bool chains = strncmp(work, "chain", 5) == 0;
    for (int i = 0; self == 0 && chains && i < (work[5] ? 10 * CHAINS : CHAINS); i++) {
        char key[24];
        send_first(process.node, "bench/hop", bench_format_key(key, (uint64_t)i), (uint8_t)i);
    }
    if (self == 0 && strcmp(work, "rtt") == 0) {
        send_first(process.node, "bench/ping", source_keys[0], 0);
    }
    if (troupe_node_run(process.node) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "run", troupe_node_error(process.node));
    }
    CHECK(process.node->machine.stats.failures == 0);
    _exit(troupe_node_close(process.node) == TROUPE_OK ? 0 : 1);
}

/* Free ports. Their sockets are closed before anybody forks. */
static void find_endpoints(uint16_t count)
{
    void *context = zmq_ctx_new(), *sockets[NODES_MAX];
    for (uint16_t i = 0; i < count; i++) {
        size_t size = sizeof cluster_nodes[i].endpoint;
        sockets[i] = zmq_socket(context, ZMQ_DEALER);
        CHECK(zmq_bind(sockets[i], "tcp://127.0.0.1:*") == 0);
        CHECK(zmq_getsockopt(sockets[i], ZMQ_LAST_ENDPOINT, cluster_nodes[i].endpoint, &size) == 0);
    }
    for (uint16_t i = 0; i < count; i++) {
        zmq_close(sockets[i]);
    }
    zmq_ctx_term(context);
}

static void find_keys(const char *type, uint16_t node, char found[ACTORS][24])
{
    uint64_t number = 0;
    for (size_t i = 0; i < ACTORS; i++) {
        do {
            char key[24];
            snprintf(found[i], sizeof found[i], "%s", bench_format_key(key, number++));
        } while (cluster.slots.owner[troupe__slot_of(type, found[i])] != node);
    }
}

static void start(uint16_t count, bool secure, const char *work)
{
    char error[256];
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    troupe__slots_spread(&cluster.slots, 1, 1, count);
    cluster.keys = secure;
    find_endpoints(count);
    find_keys(strcmp(work, "rtt") == 0 ? "bench/ping" : "bench/source", 0, source_keys);
    find_keys(strcmp(work, "rtt") == 0 ? "bench/pong" : "bench/sink", (uint16_t)(count - 1), sink_keys);
    directory = bench_directory();
    CHECK(mkdir(directory, 0700) == 0);
    for (uint16_t i = 0; i < count; i++) {
        snprintf(cluster_nodes[i].name, sizeof cluster_nodes[i].name, "n%u", i);
        if (secure) {
            CHECK(troupe__keys_make(&keys[i], error, sizeof error) == TROUPE_OK);
            memcpy(cluster_nodes[i].public_key, keys[i].public_key, sizeof keys[i].public_key);
        }
    }
    for (uint16_t i = 0; i < count; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            run_node(i, work);
        }
    }
}

static void stop(void)
{
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        CHECK(kill(pids[i], SIGTERM) == 0);
    }
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    }
    munmap(board, sizeof *board);
}

/* Wait a moment; a node that has ended meanwhile ends the measurement. */
static void wait_ms(unsigned ms)
{
    usleep(ms * 1000);
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        CHECK(waitpid(pids[i], NULL, WNOHANG) == 0);
    }
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static uint64_t sum_accepted(void)
{
    uint64_t sum = 0;
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        sum += atomic_load(&board->nodes[i].accepted);
    }
    return sum;
}

static uint64_t sum_deliveries(void)
{
    uint64_t sum = 0;
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        sum += atomic_load(&board->nodes[i].deliveries);
    }
    return sum;
}

static uint64_t accepted_at_last(void)
{
    return atomic_load(&board->nodes[cluster.slots.node_count - 1].accepted);
}

static double windows_rate(uint64_t (*count)(void))
{
    double rates[RUNS];
    while (count() == 0) { /* Until the nodes have found each other. */
        wait_ms(1);
    }
    wait_ms(1000);
    for (int run = 0; run < RUNS; run++) {
        int64_t begin = bench_now_ns();
        uint64_t before = count();
        wait_ms(600);
        rates[run] = (double)(count() - before) * 1e9 / (double)(bench_now_ns() - begin);
    }
    return bench_percentile(rates, RUNS, 0.5);
}

void measure_link(void)
{
    start(2, false, "link");
    double rate = windows_rate(accepted_at_last);
    stop();
    bench_report("link", rate, "/s", 1e6, "zmq_batches");
}

void measure_link_curve(void)
{
    start(2, true, "link");
    double rate = windows_rate(accepted_at_last);
    stop();
    double plain = bench_figure("link");
    bench_report("link_curve", rate, "/s", plain > 0 ? 0.7 * plain : 0, "zmq_curve_batches");
}

void measure_link_rtt(void)
{
    double medians[RUNS];
    start(2, false, "rtt");
    while (atomic_load(&board->trips) < (RUNS + 1) * TRIPS) {
        wait_ms(1);
    }
    for (int run = 0; run < RUNS; run++) {
        medians[run] = bench_percentile(board->trip_us + (run + 1) * TRIPS, TRIPS, 0.5);
    }
    stop();
    bench_report("link_rtt_us", bench_percentile(medians, RUNS, 0.5), "us", 0, "append_sync_p50");
    bench_report("link_rtt", bench_percentile(medians, RUNS, 0.5) / bench_figure("append_sync_p50"), "x", -5, "");
}

/* Of the children that have ended: microseconds of processor time, and changes of the thread. */
static void read_usage(double *ret_cpu_us, double *ret_switches)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    *ret_cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                  (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    *ret_switches = (double)(usage.ru_nvcsw + usage.ru_nivcsw);
}

void measure_chain(void)
{
    double cpu_before, switches_before, cpu_us, switches;
    read_usage(&cpu_before, &switches_before);
    start(4, false, "chain");
    double rate = windows_rate(sum_deliveries);
    uint64_t hops = sum_deliveries(), remote = sum_accepted(), epochs = 0;
    for (uint16_t i = 0; i < cluster.slots.node_count; i++) {
        epochs += atomic_load(&board->nodes[i].epochs);
    }
    stop();
    bench_report("chain", rate, "hops/s", 300000, "zmq_batches");
    read_usage(&cpu_us, &switches);
    bench_report("chain_cpu", (cpu_us - cpu_before) / (double)hops, "us", 0, "");
    bench_report("chain_switches", (switches - switches_before) / (double)epochs, "", 0, "");
    bench_report("chain_remote", (double)remote / (double)hops * 100, "%", 0, "");
    bench_report("chain_epoch", (double)hops / (double)epochs, "hops", 0, "");
    start(4, false, "chains");
    rate = windows_rate(sum_deliveries);
    stop();
    bench_report("chain_1000", rate, "hops/s", 0, "chain");
}

/* Two nodes of many: what does it cost that there are others? */
void measure_many_nodes(void)
{
    start(NODES_MAX, false, "link");
    double rate = windows_rate(accepted_at_last);
    stop();
    bench_report("link_64", rate, "/s", 0, "link");
    start(NODES_MAX, false, "none");
    wait_ms(5000); /* Until all have found each other, and the tables hold what each has noted of that. */
    double before = bench_switches(pids[0]);
    wait_ms(5000);
    double switches = bench_switches(pids[0]) - before;
    stop();
    bench_report("idle_wakeups_64", switches / 5, "/s", -1, "");
}
