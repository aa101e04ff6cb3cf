/* roster.c - whose keys a node that runs lets in: taken up again when the file that lists them changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/roster.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/node/endpoint.h"
#include "transport/zmq_wire.h"

#define LOOK_S 2.0   /* where the kernel does not tell */
#define SETTLE_S 0.2 /* without a change: whoever writes it has finished */

struct troupe__roster {
    struct troupe_node *node;
    ev_stat file;
    ev_timer settled;
};

static enum troupe_error change_wire(struct troupe_node *node, char *error, size_t error_size)
{
    const char *public_keys[TROUPE__NODES_MAX];
    const struct troupe__cluster *cluster = node->place->cluster;
    for (size_t i = 0; i < cluster->slots.node_count; i++) {
        public_keys[i] = cluster->nodes[i].public_key;
    }
    return troupe__zmq_wire_change_keys(node->wire, public_keys, error, error_size);
}

static void take_up(struct troupe_node *node)
{
    const struct troupe__place *place = node->place;
    char error[512];
    bool changed = false;
    enum troupe_error result = place->reread(place->context, &changed, error, sizeof error);
    if (result == TROUPE_OK && !changed) {
        return;
    }
    result = result == TROUPE_OK ? change_wire(node, error, sizeof error) : result;
    if (result == TROUPE_OK && node->endpoint) {
        result = troupe__endpoint_change_keys(node->endpoint, error, sizeof error);
    }
    if (result != TROUPE_OK) {
        troupe__node_report(node, TROUPE_WARNING, "who is let in stays as it was: %s", error);
        return;
    }
    troupe__node_report(node, TROUPE_INFO, "the keys in %s are let in from now on: %u nodes, %zu clients", place->file,
                        place->cluster->slots.node_count, place->cluster->client_count);
    if (strcmp(place->cluster->nodes[place->self].public_key, place->keys->public_key) != 0) {
        troupe__node_report(node, TROUPE_WARNING,
                            "this node has another key in %s than the one that it runs with: start it again, with the "
                            "secret key that belongs to it; until then the others do not hear it",
                            place->file);
    }
}

static void on_settled(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct troupe__roster *roster = timer->data;
    ev_timer_stop(loop, timer);
    take_up(roster->node);
}

static void on_change(struct ev_loop *loop, ev_stat *file, int events)
{
    (void)events;
    struct troupe__roster *roster = file->data;
    ev_timer_again(loop, &roster->settled);
}

enum troupe_error troupe__roster_open(struct troupe_node *node, struct troupe__roster **ret)
{
    const struct troupe__place *place = node->place;
    *ret = NULL;
    if (!place || !place->keys || !place->file) {
        return TROUPE_OK;
    }
    struct troupe__roster *roster = calloc(1, sizeof *roster);
    if (!roster) {
        return TROUPE_ENOMEM;
    }
    roster->node = node;
    ev_init(&roster->settled, on_settled);
    roster->settled.repeat = SETTLE_S;
    roster->settled.data = roster;
    ev_stat_init(&roster->file, on_change, place->file, LOOK_S);
    roster->file.data = roster;
    ev_stat_start(node->loop, &roster->file);
    ev_timer_again(node->loop, &roster->settled); /* It may have changed since it was read first. */
    *ret = roster;
    return TROUPE_OK;
}

void troupe__roster_close(struct troupe__roster *roster)
{
    if (roster) {
        ev_timer_stop(roster->node->loop, &roster->settled);
        ev_stat_stop(roster->node->loop, &roster->file);
        free(roster);
    }
}
