/* node.h - a node: a machine with a loop, a committer thread, an input and an output.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a program may do with it stands in core/troupe.h; this is what the parts of the node share.
 *
 * Loop thread: input lines and messages from outside -> machine -> sealed epoch; one turn of all that before each time
 * the loop would block. Committer thread: commit, then let the epoch's egress records out. While one epoch is
 * committed the next one runs, so commits group themselves: short when idle, long under load.
 *
 * Output file: records are appended after the commit of their epoch. About once a second the file is synced, and its
 * length and the last record's number become an effect of the next epoch (META "output"), which removes the records'
 * rows. At a start the rows left are written again from that length on: the same bytes, since rows are all that a line
 * is made of. On a pipe that cannot be: records since the last mark come again, with the same numbers. Without an
 * output the rows go with the next epoch there is after the records were handed to the callback. */
#ifndef TROUPE_RUNTIME_NODE_NODE_H
#define TROUPE_RUNTIME_NODE_NODE_H

#include <ev.h>

#include "runtime/node/askers.h"
#include "runtime/snapshot/camera.h"
#include "runtime/cluster.h"
#include "runtime/node/committer.h"
#include "runtime/node/darkroom.h"
#include "runtime/machine/links.h"
#include "runtime/node/loop_clock.h"
#include "runtime/machine/machine.h"
#include "runtime/node/pace.h"
#include "runtime/node/recent.h"
#include "runtime/node/refusals.h"
#include "runtime/machine/waiters.h"
#include "runtime/node/workers.h"
#include "transport/input.h"
#include "transport/keys.h"
#include "transport/output.h"

enum { TROUPE__SLOW_MS = 10000 /* the default of slow_ms */ };

enum { TROUPE__RECORD_SIZE_MAX = 1 << 23 /* bytes of an epoch at which nothing is run until the committer is free */ };

/* How far a node is. */
struct troupe__node_figures {
    uint64_t lines, input_offset; /* taken in, and the bytes that they are */
    uint64_t deliveries;
    size_t waiting, timers; /* messages */
};
typedef void (*troupe__figures_fn)(void *context, const struct troupe__node_figures *figures);

struct troupe_node {
    struct troupe_node_options options;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__input input;
    struct troupe__output output;
    struct troupe__committer *committer;
    struct troupe__committed committed;
    struct troupe__pace pace;
    struct troupe__epoch epoch; /* the committer's while it is busy */
    struct troupe__buffer line;
    struct troupe__workers *workers;
    int64_t hurried_ms; /* monotonic: when the workers were told that the node stops; 0: not yet */
    ev_timer watch;     /* on while there are jobs */
    struct troupe__loop_clock loop_clock;
    struct troupe__clock *clock;
    struct ev_loop *loop;
    bool own_loop;
    ev_async wake;
    ev_signal on_int, on_term;
    ev_prepare prepare;
    ev_idle idle;
    ev_io readable;
    ev_timer figures;
    troupe__figures_fn on_figures;
    void *figures_context;
    bool stopping, input_moved, started, ended;
    uint64_t durable;  /* the last durable epoch whose outcome was told */
    uint64_t released; /* egress records up to this are out for good */
    uint64_t bad_lines;
    int64_t opened_ms; /* when the open epoch got its first content; 0 while it has none */
    int64_t marked_ms; /* when a node that is alone last noted the time */
    int drain_turns;   /* runs left before the open epoch is sealed; 0: not draining */
    struct troupe__waiters waiters;
    struct troupe__links *links;       /* to the other nodes of a troupe; NULL: it is alone */
    const struct troupe__place *place; /* NULL: it is alone */
    struct troupe__wire *wire;
    ev_io frames;
    bool frames_ready;    /* some may have come */
    uint64_t links_at_ns; /* when the links want to be asked again */
    enum troupe_error links_result;
    char name[TROUPE__NODE_NAME_MAX + 1]; /* "node" when it is alone */
    struct troupe__camera *camera;
    struct troupe__darkroom darkroom; /* where it writes */
    struct troupe__refusals refusals; /* of other nodes, with a place */
    struct troupe__roster *roster;    /* NULL: whom it lets in does not change */
    struct troupe__askers askers;
    struct troupe__endpoint *endpoint; /* NULL: it does not listen */
    struct troupe__recent recent;      /* while it listens */
    enum troupe_error result;          /* how it ended */
    char error[512];
};

/* A node's place in a troupe; all of it outlives the node. */
struct troupe__place {
    const struct troupe__cluster *cluster;
    uint16_t self;
    const char *stream_lock;             /* a file that nodes with one stream as output lock, to write whole lines */
    const struct troupe__key_pair *keys; /* NULL: the cluster has none */
    /* The file that the cluster was read from, to be read again whenever it changes (runtime/node/roster.h); NULL: it
     * never does. `reread` changes the keys of nodes and clients in `cluster`, and whether any have. Errors, with a
     * text and nothing changed: the file cannot be read, or differs in more. */
    const char *file;
    enum troupe_error (*reread)(void *context, bool *ret_changed, char *error, size_t error_size);
    void *context;
};

/* As troupe_node_open; with a `place` (NULL: none) it is one of several nodes, and also fails when the directory
 * belongs to another place, or its endpoint cannot be listened at. */
enum troupe_error troupe__node_open(const struct troupe_node_options *options, const struct troupe__place *place,
                                    struct troupe_node **ret, char *error, size_t error_size);

/* For node.c. Take the place: open links and wire. */
enum troupe_error troupe__node_join(struct troupe_node *node, const struct troupe__place *place);
void troupe__node_leave(struct troupe_node *node);

/* Take in frames that have come; `*ret_more` when there may be more. Errors: with node->error. */
enum troupe_error troupe__node_take_frames(struct troupe_node *node, bool *ret_more);

/* Let out what may leave, and note when to be called again. Errors: with node->error. */
enum troupe_error troupe__node_send_frames(struct troupe_node *node);

/* Where deliveries are written down; NULL: nowhere. Before the node is run. */
struct troupe__guard;
void troupe__node_set_guard(struct troupe_node *node, struct troupe__guard *guard);

/* Tell how far it is five times a second, on the node's thread. Before the node is run. */
void troupe__node_tell_figures(struct troupe_node *node, troupe__figures_fn on_figures, void *context);

/* Whether there is room for another message from outside. */
bool troupe__node_has_room(const struct troupe_node *node);

/* Tell of what epoch `committed.epoch` has made durable, while the committer does not have the epoch's buffers. */
void troupe__node_let_out(struct troupe_node *node);

/* Give records, in the form of an epoch's `egress`, to the callback. Returns the number of the last, 0 for none. */
uint64_t troupe__node_hand_out(struct troupe_node *node, const struct troupe__buffer *records);

/* Whether nothing waits here and nothing is under way: all that came was handled and is durable. What flies to other
 * nodes, and what waits for its time, does not count; nor does an input that may have more later. */
bool troupe__node_idle(const struct troupe_node *node);

/* A number that grows whenever anything happens to messages here, until the node starts again. */
uint64_t troupe__node_activity(const struct troupe_node *node);

/* To the log function that the program gave, if any. */
__attribute__((format(printf, 3, 4))) void troupe__node_report(const struct troupe_node *node, enum troupe_level level,
                                                               const char *format, ...);

/* ---- node_input.c ---- */

/* Errors of these: with a text in `error`. */
enum troupe_error troupe__node_open_input(struct troupe_node *node);
/* Take in what there is room for; `*ret_more`: there may be more for which there is room. */
enum troupe_error troupe__node_pump_input(struct troupe_node *node, bool *ret_more);
/* At the seal: where the input stands is an effect of the epoch. Errors: TROUPE_ENOMEM, without a text. */
enum troupe_error troupe__node_mark_input(struct troupe_node *node);

/* ---- node_output.c ---- */

/* Open it, note where it stands and write what was not known to be out again. Errors: with a text in `error`. */
enum troupe_error troupe__node_open_output(struct troupe_node *node);
/* All up to `offset` is out and synced: an effect of the open epoch. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__node_mark_output(struct troupe_node *node, uint64_t offset);
/* Without an output: what was not known to be handed out goes to the callback now. */
void troupe__node_repeat_records(struct troupe_node *node);

/* ---- node_jobs.c ---- */

/* Errors: with a text in `error`. */
enum troupe_error troupe__node_start_jobs(struct troupe_node *node, void (*wake)(void *context));
/* Begin the jobs of an epoch that is durable, take in the results there are. Errors: with a text in `error`. */
enum troupe_error troupe__node_turn_jobs(struct troupe_node *node);
/* Whether the node need not wait for any job before it ends. */
bool troupe__node_jobs_ended(const struct troupe_node *node);
/* Until a job ends, or a second has passed, or at once when none runs. */
void troupe__node_wait_jobs(struct troupe_node *node);
void troupe__node_stop_jobs(struct troupe_node *node);

/* Tell those who wait for an epoch that is durable. */
void troupe__node_tell_waiters(struct troupe_node *node);

/* Tell those whose time is over. */
void troupe__node_tell_late(struct troupe_node *node);

/* The node has ended: tell everybody who still waits. */
void troupe__node_give_up(struct troupe_node *node);

#endif
