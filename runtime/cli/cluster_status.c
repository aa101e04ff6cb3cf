/* cluster_status.c - the command `troupe cluster status`: nodes, and links between them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/cluster_status.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/chorus.h"
#include "runtime/cli/monotonic.h"
#include "runtime/cli/options.h"
#include "runtime/cli/remote.h"
#include "transport/json.h"

enum {
    LOOK_MS = 500, /* between the two looks that a first rate is made of */
    HELLO_MS = 1500,
    ANSWER_MS = 15000,
};

struct status {
    struct troupe__reach_options reach; /* first: see reach.h */
    unsigned watch_s;
    bool json;
};

struct node {
    bool up, told; /* told: on stderr, why it is down */
    char version[200];
    char *figures; /* owned; "" when it is down */
    uint64_t epoch, epoch_before;
    int64_t at_ms, at_before_ms; /* 0: there was no such look */
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

static const char *set_watch(void *status, const char *value)
{
    char *end = NULL;
    unsigned long seconds = value ? strtoul(value, &end, 10) : 1;
    ((struct status *)status)->watch_s = (unsigned)seconds;
    return (!value || (isdigit((unsigned char)*value) && *end == '\0')) && seconds >= 1 && seconds <= 86400
               ? NULL
               : "seconds, 1 to 86400";
}

static const char *set_json(void *status, const char *value)
{
    (void)value;
    ((struct status *)status)->json = true;
    return NULL;
}

static const struct troupe__option options[] = {
    TROUPE__REACH_OPTIONS,
    {"watch", "[=SECONDS]", set_watch, "again every second, or as often"},
    {"json", NULL, set_json, "print JSON, one object for each look"},
    {0},
};

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static uint64_t figure(const struct node *node, const char *name)
{
    uint64_t number = 0;
    (void)troupe__remote_figure(node->figures, name, &number);
    return number;
}

static uint64_t link_figure(const struct node *node, const char *peer, const char *name)
{
    char whole[TROUPE__NODE_NAME_MAX + 32];
    snprintf(whole, sizeof whole, "link/%s/%s", peer, name);
    return figure(node, whole);
}

static void take_figures(struct node *node, const struct troupe__voice *voice)
{
    const char *text = voice->result == TROUPE_OK && voice->reply.text ? voice->reply.text : "";
    free(node->figures);
    node->figures = strdup(text);
    node->up = voice->result == TROUPE_OK && node->figures;
    node->epoch_before = node->epoch;
    node->at_before_ms = node->at_ms;
    node->at_ms = node->up ? troupe__monotonic_ms() : 0;
    node->epoch = node->up ? figure(node, "epoch") : node->epoch;
}

/* The version is what `hello` says. */
static void greet(struct troupe__chorus *chorus, struct node *nodes)
{
    (void)troupe__chorus_greet(chorus, HELLO_MS);
    for (size_t i = 0; i < chorus->reach->count; i++) {
        const struct troupe__voice *voice = &chorus->voices[i];
        snprintf(nodes[i].version, sizeof nodes[i].version, "%s",
                 voice->result == TROUPE_OK && voice->reply.text ? voice->reply.text : "");
    }
}

/* At those that have just answered. */
static void look(struct troupe__chorus *chorus, struct node *nodes)
{
    const struct troupe__request stats = {.what = "stats"};
    (void)troupe__chorus_ask(chorus, &stats, ANSWER_MS);
    for (size_t i = 0; i < chorus->reach->count; i++) {
        take_figures(&nodes[i], &chorus->voices[i]);
    }
}

/* Epochs per second since the look before; 0 when there was none. */
static double rate_of(const struct node *node)
{
    bool known = node->at_ms > node->at_before_ms && node->at_before_ms > 0 && node->epoch >= node->epoch_before;
    return known ? (double)(node->epoch - node->epoch_before) * 1000 / (double)(node->at_ms - node->at_before_ms) : 0;
}

static const char *link_state(const struct node *node, const char *peer)
{
    return link_figure(node, peer, "lost") ? "lost" : link_figure(node, peer, "up") ? "up" : "down";
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static void print_table(const struct troupe__reach *reach, const struct node *nodes)
{
    printf("cluster %016" PRIx64 ", generation %" PRIu64 ", %zu nodes\n", reach->cluster.slots.cluster,
           reach->cluster.slots.generation, reach->count);
    printf("%-16s %-5s %8s %10s %9s %9s %9s  %s\n", "node", "state", "pid", "epoch", "epochs/s", "mail", "timers",
           "version");
    for (size_t i = 0; i < reach->count; i++) {
        const struct node *node = &nodes[i];
        if (!node->up) {
            printf("%-16s %-5s\n", reach->nodes[i].name, "down");
            continue;
        }
        printf("%-16s %-5s %8" PRIu64 " %10" PRIu64 " %9.1f %9" PRIu64 " %9" PRIu64 "  %s\n", reach->nodes[i].name,
               "up", figure(node, "pid"), node->epoch, rate_of(node), figure(node, "mail"), figure(node, "timers"),
               node->version);
    }
    printf("%-33s %-5s %10s %12s %8s\n", "link", "state", "messages", "bytes", "oldest");
    for (size_t from = 0; from < reach->count; from++) {
        for (size_t to = 0; to < reach->count && nodes[from].up; to++) {
            const char *peer = reach->nodes[to].name;
            char name[2 * TROUPE__NODE_NAME_MAX + 8];
            if (from != to) {
                snprintf(name, sizeof name, "%s > %s", reach->nodes[from].name, peer);
                printf("%-33s %-5s %10" PRIu64 " %12" PRIu64 " %7.3fs\n", name, link_state(&nodes[from], peer),
                       link_figure(&nodes[from], peer, "backlog"), link_figure(&nodes[from], peer, "backlog_bytes"),
                       (double)link_figure(&nodes[from], peer, "unacknowledged_ms") / 1000);
            }
        }
    }
}

static void print_json(const struct troupe__reach *reach, const struct node *nodes)
{
    struct troupe__buffer version = {0};
    const char *between = "";
    printf("{\"cluster\":\"%016" PRIx64 "\",\"generation\":%" PRIu64 ",\"nodes\":[", reach->cluster.slots.cluster,
           reach->cluster.slots.generation);
    for (size_t i = 0; i < reach->count; i++) {
        const struct node *node = &nodes[i];
        printf("%s{\"node\":\"%s\",\"up\":%s", i > 0 ? "," : "", reach->nodes[i].name, node->up ? "true" : "false");
        if (node->up) {
            version.size = 0;
            troupe__json_write_string(node->version, strlen(node->version), &version);
            printf(",\"pid\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"epochs_per_s\":%.1f,\"mail\":%" PRIu64
                   ",\"timers\":%" PRIu64 ",\"version\":%.*s",
                   figure(node, "pid"), node->epoch, rate_of(node), figure(node, "mail"), figure(node, "timers"),
                   (int)version.size, (const char *)version.data);
        }
        printf("}");
    }
    printf("],\"links\":[");
    for (size_t from = 0; from < reach->count; from++) {
        for (size_t to = 0; to < reach->count && nodes[from].up; to++) {
            const char *peer = reach->nodes[to].name;
            if (from != to) {
                printf("%s{\"from\":\"%s\",\"to\":\"%s\",\"state\":\"%s\",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
                       ",\"oldest_ms\":%" PRIu64 ",\"resends\":%" PRIu64 "}",
                       between, reach->nodes[from].name, peer, link_state(&nodes[from], peer),
                       link_figure(&nodes[from], peer, "backlog"), link_figure(&nodes[from], peer, "backlog_bytes"),
                       link_figure(&nodes[from], peer, "unacknowledged_ms"),
                       link_figure(&nodes[from], peer, "resends"));
                between = ",";
            }
        }
    }
    printf("]}\n");
    troupe__buffer_free(&version);
}

/* Whether all nodes are up, and no link is lost. */
static bool all_is_well(const struct troupe__reach *reach, const struct node *nodes)
{
    bool well = true;
    for (size_t from = 0; from < reach->count; from++) {
        well &= nodes[from].up;
        for (size_t to = 0; to < reach->count && nodes[from].up; to++) {
            well &= from == to || link_figure(&nodes[from], reach->nodes[to].name, "lost") == 0;
        }
    }
    return well;
}

/* Why nodes are down, unless it was said the look before. */
static void complain(const struct troupe__chorus *chorus, struct node *nodes)
{
    for (size_t i = 0; i < chorus->reach->count; i++) {
        if (!nodes[i].up && !nodes[i].told) {
            fprintf(stderr, "troupe cluster status: %s: %s\n", chorus->reach->nodes[i].name,
                    chorus->voices[i].client.error);
        }
        nodes[i].told = !nodes[i].up;
    }
}

static bool watch(const struct status *status, struct troupe__chorus *chorus, struct node *nodes)
{
    const struct troupe__reach *reach = chorus->reach;
    greet(chorus, nodes);
    look(chorus, nodes);
    nanosleep(&(struct timespec){LOOK_MS / 1000, LOOK_MS % 1000 * 1000000}, NULL); /* What a rate is made of. */
    for (;; greet(chorus, nodes)) {
        look(chorus, nodes);
        (status->json ? print_json : print_table)(reach, nodes);
        if (status->watch_s > 0 && !status->json) {
            putchar('\n');
        }
        bool last = fflush(stdout) || ferror(stdout) || status->watch_s == 0;
        complain(chorus, nodes);
        if (last || nanosleep(&(struct timespec){status->watch_s, 0}, NULL)) {
            return !ferror(stdout) && all_is_well(reach, nodes);
        }
    }
}

int troupe__cluster_status(int argc, char **argv)
{
    struct status status = {.json = false};
    const struct troupe__command command = {
        .name = "cluster status",
        .usage =
            "usage: troupe cluster status [options]\n\n"
            "Prints the nodes of a troupe (whether each runs, its process, epochs a second, what waits, version) and\n"
            "the links between them: messages and bytes that are not acknowledged, and for how long the oldest that\n"
            "has left waits for it. A link is lost when one side lost its memory: see the nodes' logs.\n",
        .after = "Exit codes: 0 all nodes run and no link is lost, 1 not so, or failed, 2 wrong arguments.\n",
        .options = options,
        .target = &status};
    struct troupe__reach reach;
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands < argc) {
        return troupe__wrong("cluster status", "one argument too many:", argv[operands]);
    }
    code = troupe__reach_begin(&reach, &status.reach, "cluster status");
    if (code >= 0) {
        return code;
    }
    if (!reach.troupe) {
        troupe__reach_close(&reach);
        return troupe__wrong("cluster status", "there is no troupe but a node that is alone; see troupe stats, at",
                             status.reach.data      ? status.reach.data
                             : status.reach.connect ? status.reach.connect
                                                    : "troupe-data");
    }
    struct troupe__chorus chorus = {.reach = NULL};
    struct node *nodes = calloc(reach.count, sizeof *nodes);
    code = nodes && troupe__chorus_open(&chorus, &reach) == TROUPE_OK && watch(&status, &chorus, nodes) ? EXIT_SUCCESS
                                                                                                        : EXIT_FAILURE;
    troupe__chorus_close(&chorus);
    for (size_t i = 0; nodes && i < reach.count; i++) {
        free(nodes[i].figures);
    }
    free(nodes);
    troupe__reach_close(&reach);
    return code;
}
