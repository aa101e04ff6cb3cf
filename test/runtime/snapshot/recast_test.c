/* recast_test.c - random troupes, cut at a random moment and dealt out to another number of nodes, run to the same end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What an actor does with a message depends on the message alone, and what it adds up does not depend on their order:
 * so every run ends the same, and what is lost, repeated or overtaken shows. TROUPE_SEED=seed runs one alone;
 * TROUPE_RECAST_SEEDS says how many there are (150). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "runtime/machine/links.h"
#include "runtime/snapshot/recast.h"
#include "state/memory_store.h"
#include "transport/sim_wire.h"

/* ---- the actors -------------------------------------------------------------------------------------------------- */

enum { ACTORS = 14, NODES = 8, INPUTS = 40, ASKS = 24, HOUR_MS = 3600 * 1000, JOBS_OPEN = 64 };

struct books {
    uint64_t sum; /* of what it was told, in whatever order */
    uint32_t sent[ACTORS], got[ACTORS];
    uint32_t asked, answered, hurried, set, fired, cancelled, jobs_begun, jobs_ended, faults;
};

struct body {
    uint64_t id;
    uint32_t number, hops, from;
};

static const struct troupe_value books_value = {"books", TROUPE_BYTES}, timer_value = {"timer", TROUPE_INT};
static const struct troupe_value *const values[] = {&books_value, &timer_value, NULL};

static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    return troupe_job_return(job, input);
}

static const struct troupe_job_type work_job = {.name = "work", .run = work};
static const struct troupe_job_type *const jobs[] = {&work_job, NULL};

static struct troupe_address actor_at(size_t index)
{
    static char keys[ACTORS][8];
    snprintf(keys[index], sizeof keys[index], index % 5 == 4 ? "%zu{x}" : "%zu", index);
    return troupe_to("cast/actor", keys[index]);
}

static void must(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
}

static struct troupe_bytes bytes_of(const struct body *body)
{
    return (struct troupe_bytes){body, sizeof *body};
}

/* The one timer that lies far ahead is replaced by another: its handle must still be good wherever the actor lives. */
static void set_far_timer(struct troupe_context *ctx, struct books *books, size_t to)
{
    uint64_t timer;
    int64_t pending = 0;
    if (troupe_get_int(ctx, &timer_value, &pending) == TROUPE_OK && pending != 0) {
        books->faults += troupe_cancel(ctx, (uint64_t)pending) != TROUPE_OK;
        books->faults += troupe_cancel(ctx, (uint64_t)pending) != TROUPE_ENOTFOUND;
        books->cancelled++;
    }
    must(troupe_send_after(ctx, HOUR_MS, actor_at(to), "far", (struct troupe_bytes){"", 0}, &timer));
    must(troupe_set_int(ctx, &timer_value, (int64_t)timer));
    books->set++;
}

static void spread(struct troupe_context *ctx, struct books *books, struct body body)
{
    char key[24];
    uint64_t dice = troupe__id_mix(body.id, 1);
    for (uint32_t i = 0; body.hops > 0 && i < 1 + dice % 3; i++) {
        struct body next = {troupe__id_mix(body.id, i + 2), 0, body.hops - 1, (uint32_t)atoi(troupe_self(ctx).key)};
        size_t to = (size_t)(next.id >> 20) % ACTORS;
        switch (next.id % 13) {
        case 0:
            must(troupe_send_after(ctx, (int64_t)(next.id >> 30) % 400, actor_at(to), "late", bytes_of(&next), NULL));
            break;
        case 1:
        case 2:
            must(troupe_ask(ctx, actor_at(to), "ask", bytes_of(&next), HOUR_MS, NULL));
            books->asked++;
            break;
        case 3:
            set_far_timer(ctx, books, to);
            break;
        case 4:
            must(troupe_job(ctx, &work_job, bytes_of(&next), "worked", NULL));
            books->jobs_begun++;
            break;
        case 5:
            must(troupe_send(ctx, actor_at(to), "refuse", bytes_of(&next)));
            break;
        case 12: /* Either an answer or a timeout comes. */
            must(troupe_ask(ctx, actor_at(to), "hurry", bytes_of(&next), 1 + (int64_t)(next.id >> 40) % 20, NULL));
            break;
        case 6:
        case 7:
            snprintf(key, sizeof key, "%llx", (unsigned long long)next.id);
            must(troupe_emit(ctx, next.id % 2 ? "odd" : "even", key, (struct troupe_bytes){"", 0}));
            break;
        default:
            next.number = ++books->sent[to];
            must(troupe_send(ctx, actor_at(to), "go", bytes_of(&next)));
            break;
        }
    }
}

/* What is asked from outside is answered later, by another actor: at once, or when the right has waited for a while. */
static void promise(struct troupe_context *ctx, const struct body *body)
{
    unsigned char promised[512];
    struct troupe_bytes right;
    must(troupe_reply_later(ctx, &right));
    assert_true(sizeof body->id + right.size <= sizeof promised && sizeof body->id + right.size != sizeof *body);
    memcpy(promised, &body->id, sizeof body->id);
    memcpy(promised + sizeof body->id, right.data, right.size);
    struct troupe_address by = actor_at((body->id * 5 + 3) % ACTORS);
    struct troupe_bytes kept = {promised, sizeof body->id + right.size};
    if (body->id % 2) {
        must(troupe_send_after(ctx, 5 + (int64_t)body->id * 20, by, "keep", kept, NULL));
    } else {
        must(troupe_send(ctx, by, "keep", kept));
    }
}

static void keep_promise(struct troupe_context *ctx, struct troupe_bytes kept)
{
    const char *bytes = kept.data;
    struct troupe_bytes right = {bytes + sizeof(uint64_t), kept.size - sizeof(uint64_t)};
    must(troupe_reply_to(ctx, right, "answer", (struct troupe_bytes){bytes, sizeof(uint64_t)}));
}

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct books books = {0};
    struct body body = {0};
    struct troupe_bytes old;
    if (troupe_get_bytes(ctx, &books_value, &old) == TROUPE_OK) {
        memcpy(&books, old.data, sizeof books);
    }
    if (message->body.size == sizeof body) {
        memcpy(&body, message->body.data, sizeof body);
    }
    if (strcmp(message->type, "refuse") == 0) {
        return TROUPE_EREJECTED;
    }
    if (strcmp(message->type, "far") == 0) { /* Whose the last one is depends on the order: it counts for nobody. */
        books.fired++;
        return troupe_set_bytes(ctx, &books_value, (struct troupe_bytes){&books, sizeof books});
    }
    if (strcmp(message->type, TROUPE_TIMEOUT) == 0 || strcmp(message->type, "hurried") == 0) {
        books.hurried++;
        return troupe_set_bytes(ctx, &books_value, (struct troupe_bytes){&books, sizeof books});
    }
    books.sum += troupe__id_mix(body.id, message->type[0]);
    if (strcmp(message->type, "go") == 0) {
        books.faults += body.number != ++books.got[body.from];
        spread(ctx, &books, body);
    } else if (strcmp(message->type, "ask") == 0) {
        must(troupe_reply(ctx, "answer", message->body));
    } else if (strcmp(message->type, "promise") == 0) {
        promise(ctx, &body);
    } else if (strcmp(message->type, "keep") == 0) {
        keep_promise(ctx, message->body);
    } else if (strcmp(message->type, "hurry") == 0) {
        must(troupe_reply(ctx, "hurried", message->body));
    } else if (strcmp(message->type, "answer") == 0) {
        books.answered++;
    } else if (strcmp(message->type, "worked") == 0) {
        books.jobs_ended++;
        spread(ctx, &books, body);
    } else if (strcmp(message->type, "late") == 0 || strcmp(message->type, "begin") == 0) {
        spread(ctx, &books, body);
    } else {
        books.faults++;
    }
    return troupe_set_bytes(ctx, &books_value, (struct troupe_bytes){&books, sizeof books});
}

static const struct troupe_type types[] = {{.name = "cast/actor", .handler = handle, .values = values, .jobs = jobs}};
static const struct troupe_module module = {TROUPE_ABI, "cast", "1", types, 1};

/* ---- a troupe ---------------------------------------------------------------------------------------------------- */

struct node {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__links *links;
    struct troupe__epoch epoch;
    struct troupe__job *jobs[JOBS_OPEN];
    size_t job_count;
    uint64_t let_out;        /* records up to this number are out */
    uint32_t durable_inputs; /* the position of its source as the last epoch has it */
    char error[512];
};

/* What the outside has seen. */
struct outside {
    uint64_t records[4096]; /* their keys */
    size_t count;
};

struct troupe_run {
    uint64_t seed, dice;
    uint16_t node_count;
    bool alone;
    struct troupe__slots slots;
    struct troupe__random_oracle oracle;
    struct troupe__sim_network *network;
    struct node nodes[NODES];
    int source_of[NODES]; /* which source a node reads: source i is that of old node i; -1: none */
    uint16_t source_count;
    int64_t now_ms;
    struct outside outside;
    uint32_t asked; /* from outside */
};

static uint64_t draw(struct troupe_run *run, uint64_t below)
{
    run->dice = troupe__id_mix(run->dice, 99);
    return (run->dice >> 16) % below;
}

static void on_frame(void *context, int peer, struct troupe_bytes frame)
{
    struct node *node = context;
    must(troupe__links_take(node->links, 0, peer, frame));
}

static void hand_out(struct troupe_run *run, struct node *node, const struct troupe__buffer *records)
{
    struct troupe__cursor cursor = {records->data, records->data + records->size, false};
    struct troupe__egress egress;
    while (troupe__egress_next(&cursor, &egress)) {
        char key[24] = "";
        memcpy(key, egress.key.data, egress.key.size);
        assert_true(run->outside.count < sizeof run->outside.records / sizeof *run->outside.records);
        assert_int_equal(egress.number, node->let_out + 1); /* without gaps, in order */
        run->outside.records[run->outside.count++] = strtoull(key, NULL, 16);
        node->let_out = egress.number;
    }
}

static void input_name(char name[static 32], size_t source)
{
    snprintf(name, 32, "input/source%zu", source);
}

static void open_node(struct troupe_run *run, uint16_t self)
{
    struct node *node = &run->nodes[self];
    if (!node->disk) {
        node->disk = troupe__memory_disk_new();
        assert_non_null(node->disk);
    }
    must(troupe__memory_store_open(node->disk, &node->store, node->error, sizeof node->error));
    if (troupe__machine_init(&node->machine, &module, node->store, 1, NULL, NULL) != TROUPE_OK) {
        fail_msg("seed %llu, node %u: %s", (unsigned long long)run->seed, self, node->machine.error);
    }
    if (!run->alone) {
        struct troupe__wire *wire = troupe__sim_network_wire(run->network, self);
        struct troupe__links_options options = {.slots = &run->slots, .self = self, .chance = 5, .wire = wire};
        wire->on_frame = on_frame;
        wire->context = node;
        if (troupe__links_open(&node->machine, &options, &node->links, node->error, sizeof node->error) != TROUPE_OK) {
            fail_msg("seed %llu, node %u: %s", (unsigned long long)run->seed, self, node->error);
        }
    }
    node->let_out = node->machine.egress_released;
    hand_out(run, node, &node->machine.unreleased);
    must(troupe__machine_set_now(&node->machine, run->now_ms));
}

static struct troupe_run *new_run(uint64_t seed, uint16_t node_count, uint64_t generation, bool alone)
{
    struct troupe_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->seed = run->dice = seed;
    run->node_count = node_count;
    run->alone = alone;
    run->now_ms = 1000;
    troupe__slots_spread(&run->slots, 7, generation, node_count);
    troupe__random_oracle_init(&run->oracle, seed);
    struct troupe__sim_network_options options = {.oracle = &run->oracle.base, .node_count = node_count};
    run->network = troupe__sim_network_new(&options);
    assert_non_null(run->network);
    for (uint16_t i = 0; i < node_count; i++) {
        run->source_of[i] = -1;
    }
    return run;
}

static void free_run(struct troupe_run *run)
{
    for (uint16_t i = 0; i < run->node_count; i++) {
        struct node *node = &run->nodes[i];
        for (size_t k = 0; k < node->job_count; k++) {
            troupe__job_release(node->jobs[k]);
        }
        if (node->store) {
            troupe__links_close(node->links);
            troupe__machine_fini(&node->machine);
            node->store->close(node->store);
        }
        troupe__epoch_fini(&node->epoch);
        troupe__memory_disk_free(node->disk);
    }
    troupe__sim_network_free(run->network);
    free(run);
}

/* ---- what comes from outside ------------------------------------------------------------------------------------- */

/* Line `line` of a source, with its id, to the node that reads it. */
static void send_line(struct node *node, size_t source, uint64_t line)
{
    char id[32];
    struct body body = {troupe__id_mix(source * 1000 + line, 5), 0, 5, 0};
    snprintf(id, sizeof id, "line%zu.%llu", source, (unsigned long long)line);
    must(troupe__machine_arrive(&node->machine, id, actor_at((size_t)(body.id >> 8) % ACTORS), "begin",
                                bytes_of(&body)));
}

static uint64_t position_of(const struct node *node, size_t source)
{
    char name[32];
    input_name(name, source);
    struct troupe_bytes mark = troupe__machine_read_mark(&node->machine, name);
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    return mark.data ? troupe__cursor_varint(&cursor) : 0;
}

static bool take_line(struct troupe_run *run, struct node *node, size_t source)
{
    uint64_t line = position_of(node, source);
    char name[32];
    struct troupe__buffer mark = {0};
    if (line >= INPUTS / run->source_count) {
        return false;
    }
    send_line(node, source, line);
    input_name(name, source);
    troupe__buffer_put_varint(&mark, line + 1);
    troupe__buffer_put_varint(&mark, line + 1);
    must(troupe__machine_mark(&node->machine, name, (struct troupe_bytes){mark.data, mark.size}));
    troupe__buffer_free(&mark);
    return true;
}

static struct node *node_of_ask(struct troupe_run *run, uint32_t n)
{
    struct troupe_address to = actor_at(n % ACTORS);
    return &run->nodes[run->slots.owner[troupe__slot_of(to.type, to.key)]];
}

/* Ask number `n` from outside, on any node; what is known of it there. */
static const struct troupe__response *ask(struct node *node, uint32_t n)
{
    struct troupe_address to = actor_at(n % ACTORS);
    struct body body = {n, 0, 0, 0};
    const struct troupe__response *known;
    uint64_t number;
    char id[16];
    snprintf(id, sizeof id, "ask%u", n);
    must(troupe__machine_ask(&node->machine, id, to, n % 3 ? "promise" : "ask", bytes_of(&body), &number, &known));
    return known;
}

/* It is answered, and by the answer to this one. */
static void check_answer(struct node *node, uint32_t n)
{
    const struct troupe__response *response = ask(node, n);
    struct troupe__answer answer;
    uint64_t id;
    assert_true(response && response->answered);
    must(troupe__machine_read_answer(&node->machine, response->id, &answer));
    assert_int_equal(answer.result, TROUPE_OK);
    assert_true(answer.body.size >= sizeof id);
    memcpy(&id, answer.body.data, sizeof id);
    assert_int_equal(id, n);
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

static void commit(struct troupe_run *run, struct node *node)
{
    if (!troupe__machine_dirty(&node->machine)) {
        return;
    }
    if (draw(run, 4) == 0) {
        troupe__machine_released(&node->machine, node->let_out);
    }
    must(troupe__machine_seal(&node->machine, &node->epoch));
    struct troupe_bytes record = {node->epoch.record.data, node->epoch.record.size};
    must(node->store->commit(node->store, node->epoch.number, record));
    if (node->links) {
        troupe__links_durable(node->links, 0);
    }
    hand_out(run, node, &node->epoch.egress);
    for (size_t i = 0; i < node->epoch.job_count; i++) {
        assert_true(node->job_count < JOBS_OPEN);
        node->jobs[node->job_count++] = node->epoch.jobs[i];
    }
    node->epoch.job_count = 0;
    if (draw(run, 3) == 0) {
        troupe__machine_refresh(&node->machine);
    }
}

static void end_job(struct node *node)
{
    struct troupe__job *job = node->jobs[--node->job_count];
    must(troupe__machine_job_done(&node->machine, job, TROUPE_OK, troupe__job_input(job), NULL));
    troupe__job_release(job);
}

/* One step of one node, or one frame. Returns whether anything is left to do there, as far as can be seen. */
static bool step(struct troupe_run *run, uint16_t i)
{
    struct node *node = &run->nodes[i];
    struct troupe__sim_arrival arrival;
    size_t done;
    bool busy = false;
    if (run->source_of[i] >= 0 && draw(run, 3) == 0) {
        busy = take_line(run, node, (size_t)run->source_of[i]);
    }
    if (node->job_count > 0 && draw(run, 4) == 0) {
        end_job(node);
    }
    must(troupe__machine_run(&node->machine, 1 + draw(run, 12), &done));
    if (draw(run, 2)) {
        commit(run, node);
    }
    if (node->links) {
        must(troupe__links_send_messages(node->links));
        troupe__links_send_answers(node->links);
        for (uint64_t frames = draw(run, 3); frames > 0 && troupe__sim_network_next(run->network, &arrival); frames--) {
            troupe__sim_network_deliver(run->network);
        }
        busy |= troupe__sim_network_next(run->network, &arrival);
        for (uint16_t peer = 0; peer < run->node_count; peer++) {
            const struct troupe__link *link = &node->links->links[peer];
            busy |= peer != i && link->row.trimmed < link->row.sent;
        }
        troupe__links_tick(node->links, (uint64_t)run->now_ms * 1000000);
    }
    busy |= run->source_of[i] >= 0 && position_of(node, (size_t)run->source_of[i]) < INPUTS / run->source_count;
    return busy || node->job_count > 0 || node->machine.waiting > 0 || troupe__machine_dirty(&node->machine);
}

static void pass_time(struct troupe_run *run, int64_t ms)
{
    run->now_ms += ms;
    for (uint16_t i = 0; i < run->node_count; i++) {
        must(troupe__machine_set_now(&run->nodes[i].machine, run->now_ms));
    }
}

static void run_until_idle(struct troupe_run *run)
{
    for (size_t rounds = 0; rounds < 20000; rounds++) {
        bool busy = false;
        for (uint16_t i = 0; i < run->node_count; i++) {
            busy |= step(run, i);
        }
        if (!busy) {
            return;
        }
        pass_time(run, 1);
    }
    fail_msg("seed %llu: no end", (unsigned long long)run->seed);
}

static void run_to_end(struct troupe_run *run)
{
    while (run->asked < ASKS) {
        ask(&run->nodes[draw(run, run->node_count)], run->asked++);
    }
    run_until_idle(run);
    for (int i = 0; i < 60; i++) { /* what was sent later sends later again */
        pass_time(run, 400);
        run_until_idle(run);
    }
    pass_time(run, 2 * HOUR_MS);
    run_until_idle(run);
    for (uint16_t i = 0; i < run->node_count; i++) {
        assert_int_equal(run->nodes[i].machine.timers.count, 0);
        assert_int_equal(run->nodes[i].machine.jobs.count, 0);
    }
}

/* ---- what a run ends with ---------------------------------------------------------------------------------------- */

struct outcome {
    struct books books[ACTORS];
    size_t dead;
};

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

static void read_outcome(struct troupe_run *run, struct outcome *outcome)
{
    int64_t far = 0;
    *outcome = (struct outcome){.dead = 0};
    for (uint16_t i = 0; i < run->node_count; i++) {
        struct troupe__store *store = run->nodes[i].store;
        store->refresh(store);
        must(store->scan(store, TROUPE__DEAD, (struct troupe_bytes){"", 0}, count_row, &outcome->dead));
    }
    for (size_t i = 0; i < ACTORS; i++) {
        struct troupe_address address = actor_at(i);
        uint16_t slot = troupe__slot_of(address.type, address.key);
        struct troupe__store *store = run->nodes[run->slots.owner[slot]].store;
        unsigned char key[64];
        int size = snprintf((char *)key + 2, sizeof key - 2, "%s%c%s%c%s", address.type, 0, address.key, 0, "books");
        struct troupe_bytes row;
        key[0] = (unsigned char)(slot >> 8);
        key[1] = (unsigned char)slot;
        if (store->read(store, TROUPE__STATE, (struct troupe_bytes){key, (size_t)size + 2}, &row) == TROUPE_OK) {
            struct books *books = &outcome->books[i];
            assert_true(row.size > sizeof *books); /* msgpack's header stands before. */
            memcpy(books, (const char *)row.data + row.size - sizeof *books, sizeof *books);
            assert_int_equal(books->faults, 0);
            assert_int_equal(books->asked, books->answered);
            assert_int_equal(books->jobs_begun, books->jobs_ended);
            far += (int64_t)books->set - books->cancelled - books->fired;
            books->fired = 0; /* Whose is the last one depends on the order. */
        }
    }
    assert_int_equal(far, 0);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left, right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return (left > right) - (left < right);
}

/* With `once` each record came once; else those that were not known to be out may have come twice. */
static void compare_records(const struct outside *whole, struct outside *parts, bool once)
{
    struct outside sorted = *whole;
    qsort(sorted.records, sorted.count, sizeof *sorted.records, compare_numbers);
    qsort(parts->records, parts->count, sizeof *parts->records, compare_numbers);
    size_t count = 0;
    for (size_t i = 0; i < parts->count; i++) {
        if (once || i == 0 || parts->records[i] != parts->records[i - 1]) {
            parts->records[count++] = parts->records[i];
        }
    }
    assert_int_equal(count, sorted.count);
    assert_memory_equal(parts->records, sorted.records, count * sizeof *sorted.records);
}

/* ---- from nodes to nodes ----------------------------------------------------------------------------------------- */

struct rows {
    struct troupe__recast_source base;
    struct troupe__buffer record;
    struct troupe__cursor cursor;
    enum troupe__table table;
};

static enum troupe_error next_row(struct troupe__recast_source *base, enum troupe__table *ret_table,
                                  struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                  size_t error_size)
{
    struct rows *rows = (struct rows *)base;
    struct troupe__change change;
    (void)error, (void)error_size;
    if (!troupe__record_next(&rows->cursor, &change)) {
        return TROUPE_ENOTFOUND;
    }
    *ret_table = change.table;
    *ret_key = change.key;
    *ret_value = change.value;
    return TROUPE_OK;
}

static enum troupe_error add_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct rows *rows = context;
    troupe__record_set(&rows->record, rows->table, key.data, key.size, value.data, value.size);
    return TROUPE_OK;
}

static void read_rows(struct troupe__memory_disk *disk, struct rows *rows)
{
    struct troupe__store *store;
    char error[256];
    *rows = (struct rows){.base = {next_row}};
    must(troupe__memory_store_open(disk, &store, error, sizeof error));
    must(store->replay(store, NULL, NULL));
    store->refresh(store);
    for (int table = 0; table < TROUPE__TABLE_COUNT; table++) {
        rows->table = (enum troupe__table)table;
        must(store->scan(store, rows->table, (struct troupe_bytes){"", 0}, add_row, rows));
    }
    store->close(store);
    rows->cursor = (struct troupe__cursor){rows->record.data, rows->record.data + rows->record.size, false};
}

struct records {
    struct troupe__recast_sink base;
    struct troupe__buffer records[NODES];
};

static enum troupe_error set_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                 struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size)
{
    (void)error, (void)error_size;
    troupe__record_set(&((struct records *)sink)->records[node], table, key.data, key.size, value.data, value.size);
    return TROUPE_OK;
}

static enum troupe_error find_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                  struct troupe_bytes key, bool remove, char *error, size_t error_size)
{
    struct troupe__buffer *record = &((struct records *)sink)->records[node];
    struct troupe__cursor cursor = {record->data, record->data + record->size, false};
    struct troupe__change change;
    bool found = false;
    (void)error, (void)error_size;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == table && change.key.size == key.size && memcmp(change.key.data, key.data, key.size) == 0) {
            found = !change.removed;
        }
    }
    if (found && remove) {
        troupe__record_remove(record, table, key.data, key.size);
    }
    return found ? TROUPE_OK : TROUPE_ENOTFOUND;
}

/* Recast `rows` into `records`. */
static enum troupe_error recast_rows(struct rows *rows, const struct troupe_run *from, const struct troupe_run *to,
                                     const uint64_t *released, struct records *records,
                                     struct troupe__recast_counts *counts, char *error, size_t error_size)
{
    struct troupe__recast_source *sources[NODES];
    uint16_t heirs[NODES], predecessors[NODES];
    for (uint16_t i = 0; i < from->node_count; i++) {
        sources[i] = &rows[i].base;
        heirs[i] = (uint16_t)(i % to->node_count);
    }
    for (uint16_t i = 0; i < to->node_count; i++) {
        predecessors[i] = i < from->node_count ? i : TROUPE__RECAST_NOBODY;
    }
    struct troupe__recast_options options = {sources,    from->node_count, released,  heirs,
                                             &to->slots, predecessors,     to->alone, &records->base};
    return troupe__recast(&options, counts, error, error_size);
}

/* The disks of `to` from copies of the disks of `from`. */
static void recast(struct troupe__memory_disk *const *disks, const struct troupe_run *from, struct troupe_run *to,
                   const uint64_t *released, struct troupe__recast_counts *counts)
{
    static struct rows rows[NODES];
    struct records records = {{set_row, find_row}, {{0}}};
    char error[512] = "";
    for (uint16_t i = 0; i < from->node_count; i++) {
        read_rows(disks[i], &rows[i]);
    }
    if (recast_rows(rows, from, to, released, &records, counts, error, sizeof error) != TROUPE_OK) {
        fail_msg("seed %llu: %s", (unsigned long long)from->seed, error);
    }
    for (uint16_t i = 0; i < to->node_count; i++) {
        struct troupe__store *store;
        to->nodes[i].disk = troupe__memory_disk_new();
        must(troupe__memory_store_open(to->nodes[i].disk, &store, error, sizeof error));
        must(store->replay(store, NULL, NULL));
        must(store->commit(store, 1, (struct troupe_bytes){records.records[i].data, records.records[i].size}));
        if (i % 2) {
            store->refresh(store);
        }
        store->close(store);
        troupe__buffer_free(&records.records[i]);
    }
    for (uint16_t i = 0; i < from->node_count; i++) {
        troupe__buffer_free(&rows[i].record);
    }
}

static struct {
    uint64_t waited, flew, late, timers, jobs, dead, unreleased, asks;
} met; /* over all seeds: what the cuts had in them */

static void note_cut(const struct troupe_run *run)
{
    for (uint16_t i = 0; i < run->node_count; i++) {
        met.timers += run->nodes[i].machine.timers.count;
        met.jobs += run->nodes[i].machine.jobs.count;
        met.dead += run->nodes[i].machine.stats.dead;
        met.unreleased += run->nodes[i].let_out - run->nodes[i].machine.egress_released;
        met.asks += run->nodes[i].machine.responses.count;
    }
}

/* Sources are read by other nodes from now on; what they hold that was taken in already is given again, and dropped. */
static void open_restored(struct troupe_run *to, const struct troupe_run *from, const uint64_t *positions)
{
    to->source_count = from->source_count;
    to->asked = from->asked;
    to->now_ms = from->now_ms;
    for (uint16_t i = 0; i < to->node_count; i++) {
        open_node(to, i);
    }
    for (size_t source = 0; source < from->source_count; source++) {
        uint16_t reader = (uint16_t)((source + to->seed) % to->node_count);
        assert_int_equal(position_of(&to->nodes[reader], source), positions[source]);
        for (uint64_t line = 0; line < positions[source]; line++) {
            send_line(&to->nodes[(reader + line) % to->node_count], source, line);
        }
    }
}

static void try_seed(uint64_t seed)
{
    uint64_t dice = troupe__id_mix(seed, 3);
    uint16_t before = (uint16_t)(1 + dice % 5), after = (uint16_t)(1 + (dice >> 8) % NODES);
    bool exact = (dice >> 16) % 2, alone = before == 1 && (dice >> 24) % 2;
    struct troupe__memory_disk *disks[NODES];
    struct troupe__recast_counts counts;
    uint64_t released[NODES] = {0}, positions[NODES];
    struct outcome undisturbed, restored;
    struct troupe_run *from = new_run(seed, before, 1, alone);
    struct troupe_run *to = new_run(seed + 1, after, 2, after == 1 && (dice >> 32) % 2);
    from->source_count = before;
    for (uint16_t i = 0; i < before; i++) {
        from->source_of[i] = i;
        open_node(from, i);
    }
    for (uint64_t steps = 20 + draw(from, 400); steps > 0; steps--) {
        if (from->asked < ASKS / 2 && draw(from, 20) == 0) {
            ask(&from->nodes[draw(from, before)], from->asked++);
        }
        size_t source = draw(from, before);
        uint64_t taken = position_of(&from->nodes[source], source);
        if (taken > 0 && draw(from, 10) == 0) { /* It comes again, by way of any node. */
            send_line(&from->nodes[draw(from, before)], source, draw(from, taken));
        }
        step(from, (uint16_t)draw(from, before));
        pass_time(from, (int64_t)draw(from, 2));
    }
    for (uint16_t i = 0; i < before; i++) { /* What is durable at one moment is a consistent cut. */
        commit(from, &from->nodes[i]);
        disks[i] = troupe__memory_disk_copy(from->nodes[i].disk);
        assert_non_null(disks[i]);
        released[i] = exact ? from->nodes[i].let_out : 0;
        positions[i] = position_of(&from->nodes[i], i);
    }
    note_cut(from);
    to->outside = from->outside;
    recast(disks, from, to, released, &counts);
    met.waited += counts.waited;
    met.flew += counts.flew;
    met.late += counts.late;
    open_restored(to, from, positions);
    for (uint32_t n = 0; n < from->asked; n++) {
        assert_non_null(ask(node_of_ask(to, n), n)); /* Answered or not. */
    }
    for (size_t source = 0; source < from->source_count; source++) {
        to->source_of[(source + to->seed) % after] = -1;
    }
    run_to_end(from);
    for (size_t source = 0; source < from->source_count; source++) { /* One node may read several, one by one. */
        to->source_of[(source + to->seed) % after] = (int)source;
        run_until_idle(to);
    }
    run_to_end(to);
    for (uint32_t n = 0; n < ASKS; n++) {
        check_answer(node_of_ask(to, n), n);
    }
    read_outcome(from, &undisturbed);
    read_outcome(to, &restored);
    if (memcmp(&undisturbed, &restored, sizeof restored) != 0) {
        fail_msg("seed %llu, %u to %u nodes: another outcome", (unsigned long long)seed, before, after);
    }
    compare_records(&from->outside, &to->outside, exact);
    for (uint16_t i = 0; i < before; i++) {
        troupe__memory_disk_free(disks[i]);
    }
    free_run(from);
    free_run(to);
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

/* State, messages that wait and fly, timers and their handles, jobs, asks, dead letters, records, ids, positions. */
static void dealt_out_to_any_number_of_nodes_a_troupe_ends_the_same(void **state)
{
    (void)state;
    const char *one = getenv("TROUPE_SEED"), *many = getenv("TROUPE_RECAST_SEEDS");
    uint64_t count = many ? strtoull(many, NULL, 10) : 150;
    if (one) {
        try_seed(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= count; seed++) {
        try_seed(seed);
    }
    printf(
        "in the cuts: %llu messages waiting, %llu flying, %llu late answers, %llu timers, %llu jobs, %llu dead, %llu "
        "records not out, %llu asks\n",
        (unsigned long long)met.waited, (unsigned long long)met.flew, (unsigned long long)met.late,
        (unsigned long long)met.timers, (unsigned long long)met.jobs, (unsigned long long)met.dead,
        (unsigned long long)met.unreleased, (unsigned long long)met.asks);
    assert_true(met.waited && met.flew && met.late && met.timers && met.jobs && met.dead && met.unreleased && met.asks);
}

/* Rows of `disk` with one byte, or one row, not as it was. */
static void damage(struct troupe_run *run, struct rows *rows)
{
    struct troupe__buffer damaged = {0};
    struct troupe__change change;
    size_t count = 0, at = 0;
    while (troupe__record_next(&rows->cursor, &change)) {
        count++;
    }
    size_t chosen = draw(run, count);
    bool drop = draw(run, 8) == 0;
    rows->cursor = (struct troupe__cursor){rows->record.data, rows->record.data + rows->record.size, false};
    while (troupe__record_next(&rows->cursor, &change)) {
        unsigned char key[TROUPE__ROW_KEY_MAX], *value = malloc(change.value.size + 1);
        assert_non_null(value);
        memcpy(key, change.key.data, change.key.size);
        memcpy(value, change.value.data, change.value.size);
        if (at == chosen && draw(run, 4) == 0) {
            key[draw(run, change.key.size)] ^= (unsigned char)(1 + draw(run, 255));
        } else if (at == chosen && change.value.size > 0) {
            value[draw(run, change.value.size)] ^= (unsigned char)(1 + draw(run, 255));
        }
        if (at++ != chosen || !drop) {
            troupe__record_set(&damaged, change.table, key, change.key.size, value, change.value.size);
        }
        free(value);
    }
    troupe__buffer_free(&rows->record);
    rows->record = damaged;
    rows->cursor = (struct troupe__cursor){damaged.data, damaged.data + damaged.size, false};
}

/* Checksums keep it out; whoever makes parts by hand can do that. */
static void damaged_rows_are_dealt_out_or_refused_with_a_reason(void **state)
{
    enum { BEFORE = 3, AFTER = 2, TRIES = 400 };
    static struct rows rows[BEFORE];
    uint64_t released[NODES] = {0}, refused = 0;
    struct troupe_run *from = new_run(77, BEFORE, 1, false), *to = new_run(78, AFTER, 2, false);
    (void)state;
    from->source_count = BEFORE;
    for (uint16_t i = 0; i < BEFORE; i++) {
        from->source_of[i] = i;
        open_node(from, i);
    }
    for (size_t steps = 0; steps < 300; steps++) {
        step(from, (uint16_t)draw(from, BEFORE));
    }
    for (size_t i = 0; i < TRIES; i++) {
        struct records records = {{set_row, find_row}, {{0}}};
        struct troupe__recast_counts counts;
        char error[512] = "";
        for (uint16_t node = 0; node < BEFORE; node++) {
            struct troupe__memory_disk *disk = troupe__memory_disk_copy(from->nodes[node].disk);
            read_rows(disk, &rows[node]);
            troupe__memory_disk_free(disk);
        }
        damage(from, &rows[draw(from, BEFORE)]);
        enum troupe_error result = recast_rows(rows, from, to, released, &records, &counts, error, sizeof error);
        assert_true(result == TROUPE_OK || ((result == TROUPE_ECORRUPT || result == TROUPE_EINVAL) && error[0]));
        refused += result != TROUPE_OK;
        for (uint16_t node = 0; node < NODES; node++) {
            troupe__buffer_free(&records.records[node]);
        }
        for (uint16_t node = 0; node < BEFORE; node++) {
            troupe__buffer_free(&rows[node].record);
        }
    }
    assert_true(refused > 0 && refused < TRIES);
    free_run(from);
    free_run(to);
}

/* ---- by hand ----------------------------------------------------------------------------------------------------- */

static void add(struct rows *rows, enum troupe__table table, struct troupe_bytes key,
                const struct troupe__buffer *value)
{
    troupe__record_set(&rows->record, table, key.data, key.size, value->data, value->size);
}

static void add_numbers(struct rows *rows, const char *name, size_t count, const uint64_t *numbers)
{
    struct troupe__buffer value = {0};
    for (size_t i = 0; i < count; i++) {
        troupe__buffer_put_varint(&value, numbers[i]);
    }
    add(rows, TROUPE__META, troupe_string(name), &value);
    troupe__buffer_free(&value);
}

/* Records `first` to `last` of an egress "out", whose sequence is the same; the body says of which node. */
static void add_records(struct rows *rows, uint64_t first, uint64_t last, const char *node)
{
    unsigned char key[8];
    struct troupe__buffer value = {0};
    for (uint64_t number = first; number <= last; number++) {
        struct troupe__egress egress = {number, number, {"out", 3}, {"", 0}, troupe_string(node)};
        troupe__egress_put(&value, &egress);
    }
    troupe__put_be64(key, first);
    add(rows, TROUPE__EGRESS, (struct troupe_bytes){key, sizeof key}, &value);
    troupe__buffer_free(&value);
}

static bool find_change(const struct troupe__buffer *record, enum troupe__table table, struct troupe_bytes key,
                        struct troupe__change *ret)
{
    struct troupe__cursor cursor = {record->data, record->data + record->size, false};
    struct troupe__change change;
    bool found = false;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == table && change.key.size == key.size && memcmp(change.key.data, key.data, key.size) == 0) {
            *ret = change;
            found = !change.removed;
        }
    }
    return found;
}

/* The first number of a META row; UINT64_MAX when there is none. */
static uint64_t number_of(const struct troupe__buffer *record, const char *name)
{
    struct troupe__change change;
    if (!find_change(record, TROUPE__META, troupe_string(name), &change)) {
        return UINT64_MAX;
    }
    struct troupe__cursor cursor = {change.value.data, (const unsigned char *)change.value.data + change.value.size,
                                    false};
    return troupe__cursor_varint(&cursor);
}

/* How many numbers a META row has. */
static size_t numbers_in(const struct troupe__buffer *record, const char *name)
{
    struct troupe__change change;
    size_t count = 0;
    assert_true(find_change(record, TROUPE__META, troupe_string(name), &change));
    struct troupe__cursor cursor = {change.value.data, (const unsigned char *)change.value.data + change.value.size,
                                    false};
    for (; cursor.at != cursor.end; count++) {
        (void)troupe__cursor_varint(&cursor);
        assert_false(cursor.failed);
    }
    return count;
}

/* Three nodes, of which the last has no successor of its name, become two, then five. */
static void recast_by_hand(struct records *records, struct troupe_run *to)
{
    static struct rows rows[3];
    struct troupe_run *from = new_run(1, 3, 1, false);
    const uint64_t released[3] = {0, 3, 0};
    struct troupe__recast_counts counts;
    char error[256] = "";
    memset(rows, 0, sizeof rows);
    for (uint16_t i = 0; i < 3; i++) {
        const uint64_t counters[] = {0, 0, 5, 2, 1000, 0}, position[] = {100 + 10 * i, 10 + i, 7}, out[] = {5};
        rows[i].base.next = next_row;
        add_numbers(&rows[i], "counters", 6, counters);
        add_numbers(&rows[i], "egress/out", 1, out);
        add_numbers(&rows[i], "input/all", 3, position);
        if (i == 2) {
            add_numbers(&rows[i], "input/one", 3, position);
        }
        add_records(&rows[i], 1, 3, "old");
        add_records(&rows[i], 4, 5, i == 2 ? "two" : "own");
        rows[i].cursor = (struct troupe__cursor){rows[i].record.data, rows[i].record.data + rows[i].record.size, false};
    }
    if (recast_rows(rows, from, to, released, records, &counts, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    for (uint16_t i = 0; i < 3; i++) {
        troupe__buffer_free(&rows[i].record);
    }
    free_run(from);
}

static void free_records(struct records *records)
{
    for (size_t i = 0; i < NODES; i++) {
        troupe__buffer_free(&records->records[i]);
    }
}

/* Whoever is given a file goes on in it; where several read files of one name, none of its lines is left out. Only a
 * node of the same name knows it again by what was read: on another machine it may be another file. */
static void an_input_goes_on_on_any_node_at_its_own_or_the_least_position(void **state)
{
    struct records fewer = {{set_row, find_row}, {{0}}}, more = {{set_row, find_row}, {{0}}};
    struct troupe_run *two = new_run(1, 2, 2, false), *five = new_run(1, 5, 2, false);
    (void)state;
    recast_by_hand(&fewer, two);
    recast_by_hand(&more, five);
    for (uint16_t i = 0; i < 2; i++) {
        assert_int_equal(number_of(&fewer.records[i], "input/all"), 100 + 10 * i);
        assert_int_equal(number_of(&fewer.records[i], "input/one"), 120);
    }
    for (uint16_t i = 0; i < 5; i++) {
        assert_int_equal(number_of(&more.records[i], "input/all"), i < 3 ? 100 + 10 * i : 100);
        assert_int_equal(number_of(&more.records[i], "input/one"), 120);
        assert_int_equal(numbers_in(&more.records[i], "input/all"), i < 3 ? 3 : 2);
        assert_int_equal(numbers_in(&more.records[i], "input/one"), i == 2 ? 3 : 2);
    }
    free_records(&fewer);
    free_records(&more);
    free_run(two);
    free_run(five);
}

/* A consumer must not take a record for another one, so what has no successor comes behind, and a new name begins anew.
 */
static void numbers_of_records_go_on_with_the_node_of_the_same_name(void **state)
{
    struct records fewer = {{set_row, find_row}, {{0}}}, more = {{set_row, find_row}, {{0}}};
    struct troupe_run *two = new_run(1, 2, 2, false), *five = new_run(1, 5, 2, false);
    struct troupe__change change;
    struct troupe__egress egress;
    unsigned char key[8];
    (void)state;
    recast_by_hand(&fewer, two);
    recast_by_hand(&more, five);
    assert_int_equal(number_of(&fewer.records[0], "egress/out"), 8); /* three of node 2 behind its own five */
    assert_int_equal(number_of(&fewer.records[1], "egress/out"), 5);
    troupe__put_be64(key, 1);
    assert_true(find_change(&fewer.records[0], TROUPE__EGRESS, (struct troupe_bytes){key, 8}, &change));
    assert_false(find_change(&fewer.records[1], TROUPE__EGRESS, (struct troupe_bytes){key, 8}, &change)); /* all out */
    troupe__put_be64(key, 6);
    assert_true(find_change(&fewer.records[0], TROUPE__EGRESS, (struct troupe_bytes){key, 8}, &change));
    struct troupe__cursor cursor = {change.value.data, (const unsigned char *)change.value.data + change.value.size,
                                    false};
    assert_true(troupe__egress_next(&cursor, &egress)); /* The third of the first row, since two are out. */
    assert_int_equal(egress.number, 6);
    assert_int_equal(egress.sequence, 6);
    assert_memory_equal(egress.body.data, "old", 3);
    for (uint16_t i = 0; i < 5; i++) {
        assert_int_equal(number_of(&more.records[i], "egress/out"), i < 3 ? 5 : UINT64_MAX);
    }
    free_records(&fewer);
    free_records(&more);
    free_run(two);
    free_run(five);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dealt_out_to_any_number_of_nodes_a_troupe_ends_the_same),
        cmocka_unit_test(an_input_goes_on_on_any_node_at_its_own_or_the_least_position),
        cmocka_unit_test(numbers_of_records_go_on_with_the_node_of_the_same_name),
        cmocka_unit_test(damaged_rows_are_dealt_out_or_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
