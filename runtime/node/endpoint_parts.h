/* endpoint_parts.h - what endpoint.c and endpoint_tails.c share: clients, and whom a reply goes to.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_NODE_ENDPOINT_PARTS_H
#define TROUPE_RUNTIME_NODE_ENDPOINT_PARTS_H

#include <limits.h>

#include "runtime/node/endpoint.h"
#include "runtime/node/node.h"
#include "runtime/node/node_inspect.h"
#include "transport/gate.h"
#include "transport/protocol.h"
#include "transport/socket.h"

enum { TROUPE__CLIENT_NAME_MAX = 255 }; /* bytes of ZeroMQ's name of a peer */

struct troupe__client {
    struct troupe__client *next;
    size_t under_way, tails;
    uint8_t name_size;
    unsigned char name[TROUPE__CLIENT_NAME_MAX];
};

/* Whom a reply goes to. */
struct troupe__caller {
    struct troupe__endpoint *endpoint;
    struct troupe__client *client;
    uint64_t number;
    bool delimited; /* the request came behind an empty frame, as a REQ socket sends it */
};

struct troupe__tail {
    struct troupe__tail *next;
    struct troupe__caller caller;
    char egress[TROUPE_NAME_MAX + 1];
    struct troupe__recent_place place;
    uint64_t expected; /* the next sequence number; 0: whatever comes */
    uint64_t promised; /* records up to this are out once `settled` is durable */
    uint64_t settled;
    uint64_t credit;
    int64_t spoke_ms;
};

struct troupe__endpoint {
    struct troupe_node *node;
    struct troupe__socket *socket;
    struct troupe__gate *gate; /* NULL: everybody may connect */
    struct troupe__refusals refusals;
    void (*wake)(void *context); /* the node's loop, from any thread */
    ev_io readable;
    struct troupe__client *clients[1024]; /* chains */
    struct troupe__tail *tails;
    size_t tail_count, client_count, under_way;
    int64_t full_since_ms; /* 0: there was room */
    bool waiting, retry;   /* requests wait for room; a tail waits for its client */
    struct troupe__desk *desk;
    struct troupe__buffer out, text;
    struct troupe__request request; /* being handled */
    struct troupe__endpoint_figures figures;
    char file[PATH_MAX];
    bool photographed;          /* the node's own directory has, or will have, the part of a snapshot ... */
    uint64_t photograph_colour; /* ... of this colour */
    char error[512];
};

int64_t troupe__endpoint_now_ms(const struct troupe__endpoint *endpoint);

/* Forget a client with nothing under way. */
void troupe__endpoint_let_go(struct troupe__endpoint *endpoint, struct troupe__client *client);

/* Errors: those of sending; TROUPE_ENOMEM. */
enum troupe_error troupe__endpoint_send(const struct troupe__caller *caller, const struct troupe__reply *reply);

/* Send it; one that cannot be sent is counted, and the client asks again. */
void troupe__endpoint_reply(const struct troupe__caller *caller, const struct troupe__reply *reply);
void troupe__endpoint_refuse(const struct troupe__caller *caller, enum troupe_error error, const char *text);

/* Something that is asked is under way: a copy of the caller until it is finished; NULL when out of memory. */
struct troupe__caller *troupe__endpoint_begin(const struct troupe__caller *caller);
void troupe__endpoint_finish(struct troupe__caller *caller);

/* ---- endpoint_snapshots.c ---- */

/* Handle the request, and reply by itself, if it is one of a snapshot's; else returns false. */
bool troupe__endpoint_photograph(struct troupe__endpoint *endpoint, const struct troupe__caller *caller);

/* Remove what a photograph has left in the node's own directory. */
void troupe__endpoint_clear_photograph(struct troupe__endpoint *endpoint);

/* ---- endpoint_tails.c ---- */

/* The requests "tail", and "credit" or "cancel" for one that is there; each replies by itself. */
void troupe__endpoint_begin_tail(struct troupe__endpoint *endpoint, const struct troupe__caller *caller);
void troupe__endpoint_change_tail(struct troupe__endpoint *endpoint, const struct troupe__caller *caller, bool cancel);

/* Send what there is credit for. Returns whether more could be sent at once. */
bool troupe__endpoint_follow(struct troupe__endpoint *endpoint);

/* When the next one must be spoken to though there is nothing to send; INT64_MAX: never. */
int64_t troupe__endpoint_tails_due_ms(const struct troupe__endpoint *endpoint);

void troupe__endpoint_drop_tails(struct troupe__endpoint *endpoint);

#endif
