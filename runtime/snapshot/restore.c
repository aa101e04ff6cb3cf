/* restore.c - the directories of new nodes made from a snapshot: of as many nodes as were photographed, or others.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/files.h"
#include "state/load.h"

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static enum troupe_error out_of_memory(char *error, size_t error_size)
{
    snprintf(error, error_size, "out of memory");
    return TROUPE_ENOMEM;
}

/* DATA need not exist, but what it is in. */
static enum troupe_error resolve(const char *data, char path[static PATH_MAX], char *error, size_t error_size)
{
    char parent[PATH_MAX], real[PATH_MAX];
    size_t size = strlen(data);
    while (size > 1 && data[size - 1] == '/') {
        size--;
    }
    size_t name = size;
    while (name > 0 && data[name - 1] != '/') {
        name--;
    }
    if (size == 0 || size >= PATH_MAX || name == size || strncmp(data + name, ".", size - name) == 0 ||
        (size - name == 2 && strncmp(data + name, "..", 2) == 0)) {
        snprintf(error, error_size, "'%.100s' cannot be the name of a new directory", data);
        return TROUPE_EINVAL;
    }
    snprintf(parent, sizeof parent, "%.*s", name > 0 ? (int)name : 1, name > 0 ? data : ".");
    if (!realpath(parent, real)) {
        return troupe__files_fail("find", parent, error, error_size);
    }
    if ((size_t)snprintf(path, PATH_MAX, "%s/%.*s", real[1] ? real : "", (int)(size - name), data + name) >= PATH_MAX) {
        snprintf(error, error_size, "the path %.100s... is too long", data);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

/* By errno: what stands where the directory is to be, or another failure to do `what` with it. */
static enum troupe_error not_free(const char *what, const char *path, const char *data, char *error, size_t error_size)
{
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
        snprintf(error, error_size, "%s exists already: name a new directory, or move it away", data);
        return TROUPE_EBUSY;
    }
    return troupe__files_fail(what, path, error, error_size);
}

/* rmdir removes an empty directory only: then it is made anew under its name. */
static enum troupe_error check_free(const char *data, char *error, size_t error_size)
{
    return rmdir(data) == 0 || errno == ENOENT ? TROUPE_OK : not_free("use", data, data, error, error_size);
}

enum troupe_error troupe__restore_begin(const char *data, struct troupe__restore *ret, char *error, size_t error_size)
{
    struct troupe__restore restore = {.lock_fd = -1};
    enum troupe_error result = resolve(data, restore.data, error, error_size);
    result = result == TROUPE_OK ? check_free(restore.data, error, error_size) : result;
    result = result == TROUPE_OK ? troupe__files_join(restore.fresh, restore.data, "", ".restoring", error, error_size)
                                 : result;
    result = result == TROUPE_OK ? troupe__files_claim(restore.fresh, &restore.lock_fd, error, error_size) : result;
    if (result == TROUPE_OK) {
        *ret = restore;
    }
    return result;
}

enum troupe_error troupe__restore_end(struct troupe__restore *restore, enum troupe_error result, char *error,
                                      size_t error_size)
{
    char parent[PATH_MAX], unused[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", restore->data);
    *strrchr(parent, '/') = '\0';
    result = result == TROUPE_OK ? troupe__files_sync(restore->fresh, error, error_size) : result;
    if (result == TROUPE_OK && rename(restore->fresh, restore->data)) {
        result = not_free("rename", restore->fresh, restore->data, error, error_size);
    } else if (result == TROUPE_OK) {
        result = troupe__files_sync(parent[0] ? parent : "/", error, error_size);
        if (result != TROUPE_OK) {
            troupe__files_remove(restore->data, unused, sizeof unused); /* It might be gone after a crash. */
        }
    }
    if (result != TROUPE_OK) {
        troupe__files_remove(restore->fresh, unused, sizeof unused);
    }
    close(restore->lock_fd);
    return result;
}

/* ---- each node gets its part ------------------------------------------------------------------------------------- */

static void count_row(struct troupe__restore *restore)
{
    if (++restore->rows % 4096 == 0 && restore->progress) {
        restore->progress(restore->progress_context, restore->rows);
    }
}

/* What is made of what. */
struct task {
    struct troupe__restore *restore;
    const char *directory; /* of the snapshot */
    const struct troupe__snapshot *snapshot;
    const struct troupe__cluster *cluster; /* NULL: one node that is alone */
    char *error;
    size_t error_size;
};

struct copy {
    const struct task *task;
    struct troupe__load *load;
};

static enum troupe_error copy_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    const struct copy *copy = context;
    count_row(copy->task->restore);
    return troupe__load_row(copy->load, table, key, value, copy->task->error, copy->task->error_size);
}

static enum troupe_error begin_load(const struct task *task, uint64_t node, struct troupe__load **ret)
{
    char path[PATH_MAX];
    const char *name = task->cluster ? task->cluster->nodes[node].name : "";
    enum troupe_error result = troupe__files_join(path, task->restore->fresh, name, "", task->error, task->error_size);
    return result == TROUPE_OK ? troupe__load_begin(path, ret, task->error, task->error_size) : result;
}

static enum troupe_error copy_nodes(const struct task *task)
{
    const struct troupe__slots *slots = task->cluster ? &task->cluster->slots : NULL;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < task->snapshot->part_count && result == TROUPE_OK; i++) {
        const struct troupe__snapshot_part *part = &task->snapshot->parts[i];
        struct copy copy = {task, NULL};
        result = begin_load(task, part->number, &copy.load);
        if (result == TROUPE_OK) {
            result = troupe__snapshot_copy_part(task->directory, part, slots ? &slots->cluster : NULL,
                                                slots ? slots->generation : 0, copy_row, &copy, task->error,
                                                task->error_size);
            result =
                result == TROUPE_OK ? troupe__load_end(copy.load, part->epoch, task->error, task->error_size) : result;
            troupe__load_free(copy.load);
        }
    }
    return result;
}

/* ---- the parts are dealt out anew -------------------------------------------------------------------------------- */

struct part_source {
    struct troupe__recast_source base;
    struct troupe__restore *restore;
    struct troupe__snapshot_rows *rows;
};

struct stores {
    struct troupe__recast_sink base;
    struct troupe__load **loads; /* by the number of the node */
};

static enum troupe_error next_row(struct troupe__recast_source *source, enum troupe__table *ret_table,
                                  struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                  size_t error_size)
{
    struct part_source *part = (struct part_source *)source;
    count_row(part->restore);
    return troupe__snapshot_next_row(part->rows, ret_table, ret_key, ret_value, error, error_size);
}

static enum troupe_error set_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                 struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size)
{
    return troupe__load_row(((struct stores *)sink)->loads[node], table, key, value, error, error_size);
}

static enum troupe_error find_row(struct troupe__recast_sink *sink, uint16_t node, enum troupe__table table,
                                  struct troupe_bytes key, bool remove, char *error, size_t error_size)
{
    return troupe__load_find(((struct stores *)sink)->loads[node], table, key, remove, error, error_size);
}

/* Who carries on whose numbers: by name; if no name is known, and of a node that was or will be alone, by number. */
static void choose_heirs(const struct troupe__snapshot *snapshot, const struct troupe__cluster *cluster,
                         uint16_t node_count, uint16_t *heirs, uint16_t *predecessors)
{
    bool by_name = false;
    for (uint16_t node = 0; node < node_count; node++) {
        predecessors[node] = TROUPE__RECAST_NOBODY;
        for (size_t i = 0; cluster && snapshot->is_troupe && i < snapshot->part_count; i++) {
            if (strcmp(snapshot->parts[i].node, cluster->nodes[node].name) == 0) {
                predecessors[node] = (uint16_t)snapshot->parts[i].number;
                by_name = true;
            }
        }
    }
    for (uint16_t node = 0; node < node_count && !by_name; node++) {
        predecessors[node] = node < snapshot->part_count ? node : TROUPE__RECAST_NOBODY;
    }
    for (uint16_t old = 0; old < snapshot->part_count; old++) {
        heirs[old] = (uint16_t)(old % node_count);
        for (uint16_t node = 0; node < node_count; node++) {
            heirs[old] = predecessors[node] == old ? node : heirs[old];
        }
    }
}

struct dealing {
    struct part_source *parts;
    struct troupe__recast_source **sources;
    uint64_t *released;
    uint16_t *heirs, *predecessors;
    struct stores stores;
};

/* `*ret_epoch` is the last one of all parts. */
static enum troupe_error open_parts(const struct task *task, struct dealing *dealing, uint64_t *ret_epoch)
{
    enum troupe_error result = TROUPE_OK;
    *ret_epoch = 0;
    for (size_t i = 0; i < task->snapshot->part_count && result == TROUPE_OK; i++) {
        const struct troupe__snapshot_part *part = &task->snapshot->parts[i];
        struct part_source *source = &dealing->parts[part->number];
        source->base.next = next_row;
        source->restore = task->restore;
        dealing->sources[part->number] = &source->base;
        dealing->released[part->number] = part->released;
        *ret_epoch = part->epoch > *ret_epoch ? part->epoch : *ret_epoch;
        result = troupe__snapshot_open_part(task->directory, part, &source->rows, task->error, task->error_size);
    }
    return result;
}

static enum troupe_error deal(const struct task *task, struct dealing *dealing, const struct troupe__slots *slots,
                              struct troupe__recast_counts *ret)
{
    uint64_t epoch;
    struct troupe__recast_options options = {.sources = dealing->sources,
                                             .source_count = (uint16_t)task->snapshot->part_count,
                                             .released = dealing->released,
                                             .heirs = dealing->heirs,
                                             .slots = slots,
                                             .predecessors = dealing->predecessors,
                                             .alone = !task->cluster,
                                             .sink = &dealing->stores.base};
    struct troupe__load **loads = dealing->stores.loads;
    choose_heirs(task->snapshot, task->cluster, slots->node_count, dealing->heirs, dealing->predecessors);
    enum troupe_error result = open_parts(task, dealing, &epoch);
    for (uint16_t node = 0; node < slots->node_count && result == TROUPE_OK; node++) {
        result = begin_load(task, node, &loads[node]);
    }
    result = result == TROUPE_OK ? troupe__recast(&options, ret, task->error, task->error_size) : result;
    for (uint16_t node = 0; node < slots->node_count && result == TROUPE_OK; node++) {
        result = troupe__load_end(loads[node], epoch, task->error, task->error_size);
    }
    return result;
}

static enum troupe_error deal_out(const struct task *task, struct troupe__recast_counts *ret)
{
    struct troupe__slots one;
    troupe__slots_spread(&one, 0, 0, 1);
    const struct troupe__slots *slots = task->cluster ? &task->cluster->slots : &one;
    size_t part_count = task->snapshot->part_count;
    struct dealing dealing = {
        .parts = calloc(part_count, sizeof *dealing.parts),
        .sources = calloc(part_count, sizeof(struct troupe__recast_source *)),
        .released = calloc(part_count, sizeof *dealing.released),
        .heirs = calloc(part_count, sizeof *dealing.heirs),
        .predecessors = calloc(slots->node_count, sizeof *dealing.predecessors),
        .stores = {{set_row, find_row}, calloc(slots->node_count, sizeof(struct troupe__load *))}};
    enum troupe_error result = dealing.parts && dealing.sources && dealing.released && dealing.heirs &&
                                       dealing.predecessors && dealing.stores.loads
                                   ? deal(task, &dealing, slots, ret)
                                   : out_of_memory(task->error, task->error_size);
    for (size_t i = 0; dealing.parts && i < part_count; i++) {
        troupe__snapshot_close_part(dealing.parts[i].rows);
    }
    for (uint16_t node = 0; dealing.stores.loads && node < slots->node_count; node++) {
        troupe__load_free(dealing.stores.loads[node]);
    }
    free(dealing.parts);
    free(dealing.sources);
    free(dealing.released);
    free(dealing.heirs);
    free(dealing.predecessors);
    free(dealing.stores.loads);
    return result;
}

enum troupe_error troupe__restore_nodes(struct troupe__restore *restore, const char *directory,
                                        const struct troupe__snapshot *snapshot, const struct troupe__cluster *cluster,
                                        struct troupe__recast_counts *ret, char *error, size_t error_size)
{
    *ret = (struct troupe__recast_counts){0};
    enum troupe_error result =
        snapshot->is_troupe ? troupe__snapshot_check_cut(directory, snapshot, error, error_size) : TROUPE_OK;
    if (result != TROUPE_OK) {
        return result;
    }
    bool same = snapshot->is_troupe
                    ? cluster && cluster->slots.node_count == snapshot->slots.node_count &&
                          memcmp(cluster->slots.owner, snapshot->slots.owner, sizeof cluster->slots.owner) == 0
                    : !cluster;
    const struct task task = {restore, directory, snapshot, cluster, error, error_size};
    return same ? copy_nodes(&task) : deal_out(&task, ret);
}
