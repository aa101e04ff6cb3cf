/* run_options.c - the options of `troupe run`: one function and one line each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/period.h"
#include "runtime/cli/run_parts.h"
#include "runtime/node/memory.h"

static const char *set_config(void *run, const char *value)
{
    (void)run, (void)value; /* Read before all others: see options.h. */
    return NULL;
}

static const char *set_module(void *run, const char *value)
{
    ((struct troupe__run *)run)->module_path = value;
    return *value ? NULL : "a file";
}

static const char *set_data(void *run, const char *value)
{
    ((struct troupe__run *)run)->node.data = value;
    return *value ? NULL : "a directory";
}

static const char *set_input(void *run, const char *value)
{
    struct troupe__run *into = run;
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
    ((struct troupe__run *)run)->nodes = number;
    return *value >= '1' && *value <= '9' && !*end && number <= TROUPE__NODES_MAX ? NULL : "a number from 1 to 1024";
}

static const char *set_cluster(void *run, const char *value)
{
    ((struct troupe__run *)run)->cluster_path = value;
    return *value ? NULL : "a file";
}

static const char *set_node(void *run, const char *value)
{
    ((struct troupe__run *)run)->name = value;
    return *value ? NULL : "the name of a node";
}

static const char *set_key(void *run, const char *value)
{
    ((struct troupe__run *)run)->key_path = value;
    return *value ? NULL : "a file";
}

static const char *set_output(void *run, const char *value)
{
    ((struct troupe__run *)run)->node.output = value;
    return *value ? NULL : "a file or -";
}

static const char *set_until_idle(void *run, const char *value)
{
    ((struct troupe__run *)run)->node.until = value ? TROUPE_UNTIL_IDLE_TIMERS : TROUPE_UNTIL_IDLE;
    return !value || strcmp(value, "timers") == 0 ? NULL : "nothing or timers";
}

static const char *set_durability(void *run, const char *value)
{
    ((struct troupe__run *)run)->node.durability = strcmp(value, "disk") == 0 ? TROUPE_DISK : TROUPE_PROCESS;
    return strcmp(value, "disk") == 0 || strcmp(value, "process") == 0 ? NULL : "disk or process";
}

static const char *set_slow(void *run, const char *value)
{
    char *end;
    double seconds = strtod(value, &end);
    bool right = *value && !*end && seconds >= 0.1 && seconds <= 86400;
    ((struct troupe__run *)run)->node.slow_ms = right ? (int64_t)(seconds * 1000) : 0;
    return right ? NULL : "seconds, 0.1 to 86400";
}

static const char *set_workers(void *run, const char *value)
{
    char *end;
    long count = strtol(value, &end, 10);
    ((struct troupe__run *)run)->node.workers = (unsigned)count;
    return *value && !*end && count >= 1 && count <= TROUPE__WORKERS_MAX ? NULL : "a number of 1 to 256";
}

static const char *set_memory(void *run, const char *value)
{
    size_t size = troupe__memory_parse(value);
    ((struct troupe__run *)run)->node.memory = size;
    return size >= TROUPE__MEMORY_MIN ? NULL : "a size from 64M on, as 512M or 4G";
}

static const char *set_backlog(void *run, const char *value)
{
    ((struct troupe__run *)run)->node.backlog = troupe__memory_parse(value);
    return ((struct troupe__run *)run)->node.backlog ? NULL : "a size, as 64M or 1G";
}

static const char *set_keep_journal(void *run, const char *value)
{
    (void)value;
    ((struct troupe__run *)run)->node.keep_journal = true;
    return NULL;
}

static const char *set_check(void *run, const char *value)
{
    (void)value;
    ((struct troupe__run *)run)->checks = true;
    return NULL;
}

static const char *set_every(void *run, const char *value)
{
    return troupe__period_parse(value, &((struct troupe__run *)run)->every_ms) ? NULL : "a time, as 30s, 10m, 6h or 1d";
}

static const char *set_keep(void *run, const char *value)
{
    char *end;
    ((struct troupe__run *)run)->keep = strtoul(value, &end, 10);
    return *value >= '1' && *value <= '9' && !*end && ((struct troupe__run *)run)->keep <= 1000000
               ? NULL
               : "a number from 1 on";
}

static const char *set_listen(void *context, const char *value)
{
    struct troupe__run *run = context;
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
    ((struct troupe__run *)run)->node.insecure_listen = true;
    return NULL;
}

static const char *set_no_supervisor(void *run, const char *value)
{
    (void)value;
    ((struct troupe__run *)run)->unsupervised = true;
    return NULL;
}

static const char *set_log(void *run, const char *value)
{
    for (int level = TROUPE_DEBUG; level <= TROUPE_ERROR; level++) {
        if (strcmp(value, troupe__log_levels[level]) == 0) {
            ((struct troupe__run *)run)->log.least = (enum troupe_level)level;
            return NULL;
        }
    }
    return "debug, info, warning or error";
}

static const char *set_log_format(void *run, const char *value)
{
    bool json = strcmp(value, "json") == 0;
    ((struct troupe__run *)run)->log.format = json ? TROUPE__LOG_JSON : TROUPE__LOGFMT;
    return json || strcmp(value, "logfmt") == 0 ? NULL : "json or logfmt";
}

const struct troupe__option troupe__run_options[] = {
    {"config", "FILE", set_config, "options from a YAML file, `name: value` lines; the command line wins"},
    {"module", "FILE", set_module, "the module, where it is not the argument"},
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    {"input", "FILE|-", set_input,
     "JSON lines to take in, each exactly once from a file (default: none); a\nfile is read to its end once, what is "
     "appended later by the next start;\nwith --nodes once for each node that reads"},
    {"output", "FILE|-", set_output,
     "where egress records go as JSON lines (default: -); with --nodes a file\nfor each node: FILE.n1, FILE.n2, ...; "
     "to - lines with \"node\""},
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
