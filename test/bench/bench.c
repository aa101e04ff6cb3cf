/* bench.c - measures what a node does beside what the machine under it can do, in one run.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     bench [NAME...]      (default: all; the limits always run)
 *
 * Run from the project's root with BUILD (default "build"). Data: BUILD/bench-data, removed afterwards. Results: a
 * table, and BUILD/bench.tsv with name, value, unit, required, compared with, its value, ratio; "-" where there is
 * none. A value is the median of five runs (or five windows of one steady run) after a warm-up.
 * Each figure is measured in a process of its own, so that none inherits another's heap; it reports through a pipe.
 * Any failure ends that process: its figures are missing, and bench exits with 1. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lmdb.h>
#include <zmq.h>

#include "test/bench/bench.h"

#include "runtime/node/committer.h"
#include "runtime/machine/machine.h"
#include "runtime/sim/simulator.h"
#include "runtime/node/stint.h"
#include "state/lmdb_store.h"
#include "transport/protocol.h"
#include "transport/socket.h"

enum {
    EPOCH_SIZE_MAX = 1 << 23, /* as in runtime/node/node.c */
    WAITING_MAX = 8192,
    FIGURES_MAX = 64,
};

static const char *build = "build";
static char data_path[512];

void bench_fail(const char *file, int line, const char *what, const char *text)
{
    fprintf(stderr, "%s:%d: %s: %s %s\n", file, line, what, text, errno ? strerror(errno) : "");
    _exit(1);
}

/* ---- time and numbers -------------------------------------------------------------------------------------------- */

int64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t clock_ns(struct troupe__clock *clock)
{
    (void)clock;
    return (uint64_t)bench_now_ns();
}

static struct troupe__clock bench_clock = {.monotonic_ns = clock_ns};

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_percentile(double *values, size_t count, double part)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[(size_t)(part * (double)(count - 1))];
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

/* What is required: "at least" when positive, "at most" its opposite when negative, nothing when 0. */
struct figure {
    char name[32];
    double value;
    char unit[16];
    double required;
    char beside[32]; /* the figure it is compared with, "" for none */
};

static struct figure figures[FIGURES_MAX];
static size_t figure_count;
static int report_fd = -1;

/* What others do, noted on a machine of this kind when the requirements were set; docs/performance.md says more.
 * Printed behind the table, for whoever wants to compare. */
static const struct peer {
    const char *figure, *name;
    double value;
} peers[] = {
    {"ring", "CAF (volatile, one core)", 8.0e6},
    {"ring", "Erlang (volatile, one core)", 11.7e6},
    {"ring", "Pony's runtime (volatile, one core)", 76e6},
    {"ring", "Restate (durable)", 1679},
    {"big", "CAF (volatile, two cores)", 0.77e6},
    {"big", "Erlang (volatile, two cores)", 0.46e6},
    {"big", "Pony's runtime (volatile, two cores)", 3.2e6},
    {"update_p50_us", "Restate over HTTP (durable)", 3200},
    {"open_p99", "LMDB committed directly, at 49,000/s", 18},
    {"recover", "Restate", 13.5},
    {"rss_idle", "Restate", 272},
    {"size", "Restate", 225},
    {"cold_start", "Restate", 200},
    {"actor_bytes", "phony (Go, volatile)", 92},
    {"actor_bytes", "Pony's runtime (volatile)", 546},
    {"actor_bytes", "CAF (volatile)", 1420},
    {"actor_bytes", "Erlang (volatile)", 2831},
};

static const struct figure *find_figure(const char *name)
{
    for (size_t i = 0; i < figure_count; i++) {
        if (strcmp(figures[i].name, name) == 0) {
            return &figures[i];
        }
    }
    return NULL;
}

double bench_figure(const char *name)
{
    const struct figure *figure = find_figure(name);
    return figure ? figure->value : 0;
}

/* In a measuring process: hand a figure to the parent. */
void bench_report(const char *name, double value, const char *unit, double required, const char *beside)
{
    struct figure figure = {.value = value, .required = required};
    snprintf(figure.name, sizeof figure.name, "%s", name);
    snprintf(figure.unit, sizeof figure.unit, "%s", unit);
    snprintf(figure.beside, sizeof figure.beside, "%s", beside);
    CHECK(write(report_fd, &figure, sizeof figure) == sizeof figure);
}

static void print_figure(FILE *tsv, const struct figure *figure)
{
    char required[32] = "-", other[32] = "-", ratio[32] = "-";
    const struct figure *beside = figure->beside[0] ? find_figure(figure->beside) : NULL;
    if (figure->required != 0) {
        snprintf(required, sizeof required, "%s%.10g",
                 figure->required > 0 ? ">=" : "<=", figure->required > 0 ? figure->required : -figure->required);
    }
    if (beside) {
        double value = beside->value;
        value /= strcmp(figure->unit, "ms") == 0 && strcmp(beside->unit, "us") == 0 ? 1000 : 1;
        snprintf(other, sizeof other, "%.6g", value);
        snprintf(ratio, sizeof ratio, "%.3g", figure->value / value);
    }
    const char *verdict = "";
    if (figure->required != 0) {
        bool met = figure->required > 0 ? figure->value >= figure->required : figure->value <= -figure->required;
        verdict = met ? "met" : "MISSED";
    }
    printf("%-20s %14.6g %-8s %-12s %-22s %12s %8s  %s\n", figure->name, figure->value, figure->unit, required,
           beside ? figure->beside : "-", other, ratio, verdict);
    fprintf(tsv, "%s\t%.6g\t%s\t%s\t%s\t%s\t%s\n", figure->name, figure->value, figure->unit, required,
            beside ? figure->beside : "-", other, ratio);
    fflush(stdout);
}

static void print_peers(void)
{
    printf("\nOthers, not measured in this run:\n");
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        const struct figure *figure = find_figure(peers[i].figure);
        if (figure) {
            printf("%-20s %14.6g %-8s %-38s %12.6g %8.3g\n", figure->name, figure->value, figure->unit, peers[i].name,
                   peers[i].value, figure->value / peers[i].value);
        }
    }
}

/* ---- files and processes ----------------------------------------------------------------------------------------- */

static void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    if (directory) {
        for (struct dirent *entry; (entry = readdir(directory));) {
            char inner[1024];
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
                remove_tree(inner);
            }
        }
        closedir(directory);
        rmdir(path);
    } else {
        unlink(path);
    }
}

const char *bench_directory(void)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/node", data_path);
    remove_tree(path);
    return path;
}

/* A number of a /proc status file, 0 when it is not there. */
static double status_number(const char *path, const char *name)
{
    char line[256];
    double number = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            number = strtod(line + strlen(name) + 1, NULL);
        }
    }
    if (file) {
        fclose(file);
    }
    return number;
}

/* ---- a node's loop, as runtime/node/node.c has it
 * --------------------------------------------------------------------- */

struct node {
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__output output;
    struct troupe__committer *committer;
    struct troupe__committed committed;
    struct troupe__epoch epoch;
    int wake_fd;
    int64_t opened_ms;
    int64_t stopped_ms; /* the node's time while it stands still; 0: it goes ... */
    int64_t late_ms;    /* ... so much behind the wall clock */
};

static void wake_loop(void *context)
{
    struct node *node = context;
    uint64_t one = 1;
    CHECK(write(node->wake_fd, &one, sizeof one) == sizeof one);
}

/* The thread that calls, and those it starts from then on. A machine with one core is left alone. */
void bench_use_core(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

/* The caller becomes the loop, on the first core; the committer and the folder share the second. */
static void node_open(struct node *node, const char *path, const struct troupe_module *module,
                      const struct troupe__lmdb_options *options)
{
    char error[512] = "";
    memset(node, 0, sizeof *node);
    bench_use_core(1);
    if (troupe__lmdb_store_open(path, options, &node->store, error, sizeof error) != TROUPE_OK ||
        troupe__output_open(&node->output, "/dev/null", error, sizeof error) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "open", error);
    }
    if (troupe__machine_init(&node->machine, module, node->store, 1, NULL, NULL) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "init", node->machine.error);
    }
    node->wake_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(node->wake_fd >= 0);
    CHECK(troupe__committer_start(node->store, &node->output, wake_loop, node, &node->committer) == TROUPE_OK);
    bench_use_core(0);
}

static void node_close(struct node *node)
{
    troupe__committer_stop(node->committer);
    troupe__output_close(&node->output);
    troupe__machine_fini(&node->machine);
    node->store->close(node->store);
    troupe__buffer_free(&node->epoch.record);
    troupe__buffer_free(&node->epoch.egress);
    close(node->wake_fd);
}

static void node_wait(struct node *node, int64_t timeout_ns)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    struct pollfd readable = {.fd = node->wake_fd, .events = POLLIN};
    if (ppoll(&readable, 1, timeout_ns < 0 ? NULL : &timeout, NULL) > 0) {
        uint64_t count;
        CHECK(read(node->wake_fd, &count, sizeof count) == sizeof count);
    }
}

static void node_poll(struct node *node)
{
    troupe__committer_poll(node->committer, &node->committed);
    if (node->committed.result != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "commit", node->committed.error);
    }
}

/* Returns whether an epoch was sealed. */
static bool node_seal(struct node *node, bool busy)
{
    if (!troupe__machine_dirty(&node->machine)) {
        node->opened_ms = 0;
        return false;
    }
    int64_t now = node->machine.ctx.now_ms;
    if (node->opened_ms == 0) {
        node->opened_ms = now;
    }
    bool full = troupe__machine_epoch_size(&node->machine) >= EPOCH_SIZE_MAX;
    if (node->committed.busy || (busy && !full && troupe__machine_unripe(&node->machine, now - node->opened_ms))) {
        return false;
    }
    CHECK(troupe__machine_seal(&node->machine, &node->epoch) == TROUPE_OK);
    troupe__machine_refresh(&node->machine);
    node->opened_ms = 0;
    troupe__committer_commit(node->committer, &node->epoch);
    return node->committed.busy = true;
}

/* One turn without its wait. Returns whether there is more to run at once. */
static bool node_turn(struct node *node, bool *ret_sealed)
{
    size_t count;
    int64_t now_ms = node->stopped_ms > 0 ? node->stopped_ms : wall_ms() - node->late_ms;
    CHECK(troupe__machine_set_now(&node->machine, now_ms) == TROUPE_OK);
    node_poll(node);
    if (troupe__machine_epoch_size(&node->machine) < EPOCH_SIZE_MAX) {
        CHECK(troupe__stint(&node->machine, &bench_clock, EPOCH_SIZE_MAX, &count) == TROUPE_OK);
    }
    bool runnable = troupe__machine_runnable(&node->machine);
    *ret_sealed = node_seal(node, runnable);
    return runnable && !(troupe__machine_epoch_size(&node->machine) >= EPOCH_SIZE_MAX && node->committed.busy);
}

static void node_run_until(struct node *node, int64_t end_ns)
{
    bool sealed;
    while (bench_now_ns() < end_ns) {
        bool busy = node_turn(node, &sealed);
        node_wait(node, busy ? 0 : 100000000);
    }
}

/* Run until everything handled is durable. */
static void node_settle(struct node *node)
{
    bool sealed;
    for (;;) {
        bool busy = node_turn(node, &sealed);
        if (!busy && !node->committed.busy && !troupe__machine_dirty(&node->machine)) {
            return;
        }
        node_wait(node, busy ? 0 : 100000000);
    }
}

/* Wait until the tables hold what was committed, for at most 60 s. */
static void node_fold(struct node *node)
{
    node_settle(node);
    int64_t end = bench_now_ns() + (int64_t)60 * 1000000000;
    while (node->store->refresh(node->store) < node->committed.epoch && bench_now_ns() < end) {
        usleep(20000);
    }
}

static void node_arrive(struct node *node, const char *type, uint64_t index, const char *message, const void *body,
                        size_t size)
{
    char key[24];
    snprintf(key, sizeof key, "%" PRIu64, index);
    if (troupe__machine_arrive(&node->machine, NULL, troupe_to(type, key), message,
                               (struct troupe_bytes){body, size}) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "arrive", node->machine.error);
    }
}

/* ---- the actors -------------------------------------------------------------------------------------------------- */

enum { RING_SIZE = 1000, RING_TOKENS = 100, BIG_IN_FLIGHT = 10000 };

static uint64_t big_size;

/* The open loop's messages handled in the open epoch: their numbers. */
static uint32_t *handled;
static size_t handled_count;

static const struct troupe_value seen = {"seen", TROUPE_INT};
static const struct troupe_value *const values[] = {&seen, NULL};

const char *bench_format_key(char buffer[24], uint64_t number)
{
    char *at = buffer + 23;
    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
    } while (number /= 10);
    return at;
}

static enum troupe_error count_one(struct troupe_context *ctx)
{
    int64_t number = 0;
    enum troupe_error result = troupe_get_int(ctx, &seen, &number);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? troupe_set_int(ctx, &seen, number + 1) : result;
}

static enum troupe_error handle_ring(struct troupe_context *ctx, const struct troupe_message *message)
{
    char buffer[24];
    uint64_t index = 0;
    for (const char *at = troupe_self(ctx).key; *at; at++) {
        index = index * 10 + (uint64_t)(*at - '0');
    }
    enum troupe_error result = count_one(ctx);
    return result == TROUPE_OK
               ? troupe_send(ctx, troupe_to("bench/ring", bench_format_key(buffer, (index + 1) % RING_SIZE)), "token",
                             message->body)
               : result;
}

static enum troupe_error handle_big(struct troupe_context *ctx, const struct troupe_message *message)
{
    char buffer[24];
    uint64_t state;
    enum troupe_error result = count_one(ctx);
    if (result != TROUPE_OK || message->body.size != sizeof state) {
        return result; /* An empty body only makes the actor exist. */
    }
    memcpy(&state, message->body.data, sizeof state);
    uint64_t to = next_random(&state) % big_size;
    return troupe_send(ctx, troupe_to("bench/big", bench_format_key(buffer, to)), "go",
                       (struct troupe_bytes){&state, sizeof state});
}

static enum troupe_error handle_open(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (handled) {
        memcpy(&handled[handled_count++], message->body.data, sizeof *handled);
    }
    return count_one(ctx);
}

static const struct troupe_type types[] = {
    {.name = "bench/ring", .handler = handle_ring, .values = values},
    {.name = "bench/big", .handler = handle_big, .values = values},
    {.name = "bench/update", .handler = handle_open, .values = values},
};
static const struct troupe_module module = {TROUPE_ABI, "bench", "1", types, 3};

static const struct troupe__lmdb_options on_disk = {.sync = true};

/* ---- limits ------------------------------------------------------------------------------------------------------ */

enum { SYNCS = 300 };

static void measure_append(void)
{
    char path[600], page[4096];
    double medians[RUNS + 1], times[SYNCS];
    memset(page, 0x5a, sizeof page);
    snprintf(path, sizeof path, "%s/append", data_path);
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

static void measure_lmdb(void)
{
    char path[600], value[100];
    double medians[RUNS + 1], times[SYNCS];
    uint64_t random = 42;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    memset(value, 1, sizeof value);
    snprintf(path, sizeof path, "%s/lmdb", data_path);
    CHECK(mkdir(path, 0700) == 0 && mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, (size_t)1 << 30) == 0);
    CHECK(mdb_env_open(env, path, 0, 0600) == 0 && mdb_txn_begin(env, NULL, 0, &txn) == 0);
    CHECK(mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && mdb_txn_commit(txn) == 0);
    for (int run = 0; run <= RUNS; run++) {
        for (int i = 0; i < SYNCS; i++) {
            uint64_t key = next_random(&random) % 100000;
            MDB_val name = {sizeof key, &key}, row = {sizeof value, value};
            int64_t start = bench_now_ns();
            CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_put(txn, dbi, &name, &row, 0) == 0);
            CHECK(mdb_txn_commit(txn) == 0);
            times[i] = (double)(bench_now_ns() - start) / 1000;
        }
        medians[run] = bench_percentile(times, SYNCS, 0.5);
    }
    mdb_env_close(env);
    remove_tree(path);
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

static void measure_zmq(void)
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

/* ---- throughput -------------------------------------------------------------------------------------------------- */

static double windows_rate(struct node *node, double warm_s, double window_s)
{
    double rates[RUNS];
    node_run_until(node, bench_now_ns() + (int64_t)(warm_s * 1e9));
    for (int run = 0; run < RUNS; run++) {
        int64_t start = bench_now_ns();
        uint64_t before = node->machine.stats.deliveries;
        node_run_until(node, start + (int64_t)(window_s * 1e9));
        rates[run] = (double)(node->machine.stats.deliveries - before) * 1e9 / (double)(bench_now_ns() - start);
    }
    CHECK(node->machine.stats.failures == 0);
    return bench_percentile(rates, RUNS, 0.5);
}

static void measure_ring(void)
{
    struct node node;
    node_open(&node, bench_directory(), &module, &on_disk);
    for (uint64_t i = 0; i < RING_TOKENS; i++) {
        node_arrive(&node, "bench/ring", i * (RING_SIZE / RING_TOKENS), "token", NULL, 0);
    }
    bench_report("ring", windows_rate(&node, 1, 1.5), "hops/s", 8e6, "zmq_one_way");
    node_close(&node);
}

/* Make actors 0 to count-1 exist, each by one message. The node's time stands still, so that all are in memory at the
 * end however long it takes. */
static void create_actors(struct node *node, uint64_t count)
{
    bool sealed;
    node->stopped_ms = wall_ms();
    for (uint64_t i = 0; i < count;) {
        while (i < count && node->machine.waiting < WAITING_MAX) {
            node_arrive(node, "bench/big", i++, "go", NULL, 0);
        }
        node_wait(node, node_turn(node, &sealed) || i < count ? 0 : 100000000);
    }
    node_fold(node);
    node->late_ms = wall_ms() - node->stopped_ms;
    node->stopped_ms = 0;
}

/* After a warm-up, long enough that folding goes on as it will. */
static double big_rate(uint64_t count, double warm_s)
{
    struct node node;
    big_size = count;
    node_open(&node, bench_directory(), &module, &on_disk);
    create_actors(&node, count);
    for (uint64_t i = 0; i < BIG_IN_FLIGHT; i++) {
        /* Not the generator's next number: then all chains would follow the first, each a step behind the other, and
         * the actors in use at a time would be as many as there are messages, not all. */
        uint64_t state = troupe__hash(&i, sizeof i) | 1;
        node_arrive(&node, "bench/big", state % count, "go", &state, sizeof state);
    }
    double rate = windows_rate(&node, warm_s, 1.5);
    node_close(&node);
    return rate;
}

static void measure_big(void)
{
    bench_report("big", big_rate(100000, 1), "/s", 3e6, "zmq_one_way");
}

static double rss_anon(void)
{
    malloc_trim(0);
    return status_number("/proc/self/status", "RssAnon") * 1024;
}

/* Time passes in which nobody sends anything, until no actor is in memory: two rounds of the hand, and a third for what
 * those miss. */
static void let_idle(struct node *node)
{
    int64_t from_ms = node->machine.ctx.now_ms, ms = 0;
    for (; !troupe__index_empty(&node->machine.actors.index); ms += 10) {
        CHECK(troupe__machine_set_now(&node->machine, from_ms + ms) == TROUPE_OK);
        troupe__machine_refresh(&node->machine);
        CHECK(ms < 120000);
    }
}

/* A million of them, in small epochs, so that no buffer of the store is larger the second time than the first. */
static void create_slowly(struct node *node, uint64_t count)
{
    for (uint64_t i = 0; i < count;) {
        for (uint64_t end = i + 2000; i < end; i++) {
            node_arrive(node, "bench/big", i, "go", NULL, 0);
        }
        node_settle(node);
    }
    node_fold(node);
}

/* Memory per actor, without its one value: while it is in use, and when all have been idle. Twice before, so that what
 * the store needs for so many rows is there already: it keeps its buffers. */
static void measure_actor_bytes(void)
{
    enum { COUNT = 1000000 };
    struct troupe__lmdb_options options = {.sync = false, .fold_bytes = 1 << 20};
    struct node node;
    node_open(&node, bench_directory(), &module, &options);
    for (int i = 0; i < 2; i++) {
        create_slowly(&node, COUNT);
        let_idle(&node);
    }
    double before = rss_anon();
    create_slowly(&node, COUNT);
    bench_report("actor_bytes", (rss_anon() - before) / COUNT - sizeof(int64_t), "B", -256, "");
    let_idle(&node);
    bench_report("actor_bytes_idle", (rss_anon() - before) / COUNT, "B", -1, "");
    node_close(&node);
}

static void measure_growth(void)
{
    bool roomy = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) > 7e9;
    uint64_t count = roomy ? 10000000 : 2000000;
    double few = big_rate(100000, 5), many = big_rate(count, 5);
    char name[32];
    snprintf(name, sizeof name, "big_%" PRIu64 "M", count / 1000000);
    bench_report(name, many, "/s", 0, "big");
    bench_report("growth", many / few, "x", 0.5, "");
}

/* ---- latency ----------------------------------------------------------------------------------------------------- */

static void measure_update(void)
{
    double medians[RUNS + 1], times[SYNCS];
    struct node node;
    bool sealed;
    node_open(&node, bench_directory(), &module, &on_disk);
    for (int run = 0; run <= RUNS; run++) {
        for (int i = 0; i < SYNCS; i++) {
            int64_t start = bench_now_ns();
            uint64_t epoch = node.machine.epoch;
            node_arrive(&node, "bench/update", (uint64_t)i % 100, "go", NULL, 0);
            node_turn(&node, &sealed);
            while (node.committed.epoch < epoch) {
                node_wait(&node, -1);
                node_poll(&node);
            }
            times[i] = (double)(bench_now_ns() - start) / 1000;
        }
        medians[run] = bench_percentile(times, SYNCS, 0.5);
    }
    double median = bench_percentile(medians + 1, RUNS, 0.5);
    const struct figure *append = find_figure("append_sync_p50");
    bench_report("update_p50_us", median, "us", 0, "append_sync_p50");
    bench_report("update_p50", median / append->value, "x", -2, "");
    node_close(&node);
}

enum { OPEN_RATE = 200000, OPEN_ACTORS = 1000000, OPEN_WARM_S = 2, OPEN_WINDOW_S = 5 };

/* Arrival number i is due i / OPEN_RATE seconds after the start. */
static void measure_open(void)
{
    size_t warm = (size_t)OPEN_RATE * OPEN_WARM_S, window = (size_t)OPEN_RATE * OPEN_WINDOW_S;
    size_t count = warm + window * RUNS, issued = 0, durable = 0, sealed_count = 0;
    double *latencies = malloc(count * sizeof *latencies), p50[RUNS], p99[RUNS];
    uint32_t *lists[2] = {malloc(count * sizeof **lists), malloc(count * sizeof **lists)}; /* open, sealed */
    uint64_t random = 4242;
    struct node node;
    CHECK(latencies && lists[0] && lists[1]);
    handled = lists[0];
    node_open(&node, bench_directory(), &module, &on_disk);
    int64_t start = bench_now_ns(), period = 1000000000 / OPEN_RATE;
    int64_t give_up = start + (int64_t)(OPEN_WARM_S + OPEN_WINDOW_S * RUNS + 5) * 1000000000;
    while (durable < count && bench_now_ns() < give_up) {
        int64_t now = bench_now_ns();
        while (issued < count && start + (int64_t)issued * period <= now && node.machine.waiting < WAITING_MAX) {
            uint32_t number = (uint32_t)issued++;
            node_arrive(&node, "bench/update", next_random(&random) % OPEN_ACTORS, "go", &number, sizeof number);
        }
        bool sealed, was_busy = node.committed.busy;
        node_poll(&node);
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
        CHECK(troupe__machine_set_now(&node.machine, wall_ms()) == TROUPE_OK);
        if (troupe__machine_epoch_size(&node.machine) < EPOCH_SIZE_MAX) {
            CHECK(troupe__stint(&node.machine, &bench_clock, EPOCH_SIZE_MAX, &ran) == TROUPE_OK);
        }
        bool runnable = troupe__machine_runnable(&node.machine);
        sealed = node_seal(&node, runnable);
        if (sealed) {
            uint32_t *list = lists[0];
            lists[0] = lists[1];
            lists[1] = list;
            sealed_count = handled_count;
            handled = lists[0];
            handled_count = 0;
        }
        node_wait(&node, runnable ? 0 : 20000);
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
    node_settle(&node);
    node_close(&node);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Start `troupe run`; `ret_in` and `ret_out` (may be NULL) become its standard input and output. */
static pid_t start_troupe(const char *module_name, const char *input, const char *output, int *ret_in, int *ret_out)
{
    char command[600], module_path[600], node_path[600];
    int in[2], out[2];
    snprintf(command, sizeof command, "%s/troupe", build);
    snprintf(module_path, sizeof module_path, "%s/samples/%s.so", build, module_name);
    snprintf(node_path, sizeof node_path, "%s/node", data_path);
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++) {
            close(fd);
        }
        execl(command, command, "run", module_path, "--data", node_path, "--input", input, "--output", output, "--log",
              "error", ret_in ? (char *)NULL : "--until-idle", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    if (ret_in) {
        *ret_in = in[1];
        *ret_out = out[0];
    } else {
        close(in[1]);
        close(out[0]);
    }
    return pid;
}

/* The lines of a file. */
static size_t count_lines(const char *path)
{
    static char bytes[1 << 18];
    size_t lines = 0;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    for (ssize_t size; (size = read(fd, bytes, sizeof bytes)) > 0;) {
        for (const char *at = bytes, *end = bytes + size; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) {
            lines++;
        }
    }
    close(fd);
    return lines;
}

/* What the machine can do at most: read the input, write as much as the output is, sync. Returns seconds. */
static double copy_file(const char *input, const char *output)
{
    static char bytes[1 << 18];
    char path[600];
    struct stat status;
    snprintf(path, sizeof path, "%s/copy", data_path);
    CHECK(stat(output, &status) == 0);
    int64_t start = bench_now_ns();
    int in = open(input, O_RDONLY), out = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(in >= 0 && out >= 0);
    while (read(in, bytes, sizeof bytes) > 0) {
    }
    for (off_t left = status.st_size; left > 0; left -= sizeof bytes) {
        size_t size = left < (off_t)sizeof bytes ? (size_t)left : sizeof bytes;
        CHECK(write(out, bytes, size) == (ssize_t)size);
    }
    CHECK(fdatasync(out) == 0);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    close(in);
    close(out);
    unlink(path);
    return seconds;
}

static double children_cpu_us(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void measure_bank_file(void)
{
    enum { TRANSFERS = 400000 };
    char input[600], output[600], command[2000];
    double rates[RUNS + 1], copies[RUNS + 1], cpu_us[RUNS + 1];
    snprintf(input, sizeof input, "%s/transfers.jsonl", data_path);
    snprintf(output, sizeof output, "%s/out.jsonl", data_path);
    snprintf(command, sizeof command, "awk -v transfers=%d -v accounts=1000 -f samples/bank/transfers.awk > %s",
             TRANSFERS, input);
    CHECK(system(command) == 0);
    for (int run = 0; run <= RUNS; run++) {
        int status;
        bench_directory();
        unlink(output);
        double cpu_before_us = children_cpu_us();
        int64_t start = bench_now_ns();
        pid_t pid = start_troupe("bank", input, output, NULL, NULL);
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        rates[run] = TRANSFERS * 1e9 / (double)(bench_now_ns() - start);
        cpu_us[run] = (children_cpu_us() - cpu_before_us) / TRANSFERS;
        CHECK(count_lines(output) == TRANSFERS);
        copies[run] = TRANSFERS / copy_file(input, output);
    }
    bench_report("file_copy", bench_percentile(copies + 1, RUNS, 0.5), "/s", 0, "");
    bench_report("bank_file", bench_percentile(rates + 1, RUNS, 0.5), "/s", 4e5, "file_copy");
    bench_report("bank_cpu", bench_percentile(cpu_us + 1, RUNS, 0.5), "us", 0, "");
}

static double stripped_size(const char *name)
{
    char path[600], command[2000];
    struct stat status;
    snprintf(path, sizeof path, "%s/stripped", data_path);
    snprintf(command, sizeof command, "strip -o %s %s/%s", path, build, name);
    CHECK(system(command) == 0 && stat(path, &status) == 0);
    unlink(path);
    return (double)status.st_size;
}

static void measure_size(void)
{
    bench_report("size", (stripped_size("libtroupe.so") + stripped_size("troupe")) / 1e6, "MB", -2, "");
}

/* The node that the supervisor `pid` has started. */
static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    CHECK(file && fscanf(file, "%d", &child) == 1);
    fclose(file);
    return child;
}

/* What a node and its supervisor hold together: all that the node has, and what the supervisor has alone. Pages of
 * libraries that both have are there once. */
static double resident_mb(pid_t supervisor, pid_t node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)node);
    double kib = status_number(path, "VmRSS");
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)supervisor);
    kib += status_number(path, "Private_Clean") + status_number(path, "Private_Dirty");
    return kib * 1024 / 1e6;
}

double bench_switches(int pid)
{
    char path[600];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", pid, task->d_name);
        sum += status_number(path, "voluntary_ctxt_switches");
    }
    closedir(tasks);
    return sum;
}

/* Ask the node that starts on `node_path`, as soon as it listens, until it answers. */
static void ask_greeter(const char *node_path, const char *key)
{
    char path[700], endpoint[700], error[300], to[64];
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER};
    struct troupe__socket *socket;
    struct troupe__buffer out = {0};
    struct troupe__frames frames;
    snprintf(path, sizeof path, "%s/endpoint", node_path);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/socket", node_path);
    snprintf(to, sizeof to, "demo/greeter/%s", key);
    for (int64_t end = bench_now_ns() + INT64_C(10000000000); access(path, F_OK) != 0;) {
        CHECK(bench_now_ns() < end);
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    CHECK(troupe__socket_open(&options, &socket, error, sizeof error) == TROUPE_OK);
    CHECK(troupe__socket_connect(socket, endpoint, error, sizeof error) == TROUPE_OK);
    struct troupe__request request = {.number = 1, .what = "ask", .to = to, .type = "hello", .timeout_ms = 10000};
    troupe__request_put(&out, &request);
    struct troupe_bytes part = {out.data, out.size};
    CHECK(troupe__socket_send(socket, &part, 1) == TROUPE_OK);
    CHECK(troupe__socket_wait(socket, TROUPE__SOCKET_READABLE, 10000) & TROUPE__SOCKET_READABLE);
    struct troupe__reply reply;
    CHECK(troupe__socket_receive(socket, &frames) == TROUPE_OK && frames.count == 1);
    CHECK(troupe__reply_parse(frames.part[0], &out, &reply) == TROUPE_OK && reply.ok && reply.type);
    troupe__socket_close(socket);
    troupe__buffer_free(&out);
}

/* The time from start to the first answered ask, in milliseconds; the node stays up. */
static double start_and_ask(const char *output, pid_t *ret_pid, int *ret_in, int *ret_out)
{
    char node_path[600];
    snprintf(node_path, sizeof node_path, "%s/node", data_path);
    int64_t start = bench_now_ns();
    *ret_pid = start_troupe("greeter", "-", output, ret_in, ret_out);
    ask_greeter(node_path, "ann");
    return (double)(bench_now_ns() - start) / 1e6;
}

static void stop_troupe(pid_t pid, int in, int out)
{
    CHECK(kill(pid, SIGTERM) == 0 && waitpid(pid, NULL, 0) == pid);
    close(in);
    close(out);
}

static void measure_idle(void)
{
    double times[RUNS], rss[RUNS];
    int in, out;
    pid_t pid;
    bench_directory();
    start_and_ask("-", &pid, &in, &out);
    stop_troupe(pid, in, out);
    for (int run = 0; run < RUNS; run++) {
        times[run] = start_and_ask("-", &pid, &in, &out);
        usleep(200000);
        rss[run] = resident_mb(pid, child_of(pid));
        if (run < RUNS - 1) {
            stop_troupe(pid, in, out);
        }
    }
    sleep(3); /* Until the last answer is synced, marked and folded. */
    pid_t node = child_of(pid);
    double before = bench_switches(pid) + bench_switches(node);
    sleep(5);
    double switches = bench_switches(pid) + bench_switches(node) - before;
    stop_troupe(pid, in, out);
    bench_report("rss_idle", bench_percentile(rss, RUNS, 0.5), "MB", -10, "");
    bench_report("cold_start", bench_percentile(times, RUNS, 0.5), "ms", -20, "");
    bench_report("idle_wakeups", switches / 5, "/s", -1, "");
}

/* ---- the simulator ----------------------------------------------------------------------------------------------- */

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

static void measure_sim(void)
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

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

enum { RECOVER_UPDATES = 100000 };

static off_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_size : 0;
}

/* Greet as many actors, and kill the node when they are durable and hardly anything of it is folded. */
static void update_and_kill(const char *output)
{
    static const char record[] = "{\"egress\":\"greetings\",\"seq\":12345,\"key\":\"012345\","
                                 "\"body\":{\"text\":\"Hello, 012345!\",\"count\":1}}\n";
    char line[128];
    int in, out, status;
    pid_t pid = start_troupe("greeter", "-", output, &in, &out);
    FILE *file = fdopen(in, "w");
    CHECK(file);
    for (int i = 0; i < RECOVER_UPDATES * 11 / 10; i++) {
        int size = snprintf(line, sizeof line, "{\"to\":\"demo/greeter/%06d\",\"type\":\"hello\"}\n", i);
        CHECK(fwrite(line, 1, (size_t)size, file) == (size_t)size);
    }
    CHECK(fflush(file) == 0);
    while (size_of(output) < (off_t)(sizeof record * RECOVER_UPDATES)) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    pid_t node = child_of(pid);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid); /* And with it the node. */
    kill(node, SIGKILL);
    fclose(file);
    close(out);
}

static void measure_recover(void)
{
    double times[RUNS + 1];
    char endpoint[700], output[700];
    snprintf(endpoint, sizeof endpoint, "%s/node/endpoint", data_path);
    snprintf(output, sizeof output, "%s/recover.jsonl", data_path);
    for (int run = 0; run <= RUNS; run++) {
        int in, out;
        pid_t pid;
        bench_directory();
        unlink(output);
        update_and_kill(output);
        CHECK(unlink(endpoint) == 0); /* So that the new one's is told from it. */
        times[run] = start_and_ask(output, &pid, &in, &out) / 1000;
        stop_troupe(pid, in, out);
    }
    bench_report("recover", bench_percentile(times + 1, RUNS, 0.5), "s", -0.5, "");
}

/* ---- main
 * -------------------------------------------------------------------------------------------------------- */

static const struct measurement {
    const char *names; /* what selects it, blank-separated */
    void (*measure)(void);
    bool always;
} measurements[] = {
    {"append_sync_p50", measure_append, true},
    {"lmdb_commit_p50", measure_lmdb, true},
    {"zmq_one_way", measure_zmq, true},
    {"zmq_batches zmq_curve_batches", measure_zmq_batches, true},
    {"ring", measure_ring, false},
    {"big", measure_big, false},
    {"update_p50", measure_update, false},
    {"open_p50 open_p99 open", measure_open, false},
    {"bank_file", measure_bank_file, false},
    {"recover", measure_recover, false},
    {"link", measure_link, false},
    {"link_curve", measure_link_curve, false},
    {"link_rtt", measure_link_rtt, false},
    {"chain chain_1000", measure_chain, false},
    {"link_64 idle_wakeups_64", measure_many_nodes, false},
    {"snapshot_stall snapshot_throughput snapshot_size file_growth", measure_snapshot_load, false},
    {"snapshot_time", measure_snapshot_time, false},
    {"cut_cost", measure_cut_cost, false},
    {"restore_limit restore_same restore_time restore", measure_restore, false},
    {"actor_bytes actor_bytes_idle", measure_actor_bytes, false},
    {"growth", measure_growth, false},
    {"size", measure_size, false},
    {"rss_idle cold_start idle_wakeups idle", measure_idle, false},
    {"sim_rate sim_speed sim_hash sim", measure_sim, false},
};

static bool selected(const struct measurement *measurement, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char padded[128], name[128];
        snprintf(padded, sizeof padded, " %s ", measurement->names);
        snprintf(name, sizeof name, " %s ", argv[i]);
        if (strstr(padded, name)) {
            return true;
        }
    }
    return argc == 1 || measurement->always;
}

/* Measure in a process of its own; returns false when that failed. */
static bool measure_apart(const struct measurement *measurement, FILE *tsv)
{
    int fds[2], status;
    struct figure figure;
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    sync(); /* What the figure before left to be written is not this one's. */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        fcntl(fds[1], F_SETFD, FD_CLOEXEC);
        report_fd = fds[1];
        measurement->measure();
        _exit(0);
    }
    close(fds[1]);
    while (read(fds[0], &figure, sizeof figure) == sizeof figure) {
        CHECK(figure_count < FIGURES_MAX);
        figures[figure_count++] = figure;
        print_figure(tsv, &figure);
    }
    close(fds[0]);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    char path[600];
    bool ok = true;
    if (getenv("BUILD")) {
        build = getenv("BUILD");
    }
    signal(SIGPIPE, SIG_IGN);
    snprintf(data_path, sizeof data_path, "%.400s/bench-data", build);
    remove_tree(data_path);
    snprintf(path, sizeof path, "%s/bench.tsv", build);
    FILE *tsv = fopen(path, "w");
    CHECK(mkdir(data_path, 0700) == 0 && tsv);
    for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++) {
        if (selected(&measurements[i], argc, argv)) {
            ok = measure_apart(&measurements[i], tsv) && ok;
        }
    }
    fclose(tsv);
    print_peers();
    remove_tree(data_path);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
