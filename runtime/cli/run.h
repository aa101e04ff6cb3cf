/* run.h - `troupe run`: a node that hosts the actors of a module.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_RUN_H
#define TROUPE_RUNTIME_CLI_RUN_H

/* argv[0] is "run". Returns the exit code: 0 done, 1 the node failed (its text on stderr), 2 wrong arguments. */
int troupe__run(int argc, char **argv);

#endif
