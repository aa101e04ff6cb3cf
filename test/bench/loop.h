/* loop.h - a node's loop without the node: a machine, a store and a committer, as runtime/node/node.c has them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TEST_BENCH_LOOP_H
#define TROUPE_TEST_BENCH_LOOP_H

#include "runtime/machine/machine.h"
#include "runtime/node/committer.h"
#include "state/lmdb_store.h"

enum {
    EPOCH_SIZE_MAX = 1 << 23, /* as in runtime/node/node.c */
    WAITING_MAX = 8192,
};

struct bench_node {
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

extern struct troupe__clock bench_clock;
extern const struct troupe__lmdb_options bench_on_disk;

/* The caller becomes the loop, on the first core; the committer and the folder share the second. */
void bench_node_open(struct bench_node *node, const char *path, const struct troupe_module *module,
                     const struct troupe__lmdb_options *options);
void bench_node_close(struct bench_node *node);

/* Until an epoch is durable; forever when `timeout_ns` is negative. */
void bench_node_wait(struct bench_node *node, int64_t timeout_ns);
void bench_node_poll(struct bench_node *node);

/* Returns whether an epoch was sealed. */
bool bench_node_seal(struct bench_node *node, bool busy);

/* One turn without its wait. Returns whether there is more to run at once. */
bool bench_node_turn(struct bench_node *node, bool *ret_sealed);
void bench_node_run_until(struct bench_node *node, int64_t end_ns);

/* Run until everything handled is durable. */
void bench_node_settle(struct bench_node *node);

/* Wait until the tables hold what was committed, for at most 60 s. */
void bench_node_fold(struct bench_node *node);

void bench_node_arrive(struct bench_node *node, const char *type, uint64_t index, const char *message, const void *body,
                       size_t size);

/* What a type of actors that count declares, and what their handler does. */
extern const struct troupe_value *const bench_values[];
enum troupe_error bench_count_one(struct troupe_context *ctx);

#endif
