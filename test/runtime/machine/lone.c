/* lone.c - a machine on the store in memory, without a thread, a socket or a clock, and what is outside of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/runtime/machine/lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

/* Records are told apart by name and sequence: a repeat must be what it was, a new one must be the next. */
static void outside_take(struct outside *outside, const struct troupe__egress *egress)
{
    struct record record = {.sequence = egress->sequence, .hash = troupe__hash(egress->body.data, egress->body.size)};
    memcpy(record.name, egress->name.data, egress->name.size);
    memcpy(record.key, egress->key.data, egress->key.size);
    uint64_t last = 0;
    for (size_t i = 0; i < outside->count; i++) {
        struct record *old = &outside->records[i];
        if (strcmp(old->name, record.name) == 0) {
            last = old->sequence;
            if (last == record.sequence) {
                outside->faults += old->hash != record.hash || strcmp(old->key, record.key) != 0;
                return;
            }
        }
    }
    outside->faults += record.sequence != last + 1;
    if (outside->count == outside->capacity) {
        outside->capacity = outside->capacity ? outside->capacity * 2 : 64;
        outside->records = realloc(outside->records, outside->capacity * sizeof *outside->records);
        assert_non_null(outside->records);
    }
    outside->records[outside->count++] = record;
}

uint64_t lone_hash_answer(const struct troupe__answer *answer)
{
    return troupe__hash(answer->body.data, answer->body.size) + answer->result +
           troupe__hash(answer->type.data, answer->type.size);
}

/* Each answer comes once. */
static void outside_take_answers(struct outside *outside, const struct troupe__buffer *answers)
{
    struct troupe__cursor cursor = {answers->data, answers->data + answers->size, false};
    while (cursor.at < cursor.end) {
        struct troupe_bytes row;
        struct troupe__answer answer;
        uint64_t number;
        bool answered;
        row.data = troupe__cursor_string(&cursor, &row.size);
        assert_true(troupe__response_decode(row, &number, &answered, &answer) && answered);
        for (size_t i = 0; i < outside->answer_count; i++) {
            outside->faults += outside->answers[i].number == number;
        }
        assert_true(outside->answer_count < ASKS_MAX);
        outside->answers[outside->answer_count].number = number;
        outside->answers[outside->answer_count++].hash = lone_hash_answer(&answer);
    }
}

/* Let out what is durable, and tell the machine so. */
static void let_out(struct lone *f, const struct troupe__buffer *records)
{
    struct troupe__cursor cursor = {records->data, records->data + records->size, false};
    struct troupe__egress egress;
    uint64_t last = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        outside_take(&f->outside, &egress);
        last = egress.number;
    }
    f->outside.faults += cursor.failed;
    if (last > 0) {
        troupe__machine_released(&f->machine, last);
    }
}

static void open_machine(struct lone *f)
{
    if (troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error) != TROUPE_OK) {
        fail_msg("open: %s", f->error);
    }
    if (troupe__machine_init(&f->machine, f->module, f->store, 7, NULL, NULL) != TROUPE_OK) {
        fail_msg("init: %s", f->machine.error);
    }
    f->machine.memory_max = f->memory_max;
    f->machine.actors.far_count = f->far ? 0 : TROUPE__ACTORS_NEAR;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
    let_out(f, &f->machine.unreleased);
}

/* What runs when the machine ends is lost. */
static void drop_running(struct lone *f)
{
    while (f->running_count > 0) {
        troupe__job_release(f->running[--f->running_count]);
    }
    troupe__epoch_drop_jobs(&f->epoch);
}

static void close_machine(struct lone *f)
{
    drop_running(f);
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

struct lone *lone_new(const struct troupe_module *module)
{
    struct lone *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->module = module;
    f->now_ms = EPOCH_MS;
    f->memory_max = SIZE_MAX;
    f->disk = troupe__memory_disk_new();
    assert_non_null(f->disk);
    open_machine(f);
    return f;
}

void lone_free(struct lone *f)
{
    close_machine(f);
    troupe__memory_disk_free(f->disk);
    troupe__epoch_fini(&f->epoch);
    free(f->running);
    free(f->outside.records);
    free(f);
}

void lone_run(struct lone *f, size_t budget)
{
    size_t count;
    assert_int_equal(troupe__machine_run(&f->machine, budget, &count), TROUPE_OK);
}

void lone_advance(struct lone *f, int64_t ms)
{
    f->now_ms += ms;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

bool lone_commit(struct lone *f)
{
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    if (f->store->commit(f->store, f->epoch.number, record) != TROUPE_OK) {
        return false;
    }
    let_out(f, &f->epoch.egress);
    for (size_t i = 0; i < f->epoch.job_count; i++) {
        if (f->running_count == f->running_capacity) {
            f->running_capacity = f->running_capacity ? f->running_capacity * 2 : 16;
            f->running = realloc(f->running, f->running_capacity * sizeof *f->running);
            assert_non_null(f->running);
        }
        f->running[f->running_count++] = f->epoch.jobs[i];
    }
    f->epoch.job_count = 0;
    outside_take_answers(&f->outside, &f->epoch.answers);
    return true;
}

/* Make all durable that has happened; `fold` moves it to the tables too. */
void lone_settle(struct lone *f, bool fold)
{
    while (troupe__machine_dirty(&f->machine)) {
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        assert_true(lone_commit(f));
    }
    if (fold) {
        troupe__machine_refresh(&f->machine);
    }
}

void lone_reopen(struct lone *f)
{
    close_machine(f);
    open_machine(f);
}

void lone_arrive(struct lone *f, const char *id, const char *to_type, const char *to_key, const char *type)
{
    struct troupe_bytes body = {"", 0};
    assert_int_equal(troupe__machine_arrive(&f->machine, id, troupe_to(to_type, to_key), type, body), TROUPE_OK);
}

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

/* Rows of a table, as of the last fold. */
size_t lone_rows(struct lone *f, enum troupe__table table)
{
    size_t count = 0;
    assert_int_equal(f->store->scan(f->store, table, (struct troupe_bytes){"", 0}, count_row, &count), TROUPE_OK);
    return count;
}
