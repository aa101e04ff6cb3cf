/* cuts.c - the moments that a node or troupe can be restored to, and a snapshot of one of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/cuts.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/local.h"
#include "runtime/cli/progress.h"
#include "runtime/snapshot/rewind.h"

static void show_progress(void *progress, const char *what, uint64_t count)
{
    troupe__progress_count(progress, "reading", count, what);
}

/* A node or troupe with its past, and the snapshots that there are of it. */
struct past {
    struct troupe__cluster cluster; /* of a troupe */
    bool is_troupe;
    size_t count;
    struct troupe__history history;
    struct base {
        char path[PATH_MAX];
        struct troupe__snapshot snapshot;
    } * bases;                        /* the oldest first */
    size_t base_count, foreign_count; /* of the latter: snapshots from which other journals than these go on */
};

static const char *name_of(const struct past *past, size_t node)
{
    return past->is_troupe ? past->cluster.nodes[node].name : "node";
}

bool troupe__cuts_time(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    char *end;
    if (text[0] == '-') {
        static const struct {
            char unit;
            int64_t ms;
        } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
        double number = strtod(text + 1, &end);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (end > text + 1 && number >= 0 && number < 1e9 && end[0] == units[i].unit && end[1] == '\0') {
                *ret_ms = now_ms - (int64_t)(number * (double)units[i].ms);
                return true;
            }
        }
        return false;
    }
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    double fraction = 0;
    if (rest && rest[0] == '.') {
        fraction = strtod(rest, &end);
        rest = end;
    }
    if (!rest || strcmp(rest, "Z") != 0) {
        return false;
    }
    *ret_ms = (int64_t)timegm(&parts) * 1000 + (int64_t)(fraction * 1000);
    return true;
}

static void time_text(int64_t time_ms, char text[static 40])
{
    struct tm parts;
    time_t seconds = (time_t)(time_ms / 1000);
    char whole[32] = "";
    if (gmtime_r(&seconds, &parts)) {
        strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &parts);
    }
    snprintf(text, 40, "%s.%03dZ", whole, (int)(time_ms % 1000));
}

/* ---- what there is ----------------------------------------------------------------------------------------------- */

static int compare_bases(const void *left, const void *right)
{
    int64_t a = ((const struct base *)left)->snapshot.taken_ms, b = ((const struct base *)right)->snapshot.taken_ms;
    return (a > b) - (a < b);
}

/* Of this troupe and generation. */
static bool belongs(const struct past *past, const struct troupe__snapshot *snapshot)
{
    return snapshot->is_troupe == past->is_troupe && snapshot->part_count == past->count &&
           (!past->is_troupe || (snapshot->slots.cluster == past->cluster.slots.cluster &&
                                 snapshot->slots.generation == past->cluster.slots.generation));
}

static enum troupe_error read_bases(struct past *past, const char *data, char *error, size_t error_size)
{
    char directory[PATH_MAX], unused[512];
    snprintf(directory, sizeof directory, "%.4000s/snapshots", data);
    DIR *open = opendir(directory);
    enum troupe_error result = TROUPE_OK;
    for (struct dirent *entry; open && result == TROUPE_OK && (entry = readdir(open)) != NULL;) {
        struct base base;
        if (!troupe__snapshot_name_valid(entry->d_name)) {
            continue;
        }
        snprintf(base.path, sizeof base.path, "%.3800s/%s", directory, entry->d_name);
        if (troupe__snapshot_read(base.path, &base.snapshot, unused, sizeof unused) != TROUPE_OK) {
            continue; /* Being written, or damaged: `troupe snapshot list` says so. */
        }
        bool is_ours = belongs(past, &base.snapshot),
             goes_on = is_ours && troupe__rewind_belongs(&past->history, &base.snapshot);
        past->foreign_count += is_ours && !goes_on;
        struct base *bases = goes_on ? realloc(past->bases, (past->base_count + 1) * sizeof *bases) : NULL;
        if (!bases) {
            result = goes_on ? TROUPE_ENOMEM : TROUPE_OK;
            troupe__snapshot_fini(&base.snapshot);
            continue;
        }
        past->bases = bases;
        past->bases[past->base_count++] = base;
    }
    if (open) {
        closedir(open);
    }
    if (past->base_count > 0) {
        qsort(past->bases, past->base_count, sizeof *past->bases, compare_bases);
    }
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "out of memory");
    }
    return result;
}

static void past_close(struct past *past)
{
    for (size_t i = 0; i < past->base_count; i++) {
        troupe__snapshot_fini(&past->bases[i].snapshot);
    }
    free(past->bases);
    troupe__history_close(&past->history);
    troupe__cluster_fini(&past->cluster);
}

#define TOGETHER                                                                                                       \
    "all nodes go back together: bring copies of all their directories into one, each by its node's name, with the "   \
    "cluster file as cluster.yaml and snapshots in snapshots, and name that one"

/* Those of nodes on other machines are not to be found in the directory. */
static enum troupe_error check_nodes(const struct past *past, const char *data, char *error, size_t error_size)
{
    for (size_t i = 0; past->is_troupe && i < past->count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%.3900s/%s", data, name_of(past, i));
        if (access(path, F_OK) != 0) {
            snprintf(error, error_size, "node %s of %.100s/cluster.yaml is not in that directory. " TOGETHER,
                     name_of(past, i), data);
            return TROUPE_ENOTFOUND;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error check_alone(const struct past *past, const char *data, char *error, size_t error_size)
{
    if (past->is_troupe || !past->history.nodes[0].of_troupe) {
        return TROUPE_OK;
    }
    snprintf(error, error_size, "%.150s is the directory of one node of a troupe. " TOGETHER, data);
    return TROUPE_EINVAL;
}

static enum troupe_error open_histories(struct past *past, const char *data, char *error, size_t error_size)
{
    char **directories = calloc(past->count, sizeof *directories);
    enum troupe_error result = directories ? TROUPE_OK : TROUPE_ENOMEM;
    for (size_t i = 0; i < past->count && result == TROUPE_OK; i++) {
        directories[i] = malloc(PATH_MAX);
        if (directories[i]) {
            snprintf(directories[i], PATH_MAX, "%.3900s%s%s", data, past->is_troupe ? "/" : "",
                     past->is_troupe ? name_of(past, i) : "");
        } else {
            result = TROUPE_ENOMEM;
        }
    }
    if (result == TROUPE_OK) {
        result = troupe__history_open((const char *const *)directories, past->count, &past->history, error, error_size);
    } else {
        snprintf(error, error_size, "out of memory");
    }
    for (size_t i = 0; directories && i < past->count; i++) {
        free(directories[i]);
    }
    free(directories);
    return result;
}

static enum troupe_error past_open(const char *data, struct troupe__progress *progress, struct past *ret, char *error,
                                   size_t error_size)
{
    struct past past = {.is_troupe = troupe__local_is_troupe(data), .count = 1};
    past.history = (struct troupe__history){.progress = show_progress, .progress_context = progress};
    enum troupe_error result = troupe__directory_check(data, error, error_size);
    if (result == TROUPE_OK && past.is_troupe) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%.4000s/cluster.yaml", data);
        result = troupe__cluster_file_read(path, &past.cluster, error, error_size);
        past.count = past.cluster.slots.node_count;
    }
    result = result == TROUPE_OK ? check_nodes(&past, data, error, error_size) : result;
    result = result == TROUPE_OK ? open_histories(&past, data, error, error_size) : result;
    result = result == TROUPE_OK ? check_alone(&past, data, error, error_size) : result;
    result = result == TROUPE_OK ? read_bases(&past, data, error, error_size) : result;
    if (result != TROUPE_OK) {
        past_close(&past);
        return result;
    }
    *ret = past;
    return TROUPE_OK;
}

/* What the cut can be made from: the youngest snapshot that is not younger, else nothing at all, with NULL. */
static bool find_base(const struct past *past, uint64_t colour, const struct base **ret)
{
    for (size_t i = past->base_count; i > 0; i--) {
        if (troupe__rewind_fits(&past->history, colour, &past->bases[i - 1].snapshot)) {
            *ret = &past->bases[i - 1];
            return true;
        }
    }
    *ret = NULL;
    return troupe__rewind_fits(&past->history, colour, NULL);
}

static bool differs(const struct past *past, uint64_t colour, uint64_t before)
{
    bool different = before == 0;
    for (size_t i = 0; i < past->count; i++) {
        different = different || troupe__history_epoch(&past->history, i, colour) !=
                                     troupe__history_epoch(&past->history, i, before);
    }
    return different;
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void print_cut(const struct past *past, uint64_t colour, const struct base *base, bool json, bool first,
                      FILE *to)
{
    char when[40];
    time_text(troupe__history_time(&past->history, colour), when);
    if (json) {
        fprintf(to,
                "%s{\"time\":\"%s\",\"time_ms\":%" PRId64 ",\"generation\":%" PRIu64 ",\"from\":\"%s\",\"epochs\":{",
                first ? "" : ",", when, troupe__history_time(&past->history, colour),
                past->is_troupe ? past->cluster.slots.generation : 0, base ? base->snapshot.name : "");
    } else {
        fprintf(to, "%s\tgeneration %" PRIu64 "\tfrom %s", when, past->is_troupe ? past->cluster.slots.generation : 0,
                base ? base->snapshot.name : "the beginning");
    }
    for (size_t i = 0; i < past->count; i++) {
        fprintf(to, json ? "%s\"%s\":%" PRIu64 : "%s%s %" PRIu64, json ? (i ? "," : "") : "\t", name_of(past, i),
                troupe__history_epoch(&past->history, i, colour));
    }
    fputs(json ? "}}" : "\n", to);
}

enum troupe_error troupe__cuts_list(const char *data, bool json, FILE *to, char *error, size_t error_size)
{
    struct past past;
    struct troupe__progress progress = {.command = "snapshot cuts"};
    enum troupe_error result = past_open(data, &progress, &past, error, error_size);
    troupe__progress_end(&progress);
    if (result != TROUPE_OK) {
        return result;
    }
    bool first = true;
    fputs(json ? "[" : "", to);
    for (uint64_t colour = 0, before = 0; (colour = troupe__history_next(&past.history, colour)) != 0;) {
        const struct base *base;
        if (differs(&past, colour, before) && find_base(&past, colour, &base)) {
            print_cut(&past, colour, base, json, first, to);
            first = false;
        }
        before = colour;
    }
    fputs(json ? "]\n" : "", to);
    past_close(&past);
    return TROUPE_OK;
}

static enum troupe_error fill_snapshot(const struct past *past, uint64_t colour, struct troupe__snapshot *ret,
                                       char *error, size_t error_size)
{
    *ret = (struct troupe__snapshot){.taken_ms = troupe__history_time(&past->history, colour),
                                     .part_count = past->count,
                                     .is_troupe = past->is_troupe,
                                     .slots = past->cluster.slots};
    if (!(ret->parts = calloc(past->count, sizeof *ret->parts))) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < past->count; i++) {
        snprintf(ret->parts[i].node, sizeof ret->parts[i].node, "%s", name_of(past, i));
        ret->parts[i].number = i;
    }
    return TROUPE_OK;
}

/* Says what there is instead. */
static enum troupe_error no_cut(const struct past *past, int64_t time_ms, char *error, size_t error_size)
{
    uint64_t first = 0, last = 0;
    const struct base *base;
    char when[40], from[40], to[40];
    for (uint64_t colour = 0; (colour = troupe__history_next(&past->history, colour)) != 0;) {
        bool good = find_base(past, colour, &base);
        first = good && first == 0 ? colour : first;
        last = good ? colour : last;
    }
    time_text(time_ms, when);
    time_text(first ? troupe__history_time(&past->history, first) : 0, from);
    time_text(last ? troupe__history_time(&past->history, last) : 0, to);
    if (first == 0 && past->foreign_count > 0) {
        snprintf(
            error, error_size,
            "there is no cut to go back to: of the snapshots in the directory %zu were changed, or taken before the "
            "directory was put back, so that the journals do not go on from them",
            past->foreign_count);
    } else if (first == 0) {
        snprintf(error, error_size,
                 "there is no cut to go back to: that needs a snapshot in the directory and journals kept since it "
                 "(troupe run --keep-journal)");
    } else {
        snprintf(error, error_size, "there is no cut at or before %s: they go from %s to %s", when, from, to);
    }
    return TROUPE_ENOTFOUND;
}

enum troupe_error troupe__cuts_rewind(const char *data, int64_t time_ms, const char *target, char *error,
                                      size_t error_size)
{
    struct past past;
    struct troupe__snapshot snapshot;
    struct troupe__progress progress = {.command = "restore"};
    enum troupe_error result = past_open(data, &progress, &past, error, error_size);
    if (result != TROUPE_OK) {
        troupe__progress_end(&progress);
        return result;
    }
    uint64_t found = 0;
    const struct base *base, *of = NULL;
    for (uint64_t colour = 0; (colour = troupe__history_next(&past.history, colour)) != 0;) {
        if (troupe__history_time(&past.history, colour) <= time_ms && find_base(&past, colour, &base)) {
            found = colour;
            of = base;
        }
    }
    result =
        found ? fill_snapshot(&past, found, &snapshot, error, error_size) : no_cut(&past, time_ms, error, error_size);
    if (result == TROUPE_OK) {
        const char *slash = strrchr(target, '/');
        snprintf(snapshot.name, sizeof snapshot.name, "%.60s", slash ? slash + 1 : target);
        result = troupe__rewind_make(&past.history, found, of ? of->path : NULL, of ? &of->snapshot : NULL, target,
                                     &snapshot, error, error_size);
        troupe__snapshot_fini(&snapshot);
    }
    troupe__progress_end(&progress);
    past_close(&past);
    return result;
}
