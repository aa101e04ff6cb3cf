/* machine_start.c - how a machine becomes what its store's last epoch left: tables first, then the journal's rest.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"

/* Rows of numbered tables while the start collects them, in the order of their numbers. */
struct pile {
    struct pile_row {
        uint64_t number;
        char *value; /* NULL: removed again */
        size_t size;
    } * rows;
    size_t count, capacity;
};

struct start {
    struct troupe__machine *machine;
    struct pile piles[TROUPE__TABLE_COUNT];
    enum troupe__table table;   /* being scanned */
    uint64_t epoch;             /* being replayed */
    struct troupe__id_age *ids; /* in the order noted */
    size_t id_count, id_capacity;
    uint64_t timer_last;                         /* the last timer in the tables */
    uint64_t folded_sequence;                    /* of the last message that the tables know */
    size_t folded_waiting;                       /* the rows of MAIL in the tables */
    struct troupe__backlog_change *mail_changes; /* what the journal's rest changes in them, in its order */
    size_t mail_change_count, mail_change_capacity;
};

static struct pile_row *pile_find(struct pile *pile, uint64_t number)
{
    size_t low = 0, high = pile->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pile->rows[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < pile->count && pile->rows[low].number == number ? &pile->rows[low] : NULL;
}

static enum troupe_error pile_set(struct start *start, enum troupe__table table, uint64_t number,
                                  struct troupe_bytes value)
{
    struct pile *pile = &start->piles[table];
    struct pile_row *row = pile_find(pile, number);
    if (!row) {
        if (pile->count > 0 && pile->rows[pile->count - 1].number > number) {
            snprintf(start->machine->error, sizeof start->machine->error, "table %d: row %llu is out of order",
                     (int)table, (unsigned long long)number);
            return TROUPE_ECORRUPT; /* Numbers only grow: a row below the last one was never written. */
        }
        struct pile_row *rows = troupe__grow(pile->rows, pile->count, &pile->capacity, sizeof *rows);
        if (!rows) {
            return troupe__machine_out_of_memory(start->machine);
        }
        pile->rows = rows;
        row = &pile->rows[pile->count++];
        *row = (struct pile_row){.number = number};
    }
    char *copy = malloc(value.size + 1);
    if (!copy) {
        return troupe__machine_out_of_memory(start->machine);
    }
    memcpy(copy, value.data, value.size);
    free(row->value);
    row->value = copy;
    row->size = value.size;
    return TROUPE_OK;
}

/* since_ms -1: forgotten. */
static enum troupe_error note_id(struct start *start, struct troupe__id id, int64_t since_ms)
{
    struct troupe__id_age *ids = troupe__grow(start->ids, start->id_count, &start->id_capacity, sizeof *ids);
    if (!ids) {
        return troupe__machine_out_of_memory(start->machine);
    }
    start->ids = ids;
    start->ids[start->id_count++] = (struct troupe__id_age){id, since_ms};
    return TROUPE_OK;
}

/* An id may have been taken in, forgotten and taken in again: what was noted last holds. */
static enum troupe_error start_ids(struct start *start)
{
    struct troupe__ids seen = {0}, *ids = &start->machine->ids;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = start->id_count; i-- > 0 && result == TROUPE_OK;) {
        const struct troupe__id_age *age = &start->ids[i];
        if (!troupe__ids_has(&seen, age->id) &&
            (!troupe__ids_add(&seen, age->id, 0) ||
             (age->since_ms >= 0 && !troupe__ids_add(ids, age->id, age->since_ms)))) {
            result = troupe__machine_out_of_memory(start->machine);
        }
    }
    troupe__ids_fini(&seen);
    troupe__ids_sort(ids);
    return result;
}

static enum troupe_error start_counters(struct troupe__machine *machine, struct troupe_bytes value)
{
    struct troupe__counters counters;
    if (!troupe__counters_decode(value, &counters) || counters.sequence > TROUPE__NUMBER_MAX ||
        counters.timer > TROUPE__NUMBER_MAX) {
        snprintf(machine->error, sizeof machine->error, "the counters' row is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    machine->sequence = counters.sequence;
    machine->ctx.timer_last = counters.timer;
    machine->egress_number = counters.egress;
    machine->egress_released = counters.egress_released;
    machine->ctx.now_ms = (int64_t)counters.now_ms;
    machine->waiting = (size_t)counters.waiting;
    return TROUPE_OK;
}

static enum troupe_error start_meta(struct start *start, struct troupe_bytes key, bool removed,
                                    struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    value = removed ? (struct troupe_bytes){"", 0} : value;
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    if (key.size == 3 + 16 && memcmp(key.data, TROUPE__ID_PREFIX, 3) == 0) {
        const unsigned char *at = (const unsigned char *)key.data + 3;
        struct troupe__id id = {troupe__get_be64(at), troupe__get_be64(at + 8)};
        return note_id(start, id, removed ? -1 : (int64_t)troupe__cursor_varint(&cursor));
    }
    if (key.size == TROUPE__RETURN_ROW_KEY_SIZE && memcmp(key.data, TROUPE__RETURN_PREFIX, 7) == 0) {
        return troupe__machine_start_return(machine, key, removed, value);
    }
    if (removed) {
        return TROUPE_OK; /* No other META row is ever removed. */
    }
    if (key.size > 7 && key.size <= 7 + TROUPE_NAME_MAX && memcmp(key.data, TROUPE__EGRESS_PREFIX, 7) == 0) {
        char name[TROUPE_NAME_MAX + 1] = {0};
        memcpy(name, (const char *)key.data + 7, key.size - 7);
        struct troupe__egress_name *egress = troupe__machine_find_egress(machine, name);
        if (!egress) {
            return troupe__machine_out_of_memory(machine);
        }
        egress->sequence = troupe__cursor_varint(&cursor);
        return TROUPE_OK;
    }
    if (troupe__counters_is(key)) {
        return start_counters(machine, value);
    }
    return troupe__machine_remember(machine, key.data, key.size, value);
}

/* Keep a row of a map or list in its overlay. */
static enum troupe_error start_row_of(struct start *start, struct troupe__actor *actor, size_t index,
                                      struct troupe_bytes key, bool removed, struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    struct troupe__collection *collection = troupe__actor_collection(actor, index);
    struct troupe__overlay_row *row = NULL;
    char *bytes = removed ? NULL : malloc(value.size + 1);
    if (collection && (removed || bytes) && key.size <= UINT8_MAX) {
        row = troupe__overlay_put(&machine->actors.unfolded, &collection->overlay, key, start->epoch);
    }
    if (!row) {
        free(bytes);
        return troupe__machine_out_of_memory(machine);
    }
    if (bytes) {
        memcpy(bytes, value.data, value.size);
        bytes[value.size] = '\0';
    }
    free(row->bytes);
    troupe__overlay_give(&machine->actors.unfolded, row, bytes, removed ? 0 : (uint32_t)value.size);
    return TROUPE_OK;
}

/* Keep the row of a single value in its cell; looked at when a handler first asks for it. */
static enum troupe_error start_cell(struct start *start, struct troupe__actor *actor, size_t index, bool removed,
                                    struct troupe_bytes value)
{
    struct troupe__cell *cell = &troupe__actor_cells(actor)[index];
    troupe__cell_free(cell, actor->type->declared->values[index]->kind);
    *cell = (struct troupe__cell){.state = TROUPE__SLOT_ABSENT, .stored = !removed};
    if (removed) {
        return TROUPE_OK;
    }
    char *bytes = malloc(value.size + 1);
    if (!bytes) {
        return troupe__machine_out_of_memory(start->machine);
    }
    if (value.size > 0) {
        memcpy(bytes, value.data, value.size);
    }
    cell->as.bytes = bytes;
    cell->size = (uint32_t)value.size;
    cell->state = TROUPE__SLOT_ROW;
    troupe__actor_measure(actor);
    return TROUPE_OK;
}

/* A change of state that the tables do not have: the actor gets it. */
static enum troupe_error start_state(struct start *start, struct troupe_bytes key, bool removed,
                                     struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    struct troupe__row_key parts;
    if (!troupe__row_key_decode(key, &parts)) {
        snprintf(machine->error, sizeof machine->error, "a state row's key is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    struct troupe__actor *actor = troupe__actors_get(&machine->actors, parts.type, parts.key, strlen(parts.key));
    if (!actor) {
        return troupe__machine_out_of_memory(machine);
    }
    actor->changed_epoch = actor->row_epoch = start->epoch;
    for (size_t i = 0; i < actor->type->value_count; i++) {
        const struct troupe_value *declared = actor->type->declared->values[i];
        if (strlen(declared->name) != parts.value.size ||
            memcmp(declared->name, parts.value.data, parts.value.size) != 0) {
            continue;
        }
        if (!troupe__kind_is_collection(declared->kind)) {
            /* What was an element belongs to a map or list that the module has made a single value of. */
            return parts.is_element ? TROUPE_OK : start_cell(start, actor, i, removed, value);
        }
        const unsigned char *rest = (const unsigned char *)parts.value.data + parts.value.size;
        size_t rest_size = key.size - (size_t)(rest - (const unsigned char *)key.data);
        return start_row_of(start, actor, i, (struct troupe_bytes){rest, rest_size}, removed, value);
    }
    return TROUPE_OK; /* The module has dropped this value; its rows stay. */
}

/* A message to another node that the tables do not have; removals show in its link's row. */
static enum troupe_error start_outbox(struct start *start, struct troupe_bytes key, bool removed,
                                      struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    const unsigned char *at = key.data;
    if (key.size != 10) {
        snprintf(machine->error, sizeof machine->error, "an outbox row's key is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    if (!removed) {
        troupe__buffer_put_varint(&machine->unsent, (uint64_t)at[0] << 8 | at[1]);
        troupe__buffer_put_varint(&machine->unsent, troupe__get_be64(at + 2));
        troupe__buffer_put_string(&machine->unsent, value.data, value.size);
    }
    return machine->unsent.failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
}

/* An answer that was replayed may not be in the tables yet: it stays in memory. */
static enum troupe_error start_response(struct start *start, struct troupe_bytes key, bool removed,
                                        struct troupe_bytes value)
{
    struct troupe__machine *machine = start->machine;
    const unsigned char *at = key.data;
    struct troupe__answer answer;
    uint64_t number = 0;
    bool answered = false, good = key.size == TROUPE__RESPONSE_KEY_SIZE;
    if (!good || (!removed && !troupe__response_decode(value, &number, &answered, &answer))) {
        snprintf(machine->error, sizeof machine->error, "a response row is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    struct troupe__id id = {troupe__get_be64(at), troupe__get_be64(at + 8)};
    struct troupe__response *response = troupe__responses_find(&machine->responses, id);
    if (response && (removed || response->answered || response->number != number)) {
        troupe__responses_remove(&machine->responses, response); /* A later change of the row holds. */
        response = NULL;
    }
    if (removed) {
        return TROUPE_OK;
    }
    if (!response && troupe__responses_find_open(&machine->responses, number)) {
        snprintf(machine->error, sizeof machine->error, "two asks have number %llu: run troupe doctor",
                 (unsigned long long)number);
        return TROUPE_ECORRUPT;
    }
    response =
        response ? response : troupe__responses_add(&machine->responses, id, number, troupe__response_slot(value));
    if (!response || (answered && !troupe__responses_answer(&machine->responses, response, start->epoch,
                                                            start->epoch ? &value : NULL))) {
        return troupe__machine_out_of_memory(machine);
    }
    return TROUPE_OK;
}

/* A row that the tables have, and that stays there for now, is changed or removed. */
static enum troupe_error start_mail_change(struct start *start, uint64_t number, bool removed,
                                           struct troupe_bytes value)
{
    struct troupe__backlog_change *changes =
        troupe__grow(start->mail_changes, start->mail_change_count, &start->mail_change_capacity, sizeof *changes);
    if (!changes) {
        return troupe__machine_out_of_memory(start->machine);
    }
    start->mail_changes = changes;
    struct troupe__backlog_change change = {number, removed ? NULL : malloc(value.size + 1), value.size};
    if (!removed && !change.value) {
        return troupe__machine_out_of_memory(start->machine);
    }
    if (!removed) {
        memcpy(change.value, value.data, value.size);
    }
    start->mail_changes[start->mail_change_count++] = change;
    return TROUPE_OK;
}

static void forget_timer(struct troupe__machine *machine, uint64_t id)
{
    struct troupe__timer timer;
    troupe__timers_cancel(&machine->timers, id, &timer);
    if (timer.what) {
        machine->spill.size -= troupe__message_size(timer.what);
        troupe__message_free(timer.what);
    }
}

/* A timer in the tables: the messages of some are kept in memory, those of others read when they are due. */
static enum troupe_error start_timer_row(struct start *start, uint64_t id, struct troupe_bytes row)
{
    enum { KEPT_SIZE = 8 << 20 };
    struct troupe__machine *machine = start->machine;
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe__timer timer = {(int64_t)troupe__cursor_varint(&cursor), id, NULL, 0};
    struct troupe__message *message = NULL;
    enum troupe_error result = id == 0 || id > TROUPE__NUMBER_MAX || cursor.failed ? TROUPE_ECORRUPT : TROUPE_OK;
    if (result == TROUPE_OK && machine->spill.size < KEPT_SIZE) {
        result = troupe__machine_decode_timer(machine, row, &timer.due_ms, &message);
    }
    if (result != TROUPE_OK) {
        snprintf(machine->error, sizeof machine->error, "timer row %llu: %s: run troupe doctor", (unsigned long long)id,
                 troupe_error_text(result));
        return result;
    }
    timer.what = message;
    if (!troupe__timers_set(&machine->timers, timer)) {
        troupe__message_free(message);
        return troupe__machine_out_of_memory(machine);
    }
    machine->spill.size += message ? troupe__message_size(message) : 0;
    start->timer_last = id;
    return TROUPE_OK;
}

static enum troupe_error start_change(struct start *start, enum troupe__table table, struct troupe_bytes key,
                                      bool removed, struct troupe_bytes value)
{
    if (table == TROUPE__META) {
        return start_meta(start, key, removed, value);
    }
    if (table == TROUPE__STATE) {
        return start_state(start, key, removed, value);
    }
    if (table == TROUPE__RESPONSE) {
        return start_response(start, key, removed, value);
    }
    if (table == TROUPE__OUTBOX) {
        return start_outbox(start, key, removed, value);
    }
    if (table == TROUPE__SWEEP) {
        return TROUPE_OK; /* Only looked at in the tables. */
    }
    if (key.size != 8) {
        snprintf(start->machine->error, sizeof start->machine->error,
                 "table %d: a key of %zu bytes, not 8: run troupe "
                 "doctor",
                 (int)table, key.size);
        return TROUPE_ECORRUPT;
    }
    uint64_t number = troupe__get_be64(key.data);
    if (table == TROUPE__TIMER && start->epoch == 0) {
        return start_timer_row(start, number, value);
    }
    if (table == TROUPE__TIMER && troupe__timers_pending(&start->machine->timers, number)) {
        forget_timer(start->machine, number); /* One that is set once more was never written by a node. */
        return removed ? TROUPE_OK : pile_set(start, table, number, value);
    }
    if (table == TROUPE__MAIL && number <= start->folded_sequence) {
        return start_mail_change(start, number, removed, value);
    }
    if (!removed) {
        return pile_set(start, table, number, value);
    }
    struct pile_row *row = pile_find(&start->piles[table], number);
    if (row) {
        free(row->value);
        row->value = NULL;
    }
    return TROUPE_OK;
}

static enum troupe_error start_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct start *start = context;
    return start_change(start, start->table, key, false, value);
}

static enum troupe_error start_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct start *start = context;
    start->epoch = epoch;
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    start->epoch = epoch;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table == TROUPE__DEAD) {
            continue; /* Only looked at in the tables. */
        }
        enum troupe_error result = start_change(start, change.table, change.key, change.removed, change.value);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (cursor.failed) {
        snprintf(start->machine->error, sizeof start->machine->error, "journal: epoch %llu is malformed",
                 (unsigned long long)epoch);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static enum troupe_error refuse_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__machine *machine = context;
    (void)value;
    snprintf(machine->error, sizeof machine->error,
             "a mail row in the tables, with a key of %zu bytes, has none of the numbers given, 1 to %llu: run troupe "
             "doctor",
             key.size, (unsigned long long)machine->sequence);
    return TROUPE_ECORRUPT;
}

/* The mail in the tables is not read yet; that none of it has a number that was not given costs two searches. */
static enum troupe_error check_mail(struct troupe__machine *machine)
{
    unsigned char first[8], behind[8];
    troupe__put_be64(first, 1);
    troupe__put_be64(behind, machine->sequence + 1);
    const struct troupe__range before = {.high = {first, sizeof first}}, after = {.low = {behind, sizeof behind}};
    enum troupe_error result = machine->store->range(machine->store, TROUPE__MAIL, &before, refuse_row, machine);
    return result == TROUPE_OK ? machine->store->range(machine->store, TROUPE__MAIL, &after, refuse_row, machine)
                               : result;
}

/* What waits in the tables stays there until its turn comes; what only the journal has waits in memory behind it. */
static enum troupe_error start_mail(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__MAIL];
    size_t waiting = machine->waiting;
    if (!troupe__backlog_start(&machine->backlog, start->folded_waiting, start->mail_changes,
                               start->mail_change_count)) {
        return troupe__machine_out_of_memory(machine);
    }
    start->mail_changes = NULL;
    for (size_t i = 0; i < pile->count; i++) {
        if (pile->rows[i].value) {
            struct troupe__message *message;
            struct troupe_bytes row = {pile->rows[i].value, pile->rows[i].size};
            enum troupe_error result = troupe__message_decode(&machine->actors, row, &message);
            if (result != TROUPE_OK) {
                snprintf(machine->error, sizeof machine->error, "mail row %llu: %s",
                         (unsigned long long)pile->rows[i].number, troupe_error_text(result));
                return result;
            }
            message->sequence = pile->rows[i].number;
            troupe__backlog_push(&machine->backlog, message);
            free(pile->rows[i].value);
            pile->rows[i].value = NULL;
        }
    }
    troupe__backlog_seal(&machine->backlog, machine->store->last_epoch, machine->sequence);
    if (machine->backlog.stored + machine->backlog.count != waiting) {
        snprintf(machine->error, sizeof machine->error,
                 "%zu messages wait in the tables and %zu in the journal, but %zu were counted: run troupe doctor",
                 machine->backlog.stored, machine->backlog.count, waiting);
        return TROUPE_ECORRUPT;
    }
    return TROUPE_OK;
}

static enum troupe_error start_timers(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__TIMER];
    for (size_t i = 0; i < pile->count; i++) {
        if (pile->rows[i].value) {
            int64_t due_ms;
            struct troupe__message *message;
            struct troupe_bytes row = {pile->rows[i].value, pile->rows[i].size};
            enum troupe_error result = troupe__machine_decode_timer(machine, row, &due_ms, &message);
            if (result != TROUPE_OK) {
                snprintf(machine->error, sizeof machine->error, "timer row %llu: %s",
                         (unsigned long long)pile->rows[i].number, troupe_error_text(result));
                return result;
            }
            struct troupe__timer timer = {due_ms, pile->rows[i].number, message, 0};
            machine->spill.size += troupe__message_size(message);
            if (!troupe__timers_set(&machine->timers, timer)) {
                troupe__message_free(message);
                return troupe__machine_out_of_memory(machine);
            }
        }
    }
    return TROUPE_OK;
}

/* Records up to the released number are out: their row stays until all of it is. */
static enum troupe_error start_egress(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__EGRESS];
    for (size_t i = 0; i < pile->count; i++) {
        if (!pile->rows[i].value) {
            continue;
        }
        const unsigned char *data = (const unsigned char *)pile->rows[i].value;
        struct troupe__cursor cursor = {data, data + pile->rows[i].size, false};
        struct troupe__egress egress;
        uint64_t first = pile->rows[i].number, next = first;
        while (troupe__egress_next(&cursor, &egress)) {
            cursor.failed |= egress.number != next++;
            if (egress.number > machine->egress_released) {
                troupe__egress_put(&machine->unreleased, &egress);
            }
        }
        if (cursor.failed || next == first || next - 1 > machine->egress_number) {
            snprintf(machine->error, sizeof machine->error, "egress row %llu is malformed: run troupe doctor",
                     (unsigned long long)first);
            return TROUPE_ECORRUPT;
        }
        if (!troupe__egress_rows_push(&machine->egress_rows, first, next - 1)) {
            return troupe__machine_out_of_memory(machine);
        }
    }
    machine->egress_sealed = machine->egress_number;
    return machine->unreleased.failed ? troupe__machine_out_of_memory(machine) : TROUPE_OK;
}

static enum troupe_error start_jobs(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    struct pile *pile = &start->piles[TROUPE__JOB];
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < pile->count && result == TROUPE_OK; i++) {
        if (pile->rows[i].value) {
            struct troupe__job *job;
            struct troupe_bytes row = {pile->rows[i].value, pile->rows[i].size};
            result = troupe__job_decode(&machine->actors, row, &job);
            if (result != TROUPE_OK) {
                snprintf(machine->error, sizeof machine->error, "job row %llu: %s",
                         (unsigned long long)pile->rows[i].number, troupe_error_text(result));
                return result;
            }
            job->id = pile->rows[i].number;
            result = troupe__machine_add_job(machine, job);
            if (result != TROUPE_OK) {
                troupe__job_release(job);
            }
        }
    }
    return result;
}

/* A number that the counters have not given yet would be given again. */
static enum troupe_error check_numbers(struct start *start)
{
    struct troupe__machine *machine = start->machine;
    static const enum troupe__table tables[] = {TROUPE__MAIL, TROUPE__TIMER, TROUPE__JOB};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const struct pile *pile = &start->piles[tables[i]];
        uint64_t last = pile->count > 0 ? pile->rows[pile->count - 1].number : 0;
        last = tables[i] == TROUPE__TIMER && start->timer_last > last ? start->timer_last : last;
        uint64_t given = tables[i] == TROUPE__MAIL ? machine->sequence : machine->ctx.timer_last;
        if (last > given || (pile->count > 0 && pile->rows[0].number == 0)) {
            snprintf(machine->error, sizeof machine->error,
                     "table %d: rows up to %llu, but numbers given are 1 to %llu: run troupe doctor", (int)tables[i],
                     (unsigned long long)last, (unsigned long long)given);
            return TROUPE_ECORRUPT;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error start_all(struct start *start)
{
    static const enum troupe__table tables[] = {TROUPE__META, TROUPE__TIMER, TROUPE__EGRESS, TROUPE__JOB,
                                                TROUPE__RESPONSE};
    struct troupe__machine *machine = start->machine;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && result == TROUPE_OK; i++) {
        start->table = tables[i];
        result = machine->store->scan(machine->store, tables[i], (struct troupe_bytes){"", 0}, start_row, start);
    }
    start->folded_sequence = machine->sequence;
    start->folded_waiting = machine->waiting;
    machine->spill.folded = machine->ctx.timer_last;
    if (result == TROUPE_OK) {
        result = machine->store->replay(machine->store, start_record, start);
    }
    result = result == TROUPE_OK ? start_ids(start) : result;
    result = result == TROUPE_OK ? check_numbers(start) : result;
    result = result == TROUPE_OK ? check_mail(machine) : result;
    result = result == TROUPE_OK ? start_mail(start) : result;
    result = result == TROUPE_OK ? start_timers(start) : result;
    machine->spill.next = machine->spill.last =
        (struct troupe__timer_seal){machine->store->last_epoch, machine->ctx.timer_last};
    result = result == TROUPE_OK ? start_egress(start) : result;
    result = result == TROUPE_OK ? start_jobs(start) : result;
    if (result != TROUPE_OK && machine->error[0] == '\0') {
        snprintf(machine->error, sizeof machine->error, "%s", machine->store->error);
    }
    return result;
}

enum troupe_error troupe__machine_load(struct troupe__machine *machine)
{
    struct start start = {.machine = machine};
    enum troupe_error result = start_all(&start);
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        for (size_t i = 0; i < start.piles[table].count; i++) {
            free(start.piles[table].rows[i].value);
        }
        free(start.piles[table].rows);
    }
    for (size_t i = 0; start.mail_changes && i < start.mail_change_count; i++) {
        free(start.mail_changes[i].value);
    }
    free(start.mail_changes);
    free(start.ids);
    return result;
}
