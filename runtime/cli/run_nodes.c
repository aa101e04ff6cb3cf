/* run_nodes.c - `troupe run --nodes`: a troupe on this machine, under one supervisor.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/node/admission.h"
#include "runtime/cli/local.h"
#include "runtime/cli/quiet.h"
#include "runtime/cli/run_parts.h"

/* One node of a troupe on this machine: what differs from `all`. */
struct member {
    struct troupe__run run;
    char data[PATH_MAX], output[PATH_MAX], stream_lock[PATH_MAX];
};

/* The file of one node's records. */
static void put_output(char path[static PATH_MAX], const struct troupe__run *all, uint16_t index)
{
    snprintf(path, PATH_MAX, "%.4000s.%s", all->node.output, all->cluster.nodes[index].name);
}

static void init_member(struct member *member, const struct troupe__run *all, uint16_t index)
{
    struct troupe__run *run = &member->run;
    *run = *all;
    const char *name = all->cluster.nodes[index].name;
    snprintf(member->data, sizeof member->data, "%s/%s", all->node.data, name);
    put_output(member->output, all, index);
    run->node.data = member->data;
    run->node.output = strcmp(all->node.output, "-") == 0 ? "-" : member->output;
    run->node.input = index < all->input_count ? all->inputs[index] : NULL;
    run->log.node = name;
    run->node.log_context = &run->log;
    snprintf(member->stream_lock, sizeof member->stream_lock, "%.4000s/output.lock", all->node.data);
    run->place = (struct troupe__place){.cluster = &all->cluster, .self = index, .stream_lock = member->stream_lock};
    run->progress.command = NULL;
    run->node.until = TROUPE_UNTIL_STOPPED; /* One alone cannot know: see wait_until_idle. */
    run->node.listen_count = 0;
    if (!run->listen_none) {
        troupe__run_listen_beside_data(run);
        if (index < all->node.listen_count) {
            run->listen[run->node.listen_count++] = all->listen[index];
        }
    }
}

/* What --listen names, for one node after the other, is what clients from elsewhere are told of. */
static void tell_endpoints(struct troupe__run *all)
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
    const struct troupe__run *all = context;
    const struct troupe__reach_options where = {.data = all->node.data};
    const struct troupe__quiet_options quiet = {.timers = all->node.until == TROUPE_UNTIL_IDLE_TIMERS,
                                                .inputs_ended = true};
    struct troupe__reach reach;
    char reason[512];
    enum troupe_error result = troupe__reach_open(&reach, &where);
    if (result != TROUPE_OK) {
        return troupe__run_fail(reach.error, result);
    }
    result = troupe__quiet_wait(&reach, &quiet, reason, sizeof reason);
    troupe__reach_close(&reach);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__run_fail(reason, result);
}

/* A node that refuses the module would be started again for ever: so they are asked before any of them is. What else
 * is wrong with a directory its node says itself. */
static enum troupe_error admit_members(const struct troupe__run *all, char *error, size_t error_size)
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

/* 0, or the errno that says why the file cannot be written. One that is not there is made. A pipe is not opened to see:
 * who reads it would take that for its end. */
static int try_output(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0) {
        return S_ISDIR(info.st_mode) ? EISDIR : access(path, W_OK) == 0 ? 0 : errno;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

/* Nor would a node that cannot open its output. One whose disk is full or fails is started until it can. */
static enum troupe_error check_outputs(const struct troupe__run *all, char *error, size_t error_size)
{
    for (uint16_t i = 0; strcmp(all->node.output, "-") != 0 && i < all->nodes; i++) {
        char path[PATH_MAX];
        put_output(path, all, i);
        int code = try_output(path);
        if (code != 0 && code != ENOSPC && code != EDQUOT && code != EIO) {
            snprintf(error, error_size, "output %.300s: %s", path, strerror(code));
            return TROUPE_EIO;
        }
    }
    return TROUPE_OK;
}

/* What the command line says of it. Returns -1 to go on, or the exit code. */
static int check_arguments(const struct troupe__run *all)
{
    const char *other = all->cluster_path   ? "--cluster"
                        : all->name         ? "--node"
                        : all->key_path     ? "--key"
                        : all->unsupervised ? "--no-supervisor"
                                            : NULL;
    if (other) {
        return troupe__wrong("run", "with --nodes leave out", other);
    }
    if (all->node.until != TROUPE_UNTIL_STOPPED && all->listen_none) {
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
    return -1;
}

/* Run them all, and what goes on beside them. Returns the exit code. */
static int supervise(struct troupe__run *all)
{
    bool until_idle = all->node.until != TROUPE_UNTIL_STOPPED;
    struct member *members = calloc(all->nodes, sizeof *members);
    struct troupe__child *children = calloc(all->nodes + 2, sizeof *children);
    struct troupe__guard *guard = until_idle ? troupe__guard_new() : NULL;
    struct troupe__run_companion companion;
    bool ready = members && children && (guard || !until_idle) && troupe__run_companion_init(&companion, all);
    for (uint16_t i = 0; ready && i < all->nodes; i++) {
        init_member(&members[i], all, i);
        ready = (members[i].run.guard = troupe__guard_new()) != NULL;
        children[i] = (struct troupe__child){
            all->cluster.nodes[i].name, members[i].run.guard, troupe__run_node, &members[i].run, true, false};
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
    int code = EXIT_FAILURE;
    if (ready) {
        (void)unlink(members[0].stream_lock); /* What it says is of the stream before: see output.h. */
        code = troupe__supervise(children, count, all->node.slow_ms, troupe__log_line, &all->log);
        troupe__guard_free(companion.child.guard);
    } else {
        troupe__run_fail("out of memory", TROUPE_ENOMEM);
    }
    troupe__guard_free(guard);
    for (size_t i = 0; members && i < all->nodes; i++) {
        troupe__guard_free(members[i].run.guard);
    }
    free(members);
    free(children);
    return code;
}

int troupe__run_nodes(struct troupe__run *all)
{
    char error[768];
    int code = check_arguments(all);
    if (code >= 0) {
        return code;
    }
    enum troupe_error result = troupe__local_claim(all->node.data, error, sizeof error);
    result = result == TROUPE_OK
                 ? troupe__local_cluster(all->node.data, (uint16_t)all->nodes, &all->cluster, error, sizeof error)
                 : result;
    if (result != TROUPE_OK) {
        return troupe__run_fail(error, result);
    }
    code = troupe__run_take_schedule(all, false);
    if (code < 0 && (result = admit_members(all, error, sizeof error)) != TROUPE_OK) {
        code = troupe__run_fail(error, result);
    }
    if (code < 0 && (result = troupe__run_deal_inputs(all, error, sizeof error)) != TROUPE_OK) {
        code = troupe__run_fail(error, result);
    }
    if (code < 0 && (result = check_outputs(all, error, sizeof error)) != TROUPE_OK) {
        code = troupe__run_fail(error, result);
    }
    if (code < 0) {
        tell_endpoints(all);
        code = supervise(all);
    }
    troupe__cluster_fini(&all->cluster);
    return code;
}
