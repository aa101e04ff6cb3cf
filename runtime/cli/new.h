/* new.h - `troupe new`: a project that builds, runs and is tested.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_NEW_H
#define TROUPE_RUNTIME_CLI_NEW_H

#include <stdbool.h>

struct troupe__new_file {
    const char *name; /* in it and in the text, @NAME@ stands for the project's name */
    bool executable;
    const char *text;
};

extern const struct troupe__new_file troupe__new_files[]; /* closed by one without a name */

/* argv[0] is "new". Returns the exit code: 0 done, 1 it could not be written (nothing is left), 2 wrong arguments. */
int troupe__new(int argc, char **argv);

#endif
