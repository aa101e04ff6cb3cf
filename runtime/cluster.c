/* cluster.c - which nodes a troupe has: their names, endpoints, public keys and slots.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/socket.h"

void troupe__cluster_fini(struct troupe__cluster *cluster)
{
    free(cluster->nodes);
    free(cluster->clients);
    *cluster = (struct troupe__cluster){.nodes = NULL};
}

bool troupe__node_name_valid(const char *name)
{
    size_t size = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    return size > 0 && size <= TROUPE__NODE_NAME_MAX && name[size] == '\0';
}

int troupe__cluster_find(const struct troupe__cluster *cluster, const char *name)
{
    for (int i = 0; i < cluster->slots.node_count; i++) {
        if (strcmp(cluster->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int troupe__cluster_find_endpoint(const struct troupe__cluster *cluster, size_t count, const char *endpoint)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cluster->nodes[i].endpoint, endpoint) == 0 || strcmp(cluster->nodes[i].clients, endpoint) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool troupe__endpoint_valid(const char *endpoint)
{
    bool tcp = strncmp(endpoint, "tcp://", 6) == 0, ipc = strncmp(endpoint, "ipc://", 6) == 0;
    size_t size = strlen(endpoint);
    for (size_t i = 0; i < size; i++) {
        if (endpoint[i] <= ' ' || endpoint[i] > '~' || endpoint[i] == '"' || endpoint[i] == '\\') {
            return false;
        }
    }
    return (tcp || ipc) && size > 6 && size <= TROUPE__ENDPOINT_MAX &&
           (ipc || troupe__endpoint_has_port(endpoint, false));
}

/* ---- for clients ------------------------------------------------------------------------------------------------- */

static void put_text(struct troupe__buffer *text, const char *more)
{
    troupe__buffer_put(text, more, strlen(more));
}

void troupe__slots_put(const struct troupe__slots *slots, uint16_t node, struct troupe__buffer *text)
{
    const char *between = "";
    for (int first = 0; first < TROUPE__SLOTS; first++) {
        int last = first;
        char range[32];
        if (slots->owner[first] != node) {
            continue;
        }
        while (last + 1 < TROUPE__SLOTS && slots->owner[last + 1] == node) {
            last++;
        }
        snprintf(range, sizeof range, last > first ? "%s%d-%d" : "%s%d", between, first, last);
        put_text(text, range);
        between = ", ";
        first = last;
    }
}

void troupe__cluster_describe(const struct troupe__cluster *cluster, uint16_t self, struct troupe__buffer *text)
{
    char head[64];
    snprintf(head, sizeof head, "%016" PRIx64 "\t%" PRIu64 "\t", cluster->slots.cluster, cluster->slots.generation);
    put_text(text, head);
    put_text(text, cluster->nodes[self].name);
    for (uint16_t i = 0; i < cluster->slots.node_count; i++) {
        const char *parts[] = {"\n", cluster->nodes[i].name,       "\t", cluster->nodes[i].clients,
                               "\t", cluster->nodes[i].public_key, "\t"};
        for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
            put_text(text, parts[part]);
        }
        troupe__slots_put(&cluster->slots, i, text);
    }
}

/* The next part of a line, up to a tab or newline. False when there is none, or it does not fit. */
static bool take_part(const char **at, char *part, size_t size)
{
    size_t length = strcspn(*at, "\t\n");
    if (length >= size) {
        return false;
    }
    memcpy(part, *at, length);
    part[length] = '\0';
    *at += length + ((*at)[length] == '\t');
    return true;
}

/* Slots as slots_put writes them, up to the end of the line. */
static bool take_slots(const char **at, struct troupe__slots *slots, uint16_t node)
{
    while (**at && **at != '\n') {
        char *end;
        unsigned long first = strtoul(*at, &end, 10), last = first;
        if (end == *at) {
            return false;
        }
        if (*end == '-') {
            last = strtoul(end + 1, &end, 10);
        }
        if (last >= TROUPE__SLOTS || troupe__slots_give(slots, (uint16_t)first, (uint16_t)last, node) != TROUPE_OK) {
            return false;
        }
        *at = end + strspn(end, ", ");
    }
    return true;
}

static bool read_description(const char *at, struct troupe__cluster *cluster, uint16_t count, char *self)
{
    char number[32], generation[32];
    if (!take_part(&at, number, sizeof number) || !take_part(&at, generation, sizeof generation) ||
        !take_part(&at, self, TROUPE__NODE_NAME_MAX + 1)) {
        return false;
    }
    cluster->slots.cluster = strtoull(number, NULL, 16);
    cluster->slots.generation = strtoull(generation, NULL, 10);
    cluster->slots.node_count = count;
    for (uint16_t i = 0; i < count; i++) {
        struct troupe__cluster_node *node = &cluster->nodes[i];
        if (*at++ != '\n' || !take_part(&at, node->name, sizeof node->name) || !troupe__node_name_valid(node->name) ||
            !take_part(&at, node->clients, sizeof node->clients) ||
            !take_part(&at, node->public_key, sizeof node->public_key) || !take_slots(&at, &cluster->slots, i)) {
            return false;
        }
        cluster->keys |= node->public_key[0] != '\0';
    }
    return *at == '\0';
}

enum troupe_error troupe__cluster_read_description(const char *text, struct troupe__cluster *ret, uint16_t *ret_self)
{
    struct troupe__cluster cluster = {.nodes = NULL};
    char self[TROUPE__NODE_NAME_MAX + 1] = "";
    size_t count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        count++;
    }
    if (count == 0 || count > TROUPE__NODES_MAX) {
        return TROUPE_ECORRUPT;
    }
    cluster.nodes = calloc(count, sizeof *cluster.nodes);
    if (!cluster.nodes) {
        return TROUPE_ENOMEM;
    }
    bool good = read_description(text, &cluster, (uint16_t)count, self);
    int index = good ? troupe__cluster_find(&cluster, self) : -1;
    if (index < 0) {
        troupe__cluster_fini(&cluster);
        return TROUPE_ECORRUPT;
    }
    *ret = cluster;
    *ret_self = (uint16_t)index;
    return TROUPE_OK;
}
