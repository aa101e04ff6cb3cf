/* frame.c - what nodes send each other, to the byte.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/frame.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CHECKSUM_AT = 40, COUNT_AT = TROUPE__FRAME_HEADER_SIZE + 24, DATA_HEAD_SIZE = 28, NUMBERS_MAX = 6 };

static uint64_t checksum_of(const unsigned char *bytes, size_t size)
{
    uint64_t body = troupe__hash(bytes + TROUPE__FRAME_HEADER_SIZE, size - TROUPE__FRAME_HEADER_SIZE);
    return XXH3_64bits_withSeed(bytes, CHECKSUM_AT, body);
}

static void put_header(const struct troupe__frame *frame, struct troupe__buffer *buffer)
{
    unsigned char header[TROUPE__FRAME_HEADER_SIZE] = {TROUPE__FRAME_VERSION, (unsigned char)frame->kind};
    troupe__put_be16(header + 2, frame->sender);
    troupe__put_be16(header + 4, frame->receiver);
    troupe__put_be16(header + 6, frame->map);
    troupe__put_be64(header + 8, frame->cluster);
    troupe__put_be64(header + 16, frame->generation);
    troupe__put_be64(header + 24, frame->incarnation);
    troupe__put_be64(header + 32, frame->colour);
    buffer->size = 0;
    troupe__buffer_put(buffer, header, sizeof header);
}

static void put_number(struct troupe__buffer *buffer, uint64_t number)
{
    unsigned char bytes[8];
    troupe__put_be64(bytes, number);
    troupe__buffer_put(buffer, bytes, sizeof bytes);
}

void troupe__frame_put_checksum(unsigned char *bytes, size_t size)
{
    troupe__put_be64(bytes + CHECKSUM_AT, checksum_of(bytes, size));
}

/* The numbers of a body without messages, in their order. Returns how many there are. */
static size_t list_numbers(struct troupe__frame *frame, uint64_t *numbers[static NUMBERS_MAX])
{
    size_t count = 0;
    switch (frame->kind) {
    case TROUPE__FRAME_DATA:
        break;
    case TROUPE__FRAME_ACKNOWLEDGEMENT:
    case TROUPE__FRAME_CREDIT:
        numbers[count++] = &frame->accepted;
        numbers[count++] = &frame->credit;
        break;
    case TROUPE__FRAME_REQUEST:
        numbers[count++] = &frame->accepted;
        break;
    case TROUPE__FRAME_HELLO:
        numbers[count++] = &frame->peer_incarnation;
        numbers[count++] = &frame->start_left;
        numbers[count++] = &frame->left;
        numbers[count++] = &frame->trimmed;
        numbers[count++] = &frame->accepted;
        numbers[count++] = &frame->flags;
        break;
    }
    return count;
}

void troupe__frame_encode(const struct troupe__frame *frame, struct troupe__buffer *buffer)
{
    struct troupe__frame copy = *frame;
    uint64_t *numbers[NUMBERS_MAX];
    size_t count = list_numbers(&copy, numbers);
    assert(count > 0);
    put_header(frame, buffer);
    for (size_t i = 0; i < count; i++) {
        put_number(buffer, *numbers[i]);
    }
    if (!buffer->failed) {
        troupe__frame_put_checksum(buffer->data, buffer->size);
    }
}

void troupe__frame_begin(const struct troupe__frame *frame, struct troupe__buffer *buffer)
{
    assert(frame->kind == TROUPE__FRAME_DATA);
    put_header(frame, buffer);
    put_number(buffer, frame->accepted);
    put_number(buffer, frame->credit);
    put_number(buffer, frame->first);
    troupe__buffer_put(buffer, "\0\0\0\0", 4);
}

void troupe__frame_add(struct troupe__buffer *buffer, struct troupe_bytes messages)
{
    troupe__buffer_put(buffer, messages.data, messages.size);
}

void troupe__frame_end(struct troupe__buffer *buffer, uint32_t count)
{
    if (buffer->failed) {
        return;
    }
    assert(count > 0 && buffer->size <= TROUPE__FRAME_SIZE_MAX);
    troupe__put_be16(buffer->data + COUNT_AT, (uint16_t)(count >> 16));
    troupe__put_be16(buffer->data + COUNT_AT + 2, (uint16_t)count);
    troupe__frame_put_checksum(buffer->data, buffer->size);
}

bool troupe__frame_message(struct troupe__cursor *cursor, struct troupe_bytes *ret)
{
    if (cursor->failed || cursor->at == cursor->end) {
        return false;
    }
    ret->data = troupe__cursor_string(cursor, &ret->size);
    return !cursor->failed;
}

static enum troupe_error decode_data(struct troupe__frame *frame, const unsigned char *body, size_t size)
{
    if (size < DATA_HEAD_SIZE) {
        return TROUPE_ECORRUPT;
    }
    frame->accepted = troupe__get_be64(body);
    frame->credit = troupe__get_be64(body + 8);
    frame->first = troupe__get_be64(body + 16);
    for (int i = 0; i < 4; i++) {
        frame->count = frame->count << 8 | body[24 + i];
    }
    frame->messages = (struct troupe_bytes){body + DATA_HEAD_SIZE, size - DATA_HEAD_SIZE};
    struct troupe__cursor cursor = {body + DATA_HEAD_SIZE, body + size, false};
    struct troupe_bytes message;
    uint32_t count = 0;
    while (troupe__frame_message(&cursor, &message)) {
        count++;
    }
    bool numbers_fit = frame->first > 0 && frame->first <= UINT64_MAX - frame->count;
    return cursor.failed || count != frame->count || count == 0 || !numbers_fit ? TROUPE_ECORRUPT : TROUPE_OK;
}

enum troupe_error troupe__frame_decode(struct troupe_bytes bytes, struct troupe__frame *ret)
{
    const unsigned char *at = bytes.data;
    if (bytes.size > TROUPE__FRAME_SIZE_MAX) {
        return TROUPE_ETOOBIG;
    }
    if (bytes.size > 0 && at[0] != TROUPE__FRAME_VERSION) {
        return TROUPE_EVERSION;
    }
    if (bytes.size < TROUPE__FRAME_HEADER_SIZE || at[1] < TROUPE__FRAME_DATA || at[1] > TROUPE__FRAME_CREDIT ||
        troupe__get_be64(at + CHECKSUM_AT) != checksum_of(at, bytes.size)) {
        return TROUPE_ECORRUPT;
    }
    struct troupe__frame frame = {
        .kind = (enum troupe__frame_kind)at[1],
        .sender = (uint16_t)(at[2] << 8 | at[3]),
        .receiver = (uint16_t)(at[4] << 8 | at[5]),
        .map = (uint16_t)(at[6] << 8 | at[7]),
        .cluster = troupe__get_be64(at + 8),
        .generation = troupe__get_be64(at + 16),
        .incarnation = troupe__get_be64(at + 24),
        .colour = troupe__get_be64(at + 32),
    };
    const unsigned char *body = at + TROUPE__FRAME_HEADER_SIZE;
    size_t size = bytes.size - TROUPE__FRAME_HEADER_SIZE;
    uint64_t *numbers[NUMBERS_MAX];
    size_t count = list_numbers(&frame, numbers);
    if (count == 0) {
        enum troupe_error result = decode_data(&frame, body, size);
        if (result != TROUPE_OK) {
            return result;
        }
    } else if (size != count * 8) {
        return TROUPE_ECORRUPT;
    }
    for (size_t i = 0; i < count; i++) {
        *numbers[i] = troupe__get_be64(body + i * 8);
    }
    *ret = frame;
    return TROUPE_OK;
}
