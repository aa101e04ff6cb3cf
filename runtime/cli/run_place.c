/* run_place.c - `troupe run`: the place of a node in the troupe that a cluster file describes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "runtime/cli/run_parts.h"

enum troupe_error troupe__run_read_key(struct troupe__run *run, char *error, size_t error_size)
{
    const char *slash = strrchr(run->cluster_path, '/');
    snprintf(run->key_beside, sizeof run->key_beside, "%.*s%s.key", slash ? (int)(slash - run->cluster_path + 1) : 0,
             run->cluster_path, run->name);
    run->key_path = run->key_path ? run->key_path : run->key_beside;
    return troupe__keys_read(run->key_path, &run->keys, error, error_size);
}

enum troupe_error troupe__run_reread_cluster(void *context, bool *ret_changed, char *error, size_t error_size)
{
    struct troupe__run *run = context;
    return troupe__cluster_file_reread(run->cluster_path, &run->cluster, ret_changed, error, error_size);
}

int troupe__run_take_place(struct troupe__run *run)
{
    char error[512];
    if (!run->cluster_path != !run->name) {
        return troupe__wrong("run", "--cluster FILE and --node NAME belong together; there is only",
                             run->name ? "--node" : "--cluster");
    }
    if (!run->cluster_path) {
        return run->key_path ? troupe__wrong("run", "a key is for a node of a --cluster FILE; leave out", "--key") : -1;
    }
    if (run->node.until != TROUPE_UNTIL_STOPPED) {
        return troupe__wrong("run", "one node cannot know when the others are idle: see troupe wait, and leave out",
                             "--until-idle");
    }
    enum troupe_error result = troupe__cluster_file_read(run->cluster_path, &run->cluster, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__run_fail(error, result);
    }
    int self = troupe__cluster_find(&run->cluster, run->name);
    if (self < 0) {
        return troupe__wrong("run", "the cluster file has no node", run->name);
    }
    run->place = (struct troupe__place){.cluster = &run->cluster, .self = (uint16_t)self};
    run->log.node = run->name;
    const char *endpoint = run->cluster.nodes[self].endpoint;
    if (!run->cluster.keys && !run->node.insecure_listen && !troupe__endpoint_is_local(endpoint)) {
        snprintf(error, sizeof error,
                 "node %s is reached by other machines at %.200s, and without keys whoever reaches it is taken for a "
                 "node: make a file with troupe cluster init --keys, or say --insecure-listen",
                 run->name, endpoint);
        return troupe__run_fail(error, TROUPE_EINVAL);
    }
    if (!run->cluster.keys) {
        return run->key_path ? troupe__wrong("run", "the cluster file has no keys; leave out", "--key") : -1;
    }
    result = troupe__run_read_key(run, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__run_fail(error, result);
    }
    run->place.keys = &run->keys;
    run->place.file = run->cluster_path;
    run->place.reread = troupe__run_reread_cluster;
    run->place.context = run;
    return -1;
}
