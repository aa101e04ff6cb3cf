/* run.c - `troupe run`: a node that hosts the actors of a module.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/run.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/admission.h"
#include "runtime/cli/cluster_file.h"
#include "runtime/cli/config.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/local.h"
#include "runtime/cli/log.h"
#include "runtime/cli/module.h"
#include "runtime/cli/options.h"
#include "runtime/cli/period.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/quiet.h"
#include "runtime/cli/schedule.h"
#include "runtime/memory.h"
#include "runtime/node.h"
#include "runtime/supervisor.h"
#include "transport/socket.h"

struct run {
    struct troupe_node_options node;
    struct troupe__guard *guard;
    struct troupe__log log;
    const char *module_path;
    const char *cluster_path, *name, *key_path;
    unsigned long nodes;                   /* of a troupe on this machine; 0: this is one node */
    const char *inputs[TROUPE__NODES_MAX]; /* one for each of the first nodes */
    size_t input_count;
    struct troupe__cluster cluster;
    struct troupe__key_pair keys;
    struct troupe__place place; /* without a cluster: the node is alone */
    const char *listen[TROUPE__ENDPOINTS_MAX];
    char listen_default[TROUPE__ENDPOINT_SIZE];
    bool unsupervised, listen_none;
    int64_t every_ms;      /* a snapshot; 0: none by the clock */
    const char *snapshots; /* the directory where they stand; "" or NULL: in that of the data */
    bool checks;           /* each of them, by the module's check */
    unsigned long keep;
    char key_beside[PATH_MAX + 128]; /* this node's secret key */
    struct troupe__progress progress;
};

/* ---- options: one function and one line each --------------------------------------------------------------------- */

static const char *set_config(void *run, const char *value)
{
    (void)run, (void)value; /* Read before all others: see options.h. */
    return NULL;
}

static const char *set_module(void *run, const char *value)
{
    ((struct run *)run)->module_path = value;
    return *value ? NULL : "a file";
}

static const char *set_data(void *run, const char *value)
{
    ((struct run *)run)->node.data = value;
    return *value ? NULL : "a directory";
}

static const char *set_input(void *run, const char *value)
{
    struct run *into = run;
    if (!*value || into->input_count == TROUPE__NODES_MAX) {
        return "a file or -, once for each node";
    }
    into->inputs[into->input_count++] = value;
    return NULL;
}

static const char *set_nodes(void *run, const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    ((struct run *)run)->nodes = number;
    return *value >= '1' && *value <= '9' && !*end && number <= TROUPE__NODES_MAX ? NULL : "a number from 1 to 1024";
}

static const char *set_cluster(void *run, const char *value)
{
    ((struct run *)run)->cluster_path = value;
    return *value ? NULL : "a file";
}

static const char *set_node(void *run, const char *value)
{
    ((struct run *)run)->name = value;
    return *value ? NULL : "the name of a node";
}

static const char *set_key(void *run, const char *value)
{
    ((struct run *)run)->key_path = value;
    return *value ? NULL : "a file";
}

static const char *set_output(void *run, const char *value)
{
    ((struct run *)run)->node.output = value;
    return *value ? NULL : "a file or -";
}

static const char *set_until_idle(void *run, const char *value)
{
    ((struct run *)run)->node.until = value ? TROUPE_UNTIL_IDLE_TIMERS : TROUPE_UNTIL_IDLE;
    return !value || strcmp(value, "timers") == 0 ? NULL : "nothing or timers";
}

static const char *set_durability(void *run, const char *value)
{
    ((struct run *)run)->node.durability = strcmp(value, "disk") == 0 ? TROUPE_DISK : TROUPE_PROCESS;
    return strcmp(value, "disk") == 0 || strcmp(value, "process") == 0 ? NULL : "disk or process";
}

static const char *set_slow(void *run, const char *value)
{
    char *end;
    double seconds = strtod(value, &end);
    bool right = *value && !*end && seconds >= 0.1 && seconds <= 86400;
    ((struct run *)run)->node.slow_ms = right ? (int64_t)(seconds * 1000) : 0;
    return right ? NULL : "seconds, 0.1 to 86400";
}

static const char *set_workers(void *run, const char *value)
{
    char *end;
    long count = strtol(value, &end, 10);
    ((struct run *)run)->node.workers = (unsigned)count;
    return *value && !*end && count >= 1 && count <= TROUPE__WORKERS_MAX ? NULL : "a number of 1 to 256";
}

static const char *set_memory(void *run, const char *value)
{
    size_t size = troupe__memory_parse(value);
    ((struct run *)run)->node.memory = size;
    return size >= TROUPE__MEMORY_MIN ? NULL : "a size from 64M on, as 512M or 4G";
}

static const char *set_backlog(void *run, const char *value)
{
    ((struct run *)run)->node.backlog = troupe__memory_parse(value);
    return ((struct run *)run)->node.backlog ? NULL : "a size, as 64M or 1G";
}

static const char *set_keep_journal(void *run, const char *value)
{
    (void)value;
    ((struct run *)run)->node.keep_journal = true;
    return NULL;
}

static const char *set_check(void *run, const char *value)
{
    (void)value;
    ((struct run *)run)->checks = true;
    return NULL;
}

static const char *set_every(void *run, const char *value)
{
    return troupe__period_parse(value, &((struct run *)run)->every_ms) ? NULL : "a time, as 30s, 10m, 6h or 1d";
}

static const char *set_keep(void *run, const char *value)
{
    char *end;
    ((struct run *)run)->keep = strtoul(value, &end, 10);
    return *value >= '1' && *value <= '9' && !*end && ((struct run *)run)->keep <= 1000000 ? NULL
                                                                                           : "a number from 1 on";
}

static const char *set_listen(void *context, const char *value)
{
    struct run *run = context;
    if (strcmp(value, "none") == 0) {
        run->listen_none = true;
        return NULL;
    }
    bool ipc = strncmp(value, "ipc://", 6) == 0 && value[6];
    bool tcp = strncmp(value, "tcp://", 6) == 0 && troupe__endpoint_has_port(value, true);
    if (run->node.listen_count == TROUPE__ENDPOINTS_MAX || !(ipc || tcp)) {
        return "ipc://PATH, tcp://HOST:PORT (1 to 65535, or *) or none, at most eight times";
    }
    run->listen[run->node.listen_count++] = value;
    return NULL;
}

static const char *set_insecure_listen(void *run, const char *value)
{
    (void)value;
    ((struct run *)run)->node.insecure_listen = true;
    return NULL;
}

static const char *set_no_supervisor(void *run, const char *value)
{
    (void)value;
    ((struct run *)run)->unsupervised = true;
    return NULL;
}

static const char *set_log(void *run, const char *value)
{
    for (int level = TROUPE_DEBUG; level <= TROUPE_ERROR; level++) {
        if (strcmp(value, troupe__log_levels[level]) == 0) {
            ((struct run *)run)->log.least = (enum troupe_level)level;
            return NULL;
        }
    }
    return "debug, info, warning or error";
}

static const char *set_log_format(void *run, const char *value)
{
    bool json = strcmp(value, "json") == 0;
    ((struct run *)run)->log.format = json ? TROUPE__LOG_JSON : TROUPE__LOGFMT;
    return json || strcmp(value, "logfmt") == 0 ? NULL : "json or logfmt";
}

static const struct troupe__option options[] = {
    {"config", "FILE", set_config, "options from a YAML file, `name: value` lines; the command line wins"},
    {"module", "FILE", set_module, "the module, where it is not the argument"},
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    {"input", "FILE|-", set_input,
     "JSON lines to take in, each exactly once from a file (default: none);\nwith --nodes once for each node that "
     "reads"},
    {"output", "FILE|-", set_output,
     "where egress records go as JSON lines (default: -); with --nodes a file\nfor each node: FILE.n1, FILE.n2, ..."},
    {"nodes", "N", set_nodes, "run a troupe of N nodes on this machine, each in a process of its own"},
    {"cluster", "FILE", set_cluster, "be one node of the troupe that this cluster file describes, ..."},
    {"node", "NAME", set_node, "... the one of this name, ..."},
    {"key", "FILE", set_key, "... with this secret key (default: NAME.key beside the cluster file)"},
    {"until-idle", "[=timers]", set_until_idle,
     "end when the input is read and nothing waits in any mailbox;\nwith =timers, nor for its time"},
    {"durability", "disk|process", set_durability,
     "what an epoch survives: power loss (default), or only the\nprocess's death"},
    {"workers", "N", set_workers, "threads for jobs, 1 to 256 (default: as many as the machine has cores)"},
    {"slow", "SECONDS", set_slow, "report a handler or job that runs longer (default: 10)"},
    {"memory", "SIZE", set_memory,
     "what the node may use, about, as 512M or 4G; more mail than that\nwaits on disk (default: half of the "
     "machine's)"},
    {"backlog", "SIZE", set_backlog,
     "what may wait on disk for another node before this one takes no\nmore input; at four times that it handles "
     "nothing "
     "(default: 256M)"},
    {"keep-journal", NULL, set_keep_journal,
     "keep all that happens, for `troupe restore --at`: back to any second\nsince the oldest snapshot"},
    {"every", "TIME", set_every, "take a snapshot so often, as 30s, 10m, 6h or 1d, in DIR/snapshots, ..."},
    {"keep", "N", set_keep, "... and remove older ones when there are more than N (default: 24)"},
    {"check", NULL, set_check, "... and run the module's check over each; what it finds is logged as an error"},
    {"listen", "ENDPOINT", set_listen,
     "where clients reach it: ipc://PATH, tcp://HOST:PORT (PORT *: any\nfree one) or none; may be repeated (default: "
     "ipc://DIR/socket, and\nthe cluster file's client_endpoint). With --nodes once for each node,\nbeside its socket"},
    {"insecure-listen", NULL, set_insecure_listen,
     "without keys, allow endpoints that other machines reach: nothing\nthere is encrypted or authenticated"},
    {"no-supervisor", NULL, set_no_supervisor, "one process only: a handler that crashes ends the run"},
    {"log", "LEVEL", set_log, "debug, info, warning or error (default: info)"},
    {"log-format", "logfmt|json", set_log_format, "one event a line, on the standard error (default: logfmt)"},
    {0},
};

static const char usage[] =
    "usage: troupe run [MODULE.so] [options]\n"
    "\n"
    "Runs a node that hosts the actors of a module, until SIGINT or SIGTERM, or until it is idle if asked for.\n"
    "It goes on where the last run ended, however that was. A line of input is\n"
    "  {\"id\":\"optional, makes a repeat harmless\",\"to\":\"bank/account/alice\",\"type\":\"deposit\","
    "\"body\":{\"amount\":5}}\n"
    "A handler that crashes the node costs one message: the node is started again, and the third crash by the same\n"
    "message makes it a dead letter; a job that does fails.\n";

static const char after[] =
    "Examples:\n"
    "  troupe run bank.so --input transfers.jsonl --output out.jsonl --until-idle\n"
    "  troupe run --config shop.yaml --log debug\n"
    "  tail -f orders.jsonl | troupe run ./shop.so --data /var/lib/shop --input -\n"
    "\n"
    "Exit codes: 0 done, 1 the node failed (its text is on stderr; what was durable is safe), 2 wrong arguments.\n";

/* ---- the node ---------------------------------------------------------------------------------------------------- */

static void show_progress(void *context, const struct troupe__node_figures *figures)
{
    struct run *run = context;
    char text[200], percent[32] = "";
    struct stat info;
    if (!troupe__progress_due(&run->progress)) {
        return;
    }
    if (run->node.input && stat(run->node.input, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        snprintf(percent, sizeof percent, " (%.0f%%)", 100.0 * (double)figures->input_offset / (double)info.st_size);
    }
    snprintf(text, sizeof text, "%s lines in%s, %s deliveries, %s waiting, %s timers",
             troupe__progress_number(figures->lines), percent, troupe__progress_number(figures->deliveries),
             troupe__progress_number(figures->waiting), troupe__progress_number(figures->timers));
    troupe__progress_draw(&run->progress, text);
}

/* A run that ends by itself has a progress line, unless records go to the same terminal. */
static bool has_progress(const struct run *run)
{
    bool mixed = strcmp(run->node.output, "-") == 0 && isatty(STDOUT_FILENO);
    return run->node.until != TROUPE_UNTIL_STOPPED && isatty(STDERR_FILENO) && !mixed;
}

/* Beside the data, where only its owner gets at it; unless the path is too long for an endpoint. */
static void listen_beside_data(struct run *run)
{
    static const char before[] = "ipc://", behind[] = "/socket";
    char here[PATH_MAX], text[160];
    size_t size = strlen(before) + strlen(run->node.data) + strlen(behind);
    size +=
        run->node.data[0] != '/' && getcwd(here, sizeof here) ? strlen(here) + 1 : 0; /* Clients are told all of it. */
    if (size < sizeof run->listen_default) {
        snprintf(run->listen_default, sizeof run->listen_default, "%s%s%s", before, run->node.data, behind);
        run->listen[run->node.listen_count++] = run->listen_default;
        return;
    }
    snprintf(text, sizeof text,
             "the path of the directory has more than %zu bytes: clients do not reach the node there; see --listen",
             sizeof run->listen_default - strlen(before) - strlen(behind) - 1);
    troupe__log_line(&run->log, TROUPE_WARNING, text);
}

/* The cluster file of a --nodes troupe names that very socket for clients. */
static bool is_beside_data(const struct run *run, const char *endpoint)
{
    char path[TROUPE__ENDPOINT_SIZE], there[PATH_MAX], data[PATH_MAX];
    size_t size = strlen(endpoint), suffix = strlen("/socket");
    if (strncmp(endpoint, "ipc://", 6) != 0 || size < 6 + suffix || strcmp(endpoint + size - suffix, "/socket") != 0) {
        return false;
    }
    snprintf(path, sizeof path, "%.*s", (int)(size - suffix - 6), endpoint + 6);
    return realpath(path, there) && realpath(run->node.data, data) && strcmp(there, data) == 0;
}

/* Without --listen: there, and where the cluster file says. */
static void set_default_endpoints(struct run *run)
{
    if (run->node.listen_count == 0 && !run->listen_none) {
        listen_beside_data(run);
        const char *clients = run->place.cluster ? run->place.cluster->nodes[run->place.self].clients : "";
        if (clients[0] && run->nodes == 0 && !(run->node.listen_count > 0 && is_beside_data(run, clients))) {
            run->listen[run->node.listen_count++] = clients;
        }
    }
}

/* The secret key, of --key or beside the cluster file. */
static enum troupe_error read_key(struct run *run, char *error, size_t error_size)
{
    const char *slash = strrchr(run->cluster_path, '/');
    snprintf(run->key_beside, sizeof run->key_beside, "%.*s%s.key", slash ? (int)(slash - run->cluster_path + 1) : 0,
             run->cluster_path, run->name);
    run->key_path = run->key_path ? run->key_path : run->key_beside;
    return troupe__keys_read(run->key_path, &run->keys, error, error_size);
}

static enum troupe_error reread_cluster(void *context, bool *ret_changed, char *error, size_t error_size)
{
    struct run *run = context;
    return troupe__cluster_file_reread(run->cluster_path, &run->cluster, ret_changed, error, error_size);
}

/* A node that its supervisor starts again has the keys of now, not those of the first start; if it can. */
static void refresh_keys(struct run *run)
{
    char error[512], text[600];
    bool changed;
    struct troupe__key_pair before = run->keys;
    if (run->place.reread && (reread_cluster(run, &changed, error, sizeof error) != TROUPE_OK ||
                              read_key(run, error, sizeof error) != TROUPE_OK)) {
        run->keys = before;
        snprintf(text, sizeof text, "who is let in stays as it was: %s", error);
        troupe__log_line(&run->log, TROUPE_WARNING, text);
    }
}

static int run_node(void *context)
{
    struct run *run = context;
    char error[512] = "";
    struct troupe_node *node;
    const struct troupe__place *place = run->place.cluster ? &run->place : NULL;
    run->node.listen = run->listen;
    set_default_endpoints(run);
    refresh_keys(run);
    enum troupe_error result = troupe__node_open(&run->node, place, &node, error, sizeof error);
    if (result == TROUPE_OK) {
        troupe__node_set_guard(node, run->guard);
        if (run->guard) {
            run->guard->opened = 1;
        }
        if (has_progress(run)) {
            troupe__node_tell_figures(node, show_progress, run);
        }
        result = troupe_node_run(node);
        troupe__progress_end(&run->progress);
        snprintf(error, sizeof error, "%s", troupe_node_error(node));
        troupe_node_close(node);
    }
    if (result != TROUPE_OK) {
        fprintf(stderr, "troupe run: %s%s%s (%s)\n", run->log.node ? run->log.node : "", run->log.node ? ": " : "",
                error, troupe_error_text(result));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* ---- its place in a troupe --------------------------------------------------------------------------------------- */

static int fail(const char *text, enum troupe_error error)
{
    fprintf(stderr, "troupe run: %s (%s)\n", text, troupe_error_text(error));
    return error == TROUPE_EINVAL ? TROUPE__EXIT_WRONG : EXIT_FAILURE;
}

/* --cluster, --node, --key. Returns -1 to go on, or the exit code. */
static int take_place(struct run *run)
{
    char error[512];
    if (!run->cluster_path != !run->name) {
        return troupe__wrong("run", "--cluster FILE and --node NAME belong together; there is only",
                             run->name ? "--node" : "--cluster");
    }
    if (!run->cluster_path) {
        return run->key_path ? troupe__wrong("run", "a key is for a node of a --cluster FILE; leave out", "--key") : -1;
    }
    if (run->node.until != TROUPE_UNTIL_STOPPED) {
        return troupe__wrong("run", "one node cannot know when the others are idle: see troupe wait, and leave out",
                             "--until-idle");
    }
    enum troupe_error result = troupe__cluster_file_read(run->cluster_path, &run->cluster, error, sizeof error);
    if (result != TROUPE_OK) {
        return fail(error, result);
    }
    int self = troupe__cluster_find(&run->cluster, run->name);
    if (self < 0) {
        return troupe__wrong("run", "the cluster file has no node", run->name);
    }
    run->place = (struct troupe__place){.cluster = &run->cluster, .self = (uint16_t)self};
    run->log.node = run->name;
    const char *endpoint = run->cluster.nodes[self].endpoint;
    if (!run->cluster.keys && !run->node.insecure_listen && !troupe__endpoint_is_local(endpoint)) {
        snprintf(error, sizeof error,
                 "node %s is reached by other machines at %.200s, and without keys whoever reaches it is taken for a "
                 "node: make a file with troupe cluster init --keys, or say --insecure-listen",
                 run->name, endpoint);
        return fail(error, TROUPE_EINVAL);
    }
    if (!run->cluster.keys) {
        return run->key_path ? troupe__wrong("run", "the cluster file has no keys; leave out", "--key") : -1;
    }
    result = read_key(run, error, sizeof error);
    if (result != TROUPE_OK) {
        return fail(error, result);
    }
    run->place.keys = &run->keys;
    run->place.file = run->cluster_path;
    run->place.reread = reread_cluster;
    run->place.context = run;
    return -1;
}

/* One node of a troupe on this machine: what differs from `all`. */
struct member {
    struct run run;
    char data[PATH_MAX], output[PATH_MAX];
};

static void init_member(struct member *member, const struct run *all, uint16_t index)
{
    struct run *run = &member->run;
    *run = *all;
    const char *name = all->cluster.nodes[index].name;
    snprintf(member->data, sizeof member->data, "%s/%s", all->node.data, name);
    snprintf(member->output, sizeof member->output, "%s.%s", all->node.output, name);
    run->node.data = member->data;
    run->node.output = strcmp(all->node.output, "-") == 0 ? "-" : member->output;
    run->node.input = index < all->input_count ? all->inputs[index] : NULL;
    run->log.node = name;
    run->node.log_context = &run->log;
    run->place = (struct troupe__place){.cluster = &all->cluster, .self = index};
    run->progress.command = NULL;
    run->node.until = TROUPE_UNTIL_STOPPED; /* One alone cannot know: see wait_until_idle. */
    run->node.listen_count = 0;
    if (!run->listen_none) {
        listen_beside_data(run);
        if (index < all->node.listen_count) {
            run->listen[run->node.listen_count++] = all->listen[index];
        }
    }
}

/* What --listen names, for one node after the other, is what clients from elsewhere are told of. */
static void tell_endpoints(struct run *all)
{
    for (size_t i = 0; i < all->node.listen_count; i++) {
        const char *endpoint = all->listen[i];
        if (endpoint[strlen(endpoint) - 1] != '*') {
            snprintf(all->cluster.nodes[i].clients, sizeof all->cluster.nodes[i].clients, "%s", endpoint);
        }
    }
}

/* A process beside the nodes, which ends when they are idle; then they are stopped. */
static int wait_until_idle(void *context)
{
    const struct run *all = context;
    const struct troupe__reach_options where = {.data = all->node.data};
    const struct troupe__quiet_options quiet = {.timers = all->node.until == TROUPE_UNTIL_IDLE_TIMERS,
                                                .inputs_ended = true};
    struct troupe__reach reach;
    char reason[512];
    enum troupe_error result = troupe__reach_open(&reach, &where);
    if (result != TROUPE_OK) {
        return fail(reach.error, result);
    }
    result = troupe__quiet_wait(&reach, &quiet, reason, sizeof reason);
    troupe__reach_close(&reach);
    return result == TROUPE_OK ? EXIT_SUCCESS : fail(reason, result);
}

/* The process that takes snapshots by the clock. */
struct companion {
    bool is_needed;
    struct troupe__child child;
    struct troupe__schedule schedule;
    struct troupe__log log;
};

/* What the cluster file says of snapshots by the clock, unless the command line has said it. `shared`: each node has a
 * process of its own and reads the same file, so that only one takes them. Returns -1 to go on, or the exit code. */
static int take_schedule(struct run *run, bool shared)
{
    const struct troupe__cluster *cluster = &run->cluster;
    const struct troupe__cluster_snapshots *snapshots = &cluster->snapshots;
    if (snapshots->every_ms == 0 || run->every_ms > 0 || (shared && snapshots->node != run->place.self)) {
        return -1;
    }
    for (int i = 0; shared && i < cluster->slots.node_count; i++) {
        if (!cluster->nodes[i].clients[0]) {
            char text[TROUPE__NODE_NAME_MAX + 128];
            snprintf(
                text, sizeof text,
                "the cluster file has 'snapshots', but no client_endpoint of node %s, where it is asked for its part",
                cluster->nodes[i].name);
            return fail(text, TROUPE_EINVAL);
        }
    }
    if (snapshots->check && !run->node.module->check) {
        return fail("the cluster file has 'snapshots' with 'check', but the module has no check, see troupe.h",
                    TROUPE_EINVAL);
    }
    run->every_ms = snapshots->every_ms;
    run->keep = snapshots->keep;
    run->checks = snapshots->check;
    run->snapshots = snapshots->to;
    return -1;
}

/* False when out of memory. */
static bool companion_init(struct companion *companion, const struct run *run)
{
    *companion = (struct companion){.is_needed = run->every_ms > 0, .log = run->log};
    companion->log.node = "snapshots";
    struct troupe__reach_options where = {.data = run->node.data};
    if (run->place.cluster) {
        where = (struct troupe__reach_options){.cluster = run->cluster_path,
                                               .key = run->cluster.keys ? run->key_path : NULL};
    }
    companion->schedule = (struct troupe__schedule){.where = where,
                                                    .every_ms = run->every_ms,
                                                    .keep = run->keep,
                                                    .module = run->checks ? run->node.module : NULL,
                                                    .log = troupe__log_line,
                                                    .log_context = &companion->log};
    snprintf(companion->schedule.directory, sizeof companion->schedule.directory, "%.4000s%s",
             run->snapshots && *run->snapshots ? run->snapshots : run->node.data,
             run->snapshots && *run->snapshots ? "" : "/snapshots");
    companion->child = (struct troupe__child){.name = "snapshots",
                                              .guard = companion->is_needed ? troupe__guard_new() : NULL,
                                              .run = troupe__schedule_run,
                                              .context = &companion->schedule,
                                              .companion = true};
    return !companion->is_needed || companion->child.guard;
}

/* A node that refuses the module would be started again for ever: so they are asked before any of them is. What else
 * is wrong with a directory its node says itself. */
static enum troupe_error admit_members(const struct run *all, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < all->cluster.slots.node_count && result == TROUPE_OK; i++) {
        char data[PATH_MAX], text[700];
        snprintf(data, sizeof data, "%.3000s/%s", all->node.data, all->cluster.nodes[i].name);
        if (troupe__admission_ask(all->node.module, data, text, sizeof text) == TROUPE_EVERSION) {
            snprintf(error, error_size, "%s: %s", all->cluster.nodes[i].name, text);
            result = TROUPE_EVERSION;
        }
    }
    return result;
}

/* --nodes: all of them under one supervisor. */
static int run_nodes(struct run *all)
{
    char error[768];
    bool until_idle = all->node.until != TROUPE_UNTIL_STOPPED;
    const char *other = all->cluster_path   ? "--cluster"
                        : all->name         ? "--node"
                        : all->key_path     ? "--key"
                        : all->unsupervised ? "--no-supervisor"
                                            : NULL;
    if (other) {
        return troupe__wrong("run", "with --nodes leave out", other);
    }
    if (until_idle && all->listen_none) {
        return troupe__wrong("run", "whether several nodes are idle is asked at their sockets; leave out",
                             "--listen none");
    }
    if (all->input_count > all->nodes) {
        return troupe__wrong("run", "there are more inputs than nodes; the last is", all->inputs[all->input_count - 1]);
    }
    if (all->node.listen_count > all->nodes) {
        return troupe__wrong("run", "there are more --listen than nodes; the last is",
                             all->listen[all->node.listen_count - 1]);
    }
    enum troupe_error result = troupe__local_claim(all->node.data, error, sizeof error);
    result = result == TROUPE_OK
                 ? troupe__local_cluster(all->node.data, (uint16_t)all->nodes, &all->cluster, error, sizeof error)
                 : result;
    if (result != TROUPE_OK) {
        return fail(error, result);
    }
    int code = take_schedule(all, false);
    if (code < 0 && (result = admit_members(all, error, sizeof error)) != TROUPE_OK) {
        code = fail(error, result);
    }
    if (code >= 0) {
        troupe__cluster_fini(&all->cluster);
        return code;
    }
    tell_endpoints(all);
    struct member *members = calloc(all->nodes, sizeof *members);
    struct troupe__child *children = calloc(all->nodes + 2, sizeof *children);
    struct troupe__guard *guard = until_idle ? troupe__guard_new() : NULL;
    struct companion companion;
    bool ready = members && children && (guard || !until_idle) && companion_init(&companion, all);
    for (uint16_t i = 0; ready && i < all->nodes; i++) {
        init_member(&members[i], all, i);
        ready = (members[i].run.guard = troupe__guard_new()) != NULL;
        children[i] = (struct troupe__child){
            all->cluster.nodes[i].name, members[i].run.guard, run_node, &members[i].run, true, false};
    }
    size_t count = all->nodes;
    if (ready && until_idle) {
        guard->number = 1; /* Whoever kills it has not found it idle at its start. */
        children[count++] = (struct troupe__child){
            .name = "idle", .guard = guard, .run = wait_until_idle, .context = all, .needed = true, .ends_all = true};
    }
    if (ready && companion.is_needed) {
        children[count++] = companion.child;
    }
    code = ready ? troupe__supervise(children, count, all->node.slow_ms, troupe__log_line, &all->log) : EXIT_FAILURE;
    if (!ready) {
        fail("out of memory", TROUPE_ENOMEM);
    } else {
        troupe__guard_free(companion.child.guard);
    }
    troupe__guard_free(guard);
    for (size_t i = 0; members && i < all->nodes; i++) {
        troupe__guard_free(members[i].run.guard);
    }
    free(members);
    free(children);
    troupe__cluster_fini(&all->cluster);
    return code;
}

/* Whether both are the same file of a disk. */
static bool is_same_file(const char *one, const char *other)
{
    struct stat a, b;
    return stat(one, &a) == 0 && S_ISREG(a.st_mode) && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Each input is read once, and not what comes out. Returns -1 to go on, or the exit code. */
static int check_files(const struct run *run)
{
    for (size_t i = 0; i < run->input_count; i++) {
        if (is_same_file(run->inputs[i], run->node.output)) {
            return troupe__wrong("run", "the output would go into the file that is read; name another one than",
                                 run->node.output);
        }
        for (size_t j = 0; j < i; j++) {
            if (is_same_file(run->inputs[i], run->inputs[j])) {
                return troupe__wrong(
                    "run", "two nodes would read the same file, and take in each line twice:", run->inputs[i]);
            }
        }
    }
    return -1;
}

/* One node, which has taken its place. Returns the exit code. */
static int run_one(struct run *run)
{
    if (run->input_count > 1) {
        return troupe__wrong("run", "a node reads one input; the second is", run->inputs[1]);
    }
    run->node.input = run->inputs[0];
    if (troupe__local_is_troupe(run->node.data)) {
        return troupe__wrong("run", "there is a troupe of several nodes: say --nodes, or name another directory than",
                             run->node.data);
    }
    if (run->every_ms > 0 && run->place.cluster) {
        return troupe__wrong("run",
                             "how often the nodes of a cluster file are photographed it says itself, under "
                             "'snapshots'; leave out",
                             "--every");
    }
    int code = take_schedule(run, true);
    if (code >= 0) {
        return code;
    }
    if (run->every_ms > 0 && run->unsupervised) {
        return troupe__wrong("run", "snapshots by the clock are taken beside the node, under its supervisor; leave out",
                             "--no-supervisor");
    }
    if (run->unsupervised) {
        return run_node(run);
    }
    struct companion companion;
    run->guard = troupe__guard_new();
    if (!run->guard || !companion_init(&companion, run)) {
        return fail("out of memory", TROUPE_ENOMEM);
    }
    const struct troupe__child children[] = {{run->name, run->guard, run_node, run, run->name != NULL, false},
                                             companion.child};
    return troupe__supervise(children, 1 + companion.is_needed, run->node.slow_ms, troupe__log_line, &run->log);
}

/* A connection is a file: as many as this user may have, not as few as a shell asks for. */
static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int troupe__run(int argc, char **argv)
{
    struct run run = {
        .node = {.data = "troupe-data", .output = "-", .stop_on_signals = true, .slow_ms = TROUPE__SLOW_MS},
        .log = {.least = TROUPE_INFO},
        .progress = {.command = "run"}};
    const struct troupe__command command = {"run", usage, after, options, &run, troupe__config_read};
    int operands;
    int code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands < argc) {
        run.module_path = argv[operands];
    }
    if (!run.module_path) {
        fprintf(stderr, "troupe run: name a module, such as build/samples/bank.so; see troupe run --help\n");
        return TROUPE__EXIT_WRONG;
    }
    if (operands + 1 < argc) {
        return troupe__wrong("run", "one argument too many:", argv[operands + 1]);
    }
    run.node.module = troupe__module_load("run", run.module_path);
    if (!run.node.module) {
        return TROUPE__EXIT_WRONG;
    }
    if (run.every_ms == 0 && (run.keep > 0 || run.checks)) {
        return troupe__wrong("run", "there are no snapshots by the clock without --every; say how often, or leave out",
                             run.keep > 0 ? "--keep" : "--check");
    }
    run.keep = run.keep > 0 ? run.keep : TROUPE__SNAPSHOTS_KEPT;
    if (run.checks && !run.node.module->check) {
        return troupe__wrong("run", "there is no check, see troupe.h, in the module for", "--check");
    }
    if (troupe__directory_is_snapshot(run.node.data)) {
        return troupe__wrong("run",
                             "a snapshot is no place for a node: see troupe restore, and name another --data than",
                             run.node.data);
    }
    if ((code = check_files(&run)) >= 0) {
        return code;
    }
    allow_files();
    run.node.log = troupe__log_line;
    run.node.log_context = &run.log;
    if (run.nodes > 0) {
        return run_nodes(&run);
    }
    code = take_place(&run);
    code = code >= 0 ? code : run_one(&run);
    troupe__cluster_fini(&run.cluster);
    return code;
}
