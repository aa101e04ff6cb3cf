/* link_test.c - two links face each other; a frame is lost, repeated or late as the test says.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/link.h"

static const struct troupe__link_options options = {.window = 1000, .resend_ns = 100, .resend_max_ns = 400};

struct pair {
    struct troupe__link a, b;
    uint64_t now_ns;
    uint32_t taken; /* messages that b has taken in */
};

static void init(struct troupe__link *link, uint64_t start, struct troupe__link_row row)
{
    troupe__link_init(link, &options, start << 32 | 7, &row);
}

static struct troupe__link_update receive(struct troupe__link *to, const struct troupe__link *from,
                                          struct troupe__frame frame)
{
    struct troupe__link_update update;
    frame.incarnation = from->incarnation;
    troupe__link_receive(to, &frame, 0, &update);
    return update;
}

static struct troupe__frame filled(struct troupe__link *link, enum troupe__frame_kind kind)
{
    struct troupe__frame frame = {0};
    troupe__link_fill(link, kind, &frame);
    return frame;
}

/* Exchange hellos and acknowledgements until nothing is due. */
static void answer(struct pair *pair)
{
    for (int i = 0; i < 10; i++) {
        struct troupe__link *from = i % 2 ? &pair->b : &pair->a, *to = i % 2 ? &pair->a : &pair->b;
        if (from->due & TROUPE__DUE_HELLO) {
            receive(to, from, filled(from, TROUPE__FRAME_HELLO));
        }
        if (from->due & (TROUPE__DUE_ACKNOWLEDGEMENT | TROUPE__DUE_CREDIT)) {
            receive(to, from, filled(from, TROUPE__FRAME_ACKNOWLEDGEMENT));
        }
    }
}

static void commit(struct troupe__link *link)
{
    troupe__link_seal(link, link->acknowledged);
    troupe__link_durable(link, 0);
}

static struct pair new_pair(void)
{
    struct pair pair = {0};
    init(&pair.a, 1, (struct troupe__link_row){0});
    init(&pair.b, 1, (struct troupe__link_row){0});
    answer(&pair);
    assert_int_equal(pair.a.state, TROUPE__LINK_UP);
    assert_int_equal(pair.b.state, TROUPE__LINK_UP);
    assert_int_equal(pair.a.due | pair.b.due, 0);
    return pair;
}

static void send(struct troupe__link *link, int count)
{
    while (count-- > 0) {
        troupe__link_append(link);
    }
    commit(link);
}

/* A data frame of `count` messages as a may send now, or one of numbers that were sent before. */
static struct troupe__frame data(struct troupe__link *link, uint64_t first, uint32_t count)
{
    struct troupe__frame frame = filled(link, TROUPE__FRAME_DATA);
    frame.first = first;
    frame.count = count;
    if (troupe__link_next(link) == first) {
        troupe__link_transmitted(link, link->transmitted + count, count * 10);
    }
    return frame;
}

static void only_the_next_number_is_taken_in(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 9);
    struct troupe__frame first = data(&pair.a, 1, 3), second = data(&pair.a, 4, 3), third = data(&pair.a, 7, 3);
    assert_int_equal(receive(&pair.b, &pair.a, second).accept_count, 0); /* a gap: asked for again, once */
    assert_int_equal(pair.b.due, TROUPE__DUE_REQUEST);
    assert_int_equal(filled(&pair.b, TROUPE__FRAME_REQUEST).accepted, 0);
    assert_int_equal(receive(&pair.b, &pair.a, third).accept_count, 0);
    assert_int_equal(pair.b.due, 0);
    assert_int_equal(receive(&pair.b, &pair.a, first).accept_count, 3);
    assert_int_equal(receive(&pair.b, &pair.a, first).accept_count, 0); /* a repeat */
    struct troupe__frame overlap = data(&pair.a, 2, 4);
    struct troupe__link_update update = receive(&pair.b, &pair.a, overlap);
    assert_int_equal(update.skip, 2);
    assert_int_equal(update.accept_count, 2);
    assert_int_equal(pair.b.row.accepted, 5);
}

/* Else a snapshot could know an incarnation that its part of the peer has never heard of. */
static void a_hello_whose_incarnation_is_noted_counts_for_the_colour(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    init(&pair.b, 2, pair.b.durable);
    assert_false(receive(&pair.a, &pair.b, filled(&pair.b, TROUPE__FRAME_HELLO)).counts); /* It does not know a yet. */
    receive(&pair.b, &pair.a, filled(&pair.a, TROUPE__FRAME_HELLO));
    struct troupe__frame hello = filled(&pair.b, TROUPE__FRAME_HELLO);
    assert_true(receive(&pair.a, &pair.b, hello).counts);
    assert_int_equal(pair.a.row.peer_incarnation >> 32, 2);
    assert_false(receive(&pair.a, &pair.b, hello).counts);
}

static void a_request_sends_again_from_there(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 9);
    data(&pair.a, 1, 9);
    assert_int_equal(troupe__link_next(&pair.a), 0);
    receive(&pair.a, &pair.b, (struct troupe__frame){.kind = TROUPE__FRAME_REQUEST, .accepted = 4});
    assert_int_equal(troupe__link_next(&pair.a), 5);
    assert_int_equal(pair.a.acknowledged, 0); /* What is taken in is not durable yet. */
}

static void nothing_is_transmitted_or_acknowledged_before_it_is_durable(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    troupe__link_append(&pair.a);
    assert_int_equal(troupe__link_next(&pair.a), 0);
    assert_true(troupe__link_seal(&pair.a, pair.a.acknowledged));
    assert_int_equal(troupe__link_next(&pair.a), 0);
    troupe__link_durable(&pair.a, 0);
    assert_int_equal(troupe__link_next(&pair.a), 1);
    receive(&pair.b, &pair.a, data(&pair.a, 1, 1));
    assert_int_equal(filled(&pair.b, TROUPE__FRAME_ACKNOWLEDGEMENT).accepted, 0);
    troupe__link_seal(&pair.b, pair.b.acknowledged);
    assert_int_equal(filled(&pair.b, TROUPE__FRAME_ACKNOWLEDGEMENT).accepted, 0);
    troupe__link_durable(&pair.b, 0);
    assert_int_equal(pair.b.due, TROUPE__DUE_ACKNOWLEDGEMENT);
    assert_int_equal(filled(&pair.b, TROUPE__FRAME_ACKNOWLEDGEMENT).accepted, 1);
}

static void messages_acknowledge_what_came_the_other_way(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 5);
    receive(&pair.b, &pair.a, data(&pair.a, 1, 3));
    send(&pair.b, 1);
    assert_int_equal(pair.b.due, TROUPE__DUE_ACKNOWLEDGEMENT);
    struct troupe__link_update update = receive(&pair.a, &pair.b, data(&pair.b, 1, 1));
    assert_int_equal(pair.b.due, 0); /* It is said. */
    assert_int_equal(pair.a.acknowledged, 3);
    assert_int_equal(update.accept_count, 1);
    send(&pair.a, 1);
    update = receive(&pair.b, &pair.a, data(&pair.a, 6, 1)); /* a gap: what it acknowledges counts all the same */
    assert_int_equal(update.accept_count, 0);
    assert_true(update.counts);
    assert_int_equal(pair.b.acknowledged, 1);
}

static void what_is_acknowledged_is_trimmed_by_the_next_epoch(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 5);
    receive(&pair.b, &pair.a, data(&pair.a, 1, 3));
    commit(&pair.b);
    answer(&pair);
    assert_int_equal(pair.a.acknowledged, 3);
    assert_int_equal(pair.a.row.trimmed, 0);
    assert_true(troupe__link_seal(&pair.a, pair.a.acknowledged));
    assert_int_equal(pair.a.row.trimmed, 3);
    assert_int_equal(pair.a.durable.trimmed, 0);
    troupe__link_durable(&pair.a, 0);
    assert_int_equal(pair.a.durable.trimmed, 3);
    assert_false(troupe__link_seal(&pair.a, pair.a.acknowledged));
}

static void no_more_is_in_flight_than_the_window_and_the_credit(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 100);
    for (uint64_t next; (next = troupe__link_next(&pair.a)) != 0;) {
        troupe__link_transmitted(&pair.a, next, 300);
    }
    assert_int_equal(pair.a.transmitted, 4); /* 1,200: the last frame begins within the window. */
    struct troupe__frame none = {.kind = TROUPE__FRAME_ACKNOWLEDGEMENT, .accepted = 4};
    receive(&pair.a, &pair.b, none);
    assert_int_equal(troupe__link_next(&pair.a), 0);   /* No credit ... */
    assert_true(pair.a.resend_at_ns != TROUPE__NEVER); /* ... and the frame that gives it may get lost. */
    receive(&pair.a, &pair.b, (struct troupe__frame){.kind = TROUPE__FRAME_CREDIT, .accepted = 4, .credit = 50});
    assert_int_equal(troupe__link_next(&pair.a), 5);
    troupe__link_set_room(&pair.b, 0);
    assert_int_equal(pair.b.due, TROUPE__DUE_CREDIT);
    filled(&pair.b, TROUPE__FRAME_CREDIT);
    assert_int_equal(pair.b.due, 0);
}

static void silence_makes_it_send_again_ever_more_slowly(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 2);
    data(&pair.a, 1, 2);
    static const uint64_t at_ns[] = {100, 200, 400, 800, 1200};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(pair.a.resend_at_ns, at_ns[i]);
        troupe__link_tick(&pair.a, at_ns[i] - 1);
        assert_int_equal(pair.a.due, 0);
        troupe__link_tick(&pair.a, at_ns[i]);
        assert_int_equal(pair.a.due, TROUPE__DUE_HELLO);
        assert_int_equal(filled(&pair.a, TROUPE__FRAME_HELLO).flags, TROUPE__HELLO_ASKS);
        assert_int_equal(troupe__link_next(&pair.a), 1);
        data(&pair.a, 1, 2);
    }
}

/* The receiver crashes before its mark is durable: the sender goes back to what is. */
static void a_new_start_of_the_peer_is_greeted_and_sent_what_it_lacks(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    send(&pair.a, 4);
    receive(&pair.b, &pair.a, data(&pair.a, 1, 2));
    commit(&pair.b);
    receive(&pair.b, &pair.a, data(&pair.a, 3, 2));
    struct troupe__frame late = data(&pair.a, 3, 2);
    init(&pair.b, 2, pair.b.durable);
    assert_int_equal(receive(&pair.b, &pair.a, late).accept_count, 0); /* before the hello nothing counts */
    answer(&pair);
    assert_int_equal(pair.b.state, TROUPE__LINK_UP);
    assert_int_equal(pair.a.state, TROUPE__LINK_UP);
    assert_int_equal(pair.a.acknowledged, 2);
    assert_int_equal(troupe__link_next(&pair.a), 3);
}

/* Start a pair whose rows are such; returns whether a side sees that something is lost, and nothing goes through then.
 */
static bool loss_is_seen(uint64_t a_start, struct troupe__link_row a, struct troupe__link_row b)
{
    struct pair pair = {0};
    init(&pair.a, a_start, a);
    init(&pair.b, 9, b);
    answer(&pair);
    bool seen = pair.a.state == TROUPE__LINK_LOST || pair.b.state == TROUPE__LINK_LOST;
    assert_int_equal(pair.a.state == TROUPE__LINK_UP, !seen);
    assert_int_equal(pair.b.state == TROUPE__LINK_UP, !seen);
    if (seen) {
        assert_true(strstr(pair.a.reason, "put back") || strstr(pair.b.reason, "put back"));
        send(&pair.a, 1);
        assert_int_equal(troupe__link_next(&pair.a), 0);
    }
    return seen;
}

static void a_node_that_lost_its_memory_is_found(void **state)
{
    (void)state;
    struct troupe__link_row a = {.sent = 9, .left = 9, .trimmed = 5}, b = {.accepted = 7}, b_then = b;
    assert_false(loss_is_seen(9, a, b));
    b_then.accepted = 5;
    assert_false(loss_is_seen(9, a, b_then)); /* Older, and nothing is missing. */
    b_then.accepted = 4;
    assert_true(loss_is_seen(9, a, b_then)); /* The receiver is older: 5 is gone. */
    b_then.accepted = 10;
    assert_true(loss_is_seen(9, a, b_then)); /* The sender is older. */
    b.peer_incarnation = UINT64_C(20) << 32;
    assert_true(loss_is_seen(9, a, b)); /* Numbers agree, and the peer knows a later start. */
    b.peer_incarnation = UINT64_C(9) << 32 | 1234;
    assert_true(loss_is_seen(9, a, b)); /* It knows another start of the same count. */
}

/* A rolled-back sender makes another message under a number that the peer has, starts again before a hello comes
 * through, and is found all the same: what it made since has not left. */
static void what_never_left_does_not_hide_what_was_lost(void **state)
{
    (void)state;
    struct pair pair = {0};
    init(&pair.a, 3, (struct troupe__link_row){.sent = 5, .left = 5, .trimmed = 5});
    init(&pair.b, 1, (struct troupe__link_row){.accepted = 6, .peer_incarnation = UINT64_C(2) << 32 | 7});
    send(&pair.a, 1);
    assert_int_equal(pair.a.durable.sent, 6);
    init(&pair.a, 4, pair.a.durable);
    send(&pair.a, 1);
    answer(&pair);
    assert_int_equal(pair.a.state, TROUPE__LINK_LOST);
    assert_int_equal(pair.b.state, TROUPE__LINK_LOST);
}

/* The rolled-back sender's first hello does not know us: it is found all the same, before it can be up. */
static void a_loss_is_seen_in_a_hello_that_does_not_know_us(void **state)
{
    (void)state;
    struct pair pair = {0};
    init(&pair.a, 3, (struct troupe__link_row){.sent = 5, .left = 5, .trimmed = 5});
    init(&pair.b, 9, (struct troupe__link_row){.accepted = 6, .peer_incarnation = UINT64_C(2) << 32 | 7});
    struct troupe__frame hello = filled(&pair.a, TROUPE__FRAME_HELLO);
    assert_int_equal(hello.peer_incarnation, 0);
    receive(&pair.b, &pair.a, hello);
    assert_int_equal(pair.b.state, TROUPE__LINK_LOST);
}

/* Once the link is up an epoch must say that what waits may leave; then it does. */
static void what_waited_for_the_link_leaves_after_one_more_epoch(void **state)
{
    (void)state;
    struct pair pair = {0};
    init(&pair.a, 1, (struct troupe__link_row){0});
    init(&pair.b, 1, (struct troupe__link_row){0});
    send(&pair.a, 2);
    assert_false(troupe__link_waits_to_leave(&pair.a));
    answer(&pair);
    assert_true(troupe__link_waits_to_leave(&pair.a));
    assert_int_equal(troupe__link_next(&pair.a), 0);
    commit(&pair.a);
    assert_false(troupe__link_waits_to_leave(&pair.a));
    assert_int_equal(troupe__link_next(&pair.a), 1);
}

/* How long the other side has been silent shows in what it has not acknowledged, however often that is sent again. */
static void the_oldest_message_keeps_its_age_until_it_is_acknowledged(void **state)
{
    (void)state;
    struct pair pair = new_pair();
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 0);
    troupe__link_tick(&pair.a, 10);
    send(&pair.a, 4);
    data(&pair.a, 1, 2);
    troupe__link_tick(&pair.a, 20);
    data(&pair.a, 3, 2);
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 10);
    troupe__link_tick(&pair.a, 500); /* No answer: it is sent again. */
    assert_int_equal(pair.a.resends, 4);
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 10);
    struct troupe__frame first = data(&pair.a, 1, 2);
    data(&pair.a, 3, 2);
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 10);
    receive(&pair.b, &pair.a, first);
    commit(&pair.b);
    receive(&pair.a, &pair.b, filled(&pair.b, TROUPE__FRAME_ACKNOWLEDGEMENT));
    assert_int_equal(pair.a.acknowledged, 2);
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 500);
    receive(&pair.b, &pair.a, data(&pair.a, 3, 2));
    commit(&pair.b);
    receive(&pair.a, &pair.b, filled(&pair.b, TROUPE__FRAME_ACKNOWLEDGEMENT));
    assert_int_equal(troupe__link_oldest_ns(&pair.a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_next_number_is_taken_in),
        cmocka_unit_test(a_hello_whose_incarnation_is_noted_counts_for_the_colour),
        cmocka_unit_test(a_request_sends_again_from_there),
        cmocka_unit_test(nothing_is_transmitted_or_acknowledged_before_it_is_durable),
        cmocka_unit_test(messages_acknowledge_what_came_the_other_way),
        cmocka_unit_test(what_is_acknowledged_is_trimmed_by_the_next_epoch),
        cmocka_unit_test(no_more_is_in_flight_than_the_window_and_the_credit),
        cmocka_unit_test(silence_makes_it_send_again_ever_more_slowly),
        cmocka_unit_test(a_new_start_of_the_peer_is_greeted_and_sent_what_it_lacks),
        cmocka_unit_test(a_node_that_lost_its_memory_is_found),
        cmocka_unit_test(what_never_left_does_not_hide_what_was_lost),
        cmocka_unit_test(a_loss_is_seen_in_a_hello_that_does_not_know_us),
        cmocka_unit_test(what_waited_for_the_link_leaves_after_one_more_epoch),
        cmocka_unit_test(the_oldest_message_keeps_its_age_until_it_is_acknowledged),
    };
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
