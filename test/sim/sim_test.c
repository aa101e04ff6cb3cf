/* sim_test.c - random troupes under every fault at once, by seed: what the actors see is what they would see without.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each seed makes a troupe (nodes, actors, limits, faults) and runs it twice, the second time with other heap contents
 * and addresses; both must hash the same. In two of three snapshots are taken, and in most of these the troupe goes
 * back to one. TROUPE_SEED=seed runs one alone, with its log; TROUPE_SIM_SEEDS and TROUPE_SIM_LMDB_SEEDS say how many
 * there are (1,000 and 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/sim/simulator.h"
#include "state/lmdb_store.h"
#include "test/sim/actors.h"
#include "test/sim/cut.h"

#define MS UINT64_C(1000000)

static char directory_of_tests[64]; /* in memory if there is such a place: what a sync costs is not the question here */

/* ---- a seed ------------------------------------------------------------------------------------------------------ */

struct plan {
    uint64_t seed;
    size_t input_count; /* of each node */
    uint32_t hops_max;
    uint64_t span_ns; /* inputs come within */
    struct body body;
    char id[32];
    uint16_t node_count;
    bool repeats;       /* each input comes in by way of two nodes, under one id; half of them are asks */
    char directory[96]; /* of stores on disk; "" for memory */
    bool snapshots;     /* are taken; then timers are not cancelled, so that the outcome is that of any other run */
    char snapshot_directory[96];
    bool spoilt_parts;   /* two nodes that crash after they have written, and nothing else that would end a snapshot */
    bool undisturbed;    /* no faults at all */
    bool compares_disks; /* nothing that only stores in memory can do */
    bool put_back, log, one_crash;
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
    if (index >= plan->input_count * (plan->repeats ? 2 : 1)) {
        return false;
    }
    if (plan->repeats) {
        node = (uint16_t)((node + index % 2) % plan->node_count);
        index /= 2;
        snprintf(plan->id, sizeof plan->id, "%u/%zu", node, index);
    }
    uint64_t dice = dice_of(plan->seed, 1000 + node);
    size_t to = (size_t)dice % actor_count;
    plan->body = (struct body){.id = troupe__id_mix(dice, index), .number = (uint32_t)index + 1, .to = (uint32_t)to};
    plan->body.hops = 1 + (uint32_t)(plan->body.id % plan->hops_max);
    *ret = (struct troupe__sim_input){.at_ns = plan->span_ns * index / plan->input_count,
                                      .ask = plan->repeats && dice % 2 == 0,
                                      .id = plan->repeats ? plan->id : NULL,
                                      .to = actor_at(to),
                                      .type = "start",
                                      .body = {&plan->body, sizeof plan->body}};
    return true;
}

static void must(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
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

static bool taken(void *context, const char *directory, const struct troupe__snapshot *snapshot, char *error,
                  size_t error_size)
{
    (void)context;
    return check_snapshot(directory, snapshot, error, error_size);
}

static struct troupe__sim_options make_options(struct plan *plan, struct troupe__oracle *oracle)
{
    uint64_t seed = plan->seed;
    struct troupe__sim_options options = {
        .module = &actors_module,
        .oracle = oracle,
        .node_count = (uint16_t)(2 + dice_of(seed, 1) % 4),
        .restore_ns = dice_of(seed, 3) % 4 == 0 ? (20 + dice_of(seed, 4) % 150) * MS : 0,
        .input = input,
        .context = plan,
    };
    troupe__sim_draw(&options, seed, UINT32_MAX);
    if (plan->snapshots) {
        options.snapshot_directory = plan->snapshot_directory;
        options.calm_ns += 400 * MS;
        options.taken = taken;
        options.restore_nodes = dice_of(seed, 5) % 2 ? 1 + dice_of(seed, 6) % 5 : 0;
        if (plan->spoilt_parts) {
            options.node_count = 2;
            options.faults = (struct troupe__sim_faults){.slow_commit = 60, .snapshot_crash = 600};
        }
        options.restore_ns = dice_of(seed, 3) % 4 != 0 ? options.calm_ns * (20 + dice_of(seed, 4) % 80) / 100 : 0;
    }
    if (plan->undisturbed) {
        options.snapshot_directory = NULL;
        options.restore_ns = options.calm_ns = options.restore_nodes = 0;
    }
    if (plan->directory[0]) {
        options.open_store = open_on_disk;
    }
    if (plan->compares_disks) {
        options.faults.failing_commit = 0;
    }
    if (plan->one_crash) {
        options.node_count = 3;
        options.restore_ns = 0;
        options.calm_ns = plan->snapshots ? 300 * MS : 5000 * MS; /* when all is over */
        options.snapshots = 100;
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
                        .span_ns = (10 + dice_of(seed, 32) % 500) * MS,
                        .repeats = dice_of(seed, 36) % 3 == 0,
                        .snapshots = dice_of(seed, 34) % 3 != 0};
    actor_count = 2 + dice_of(seed, 33) % (ACTORS_MAX - 1);
    actors_cancel = !plan.snapshots;
    plan.span_ns += plan.snapshots ? dice_of(seed, 35) % 400 * MS : 0;
    plan.spoilt_parts = dice_of(seed, 34) % 3 == 1;
    plan.input_count += plan.spoilt_parts ? 10 : 0;
    snprintf(plan.snapshot_directory, sizeof plan.snapshot_directory, "%s/snapshots", directory_of_tests);
    return plan;
}

/* The stores of a run on disk are complete when they have been closed. */
static void read_disks(struct plan *plan, const struct troupe__sim_options *options, uint16_t nodes,
                       struct ledger *ledger)
{
    for (uint16_t node = 0; node < nodes; node++) {
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

static enum troupe_error count_dead(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ((struct ledger *)context)->dead++;
    return TROUPE_OK;
}

static struct troupe__sim_result run_once(struct plan plan, struct ledger *ret)
{
    struct crash_oracle oracle = {.base = {choose_one_crash},
                                  .target = troupe__id_mix(plan.crash_node, plan.crash_step)};
    struct ledger ledger = {0};
    struct troupe__sim_result result;
    troupe__random_oracle_init(&oracle.chance, plan.seed);
    struct troupe__sim_options options = make_options(&plan, plan.one_crash ? &oracle.base : &oracle.chance.base);
    plan.node_count = options.node_count;
    ledger.started_once = (uint64_t)options.node_count * plan.input_count;
    struct troupe__simulator *simulator = troupe__simulator_new(&options);
    assert_non_null(simulator);
    bool ok = troupe__simulator_run(simulator, &result) == TROUPE_OK;
    for (uint16_t node = 0; ok && !plan.directory[0] && node < result.nodes; node++) {
        struct troupe__store *store = troupe__simulator_store(simulator, node);
        must(store->scan(store, TROUPE__STATE, (struct troupe_bytes){"", 0}, take_books, &ledger));
        must(store->scan(store, TROUPE__DEAD, (struct troupe_bytes){"", 0}, count_dead, &ledger));
    }
    troupe__simulator_free(simulator);
    if (ok && plan.directory[0]) {
        read_disks(&plan, &options, result.nodes, &ledger);
    }
    char text[256];
    if (ok && !check_ledger(&ledger, text, sizeof text)) {
        snprintf(result.failure, sizeof result.failure, "at the end: %s", text);
    }
    *ret = ledger;
    return result;
}

/* Other heap contents and addresses than before. */
static struct troupe__sim_result run_elsewhere(struct plan plan, struct ledger *ret)
{
    void *padding[32];
    for (size_t i = 0; i < 32; i++) {
        padding[i] = malloc(1 + dice_of(plan.seed, 100 + i) % 5000);
    }
    for (size_t i = 0; i < 32; i += 2) {
        free(padding[i]);
    }
    mallopt(M_PERTURB, 1 + (int)(plan.seed % 254));
    struct troupe__sim_result result = run_once(plan, ret);
    mallopt(M_PERTURB, 0);
    for (size_t i = 1; i < 32; i += 2) {
        free(padding[i]);
    }
    return result;
}

struct totals {
    uint64_t seeds, deliveries, crashes, commits, frames, events, seconds, snapshots, snapshots_failed, restored, moved;
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
    totals->snapshots += result->snapshots;
    totals->snapshots_failed += result->snapshots_failed;
    totals->restored += result->restored;
    totals->moved += result->restored && result->moved;
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

/* As if nothing had failed, and nothing had been restored. */
static void compare_outcome(struct plan plan, const struct ledger *ledger)
{
    struct ledger undisturbed;
    plan.undisturbed = true;
    struct troupe__sim_result result = run_once(plan, &undisturbed);
    assert_string_equal(result.failure, "");
    if (memcmp(undisturbed.books, ledger->books, sizeof ledger->books) != 0 || undisturbed.dead != ledger->dead) {
        fail_msg("TROUPE_SEED=%" PRIu64 ": the outcome is not that of an undisturbed run", plan.seed);
    }
}

static void print_totals(const struct totals *totals, clock_t begin)
{
    print_message("%" PRIu64 " seeds, %" PRIu64 " events, %" PRIu64 " deliveries, %" PRIu64 " commits, %" PRIu64
                  " frames, %" PRIu64 " crashes, %" PRIu64 " simulated seconds; %.1f s of processor\n",
                  totals->seeds, totals->events, totals->deliveries, totals->commits, totals->frames, totals->crashes,
                  totals->seconds, (double)(clock() - begin) / CLOCKS_PER_SEC);
    if (totals->snapshots > 0) {
        print_message("%" PRIu64 " snapshots, %" PRIu64 " that failed; %" PRIu64 " runs went back to one, %" PRIu64
                      " of them with another number of nodes\n",
                      totals->snapshots, totals->snapshots_failed, totals->restored, totals->moved);
    }
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
        struct ledger ledger, again;
        struct troupe__sim_result first = run_once(plan, &ledger), second = run_elsewhere(plan, &again);
        add_to(&totals, &first);
        compare(seed, &first, &second);
        if (plan.snapshots) {
            compare_outcome(plan, &ledger);
        }
    }
    print_totals(&totals, begin);
    if (!only) { /* They do what they are for. */
        assert_true(totals.deliveries > count * 20 && totals.crashes >= count);
        assert_true(count < 200 || (totals.snapshots > count / 4 && totals.snapshots_failed > count / 20 &&
                                    totals.restored > count / 20 && totals.moved > count / 50));
    }
}

/* The same run on LMDB and in memory hashes the same, and the files hold the same end. */
static void a_run_on_disk_is_the_run_in_memory(void **state)
{
    (void)state;
    struct totals totals = {0};
    clock_t begin = clock();
    char directory[80], remove[96];
    snprintf(directory, sizeof directory, "%s/stores", directory_of_tests);
    uint64_t count = number_from("TROUPE_SIM_LMDB_SEEDS", 10);
    assert_int_equal(mkdir(directory, 0700), 0);
    snprintf(remove, sizeof remove, "rm -rf %s/*", directory);
    for (uint64_t seed = 1; seed <= count; seed++) {
        struct plan plan = make_plan(seed);
        plan.compares_disks = true;
        struct ledger ledger;
        struct troupe__sim_result first = run_once(plan, &ledger);
        snprintf(plan.directory, sizeof plan.directory, "%s", directory);
        struct troupe__sim_result second = run_once(plan, &ledger);
        add_to(&totals, &second);
        first.hash = first.event_hash; /* Rows that say again what was there depend on what is folded. */
        second.hash = second.event_hash;
        compare(seed, &first, &second);
        assert_int_equal(system(remove), 0);
    }
    assert_int_equal(rmdir(directory), 0);
    print_totals(&totals, begin);
    assert_true(count < 10 || totals.moved > 0);
}

/* An older copy of a node's directory is put back: either nothing is missing, or the link says so; never silently. */
static void an_older_directory_that_is_put_back_is_noticed_or_harmless(void **state)
{
    (void)state;
    uint64_t count = number_from("TROUPE_SIM_SEEDS", 1000), noticed = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        struct plan plan = make_plan(seed);
        plan.put_back = true;
        plan.snapshots = false;
        struct ledger ledger;
        struct troupe__sim_result result = run_once(plan, &ledger);
        bool says_so = strstr(result.failure, "is lost: ") != NULL;
        noticed += says_so;
        if (result.failure[0] && !says_so) {
            fail_msg("TROUPE_SEED=%" PRIu64 ": %s", seed, result.failure);
        }
    }
    print_message("%" PRIu64 " of %" PRIu64 " noticed\n", noticed, count);
    assert_true(count < 100 || (noticed > count / 10 && noticed < count));
}

/* Not by chance: between any two steps of each node, one after the other. Returns how many runs that were. */
static uint64_t crash_at_every_step(uint64_t seed, bool snapshots, struct totals *totals)
{
    uint64_t runs = 0;
    for (uint64_t node = 0; node < 3; node++) {
        struct troupe__sim_result result = {.crashes = 1};
        for (uint64_t step = 0; result.crashes > 0; step++) {
            struct plan plan = make_plan(seed);
            plan.one_crash = true;
            plan.snapshots = snapshots;
            plan.input_count = 1 + seed % 8;
            plan.crash_node = node;
            plan.crash_step = step;
            struct ledger ledger;
            result = run_once(plan, &ledger);
            runs++;
            add_to(totals, &result);
            if (result.failure[0] || result.crashes > 1) {
                fail_msg("graph %" PRIu64 ", node %" PRIu64 " crashes at its step %" PRIu64 ": %s", seed, node, step,
                         result.failure);
            }
        }
    }
    return runs;
}

static void a_crash_at_any_step_of_any_node_changes_nothing(void **state)
{
    (void)state;
    uint64_t graphs = number_from("TROUPE_SIM_SEEDS", 1000) / 250, runs = 0;
    struct totals totals = {0};
    for (uint64_t seed = 1; seed <= graphs; seed++) {
        runs += crash_at_every_step(seed, false, &totals);
    }
    print_message("%" PRIu64 " graphs, %" PRIu64 " crashes\n", graphs, runs);
    assert_true(runs >= graphs * 100);
}

/* Those that ask for snapshots, and the parts, meet a crash at every step too. */
static void a_crash_at_any_step_while_snapshots_are_taken_spoils_none_that_is_complete(void **state)
{
    (void)state;
    uint64_t graphs = number_from("TROUPE_SIM_SEEDS", 1000) / 500;
    struct totals totals = {0};
    for (uint64_t seed = 1; seed <= graphs; seed++) {
        crash_at_every_step(seed, true, &totals);
    }
    print_totals(&totals, clock());
    assert_true(graphs == 0 || (totals.snapshots > totals.seeds && totals.snapshots_failed > 0));
}

static int make_directory(void **state)
{
    char path[128];
    (void)state;
    snprintf(directory_of_tests, sizeof directory_of_tests, "%s/troupe-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(directory_of_tests)) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/snapshots", directory_of_tests);
    return mkdir(path, 0700);
}

static int remove_directory(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", directory_of_tests);
    return system(command);
}

int main(void)
{
    /* Compressing takes some MiB for each part and gives them back: else most of the time would go into fresh pages. */
    mallopt(M_MMAP_THRESHOLD, 1 << 26);
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_seed_ends_as_if_nothing_had_failed_and_runs_the_same_twice),
        cmocka_unit_test(a_run_on_disk_is_the_run_in_memory),
        cmocka_unit_test(an_older_directory_that_is_put_back_is_noticed_or_harmless),
        cmocka_unit_test(a_crash_at_any_step_of_any_node_changes_nothing),
        cmocka_unit_test(a_crash_at_any_step_while_snapshots_are_taken_spoils_none_that_is_complete),
    };
    return cmocka_run_group_tests_name("sim", tests, make_directory, remove_directory);
}
