/* doctor.c - `troupe doctor`: reads all of a node's directory and says what is wrong.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The work is done in a child process: LMDB trusts the structure of its pages, so a damaged one can end the process
 * that reads it, and the doctor is to say that too. */
#include <ctype.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/frame.h"
#include "mailbox/outbox.h"
#include "mailbox/responses.h"
#include "runtime/machine/egress.h"
#include "runtime/cli/directory.h"
#include "runtime/cli/local.h"
#include "runtime/cli/look.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/streams.h"
#include "runtime/snapshot/view.h"
#include "state/journal.h"
#include "transport/json.h"

enum { FINDINGS_PRINTED = 100, EXIT_UNSURE = 3 /* it could not be looked at */ };

struct doctor {
    struct troupe__view view;
    bool json;
    bool complete[TROUPE__TABLE_COUNT]; /* all rows are known: numbers can be compared */
    uint64_t findings;
    struct troupe__counters counters;
    struct troupe__progress progress;
};

/* Print one line about `where`. */
static void say(struct doctor *doctor, const char *kind, const char *where, const char *text)
{
    struct troupe__buffer line = {0};
    troupe__progress_end(&doctor->progress);
    if (!doctor->json) {
        printf("%s\t%s\t", kind, where);
        for (const char *at = text; *at; at++) { /* Names from damaged rows may hold anything. */
            putchar(iscntrl((unsigned char)*at) ? '?' : *at);
        }
        putchar('\n');
        return;
    }
    troupe__json_write_string(where, strlen(where), &line);
    printf("{\"%s\":%.*s", kind, (int)line.size, (const char *)line.data);
    line.size = 0;
    troupe__json_write_string(text, strlen(text), &line);
    printf(",\"text\":%.*s}\n", (int)line.size, (const char *)line.data);
    troupe__buffer_free(&line);
}

__attribute__((format(printf, 3, 4))) static void find(struct doctor *doctor, const char *where, const char *format,
                                                       ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (++doctor->findings <= FINDINGS_PRINTED) {
        say(doctor, "damage", where, text);
    }
}

static struct troupe__cursor cursor_of(const struct troupe__view_row *row)
{
    return (struct troupe__cursor){row->value.data, (const unsigned char *)row->value.data + row->value.size, false};
}

static bool done(const struct troupe__cursor *cursor)
{
    return !cursor->failed && cursor->at == cursor->end;
}

static bool has_prefix(const struct troupe__view_row *row, const char *prefix)
{
    return row->key.size > strlen(prefix) && memcmp(row->key.data, prefix, strlen(prefix)) == 0;
}

static bool is_key(const struct troupe__view_row *row, const char *key)
{
    return row->key.size == strlen(key) && memcmp(row->key.data, key, row->key.size) == 0;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void check_meta(struct doctor *doctor, const struct troupe__view_row *row)
{
    struct troupe__cursor cursor = cursor_of(row);
    size_t size;
    int varints;
    if (troupe__counters_is(row->key)) {
        return; /* Checked by itself. */
    }
    if (is_key(row, "troupe.format") || is_key(row, "troupe.folded")) {
        (void)troupe__cursor_bytes(&cursor, 16);
        varints = 0;
    } else if (is_key(row, "output") || (has_prefix(row, "return/") && row->key.size == 7 + 16)) {
        (void)troupe__cursor_string(&cursor, &size);
        varints = 1;
    } else if (has_prefix(row, "input/")) { /* And a trace, which older ones do not have. */
        (void)troupe__cursor_varint(&cursor);
        (void)troupe__cursor_varint(&cursor);
        varints = cursor.at != cursor.end ? 1 : 0;
    } else if (has_prefix(row, "id/") && row->key.size == 3 + 16) {
        varints = 2;
    } else if (has_prefix(row, "link/")) {
        varints = 5;
    } else if (is_key(row, "cluster")) { /* And a hash of the slots, which older ones do not have. */
        for (int i = 0; i < 3; i++) {
            (void)troupe__cursor_varint(&cursor);
        }
        varints = cursor.at != cursor.end ? 1 : 0;
    } else if (is_key(row, "colour")) { /* And since when, if that is known. */
        (void)troupe__cursor_varint(&cursor);
        varints = cursor.at != cursor.end ? 1 : 0;
    } else if (is_key(row, "incarnation") || has_prefix(row, "egress/")) {
        varints = 1;
    } else {
        return; /* Another's mark: its form is not known here. */
    }
    for (int i = 0; i < varints; i++) {
        (void)troupe__cursor_varint(&cursor);
    }
    if (!done(&cursor)) {
        find(doctor, "meta", "a row of %zu bytes whose name begins with '%.*s' is malformed", row->value.size,
             (int)strcspn(row->key.data, "/"), (const char *)row->key.data);
    }
}

struct collection { /* The map or list whose rows are being checked: all its rows stand together, the head first. */
    const struct troupe__view_row *head_row;
    struct troupe__head head;
    enum troupe_kind kind;
    uint64_t count; /* elements of its generation so far */
};

/* Whether a sweep of the generation that this element is of is asked for. */
static bool is_swept(struct doctor *doctor, const struct troupe__view_row *row, const struct troupe__row_key *key)
{
    unsigned char sweep[8 + TROUPE__ROW_KEY_MAX] = {0};
    size_t size = row->key.size - key->element.size;
    memcpy(sweep + 8, row->key.data, size);
    return troupe__view_find(&doctor->view, TROUPE__SWEEP, (struct troupe_bytes){sweep, 8 + size}) != NULL;
}

static void end_collection(struct doctor *doctor, struct collection *collection)
{
    struct troupe__row_key key;
    if (collection->head_row && collection->kind == TROUPE_LIST && doctor->complete[TROUPE__STATE] &&
        collection->count != collection->head.count && troupe__row_key_decode(collection->head_row->key, &key)) {
        find(doctor, "state", "%s/%s: list '%.*s' has %llu elements, its head says %llu", key.type, key.key,
             (int)key.value.size, (const char *)key.value.data, (unsigned long long)collection->count,
             (unsigned long long)collection->head.count);
    }
    *collection = (struct collection){.kind = TROUPE_MAP, .head = {.first = TROUPE__LIST_BEGIN}};
}

static void check_element(struct doctor *doctor, const struct troupe__view_row *row, const struct troupe__row_key *key,
                          struct collection *collection)
{
    const char *fault = NULL;
    const struct troupe__view_row *head_row = collection->head_row;
    if (head_row && (row->key.size < head_row->key.size || ((const char *)row->key.data)[head_row->key.size] ||
                     memcmp(row->key.data, head_row->key.data, head_row->key.size) != 0)) {
        end_collection(doctor, collection);
    }
    if (key->generation < collection->head.generation) {
        fault = is_swept(doctor, row, key) ? NULL : "was cleared, and no sweep will remove it";
    } else if (key->generation > collection->head.generation) {
        fault = "is of a generation that its head does not know";
    } else if (collection->kind == TROUPE_LIST) {
        collection->count++;
        if (key->element.size != 8 ||
            troupe__get_be64(key->element.data) - collection->head.first >= collection->head.count) {
            fault = "is at a place that its head does not know";
        }
    }
    if (fault && doctor->complete[TROUPE__STATE] && doctor->complete[TROUPE__SWEEP]) {
        find(doctor, "state", "%s/%s: an element of '%.*s' %s", key->type, key->key, (int)key->value.size,
             (const char *)key->value.data, fault);
    }
}

static void check_state(struct doctor *doctor, const struct troupe__view_row *row, struct collection *collection)
{
    struct troupe__row_key key;
    struct troupe__row content;
    struct troupe__buffer json = {0};
    if (!troupe__row_key_decode(row->key, &key)) {
        find(doctor, "state", "a key of %zu bytes is no actor's", row->key.size);
        return;
    }
    if (key.slot != troupe__slot_of(key.type, key.key)) {
        find(doctor, "state", "%s/%s: value '%.*s' is in slot %u, not %u", key.type, key.key, (int)key.value.size,
             (const char *)key.value.data, key.slot, (unsigned)troupe__slot_of(key.type, key.key));
    }
    bool good = troupe__row_decode(row->value, &content);
    if (key.is_element) {
        check_element(doctor, row, &key, collection);
        good = good && !content.head;
    } else {
        end_collection(doctor, collection);
        if (good && content.head) {
            collection->head_row = row;
            good = troupe__head_decode(content.payload, &collection->kind, &collection->head);
        } else if (good) {
            good = troupe__json_write(content.payload, &json) != TROUPE_ECORRUPT;
        }
    }
    if (!good) {
        find(doctor, "state", "%s/%s: a row of value '%.*s' is malformed", key.type, key.key, (int)key.value.size,
             (const char *)key.value.data);
    }
    troupe__buffer_free(&json);
}

/* A time and a value's key, or 0 and the beginning of its elements' keys in one generation. */
static void check_sweep(struct doctor *doctor, const struct troupe__view_row *row)
{
    unsigned char element[TROUPE__ROW_KEY_MAX + 1];
    struct troupe__row_key key;
    size_t size = row->key.size > 8 ? row->key.size - 8 : 0;
    if (size > 0) {
        memcpy(element, (const char *)row->key.data + 8, size);
        element[size] = 1; /* A generation is followed by an element. */
    }
    bool removes = size > 0 && troupe__get_be64(row->key.data) == 0;
    if (size == 0 || row->value.size > 0 ||
        !troupe__row_key_decode((struct troupe_bytes){element, size + removes}, &key) || key.is_element != removes) {
        find(doctor, "sweep", "a row with a key of %zu bytes is malformed", row->key.size);
    }
}

/* A row with a message, by its number. */
static void check_message(struct doctor *doctor, enum troupe__table table, const struct troupe__view_row *row)
{
    struct troupe__message *message = NULL;
    struct troupe__view_dead dead = {0};
    int64_t due_ms = 0;
    uint64_t number, limit = table == TROUPE__TIMER ? doctor->counters.timer : doctor->counters.sequence;
    const char *where = troupe__view_table_names[table];
    enum troupe_error result;
    if (!troupe__view_number(row, &number)) {
        find(doctor, where, "a key of %zu bytes, not 8", row->key.size);
        return;
    }
    if (table == TROUPE__MAIL) {
        result = troupe__view_mail(&doctor->view, row, &message);
    } else if (table == TROUPE__TIMER) {
        result = troupe__view_timer(&doctor->view, row, &due_ms, &message);
    } else if ((result = troupe__view_dead(&doctor->view, row, &dead)) == TROUPE_OK) {
        message = dead.message;
    }
    if (result != TROUPE_OK) {
        find(doctor, where, "row %llu is malformed (%s)", (unsigned long long)number, troupe_error_text(result));
        message = NULL;
    } else if (message && message->type_size == 0) {
        find(doctor, where, "row %llu: its message has no name", (unsigned long long)number);
    } else if (due_ms < 0 || dead.time_ms < 0) {
        find(doctor, where, "row %llu: its time is before 1970", (unsigned long long)number);
    }
    if (doctor->complete[TROUPE__META] && (number == 0 || number > limit)) {
        find(doctor, where, "row %llu: its number is not of 1 to %llu, those given so far", (unsigned long long)number,
             (unsigned long long)limit);
    }
    if (table == TROUPE__DEAD && troupe__view_find(&doctor->view, TROUPE__MAIL, row->key)) {
        find(doctor, where, "row %llu: a message that waits has this number too", (unsigned long long)number);
    }
    troupe__message_free(message);
}

static void check_job(struct doctor *doctor, const struct troupe__view_row *row)
{
    struct troupe__job *job;
    enum troupe_error result = troupe__view_job(&doctor->view, row, &job);
    if (result != TROUPE_OK) {
        find(doctor, "job", "a row with a key of %zu bytes is malformed (%s)", row->key.size,
             troupe_error_text(result));
        return;
    }
    if (doctor->complete[TROUPE__META] && (job->id == 0 || job->id > doctor->counters.timer)) {
        find(doctor, "job", "row %llu: its number is not of 1 to %llu, those given so far", (unsigned long long)job->id,
             (unsigned long long)doctor->counters.timer);
    }
    if (job->attempt == 0 || job->failures > job->attempt) {
        find(doctor, "job", "row %llu: begun %u times, failed %u times", (unsigned long long)job->id, job->attempt,
             job->failures);
    }
    troupe__job_release(job);
}

static void check_response(struct doctor *doctor, const struct troupe__view_row *row)
{
    struct troupe__answer answer;
    uint64_t number;
    bool answered;
    if (row->key.size != TROUPE__RESPONSE_KEY_SIZE ||
        !troupe__response_decode(row->value, &number, &answered, &answer)) {
        find(doctor, "response", "a row with a key of %zu bytes is malformed", row->key.size);
        return;
    }
    bool is_id = (number & TROUPE__ASK_BIT) != 0;
    uint64_t last = is_id ? doctor->counters.timer : doctor->counters.sequence; /* The latter of an earlier format. */
    number &= ~TROUPE__ASK_BIT;
    if (doctor->complete[TROUPE__META] && (number == 0 || number > last)) {
        find(doctor, "response", "an answer is to ask %llu, but numbers given are 1 to %llu",
             (unsigned long long)number, (unsigned long long)last);
    }
}

/* The number last given on egress `name`; false when there is no such row. */
static bool egress_counter(struct doctor *doctor, struct troupe_bytes name, uint64_t *ret)
{
    char key[7 + TROUPE_NAME_MAX];
    if (name.size > TROUPE_NAME_MAX) {
        return false;
    }
    memcpy(key, "egress/", 7);
    memcpy(key + 7, name.data, name.size);
    const struct troupe__view_row *row =
        troupe__view_find(&doctor->view, TROUPE__META, (struct troupe_bytes){key, 7 + name.size});
    if (row) {
        struct troupe__cursor cursor = cursor_of(row);
        *ret = troupe__cursor_varint(&cursor);
    }
    return row != NULL;
}

struct run { /* One egress: what its rows must go on with. */
    struct troupe_bytes name;
    uint64_t next;
};

static struct run *find_run(struct run **runs, size_t *count, struct troupe_bytes name)
{
    for (size_t i = 0; i < *count; i++) {
        if ((*runs)[i].name.size == name.size && memcmp((*runs)[i].name.data, name.data, name.size) == 0) {
            return &(*runs)[i];
        }
    }
    struct run *more = realloc(*runs, (*count + 1) * sizeof *more);
    if (!more) {
        return NULL;
    }
    *runs = more;
    more[*count] = (struct run){.name = name};
    return &more[(*count)++];
}

struct runs {
    struct run *items;
    size_t count;
    uint64_t next; /* the number that the next record must have; 0: any */
};

/* The records of one row go on with the numbers before it, all together and those of each egress. */
static void check_egress_row(struct doctor *doctor, const struct troupe__view_row *row, bool compare, struct runs *runs)
{
    struct troupe__cursor cursor = cursor_of(row);
    struct troupe__egress egress;
    uint64_t key = 0, released = doctor->counters.egress_released;
    bool numbered = troupe__view_number(row, &key), first = true;
    while (troupe__egress_next(&cursor, &egress)) {
        cursor.failed |= (first && egress.number != key) || egress.name.size == 0 || egress.name.size > TROUPE_NAME_MAX;
        first = false;
        if (compare && runs->next > 0 && egress.number != runs->next) {
            find(doctor, "egress", "record %llu stands where %llu belongs", (unsigned long long)egress.number,
                 (unsigned long long)runs->next);
        }
        runs->next = egress.number + 1;
        struct run *run = find_run(&runs->items, &runs->count, egress.name);
        if (run && compare && run->next && run->next != egress.sequence) {
            find(doctor, "egress", "record %llu has number %llu on '%.*s', not %llu", (unsigned long long)egress.number,
                 (unsigned long long)egress.sequence, (int)egress.name.size, (const char *)egress.name.data,
                 (unsigned long long)run->next);
        }
        if (run) {
            run->next = egress.sequence + 1;
        }
    }
    if (!numbered || first || cursor.failed) {
        find(doctor, "egress", "row %llu is malformed", (unsigned long long)key);
    } else if (compare && runs->next <= released + 1) {
        find(doctor, "egress", "row %llu is still there, all records up to %llu are released", (unsigned long long)key,
             (unsigned long long)released);
    }
}

/* Rows hold what is behind the last released record, without a hole; the first one may begin before it. */
static void check_egress(struct doctor *doctor)
{
    const struct troupe__view_table *table = &doctor->view.tables[TROUPE__EGRESS];
    const struct troupe__counters *counters = &doctor->counters;
    bool compare = doctor->complete[TROUPE__META] && doctor->complete[TROUPE__EGRESS];
    struct runs all = {0};
    uint64_t first = 0;
    for (size_t i = 0; i < table->count; i++) {
        check_egress_row(doctor, table->rows[i], compare, &all);
    }
    if (compare && table->count > 0 && troupe__view_number(table->rows[0], &first) &&
        first > counters->egress_released + 1) {
        find(doctor, "egress", "the first row is %llu, but records from %llu are not released",
             (unsigned long long)first, (unsigned long long)counters->egress_released + 1);
    }
    uint64_t next = table->count > 0 ? all.next : counters->egress_released + 1;
    struct run *runs = all.items;
    size_t run_count = all.count;
    if (compare && next != counters->egress + 1) {
        find(doctor, "egress", "the records end at %llu, the counter says %llu", (unsigned long long)next - 1,
             (unsigned long long)counters->egress);
    }
    for (size_t i = 0; i < run_count && compare; i++) {
        uint64_t last = 0;
        if (!egress_counter(doctor, runs[i].name, &last) || last != runs[i].next - 1) {
            find(doctor, "egress", "'%.*s' ends at %llu, its counter says %llu", (int)runs[i].name.size,
                 (const char *)runs[i].name.data, (unsigned long long)runs[i].next - 1, (unsigned long long)last);
        }
    }
    free(runs);
}

/* The row of the link to node `number`; false when there is none, or it is malformed. */
static bool link_row(struct doctor *doctor, uint64_t number, uint64_t *ret_sent, uint64_t *ret_trimmed)
{
    char key[32];
    struct troupe_bytes bytes = {key, (size_t)snprintf(key, sizeof key, "link/%llu", (unsigned long long)number)};
    const struct troupe__view_row *row = troupe__view_find(&doctor->view, TROUPE__META, bytes);
    if (!row) {
        return false;
    }
    struct troupe__cursor cursor = cursor_of(row);
    *ret_sent = troupe__cursor_varint(&cursor);
    uint64_t left = troupe__cursor_varint(&cursor);
    *ret_trimmed = troupe__cursor_varint(&cursor);
    return !cursor.failed && *ret_trimmed <= left && left <= *ret_sent;
}

/* A row of an outbox: messages, the first of which is `number`. */
static void check_chunk(struct doctor *doctor, uint64_t link, uint64_t number, struct troupe_bytes row)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe_bytes bytes;
    bool malformed = row.size == 0;
    for (; troupe__frame_message(&cursor, &bytes); number++) {
        struct troupe__message *message = NULL;
        if (troupe__message_decode(&doctor->view.actors, bytes, &message) != TROUPE_OK) {
            find(doctor, "outbox", "message %llu to node %llu is malformed", (unsigned long long)number,
                 (unsigned long long)link);
        }
        troupe__message_free(message);
    }
    if (malformed || cursor.failed) {
        find(doctor, "outbox", "the row that has message %llu to node %llu is cut off", (unsigned long long)number,
             (unsigned long long)link);
    }
}

/* An outbox holds what was sent and not trimmed, without a hole. Rows are in the order of their keys. */
static void check_outboxes(struct doctor *doctor)
{
    const struct troupe__view_table *table = &doctor->view.tables[TROUPE__OUTBOX];
    bool compare = doctor->complete[TROUPE__META] && doctor->complete[TROUPE__OUTBOX];
    uint64_t link = UINT64_MAX, next = 0, sent = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct troupe__view_row *row = table->rows[i];
        const unsigned char *key = row->key.data;
        if (row->key.size != 10) {
            find(doctor, "outbox", "a key of %zu bytes, not 10", row->key.size);
            continue;
        }
        uint64_t this_link = (uint64_t)key[0] << 8 | key[1], number = troupe__get_be64(key + 2);
        check_chunk(doctor, this_link, number, row->value);
        if (this_link != link) {
            if (compare && link != UINT64_MAX && next != sent + 1) {
                find(doctor, "outbox", "to node %llu it ends at %llu, %llu were sent", (unsigned long long)link,
                     (unsigned long long)next - 1, (unsigned long long)sent);
            }
            link = this_link;
            if (compare && !link_row(doctor, link, &sent, &next)) {
                find(doctor, "outbox", "the row of the link to node %llu is missing or malformed",
                     (unsigned long long)link);
                compare = false;
            }
            next++;
        }
        if (compare && number != next) {
            find(doctor, "outbox", "to node %llu message %llu stands where %llu belongs", (unsigned long long)link,
                 (unsigned long long)number, (unsigned long long)next);
        }
        next = number + troupe__outbox_count(row->value);
    }
    if (compare && link != UINT64_MAX && next != sent + 1) {
        find(doctor, "outbox", "to node %llu it ends at %llu, %llu were sent", (unsigned long long)link,
             (unsigned long long)next - 1, (unsigned long long)sent);
    }
}

static void check_counters(struct doctor *doctor)
{
    const struct troupe__view_table *meta = &doctor->view.tables[TROUPE__META];
    uint64_t sum = 0;
    doctor->view.error[0] = '\0';
    enum troupe_error result = troupe__view_counters(&doctor->view, &doctor->counters);
    if (result == TROUPE_ENOTFOUND && doctor->view.store->last_epoch > 0 && doctor->complete[TROUPE__META]) {
        find(doctor, "meta", "the counters' row is missing after %llu epochs",
             (unsigned long long)doctor->view.store->last_epoch);
    } else if (result == TROUPE_ECORRUPT) {
        find(doctor, "meta", "the counters' row is malformed");
    }
    if (result != TROUPE_OK) {
        doctor->complete[TROUPE__META] = doctor->complete[TROUPE__META] && doctor->view.store->last_epoch == 0;
        return;
    }
    if (doctor->counters.egress_released > doctor->counters.egress) {
        find(doctor, "meta", "%llu egress records are released, %llu were made",
             (unsigned long long)doctor->counters.egress_released, (unsigned long long)doctor->counters.egress);
    }
    for (size_t i = 0; i < meta->count; i++) {
        struct troupe__cursor cursor = cursor_of(meta->rows[i]);
        sum += has_prefix(meta->rows[i], "egress/") ? troupe__cursor_varint(&cursor) : 0;
    }
    if (doctor->complete[TROUPE__META] && sum != doctor->counters.egress) {
        find(doctor, "meta", "the egresses count %llu records together, the counter of all says %llu",
             (unsigned long long)sum, (unsigned long long)doctor->counters.egress);
    }
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void check_rows(struct doctor *doctor)
{
    struct collection collection = {.kind = TROUPE_MAP, .head = {.first = TROUPE__LIST_BEGIN}};
    check_counters(doctor);
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        const struct troupe__view_table *table = &doctor->view.tables[t];
        for (size_t i = 0; i < table->count; i++) {
            if (i % 1024 == 0) {
                troupe__progress_count(&doctor->progress, "checking", i, troupe__view_table_names[t]);
            }
            if (t == TROUPE__META) {
                check_meta(doctor, table->rows[i]);
            } else if (t == TROUPE__STATE) {
                check_state(doctor, table->rows[i], &collection);
            } else if (t == TROUPE__SWEEP) {
                check_sweep(doctor, table->rows[i]);
            } else if (t == TROUPE__JOB) {
                check_job(doctor, table->rows[i]);
            } else if (t == TROUPE__RESPONSE) {
                check_response(doctor, table->rows[i]);
            } else if (t == TROUPE__MAIL || t == TROUPE__TIMER || t == TROUPE__DEAD) {
                check_message(doctor, (enum troupe__table)t, table->rows[i]);
            }
        }
    }
    end_collection(doctor, &collection);
    check_egress(doctor);
    check_outboxes(doctor);
}

static void show_progress(void *progress, uint64_t rows)
{
    troupe__progress_count(progress, "reading", rows, "rows");
}

/* A node's directory has both files, or none. */
static bool check_files(struct doctor *doctor, const char *directory)
{
    static const char *const names[] = {"journal.log", "tables.mdb"};
    char path[PATH_MAX];
    bool tables =
        (size_t)snprintf(path, sizeof path, "%s/%s", directory, names[1]) < sizeof path && access(path, F_OK) == 0;
    const bool there[2] = {troupe__journal_exists(directory), tables};
    if (there[0] == there[1]) {
        return true;
    }
    find(doctor, "store", "%s/%s is missing, %s is there: %s", directory, names[there[0]], names[!there[0]],
         there[0] ? "troupe run makes it anew if the journal has everything, else restore a backup"
                  : "restore a backup");
    return false;
}

/* `node` is the name of one of several; NULL: it is alone. */
static int examine(const struct troupe__look *look, const char *data, const char *node)
{
    struct doctor doctor = {.json = look->json, .progress = {.command = "doctor"}};
    struct troupe__view *view = &doctor.view;
    if (!check_files(&doctor, data)) {
        return EXIT_FAILURE;
    }
    enum troupe_error result = troupe__view_open(view, data, false);
    view->progress = show_progress;
    view->progress_context = &doctor.progress;
    if (node) {
        say(&doctor, "node", node, data);
    }
    if (result == TROUPE_ECORRUPT) {
        find(&doctor, "store", "%s", view->error);
        return EXIT_FAILURE;
    }
    if (result != TROUPE_OK) {
        fprintf(stderr, "troupe doctor: %s%s%s%s (%s)\n", node ? node : "", node ? ": " : "",
                result == TROUPE_EBUSY ? "in use by a node that runs: " : "", view->error, troupe_error_text(result));
        return EXIT_UNSURE;
    }
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT && result != TROUPE_ENOMEM; t++) {
        result = troupe__view_scan(view, (enum troupe__table)t, (struct troupe_bytes){"", 0});
        doctor.complete[t] = result == TROUPE_OK;
        if (result != TROUPE_OK) {
            find(&doctor, troupe__view_table_names[t], "%s; what comes behind it in this table is not checked",
                 view->error);
        }
    }
    result = result == TROUPE_ENOMEM ? result : troupe__view_replay(view);
    if (result != TROUPE_OK) {
        find(&doctor, "journal", "%s", view->error);
        memset(doctor.complete, 0, sizeof doctor.complete);
    }
    troupe__view_settle(view);
    char text[256];
    size_t size = 0;
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s %zu", t ? ", " : "",
                                 troupe__view_table_names[t], view->tables[t].count);
    }
    say(&doctor, "checked", "tables", text);
    snprintf(text, sizeof text, "%llu records with %llu changes, up to epoch %llu",
             (unsigned long long)view->record_count, (unsigned long long)view->change_count,
             (unsigned long long)view->store->last_epoch);
    say(&doctor, "checked", "journal", text);
    check_rows(&doctor);
    snprintf(text, sizeof text, "%llu findings", (unsigned long long)doctor.findings);
    say(&doctor, "result", doctor.findings ? "damaged" : "good",
        !doctor.findings                     ? "nothing is wrong"
        : doctor.findings > FINDINGS_PRINTED ? "more than what is listed; restore a backup"
                                             : "restore a backup, or copy what can still be read");
    troupe__view_close(view);
    return doctor.findings ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* In a process of its own: LMDB may read where there is nothing. */
static int examine_apart(const struct troupe__look *look, const char *data, const char *node)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        return examine(look, data, node); /* Better than nothing. */
    }
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* Whatever a sanitizer would do: the parent is to see the signal. */
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        int code = examine(look, data, node);
        _exit(troupe__streams_close("doctor", code) == code ? code : EXIT_UNSURE);
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0) {
        perror("troupe doctor: waitpid");
        return EXIT_FAILURE;
    }
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    struct doctor doctor = {.json = look->json};
    find(&doctor, "store",
         "reading ended by signal %d (%s): pages of tables.mdb are damaged or cut off: "
         "restore a backup",
         WTERMSIG(status), strsignal(WTERMSIG(status)));
    return EXIT_FAILURE;
}

int troupe__doctor(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "doctor",
        .examples = "  troupe doctor --data /var/lib/shop && echo good\n",
        .help = "usage: troupe doctor [--data DIR | DIR]\n\n"
                "Reads all of a node's directory, or of each of a troupe: the checksum of every row, the checksum and "
                "the chain of every\n"
                "record that is not in the tables yet, the form of every row, and whether the counters fit the rows.\n"
                "Says what it finds, changes nothing.\n"};
    struct troupe__reach reach;
    int code = troupe__look_parse(&look, argc, argv, 0, 0);
    if (code >= 0) {
        return code;
    }
    const char *data = look.reach.data ? look.reach.data : "troupe-data";
    char error[512];
    enum troupe_error result = troupe__directory_check(data, error, sizeof error);
    if (result != TROUPE_OK) {
        troupe__look_complain(&look, error, result);
        return EXIT_UNSURE;
    }
    if (!troupe__local_is_troupe(data)) {
        return examine_apart(&look, data, NULL);
    }
    code = troupe__look_open(&look, &reach);
    if (code >= 0) {
        return code;
    }
    code = EXIT_SUCCESS;
    for (size_t i = 0; i < reach.count; i++) {
        int found = examine_apart(&look, reach.nodes[i].data, reach.nodes[i].name);
        code = found == EXIT_SUCCESS || code == EXIT_FAILURE ? code : found; /* Damage is the worst. */
    }
    troupe__reach_close(&reach);
    return code;
}
