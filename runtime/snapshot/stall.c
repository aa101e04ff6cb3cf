/* stall.c - the longest time in which a loop had something to deliver and delivered nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/stall.h"

void troupe__stall_turn_begins(struct troupe__stall *stall, uint64_t now_ns)
{
    if (!stall->waits) {
        stall->since_ns = now_ns;
    }
}

void troupe__stall_turn_ends(struct troupe__stall *stall, uint64_t now_ns, size_t delivered, bool waits)
{
    if (delivered > 0 || (stall->waits && now_ns > stall->since_ns)) {
        uint64_t gap_ns = now_ns - stall->since_ns;
        stall->longest_ns = gap_ns > stall->longest_ns ? gap_ns : stall->longest_ns;
    }
    if (delivered > 0 || !waits) {
        stall->since_ns = now_ns;
    }
    stall->waits = waits;
}
