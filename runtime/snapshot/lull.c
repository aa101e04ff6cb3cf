/* lull.c - when a thread that works beside a loop sleeps for a moment.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/lull.h"

bool troupe__lull_due(struct troupe__lull *lull, uint64_t now_ns, uint64_t cpu_ns)
{
    uint64_t wall_ns = now_ns - lull->looked_ns, worked_ns = cpu_ns - lull->looked_cpu_ns;
    bool first = lull->looked_ns == 0;
    lull->looked_ns = now_ns;
    lull->looked_cpu_ns = cpu_ns;
    if (first) {
        return false;
    }
    lull->worked_ns += worked_ns;
    lull->wall_ns += wall_ns;
    lull->cpu_ns += worked_ns;
    if (lull->wall_ns > TROUPE__LULL_WINDOW_NS) {
        lull->wall_ns /= 2;
        lull->cpu_ns /= 2;
    }
    if (lull->worked_ns < TROUPE__LULL_WORK_NS || lull->cpu_ns * TROUPE__LULL_SHARE < lull->wall_ns) {
        return false;
    }
    lull->worked_ns = 0;
    return true;
}
