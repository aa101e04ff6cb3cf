/* node_links.c - a node as one of several: frames of the other nodes in and out.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "runtime/node/node.h"
#include "transport/zmq_wire.h"

enum { FRAMES_BUDGET = 64 /* taken in between two runs */ };

/* Makes the loop turn; the descriptor is edge-triggered, so that it need not be stopped. Only the wire's own socket is
 * read, by nobody else: so when it has been read empty, nothing is there until the descriptor says so. */
static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop, (void)events;
    struct troupe_node *node = watcher->data;
    node->frames_ready = true;
}

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct troupe_node *node = context;
    if (node->links_result == TROUPE_OK) {
        node->links_result = troupe__links_take(node->links, troupe__monotonic_ns(node->clock), peer, frame);
    }
}

static enum troupe_error open_wire(struct troupe_node *node, const struct troupe__place *place)
{
    const struct troupe__cluster *cluster = place->cluster;
    struct troupe__zmq_peer *peers = calloc(cluster->slots.node_count, sizeof *peers);
    if (!peers) {
        snprintf(node->error, sizeof node->error, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (uint16_t i = 0; i < cluster->slots.node_count; i++) {
        peers[i] = (struct troupe__zmq_peer){cluster->nodes[i].endpoint, cluster->nodes[i].public_key};
    }
    struct troupe__zmq_wire_options options = {.peers = peers,
                                               .count = cluster->slots.node_count,
                                               .self = place->self,
                                               .keys = place->keys,
                                               .frame_size_max = TROUPE__FRAME_SIZE_MAX,
                                               .refused = troupe__refusals_note,
                                               .context = &node->refusals};
    enum troupe_error result = troupe__zmq_wire_open(&options, &node->wire, node->error, sizeof node->error);
    free(peers);
    return result;
}

static const char *name_of(const void *context, uint16_t node)
{
    const struct troupe__cluster *cluster = context;
    return cluster->nodes[node].name;
}

enum troupe_error troupe__node_join(struct troupe_node *node, const struct troupe__place *place)
{
    uint32_t chance;
    if (getrandom(&chance, sizeof chance, 0) != sizeof chance) {
        snprintf(node->error, sizeof node->error, "the system gives no random numbers");
        return TROUPE_EIO;
    }
    enum troupe_error result = open_wire(node, place);
    if (result != TROUPE_OK) {
        return result;
    }
    node->wire->on_frame = on_frame;
    node->wire->context = node;
    struct troupe__links_options options = {.slots = &place->cluster->slots,
                                            .self = place->self,
                                            .name = name_of,
                                            .name_context = place->cluster,
                                            .chance = chance,
                                            .wire = node->wire,
                                            .backlog_max = node->options.backlog};
    result = troupe__links_open(&node->machine, &options, &node->links, node->error, sizeof node->error);
    if (result != TROUPE_OK) {
        return result;
    }
    node->links_at_ns = 0;
    ev_io_init(&node->frames, on_readable, troupe__zmq_wire_fd(node->wire), EV_READ);
    node->frames.data = node;
    node->frames_ready = true;
    ev_io_start(node->loop, &node->frames);
    troupe__node_report(node, TROUPE_INFO, "node %s of %u listens at %s%s", place->cluster->nodes[place->self].name,
                        place->cluster->slots.node_count, place->cluster->nodes[place->self].endpoint,
                        place->keys ? "" : ", without keys");
    return TROUPE_OK;
}

void troupe__node_leave(struct troupe_node *node)
{
    if (node->links) {
        ev_io_stop(node->loop, &node->frames);
    }
    troupe__links_close(node->links);
    node->links = NULL;
    if (node->wire) {
        node->wire->close(node->wire);
        node->wire = NULL;
    }
}

static enum troupe_error fail(struct troupe_node *node, enum troupe_error result)
{
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->links->error);
    }
    return result;
}

enum troupe_error troupe__node_take_frames(struct troupe_node *node, bool *ret_more)
{
    *ret_more = false;
    if (!node->links || node->stopping) {
        return TROUPE_OK;
    }
    if (node->frames_ready) {
        node->frames_ready = troupe__zmq_wire_poll(node->wire, FRAMES_BUDGET) == FRAMES_BUDGET;
    }
    *ret_more = node->frames_ready;
    char text[256];
    if (troupe__refusals_tell(&node->refusals, "a node was", (int64_t)(troupe__monotonic_ns(node->clock) / 1000000),
                              text, sizeof text)) {
        troupe__node_report(node, TROUPE_WARNING, "%s", text);
    }
    return fail(node, node->links_result);
}

enum troupe_error troupe__node_send_frames(struct troupe_node *node)
{
    if (!node->links) {
        return TROUPE_OK;
    }
    node->links_at_ns = troupe__links_tick(node->links, troupe__monotonic_ns(node->clock));
    enum troupe_error result = troupe__links_send_messages(node->links);
    troupe__links_send_answers(node->links);
    return fail(node, result);
}
