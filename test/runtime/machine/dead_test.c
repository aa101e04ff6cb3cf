/* dead_test.c - dead letters that are tried again, or dropped, while the node runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

static bool content;     /* else the actor refuses all that comes */
static char heard[128];  /* what it took, in order */
static uint32_t attempt; /* of the last of them */

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)ctx;
    if (!content) {
        return TROUPE_EREJECTED;
    }
    attempt = message->attempt;
    size_t at = strlen(heard);
    snprintf(heard + at, sizeof heard - at, "%s:%.*s ", message->type, (int)message->body.size,
             (const char *)message->body.data);
    return TROUPE_OK;
}

static const struct troupe_type types[] = {{.name = "test/moody", .handler = handle}};
static const struct troupe_module module = {TROUPE_ABI, "moody", "1", types, 1};

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    char error[512];
};

static void open_machine(struct fixture *f)
{
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&f->machine, &module, f->store, 7, NULL, NULL), TROUPE_OK);
    assert_int_equal(troupe__machine_set_now(&f->machine, 1000), TROUPE_OK);
}

static void close_machine(struct fixture *f)
{
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.disk = troupe__memory_disk_new()};
    content = false;
    heard[0] = '\0';
    open_machine(f);
}

static void teardown(struct fixture *f)
{
    close_machine(f);
    troupe__epoch_fini(&f->epoch);
    troupe__memory_disk_free(f->disk);
}

static void tell(struct fixture *f, const char *type, const char *body)
{
    struct troupe_address to = troupe_to("test/moody", "a");
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, to, type, troupe_string(body)), TROUPE_OK);
}

static void run(struct fixture *f)
{
    size_t count;
    assert_int_equal(troupe__machine_run(&f->machine, 100, &count), TROUPE_OK);
}

static void commit(struct fixture *f)
{
    assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
    struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
    assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
    f->store->refresh(f->store);
}

struct letters {
    size_t count;
    uint64_t number; /* of the last */
    unsigned char row[256];
    size_t row_size;
};

static enum troupe_error note_letter(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct letters *letters = context;
    assert_true(key.size == 8 && value.size <= sizeof letters->row);
    letters->count++;
    letters->number = troupe__get_be64(key.data);
    letters->row_size = value.size;
    memcpy(letters->row, value.data, value.size);
    return TROUPE_OK;
}

static struct letters letters_of(struct fixture *f)
{
    struct letters letters = {.count = 0};
    struct troupe_bytes all = {"", 0};
    assert_int_equal(f->store->scan(f->store, TROUPE__DEAD, all, note_letter, &letters), TROUPE_OK);
    return letters;
}

static enum troupe_error move(struct fixture *f, const struct letters *letters, bool retry, uint64_t *ret_number)
{
    return troupe__machine_move_dead(&f->machine, letters->number,
                                     (struct troupe_bytes){letters->row, letters->row_size}, retry, ret_number);
}

/* It comes behind what waits, as if it had never failed; a crash before the commit leaves the letter, one after it the
 * message, and never both. */
static void a_letter_that_is_retried_is_a_message_again_once(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t number = 0;
    setup(&f);
    tell(&f, "first", "body");
    run(&f);
    commit(&f);
    struct letters letters = letters_of(&f);
    assert_int_equal(letters.count, 1);
    content = true;
    for (int committed = 0; committed < 2; committed++) {
        tell(&f, "second", "");
        assert_int_equal(move(&f, &letters, true, &number), TROUPE_OK);
        assert_int_equal(number, f.machine.sequence);
        if (committed) {
            commit(&f);
        }
        close_machine(&f);
        open_machine(&f);
        assert_int_equal(letters_of(&f).count, !committed);
        run(&f);
        assert_string_equal(heard, committed ? "second: first:body " : "");
    }
    assert_int_equal(attempt, 1);
    commit(&f);
    close_machine(&f);
    open_machine(&f);
    run(&f);
    assert_string_equal(heard, "second: first:body ");
    teardown(&f);
}

static void a_letter_that_is_dropped_is_gone(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t number = 0;
    setup(&f);
    tell(&f, "first", "body");
    run(&f);
    commit(&f);
    struct letters letters = letters_of(&f);
    content = true;
    assert_int_equal(move(&f, &letters, false, &number), TROUPE_OK);
    run(&f);
    commit(&f);
    assert_int_equal(letters_of(&f).count, 0);
    assert_string_equal(heard, "");
    teardown(&f);
}

/* What never was a message cannot become one, but it can be dropped; a row that is none stays. */
static void what_is_no_message_is_not_retried(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t number = 0;
    setup(&f);
    assert_int_equal(troupe__machine_bury(&f.machine, "no JSON", troupe_string("half a li")), TROUPE_OK);
    commit(&f);
    struct letters letters = letters_of(&f);
    assert_int_equal(letters.count, 1);
    assert_int_equal(move(&f, &letters, true, &number), TROUPE_EINVAL);
    assert_non_null(strstr(f.machine.error, "never was a message"));
    letters.row_size--; /* Its text is shorter by one byte. */
    assert_int_equal(move(&f, &letters, true, &number), TROUPE_EINVAL);
    letters.row_size = 3;
    assert_int_equal(move(&f, &letters, true, &number), TROUPE_ECORRUPT);
    assert_false(troupe__machine_dirty(&f.machine));
    assert_int_equal(move(&f, &letters, false, &number), TROUPE_OK);
    commit(&f);
    assert_int_equal(letters_of(&f).count, 0);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_that_is_retried_is_a_message_again_once),
        cmocka_unit_test(a_letter_that_is_dropped_is_gone),
        cmocka_unit_test(what_is_no_message_is_not_retried),
    };
    return cmocka_run_group_tests_name("dead", tests, NULL, NULL);
}
