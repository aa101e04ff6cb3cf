/* sim_test.c - random troupes under every fault at once, by seed: what the actors see is what they would see without.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each seed makes a troupe (nodes, actors, limits, faults) and runs it twice, the second time with other heap contents
 * and addresses; both must hash the same. TROUPE_SEED=seed runs one alone, with its log; TROUPE_SIM_SEEDS and
 * TROUPE_SIM_LMDB_SEEDS say how many there are (1,000 and 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "runtime/simulator.h"
#include "state/lmdb_store.h"

#define MS UINT64_C(1000000)

/* ---- the actors -------------------------------------------------------------------------------------------------- */

enum { ACTORS_MAX = 12, OUTSIDE = ACTORS_MAX };

/* Messages to and from each of the others, numbered per pair; money goes with them. */
struct books {
    uint32_t sent[ACTORS_MAX], got[ACTORS_MAX + 1];
    int64_t balance;
    uint32_t faults, asked, answered, delayed, undelayed, cancelled, jobs_begun, jobs_ended;
    uint32_t handled;
};

struct body {
    uint64_t id;
    int64_t money;
    uint32_t number, hops, to;
};

static const struct troupe_value books_value = {"books", TROUPE_BYTES}, timer_value = {"timer", TROUPE_INT};
static const struct troupe_value *const values[] = {&books_value, &timer_value, NULL};
static size_t actor_count; /* of the seed being run */

static const char *const type_names[] = {"sim/red", "sim/green", "sim/blue"};

static struct troupe_address actor_at(size_t index)
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
    assert_int_equal(result, TROUPE_OK);
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
    if (body.id % 3 == 0 && troupe_get_int(ctx, &timer_value, &pending) == TROUPE_OK && pending != 0) {
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
        assert_int_equal(stored.size, sizeof books);
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

static const struct troupe_type types[] = {
    {"sim/red", handle, values, .jobs = jobs, .retry = {.attempts = 3, .backoff_ms = 1, .backoff_max_ms = 8}},
    {"sim/green", handle, values, .jobs = jobs, .retry = {.attempts = 3, .backoff_ms = 20, .backoff_max_ms = 100}},
    {"sim/blue", handle, values, .jobs = jobs, .retry = {.attempts = 3, .backoff_ms = 5, .backoff_max_ms = 5}},
};
static const struct troupe_module module = {TROUPE_ABI, "sim", "1", types, 3};

/* ---- a seed ------------------------------------------------------------------------------------------------------ */

struct plan {
    uint64_t seed;
    size_t input_count; /* of each node */
    uint32_t hops_max;
    uint64_t span_ns; /* inputs come within */
    struct body body;
    char directory[64]; /* of stores on disk; "" for memory */
    bool no_failing_commit, put_back, log, one_crash;
    uint64_t crash_node, crash_step;
};

static uint64_t dice_of(uint64_t seed, uint64_t what)
{
    return troupe__id_mix(troupe__id_mix(seed, UINT64_C(0x5eed)), what);
}

/* Inputs are numbered for each pair of node and actor in `hops`' place of the sender: nodes are one outside, so the
 * numbers of one actor come from one node only. */
static bool input(void *context, uint16_t node, size_t index, struct troupe__sim_input *ret)
{
    struct plan *plan = context;
    if (index >= plan->input_count) {
        return false;
    }
    uint64_t dice = dice_of(plan->seed, 1000 + node);
    size_t to = (size_t)dice % actor_count;
    plan->body = (struct body){.id = troupe__id_mix(dice, index), .number = (uint32_t)index + 1, .to = (uint32_t)to};
    plan->body.hops = 1 + (uint32_t)(plan->body.id % plan->hops_max);
    *ret = (struct troupe__sim_input){.at_ns = plan->span_ns * index / plan->input_count,
                                      .to = actor_at(to),
                                      .type = "start",
                                      .body = {&plan->body, sizeof plan->body}};
    return true;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

struct ledger {
    struct books books[ACTORS_MAX];
    size_t seen;
    bool broken;
};

static enum troupe_error take_books(void *context, struct troupe_bytes key, struct troupe_bytes value)
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

/* Every message to an actor was handled once, in order, and every ask had one end. */
static bool check_ledger(const struct ledger *ledger, char *text, size_t text_size)
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
        sum.jobs_begun += books->jobs_begun;
        sum.jobs_ended += books->jobs_ended;
    }
    snprintf(text, text_size,
             "balance %" PRId64 ", %u out of order, %u of %u asks ended, %u of %u delayed came, %u of %u jobs ended, "
             "%u handled",
             sum.balance, sum.faults, sum.answered, sum.asked, sum.undelayed, sum.delayed, sum.jobs_ended,
             sum.jobs_begun, sum.handled);
    return !ledger->broken && sum.balance == 0 && sum.faults == 0 && sum.answered == sum.asked &&
           sum.undelayed == sum.delayed && sum.jobs_begun == sum.jobs_ended && sum.handled > 0;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

static enum troupe_error open_on_disk(void *context, uint16_t node, uint64_t generation, struct troupe__store **ret,
                                      char *error, size_t error_size)
{
    const struct plan *plan = context;
    struct troupe__lmdb_options options = {.sync = false, .map_size = 1 << 26, .fold_interval_ms = 5};
    char path[128];
    snprintf(path, sizeof path, "%s/%" PRIu64 "-%u-%" PRIu64, plan->directory, plan->seed, node, generation);
    return troupe__lmdb_store_open(path, &options, ret, error, error_size);
}

static void log_line(void *context, enum troupe_level level, const char *text)
{
    (void)context, (void)level;
    print_message("  %s\n", text);
}

static struct troupe__sim_options make_options(struct plan *plan, struct troupe__oracle *oracle)
{
    uint64_t seed = plan->seed;
    struct troupe__sim_options options = {
        .module = &module,
        .oracle = oracle,
        .node_count = (uint16_t)(2 + dice_of(seed, 1) % 4),
        .restore_ns = dice_of(seed, 3) % 4 == 0 ? (20 + dice_of(seed, 4) % 150) * MS : 0,
        .input = input,
        .context = plan,
    };
    troupe__sim_draw(&options, seed, UINT32_MAX);
    if (plan->directory[0]) {
        options.open_store = open_on_disk;
    }
    if (plan->no_failing_commit) {
        options.faults.failing_commit = 0;
    }
    if (plan->one_crash) {
        options.node_count = 3;
        options.restore_ns = 0;
        options.calm_ns = 5000 * MS; /* when all is long over */
        options.faults = (struct troupe__sim_faults){.crash = 1};
    }
    if (plan->put_back) {
        options.restore_ns = 0;
        options.faults.crash = 30; /* Several starts between two hellos are what is hard. */
        options.faults.loss = 200;
        options.copy_ns = options.calm_ns * (dice_of(seed, 22) % 100) / 100;
        options.put_back_ns =
            options.copy_ns + 1 + (options.calm_ns - options.copy_ns) * (dice_of(seed, 23) % 100) / 100;
    }
    if (plan->log) {
        options.log = log_line;
    }
    return options;
}

static struct plan make_plan(uint64_t seed)
{
    struct plan plan = {.seed = seed,
                        .input_count = 1 + dice_of(seed, 30) % 8,
                        .hops_max = 1 + (uint32_t)(dice_of(seed, 31) % 4),
                        .span_ns = (10 + dice_of(seed, 32) % 500) * MS};
    actor_count = 2 + dice_of(seed, 33) % (ACTORS_MAX - 1);
    return plan;
}

/* The stores of a run on disk are complete when they have been closed. */
static void read_disks(struct plan *plan, const struct troupe__sim_options *options, struct ledger *ledger)
{
    for (uint16_t node = 0; node < options->node_count; node++) {
        struct troupe__store *store;
        char error[512];
        must(open_on_disk(plan, node, options->restore_ns > 0 ? 2 : 1, &store, error, sizeof error));
        must(store->replay(store, NULL, NULL));
        must(store->scan(store, TROUPE__STATE, (struct troupe_bytes){"", 0}, take_books, ledger));
        store->close(store);
    }
}

/* Leaves all to chance but when a node crashes: at one step of one node only. */
struct crash_oracle {
    struct troupe__oracle base;
    struct troupe__random_oracle chance;
    uint64_t target;
};

static uint32_t choose_one_crash(struct troupe__oracle *base, enum troupe__choice kind, uint32_t n, uint64_t id)
{
    struct crash_oracle *oracle = (struct crash_oracle *)base;
    if (kind == TROUPE__CHOOSE_CRASH && n == 1000) {
        return id == oracle->target;
    }
    return troupe__choose(&oracle->chance.base, kind, n, id);
}

static struct troupe__sim_result run_once(struct plan plan)
{
    struct crash_oracle oracle = {.base = {choose_one_crash},
                                  .target = troupe__id_mix(plan.crash_node, plan.crash_step)};
    struct ledger ledger = {0};
    struct troupe__sim_result result;
    troupe__random_oracle_init(&oracle.chance, plan.seed);
    struct troupe__sim_options options = make_options(&plan, plan.one_crash ? &oracle.base : &oracle.chance.base);
    struct troupe__simulator *simulator = troupe__simulator_new(&options);
    assert_non_null(simulator);
    bool ok = troupe__simulator_run(simulator, &result) == TROUPE_OK;
    for (uint16_t node = 0; ok && !plan.directory[0] && node < options.node_count; node++) {
        struct troupe__store *store = troupe__simulator_store(simulator, node);
        must(store->scan(store, TROUPE__STATE, (struct troupe_bytes){"", 0}, take_books, &ledger));
    }
    troupe__simulator_free(simulator);
    if (ok && plan.directory[0]) {
        read_disks(&plan, &options, &ledger);
    }
    char text[256];
    if (ok && !check_ledger(&ledger, text, sizeof text)) {
        snprintf(result.failure, sizeof result.failure, "at the end: %s", text);
    }
    return result;
}

/* Other heap contents and addresses than before. */
static struct troupe__sim_result run_elsewhere(struct plan plan)
{
    void *padding[32];
    for (size_t i = 0; i < 32; i++) {
        padding[i] = malloc(1 + dice_of(plan.seed, 100 + i) % 5000);
    }
    for (size_t i = 0; i < 32; i += 2) {
        free(padding[i]);
    }
    mallopt(M_PERTURB, 1 + (int)(plan.seed % 254));
    struct troupe__sim_result result = run_once(plan);
    mallopt(M_PERTURB, 0);
    for (size_t i = 1; i < 32; i += 2) {
        free(padding[i]);
    }
    return result;
}

struct totals {
    uint64_t seeds, deliveries, crashes, commits, frames, events, seconds;
};

static void add_to(struct totals *totals, const struct troupe__sim_result *result)
{
    totals->seeds++;
    totals->deliveries += result->deliveries;
    totals->crashes += result->crashes;
    totals->commits += result->commits;
    totals->frames += result->frames;
    totals->events += result->events;
    totals->seconds += result->now_ns / MS / 1000;
}

/* Both runs must succeed, and be the same. */
static void compare(uint64_t seed, const struct troupe__sim_result *first, const struct troupe__sim_result *second)
{
    if (first->failure[0]) {
        fail_msg("TROUPE_SEED=%" PRIu64 ": %s", seed, first->failure);
    }
    if (second->hash != first->hash || second->failure[0]) {
        fail_msg("TROUPE_SEED=%" PRIu64 ": the second run differs: hash %016" PRIx64 " and %016" PRIx64 " %s", seed,
                 first->hash, second->hash, second->failure);
    }
}

static void print_totals(const struct totals *totals, clock_t begin)
{
    print_message("%" PRIu64 " seeds, %" PRIu64 " events, %" PRIu64 " deliveries, %" PRIu64 " commits, %" PRIu64
                  " frames, %" PRIu64 " crashes, %" PRIu64 " simulated seconds; %.1f s of processor\n",
                  totals->seeds, totals->events, totals->deliveries, totals->commits, totals->frames, totals->crashes,
                  totals->seconds, (double)(clock() - begin) / CLOCKS_PER_SEC);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Whatever fails: effects once, in order, nothing lost, and everything comes to its end. */
static void every_seed_ends_as_if_nothing_had_failed_and_runs_the_same_twice(void **state)
{
    (void)state;
    struct totals totals = {0};
    clock_t begin = clock();
    uint64_t only = number_from("TROUPE_SEED", 0);
    uint64_t first_seed = only ? only : number_from("TROUPE_SIM_FIRST", 1);
    uint64_t count = only ? 1 : number_from("TROUPE_SIM_SEEDS", 1000);
    for (uint64_t seed = first_seed; seed < first_seed + count; seed++) {
        struct plan plan = make_plan(seed);
        plan.log = only != 0;
        struct troupe__sim_result first = run_once(plan), second = run_elsewhere(plan);
        add_to(&totals, &first);
        compare(seed, &first, &second);
    }
    print_totals(&totals, begin);
    if (!only) { /* They do what they are for. */
        assert_true(totals.deliveries > count * 20 && totals.crashes >= count);
    }
}

/* The same run on LMDB and in memory hashes the same, and the files hold the same end. */
static void a_run_on_disk_is_the_run_in_memory(void **state)
{
    (void)state;
    struct totals totals = {0};
    clock_t begin = clock();
    char directory[32], remove[64];
    /* In memory if there is such a place: what a sync costs is not the question here. */
    snprintf(directory, sizeof directory, "%s/troupe-sim-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    uint64_t count = number_from("TROUPE_SIM_LMDB_SEEDS", 10);
    assert_non_null(mkdtemp(directory));
    snprintf(remove, sizeof remove, "rm -rf %s/*", directory);
    for (uint64_t seed = 1; seed <= count; seed++) {
        struct plan plan = make_plan(seed);
        plan.no_failing_commit = true;
        struct troupe__sim_result first = run_once(plan);
        snprintf(plan.directory, sizeof plan.directory, "%s", directory);
        struct troupe__sim_result second = run_once(plan);
        add_to(&totals, &second);
        first.hash = first.event_hash; /* Rows that say again what was there depend on what is folded. */
        second.hash = second.event_hash;
        compare(seed, &first, &second);
        assert_int_equal(system(remove), 0);
    }
    assert_int_equal(rmdir(directory), 0);
    print_totals(&totals, begin);
}

/* An older copy of a node's directory is put back: either nothing is missing, or the link says so; never silently. */
static void an_older_directory_that_is_put_back_is_noticed_or_harmless(void **state)
{
    (void)state;
    uint64_t count = number_from("TROUPE_SIM_SEEDS", 1000), noticed = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        struct plan plan = make_plan(seed);
        plan.put_back = true;
        struct troupe__sim_result result = run_once(plan);
        bool says_so = strstr(result.failure, "is lost: ") != NULL;
        noticed += says_so;
        if (result.failure[0] && !says_so) {
            fail_msg("TROUPE_SEED=%" PRIu64 ": %s", seed, result.failure);
        }
    }
    print_message("%" PRIu64 " of %" PRIu64 " noticed\n", noticed, count);
    assert_true(count < 100 || (noticed > count / 10 && noticed < count));
}

/* Not by chance: between any two steps of each node, one after the other. */
static void a_crash_at_any_step_of_any_node_changes_nothing(void **state)
{
    (void)state;
    uint64_t graphs = number_from("TROUPE_SIM_SEEDS", 1000) / 250, runs = 0;
    for (uint64_t seed = 1; seed <= graphs; seed++) {
        for (uint64_t node = 0; node < 3; node++) {
            struct troupe__sim_result result = {.crashes = 1};
            for (uint64_t step = 0; result.crashes > 0; step++) {
                struct plan plan = make_plan(seed);
                plan.one_crash = true;
                plan.crash_node = node;
                plan.crash_step = step;
                result = run_once(plan);
                runs++;
                if (result.failure[0] || result.crashes > 1) {
                    fail_msg("graph %" PRIu64 ", node %" PRIu64 " crashes at its step %" PRIu64 ": %s", seed, node,
                             step, result.failure);
                }
            }
        }
    }
    print_message("%" PRIu64 " graphs, %" PRIu64 " crashes\n", graphs, runs);
    assert_true(runs >= graphs * 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_seed_ends_as_if_nothing_had_failed_and_runs_the_same_twice),
        cmocka_unit_test(a_run_on_disk_is_the_run_in_memory),
        cmocka_unit_test(an_older_directory_that_is_put_back_is_noticed_or_harmless),
        cmocka_unit_test(a_crash_at_any_step_of_any_node_changes_nothing),
    };
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
