/* cluster.h - the commands `troupe cluster` and `troupe keygen`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each takes its own name as argv[0], prints, and returns the exit code. */
#ifndef TROUPE_RUNTIME_CLI_CLUSTER_H
#define TROUPE_RUNTIME_CLI_CLUSTER_H

int troupe__cluster(int argc, char **argv);
int troupe__keygen(int argc, char **argv);

#endif
