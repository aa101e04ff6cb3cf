/* committer.h - the thread that makes epochs durable and lets their egress records out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One epoch at a time; the loop may commit one by itself instead (runtime/node/pace.h). All functions are called on the
 * loop's thread; `wake` is called on the committer's, to make the loop look at troupe__committer_poll. The output, if
 * not NULL, is the committer's from start to stop. */
#ifndef TROUPE_RUNTIME_NODE_COMMITTER_H
#define TROUPE_RUNTIME_NODE_COMMITTER_H

#include "runtime/machine/machine.h"
#include "transport/output.h"

struct troupe__committer;

/* What has become true since. */
struct troupe__committed {
    bool busy;                /* an epoch is being committed */
    uint64_t epoch;           /* the last durable one */
    uint64_t synced_number;   /* egress records up to this are out for good, ... */
    uint64_t synced_offset;   /* ... with the output at this length */
    uint64_t took_ns;         /* how long the last commit took */
    bool unsynced;            /* records were written that are not synced yet */
    enum troupe_error result; /* not TROUPE_OK: it has stopped; see `error` */
    char error[512];
};

enum troupe_error troupe__committer_start(struct troupe__store *store, struct troupe__output *output,
                                          void (*wake)(void *context), void *wake_context,
                                          struct troupe__committer **ret);

/* Hand over a sealed epoch; it and its buffers are the committer's until poll says not busy. Must not be busy. */
void troupe__committer_commit(struct troupe__committer *committer, struct troupe__epoch *epoch);

/* Commit a sealed epoch on the thread that calls: it is durable when this returns, or has failed, as poll says. Must
 * not be busy. An epoch with records for the output is not for this. */
void troupe__committer_commit_here(struct troupe__committer *committer, struct troupe__epoch *epoch);

/* Sync the output now, not when its time has come. */
void troupe__committer_sync(struct troupe__committer *committer);

/* Block until it has nothing in hand, or has failed. */
void troupe__committer_wait(struct troupe__committer *committer);

void troupe__committer_poll(struct troupe__committer *committer, struct troupe__committed *ret);

/* Finish what is under way, end the thread, free. */
void troupe__committer_stop(struct troupe__committer *committer);

#endif
