/* wait.c - the command `troupe wait`: returns when a node or a troupe that runs has come to rest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/wait.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/options.h"
#include "runtime/cli/quiet.h"

struct wait {
    struct troupe__reach_options reach; /* first: see reach.h */
    struct troupe__quiet_options quiet;
    bool idle;
};

static const char *set_idle(void *wait, const char *value)
{
    (void)value;
    ((struct wait *)wait)->idle = true;
    return NULL;
}

static const char *set_timers(void *wait, const char *value)
{
    (void)value;
    ((struct wait *)wait)->quiet.timers = true;
    return NULL;
}

static const char *set_timeout(void *wait, const char *value)
{
    char *end;
    double seconds = strtod(value, &end);
    bool good = *value && *end == '\0' && seconds >= 0.001 && seconds <= 1e9;
    ((struct wait *)wait)->quiet.timeout_ms = good ? (int64_t)(seconds * 1000 + 0.5) : 0;
    return good ? NULL : "seconds, 0.001 or more";
}

static const struct troupe__option options[] = {
    TROUPE__REACH_OPTIONS,
    {"idle", NULL, set_idle, "until nothing waits in any mailbox and nothing is on its way"},
    {"timers", NULL, set_timers, "nor for its time: delayed messages too"},
    {"timeout", "SECONDS", set_timeout, "give up after so long (default: never)"},
    {0},
};

int troupe__wait(int argc, char **argv)
{
    struct wait wait = {.idle = false};
    const struct troupe__command command = {
        .name = "wait",
        .usage =
            "usage: troupe wait --idle [--timers] [options]\n\n"
            "Returns when the whole troupe, or the node, is at rest: no message waits for its actor or for another\n"
            "attempt, no job is under way, nothing is on its way between nodes, and the inputs are read as far as\n"
            "they go; all at one moment, and durable. Whatever comes from outside later may change it again.\n",
        .after = "Example:\n  troupe wait --idle --timeout 60 && troupe snapshot create\n\n"
                 "Exit codes: 0 at rest, 1 not within --timeout (what was not is on stderr), or failed, 2 wrong "
                 "arguments.\n",
        .options = options,
        .target = &wait};
    struct troupe__reach reach;
    char reason[512];
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands < argc) {
        return troupe__wrong("wait", "one argument too many:", argv[operands]);
    }
    if (!wait.idle) {
        return troupe__wrong("wait", "say what for:", "--idle");
    }
    code = troupe__reach_begin(&reach, &wait.reach, "wait");
    if (code >= 0) {
        return code;
    }
    struct troupe__progress progress = {.command = "wait"};
    wait.quiet.progress = &progress;
    enum troupe_error result = troupe__quiet_wait(&reach, &wait.quiet, reason, sizeof reason);
    troupe__progress_end(&progress);
    troupe__reach_close(&reach);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("wait", reason, result);
}
