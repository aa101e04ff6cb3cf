/* actors.c - the actors of the simulated troupes: each keeps books of what it sent and got, and money goes around.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/sim/actors.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/oracle.h"

static const struct troupe_value books_value = {"books", TROUPE_BYTES}, timer_value = {"timer", TROUPE_INT};
static const struct troupe_value *const values[] = {&books_value, &timer_value, NULL};
size_t actor_count;
bool actors_cancel;

static const char *const type_names[] = {"sim/red", "sim/green", "sim/blue"};

struct troupe_address actor_at(size_t index)
{
    static const char *const keys[ACTORS_MAX] = {"0",    "1",    "2",    "3{x}", "4",     "5{x}",
                                                 "6{y}", "7{y}", "8{z}", "9{q}", "10{r}", "11"};
    return troupe_to(type_names[index % 3], keys[index]);
}

static size_t index_of(struct troupe_address address)
{
    return address.key[0] ? (size_t)atoi(address.key) : OUTSIDE;
}

static void must(enum troupe_error result)
{
    assert(result == TROUPE_OK);
}

/* Fails now and then, so that it is begun anew. */
static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    struct body body;
    memcpy(&body, input.data, sizeof body);
    body.id = troupe__id_mix(body.id, 77);
    if (body.id % 4 == 0 && troupe_job_attempt(job) < 2) {
        return TROUPE_EFAILED;
    }
    return body.id % 16 == 1 ? TROUPE_EREJECTED : troupe_job_return(job, (struct troupe_bytes){&body, sizeof body});
}

static const struct troupe_job_type work_job = {.name = "work", .run = work, .retry = {.attempts = 8, .backoff_ms = 5}};
static const struct troupe_job_type *const jobs[] = {&work_job, NULL};

static enum troupe_error pay(struct troupe_context *ctx, struct books *books, struct body body, const char *type,
                             size_t to)
{
    body.to = (uint32_t)to;
    body.number = ++books->sent[to];
    body.money = (int64_t)(body.id % 100);
    books->balance -= body.money;
    return troupe_send(ctx, actor_at(to), type, (struct troupe_bytes){&body, sizeof body});
}

static void delay(struct troupe_context *ctx, struct books *books, struct body body, size_t to)
{
    uint64_t timer = 0;
    int64_t pending = 0;
    body.to = (uint32_t)to;
    must(troupe_send_after(ctx, (int64_t)(body.id % 300), actor_at(to), "later",
                           (struct troupe_bytes){&body, sizeof body}, &timer));
    books->delayed++;
    if (actors_cancel && body.id % 3 == 0 && troupe_get_int(ctx, &timer_value, &pending) == TROUPE_OK && pending != 0) {
        books->cancelled += troupe_cancel(ctx, (uint64_t)pending) == TROUPE_OK;
    }
    must(troupe_set_int(ctx, &timer_value, (int64_t)timer));
}

static void spread(struct troupe_context *ctx, struct books *books, struct body body)
{
    uint64_t dice = troupe__id_mix(body.id, 1);
    body.hops--;
    for (uint32_t i = 0; i < 1 + dice % 3; i++) {
        body.id = troupe__id_mix(body.id, i + 2);
        size_t to = (size_t)(body.id >> 20) % actor_count;
        switch (body.id % 10) {
        case 0:
        case 1:
            delay(ctx, books, body, to);
            break;
        case 2:
        case 3:
            body.to = (uint32_t)to;
            books->asked++;
            must(troupe_ask(ctx, actor_at(to), "ask", (struct troupe_bytes){&body, sizeof body},
                            1 + (int64_t)(body.id >> 30) % 200, NULL));
            break;
        case 4:
            books->jobs_begun++;
            must(troupe_job(ctx, &work_job, (struct troupe_bytes){&body, sizeof body}, "worked", NULL));
            break;
        case 5:
            must(troupe_send(ctx, i % 2 ? troupe_to("no/body", "x") : actor_at(to), "refuse",
                             (struct troupe_bytes){"", 0}));
            break;
        default:
            must(pay(ctx, books, body, "go", to));
            break;
        }
    }
}

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct books books = {0};
    struct troupe_bytes stored;
    struct body body = {0};
    if (troupe_get_bytes(ctx, &books_value, &stored) == TROUPE_OK) {
        assert(stored.size == sizeof books);
        memcpy(&books, stored.data, sizeof books);
    }
    if (message->body.size == sizeof body) {
        memcpy(&body, message->body.data, sizeof body);
    }
    size_t self = index_of(troupe_self(ctx)), from = index_of(message->from);
    uint64_t dice = troupe__id_mix(body.id, body.hops);
    books.handled++;
    if (strcmp(message->type, "refuse") == 0) {
        return TROUPE_EREJECTED;
    }
    if (strcmp(message->type, "go") == 0) {
        books.faults += body.number != ++books.got[from] || body.to != self;
        books.balance += body.money;
    } else if (strcmp(message->type, "start") == 0) {
        books.started++;
        if (dice % 2 == 0) { /* For who asked; one who sent gets nothing, which fails nothing. */
            (void)troupe_reply(ctx, "started", message->body);
        }
    } else if (strcmp(message->type, "later") == 0) {
        books.undelayed++;
    } else if (strcmp(message->type, "ask") == 0 && dice % 4 != 0) { /* One of four is never answered. */
        must(troupe_reply(ctx, "answer", (struct troupe_bytes){"", 0}));
    } else if (strcmp(message->type, "answer") == 0 || strcmp(message->type, TROUPE_TIMEOUT) == 0) {
        books.answered++;
        books.faults += message->correlation == 0;
    } else if (strcmp(message->type, "worked") == 0 || strcmp(message->type, TROUPE_JOB_FAILED) == 0) {
        books.jobs_ended++;
    }
    if (body.hops > 0) {
        spread(ctx, &books, body);
    }
    if (dice % 5 == 0) {
        must(troupe_emit(ctx, dice % 2 ? "odd" : "even", troupe_self(ctx).key,
                         (struct troupe_bytes){&body.id, sizeof body.id}));
    }
    must(troupe_set_bytes(ctx, &books_value, (struct troupe_bytes){&books, sizeof books}));
    return message->attempt <= (dice >> 48) % 8 / 5 ? TROUPE_EFAILED : TROUPE_OK; /* Three of eight fail once. */
}

/* Whatever its way, a message comes in the version in which it was sent. */
static enum troupe_error never_older(struct troupe_context *ctx, const struct troupe_message_type *type,
                                     uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)ctx, (void)type, (void)version, (void)old, (void)ret;
    assert(false);
    return TROUPE_EFAILED;
}

static const struct troupe_message_type go_7 = {.name = "go", .version = 7, .migrate = never_older},
                                        worked_1 = {.name = "worked", .version = 1, .migrate = never_older};
static const struct troupe_message_type *const messages[] = {&go_7, &worked_1, NULL};

static const struct troupe_type types[] = {
    {"sim/red", handle, values, .messages = messages, .jobs = jobs,
     .retry = {.attempts = 3, .backoff_ms = 1, .backoff_max_ms = 8}},
    {"sim/green", handle, values, .messages = messages, .jobs = jobs,
     .retry = {.attempts = 3, .backoff_ms = 20, .backoff_max_ms = 100}},
    {"sim/blue", handle, values, .jobs = jobs, .retry = {.attempts = 3, .backoff_ms = 5, .backoff_max_ms = 5}},
};
const struct troupe_module actors_module = {TROUPE_ABI, "sim", "1", types, 3};

/* ---- the end -------------------------------------------------------------------------------------------------------
 */

enum troupe_error take_books(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct ledger *ledger = context;
    static const char suffix[] = "books";
    const char *end = (const char *)key.data + key.size;
    if (key.size < sizeof suffix || memcmp(end - 5, suffix, 5) != 0) {
        return TROUPE_OK;
    }
    const char *type = (const char *)key.data + 2, *name = type + strlen(type) + 1;
    struct troupe__cell cell = {0};
    if (troupe__cell_decode(&cell, TROUPE_BYTES, value) != TROUPE_OK || cell.size != sizeof(struct books)) {
        ledger->broken = true;
        return TROUPE_OK;
    }
    memcpy(&ledger->books[atoi(name)], cell.as.bytes, sizeof(struct books));
    free(cell.as.bytes);
    ledger->seen++;
    return TROUPE_OK;
}

bool check_ledger(const struct ledger *ledger, char *text, size_t text_size)
{
    struct books sum = {0};
    for (size_t i = 0; i < actor_count; i++) {
        const struct books *books = &ledger->books[i];
        for (size_t j = 0; j < actor_count; j++) {
            if (books->sent[j] != ledger->books[j].got[i]) {
                snprintf(text, text_size, "actor %zu sent %u messages to actor %zu, which got %u", i, books->sent[j], j,
                         ledger->books[j].got[i]);
                return false;
            }
        }
        sum.balance += books->balance;
        sum.faults += books->faults;
        sum.asked += books->asked;
        sum.answered += books->answered;
        sum.delayed += books->delayed - books->cancelled;
        sum.undelayed += books->undelayed;
        sum.handled += books->handled;
        sum.started += books->started;
        sum.jobs_begun += books->jobs_begun;
        sum.jobs_ended += books->jobs_ended;
    }
    snprintf(text, text_size,
             "balance %" PRId64 ", %u out of order, %u of %u asks ended, %u of %u delayed came, %u of %u jobs ended, "
             "%u handled, %u of %" PRIu64 " started",
             sum.balance, sum.faults, sum.answered, sum.asked, sum.undelayed, sum.delayed, sum.jobs_ended,
             sum.jobs_begun, sum.handled, sum.started, ledger->started_once);
    return !ledger->broken && sum.balance == 0 && sum.faults == 0 && sum.answered == sum.asked &&
           sum.undelayed == sum.delayed && sum.jobs_begun == sum.jobs_ended && sum.handled > 0 &&
           sum.started == ledger->started_once;
}
