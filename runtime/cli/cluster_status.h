/* cluster_status.h - the command `troupe cluster status`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_CLUSTER_STATUS_H
#define TROUPE_RUNTIME_CLI_CLUSTER_STATUS_H

/* argv[0] is "status". Returns the exit code. */
int troupe__cluster_status(int argc, char **argv);

#endif
