/* recast.c - the rows of a troupe's nodes dealt out anew to another number of nodes: restoring N nodes to M.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the tables in their order. META comes first and is kept, but for the ids: numbers of links say what
 * flew, counters and egresses are carried on, and all of it is written at the end. */
#include "runtime/snapshot/recast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/message.h"
#include "core/specs.h"
#include "runtime/machine/links.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"
#include "runtime/snapshot/recast_parts.h"

/* META rows of others, as links.c and node.c write them. */
static const char cluster_row[] = "cluster", colour_row[] = "colour", link_prefix[] = "link/",
                  input_prefix[] = "input/";

/* META rows that say nothing to a new node: its links, outputs and snapshots are its own. */
static const char *const left_behind[] = {"cluster", "incarnation", "coloured", "output", "snapshot"};

enum troupe_error troupe__recast_no_memory(struct troupe__recasting *recast)
{
    snprintf(recast->error, recast->error_size, "out of memory");
    return TROUPE_ENOMEM;
}

enum troupe_error troupe__recast_corrupt(struct troupe__recasting *recast, uint16_t node, const char *what)
{
    snprintf(recast->error, recast->error_size, "%s in the part of node %u: use another snapshot", what, node);
    return TROUPE_ECORRUPT;
}

/* ---- sources and sink -------------------------------------------------------------------------------------------- */

static enum troupe_error advance(struct troupe__recasting *recast, struct troupe__recast_old *old)
{
    enum troupe_error result =
        old->source->next(old->source, &old->table, &old->key, &old->value, recast->error, recast->error_size);
    if (result == TROUPE_ENOTFOUND) {
        old->table = TROUPE__TABLE_COUNT;
        return TROUPE_OK;
    }
    return result;
}

enum troupe_error troupe__recast_set(struct troupe__recasting *recast, uint16_t node, enum troupe__table table,
                                     struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__recast_sink *sink = recast->options->sink;
    return sink->set(sink, node, table, key, value, recast->error, recast->error_size);
}

/* Set a row to what stands in recast->row. */
enum troupe_error troupe__recast_set_row(struct troupe__recasting *recast, uint16_t node, enum troupe__table table,
                                         struct troupe_bytes key)
{
    return recast->row.failed ? troupe__recast_no_memory(recast)
                              : troupe__recast_set(recast, node, table, key,
                                                   (struct troupe_bytes){recast->row.data, recast->row.size});
}

enum troupe_error troupe__recast_set_number_row(struct troupe__recasting *recast, uint16_t node,
                                                enum troupe__table table, uint64_t number)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    return troupe__recast_set_row(recast, node, table, (struct troupe_bytes){key, sizeof key});
}

/* ---- META -------------------------------------------------------------------------------------------------------- */

static bool has_prefix(struct troupe_bytes key, const char *prefix)
{
    size_t size = strlen(prefix);
    return key.size > size && memcmp(key.data, prefix, size) == 0;
}

static bool is(struct troupe_bytes key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static bool is_left_behind(struct troupe_bytes key)
{
    for (size_t i = 0; i < sizeof left_behind / sizeof *left_behind; i++) {
        if (is(key, left_behind[i])) {
            return true;
        }
    }
    return has_prefix(key, link_prefix) || has_prefix(key, TROUPE__RETURN_PREFIX);
}

/* Returns false when the row is malformed. */
static bool note_meta(struct troupe__recasting *recast, struct troupe__recast_old *old)
{
    struct troupe__cursor cursor = troupe__recast_cursor(old->value);
    if (troupe__counters_is(old->key)) {
        return troupe__counters_decode(old->value, &old->counters);
    }
    struct troupe__link_row link;
    int peer = troupe__links_row_read(old->key, old->value, recast->old_count, &link);
    if (peer >= 0) {
        old->accepted[peer] = link.accepted;
        return true;
    }
    if (peer == TROUPE__LINK_ROW_BAD) {
        return false;
    }
    if (is(old->key, colour_row)) {
        old->colour = troupe__cursor_varint(&cursor);
    } else if (!is_left_behind(old->key)) {
        troupe__record_set(&old->meta, TROUPE__META, old->key.data, old->key.size, old->value.data, old->value.size);
    }
    return !cursor.failed;
}

static int compare_keys(struct troupe_bytes a, struct troupe_bytes b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The old node whose next row of `table` has the lowest key, and the one with the lowest but one; -1: none. */
static void find_lowest(const struct troupe__recasting *recast, enum troupe__table table, int *ret_first,
                        int *ret_second)
{
    *ret_first = *ret_second = -1;
    for (int i = 0; i < recast->old_count; i++) {
        if (recast->olds[i].table != table) {
            continue;
        }
        if (*ret_first < 0 || compare_keys(recast->olds[i].key, recast->olds[*ret_first].key) < 0) {
            *ret_second = *ret_first;
            *ret_first = i;
        } else if (*ret_second < 0 || compare_keys(recast->olds[i].key, recast->olds[*ret_second].key) < 0) {
            *ret_second = i;
        }
    }
}

/* An id belongs to its actor. */
static enum troupe_error recast_id(struct troupe__recasting *recast, uint16_t from)
{
    struct troupe__recast_old *old = &recast->olds[from];
    struct troupe__cursor cursor = troupe__recast_cursor(old->value);
    (void)troupe__cursor_varint(&cursor);
    uint64_t slot = troupe__cursor_varint(&cursor);
    if (cursor.failed || slot >= TROUPE__SLOTS) {
        return troupe__recast_corrupt(recast, from, "a malformed id");
    }
    return troupe__recast_set(recast, troupe__recast_owner(recast, (uint16_t)slot), TROUPE__META, old->key, old->value);
}

static enum troupe_error recast_meta(struct troupe__recasting *recast)
{
    enum troupe_error result = TROUPE_OK;
    int first, second;
    for (find_lowest(recast, TROUPE__META, &first, &second); first >= 0 && result == TROUPE_OK;
         find_lowest(recast, TROUPE__META, &first, &second)) {
        struct troupe__recast_old *old = &recast->olds[first];
        if (has_prefix(old->key, TROUPE__ID_PREFIX)) {
            result = recast_id(recast, (uint16_t)first);
        } else if (!note_meta(recast, old)) {
            result = troupe__recast_corrupt(recast, (uint16_t)first, "a malformed row of meta");
        }
        result = result == TROUPE_OK ? advance(recast, old) : result;
    }
    return result;
}

/* ---- rows that keep their keys ----------------------------------------------------------------------------------- */

static bool slot_in_key(struct troupe_bytes key, size_t offset, uint16_t *ret_slot)
{
    const unsigned char *at = (const unsigned char *)key.data + offset;
    if (key.size < offset + 2) {
        return false;
    }
    *ret_slot = (uint16_t)(at[0] << 8 | at[1]);
    return *ret_slot < TROUPE__SLOTS;
}

/* The handle that cancels a timer is with who set it. */
static bool slot_of_timer(struct troupe_bytes value, uint16_t *ret_slot)
{
    struct troupe__cursor cursor = troupe__recast_cursor(value);
    struct troupe__message_row message;
    (void)troupe__cursor_varint(&cursor);
    struct troupe_bytes row = {cursor.at, (size_t)(cursor.end - cursor.at)};
    if (cursor.failed || !troupe__message_row_decode(row, &message)) {
        return false;
    }
    *ret_slot = message.from_actor ? message.from_slot : message.to_slot;
    return true;
}

static bool slot_of_job(struct troupe_bytes value, uint16_t *ret_slot)
{
    struct troupe__cursor cursor = troupe__recast_cursor(value);
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    (void)troupe__cursor_varint(&cursor);
    (void)troupe__cursor_varint(&cursor);
    if (!troupe__address_read(&cursor, type, key)) {
        return false;
    }
    *ret_slot = troupe__slot_of(type, key);
    return true;
}

static enum troupe_error recast_row(struct troupe__recasting *recast, enum troupe__table table, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    uint16_t slot = 0;
    bool good = false;
    switch (table) {
    case TROUPE__STATE:
        good = slot_in_key(old->key, 0, &slot);
        break;
    case TROUPE__SWEEP:
        good = slot_in_key(old->key, 8, &slot);
        break;
    case TROUPE__TIMER:
        good = slot_of_timer(old->value, &slot);
        break;
    case TROUPE__JOB:
        good = slot_of_job(old->value, &slot);
        break;
    case TROUPE__RESPONSE:
        return troupe__recast_response(recast, from);
    default:
        break;
    }
    return good ? troupe__recast_set(recast, troupe__recast_owner(recast, slot), table, old->key, old->value)
                : troupe__recast_corrupt(recast, from, "a row that belongs to no slot");
}

/* All old nodes' rows side by side, so that those of each new one come in order. */
static enum troupe_error recast_merged(struct troupe__recasting *recast, enum troupe__table table)
{
    enum troupe_error result = TROUPE_OK;
    int first, second;
    for (find_lowest(recast, table, &first, &second); first >= 0 && result == TROUPE_OK;
         find_lowest(recast, table, &first, &second)) {
        struct troupe__recast_old *old = &recast->olds[first];
        const struct troupe__recast_old *next = second >= 0 ? &recast->olds[second] : NULL;
        if (next && compare_keys(old->key, next->key) == 0) {
            return troupe__recast_corrupt(recast, (uint16_t)second, "a row that another part has too");
        }
        do {
            result = recast_row(recast, table, (uint16_t)first);
            result = result == TROUPE_OK ? advance(recast, old) : result;
        } while (result == TROUPE_OK && old->table == table && (!next || compare_keys(old->key, next->key) < 0));
    }
    return result;
}

/* ---- records on their way out ------------------------------------------------------------------------------------ */

static struct troupe__egress_name *find_egress(struct troupe__recast_new *node, struct troupe_bytes name)
{
    for (size_t i = 0; i < node->egress_count; i++) {
        if (is(name, node->egresses[i].name)) {
            return &node->egresses[i];
        }
    }
    struct troupe__egress_name *egresses = realloc(node->egresses, (node->egress_count + 1) * sizeof *egresses);
    if (!egresses || name.size > TROUPE_NAME_MAX) {
        node->egresses = egresses ? egresses : node->egresses;
        return NULL;
    }
    node->egresses = egresses;
    struct troupe__egress_name *egress = &egresses[node->egress_count++];
    *egress = (struct troupe__egress_name){0};
    memcpy(egress->name, name.data, name.size);
    return egress;
}

static void note_released(struct troupe__recasting *recast)
{
    for (uint16_t i = 0; i < recast->old_count; i++) {
        struct troupe__recast_old *old = &recast->olds[i];
        uint64_t released = recast->options->released[i];
        released = released < old->counters.egress ? released : old->counters.egress;
        if (released > old->counters.egress_released) {
            old->counters.egress_released = released;
        }
    }
}

/* Messages are numbered anew, above all numbers there were: an ask of the earlier format that was handled and is
 * answered later keeps its own, which an actor may hold. Ids go on from the highest. */
static void note_sequences(struct troupe__recasting *recast)
{
    uint64_t last = 0, id_last = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__counters *counters = &recast->olds[i].counters;
        last = counters->sequence > last ? counters->sequence : last;
        id_last = counters->timer > id_last ? counters->timer : id_last;
    }
    for (uint16_t i = 0; i < recast->new_count; i++) {
        recast->news[i].sequence = last;
        recast->news[i].id_last = id_last;
    }
}

/* What a new node carries on of its predecessor. */
static enum troupe_error inherit(struct troupe__recasting *recast, uint16_t node)
{
    struct troupe__recast_new *new = &recast->news[node];
    uint16_t before = recast->options->predecessors[node];
    if (before == TROUPE__RECAST_NOBODY) {
        return TROUPE_OK;
    }
    const struct troupe__recast_old *old = &recast->olds[before];
    struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
    struct troupe__change change;
    new->egress_number = old->counters.egress;
    new->egress_released = old->counters.egress_released;
    while (troupe__record_next(&cursor, &change)) {
        if (has_prefix(change.key, TROUPE__EGRESS_PREFIX)) {
            size_t prefix = strlen(TROUPE__EGRESS_PREFIX);
            struct troupe_bytes name = {(const char *)change.key.data + prefix, change.key.size - prefix};
            struct troupe__cursor value = troupe__recast_cursor(change.value);
            struct troupe__egress_name *egress = find_egress(new, name);
            if (!egress) {
                return troupe__recast_no_memory(recast);
            }
            egress->sequence = troupe__cursor_varint(&value);
        }
    }
    return TROUPE_OK;
}

/* Records that are out are left behind, a row of which some are not is kept whole, as its node would. Those of an old
 * node that is nobody's predecessor are numbered anew. */
static enum troupe_error recast_egress(struct troupe__recasting *recast, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    uint16_t heir = recast->options->heirs[from];
    struct troupe__recast_new *new = &recast->news[heir];
    bool as_before = recast->options->predecessors[heir] == from;
    struct troupe__cursor cursor = troupe__recast_cursor(old->value);
    struct troupe__egress egress;
    uint64_t first = new->egress_number + 1;
    recast->row.size = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        if (egress.number <= old->counters.egress_released) {
            continue;
        }
        if (as_before) {
            return troupe__recast_set(recast, heir, TROUPE__EGRESS, old->key, old->value);
        }
        struct troupe__egress_name *name = find_egress(new, egress.name);
        if (!name) {
            return troupe__recast_no_memory(recast);
        }
        egress.number = ++new->egress_number;
        egress.sequence = ++name->sequence;
        troupe__egress_put(&recast->row, &egress);
    }
    if (cursor.failed) {
        return troupe__recast_corrupt(recast, from, "a malformed record on its way out");
    }
    return recast->row.size > 0 ? troupe__recast_set_number_row(recast, heir, TROUPE__EGRESS, first) : TROUPE_OK;
}

/* ---- what a new node begins with --------------------------------------------------------------------------------- */

static struct troupe_bytes name_bytes(const char *name)
{
    return (struct troupe_bytes){name, strlen(name)};
}

static enum troupe_error set_counters(struct troupe__recasting *recast, uint16_t node)
{
    struct troupe__recast_new *new = &recast->news[node];
    struct troupe__counters counters = {new->sequence, new->id_last, new->egress_number, new->egress_released, 0,
                                        new->waiting};
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__counters *old = &recast->olds[i].counters;
        counters.now_ms = old->now_ms > counters.now_ms ? old->now_ms : counters.now_ms;
    }
    recast->row.size = 0;
    troupe__counters_encode(&counters, &recast->row);
    enum troupe_error result = troupe__recast_set_row(recast, node, TROUPE__META, name_bytes(TROUPE__COUNTERS_ROW));
    for (size_t i = 0; i < new->egress_count &&result == TROUPE_OK; i++) {
        char key[sizeof TROUPE__EGRESS_PREFIX + TROUPE_NAME_MAX];
        snprintf(key, sizeof key, "%s%s", TROUPE__EGRESS_PREFIX, new->egresses[i].name);
        recast->row.size = 0;
        troupe__buffer_put_varint(&recast->row, new->egresses[i].sequence);
        result = troupe__recast_set_row(recast, node, TROUPE__META, name_bytes(key));
    }
    return result;
}

static enum troupe_error set_place(struct troupe__recasting *recast, uint16_t node)
{
    const struct troupe__slots *slots = recast->options->slots;
    uint64_t colour = 0;
    for (uint16_t i = 0; i < recast->old_count; i++) {
        colour = recast->olds[i].colour > colour ? recast->olds[i].colour : colour;
    }
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, slots->cluster);
    troupe__buffer_put_varint(&recast->row, slots->generation);
    troupe__buffer_put_varint(&recast->row, node);
    troupe__buffer_put_varint(&recast->row, troupe__slots_hash(slots));
    enum troupe_error result = troupe__recast_set_row(recast, node, TROUPE__META, name_bytes(cluster_row));
    recast->row.size = 0;
    troupe__buffer_put_varint(&recast->row, colour);
    return result == TROUPE_OK && colour > 0
               ? troupe__recast_set_row(recast, node, TROUPE__META, name_bytes(colour_row))
               : result;
}

/* The position that a new node without a predecessor that had one goes on from: lines may come again, none is lost. */
static bool is_least_position(const struct troupe__recasting *recast, const struct troupe__change *input)
{
    struct troupe__cursor mine = troupe__recast_cursor(input->value);
    uint64_t least = troupe__cursor_varint(&mine);
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__recast_old *old = &recast->olds[i];
        struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
        struct troupe__change change;
        while (troupe__record_next(&cursor, &change)) {
            struct troupe__cursor value = troupe__recast_cursor(change.value);
            if (compare_keys(change.key, input->key) == 0 && troupe__cursor_varint(&value) < least) {
                return false;
            }
        }
    }
    return true;
}

/* A position without what the file is known again by: on another machine one of that name may be another file. */
static struct troupe_bytes without_trace(struct troupe_bytes input)
{
    struct troupe__cursor cursor = troupe__recast_cursor(input);
    (void)troupe__cursor_varint(&cursor); /* offset */
    (void)troupe__cursor_varint(&cursor); /* line */
    return cursor.failed ? input
                         : (struct troupe_bytes){input.data, (size_t)(cursor.at - (const unsigned char *)input.data)};
}

/* Whether all old nodes have the same row. */
static bool is_everywhere(const struct troupe__recasting *recast, const struct troupe__change *row)
{
    for (uint16_t i = 0; i < recast->old_count; i++) {
        const struct troupe__recast_old *old = &recast->olds[i];
        struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
        struct troupe__change change;
        bool found = false;
        while (!found && troupe__record_next(&cursor, &change)) {
            found = compare_keys(change.key, row->key) == 0;
        }
        if (!found || change.value.size != row->value.size ||
            memcmp(change.value.data, row->value.data, row->value.size) != 0) {
            return false;
        }
    }
    return true;
}

/* META rows of old node `from` that are kept as they are. What modules declared is: if the nodes do not agree, none is
 * told, and all its rows are looked at when it starts. */
static enum troupe_error set_kept(struct troupe__recasting *recast, uint16_t node, uint16_t from)
{
    const struct troupe__recast_old *old = &recast->olds[from];
    struct troupe__cursor cursor = {old->meta.data, old->meta.data + old->meta.size, false};
    struct troupe__change change;
    bool is_predecessor = recast->options->predecessors[node] == from;
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && troupe__record_next(&cursor, &change)) {
        bool is_input = has_prefix(change.key, input_prefix);
        if (has_prefix(change.key, TROUPE__EGRESS_PREFIX)) {
            continue;
        }
        if (is(change.key, TROUPE__SPECS_ROW)) {
            result = is_everywhere(recast, &change)
                         ? troupe__recast_set(recast, node, TROUPE__META, change.key, change.value)
                         : result;
            continue;
        }
        if (is_predecessor) {
            result = troupe__recast_set(recast, node, TROUPE__META, change.key, change.value);
        } else if (is_input && is_least_position(recast, &change)) {
            result = troupe__recast_set(recast, node, TROUPE__META, change.key, without_trace(change.value));
        }
    }
    return result;
}

static enum troupe_error set_meta(struct troupe__recasting *recast, uint16_t node)
{
    uint16_t before = recast->options->predecessors[node];
    enum troupe_error result = set_counters(recast, node);
    if (result == TROUPE_OK && !recast->options->alone) {
        result = set_place(recast, node);
    }
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        result = i == before ? TROUPE_OK : set_kept(recast, node, i);
    }
    return result == TROUPE_OK && before != TROUPE__RECAST_NOBODY ? set_kept(recast, node, before) : result;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

typedef enum troupe_error (*recast_fn)(struct troupe__recasting *recast, uint16_t from);

/* One old node's rows after the other's. */
static enum troupe_error recast_in_turn(struct troupe__recasting *recast, enum troupe__table table, recast_fn row)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        while (result == TROUPE_OK && recast->olds[i].table == table) {
            result = row(recast, i);
            result = result == TROUPE_OK ? advance(recast, &recast->olds[i]) : result;
        }
    }
    return result;
}

static enum troupe_error recast_table(struct troupe__recasting *recast, enum troupe__table table)
{
    enum troupe_error result;
    switch (table) {
    case TROUPE__META:
        result = recast_meta(recast);
        note_released(recast);
        note_sequences(recast);
        for (uint16_t i = 0; i < recast->new_count && result == TROUPE_OK; i++) {
            result = inherit(recast, i);
        }
        return result;
    case TROUPE__MAIL:
        result = recast_in_turn(recast, table, troupe__recast_mail);
        troupe__recast_sort_asks(recast);
        return result;
    case TROUPE__RESPONSE:
        result = recast_merged(recast, table);
        troupe__recast_sort_opens(recast);
        return result;
    case TROUPE__DEAD:
        return recast_in_turn(recast, table, troupe__recast_dead);
    case TROUPE__EGRESS:
        return recast_in_turn(recast, table, recast_egress);
    case TROUPE__OUTBOX:
        return recast_in_turn(recast, table, troupe__recast_outbox);
    default:
        return recast_merged(recast, table);
    }
}

static enum troupe_error recast_all(struct troupe__recasting *recast)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        struct troupe__recast_old *old = &recast->olds[i];
        old->source = recast->options->sources[i];
        old->accepted = calloc(recast->old_count, sizeof *old->accepted);
        result = old->accepted ? advance(recast, old) : troupe__recast_no_memory(recast);
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT && result == TROUPE_OK; table++) {
        result = recast_table(recast, (enum troupe__table)table);
    }
    for (uint16_t i = 0; i < recast->old_count && result == TROUPE_OK; i++) {
        result = recast->olds[i].meta.failed ? troupe__recast_no_memory(recast) : TROUPE_OK;
    }
    for (uint16_t node = 0; node < recast->new_count && result == TROUPE_OK; node++) {
        result = set_meta(recast, node);
    }
    return result;
}

enum troupe_error troupe__recast(const struct troupe__recast_options *options, struct troupe__recast_counts *ret,
                                 char *error, size_t error_size)
{
    struct troupe__recasting recast = {.options = options,
                                       .old_count = options->source_count,
                                       .new_count = options->slots->node_count,
                                       .error = error,
                                       .error_size = error_size};
    recast.olds = calloc(recast.old_count, sizeof *recast.olds);
    recast.news = calloc(recast.new_count, sizeof *recast.news);
    enum troupe_error result = recast.olds && recast.news ? recast_all(&recast) : troupe__recast_no_memory(&recast);
    for (uint16_t i = 0; recast.olds && i < recast.old_count; i++) {
        troupe__buffer_free(&recast.olds[i].meta);
        free(recast.olds[i].accepted);
    }
    for (uint16_t i = 0; recast.news && i < recast.new_count; i++) {
        free(recast.news[i].egresses);
        free(recast.news[i].kept);
    }
    free(recast.olds);
    free(recast.news);
    free(recast.asks);
    free(recast.opens);
    troupe__buffer_free(&recast.row);
    if (result == TROUPE_OK) {
        *ret = recast.counts;
    }
    return result;
}
