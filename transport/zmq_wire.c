/* zmq_wire.c - the wire between the nodes of a troupe over ZeroMQ.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/zmq_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/slots.h"
#include "transport/socket.h"

enum { FRAMES_MAX = 128 /* in the queue of a connection; links keep less in flight */ };

struct zmq_wire {
    struct troupe__wire base;
    struct troupe__socket *in;
    struct peer {
        char endpoint[TROUPE__ENDPOINT_SIZE], public_key[TROUPE__KEY_SIZE + 1];
        struct troupe__socket *out; /* NULL until there is something to send */
    } * peers;
    uint16_t count, self;
    bool secure;
    struct troupe__key_pair keys;
    struct troupe__gate *gate;
    size_t frame_size_max;
};

static struct zmq_wire *of(struct troupe__wire *wire)
{
    return (struct zmq_wire *)wire;
}

static enum troupe_error open_out(struct zmq_wire *wire, struct peer *peer)
{
    struct troupe__socket_keys keys = {
        .public_key = wire->keys.public_key, .secret_key = wire->keys.secret_key, .server_key = peer->public_key};
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER,
                                             .keys = wire->secure ? &keys : NULL,
                                             .queue_max = FRAMES_MAX,
                                             .quiet = true,
                                             .drop_unconnected = true};
    char error[256];
    enum troupe_error result = troupe__socket_open(&options, &peer->out, error, sizeof error);
    if (result == TROUPE_OK) {
        result = troupe__socket_connect(peer->out, peer->endpoint, error, sizeof error);
    }
    return result;
}

static enum troupe_error wire_send(struct troupe__wire *base, uint16_t node, struct troupe_bytes frame)
{
    struct zmq_wire *wire = of(base);
    struct peer *peer = &wire->peers[node];
    if (node >= wire->count || node == wire->self || (!peer->out && open_out(wire, peer) != TROUPE_OK)) {
        return TROUPE_EFULL;
    }
    return troupe__socket_send(peer->out, &frame, 1) == TROUPE_OK ? TROUPE_OK : TROUPE_EFULL;
}

static void wire_close(struct troupe__wire *base)
{
    struct zmq_wire *wire = of(base);
    for (uint16_t i = 0; i < wire->count; i++) {
        troupe__socket_close(wire->peers[i].out);
    }
    troupe__socket_close(wire->in);
    troupe__gate_close(wire->gate);
    free(wire->peers);
    free(wire);
}

/* Who may connect: users are nodes by their index, in decimal, and their key. NULL when out of memory. */
static struct troupe__gate_entry *list_entries(const struct zmq_wire *wire, const char *const *public_keys)
{
    struct troupe__gate_entry *entries = calloc(wire->count, sizeof *entries);
    for (uint16_t i = 0; entries && i < wire->count; i++) {
        snprintf(entries[i].public_key, sizeof entries[i].public_key, "%s", public_keys[i]);
        snprintf(entries[i].user, sizeof entries[i].user, "%u %.40s", i, public_keys[i]);
    }
    return entries;
}

static enum troupe_error open_gate(struct zmq_wire *wire, const struct troupe__zmq_wire_options *options, char *error,
                                   size_t error_size)
{
    const char *public_keys[TROUPE__NODES_MAX];
    for (uint16_t i = 0; i < wire->count; i++) {
        public_keys[i] = wire->peers[i].public_key;
    }
    struct troupe__gate_entry *entries = list_entries(wire, public_keys);
    if (!entries) {
        snprintf(error, error_size, "open the wire: out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result =
        troupe__gate_open(entries, wire->count, options->refused, options->context, &wire->gate, error, error_size);
    free(entries);
    return result;
}

enum troupe_error troupe__zmq_wire_change_keys(struct troupe__wire *base, const char *const *public_keys, char *error,
                                               size_t error_size)
{
    struct zmq_wire *wire = of(base);
    struct troupe__gate_entry *entries = list_entries(wire, public_keys);
    if (!entries) {
        snprintf(error, error_size, "change the keys: out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = troupe__gate_change(wire->gate, entries, wire->count, error, error_size);
    free(entries);
    for (uint16_t i = 0; i < wire->count && result == TROUPE_OK; i++) {
        struct peer *peer = &wire->peers[i];
        if (i != wire->self && strcmp(peer->public_key, public_keys[i]) != 0) {
            snprintf(peer->public_key, sizeof peer->public_key, "%s", public_keys[i]);
            troupe__socket_close(peer->out); /* Opened again, with this key, when there is something to send. */
            peer->out = NULL;
        }
    }
    return result;
}

static enum troupe_error open_in(struct zmq_wire *wire, char *error, size_t error_size)
{
    struct troupe__socket_keys keys = {.public_key = wire->keys.public_key,
                                       .secret_key = wire->keys.secret_key,
                                       .domain = wire->secure ? troupe__gate_domain(wire->gate) : NULL};
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER,
                                             .keys = wire->secure ? &keys : NULL,
                                             .message_size_max = wire->frame_size_max,
                                             .queue_max = FRAMES_MAX,
                                             .quiet = true};
    char endpoint[TROUPE__ENDPOINT_SIZE];
    enum troupe_error result = troupe__socket_open(&options, &wire->in, error, error_size);
    if (result == TROUPE_OK && wire->secure && (result = troupe__gate_watch(wire->gate, wire->in)) != TROUPE_OK) {
        snprintf(error, error_size, "open the wire: its handshakes cannot be watched");
    }
    return result == TROUPE_OK
               ? troupe__socket_listen(wire->in, wire->peers[wire->self].endpoint, endpoint, error, error_size)
               : result;
}

enum troupe_error troupe__zmq_wire_open(const struct troupe__zmq_wire_options *options, struct troupe__wire **ret,
                                        char *error, size_t error_size)
{
    struct zmq_wire *wire = calloc(1, sizeof *wire);
    if (!wire || !(wire->peers = calloc(options->count, sizeof *wire->peers))) {
        free(wire);
        snprintf(error, error_size, "open the wire: out of memory");
        return TROUPE_ENOMEM;
    }
    wire->base.send = wire_send;
    wire->base.close = wire_close;
    wire->count = options->count;
    wire->self = options->self;
    wire->frame_size_max = options->frame_size_max;
    wire->secure = options->keys != NULL;
    if (wire->secure) {
        wire->keys = *options->keys;
    }
    for (uint16_t i = 0; i < wire->count; i++) {
        const char *key = options->peers[i].public_key;
        snprintf(wire->peers[i].endpoint, sizeof wire->peers[i].endpoint, "%s", options->peers[i].endpoint);
        snprintf(wire->peers[i].public_key, sizeof wire->peers[i].public_key, "%s", key ? key : "");
    }
    enum troupe_error result = TROUPE_OK;
    if (wire->secure && strcmp(wire->peers[wire->self].public_key, wire->keys.public_key) != 0) {
        snprintf(error, error_size,
                 "the secret key belongs to the public key '%s', but the cluster file gives this node '%s'",
                 wire->keys.public_key, wire->peers[wire->self].public_key);
        result = TROUPE_EINVAL;
    }
    /* The gate comes first: a socket that listens without one lets everybody in. */
    result = result == TROUPE_OK && wire->secure ? open_gate(wire, options, error, error_size) : result;
    result = result == TROUPE_OK ? open_in(wire, error, error_size) : result;
    if (result != TROUPE_OK) {
        wire_close(&wire->base);
        return result;
    }
    *ret = &wire->base;
    return TROUPE_OK;
}

int troupe__zmq_wire_fd(struct troupe__wire *wire)
{
    return troupe__socket_fd(of(wire)->in);
}

/* The node whose key opened the connection; with keys a frame of anybody else does not pass. */
static bool authenticate(const struct zmq_wire *wire, const char *user, int *ret_peer)
{
    char *end;
    *ret_peer = TROUPE__PEER_UNKNOWN;
    if (!wire->secure) {
        return true;
    }
    if (!troupe__gate_admits(wire->gate, user)) {
        return false;
    }
    long number = strtol(user, &end, 10);
    if (end == user || *end != ' ' || number < 0 || number >= wire->count) {
        return false;
    }
    *ret_peer = (int)number;
    return true;
}

size_t troupe__zmq_wire_poll(struct troupe__wire *base, size_t budget)
{
    struct zmq_wire *wire = of(base);
    struct troupe__frames frames;
    size_t count = 0;
    while (count < budget && troupe__socket_receive(wire->in, &frames) == TROUPE_OK) {
        int peer;
        count++;
        if (frames.count == 1 && authenticate(wire, frames.user, &peer)) {
            base->on_frame(base->context, peer, frames.part[0]);
        }
    }
    return count;
}
