/* links.h - the links of one node: where its machine, its outboxes and its wire meet.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A message for a slot of another node goes into that link's outbox in the sender's epoch; what comes from a link
 * arrives in the epoch that moves its mark. What may leave leaves when the owner pumps, and only what is durable:
 *
 *     machine sends ---> outbox (row of the open epoch) --- seal, commit, durable ---> pump ---> wire
 *     wire ---> take: next number only ---> machine (open epoch, mark) --- seal, commit, durable ---> pump: acknowledge
 *
 * A link where all is said and done (troupe__link_settled) costs nothing until something is sent or comes.
 *
 * Rows: OUTBOX (mailbox/outbox.h); META "link/NODE" (varints sent, left, trimmed, accepted, incarnation of the peer),
 * "cluster" (varints cluster, generation, node, hash of the slots; older ones have no hash), "incarnation" (a varint),
 * "colour" (varints colour, milliseconds since 1970 when its first epoch was sealed). A crash leaves the last durable
 * epoch, which has all of them as they belong together.
 *
 * Colours: an epoch has a number, its colour, that never falls. A frame is stamped with the colour of the last durable
 * epoch, and an epoch that takes in anything from it has at least that colour. So the last epochs below a colour, one
 * of each node, are a consistent cut of the troupe (core/link.h's inequality holds between any two of them).
 *
 * All on the loop's thread. */
#ifndef TROUPE_RUNTIME_MACHINE_LINKS_H
#define TROUPE_RUNTIME_MACHINE_LINKS_H

#include "core/link.h"
#include "core/slots.h"
#include "core/wire.h"
#include "mailbox/outbox.h"
#include "runtime/machine/machine.h"

struct troupe__links_options {         /* Zero limits take the defaults. */
    const struct troupe__slots *slots; /* the caller's; outlives the links */
    uint16_t self;
    const char *(*name)(const void *context, uint16_t node); /* of a node, for the log; NULL: its number */
    const void *name_context;
    uint32_t chance;            /* random: tells this start from another one of the same number */
    struct troupe__wire *wire;  /* the caller's; `on_frame` is set to troupe__links_take's caller by the owner */
    uint64_t window;            /* bytes in flight per link (1 MiB) */
    uint64_t outbox_memory_max; /* bytes of an outbox in memory (8 MiB) */
    uint64_t backlog_max;       /* bytes of an outbox at which the node takes nothing in from outside (256 MiB) */
    uint64_t outbox_size_max;   /* bytes of an outbox at which the node stops handling (4 backlog_max) */
    uint64_t waiting_max;       /* messages that wait at which peers are asked to wait (65,536) */
    uint64_t resend_ns, resend_max_ns; /* 200 ms, 5 s */
    uint64_t trim_ns;                  /* an epoch with nothing but trims waits so long (50 ms) */
};

struct troupe__links_stats {
    uint64_t frames_in;
    uint64_t refused; /* frames: malformed, or of another cluster, generation or receiver */
};

struct troupe__links {
    struct troupe__links_options options;
    struct troupe__machine *machine;
    struct troupe__link *links;      /* one per node; self's is unused */
    struct troupe__outbox *outboxes; /* likewise */
    uint16_t *active;                /* the links that are not settled, in no order: only these cost a turn anything */
    uint16_t active_count;
    bool *is_active;
    bool crowded; /* the peers are asked to wait */
    uint64_t map; /* the hash of the slots */
    uint64_t incarnation;
    uint64_t colour, sealed_colour, durable_colour;
    int64_t coloured_ms; /* when this node chose one by itself */
    bool live;           /* this incarnation is durable: frames may leave */
    uint64_t trim_at_ns; /* when trims alone make an epoch; TROUPE__NEVER when there are none */
    bool trims_due;
    bool rows_due; /* a mark has moved, maybe nothing else (an answer that came too late), or messages wait to leave */
    struct troupe__buffer frame, row;
    struct troupe__links_stats stats;
    char error[512];
};

/* Of a machine that has just been started and gets no links. Errors: TROUPE_EINVAL with a text, when its directory is
 * one of several nodes', or was a cluster's when it was not yet noted of how many. */
enum troupe_error troupe__links_none(const struct troupe__machine *machine, char *error, size_t error_size);

/* Connect a machine that has just been started, before it is told the time: due messages may be for other nodes. The
 * first epoch holds the new incarnation; nothing leaves before it is durable. Errors: TROUPE_EINVAL (the directory
 * belongs to another cluster, generation or node), TROUPE_ECORRUPT, TROUPE_ENOMEM; with a text in `error`. */
enum troupe_error troupe__links_open(struct troupe__machine *machine, const struct troupe__links_options *options,
                                     struct troupe__links **ret, char *error, size_t error_size);
/* Before the machine's fini. NULL is fine. */
void troupe__links_close(struct troupe__links *links);

/* A frame has come (see core/wire.h for `peer`). Frames that are malformed, or of another cluster, generation or
 * receiver are counted, logged and dropped. Errors: TROUPE_ENOMEM: stop; `error`. */
enum troupe_error troupe__links_take(struct troupe__links *links, uint64_t now_ns, int peer, struct troupe_bytes frame);

/* The sealed epoch is durable; what may leave does so with the next pump. */
void troupe__links_durable(struct troupe__links *links, uint64_t now_ns);

/* The tables hold everything up to epoch `epoch`: outboxes may forget what does not fit in memory. */
void troupe__links_folded(struct troupe__links *links, uint64_t epoch);

/* Send what may be sent: messages, or what answers the peer's, or both. Errors: the store's, when a backlog cannot be
 * read: stop; `error`. */
enum troupe_error troupe__links_send_messages(struct troupe__links *links);
void troupe__links_send_answers(struct troupe__links *links);

/* Act on the time; returns when to be called next, TROUPE__NEVER if it need not be. */
uint64_t troupe__links_tick(struct troupe__links *links, uint64_t now_ns);

/* Give the open epoch at least this colour: the cut before it is the node's last epoch below. */
void troupe__links_colour(struct troupe__links *links, uint64_t colour);

/* About once a second give the open epoch, which is about to be sealed, a colour by the time: so there is a cut of the
 * whole troupe for each second, and nodes that are idle need not do anything for it. Colours are seconds since 1970 in
 * steps of TROUPE__COLOURS_PER_SECOND; those in between are for snapshots, and for nodes whose clocks are late. */
enum { TROUPE__COLOURS_PER_SECOND = 1024, TROUPE__COLOUR_MS = 1000 };
void troupe__links_colour_by_time(struct troupe__links *links, int64_t now_ms);

static inline uint64_t troupe__colour_of(int64_t time_ms)
{
    return (uint64_t)(time_ms / TROUPE__COLOUR_MS) * TROUPE__COLOURS_PER_SECOND;
}

/* Likewise, and have the open epoch sealed even if nothing else is in it: who takes a snapshot waits for that. */
void troupe__links_begin_colour(struct troupe__links *links, uint64_t colour);

enum { TROUPE__LINK_ROW_NONE = -1, TROUPE__LINK_ROW_BAD = -2 };

/* Read a META row that may be "link/NODE": returns NODE, below `node_count`; or that it is another row, or malformed.
 */
int troupe__links_row_read(struct troupe_bytes key, struct troupe_bytes value, size_t node_count,
                           struct troupe__link_row *ret);

/* The row of the link to `node`: its key (NUL-terminated), its value. */
void troupe__links_row_key(uint16_t node, char key[static 16]);
void troupe__links_row_put(struct troupe__buffer *value, const struct troupe__link_row *row);

/* ---- for the machine --------------------------------------------------------------------------------------------- */

/* Whether an actor lives on this node. */
static inline bool troupe__links_local(const struct troupe__links *links, const struct troupe__actor *actor)
{
    return links->options.slots->owner[actor->slot] == links->options.self;
}

/* Put a message for another node into its outbox, in the open epoch; it is freed on TROUPE_OK. Errors: TROUPE_ENOMEM.
 */
enum troupe_error troupe__links_put(struct troupe__links *links, struct troupe__message *message);

/* Write the links' rows into the epoch being sealed. */
void troupe__links_seal(struct troupe__links *links);

/* Whether the open epoch must be sealed for the links' sake. */
static inline bool troupe__links_dirty(const struct troupe__links *links)
{
    return links->trims_due || links->rows_due;
}

#endif
