/* frame_test.c - a frame comes back as it was sent, or is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/frame.h"

static const struct troupe__frame head = {
    .kind = TROUPE__FRAME_DATA,
    .sender = 3,
    .receiver = 0x102,
    .cluster = UINT64_C(0x1122334455667788),
    .map = 0x1234,
    .generation = 9,
    .incarnation = UINT64_C(5) << 32 | 77,
    .colour = 1000,
    .first = 42,
    .accepted = 21,
    .credit = 22,
};

static void make_data(struct troupe__buffer *buffer, uint32_t count)
{
    troupe__frame_begin(&head, buffer);
    for (uint32_t i = 0; i < count; i++) {
        char text[300];
        memset(text, 'a' + (int)(i % 26), sizeof text);
        unsigned char message[sizeof text + 2] = {0};
        struct troupe__buffer one = {message, 0, sizeof message, false};
        troupe__buffer_put_string(&one, text, i % sizeof text);
        troupe__frame_add(buffer, (struct troupe_bytes){message, one.size});
    }
    troupe__frame_end(buffer, count);
    assert_false(buffer->failed);
}

static struct troupe_bytes bytes_of(const struct troupe__buffer *buffer)
{
    return (struct troupe_bytes){buffer->data, buffer->size};
}

static void check_head(const struct troupe__frame *frame)
{
    assert_int_equal(frame->sender, head.sender);
    assert_int_equal(frame->receiver, head.receiver);
    assert_int_equal(frame->map, head.map);
    assert_int_equal(frame->cluster, head.cluster);
    assert_int_equal(frame->generation, head.generation);
    assert_int_equal(frame->incarnation, head.incarnation);
    assert_int_equal(frame->colour, head.colour);
}

static void every_kind_comes_back_as_it_was_sent(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    for (int kind = TROUPE__FRAME_ACKNOWLEDGEMENT; kind <= TROUPE__FRAME_CREDIT; kind++) {
        struct troupe__frame sent = head, got;
        sent.kind = (enum troupe__frame_kind)kind;
        sent.accepted = 11, sent.credit = 12, sent.peer_incarnation = 13, sent.left = 14, sent.trimmed = 15;
        sent.start_left = 16;
        sent.flags = TROUPE__HELLO_LOST;
        troupe__frame_encode(&sent, &buffer);
        assert_int_equal(troupe__frame_decode(bytes_of(&buffer), &got), TROUPE_OK);
        check_head(&got);
        assert_int_equal(got.kind, kind);
        assert_int_equal(got.accepted, 11);
        bool credits = kind == TROUPE__FRAME_ACKNOWLEDGEMENT || kind == TROUPE__FRAME_CREDIT;
        bool hello = kind == TROUPE__FRAME_HELLO;
        assert_int_equal(got.credit, credits ? 12 : 0); /* but data, below */
        assert_int_equal(got.peer_incarnation, hello ? 13 : 0);
        assert_int_equal(got.left, hello ? 14 : 0);
        assert_int_equal(got.start_left, hello ? 16 : 0);
        assert_int_equal(got.trimmed, hello ? 15 : 0);
        assert_int_equal(got.flags, hello ? TROUPE__HELLO_LOST : 0);
    }
    troupe__buffer_free(&buffer);
}

static void messages_come_back_in_order(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    struct troupe__frame got;
    make_data(&buffer, 1000);
    assert_int_equal(troupe__frame_decode(bytes_of(&buffer), &got), TROUPE_OK);
    check_head(&got);
    assert_int_equal(got.first, 42);
    assert_int_equal(got.accepted, 21);
    assert_int_equal(got.credit, 22);
    assert_int_equal(got.count, 1000);
    struct troupe__cursor cursor = {.at = got.messages.data,
                                    .end = (const unsigned char *)got.messages.data + got.messages.size};
    struct troupe_bytes message;
    for (size_t i = 0; i < 1000; i++) {
        assert_true(troupe__frame_message(&cursor, &message));
        assert_int_equal(message.size, i % 300);
        assert_true(message.size == 0 || *(const char *)message.data == 'a' + (char)(i % 26));
    }
    assert_false(troupe__frame_message(&cursor, &message));
    troupe__buffer_free(&buffer);
}

/* Nothing that came through differently from how it was sent is read. */
static void any_changed_bit_or_missing_byte_is_refused(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    struct troupe__frame got;
    make_data(&buffer, 5);
    for (size_t bit = 0; bit < buffer.size * 8; bit++) {
        buffer.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        enum troupe_error result = troupe__frame_decode(bytes_of(&buffer), &got);
        assert_int_equal(result, bit < 8 ? TROUPE_EVERSION : TROUPE_ECORRUPT);
        buffer.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (size_t size = 0; size < buffer.size; size++) {
        struct troupe_bytes less = {buffer.data, size};
        assert_int_equal(troupe__frame_decode(less, &got), TROUPE_ECORRUPT);
    }
    assert_int_equal(troupe__frame_decode(bytes_of(&buffer), &got), TROUPE_OK);
    troupe__buffer_free(&buffer);
}

/* The checksum is right, and the content is not: a sender that does not follow the rules. */
static void a_wrong_count_or_number_is_refused(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    struct troupe__frame got, wrong = head;
    make_data(&buffer, 5);
    troupe__frame_end(&buffer, 6);
    assert_int_equal(troupe__frame_decode(bytes_of(&buffer), &got), TROUPE_ECORRUPT);
    static const uint64_t firsts[] = {0, UINT64_MAX};
    for (size_t i = 0; i < 2; i++) {
        wrong.first = firsts[i];
        troupe__frame_begin(&wrong, &buffer);
        troupe__frame_add(&buffer, (struct troupe_bytes){"\001x", 2});
        troupe__frame_end(&buffer, 1);
        assert_int_equal(troupe__frame_decode(bytes_of(&buffer), &got), TROUPE_ECORRUPT);
    }
    static unsigned char big[TROUPE__FRAME_SIZE_MAX + 1];
    assert_int_equal(troupe__frame_decode((struct troupe_bytes){big, sizeof big}, &got), TROUPE_ETOOBIG);
    troupe__buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back_as_it_was_sent),
        cmocka_unit_test(messages_come_back_in_order),
        cmocka_unit_test(any_changed_bit_or_missing_byte_is_refused),
        cmocka_unit_test(a_wrong_count_or_number_is_refused),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
