/* versions_test.c - values and messages that another version of a module has written.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/state.h"
#include "test/runtime/machine/puppet.h"

static enum troupe_error write_older(struct troupe_context *ctx)
{
    puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string("b"), troupe_string("2")));
    puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string("a"), troupe_string("")));
    puppet_must(troupe_list_push_back(ctx, &puppet_list, troupe_string("one")));
    puppet_must(troupe_set_int(ctx, &puppet_number, 7));
    return troupe_set_bytes(ctx, &puppet_text, troupe_string("words"));
}

static int migrated; /* calls of migrate */

/* Version 1 of a number is ten times as much; version 2 of `text` is a number. An element gets a prefix. */
static enum troupe_error migrate(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                 struct troupe_bytes old, struct troupe_bytes *ret)
{
    migrated++;
    if (value->kind == TROUPE_MAP || value->kind == TROUPE_LIST) {
        static char element[64];
        snprintf(element, sizeof element, "v%u:%s", version, (const char *)old.data);
        *ret = troupe_string(element);
        return TROUPE_OK;
    }
    int64_t integer = 0;
    const char *words;
    if (strcmp(value->name, "text") == 0 && version == 0) {
        if (troupe_unpack(ctx, old, "s", &words) != TROUPE_OK) {
            return TROUPE_EFAILED;
        }
        integer = (int64_t)strlen(words);
    } else if (troupe_unpack(ctx, old, "i", &integer) != TROUPE_OK) {
        return TROUPE_EFAILED;
    }
    if (integer == 13) {
        return troupe_fail(ctx, TROUPE_EFAILED, "no luck with %d", 13);
    }
    *ret = troupe_pack(ctx, "i", strcmp(value->name, "text") == 0 ? integer : integer * 10);
    return TROUPE_OK;
}

static const struct troupe_value number_1 = {.name = "number", .kind = TROUPE_INT, .version = 1, .migrate = migrate},
                                 text_2 = {.name = "text", .kind = TROUPE_INT, .version = 2, .migrate = migrate},
                                 map_1 = {.name = "map", .kind = TROUPE_MAP, .version = 1, .migrate = migrate},
                                 list_1 = {.name = "list", .kind = TROUPE_LIST, .version = 1, .migrate = migrate};
static const struct troupe_value *const newer_values[] = {&number_1, &text_2, &map_1, &list_1, NULL};
static const struct troupe_type newer_types[] = {
    {.name = "test/a", .handler = puppet_handle, .values = newer_values, .retry = {1, 1, 1}}};
static const struct troupe_module newer_module = {TROUPE_ABI, "state", "2", newer_types, 1};

static enum troupe_error read_newer(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    int64_t integer;
    puppet_must(troupe_get_int(ctx, &number_1, &integer));
    assert_int_equal(integer, 70);
    puppet_must(troupe_get_int(ctx, &text_2, &integer));
    assert_int_equal(integer, 5);
    puppet_must(troupe_map_next(ctx, &map_1, &walk, &key, &bytes));
    assert_string_equal(bytes.data, "v0:");
    puppet_must(troupe_map_get(ctx, &map_1, troupe_string("b"), &bytes));
    assert_string_equal(bytes.data, "v0:2");
    puppet_must(troupe_list_get(ctx, &list_1, 0, &bytes));
    assert_string_equal(bytes.data, "v0:one");
    return TROUPE_OK;
}

static enum troupe_error read_newer_and_fail(struct troupe_context *ctx)
{
    puppet_must(read_newer(ctx));
    return TROUPE_EREJECTED;
}

static enum troupe_error read_number(struct troupe_context *ctx)
{
    int64_t integer;
    return troupe_get_int(ctx, &puppet_number, &integer);
}

static enum troupe_error set_thirteen(struct troupe_context *ctx)
{
    return troupe_set_int(ctx, &puppet_number, 13);
}

static enum troupe_error read_number_1(struct troupe_context *ctx)
{
    int64_t integer;
    troupe_get_int(ctx, &number_1, &integer);
    return TROUPE_OK; /* It fails although this does not look. */
}

/* An older value is migrated when it is first read, wherever its row is, and stored anew with its delivery: once, but
 * again after a failed one. An older module refuses what a newer one wrote. */
static void an_older_version_is_migrated_once_with_its_delivery(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct puppet *f = puppet_new(&puppet_module);
        assert_true(puppet_deliver(f, write_older));
        folded ? puppet_fold(f) : puppet_commit(f);
        puppet_reopen_as(f, &newer_module);
        migrated = 0;
        assert_false(puppet_deliver(f, read_newer_and_fail));
        assert_int_equal(migrated, 5);
        assert_true(puppet_deliver(f, read_newer));
        assert_int_equal(migrated, 10);
        assert_true(puppet_deliver(f, read_newer));
        assert_int_equal(migrated, 11); /* Only what the walk met: a walk stores nothing. */
        puppet_reopen_as(f, &newer_module);
        assert_true(puppet_deliver(f, read_newer));
        assert_int_equal(migrated, 12);
        puppet_fold(f);
        puppet_reopen_as(f, &puppet_module);
        assert_false(puppet_deliver(f, read_number));
        assert_non_null(strstr(f->log, "value 'number' is stored in version 1, the module knows 0"));
        puppet_free(f);
    }
}

/* A migrate that fails makes the delivery fail, with a text that says which value, from what, and why. */
static void a_failing_migrate_fails_the_delivery(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&puppet_module);
    assert_true(puppet_deliver(f, set_thirteen));
    puppet_reopen_as(f, &newer_module);
    assert_false(puppet_deliver(f, read_number_1));
    assert_non_null(strstr(f->log, "value 'number': migrate from version 0 to 1: no luck with 13"));
    puppet_free(f);
}

static const struct troupe_value map_number = {.name = "map", .kind = TROUPE_INT},
                                 list_map = {.name = "list", .kind = TROUPE_MAP},
                                 number_list = {.name = "number", .kind = TROUPE_LIST};
static const struct troupe_value *const mixed_values[] = {&map_number, &list_map, &number_list, &puppet_text, NULL};
static const struct troupe_type mixed_types[] = {
    {.name = "test/a", .handler = puppet_handle, .values = mixed_values, .retry = {1, 1, 1}}};
static const struct troupe_module mixed_module = {TROUPE_ABI, "state", "3", mixed_types, 1};

static enum troupe_error read_mixed(struct troupe_context *ctx)
{
    struct troupe_bytes bytes;
    uint64_t count;
    int64_t integer;
    assert_int_equal(troupe_get_int(ctx, &map_number, &integer), TROUPE_ENOTFOUND); /* A small map has no head. */
    assert_int_equal(troupe_map_get(ctx, &list_map, troupe_string("a"), &bytes), TROUPE_ETYPE);
    assert_int_equal(troupe_list_count(ctx, &number_list, &count), TROUPE_ETYPE);
    return TROUPE_OK;
}

/* A value that the module has made another kind of, without a migrate, is an error that names it, not garbage. */
static void another_kind_fails_the_delivery(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct puppet *f = puppet_new(&puppet_module);
        assert_true(puppet_deliver(f, write_older));
        folded ? puppet_fold(f) : puppet_commit(f);
        puppet_reopen_as(f, &mixed_module);
        assert_false(puppet_deliver(f, read_mixed));
        assert_non_null(strstr(f->log, "value 'number': it is stored as another kind than the module declares"));
        puppet_free(f);
    }
}

static char got[64]; /* the body of the last message */

static enum troupe_error note_body(struct troupe_context *ctx, const struct troupe_message *message)
{
    snprintf(got, sizeof got, "%.*s", (int)message->body.size, (const char *)message->body.data);
    return strcmp(message->type, "plant") == 0
               ? troupe_send_after(ctx, 1000, troupe_self(ctx), "note", troupe_string("seed"), NULL)
               : TROUPE_OK;
}

static enum troupe_error migrate_note(struct troupe_context *ctx, const struct troupe_message_type *type,
                                      uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    if (old.size == 3 && memcmp(old.data, "bad", 3) == 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a bad one");
    }
    struct troupe_bytes packed = troupe_pack(ctx, "[s,u,z]", type->name, (uint64_t)version, old);
    *ret = (struct troupe_bytes){(const char *)packed.data + packed.size - old.size, old.size};
    return TROUPE_OK;
}

static const struct troupe_message_type note_2 = {.name = "note", .version = 2, .migrate = migrate_note};
static const struct troupe_message_type *const note_messages[] = {&note_2, NULL};
static const struct troupe_type note_types[] = {{.name = "test/a", .handler = note_body}},
                                newer_note_types[] = {
                                    {.name = "test/a", .handler = note_body, .messages = note_messages}};
static const struct troupe_module note_module = {TROUPE_ABI, "note", "1", note_types, 1},
                                  newer_note_module = {TROUPE_ABI, "note", "2", newer_note_types, 1};

static void say(struct puppet *f, const char *type, const char *body)
{
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, troupe_to("test/a", "x"), type, troupe_string(body)),
                     TROUPE_OK);
}

static void run_all(struct puppet *f)
{
    size_t count;
    assert_int_equal(troupe__machine_run(&f->machine, 100, &count), TROUPE_OK);
}

/* A message that waited or was delayed is migrated for its handler; one that cannot be, or is of a newer version, is a
 * dead letter that says so. */
static void a_message_of_another_version_is_migrated_or_a_dead_letter(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&note_module);
    say(f, "plant", "");
    run_all(f);
    say(f, "note", "waits");
    say(f, "note", "bad");
    puppet_reopen_as(f, &newer_note_module);
    run_all(f);
    assert_string_equal(got, "waits");
    assert_non_null(strstr(f->log, "message 'note': migrate from version 0 to 2: a bad one"));
    puppet_advance(f, 2000);
    run_all(f);
    assert_string_equal(got, "seed");
    say(f, "note", "new"); /* Of the version that the module has which took it in. */
    puppet_reopen_as(f, &note_module);
    run_all(f);
    assert_string_equal(got, "seed");
    assert_non_null(strstr(f->log, "message 'note' is of version 2, the module knows 0"));
    assert_int_equal(f->machine.stats.dead, 1);
    puppet_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_version_is_migrated_once_with_its_delivery),
        cmocka_unit_test(a_failing_migrate_fails_the_delivery),
        cmocka_unit_test(another_kind_fails_the_delivery),
        cmocka_unit_test(a_message_of_another_version_is_migrated_or_a_dead_letter),
    };
    return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
