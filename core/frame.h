/* frame.h - what nodes send each other, to the byte.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A header of 48 bytes, all integers big-endian:
 *
 *      0  version, 1             16  generation (8)
 *      1  kind                   24  incarnation of the sender (8)
 *      2  sender (2)             32  colour of the sender's last durable epoch (8)
 *      4  receiver (2)           40  checksum (8): XXH3 of bytes 0 to 39, seeded with the XXH3 of the body
 *      6  hash of the slots (2)  48  body, by kind
 *      8  cluster (8)
 *
 *   data             the two numbers of an acknowledgement, first number (8), count (4), then so many messages: varint
 *                    size, row form of message.h
 *   acknowledgement  number up to which all is durable at the receiver (8), bytes it takes beyond (8)
 *   credit           the same, sent because the bytes have changed
 *   request          number up to which the receiver has all, durable or not: send what follows again (8)
 *   hello            the receiver's incarnation as far as known (8), what may have left before this incarnation (8)
 *                    and now (8), trimmed (8), accepted (8), flags (8)
 *
 * Every frame is whole or refused. Another version has another first byte and may change all that follows. */
#ifndef TROUPE_CORE_FRAME_H
#define TROUPE_CORE_FRAME_H

#include "core/buffer.h"
#include "core/troupe.h"

enum {
    TROUPE__FRAME_VERSION = 2,
    TROUPE__FRAME_HEADER_SIZE = 48,
    TROUPE__FRAME_DATA_SIZE = 65536, /* a data frame takes no further message beyond this */
    TROUPE__FRAME_SIZE_MAX = TROUPE_BODY_MAX + 2 * TROUPE__FRAME_DATA_SIZE,
};

enum troupe__frame_kind {
    TROUPE__FRAME_DATA = 1,
    TROUPE__FRAME_ACKNOWLEDGEMENT,
    TROUPE__FRAME_REQUEST,
    TROUPE__FRAME_HELLO,
    TROUPE__FRAME_CREDIT,
};

enum troupe__hello_flag {
    TROUPE__HELLO_ASKS = 1, /* the sender waits for a hello */
    TROUPE__HELLO_LOST = 2, /* the sender keeps this link down: see link.h */
};

struct troupe__frame {
    enum troupe__frame_kind kind;
    uint16_t sender, receiver;
    uint16_t map; /* the lower bits of the hash of the sender's slots */
    uint64_t cluster, generation, incarnation, colour;
    uint64_t first;                                              /* data */
    uint32_t count;                                              /* data */
    struct troupe_bytes messages;                                /* data: see troupe__frame_message */
    uint64_t accepted;                                           /* all */
    uint64_t credit;                                             /* acknowledgement, credit, data */
    uint64_t peer_incarnation, start_left, left, trimmed, flags; /* hello */
};

/* Write a frame of any kind but data into `buffer`, replacing what it held. */
void troupe__frame_encode(const struct troupe__frame *frame, struct troupe__buffer *buffer);

/* A data frame: begin, add messages in the order of their numbers, as they stand in the frame, end with how many. */
void troupe__frame_begin(const struct troupe__frame *frame, struct troupe__buffer *buffer);
void troupe__frame_add(struct troupe__buffer *buffer, struct troupe_bytes messages);
void troupe__frame_end(struct troupe__buffer *buffer, uint32_t count);

/* Write the checksum of a frame of `size` bytes, at least TROUPE__FRAME_HEADER_SIZE, into it. */
void troupe__frame_put_checksum(unsigned char *bytes, size_t size);

/* Read a frame; what `ret` points to lies in `bytes`. Errors: TROUPE_EVERSION (another version), TROUPE_ETOOBIG (over
 * TROUPE__FRAME_SIZE_MAX), TROUPE_ECORRUPT (all else). */
enum troupe_error troupe__frame_decode(struct troupe_bytes bytes, struct troupe__frame *ret);

/* The next message of a decoded data frame; `cursor` starts at frame->messages. Returns false at the end. */
bool troupe__frame_message(struct troupe__cursor *cursor, struct troupe_bytes *ret);

#endif
