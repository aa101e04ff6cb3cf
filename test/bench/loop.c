/* loop.c - a node's loop without the node: a machine, a store and a committer, as runtime/node/node.c has them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/bench/loop.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/node/stint.h"
#include "test/bench/bench.h"

static uint64_t clock_ns(struct troupe__clock *clock)
{
    (void)clock;
    return (uint64_t)bench_now_ns();
}

struct troupe__clock bench_clock = {.monotonic_ns = clock_ns};

const struct troupe__lmdb_options bench_on_disk = {.sync = true};

static void wake_loop(void *context)
{
    struct bench_node *node = context;
    uint64_t one = 1;
    CHECK(write(node->wake_fd, &one, sizeof one) == sizeof one);
}

/* The caller becomes the loop, on the first core; the committer and the folder share the second. */
void bench_node_open(struct bench_node *node, const char *path, const struct troupe_module *module,
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

void bench_node_close(struct bench_node *node)
{
    troupe__committer_stop(node->committer);
    troupe__output_close(&node->output);
    troupe__machine_fini(&node->machine);
    node->store->close(node->store);
    troupe__buffer_free(&node->epoch.record);
    troupe__buffer_free(&node->epoch.egress);
    close(node->wake_fd);
}

void bench_node_wait(struct bench_node *node, int64_t timeout_ns)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    struct pollfd readable = {.fd = node->wake_fd, .events = POLLIN};
    if (ppoll(&readable, 1, timeout_ns < 0 ? NULL : &timeout, NULL) > 0) {
        uint64_t count;
        CHECK(read(node->wake_fd, &count, sizeof count) == sizeof count);
    }
}

void bench_node_poll(struct bench_node *node)
{
    troupe__committer_poll(node->committer, &node->committed);
    if (node->committed.result != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "commit", node->committed.error);
    }
}

/* Returns whether an epoch was sealed. */
bool bench_node_seal(struct bench_node *node, bool busy)
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
bool bench_node_turn(struct bench_node *node, bool *ret_sealed)
{
    size_t count;
    int64_t now_ms = node->stopped_ms > 0 ? node->stopped_ms : bench_wall_ms() - node->late_ms;
    CHECK(troupe__machine_set_now(&node->machine, now_ms) == TROUPE_OK);
    bench_node_poll(node);
    if (troupe__machine_epoch_size(&node->machine) < EPOCH_SIZE_MAX) {
        CHECK(troupe__stint(&node->machine, &bench_clock, EPOCH_SIZE_MAX, &count) == TROUPE_OK);
    }
    bool runnable = troupe__machine_runnable(&node->machine);
    *ret_sealed = bench_node_seal(node, runnable);
    return runnable && !(troupe__machine_epoch_size(&node->machine) >= EPOCH_SIZE_MAX && node->committed.busy);
}

void bench_node_run_until(struct bench_node *node, int64_t end_ns)
{
    bool sealed;
    while (bench_now_ns() < end_ns) {
        bool busy = bench_node_turn(node, &sealed);
        bench_node_wait(node, busy ? 0 : 100000000);
    }
}

/* Run until everything handled is durable. */
void bench_node_settle(struct bench_node *node)
{
    bool sealed;
    for (;;) {
        bool busy = bench_node_turn(node, &sealed);
        if (!busy && !node->committed.busy && !troupe__machine_dirty(&node->machine)) {
            return;
        }
        bench_node_wait(node, busy ? 0 : 100000000);
    }
}

/* Wait until the tables hold what was committed, for at most 60 s. */
void bench_node_fold(struct bench_node *node)
{
    bench_node_settle(node);
    int64_t end = bench_now_ns() + (int64_t)60 * 1000000000;
    while (node->store->refresh(node->store) < node->committed.epoch && bench_now_ns() < end) {
        usleep(20000);
    }
}

void bench_node_arrive(struct bench_node *node, const char *type, uint64_t index, const char *message, const void *body,
                       size_t size)
{
    char key[24];
    snprintf(key, sizeof key, "%" PRIu64, index);
    if (troupe__machine_arrive(&node->machine, NULL, troupe_to(type, key), message,
                               (struct troupe_bytes){body, size}) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "arrive", node->machine.error);
    }
}

/* ---- an actor that counts ---------------------------------------------------------------------------------------- */

static const struct troupe_value seen = {"seen", TROUPE_INT};
const struct troupe_value *const bench_values[] = {&seen, NULL};

enum troupe_error bench_count_one(struct troupe_context *ctx)
{
    int64_t number = 0;
    enum troupe_error result = troupe_get_int(ctx, &seen, &number);
    return result == TROUPE_OK || result == TROUPE_ENOTFOUND ? troupe_set_int(ctx, &seen, number + 1) : result;
}
