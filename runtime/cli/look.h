/* look.h - the commands that look into a node: its directory, or when it runs, the node itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each takes its own name as argv[0], prints, and returns the exit code: 0 done, 1 failed or damaged (its text on
 * stderr), 2 wrong arguments. */
#ifndef TROUPE_RUNTIME_CLI_LOOK_H
#define TROUPE_RUNTIME_CLI_LOOK_H

#include <stdbool.h>

int troupe__look_state(int argc, char **argv);
int troupe__look_actors(int argc, char **argv);
int troupe__look_mailbox(int argc, char **argv);
int troupe__look_timers(int argc, char **argv);
int troupe__look_jobs(int argc, char **argv);
int troupe__look_dead(int argc, char **argv); /* retry and drop write one epoch */
int troupe__look_stats(int argc, char **argv);
int troupe__doctor(int argc, char **argv);

/* What the command line of one of them said. */
struct troupe__look_options {
    const char *command, *help, *examples; /* examples, one a line, may be NULL */
    const char *data;                      /* the directory */
    const char *connect;                   /* --connect, or NULL: a running node's endpoint */
    unsigned watch_s;                      /* --watch, of stats; 0: once */
    const char *type;                      /* --type, or NULL */
    const char *operand[2];                /* at most two, without the directory */
    int operand_count;
    bool json;
};

/* Read the arguments behind argv[0]; `least` to `most` operands are needed, and one more, the first, is the directory
 * when there is no --data. Returns -1 to go on, or the exit code: help was printed, or what is wrong. */
int troupe__look_parse(struct troupe__look_options *options, int argc, char **argv, int least, int most);

#endif
