/* look.h - the commands that look into nodes: what they have in common.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each takes its own name as argv[0], prints, and returns the exit code: 0 done, 1 failed or damaged, or a node did not
 * answer (its text on stderr), 2 wrong arguments. A node that runs is asked, the directory of one that does not is
 * read; of a troupe one node after the other, each line with its name. */
#ifndef TROUPE_RUNTIME_CLI_LOOK_H
#define TROUPE_RUNTIME_CLI_LOOK_H

#include <stdbool.h>

#include "runtime/cli/chorus.h"
#include "runtime/snapshot/view.h"

int troupe__look_state(int argc, char **argv);
int troupe__look_actors(int argc, char **argv);
int troupe__look_mailbox(int argc, char **argv);
int troupe__look_timers(int argc, char **argv);
int troupe__look_jobs(int argc, char **argv);
int troupe__look_dead(int argc, char **argv); /* retry and drop write one epoch */
int troupe__look_stats(int argc, char **argv);
int troupe__doctor(int argc, char **argv);

/* What the command line of one of them said, and which node is being looked into. */
struct troupe__look {
    struct troupe__reach_options reach;    /* first: see reach.h */
    const char *command, *help, *examples; /* examples, one a line, may be NULL */
    unsigned watch_s;                      /* --watch, of stats; 0: once */
    const char *type;                      /* --type, or NULL */
    const char *operand[2];                /* at most two, without the directory */
    int operand_count;
    bool json;
    bool writable;                 /* a directory is to be written to */
    const char *node;              /* its name; NULL when it is alone */
    struct troupe__client *client; /* to it, when it runs */
};

/* Read the arguments behind argv[0]; `least` to `most` operands are needed, and one more, the first, is the directory
 * when nothing else says where. Returns -1 to go on, or the exit code: help was printed, or what is wrong. */
int troupe__look_parse(struct troupe__look *look, int argc, char **argv, int least, int most);

/* An actor's address: what stands before and after the second slash. */
struct troupe__look_address {
    char type[TROUPE_NAME_MAX + 1];
    const char *key;
};
/* Take the first operand for one. Returns -1, or the exit code. */
int troupe__look_parse_address(const struct troupe__look *look, struct troupe__look_address *ret);

/* Print what was found. Errors: of a row that is malformed, in table `*ret_table`; TROUPE_ENOMEM; with view->error set:
 * another one. */
typedef enum troupe_error (*troupe__look_fn)(const struct troupe__look *look, struct troupe__view *view,
                                             struct troupe__buffer *line, void *context, enum troupe__table *ret_table);

/* Load the rows of `tables` (bits) with that prefix from each node, or with an address from the one where that actor
 * lives, and show them. Returns the exit code. */
int troupe__look_at(struct troupe__look *look, unsigned tables, struct troupe_bytes prefix,
                    const struct troupe__look_address *address, troupe__look_fn show, void *context);

/* Connect to all listed nodes that run, at once, unless they are connected already; who does not answer is complained
 * of when it is looked at. The first time `chorus` is zero bytes; after the last one it is to be closed. False, with no
 * voices: out of memory, which has been said. */
bool troupe__look_greet(const struct troupe__look *look, struct troupe__chorus *chorus,
                        const struct troupe__reach *reach);

/* As troupe__look_at, of one node. TROUPE_OK, or it has been said on stderr what is wrong. */
enum troupe_error troupe__look_at_node(struct troupe__look *look, struct troupe__chorus *chorus, size_t index,
                                       unsigned tables, struct troupe_bytes prefix, troupe__look_fn show,
                                       void *context);

/* Say on stderr what is wrong, of the node being looked into when there are several. */
void troupe__look_complain(const struct troupe__look *look, const char *text, enum troupe_error error);

/* Open what the command line said. Returns -1, or the exit code. */
int troupe__look_open(const struct troupe__look *look, struct troupe__reach *reach);

#endif
