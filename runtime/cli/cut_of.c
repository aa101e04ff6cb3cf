/* cut_of.c - the cut that a word of the command line means: a snapshot, or the directory of what does not run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/cut_of.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"
#include "runtime/cli/local.h"

void troupe__cut_of_path(const char *data, const char *name, char path[static PATH_MAX])
{
    if (strchr(name, '/')) {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        snprintf(path, PATH_MAX, "%s/snapshots/%s", data, name);
    }
}

static bool has(const char *directory, const char *name)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) < sizeof path && access(path, F_OK) == 0;
}

static enum troupe_error of_snapshot(struct troupe__cut *cut, const char *path)
{
    struct troupe__snapshot snapshot;
    enum troupe_error result = troupe__snapshot_read(path, &snapshot, cut->error, sizeof cut->error);
    if (result == TROUPE_OK) {
        result = troupe__cut_add_snapshot(cut, path, &snapshot);
        troupe__snapshot_fini(&snapshot);
    }
    return result;
}

static enum troupe_error of_troupe(struct troupe__cut *cut, const char *path)
{
    struct troupe__cluster cluster = {.nodes = NULL};
    char file[PATH_MAX];
    if ((size_t)snprintf(file, sizeof file, "%s/cluster.yaml", path) >= sizeof file) {
        snprintf(cut->error, sizeof cut->error, "the path is too long");
        return TROUPE_EINVAL;
    }
    enum troupe_error result = troupe__cluster_file_read(file, &cluster, cut->error, sizeof cut->error);
    for (size_t i = 0; i < cluster.slots.node_count && result == TROUPE_OK; i++) {
        if ((size_t)snprintf(file, sizeof file, "%s/%s", path, cluster.nodes[i].name) >= sizeof file) {
            snprintf(cut->error, sizeof cut->error, "the path is too long");
            result = TROUPE_EINVAL;
        } else {
            result = troupe__cut_add_directory(cut, cluster.nodes[i].name, i, file);
        }
    }
    troupe__cluster_fini(&cluster);
    return result;
}

enum troupe_error troupe__cut_of(const char *data, const char *name, struct troupe__progress_rows *shown,
                                 struct troupe__cut *ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__cut cut = {.progress = shown ? troupe__progress_rows : NULL, .progress_context = shown};
    enum troupe_error result;
    if (shown) {
        shown->what = "reading";
        shown->all = 0;
    }
    troupe__cut_of_path(data, name, path);
    if (!has(path, "manifest") && has(name, "tables.mdb")) {
        result = troupe__cut_add_directory(&cut, "node", 0, name);
    } else if (!has(path, "manifest") && troupe__local_is_troupe(name)) {
        result = of_troupe(&cut, name);
    } else {
        result = of_snapshot(&cut, path);
    }
    result = result == TROUPE_OK ? troupe__cut_ready(&cut) : result;
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", cut.error);
        troupe__cut_fini(&cut);
        if (shown) {
            troupe__progress_end(&shown->progress);
        }
        return result;
    }
    if (shown) {
        shown->all = troupe__cut_rows(&cut, (1u << TROUPE__TABLE_COUNT) - 1);
    }
    *ret = cut;
    return TROUPE_OK;
}
