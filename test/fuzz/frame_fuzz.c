/* frame_fuzz.c - any bytes are refused or read within their bounds; what is read can be written again.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The checksum would keep nearly every input out: it is put right first. */
#include <assert.h>

#include "core/frame.h"
#include "core/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_messages(const struct troupe__frame *frame)
{
    struct troupe__cursor cursor = {.at = frame->messages.data,
                                    .end = (const unsigned char *)frame->messages.data + frame->messages.size};
    struct troupe_bytes message;
    uint32_t count = 0;
    uint64_t sum = 0;
    while (troupe__frame_message(&cursor, &message)) {
        sum += troupe__hash(message.data, message.size);
        count++;
    }
    assert(count == frame->count && (sum != 0 || count == 0));
}

/* A link takes whatever a peer that follows no rules may say. */
static void feed_link(const struct troupe__frame *frame)
{
    static const struct troupe__link_options options = {1000, 100, 400};
    struct troupe__link link;
    struct troupe__link_update update;
    struct troupe__link_row row = {
        .sent = 20, .left = 20, .trimmed = 10, .accepted = 5, .peer_incarnation = frame->incarnation};
    troupe__link_init(&link, &options, UINT64_C(1) << 32, &row);
    if (frame->kind != TROUPE__FRAME_HELLO) {
        struct troupe__frame hello = {.kind = TROUPE__FRAME_HELLO,
                                      .incarnation = frame->incarnation,
                                      .peer_incarnation = link.incarnation,
                                      .left = 5,
                                      .trimmed = 5,
                                      .accepted = 12};
        troupe__link_receive(&link, &hello, 1, &update);
    }
    troupe__link_receive(&link, frame, 2, &update);
    assert(update.skip + update.accept_count <= frame->count);
    troupe__link_tick(&link, 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct troupe__frame frame;
    unsigned char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    if (size >= TROUPE__FRAME_HEADER_SIZE) {
        troupe__frame_put_checksum(copy, size);
    }
    if (troupe__frame_decode((struct troupe_bytes){copy, size}, &frame) == TROUPE_OK) {
        if (frame.kind == TROUPE__FRAME_DATA) {
            read_messages(&frame);
        } else {
            struct troupe__buffer again = {0};
            troupe__frame_encode(&frame, &again);
            assert(again.size == size && memcmp(again.data, copy, size) == 0);
            troupe__buffer_free(&again);
        }
        feed_link(&frame);
    }
    free(copy);
    return 0;
}
