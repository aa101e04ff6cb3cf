/* sim_shrink.h - the smallest case with which a seed of `troupe sim` still fails.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_SIM_SHRINK_H
#define TROUPE_RUNTIME_CLI_SIM_SHRINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a run is made of, besides its seed. */
struct troupe__sim_case {
    uint16_t nodes;
    unsigned faults; /* bits, as --faults */
    bool *kept;      /* `count` lines of input: which of them come */
    size_t count;
};

enum { TROUPE__SIM_FAILURE_SIZE = 512 };

/* Runs a case. Returns whether it fails, and how. */
typedef bool (*troupe__sim_case_fn)(void *context, const struct troupe__sim_case *which,
                                    char failure[static TROUPE__SIM_FAILURE_SIZE]);

/* As `fails`, in a process of its own: one that crashes has failed. */
bool troupe__sim_fails_apart(troupe__sim_case_fn fails, void *context, const struct troupe__sim_case *which,
                             char failure[static TROUPE__SIM_FAILURE_SIZE]);

/* Take from `smallest`, which fails with `failure`, whatever can be taken so that it still fails like that, numbers
 * aside: nodes, faults, lines. In the end nothing that is left can be left out alone. Each case runs apart. Returns how
 * many ran. */
size_t troupe__sim_shrink(struct troupe__sim_case *smallest, const char *failure, troupe__sim_case_fn fails,
                          void *context);

#endif
