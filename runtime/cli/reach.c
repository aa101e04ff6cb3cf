/* reach.c - which nodes a command is about, and how it gets at them: a directory, an endpoint, a cluster file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/local.h"

enum { NODES_MS = 5000, LOOK_MS = 200 };

/* ---- options ----------------------------------------------------------------------------------------------------- */

const char *troupe__reach_set_data(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->data = value;
    return *value ? NULL : "a directory";
}

const char *troupe__reach_set_connect(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->connect = value;
    return *value && strlen(value) < TROUPE__ENDPOINT_SIZE ? NULL : "ipc://PATH or tcp://HOST:PORT";
}

const char *troupe__reach_set_cluster(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->cluster = value;
    return *value ? NULL : "a file";
}

const char *troupe__reach_set_node(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->node = value;
    return *value ? NULL : "the name of a node";
}

const char *troupe__reach_set_key(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->key = value;
    return *value ? NULL : "a file";
}

const char *troupe__reach_set_server_key(void *target, const char *value)
{
    ((struct troupe__reach_options *)target)->server_key = value;
    return strlen(value) == TROUPE__KEY_SIZE ? NULL : "a public key of 40 characters";
}

/* ---- which nodes ------------------------------------------------------------------------------------------------- */

static enum troupe_error fail(struct troupe__reach *reach, enum troupe_error result, const char *text)
{
    snprintf(reach->error, sizeof reach->error, "%s", text);
    return result;
}

static enum troupe_error add_nodes(struct troupe__reach *reach, size_t count)
{
    reach->nodes = calloc(count, sizeof *reach->nodes);
    reach->count = reach->nodes ? count : 0;
    return reach->nodes ? TROUPE_OK : fail(reach, TROUPE_ENOMEM, "out of memory");
}

/* Those of the cluster, at what it gives for clients. */
static enum troupe_error add_cluster(struct troupe__reach *reach)
{
    enum troupe_error result = add_nodes(reach, reach->cluster.slots.node_count);
    reach->troupe = true;
    for (size_t i = 0; i < reach->count; i++) {
        const struct troupe__cluster_node *from = &reach->cluster.nodes[i];
        snprintf(reach->nodes[i].name, sizeof reach->nodes[i].name, "%s", from->name);
        snprintf(reach->nodes[i].endpoint, sizeof reach->nodes[i].endpoint, "%s", from->clients);
        snprintf(reach->nodes[i].server_key, sizeof reach->nodes[i].server_key, "%s", from->public_key);
    }
    return result;
}

/* --key, or client.key beside the cluster file when that has keys. */
static enum troupe_error read_keys(struct troupe__reach *reach, const struct troupe__reach_options *options,
                                   const char *cluster_path)
{
    char beside[PATH_MAX + 16];
    const char *path = options->key;
    if (!path && cluster_path && reach->cluster.keys) {
        const char *slash = strrchr(cluster_path, '/');
        snprintf(beside, sizeof beside, "%.*sclient.key", slash ? (int)(slash - cluster_path + 1) : 0, cluster_path);
        path = access(beside, F_OK) == 0 ? beside : NULL;
    }
    if (!path) {
        return TROUPE_OK;
    }
    enum troupe_error result = troupe__keys_read(path, &reach->keys, reach->error, sizeof reach->error);
    reach->has_keys = result == TROUPE_OK;
    return result;
}

static enum troupe_error open_cluster_file(struct troupe__reach *reach, const char *path)
{
    enum troupe_error result = troupe__cluster_file_read(path, &reach->cluster, reach->error, sizeof reach->error);
    return result == TROUPE_OK ? add_cluster(reach) : result;
}

/* The troupe in a directory: its nodes' directories are beside the cluster file. */
static enum troupe_error open_directory(struct troupe__reach *reach, const char *data)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/cluster.yaml", data) >= sizeof path - TROUPE__NODE_NAME_MAX) {
        return fail(reach, TROUPE_EINVAL, "the path of the directory is too long");
    }
    enum troupe_error result = open_cluster_file(reach, path);
    for (size_t i = 0; i < reach->count; i++) {
        snprintf(reach->nodes[i].data, sizeof reach->nodes[i].data, "%.4000s/%s", data, reach->nodes[i].name);
    }
    return result;
}

/* Wait for the answer, but not of a node that has ended meanwhile. */
static enum troupe_error receive_from(const struct troupe__reach_node *node, struct troupe__client *client,
                                      struct troupe__reply *ret)
{
    enum troupe_error result = TROUPE_ETIMEOUT;
    for (int waited_ms = 0; waited_ms < NODES_MS && result == TROUPE_ETIMEOUT; waited_ms += LOOK_MS) {
        result = troupe__client_receive(client, LOOK_MS, ret);
        if (result == TROUPE_ETIMEOUT && !troupe__reach_runs(node)) {
            snprintf(client->error, sizeof client->error, "no node runs on the directory %.300s any more", node->data);
            return TROUPE_ENOTFOUND;
        }
    }
    return result == TROUPE_ETIMEOUT ? troupe__client_say_silent(client, NODES_MS) : result;
}

/* Ask the only node for the others; it stays what it is when it is alone. */
static enum troupe_error ask_for_nodes(struct troupe__reach *reach)
{
    struct troupe__client client;
    struct troupe__reply reply;
    struct troupe__request request = {.what = "nodes"};
    struct troupe__reach_node asked = reach->nodes[0];
    uint16_t self = 0;
    enum troupe_error result = troupe__reach_connect(reach, &asked, &client);
    if (result != TROUPE_OK) {
        return fail(reach, result, client.error);
    }
    result = troupe__client_send(&client, &request);
    result = result == TROUPE_OK ? receive_from(&asked, &client, &reply) : result;
    if (result != TROUPE_OK) {
        fail(reach, result, client.error);
    } else if (!reply.ok) {
        result = fail(reach, reply.error, reply.text ? reply.text : "");
    } else if (reply.text && reply.text[0]) {
        result = troupe__cluster_read_description(reply.text, &reach->cluster, &self);
        if (result != TROUPE_OK) {
            fail(reach, result, "the node says of its troupe what this program does not understand");
        } else {
            free(reach->nodes);
            result = add_cluster(reach);
        }
        if (result == TROUPE_OK) { /* The way that led here is better than what it says of itself. */
            memcpy(reach->nodes[self].data, asked.data, sizeof asked.data);
            memcpy(reach->nodes[self].endpoint, asked.endpoint, sizeof asked.endpoint);
            if (asked.server_key[0]) {
                memcpy(reach->nodes[self].server_key, asked.server_key, sizeof asked.server_key);
            }
        }
    }
    troupe__client_close(&client);
    return result;
}

static void say_no_node(struct troupe__reach *reach, const char *name)
{
    size_t size;
    if (!reach->troupe) {
        snprintf(reach->error, sizeof reach->error,
                 "there is no node '%.64s': what is there is one node that runs alone, which has no name, or one that "
                 "does not run; leave --node out",
                 name);
        return;
    }
    snprintf(reach->error, sizeof reach->error, "there is no node '%.64s', but", name);
    for (size_t i = 0; i < reach->count && (size = strlen(reach->error)) < sizeof reach->error - 80; i++) {
        snprintf(reach->error + size, sizeof reach->error - size, "%s %s", i > 0 ? "," : "", reach->nodes[i].name);
    }
}

static enum troupe_error choose_node(struct troupe__reach *reach, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < reach->count; i++) {
        reach->nodes[i].listed = !name || strcmp(reach->nodes[i].name, name) == 0;
        found |= reach->nodes[i].listed;
    }
    if (!found) {
        say_no_node(reach, name);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

/* The node that --connect or --data names, alone. */
static enum troupe_error open_one(struct troupe__reach *reach, const struct troupe__reach_options *options,
                                  const char *data)
{
    enum troupe_error result = add_nodes(reach, 1);
    if (result != TROUPE_OK) {
        return result;
    }
    reach->nodes[0].listed = true;
    snprintf(reach->nodes[0].endpoint, sizeof reach->nodes[0].endpoint, "%s", options->connect ? options->connect : "");
    snprintf(reach->nodes[0].data, sizeof reach->nodes[0].data, "%s", options->connect ? "" : data);
    snprintf(reach->nodes[0].server_key, sizeof reach->nodes[0].server_key, "%s",
             options->server_key ? options->server_key : "");
    return read_keys(reach, options, NULL);
}

static enum troupe_error open_all(struct troupe__reach *reach, const struct troupe__reach_options *options)
{
    const char *data = options->data ? options->data : "troupe-data";
    if (!!options->data + !!options->connect + !!options->cluster > 1) {
        return fail(reach, TROUPE_EINVAL,
                    "--data, --connect and --cluster are three ways to the same: say one of them");
    }
    enum troupe_error result;
    if (options->cluster) {
        result = open_cluster_file(reach, options->cluster);
        return result == TROUPE_OK ? read_keys(reach, options, options->cluster) : result;
    }
    if (!options->connect && (result = troupe__directory_check(data, reach->error, sizeof reach->error)) != TROUPE_OK) {
        return result;
    }
    if (!options->connect && troupe__local_is_troupe(data)) {
        return open_directory(reach, data);
    }
    result = open_one(reach, options, data);
    if (result == TROUPE_OK && troupe__reach_runs(&reach->nodes[0])) {
        result = ask_for_nodes(reach);
        if (result == TROUPE_ENOTFOUND && !troupe__reach_runs(&reach->nodes[0])) {
            result = TROUPE_OK; /* It has ended meanwhile: then it is one at rest. */
        }
    }
    return result;
}

enum troupe_error troupe__reach_open(struct troupe__reach *reach, const struct troupe__reach_options *options)
{
    *reach = (struct troupe__reach){.nodes = NULL};
    enum troupe_error result = open_all(reach, options);
    result = result == TROUPE_OK ? choose_node(reach, options->node) : result;
    if (result != TROUPE_OK) {
        troupe__reach_close(reach);
    }
    return result;
}

/* The node that --connect or --data names, whether it is one of several or not. */
static enum troupe_error open_alone(struct troupe__reach *reach, const struct troupe__reach_options *options,
                                    const char *data)
{
    if (options->data && options->connect) {
        return fail(reach, TROUPE_EINVAL, "say --data or --connect, not both");
    }
    enum troupe_error result =
        options->connect ? TROUPE_OK : troupe__directory_check(data, reach->error, sizeof reach->error);
    return result == TROUPE_OK ? open_one(reach, options, data) : result;
}

enum troupe_error troupe__reach_open_near(struct troupe__reach *reach, const struct troupe__reach_options *options)
{
    const char *data = options->data ? options->data : "troupe-data";
    if (options->cluster || options->node || (!options->connect && troupe__local_is_troupe(data))) {
        return troupe__reach_open(reach, options);
    }
    *reach = (struct troupe__reach){.nodes = NULL};
    enum troupe_error result = open_alone(reach, options, data);
    if (result != TROUPE_OK) {
        troupe__reach_close(reach);
    }
    return result;
}

int troupe__reach_begin(struct troupe__reach *reach, const struct troupe__reach_options *options, const char *command)
{
    enum troupe_error result = troupe__reach_open(reach, options);
    if (result == TROUPE_OK) {
        return -1;
    }
    int code = troupe__failed(command, reach->error, result);
    return result == TROUPE_EINVAL ? TROUPE__EXIT_WRONG : code;
}

void troupe__reach_close(struct troupe__reach *reach)
{
    free(reach->nodes);
    reach->nodes = NULL;
    reach->count = 0;
    troupe__cluster_fini(&reach->cluster);
}

size_t troupe__reach_owner(const struct troupe__reach *reach, const char *type, const char *key)
{
    return reach->troupe ? reach->cluster.slots.owner[troupe__slot_of(type, key)] : 0;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

bool troupe__reach_runs(const struct troupe__reach_node *node)
{
    return !node->data[0] || troupe__node_runs(node->data);
}

enum troupe_error troupe__reach_connect(const struct troupe__reach *reach, const struct troupe__reach_node *node,
                                        struct troupe__client *client)
{
    char endpoint[TROUPE__ENDPOINT_SIZE], key[TROUPE__KEY_SIZE + 1];
    *client = (struct troupe__client){0};
    snprintf(endpoint, sizeof endpoint, "%s", node->endpoint);
    snprintf(key, sizeof key, "%s", node->server_key);
    if (node->data[0]) { /* What is written there is as it is now. */
        enum troupe_error result = troupe__client_find(node->data, endpoint, key, client->error, sizeof client->error);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (!endpoint[0]) {
        snprintf(client->error, sizeof client->error,
                 "the cluster file does not say where clients reach it: add its client_endpoint");
        return TROUPE_ENOTFOUND;
    }
    if (key[0] && !reach->has_keys) {
        snprintf(client->error, sizeof client->error,
                 "it lets in only who has a key that the cluster file lists: say --key FILE");
        return TROUPE_EINVAL;
    }
    if (!key[0] && reach->has_keys) {
        snprintf(client->error, sizeof client->error, "there is a --key, but no key of the node: say --server-key KEY");
        return TROUPE_EINVAL;
    }
    struct troupe__client_keys keys = {&reach->keys, key};
    return troupe__client_connect(client, endpoint, key[0] ? &keys : NULL);
}
