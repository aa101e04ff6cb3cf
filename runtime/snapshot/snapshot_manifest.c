/* snapshot_manifest.c - the manifest of a snapshot: what its parts must hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A stream with the head {"what":"manifest"} and rows of table meta: "snapshot" -> msgpack map of name, taken_ms and
 * took_ms; "part/NODE" -> msgpack map of epoch, hash, chain, blocks, row_bytes and rows (bin: a varint per table),
 * where it was measured of took_us and stall_us too; "cluster", of a troupe only. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/snapshot_stream.h"

static const char manifest_name[] = TROUPE__SNAPSHOT_MANIFEST, part_prefix[] = "part/", cluster_name[] = "cluster";

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
    troupe__snapshot_put(&value, "{s:u,s:u,s:u,s:z}", "cluster", slots->cluster, "generation", slots->generation,
                         "nodes", (uint64_t)slots->node_count, "slots", (struct troupe_bytes){owners, sizeof owners});
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

/* What it cost the node is not known of all. */
static void put_part(struct troupe__buffer *value, const struct troupe__snapshot_part *part, struct troupe_bytes rows)
{
    const struct troupe__part_summary *summary = &part->summary;
    if (part->measured) {
        troupe__snapshot_put(value, "{s:u,s:u,s:u,s:u,s:u,s:u,s:u,s:u,s:u,s:z}", "number", part->number, "epoch",
                             part->epoch, "chain", summary->chain, "blocks", summary->blocks, "row_bytes",
                             summary->row_bytes, "released", part->released, "hash", part->hash, "took_us",
                             part->took_us, "stall_us", part->stall_us, "rows", rows);
    } else {
        troupe__snapshot_put(value, "{s:u,s:u,s:u,s:u,s:u,s:u,s:u,s:z}", "number", part->number, "epoch", part->epoch,
                             "chain", summary->chain, "blocks", summary->blocks, "row_bytes", summary->row_bytes,
                             "released", part->released, "hash", part->hash, "rows", rows);
    }
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
        put_part(&value, part, (struct troupe_bytes){rows.data, rows.size});
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
    troupe__snapshot_put(&value, "{s:s,s:i,s:i}", "name", snapshot->name, "taken_ms", snapshot->taken_ms, "took_ms",
                         snapshot->took_ms);
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
    enum troupe_error result = troupe__files_join(path, directory, manifest_name, "", error, error_size);
    result = result == TROUPE_OK
                 ? troupe__files_join(fresh, directory, TROUPE__SNAPSHOT_MANIFEST_NEW, "", error, error_size)
                 : result;
    if (result != TROUPE_OK) {
        return result;
    }
    qsort(snapshot->parts, snapshot->part_count, sizeof *snapshot->parts, compare_parts);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return troupe__files_fail("create", fresh, error, error_size);
    }
    troupe__snapshot_put(&head, "{s:s}", "what", "manifest");
    result = troupe__part_begin(fd, (struct troupe_bytes){head.data, head.size}, &writer, error, error_size);
    troupe__buffer_free(&head);
    if (result == TROUPE_OK) {
        result = write_manifest_rows(writer, snapshot, error, error_size);
        result = result == TROUPE_OK ? troupe__part_end(writer, &summary, error, error_size) : result;
        troupe__part_writer_free(writer);
    }
    close(fd);
    if (result == TROUPE_OK && rename(fresh, path)) {
        result = troupe__files_fail("rename", fresh, error, error_size);
    }
    if (result != TROUPE_OK) {
        unlink(fresh);
        return result;
    }
    return troupe__files_sync(directory, error, error_size);
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
    struct troupe__snapshot_text taken;
    struct troupe_bytes rows = {NULL, 0};
    int64_t took_us = -1, stall_us = -1;
    *part = (struct troupe__snapshot_part){0};
    snprintf(part->node, sizeof part->node, "%.*s", (int)node_size, node);
    if (node_size > TROUPE__SNAPSHOT_NAME_MAX || !troupe__snapshot_name_valid(part->node) ||
        !troupe__snapshot_get(&taken, value, "{s:u,s:u,s:u,s:u,s:u,s:u,s?:u,s?:i,s?:i,s:z}", "number", &part->number,
                              "epoch", &part->epoch, "chain", &part->summary.chain, "blocks", &part->summary.blocks,
                              "row_bytes", &part->summary.row_bytes, "released", &part->released, "hash", &part->hash,
                              "took_us", &took_us, "stall_us", &stall_us, "rows", &rows)) {
        return false;
    }
    part->measured = took_us >= 0 && stall_us >= 0;
    part->took_us = part->measured ? (uint64_t)took_us : 0;
    part->stall_us = part->measured ? (uint64_t)stall_us : 0;
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
    struct troupe__snapshot_text taken;
    uint64_t nodes = 0;
    if (!troupe__snapshot_get(&taken, value, "{s:u,s:u,s:u,s:z}", "cluster", &slots->cluster, "generation",
                              &slots->generation, "nodes", &nodes, "slots", &owners) ||
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
        struct troupe__snapshot_text taken;
        if (key.size == 8 && memcmp(key.data, "snapshot", 8) == 0) {
            if (!troupe__snapshot_get(&taken, value, "{s:s,s:i,s:i}", "name", &name, "taken_ms", &snapshot->taken_ms,
                                      "took_ms", &snapshot->took_ms) ||
                !troupe__snapshot_name_valid(name)) {
                return troupe__snapshot_damaged(path, "its row 'snapshot' is malformed", error, error_size);
            }
            memcpy(snapshot->name, name, strlen(name) + 1);
        } else if (key.size == strlen(cluster_name) && memcmp(key.data, cluster_name, key.size) == 0) {
            if (!manifest_cluster(snapshot, value)) {
                return troupe__snapshot_damaged(path, "its row 'cluster' is malformed", error, error_size);
            }
        } else if (key.size > strlen(part_prefix) && memcmp(key.data, part_prefix, strlen(part_prefix)) == 0 &&
                   !manifest_part(snapshot, (const char *)key.data + strlen(part_prefix),
                                  key.size - strlen(part_prefix), value)) {
            return troupe__snapshot_damaged(path, "its row of a part is malformed", error, error_size);
        }
    }
    if (result != TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s: %s", path, text);
        return result;
    }
    return snapshot->name[0] && is_whole(snapshot)
               ? TROUPE_OK
               : troupe__snapshot_damaged(path, "it does not say what the snapshot holds", error, error_size);
}

enum troupe_error troupe__snapshot_read(const char *directory, struct troupe__snapshot *ret, char *error,
                                        size_t error_size)
{
    char path[PATH_MAX];
    int fd;
    struct troupe__part_reader *reader;
    struct troupe_bytes head;
    struct troupe__snapshot snapshot = {.part_count = 0};
    enum troupe_error result = troupe__files_join(path, directory, manifest_name, "", error, error_size);
    result = result == TROUPE_OK
                 ? troupe__snapshot_open_stream(path, "manifest", &fd, &reader, &head, error, error_size)
                 : result;
    if (result == TROUPE_ENOTFOUND) {
        bool is_there = access(directory, F_OK) == 0;
        snprintf(error, error_size, is_there ? "%s is no snapshot: it has no manifest" : "there is no snapshot %s",
                 directory);
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
