/* values_test.c - values, maps and lists of an actor: elements, limits, clearing, and how they are declared.
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

static void set_string(struct troupe_context *ctx, const char *key, const char *value)
{
    puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string(key), troupe_string(value)));
}

/* `expected` NULL: there must be none. */
static void get_is(struct troupe_context *ctx, const char *key, const char *expected)
{
    struct troupe_bytes bytes = {"?", 1};
    assert_int_equal(troupe_map_get(ctx, &puppet_map, troupe_string(key), &bytes),
                     expected ? TROUPE_OK : TROUPE_ENOTFOUND);
    assert_string_equal(bytes.data, expected ? expected : "?");
    assert_int_equal(bytes.size, expected ? strlen(expected) : 1);
}

static enum troupe_error set_two(struct troupe_context *ctx)
{
    set_string(ctx, "b", "2");
    set_string(ctx, "a", "");
    puppet_must(troupe_list_push_back(ctx, &puppet_list, troupe_string("one")));
    puppet_must(troupe_set_int(ctx, &puppet_number, 7));
    return troupe_set_bytes(ctx, &puppet_text, troupe_string("words"));
}

static enum troupe_error check_two(struct troupe_context *ctx)
{
    struct troupe_bytes bytes;
    int64_t seven;
    get_is(ctx, "a", "");
    get_is(ctx, "b", "2");
    get_is(ctx, "c", NULL);
    puppet_must(troupe_list_get(ctx, &puppet_list, 0, &bytes));
    assert_string_equal(bytes.data, "one");
    puppet_must(troupe_get_int(ctx, &puppet_number, &seven));
    assert_int_equal(seven, 7);
    puppet_must(troupe_get_bytes(ctx, &puppet_text, &bytes));
    assert_string_equal(bytes.data, "words");
    return TROUPE_OK;
}

static enum troupe_error remove_two(struct troupe_context *ctx)
{
    puppet_must(troupe_map_remove(ctx, &puppet_map, troupe_string("a")));
    puppet_must(troupe_map_remove(ctx, &puppet_map, troupe_string("b")));
    puppet_must(troupe_map_remove(ctx, &puppet_map, troupe_string("never")));
    puppet_must(troupe_list_pop_front(ctx, &puppet_list, NULL));
    puppet_must(troupe_clear(ctx, &puppet_number));
    return troupe_clear(ctx, &puppet_text);
}

/* A value is seen in its own delivery, in the next one, once durable, once folded, and after a restart before and
 * after folding; what is removed leaves no row; an empty map or list has none. */
static void values_are_seen_at_once_and_ever_after(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&puppet_module);
    assert_true(puppet_deliver(f, set_two));
    assert_true(puppet_deliver(f, check_two));
    puppet_reopen_as(f, &puppet_module);
    assert_true(puppet_deliver(f, check_two));
    puppet_commit(f);
    assert_true(puppet_deliver(f, check_two));
    puppet_fold(f);
    assert_int_equal(f->machine.actors.unfolded.count, 0);
    assert_int_equal(puppet_rows(f, TROUPE__STATE), 6); /* two elements, the list's and its head, two single values */
    assert_true(puppet_deliver(f, check_two));
    puppet_reopen_as(f, &puppet_module);
    assert_true(puppet_deliver(f, check_two));
    assert_true(puppet_deliver(f, remove_two));
    puppet_fold(f);
    assert_int_equal(puppet_rows(f, TROUPE__STATE), 0);
    puppet_free(f);
}

static unsigned misused;

/* One wrong use, whose error the handler does not look at. */
static enum troupe_error misuse_map(struct troupe_context *ctx)
{
    static const struct troupe_value other = {.name = "other", .kind = TROUPE_MAP};
    static char key[TROUPE_ELEMENT_KEY_MAX + 1];
    struct troupe_bytes bytes, too_long = {key, sizeof key}, empty = {key, 0};
    int64_t integer;
    uint64_t count;
    set_string(ctx, "a", "1");
    switch (misused) {
    case 0:
        assert_int_equal(troupe_map_get(ctx, &puppet_map, empty, &bytes), TROUPE_EINVAL);
        break;
    case 1:
        assert_int_equal(troupe_map_get(ctx, &other, troupe_string("a"), &bytes), TROUPE_EINVAL);
        break;
    case 2:
        assert_int_equal(troupe_map_get(ctx, &puppet_list, troupe_string("a"), &bytes), TROUPE_ETYPE);
        break;
    case 3:
        assert_int_equal(troupe_map_get(ctx, &puppet_number, troupe_string("a"), &bytes), TROUPE_ETYPE);
        break;
    case 4:
        assert_int_equal(troupe_list_count(ctx, &puppet_map, &count), TROUPE_ETYPE);
        break;
    case 5:
        assert_int_equal(troupe_get_int(ctx, &puppet_map, &integer), TROUPE_ETYPE);
        break;
    case 6:
        assert_int_equal(troupe_get_bytes(ctx, &puppet_list, &bytes), TROUPE_ETYPE);
        break;
    case 7:
        assert_int_equal(troupe_set_int(ctx, &puppet_list, 1), TROUPE_ETYPE);
        break;
    case 8:
        assert_int_equal(troupe_map_get(ctx, NULL, troupe_string("a"), &bytes), TROUPE_EINVAL);
        break;
    default:
        assert_int_equal(troupe_map_get(ctx, &puppet_map, too_long, &bytes), TROUPE_EINVAL);
        break;
    }
    return TROUPE_OK; /* The delivery fails all the same. */
}

/* Keys over their limit, another kind, a value of nobody: each has its error and fails. */
static void wrong_use_of_a_map_fails_the_delivery(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&puppet_module);
    for (misused = 0; misused < 10; misused++) {
        char key[16];
        snprintf(key, sizeof key, "x%u", misused);
        assert_false(puppet_deliver_to(f, key, misuse_map));
    }
    assert_non_null(strstr(f->log, "a key of 119 bytes is not of 1 to 118"));
    puppet_fold(f);
    assert_int_equal(puppet_rows(f, TROUPE__STATE), 0);
    puppet_free(f);
}

static enum troupe_error set_too_much(struct troupe_context *ctx)
{
    static char big[TROUPE_BODY_MAX + 1];
    set_string(ctx, "a", "1");
    assert_int_equal(troupe_map_set(ctx, &puppet_map, troupe_string("a"), (struct troupe_bytes){big, sizeof big}),
                     TROUPE_ETOOBIG);
    assert_int_equal(troupe_list_push_back(ctx, &puppet_list, (struct troupe_bytes){big, sizeof big}), TROUPE_ETOOBIG);
    return TROUPE_OK;
}

/* It depends on data, which the handler may answer for otherwise. */
static void what_is_over_the_limit_has_no_effect_and_all_else_has(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&puppet_module);
    assert_true(puppet_deliver(f, set_too_much));
    puppet_fold(f);
    assert_int_equal(puppet_rows(f, TROUPE__STATE), 1);
    puppet_free(f);
}

#define NAME63 "n/1234567890123456789012345678901234567890123456789012345678901"

static const struct troupe_value longest = {.name = "v12345678901234567890123456789012345678901234567890123456789012",
                                            .kind = TROUPE_MAP};
static const struct troupe_value *const longest_values[] = {&longest, NULL};
static const struct troupe_type longest_types[] = {
    {.name = NAME63, .handler = puppet_handle, .values = longest_values}};
static const struct troupe_module longest_module = {TROUPE_ABI, "longest", "1", longest_types, 1};

static struct troupe_bytes longest_key(unsigned char last)
{
    static unsigned char key[TROUPE_ELEMENT_KEY_MAX];
    memset(key, 0xff, sizeof key);
    key[sizeof key - 1] = last;
    return (struct troupe_bytes){key, sizeof key};
}

static enum troupe_error set_longest(struct troupe_context *ctx)
{
    puppet_must(troupe_map_set(ctx, &longest, longest_key(1), troupe_string("1")));
    return troupe_map_set(ctx, &longest, longest_key(255), troupe_string("255"));
}

static enum troupe_error check_longest(struct troupe_context *ctx)
{
    for (int backward = 0; backward < 2; backward++) {
        struct troupe_map_walk walk = {.backward = backward};
        struct troupe_bytes key, bytes;
        puppet_must(troupe_map_next(ctx, &longest, &walk, &key, &bytes));
        assert_string_equal(bytes.data, backward ? "255" : "1");
        puppet_must(troupe_map_next(ctx, &longest, &walk, &key, &bytes));
        assert_memory_equal(key.data, longest_key(backward ? 1 : 255).data, key.size);
        assert_int_equal(troupe_map_next(ctx, &longest, &walk, &key, &bytes), TROUPE_ENOTFOUND);
    }
    return TROUPE_OK;
}

/* The longest type, key, value name and element key together still make a row key, in any generation. */
static void the_longest_names_and_keys_work(void **state)
{
    (void)state;
    char key[TROUPE_KEY_MAX + 1];
    memset(key, 'k', TROUPE_KEY_MAX);
    key[TROUPE_KEY_MAX] = '\0';
    struct puppet *f = puppet_new(&longest_module);
    struct troupe__row_key parts;
    assert_int_equal(strlen(longest_types[0].name), TROUPE_NAME_MAX);
    assert_int_equal(strlen(longest.name), TROUPE_NAME_MAX);
    assert_true(puppet_deliver_to(f, key, set_longest));
    assert_true(puppet_deliver_to(f, key, check_longest));
    puppet_fold(f);
    assert_true(puppet_deliver_to(f, key, check_longest));
    puppet_reopen_as(f, &longest_module);
    assert_true(puppet_deliver_to(f, key, check_longest));
    struct troupe__actor *actor = troupe__actors_get(&f->machine.actors, NAME63, key, TROUPE_KEY_MAX);
    unsigned char row[TROUPE__ROW_KEY_MAX + 1];
    size_t size = troupe__actor_row_key(actor, longest.name, row);
    assert_int_equal(size + 1 + TROUPE__GENERATION_SIZE_MAX + TROUPE_ELEMENT_KEY_MAX, TROUPE__ROW_KEY_MAX - 1);
    memset(row + size, 0, 1);
    memset(row + size + 1, 0xff, TROUPE__GENERATION_SIZE_MAX - 1);
    row[size + TROUPE__GENERATION_SIZE_MAX] = 0x7f;
    row[size + TROUPE__GENERATION_SIZE_MAX + 1] = 'e';
    assert_true(troupe__row_key_decode((struct troupe_bytes){row, size + TROUPE__GENERATION_SIZE_MAX + 2}, &parts));
    assert_int_equal(parts.generation, TROUPE__GENERATION_MAX);
    puppet_free(f);
}

static uint64_t filled; /* elements that fill makes */

static enum troupe_error fill(struct troupe_context *ctx)
{
    for (uint64_t i = 0; i < filled; i++) {
        char key[24];
        snprintf(key, sizeof key, "%08llu", (unsigned long long)i);
        set_string(ctx, key, "x");
        puppet_must(troupe_list_push_back(ctx, &puppet_list, troupe_string("x")));
    }
    return TROUPE_OK;
}

static enum troupe_error clear_both(struct troupe_context *ctx)
{
    puppet_must(troupe_clear(ctx, &puppet_map));
    return troupe_clear(ctx, &puppet_list);
}

static enum troupe_error check_empty(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t count;
    get_is(ctx, "00000000", NULL);
    assert_int_equal(troupe_map_next(ctx, &puppet_map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
    puppet_must(troupe_list_count(ctx, &puppet_list, &count));
    assert_int_equal(count, 0);
    assert_int_equal(troupe_list_pop_back(ctx, &puppet_list, &bytes), TROUPE_ENOTFOUND);
    return TROUPE_OK;
}

static enum troupe_error clear_and_fail(struct troupe_context *ctx)
{
    puppet_must(clear_both(ctx));
    set_string(ctx, "new", "1");
    return TROUPE_EREJECTED;
}

static enum troupe_error check_filled(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t count = 0, list_count;
    while (troupe_map_next(ctx, &puppet_map, &walk, &key, &bytes) == TROUPE_OK) {
        count++;
    }
    assert_int_equal(count, filled);
    puppet_must(troupe_list_count(ctx, &puppet_list, &list_count));
    assert_int_equal(list_count, filled);
    return TROUPE_OK;
}

/* Clearing 20,000 elements takes an epoch of a few rows, wherever they are; a failed clear has no effect; what is set
 * anew is not mixed up with what was. */
static void clearing_a_large_map_or_list_is_one_small_change(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct puppet *f = puppet_new(&puppet_module);
        filled = 20000;
        assert_true(puppet_deliver(f, fill));
        folded ? puppet_fold(f) : puppet_commit(f);
        assert_false(puppet_deliver(f, clear_and_fail));
        assert_true(puppet_deliver(f, check_filled));
        assert_true(puppet_deliver(f, clear_both));
        assert_true(puppet_deliver(f, check_empty));
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        assert_true(f->epoch.record.size < 10000);
        puppet_must(f->store->commit(f->store, f->epoch.number,
                                     (struct troupe_bytes){f->epoch.record.data, f->epoch.record.size}));
        puppet_reopen_as(f, &puppet_module);
        assert_true(puppet_deliver(f, check_empty));
        filled = 3;
        assert_true(puppet_deliver(f, fill));
        assert_true(puppet_deliver(f, check_filled));
        puppet_fold(f);
        assert_int_equal(puppet_rows(f, TROUPE__SWEEP), 2);
        assert_true(puppet_deliver(f, check_filled));
        assert_true(puppet_rows(f, TROUPE__STATE) > 40000);
        puppet_reopen_as(f, &puppet_module);
        assert_int_equal(troupe__machine_sweep(&f->machine, 1000), TROUPE_OK); /* Then the node ends in its midst. */
        puppet_reopen_as(f, &puppet_module);
        puppet_fold(f);
        puppet_sweep(f);
        assert_int_equal(puppet_rows(f, TROUPE__SWEEP), 0);
        assert_int_equal(puppet_rows(f, TROUPE__STATE), 8); /* two heads, six elements */
        assert_true(puppet_deliver(f, check_filled));
        puppet_free(f);
    }
}

/* When all that a large map and list held has left the disk, their heads do too, and what is set then is safe: whether
 * the node has ended in the midst of it, at any commit, or not, and however often they were cleared before. */
static void heads_of_what_was_cleared_go_last(void **state)
{
    (void)state;
    int dropped = 0, stayed = 0;
    for (int ends = 0; ends < 40; ends++) { /* at the `ends`-th commit */
        struct puppet *f = puppet_new(&puppet_module);
        int commits = 0;
        for (int times = 0; times <= ends % 3; times++) {
            filled = 100;
            assert_true(puppet_deliver(f, fill));
            ends % 2 ? puppet_fold(f) : puppet_commit(f);
            assert_true(puppet_deliver(f, clear_both));
        }
        puppet_commit(f);
        bool refilled = false;
        for (int i = 0; i < 60; i++) {
            puppet_must(troupe__machine_sweep(&f->machine, 40));
            i % 4 ? puppet_commit(f) : puppet_fold(f);
            if (++commits == ends) {
                puppet_reopen_as(f, &puppet_module);
                filled = 3;
                assert_true(puppet_deliver(f, fill));
                refilled = true;
            }
        }
        size_t left = puppet_rows(f, TROUPE__STATE);
        assert_int_equal(puppet_rows(f, TROUPE__SWEEP), 0);
        assert_true(refilled ? left == 7 || left == 8 : left == 0); /* A list has a head, a map of generation 0 none. */
        dropped += left == 7;
        stayed += left == 8;
        assert_true(puppet_deliver(f, refilled ? check_filled : check_empty));
        puppet_reopen_as(f, &puppet_module);
        assert_true(puppet_deliver(f, refilled ? check_filled : check_empty));
        puppet_free(f);
    }
    assert_true(dropped > 0 && stayed > 0);
}

static enum troupe_error walk_and_change(struct troupe_context *ctx)
{
    struct troupe_map_walk outer = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t met = 0;
    while (troupe_map_next(ctx, &puppet_map, &outer, &key, &bytes) == TROUPE_OK) {
        struct troupe_map_walk inner = {.backward = true};
        struct troupe_bytes other, ignored;
        char name[24], more[32];
        snprintf(name, sizeof name, "%s", (const char *)key.data);
        name[key.size] = '\0';
        puppet_must(troupe_map_next(ctx, &puppet_map, &inner, &other, &ignored));
        assert_string_equal(bytes.data, "x"); /* The inner walk has not moved it. */
        assert_memory_equal(key.data, name, key.size);
        puppet_must(troupe_map_remove(ctx, &puppet_map, key));
        if (name[0] == '0') { /* Behind the walk, and ahead of it. */
            snprintf(more, sizeof more, "1%s", name);
            puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string(more), troupe_string("x")));
            puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string("/behind"), troupe_string("x")));
        }
        met++;
    }
    assert_int_equal(met, 2 * filled);
    puppet_must(troupe_map_set(ctx, &puppet_map, troupe_string("/c"), troupe_string("x")));
    struct troupe_map_walk last = {.batch = NULL};
    puppet_must(troupe_map_next(ctx, &puppet_map, &last, &key, &bytes));
    assert_string_equal(key.data, "/behind");
    puppet_must(troupe_map_next(ctx, &puppet_map, &last, &key, &bytes));
    assert_string_equal(key.data, "/c"); /* Shorter than the one before it, and followed by a NUL all the same. */
    puppet_must(troupe_map_remove(ctx, &puppet_map, troupe_string("/behind")));
    puppet_must(troupe_map_remove(ctx, &puppet_map, troupe_string("/c")));
    puppet_must(troupe_clear(ctx, &puppet_list));
    return check_empty(ctx);
}

/* A walk goes on while its element is removed, others are set before and behind it, and other walks go on. */
static void a_walk_may_change_what_it_walks_over(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct puppet *f = puppet_new(&puppet_module);
        filled = 300;
        assert_true(puppet_deliver(f, fill));
        folded ? puppet_fold(f) : puppet_commit(f);
        assert_true(puppet_deliver(f, walk_and_change) || (print_error("%s\n", f->log), false));
        puppet_free(f);
    }
}

/* ---- declarations ------------------------------------------------------------------------------------------------ */

static enum troupe_error migrate(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                 struct troupe_bytes from, struct troupe_bytes *to)
{
    (void)ctx, (void)value, (void)version, (void)from, (void)to;
    return TROUPE_OK;
}

/* A declaration that cannot work is refused when the module is loaded, with a text that names type, value and why. */
static void a_bad_declaration_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct troupe_value value;
        const char *text;
    } cases[] = {
        {{.name = "v", .kind = (enum troupe_kind)99}, "its kind is unknown"},
        {{.name = "v", .version = 1}, "no migrate"},
        {{.name = "v", .migrate = migrate}, "version 0"},
        {{.name = "v", .ttl_ms = -1}, "ttl_ms is not within"},
        {{.name = "v", .ttl_ms = TROUPE__TTL_MAX_MS + 1}, "ttl_ms is not within"},
        {{.name = "v", .ttl_ms = 1, .ttl = (enum troupe_ttl)7}, "its ttl is neither"},
        {{.name = "v", .ttl = TROUPE_TTL_AFTER_READ}, "no ttl_ms"},
        {{.name = ""}, "needs a name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct troupe_value *const bad_values[] = {&cases[i].value, NULL};
        struct troupe_type type = {.name = "test/bad", .handler = puppet_handle, .values = bad_values};
        struct troupe_module bad = {TROUPE_ABI, "bad", "1", &type, 1};
        struct troupe__actors actors;
        char error[256] = "";
        assert_int_equal(troupe__actors_init(&actors, &bad, error, sizeof error), TROUPE_EINVAL);
        if (!strstr(error, cases[i].text) || !strstr(error, "test/bad")) {
            fail_msg("case %zu: %s", i, error);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_seen_at_once_and_ever_after),
        cmocka_unit_test(wrong_use_of_a_map_fails_the_delivery),
        cmocka_unit_test(what_is_over_the_limit_has_no_effect_and_all_else_has),
        cmocka_unit_test(the_longest_names_and_keys_work),
        cmocka_unit_test(clearing_a_large_map_or_list_is_one_small_change),
        cmocka_unit_test(heads_of_what_was_cleared_go_last),
        cmocka_unit_test(a_walk_may_change_what_it_walks_over),
        cmocka_unit_test(a_bad_declaration_is_refused),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
