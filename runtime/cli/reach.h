/* reach.h - which nodes a command is about, and how it gets at them: a directory, an endpoint, a cluster file.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     --data DIR          the node or the troupe in DIR; what runs is asked, what does not is read
 *     --connect ENDPOINT  a node that runs; it says which others there are
 *     --cluster FILE      all nodes of the file, at their client_endpoint
 *
 * A node that runs stands for its troupe: with --data DIR/n2 or --connect all of it is meant. Nothing is printed here.
 */
#ifndef TROUPE_RUNTIME_CLI_REACH_H
#define TROUPE_RUNTIME_CLI_REACH_H

#include <limits.h>

#include "runtime/cli/client.h"
#include "runtime/cli/options.h"
#include "runtime/cluster.h"
#include "transport/keys.h"

/* What the command line said; NULL: nothing. */
struct troupe__reach_options {
    const char *data, *connect, *cluster, *node, *key, *server_key;
};

/* The lines of these options for a command's table; `set_..` of reach.c take them into a struct troupe__reach_options,
 * which must be the first member of the command's target. */
#define TROUPE__REACH_OPTIONS                                                                                          \
    {"data", "DIR", troupe__reach_set_data, "the directory of a node or of a troupe (default: troupe-data)"},          \
        {"connect", "ENDPOINT", troupe__reach_set_connect, "a node that runs: ipc://PATH or tcp://HOST:PORT"},         \
        {"cluster", "FILE", troupe__reach_set_cluster, "a troupe that runs, by its cluster file"},                     \
        {"key", "FILE", troupe__reach_set_key,                                                                         \
         "this client's secret key, where the nodes have keys (default:\nclient.key beside the cluster file)"},        \
    {                                                                                                                  \
        "server-key", "KEY", troupe__reach_set_server_key, "the public key of the node at --connect"                   \
    }
#define TROUPE__REACH_NODE_OPTION                                                                                      \
    {                                                                                                                  \
        "node", "NAME", troupe__reach_set_node, "only this node of the troupe"                                         \
    }

const char *troupe__reach_set_data(void *target, const char *value);
const char *troupe__reach_set_connect(void *target, const char *value);
const char *troupe__reach_set_cluster(void *target, const char *value);
const char *troupe__reach_set_node(void *target, const char *value);
const char *troupe__reach_set_key(void *target, const char *value);
const char *troupe__reach_set_server_key(void *target, const char *value);

struct troupe__reach_node {
    char name[TROUPE__NODE_NAME_MAX + 1]; /* "" of a node that is alone */
    char data[PATH_MAX];                  /* "" where only an endpoint is known */
    char endpoint[TROUPE__ENDPOINT_SIZE]; /* "" where only a directory is known */
    char server_key[TROUPE__KEY_SIZE + 1];
    bool listed; /* a command for all is for it too: see --node */
};

struct troupe__reach {
    struct troupe__reach_node *nodes;
    size_t count;
    bool troupe;                    /* it has several nodes, or could have: they are named */
    struct troupe__cluster cluster; /* of a troupe */
    struct troupe__key_pair keys;
    bool has_keys;
    char error[640];
};

/* Find the nodes. Errors, with a text: TROUPE_EINVAL (the options do not fit each other, no such node), those of
 * reading a cluster file or a key; with --connect those of asking the node. There is nothing to close then. */
enum troupe_error troupe__reach_open(struct troupe__reach *reach, const struct troupe__reach_options *options);
/* The same for a command that any node serves: the one that --connect or --data names is not asked for the others, but
 * where --node names one of them. */
enum troupe_error troupe__reach_open_near(struct troupe__reach *reach, const struct troupe__reach_options *options);
/* Open it for `command`, or print what is wrong. Returns -1 to go on, or the exit code. */
int troupe__reach_begin(struct troupe__reach *reach, const struct troupe__reach_options *options, const char *command);
void troupe__reach_close(struct troupe__reach *reach);

/* The node where an actor lives. */
size_t troupe__reach_owner(const struct troupe__reach *reach, const char *type, const char *key);

/* Whether the node runs, as far as its directory tells; true when only an endpoint is known. */
bool troupe__reach_runs(const struct troupe__reach_node *node);

/* Connect to a node that runs. Errors, with a text in client->error; nothing is left to close then. */
enum troupe_error troupe__reach_connect(const struct troupe__reach *reach, const struct troupe__reach_node *node,
                                        struct troupe__client *client);

#endif
