/* simulator.h - a whole troupe in one thread: real machines and links, simulated time, network, crashes and clocks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Virtual time jumps to the next event. Each node takes its steps as events of their own, so that a crash can come
 * between any two of them:
 *
 *     turn (time, input, deliveries, seal) --> commit --> release (messages, records leave) --> answers leave
 *
 * and a frame that arrives, or a job that ends, is one more. Everything that is free is asked of the oracle. With the
 * same oracle a run is the same, whatever is in the heap: it hashes every event, and the rows of every epoch.
 *
 * Faults strike until `calm_ns`; then all is healed, and the troupe must come to its end by itself: everything handled,
 * every outbox empty. Checked on the way, in every run: a link never skips nor runs ahead of what is durable, outboxes
 * hold what is sent and not acknowledged, memory stays within its windows, records leave once and in order, the cuts by
 * colour are consistent, a snapshot is one of them or leaves nothing behind, and when all is calm it succeeds. What the
 * actors do is checked by whoever wrote them: see `record`, and the stores at the end. */
#ifndef TROUPE_RUNTIME_SIM_SIMULATOR_H
#define TROUPE_RUNTIME_SIM_SIMULATOR_H

#include "core/oracle.h"
#include "runtime/machine/egress.h"
#include "runtime/machine/links.h"
#include "runtime/snapshot/snapshot.h"

/* How often of 1,000: steps of a node for crash and commits, frames for the wire, and every 10 ms for the rest, for
 * each node or pair of nodes. 0: never. */
struct troupe__sim_faults {
    uint32_t loss, duplication, reordering, partition, slowness;
    uint32_t crash, pause, slow_commit, failing_commit, clock;
    uint32_t snapshot_crash; /* of a node that has just reported its part; a tenth at what comes before */
};

struct troupe__sim_input {
    uint64_t at_ns; /* not before this */
    bool ask;       /* it is asked, not sent; nobody waits for the answer */
    const char *id; /* NULL: none */
    struct troupe_address to;
    const char *type;
    struct troupe_bytes body;
};

struct troupe__sim_options { /* Zero numbers take the defaults. */
    const struct troupe_module *module;
    struct troupe__oracle *oracle;
    uint16_t node_count;
    struct troupe__sim_faults faults;
    uint64_t calm_ns; /* 0: no faults at all */
    uint64_t end_ns;  /* a run that lasts longer is stuck (calm_ns and one hour) */
    /* Then all disks become what the last complete snapshot holds, or empty when there is none, and a new generation
     * begins; frames of the old one are under way. 0: not. */
    uint64_t restore_ns;
    uint16_t restore_nodes; /* that many nodes go on then; 0: as many as before */
    /* Node 0's disk is copied, and later the old copy is put back: only stores in memory. From then on the run may fail
     * with a link that is lost, which is what should come of it. 0: not. */
    uint64_t copy_ns, put_back_ns;
    uint64_t delay_min_ns, delay_max_ns; /* of a frame (50 us, 2 ms) */
    uint64_t commit_ns;                  /* (200 us) */
    uint32_t run_budget;                 /* deliveries in a turn at most (64) */
    bool no_hash;
    /* `snapshots` of 1,000 steps of 10 ms somebody asks for a snapshot, or two do at once; into a directory that
     * exists, is empty, and will be so again. NULL: nobody does. */
    const char *snapshot_directory;
    uint32_t snapshots;
    /* One is complete: check what must hold in it. Returns false, with a text, when it does not. NULL: not told. */
    bool (*taken)(void *context, const char *directory, const struct troupe__snapshot *snapshot, char *error,
                  size_t error_size);
    struct troupe__links_options links; /* its limits; the rest is the simulator's */
    /* Line `index` (from 0) of an input, if there is one; valid until the next call. Input i is node i's; when fewer
     * nodes go on they share them. NULL: none. */
    bool (*input)(void *context, uint16_t input, size_t index, struct troupe__sim_input *ret);
    /* A record has left for good, for the first time. NULL: not told. */
    void (*record)(void *context, uint16_t node, const struct troupe__egress *egress);
    /* All disks have been restored: records that have left may come again, or were never made. NULL: not told. */
    void (*restored)(void *context);
    /* Open the store of a node; `generation` 1, or 2 after a restore. NULL: stores in memory. */
    enum troupe_error (*open_store)(void *context, uint16_t node, uint64_t generation, struct troupe__store **ret,
                                    char *error, size_t error_size);
    void *context;
    troupe_log_fn log; /* of all nodes; NULL: none */
    void *log_context;
};

/* Draw by `seed` which of the faults (bits 1 << TROUPE__CHOOSE_LOSS and so on) strike and how often, until when, and
 * limits small enough to be met. */
void troupe__sim_draw(struct troupe__sim_options *options, uint64_t seed, unsigned faults);

struct troupe__sim_result {
    uint64_t hash;       /* of every event and every row */
    uint64_t event_hash; /* of every event: the same for any kind of store, whenever it folds */
    uint64_t now_ns, events, deliveries, frames, crashes, commits, records, dead;
    uint64_t snapshots, snapshots_failed; /* complete; given up, because a node or another one was in the way */
    bool restored, moved;                 /* from a snapshot; to another number of nodes */
    uint16_t nodes;                       /* at the end */
    char failure[512];                    /* "": none */
};

struct troupe__simulator;

/* Returns NULL when out of memory. `options` is copied; what it points to stays the caller's. */
struct troupe__simulator *troupe__simulator_new(const struct troupe__sim_options *options);
void troupe__simulator_free(struct troupe__simulator *simulator);

/* Run to the end. Errors: TROUPE_EFAILED (a check failed: see ret->failure). */
enum troupe_error troupe__simulator_run(struct troupe__simulator *simulator, struct troupe__sim_result *ret);

/* After a run: the store of a node, its tables complete. */
struct troupe__store *troupe__simulator_store(struct troupe__simulator *simulator, uint16_t node);

#endif
