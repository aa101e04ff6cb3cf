/* snapshot.h - the command `troupe snapshot`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It takes its own name as argv[0], prints, and returns the exit code. */
#ifndef TROUPE_RUNTIME_CLI_SNAPSHOT_H
#define TROUPE_RUNTIME_CLI_SNAPSHOT_H

int troupe__snapshot(int argc, char **argv);

#endif
