/* model.c - what the rows of a store must be after each epoch, for tests that let it crash.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/crash/model.h"

#include <assert.h>
#include <stdio.h>

static const enum troupe__table tables[MODEL_TABLES] = {TROUPE__STATE, TROUPE__MAIL, TROUPE__EGRESS};

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t from[3] = {a, b, c};
    return troupe__hash(from, sizeof from);
}

/* Rows of 8-byte keys, as the tables of numbers have; those of TROUPE__STATE are far apart. */
static void key_of(size_t cell, unsigned char key[static 8])
{
    troupe__put_be64(key, cell % MODEL_KEYS);
    key[0] = (unsigned char)(cell < MODEL_KEYS ? cell * 10 : 0);
}

static size_t value_size(uint64_t dice)
{
    static const size_t most[16] = {8, 8, 8, 8, 8, 8, 100, 100, 100, 100, 400, 400, 1500, 3000, 5000, 12000};
    return (size_t)(dice >> 8) % most[dice % 16] + 1;
}

static uint64_t change_cell(uint64_t dice, uint64_t epoch, size_t cell, struct troupe__buffer *record)
{
    static unsigned char value[160000];
    unsigned char key[8];
    key_of(cell, key);
    enum troupe__table table = tables[cell / MODEL_KEYS];
    if (dice % 4 == 0) {
        troupe__record_remove(record, table, key, sizeof key);
        return 0;
    }
    size_t size = epoch % 29 == 17 && dice % 3 == 0 ? 60000 + (dice >> 20) % 100000 : value_size(dice >> 4);
    for (size_t i = 0; i < size; i++) {
        value[i] = (unsigned char)(dice >> i % 57);
    }
    troupe__record_set(record, table, key, sizeof key, value, size);
    return troupe__hash(value, size) | 1;
}

static void change_all(uint64_t seed, uint64_t epoch, struct troupe__buffer *record, uint64_t *cells)
{
    uint64_t count = 1 + mix(seed, epoch, 0) % 12;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t dice = mix(seed, epoch, i);
        size_t cell = (dice >> 50) % MODEL_CELLS;
        uint64_t hash = change_cell(dice, epoch, cell, record);
        if (cells) {
            cells[cell] = hash;
        }
    }
}

void model_record(uint64_t seed, uint64_t epoch, struct troupe__buffer *record)
{
    change_all(seed, epoch, record, NULL);
}

struct model *model_new(uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    struct troupe__buffer record = {0};
    assert(model);
    model->seed = seed;
    for (uint64_t epoch = 1; epoch <= MODEL_EPOCHS_MAX; epoch++) {
        memcpy(model->cells[epoch], model->cells[epoch - 1], sizeof model->cells[epoch]);
        record.size = 0;
        change_all(seed, epoch, &record, model->cells[epoch]);
    }
    troupe__buffer_free(&record);
    return model;
}

struct rows {
    uint64_t cells[MODEL_CELLS];
    size_t table;
    uint64_t epoch;
    const char *wrong;
};

static uint64_t *find(struct rows *rows, size_t table, struct troupe_bytes key)
{
    for (size_t cell = table * MODEL_KEYS; cell < (table + 1) * MODEL_KEYS; cell++) {
        unsigned char wanted[8];
        key_of(cell, wanted);
        if (key.size == 8 && memcmp(key.data, wanted, 8) == 0) {
            return &rows->cells[cell];
        }
    }
    rows->wrong = "a row that was never written";
    return NULL;
}

static enum troupe_error take_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct rows *rows = context;
    uint64_t *cell = find(rows, rows->table, key);
    if (cell) {
        *cell = troupe__hash(value.data, value.size) | 1;
    }
    return cell ? TROUPE_OK : TROUPE_ECORRUPT;
}

static enum troupe_error take_record(void *context, uint64_t epoch, struct troupe_bytes record)
{
    struct rows *rows = context;
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    if (rows->epoch != 0 && epoch != rows->epoch + 1) {
        rows->wrong = "epochs are replayed out of order";
    }
    rows->epoch = epoch;
    while (!rows->wrong && troupe__record_next(&cursor, &change)) {
        size_t table = 0;
        while (table < MODEL_TABLES && tables[table] != change.table) {
            table++;
        }
        uint64_t *cell = table < MODEL_TABLES ? find(rows, table, change.key) : NULL;
        if (cell) {
            *cell = change.removed ? 0 : troupe__hash(change.value.data, change.value.size) | 1;
        }
    }
    if (cursor.failed) {
        rows->wrong = "a record is malformed";
    }
    return rows->wrong ? TROUPE_ECORRUPT : TROUPE_OK;
}

enum troupe_error model_check(const struct model *model, struct troupe__store *store, uint64_t floor, uint64_t top,
                              char *error, size_t error_size)
{
    struct rows rows = {0};
    uint64_t last = store->last_epoch;
    enum troupe_error result = TROUPE_OK;
    store->error[0] = '\0';
    for (size_t i = 0; i < MODEL_TABLES && result == TROUPE_OK; i++) {
        rows.table = i;
        result = store->scan(store, tables[i], (struct troupe_bytes){"", 0}, take_row, &rows);
    }
    result = result == TROUPE_OK ? store->replay(store, take_record, &rows) : result;
    if (rows.wrong || result != TROUPE_OK) {
        snprintf(error, error_size, "%s", rows.wrong ? rows.wrong : store->error);
        return rows.wrong ? TROUPE_EFAILED : result;
    }
    if (last < floor || last > top || last > MODEL_EPOCHS_MAX || (rows.epoch != 0 && rows.epoch != last)) {
        snprintf(error, error_size, "epoch %llu, replayed up to %llu; %llu to %llu were expected",
                 (unsigned long long)last, (unsigned long long)rows.epoch, (unsigned long long)floor,
                 (unsigned long long)top);
        return TROUPE_EFAILED;
    }
    for (size_t i = 0; i < MODEL_CELLS; i++) {
        if (rows.cells[i] != model->cells[last][i]) {
            snprintf(error, error_size, "after epoch %llu row %zu of table %d is not what was written",
                     (unsigned long long)last, i % MODEL_KEYS, (int)tables[i / MODEL_KEYS]);
            return TROUPE_EFAILED;
        }
    }
    return TROUPE_OK;
}

enum troupe_error model_commit(const struct model *model, struct troupe__store *store, uint64_t epoch, int times)
{
    struct troupe__buffer record = {0};
    while (times-- > 0) {
        model_record(model->seed, epoch, &record);
    }
    enum troupe_error result = store->commit(store, epoch, (struct troupe_bytes){record.data, record.size});
    troupe__buffer_free(&record);
    return result;
}
