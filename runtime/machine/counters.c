/* counters.c - the META row "counters".
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/counters.h"

void troupe__counters_encode(const struct troupe__counters *counters, struct troupe__buffer *buffer)
{
    troupe__buffer_put_varint(buffer, counters->sequence);
    troupe__buffer_put_varint(buffer, counters->timer);
    troupe__buffer_put_varint(buffer, counters->egress);
    troupe__buffer_put_varint(buffer, counters->egress_released);
    troupe__buffer_put_varint(buffer, counters->now_ms);
    troupe__buffer_put_varint(buffer, counters->waiting);
}

bool troupe__counters_decode(struct troupe_bytes value, struct troupe__counters *ret)
{
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__counters counters;
    counters.sequence = troupe__cursor_varint(&cursor);
    counters.timer = troupe__cursor_varint(&cursor);
    counters.egress = troupe__cursor_varint(&cursor);
    counters.egress_released = troupe__cursor_varint(&cursor);
    counters.now_ms = troupe__cursor_varint(&cursor);
    counters.waiting = troupe__cursor_varint(&cursor);
    if (cursor.failed || cursor.at != cursor.end) {
        return false;
    }
    *ret = counters;
    return true;
}
