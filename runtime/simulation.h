/* simulation.h - what the parts of the simulator share: its nodes, its events, its decisions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SIMULATION_H
#define TROUPE_RUNTIME_SIMULATION_H

#include "core/clock.h"
#include "runtime/simulator.h"
#include "state/memory_store.h"
#include "transport/sim_wire.h"

#define TROUPE__SIM_MS UINT64_C(1000000) /* nanoseconds */

/* Nanoseconds: until a node looks at what has come; between a node's steps; between two strikes of faults; down after a
 * crash, about. */
#define TROUPE__SIM_TURN_NS UINT64_C(20000)
#define TROUPE__SIM_STEP_NS UINT64_C(5000)
#define TROUPE__SIM_FAULTS_NS (10 * TROUPE__SIM_MS)
#define TROUPE__SIM_RESTART_NS (50 * TROUPE__SIM_MS)

enum troupe__sim_event_kind {
    TROUPE__SIM_START,
    TROUPE__SIM_TURN,
    TROUPE__SIM_COMMIT,
    TROUPE__SIM_RELEASE,
    TROUPE__SIM_ANSWERS,
    TROUPE__SIM_FAULTS,
    TROUPE__SIM_RESTORE,
    TROUPE__SIM_COPY,
    TROUPE__SIM_PUT_BACK,
    TROUPE__SIM_JOB
};

enum troupe__sim_outcome { TROUPE__SIM_DONE, TROUPE__SIM_CRASHED, TROUPE__SIM_FAILED_LOST, TROUPE__SIM_FAILED_DURABLE };

struct troupe__sim_event {
    uint64_t at_ns, order;
    uint32_t tie;
    uint16_t node;
    uint16_t kind; /* enum troupe__sim_event_kind */
    uint64_t life; /* of the node: an event of an earlier one is void */
};

/* The links of a node as its last epoch below some colours left them. */
struct troupe__sim_cut {
    uint64_t colour_first, colour_last;
    struct troupe__link_row *rows; /* one per node */
};

/* What has left through one egress of a node. */
struct troupe__sim_outside {
    char name[TROUPE_NAME_MAX + 1];
    uint64_t *hashes; /* of the records, by sequence - 1 */
    size_t count, capacity;
};

struct troupe__sim_node {
    struct troupe__simulator *simulator;
    uint16_t number;
    bool alive, committing;
    uint64_t life, steps, starts, paused_until_ns, turn_at_ns, commits;
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links;
    struct troupe__epoch epoch;
    struct troupe_job_context *runs, *runs_last; /* jobs that are being done, first begun first ended */
    uint64_t jobs;
    size_t input_index;
    bool inputs_over;
    uint64_t input_at_ns;
    int64_t clock_offset_ms, clock_drift_ppm;
    struct troupe__link_row *truth; /* durable, one per node */
    uint64_t truth_colour;
    struct troupe__sim_cut *cuts;
    size_t cut_count, cut_capacity;
    struct troupe__sim_outside *outsides;
    size_t outside_count;
};

struct troupe__simulator {
    struct troupe__sim_options options;
    struct troupe__slots slots;
    struct troupe__sim_network *network;
    struct troupe__sim_node *nodes;
    struct troupe__sim_event *events; /* a binary heap */
    size_t event_count, event_capacity;
    uint64_t order, now_ns;
    bool calm, failed;
    struct troupe__memory_disk *copy; /* of node 0's disk */
    bool put_back;                    /* it runs on the copy: what was durable may be gone */
    struct troupe__sim_result result;
};

/* ---- simulator.c ---- */

/* The run has failed; the first failure counts. */
void troupe__sim_fail(struct troupe__simulator *simulator, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Something has happened: into the hash with it. */
void troupe__sim_note(struct troupe__simulator *simulator, unsigned kind, uint16_t node, uint64_t outcome);

/* Whether a fault that comes `per_mille` of 1,000 times comes now. */
bool troupe__sim_strikes(struct troupe__simulator *simulator, enum troupe__choice kind, uint32_t per_mille,
                         uint64_t id);

/* A number of the interval that is the oracle's to choose. */
uint64_t troupe__sim_between(struct troupe__simulator *simulator, enum troupe__choice kind, uint64_t low, uint64_t high,
                             uint64_t id);

void troupe__sim_push(struct troupe__simulator *simulator, uint64_t at_ns, enum troupe__sim_event_kind kind,
                      struct troupe__sim_node *node);

/* Have the node take a turn then, unless it takes one earlier. */
void troupe__sim_wake(struct troupe__sim_node *node, uint64_t at_ns);

/* ---- sim_node.c ---- */

void troupe__sim_node_start(struct troupe__sim_node *node);
void troupe__sim_node_take_down(struct troupe__sim_node *node);
void troupe__sim_node_crash(struct troupe__sim_node *node); /* and have it started again */

/* Its steps. */
void troupe__sim_node_turn(struct troupe__sim_node *node);
void troupe__sim_node_commit(struct troupe__sim_node *node);
void troupe__sim_node_release(struct troupe__sim_node *node);
void troupe__sim_node_answer(struct troupe__sim_node *node);
void troupe__sim_node_end_job(struct troupe__sim_node *node);

/* ---- sim_outside.c ---- */

/* Records of an epoch leave. */
void troupe__sim_let_out(struct troupe__sim_node *node, const struct troupe__buffer *records);
void troupe__sim_forget_outside(struct troupe__sim_node *node);

/* ---- sim_checks.c ---- */

/* Against what is durable, which the links cannot know of each other. */
void troupe__sim_check_links(struct troupe__sim_node *node);

/* Right after the outboxes were told what the tables have: the rest is what they do not have. */
void troupe__sim_check_memory(struct troupe__sim_node *node);

/* The epoch sealed last is on the disk. */
void troupe__sim_learn_truth(struct troupe__sim_node *node);
void troupe__sim_forget_truth(struct troupe__sim_node *node);

/* All has ended: each node, and every cut that there was. */
void troupe__sim_check_end(struct troupe__simulator *simulator);

/* ---- sim_faults.c ---- */

void troupe__sim_strike(struct troupe__simulator *simulator);
void troupe__sim_calm_down(struct troupe__simulator *simulator);

/* ---- sim_disks.c ---- */

/* As if restored from a snapshot of the very beginning. */
void troupe__sim_restore(struct troupe__simulator *simulator);
void troupe__sim_copy_disk(struct troupe__simulator *simulator);
void troupe__sim_put_back_disk(struct troupe__simulator *simulator);

#endif
