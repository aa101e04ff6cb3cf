/* link.h - the exactly-once, first-in-first-out channel between this node and one other: both directions of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure: frames, commits and time come in as events; what is to be taken in and what is to be sent comes out. It holds
 * numbers only: the messages are in the outbox (mailbox/outbox.h), which its owner keeps.
 *
 * Messages to the peer are numbered from 1, each put into the outbox in the epoch that sent it:
 *
 *     trimmed <= acknowledged <= transmitted <= durable.left <= durable.sent <= sent
 *
 * Only what is durable is transmitted, so a number never stands for two messages. The peer takes in the next number
 * only: a repeat is acknowledged again and dropped, a gap is asked for again. `accepted`, the mark, is an effect of the
 * epoch that took the message in; only durable marks are acknowledged, each for all before it. What is acknowledged is
 * trimmed from the outbox as an effect of the next epoch. `left`, durable before a message leaves, is what may have
 * left: all that was sent, once the link was up; what an incarnation sent that never was up with this peer has not.
 *
 *              hello that knows our incarnation, numbers agree
 *   GREETING ---------------------------------------------------> UP
 *      |   ^------------ a newer incarnation of the peer ---------'|
 *      '--------------------> LOST <-------------------------------'
 *          numbers disagree, or the peer says so: stays so until the node starts again
 *
 * A hello says left, trimmed and accepted as they are durable. A node that lost its memory (an older copy of its
 * directory was put back) is found by either side: for each direction `trimmed <= accepted <= left` must hold, whoever
 * says them; or because the peer knows a later incarnation of this node. Hellos may be late or repeated, so the smaller
 * side of an inequality is as it was when the peer's incarnation became known: whatever that one says is at least so
 * much. What the peer says of what it took in counts only in a hello that knows our incarnation: it is no older than
 * that. What was lost may have been made again meanwhile, under the same numbers with other content: so the greater
 * side is what had left before the incarnation began, until numbers have agreed. Safety does not rest on incarnations,
 * which only make the loss of memory visible.
 *
 * Not thread-safe. */
#ifndef TROUPE_CORE_LINK_H
#define TROUPE_CORE_LINK_H

#include "core/frame.h"

enum troupe__link_state { TROUPE__LINK_GREETING, TROUPE__LINK_UP, TROUPE__LINK_LOST };

/* What is to be sent, for the owner to send when it can. */
enum troupe__link_due {
    TROUPE__DUE_HELLO = 1,
    TROUPE__DUE_ACKNOWLEDGEMENT = 2,
    TROUPE__DUE_REQUEST = 4,
    TROUPE__DUE_CREDIT = 8,
};

enum { TROUPE__FRAMES_IN_FLIGHT = 64 };

/* The row of a link. */
struct troupe__link_row {
    uint64_t sent, left, trimmed, accepted;
    uint64_t peer_incarnation; /* the last one whose numbers agreed */
};

struct troupe__link_options {
    uint64_t window;                   /* bytes in flight at most; one frame always may be */
    uint64_t resend_ns, resend_max_ns; /* wait for an answer so long; doubled up to the maximum */
};

struct troupe__link {
    struct troupe__link_options options;
    uint64_t incarnation, peer_incarnation; /* ours, and the latest of the peer that was heard of */
    enum troupe__link_state state;
    unsigned due;                                 /* of enum troupe__link_due */
    struct troupe__link_row row, sealed, durable; /* of the open epoch, of the one being committed, of the last one */
    uint64_t start_left;                          /* durable when this incarnation began */
    uint64_t known_accepted, known_acknowledged;  /* when the peer's incarnation became known, or ours began */
    bool ever_up;                                 /* in this incarnation: it may have transmitted */
    uint64_t acknowledged, transmitted;
    uint64_t requested;       /* the number asked for again last */
    uint64_t credit;          /* what the peer takes beyond `acknowledged`, in bytes */
    uint64_t room, told_room; /* what we take, and what we have said we take */
    struct {
        uint64_t last;
        uint64_t size;
        uint64_t at_ns;                 /* when it left */
    } flight[TROUPE__FRAMES_IN_FLIGHT]; /* a ring, oldest at flight_first */
    size_t flight_first, flight_count;
    uint64_t flight_size;
    uint64_t now_ns;                /* as told last */
    uint64_t stuck_ns;              /* when what is to be transmitted again left first; 0: nothing is */
    uint64_t resend_at_ns, wait_ns; /* TROUPE__NEVER while nothing is waited for */
    bool greet_back;                /* the next hello asks for one */
    uint64_t resends;
    char reason[320]; /* of LOST: what, and what to do */
};

/* What an arrived frame brings: the messages `skip` to count-1 of it are to be taken in now, in the open epoch. */
struct troupe__link_update {
    uint32_t skip, accept_count;
    bool counts;   /* it brought something: the open epoch must have at least the frame's colour */
    bool now_lost; /* the link has just gone LOST: say link->reason loudly */
};

/* Which of two incarnations is later: the upper 32 bits count a node's starts, the lower ones are random. */
static inline bool troupe__incarnation_later(uint64_t a, uint64_t b)
{
    return a >> 32 > b >> 32;
}

void troupe__link_init(struct troupe__link *link, const struct troupe__link_options *options, uint64_t incarnation,
                       const struct troupe__link_row *durable);

/* Number a message that the open epoch sends. */
static inline uint64_t troupe__link_append(struct troupe__link *link)
{
    return ++link->row.sent;
}

/* A frame from this peer, of this cluster and generation. */
void troupe__link_receive(struct troupe__link *link, const struct troupe__frame *frame, uint64_t now_ns,
                          struct troupe__link_update *ret);

/* The open epoch is being sealed, in which the outbox was trimmed up to `trimmed`, at most to what is acknowledged.
 * Returns whether the row has changed since it was sealed last. */
bool troupe__link_seal(struct troupe__link *link, uint64_t trimmed);

/* Whether all is said and done: nothing changes before a frame comes or a message is sent. */
bool troupe__link_settled(const struct troupe__link *link);

/* Whether an epoch must say that what was sent may leave, before it does. */
static inline bool troupe__link_waits_to_leave(const struct troupe__link *link)
{
    return link->ever_up && link->sealed.left < link->sealed.sent;
}

/* The epoch sealed last is durable: what it sent may leave, what it accepted is acknowledged. */
void troupe__link_durable(struct troupe__link *link, uint64_t now_ns);

/* Time has come: say so again what was not answered. */
void troupe__link_tick(struct troupe__link *link, uint64_t now_ns);

/* So many bytes the node takes from this peer beyond what it has: 0 asks the peer to wait. What comes all the same is
 * taken in. */
void troupe__link_set_room(struct troupe__link *link, uint64_t room);

/* The first number to be transmitted now, 0 if there is none or it must wait. */
uint64_t troupe__link_next(const struct troupe__link *link);

/* The messages from troupe__link_next to `last` have left, in a frame of `size` bytes. */
void troupe__link_transmitted(struct troupe__link *link, uint64_t last, uint64_t size);

/* When the oldest message that has left and is not acknowledged did so; 0 when there is none. */
uint64_t troupe__link_oldest_ns(const struct troupe__link *link);

/* Fill in a frame of any kind, but for the messages of a data frame, and strike off link->due what it says: a data
 * frame is an acknowledgement too. */
void troupe__link_fill(struct troupe__link *link, enum troupe__frame_kind kind, struct troupe__frame *frame);

#endif
