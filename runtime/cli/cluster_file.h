/* cluster_file.h - the cluster file: which nodes a troupe has, in YAML.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     cluster: 4f1c9a0b77e2d310      # 16 hexadecimal digits; troupes with different ones refuse each other
 *     generation: 1                  # grows when the troupe is restored
 *     nodes:
 *       - name: n1
 *         endpoint: tcp://127.0.0.1:7001
 *         client_endpoint: tcp://127.0.0.1:7101 # where clients reach it; may be left out
 *         public_key: "..."          # all nodes have one, or none
 *         slots: 0-2047              # ranges and single ones, separated by commas
 *     clients:                       # who may connect to those, where there are keys; the nodes may in any case
 *       - name: ops
 *         public_key: "..."
 *
 *     snapshots:                     # of all nodes, by the clock; may be left out
 *       every: 10m                   # 30s, 10m, 6h, 1d
 *       keep: 24                     # how many; 24 if left out
 *       check: true                  # run the module's check over each; false if left out
 *       node: n1                     # beside this one they are taken; the first if left out
 *       to: /var/backups/shop        # on its machine; if left out `snapshots` in its directory
 *
 * Every slot from 0 to 4095 belongs to exactly one node. */
#ifndef TROUPE_RUNTIME_CLI_CLUSTER_FILE_H
#define TROUPE_RUNTIME_CLI_CLUSTER_FILE_H

#include "runtime/cluster.h"

/* Read and check a cluster file. Errors, with a text `PATH:LINE: what`: TROUPE_EINVAL; those of troupe__yaml_read. */
enum troupe_error troupe__cluster_file_read(const char *path, struct troupe__cluster *ret, char *error,
                                            size_t error_size);

/* Read the file of a cluster that is in use again, and take over its keys: those of nodes, and clients. `*ret_changed`:
 * whether any differ. Errors, with a text and nothing changed: as above; TROUPE_EINVAL (more than keys has changed). */
enum troupe_error troupe__cluster_file_reread(const char *path, struct troupe__cluster *cluster, bool *ret_changed,
                                              char *error, size_t error_size);

/* Write a new cluster file, synced. Errors, with a text: TROUPE_EBUSY (it exists), TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__cluster_file_write(const char *path, const struct troupe__cluster *cluster, char *error,
                                             size_t error_size);

#endif
