/* node_outside.c - messages into a node by call, and what it tells in return: done, answers, records.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "runtime/node/endpoint.h"
#include "runtime/node/node.h"

static enum troupe_error check(struct troupe_node *node, struct troupe_address to, const char *type,
                               struct troupe_bytes body)
{
    if (node->ended || node->stopping) {
        snprintf(node->error, sizeof node->error, "the node ends: send to it again when it is back");
        return TROUPE_ECLOSED;
    }
    if (!troupe__node_has_room(node)) {
        snprintf(node->error, sizeof node->error, "%zu messages wait already: send again later", node->machine.waiting);
        return TROUPE_EFULL;
    }
    if (!to.type || !to.key || !type || (!body.data && body.size > 0)) {
        snprintf(node->error, sizeof node->error, "an address, a message name or a body is NULL");
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

static enum troupe_error explain(struct troupe_node *node, enum troupe_error result)
{
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
    }
    return result;
}

static enum troupe_error out_of_memory(struct troupe_node *node)
{
    snprintf(node->error, sizeof node->error, "out of memory");
    return TROUPE_ENOMEM;
}

/* There must be room. What was known before adds nothing to the open epoch: then it is durable with the one before. */
static void wait_for_epoch(struct troupe_node *node, troupe_done_fn done, void *context)
{
    const struct troupe__machine *machine = &node->machine;
    uint64_t epoch = troupe__machine_dirty(machine) ? machine->epoch : machine->epoch - 1;
    troupe__waiters_push(&node->waiters, (struct troupe__waiter){epoch, done, context});
}

enum troupe_error troupe_node_send(struct troupe_node *node, const char *id, struct troupe_address to, const char *type,
                                   struct troupe_bytes body, troupe_done_fn done, void *context)
{
    enum troupe_error result = check(node, to, type, body);
    if (result != TROUPE_OK) {
        return result;
    }
    /* First what can fail for lack of memory: a message that is in cannot be taken back. */
    if (done && troupe__waiters_reserve(&node->waiters) != TROUPE_OK) {
        return out_of_memory(node);
    }
    result = explain(node, troupe__machine_arrive(&node->machine, id, to, type, body));
    if (result == TROUPE_OK && done) {
        wait_for_epoch(node, done, context);
    }
    return result;
}

/* ---- asks -------------------------------------------------------------------------------------------------------- */

static void tell(const struct troupe__asker *asker, enum troupe_error result, const char *text)
{
    struct troupe_answer answer = {result, "", {NULL, 0}, text};
    asker->answer(asker->context, &answer);
}

static void tell_answer(const struct troupe__asker *asker, const struct troupe__answer *is)
{
    char type[TROUPE_NAME_MAX + 1], text[2400]; /* a dead letter's reason may hold a backtrace */
    if (is->result != TROUPE_OK) {
        snprintf(text, sizeof text, "%.*s", (int)is->body.size, (const char *)is->body.data);
        tell(asker, is->result, text);
        return;
    }
    snprintf(type, sizeof type, "%.*s", (int)is->type.size, (const char *)is->type.data);
    struct troupe_answer answer = {TROUPE_OK, type, is->body, ""};
    asker->answer(asker->context, &answer);
}

/* Somebody asked again what is answered already, perhaps by an epoch that is not durable yet. */
struct again {
    struct troupe_node *node;
    struct troupe__id id;
    struct troupe__asker asker;
};

static void answer_again(void *context, enum troupe_error durable)
{
    struct again *again = context;
    struct troupe__machine *machine = &again->node->machine;
    struct troupe__answer answer;
    enum troupe_error result = durable;
    if (result == TROUPE_OK) {
        result = troupe__machine_read_answer(machine, again->id, &answer);
    }
    if (result == TROUPE_OK) {
        tell_answer(&again->asker, &answer);
    } else {
        tell(&again->asker, result,
             durable != TROUPE_OK         ? "the node ended"
             : result == TROUPE_ENOTFOUND ? "the answer has expired"
                                          : machine->error);
    }
    free(again);
}

enum troupe_error troupe_node_ask(struct troupe_node *node, const char *id, struct troupe_address to, const char *type,
                                  struct troupe_bytes body, int64_t timeout_ms, troupe_answer_fn answer, void *context)
{
    enum { TIMEOUT_MAX_MS = 3600 * 1000 };
    uint64_t number;
    const struct troupe__response *known;
    enum troupe_error result = check(node, to, type, body);
    if (result == TROUPE_OK && (timeout_ms < 1 || timeout_ms > TIMEOUT_MAX_MS)) {
        snprintf(node->error, sizeof node->error, "a timeout of %lld ms is not within 1 and %d", (long long)timeout_ms,
                 TIMEOUT_MAX_MS);
        result = TROUPE_EINVAL;
    }
    if (result != TROUPE_OK) {
        return result;
    }
    struct again *again = malloc(sizeof *again);
    if (!again || troupe__waiters_reserve(&node->waiters) != TROUPE_OK) {
        free(again);
        return out_of_memory(node);
    }
    result = explain(node, troupe__machine_ask(&node->machine, id, to, type, body, &number, &known));
    if (result == TROUPE_OK && known && known->answered) {
        *again = (struct again){node, known->id, {.answer = answer, .context = context}};
        wait_for_epoch(node, answer_again, again);
        return TROUPE_OK;
    }
    free(again);
    if (result == TROUPE_OK) {
        int64_t now_ms = (int64_t)(troupe__monotonic_ns(node->clock) / 1000000);
        /* Out of memory the message is in, and its answer goes nowhere: as after a crash, ask again. */
        result = troupe__askers_add(&node->askers, number, now_ms + timeout_ms, answer, context);
        if (result != TROUPE_OK) {
            return out_of_memory(node);
        }
    }
    return result;
}

static void let_answers_out(struct troupe_node *node)
{
    const struct troupe__buffer *answers = &node->epoch.answers;
    struct troupe__cursor cursor = {answers->data, answers->data + answers->size, false};
    while (cursor.at < cursor.end) {
        struct troupe_bytes row;
        struct troupe__answer answer;
        struct troupe__asker asker;
        uint64_t number;
        bool answered;
        row.data = troupe__cursor_string(&cursor, &row.size);
        bool good = troupe__response_decode(row, &number, &answered, &answer);
        assert(good && answered); /* The machine made it. */
        while (troupe__askers_take(&node->askers, number, &asker)) {
            tell_answer(&asker, &answer);
        }
    }
}

void troupe__node_tell_late(struct troupe_node *node)
{
    struct troupe__asker asker;
    int64_t now_ms = (int64_t)(troupe__monotonic_ns(node->clock) / 1000000);
    while (node->askers.count > 0 && troupe__askers_take_late(&node->askers, now_ms, &asker)) {
        tell(&asker, TROUPE_ETIMEOUT, "no answer in time: it may still come; ask again with the same id");
    }
}

/* ---- what leaves ------------------------------------------------------------------------------------------------- */

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
    let_answers_out(node);
    if (node->endpoint) {
        troupe__recent_push(&node->recent, &node->epoch.egress);
    }
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
    struct troupe__asker asker;
    while (troupe__askers_take_late(&node->askers, INT64_MAX, &asker)) {
        tell(&asker, TROUPE_ECLOSED, "the node ended");
    }
}
