/* diff.c - the command `troupe snapshot diff`: which actors two snapshots have, and what differs in them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each snapshot is read once, all its nodes side by side, since an actor may have moved to another node. Rows of state
 * come in the order of their keys, so those of an actor stand together, and the actors of both come in one order. What
 * is compared is what handlers see: elements of a generation that is over are none, those of a list have positions. */
#include "runtime/cli/diff.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/grow.h"
#include "runtime/cli/cut_of.h"
#include "runtime/cli/options.h"
#include "runtime/cli/row_json.h"
#include "transport/json.h"

enum { EXIT_SAME, EXIT_DIFFERENT };

struct options {
    const char *data;
    bool json;
};

static const char *set_data(void *target, const char *value)
{
    ((struct options *)target)->data = value;
    return NULL;
}

static const char *set_json(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->json = true;
    return NULL;
}

static int fail(const char *text, enum troupe_error error)
{
    (void)troupe__failed("snapshot diff", text, error);
    return TROUPE__EXIT_WRONG;
}

/* ---- one side ---------------------------------------------------------------------------------------------------- */

/* A value or an element of the actor at hand; offsets into `bytes`. */
struct item {
    size_t name_at, element_at, data_at;
    size_t name_size, element_size, data_size;
    uint64_t index;
    bool is_element, is_listed; /* is_listed: `index` is its position */
};

static const unsigned message_tables =
    1u << TROUPE__MAIL | 1u << TROUPE__TIMER | 1u << TROUPE__DEAD | 1u << TROUPE__JOB | 1u << TROUPE__OUTBOX;

struct side {
    struct troupe__cut cut;
    struct lane { /* A node. */
        struct troupe__cut_walk walk;
        struct troupe__cut_row row;
        bool has_row;
    } * lanes;
    struct troupe__buffer bytes;
    struct item *items;
    size_t count, capacity;
    unsigned char actor[TROUPE__ROW_KEY_MAX]; /* slot, type NUL key NUL; of the actor at hand */
    size_t actor_size;                        /* 0: there is none, the end */
    uint64_t messages[TROUPE__TABLE_COUNT];
    struct compared *compared; /* by both sides */
    char error[640];
};

/* How far it is. */
struct compared {
    struct troupe__progress_rows shown;
    bool shows;
    uint64_t rows;
};

static void note_row(struct side *side)
{
    struct compared *compared = side->compared;
    if (++compared->rows % 1024 == 0 && compared->shows) {
        troupe__progress_rows(&compared->shown, compared->rows);
    }
}

static enum troupe_error step(struct side *side, struct lane *lane)
{
    enum troupe_error result = troupe__cut_next(&lane->walk, &lane->row);
    lane->has_row = result == TROUPE_OK;
    note_row(side);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        snprintf(side->error, sizeof side->error, "%s", lane->walk.error);
        return result;
    }
    return TROUPE_OK;
}

static void close_side(struct side *side)
{
    for (size_t i = 0; side->lanes && i < side->cut.node_count; i++) {
        troupe__cut_walk_end(&side->lanes[i].walk);
    }
    free(side->lanes);
    free(side->items);
    troupe__buffer_free(&side->bytes);
    troupe__cut_fini(&side->cut);
}

static enum troupe_error open_side(struct side *side, const char *data, const char *name)
{
    struct troupe__progress_rows *shown = side->compared->shows ? &side->compared->shown : NULL;
    enum troupe_error result = troupe__cut_of(data, name, shown, &side->cut, side->error, sizeof side->error);
    if (result != TROUPE_OK) {
        return result;
    }
    side->cut.progress = NULL; /* Its walks are counted together with those of the other side. */
    if (!(side->lanes = calloc(side->cut.node_count + 1, sizeof *side->lanes))) {
        snprintf(side->error, sizeof side->error, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < side->cut.node_count; i++) {
        troupe__cut_walk_begin_node(&side->lanes[i].walk, &side->cut, 1u << TROUPE__STATE, i);
    }
    for (size_t i = 0; i < side->cut.node_count && result == TROUPE_OK; i++) {
        result = step(side, &side->lanes[i]);
    }
    return result;
}

static int compare_bytes(const void *left, size_t left_size, const void *right, size_t right_size)
{
    size_t size = left_size < right_size ? left_size : right_size;
    int order = size > 0 ? memcmp(left, right, size) : 0;
    return order ? order : (left_size > right_size) - (left_size < right_size);
}

/* The lane with the first row; NULL at the end. */
static struct lane *first_lane(struct side *side)
{
    struct lane *first = NULL;
    for (size_t i = 0; i < side->cut.node_count; i++) {
        struct lane *lane = &side->lanes[i];
        if (lane->has_row && (!first || compare_bytes(lane->row.key.data, lane->row.key.size, first->row.key.data,
                                                      first->row.key.size) < 0)) {
            first = lane;
        }
    }
    return first;
}

static size_t keep(struct side *side, struct troupe_bytes bytes)
{
    size_t at = side->bytes.size;
    troupe__buffer_put(&side->bytes, bytes.data, bytes.size);
    return at;
}

/* The head that counts for the rows that follow: of the value whose row came last. */
struct current {
    size_t name_at, name_size;
    struct troupe__head head;
    bool is_list;
};

static enum troupe_error keep_row(struct side *side, const struct troupe__cut_row *row,
                                  const struct troupe__row_key *key, struct current *current)
{
    struct troupe__row value;
    enum troupe_kind kind = TROUPE_MAP;
    if (!troupe__row_decode(row->value, &value)) {
        snprintf(side->error, sizeof side->error, "%s/%s: a row is malformed", key->type, key->key);
        return TROUPE_ECORRUPT;
    }
    bool same = current->name_size == key->value.size &&
                memcmp(side->bytes.data + current->name_at, key->value.data, key->value.size) == 0;
    if (!same) {
        *current = (struct current){.name_at = keep(side, key->value), .name_size = key->value.size};
    }
    if (value.head) {
        current->is_list = troupe__head_decode(value.payload, &kind, &current->head) && kind == TROUPE_LIST;
        return side->bytes.failed ? TROUPE_ENOMEM : TROUPE_OK;
    }
    if (key->is_element && key->generation != current->head.generation) {
        return TROUPE_OK; /* It waits to be removed. */
    }
    struct item *items = troupe__grow(side->items, side->count, &side->capacity, sizeof *items);
    if (!items) {
        return TROUPE_ENOMEM;
    }
    side->items = items;
    struct item *item = &side->items[side->count++];
    *item = (struct item){.name_at = current->name_at, .name_size = current->name_size, .is_element = key->is_element};
    item->is_listed = key->is_element && current->is_list && key->element.size == 8;
    item->index = item->is_listed ? troupe__get_be64(key->element.data) - current->head.first : 0;
    item->element_at = keep(side, key->element);
    item->element_size = key->element.size;
    item->data_at = keep(side, value.payload);
    item->data_size = value.payload.size;
    return side->bytes.failed ? TROUPE_ENOMEM : TROUPE_OK;
}

/* All of the next actor. */
static enum troupe_error gather(struct side *side)
{
    struct lane *lane;
    struct current current = {.name_size = 0};
    enum troupe_error result = TROUPE_OK;
    side->actor_size = side->count = side->bytes.size = 0;
    while (result == TROUPE_OK && (lane = first_lane(side)) != NULL) {
        struct troupe__row_key key;
        if (!troupe__row_key_decode(lane->row.key, &key)) {
            snprintf(side->error, sizeof side->error, "the key of a row of state is malformed");
            return TROUPE_ECORRUPT;
        }
        size_t size = (size_t)((const unsigned char *)key.value.data - (const unsigned char *)lane->row.key.data);
        if (side->actor_size == 0) {
            memcpy(side->actor, lane->row.key.data, size);
            side->actor_size = size;
        } else if (size != side->actor_size || memcmp(side->actor, lane->row.key.data, size) != 0) {
            return TROUPE_OK;
        }
        result = keep_row(side, &lane->row, &key, &current);
        if (result == TROUPE_ENOMEM) {
            snprintf(side->error, sizeof side->error, "out of memory");
        }
        result = result == TROUPE_OK ? step(side, lane) : result;
    }
    return result;
}

/* What waits, by table. */
static enum troupe_error count_messages(struct side *side)
{
    struct troupe__cut_walk walk;
    struct troupe__cut_row row;
    enum troupe_error result;
    troupe__cut_walk_begin(&walk, &side->cut, message_tables);
    while ((result = troupe__cut_next(&walk, &row)) == TROUPE_OK) {
        note_row(side);
        side->messages[row.table] +=
            row.table != TROUPE__OUTBOX || troupe__cut_in_flight(&side->cut, row.node, row.key);
    }
    snprintf(side->error, sizeof side->error, "%s", walk.error);
    troupe__cut_walk_end(&walk);
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

struct counts {
    uint64_t added, gone, changed, same;
};

/* How the items of two sides stand to each other. */
static int compare_items(const struct side *a, const struct item *left, const struct side *b, const struct item *right)
{
    int order =
        compare_bytes(a->bytes.data + left->name_at, left->name_size, b->bytes.data + right->name_at, right->name_size);
    if (order || left->is_element != right->is_element) {
        return order ? order : left->is_element ? 1 : -1;
    }
    if (left->is_listed && right->is_listed) {
        return (left->index > right->index) - (left->index < right->index);
    }
    return compare_bytes(a->bytes.data + left->element_at, left->element_size, b->bytes.data + right->element_at,
                         right->element_size);
}

static bool same_data(const struct side *a, const struct item *left, const struct side *b, const struct item *right)
{
    return left->data_size == right->data_size &&
           memcmp(a->bytes.data + left->data_at, b->bytes.data + right->data_at, left->data_size) == 0;
}

static void put(struct troupe__buffer *line, const char *text)
{
    troupe__buffer_put(line, text, strlen(text));
}

static void put_data(struct troupe__buffer *line, const struct side *side, const struct item *item)
{
    troupe__row_json_data((struct troupe_bytes){side->bytes.data + item->data_at, item->data_size}, line);
}

/* One value on both sides; `a` or `b` may have none. */
static void put_item(const struct options *options, struct troupe__buffer *line, const struct side *a,
                     const struct item *left, const struct side *b, const struct item *right)
{
    const struct side *named = left ? a : b;
    const struct item *item = left ? left : right;
    const char *name = (const char *)named->bytes.data + item->name_at;
    const char *element = (const char *)named->bytes.data + item->element_at;
    if (options->json) {
        put(line, line->data[line->size - 1] == '[' ? "{\"value\":" : ",{\"value\":");
        troupe__json_write_string(name, item->name_size, line);
        if (item->is_listed) {
            put(line, ",\"position\":");
            troupe__json_write_number(item->index, line);
        } else if (item->is_element) {
            put(line, ",\"element\":");
            troupe__json_write_string(element, item->element_size, line);
        }
    } else {
        put(line, "    ");
        troupe__buffer_put(line, name, item->name_size);
        if (item->is_listed) {
            put(line, "[");
            troupe__json_write_number(item->index, line);
            put(line, "]");
        } else if (item->is_element) {
            put(line, "[");
            troupe__json_write_string(element, item->element_size, line);
            put(line, "]");
        }
    }
    if (left) {
        put(line, options->json ? ",\"a\":" : "\t");
        put_data(line, a, left);
    } else if (!options->json) {
        put(line, "\t-");
    }
    if (right) {
        put(line, options->json ? ",\"b\":" : "\t");
        put_data(line, b, right);
    } else if (!options->json) {
        put(line, "\t-");
    }
    put(line, options->json ? "}" : "\n");
}

/* The values in which the actor at hand differs; `a` or `b` may be NULL. Returns whether there are any. */
static bool put_items(const struct options *options, struct troupe__buffer *line, const struct side *a,
                      const struct side *b)
{
    size_t i = 0, k = 0, left_count = a ? a->count : 0, right_count = b ? b->count : 0;
    bool any = false;
    while (i < left_count || k < right_count) {
        const struct item *left = i < left_count ? &a->items[i] : NULL;
        const struct item *right = k < right_count ? &b->items[k] : NULL;
        int order = !left ? 1 : !right ? -1 : compare_items(a, left, b, right);
        i += order <= 0;
        k += order >= 0;
        if (order != 0 || !same_data(a, left, b, right)) {
            put_item(options, line, a, order <= 0 ? left : NULL, b, order >= 0 ? right : NULL);
            any = true;
        }
    }
    return any;
}

static void print_actor(const struct options *options, const struct side *a, const struct side *b,
                        struct troupe__buffer *line, struct counts *counts)
{
    const struct side *named = a ? a : b;
    const char *type = (const char *)named->actor + 2, *key = type + strlen(type) + 1;
    char address[TROUPE_NAME_MAX + TROUPE_KEY_MAX + 2];
    snprintf(address, sizeof address, "%.63s/%.255s", type, key);
    line->size = 0;
    if (options->json) {
        put(line, a && b ? "{\"change\":\"changed\",\"actor\":"
                  : a    ? "{\"change\":\"gone\",\"actor\":"
                         : "{\"change\":\"added\",\"actor\":");
        troupe__json_write_string(address, strlen(address), line);
        put(line, ",\"values\":[");
    } else {
        put(line, a && b ? "~ " : a ? "- " : "+ ");
        put(line, address);
        put(line, "\n");
    }
    if (!put_items(options, line, a, b) && a && b) {
        counts->same++;
        return;
    }
    put(line, options->json ? "]}\n" : "");
    counts->added += !a;
    counts->gone += !b;
    counts->changed += a && b;
    fwrite(line->data, 1, line->size, stdout);
}

static enum troupe_error compare(const struct options *options, struct side *a, struct side *b, struct counts *counts)
{
    struct troupe__buffer line = {0};
    enum troupe_error result = gather(a);
    result = result == TROUPE_OK ? gather(b) : result;
    while (result == TROUPE_OK && (a->actor_size || b->actor_size)) {
        int order = !a->actor_size   ? 1
                    : !b->actor_size ? -1
                                     : compare_bytes(a->actor, a->actor_size, b->actor, b->actor_size);
        print_actor(options, order <= 0 ? a : NULL, order >= 0 ? b : NULL, &line, counts);
        if (line.failed) {
            snprintf(a->error, sizeof a->error, "out of memory");
            result = TROUPE_ENOMEM;
        }
        result = result == TROUPE_OK && order <= 0 ? gather(a) : result;
        result = result == TROUPE_OK && order >= 0 ? gather(b) : result;
    }
    troupe__buffer_free(&line);
    result = result == TROUPE_OK ? count_messages(a) : result;
    return result == TROUPE_OK ? count_messages(b) : result;
}

/* Returns whether anything differs. */
static bool print_end(const struct options *options, const struct side *a, const struct side *b,
                      const struct counts *counts)
{
    static const enum troupe__table tables[] = {TROUPE__MAIL, TROUPE__TIMER, TROUPE__DEAD, TROUPE__JOB, TROUPE__OUTBOX};
    static const char *const names[] = {"waiting", "delayed", "dead", "jobs", "in_flight"};
    bool differ = counts->added + counts->gone + counts->changed > 0;
    printf(options->json ? "{\"added\":%" PRIu64 ",\"gone\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"same\":%" PRIu64
                         : "actors: %" PRIu64 " added, %" PRIu64 " gone, %" PRIu64 " changed, %" PRIu64
                           " the same\nmessages:",
           counts->added, counts->gone, counts->changed, counts->same);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        uint64_t before = a->messages[tables[i]], after = b->messages[tables[i]];
        printf(options->json ? ",\"%s\":[%" PRIu64 ",%" PRIu64 "]" : " %s %" PRIu64 " -> %" PRIu64 ";", names[i],
               before, after);
        differ = differ || before != after;
    }
    fputs(options->json ? "}\n" : "\n", stdout);
    return differ;
}

int troupe__diff(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"data", "DIR", set_data, "the node's directory, where named snapshots stand (default: troupe-data)"},
        {"json", NULL, set_json, "print JSON, an object a line"},
        {0},
    };
    struct options options = {.data = "troupe-data"};
    const struct troupe__command command = {
        .name = "snapshot diff",
        .usage =
            "usage: troupe snapshot diff A B\n\n"
            "Compares two snapshots, or directories of what does not run, of the same or another number of nodes:\n"
            "actors that were added (+), are gone (-) or have changed (~), with the values that differ side by\n"
            "side; then how many messages wait, are delayed, dead or on their way in each.\n",
        .after = "Exit codes: 0 the same, 1 different, 2 wrong arguments or failed.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (argc - operand != 2) {
        return troupe__wrong_operands(command.name, "name two snapshots", argv + operand, argc - operand, 2);
    }
    struct side *sides = calloc(2, sizeof *sides);
    struct counts counts = {.same = 0};
    if (!sides) {
        return fail("out of memory", TROUPE_ENOMEM);
    }
    struct side *a = &sides[0], *b = &sides[1];
    struct compared compared = {.shown = {.progress = {.command = command.name}}, .shows = !isatty(STDOUT_FILENO)};
    a->compared = b->compared = &compared;
    enum troupe_error result = open_side(a, options.data, argv[operand]);
    result = result == TROUPE_OK ? open_side(b, options.data, argv[operand + 1]) : result;
    if (result == TROUPE_OK) {
        const unsigned tables = 1u << TROUPE__STATE | message_tables;
        compared.shown.what = "comparing";
        compared.shown.all = troupe__cut_rows(&a->cut, tables) + troupe__cut_rows(&b->cut, tables);
        result = compare(&options, a, b, &counts);
    }
    troupe__progress_end(&compared.shown.progress);
    code = result != TROUPE_OK                  ? fail(a->error[0] ? a->error : b->error, result)
           : print_end(&options, a, b, &counts) ? EXIT_DIFFERENT
                                                : EXIT_SAME;
    close_side(a);
    close_side(b);
    free(sides);
    return code;
}
