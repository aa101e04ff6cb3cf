/* run_node.c - `troupe run`: one node, in this process.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/run_parts.h"

static void show_progress(void *context, const struct troupe__node_figures *figures)
{
    struct troupe__run *run = context;
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
static bool has_progress(const struct troupe__run *run)
{
    bool mixed = strcmp(run->node.output, "-") == 0 && isatty(STDOUT_FILENO);
    return run->node.until != TROUPE_UNTIL_STOPPED && isatty(STDERR_FILENO) && !mixed;
}

void troupe__run_listen_beside_data(struct troupe__run *run)
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
static bool is_beside_data(const struct troupe__run *run, const char *endpoint)
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
static void set_default_endpoints(struct troupe__run *run)
{
    if (run->node.listen_count == 0 && !run->listen_none) {
        troupe__run_listen_beside_data(run);
        const char *clients = run->place.cluster ? run->place.cluster->nodes[run->place.self].clients : "";
        if (clients[0] && run->nodes == 0 && !(run->node.listen_count > 0 && is_beside_data(run, clients))) {
            run->listen[run->node.listen_count++] = clients;
        }
    }
}

/* A node that its supervisor starts again has the keys of now, not those of the first start; if it can. */
static void refresh_keys(struct troupe__run *run)
{
    char error[512], text[600];
    bool changed;
    struct troupe__key_pair before = run->keys;
    if (run->place.reread && (troupe__run_reread_cluster(run, &changed, error, sizeof error) != TROUPE_OK ||
                              troupe__run_read_key(run, error, sizeof error) != TROUPE_OK)) {
        run->keys = before;
        snprintf(text, sizeof text, "who is let in stays as it was: %s", error);
        troupe__log_line(&run->log, TROUPE_WARNING, text);
    }
}

/* Whether what failed is for a person to mend. Not damage, or a disk that fails: others of a troupe go on beside it. */
static bool is_hopeless(enum troupe_error error)
{
    return error == TROUPE_EINVAL || error == TROUPE_EVERSION;
}

int troupe__run_node(void *context)
{
    struct troupe__run *run = context;
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
        if (run->guard) {
            run->guard->hopeless = is_hopeless(result);
        }
        fprintf(stderr, "troupe run: %s%s%s (%s)\n", run->log.node ? run->log.node : "", run->log.node ? ": " : "",
                error, troupe_error_text(result));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
