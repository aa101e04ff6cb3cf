/* snapshot.c - the command `troupe snapshot`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots stand in DATA/snapshots unless --to or a path says otherwise: a name without a slash is one of those. */
#include "runtime/cli/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/snapshot/check.h"
#include "runtime/cli/cuts.h"
#include "runtime/cli/diff.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/edit.h"
#include "runtime/cli/export.h"
#include "runtime/cli/live.h"
#include "runtime/cli/local.h"
#include "runtime/cli/module.h"
#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/reach.h"
#include "runtime/cli/snapshot_show.h"
#include "runtime/cli/source.h"
#include "runtime/cli/upgrade.h"
#include "runtime/snapshot/snapshot.h"

struct options {
    struct troupe__reach_options reach; /* first: see reach.h */
    char data[PATH_MAX - 96];           /* where snapshots stand in; "" where only an endpoint is known */
    const char *to, *name, *module;
    bool json;
};

static const char *set_to(void *target, const char *value)
{
    ((struct options *)target)->to = value;
    return NULL;
}

static const char *set_name(void *target, const char *value)
{
    ((struct options *)target)->name = value;
    return troupe__snapshot_name_valid(value) ? NULL : TROUPE__SNAPSHOT_NAME_RULE;
}

static const char *set_module(void *target, const char *value)
{
    ((struct options *)target)->module = value;
    return NULL;
}

static const char *set_json(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->json = true;
    return NULL;
}

#define OPTION_JSON                                                                                                    \
    {                                                                                                                  \
        "json", NULL, set_json, "print JSON"                                                                           \
    }

/* The directory of a snapshot that was named or given by its path. */
static void find_snapshot(const struct options *options, const char *name, char path[static PATH_MAX])
{
    if (strchr(name, '/') || strcmp(name, "-") == 0) {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        snprintf(path, PATH_MAX, "%s/snapshots/%s", options->data, name);
    }
}

static void time_text(int64_t time_ms, const char *format, char text[static 40])
{
    struct tm parts;
    time_t seconds = (time_t)(time_ms / 1000);
    if (!gmtime_r(&seconds, &parts) || strftime(text, 40, format, &parts) == 0) {
        snprintf(text, 40, "%" PRId64, time_ms);
    }
}

/* ---- the subcommands --------------------------------------------------------------------------------------------- */

/* One at a time: while another is being taken, by the clock perhaps, wait for it. */
static enum troupe_error take_live(const struct troupe__reach *reach, const char *path, struct troupe__snapshot *ret,
                                   char *error, size_t error_size)
{
    enum { TRIES = 100, PAUSE_NS = 200000000 };
    enum troupe_error result = TROUPE_EBUSY;
    for (int i = 0; i < TRIES && result == TROUPE_EBUSY && (i == 0 || access(path, F_OK) != 0); i++) {
        if (i > 0) {
            nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
        }
        struct troupe__progress progress = {.command = "snapshot create", .first_ms = 500};
        result = troupe__live_snapshot(reach, path, &progress, ret, error, error_size);
    }
    return result;
}

/* Whether these are directories, and no node runs on any of them. */
static bool is_at_rest(const struct troupe__reach *reach)
{
    for (size_t i = 0; i < reach->count; i++) {
        if (!reach->nodes[i].data[0] || troupe__node_runs(reach->nodes[i].data)) {
            return false;
        }
    }
    return true;
}

static enum troupe_error take_resting(const struct troupe__reach *reach, const char *path, struct troupe__snapshot *ret,
                                      char *error, size_t error_size)
{
    struct troupe__snapshot_resting *nodes = calloc(reach->count, sizeof *nodes);
    if (!nodes) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < reach->count; i++) {
        nodes[i] =
            (struct troupe__snapshot_resting){reach->troupe ? reach->nodes[i].name : "node", reach->nodes[i].data};
    }
    struct troupe__progress_rows shown = {{.command = "snapshot create"}, "writing", 0};
    enum troupe_error result = troupe__snapshot_take(nodes, reach->count, reach->troupe ? &reach->cluster.slots : NULL,
                                                     path, troupe__progress_rows, &shown, ret, error, error_size);
    troupe__progress_end(&shown.progress);
    free(nodes);
    return result;
}

static void tell_removed(void *context, const char *name, bool is_dead)
{
    (void)context;
    if (is_dead) {
        fprintf(stderr, "troupe snapshot create: %s is removed: what made or deleted it was killed\n", name);
    }
}

/* Into the new directory `path`, for which `directory` is made. */
static enum troupe_error take(const struct options *options, const char *directory, const char *path,
                              struct troupe__snapshot *ret, char *error, size_t error_size)
{
    struct troupe__reach reach = {.nodes = NULL};
    enum troupe_error result = troupe__reach_open(&reach, &options->reach);
    snprintf(error, error_size, "%.500s", reach.error);
    if (result == TROUPE_OK && mkdir(directory, 0700) && errno != EEXIST) {
        snprintf(error, error_size, "create %.400s: %s", directory, strerror(errno));
        result = errno == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    if (result == TROUPE_OK) {
        troupe__snapshot_leftovers(directory, true, tell_removed, NULL);
        bool rests = is_at_rest(&reach);
        result = rests ? TROUPE_ENOTFOUND : take_live(&reach, path, ret, error, error_size);
        if (result == TROUPE_ENOTFOUND && (rests || is_at_rest(&reach))) { /* It was another command at work there. */
            result = take_resting(&reach, path, ret, error, error_size);
        }
    }
    troupe__reach_close(&reach);
    return result;
}

/* Where nodes are reached by a file or an endpoint there need be none. */
static enum troupe_error check_directory(const struct options *options, char *error, size_t error_size)
{
    bool named = !options->reach.connect && !options->reach.cluster;
    return named ? troupe__directory_check(options->data, error, error_size) : TROUPE_OK;
}

static int create(struct options *options, const char *operand)
{
    char path[PATH_MAX], directory[PATH_MAX], name[40], error[512] = "";
    struct troupe__snapshot snapshot;
    (void)operand;
    time_text((int64_t)time(NULL) * 1000, "%Y-%m-%dT%H-%M-%SZ", name);
    bool streamed = options->to && strcmp(options->to, "-") == 0; /* By way of a snapshot beside the others. */
    const char *to = streamed ? NULL : options->to;
    if (streamed && isatty(STDOUT_FILENO)) {
        return troupe__wrong("snapshot", "a snapshot is no text for a terminal; with --to - name a file or a pipe, not",
                             "it");
    }
    if (streamed && !options->data[0]) {
        return troupe__wrong("snapshot", "with --connect say --to DIR, not", "--to -");
    }
    snprintf(directory, sizeof directory, "%s%s", to ? to : options->data, to ? "" : "/snapshots");
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, options->name ? options->name : name) >= sizeof path) {
        return troupe__failed("snapshot create", "the path is too long", TROUPE_EINVAL);
    }
    enum troupe_error result = check_directory(options, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed("snapshot create", error, result);
    }
    result = take(options, directory, path, &snapshot, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed("snapshot create", error, result);
    }
    if (streamed) {
        char unused[512];
        signal(SIGPIPE, SIG_IGN); /* Who reads may have had enough; what was made is removed all the same. */
        struct troupe__progress_rows shown = {{.command = "snapshot create"}, "sending", 0};
        result =
            troupe__snapshot_send(path, &snapshot, STDOUT_FILENO, troupe__progress_bytes, &shown, error, sizeof error);
        troupe__progress_end(&shown.progress);
        (void)troupe__snapshot_remove(path, unused, sizeof unused);
    } else {
        printf("%s\n", path);
    }
    troupe__snapshot_fini(&snapshot);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("snapshot create", error, result);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_listed(const struct options *options, const char *path, const char *name, bool *any)
{
    struct troupe__snapshot snapshot;
    char error[512], when[40];
    enum troupe_error result = troupe__snapshot_read(path, &snapshot, error, sizeof error);
    if (result != TROUPE_OK) {
        if (result != TROUPE_ENOTFOUND) {
            fprintf(stderr, "troupe snapshot list: %s\n", error);
        }
        return;
    }
    uint64_t rows = troupe__snapshot_row_count(&snapshot), bytes = 0;
    for (size_t i = 0; i < snapshot.part_count; i++) {
        bytes += snapshot.parts[i].summary.row_bytes;
    }
    time_text(snapshot.taken_ms, "%Y-%m-%dT%H:%M:%SZ", when);
    if (options->json) {
        printf("%s{\"name\":\"%s\",\"taken_ms\":%" PRId64 ",\"nodes\":%zu,\"rows\":%" PRIu64 ",\"row_bytes\":%" PRIu64
               "}",
               *any ? "," : "", name, snapshot.taken_ms, snapshot.part_count, rows, bytes);
    } else {
        printf("%s\t%s\t%zu nodes\t%" PRIu64 " rows\t%" PRIu64 " bytes\n", name, when, snapshot.part_count, rows,
               bytes);
    }
    *any = true;
    troupe__snapshot_fini(&snapshot);
}

static void tell_unfinished(void *context, const char *name, bool is_dead)
{
    (void)context;
    fprintf(stderr, "troupe snapshot list: %s is no snapshot: %s\n", name,
            is_dead ? "what made or deleted it was killed; the next troupe snapshot create removes it"
                    : "it is being written");
}

static int list(struct options *options, const char *operand)
{
    char directory[PATH_MAX], error[512];
    enum troupe_error result;
    (void)operand;
    snprintf(directory, sizeof directory, "%s%s", options->to ? options->to : options->data,
             options->to ? "" : "/snapshots");
    char **names = NULL;
    size_t count = 0;
    DIR *open = opendir(directory);
    for (struct dirent *entry; open && (entry = readdir(open)) != NULL;) {
        char **more = realloc(names, (count + 1) * sizeof *names);
        char *copy = more ? strdup(entry->d_name) : NULL;
        names = more ? more : names;
        if (!copy) {
            break;
        }
        if (troupe__snapshot_name_valid(copy)) {
            names[count++] = copy;
        } else {
            free(copy);
        }
    }
    if (open) {
        closedir(open);
    } else {
        int code = errno;
        result = options->to ? TROUPE_OK : check_directory(options, error, sizeof error);
        if (result == TROUPE_OK && (options->to || code != ENOENT)) {
            snprintf(error, sizeof error, "%.400s: %s", directory, strerror(code));
            result = code == ENOENT ? TROUPE_ENOTFOUND : TROUPE_EIO;
        }
        if (result != TROUPE_OK) {
            return troupe__failed("snapshot list", error, result);
        }
    }
    if (count > 0) {
        qsort(names, count, sizeof *names, compare_names);
    }
    bool any = false;
    fputs(options->json ? "[" : "", stdout);
    for (size_t i = 0; i < count; i++) {
        char path[PATH_MAX];
        if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, names[i]) < sizeof path) {
            print_listed(options, path, names[i], &any);
        }
        free(names[i]);
    }
    free(names);
    fputs(options->json ? "]\n" : "", stdout);
    fflush(stdout);
    troupe__snapshot_leftovers(directory, false, tell_unfinished, NULL);
    return EXIT_SUCCESS;
}

static int show(struct options *options, const char *operand)
{
    char path[PATH_MAX], error[512];
    find_snapshot(options, operand, path);
    enum troupe_error result = troupe__snapshot_show(path, options->json, error, sizeof error);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("snapshot show", error, result);
}

struct counted {
    struct troupe__progress_rows shown;
    uint64_t rows;
};

static enum troupe_error count_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes value)
{
    struct counted *counted = context;
    (void)table, (void)key, (void)value;
    if (++counted->rows % 1024 == 0) {
        troupe__progress_rows(&counted->shown, counted->rows);
    }
    return TROUPE_OK;
}

/* Each part by itself, then how they fit together, then what the module, which may be NULL, says of it all. */
static enum troupe_error check_all(const char *path, const struct troupe__snapshot *snapshot,
                                   const struct troupe_module *module, char *error, size_t error_size)
{
    struct counted counted = {{{.command = "snapshot verify"}, "reading", troupe__snapshot_row_count(snapshot)}, 0};
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        result = troupe__snapshot_read_part(path, &snapshot->parts[i], count_row, &counted, error, error_size);
    }
    result = result == TROUPE_OK ? troupe__snapshot_check_cut(path, snapshot, error, error_size) : result;
    if (result == TROUPE_OK && module) {
        counted.shown.what = "checking";
        counted.shown.all = 0; /* The module may look at what it wants, as often as it wants. */
        result = troupe__check_snapshot(module, path, troupe__progress_rows, &counted.shown, error, error_size);
    }
    troupe__progress_end(&counted.shown.progress);
    return result;
}

static int verify(struct options *options, const char *operand)
{
    char path[PATH_MAX], error[512];
    struct troupe__snapshot snapshot;
    const struct troupe_module *module =
        options->module ? troupe__module_load("snapshot verify", options->module) : NULL;
    if (options->module && !module) {
        return EXIT_FAILURE;
    }
    if (module && !module->check) {
        return troupe__failed("snapshot verify", "the module has no check: see troupe.h, checks", TROUPE_EINVAL);
    }
    find_snapshot(options, operand, path);
    enum troupe_error result = troupe__snapshot_read(path, &snapshot, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed("snapshot verify", error, result);
    }
    uint64_t rows = troupe__snapshot_row_count(&snapshot);
    result = check_all(path, &snapshot, module, error, sizeof error);
    if (result == TROUPE_OK && options->json) {
        printf("{\"name\":\"%s\",\"good\":true,\"nodes\":%zu,\"rows\":%" PRIu64 ",\"checked\":%s}\n", snapshot.name,
               snapshot.part_count, rows, module ? "true" : "false");
    } else if (result == TROUPE_OK) {
        printf("%s is good: %zu nodes, %" PRIu64 " rows, all checksums right, one consistent cut%s%s\n", snapshot.name,
               snapshot.part_count, rows, module ? ", nothing wrong says the check of " : "",
               module ? module->name : "");
    }
    troupe__snapshot_fini(&snapshot);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("snapshot verify", error, result);
}

static int cuts(struct options *options, const char *operand)
{
    char error[512] = "";
    (void)operand;
    enum troupe_error result = troupe__cuts_list(options->data, options->json, stdout, error, sizeof error);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("snapshot cuts", error, result);
}

static int delete (struct options *options, const char *operand)
{
    char path[PATH_MAX], error[512];
    find_snapshot(options, operand, path);
    enum troupe_error result = troupe__snapshot_remove(path, error, sizeof error);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed("snapshot delete", error, result);
}

static const struct {
    const char *name;
    int (*run)(struct options *options, const char *operand);
    int operands;
} actions[] = {{"create", create, 0},
               {"list", list, 0},
               {"cuts", cuts, 0},
               {"show", show, 1},
               {"verify", verify, 1},
               {"delete", delete, 1},
               {0}};

/* Those with options of their own. */
static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} tools[] = {{"check-upgrade", troupe__check_upgrade},
             {"diff", troupe__diff},
             {"edit", troupe__edit},
             {"export", troupe__export},
             {0}};

#define SUBCOMMANDS "create, list, cuts, show, verify, delete, check-upgrade, diff, export or edit"

/* Whether there is something of that name; if not, the directory may be the wrong one. */
static bool is_there(const struct options *options, const char *name, char *error, size_t error_size)
{
    char path[PATH_MAX];
    find_snapshot(options, name, path);
    if (access(path, F_OK) == 0) {
        return true;
    }
    if (check_directory(options, error, error_size) == TROUPE_OK) {
        snprintf(error, error_size, "there is no snapshot %.400s: see troupe snapshot list; a path has a slash", path);
    }
    return false;
}

/* With the snapshot unpacked if it is a stream: "-", or a path of a file. */
static int run_action(int (*run)(struct options *options, const char *operand), struct options *options,
                      const char *operand)
{
    struct troupe__source source;
    char error[512];
    bool named = operand && strcmp(operand, "-") != 0 && !strchr(operand, '/');
    if (named && !is_there(options, operand, error, sizeof error)) {
        return troupe__failed("snapshot", error, TROUPE_ENOTFOUND);
    }
    if (!operand || run == delete || named) {
        return run(options, operand);
    }
    enum troupe_error result = troupe__source_open("snapshot", operand, NULL, &source, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed("snapshot", error, result);
    }
    int code = run(options, source.path);
    troupe__source_close(&source);
    return code;
}

/* Snapshots stand in the directory, or beside the cluster file. Returns -1, or the exit code. */
static int take_directory(struct options *options)
{
    const struct troupe__reach_options *reach = &options->reach;
    const char *file = reach->cluster, *slash = file ? strrchr(file, '/') : NULL;
    size_t size = 0;
    if (slash) {
        size = (size_t)snprintf(options->data, sizeof options->data, "%.*s", slash == file ? 1 : (int)(slash - file),
                                file);
    } else if (file || !reach->connect) {
        size = (size_t)snprintf(options->data, sizeof options->data, "%s",
                                file          ? "."
                                : reach->data ? reach->data
                                              : "troupe-data");
    }
    return size < sizeof options->data ? -1 : troupe__wrong("snapshot", "too long a path:", file ? file : reach->data);
}

int troupe__snapshot(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && tools[i].name; i++) {
        if (strcmp(argv[1], tools[i].name) == 0) {
            return tools[i].main(argc - 1, argv + 1);
        }
    }
    static const struct troupe__option options_table[] = {
        TROUPE__REACH_OPTIONS,
        {"to", "DIR|-", set_to,
         "where snapshots stand (default: snapshots in the directory, or beside\nthe cluster file); create: - is the "
         "standard output, as one stream"},
        {"name", "NAME", set_name, "of the snapshot to create (default: the time)"},
        {"module", "M.so", set_module, "verify: run its check over the snapshot too"},
        OPTION_JSON,
        {0},
    };
    struct options options = {.json = false};
    const struct troupe__command command = {
        .name = "snapshot",
        .usage = "usage: troupe snapshot create [--name NAME]\n"
                 "       troupe snapshot list\n"
                 "       troupe snapshot cuts\n"
                 "       troupe snapshot show|verify|delete SNAPSHOT\n"
                 "       troupe snapshot check-upgrade SNAPSHOT MODULE.so\n"
                 "       troupe snapshot diff A B\n"
                 "       troupe snapshot export SNAPSHOT\n"
                 "       troupe snapshot edit SNAPSHOT NEW (the last four: see their own --help)\n\n"
                 "Takes and looks at snapshots of a node, or of all nodes of a troupe: while they run, or while\n"
                 "none of them does. A snapshot is one consistent cut and holds all they would\n"
                 "start with: state, mailboxes, timers, dead letters, input positions, output numbers. SNAPSHOT is\n"
                 "a name, or a path with a slash: of a directory, or of a file that `create --to -` wrote; - is the\n"
                 "standard input.\n",
        .after = "`create` prints the path. `cuts` lists what `troupe restore --at` can go back to. `show` and "
                 "`verify` read all of it and check it.\n"
                 "Exit codes: 0 done, 1 failed or damaged, 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    code = code >= 0 ? code : take_directory(&options);
    if (code >= 0) {
        return code;
    }
    if (operand == argc) {
        return troupe__wrong_operands("snapshot", "say what to do: " SUBCOMMANDS, NULL, 0, 1);
    }
    const char *name = argv[operand++];
    for (size_t i = 0; actions[i].name; i++) {
        if (strcmp(actions[i].name, name) != 0) {
            continue;
        }
        if (!options.data[0] && !options.to && !actions[i].operands) {
            return troupe__wrong("snapshot", "with --connect say --to DIR, where snapshots stand, to", name);
        }
        if (argc - operand != actions[i].operands) {
            return troupe__wrong("snapshot", actions[i].operands ? "name one snapshot to" : "too many arguments for",
                                 name);
        }
        return run_action(actions[i].run, &options, actions[i].operands ? argv[operand] : NULL);
    }
    return troupe__wrong("snapshot", "it takes " SUBCOMMANDS ", not", name);
}
