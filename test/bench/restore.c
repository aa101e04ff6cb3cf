/* restore.c - measures how long restoring a snapshot takes, to as many nodes and to others.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The snapshot: three nodes, 1,000,000 actors of 100 bytes, half of them random, and as many messages of 100 bytes,
 * half of which wait and half of which fly. It is read from the page cache; what is restored is synced. */
#include "test/bench/bench.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot/restore.h"

enum {
    ACTORS = 1000000,
    MESSAGES = 1000000,
    BYTES = 100,
    OLD = 3,
    NEW = 5,
    KEY_SIZE = 40,
    CHUNK_SIZE = 1 << 16,
    RESTORES = 3
};

static const char type[] = "bench/vertex";

/* ---- the snapshot ------------------------------------------------------------------------------------------------ */

struct part {
    const char (*keys)[KEY_SIZE]; /* of state, in their order */
    size_t count;
    uint16_t number;
    uint64_t random;
    const struct troupe__slots *slots;
};

static void fill(unsigned char bytes[static BYTES], uint64_t *random)
{
    memset(bytes, 0, BYTES);
    for (size_t i = 0; i + 8 <= BYTES / 2; i += 8) {
        uint64_t number = bench_random(random);
        memcpy(bytes + i, &number, 8);
    }
}

static void actor_key(char key[static 9], uint64_t number)
{
    snprintf(key, 9, "%08u", (unsigned)(number % ACTORS));
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, 2 + sizeof type + 9 + 4);
}

/* slot, type NUL key NUL value: core/row.h. */
static void make_keys(char (*keys)[KEY_SIZE])
{
    for (size_t i = 0; i < ACTORS; i++) {
        char key[9];
        actor_key(key, i);
        uint16_t slot = troupe__slot_of(type, key);
        keys[i][0] = (char)(slot >> 8);
        keys[i][1] = (char)slot;
        memcpy(keys[i] + 2, type, sizeof type);
        memcpy(keys[i] + 2 + sizeof type, key, 9);
        memcpy(keys[i] + 2 + sizeof type + 9, "data", 4);
    }
    qsort(keys, ACTORS, KEY_SIZE, compare_keys);
}

/* core/message.h: plain, from an actor. To one of the given slots' owner. */
static void put_message(struct troupe__buffer *row, struct part *part, uint16_t to)
{
    unsigned char body[BYTES];
    char key[9];
    do {
        actor_key(key, bench_random(&part->random));
    } while (part->slots->owner[troupe__slot_of(type, key)] != to);
    fill(body, &part->random);
    row->size = 0;
    troupe__buffer_put_byte(row, 1);
    for (int i = 0; i < 2; i++) {
        troupe__buffer_put_string(row, type, strlen(type));
        troupe__buffer_put_string(row, key, strlen(key));
    }
    troupe__buffer_put_string(row, "go", 2);
    troupe__buffer_put_varint(row, 0);
    troupe__buffer_put_varint(row, 0);
    troupe__buffer_put_string(row, body, sizeof body);
}

static enum troupe_error scan_meta(struct part *part, troupe__row_fn row, void *context)
{
    struct troupe__buffer value = {0};
    const uint64_t counters[] = {MESSAGES, 0, 0, 0, 1000, MESSAGES / 2 / OLD};
    const uint64_t place[] = {part->slots->cluster, part->slots->generation, part->number};
    const uint64_t link[] = {MESSAGES / 2 / OLD / (OLD - 1), MESSAGES / 2 / OLD / (OLD - 1), 0, 0, 0};
    for (size_t i = 0; i < 3; i++) {
        troupe__buffer_put_varint(&value, place[i]);
    }
    CHECK(row(context, (struct troupe_bytes){"cluster", 7}, (struct troupe_bytes){value.data, value.size}) ==
          TROUPE_OK);
    value.size = 0;
    for (size_t i = 0; i < 6; i++) {
        troupe__buffer_put_varint(&value, counters[i]);
    }
    CHECK(row(context, (struct troupe_bytes){"counters", 8}, (struct troupe_bytes){value.data, value.size}) ==
          TROUPE_OK);
    value.size = 0;
    for (size_t i = 0; i < 5; i++) {
        troupe__buffer_put_varint(&value, link[i]);
    }
    for (int peer = 0; peer < OLD; peer++) {
        char name[16];
        int size = snprintf(name, sizeof name, "link/%d", peer);
        CHECK(peer == part->number || row(context, (struct troupe_bytes){name, (size_t)size},
                                          (struct troupe_bytes){value.data, value.size}) == TROUPE_OK);
    }
    troupe__buffer_free(&value);
    return TROUPE_OK;
}

static enum troupe_error scan_part(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                   troupe__row_fn row, void *context)
{
    struct part *part = source;
    struct troupe__buffer value = {0}, chunk = {0};
    unsigned char key[10], bytes[BYTES];
    (void)prefix;
    if (table == TROUPE__META) {
        return scan_meta(part, row, context);
    }
    for (size_t i = 0; table == TROUPE__STATE && i < part->count; i++) {
        fill(bytes, &part->random);
        CHECK(row(context, (struct troupe_bytes){part->keys[i], 2 + sizeof type + 9 + 4},
                  (struct troupe_bytes){bytes, sizeof bytes}) == TROUPE_OK);
    }
    for (uint64_t i = 1; table == TROUPE__MAIL && i <= MESSAGES / 2 / OLD; i++) {
        troupe__put_be64(key, i);
        put_message(&value, part, part->number);
        CHECK(row(context, (struct troupe_bytes){key, 8}, (struct troupe_bytes){value.data, value.size}) == TROUPE_OK);
    }
    for (uint16_t peer = 0; table == TROUPE__OUTBOX && peer < OLD; peer++) {
        const uint64_t last = MESSAGES / 2 / OLD / (OLD - 1);
        for (uint64_t i = 1; peer != part->number && i <= last;) {
            troupe__put_be16(key, peer);
            troupe__put_be64(key + 2, i);
            for (chunk.size = 0; chunk.size < CHUNK_SIZE && i <= last; i++) {
                put_message(&value, part, peer);
                troupe__buffer_put_string(&chunk, value.data, value.size);
            }
            CHECK(row(context, (struct troupe_bytes){key, 10}, (struct troupe_bytes){chunk.data, chunk.size}) ==
                  TROUPE_OK);
        }
    }
    troupe__buffer_free(&chunk);
    troupe__buffer_free(&value);
    return TROUPE_OK;
}

static void make_snapshot(const char *target, struct troupe__snapshot *snapshot)
{
    char(*keys)[KEY_SIZE] = calloc(ACTORS, KEY_SIZE), error[512] = "", writing[PATH_MAX];
    CHECK(keys);
    make_keys(keys);
    *snapshot = (struct troupe__snapshot){.name = "bench", .part_count = OLD, .is_troupe = true};
    snapshot->parts = calloc(OLD, sizeof *snapshot->parts);
    CHECK(snapshot->parts);
    troupe__slots_spread(&snapshot->slots, 7, 1, OLD);
    int lock;
    CHECK(troupe__snapshot_begin(target, &lock, error, sizeof error) == TROUPE_OK);
    snprintf(writing, sizeof writing, "%.4000s.writing", target);
    size_t first = 0, last = 0;
    for (uint16_t i = 0; i < OLD; i++) {
        while (last < ACTORS &&
               snapshot->slots.owner[(unsigned char)keys[last][0] << 8 | (unsigned char)keys[last][1]] == i) {
            last++;
        }
        struct part part = {(const char(*)[KEY_SIZE])keys + first, last - first, i, 99 + i, &snapshot->slots};
        char name[8];
        snprintf(name, sizeof name, "n%d", i + 1);
        if (troupe__snapshot_write_part(writing, name, 10, scan_part, &part, error, &snapshot->parts[i], error,
                                        sizeof error) != TROUPE_OK) {
            bench_fail(__FILE__, __LINE__, "write a part", error);
        }
        snapshot->parts[i].number = i;
        first = last;
    }
    CHECK(troupe__snapshot_write_manifest(writing, snapshot, error, sizeof error) == TROUPE_OK);
    CHECK(troupe__snapshot_end(target, lock, TROUPE_OK, error, sizeof error) == TROUPE_OK);
    free(keys);
}

/* ---- restoring --------------------------------------------------------------------------------------------------- */

static double restore_ms(const char *directory, const char *data, const struct troupe__snapshot *snapshot,
                         uint16_t nodes)
{
    struct troupe__cluster_node names[NEW] = {
        {.name = "n1"}, {"n2", "", ""}, {"n3", "", ""}, {"n4", "", ""}, {"n5", "", ""}};
    struct troupe__cluster cluster = {.nodes = names};
    struct troupe__restore restore;
    struct troupe__recast_counts counts;
    char error[512] = "";
    troupe__slots_spread(&cluster.slots, 7, 2, nodes);
    int64_t start_ns = bench_now_ns();
    if (troupe__restore_begin(data, &restore, error, sizeof error) != TROUPE_OK ||
        troupe__restore_nodes(&restore, directory, snapshot, &cluster, &counts, error, sizeof error) != TROUPE_OK ||
        troupe__restore_end(&restore, TROUPE_OK, error, sizeof error) != TROUPE_OK) {
        bench_fail(__FILE__, __LINE__, "restore", error);
    }
    return (double)(bench_now_ns() - start_ns) / 1e6;
}

/* Read, unpack and check all of the snapshot. */
static double read_ms(const char *directory, const struct troupe__snapshot *snapshot)
{
    char error[512] = "";
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < snapshot->part_count; i++) {
        if (troupe__snapshot_read_part(directory, &snapshot->parts[i], NULL, NULL, error, sizeof error) != TROUPE_OK) {
            bench_fail(__FILE__, __LINE__, "read", error);
        }
    }
    return (double)(bench_now_ns() - start_ns) / 1e6;
}

/* Write as many bytes as the tables of `data` have into one file, and sync it. */
static double write_ms(const char *data, uint16_t nodes)
{
    enum { BLOCK = 1 << 20 };
    off_t size = 0;
    char path[PATH_MAX];
    for (uint16_t i = 0; i < nodes; i++) {
        struct stat status;
        snprintf(path, sizeof path, "%.4000s/n%d/tables.mdb", data, i + 1);
        CHECK(stat(path, &status) == 0);
        size += status.st_size;
    }
    char *block = malloc(BLOCK);
    CHECK(block);
    memset(block, 7, BLOCK);
    snprintf(path, sizeof path, "%.4000s.copy", data);
    int64_t start_ns = bench_now_ns();
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    for (off_t done = 0; done < size; done += BLOCK) {
        CHECK(write(fd, block, BLOCK) == BLOCK);
    }
    CHECK(fsync(fd) == 0 && close(fd) == 0);
    double ms = (double)(bench_now_ns() - start_ns) / 1e6;
    free(block);
    unlink(path);
    return ms;
}

void measure_restore(void)
{
    const char *base = bench_directory();
    char directory[PATH_MAX], data[PATH_MAX], error[512];
    struct troupe__snapshot snapshot;
    double same[RESTORES], other[RESTORES], least[RESTORES];
    CHECK(mkdir(base, 0700) == 0);
    snprintf(directory, sizeof directory, "%.4000s/snapshot", base);
    snprintf(data, sizeof data, "%.4000s/data", base);
    make_snapshot(directory, &snapshot);
    for (int i = 0; i < RESTORES; i++) {
        same[i] = restore_ms(directory, data, &snapshot, OLD);
        CHECK(troupe__files_remove(data, error, sizeof error) == TROUPE_OK);
        other[i] = restore_ms(directory, data, &snapshot, NEW);
        least[i] = read_ms(directory, &snapshot) + write_ms(data, NEW);
        CHECK(troupe__files_remove(data, error, sizeof error) == TROUPE_OK);
    }
    troupe__snapshot_fini(&snapshot);
    bench_report("restore_limit", bench_percentile(least, RESTORES, 0.5), "ms", 0, "");
    bench_report("restore_same", bench_percentile(same, RESTORES, 0.5), "ms", -3000, "restore_limit");
    bench_report("restore_time", bench_percentile(other, RESTORES, 0.5), "ms", -3000, "restore_limit");
}
