/* snapshot_show.c - prints what a snapshot holds, and what it cost its nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/snapshot_show.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/actor.h"
#include "core/message.h"
#include "core/specs.h"
#include "runtime/cli/positions.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/show.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/view.h"
#include "transport/json.h"

/* ---- what a snapshot holds --------------------------------------------------------------------------------------- */

enum { TYPES_MAX = 256 };

struct type_count {
    char name[TROUPE_NAME_MAX + 1];
    uint64_t actors, values, waiting; /* messages in mailboxes */
};

struct count {
    struct troupe__positions positions;
    struct troupe__progress_rows *shown;
    uint64_t rows; /* of all parts so far */
    struct type_count types[TYPES_MAX];
    size_t type_count;
    uint64_t other_values, other_waiting; /* of types beyond TYPES_MAX */
    unsigned char last[TROUPE__ROW_KEY_MAX];
    size_t last_size; /* up to the actor's key and its NUL */
    char module[96];  /* that wrote it, and its version; "": not known */
};

static void note_module(struct count *count, struct troupe_bytes row)
{
    struct troupe__specs specs;
    if (troupe__specs_decode(row, &specs) == TROUPE_OK) {
        snprintf(count->module, sizeof count->module, "%s %s", specs.module, specs.module_version);
        troupe__specs_fini(&specs);
    }
}

/* The counts of a type; NULL when there are too many. */
static struct type_count *type_of(struct count *count, const char *name, size_t size)
{
    size_t at = 0;
    while (at < count->type_count &&
           (strncmp(count->types[at].name, name, size) != 0 || count->types[at].name[size] != '\0')) {
        at++;
    }
    if (at == TYPES_MAX) {
        return NULL;
    }
    if (at == count->type_count) {
        count->types[count->type_count++] = (struct type_count){.actors = 0};
        memcpy(count->types[at].name, name, size);
    }
    return &count->types[at];
}

static void count_mail(struct count *count, struct troupe_bytes row)
{
    struct troupe__message_row message;
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    if (troupe__message_row_decode(row, &message)) {
        struct troupe__cursor to = {message.to.data, (const unsigned char *)message.to.data + message.to.size, false};
        struct type_count *of = troupe__address_read(&to, type, key) ? type_of(count, type, strlen(type)) : NULL;
        *(of ? &of->waiting : &count->other_waiting) += 1;
    }
}

/* Rows are sorted: those of an actor stand together. */
static void count_state(struct count *count, struct troupe_bytes key)
{
    if (key.size < 4) {
        return;
    }
    const char *type = (const char *)key.data + 2, *end = (const char *)key.data + key.size;
    const char *type_end = memchr(type, 0, (size_t)(end - type));
    const char *key_end = type_end ? memchr(type_end + 1, 0, (size_t)(end - type_end - 1)) : NULL;
    if (!key_end || type_end - type > TROUPE_NAME_MAX) {
        return;
    }
    size_t size = (size_t)(key_end + 1 - (const char *)key.data);
    struct type_count *of = type_of(count, type, (size_t)(type_end - type));
    if (!of) {
        count->other_values++;
        return;
    }
    of->values++;
    if (size != count->last_size || memcmp(count->last, key.data, size) != 0) {
        of->actors++;
        memcpy(count->last, key.data, size);
        count->last_size = size;
    }
}

static enum troupe_error show_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct count *count = context;
    if (++count->rows % 1024 == 0) {
        troupe__progress_rows(count->shown, count->rows);
    }
    if (table == TROUPE__META) {
        troupe__positions_note(&count->positions, key, value);
        if (key.size == strlen(TROUPE__SPECS_ROW) && memcmp(key.data, TROUPE__SPECS_ROW, key.size) == 0) {
            note_module(count, value);
        }
    } else if (table == TROUPE__STATE) {
        count_state(count, key);
    } else if (table == TROUPE__MAIL) {
        count_mail(count, value);
    }
    return TROUPE_OK;
}

static long long part_size(const char *directory, const struct troupe__snapshot_part *part)
{
    char path[PATH_MAX];
    struct stat status;
    bool fits = (size_t)snprintf(path, sizeof path, "%s/node-%s.part", directory, part->node) < sizeof path;
    return fits && stat(path, &status) == 0 ? (long long)status.st_size : 0;
}

static void print_part(const char *directory, const struct troupe__snapshot_part *part, const struct count *count)
{
    printf("node %s: epoch %" PRIu64 ", %" PRIu64 " bytes of rows, %lld on disk%s%s\n", part->node, part->epoch,
           part->summary.row_bytes, part_size(directory, part), count->module[0] ? ", written by module " : "",
           count->module);
    if (part->measured) {
        printf("  written in %.1f ms from its cut on; its longest stall meanwhile %.1f ms\n",
               (double)part->took_us / 1000, (double)part->stall_us / 1000);
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        if (part->summary.rows[table] > 0) {
            printf("  %-10s %" PRIu64 "\n", troupe__view_table_names[table], part->summary.rows[table]);
        }
    }
    for (size_t i = 0; i < count->type_count; i++) {
        const struct type_count *type = &count->types[i];
        printf("  %s: %" PRIu64 " actors, %" PRIu64 " values, %" PRIu64 " messages waiting\n", type->name, type->actors,
               type->values, type->waiting);
    }
    troupe__positions_print(&count->positions);
    if (count->other_values + count->other_waiting > 0) {
        printf("  other types: %" PRIu64 " values, %" PRIu64 " messages waiting\n", count->other_values,
               count->other_waiting);
    }
}

static void print_part_json(const char *directory, const struct troupe__snapshot_part *part, const struct count *count)
{
    struct troupe__buffer module = {0};
    troupe__json_write_string(count->module, strlen(count->module), &module);
    printf("{\"node\":\"%s\",\"epoch\":%" PRIu64 ",\"row_bytes\":%" PRIu64 ",\"file_bytes\":%lld,\"module\":%.*s,",
           part->node, part->epoch, part->summary.row_bytes, part_size(directory, part), (int)module.size,
           (const char *)module.data);
    troupe__buffer_free(&module);
    if (part->measured) {
        printf("\"took_us\":%" PRIu64 ",\"stall_us\":%" PRIu64 ",", part->took_us, part->stall_us);
    }
    fputs("\"rows\":{", stdout);
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        printf("%s\"%s\":%" PRIu64, table ? "," : "", troupe__view_table_names[table], part->summary.rows[table]);
    }
    fputs("},\"types\":{", stdout);
    for (size_t i = 0; i < count->type_count; i++) {
        struct troupe__buffer name = {0};
        troupe__json_write_string(count->types[i].name, strlen(count->types[i].name), &name);
        printf("%s%.*s:{\"actors\":%" PRIu64 ",\"values\":%" PRIu64 ",\"waiting\":%" PRIu64 "}", i ? "," : "",
               (int)name.size, (const char *)name.data, count->types[i].actors, count->types[i].values,
               count->types[i].waiting);
        troupe__buffer_free(&name);
    }
    fputs("}", stdout);
    troupe__positions_print_json(&count->positions);
    fputs("}", stdout);
}

static const char *node_name(const struct troupe__snapshot *snapshot, size_t number)
{
    size_t at = 0;
    while (at + 1 < snapshot->part_count && snapshot->parts[at].number != number) {
        at++;
    }
    return snapshot->parts[at].node;
}

/* What was on its way from node to node. */
static enum troupe_error print_flights(const char *path, const struct troupe__snapshot *snapshot, bool json,
                                       char *error, size_t error_size)
{
    size_t nodes = snapshot->part_count;
    uint64_t *flights = calloc(nodes * nodes, sizeof *flights);
    if (!flights) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = troupe__snapshot_flights(path, snapshot, flights, error, error_size);
    bool first = true;
    fputs(json ? ",\"flights\":[" : "", stdout);
    for (size_t i = 0; i < nodes * nodes && result == TROUPE_OK; i++) {
        const char *from = node_name(snapshot, i / nodes), *to = node_name(snapshot, i % nodes);
        if (flights[i] > 0 && json) {
            printf("%s{\"from\":\"%s\",\"to\":\"%s\",\"messages\":%" PRIu64 "}", first ? "" : ",", from, to,
                   flights[i]);
        } else if (flights[i] > 0) {
            printf("in flight from %s to %s: %" PRIu64 " messages\n", from, to, flights[i]);
        }
        first = first && flights[i] == 0;
    }
    fputs(json ? "]" : "", stdout);
    free(flights);
    return result;
}

/* The heading, before the parts. */
static void print_head(const struct troupe__snapshot *snapshot, bool json)
{
    struct troupe__buffer when = {0};
    troupe__show_time(&when, snapshot->taken_ms);
    if (json) {
        printf("{\"name\":\"%s\",\"taken_ms\":%" PRId64 ",\"took_ms\":%" PRId64 ",\"parts\":[", snapshot->name,
               snapshot->taken_ms, snapshot->took_ms);
    } else {
        printf("%s: taken %.*s, in %" PRId64 " ms\n", snapshot->name, (int)when.size, (const char *)when.data,
               snapshot->took_ms);
    }
    troupe__buffer_free(&when);
}

enum troupe_error troupe__snapshot_show(const char *directory, bool json, char *error, size_t error_size)
{
    struct troupe__snapshot snapshot;
    enum troupe_error result = troupe__snapshot_read(directory, &snapshot, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__progress_rows shown = {
        {.command = "snapshot show"}, "reading", troupe__snapshot_row_count(&snapshot)};
    struct count *count = malloc(sizeof *count);
    if (!count) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    } else {
        print_head(&snapshot, json);
    }
    for (size_t i = 0; i < snapshot.part_count && result == TROUPE_OK; i++) {
        *count = (struct count){.shown = &shown, .rows = i > 0 ? count->rows : 0};
        result = troupe__snapshot_read_part(directory, &snapshot.parts[i], show_row, count, error, error_size);
        troupe__progress_end(&shown.progress); /* What is printed may go to the same terminal. */
        if (result == TROUPE_OK && json) {
            fputs(i ? "," : "", stdout);
            print_part_json(directory, &snapshot.parts[i], count);
        } else if (result == TROUPE_OK) {
            print_part(directory, &snapshot.parts[i], count);
        }
    }
    if (result == TROUPE_OK) {
        fputs(json ? "]" : "", stdout);
        result = snapshot.is_troupe ? print_flights(directory, &snapshot, json, error, error_size) : TROUPE_OK;
        fputs(json ? "}\n" : "", stdout);
    }
    troupe__snapshot_fini(&snapshot);
    free(count);
    return result;
}
