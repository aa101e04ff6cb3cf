/* wait.h - the command `troupe wait`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_WAIT_H
#define TROUPE_RUNTIME_CLI_WAIT_H

/* argv[0] is "wait". Returns the exit code. */
int troupe__wait(int argc, char **argv);

#endif
