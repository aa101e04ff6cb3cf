/* outbox_test.c - a backlog lies on disk, and comes back in order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "mailbox/outbox.h"
#include "state/memory_store.h"

enum { LINK = 5, MEMORY_MAX = 1000, CHUNK_SIZE = 150 };

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__buffer record;
    struct troupe__outbox outbox;
    uint64_t epoch;
};

static void push(struct fixture *f, uint64_t number)
{
    char text[32];
    struct troupe_bytes message = {text,
                                   (size_t)snprintf(text, sizeof text, "message %llu", (unsigned long long)number)};
    assert_true(troupe__outbox_push(&f->outbox, f->epoch + 1, message, CHUNK_SIZE));
    assert_int_equal(f->outbox.last, number);
}

static uint64_t commit(struct fixture *f, bool fold)
{
    troupe__outbox_seal(&f->outbox, f->epoch + 1, &f->record);
    struct troupe_bytes record = {f->record.data, f->record.size};
    assert_int_equal(f->store->commit(f->store, ++f->epoch, record), TROUPE_OK);
    f->record.size = 0;
    return fold ? f->store->refresh(f->store) : 0;
}

static void check(struct fixture *f, uint64_t number)
{
    char text[32];
    struct troupe__outbox_chunk chunk;
    size_t size = (size_t)snprintf(text, sizeof text, "message %llu", (unsigned long long)number);
    assert_int_equal(troupe__outbox_get(&f->outbox, f->store, number, &chunk), TROUPE_OK);
    assert_in_range(number, chunk.first, chunk.last);
    struct troupe__cursor cursor = {chunk.messages.data,
                                    (const unsigned char *)chunk.messages.data + chunk.messages.size, false};
    const unsigned char *message = NULL;
    size_t message_size = 0;
    for (uint64_t at = chunk.first; at <= number; at++) {
        message = troupe__cursor_string(&cursor, &message_size);
    }
    assert_int_equal(message_size, size);
    assert_memory_equal(message, text, size);
}

static enum troupe_error no_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)context, (void)key, (void)value;
    fail_msg("a row is left");
    return TROUPE_OK;
}

/* Memory stays at its limit whatever is pushed, once the tables have it, and not before. */
static void a_backlog_lies_on_disk_and_comes_back_in_order(void **state)
{
    (void)state;
    struct fixture f = {.disk = troupe__memory_disk_new()};
    char error[200];
    assert_int_equal(troupe__memory_store_open(f.disk, &f.store, error, sizeof error), TROUPE_OK);
    troupe__outbox_init(&f.outbox, LINK, MEMORY_MAX, 1, 0);
    uint64_t last = 0, first = 1;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++) {
            push(&f, ++last);
        }
        size_t before = troupe__outbox_memory(&f.outbox);
        troupe__outbox_spill(&f.outbox, commit(&f, false));
        assert_int_equal(troupe__outbox_memory(&f.outbox), before);
        troupe__outbox_spill(&f.outbox, commit(&f, true));
        assert_in_range(troupe__outbox_memory(&f.outbox), 1, MEMORY_MAX);
        for (uint64_t number = first; number <= last; number += 7) {
            check(&f, number);
        }
        first = last - 150 < first ? first : round % 2 ? last - 20 : first + 60; /* in memory, and not */
        troupe__outbox_trim(&f.outbox, f.store, first - 1, &f.record);
        assert_in_range(f.outbox.first, first - CHUNK_SIZE / 10, first); /* Chunks go as a whole. */
        check(&f, first);
        check(&f, last);
    }
    troupe__outbox_trim(&f.outbox, f.store, last, &f.record);
    assert_int_equal(troupe__outbox_size(&f.outbox), 0);
    assert_true(troupe__outbox_empty(&f.outbox));
    commit(&f, true);
    assert_int_equal(f.store->scan(f.store, TROUPE__OUTBOX, (struct troupe_bytes){NULL, 0}, no_row, NULL), TROUPE_OK);
    troupe__outbox_fini(&f.outbox);
    troupe__buffer_free(&f.record);
    f.store->close(f.store);
    troupe__memory_disk_free(f.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backlog_lies_on_disk_and_comes_back_in_order),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
