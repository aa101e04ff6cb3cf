/* pace.c - on which thread a node's next epoch is committed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pace.h"

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
