/* cluster.c - which nodes a troupe has: their names, endpoints, public keys and slots.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cluster.h"

#include <stdlib.h>
#include <string.h>

void troupe__cluster_fini(struct troupe__cluster *cluster)
{
    free(cluster->nodes);
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

bool troupe__endpoint_valid(const char *endpoint)
{
    bool tcp = strncmp(endpoint, "tcp://", 6) == 0, ipc = strncmp(endpoint, "ipc://", 6) == 0;
    size_t size = strlen(endpoint);
    for (size_t i = 0; i < size; i++) {
        if (endpoint[i] <= ' ' || endpoint[i] > '~' || endpoint[i] == '"' || endpoint[i] == '\\') {
            return false;
        }
    }
    return (tcp || ipc) && size > 6 && size <= TROUPE__ENDPOINT_MAX && (ipc || strrchr(endpoint + 6, ':'));
}
