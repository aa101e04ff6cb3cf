/* pace.h - on which thread a node's next epoch is committed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The committer's thread lets the loop go on while the disk syncs. When the loop would only sleep meanwhile, that gains
 * nothing and costs two changes of the thread, and one more for each frame that comes before the commit is done: then
 * the loop commits by itself, and finds all that has come in one turn after it. It must not when its own work is what
 * takes the time, since that could have been done meanwhile, nor while the disk is slow, since all else that the loop
 * does would wait for it. Pure: times are told. */
#ifndef TROUPE_RUNTIME_PACE_H
#define TROUPE_RUNTIME_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TROUPE__PACE_WORK_NS = 500000,    /* of the loop for an epoch: beyond it the committer's thread commits */
    TROUPE__PACE_COMMIT_NS = 2000000, /* that one of the last commits took: likewise */
};

struct troupe__pace {   /* {0} at first */
    uint64_t commit_ns; /* the longest of the last commits; it fades by an eighth with each */
    uint64_t began_ns;  /* processor time of the loop's thread when the open epoch began */
};

/* A commit took so long, on whichever thread. */
void troupe__pace_took(struct troupe__pace *pace, uint64_t commit_ns);

/* The open epoch begins; `cpu_ns` is the processor time that the loop's thread has had. */
void troupe__pace_begin(struct troupe__pace *pace, uint64_t cpu_ns);

/* Whether the loop's thread should commit the open epoch itself, nothing being left to do before that is durable. */
bool troupe__pace_commits_here(const struct troupe__pace *pace, uint64_t cpu_ns);

#endif
