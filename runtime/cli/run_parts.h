/* run_parts.h - what the files of `troupe run`, run*.c, share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_RUN_PARTS_H
#define TROUPE_RUNTIME_CLI_RUN_PARTS_H

#include <limits.h>

#include "runtime/cli/cluster_file.h"
#include "runtime/cli/log.h"
#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/schedule.h"
#include "runtime/node/node.h"
#include "runtime/node/supervisor.h"
#include "transport/socket.h"

struct troupe__run {
    struct troupe_node_options node;
    struct troupe__guard *guard;
    struct troupe__log log;
    const char *module_path;
    const char *cluster_path, *name, *key_path;
    unsigned long nodes;                   /* of a troupe on this machine; 0: this is one node */
    const char *inputs[TROUPE__NODES_MAX]; /* one for each of the first nodes; see run_inputs.c */
    size_t input_count;
    struct troupe__cluster cluster;
    struct troupe__key_pair keys;
    struct troupe__place place; /* without a cluster: the node is alone */
    const char *listen[TROUPE__ENDPOINTS_MAX];
    char listen_default[TROUPE__ENDPOINT_SIZE];
    bool unsupervised, listen_none;
    int64_t every_ms;      /* a snapshot; 0: none by the clock */
    const char *snapshots; /* the directory where they stand; "" or NULL: in that of the data */
    bool checks;           /* each of them, by the module's check */
    unsigned long keep;
    char key_beside[PATH_MAX + 128]; /* this node's secret key */
    struct troupe__progress progress;
};

extern const struct troupe__option troupe__run_options[]; /* run_options.c */

/* Say it; returns the exit code. */
int troupe__run_fail(const char *text, enum troupe_error error);

/* ---- run_node.c ---- */

/* Listen beside the data, where only its owner gets at it; unless the path is too long for an endpoint. */
void troupe__run_listen_beside_data(struct troupe__run *run);
/* Run the node that `context`, a struct troupe__run, describes, until it ends. Returns the exit code. */
int troupe__run_node(void *context);

/* ---- run_place.c ---- */

/* --cluster, --node, --key. Returns -1 to go on, or the exit code. */
int troupe__run_take_place(struct troupe__run *run);
/* The secret key, of --key or beside the cluster file. */
enum troupe_error troupe__run_read_key(struct troupe__run *run, char *error, size_t error_size);
/* See struct troupe__place. */
enum troupe_error troupe__run_reread_cluster(void *context, bool *ret_changed, char *error, size_t error_size);

/* ---- run_schedule.c ---- */

/* The process that takes snapshots by the clock. */
struct troupe__run_companion {
    bool is_needed;
    struct troupe__child child;
    struct troupe__schedule schedule;
    struct troupe__log log;
};

/* What the cluster file says of snapshots by the clock, unless the command line has said it. `shared`: each node has a
 * process of its own and reads the same file, so that only one takes them. Returns -1 to go on, or the exit code. */
int troupe__run_take_schedule(struct troupe__run *run, bool shared);
/* False when out of memory. */
bool troupe__run_companion_init(struct troupe__run_companion *companion, const struct troupe__run *run);

/* ---- run_inputs.c ---- */

/* Of --nodes, before any of them is started: put each input where the node stands that goes on with it, NULL where none
 * does. Errors, with a text: TROUPE_EINVAL (one node would have to read two, or whose one is cannot be known since a
 * node's rows cannot be read), TROUPE_EIO (one cannot be read), TROUPE_EBUSY, TROUPE_ENOMEM. */
enum troupe_error troupe__run_deal_inputs(struct troupe__run *all, char *error, size_t error_size);

/* ---- run_nodes.c ---- */

/* --nodes: all of them under one supervisor. Returns the exit code. */
int troupe__run_nodes(struct troupe__run *all);

#endif
