/* node_figures.c - how far a node is, told while it runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/node.h"

static const double PERIOD_S = 0.2;

static void on_time(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)events;
    const struct troupe_node *node = watcher->data;
    const struct troupe__node_figures figures = {
        .lines = node->input.line,
        .input_offset = node->input.offset,
        .deliveries = node->machine.stats.deliveries,
        .waiting = node->machine.waiting,
        .timers = node->machine.timers.count,
    };
    node->on_figures(node->figures_context, &figures);
}

void troupe__node_tell_figures(struct troupe_node *node, troupe__figures_fn on_figures, void *context)
{
    node->on_figures = on_figures;
    node->figures_context = context;
    node->figures.data = node;
    ev_timer_init(&node->figures, on_time, PERIOD_S, PERIOD_S);
    ev_timer_start(node->loop, &node->figures);
}

bool troupe__node_idle(const struct troupe_node *node)
{
    const struct troupe__machine *machine = &node->machine;
    bool input_read = node->input.fd < 0 || ev_is_active(&node->readable);
    return !node->committed.busy && !node->input_moved && input_read && machine->waiting == 0 &&
           machine->jobs.count == 0 && !troupe__machine_dirty(machine);
}

uint64_t troupe__node_activity(const struct troupe_node *node)
{
    const struct troupe__machine *machine = &node->machine;
    uint64_t activity = machine->sequence + machine->ctx.timer_last + machine->egress_number +
                        machine->stats.deliveries + machine->stats.dead + node->input.line;
    for (uint16_t peer = 0; node->links && peer < node->links->options.slots->node_count; peer++) {
        const struct troupe__link_row *row = &node->links->links[peer].row;
        activity += row->sent + row->accepted;
    }
    return activity;
}
