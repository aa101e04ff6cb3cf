/* expiry_test.c - values that expire after they were written, or read.
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

enum { TTL_MS = 80000 };

static struct troupe_bytes bytes_of(const uint64_t *from)
{
    return (struct troupe_bytes){from, sizeof *from};
}

static const struct troupe_value
    brief = {.name = "brief", .kind = TROUPE_STRING, .ttl_ms = TTL_MS},
    fresh = {.name = "fresh", .kind = TROUPE_STRING, .ttl_ms = TTL_MS, .ttl = TROUPE_TTL_AFTER_READ},
    brief_map = {.name = "brief_map", .kind = TROUPE_MAP, .ttl_ms = TTL_MS},
    fresh_map = {.name = "fresh_map", .kind = TROUPE_MAP, .ttl_ms = TTL_MS, .ttl = TROUPE_TTL_AFTER_READ},
    brief_list = {.name = "brief_list", .kind = TROUPE_LIST, .ttl_ms = TTL_MS};
static const struct troupe_value *const brief_values[] = {&brief, &fresh, &brief_map, &fresh_map, &brief_list, NULL};
static const struct troupe_type brief_types[] = {
    {.name = "test/a", .handler = puppet_handle, .values = brief_values, .retry = {1, 1, 1}}};
static const struct troupe_module brief_module = {TROUPE_ABI, "state", "1", brief_types, 1};

static uint64_t brief_count; /* elements of the list, and of the map besides "a" */

static enum troupe_error set_brief(struct troupe_context *ctx)
{
    puppet_must(troupe_set_bytes(ctx, &brief, troupe_string("b")));
    puppet_must(troupe_set_bytes(ctx, &fresh, troupe_string("f")));
    puppet_must(troupe_map_set(ctx, &brief_map, troupe_string("a"), troupe_string("1")));
    puppet_must(troupe_map_set(ctx, &fresh_map, troupe_string("a"), troupe_string("1")));
    for (uint64_t i = 0; i < brief_count; i++) {
        puppet_must(troupe_map_set(ctx, &brief_map, bytes_of(&i), troupe_string("x")));
        puppet_must(troupe_list_push_back(ctx, &brief_list, troupe_string("l")));
    }
    return TROUPE_OK;
}

static bool brief_there, fresh_there; /* what the next check expects */

static enum troupe_error check_brief(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes bytes, key;
    uint64_t count;
    enum troupe_error expected = brief_there ? TROUPE_OK : TROUPE_ENOTFOUND;
    assert_int_equal(troupe_get_bytes(ctx, &brief, &bytes), expected);
    assert_int_equal(troupe_map_next(ctx, &brief_map, &walk, &key, &bytes), expected);
    assert_int_equal(troupe_map_get(ctx, &brief_map, troupe_string("a"), &bytes), expected);
    assert_int_equal(troupe_list_get(ctx, &brief_list, 0, &bytes), expected);
    puppet_must(troupe_list_count(ctx, &brief_list, &count));
    assert_int_equal(count, brief_there ? brief_count : 0);
    expected = fresh_there ? TROUPE_OK : TROUPE_ENOTFOUND;
    assert_int_equal(troupe_get_bytes(ctx, &fresh, &bytes), expected);
    assert_int_equal(troupe_map_get(ctx, &fresh_map, troupe_string("a"), &bytes), expected);
    return TROUPE_OK;
}

static enum troupe_error check_brief_and_fail(struct troupe_context *ctx)
{
    puppet_must(check_brief(ctx));
    return TROUPE_EREJECTED;
}

/* The last millisecond counts, whatever has happened to the row; a failed read of what has expired changes nothing. */
static void a_value_expires_after_its_time(void **state)
{
    (void)state;
    for (int how = 0; how < 6; how++) {
        struct puppet *f = puppet_new(&brief_module);
        brief_count = 3;
        assert_true(puppet_deliver(f, set_brief));
        how % 3 == 0 ? (void)0 : how % 3 == 1 ? puppet_commit(f) : puppet_fold(f);
        if (how >= 3) {
            puppet_reopen_as(f, &brief_module);
        }
        puppet_advance(f, TTL_MS - 1);
        brief_there = fresh_there = true;
        assert_true(puppet_deliver(f, check_brief) || (print_error("%s\n", f->log), false));
        puppet_advance(f, 1);
        brief_there = false;
        assert_false(puppet_deliver(f, check_brief_and_fail));
        assert_true(puppet_deliver(f, check_brief) || (print_error("%s\n", f->log), false));
        puppet_advance(f, TTL_MS - 2);
        assert_true(puppet_deliver(f, check_brief));
        puppet_advance(f, TTL_MS - TTL_MS / 8 - 1);
        assert_true(puppet_deliver(f, check_brief));
        puppet_advance(f, TTL_MS);
        fresh_there = false;
        assert_true(puppet_deliver(f, check_brief));
        puppet_fold(f);
        assert_int_equal(puppet_rows(f, TROUPE__STATE), 3); /* elements that nobody has met */
        assert_true(puppet_deliver(f, set_brief));
        brief_there = fresh_there = true;
        assert_true(puppet_deliver(f, check_brief));
        puppet_free(f);
    }
}

static enum troupe_error read_fresh(struct troupe_context *ctx)
{
    struct troupe_bytes bytes;
    puppet_must(troupe_get_bytes(ctx, &fresh, &bytes));
    return troupe_map_get(ctx, &fresh_map, troupe_string("a"), &bytes);
}

/* Reads within the first eighth of the time change nothing; the first one after it does, once. */
static void not_every_read_is_a_write(void **state)
{
    (void)state;
    struct puppet *f = puppet_new(&brief_module);
    brief_count = 0;
    assert_true(puppet_deliver(f, set_brief));
    puppet_fold(f);
    struct troupe__actor *actor = troupe__actors_get(&f->machine.actors, "test/a", "x", 1);
    uint64_t epoch = actor->changed_epoch;
    for (int i = 0; i < 8; i++) {
        puppet_advance(f, i < 7 ? TTL_MS / 64 : TTL_MS / 8 - 7 * (TTL_MS / 64));
        assert_true(puppet_deliver(f, read_fresh));
        assert_true((actor->changed_epoch != epoch) == (i == 7));
        puppet_commit(f);
    }
    epoch = actor->changed_epoch;
    puppet_advance(f, TTL_MS / 64);
    assert_true(puppet_deliver(f, read_fresh));
    assert_int_equal(actor->changed_epoch, epoch);
    puppet_free(f);
}

/* What nobody asks for is removed from the disk when its time is over, and what asked for it too; also if the node was
 * away meanwhile, and whether lists are small or large. What was set anew stays. */
static void what_has_expired_leaves_the_disk(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct puppet *f = puppet_new(&brief_module);
        brief_count = large ? 500 : 5;
        assert_true(puppet_deliver_to(f, "x", set_brief));
        assert_true(puppet_deliver_to(f, "y", set_brief));
        puppet_fold(f);
        assert_int_equal(puppet_rows(f, TROUPE__SWEEP), 2 * 5);
        assert_int_equal(puppet_rows(f, TROUPE__STATE), 2 * (5 + 2 * brief_count));
        puppet_sweep(f);
        int64_t due_ms = troupe__machine_sweep_due(&f->machine);
        assert_true(due_ms > TTL_MS && due_ms <= TTL_MS + TTL_MS / 8);
        puppet_advance(f, TTL_MS / 2);
        assert_true(puppet_deliver_to(f, "y", set_brief));
        puppet_reopen_as(f, &brief_module);
        puppet_advance(f, TTL_MS / 2 + TTL_MS / 8);
        puppet_fold(f);
        puppet_sweep(f);
        brief_count *= 2; /* y has pushed to its list twice */
        assert_int_equal(puppet_rows(f, TROUPE__STATE), 5 + brief_count + brief_count / 2);
        brief_there = fresh_there = true;
        assert_true(puppet_deliver_to(f, "y", check_brief) || (print_error("%s\n", f->log), false));
        brief_there = fresh_there = false;
        assert_true(puppet_deliver_to(f, "x", check_brief));
        puppet_advance(f, 3 * TTL_MS);
        puppet_fold(f);
        puppet_sweep(f);
        assert_int_equal(puppet_rows(f, TROUPE__STATE), 0);
        assert_int_equal(puppet_rows(f, TROUPE__SWEEP), 0);
        puppet_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_expires_after_its_time),
        cmocka_unit_test(not_every_read_is_a_write),
        cmocka_unit_test(what_has_expired_leaves_the_disk),
    };
    return cmocka_run_group_tests_name("expiry", tests, NULL, NULL);
}
