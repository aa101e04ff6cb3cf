/* history.c - what the journals of a troupe's nodes know of the past: the cuts that can be gone back to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/grow.h"
#include "core/store.h"
#include "runtime/machine/counters.h"
#include "runtime/machine/links.h"

enum { PROGRESS_EPOCHS = 64 }; /* from one call of `progress` to the next */

static const char colour_name[] = "colour"; /* META: runtime/machine/links.h */

/* Rows that a node which runs alone does not have. */
static bool is_of_troupe(struct troupe_bytes key)
{
    static const char incarnation[] = "incarnation", link[] = "link/";
    return (key.size == strlen(incarnation) && memcmp(key.data, incarnation, key.size) == 0) ||
           (key.size > strlen(link) && memcmp(key.data, link, strlen(link)) == 0);
}

static bool push(struct troupe__past *past, struct troupe__moment moment)
{
    struct troupe__moment *moments = troupe__grow(past->moments, past->count, &past->capacity, sizeof *moments);
    if (!moments) {
        return false;
    }
    past->moments = moments;
    past->moments[past->count++] = moment;
    return true;
}

/* A journal_fn: note the colour that the epoch takes, and what it knows to be out. */
static enum troupe_error note_epoch(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct troupe__past *past = context;
    struct troupe__cursor cursor = {.at = record.data, .end = (const unsigned char *)record.data + record.size};
    struct troupe__change change;
    (void)hash;
    while (troupe__record_next(&cursor, &change)) {
        if (change.table != TROUPE__META || change.removed) {
            continue;
        }
        struct troupe__counters counters;
        past->of_troupe |= is_of_troupe(change.key);
        if (troupe__counters_is(change.key)) {
            if (!troupe__counters_decode(change.value, &counters)) {
                return TROUPE_ECORRUPT;
            }
            past->released = counters.egress_released;
        }
        if (change.key.size != strlen(colour_name) || memcmp(change.key.data, colour_name, change.key.size) != 0) {
            continue;
        }
        struct troupe__cursor row = {change.value.data, (const unsigned char *)change.value.data + change.value.size,
                                     false};
        struct troupe__moment moment = {.epoch = epoch};
        moment.colour = troupe__cursor_varint(&row);
        moment.time_ms = (int64_t)troupe__cursor_varint(&row);
        if (row.failed) {
            return TROUPE_ECORRUPT;
        }
        if ((past->count == 0 || past->moments[past->count - 1].colour < moment.colour) && !push(past, moment)) {
            return TROUPE_ENOMEM;
        }
    }
    return cursor.failed ? TROUPE_ECORRUPT : TROUPE_OK;
}

static enum troupe_error fail(const struct troupe__past *past, enum troupe_error result, char *error, size_t error_size)
{
    char text[300];
    snprintf(text, sizeof text, "%s", error);
    snprintf(error, error_size, "%.200s: %s", past->data, text[0] ? text : troupe_error_text(result));
    return result;
}

struct reading {
    struct troupe__history *history;
    troupe__journal_fn record;
    void *context;
};

static enum troupe_error read_epoch(void *context, uint64_t epoch, uint64_t hash, struct troupe_bytes record)
{
    struct reading *reading = context;
    struct troupe__history *history = reading->history;
    if (++history->epochs_read % PROGRESS_EPOCHS == 0 && history->progress) {
        history->progress(history->progress_context, "epochs", history->epochs_read);
    }
    return reading->record(reading->context, epoch, hash, record);
}

static enum troupe_error replay(struct troupe__history *history, struct troupe__past *past, uint64_t after,
                                uint64_t last, troupe__journal_fn record, void *context, char *error, size_t error_size)
{
    uint64_t before;
    struct reading reading = {history, record, context};
    struct troupe__journal journal = past->journal;
    journal.last = last;
    error[0] = '\0';
    if (after >= last) {
        return TROUPE_OK;
    }
    if (last > past->last || !troupe__journal_before(&journal, after + 1, &before)) {
        snprintf(error, error_size, "its journal does not have the epochs %llu to %llu", (unsigned long long)after + 1,
                 (unsigned long long)last);
        return fail(past, TROUPE_ECORRUPT, error, error_size);
    }
    enum troupe_error result = troupe__journal_replay(&journal, after, before, read_epoch, &reading, error, error_size);
    return result == TROUPE_OK ? result : fail(past, result, error, error_size);
}

enum troupe_error troupe__history_open(const char *const *directories, size_t count, struct troupe__history *ret,
                                       char *error, size_t error_size)
{
    struct troupe__history history = {.progress = ret->progress, .progress_context = ret->progress_context};
    history.nodes = calloc(count, sizeof *history.nodes);
    enum troupe_error result = TROUPE_OK;
    if (!history.nodes) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    /* All are pinned before any is read: what one says of another is then as old. */
    for (; history.count < count && result == TROUPE_OK; history.count += result == TROUPE_OK) {
        struct troupe__past *past = &history.nodes[history.count];
        snprintf(past->data, sizeof past->data, "%s", directories[history.count]);
        result = troupe__journal_look(&past->journal, past->data, &past->first, error, error_size);
        past->last = past->journal.last;
        past->first = past->first ? past->first : past->last + 1;
    }
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        struct troupe__past *past = &history.nodes[i];
        result = replay(&history, past, past->first - 1, past->last, note_epoch, past, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__history_close(&history);
        return result;
    }
    *ret = history;
    return TROUPE_OK;
}

void troupe__history_close(struct troupe__history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        troupe__journal_unlook(&history->nodes[i].journal);
        free(history->nodes[i].moments);
    }
    free(history->nodes);
    *history = (struct troupe__history){.count = 0};
}

/* The first moment of at least this colour, NULL when there is none. */
static const struct troupe__moment *find(const struct troupe__past *past, uint64_t colour)
{
    size_t low = 0, high = past->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (past->moments[middle].colour < colour) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < past->count ? &past->moments[low] : NULL;
}

uint64_t troupe__history_next(const struct troupe__history *history, uint64_t colour)
{
    uint64_t next = 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct troupe__moment *moment = find(&history->nodes[i], colour + 1);
        next = moment && (next == 0 || moment->colour < next) ? moment->colour : next;
    }
    return next;
}

uint64_t troupe__history_epoch(const struct troupe__history *history, size_t node, uint64_t colour)
{
    const struct troupe__moment *moment = find(&history->nodes[node], colour);
    return moment ? moment->epoch - 1 : history->nodes[node].last;
}

/* A node that has not got there yet would have another moment if it had done anything a second after its last one. */
static int64_t left_at(const struct troupe__past *past, uint64_t colour)
{
    const struct troupe__moment *moment = find(past, colour);
    return moment ? moment->time_ms : past->count > 0 ? past->moments[past->count - 1].time_ms + TROUPE__COLOUR_MS : 0;
}

int64_t troupe__history_time(const struct troupe__history *history, uint64_t colour)
{
    int64_t time_ms = 0;
    for (size_t i = 0; i < history->count; i++) {
        int64_t left_ms = left_at(&history->nodes[i], colour);
        time_ms = left_ms > time_ms ? left_ms : time_ms;
    }
    return time_ms;
}

bool troupe__history_hash(const struct troupe__history *history, size_t node, uint64_t epoch, uint64_t *ret)
{
    const struct troupe__past *past = &history->nodes[node];
    return epoch + 1 >= past->first && epoch + 1 <= past->last &&
           troupe__journal_before(&past->journal, epoch + 1, ret);
}

enum troupe_error troupe__history_replay(struct troupe__history *history, size_t node, uint64_t after, uint64_t last,
                                         troupe__journal_fn record, void *context, char *error, size_t error_size)
{
    return replay(history, &history->nodes[node], after, last, record, context, error, error_size);
}
