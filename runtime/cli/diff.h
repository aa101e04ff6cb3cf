/* diff.h - the command `troupe snapshot diff`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_DIFF_H
#define TROUPE_RUNTIME_CLI_DIFF_H

/* argv[0] is "diff". Returns the exit code: 0 the same, 1 different, 2 wrong arguments or a failure. */
int troupe__diff(int argc, char **argv);

#endif
