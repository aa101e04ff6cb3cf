/* cluster_file.c - the cluster file: which nodes a troupe has, in YAML.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/cluster_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/period.h"
#include "runtime/cli/yaml.h"

enum { NO_NODE = 0xffff };

struct reading {
    const char *path;
    struct troupe__cluster *cluster;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 3, 4))) static enum troupe_error wrong(const struct reading *reading, unsigned line,
                                                                     const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(reading->error, reading->error_size, "%s:%u: %s", reading->path, line, text);
    return TROUPE_EINVAL;
}

/* All members of `map` must be among `known`, which is closed by NULL. */
static enum troupe_error check_members(const struct reading *reading, const struct troupe__yaml *map,
                                       const char *const *known)
{
    for (const struct troupe__yaml *member = map->first; member; member = member->next) {
        size_t at = 0;
        while (known[at] && strcmp(known[at], member->key) != 0) {
            at++;
        }
        if (!known[at]) {
            return wrong(reading, member->line, "unknown key '%.64s'", member->key);
        }
    }
    return TROUPE_OK;
}

/* A scalar member as its text. */
static enum troupe_error take_text(const struct reading *reading, const struct troupe__yaml *map, const char *key,
                                   const char **ret, unsigned *ret_line)
{
    const struct troupe__yaml *member = troupe__yaml_find(map, key);
    if (!member) {
        return wrong(reading, map->line, "the key '%s' is missing", key);
    }
    if (member->kind != TROUPE__YAML_SCALAR || member->text[0] == '\0') {
        return wrong(reading, member->line, "'%s' takes a text", key);
    }
    *ret = member->text;
    *ret_line = member->line;
    return TROUPE_OK;
}

/* Decimal digits, at most `max`; moves `*at` behind them. */
static bool take_number(const char **at, unsigned long max, unsigned long *ret)
{
    char *end;
    if (!isdigit((unsigned char)**at)) {
        return false;
    }
    errno = 0;
    *ret = strtoul(*at, &end, 10);
    *at = end;
    return errno == 0 && *ret <= max;
}

static void skip_spaces(const char **at)
{
    *at += strspn(*at, " ");
}

static enum troupe_error read_slots(const struct reading *reading, const char *text, unsigned line, uint16_t node)
{
    uint16_t *owner = reading->cluster->slots.owner;
    const char *at = text;
    do {
        unsigned long first, last;
        skip_spaces(&at);
        if (!take_number(&at, TROUPE__SLOTS - 1, &first)) {
            return wrong(reading, line, "slots are numbers from 0 to %d, such as 0-1023 or 5, not '%.64s'",
                         TROUPE__SLOTS - 1, text);
        }
        last = first;
        skip_spaces(&at);
        if (*at == '-') {
            at++;
            skip_spaces(&at);
            if (!take_number(&at, TROUPE__SLOTS - 1, &last) || last < first) {
                return wrong(reading, line, "the range of slots that begins with %lu in '%.64s' has no good end", first,
                             text);
            }
            skip_spaces(&at);
        }
        for (unsigned long slot = first; slot <= last; slot++) {
            if (owner[slot] != NO_NODE) {
                return wrong(reading, line, "slot %lu belongs to node '%s' already", slot,
                             reading->cluster->nodes[owner[slot]].name);
            }
            owner[slot] = node;
        }
    } while (*at == ',' && at++);
    return *at ? wrong(reading, line, "after '%.*s' a comma or nothing must follow in slots", (int)(at - text), text)
               : TROUPE_OK;
}

static enum troupe_error read_node(const struct reading *reading, const struct troupe__yaml *map, uint16_t index)
{
    static const char *const known[] = {"name", "endpoint", "client_endpoint", "public_key", "slots", NULL};
    struct troupe__cluster_node *node = &reading->cluster->nodes[index];
    const char *name = "", *endpoint = "", *slots = "", *key = "";
    unsigned line, slots_line = 0;
    if (map->kind != TROUPE__YAML_MAP) {
        return wrong(reading, map->line, "a node is a map of name, endpoint, slots and perhaps public_key");
    }
    enum troupe_error result = check_members(reading, map, known);
    result = result == TROUPE_OK ? take_text(reading, map, "name", &name, &line) : result;
    if (result == TROUPE_OK && !troupe__node_name_valid(name)) {
        result = wrong(reading, line, "a node's name is 1 to %d letters, digits, '-' and '_', not '%.64s'",
                       TROUPE__NODE_NAME_MAX, name);
    }
    for (uint16_t i = 0; i < index && result == TROUPE_OK; i++) {
        if (strcmp(reading->cluster->nodes[i].name, name) == 0) {
            result = wrong(reading, line, "there are two nodes named '%s'", name);
        }
    }
    result = result == TROUPE_OK ? take_text(reading, map, "endpoint", &endpoint, &line) : result;
    if (result == TROUPE_OK && !troupe__endpoint_valid(endpoint)) {
        result = wrong(reading, line, "an endpoint is tcp://HOST:PORT or ipc://PATH, not '%.64s'", endpoint);
    }
    int other = result == TROUPE_OK ? troupe__cluster_find_endpoint(reading->cluster, index, endpoint) : -1;
    if (other >= 0) {
        result = wrong(reading, line, "node '%s' has this endpoint already", reading->cluster->nodes[other].name);
    }
    const char *clients = "";
    if (result == TROUPE_OK && troupe__yaml_find(map, "client_endpoint")) {
        result = take_text(reading, map, "client_endpoint", &clients, &line);
        if (result == TROUPE_OK && (!troupe__endpoint_valid(clients) || strcmp(clients, endpoint) == 0)) {
            result = wrong(reading, line,
                           "a client_endpoint is tcp://HOST:PORT or ipc://PATH, another one than endpoint, not '%.64s'",
                           clients);
        }
        other = result == TROUPE_OK ? troupe__cluster_find_endpoint(reading->cluster, index, clients) : -1;
        if (other >= 0) {
            result = wrong(reading, line, "node '%s' has this endpoint already", reading->cluster->nodes[other].name);
        }
    }
    bool has_key = troupe__yaml_find(map, "public_key") != NULL;
    if (result == TROUPE_OK && has_key) {
        result = take_text(reading, map, "public_key", &key, &line);
        if (result == TROUPE_OK && strlen(key) != TROUPE__KEY_TEXT_SIZE) {
            result = wrong(reading, line, "a public key has %d characters, see troupe keygen", TROUPE__KEY_TEXT_SIZE);
        }
    }
    if (result == TROUPE_OK && index > 0 && has_key != reading->cluster->keys) {
        result = wrong(reading, map->line, "either all nodes have a public_key, or none has");
    }
    result = result == TROUPE_OK ? take_text(reading, map, "slots", &slots, &slots_line) : result;
    if (result == TROUPE_OK) {
        reading->cluster->keys = has_key;
        snprintf(node->name, sizeof node->name, "%s", name);
        snprintf(node->endpoint, sizeof node->endpoint, "%s", endpoint);
        snprintf(node->clients, sizeof node->clients, "%s", clients);
        snprintf(node->public_key, sizeof node->public_key, "%s", key);
        result = read_slots(reading, slots, slots_line, index);
    }
    return result;
}

static enum troupe_error read_head(const struct reading *reading, const struct troupe__yaml *root)
{
    static const char *const known[] = {"cluster", "generation", "nodes", "clients", "snapshots", NULL};
    struct troupe__slots *slots = &reading->cluster->slots;
    const char *cluster = "", *generation = "";
    unsigned cluster_line = 0, line = 0;
    enum troupe_error result = check_members(reading, root, known);
    result = result == TROUPE_OK ? take_text(reading, root, "cluster", &cluster, &cluster_line) : result;
    result = result == TROUPE_OK ? take_text(reading, root, "generation", &generation, &line) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    if (strlen(cluster) != 16 || strspn(cluster, "0123456789abcdef") != 16) {
        return wrong(reading, cluster_line, "'cluster' takes 16 digits of 0-9 and a-f, not '%.64s'", cluster);
    }
    slots->cluster = strtoull(cluster, NULL, 16);
    unsigned long number;
    if (!take_number(&generation, INT32_MAX, &number) || *generation || number == 0) {
        return wrong(reading, line, "'generation' takes a number from 1 on");
    }
    slots->generation = number;
    return TROUPE_OK;
}

static enum troupe_error read_nodes(const struct reading *reading, const struct troupe__yaml *root)
{
    struct troupe__cluster *cluster = reading->cluster;
    const struct troupe__yaml *nodes = troupe__yaml_find(root, "nodes");
    if (!nodes || nodes->kind != TROUPE__YAML_LIST || !nodes->first) {
        return wrong(reading, nodes ? nodes->line : root->line, "'nodes' takes a list of nodes");
    }
    size_t count = 0;
    for (const struct troupe__yaml *node = nodes->first; node; node = node->next) {
        if (++count > TROUPE__NODES_MAX) {
            return wrong(reading, node->line, "over %d nodes", TROUPE__NODES_MAX);
        }
    }
    cluster->nodes = calloc(count, sizeof *cluster->nodes);
    if (!cluster->nodes) {
        snprintf(reading->error, reading->error_size, "%s: out of memory", reading->path);
        return TROUPE_ENOMEM;
    }
    for (size_t slot = 0; slot < TROUPE__SLOTS; slot++) {
        cluster->slots.owner[slot] = NO_NODE;
    }
    enum troupe_error result = TROUPE_OK;
    for (const struct troupe__yaml *node = nodes->first; node && result == TROUPE_OK; node = node->next) {
        result = read_node(reading, node, cluster->slots.node_count);
        cluster->slots.node_count++;
    }
    for (int slot = 0; slot < TROUPE__SLOTS && result == TROUPE_OK; slot++) {
        if (cluster->slots.owner[slot] == NO_NODE) {
            int last = slot;
            while (last + 1 < TROUPE__SLOTS && cluster->slots.owner[last + 1] == NO_NODE) {
                last++;
            }
            result = wrong(reading, nodes->line, "slots %d to %d belong to no node", slot, last);
        }
    }
    return result;
}

static enum troupe_error read_client(const struct reading *reading, const struct troupe__yaml *map, size_t index)
{
    static const char *const known[] = {"name", "public_key", NULL};
    struct troupe__cluster_client *client = &reading->cluster->clients[index];
    const char *name = "", *key = "";
    unsigned line;
    if (map->kind != TROUPE__YAML_MAP) {
        return wrong(reading, map->line, "a client is a map of name and public_key");
    }
    enum troupe_error result = check_members(reading, map, known);
    result = result == TROUPE_OK ? take_text(reading, map, "name", &name, &line) : result;
    if (result == TROUPE_OK && !troupe__node_name_valid(name)) {
        result = wrong(reading, line, "a client's name is 1 to %d letters, digits, '-' and '_', not '%.64s'",
                       TROUPE__NODE_NAME_MAX, name);
    }
    result = result == TROUPE_OK ? take_text(reading, map, "public_key", &key, &line) : result;
    if (result == TROUPE_OK && strlen(key) != TROUPE__KEY_TEXT_SIZE) {
        result = wrong(reading, line, "a public key has %d characters, see troupe keygen", TROUPE__KEY_TEXT_SIZE);
    }
    if (result == TROUPE_OK) {
        snprintf(client->name, sizeof client->name, "%s", name);
        snprintf(client->public_key, sizeof client->public_key, "%s", key);
    }
    return result;
}

static enum troupe_error read_clients(const struct reading *reading, const struct troupe__yaml *root)
{
    enum { CLIENTS_MAX = 65536 };
    struct troupe__cluster *cluster = reading->cluster;
    const struct troupe__yaml *clients = troupe__yaml_find(root, "clients");
    if (!clients) {
        return TROUPE_OK;
    }
    if (clients->kind != TROUPE__YAML_LIST || !cluster->keys) {
        return wrong(reading, clients->line, "'clients' takes a list, in a file whose nodes have keys");
    }
    size_t count = 0;
    for (const struct troupe__yaml *client = clients->first; client; client = client->next) {
        if (++count > CLIENTS_MAX) {
            return wrong(reading, client->line, "over %d clients", CLIENTS_MAX);
        }
    }
    cluster->clients = calloc(count + 1, sizeof *cluster->clients);
    if (!cluster->clients) {
        snprintf(reading->error, reading->error_size, "%s: out of memory", reading->path);
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = TROUPE_OK;
    for (const struct troupe__yaml *client = clients->first; client && result == TROUPE_OK; client = client->next) {
        result = read_client(reading, client, cluster->client_count++);
    }
    return result;
}

/* An optional member as its text; untouched when it is not there. */
static enum troupe_error take_optional(const struct reading *reading, const struct troupe__yaml *map, const char *key,
                                       const char **ret, unsigned *ret_line)
{
    return troupe__yaml_find(map, key) ? take_text(reading, map, key, ret, ret_line) : TROUPE_OK;
}

static enum troupe_error read_snapshots(const struct reading *reading, const struct troupe__yaml *root)
{
    static const char *const known[] = {"every", "keep", "check", "node", "to", NULL};
    struct troupe__cluster_snapshots *snapshots = &reading->cluster->snapshots;
    const struct troupe__yaml *map = troupe__yaml_find(root, "snapshots");
    const char *every = "", *keep = NULL, *node = NULL, *to = "";
    unsigned line = 0;
    if (!map) {
        return TROUPE_OK;
    }
    if (map->kind != TROUPE__YAML_MAP) {
        return wrong(reading, map->line, "'snapshots' takes a map of every, and perhaps keep, check, node and to");
    }
    enum troupe_error result = check_members(reading, map, known);
    result = result == TROUPE_OK ? take_text(reading, map, "every", &every, &line) : result;
    if (result == TROUPE_OK && !troupe__period_parse(every, &snapshots->every_ms)) {
        result = wrong(reading, line, "'every' takes a time, as 30s, 10m, 6h or 1d, not '%.64s'", every);
    }
    result = result == TROUPE_OK ? take_optional(reading, map, "keep", &keep, &line) : result;
    snapshots->keep = TROUPE__SNAPSHOTS_KEPT;
    if (result == TROUPE_OK && keep &&
        (!take_number(&keep, 1000000, &snapshots->keep) || *keep || snapshots->keep == 0)) {
        result = wrong(reading, line, "'keep' takes a number from 1 to 1000000");
    }
    const struct troupe__yaml *check = troupe__yaml_find(map, "check");
    if (result == TROUPE_OK && check && !troupe__yaml_bool(check, &snapshots->check)) {
        result = wrong(reading, check->line, "'check' takes true or false");
    }
    result = result == TROUPE_OK ? take_optional(reading, map, "node", &node, &line) : result;
    int index = node ? troupe__cluster_find(reading->cluster, node) : 0;
    if (result == TROUPE_OK && index < 0) {
        result = wrong(reading, line, "there is no node '%.64s' to take snapshots", node);
    }
    snapshots->node = (uint16_t)(index > 0 ? index : 0);
    result = result == TROUPE_OK ? take_optional(reading, map, "to", &to, &line) : result;
    if (result == TROUPE_OK && *to && (*to != '/' || strlen(to) >= sizeof snapshots->to)) {
        result = wrong(reading, line, "'to' takes the absolute path of a directory, not '%.64s'", to);
    }
    snprintf(snapshots->to, sizeof snapshots->to, "%s", result == TROUPE_OK ? to : "");
    return result;
}

enum troupe_error troupe__cluster_file_read(const char *path, struct troupe__cluster *ret, char *error,
                                            size_t error_size)
{
    struct troupe__yaml *root;
    struct troupe__cluster cluster = {.nodes = NULL};
    struct reading reading = {path, &cluster, error, error_size};
    enum troupe_error result = troupe__yaml_read(path, &root, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = read_head(&reading, root);
    result = result == TROUPE_OK ? read_nodes(&reading, root) : result;
    result = result == TROUPE_OK ? read_clients(&reading, root) : result;
    result = result == TROUPE_OK ? read_snapshots(&reading, root) : result;
    troupe__yaml_free(root);
    if (result != TROUPE_OK) {
        troupe__cluster_fini(&cluster);
        return result;
    }
    *ret = cluster;
    return TROUPE_OK;
}

static bool differs_in_more_than_keys(const struct troupe__cluster *a, const struct troupe__cluster *b)
{
    bool same = a->slots.cluster == b->slots.cluster && a->slots.generation == b->slots.generation &&
                a->slots.node_count == b->slots.node_count && a->keys == b->keys &&
                memcmp(a->slots.owner, b->slots.owner, sizeof a->slots.owner) == 0 &&
                a->snapshots.every_ms == b->snapshots.every_ms && a->snapshots.keep == b->snapshots.keep &&
                a->snapshots.check == b->snapshots.check && a->snapshots.node == b->snapshots.node &&
                strcmp(a->snapshots.to, b->snapshots.to) == 0;
    for (size_t i = 0; same && i < a->slots.node_count; i++) {
        same = strcmp(a->nodes[i].name, b->nodes[i].name) == 0 &&
               strcmp(a->nodes[i].endpoint, b->nodes[i].endpoint) == 0 &&
               strcmp(a->nodes[i].clients, b->nodes[i].clients) == 0;
    }
    return !same;
}

static bool differs_in_keys(const struct troupe__cluster *a, const struct troupe__cluster *b)
{
    bool same = a->client_count == b->client_count;
    for (size_t i = 0; same && i < a->slots.node_count; i++) {
        same = strcmp(a->nodes[i].public_key, b->nodes[i].public_key) == 0;
    }
    for (size_t i = 0; same && i < a->client_count; i++) {
        same = strcmp(a->clients[i].name, b->clients[i].name) == 0 &&
               strcmp(a->clients[i].public_key, b->clients[i].public_key) == 0;
    }
    return !same;
}

enum troupe_error troupe__cluster_file_reread(const char *path, struct troupe__cluster *cluster, bool *ret_changed,
                                              char *error, size_t error_size)
{
    struct troupe__cluster fresh;
    enum troupe_error result = troupe__cluster_file_read(path, &fresh, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if (differs_in_more_than_keys(cluster, &fresh)) {
        snprintf(error, error_size, "%s: more than keys has changed: that is taken up when the nodes are started again",
                 path);
        troupe__cluster_fini(&fresh);
        return TROUPE_EINVAL;
    }
    *ret_changed = differs_in_keys(cluster, &fresh);
    for (size_t i = 0; i < cluster->slots.node_count; i++) {
        memcpy(cluster->nodes[i].public_key, fresh.nodes[i].public_key, sizeof fresh.nodes[i].public_key);
    }
    struct troupe__cluster_client *clients = cluster->clients;
    cluster->clients = fresh.clients;
    cluster->client_count = fresh.client_count;
    fresh.clients = clients;
    troupe__cluster_fini(&fresh);
    return TROUPE_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_slots(FILE *file, const struct troupe__slots *slots, uint16_t node)
{
    struct troupe__buffer text = {0};
    troupe__slots_put(slots, node, &text);
    if (text.failed || fwrite(text.data, 1, text.size, file) != text.size) {
        errno = text.failed ? ENOMEM : errno;
    }
    troupe__buffer_free(&text);
}

static void write_snapshots(FILE *file, const struct troupe__cluster *cluster)
{
    const struct troupe__cluster_snapshots *snapshots = &cluster->snapshots;
    char every[24];
    if (snapshots->every_ms == 0) {
        return;
    }
    troupe__period_text(snapshots->every_ms, every);
    fprintf(file, "snapshots:\n  every: %s\n  keep: %lu\n  check: %s\n  node: \"%s\"\n", every, snapshots->keep,
            snapshots->check ? "true" : "false", cluster->nodes[snapshots->node].name);
    if (snapshots->to[0]) {
        fputs("  to: '", file);
        for (const char *at = snapshots->to; *at; at++) {
            fputs(*at == '\'' ? "'" : "", file);
            fputc(*at, file);
        }
        fputs("'\n", file);
    }
}

enum troupe_error troupe__cluster_file_write(const char *path, const struct troupe__cluster *cluster, char *error,
                                             size_t error_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file) {
        int code = errno;
        snprintf(error, error_size, "create %s: %s", path, strerror(code));
        if (fd >= 0) {
            close(fd);
            unlink(path);
        }
        return code == EEXIST ? TROUPE_EBUSY : code == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    fprintf(file, "cluster: \"%016" PRIx64 "\"\ngeneration: %" PRIu64 "\nnodes:\n", cluster->slots.cluster,
            cluster->slots.generation);
    for (int i = 0; i < cluster->slots.node_count; i++) {
        const struct troupe__cluster_node *node = &cluster->nodes[i];
        fprintf(file, "  - name: \"%s\"\n    endpoint: \"%s\"\n", node->name, node->endpoint);
        if (node->clients[0]) {
            fprintf(file, "    client_endpoint: \"%s\"\n", node->clients);
        }
        if (node->public_key[0]) {
            /* Z85 has neither quotes nor backslashes. */
            fprintf(file, "    public_key: \"%s\"\n", node->public_key);
        }
        fputs("    slots: \"", file);
        write_slots(file, &cluster->slots, (uint16_t)i);
        fputs("\"\n", file);
    }
    for (size_t i = 0; i < cluster->client_count; i++) {
        fprintf(file, "%s  - name: \"%s\"\n    public_key: \"%s\"\n", i == 0 ? "clients:\n" : "",
                cluster->clients[i].name, cluster->clients[i].public_key);
    }
    write_snapshots(file, cluster);
    int code = ferror(file) || fflush(file) || fsync(fd) ? errno : 0;
    if (fclose(file) && !code) {
        code = errno;
    }
    if (code) {
        snprintf(error, error_size, "write %s: %s", path, strerror(code));
        unlink(path);
        return code == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    return TROUPE_OK;
}
