/* sim.c - `troupe sim`: a module's actors on a simulated troupe, under faults, by seed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/sim.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/log.h"
#include "runtime/snapshot/check.h"
#include "runtime/cli/module.h"
#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/sim_lines.h"
#include "runtime/cli/sim_shrink.h"
#include "runtime/files.h"
#include "runtime/sim/simulator.h"
#include "transport/json.h"

enum { FAILURES_MAX = 10, NODES_MAX = 64 };

struct sim {
    const struct troupe_module *module;
    const char *module_path, *input_path, *output_path, *shrink_path;
    uint16_t node_count; /* 0: by seed */
    uint64_t seed_first, seed_last;
    unsigned faults;
    bool same_records, same_keys, no_dead, logs;
    enum troupe_level least;

    struct troupe__sim_lines input;
    uint64_t span_ns;
    uint64_t record_sum; /* of the run: the same for the same records in any order */
    FILE *output;
    bool records; /* the run's records go there */
    struct troupe__buffer text;
    struct troupe__progress progress;
    char snapshots[64]; /* the directory of snapshots for the module's check; "": it has none */
    uint64_t checked;
};

static volatile uint64_t seed_running; /* for the signal handler */

/* ---- options ----------------------------------------------------------------------------------------------------- */

static const char *set_input(void *sim, const char *value)
{
    ((struct sim *)sim)->input_path = value;
    return *value ? NULL : "a file";
}

static const char *set_output(void *sim, const char *value)
{
    ((struct sim *)sim)->output_path = value;
    return *value ? NULL : "a file";
}

static const char *set_shrink(void *sim, const char *value)
{
    ((struct sim *)sim)->shrink_path = value;
    return *value ? NULL : "a file";
}

static const char *set_nodes(void *sim, const char *value)
{
    char *end;
    long count = strtol(value, &end, 10);
    ((struct sim *)sim)->node_count = (uint16_t)count;
    return *value && !*end && count >= 1 && count <= NODES_MAX ? NULL : "a number of 1 to 64";
}

static const char *set_seeds(void *target, const char *value)
{
    static const char what[] = "a number, or two as in 1..1000";
    struct sim *sim = target;
    char *end;
    if (*value < '0' || *value > '9') {
        return what;
    }
    errno = 0;
    sim->seed_first = sim->seed_last = strtoull(value, &end, 10);
    if (strncmp(end, "..", 2) == 0 && end[2] >= '0' && end[2] <= '9') {
        sim->seed_last = strtoull(end + 2, &end, 10);
    }
    return *end || errno == ERANGE || sim->seed_first > sim->seed_last ? what : NULL;
}

static const char *set_faults(void *target, const char *value)
{
    struct sim *sim = target;
    sim->faults = strcmp(value, "all") == 0 ? UINT32_MAX : 0;
    if (sim->faults || strcmp(value, "none") == 0) {
        return NULL;
    }
    while (*value) {
        size_t size = strcspn(value, ",");
        int fault = TROUPE__CHOOSE_LOSS;
        const char *name = troupe__choice_name(TROUPE__CHOOSE_LOSS);
        while (fault <= TROUPE__CHOOSE_CLOCK && (strlen(name) != size || strncmp(name, value, size) != 0)) {
            name = troupe__choice_name((enum troupe__choice)++ fault);
        }
        if (fault > TROUPE__CHOOSE_CLOCK) {
            return "all, none, or some of loss, duplication, reordering, partition, slowness, crash, pause, "
                   "slow-commit, "
                   "failing-commit, clock, with commas";
        }
        sim->faults |= 1u << fault;
        value += size + (value[size] == ',');
    }
    return NULL;
}

static const char *set_same_records(void *sim, const char *value)
{
    ((struct sim *)sim)->same_records = true;
    ((struct sim *)sim)->same_keys = value != NULL;
    return !value || strcmp(value, "keys") == 0 ? NULL : "nothing or keys";
}

static const char *set_no_dead(void *sim, const char *value)
{
    (void)value;
    ((struct sim *)sim)->no_dead = true;
    return NULL;
}

static const char *set_log(void *sim, const char *value)
{
    for (int level = TROUPE_DEBUG; level <= TROUPE_ERROR; level++) {
        if (strcmp(value, troupe__log_levels[level]) == 0) {
            ((struct sim *)sim)->least = (enum troupe_level)level;
            ((struct sim *)sim)->logs = true;
            return NULL;
        }
    }
    return "debug, info, warning or error";
}

static const struct troupe__option options[] = {
    {"input", "FILE", set_input, "JSON lines to take in, as of troupe run"},
    {"nodes", "N", set_nodes, "so many nodes (default: 2 to 5, by seed)"},
    {"seeds", "A..B", set_seeds, "the seeds to run, or one (default: 1..1000)"},
    {"faults", "LIST", set_faults,
     "all (default), none, or some of: loss, duplication, reordering,\npartition, slowness, crash, pause, slow-commit, "
     "failing-commit, clock"},
    {"same-records", "[=keys]", set_same_records,
     "each seed must emit the records of a run without faults, in any order;\nwith =keys, their bodies may differ"},
    {"no-dead", NULL, set_no_dead, "a dead letter is a failure"},
    {"output", "FILE", set_output, "write the records of the last seed, as JSON lines"},
    {"shrink", "FILE", set_shrink,
     "find the fewest lines, nodes and faults with which the first seed that\nfails still fails; write these lines "
     "there"},
    {"log", "LEVEL", set_log, "what the nodes log: debug, info, warning or error (default: nothing)"},
    {0},
};

static const char usage[] =
    "usage: troupe sim MODULE.so --input FILE [options]\n"
    "\n"
    "Runs the actors of a module on a simulated troupe of several nodes, in memory and in simulated time: once for "
    "each\n"
    "seed, which decides what is lost, delayed, repeated, cut off, who crashes between which two steps, whose disk or\n"
    "clock fails, and where every other choice falls. Then the faults end, and all must come to its end: everything\n"
    "handled once, nothing left. Each seed runs twice and must do the same: a handler that depends on anything but "
    "its\n"
    "messages, state, troupe_now and troupe_random is found.\n";

static const char after[] =
    "What the actors must keep to is theirs to say: let a handler emit what must be so (--same-records), or reject "
    "what\n"
    "must not be (--no-dead). A module's check of what must hold of all together runs over snapshots of the troupe,\n"
    "taken at random moments.\n"
    "\n"
    "Examples:\n"
    "  troupe sim bank.so --input transfers.jsonl --same-records=keys --no-dead\n"
    "  troupe sim bank.so --input transfers.jsonl --seeds 17 --log info\n"
    "  troupe sim bank.so --input transfers.jsonl --no-dead --shrink fewest.jsonl\n"
    "\n"
    "Exit codes: 0 all seeds passed, 1 one failed (its number and what it found are on stderr), 2 wrong arguments.\n";

/* ---- runs -------------------------------------------------------------------------------------------------------- */

static bool give_input(void *context, uint16_t node, size_t index, struct troupe__sim_input *ret)
{
    const struct sim *sim = context;
    return troupe__sim_lines_get(&sim->input, node, index, sim->span_ns, ret);
}

static void take_record(void *context, uint16_t node, const struct troupe__egress *egress)
{
    struct sim *sim = context;
    (void)node;
    uint64_t hash = troupe__id_mix(troupe__hash(egress->name.data, egress->name.size),
                                   troupe__hash(egress->key.data, egress->key.size));
    uint64_t body = sim->same_keys ? 0 : troupe__hash(egress->body.data, egress->body.size);
    sim->record_sum += troupe__id_mix(hash, body);
    if (!sim->records) {
        return;
    }
    sim->text.size = 0;
    troupe__buffer_put(&sim->text, "{\"egress\":", 10);
    troupe__json_write_string(egress->name.data, egress->name.size, &sim->text);
    troupe__buffer_put(&sim->text, ",\"key\":", 7);
    troupe__json_write_string(egress->key.data, egress->key.size, &sim->text);
    troupe__buffer_put(&sim->text, ",\"body\":", 8);
    if (troupe__json_write(egress->body, &sim->text) != TROUPE_OK) {
        troupe__buffer_put(&sim->text, "null", 4);
    }
    troupe__buffer_put(&sim->text, "}\n", 2);
    fwrite(sim->text.data, 1, sim->text.size, sim->output);
}

static void print_log(void *context, enum troupe_level level, const char *text)
{
    const struct sim *sim = context;
    if (level >= sim->least) {
        fprintf(stderr, "%sseed %" PRIu64 ": %s: %s\n", troupe__progress_clearing(), seed_running,
                troupe__log_levels[level], text);
    }
}

/* A snapshot is complete: what must hold in every cut of the troupe? */
static bool check_cut(void *context, const char *directory, const struct troupe__snapshot *snapshot, char *error,
                      size_t error_size)
{
    struct sim *sim = context;
    (void)snapshot;
    sim->checked++;
    return troupe__check_snapshot(sim->module, directory, NULL, NULL, error, error_size) == TROUPE_OK;
}

/* In memory if there is such a place: thousands of them come and go. */
static bool make_snapshots(struct sim *sim)
{
    const char *places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; sim->module->check && i < sizeof places / sizeof *places; i++) {
        if (places[i] &&
            (size_t)snprintf(sim->snapshots, sizeof sim->snapshots, "%s/troupe-sim.XXXXXX", places[i]) <
                sizeof sim->snapshots &&
            mkdtemp(sim->snapshots)) {
            return true;
        }
    }
    sim->snapshots[0] = '\0';
    return !sim->module->check;
}

/* What a run that crashed has left there. */
static void empty_snapshots(const struct sim *sim)
{
    char path[PATH_MAX], error[PATH_MAX];
    DIR *directory = sim->snapshots[0] ? opendir(sim->snapshots) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.' &&
            troupe__files_join(path, sim->snapshots, entry->d_name, "", error, sizeof error) == TROUPE_OK) {
            troupe__files_remove(path, error, sizeof error);
        }
    }
    if (directory) {
        closedir(directory);
    }
}

static uint16_t nodes_of(const struct sim *sim, uint64_t seed)
{
    return sim->node_count ? sim->node_count : (uint16_t)(2 + troupe__id_mix(seed, 1) % 4);
}

/* Faults of the seed if `faults`, else none. */
static struct troupe__sim_result run_seed(struct sim *sim, uint64_t seed, unsigned faults)
{
    struct troupe__random_oracle oracle;
    struct troupe__sim_result result = {.failure = "out of memory"};
    uint16_t node_count = nodes_of(sim, seed);
    struct troupe__sim_options sim_options = {.module = sim->module,
                                              .oracle = &oracle.base,
                                              .node_count = node_count,
                                              .input = give_input,
                                              .record = take_record,
                                              .context = sim,
                                              .log = sim->logs ? print_log : NULL,
                                              .log_context = sim};
    troupe__random_oracle_init(&oracle, seed);
    troupe__sim_draw(&sim_options, seed, faults);
    sim_options.snapshot_directory = sim->snapshots[0] ? sim->snapshots : NULL;
    sim_options.taken = check_cut;
    sim->span_ns = sim_options.calm_ns / 4 * 3;
    sim->record_sum = 0;
    seed_running = seed;
    struct troupe__simulator *simulator =
        troupe__sim_lines_split(&sim->input, node_count) ? troupe__simulator_new(&sim_options) : NULL;
    if (simulator) {
        troupe__simulator_run(simulator, &result);
        troupe__simulator_free(simulator);
    }
    troupe__sim_lines_join(&sim->input);
    if (!result.failure[0] && sim->no_dead && result.dead > 0) {
        snprintf(result.failure, sizeof result.failure, "%" PRIu64 " dead letters: see --log warning", result.dead);
    }
    return result;
}

/* Both runs of a seed. */
static struct troupe__sim_result check_seed(struct sim *sim, uint64_t seed, uint64_t expected)
{
    sim->records = sim->output && seed == sim->seed_last;
    struct troupe__sim_result first = run_seed(sim, seed, sim->faults);
    sim->records = false;
    uint64_t records = sim->record_sum;
    if (first.failure[0]) {
        return first;
    }
    if (sim->same_records && records != expected) {
        snprintf(first.failure, sizeof first.failure, "its %" PRIu64 " records are not those of a run without faults",
                 first.records);
        return first;
    }
    bool logs = sim->logs;
    sim->logs = false;
    struct troupe__sim_result second = run_seed(sim, seed, sim->faults);
    sim->logs = logs;
    if (second.hash != first.hash) {
        snprintf(first.failure, sizeof first.failure,
                 "a second run of it differs: a handler depends on more than its messages, state, troupe_now and "
                 "troupe_random");
    }
    return first;
}

static int run_seeds(struct sim *sim)
{
    struct troupe__sim_result sum = {0};
    uint64_t expected = 0, failed = 0, seeds = 0, seconds = 0;
    if (sim->output_path && !(sim->output = fopen(sim->output_path, "w"))) {
        fprintf(stderr, "troupe sim: output %s: %s\n", sim->output_path, strerror(errno));
        return EXIT_FAILURE;
    }
    if (sim->same_records) {
        struct troupe__sim_result calm = run_seed(sim, sim->seed_first, 0);
        expected = sim->record_sum;
        if (calm.failure[0]) {
            fprintf(stderr, "troupe sim: without faults: %s\n", calm.failure);
            return EXIT_FAILURE;
        }
    }
    for (uint64_t seed = sim->seed_first; failed < FAILURES_MAX; seed++) {
        struct troupe__sim_result result = check_seed(sim, seed, expected);
        seeds++;
        sum.deliveries += result.deliveries;
        sum.crashes += result.crashes;
        sum.dead += result.dead;
        seconds += result.now_ns / 1000000000;
        if (result.failure[0]) {
            fprintf(stderr, "%sseed %" PRIu64 " FAILED: %s\n", troupe__progress_clearing(), seed, result.failure);
            failed++;
        }
        if (seed == sim->seed_last) {
            break;
        }
        if (troupe__progress_due(&sim->progress)) {
            troupe__progress_count(&sim->progress, "simulated", seeds, "seeds");
        }
    }
    troupe__progress_end(&sim->progress);
    bool unwritten = sim->output && ferror(sim->output);
    if (sim->output && (fclose(sim->output) != 0 || unwritten)) {
        fprintf(stderr, "troupe sim: output %s: %s\n", sim->output_path, unwritten ? "cannot write" : strerror(errno));
        return EXIT_FAILURE;
    }
    printf("%" PRIu64 " seeds, each twice: %" PRIu64 " failed; %" PRIu64 " deliveries, %" PRIu64 " crashes, %" PRIu64
           " dead letters, %" PRIu64 " simulated seconds",
           seeds, failed, sum.deliveries, sum.crashes, sum.dead, seconds);
    if (sim->snapshots[0]) {
        printf(", %" PRIu64 " snapshots checked", sim->checked);
    }
    putchar('\n');
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the smallest case ------------------------------------------------------------------------------------------- */

/* Whether the seed fails with these lines, nodes and faults. In a process of its own: what is changed is not put back.
 */
static bool case_fails(void *context, const struct troupe__sim_case *which,
                       char failure[static TROUPE__SIM_FAILURE_SIZE])
{
    struct sim *sim = context;
    uint64_t expected = 0;
    size_t count = 0;
    empty_snapshots(sim);
    for (size_t i = 0; i < which->count; i++) {
        if (which->kept[i]) {
            sim->input.lines[count++] = sim->input.lines[i];
        }
    }
    sim->input.count = count;
    sim->node_count = which->nodes;
    sim->faults = which->faults;
    sim->logs = false;
    sim->output_path = NULL;
    if (count == 0) {
        return false;
    }
    if (sim->same_records) {
        struct troupe__sim_result calm = run_seed(sim, seed_running, 0);
        expected = sim->record_sum;
        if (calm.failure[0]) {
            snprintf(failure, TROUPE__SIM_FAILURE_SIZE, "without faults: %.480s", calm.failure);
            return true;
        }
    }
    struct troupe__sim_result result = check_seed(sim, seed_running, expected);
    snprintf(failure, TROUPE__SIM_FAILURE_SIZE, "%s", result.failure);
    return failure[0] != '\0';
}

static bool write_kept(const struct sim *sim, const struct troupe__sim_case *smallest)
{
    FILE *file = fopen(sim->shrink_path, "w");
    for (size_t i = 0; file && i < smallest->count; i++) {
        if (smallest->kept[i]) {
            fprintf(file, "%s\n", sim->input.lines[i].text);
        }
    }
    if (!file || fclose(file) != 0) {
        perror("troupe sim: --shrink");
        return false;
    }
    return true;
}

/* How to see it again. */
static void print_command(const struct sim *sim, const struct troupe__sim_case *smallest)
{
    printf("troupe sim %s --input %s --seeds %" PRIu64 " --nodes %u --faults ", sim->module_path, sim->shrink_path,
           seed_running, smallest->nodes);
    const char *comma = "";
    for (int fault = TROUPE__CHOOSE_LOSS; fault <= TROUPE__CHOOSE_CLOCK; fault++) {
        if (smallest->faults >> fault & 1) {
            printf("%s%s", comma, troupe__choice_name((enum troupe__choice)fault));
            comma = ",";
        }
    }
    printf("%s%s%s\n", *comma ? "" : "none",
           sim->same_records ? sim->same_keys ? " --same-records=keys" : " --same-records" : "",
           sim->no_dead ? " --no-dead" : "");
}

static int shrink_case(struct sim *sim, struct troupe__sim_case *smallest, const char *failure)
{
    size_t count = 0;
    fprintf(stderr, "%sseed %" PRIu64 " FAILED: %s\n", troupe__progress_clearing(), seed_running, failure);
    troupe__progress_end(&sim->progress);
    size_t runs = troupe__sim_shrink(smallest, failure, case_fails, sim);
    for (size_t i = 0; i < smallest->count; i++) {
        count += smallest->kept[i];
    }
    if (write_kept(sim, smallest)) {
        printf("after %zu cases: %zu of %zu lines are enough, in %s; again with\n", runs, count, sim->input.count,
               sim->shrink_path);
        print_command(sim, smallest);
    }
    return EXIT_FAILURE;
}

/* Look for a seed that fails, and for the smallest case with which it does. */
static int run_and_shrink(struct sim *sim)
{
    struct troupe__sim_case smallest = {.kept = malloc(sim->input.count + 1), .count = sim->input.count};
    unsigned all = 0;
    int code = EXIT_SUCCESS;
    for (int fault = TROUPE__CHOOSE_LOSS; fault <= TROUPE__CHOOSE_CLOCK; fault++) {
        all |= 1u << fault;
    }
    if (!smallest.kept) {
        fprintf(stderr, "troupe sim: out of memory\n");
        return EXIT_FAILURE;
    }
    memset(smallest.kept, true, sim->input.count);
    for (uint64_t seed = sim->seed_first; code == EXIT_SUCCESS; seed++) {
        char failure[TROUPE__SIM_FAILURE_SIZE] = "";
        seed_running = seed;
        smallest.nodes = nodes_of(sim, seed);
        smallest.faults = sim->faults & all;
        if (troupe__sim_fails_apart(case_fails, sim, &smallest, failure)) {
            code = shrink_case(sim, &smallest, failure);
        }
        if (seed == sim->seed_last) {
            break;
        }
        if (troupe__progress_due(&sim->progress)) {
            troupe__progress_count(&sim->progress, "simulated", seed - sim->seed_first + 1, "seeds");
        }
    }
    troupe__progress_end(&sim->progress);
    free(smallest.kept);
    if (code == EXIT_SUCCESS) {
        printf("%" PRIu64 " seeds, each twice: 0 failed\n", sim->seed_last - sim->seed_first + 1);
    }
    return code;
}

/* A handler has crashed the process: say in which seed, and die of it. */
static void on_crash(int signal_number)
{
    char text[80];
    uint64_t seed = seed_running;
    size_t at = sizeof text;
    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + seed % 10);
        seed /= 10;
    } while (seed > 0);
    static const char what[] = "troupe sim: crashed in seed ";
    at -= sizeof what - 1;
    memcpy(text + at, what, sizeof what - 1);
    ssize_t written = write(STDERR_FILENO, text + at, sizeof text - at);
    (void)written;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int troupe__sim(int argc, char **argv)
{
    struct sim sim = {.seed_first = 1,
                      .seed_last = 1000,
                      .faults = UINT32_MAX,
                      .least = TROUPE_ERROR,
                      .progress = {.command = "sim"}};
    const struct troupe__command command = {"sim", usage, after, options, &sim, NULL};
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands == argc) {
        return troupe__wrong("sim", "a module is missing:", "MODULE.so");
    }
    if (operands + 1 < argc) {
        return troupe__wrong("sim", "one argument too many:", argv[operands + 1]);
    }
    if (!sim.input_path) {
        return troupe__wrong("sim", "without input nothing happens: give", "--input FILE");
    }
    if (sim.shrink_path && sim.output_path) {
        return troupe__wrong("sim", "with --shrink leave out", "--output");
    }
    sim.module_path = argv[operands];
    sim.module = troupe__module_load("sim", argv[operands]);
    if (!sim.module) {
        return TROUPE__EXIT_WRONG;
    }
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        signal(crashes[i], on_crash);
    }
    if (!make_snapshots(&sim)) {
        perror("troupe sim: no place for snapshots");
        return EXIT_FAILURE;
    }
    code = !troupe__sim_lines_read(&sim.input, sim.input_path) ? EXIT_FAILURE
           : sim.shrink_path                                   ? run_and_shrink(&sim)
                                                               : run_seeds(&sim);
    troupe__sim_lines_fini(&sim.input);
    troupe__buffer_free(&sim.text);
    if (sim.snapshots[0]) {
        empty_snapshots(&sim);
        rmdir(sim.snapshots);
    }
    return code;
}
