/* actor_test.c - actors in memory: found, let go when nothing holds them, and their memory given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/message.h"

static enum troupe_error never(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)ctx, (void)message;
    return TROUPE_OK;
}

static const struct troupe_value number = {"number", TROUPE_INT}, text = {"text", TROUPE_STRING};
static const struct troupe_value *const values[] = {&number, &text, NULL};
static const struct troupe_type types[] = {{.name = "test/one", .handler = never, .values = values},
                                           {.name = "test/two", .handler = never}};
static const struct troupe_module module = {TROUPE_ABI, "test", "1", types, 2};

static struct troupe__actors *actors_new(void)
{
    char error[256];
    struct troupe__actors *actors = calloc(1, sizeof *actors);
    assert_non_null(actors);
    assert_int_equal(troupe__actors_init(actors, &module, error, sizeof error), TROUPE_OK);
    return actors;
}

static void actors_free(struct troupe__actors *actors)
{
    troupe__actors_fini(actors);
    assert_int_equal(actors->slabs.mapped, 0);
    free(actors);
}

static struct troupe__actor *get(struct troupe__actors *actors, const char *type, size_t index)
{
    char key[TROUPE_KEY_MAX + 1];
    int size =
        snprintf(key, sizeof key, "%zu%.*s", index, (int)(index % 200),
                 "................................"
                 "................................................................................................"
                 "........................................................................................");
    struct troupe__actor *actor = troupe__actors_get(actors, type, key, (size_t)size);
    assert_non_null(actor);
    assert_string_equal(actor->key, key);
    assert_string_equal(actor->type->name, type);
    return actor;
}

/* Some rounds of the hand: what two of them miss because it was moved, the next ones find. */
static void sweep(struct troupe__actors *actors, uint64_t folded)
{
    for (int i = 0; i < 20; i++) {
        troupe__actors_sweep(actors, troupe__index_places(&actors->index), folded);
    }
}

/* Of two types and all sizes; the index splits and joins its segments on the way, and in the end all memory but a
 * little is given back. */
static void actors_are_found_until_they_are_let_go_and_their_memory_goes_with_them(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    static struct troupe__actor *made[COUNT];
    struct troupe__actors *actors = actors_new();
    size_t empty = troupe__actors_size(actors);
    for (size_t i = 0; i < COUNT; i++) {
        made[i] = get(actors, i % 2 ? "test/one" : "test/two", i);
        made[i]->references = i % 3 == 0;
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(get(actors, i % 2 ? "test/one" : "test/two", i), made[i]);
    }
    assert_int_equal(actors->index.count, COUNT);
    assert_true(troupe__actors_size(actors) > empty + COUNT * sizeof(struct troupe__actor));
    sweep(actors, 0);
    sweep(actors, 0);
    assert_int_equal(actors->index.count, COUNT / 3);
    assert_int_equal(actors->evicted, COUNT - COUNT / 3);
    for (size_t i = 0; i < COUNT; i += 3) {
        assert_ptr_equal(get(actors, i % 2 ? "test/one" : "test/two", i), made[i]);
        made[i]->references = 0;
    }
    sweep(actors, 0);
    assert_int_equal(actors->index.count, 0);
    assert_int_equal(troupe__actors_size(actors), empty);
    /* One slab stays for each size: there are 16 of these sizes, and the index. */
    assert_true(actors->slabs.mapped <= (size_t)18 * TROUPE__SLAB_SIZE);
    actors_free(actors);
}

/* One that is used stays for a round more, and is so among the last to go. */
static void an_actor_used_since_the_hand_was_there_stays(void **state)
{
    (void)state;
    struct troupe__actors *actors = actors_new();
    for (size_t i = 0; i < 100; i++) {
        get(actors, "test/one", i);
    }
    size_t round = troupe__index_places(&actors->index);
    troupe__actors_sweep(actors, round, 0);
    assert_int_equal(actors->index.count, 100);
    get(actors, "test/one", 42);
    troupe__actors_sweep(actors, round, 0);
    assert_int_equal(actors->index.count, 1);
    actors_free(actors);
}

/* Whatever happens to a message (it waits, or is a timer's), both its ends are held until it is freed. */
static void a_message_holds_its_receiver_and_its_sender(void **state)
{
    (void)state;
    struct troupe__actors *actors = actors_new();
    struct troupe__actor *to = get(actors, "test/one", 1), *from = get(actors, "test/two", 2);
    struct troupe__message *message = troupe__message_new(to, from, "hi", 2, (struct troupe_bytes){"body", 4});
    struct troupe__message *own = troupe__message_new(to, to, "hi", 2, (struct troupe_bytes){"", 0});
    assert_non_null(message);
    assert_non_null(own);
    sweep(actors, 0);
    assert_int_equal(actors->index.count, 2);
    troupe__message_free(message);
    sweep(actors, 0);
    assert_int_equal(actors->index.count, 1);
    assert_ptr_equal(get(actors, "test/one", 1), to);
    troupe__message_free(own);
    sweep(actors, 0);
    assert_int_equal(actors->index.count, 0);
    actors_free(actors);
}

/* One that the tables do not have as it is, that runs, or that waits for its next attempt, is never evicted. */
static void an_actor_with_changes_not_folded_stays(void **state)
{
    (void)state;
    struct troupe__actors *actors = actors_new();
    struct troupe__actor *actor = get(actors, "test/one", 1);
    actor->used = false;
    actor->changed_epoch = 7;
    assert_false(troupe__actor_evict(actor, 6));
    actor->queued = true;
    assert_false(troupe__actor_evict(actor, 7));
    actor->queued = false;
    actor->blocked = true;
    assert_false(troupe__actor_evict(actor, 7));
    actor->blocked = false;
    assert_true(troupe__actor_evict(actor, 7));
    assert_int_equal(actors->index.count, 0);
    actors_free(actors);
}

/* Its bytes are counted, and freed with it. */
static void what_a_cell_owns_is_counted(void **state)
{
    (void)state;
    struct troupe__actors *actors = actors_new();
    struct troupe__actor *actor = get(actors, "test/one", 1);
    size_t before = troupe__actors_size(actors);
    static unsigned char row[3 + 1000] = {0xda, 1000 >> 8, 1000 & 0xff};
    assert_int_equal(
        troupe__cell_decode(&troupe__actor_cells(actor)[1], TROUPE_STRING, (struct troupe_bytes){row, sizeof row}),
        TROUPE_OK);
    troupe__actor_measure(actor);
    assert_true(troupe__actors_size(actors) >= before + 1000 && troupe__actors_size(actors) < before + 1100);
    assert_true(troupe__actor_evict(actor, 0));
    assert_true(troupe__actors_size(actors) < before);
    actors_free(actors);
}

/* Else glibc would join all that they had at once, when it is next asked for a large piece: a gap for everybody. (With
 * a sanitizer's allocator there is nothing to join.) */
static void what_many_actors_had_is_joined_as_they_go(void **state)
{
    (void)state;
    enum { COUNT = 50000, JOINED = 2048 }; /* the last ones, and what they are counted in */
    static unsigned char row[2 + 100] = {0xd9, 100};
    struct troupe__actors *actors = actors_new();
    for (size_t i = 0; i < COUNT; i++) {
        struct troupe__actor *actor = get(actors, "test/one", i);
        assert_int_equal(
            troupe__cell_decode(&troupe__actor_cells(actor)[1], TROUPE_STRING, (struct troupe_bytes){row, sizeof row}),
            TROUPE_OK);
        troupe__actor_measure(actor);
    }
    sweep(actors, 0);
    assert_int_equal(actors->index.count, 0);
    assert_in_range(mallinfo2().fsmblks, 0, JOINED * 128);
    actors_free(actors);
}

/* Names that no module declares come from outside; they go with the last of their actors. */
static void types_that_nobody_declares_go_with_their_actors(void **state)
{
    (void)state;
    struct troupe__actors *actors = actors_new();
    for (size_t i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "no/type%zu", i);
        get(actors, name, i);
    }
    get(actors, "test/one", 1);
    assert_int_equal(actors->type_count, 102);
    sweep(actors, 0);
    sweep(actors, 0);
    assert_int_equal(actors->type_count, 2);
    assert_int_equal(actors->index.count, 0);
    actors_free(actors);
}

/* Hashes that begin alike share a segment whatever is done; until it is full they are found all the same. */
static void hashes_that_begin_alike_are_refused_when_there_are_too_many(void **state)
{
    (void)state;
    struct troupe__slabs slabs = {0};
    struct troupe__index index;
    assert_true(troupe__index_init(&index, &slabs));
    const uint64_t hash = UINT64_C(0x123456789abcdef0);
    uint32_t added = 0;
    while (troupe__index_add(&index, hash, added + 1)) {
        added++;
    }
    assert_int_equal(added, TROUPE__INDEX_SEGMENT - 1);
    assert_true(troupe__index_add(&index, ~hash, 99999));
    uint32_t at = (uint32_t)(hash >> 32), found = 0;
    for (troupe__block block;
         troupe__index_probe(troupe__index_segment(&index, at), (uint32_t)(hash >> 32), &at, &block);) {
        found++;
        if (found == added) {
            break;
        }
    }
    assert_int_equal(found, added);
    for (uint32_t i = 1; i <= added; i++) {
        troupe__index_remove(&index, hash, i);
    }
    assert_int_equal(index.count, 1);
    troupe__index_fini(&index);
    troupe__slabs_fini(&slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(actors_are_found_until_they_are_let_go_and_their_memory_goes_with_them),
        cmocka_unit_test(an_actor_used_since_the_hand_was_there_stays),
        cmocka_unit_test(a_message_holds_its_receiver_and_its_sender),
        cmocka_unit_test(an_actor_with_changes_not_folded_stays),
        cmocka_unit_test(what_a_cell_owns_is_counted),
        cmocka_unit_test(what_many_actors_had_is_joined_as_they_go),
        cmocka_unit_test(types_that_nobody_declares_go_with_their_actors),
        cmocka_unit_test(hashes_that_begin_alike_are_refused_when_there_are_too_many),
    };
    return cmocka_run_group_tests_name("actor", tests, NULL, NULL);
}
