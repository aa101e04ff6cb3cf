/* cluster.c - the commands `troupe cluster` and `troupe keygen`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/cluster.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"
#include "runtime/cli/cluster_status.h"
#include "runtime/cli/options.h"
#include "runtime/cli/period.h"
#include "transport/keys.h"

struct options {
    unsigned long nodes;
    bool keys;
    struct troupe__cluster_snapshots snapshots;
    const char *tcp[TROUPE__NODES_MAX], *clients[TROUPE__NODES_MAX];
    size_t tcp_count, client_count;
};

static const char *set_nodes(void *target, const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (*value < '1' || *value > '9' || *end || number > TROUPE__NODES_MAX) {
        return "a number from 1 to 1024";
    }
    ((struct options *)target)->nodes = number;
    return NULL;
}

static const char *set_tcp(void *target, const char *value)
{
    struct options *options = target;
    if (options->tcp_count == TROUPE__NODES_MAX || !strchr(value, ':')) {
        return "HOST:PORT, at most 1024 times";
    }
    options->tcp[options->tcp_count++] = value;
    return NULL;
}

static const char *set_clients(void *target, const char *value)
{
    struct options *options = target;
    if (options->client_count == TROUPE__NODES_MAX || !strchr(value, ':')) {
        return "HOST:PORT, at most 1024 times";
    }
    options->clients[options->client_count++] = value;
    return NULL;
}

static const char *set_keys(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->keys = true;
    return NULL;
}

static const char *set_every(void *target, const char *value)
{
    return troupe__period_parse(value, &((struct options *)target)->snapshots.every_ms)
               ? NULL
               : "a time, as 30s, 10m, 6h or 1d";
}

static const char *set_keep(void *target, const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    ((struct options *)target)->snapshots.keep = number;
    return *value >= '1' && *value <= '9' && !*end && number <= 1000000 ? NULL : "a number from 1 to 1000000";
}

static const char *set_check(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->snapshots.check = true;
    return NULL;
}

static const char *set_to(void *target, const char *value)
{
    struct troupe__cluster_snapshots *snapshots = &((struct options *)target)->snapshots;
    if (*value != '/' || strlen(value) >= sizeof snapshots->to || strpbrk(value, "\n\r")) {
        return "the absolute path of a directory";
    }
    snprintf(snapshots->to, sizeof snapshots->to, "%s", value);
    return NULL;
}

/* The directory of `path`, absolute: endpoints and keys stand beside the cluster file. */
static bool directory_of(const char *path, char directory[static PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    char relative[PATH_MAX];
    snprintf(relative, sizeof relative, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    return realpath(relative, directory) != NULL;
}

static enum troupe_error put_endpoint(char endpoint[static TROUPE__ENDPOINT_MAX + 1], const char *tcp,
                                      const char *directory, const char *node, const char *suffix, char *error,
                                      size_t error_size)
{
    char text[PATH_MAX + 128];
    if (tcp) {
        snprintf(text, sizeof text, "tcp://%.300s", tcp);
    } else {
        snprintf(text, sizeof text, "ipc://%s/%s%s", directory, node, suffix);
    }
    if (!troupe__endpoint_valid(text)) {
        snprintf(error, error_size, "%.300s cannot be an endpoint: printable ASCII without spaces, at most %d bytes%s",
                 text, TROUPE__ENDPOINT_MAX,
                 tcp ? ", with a host and a port from 1 to 65535" : "; name another directory, or use --tcp");
        return TROUPE_EINVAL;
    }
    memcpy(endpoint, text, strlen(text) + 1);
    return TROUPE_OK;
}

static enum troupe_error check_own(const struct troupe__cluster *cluster, size_t index, char *error, size_t error_size)
{
    const struct troupe__cluster_node *node = &cluster->nodes[index];
    int other = strcmp(node->endpoint, node->clients) == 0 ? (int)index : -1;
    other = other < 0 ? troupe__cluster_find_endpoint(cluster, index, node->endpoint) : other;
    other = other < 0 && node->clients[0] ? troupe__cluster_find_endpoint(cluster, index, node->clients) : other;
    if (other >= 0) {
        snprintf(error, error_size, "two endpoints of nodes %s and %s are the same: give each its own",
                 cluster->nodes[other].name, node->name);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

/* Clients have sockets beside the file where the nodes have; over tcp only where it was said. */
static enum troupe_error name_nodes(const struct options *options, const char *directory,
                                    struct troupe__cluster *cluster, char *error, size_t error_size)
{
    for (size_t i = 0; i < options->nodes; i++) {
        struct troupe__cluster_node *node = &cluster->nodes[i];
        const char *tcp = options->tcp_count > 0 ? options->tcp[i] : NULL;
        const char *clients = options->client_count > 0 ? options->clients[i] : NULL;
        snprintf(node->name, sizeof node->name, "n%zu", i + 1);
        enum troupe_error result = put_endpoint(node->endpoint, tcp, directory, node->name, ".ipc", error, error_size);
        if (result == TROUPE_OK && (clients || !tcp)) {
            result = put_endpoint(node->clients, clients, directory, node->name, ".clients.ipc", error, error_size);
        }
        if (result == TROUPE_OK) {
            result = check_own(cluster, i, error, error_size);
        }
        if (result != TROUPE_OK) {
            return result;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error make_key(const char *directory, const char *name,
                                  char public_key[static TROUPE__KEY_TEXT_SIZE + 1], char *error, size_t error_size)
{
    char path[PATH_MAX + TROUPE__NODE_NAME_MAX + 8];
    struct troupe__key_pair pair;
    snprintf(path, sizeof path, "%s/%s.key", directory, name);
    enum troupe_error result = troupe__keys_make(&pair, error, error_size);
    result = result == TROUPE_OK ? troupe__keys_write(path, &pair, error, error_size) : result;
    if (result == TROUPE_EBUSY) {
        snprintf(error, error_size,
                 "%.300s exists already, and a key is never written over: move it away, or take another "
                 "directory for the file",
                 path);
    }
    if (result == TROUPE_OK) {
        memcpy(public_key, pair.public_key, TROUPE__KEY_TEXT_SIZE + 1);
    }
    return result;
}

/* Make a key for each node and for a first client; its file is NAME.key. Those made before a failure are removed again.
 */
static enum troupe_error make_keys(const char *directory, struct troupe__cluster *cluster, char *error,
                                   size_t error_size)
{
    cluster->clients = calloc(1, sizeof *cluster->clients);
    if (!cluster->clients) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    strcpy(cluster->clients[0].name, "client");
    cluster->client_count = 1;
    enum troupe_error result = TROUPE_OK;
    int made = 0, count = cluster->slots.node_count;
    for (; made <= count && result == TROUPE_OK; made += result == TROUPE_OK) {
        result = make_key(directory, made < count ? cluster->nodes[made].name : cluster->clients[0].name,
                          made < count ? cluster->nodes[made].public_key : cluster->clients[0].public_key, error,
                          error_size);
    }
    while (result != TROUPE_OK && made-- > 0) {
        char path[PATH_MAX + TROUPE__NODE_NAME_MAX + 8];
        snprintf(path, sizeof path, "%s/%s.key", directory, cluster->nodes[made].name);
        unlink(path);
    }
    cluster->keys = result == TROUPE_OK;
    return result;
}

static int init(const struct options *options, const char *path)
{
    char directory[PATH_MAX], error[512] = "";
    struct troupe__cluster cluster = {.nodes = calloc(options->nodes, sizeof *cluster.nodes),
                                      .snapshots = options->snapshots};
    uint64_t id;
    if (!cluster.nodes || getrandom(&id, sizeof id, 0) != sizeof id) {
        free(cluster.nodes);
        return troupe__failed("cluster init", "out of memory, or no random numbers", TROUPE_ENOMEM);
    }
    troupe__slots_spread(&cluster.slots, id, 1, (uint16_t)options->nodes);
    enum troupe_error result = TROUPE_OK;
    if (!directory_of(path, directory)) {
        snprintf(error, sizeof error, "the directory of %.400s: %s", path, strerror(errno));
        result = TROUPE_ENOTFOUND;
    } else if (access(path, F_OK) == 0) {
        snprintf(error, sizeof error, "%.400s exists already: name another file", path);
        result = TROUPE_EBUSY;
    }
    result = result == TROUPE_OK ? name_nodes(options, directory, &cluster, error, sizeof error) : result;
    if (result == TROUPE_OK && options->keys) {
        result = make_keys(directory, &cluster, error, sizeof error);
    }
    result = result == TROUPE_OK ? troupe__cluster_file_write(path, &cluster, error, sizeof error) : result;
    troupe__cluster_fini(&cluster);
    if (result != TROUPE_OK) {
        return troupe__failed("cluster init", error, result);
    }
    printf("%s\n", path);
    return EXIT_SUCCESS;
}

int troupe__cluster(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"nodes", "N", set_nodes, "how many nodes (1 to 1024), named n1, n2, ..."},
        {"tcp", "HOST:PORT", set_tcp,
         "where a node is reached; once for each, in order. Without it nodes listen on\n"
         "ipc sockets beside the file, for one machine"},
        {"clients", "HOST:PORT", set_clients,
         "where clients reach a node; once for each, in order. Without it on ipc sockets\n"
         "beside the file, or with --tcp on the node's own machine only"},
        {"keys", NULL, set_keys,
         "make a CURVE key for each node and a client: the public ones in the file, the\n"
         "secret ones in NAME.key beside it, for that node's machine alone, and client.key"},
        {"every", "TIME", set_every, "take a snapshot of all nodes so often, as 30s, 10m, 6h or 1d, ..."},
        {"keep", "N", set_keep, "... keep so many (default: 24), ..."},
        {"check", NULL, set_check, "... run the module's check over each, ..."},
        {"to", "DIR", set_to,
         "... in this directory of the first node's machine (default: snapshots in that\nnode's directory)"},
        {0},
    };
    if (argc > 1 && strcmp(argv[1], "status") == 0) {
        return troupe__cluster_status(argc - 1, argv + 1);
    }
    struct options options = {0};
    const struct troupe__command command = {
        .name = "cluster",
        .usage =
            "usage: troupe cluster init --nodes N [--tcp HOST:PORT ...] [--clients HOST:PORT ...] [--keys]\n"
            "                           [--every TIME [--keep N] [--check] [--to DIR]] [FILE]\n"
            "       troupe cluster status [options]          (see troupe cluster status --help)\n\n"
            "Writes a cluster file (default: cluster.yaml): which nodes a troupe has, where they are reached, and\n"
            "which slots each owns. Every node gets the same file.\n",
        .after = "Exit codes: 0 done, 1 failed (nothing is left then), 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (operand == argc || strcmp(argv[operand], "init") != 0) {
        return operand < argc ? troupe__wrong("cluster", "it takes init or status, not", argv[operand])
                              : troupe__wrong_operands("cluster", "say init or status", argv + operand, 0, 1);
    }
    if (argc - operand > 2) {
        return troupe__wrong("cluster", "one argument too many:", argv[operand + 2]);
    }
    if (options.nodes == 0) {
        return troupe__wrong("cluster", "say how many nodes with", "--nodes N");
    }
    if (options.tcp_count > 0 && options.tcp_count != options.nodes) {
        return troupe__wrong("cluster", "give --tcp once for each node, or not at all; the last is",
                             options.tcp[options.tcp_count - 1]);
    }
    if (options.client_count > 0 && options.client_count != options.nodes) {
        return troupe__wrong("cluster", "give --clients once for each node, or not at all; the last is",
                             options.clients[options.client_count - 1]);
    }
    struct troupe__cluster_snapshots *snapshots = &options.snapshots;
    if (snapshots->every_ms == 0 && (snapshots->keep > 0 || snapshots->check || snapshots->to[0])) {
        return troupe__wrong("cluster", "say how often with --every, or leave out",
                             snapshots->keep > 0 ? "--keep"
                             : snapshots->check  ? "--check"
                                                 : "--to");
    }
    snapshots->keep = snapshots->keep > 0 ? snapshots->keep : TROUPE__SNAPSHOTS_KEPT;
    return init(&options, argc - operand == 2 ? argv[operand + 1] : "cluster.yaml");
}

int troupe__keygen(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {{0}};
    const struct troupe__command command = {
        .name = "keygen",
        .usage =
            "usage: troupe keygen FILE\n\n"
            "Makes a CURVE key pair: the secret key goes into the new file FILE, readable by its owner alone; the\n"
            "public key is printed, for the cluster file.\n",
        .after = "Exit codes: 0 done, 1 failed, 2 wrong arguments.\n",
        .options = options_table,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (argc - operand != 1) {
        return troupe__wrong_operands("keygen", "name a new file", argv + operand, argc - operand, 1);
    }
    struct troupe__key_pair pair;
    char error[512];
    enum troupe_error result = troupe__keys_make(&pair, error, sizeof error);
    result = result == TROUPE_OK ? troupe__keys_write(argv[operand], &pair, error, sizeof error) : result;
    if (result != TROUPE_OK) {
        return troupe__failed("keygen", error, result);
    }
    puts(pair.public_key);
    return EXIT_SUCCESS;
}
