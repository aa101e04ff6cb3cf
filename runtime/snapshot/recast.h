/* recast.h - the rows of a troupe's nodes dealt out anew to another number of nodes: restoring N nodes to M.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What was one consistent cut becomes the first epoch of other nodes, which know nothing of links to each other yet:
 *
 * - State, sweeps, timers, jobs, answers and messages go where the slot of their actor goes (a timer's is its
 *   setter's).
 * - Messages get new numbers. What waited at an actor's old node comes first, in its order, then what flew to it, link
 *   by link in its order: so between any two actors order holds. What flew is what a sender's outbox has beyond what
 *   the receiver accepted; an answer that flew takes its ask's timeout with it, or is dropped when that was over.
 * - Ids of timers, asks and jobs stay, and numbers of asks from outside: handlers hold them in their state. They are
 *   different on all nodes of a troupe (core/delivery.h), and all new nodes count on from the highest.
 * - Ids of messages from outside go with their actor, as the answers do. What came in by way of another node and flew
 *   (machine_forward.h) is unwrapped, or gone if its id is known; answers to nodes that waited, and who waits, are
 *   gone: clients ask again. An answer on its way to the node that keeps it is kept.
 * - Positions of inputs: a new node that has a predecessor goes on at that one's. Otherwise the least position that
 *   any old node had in that input is known on every new node.
 * - Records on their way out and their numbers go to the new node whose predecessor emitted them, with those numbers;
 *   of an old node that is nobody's predecessor they go to its heir, numbered behind all that one has.
 * - Dead letters follow the slot of their message; what never was one goes to the heir of the node.
 *
 * Pure: rows come from sources and go to a sink. Memory: a few rows of each source, and a few bytes for each ask from
 * outside that is not answered. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_RECAST_H
#define TROUPE_RUNTIME_SNAPSHOT_RECAST_H

#include "core/slots.h"
#include "core/store.h"

/* The rows of one old node. */
struct troupe__recast_source {
    /* The next row in the order of table, then key; valid until the next call. Errors: TROUPE_ENOTFOUND (the end), and
     * others with a text. */
    enum troupe_error (*next)(struct troupe__recast_source *source, enum troupe__table *ret_table,
                              struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                              size_t error_size);
};

/* Where the rows of the new nodes go. Those of one node come mostly in order, and may come again to be replaced. */
struct troupe__recast_sink {
    enum troupe_error (*set)(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                             struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size);
    /* Whether there is such a row, and with `remove` no more. Errors: also TROUPE_ENOTFOUND, without a text. */
    enum troupe_error (*find)(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                              struct troupe_bytes key, bool remove, char *error, size_t error_size);
};

enum { TROUPE__RECAST_NOBODY = UINT16_MAX };

struct troupe__recast_options {
    struct troupe__recast_source **sources; /* by the number of the old node */
    uint16_t source_count;
    const uint64_t *released; /* likewise: egress records up to this number are out for good, whatever its rows say */
    const uint16_t *heirs;    /* by the number of the old node: a new one */
    const struct troupe__slots *slots; /* of the new nodes */
    const uint16_t *predecessors;      /* by the number of the new node: an old one whose heir it is, or nobody */
    bool alone;                        /* the one new node belongs to no troupe */
    struct troupe__recast_sink *sink;
};

struct troupe__recast_counts {
    uint64_t waited, flew, late; /* messages; late: answers nobody waits for and repeats of known ids, which are gone */
};

/* Read all sources to their ends. Errors, each with a text: TROUPE_ECORRUPT (rows that do not belong together),
 * TROUPE_ENOMEM, and those of sources and sink. */
enum troupe_error troupe__recast(const struct troupe__recast_options *options, struct troupe__recast_counts *ret,
                                 char *error, size_t error_size);

#endif
