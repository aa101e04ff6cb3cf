/* restore.h - the command `troupe restore`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It takes its own name as argv[0], prints, and returns the exit code. */
#ifndef TROUPE_RUNTIME_CLI_RESTORE_H
#define TROUPE_RUNTIME_CLI_RESTORE_H

int troupe__restore(int argc, char **argv);

#endif
