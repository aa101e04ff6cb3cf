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

enum { LINK = 5, MEMORY_MAX = 1000 };

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
    unsigned char key[10];
    struct troupe_bytes message = {text,
                                   (size_t)snprintf(text, sizeof text, "message %llu", (unsigned long long)number)};
    troupe__outbox_key(key, LINK, number);
    troupe__record_set(&f->record, TROUPE__OUTBOX, key, sizeof key, message.data, message.size);
    assert_true(troupe__outbox_push(&f->outbox, f->epoch + 1, message, false));
}

static uint64_t commit(struct fixture *f, bool fold)
{
    struct troupe_bytes record = {f->record.data, f->record.size};
    assert_int_equal(f->store->commit(f->store, ++f->epoch, record), TROUPE_OK);
    f->record.size = 0;
    return fold ? f->store->refresh(f->store) : 0;
}

static void check(struct fixture *f, uint64_t number)
{
    char text[32];
    struct troupe_bytes message;
    size_t size = (size_t)snprintf(text, sizeof text, "message %llu", (unsigned long long)number);
    assert_int_equal(troupe__outbox_get(&f->outbox, f->store, number, &message), TROUPE_OK);
    assert_int_equal(message.size, size);
    assert_memory_equal(message.data, text, size);
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
        troupe__outbox_trim(&f.outbox, first - 1);
        check(&f, first);
        check(&f, last);
    }
    troupe__outbox_trim(&f.outbox, last);
    assert_int_equal(troupe__outbox_size(&f.outbox), 0);
    assert_true(f.outbox.first > f.outbox.last);
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
