/* endpoint_tails.c - clients that follow an egress, each as fast as it gives credit.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/node/endpoint_parts.h"

enum {
    TAILS_MAX = 256,       /* of all clients */
    RECORDS_BUDGET = 1024, /* to one tail in one turn */
    KEEPALIVE_MS = 10000,  /* an empty reply to a tail: whether its client is still there */
};

static struct troupe__tail **find_tail(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    struct troupe__tail **at = &endpoint->tails;
    while (*at && ((*at)->caller.client != caller->client || (*at)->caller.number != caller->number)) {
        at = &(*at)->next;
    }
    return at;
}

static void drop_tail(struct troupe__endpoint *endpoint, struct troupe__tail **at)
{
    struct troupe__tail *tail = *at;
    *at = tail->next;
    endpoint->tail_count--;
    tail->caller.client->tails--;
    troupe__endpoint_let_go(endpoint, tail->caller.client);
    free(tail);
}

static uint64_t last_sequence(const struct troupe__machine *machine, const char *egress)
{
    for (size_t i = 0; i < machine->egress_name_count; i++) {
        if (strcmp(machine->egress_names[i].name, egress) == 0) {
            return machine->egress_names[i].sequence;
        }
    }
    return 0;
}

void troupe__endpoint_begin_tail(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    const struct troupe__request *request = &endpoint->request;
    const struct troupe__machine *machine = &endpoint->node->machine;
    if (!request->egress || !request->egress[0] || strlen(request->egress) > TROUPE_NAME_MAX) {
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, "\"egress\" of 1 to 63 bytes is needed");
        return;
    }
    if (request->credit < 1 || request->credit > TROUPE__CREDIT_MAX) {
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, "\"credit\" of 1 to 1024 records is needed");
        return;
    }
    if (*find_tail(endpoint, caller)) {
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, "a tail of this client has this number already");
        return;
    }
    struct troupe__tail *tail = endpoint->tail_count < TAILS_MAX ? calloc(1, sizeof *tail) : NULL;
    if (!tail) {
        troupe__endpoint_refuse(caller, TROUPE_EFULL, "256 tails are followed already, or memory is short: later");
        return;
    }
    tail->caller = *caller;
    strcpy(tail->egress, request->egress);
    tail->expected = request->from;
    if (request->from == 0) {
        tail->place = troupe__recent_end(&endpoint->node->recent);
    } else {
        tail->promised = last_sequence(machine, tail->egress);
        tail->settled = troupe__machine_dirty(machine) ? machine->epoch : machine->epoch - 1;
    }
    tail->credit = request->credit;
    tail->spoke_ms = troupe__endpoint_now_ms(endpoint);
    tail->next = endpoint->tails;
    endpoint->tails = tail;
    endpoint->tail_count++;
    caller->client->tails++;
}

/* The reply that ends the tail, for records that are not kept any more. */
static bool tell_gap(const struct troupe__tail *tail, uint64_t first)
{
    char text[256];
    if (first > 0) {
        snprintf(text, sizeof text, "record %llu of egress %s is not kept any more, the first that is has number %llu",
                 (unsigned long long)tail->expected, tail->egress, (unsigned long long)first);
    } else {
        snprintf(text, sizeof text, "record %llu of egress %s is not kept any more, nor the others up to %llu",
                 (unsigned long long)tail->expected, tail->egress, (unsigned long long)tail->promised);
    }
    troupe__endpoint_refuse(&tail->caller, TROUPE_ENOTFOUND, text);
    return false;
}

static enum troupe_error send_record(struct troupe__tail *tail, const struct troupe__egress *record)
{
    char key[TROUPE_KEY_MAX + 1];
    snprintf(key, sizeof key, "%.*s", (int)record->key.size, (const char *)record->key.data);
    struct troupe__reply reply = {.number = tail->caller.number,
                                  .ok = true,
                                  .more = true,
                                  .key = key,
                                  .sequence = record->sequence,
                                  .body = record->body};
    return troupe__endpoint_send(&tail->caller, &reply);
}

/* Send what there is credit for. Returns false when the tail ends: its client is gone, or records are. */
static bool follow(struct troupe__endpoint *endpoint, struct troupe__tail *tail, bool *ret_more)
{
    const struct troupe__recent *recent = &endpoint->node->recent;
    struct troupe__recent_place place = tail->place;
    struct troupe__egress record;
    int budget = RECORDS_BUDGET;
    for (; tail->credit > 0 && budget > 0 && troupe__recent_next(recent, &place, &record); tail->place = place) {
        if (strlen(tail->egress) != record.name.size || memcmp(tail->egress, record.name.data, record.name.size) != 0 ||
            record.sequence < tail->expected) {
            continue;
        }
        if (tail->expected > 0 && record.sequence > tail->expected) {
            return tell_gap(tail, record.sequence);
        }
        enum troupe_error result = send_record(tail, &record);
        if (result == TROUPE_EFULL) {
            endpoint->retry = true;
            return true;
        }
        if (result != TROUPE_OK) {
            return false;
        }
        tail->spoke_ms = troupe__endpoint_now_ms(endpoint);
        tail->expected = record.sequence + 1;
        tail->credit--;
        budget--;
    }
    *ret_more |= budget == 0;
    if (budget > 0 && tail->credit > 0 && tail->expected > 0 && tail->expected <= tail->promised &&
        endpoint->node->durable >= tail->settled) {
        return tell_gap(tail, 0);
    }
    if (troupe__endpoint_now_ms(endpoint) - tail->spoke_ms >= KEEPALIVE_MS) {
        struct troupe__reply reply = {.number = tail->caller.number, .ok = true, .more = true};
        tail->spoke_ms = troupe__endpoint_now_ms(endpoint);
        return troupe__endpoint_send(&tail->caller, &reply) != TROUPE_ENOTFOUND;
    }
    return true;
}

bool troupe__endpoint_follow(struct troupe__endpoint *endpoint)
{
    bool more = false;
    endpoint->retry = false;
    for (struct troupe__tail **at = &endpoint->tails; *at;) {
        if (follow(endpoint, *at, &more)) {
            at = &(*at)->next;
        } else {
            drop_tail(endpoint, at);
        }
    }
    return more;
}

void troupe__endpoint_change_tail(struct troupe__endpoint *endpoint, const struct troupe__caller *caller, bool cancel)
{
    const struct troupe__request *request = &endpoint->request;
    struct troupe__tail **at = find_tail(endpoint, caller);
    if (!*at) {
        if (cancel) {
            troupe__endpoint_refuse(caller, TROUPE_ENOTFOUND, "no tail of this client has this number");
        }
        return; /* Credit may cross the reply that ends its tail. */
    }
    if (cancel) {
        struct troupe__reply reply = {.number = caller->number, .ok = true};
        troupe__endpoint_reply(caller, &reply);
        drop_tail(endpoint, at);
    } else {
        uint64_t room = TROUPE__CREDIT_MAX - (*at)->credit;
        (*at)->credit += request->credit < room ? request->credit : room;
    }
}

int64_t troupe__endpoint_tails_due_ms(const struct troupe__endpoint *endpoint)
{
    int64_t due_ms = INT64_MAX;
    for (const struct troupe__tail *tail = endpoint->tails; tail; tail = tail->next) {
        int64_t at_ms = tail->spoke_ms + KEEPALIVE_MS;
        due_ms = at_ms < due_ms ? at_ms : due_ms;
    }
    return due_ms;
}

void troupe__endpoint_drop_tails(struct troupe__endpoint *endpoint)
{
    while (endpoint->tails) {
        drop_tail(endpoint, &endpoint->tails);
    }
}
