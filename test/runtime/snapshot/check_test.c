/* check_test.c - the view of a cut that a module's check is given shows all there is, as handlers would read it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "runtime/snapshot/check.h"
#include "runtime/machine/machine.h"
#include "state/memory_store.h"

/* ---- actors that have some of everything ------------------------------------------------------------------------- */

static enum troupe_error count_up(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                  struct troupe_bytes old, struct troupe_bytes *ret)
{
    int64_t number;
    (void)value, (void)version;
    enum troupe_error error = troupe_unpack(ctx, old, "i", &number);
    *ret = troupe_pack(ctx, "i", number + 1000);
    return error;
}

static const struct troupe_value number = {.name = "number", .kind = TROUPE_INT},
                                 newer = {.name = "number", .kind = TROUPE_INT, .version = 1, .migrate = count_up},
                                 real = {.name = "real", .kind = TROUPE_DOUBLE},
                                 truth = {.name = "truth", .kind = TROUPE_BOOL},
                                 text = {.name = "text", .kind = TROUPE_STRING},
                                 brief = {.name = "brief", .kind = TROUPE_INT, .ttl_ms = 1000},
                                 map = {.name = "map", .kind = TROUPE_MAP},
                                 list = {.name = "list", .kind = TROUPE_LIST};
static const struct troupe_value *const values[] = {&number, &real, &truth, &text, &brief, &map, &list, NULL};

static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    return troupe_job_return(job, input);
}

static const struct troupe_job_type job_type = {.name = "work", .run = work};
static const struct troupe_job_type *const jobs[] = {&job_type, NULL};

static enum troupe_error fill(struct troupe_context *ctx)
{
    char key[16];
    assert_int_equal(troupe_set_int(ctx, &number, 7), TROUPE_OK);
    assert_int_equal(troupe_set_double(ctx, &real, 0.5), TROUPE_OK);
    assert_int_equal(troupe_set_bool(ctx, &truth, true), TROUPE_OK);
    assert_int_equal(troupe_set_bytes(ctx, &text, troupe_string("words")), TROUPE_OK);
    assert_int_equal(troupe_set_int(ctx, &brief, 3), TROUPE_OK);
    for (int i = 0; i < 100; i++) { /* More than are removed one by one: the next ones are of another generation. */
        snprintf(key, sizeof key, "old%d", i);
        assert_int_equal(troupe_map_set(ctx, &map, troupe_string(key), troupe_string("x")), TROUPE_OK);
    }
    assert_int_equal(troupe_clear(ctx, &map), TROUPE_OK);
    assert_int_equal(troupe_map_set(ctx, &map, troupe_string("a"), troupe_string("1")), TROUPE_OK);
    assert_int_equal(troupe_map_set(ctx, &map, troupe_string("b"), troupe_string("2")), TROUPE_OK);
    assert_int_equal(troupe_list_push_back(ctx, &list, troupe_string("back")), TROUPE_OK);
    assert_int_equal(troupe_list_push_front(ctx, &list, troupe_string("front")), TROUPE_OK);
    assert_int_equal(troupe_send_after(ctx, 5000, troupe_to("test/b", "late"), "later",
                                       troupe_pack(ctx, "{s:i}", "n", (int64_t)1), NULL),
                     TROUPE_OK);
    return troupe_job(ctx, &job_type, troupe_string("input"), "done", NULL);
}

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "fill") == 0) {
        return fill(ctx);
    }
    if (strcmp(message->type, "set") == 0) {
        return troupe_set_int(ctx, &number, 1);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "not wanted");
}

static enum troupe_error check(struct troupe_view *view, struct troupe_report *report);

static const struct troupe_type types[] = {{.name = "test/a", .handler = handle, .values = values, .jobs = jobs},
                                           {.name = "test/b", .handler = handle, .values = values}};
static const struct troupe_module module = {TROUPE_ABI, "check", "1", types, 2, check};

/* ---- a machine, and its cut -------------------------------------------------------------------------------------- */

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    struct troupe__cut cut;
    struct troupe_report report;
    char error[640];
};

static void commit(struct fixture *f)
{
    while (troupe__machine_dirty(&f->machine)) {
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        troupe__epoch_drop_jobs(&f->epoch);
        struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
        assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
    }
    troupe__machine_refresh(&f->machine);
}

static int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->disk = troupe__memory_disk_new();
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(troupe__machine_init(&f->machine, &module, f->store, 7, NULL, NULL), TROUPE_OK);
    assert_int_equal(troupe__machine_set_now(&f->machine, 1000000), TROUPE_OK);
    *state = f;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    troupe__report_fini(&f->report);
    troupe__cut_fini(&f->cut);
    troupe__machine_fini(&f->machine);
    troupe__epoch_fini(&f->epoch);
    f->store->close(f->store);
    troupe__memory_disk_free(f->disk);
    free(f);
    return 0;
}

static void deliver(struct fixture *f, const char *type, const char *key, const char *name)
{
    size_t count;
    assert_int_equal(
        troupe__machine_arrive(&f->machine, NULL, troupe_to(type, key), name, (struct troupe_bytes){"", 0}), TROUPE_OK);
    assert_int_equal(troupe__machine_run(&f->machine, 1, &count), TROUPE_OK);
}

static enum troupe_error scan(void *source, enum troupe__table table, struct troupe_bytes prefix, troupe__row_fn row,
                              void *context)
{
    struct troupe__store *store = source;
    return store->scan(store, table, prefix, row, context);
}

static void take_cut(struct fixture *f)
{
    commit(f);
    troupe__cut_fini(&f->cut);
    assert_int_equal(troupe__cut_add_rows(&f->cut, "n1", 0, scan, f->store, f->store->error), TROUPE_OK);
    assert_int_equal(troupe__cut_ready(&f->cut), TROUPE_OK);
}

static enum troupe_error (*look)(struct troupe_view *view, struct troupe_report *report);

static enum troupe_error check(struct troupe_view *view, struct troupe_report *report)
{
    return look(view, report);
}

static enum troupe_error run_check(struct fixture *f,
                                   enum troupe_error (*what)(struct troupe_view *view, struct troupe_report *report))
{
    look = what;
    return troupe__check_cut(&module, &f->cut, &f->report, f->error, sizeof f->error);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void bytes_are(struct troupe_bytes bytes, const char *expected)
{
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

static enum troupe_error see_values(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_address actor;
    struct troupe_bytes bytes, key;
    int64_t integer;
    double fraction;
    bool yes;
    (void)report;
    assert_int_equal(troupe_view_next_actor(view, "test/a", &actor), TROUPE_OK);
    assert_string_equal(actor.key, "full");
    assert_int_equal(troupe_view_int(view, &number, &integer), TROUPE_OK);
    assert_int_equal(integer, 7);
    assert_int_equal(troupe_view_int(view, &newer, &integer), TROUPE_OK);
    assert_int_equal(integer, 1007);
    assert_int_equal(troupe_view_double(view, &real, &fraction), TROUPE_OK);
    assert_true(fraction == 0.5);
    assert_int_equal(troupe_view_bool(view, &truth, &yes), TROUPE_OK);
    assert_true(yes);
    assert_int_equal(troupe_view_bytes(view, &text, &bytes), TROUPE_OK);
    bytes_are(bytes, "words");
    assert_int_equal(troupe_view_int(view, &brief, &integer), TROUPE_ENOTFOUND); /* Its time is over. */
    assert_int_equal(troupe_view_int(view, &text, &integer), TROUPE_ETYPE);
    for (int round = 0; round < 2; round++) { /* After the end it begins anew. */
        assert_int_equal(troupe_view_map_next(view, &map, &key, &bytes), TROUPE_OK);
        bytes_are(key, "a");
        assert_int_equal(troupe_view_map_next(view, &map, &key, &bytes), TROUPE_OK);
        bytes_are(bytes, "2");
        assert_int_equal(troupe_view_map_next(view, &map, &key, &bytes), TROUPE_ENOTFOUND);
    }
    assert_int_equal(troupe_view_list_next(view, &list, &bytes), TROUPE_OK);
    bytes_are(bytes, "front");
    assert_int_equal(troupe_view_list_next(view, &list, &bytes), TROUPE_OK);
    bytes_are(bytes, "back");
    assert_int_equal(troupe_view_list_next(view, &list, &bytes), TROUPE_ENOTFOUND);
    assert_int_equal(troupe_view_next_actor(view, "test/a", &actor), TROUPE_ENOTFOUND);
    int actors = 0;
    while (troupe_view_next_actor(view, NULL, &actor) == TROUPE_OK) {
        actors++;
    }
    assert_int_equal(actors, 3);
    assert_int_equal(troupe_view_int(view, &number, &integer), TROUPE_EINVAL);
    return TROUPE_OK;
}

/* Single values, maps and lists are what a handler would read: migrated, without what has expired or was cleared. */
static void a_view_shows_values_as_a_handler_reads_them(void **state)
{
    struct fixture *f = *state;
    deliver(f, "test/a", "full", "fill");
    deliver(f, "test/b", "x", "set");
    deliver(f, "test/b", "y", "set");
    assert_int_equal(troupe__machine_set_now(&f->machine, 1002000), TROUPE_OK);
    take_cut(f);
    assert_int_equal(run_check(f, see_values), TROUPE_OK);
    assert_int_equal(f->report.fault_count, 0);
}

static enum troupe_error see_messages(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_view_message seen;
    unsigned places = 0;
    int64_t n = 0;
    (void)report;
    while (troupe_view_next_message(view, &seen) == TROUPE_OK) {
        assert_int_equal(places & 1u << seen.place, 0);
        places |= 1u << seen.place;
        if (seen.place == TROUPE_IN_TIMER) {
            assert_string_equal(seen.to.key, "late");
            assert_string_equal(seen.message.from.key, "full");
            assert_int_equal(seen.due_ms, 1005000);
            assert_int_equal(troupe_view_unpack(view, seen.message.body, "{s:i}", "n", &n), TROUPE_OK);
            assert_int_equal(n, 1);
        } else if (seen.place == TROUPE_IN_JOB) {
            assert_string_equal(seen.to.key, "full");
            assert_string_equal(seen.message.type, "work");
            bytes_are(seen.message.body, "input");
        } else if (seen.place == TROUPE_IN_DEAD) {
            assert_string_equal(seen.reason, "not wanted");
        } else {
            assert_int_equal(seen.place, TROUPE_IN_MAILBOX);
            assert_string_equal(seen.message.type, "waits");
        }
    }
    assert_int_equal(places,
                     1u << TROUPE_IN_TIMER | 1u << TROUPE_IN_JOB | 1u << TROUPE_IN_DEAD | 1u << TROUPE_IN_MAILBOX);
    return TROUPE_OK;
}

/* Waiting, delayed and dead messages and jobs, each once; a line that never was a message is none. */
static void a_view_shows_messages_wherever_they_are(void **state)
{
    struct fixture *f = *state;
    deliver(f, "test/a", "full", "fill");
    deliver(f, "test/b", "x", "wrong");
    assert_int_equal(troupe__machine_bury(&f->machine, "no JSON", troupe_string("{")), TROUPE_OK);
    assert_int_equal(
        troupe__machine_arrive(&f->machine, NULL, troupe_to("test/b", "x"), "waits", (struct troupe_bytes){"", 0}),
        TROUPE_OK);
    take_cut(f);
    assert_int_equal(run_check(f, see_messages), TROUPE_OK);
}

static enum troupe_error find_faults(struct troupe_view *view, struct troupe_report *report)
{
    (void)view;
    for (int i = 0; i < 100000; i++) {
        troupe_report_fault(report, "fault %d", i);
    }
    return TROUPE_OK;
}

static enum troupe_error give_up(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_address actor;
    (void)report;
    assert_int_equal(troupe_view_next_actor(view, NULL, &actor), TROUPE_OK);
    int64_t integer;
    return troupe_view_int(view, &text, &integer);
}

/* However many there are, memory is bounded. */
static void faults_are_counted_and_the_first_are_told(void **state)
{
    struct fixture *f = *state;
    take_cut(f);
    assert_int_equal(run_check(f, find_faults), TROUPE_OK);
    assert_int_equal(f->report.fault_count, 100000);
    assert_memory_equal(f->report.faults.data, "fault 0\nfault 1\n", 16);
    assert_true(f->report.faults.size < TROUPE__FAULTS_SIZE_MAX + 600);
}

/* A check that cannot go on has found nothing, neither that all is well nor that it is not. */
static void a_check_that_gives_up_says_where(void **state)
{
    struct fixture *f = *state;
    deliver(f, "test/b", "x", "set");
    take_cut(f);
    assert_int_equal(run_check(f, give_up), TROUPE_ETYPE);
    assert_non_null(strstr(f->error, "test/b/x: value 'text'"));
}

/* ---- in flight --------------------------------------------------------------------------------------------------- */

static void put_link(struct troupe__buffer *record, const char *name, uint64_t sent, uint64_t trimmed,
                     uint64_t accepted)
{
    struct troupe__buffer row = {0};
    troupe__buffer_put_varint(&row, sent);
    troupe__buffer_put_varint(&row, sent);
    troupe__buffer_put_varint(&row, trimmed);
    troupe__buffer_put_varint(&row, accepted);
    troupe__buffer_put_varint(&row, 1);
    troupe__record_set(record, TROUPE__META, name, strlen(name), row.data, row.size);
    troupe__buffer_free(&row);
}

/* One row of an outbox: messages with the numbers `first` to `last`. */
static void put_outbox(struct troupe__buffer *record, struct fixture *f, unsigned link, uint64_t first, uint64_t last)
{
    unsigned char key[10];
    struct troupe__buffer chunk = {0}, row = {0};
    struct troupe__actor *to = troupe__actors_get(&f->machine.actors, "test/b", "far", 3);
    for (uint64_t at = first; at <= last; at++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", (int)at);
        struct troupe__message *message =
            troupe__message_new(to, NULL, name, strlen(name), (struct troupe_bytes){"", 0});
        row.size = 0;
        troupe__message_encode(message, &row);
        troupe__message_free(message);
        troupe__buffer_put_string(&chunk, row.data, row.size);
    }
    troupe__put_be16(key, (uint16_t)link);
    troupe__put_be64(key + 2, first);
    troupe__record_set(record, TROUPE__OUTBOX, key, sizeof key, chunk.data, chunk.size);
    troupe__buffer_free(&chunk);
    troupe__buffer_free(&row);
}

static enum troupe_error see_flying(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_view_message seen;
    static const char *const names[] = {"m3", "m4", "m5"};
    (void)report;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(troupe_view_next_message(view, &seen), TROUPE_OK);
        assert_int_equal(seen.place, TROUPE_IN_FLIGHT);
        assert_string_equal(seen.message.type, names[i]);
    }
    assert_int_equal(troupe_view_next_message(view, &seen), TROUPE_ENOTFOUND);
    return TROUPE_OK;
}

/* Node 0 still has messages 2 to 5 for node 1, in two rows; node 1 has taken in 2: three are on their way. */
static void what_the_receiver_has_is_not_in_flight(void **state)
{
    struct fixture *f = *state;
    struct troupe__memory_disk *disk = troupe__memory_disk_new();
    struct troupe__store *far;
    assert_int_equal(troupe__memory_store_open(disk, &far, f->error, sizeof f->error), TROUPE_OK);
    struct troupe__buffer near_record = {0}, far_record = {0};
    put_link(&near_record, "link/1", 5, 1, 0);
    put_outbox(&near_record, f, 1, 2, 3);
    put_outbox(&near_record, f, 1, 4, 5);
    put_link(&far_record, "link/0", 0, 0, 2);
    assert_int_equal(f->store->commit(f->store, 1, (struct troupe_bytes){near_record.data, near_record.size}),
                     TROUPE_OK);
    assert_int_equal(far->commit(far, 1, (struct troupe_bytes){far_record.data, far_record.size}), TROUPE_OK);
    f->store->refresh(f->store);
    far->refresh(far);
    assert_int_equal(troupe__cut_add_rows(&f->cut, "n1", 0, scan, f->store, f->store->error), TROUPE_OK);
    assert_int_equal(troupe__cut_add_rows(&f->cut, "n2", 1, scan, far, far->error), TROUPE_OK);
    assert_int_equal(troupe__cut_ready(&f->cut), TROUPE_OK);
    assert_int_equal(run_check(f, see_flying), TROUPE_OK);
    troupe__buffer_free(&near_record);
    troupe__buffer_free(&far_record);
    far->close(far);
    troupe__memory_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_view_shows_values_as_a_handler_reads_them, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_view_shows_messages_wherever_they_are, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(faults_are_counted_and_the_first_are_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_check_that_gives_up_says_where, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_the_receiver_has_is_not_in_flight, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
