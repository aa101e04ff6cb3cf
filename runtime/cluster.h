/* cluster.h - which nodes a troupe has: their names, endpoints, public keys and slots.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The same on every node; it comes from a cluster file (runtime/cli/cluster_file.h) or is made for nodes of one
 * machine. Nodes are known by their index to the slots, the wire and the links, by their name to people. */
#ifndef TROUPE_RUNTIME_CLUSTER_H
#define TROUPE_RUNTIME_CLUSTER_H

#include "core/buffer.h"
#include "core/slots.h"

enum { TROUPE__NODE_NAME_MAX = 63, TROUPE__ENDPOINT_MAX = 255, TROUPE__KEY_TEXT_SIZE = 40 /* Z85 */ };

struct troupe__cluster_node {
    char name[TROUPE__NODE_NAME_MAX + 1];
    char endpoint[TROUPE__ENDPOINT_MAX + 1];    /* tcp://HOST:PORT or ipc://PATH: for the other nodes */
    char clients[TROUPE__ENDPOINT_MAX + 1];     /* the same for clients; "" where the file does not say */
    char public_key[TROUPE__KEY_TEXT_SIZE + 1]; /* "" without keys */
};

/* Who may connect as a client, where there are keys. */
struct troupe__cluster_client {
    char name[TROUPE__NODE_NAME_MAX + 1];
    char public_key[TROUPE__KEY_TEXT_SIZE + 1];
};

enum { TROUPE__SNAPSHOTS_KEPT = 24 }; /* by the clock, unless it is said how many */

/* Snapshots of the whole troupe by the clock; zero bytes: none. */
struct troupe__cluster_snapshots {
    int64_t every_ms;
    unsigned long keep; /* how many */
    bool check;         /* run the module's check over each */
    uint16_t node;      /* beside which they are taken */
    char to[1024];      /* the directory, on that node's machine, absolute; "": snapshots in that node's directory */
};

struct troupe__cluster { /* Zero bytes are none. */
    struct troupe__slots slots;
    struct troupe__cluster_node *nodes;     /* slots.node_count */
    struct troupe__cluster_client *clients; /* client_count */
    size_t client_count;
    bool keys; /* every node has one */
    struct troupe__cluster_snapshots snapshots;
};

void troupe__cluster_fini(struct troupe__cluster *cluster);

/* 1 to 63 letters, digits, `-` and `_`. */
bool troupe__node_name_valid(const char *name);

/* tcp://HOST:PORT or ipc://PATH, of printable ASCII without space, quote and backslash, at most 255 bytes. */
bool troupe__endpoint_valid(const char *endpoint);

/* The index of the node `name`, -1 when there is none. */
int troupe__cluster_find(const struct troupe__cluster *cluster, const char *name);

/* The index of the first of `count` nodes that is reached at `endpoint`, by nodes or by clients; -1 when none is. */
int troupe__cluster_find_endpoint(const struct troupe__cluster *cluster, size_t count, const char *endpoint);

/* Append the slots of a node: "0-1023, 2048". */
void troupe__slots_put(const struct troupe__slots *slots, uint16_t node, struct troupe__buffer *text);

/* What a node tells its clients of its troupe (docs/protocol.md, `nodes`), lines with tabs between their parts: first
 * cluster, generation and the node's own name; then for each node name, endpoint for clients, public key, slots. */
void troupe__cluster_describe(const struct troupe__cluster *cluster, uint16_t self, struct troupe__buffer *text);

/* Read that; `*ret_self` is the index of the node that said it. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__cluster_read_description(const char *text, struct troupe__cluster *ret, uint16_t *ret_self);

#endif
