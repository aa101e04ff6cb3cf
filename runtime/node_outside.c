/* node_outside.c - messages into a node by call, and what it tells in return: done, records.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "runtime/node.h"

enum troupe_error troupe_node_send(struct troupe_node *node, const char *id, struct troupe_address to, const char *type,
                                   struct troupe_bytes body, troupe_done_fn done, void *context)
{
    struct troupe__machine *machine = &node->machine;
    if (node->ended || node->stopping) {
        return TROUPE_ECLOSED;
    }
    if (!troupe__node_has_room(node)) {
        snprintf(node->error, sizeof node->error, "%zu messages wait already: send again later", machine->waiting);
        return TROUPE_EFULL;
    }
    if (!to.type || !to.key || !type || (!body.data && body.size > 0)) {
        snprintf(node->error, sizeof node->error, "an address, a message name or a body is NULL");
        return TROUPE_EINVAL;
    }
    /* First what can fail for lack of memory: a message that is in cannot be taken back. */
    enum troupe_error result = done ? troupe__waiters_reserve(&node->waiters) : TROUPE_OK;
    result = result == TROUPE_OK ? troupe__machine_arrive(machine, id, to, type, body) : result;
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", result == TROUPE_ENOMEM ? "out of memory" : machine->error);
        return result;
    }
    if (done) { /* A repeat adds nothing: then what is told of is the epoch sealed last. */
        uint64_t epoch = troupe__machine_dirty(machine) ? machine->epoch : machine->epoch - 1;
        troupe__waiters_push(&node->waiters, (struct troupe__waiter){epoch, done, context});
    }
    return TROUPE_OK;
}

uint64_t troupe__node_hand_out(struct troupe_node *node, const struct troupe__buffer *records)
{
    struct troupe__cursor cursor = {records->data, records->data + records->size, false};
    struct troupe__egress egress;
    uint64_t last = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        char name[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
        snprintf(name, sizeof name, "%.*s", (int)egress.name.size, (const char *)egress.name.data);
        snprintf(key, sizeof key, "%.*s", (int)egress.key.size, (const char *)egress.key.data);
        last = egress.number;
        if (node->options.on_record) {
            struct troupe_record record = {name, key, egress.sequence, egress.body};
            node->options.on_record(node->options.record_context, &record);
        }
    }
    return last;
}

void troupe__node_let_out(struct troupe_node *node)
{
    assert(!node->committed.busy);
    node->durable = node->committed.epoch;
    if (node->epoch.egress_last && (node->options.on_record || !node->options.output)) {
        troupe__node_hand_out(node, &node->epoch.egress);
        if (!node->options.output) {
            node->released = node->epoch.egress_last; /* The next epoch that is sealed drops the rows. */
        }
    }
}

void troupe__node_tell_waiters(struct troupe_node *node)
{
    struct troupe__waiter waiter;
    while (troupe__waiters_pop(&node->waiters, node->durable, &waiter)) {
        waiter.done(waiter.context, TROUPE_OK);
    }
}

void troupe__node_give_up(struct troupe_node *node)
{
    struct troupe__waiter waiter;
    while (troupe__waiters_pop(&node->waiters, UINT64_MAX, &waiter)) {
        waiter.done(waiter.context, TROUPE_ECLOSED);
    }
}
