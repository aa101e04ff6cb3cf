/* row_fuzz.c - the decoders of rows refuse any bytes or read them within their bounds; what is read, written again and
 * read again, is the same.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: the decoder (1 byte), the size of the key (1 byte), the key, the value. */
#include <assert.h>

#include "core/job.h"
#include "core/specs.h"
#include "runtime/machine/egress.h"
#include "runtime/snapshot/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Encoded forms of a value are equal exactly if the values are. */
static void check_message(struct troupe__actors *actors, struct troupe__message *message)
{
    struct troupe__buffer once = {0}, twice = {0};
    troupe__message_encode(message, &once);
    struct troupe__message *again;
    enum troupe_error result = troupe__message_decode(actors, (struct troupe_bytes){once.data, once.size}, &again);
    assert(result == TROUPE_OK);
    troupe__message_encode(again, &twice);
    assert(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    troupe__buffer_free(&once);
    troupe__buffer_free(&twice);
    troupe__message_free(again);
    troupe__message_free(message);
}

static void check_job(struct troupe__actors *actors, struct troupe__job *job)
{
    struct troupe__buffer once = {0}, twice = {0};
    troupe__job_encode(job, &once);
    struct troupe__job *again;
    enum troupe_error result = troupe__job_decode(actors, (struct troupe_bytes){once.data, once.size}, &again);
    assert(result == TROUPE_OK);
    troupe__job_encode(again, &twice);
    assert(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    troupe__buffer_free(&once);
    troupe__buffer_free(&twice);
    troupe__job_release(again);
    troupe__job_release(job);
}

static void check_cell(struct troupe_bytes row, unsigned kind)
{
    struct troupe__cell cell = {0}, again = {0};
    if (kind > TROUPE_PACKED || troupe__cell_decode(&cell, (enum troupe_kind)kind, row) != TROUPE_OK) {
        return;
    }
    struct troupe__buffer once = {0}, twice = {0};
    troupe__cell_encode(&cell, (enum troupe_kind)kind, &once);
    enum troupe_error result =
        troupe__cell_decode(&again, (enum troupe_kind)kind, (struct troupe_bytes){once.data, once.size});
    assert(result == TROUPE_OK);
    troupe__cell_encode(&again, (enum troupe_kind)kind, &twice);
    assert(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    if (kind >= TROUPE_STRING) {
        free(cell.as.bytes);
        free(again.as.bytes);
    }
    troupe__buffer_free(&once);
    troupe__buffer_free(&twice);
}

/* What is put together from its parts is the same again. */
static void check_state(const struct troupe__view_row *row)
{
    struct troupe__row_key key;
    struct troupe__row content, again;
    struct troupe__head head, head_again;
    enum troupe_kind kind, kind_again;
    struct troupe__buffer bytes = {0};
    if (troupe__row_key_decode(row->key, &key)) {
        size_t size = 2 + strlen(key.type) + 1 + strlen(key.key) + 1 + key.value.size;
        assert(key.is_element ? size + 2 + key.element.size <= row->key.size : size == row->key.size);
    }
    if (!troupe__row_decode(row->value, &content)) {
        return;
    }
    assert(content.payload.size <= row->value.size);
    troupe__row_encode_header(&content, &bytes);
    troupe__buffer_put(&bytes, content.payload.data, content.payload.size);
    bool same = troupe__row_decode((struct troupe_bytes){bytes.data, bytes.size}, &again);
    assert(same && again.version == content.version && again.expires_ms == content.expires_ms);
    assert(again.head == content.head && again.payload.size == content.payload.size);
    if (troupe__head_decode(content.payload, &kind, &head)) {
        bytes.size = 0;
        troupe__head_encode(&head, kind, &bytes);
        same = troupe__head_decode((struct troupe_bytes){bytes.data, bytes.size}, &kind_again, &head_again);
        assert(same && kind == kind_again && head.generation == head_again.generation);
        assert(head.first == head_again.first && head.count == head_again.count);
    }
    troupe__buffer_free(&bytes);
}

static void check_records(struct troupe_bytes row)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe__egress egress;
    size_t sum = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        sum += egress.name.size + egress.key.size + egress.body.size;
    }
    assert(sum <= row.size);
}

static void check_changes(struct troupe_bytes record)
{
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    size_t sum = 0;
    while (troupe__record_next(&cursor, &change)) {
        assert(change.table < TROUPE__TABLE_COUNT && change.key.size <= TROUPE__ROW_KEY_MAX);
        sum += change.key.size + change.value.size;
    }
    assert(sum <= record.size);
}

static void check_specs(struct troupe_bytes row)
{
    struct troupe__specs specs, again;
    struct troupe__buffer once = {0}, twice = {0};
    if (troupe__specs_decode(row, &specs) != TROUPE_OK) {
        return;
    }
    troupe__specs_encode(&specs, &once);
    enum troupe_error result = troupe__specs_decode((struct troupe_bytes){once.data, once.size}, &again);
    assert(result == TROUPE_OK && specs.count == again.count);
    troupe__specs_encode(&again, &twice);
    assert(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    troupe__specs_fini(&specs);
    troupe__specs_fini(&again);
    troupe__buffer_free(&once);
    troupe__buffer_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct troupe_module module = {.abi = TROUPE_ABI, .name = "none"};
    static struct troupe__view view; /* only its actors are used */
    static unsigned runs;
    struct troupe__message *message;
    struct troupe__job *job;
    struct troupe__view_dead dead;
    int64_t due_ms;
    uint64_t number;
    if (size < 2 || size - 2 < data[1]) {
        return 0;
    }
    if (runs % 1000 == 0) { /* Names that were read stay in memory. */
        if (runs > 0) {
            troupe__actors_fini(&view.actors);
        }
        enum troupe_error result = troupe__actors_init(&view.actors, &module, view.error, sizeof view.error);
        assert(result == TROUPE_OK);
    }
    runs++;
    struct troupe__view_row row = {.key = {data + 2, data[1]}, .value = {data + 2 + data[1], size - 2 - data[1]}};
    switch (data[0] & 15) {
    case 0:
        if (troupe__view_mail(&view, &row, &message) == TROUPE_OK) {
            check_message(&view.actors, message);
        }
        break;
    case 1:
        if (troupe__view_timer(&view, &row, &due_ms, &message) == TROUPE_OK) {
            check_message(&view.actors, message);
        }
        break;
    case 2:
        if (troupe__view_dead(&view, &row, &dead) == TROUPE_OK) {
            assert(dead.reason.size + dead.text.size <= row.value.size);
            if (dead.message) {
                check_message(&view.actors, dead.message);
            }
        }
        break;
    case 3:
        if (troupe__view_job(&view, &row, &job) == TROUPE_OK) {
            check_job(&view.actors, job);
        }
        break;
    case 4:
        check_state(&row);
        break;
    case 5:
        (void)troupe__view_number(&row, &number);
        break;
    case 6:
        check_records(row.value);
        break;
    case 7:
        check_changes(row.value);
        break;
    case 14:
        check_specs(row.value);
        break;
    default:
        check_cell(row.value, (data[0] & 15) - 8u);
    }
    return 0;
}
