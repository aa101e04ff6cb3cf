/* counter.c - a node whose output file shows whether anything was lost, repeated or let out too early.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/crash/counter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/lmdb_store.h"

enum { LINES = 120, ACTORS = 7 };

static const struct troupe_value count_value = {"count", TROUPE_INT};
static const struct troupe_value *const values[] = {&count_value, NULL};

static enum troupe_error counter(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)message;
    int64_t count = 0;
    enum troupe_error result = troupe_get_int(ctx, &count_value, &count);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return result;
    }
    result = troupe_set_int(ctx, &count_value, ++count);
    return result == TROUPE_OK ? troupe_emit(ctx, "counts", troupe_self(ctx).key, troupe_pack(ctx, "i", count))
                               : result;
}

static const struct troupe_type types[] = {{.name = "test/counter", .handler = counter, .values = values}};
static const struct troupe_module module = {TROUPE_ABI, "counter", "1", types, 1};

void counter_input(const char *path)
{
    FILE *file = fopen(path, "w");
    for (int i = 0; i < LINES; i++) {
        fprintf(file, "{\"to\":\"test/counter/%d\",\"type\":\"count\"}\n", i % ACTORS);
    }
    if (fclose(file) != 0) {
        abort();
    }
}

enum troupe_error counter_run(const char *directory, const char *input, const char *output, char *error,
                              size_t error_size)
{
    struct troupe_node_options options = {
        .module = &module, .data = directory, .input = input, .output = output, .until = TROUPE_UNTIL_IDLE};
    struct troupe_node *node;
    enum troupe_error result = troupe_node_open(&options, &node, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if ((result = troupe_node_run(node)) != TROUPE_OK) {
        snprintf(error, error_size, "%s", troupe_node_error(node));
    }
    enum troupe_error closed = troupe_node_close(node);
    return result == TROUPE_OK ? closed : result;
}

static bool read_line(const char *line, int *ret_seq, int *ret_key, int *ret_count)
{
    return sscanf(line, "{\"egress\":\"counts\",\"seq\":%d,\"key\":\"%d\",\"body\":%d}", ret_seq, ret_key, ret_count) ==
               3 &&
           strchr(line, '\n') && *ret_key >= 0 && *ret_key < ACTORS;
}

bool counter_check(const char *output, char *wrong, size_t wrong_size)
{
    FILE *file = fopen(output, "r");
    int lines = 0, counts[ACTORS] = {0};
    char line[200];
    bool good = file != NULL;
    snprintf(wrong, wrong_size, "no output");
    while (good && fgets(line, sizeof line, file)) {
        int seq, key, count;
        good = read_line(line, &seq, &key, &count) && seq == ++lines && count == ++counts[key];
        if (!good) {
            snprintf(wrong, wrong_size, "line %d: %s", lines, line);
        }
    }
    if (file) {
        fclose(file);
    }
    if (good && lines != LINES) {
        good = false;
        snprintf(wrong, wrong_size, "%d records, not %d", lines, LINES);
    }
    return good;
}

/* ---- what is durable --------------------------------------------------------------------------------------------- */

static const char row_name[] = "egress/counts";

static enum troupe_error take_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    if (key.size == strlen(row_name) && memcmp(key.data, row_name, key.size) == 0) {
        struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
        *(uint64_t *)context = troupe__cursor_varint(&cursor);
    }
    return TROUPE_OK;
}

static enum troupe_error take_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    (void)epoch;
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == TROUPE__META && !change.removed) {
            take_row(context, change.key, change.value);
        }
    }
    return TROUPE_OK;
}

bool counter_check_release(const char *directory, const char *output, char *wrong, size_t wrong_size)
{
    struct troupe__lmdb_options options = {.read_only = true, .map_size = 1 << 26};
    struct troupe__store *store;
    uint64_t durable = 0;
    enum troupe_error result = troupe__lmdb_store_open(directory, &options, &store, wrong, wrong_size);
    if (result == TROUPE_OK) {
        result = store->scan(store, TROUPE__META, (struct troupe_bytes){"", 0}, take_row, &durable);
        result = result == TROUPE_OK ? store->replay(store, take_record, &durable) : result;
        snprintf(wrong, wrong_size, "%s", store->error);
        store->close(store);
    }
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return false;
    }
    FILE *file = fopen(output, "r");
    char line[200];
    bool good = true;
    while (good && file && fgets(line, sizeof line, file)) {
        int seq, key, count;
        if (read_line(line, &seq, &key, &count) && (uint64_t)seq > durable) {
            good = false;
            snprintf(wrong, wrong_size, "record %d is out, the store knows of %llu", seq, (unsigned long long)durable);
        }
    }
    if (file) {
        fclose(file);
    }
    return good;
}
