/* sim_wire.c - the network of a simulation: a wire for each node, and frames on their way between them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/sim_wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/grow.h"

enum { SLOW_FACTOR = 50, LATE_FACTOR = 20 };

struct frame {
    uint64_t at_ns, order; /* of sending; decides between equal times */
    uint16_t from, to;
    size_t size;
    unsigned char bytes[];
};

/* From one node to another. */
struct path {
    uint64_t sent, last_at_ns, cut_until_ns, slow_until_ns;
};

struct sim_wire {
    struct troupe__wire base;
    struct troupe__sim_network *network;
    uint16_t node;
};

struct troupe__sim_network {
    struct troupe__sim_network_options options;
    uint64_t now_ns, order;
    struct sim_wire *wires;
    struct path *paths;    /* from * node_count + to */
    struct frame **frames; /* a binary heap */
    size_t frame_count, frame_capacity;
};

/* ---- the heap ---------------------------------------------------------------------------------------------------- */

static bool earlier(const struct frame *a, const struct frame *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void sift_down(struct troupe__sim_network *network, struct frame *frame)
{
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < network->frame_count && earlier(network->frames[child + 1], network->frames[child])) {
            child++;
        }
        if (child >= network->frame_count || earlier(frame, network->frames[child])) {
            break;
        }
        network->frames[at] = network->frames[child];
        at = child;
    }
    network->frames[at] = frame;
}

static bool push(struct troupe__sim_network *network, struct frame *frame)
{
    struct frame **frames =
        troupe__grow(network->frames, network->frame_count, &network->frame_capacity, sizeof *frames);
    if (!frames) {
        return false;
    }
    network->frames = frames;
    size_t at = network->frame_count++;
    while (at > 0 && earlier(frame, network->frames[(at - 1) / 2])) {
        network->frames[at] = network->frames[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    network->frames[at] = frame;
    return true;
}

static struct frame *pop(struct troupe__sim_network *network)
{
    assert(network->frame_count > 0);
    struct frame *first = network->frames[0], *last = network->frames[--network->frame_count];
    if (network->frame_count > 0) {
        sift_down(network, last);
    }
    return first;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static struct path *path_of(const struct troupe__sim_network *network, uint16_t from, uint16_t to)
{
    return &network->paths[(size_t)from * network->options.node_count + to];
}

static bool strikes(struct troupe__sim_network *network, enum troupe__choice kind, uint32_t per_mille, uint64_t id)
{
    if (per_mille == 0) {
        return false;
    }
    uint32_t dice = troupe__choose(network->options.oracle, kind, 1000, id);
    return dice > 0 && dice <= per_mille;
}

static uint64_t delay_of(struct troupe__sim_network *network, const struct path *path, uint64_t id)
{
    const struct troupe__sim_network_options *options = &network->options;
    uint64_t spread = options->delay_max_ns - options->delay_min_ns;
    uint64_t delay = options->delay_min_ns;
    if (spread > 0) {
        delay += spread * troupe__choose(options->oracle, TROUPE__CHOOSE_DELAY, 1024, id) / 1024;
    }
    return network->now_ns < path->slow_until_ns ? delay * SLOW_FACTOR : delay;
}

static void put_under_way(struct troupe__sim_network *network, uint16_t from, uint16_t to, struct troupe_bytes bytes,
                          uint64_t at_ns)
{
    struct frame *frame = malloc(sizeof *frame + bytes.size);
    if (!frame) {
        return; /* No more than a loss. */
    }
    *frame = (struct frame){.at_ns = at_ns, .order = network->order++, .from = from, .to = to, .size = bytes.size};
    memcpy(frame->bytes, bytes.data, bytes.size);
    if (!push(network, frame)) {
        free(frame);
    }
}

static enum troupe_error sim_send(struct troupe__wire *base, uint16_t to, struct troupe_bytes bytes)
{
    struct sim_wire *wire = (struct sim_wire *)base;
    struct troupe__sim_network *network = wire->network;
    const struct troupe__sim_network_options *options = &network->options;
    assert(to < options->node_count);
    struct path *path = path_of(network, wire->node, to);
    uint64_t id = troupe__id_mix((uint64_t)wire->node << 16 | to, path->sent++);
    if (network->now_ns < path->cut_until_ns || strikes(network, TROUPE__CHOOSE_LOSS, options->loss, id)) {
        return TROUPE_OK;
    }
    uint64_t delay_ns = delay_of(network, path, id), at_ns = network->now_ns + delay_ns;
    if (strikes(network, TROUPE__CHOOSE_REORDERING, options->reordering, id)) {
        at_ns += delay_ns * LATE_FACTOR;
    } else {
        at_ns = at_ns < path->last_at_ns ? path->last_at_ns : at_ns;
        path->last_at_ns = at_ns;
    }
    put_under_way(network, wire->node, to, bytes, at_ns);
    if (strikes(network, TROUPE__CHOOSE_DUPLICATION, options->duplication, id)) {
        put_under_way(network, wire->node, to, bytes, at_ns + delay_ns * (1 + id % LATE_FACTOR));
    }
    return TROUPE_OK;
}

static void sim_close(struct troupe__wire *wire)
{
    wire->on_frame = NULL;
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

struct troupe__sim_network *troupe__sim_network_new(const struct troupe__sim_network_options *options)
{
    assert(options->node_count > 0 && options->delay_min_ns <= options->delay_max_ns);
    struct troupe__sim_network *network = calloc(1, sizeof *network);
    if (!network) {
        return NULL;
    }
    network->options = *options;
    network->wires = calloc(options->node_count, sizeof *network->wires);
    network->paths = calloc((size_t)options->node_count * options->node_count, sizeof *network->paths);
    if (!network->wires || !network->paths) {
        troupe__sim_network_free(network);
        return NULL;
    }
    for (uint16_t node = 0; node < options->node_count; node++) {
        network->wires[node] = (struct sim_wire){{.send = sim_send, .close = sim_close}, network, node};
    }
    return network;
}

void troupe__sim_network_free(struct troupe__sim_network *network)
{
    if (!network) {
        return;
    }
    for (size_t i = 0; i < network->frame_count; i++) {
        free(network->frames[i]);
    }
    free(network->frames);
    free(network->wires);
    free(network->paths);
    free(network);
}

struct troupe__wire *troupe__sim_network_wire(struct troupe__sim_network *network, uint16_t node)
{
    return &network->wires[node].base;
}

void troupe__sim_network_set_now(struct troupe__sim_network *network, uint64_t now_ns)
{
    assert(now_ns >= network->now_ns);
    network->now_ns = now_ns;
}

bool troupe__sim_network_next(const struct troupe__sim_network *network, struct troupe__sim_arrival *ret)
{
    if (network->frame_count == 0) {
        return false;
    }
    const struct frame *frame = network->frames[0];
    *ret = (struct troupe__sim_arrival){frame->at_ns, frame->to, {frame->bytes, frame->size}};
    return true;
}

void troupe__sim_network_deliver(struct troupe__sim_network *network)
{
    struct frame *frame = pop(network);
    struct troupe__wire *wire = &network->wires[frame->to].base;
    if (wire->on_frame && frame->at_ns >= path_of(network, frame->from, frame->to)->cut_until_ns) {
        wire->on_frame(wire->context, frame->from, (struct troupe_bytes){frame->bytes, frame->size});
    }
    free(frame);
}

void troupe__sim_network_drop(struct troupe__sim_network *network)
{
    free(pop(network));
}

void troupe__sim_network_postpone(struct troupe__sim_network *network, uint64_t until_ns)
{
    struct frame *frame = pop(network);
    assert(until_ns > frame->at_ns);
    frame->at_ns = until_ns;
    push(network, frame); /* There is room: one was taken out. */
}

void troupe__sim_network_cut(struct troupe__sim_network *network, uint16_t from, uint16_t to, uint64_t until_ns)
{
    path_of(network, from, to)->cut_until_ns = until_ns;
}

void troupe__sim_network_slow(struct troupe__sim_network *network, uint16_t from, uint16_t to, uint64_t until_ns)
{
    path_of(network, from, to)->slow_until_ns = until_ns;
}

void troupe__sim_network_calm(struct troupe__sim_network *network)
{
    network->options.loss = network->options.duplication = network->options.reordering = 0;
    size_t count = (size_t)network->options.node_count * network->options.node_count;
    for (size_t i = 0; i < count; i++) {
        network->paths[i].cut_until_ns = network->paths[i].slow_until_ns = 0;
    }
}
