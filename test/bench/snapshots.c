/* snapshots.c - what a snapshot of a node that runs costs, and how long it takes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A graph: each of 1,000,000 actors holds 100 bytes; messages wander over them for ever, each delivery changing the
 * actor's bytes and sending the message on to a random other one. The node is the one of troupe.h, on its own loop,
 * not pinned. Times of deliveries are taken in the handler. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "runtime/snapshot/camera.h"
#include "runtime/node/node.h"
#include "state/lmdb_store.h"
#include "test/bench/bench.h"

enum {
    ACTORS = 1000000,
    BYTES = 100,
    SLOT_NS = 10000000, /* of each so long piece of time the longest gap is kept */
    SLOTS_MAX = 1 << 16,
    ARRIVE_BUDGET = 8192,
};

/* ---- the graph --------------------------------------------------------------------------------------------------- */

enum phase { WARMING, QUIET, TAKING, PHASES };

struct slot {
    unsigned char phase;
    float longest_us;
};

static struct slot *slots; /* NULL: no times are taken */
static size_t slot_count;
static enum phase phase;
static int64_t last_ns, slot_end_ns;
static uint64_t deliveries, reach = ACTORS; /* actors that messages wander over */

static void note_delivery(void)
{
    int64_t now = bench_now_ns();
    float gap_us = (float)(now - last_ns) / 1000;
    last_ns = now;
    if (now >= slot_end_ns && slot_count < SLOTS_MAX) {
        slots[slot_count++] = (struct slot){(unsigned char)phase, 0};
        slot_end_ns = now + SLOT_NS;
    }
    if (slot_count > 0 && gap_us > slots[slot_count - 1].longest_us) {
        slots[slot_count - 1].longest_us = gap_us;
    }
}

static const struct troupe_value data = {.name = "data", .kind = TROUPE_BYTES};
static const struct troupe_value *const values[] = {&data, NULL};

static enum troupe_error handle_vertex(struct troupe_context *ctx, const struct troupe_message *message)
{
    unsigned char bytes[BYTES];
    char key[24];
    uint64_t state[BYTES / 8];
    if (message->body.size != sizeof state) {
        return TROUPE_EREJECTED;
    }
    memcpy(state, message->body.data, sizeof state);
    deliveries++;
    if (slots) {
        note_delivery();
    }
    /* Half of it is random: what compresses better would flatter the size, what does not at all the time. */
    memset(bytes, 0, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes / 2; i += 8) {
        state[0] ^= state[0] << 13, state[0] ^= state[0] >> 7, state[0] ^= state[0] << 17;
        memcpy(bytes + i, &state[0], sizeof bytes / 2 - i < 8 ? sizeof bytes / 2 - i : 8);
    }
    enum troupe_error result = troupe_set_bytes(ctx, &data, (struct troupe_bytes){bytes, sizeof bytes});
    if (result != TROUPE_OK || state[1] == 0) {
        return result;
    }
    state[1] -= state[1] != UINT64_MAX;
    return troupe_send(ctx, troupe_to("bench/vertex", bench_format_key(key, state[0] % reach)), "go",
                       (struct troupe_bytes){state, sizeof state});
}

static const struct troupe_type types[] = {{.name = "bench/vertex", .handler = handle_vertex, .values = values}};
static const struct troupe_module module = {TROUPE_ABI, "bench", "1", types, 1};

/* ---- a node and its photographs ---------------------------------------------------------------------------------- */

struct subject {
    struct troupe_node *node;
    struct ev_loop *loop;
    char directory[700]; /* of the snapshot */
    bool taken;
    struct troupe__snapshot_part part;
};

static void subject_open(struct subject *subject, const struct troupe__place *place)
{
    char error[512] = "";
    *subject = (struct subject){.loop = ev_loop_new(EVFLAG_NOENV)};
    const char *directory = bench_directory();
    char absolute[PATH_MAX];
    struct troupe_node_options options = {.module = &module, .data = directory, .loop = subject->loop};
    if (troupe__node_open(&options, place, &subject->node, error, sizeof error) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "open", error);
    }
    CHECK(realpath(directory, absolute));
    snprintf(subject->directory, sizeof subject->directory, "%.600s/part", absolute);
    CHECK(mkdir(subject->directory, 0700) == 0);
}

static void on_time(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)timer, (void)events;
    ev_break(loop, EVBREAK_ONE);
}

static void run_for(struct subject *subject, double seconds)
{
    ev_timer timer;
    ev_timer_init(&timer, on_time, seconds, 0);
    ev_now_update(subject->loop);
    ev_timer_start(subject->loop, &timer);
    ev_run(subject->loop, 0);
    ev_timer_stop(subject->loop, &timer);
}

static void subject_close(struct subject *subject)
{
    troupe_node_stop(subject->node);
    CHECK(troupe_node_close(subject->node) == TROUPE_OK);
    ev_loop_destroy(subject->loop);
}

/* Make every actor exist; then let `count` messages wander for ever, for `steps` each, or UINT64_MAX. */
static void fill(struct subject *subject, uint64_t count, uint64_t steps, bool each)
{
    for (uint64_t i = 0; i < count;) {
        for (int budget = ARRIVE_BUDGET; budget > 0 && i < count; budget--, i++) {
            char key[24];
            uint64_t state[BYTES / 8] = {troupe__hash(&i, sizeof i) | 1, steps};
            uint64_t to = each ? i : state[0] % reach;
            CHECK(troupe__machine_arrive(&subject->node->machine, NULL,
                                         troupe_to("bench/vertex", bench_format_key(key, to)), "go",
                                         (struct troupe_bytes){state, sizeof state}) == TROUPE_OK);
        }
        run_for(subject, 0.001);
    }
}

static void settle(struct subject *subject)
{
    struct troupe_node *node = subject->node;
    while (node->machine.waiting > 0 || node->store->refresh(node->store) < node->durable) {
        run_for(subject, 0.1);
    }
}

static void on_taken(void *context, enum troupe_error result, const char *text,
                     const struct troupe__snapshot_part *part)
{
    struct subject *subject = context;
    if (result != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "snapshot", text);
    }
    subject->taken = true;
    subject->part = *part;
    ev_break(subject->loop, EVBREAK_ONE);
}

/* A file of this size is removed in ten milliseconds, on the thread that calls: not while anything is measured. */
static void remove_part(const struct subject *subject)
{
    char path[800];
    snprintf(path, sizeof path, "%s/node-node.part", subject->directory);
    unlink(path);
}

/* Returns seconds from the request to the part. */
static double take(struct subject *subject)
{
    char error[512];
    subject->taken = false;
    int64_t start = bench_now_ns();
    if (troupe__camera_arm(subject->node->camera, subject->directory, 0, on_taken, subject, error, sizeof error) !=
        TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "arm", error);
    }
    while (!subject->taken) {
        ev_run(subject->loop, 0);
    }
    return (double)(bench_now_ns() - start) / 1e9;
}

static off_t file_size(const struct subject *subject, const char *name)
{
    char path[800];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", subject->directory, name);
    return stat(path, &status) == 0 ? status.st_size : 0;
}

/* The part's rows, one behind the other, as one stream of zstd's level 3. */
static size_t compressed_size(const struct subject *subject)
{
    char path[800], error[512];
    struct troupe__part_reader *reader;
    struct troupe_bytes head, key, value;
    struct troupe__buffer rows = {0};
    enum troupe__table table;
    snprintf(path, sizeof path, "%s/node-node.part", subject->directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && troupe__part_open(fd, &reader, &head, error, sizeof error) == TROUPE_OK);
    while (troupe__part_next(reader, &table, &key, &value, error, sizeof error) == TROUPE_OK) {
        troupe__buffer_put_byte(&rows, table);
        troupe__buffer_put_string(&rows, key.data, key.size);
        troupe__buffer_put_string(&rows, value.data, value.size);
    }
    troupe__part_reader_free(reader);
    close(fd);
    size_t bound = ZSTD_compressBound(rows.size);
    void *to = malloc(bound);
    CHECK(to && !rows.failed);
    size_t size = ZSTD_compress(to, bound, rows.data, rows.size, 3);
    CHECK(!ZSTD_isError(size));
    free(to);
    troupe__buffer_free(&rows);
    return size;
}

/* ---- what it costs ----------------------------------------------------------------------------------------------- */

static double slots_percentile(enum phase of, double part)
{
    double *all = malloc(slot_count * sizeof *all);
    size_t count = 0;
    CHECK(all);
    for (size_t i = 0; i < slot_count; i++) {
        if (slots[i].phase == of) {
            all[count++] = slots[i].longest_us;
        }
    }
    double value = count > 0 ? bench_percentile(all, count, part) : 0;
    free(all);
    return value;
}

void measure_snapshot_load(void)
{
    enum { IN_FLIGHT = 1000, HOT = 1000, WARM = 100000, WARM_IN_FLIGHT = 10000 };
    enum { SNAPSHOTS = 40 }; /* so many that there are well over 1,000 pieces of time to take a p99.9 of */
    struct subject subject;
    double parts[SNAPSHOTS], growths[RUNS];
    subject_open(&subject, NULL);
    fill(&subject, ACTORS, 0, true);
    settle(&subject);
    reach = HOT;
    fill(&subject, IN_FLIGHT, UINT64_MAX, false);
    run_for(&subject, 4);
    slots = calloc(SLOTS_MAX, sizeof *slots);
    CHECK(slots);
    last_ns = bench_now_ns();
    for (int run = 0; run < SNAPSHOTS; run++) {
        remove_part(&subject);
        run_for(&subject, 0.5);
        phase = QUIET;
        int64_t start = bench_now_ns();
        uint64_t count = deliveries;
        run_for(&subject, 0.5); /* about as long as a snapshot takes */
        double quiet_rate = (double)(deliveries - count) * 1e9 / (double)(bench_now_ns() - start);
        phase = TAKING;
        start = bench_now_ns();
        count = deliveries;
        double seconds = take(&subject);
        double rate = (double)(deliveries - count) * 1e9 / (double)(bench_now_ns() - start);
        parts[run] = rate / quiet_rate;
        run_for(&subject, 0.5); /* What was not folded meanwhile is folded now. */
        phase = WARMING;
        if (getenv("BENCH_VERBOSE")) {
            fprintf(stderr, "quiet %.0f/s, taking %.0f/s, %.2f s, part %.1f MB, tables %.1f MB\n", quiet_rate, rate,
                    seconds, (double)file_size(&subject, "node-node.part") / 1e6,
                    (double)file_size(&subject, "../tables.mdb") / 1e6);
        }
    }
    if (getenv("BENCH_VERBOSE")) {
        for (enum phase of = QUIET; of <= TAKING; of++) {
            fprintf(stderr, "%s: p50 %.0f p99 %.0f p99.9 %.0f max %.0f us\n", of == QUIET ? "quiet" : "taking",
                    slots_percentile(of, 0.5), slots_percentile(of, 0.99), slots_percentile(of, 0.999),
                    slots_percentile(of, 1));
        }
    }
    double stall = (slots_percentile(TAKING, 0.999) - slots_percentile(QUIET, 0.999)) / 1000;
    bench_report("snapshot_stall", stall, "ms", -1, "");
    bench_report("snapshot_size", (double)file_size(&subject, "node-node.part") / (double)compressed_size(&subject),
                 "x", -1.2, "");
    bench_report("snapshot_throughput", bench_percentile(parts, SNAPSHOTS, 0.5), "x", 0.9, "");
    free(slots);
    slots = NULL;
    reach = WARM; /* More than the disk takes: then folding has most to write, and cannot wait for a snapshot. */
    fill(&subject, WARM_IN_FLIGHT, UINT64_MAX, false);
    for (int run = 0; run < RUNS; run++) {
        run_for(&subject, 2);
        double size = (double)file_size(&subject, "../tables.mdb");
        remove_part(&subject);
        take(&subject);
        growths[run] = ((double)file_size(&subject, "../tables.mdb") / size - 1) * 100;
    }
    bench_report("file_growth", bench_percentile(growths, RUNS, 1), "%", -20, "");
    subject_close(&subject);
}

/* Let nothing be handled, as when an outbox is full, and all be folded. */
static void rest(struct subject *subject)
{
    subject->node->machine.stalled = true;
    do {
        run_for(subject, 0.1);
    } while (subject->node->store->refresh(subject->node->store) < subject->node->durable);
    remove_part(subject);
}

/* A million of messages wait and wander. */
void measure_snapshot_time(void)
{
    enum { TIMES = 3 };
    struct subject subject;
    double loaded[TIMES], unfolded[TIMES], idle[TIMES];
    subject_open(&subject, NULL);
    fill(&subject, ACTORS, 0, true);
    settle(&subject);
    fill(&subject, ACTORS, UINT64_MAX, false);
    for (int run = 0; run < TIMES; run++) {
        run_for(&subject, 2);
        uint64_t count = deliveries;
        loaded[run] = take(&subject);
        double rate = (double)(deliveries - count) / loaded[run];
        rest(&subject);
        idle[run] = take(&subject);
        subject.node->machine.stalled = false;
        run_for(&subject, 2);
        subject.node->machine.stalled = true;
        remove_part(&subject);
        count = deliveries;
        unfolded[run] = take(&subject);
        CHECK(deliveries == count);
        rest(&subject);
        subject.node->machine.stalled = false;
        if (getenv("BENCH_VERBOSE")) {
            fprintf(stderr,
                    "loaded %.2f s (%.0f/s), idle %.2f s, all folded %.2f s; part %.1f MB, %llu mail, tables %.1f MB\n",
                    loaded[run], rate, unfolded[run], idle[run], (double)file_size(&subject, "node-node.part") / 1e6,
                    (unsigned long long)subject.part.summary.rows[TROUPE__MAIL],
                    (double)file_size(&subject, "../tables.mdb") / 1e6);
        }
    }
    double time = bench_percentile(loaded, TIMES, 0.5);
    double alone = bench_percentile(unfolded, TIMES, 0.5);
    bench_report("snapshot_time_idle", alone, "s", 0, "");
    bench_report("snapshot_time_folded", bench_percentile(idle, TIMES, 0.5), "s", 0, "");
    bench_report("snapshot_time", time, "s", -3, "snapshot_time_idle");
    bench_report("snapshot_time_load", time / alone, "x", -1.5, "");
    subject_close(&subject);
}

/* A troupe of one node has colours like any other; whether it takes them by itself is switched from window to window.
 */
void measure_cut_cost(void)
{
    enum { HOT = 1000, WINDOWS = 16 };
    struct subject subject;
    struct troupe__cluster_node self = {.name = "n1"};
    struct troupe__cluster cluster = {.nodes = &self};
    double parts[WINDOWS];
    char directory[] = "/tmp/troupe-bench.XXXXXX";
    CHECK(mkdtemp(directory));
    snprintf(self.endpoint, sizeof self.endpoint, "ipc://%s/n1", directory);
    troupe__slots_spread(&cluster.slots, 1, 1, 1);
    subject_open(&subject, &(struct troupe__place){.cluster = &cluster});
    reach = HOT;
    fill(&subject, HOT, UINT64_MAX, false);
    run_for(&subject, 2);
    for (int i = 0; i < WINDOWS; i++) {
        double rates[2];
        for (int half = 0; half < 2; half++) {
            bool with = half == i % 2; /* In turns the first and the second. */
            subject.node->links->coloured_ms = with ? 0 : INT64_MAX;
            uint64_t colour = subject.node->links->colour, count = deliveries;
            int64_t start = bench_now_ns();
            run_for(&subject, 1);
            rates[with] = (double)(deliveries - count) * 1e9 / (double)(bench_now_ns() - start);
            CHECK((subject.node->links->colour > colour) == with);
        }
        parts[i] = rates[1] / rates[0];
    }
    bench_report("cut_cost", bench_percentile(parts, WINDOWS, 0.5), "x", 0.99, "");
    subject_close(&subject);
    unlink(self.endpoint + strlen("ipc://"));
    rmdir(directory);
}
