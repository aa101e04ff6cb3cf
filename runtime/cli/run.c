/* run.c - `troupe run`: a node that hosts the actors of a module.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "runtime/cli/config.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/local.h"
#include "runtime/cli/module.h"
#include "runtime/cli/run_parts.h"

static const char usage[] =
    "usage: troupe run [MODULE.so] [options]\n"
    "\n"
    "Runs a node that hosts the actors of a module, until SIGINT or SIGTERM, or until it is idle if asked for.\n"
    "It goes on where the last run ended, however that was. A line of input is\n"
    "  {\"id\":\"optional, makes a repeat harmless\",\"to\":\"bank/account/alice\",\"type\":\"deposit\","
    "\"body\":{\"amount\":5}}\n"
    "A handler that crashes the node costs one message: the node is started again, and the third crash by the same\n"
    "message makes it a dead letter; a job that does fails.\n";

static const char after[] =
    "Examples:\n"
    "  troupe run bank.so --input transfers.jsonl --output out.jsonl --until-idle\n"
    "  troupe run --config shop.yaml --log debug\n"
    "  order-feed | troupe run ./shop.so --data /var/lib/shop --input -   # with ids, so that it may repeat lines\n"
    "\n"
    "Exit codes: 0 done, 1 the node failed (its text is on stderr; what was durable is safe), 2 wrong arguments.\n";

int troupe__run_fail(const char *text, enum troupe_error error)
{
    int code = troupe__failed("run", text, error);
    return error == TROUPE_EINVAL ? TROUPE__EXIT_WRONG : code;
}

/* Whether both are the same file of a disk. */
static bool is_same_file(const char *one, const char *other)
{
    struct stat a, b;
    return stat(one, &a) == 0 && S_ISREG(a.st_mode) && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Each input is read once, and not what comes out. Returns -1 to go on, or the exit code. */
static int check_files(const struct troupe__run *run)
{
    for (size_t i = 0; i < run->input_count; i++) {
        if (is_same_file(run->inputs[i], run->node.output)) {
            return troupe__wrong("run", "the output would go into the file that is read; name another one than",
                                 run->node.output);
        }
        for (size_t j = 0; j < i; j++) {
            if (is_same_file(run->inputs[i], run->inputs[j])) {
                return troupe__wrong(
                    "run", "two nodes would read the same file, and take in each line twice:", run->inputs[i]);
            }
        }
    }
    return -1;
}

/* One node, which has taken its place. Returns the exit code. */
static int run_one(struct troupe__run *run)
{
    if (run->input_count > 1) {
        return troupe__wrong("run", "a node reads one input; the second is", run->inputs[1]);
    }
    run->node.input = run->inputs[0];
    if (troupe__local_is_troupe(run->node.data)) {
        return troupe__wrong("run", "there is a troupe of several nodes: say --nodes, or name another directory than",
                             run->node.data);
    }
    if (run->every_ms > 0 && run->place.cluster) {
        return troupe__wrong("run",
                             "how often the nodes of a cluster file are photographed it says itself, under "
                             "'snapshots'; leave out",
                             "--every");
    }
    int code = troupe__run_take_schedule(run, true);
    if (code >= 0) {
        return code;
    }
    if (run->every_ms > 0 && run->unsupervised) {
        return troupe__wrong("run", "snapshots by the clock are taken beside the node, under its supervisor; leave out",
                             "--no-supervisor");
    }
    if (run->unsupervised) {
        return troupe__run_node(run);
    }
    struct troupe__run_companion companion;
    run->guard = troupe__guard_new();
    if (!run->guard || !troupe__run_companion_init(&companion, run)) {
        return troupe__run_fail("out of memory", TROUPE_ENOMEM);
    }
    const struct troupe__child children[] = {{run->name, run->guard, troupe__run_node, run, run->name != NULL, false},
                                             companion.child};
    return troupe__supervise(children, 1 + companion.is_needed, run->node.slow_ms, troupe__log_line, &run->log);
}

/* A connection is a file: as many as this user may have, not as few as a shell asks for. */
static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int troupe__run(int argc, char **argv)
{
    struct troupe__run run = {
        .node = {.data = "troupe-data", .output = "-", .stop_on_signals = true, .slow_ms = TROUPE__SLOW_MS},
        .log = {.least = TROUPE_INFO},
        .progress = {.command = "run"}};
    const struct troupe__command command = {"run", usage, after, troupe__run_options, &run, troupe__config_read};
    int operands;
    int code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands < argc) {
        run.module_path = argv[operands];
    }
    if (!run.module_path) {
        fprintf(stderr, "troupe run: name a module, such as build/samples/bank.so; see troupe run --help\n");
        return TROUPE__EXIT_WRONG;
    }
    if (operands + 1 < argc) {
        return troupe__wrong("run", "one argument too many:", argv[operands + 1]);
    }
    run.node.module = troupe__module_load("run", run.module_path);
    if (!run.node.module) {
        return TROUPE__EXIT_WRONG;
    }
    if (run.every_ms == 0 && (run.keep > 0 || run.checks)) {
        return troupe__wrong("run", "there are no snapshots by the clock without --every; say how often, or leave out",
                             run.keep > 0 ? "--keep" : "--check");
    }
    run.keep = run.keep > 0 ? run.keep : TROUPE__SNAPSHOTS_KEPT;
    if (run.checks && !run.node.module->check) {
        return troupe__wrong("run", "there is no check, see troupe.h, in the module for", "--check");
    }
    if (troupe__directory_is_snapshot(run.node.data)) {
        return troupe__wrong("run",
                             "a snapshot is no place for a node: see troupe restore, and name another --data than",
                             run.node.data);
    }
    if ((code = check_files(&run)) >= 0) {
        return code;
    }
    allow_files();
    run.node.log = troupe__log_line;
    run.node.log_context = &run.log;
    if (run.nodes > 0) {
        return troupe__run_nodes(&run);
    }
    code = troupe__run_take_place(&run);
    code = code >= 0 ? code : run_one(&run);
    troupe__cluster_fini(&run.cluster);
    return code;
}
