/* local.h - a troupe whose nodes all run on this machine, in one directory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * DIR/cluster.yaml is its cluster file, DIR/n1, DIR/n2, ... are its nodes' directories, DIR/n1.ipc, ... where they
 * listen for each other, DIR/n1/socket, ... where clients reach them. */
#ifndef TROUPE_RUNTIME_CLI_LOCAL_H
#define TROUPE_RUNTIME_CLI_LOCAL_H

#include "runtime/cluster.h"

/* Make `directory` if it is missing, and own it until the process ends: it holds the lock of DIR/lock, which those that
 * it forks do not inherit. So nobody else makes a troupe there, or runs the nodes of this one. Errors, with a text:
 * TROUPE_EBUSY (another process does), TROUPE_ENOSPACE, TROUPE_EIO, TROUPE_EINVAL (the path is too long). */
enum troupe_error troupe__local_claim(const char *directory, char *error, size_t error_size);

/* The cluster of the troupe in `directory`; a new one of `nodes` nodes when there is none yet. Errors, with a text:
 * TROUPE_EINVAL (it has another number of nodes; a node that is alone is in the directory; the path is too long for
 * sockets), those of troupe__cluster_file_read and write. */
enum troupe_error troupe__local_cluster(const char *directory, uint16_t nodes, struct troupe__cluster *ret, char *error,
                                        size_t error_size);

/* The cluster of a troupe that is restored to the directory `absolute`, which need not exist: the next generation of
 * the troupe with `slots`, with the same slots if it has as many nodes; NULL: a new troupe. Errors, with a text: as
 * troupe__local_cluster. */
enum troupe_error troupe__local_plan(const char *absolute, uint16_t nodes, const struct troupe__slots *slots,
                                     struct troupe__cluster *ret, char *error, size_t error_size);

/* Write the cluster file into `directory`. Errors, with a text: those of troupe__cluster_file_write. */
enum troupe_error troupe__local_write(const char *directory, const struct troupe__cluster *cluster, char *error,
                                      size_t error_size);

/* Whether several nodes live in `directory`. */
bool troupe__local_is_troupe(const char *directory);

#endif
