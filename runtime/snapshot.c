/* snapshot.c - snapshots as directories of parts with a manifest: how they are written, read, checked and put back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Manifest: a stream with the head {"what":"manifest"} and rows of table meta: "snapshot" -> msgpack map of name,
 * taken_ms and took_ms; "part/NODE" -> msgpack map of epoch, chain, blocks, row_bytes and rows (bin: a varint per
 * table). Head of a part: {"what":"part","node":NODE,"epoch":EPOCH}. */
#include "runtime/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/links.h"
#include "state/lmdb_store.h"

enum { RECORD_SIZE = 4 << 20 }; /* of the epochs that a restored node is made of */

static const char manifest_name[] = "manifest", own_prefix[] = "troupe.", part_prefix[] = "part/",
                  cluster_name[] = "cluster";

static enum troupe_error fail_errno(const char *what, const char *path, char *error, size_t error_size)
{
    int code = errno;
    snprintf(error, error_size, "%s %s: %s", what, path, strerror(code));
    return code == ENOSPC || code == EDQUOT ? TROUPE_ENOSPACE : code == ENOENT ? TROUPE_ENOTFOUND : TROUPE_EIO;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void troupe__snapshot_fini(struct troupe__snapshot *snapshot)
{
    free(snapshot->parts);
    *snapshot = (struct troupe__snapshot){0};
}

bool troupe__snapshot_name_valid(const char *name)
{
    size_t size = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
    return size > 0 && size <= TROUPE__SNAPSHOT_NAME_MAX && name[size] == '\0' && name[0] != '.';
}

static enum troupe_error join(char path[static PATH_MAX], const char *directory, const char *name, const char *suffix,
                              char *error, size_t error_size)
{
    if ((size_t)snprintf(path, PATH_MAX, "%s%s%s%s", directory, name[0] ? "/" : "", name, suffix) >= PATH_MAX) {
        snprintf(error, error_size, "the path %.100s... is too long", directory);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

static enum troupe_error part_path(char path[static PATH_MAX], const char *directory, const char *node, char *error,
                                   size_t error_size)
{
    char file[TROUPE__SNAPSHOT_NAME_MAX + 16];
    snprintf(file, sizeof file, "node-%s", node);
    return join(path, directory, file, ".part", error, error_size);
}

static enum troupe_error sync_directory(const char *path, char *error, size_t error_size)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd)) {
        enum troupe_error result = fail_errno("sync", path, error, error_size);
        if (fd >= 0) {
            close(fd);
        }
        return result;
    }
    close(fd);
    return TROUPE_OK;
}

/* Append by a format of troupe_pack; sizes and formats are ours. */
static void put(struct troupe__buffer *buffer, const char *format, ...)
{
    va_list args;
    char text[160];
    va_start(args, format);
    if (troupe__pack(buffer, format, &args, text, sizeof text) != TROUPE_OK) {
        buffer->failed = true;
    }
    va_end(args);
}

/* Strings are copied into `text`, one behind the other. */
struct taken {
    char text[256];
    size_t size;
};

static char *copy_text(void *context, const void *data, size_t size)
{
    struct taken *taken = context;
    if (size >= sizeof taken->text - taken->size) {
        return NULL;
    }
    char *to = taken->text + taken->size;
    memcpy(to, data, size);
    to[size] = '\0';
    taken->size += size + 1;
    return to;
}

static bool take(struct taken *taken, struct troupe_bytes body, const char *format, ...)
{
    va_list args;
    char text[160];
    *taken = (struct taken){.size = 0};
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_text, taken, text, sizeof text);
    va_end(args);
    return result == TROUPE_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct copy {
    struct troupe__part_writer *writer;
    enum troupe__table table;
    char *error;
    size_t error_size;
    bool wrote_error; /* the failure was the writer's, not the store's */
};

static enum troupe_error copy_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct copy *copy = context;
    if (copy->table == TROUPE__META && key.size >= strlen(own_prefix) &&
        memcmp(key.data, own_prefix, strlen(own_prefix)) == 0) {
        return TROUPE_OK; /* The store's own. */
    }
    enum troupe_error result = troupe__part_row(copy->writer, copy->table, key, value, copy->error, copy->error_size);
    copy->wrote_error = result != TROUPE_OK;
    return result;
}

struct source {
    troupe__scan_fn scan;
    void *of;
    const char *error;
};

static enum troupe_error scan_store(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct troupe__store *store = source;
    return store->scan(store, table, prefix, row, context);
}

static enum troupe_error write_rows(int fd, struct troupe_bytes head, const struct source *source,
                                    struct troupe__part_summary *ret, char *error, size_t error_size)
{
    struct copy copy = {.error = error, .error_size = error_size};
    enum troupe_error result = troupe__part_begin(fd, head, &copy.writer, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        copy.table = (enum troupe__table)table;
        result = source->scan(source->of, copy.table, (struct troupe_bytes){"", 0}, copy_row, &copy);
    }
    if (result != TROUPE_OK && !copy.wrote_error) {
        snprintf(error, error_size, "%s", source->error);
    }
    result = result == TROUPE_OK ? troupe__part_end(copy.writer, ret, error, error_size) : result;
    troupe__part_writer_free(copy.writer);
    return result;
}

enum troupe_error troupe__snapshot_write_part(const char *directory, const char *node, uint64_t epoch,
                                              troupe__scan_fn scan, void *source, const char *source_error,
                                              struct troupe__snapshot_part *ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__buffer head = {0};
    enum troupe_error result = part_path(path, directory, node, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail_errno("create", path, error, error_size);
    }
    *ret = (struct troupe__snapshot_part){.epoch = epoch};
    snprintf(ret->node, sizeof ret->node, "%s", node);
    put(&head, "{s:s,s:s,s:u}", "what", "part", "node", node, "epoch", epoch);
    if (head.failed) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    } else {
        struct source from = {scan, source, source_error};
        result = write_rows(fd, (struct troupe_bytes){head.data, head.size}, &from, &ret->summary, error, error_size);
    }
    troupe__buffer_free(&head);
    close(fd);
    if (result != TROUPE_OK) {
        unlink(path);
    }
    return result;
}

static int compare_parts(const void *a, const void *b)
{
    const struct troupe__snapshot_part *left = a, *right = b;
    return strcmp(left->node, right->node);
}

static enum troupe_error write_cluster_row(struct troupe__part_writer *writer, const struct troupe__slots *slots,
                                           char *error, size_t error_size)
{
    unsigned char owners[2 * TROUPE__SLOTS];
    struct troupe__buffer value = {0};
    for (size_t slot = 0; slot < TROUPE__SLOTS; slot++) {
        troupe__put_be16(owners + 2 * slot, slots->owner[slot]);
    }
    put(&value, "{s:u,s:u,s:u,s:z}", "cluster", slots->cluster, "generation", slots->generation, "nodes",
        (uint64_t)slots->node_count, "slots", (struct troupe_bytes){owners, sizeof owners});
    enum troupe_error result = TROUPE_ENOMEM;
    if (value.failed) {
        snprintf(error, error_size, "out of memory");
    } else {
        result = troupe__part_row(writer, TROUPE__META, (struct troupe_bytes){cluster_name, strlen(cluster_name)},
                                  (struct troupe_bytes){value.data, value.size}, error, error_size);
    }
    troupe__buffer_free(&value);
    return result;
}

static enum troupe_error write_manifest_rows(struct troupe__part_writer *writer,
                                             const struct troupe__snapshot *snapshot, char *error, size_t error_size)
{
    struct troupe__buffer value = {0};
    enum troupe_error result =
        snapshot->is_troupe ? write_cluster_row(writer, &snapshot->slots, error, error_size) : TROUPE_OK;
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        const struct troupe__snapshot_part *part = &snapshot->parts[i];
        struct troupe__buffer rows = {0};
        char key[sizeof part_prefix + TROUPE__SNAPSHOT_NAME_MAX];
        snprintf(key, sizeof key, "%s%s", part_prefix, part->node);
        for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
            troupe__buffer_put_varint(&rows, part->summary.rows[table]);
        }
        value.size = 0;
        put(&value, "{s:u,s:u,s:u,s:u,s:u,s:z}", "number", part->number, "epoch", part->epoch, "chain",
            part->summary.chain, "blocks", part->summary.blocks, "row_bytes", part->summary.row_bytes, "rows",
            (struct troupe_bytes){rows.data, rows.size});
        if (value.failed || rows.failed) {
            snprintf(error, error_size, "out of memory");
            result = TROUPE_ENOMEM;
        } else {
            result = troupe__part_row(writer, TROUPE__META, (struct troupe_bytes){key, strlen(key)},
                                      (struct troupe_bytes){value.data, value.size}, error, error_size);
        }
        troupe__buffer_free(&rows);
    }
    value.size = 0;
    put(&value, "{s:s,s:i,s:i}", "name", snapshot->name, "taken_ms", snapshot->taken_ms, "took_ms", snapshot->took_ms);
    if (result == TROUPE_OK && value.failed) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    }
    if (result == TROUPE_OK) {
        result = troupe__part_row(writer, TROUPE__META, (struct troupe_bytes){"snapshot", 8},
                                  (struct troupe_bytes){value.data, value.size}, error, error_size);
    }
    troupe__buffer_free(&value);
    return result;
}

enum troupe_error troupe__snapshot_write_manifest(const char *directory, const struct troupe__snapshot *snapshot,
                                                  char *error, size_t error_size)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    struct troupe__part_writer *writer;
    struct troupe__part_summary summary;
    struct troupe__buffer head = {0};
    enum troupe_error result = join(path, directory, manifest_name, "", error, error_size);
    result = result == TROUPE_OK ? join(fresh, directory, manifest_name, ".new", error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    qsort(snapshot->parts, snapshot->part_count, sizeof *snapshot->parts, compare_parts);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail_errno("create", fresh, error, error_size);
    }
    put(&head, "{s:s}", "what", "manifest");
    result = troupe__part_begin(fd, (struct troupe_bytes){head.data, head.size}, &writer, error, error_size);
    troupe__buffer_free(&head);
    if (result == TROUPE_OK) {
        result = write_manifest_rows(writer, snapshot, error, error_size);
        result = result == TROUPE_OK ? troupe__part_end(writer, &summary, error, error_size) : result;
        troupe__part_writer_free(writer);
    }
    close(fd);
    if (result == TROUPE_OK && rename(fresh, path)) {
        result = fail_errno("rename", fresh, error, error_size);
    }
    if (result != TROUPE_OK) {
        unlink(fresh);
        return result;
    }
    return sync_directory(directory, error, error_size);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

/* Remove a flat directory with all files in it; what is not there is removed already. */
static enum troupe_error remove_directory(const char *path, char *error, size_t error_size)
{
    DIR *directory = opendir(path);
    if (!directory) {
        return errno == ENOENT ? TROUPE_OK : fail_errno("open", path, error, error_size);
    }
    enum troupe_error result = TROUPE_OK;
    for (struct dirent *entry; result == TROUPE_OK && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(directory), entry->d_name, 0)) {
            result = fail_errno("remove a file of", path, error, error_size);
        }
    }
    closedir(directory);
    if (result == TROUPE_OK && rmdir(path)) {
        result = fail_errno("remove", path, error, error_size);
    }
    return result;
}

enum troupe_error troupe__snapshot_remove(const char *directory, char *error, size_t error_size)
{
    char path[PATH_MAX];
    enum troupe_error result = join(path, directory, manifest_name, "", error, error_size);
    if (result == TROUPE_OK && unlink(path)) {
        result = fail_errno("this is no snapshot: remove", path, error, error_size);
    }
    result = result == TROUPE_OK ? sync_directory(directory, error, error_size) : result;
    return result == TROUPE_OK ? remove_directory(directory, error, error_size) : result;
}

/* ---- taking, of a stopped node ----------------------------------------------------------------------------------- */

static enum troupe_error open_store(const char *data, bool read_only, struct troupe__store **ret, char *error,
                                    size_t error_size)
{
    struct troupe__lmdb_options options = {.sync = true, .read_only = read_only};
    return troupe__lmdb_store_open(data, &options, ret, error, error_size);
}

static enum troupe_error count_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    (void)epoch, (void)record;
    ++*(uint64_t *)context;
    return TROUPE_OK;
}

/* Open the store of a stopped node for reading, with all of its journal in its tables. */
static enum troupe_error open_folded(const char *data, struct troupe__store **ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__store *store;
    enum troupe_error result = join(path, data, "tables.mdb", "", error, error_size);
    if (result == TROUPE_OK && access(path, F_OK)) {
        result = fail_errno("this is no node's directory:", path, error, error_size);
    }
    result = result == TROUPE_OK ? open_store(data, false, &store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = store->replay(store, NULL, NULL); /* Queued again for the tables; closing folds it. */
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->error);
    }
    store->close(store);
    result = result == TROUPE_OK ? open_store(data, true, &store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    uint64_t left = 0;
    result = store->replay(store, count_record, &left);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", store->error);
    } else if (left > 0) {
        snprintf(error, error_size, "%s: %llu epochs could not be folded into the tables: is the disk full?", data,
                 (unsigned long long)left);
        result = TROUPE_ENOSPACE;
    }
    if (result != TROUPE_OK) {
        store->close(store);
        return result;
    }
    *ret = store;
    return TROUPE_OK;
}

enum troupe_error troupe__snapshot_begin(const char *target, char *error, size_t error_size)
{
    char writing[PATH_MAX];
    enum troupe_error result = join(writing, target, "", ".writing", error, error_size);
    result = result == TROUPE_OK ? remove_directory(writing, error, error_size) : result;
    if (result == TROUPE_OK && mkdir(writing, 0700)) {
        result = fail_errno("create", writing, error, error_size);
    }
    return result;
}

enum troupe_error troupe__snapshot_end(const char *target, bool good, char *error, size_t error_size)
{
    const char *slash = strrchr(target, '/');
    char writing[PATH_MAX], parent[PATH_MAX], unused[64];
    enum troupe_error result = join(writing, target, "", ".writing", error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - target) : 1, slash ? target : ".");
    if (good && rename(writing, target)) {
        result = fail_errno("rename", writing, error, error_size);
    } else if (good) {
        result = sync_directory(parent[0] ? parent : "/", error, error_size);
    }
    if (!good || result != TROUPE_OK) {
        remove_directory(writing, unused, sizeof unused);
    }
    return result;
}

enum troupe_error troupe__snapshot_take(const char *data, const char *target, struct troupe__snapshot *ret, char *error,
                                        size_t error_size)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    char writing[PATH_MAX], unused[64];
    struct troupe__store *store;
    if (!troupe__snapshot_name_valid(name)) {
        snprintf(error, error_size, "'%.64s' cannot name a snapshot: 1 to %d letters, digits, '-', '_' and '.'", name,
                 TROUPE__SNAPSHOT_NAME_MAX);
        return TROUPE_EINVAL;
    }
    if (access(target, F_OK) == 0) {
        snprintf(error, error_size, "%s exists already: name another one", target);
        return TROUPE_EBUSY;
    }
    struct troupe__snapshot snapshot = {.taken_ms = wall_ms(), .part_count = 1};
    snprintf(snapshot.name, sizeof snapshot.name, "%s", name);
    enum troupe_error result = join(writing, target, "", ".writing", error, error_size);
    result = result == TROUPE_OK ? open_folded(data, &store, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    if (!(snapshot.parts = calloc(1, sizeof *snapshot.parts))) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    }
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, error, error_size) : result;
    bool begun = result == TROUPE_OK;
    result = begun ? troupe__snapshot_write_part(writing, "node", store->last_epoch, scan_store, store, store->error,
                                                 snapshot.parts, error, error_size)
                   : result;
    store->close(store);
    snapshot.took_ms = wall_ms() - snapshot.taken_ms;
    result = result == TROUPE_OK ? troupe__snapshot_write_manifest(writing, &snapshot, error, error_size) : result;
    if (begun) {
        bool good = result == TROUPE_OK;
        enum troupe_error ended =
            troupe__snapshot_end(target, good, good ? error : unused, good ? error_size : sizeof unused);
        result = good ? ended : result;
    }
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    *ret = snapshot;
    return TROUPE_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static enum troupe_error damaged(const char *path, const char *what, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: %s: use another snapshot", path, what);
    return TROUPE_ECORRUPT;
}

/* Open a stream of the kind `what`. */
static enum troupe_error open_stream(const char *path, const char *what, int *ret_fd,
                                     struct troupe__part_reader **ret_reader, struct troupe_bytes *ret_head,
                                     char *error, size_t error_size)
{
    struct taken taken;
    const char *is = "";
    char text[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno("open", path, error, error_size);
    }
    enum troupe_error result = troupe__part_open(fd, ret_reader, ret_head, text, sizeof text);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s: %s", path, text);
        close(fd);
        return result;
    }
    if (!take(&taken, *ret_head, "{s:s}", "what", &is) || strcmp(is, what) != 0) {
        troupe__part_reader_free(*ret_reader);
        close(fd);
        return damaged(path, "its head does not say what it should", error, error_size);
    }
    *ret_fd = fd;
    return TROUPE_OK;
}

static bool manifest_part(struct troupe__snapshot *snapshot, const char *node, size_t node_size,
                          struct troupe_bytes value)
{
    struct troupe__snapshot_part *parts =
        realloc(snapshot->parts, (snapshot->part_count + 1) * sizeof *snapshot->parts);
    if (!parts) {
        return false;
    }
    snapshot->parts = parts;
    struct troupe__snapshot_part *part = &parts[snapshot->part_count];
    struct taken taken;
    struct troupe_bytes rows = {NULL, 0};
    *part = (struct troupe__snapshot_part){0};
    snprintf(part->node, sizeof part->node, "%.*s", (int)node_size, node);
    if (node_size > TROUPE__SNAPSHOT_NAME_MAX || !troupe__snapshot_name_valid(part->node) ||
        !take(&taken, value, "{s:u,s:u,s:u,s:u,s:u,s:z}", "number", &part->number, "epoch", &part->epoch, "chain",
              &part->summary.chain, "blocks", &part->summary.blocks, "row_bytes", &part->summary.row_bytes, "rows",
              &rows)) {
        return false;
    }
    struct troupe__cursor cursor = {rows.data, (const unsigned char *)rows.data + rows.size, false};
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && cursor.at != cursor.end; table++) {
        part->summary.rows[table] = troupe__cursor_varint(&cursor);
    }
    snapshot->part_count++;
    return !cursor.failed && cursor.at == cursor.end;
}

static bool manifest_cluster(struct troupe__snapshot *snapshot, struct troupe_bytes value)
{
    struct troupe__slots *slots = &snapshot->slots;
    struct troupe_bytes owners = {NULL, 0};
    struct taken taken;
    uint64_t nodes = 0;
    if (!take(&taken, value, "{s:u,s:u,s:u,s:z}", "cluster", &slots->cluster, "generation", &slots->generation, "nodes",
              &nodes, "slots", &owners) ||
        nodes < 1 || nodes > TROUPE__NODES_MAX || owners.size != 2 * TROUPE__SLOTS) {
        return false;
    }
    const unsigned char *at = owners.data;
    for (size_t slot = 0; slot < TROUPE__SLOTS; slot++) {
        slots->owner[slot] = (uint16_t)(at[2 * slot] << 8 | at[2 * slot + 1]);
        if (slots->owner[slot] >= nodes) {
            return false;
        }
    }
    slots->node_count = (uint16_t)nodes;
    snapshot->is_troupe = true;
    return true;
}

/* A troupe has a part of each of its nodes, and no other. */
static bool is_whole(const struct troupe__snapshot *snapshot)
{
    size_t count = snapshot->is_troupe ? snapshot->slots.node_count : 1;
    for (size_t i = 0; i < snapshot->part_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (snapshot->parts[k].number == snapshot->parts[i].number) {
                return false;
            }
        }
        if (snapshot->parts[i].number >= count) {
            return false;
        }
    }
    return snapshot->part_count == count;
}

static enum troupe_error read_manifest(const char *path, struct troupe__part_reader *reader,
                                       struct troupe__snapshot *snapshot, char *error, size_t error_size)
{
    enum troupe__table table;
    struct troupe_bytes key, value;
    char text[256];
    enum troupe_error result;
    while ((result = troupe__part_next(reader, &table, &key, &value, text, sizeof text)) == TROUPE_OK) {
        const char *name = "";
        struct taken taken;
        if (key.size == 8 && memcmp(key.data, "snapshot", 8) == 0) {
            if (!take(&taken, value, "{s:s,s:i,s:i}", "name", &name, "taken_ms", &snapshot->taken_ms, "took_ms",
                      &snapshot->took_ms) ||
                !troupe__snapshot_name_valid(name)) {
                return damaged(path, "its row 'snapshot' is malformed", error, error_size);
            }
            memcpy(snapshot->name, name, strlen(name) + 1);
        } else if (key.size == strlen(cluster_name) && memcmp(key.data, cluster_name, key.size) == 0) {
            if (!manifest_cluster(snapshot, value)) {
                return damaged(path, "its row 'cluster' is malformed", error, error_size);
            }
        } else if (key.size > strlen(part_prefix) && memcmp(key.data, part_prefix, strlen(part_prefix)) == 0 &&
                   !manifest_part(snapshot, (const char *)key.data + strlen(part_prefix),
                                  key.size - strlen(part_prefix), value)) {
            return damaged(path, "its row of a part is malformed", error, error_size);
        }
    }
    if (result != TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s: %s", path, text);
        return result;
    }
    return snapshot->name[0] && is_whole(snapshot)
               ? TROUPE_OK
               : damaged(path, "it does not say what the snapshot holds", error, error_size);
}

enum troupe_error troupe__snapshot_read(const char *directory, struct troupe__snapshot *ret, char *error,
                                        size_t error_size)
{
    char path[PATH_MAX];
    int fd;
    struct troupe__part_reader *reader;
    struct troupe_bytes head;
    struct troupe__snapshot snapshot = {.part_count = 0};
    enum troupe_error result = join(path, directory, manifest_name, "", error, error_size);
    result = result == TROUPE_OK ? open_stream(path, "manifest", &fd, &reader, &head, error, error_size) : result;
    if (result == TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s is no snapshot: it has no manifest", directory);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    result = read_manifest(path, reader, &snapshot, error, error_size);
    troupe__part_reader_free(reader);
    close(fd);
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    *ret = snapshot;
    return TROUPE_OK;
}

enum troupe_error troupe__snapshot_read_part(const char *directory, const struct troupe__snapshot_part *part,
                                             troupe__snapshot_row_fn row, void *context, char *error, size_t error_size)
{
    char path[PATH_MAX], text[256];
    int fd;
    struct troupe__part_reader *reader;
    struct troupe_bytes head, key, value;
    enum troupe__table table;
    enum troupe_error result = part_path(path, directory, part->node, error, error_size);
    result = result == TROUPE_OK ? open_stream(path, "part", &fd, &reader, &head, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    struct taken taken;
    const char *node = "";
    uint64_t epoch = 0;
    if (!take(&taken, head, "{s:s,s:u}", "node", &node, "epoch", &epoch) || strcmp(node, part->node) != 0 ||
        epoch != part->epoch) {
        result = damaged(path, "it is not the part that the manifest means", error, error_size);
    }
    bool row_failed = false;
    while (result == TROUPE_OK) {
        result = troupe__part_next(reader, &table, &key, &value, text, sizeof text);
        if (result == TROUPE_OK && row) {
            result = row(context, table, key, value);
            row_failed = result != TROUPE_OK;
        } else if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
            snprintf(error, error_size, "%s: %s", path, text);
        }
    }
    if (result == TROUPE_ENOTFOUND && !row_failed) {
        bool same = memcmp(troupe__part_summary(reader), &part->summary, sizeof part->summary) == 0;
        result = same ? TROUPE_OK : damaged(path, "it does not hold what the manifest says", error, error_size);
    }
    troupe__part_reader_free(reader);
    close(fd);
    return result;
}

/* ---- the cut ----------------------------------------------------------------------------------------------------- */

/* What the parts say of their links. */
struct cut {
    struct troupe__link_row *links; /* count * count, by node and peer */
    size_t count, node;
    bool malformed;
};

/* Rows of META "link/PEER" (runtime/links.h); META stands first, so that the rest need not be read. */
static enum troupe_error note_link(void *context, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes value)
{
    struct cut *cut = context;
    char name[16] = "";
    if (table != TROUPE__META) {
        return TROUPE_ECLOSED;
    }
    if (key.size < 6 || key.size >= sizeof name || memcmp(key.data, "link/", 5) != 0) {
        return TROUPE_OK;
    }
    memcpy(name, key.data, key.size);
    char *end;
    unsigned long peer = strtoul(name + 5, &end, 10);
    struct troupe__link_row link;
    if (*end || peer >= cut->count || !troupe__links_row_decode(value, &link)) {
        cut->malformed = true;
        return TROUPE_ECLOSED;
    }
    cut->links[cut->node * cut->count + peer] = link;
    return TROUPE_OK;
}

static const char *name_of(const struct troupe__snapshot *snapshot, size_t number)
{
    for (size_t i = 0; i < snapshot->part_count; i++) {
        if (snapshot->parts[i].number == number) {
            return snapshot->parts[i].node;
        }
    }
    return "?";
}

static enum troupe_error compare_links(const char *directory, const struct troupe__snapshot *snapshot,
                                       const struct cut *cut, char *error, size_t error_size)
{
    for (size_t a = 0; a < cut->count; a++) {
        for (size_t b = 0; b < cut->count; b++) {
            const struct troupe__link_row *out = &cut->links[a * cut->count + b], *in = &cut->links[b * cut->count + a];
            if (a != b && (out->trimmed > in->accepted || in->accepted > out->sent)) {
                snprintf(
                    error, error_size,
                    "%s: its parts are no cut: %s has sent %llu messages to %s and forgotten %llu, which has %llu: "
                    "use another snapshot",
                    directory, name_of(snapshot, a), (unsigned long long)out->sent, name_of(snapshot, b),
                    (unsigned long long)out->trimmed, (unsigned long long)in->accepted);
                return TROUPE_ECORRUPT;
            }
        }
    }
    return TROUPE_OK;
}

enum troupe_error troupe__snapshot_check_cut(const char *directory, const struct troupe__snapshot *snapshot,
                                             char *error, size_t error_size)
{
    struct cut cut = {.count = snapshot->part_count};
    enum troupe_error result = TROUPE_OK;
    if (!(cut.links = calloc(cut.count * cut.count, sizeof *cut.links))) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        cut.node = (size_t)snapshot->parts[i].number;
        result = troupe__snapshot_read_part(directory, &snapshot->parts[i], note_link, &cut, error, error_size);
        result = result == TROUPE_ECLOSED ? TROUPE_OK : result;
        if (cut.malformed) {
            result = damaged(directory, "a row of a link is malformed", error, error_size);
        }
    }
    result = result == TROUPE_OK ? compare_links(directory, snapshot, &cut, error, error_size) : result;
    free(cut.links);
    return result;
}

/* ---- restoring --------------------------------------------------------------------------------------------------- */

struct restore {
    struct troupe__store *store;
    uint64_t generation; /* of a troupe */
    struct troupe__buffer record;
    uint64_t epoch;
    char *error;
    size_t error_size;
};

static enum troupe_error commit_record(struct restore *restore)
{
    if (restore->record.failed) {
        snprintf(restore->error, restore->error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    struct troupe_bytes record = {restore->record.data, restore->record.size};
    enum troupe_error result = restore->store->commit(restore->store, ++restore->epoch, record);
    restore->record.size = 0;
    if (result != TROUPE_OK) {
        snprintf(restore->error, restore->error_size, "%s", restore->store->error);
    }
    return result;
}

/* META "cluster" (runtime/links.h): the same place in a new generation, so that what still flies from before finds
 * nobody. Numbers of links go on: every node goes back to the same cut. */
static enum troupe_error restore_place(struct restore *restore, struct troupe_bytes value)
{
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__buffer place = {0};
    troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    (void)troupe__cursor_varint(&cursor);
    troupe__buffer_put_varint(&place, restore->generation);
    troupe__buffer_put_varint(&place, troupe__cursor_varint(&cursor));
    troupe__record_set(&restore->record, TROUPE__META, cluster_name, strlen(cluster_name), place.data, place.size);
    bool good = !cursor.failed && !place.failed;
    troupe__buffer_free(&place);
    if (!good) {
        snprintf(restore->error, restore->error_size, "the row 'cluster' of a part is malformed: use another snapshot");
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static enum troupe_error restore_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                     struct troupe_bytes value)
{
    struct restore *restore = context;
    if (table == TROUPE__META && key.size == 6 && memcmp(key.data, "output", 6) == 0) {
        return TROUPE_OK; /* Where the output stood does not hold for what has been written since. */
    }
    if (table == TROUPE__META && key.size == strlen(cluster_name) && memcmp(key.data, cluster_name, key.size) == 0) {
        return restore_place(restore, value);
    }
    troupe__record_set(&restore->record, table, key.data, key.size, value.data, value.size);
    return restore->record.size < RECORD_SIZE && !restore->record.failed ? TROUPE_OK : commit_record(restore);
}

static enum troupe_error restore_into(const char *directory, const struct troupe__snapshot_part *part,
                                      uint64_t generation, const char *fresh, char *error, size_t error_size)
{
    struct restore restore = {.generation = generation, .error = error, .error_size = error_size};
    enum troupe_error result = open_store(fresh, false, &restore.store, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = restore.store->replay(restore.store, NULL, NULL);
    result = result == TROUPE_OK ? troupe__snapshot_read_part(directory, part, restore_row, &restore, error, error_size)
                                 : result;
    result = result == TROUPE_OK && restore.record.size > 0 ? commit_record(&restore) : result;
    restore.store->close(restore.store);
    troupe__buffer_free(&restore.record);
    return result;
}

enum troupe_error troupe__snapshot_restore(const char *directory, const struct troupe__snapshot_part *part,
                                           uint64_t generation, const char *data, char *error, size_t error_size)
{
    char fresh[PATH_MAX], unused[64];
    enum troupe_error result = join(fresh, data, "", ".restoring", error, error_size);
    if (result == TROUPE_OK && access(data, F_OK) == 0) {
        snprintf(error, error_size, "%s exists already: name a new directory, or move it away", data);
        result = TROUPE_EBUSY;
    }
    result = result == TROUPE_OK ? troupe__snapshot_read_part(directory, part, NULL, NULL, error, error_size) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    result = remove_directory(fresh, error, error_size);
    result = result == TROUPE_OK ? restore_into(directory, part, generation, fresh, error, error_size) : result;
    if (result == TROUPE_OK && rename(fresh, data)) {
        result = fail_errno("rename", fresh, error, error_size);
    }
    if (result != TROUPE_OK) {
        remove_directory(fresh, unused, sizeof unused);
    }
    return result;
}
