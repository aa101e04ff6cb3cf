/* counters.h - the META row "counters": what a node has counted up to the end of an epoch.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_MACHINE_COUNTERS_H
#define TROUPE_RUNTIME_MACHINE_COUNTERS_H

#include <string.h>

#include "core/buffer.h"
#include "core/troupe.h"

#define TROUPE__COUNTERS_ROW "counters"

struct troupe__counters {
    uint64_t sequence;        /* of the last message */
    uint64_t timer;           /* the last id of a timer, an ask or a job */
    uint64_t egress;          /* the last record of any egress */
    uint64_t egress_released; /* the last that is known to be out */
    uint64_t now_ms;          /* the node's clock */
    uint64_t waiting;         /* rows of MAIL */
};

static inline bool troupe__counters_is(struct troupe_bytes key)
{
    return key.size == sizeof TROUPE__COUNTERS_ROW - 1 && memcmp(key.data, TROUPE__COUNTERS_ROW, key.size) == 0;
}

/* The row's value. */
void troupe__counters_encode(const struct troupe__counters *counters, struct troupe__buffer *buffer);

/* Returns false when `value` is malformed: `*ret` stays as it was. */
bool troupe__counters_decode(struct troupe_bytes value, struct troupe__counters *ret);

#endif
