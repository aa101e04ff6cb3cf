/* pace.h - when and on which thread a node's next epoch is committed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The committer's thread lets the loop go on while the disk syncs. When the loop would only sleep meanwhile, that gains
 * nothing and costs two changes of the thread, and one more for each frame that comes before the commit is done: then
 * the loop commits by itself, and finds all that has come in one turn after it. It must not when its own work is what
 * takes the time, since that could have been done meanwhile, nor while the disk is slow, since all else that the loop
 * does would wait for it.
 *
 * Where nodes and ZeroMQ's threads share cores, whoever commits first commits least: others that are about to send only
 * lack the core. So before a busy epoch is sealed they get it (sched_yield), and what they send joins it. On a core
 * that nobody else wants this is nothing. Beside a program that computes it would cost that one's whole time slice:
 * after a yield that took long there is none for a while, twice as many epochs each time.
 *
 * Pure: times are told. */
#ifndef TROUPE_RUNTIME_NODE_PACE_H
#define TROUPE_RUNTIME_NODE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TROUPE__PACE_WORK_NS = 500000,    /* of the loop for an epoch: beyond it the committer's thread commits */
    TROUPE__PACE_COMMIT_NS = 2000000, /* that one of the last commits took: likewise */
    TROUPE__PACE_YIELD_NS = 1000000,  /* that a yield took: beyond it there is none for a while: ... */
    TROUPE__PACE_PAUSE_MIN = 16,      /* ... so many epochs, ... */
    TROUPE__PACE_PAUSE_MAX = 4096,    /* ... at most so many */
};

struct troupe__pace {    /* {0} at first */
    uint64_t commit_ns;  /* the longest of the last commits; it fades by an eighth with each */
    uint64_t began_ns;   /* processor time of the loop's thread when the open epoch began */
    uint32_t pause_left; /* epochs without a yield */
    uint32_t pause_last; /* how many there were after the last that took long, or half that since */
};

/* An epoch that may yield is about to be sealed: whether it should. */
bool troupe__pace_yields(struct troupe__pace *pace);

/* A yield took so long. */
void troupe__pace_yielded(struct troupe__pace *pace, uint64_t yield_ns);

/* A commit took so long, on whichever thread. */
void troupe__pace_took(struct troupe__pace *pace, uint64_t commit_ns);

/* The open epoch begins; `cpu_ns` is the processor time that the loop's thread has had. */
void troupe__pace_begin(struct troupe__pace *pace, uint64_t cpu_ns);

/* Whether the loop's thread should commit the open epoch itself, nothing being left to do before that is durable. */
bool troupe__pace_commits_here(const struct troupe__pace *pace, uint64_t cpu_ns);

#endif
