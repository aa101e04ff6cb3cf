/* simulation.h - what the parts of the simulator share: its nodes, its events, its decisions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SIM_SIMULATION_H
#define TROUPE_RUNTIME_SIM_SIMULATION_H

#include <limits.h>

#include "core/clock.h"
#include "runtime/snapshot/camera.h"
#include "runtime/sim/simulator.h"
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
    TROUPE__SIM_JOB,
    TROUPE__SIM_WRITE,    /* the camera's part */
    TROUPE__SIM_SNAPSHOT, /* somebody asks for one; and what is between him and a node: */
    TROUPE__SIM_REQUEST,
    TROUPE__SIM_ANSWER,
    TROUPE__SIM_REPORT, /* of a part */
    TROUPE__SIM_GONE    /* he finds out that the node is, or was */
};

enum troupe__sim_outcome { TROUPE__SIM_DONE, TROUPE__SIM_CRASHED, TROUPE__SIM_FAILED_LOST, TROUPE__SIM_FAILED_DURABLE };

struct troupe__sim_event {
    uint64_t at_ns, order;
    uint32_t tie;
    uint16_t node;
    uint16_t kind;            /* enum troupe__sim_event_kind */
    uint64_t life;            /* of the node: an event of an earlier one is void */
    uint32_t session, detail; /* between the node and who asked for a snapshot */
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
    bool again; /* the node was restored: the next record may be one that has left */
};

/* An input of a node. */
struct troupe__sim_source {
    size_t index; /* of the next line */
    uint64_t at_ns;
    bool over;
};

struct troupe__sim_node {
    struct troupe__simulator *simulator;
    uint16_t number;
    bool alive, committing;
    bool doomed;      /* crashes at its next step */
    bool writes_part; /* of a snapshot */
    uint64_t life, steps, starts, paused_until_ns, turn_at_ns, commits;
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links;
    struct troupe__epoch epoch;
    uint64_t durable; /* the last epoch that it knows to be */
    struct troupe__camera *camera;
    char name[16];
    struct troupe_job_context *runs, *runs_last; /* jobs that are being done, first begun first ended */
    uint64_t jobs;
    struct troupe__sim_source *sources; /* simulator->source_count; of those that are not its own all are over */
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
    struct troupe__sim_node *nodes; /* node_max: there may be more or fewer of them after a restore */
    uint16_t node_max, source_count;
    struct troupe__sim_event *events; /* a binary heap */
    size_t event_count, event_capacity;
    uint64_t order, now_ns;
    bool calm, failed;
    struct troupe__memory_disk *copy;        /* of node 0's disk */
    bool put_back;                           /* it runs on the copy: what was durable may be gone */
    struct troupe__sim_snapshots *snapshots; /* NULL: none are taken */
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
void troupe__sim_push_for(struct troupe__simulator *simulator, uint64_t at_ns, enum troupe__sim_event_kind kind,
                          struct troupe__sim_node *node, uint32_t session, uint32_t detail);

/* Have the node take a turn then, unless it takes one earlier. */
void troupe__sim_wake(struct troupe__sim_node *node, uint64_t at_ns);

/* ---- sim_node.c ---- */

void troupe__sim_node_start(struct troupe__sim_node *node);
enum troupe_error troupe__sim_node_open_store(struct troupe__sim_node *node, char *error, size_t error_size);
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
/* The node goes back to a snapshot: what came out after it comes again, with the same numbers. */
void troupe__sim_go_back_outside(struct troupe__sim_node *node);

/* ---- sim_checks.c ---- */

/* Against what is durable, which the links cannot know of each other. */
void troupe__sim_check_links(struct troupe__sim_node *node);

/* Right after the outboxes were told what the tables have: the rest is what they do not have. */
void troupe__sim_check_memory(struct troupe__sim_node *node);

/* The epoch sealed last is on the disk. */
void troupe__sim_learn_truth(struct troupe__sim_node *node);
void troupe__sim_forget_truth(struct troupe__sim_node *node);
/* What is durable is what the part says. Errors: with a text. */
enum troupe_error troupe__sim_read_truth(struct troupe__sim_node *node, const char *directory,
                                         const struct troupe__snapshot_part *part, char *error, size_t error_size);

/* All has ended: each node, and every cut that there was. */
void troupe__sim_check_end(struct troupe__simulator *simulator);

/* ---- sim_faults.c ---- */

void troupe__sim_strike(struct troupe__simulator *simulator);
void troupe__sim_calm_down(struct troupe__simulator *simulator);

/* ---- sim_disks.c ---- */

/* From the last complete snapshot, or as if from one of the very beginning. */
void troupe__sim_restore(struct troupe__simulator *simulator);
void troupe__sim_copy_disk(struct troupe__simulator *simulator);
void troupe__sim_put_back_disk(struct troupe__simulator *simulator);

/* ---- sim_snapshots.c ---- */

/* Returns false when out of memory. */
bool troupe__sim_open_snapshots(struct troupe__simulator *simulator);
void troupe__sim_close_snapshots(struct troupe__simulator *simulator); /* and remove them */

/* Somebody asks for a snapshot; whoever does so now, dies. */
void troupe__sim_take_snapshot(struct troupe__simulator *simulator);
void troupe__sim_abandon_snapshots(struct troupe__simulator *simulator);
void troupe__sim_session_event(struct troupe__simulator *simulator, const struct troupe__sim_event *event);

/* The last complete one and its directory; NULL when there is none. */
const struct troupe__snapshot *troupe__sim_last_snapshot(const struct troupe__simulator *simulator,
                                                         char directory[static PATH_MAX]);

/* At the end: all have ended, and nothing else is left in the directory. */
void troupe__sim_check_snapshots(struct troupe__simulator *simulator);

/* The node's side. */
enum troupe_error troupe__sim_open_camera(struct troupe__sim_node *node);
void troupe__sim_write_part(struct troupe__sim_node *node);
void troupe__sim_node_lost(struct troupe__sim_node *node); /* it is about to go down */

#endif
