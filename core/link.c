/* link.c - the exactly-once, first-in-first-out channel between this node and one other: both directions of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/link.h"

#include <assert.h>
#include <stdio.h>

#include "core/clock.h"

static void check_invariants(const struct troupe__link *link)
{
    assert(link->durable.trimmed <= link->row.trimmed && link->row.trimmed <= link->acknowledged);
    assert(link->acknowledged <= link->transmitted && link->transmitted <= link->durable.left);
    assert(link->durable.left <= link->durable.sent && link->durable.sent <= link->row.sent);
    assert(link->durable.accepted <= link->row.accepted);
}

static void wait_for_answer(struct troupe__link *link, uint64_t now_ns)
{
    link->resend_at_ns = now_ns + link->wait_ns;
}

/* While anything durable is not acknowledged the time runs, also when the peer gives no credit: the frame that gave it
 * may be lost. */
static void watch(struct troupe__link *link, uint64_t now_ns)
{
    if (link->state != TROUPE__LINK_UP) {
        return;
    }
    if (link->acknowledged == link->durable.sent) {
        link->resend_at_ns = TROUPE__NEVER;
    } else if (link->resend_at_ns == TROUPE__NEVER) {
        wait_for_answer(link, now_ns);
    }
}

uint64_t troupe__link_oldest_ns(const struct troupe__link *link)
{
    uint64_t flies_ns = link->flight_count > 0 ? link->flight[link->flight_first].at_ns : 0;
    return link->stuck_ns ? link->stuck_ns : flies_ns;
}

static void empty_flight(struct troupe__link *link)
{
    link->flight_count = 0;
    link->flight_size = 0;
}

/* Everything behind `number` is to be transmitted again. */
static void go_back(struct troupe__link *link, uint64_t number)
{
    assert(number >= link->acknowledged);
    if (number < link->transmitted) {
        link->resends += link->transmitted - number;
        link->stuck_ns = troupe__link_oldest_ns(link);
        link->transmitted = number;
        empty_flight(link);
    }
}

void troupe__link_init(struct troupe__link *link, const struct troupe__link_options *options, uint64_t incarnation,
                       const struct troupe__link_row *durable)
{
    assert(incarnation != 0 && durable->trimmed <= durable->left && durable->left <= durable->sent);
    *link = (struct troupe__link){
        .options = *options,
        .incarnation = incarnation,
        .peer_incarnation = durable->peer_incarnation,
        .row = *durable,
        .sealed = *durable,
        .durable = *durable,
        .start_left = durable->left,
        .known_accepted = durable->accepted,
        .known_acknowledged = durable->trimmed,
        .acknowledged = durable->trimmed,
        .transmitted = durable->trimmed,
        .room = options->window,
        .told_room = options->window,
        .due = TROUPE__DUE_HELLO,
        .greet_back = true,
        .wait_ns = options->resend_ns,
        .resend_at_ns = 0,
    };
}

/* ---- hellos ------------------------------------------------------------------------------------------------------ */

static void lose(struct troupe__link *link, struct troupe__link_update *update)
{
    link->state = TROUPE__LINK_LOST;
    link->resend_at_ns = TROUPE__NEVER;
    link->due = TROUPE__DUE_HELLO; /* The peer is told. */
    link->greet_back = false;
    update->now_lost = true;
}

static void describe_loss(struct troupe__link *link, const char *who, const char *lacks, uint64_t has, uint64_t needs)
{
    snprintf(link->reason, sizeof link->reason,
             "%s has lost messages it had %s: it knows %llu of at least %llu; an older copy of its directory was put "
             "back, or it was emptied; put the newest one back, or restore the whole troupe from a snapshot",
             who, lacks, (unsigned long long)has, (unsigned long long)needs);
}

/* What we took in from earlier incarnations had left them before this one began. Any hello of it says so, whether it
 * knows us or not: if this waited for one that does, the peer could be up before, and begin once more as if it had not
 * lost anything (test/models/rollback.pml, LATE). What has left now, of an incarnation that has agreed before, counts
 * only in a hello that knows us: another may be late. */
static bool peer_knows_what_it_sent(struct troupe__link *link, const struct troupe__frame *hello)
{
    bool agreed = link->peer_incarnation == link->row.peer_incarnation;
    uint64_t left = agreed ? hello->left : hello->start_left;
    if (link->known_accepted <= left || (agreed && hello->peer_incarnation != link->incarnation)) {
        return true;
    }
    describe_loss(link, "the peer", "sent", left, link->known_accepted);
    return false;
}

static bool numbers_agree(struct troupe__link *link, const struct troupe__frame *hello)
{
    uint64_t left = link->ever_up ? link->durable.left : link->start_left;
    if (hello->trimmed > link->durable.accepted) {
        describe_loss(link, "this node", "taken in", link->durable.accepted, hello->trimmed);
    } else if (link->known_acknowledged > hello->accepted) {
        describe_loss(link, "the peer", "taken in", hello->accepted, link->known_acknowledged);
    } else if (hello->accepted > left) {
        describe_loss(link, "this node", "sent", left, hello->accepted);
    } else {
        return true;
    }
    return false;
}

/* The peer has this from us, durably. */
static bool take_acknowledgement(struct troupe__link *link, uint64_t accepted, uint64_t now_ns)
{
    if (accepted <= link->acknowledged || accepted > link->durable.left) {
        return false;
    }
    link->acknowledged = accepted;
    link->stuck_ns = 0; /* What is out still has moved on; how old it is, its next frame says. */
    if (link->transmitted < accepted) {
        link->transmitted = accepted;
    }
    while (link->flight_count > 0 && link->flight[link->flight_first].last <= accepted) {
        link->flight_size -= link->flight[link->flight_first].size;
        link->flight_first = (link->flight_first + 1) % TROUPE__FRAMES_IN_FLIGHT;
        link->flight_count--;
    }
    link->wait_ns = link->options.resend_ns;
    wait_for_answer(link, now_ns);
    return true;
}

static void receive_hello(struct troupe__link *link, const struct troupe__frame *hello, uint64_t now_ns,
                          struct troupe__link_update *update)
{
    if (hello->peer_incarnation != link->incarnation &&
        !troupe__incarnation_later(link->incarnation, hello->peer_incarnation)) {
        snprintf(
            link->reason, sizeof link->reason,
            "the peer knows start %llu of this node, and this is start %llu: an older copy of this node's directory "
            "was put back, or it runs twice; put the newest one back, or restore the whole troupe from a snapshot",
            (unsigned long long)(hello->peer_incarnation >> 32), (unsigned long long)(link->incarnation >> 32));
        lose(link, update);
        return;
    }
    if (!peer_knows_what_it_sent(link, hello)) {
        lose(link, update);
        return;
    }
    if (hello->peer_incarnation != link->incarnation) { /* It does not know us yet. */
        link->due |= TROUPE__DUE_HELLO;
        link->greet_back = link->state != TROUPE__LINK_UP;
        return;
    }
    if (!numbers_agree(link, hello)) {
        lose(link, update);
        return;
    }
    if (hello->flags & TROUPE__HELLO_LOST) {
        snprintf(link->reason, sizeof link->reason,
                 "the peer keeps it down, because one of both has lost what it had; see the peer's log");
        lose(link, update);
        return;
    }
    update->counts = take_acknowledgement(link, hello->accepted, now_ns);
    if (link->state == TROUPE__LINK_GREETING) {
        link->state = TROUPE__LINK_UP;
        link->ever_up = true;
        /* A cut must not know an incarnation that the peer's has not begun: restored, the peer would seem to be old. */
        update->counts |= link->row.peer_incarnation != link->peer_incarnation;
        link->row.peer_incarnation = link->peer_incarnation;
        link->wait_ns = link->options.resend_ns;
        link->resend_at_ns = TROUPE__NEVER;
        link->credit = link->options.window;
        link->due |= TROUPE__DUE_ACKNOWLEDGEMENT; /* It says the room as well. */
        go_back(link, link->acknowledged);
    }
    if (hello->flags & TROUPE__HELLO_ASKS) {
        link->due |= TROUPE__DUE_HELLO | TROUPE__DUE_ACKNOWLEDGEMENT;
        link->greet_back = false;
    }
}

/* ---- what arrives ------------------------------------------------------------------------------------------------ */

static void receive_acknowledgement(struct troupe__link *link, const struct troupe__frame *frame, uint64_t now_ns,
                                    struct troupe__link_update *update)
{
    update->counts = take_acknowledgement(link, frame->accepted, now_ns);
    link->credit = frame->credit;
}

static void receive_data(struct troupe__link *link, const struct troupe__frame *frame,
                         struct troupe__link_update *update)
{
    uint64_t next = link->row.accepted + 1;
    if (frame->first > next) {
        if (link->requested != next) { /* Once per gap; the peer's own patience does the rest. */
            link->requested = next;
            link->due |= TROUPE__DUE_REQUEST;
        }
        return;
    }
    if (frame->first + frame->count <= next) {
        link->due |= TROUPE__DUE_ACKNOWLEDGEMENT;
        return;
    }
    update->skip = (uint32_t)(next - frame->first);
    update->accept_count = frame->count - update->skip;
    update->counts = true;
    link->row.accepted += update->accept_count;
}

void troupe__link_receive(struct troupe__link *link, const struct troupe__frame *frame, uint64_t now_ns,
                          struct troupe__link_update *ret)
{
    *ret = (struct troupe__link_update){0};
    link->now_ns = now_ns;
    if (link->state == TROUPE__LINK_LOST) {
        if (frame->kind == TROUPE__FRAME_HELLO && !(frame->flags & TROUPE__HELLO_LOST)) {
            link->due |= TROUPE__DUE_HELLO;
        }
        return;
    }
    if (frame->incarnation != link->peer_incarnation) {
        if (!troupe__incarnation_later(frame->incarnation, link->peer_incarnation)) {
            /* Late, or of a peer that has lost its memory: a hello tells it. */
            if (frame->kind == TROUPE__FRAME_HELLO && !(frame->flags & TROUPE__HELLO_LOST)) {
                link->due |= TROUPE__DUE_HELLO;
                link->greet_back = link->state != TROUPE__LINK_UP;
            }
            return;
        }
        link->peer_incarnation = frame->incarnation;
        link->known_accepted = link->row.accepted;
        link->known_acknowledged = link->acknowledged;
        if (link->state == TROUPE__LINK_UP) {
            link->state = TROUPE__LINK_GREETING;
            link->wait_ns = link->options.resend_ns;
        }
        link->greet_back = true;
        link->due |= TROUPE__DUE_HELLO;
        wait_for_answer(link, now_ns);
    }
    if (frame->kind == TROUPE__FRAME_HELLO) {
        receive_hello(link, frame, now_ns, ret);
    } else if (link->state != TROUPE__LINK_UP) {
        return; /* Before the hello nothing counts. */
    } else if (frame->kind == TROUPE__FRAME_DATA) {
        receive_acknowledgement(link, frame, now_ns, ret);
        receive_data(link, frame, ret);
    } else if (frame->kind == TROUPE__FRAME_REQUEST) {
        if (frame->accepted >= link->acknowledged) {
            go_back(link, frame->accepted);
        }
    } else {
        receive_acknowledgement(link, frame, now_ns, ret);
    }
    watch(link, now_ns);
    check_invariants(link);
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

bool troupe__link_seal(struct troupe__link *link, uint64_t trimmed)
{
    assert(trimmed >= link->row.trimmed && trimmed <= link->acknowledged);
    link->row.trimmed = trimmed;
    link->row.left = link->ever_up ? link->row.sent : link->row.left;
    bool changed = memcmp(&link->row, &link->sealed, sizeof link->row) != 0;
    link->sealed = link->row;
    return changed;
}

void troupe__link_durable(struct troupe__link *link, uint64_t now_ns)
{
    if (link->sealed.accepted > link->durable.accepted) {
        link->due |= TROUPE__DUE_ACKNOWLEDGEMENT;
    }
    link->durable = link->sealed;
    watch(link, now_ns);
    check_invariants(link);
}

bool troupe__link_settled(const struct troupe__link *link)
{
    return link->due == 0 && link->resend_at_ns == TROUPE__NEVER && link->row.trimmed == link->row.sent &&
           memcmp(&link->row, &link->sealed, sizeof link->row) == 0 &&
           memcmp(&link->row, &link->durable, sizeof link->row) == 0;
}

/* ---- time and sending -------------------------------------------------------------------------------------------- */

void troupe__link_tick(struct troupe__link *link, uint64_t now_ns)
{
    link->now_ns = now_ns;
    if (now_ns < link->resend_at_ns) {
        return;
    }
    link->due |= TROUPE__DUE_HELLO; /* Its answer says where the peer is. */
    link->greet_back = true;
    if (link->state == TROUPE__LINK_UP) {
        go_back(link, link->acknowledged);
    }
    wait_for_answer(link, now_ns);
    link->wait_ns = link->wait_ns * 2 < link->options.resend_max_ns ? link->wait_ns * 2 : link->options.resend_max_ns;
}

void troupe__link_set_room(struct troupe__link *link, uint64_t room)
{
    link->room = room;
    if (link->state == TROUPE__LINK_UP && (room > 0) != (link->told_room > 0)) {
        link->due |= TROUPE__DUE_CREDIT;
    }
}

uint64_t troupe__link_next(const struct troupe__link *link)
{
    uint64_t allowed = link->credit < link->options.window ? link->credit : link->options.window;
    bool waits = link->state != TROUPE__LINK_UP || link->transmitted == link->durable.left || allowed == 0 ||
                 link->flight_size >= allowed || link->flight_count == TROUPE__FRAMES_IN_FLIGHT;
    return waits ? 0 : link->transmitted + 1;
}

void troupe__link_transmitted(struct troupe__link *link, uint64_t last, uint64_t size)
{
    assert(link->flight_count < TROUPE__FRAMES_IN_FLIGHT && last > link->transmitted);
    link->transmitted = last;
    size_t at = (link->flight_first + link->flight_count++) % TROUPE__FRAMES_IN_FLIGHT;
    link->flight[at].last = link->transmitted;
    link->flight[at].size = size;
    link->flight[at].at_ns = link->now_ns;
    link->flight_size += size;
    check_invariants(link);
}

void troupe__link_fill(struct troupe__link *link, enum troupe__frame_kind kind, struct troupe__frame *frame)
{
    frame->kind = kind;
    switch (kind) {
    case TROUPE__FRAME_HELLO:
        frame->peer_incarnation = link->peer_incarnation;
        frame->start_left = link->start_left;
        frame->left = link->durable.left;
        frame->trimmed = link->durable.trimmed;
        frame->accepted = link->durable.accepted;
        frame->flags =
            (link->greet_back ? TROUPE__HELLO_ASKS : 0u) | (link->state == TROUPE__LINK_LOST ? TROUPE__HELLO_LOST : 0u);
        link->due &= ~(unsigned)TROUPE__DUE_HELLO;
        break;
    case TROUPE__FRAME_REQUEST:
        frame->accepted = link->row.accepted;
        link->due &= ~(unsigned)TROUPE__DUE_REQUEST;
        break;
    default:
        frame->accepted = link->durable.accepted;
        frame->credit = link->told_room = link->room;
        link->due &= ~(unsigned)(TROUPE__DUE_ACKNOWLEDGEMENT | TROUPE__DUE_CREDIT);
        break;
    }
}
