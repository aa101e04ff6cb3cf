/* main.c - the troupe command: finds the subcommand and runs it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Exit codes of all of them: 0 done, 1 failed (its text on stderr), 2 wrong arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/troupe.h"
#include "runtime/cli/cluster.h"
#include "runtime/cli/look.h"
#include "runtime/cli/new.h"
#include "runtime/cli/options.h"
#include "runtime/cli/restore.h"
#include "runtime/cli/run.h"
#include "runtime/cli/sim.h"
#include "runtime/cli/snapshot.h"
#include "runtime/cli/streams.h"
#include "runtime/cli/talk.h"
#include "runtime/cli/wait.h"

static const struct {
    const char *name; /* first: troupe__nearest reads it */
    int (*main)(int argc, char **argv);
    const char *operands, *help;
} commands[] = {
    {"run", troupe__run, "[MODULE.so]", "run a node that hosts the actors of a module"},
    {"sim", troupe__sim, "MODULE.so", "run a module's actors on a simulated troupe, under faults"},
    {"new", troupe__new, "NAME", "make a project that builds, runs and is tested"},
    {"send", troupe__send_command, "ADDRESS TYPE [BODY]", "send a message into a running node"},
    {"ask", troupe__ask_command, "ADDRESS TYPE [BODY]", "ask an actor, and print its answer"},
    {"tail", troupe__tail_command, "EGRESS", "follow the records of an egress"},
    {"state", troupe__look_state, "ADDRESS", "the values of an actor"},
    {"actors", troupe__look_actors, "", "the actors there are"},
    {"mailbox", troupe__look_mailbox, "ADDRESS", "the messages that wait for an actor"},
    {"timers", troupe__look_timers, "", "the delayed messages"},
    {"jobs", troupe__look_jobs, "", "the jobs whose results have not come back"},
    {"dead", troupe__look_dead, "list|show|retry|drop", "the messages that failed for good"},
    {"stats", troupe__look_stats, "", "figures of a node"},
    {"wait", troupe__wait, "--idle", "return when a node or a troupe is at rest"},
    {"snapshot", troupe__snapshot, "create|list|show|...", "photograph a node, and look at what was taken"},
    {"restore", troupe__restore, "SNAPSHOT", "make the directory of a node or troupe from a snapshot"},
    {"cluster", troupe__cluster, "init|status", "which nodes a troupe has, and how they are"},
    {"keygen", troupe__keygen, "FILE", "make a key pair for a node or a client"},
    {"doctor", troupe__doctor, "", "whether all of a node's directory is intact"},
    {0},
};

static void print_usage(FILE *file)
{
    fputs("usage: troupe COMMAND [arguments]\n\nDurable actors: every message takes effect exactly once, whatever "
          "crashes.\n\n",
          file);
    for (size_t i = 0; commands[i].name; i++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].operands);
        fprintf(file, "  %-28s  %s\n", left, commands[i].help);
    }
    fputs("\n`troupe help COMMAND` or `troupe COMMAND --help` prints its options; `troupe --version` the version.\n"
          "Exit codes: 0 done, 1 failed (see its text), 2 wrong arguments.\n",
          file);
}

/* What is a part of another command. */
static const char *command_with(const char *name)
{
    static const struct {
        const char *part, *command;
    } parts[] = {{"create", "snapshot"}, {"list", "snapshot"}, {"show", "snapshot"},   {"verify", "snapshot"},
                 {"diff", "snapshot"},   {"edit", "snapshot"}, {"export", "snapshot"}, {"delete", "snapshot"},
                 {"cuts", "snapshot"},   {"init", "cluster"},  {"status", "cluster"},  {"check-upgrade", "snapshot"},
                 {"retry", "dead"},      {"drop", "dead"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcmp(parts[i].part, name) == 0) {
            return parts[i].command;
        }
    }
    return NULL;
}

static int run_command(const char *name, int argc, char **argv)
{
    for (size_t i = 0; commands[i].name; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].main(argc, argv);
        }
    }
    const char *whole = command_with(name);
    if (whole) {
        fprintf(stderr, "troupe: there is no command '%s', but %s %s; see troupe %s --help\n", name, whole, name,
                whole);
        return TROUPE__EXIT_WRONG;
    }
    const char *near = troupe__nearest(name, commands, sizeof *commands);
    fprintf(stderr, "troupe: there is no command '%s'%s%s; see troupe --help\n", name, near ? ", but " : "",
            near ? near : "");
    return TROUPE__EXIT_WRONG;
}

static int run_line(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (argc == 2 && strcmp(name, "--version") == 0) {
        puts("troupe " TROUPE_VERSION);
        return EXIT_SUCCESS;
    }
    bool help = strcmp(name, "help") == 0;
    if (argc == 2 && (help || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)) {
        print_usage(stdout);
        return EXIT_SUCCESS;
    }
    if (argc == 1) {
        print_usage(stderr);
        return TROUPE__EXIT_WRONG;
    }
    if (help && argc == 3) {
        char ask[] = "--help";
        char *asked[] = {argv[2], ask, NULL};
        return run_command(argv[2], 2, asked);
    }
    return run_command(name, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    troupe__streams_open();
    return troupe__streams_close(argc > 1 ? argv[1] : "", run_line(argc, argv));
}
