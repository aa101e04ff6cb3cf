/* options.h - the options of a command: one table for its command line, its --help and a configuration file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * To add an option, add one line to the command's table and a function that takes its value. --help is every
 * command's, and needs no line. A long name may be shortened on the command line as long as it stays the only one. */
#ifndef TROUPE_RUNTIME_CLI_OPTIONS_H
#define TROUPE_RUNTIME_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/troupe.h"

/* The exit code of wrong arguments; EXIT_SUCCESS and EXIT_FAILURE are the others. */
enum { TROUPE__EXIT_WRONG = 2 };

/* Take the value of an option into the command's own struct. `value` is NULL for a switch, and where an optional
 * argument was left out; it lives as long as the process. Returns NULL, or what the option takes instead, such as
 * "disk or process". */
typedef const char *(*troupe__option_fn)(void *target, const char *value);

struct troupe__option {
    const char *name;     /* --name on the command line, `name:` in a configuration file */
    const char *argument; /* what --help calls it; NULL: a switch; "[=WORD]": it may be left out */
    troupe__option_fn set;
    const char *help; /* lines end with \n but for the last one */
};

struct troupe__command {
    const char *name;                     /* "run"; "dead" */
    const char *usage;                    /* what --help prints before the options */
    const char *after;                    /* and behind them: examples, exit codes */
    const struct troupe__option *options; /* closed by one without a name */
    void *target;                         /* what `set` gets */
    /* Read the file of an option `config` before the options are taken, so that the command line wins; NULL where
     * there is none. Returns -1, or an exit code, having printed what is wrong. */
    int (*read_config)(const struct troupe__command *command, const char *path);
};

/* Take the options of a command line; argv[0] is the command's name. Operands are moved behind the options;
 * `*ret_operands` is the index of the first one. Returns -1 to go on, or the exit code: --help was printed, or what is
 * wrong (on stderr). */
int troupe__options_parse(const struct troupe__command *command, int argc, char **argv, int *ret_operands);

/* Print what is wrong with `argument` and where to look; returns TROUPE__EXIT_WRONG. */
int troupe__wrong(const char *command, const char *what, const char *argument);

/* Likewise when there are `count` operands instead of `wanted`: too few, then `what` says which it takes, or too many.
 */
int troupe__wrong_operands(const char *command, const char *what, char **operands, int count, int wanted);

/* Print why a command failed; returns EXIT_FAILURE. */
int troupe__failed(const char *command, const char *text, enum troupe_error error);

/* The one of `names` (the first member of structs of `stride` bytes, closed by NULL) that `word` may have been meant to
 * be, or NULL. */
const char *troupe__nearest(const char *word, const void *names, size_t stride);

#endif
