/* backlog_test.c - the queue of waiting messages whose middle is in the store only.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mailbox/backlog.h"
#include "state/memory_store.h"

static const struct troupe_module module = {.abi = TROUPE_ABI, .name = "none"};

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__actors actors;
    struct troupe__backlog backlog;
    uint64_t epoch, sequence, taken;
};

static int setup(void **state)
{
    char error[256];
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->disk = troupe__memory_disk_new();
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__actors_init(&f->actors, &module, error, sizeof error), TROUPE_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    troupe__backlog_fini(&f->backlog);
    assert_int_equal(f->actors.message_size, 0);
    troupe__actors_fini(&f->actors);
    f->store->close(f->store);
    troupe__memory_disk_free(f->disk);
    free(f);
    return 0;
}

/* `count` messages, each to an actor of its own, in an epoch that is committed and, if asked for, folded. */
static void wait_for_turn(struct fixture *f, size_t count, bool fold)
{
    struct troupe__buffer record = {0}, row = {0};
    for (size_t i = 0; i < count; i++) {
        char name[24];
        unsigned char key[8];
        uint64_t sequence = ++f->sequence;
        int size = snprintf(name, sizeof name, "%llu", (unsigned long long)sequence);
        struct troupe__actor *to = troupe__actors_get(&f->actors, "no/body", name, (size_t)size);
        struct troupe__message *message =
            troupe__message_new(to, NULL, "m", 1, (struct troupe_bytes){&sequence, sizeof sequence});
        assert_non_null(message);
        message->sequence = sequence;
        row.size = 0;
        troupe__message_encode(message, &row);
        troupe__put_be64(key, sequence);
        troupe__record_set(&record, TROUPE__MAIL, key, sizeof key, row.data, row.size);
        troupe__backlog_push(&f->backlog, message);
    }
    assert_int_equal(f->store->commit(f->store, ++f->epoch, (struct troupe_bytes){record.data, record.size}),
                     TROUPE_OK);
    troupe__backlog_seal(&f->backlog, f->epoch, f->sequence);
    troupe__backlog_drop(&f->backlog, fold ? f->store->refresh(f->store) : 0, 0);
    troupe__buffer_free(&record);
    troupe__buffer_free(&row);
}

/* Take up to `size` bytes; they must be what comes next, each with its own content. Returns how many. */
static size_t take(struct fixture *f, size_t size)
{
    struct troupe__message *message;
    size_t count = 0;
    assert_int_equal(troupe__backlog_take(&f->backlog, f->store, &f->actors, size, &message), TROUPE_OK);
    while (message) {
        struct troupe__message *next = message->next;
        uint64_t body;
        memcpy(&body, troupe__message_body(message), sizeof body);
        assert_int_equal(message->sequence, ++f->taken);
        assert_int_equal(body, message->sequence);
        assert_int_equal(strtoull(message->to->key, NULL, 10), message->sequence);
        troupe__message_free(message);
        message = next;
        count++;
    }
    return count;
}

/* Whatever is in memory, in the store, or on its way there, comes once, in order. */
static void messages_come_in_order_from_the_store_and_from_memory(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 10, true);
    wait_for_turn(f, 5, false);
    assert_int_equal(f->backlog.stored, 10);
    assert_int_equal(f->backlog.count, 5);
    assert_int_equal(take(f, 1), 1);
    assert_int_equal(take(f, 300), 4); /* of 80 bytes each */
    wait_for_turn(f, 4, true);         /* lets go of those five, too */
    assert_int_equal(f->backlog.stored, 14);
    assert_int_equal(f->backlog.count, 0);
    assert_int_equal(take(f, SIZE_MAX), 14);
    assert_true(troupe__backlog_empty(&f->backlog));
    assert_int_equal(take(f, SIZE_MAX), 0);
}

/* What the tables do not have stays, however little memory there is. */
static void what_is_not_folded_stays_in_memory(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 7, false);
    assert_int_equal(f->backlog.count, 7);
    troupe__backlog_drop(&f->backlog, f->epoch - 1, 0);
    assert_int_equal(f->backlog.count, 7);
    size_t size = f->backlog.size;
    f->store->refresh(f->store);
    troupe__backlog_drop(&f->backlog, f->epoch, size / 2);
    assert_int_equal(f->backlog.count, 3);
    assert_true(f->backlog.size <= size / 2);
    assert_int_equal(take(f, SIZE_MAX), 7);
}

/* An actor whose mail is in the store only is in no memory, and is there again with its mail. */
static void actors_leave_memory_with_their_mail(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 100, true);
    assert_int_equal(f->actors.index.count, 0);
    assert_int_equal(f->actors.message_size, 0);
    assert_int_equal(take(f, 1), 1);
    assert_int_equal(f->actors.index.count, 1);
}

/* More epochs are sealed than are told apart: what was sealed last counts for those before. */
static void many_epochs_are_let_go_when_the_last_is_folded(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3 * TROUPE__BACKLOG_SEALED; i++) {
        wait_for_turn(f, 2, false);
    }
    wait_for_turn(f, 1, true);
    assert_int_equal(f->backlog.count, 0);
    assert_int_equal(take(f, SIZE_MAX), 6 * TROUPE__BACKLOG_SEALED + 1);
}

static char *copy_row(const struct troupe__buffer *row)
{
    char *copy = malloc(row->size);
    assert_non_null(copy);
    memcpy(copy, row->data, row->size);
    return copy;
}

/* After a start: rows that the journal's rest removed do not come, changed ones come as changed, the last change holds.
 */
static void what_the_journal_changed_holds_over_the_tables(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 4, true);
    struct troupe__buffer row = {0};
    struct troupe__message *message;
    uint64_t body = 3;
    struct troupe__actor *to = troupe__actors_get(&f->actors, "no/body", "3", 1);
    message = troupe__message_new(to, NULL, "m", 1, (struct troupe_bytes){&body, sizeof body});
    message->attempt = 2;
    troupe__message_encode(message, &row);
    troupe__message_free(message);
    struct troupe__backlog_change *changes = calloc(4, sizeof *changes);
    changes[0] = (struct troupe__backlog_change){4, copy_row(&row), row.size};
    changes[1] = (struct troupe__backlog_change){3, copy_row(&row), row.size};
    changes[2] = (struct troupe__backlog_change){1, NULL, 0};
    changes[3] = (struct troupe__backlog_change){4, NULL, 0};
    troupe__buffer_free(&row);
    troupe__backlog_fini(&f->backlog);
    assert_true(troupe__backlog_start(&f->backlog, 4, changes, 4));
    troupe__backlog_seal(&f->backlog, f->store->last_epoch, 4);
    assert_int_equal(f->backlog.stored, 2);
    f->taken = 1;
    assert_int_equal(take(f, 1), 1);
    assert_int_equal(troupe__backlog_take(&f->backlog, f->store, &f->actors, SIZE_MAX, &message), TROUPE_OK);
    assert_int_equal(message->sequence, 3);
    assert_int_equal(message->attempt, 2);
    assert_null(message->next);
    troupe__message_free(message);
    assert_true(troupe__backlog_empty(&f->backlog));
}

/* Rows that are gone are an error, not an empty mailbox. */
static void a_missing_row_is_told(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 3, true);
    f->backlog.stored++;
    struct troupe__message *message;
    assert_int_equal(troupe__backlog_take(&f->backlog, f->store, &f->actors, SIZE_MAX, &message), TROUPE_ECORRUPT);
    assert_null(message);
    assert_non_null(strstr(f->store->error, "not in the tables"));
    f->backlog.stored = 0;
}

/* Its bits would be taken for those of another kind of timer. */
static void a_row_with_a_number_never_given_is_told(void **state)
{
    struct fixture *f = *state;
    wait_for_turn(f, 3, true);
    f->backlog.last = 2;
    struct troupe__message *message;
    assert_int_equal(troupe__backlog_take(&f->backlog, f->store, &f->actors, SIZE_MAX, &message), TROUPE_ECORRUPT);
    assert_non_null(strstr(f->store->error, "mail row 3"));
    f->backlog.stored = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_come_in_order_from_the_store_and_from_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_folded_stays_in_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(actors_leave_memory_with_their_mail, setup, teardown),
        cmocka_unit_test_setup_teardown(many_epochs_are_let_go_when_the_last_is_folded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_journal_changed_holds_over_the_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_row_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_with_a_number_never_given_is_told, setup, teardown),
    };
    return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
