/* restore.c - the command `troupe restore`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/restore.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/client.h"
#include "runtime/cli/cluster_file.h"
#include "runtime/cli/cuts.h"
#include "runtime/cli/local.h"
#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/source.h"
#include "runtime/snapshot/restore.h"

struct options {
    const char *data, *cluster, *from;
    int64_t at_ms;
    bool at;
    unsigned long nodes; /* 0: as many as were photographed */
};

static const char *set_data(void *target, const char *value)
{
    ((struct options *)target)->data = value;
    return NULL;
}

static const char *set_nodes(void *target, const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    ((struct options *)target)->nodes = number;
    return *value >= '1' && *value <= '9' && !*end && number <= TROUPE__NODES_MAX ? NULL : "a number from 1 to 1024";
}

static const char *set_cluster(void *target, const char *value)
{
    ((struct options *)target)->cluster = value;
    return NULL;
}

static const char *set_at(void *target, const char *value)
{
    struct options *options = target;
    options->at = true;
    return troupe__cuts_time(value, (int64_t)time(NULL) * 1000, &options->at_ms)
               ? NULL
               : "a time as 2026-11-25T23:11:05Z, or -90s, -10m, -2h, -1d: so long ago";
}

static const char *set_from(void *target, const char *value)
{
    ((struct options *)target)->from = value;
    return NULL;
}

/* The cluster of a file must not be taken for the one that was photographed, of which nodes may still run. */
static enum troupe_error check_generation(const struct troupe__snapshot *snapshot,
                                          const struct troupe__cluster *cluster, const char *path, char *error,
                                          size_t error_size)
{
    if (!snapshot->is_troupe || cluster->slots.cluster != snapshot->slots.cluster ||
        cluster->slots.generation > snapshot->slots.generation) {
        return TROUPE_OK;
    }
    snprintf(error, error_size,
             "%.300s says generation %" PRIu64 ", the snapshot is of generation %" PRIu64
             ": write a greater one into it, so that nodes of before are refused",
             path, cluster->slots.generation, snapshot->slots.generation);
    return TROUPE_EINVAL;
}

/* What is to be made: `*ret_alone` one node that belongs to no troupe, else the nodes of `*ret`. */
static enum troupe_error plan(const struct options *options, const struct troupe__snapshot *snapshot,
                              const char *absolute, bool *ret_alone, struct troupe__cluster *ret, char *error,
                              size_t error_size)
{
    const struct troupe__slots *slots = snapshot->is_troupe ? &snapshot->slots : NULL;
    *ret_alone = false;
    if (options->cluster) {
        enum troupe_error result = troupe__cluster_file_read(options->cluster, ret, error, error_size);
        return result == TROUPE_OK ? check_generation(snapshot, ret, options->cluster, error, error_size) : result;
    }
    if (options->nodes == 1 || (options->nodes == 0 && !snapshot->is_troupe)) {
        *ret_alone = true;
        return TROUPE_OK;
    }
    uint16_t nodes = options->nodes > 0 ? (uint16_t)options->nodes : slots->node_count;
    return troupe__local_plan(absolute, nodes, slots, ret, error, error_size);
}

static void say_done(const struct options *options, const struct troupe__snapshot *snapshot, bool alone,
                     const struct troupe__cluster *cluster, const struct troupe__recast_counts *counts)
{
    unsigned nodes = alone ? 1 : cluster->slots.node_count;
    printf("%s: %s restored to %u node%s", options->data, snapshot->name, nodes, nodes == 1 ? "" : "s");
    if (counts->waited + counts->flew + counts->late > 0) {
        printf(" from %zu, %" PRIu64 " messages waiting, %" PRIu64 " of them in flight before", snapshot->part_count,
               counts->waited + counts->flew, counts->flew);
    }
    if (options->cluster) {
        printf("; bring %s/NODE to the machine of each node\n", options->data);
    } else if (alone) {
        printf("; go on: troupe run MODULE.so --data %s\n", options->data);
    } else {
        printf("; go on: troupe run MODULE.so --nodes %u --data %s\n", nodes, options->data);
    }
}

static enum troupe_error restore(const struct options *options, const char *directory, char *error, size_t error_size)
{
    struct troupe__snapshot snapshot;
    struct troupe__restore restore;
    struct troupe__cluster cluster = {.nodes = NULL};
    struct troupe__recast_counts counts;
    bool alone;
    enum troupe_error result = troupe__snapshot_read(directory, &snapshot, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if (troupe__node_runs(options->data)) {
        snprintf(error, error_size, "a node runs on %.300s: name a new directory", options->data);
        result = TROUPE_EBUSY;
    }
    result = result == TROUPE_OK ? troupe__restore_begin(options->data, &restore, error, error_size) : result;
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    struct troupe__progress_rows shown = {{.command = "restore"}, "writing", troupe__snapshot_row_count(&snapshot)};
    restore.progress = troupe__progress_rows;
    restore.progress_context = &shown;
    result = plan(options, &snapshot, restore.data, &alone, &cluster, error, error_size);
    if (result == TROUPE_OK) {
        result =
            troupe__restore_nodes(&restore, directory, &snapshot, alone ? NULL : &cluster, &counts, error, error_size);
    }
    if (result == TROUPE_OK && !alone && !options->cluster) {
        result = troupe__local_write(restore.fresh, &cluster, error, error_size);
    }
    troupe__progress_end(&shown.progress);
    result = troupe__restore_end(&restore, result, error, error_size);
    if (result == TROUPE_OK) {
        say_done(options, &snapshot, alone, &cluster, &counts);
    }
    troupe__cluster_fini(&cluster);
    troupe__snapshot_fini(&snapshot);
    return result;
}

/* From a directory, a stream, or a moment of the past. */
static enum troupe_error restore_from(const struct options *options, const char *operand, char *error,
                                      size_t error_size)
{
    char scratch[PATH_MAX];
    struct troupe__source source;
    if ((size_t)snprintf(scratch, sizeof scratch, "%s.cut", options->data) >= sizeof scratch) {
        snprintf(error, error_size, "the path is too long");
        return TROUPE_EINVAL;
    }
    enum troupe_error result =
        options->at ? troupe__source_rewind(options->from, options->at_ms, scratch, &source, error, error_size)
                    : troupe__source_open("restore", operand, scratch, &source, error, error_size);
    if (result == TROUPE_OK) {
        result = restore(options, source.path, error, error_size);
        troupe__source_close(&source);
    }
    return result;
}

int troupe__restore(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"data", "DIR", set_data, "the new directory (default: troupe-data)"},
        {"nodes", "N", set_nodes,
         "make N nodes of what was photographed, for troupe run --nodes N;\n1: one that is alone (default: as many as "
         "there were)"},
        {"cluster", "FILE", set_cluster,
         "make the nodes of this cluster file, DIR/NODE each, to be brought to\ntheir machines"},
        {"at", "TIME", set_at, "go back to the last cut at or before TIME: 2026-11-25T23:11:05Z, or -10m; ..."},
        {"from", "DIR", set_from,
         "... of the node or troupe in this directory, with --keep-journal; of\nnodes on several machines bring copies "
         "together there, DIR/NODE each"},
        {0},
    };
    struct options options = {.data = "troupe-data"};
    const struct troupe__command command = {
        .name = "restore",
        .usage =
            "usage: troupe restore SNAPSHOT [--data DIR] [--nodes N | --cluster FILE]\n"
            "       troupe restore --at TIME --from DIR [--data DIR] [--nodes N | --cluster FILE]\n\n"
            "Makes the directory of a node or of a troupe, of as many nodes or of others, from a snapshot (a\n"
            "path). It must not exist, or be empty. What waited or flew in the snapshot is delivered once; inputs\n"
            "go on at their positions; records that came out after it come again, at the end of the output that\n"
            "the next run names. Old nodes that still run are refused.\n",
        .after = "Exit codes: 0 done, 1 failed (nothing is left then), 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (options.at != (options.from != NULL)) {
        return troupe__wrong("restore", "--at TIME and --from DIR belong together; there is only",
                             options.at ? "--at" : "--from");
    }
    if (options.at && operand < argc) {
        return troupe__wrong("restore", "with --at leave out", argv[operand]);
    }
    if (!options.at && argc - operand != 1) {
        return troupe__wrong_operands("restore", "name a snapshot by its path, or -, or a time with --at and --from",
                                      argv + operand, argc - operand, 1);
    }
    if (options.nodes > 0 && options.cluster) {
        return troupe__wrong("restore", "say --nodes or --cluster, not both;", options.cluster);
    }
    char error[512];
    enum troupe_error result = restore_from(&options, argv[operand], error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed("restore", error, result);
    }
    return EXIT_SUCCESS;
}
