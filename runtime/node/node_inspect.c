/* node_inspect.c - what clients ask a node about itself: its rows, its figures, its dead letters.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/node_inspect.h"

#include <stdio.h>
#include <unistd.h>

#include "runtime/node/endpoint.h"
#include "runtime/node/inspector.h"
#include "runtime/node/node.h"
#include "runtime/snapshot/tally.h"
#include "state/lmdb_store.h"
#include "transport/json.h"

enum { WAITING_MAX = 64 };

struct question {
    struct question *next;
    struct troupe__desk *desk;
    enum troupe__desk_action action;
    struct troupe__inspection inspection;
    uint64_t letter, number;
    troupe__finding_fn found;
    void *context;
};

struct troupe__desk {
    struct troupe_node *node;
    struct troupe__inspector *inspector;
    void (*wake)(void *context);
    struct question *first, *last; /* the first one is being read, or its change waits to be durable */
    size_t count;
    bool reading, changing;
};

enum troupe_error troupe__desk_open(struct troupe_node *node, void (*wake)(void *context), struct troupe__desk **ret)
{
    struct troupe__desk *desk = calloc(1, sizeof *desk);
    if (!desk) {
        return TROUPE_ENOMEM;
    }
    desk->node = node;
    desk->wake = wake;
    *ret = desk;
    return TROUPE_OK;
}

/* The first question ends. */
static void answer(struct troupe__desk *desk, enum troupe_error result, const char *text)
{
    struct question *question = desk->first;
    struct troupe__finding finding = {.result = result,
                                      .text = text,
                                      .counts = question->inspection.counts,
                                      .epoch = question->inspection.epoch,
                                      .number = question->number};
    if (result == TROUPE_OK) {
        finding.rows = (struct troupe_bytes){question->inspection.rows.data, question->inspection.rows.size};
    }
    desk->first = question->next;
    desk->last = desk->first ? desk->last : NULL;
    desk->count--;
    question->found(question->context, &finding);
    troupe__buffer_free(&question->inspection.rows);
    free(question);
}

void troupe__desk_close(struct troupe__desk *desk)
{
    if (!desk) {
        return;
    }
    if (desk->inspector) {
        troupe__inspector_stop(desk->inspector);
    }
    while (desk->first) {
        answer(desk, TROUPE_ECLOSED, "the node ended");
    }
    free(desk);
}

enum troupe_error troupe__desk_ask(struct troupe__desk *desk, enum troupe__desk_action action, unsigned tables,
                                   struct troupe_bytes prefix, uint64_t letter, troupe__finding_fn found, void *context)
{
    unsigned char key[8];
    if (desk->count >= WAITING_MAX) {
        return TROUPE_EFULL;
    }
    if (action == TROUPE__RETRY_DEAD || action == TROUPE__DROP_DEAD) {
        troupe__put_be64(key, letter);
        tables = 1u << TROUPE__DEAD;
        prefix = (struct troupe_bytes){key, sizeof key};
    }
    if (prefix.size > TROUPE__ROW_KEY_MAX || tables == 0 || tables >= 1u << TROUPE__TABLE_COUNT) {
        return TROUPE_EINVAL;
    }
    struct question *question = calloc(1, sizeof *question);
    if (!question ||
        (!desk->inspector && troupe__inspector_start(desk->node->store, troupe__lmdb_store_view, desk->wake, desk->node,
                                                     &desk->inspector) != TROUPE_OK)) {
        free(question);
        return TROUPE_ENOMEM;
    }
    *question = (struct question){.desk = desk, .action = action, .letter = letter, .found = found, .context = context};
    question->inspection.tables = tables;
    question->inspection.counted = action == TROUPE__COUNT_ROWS;
    question->inspection.prefix_size = prefix.size;
    if (prefix.size > 0) {
        memcpy(question->inspection.prefix, prefix.data, prefix.size);
    }
    if (desk->last) {
        desk->last->next = question;
    } else {
        desk->first = question;
    }
    desk->last = question;
    desk->count++;
    return TROUPE_OK;
}

static void on_changed(void *context, enum troupe_error result)
{
    struct troupe__desk *desk = context;
    desk->changing = false;
    if (desk->first) { /* It is not when the desk is being closed. */
        desk->first->inspection.rows.size = 0;
        answer(desk, result, result == TROUPE_OK ? NULL : "the node ended before this was known: look at the letters");
    }
}

/* The letter was read, and nothing has changed since. */
static void change_letter(struct troupe__desk *desk)
{
    struct question *question = desk->first;
    struct troupe_node *node = desk->node;
    const struct troupe__buffer *rows = &question->inspection.rows;
    struct troupe__cursor cursor = {rows->data, rows->data + rows->size, false};
    struct troupe__change change;
    char text[128];
    if (!troupe__record_next(&cursor, &change)) {
        snprintf(text, sizeof text, "there is no dead letter %llu; see troupe dead list",
                 (unsigned long long)question->letter);
        answer(desk, TROUPE_ENOTFOUND, text);
        return;
    }
    if (troupe__waiters_reserve(&node->waiters) != TROUPE_OK) {
        answer(desk, TROUPE_ENOMEM, "out of memory");
        return;
    }
    enum troupe_error result = troupe__machine_move_dead(&node->machine, question->letter, change.value,
                                                         question->action == TROUPE__RETRY_DEAD, &question->number);
    if (result != TROUPE_OK) {
        answer(desk, result, node->machine.error);
        return;
    }
    desk->changing = true;
    troupe__waiters_push(&node->waiters, (struct troupe__waiter){node->machine.epoch, on_changed, desk});
}

void troupe__desk_turn(struct troupe__desk *desk)
{
    if (desk->reading && troupe__inspector_take(desk->inspector)) {
        struct question *question = desk->first;
        desk->reading = false;
        if (question->inspection.result != TROUPE_OK) {
            answer(desk, question->inspection.result, question->inspection.error);
        } else if (question->action == TROUPE__READ_ROWS || question->action == TROUPE__COUNT_ROWS) {
            answer(desk, TROUPE_OK, NULL);
        } else {
            change_letter(desk);
        }
    }
    if (desk->first && !desk->reading && !desk->changing) {
        desk->reading = true;
        troupe__inspector_begin(desk->inspector, &desk->first->inspection);
    }
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static void put_figure(struct troupe__buffer *text, bool json, const char *prefix, const char *name, uint64_t number)
{
    char digits[32];
    char whole[TROUPE_NAME_MAX + 64];
    int size = snprintf(whole, sizeof whole, "%s%s", prefix, name);
    if (json) {
        troupe__buffer_put_byte(text, text->size > 0 ? ',' : '{');
        troupe__json_write_string(whole, (size_t)size, text);
        size = snprintf(digits, sizeof digits, ":%llu", (unsigned long long)number);
    } else {
        troupe__buffer_put(text, whole, (size_t)size);
        size = snprintf(digits, sizeof digits, "\t%llu\n", (unsigned long long)number);
    }
    troupe__buffer_put(text, digits, (size_t)size);
}

/* Of the link to another node: what was sent to it and taken in from it, and what it has not acknowledged. */
static void put_link(const struct troupe_node *node, uint16_t peer, bool json, struct troupe__buffer *text)
{
    const struct troupe__link *link = &node->links->links[peer];
    uint64_t oldest_ns = troupe__link_oldest_ns(link), now_ns = troupe__monotonic_ns(node->clock);
    const struct {
        const char *name;
        uint64_t number;
    } figures[] = {
        {"up", link->state == TROUPE__LINK_UP},
        {"lost", link->state == TROUPE__LINK_LOST},
        {"sent", link->row.sent},
        {"accepted", link->row.accepted},
        {"backlog", link->row.sent - link->acknowledged},
        {"backlog_bytes", troupe__outbox_size(&node->links->outboxes[peer])},
        {"unacknowledged_ms", oldest_ns > 0 && now_ns > oldest_ns ? (now_ns - oldest_ns) / 1000000 : 0},
        {"resends", link->resends},
    };
    char prefix[TROUPE__NODE_NAME_MAX + 8];
    snprintf(prefix, sizeof prefix, "link/%s/", node->place->cluster->nodes[peer].name);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        put_figure(text, json, prefix, figures[i].name, figures[i].number);
    }
}

/* 0 where /proc does not say. */
static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        pages = fscanf(file, "%*u %lu", &pages) == 1 ? pages : 0;
        fclose(file);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Named as of a node that does not run. */
static void put_counts(const uint64_t *counts, bool json, struct troupe__buffer *text)
{
    static const struct {
        enum troupe__table table;
        const char *name;
    } counted[] = {{TROUPE__STATE, "values"},      {TROUPE__DEAD, "dead"},     {TROUPE__EGRESS, "egress"},
                   {TROUPE__RESPONSE, "response"}, {TROUPE__OUTBOX, "outbox"}, {TROUPE__SWEEP, "sweeps"}};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        if (counts[counted[i].table] != TROUPE__NOT_COUNTED) {
            put_figure(text, json, "", counted[i].name, counts[counted[i].table]);
        }
    }
}

void troupe__desk_figures(const struct troupe_node *node, const uint64_t *counts, bool json,
                          struct troupe__buffer *text)
{
    const struct troupe__machine *machine = &node->machine;
    struct troupe__endpoint_figures clients = troupe__endpoint_figures(node->endpoint);
    const struct {
        const char *name;
        uint64_t number;
    } figures[] = {
        {"epoch", node->durable},
        {"messages", machine->sequence},
        {"timers_set", machine->ctx.timer_last / TROUPE__ID_STEP},
        {"egress_records", machine->egress_number},
        {"egress_released", machine->egress_released},
        {"now_ms", (uint64_t)machine->ctx.now_ms},
        {"mail", machine->waiting},
        {"timers", machine->timers.count - machine->blocked}, /* the others are next attempts */
        {"jobs", machine->jobs.count},
        {"actor_bytes", machine->actors.size},
        {"message_bytes", machine->actors.message_size},
        {"blocked", machine->blocked},
        {"deliveries", machine->stats.deliveries},
        {"failures", machine->stats.failures},
        {"dead_letters", machine->stats.dead},
        {"repeats", machine->stats.repeats},
        {"late_answers", machine->stats.late_answers},
        {"input_lines", node->input.line},
        {"bad_lines", node->bad_lines},
        {"requests", clients.requests},
        {"requests_refused", clients.refused},
        {"replies_dropped", clients.dropped},
        {"clients", clients.clients},
        {"requests_under_way", clients.under_way},
        {"tails", clients.tails},
        {"rss_bytes", resident_bytes()},
        {"pid", (uint64_t)getpid()},
        {"start", node->links ? node->links->incarnation >> 32 : 0},
        {"idle", troupe__node_idle(node)},
        {"activity", troupe__node_activity(node)},
        {"input_open", node->input.fd >= 0},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        put_figure(text, json, "", figures[i].name, figures[i].number);
    }
    if (counts) {
        put_counts(counts, json, text);
    }
    for (size_t i = 0; i < machine->egress_name_count; i++) {
        put_figure(text, json, "egress/", machine->egress_names[i].name, machine->egress_names[i].sequence);
    }
    for (uint16_t peer = 0; node->links && peer < node->links->options.slots->node_count; peer++) {
        if (peer != node->links->options.self) {
            put_link(node, peer, json, text);
        }
    }
    if (json) {
        troupe__buffer_put(text, "}\n", 2);
    }
}
