/* pace.c - when and on which thread a node's next epoch is committed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/pace.h"

void troupe__pace_took(struct troupe__pace *pace, uint64_t commit_ns)
{
    uint64_t faded_ns = pace->commit_ns - pace->commit_ns / 8;
    pace->commit_ns = commit_ns > faded_ns ? commit_ns : faded_ns;
}

void troupe__pace_begin(struct troupe__pace *pace, uint64_t cpu_ns)
{
    pace->began_ns = cpu_ns;
}

bool troupe__pace_commits_here(const struct troupe__pace *pace, uint64_t cpu_ns)
{
    return pace->commit_ns <= TROUPE__PACE_COMMIT_NS && cpu_ns - pace->began_ns <= TROUPE__PACE_WORK_NS;
}

bool troupe__pace_yields(struct troupe__pace *pace)
{
    if (pace->pause_left > 0) {
        pace->pause_left--;
        return false;
    }
    return true;
}

void troupe__pace_yielded(struct troupe__pace *pace, uint64_t yield_ns)
{
    if (yield_ns <= TROUPE__PACE_YIELD_NS) {
        pace->pause_last /= 2;
        return;
    }
    uint32_t pause = pace->pause_last * 2;
    pause = pause < TROUPE__PACE_PAUSE_MIN ? TROUPE__PACE_PAUSE_MIN : pause;
    pace->pause_last = pace->pause_left = pause < TROUPE__PACE_PAUSE_MAX ? pause : TROUPE__PACE_PAUSE_MAX;
}
