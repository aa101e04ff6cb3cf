/* post_test.c - messages come out of the post as they went in, each with the receiver that it was addressed to.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/post.h"

static enum troupe_error never(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)ctx, (void)message;
    return TROUPE_OK;
}

static const struct troupe_type types[] = {{.name = "test/one", .handler = never}};
static const struct troupe_module module = {TROUPE_ABI, "test", "1", types, 1};

enum { FILLING = 1000000 };

struct fixture {
    struct troupe__actors actors;
    struct troupe__post post;
    struct troupe__actor *sender;
};

static struct troupe__actor *get(struct fixture *f, size_t index)
{
    char key[32];
    int size = snprintf(key, sizeof key, "%zu", index);
    struct troupe__actor *actor = troupe__actors_get(&f->actors, "test/one", key, (size_t)size);
    assert_non_null(actor);
    return actor;
}

static struct fixture *open_fixture(void)
{
    char error[256];
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(troupe__actors_init(&f->actors, &module, error, sizeof error), TROUPE_OK);
    f->sender = get(f, 0);
    for (size_t i = 0; i < TROUPE__ACTORS_NEAR; i++) { /* Among fewer none is sought. */
        get(f, FILLING + i);
    }
    return f;
}

static void close_fixture(struct fixture *f)
{
    troupe__post_fini(&f->post);
    assert_int_equal(f->sender->references, 0);
    assert_int_equal(f->actors.message_size, 0);
    troupe__actors_fini(&f->actors);
    free(f);
}

/* To actor `index`: found already, or to be found by an address that is gone when this returns. */
static void send(struct fixture *f, size_t index, bool found)
{
    char key[32];
    struct troupe_bytes body = {&index, sizeof index};
    struct troupe__seek seek = {0};
    if (!found) {
        int size = snprintf(key, sizeof key, "%zu", index);
        assert_true(troupe__actors_seek(&f->actors, "test/one", key, (size_t)size, &seek));
    }
    struct troupe__message *message = troupe__message_new(found ? get(f, index) : NULL, f->sender, "go", 2, body);
    assert_non_null(message);
    troupe__post_put(&f->post, &f->actors, message, &seek);
    memset(key, '?', sizeof key);
}

static void receive(struct fixture *f, size_t index)
{
    size_t number;
    struct troupe__message *message = troupe__post_take(&f->post, &f->actors);
    assert_non_null(message);
    assert_ptr_equal(message->to, get(f, index));
    assert_int_equal(message->to->references, 1);
    memcpy(&number, troupe__message_body(message), sizeof number);
    assert_int_equal(number, index);
    troupe__message_free(message);
}

/* Whether or not a receiver was known or in memory, and whatever becomes of the index on the way. */
static void the_first_in_is_the_first_out_and_has_its_receiver(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct fixture *f = open_fixture();
    size_t taken = 1;
    for (size_t i = 1; i <= COUNT; i++) {
        if (i % 3 == 0) {
            get(f, COUNT + 1 - i);
        }
        if (troupe__post_full(&f->post)) {
            receive(f, taken++);
        }
        send(f, i, i % 7 == 0);
    }
    while (!troupe__post_empty(&f->post)) {
        receive(f, taken++);
    }
    assert_int_equal(taken, COUNT + 1);
    assert_int_equal(f->actors.index.count, TROUPE__ACTORS_NEAR + COUNT + 1);
    close_fixture(f);
}

/* An address whose way began before its actor was let go leads to the actor that is made anew. */
static void an_actor_may_go_while_a_message_to_it_is_in_the_post(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    get(f, 1);
    send(f, 1, false);
    for (size_t i = 2; i < TROUPE__POST_SIZE; i++) {
        send(f, i, false);
    }
    assert_true(troupe__actor_evict(get(f, 1), 0));
    for (size_t i = 1; i < TROUPE__POST_SIZE; i++) {
        receive(f, i);
    }
    close_fixture(f);
}

static void what_is_left_in_the_post_is_freed(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    send(f, 1, true);
    send(f, 2, false);
    assert_true(f->actors.message_size > 0);
    assert_int_equal(f->sender->references, 2);
    close_fixture(f);
}

/* As a message is put in the post whose receiver is known. */
static void among_few_actors_none_is_sought(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    struct troupe__seek seek;
    for (size_t i = 0; i < 2; i++) {
        assert_true(troupe__actors_seek(&f->actors, "test/one", "a", 1, &seek));
        assert_true(troupe__actor_evict(get(f, FILLING + i), 0));
    }
    assert_false(troupe__actors_seek(&f->actors, "test/one", "a", 1, &seek));
    close_fixture(f);
}

/* Its types come and go with their actors, so nothing may wait for one. */
static void a_type_that_is_not_declared_is_not_sought(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    struct troupe__seek seek;
    assert_false(troupe__actors_seek(&f->actors, "test/other", "a", 1, &seek));
    assert_non_null(troupe__actors_get(&f->actors, "test/other", "a", 1));
    assert_false(troupe__actors_seek(&f->actors, "test/other", "a", 1, &seek));
    close_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_in_is_the_first_out_and_has_its_receiver),
        cmocka_unit_test(an_actor_may_go_while_a_message_to_it_is_in_the_post),
        cmocka_unit_test(what_is_left_in_the_post_is_freed),
        cmocka_unit_test(among_few_actors_none_is_sought),
        cmocka_unit_test(a_type_that_is_not_declared_is_not_sought),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
