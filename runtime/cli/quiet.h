/* quiet.h - when a troupe that runs has come to rest: nothing waits in it, and nothing flies in it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All nodes are asked twice (Mattern, "Algorithms for distributed termination detection", 1987: the four counters). If
 * each says both times that it is idle, and that as much has come over each link as was sent, and that nothing has
 * happened between its two answers, then this was the state of all of them at once: at any moment between the end of
 * the first round and the beginning of the second. What a node says is of one moment, and durable. */
#ifndef TROUPE_RUNTIME_CLI_QUIET_H
#define TROUPE_RUNTIME_CLI_QUIET_H

#include "runtime/cli/progress.h"
#include "runtime/cli/reach.h"

struct troupe__quiet_options {
    bool timers;                       /* nothing may wait for its time either */
    bool inputs_ended;                 /* nor may an input have more later, as a pipe has */
    int64_t timeout_ms;                /* 0: for ever */
    struct troupe__progress *progress; /* shows what is waited for; NULL: nowhere */
};

/* Wait for it. Nodes that are away are waited for. Errors: TROUPE_ETIMEOUT, with what was seen last in `reason`;
 * TROUPE_ENOMEM; those that waiting does not mend, such as a missing key. */
enum troupe_error troupe__quiet_wait(const struct troupe__reach *reach, const struct troupe__quiet_options *options,
                                     char *reason, size_t reason_size);

#endif
