/* values_model_test.c - maps and lists of an actor against a model, over failures, folds and restarts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A failure prints its seed; TROUPE_SEED=seed runs that one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/state.h"
#include "test/runtime/machine/puppet.h"

enum { KEYS = 150, LIST_MAX = 400 };

struct model {
    uint64_t map[KEYS]; /* 0: not there */
    uint64_t list[LIST_MAX];
    size_t list_count;
};

static struct model model;
static uint64_t dice_state, dice_seed;
static bool delivery_fails;

static uint64_t dice(uint64_t sides)
{
    uint64_t from[2] = {dice_seed, dice_state++};
    return troupe__hash(from, sizeof from) % sides;
}

/* Keys of many lengths that are in order: some of them begin others. */
static struct troupe_bytes key_of(size_t index, char to[16])
{
    int size = snprintf(to, 16, "%c%.*s", (char)('a' + index / 10), (int)(index % 10), "zzzzzzzzzz");
    return (struct troupe_bytes){to, (size_t)size};
}

static void is_number(struct troupe_bytes bytes, uint64_t expected)
{
    assert_int_equal(bytes.size, sizeof expected);
    assert_memory_equal(bytes.data, &expected, sizeof expected);
    assert_int_equal(((const char *)bytes.data)[bytes.size], 0);
}

static struct troupe_bytes bytes_of(const uint64_t *from)
{
    return (struct troupe_bytes){from, sizeof *from};
}

static void walk_map(struct troupe_context *ctx, size_t low, size_t high, bool backward)
{
    char from[16], to[16];
    struct troupe_map_walk walk = {.backward = backward};
    struct troupe_bytes key, bytes;
    walk.from = low > 0 ? key_of(low, from) : walk.from;
    walk.to = high < KEYS ? key_of(high, to) : walk.to;
    size_t left = low < high ? high - low : 0;
    while (left > 0) {
        size_t index = backward ? low + --left : high - left--;
        if (model.map[index]) {
            char name[16];
            struct troupe_bytes expected = key_of(index, name);
            puppet_must(troupe_map_next(ctx, &puppet_map, &walk, &key, &bytes));
            assert_int_equal(key.size, expected.size);
            assert_memory_equal(key.data, expected.data, key.size);
            is_number(bytes, model.map[index]);
            if (dice(200) == 0) {
                return; /* Nobody has to walk to the end. */
            }
        }
    }
    assert_int_equal(troupe_map_next(ctx, &puppet_map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
    assert_int_equal(troupe_map_next(ctx, &puppet_map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
}

static void walk_list(struct troupe_context *ctx, uint64_t from, uint64_t to, bool backward)
{
    struct troupe_list_walk walk = {.from = from, .to = to, .backward = backward};
    uint64_t end = to == 0 || to > model.list_count ? model.list_count : to, position;
    struct troupe_bytes bytes;
    for (uint64_t i = from; i < end; i++) {
        uint64_t expected = backward ? end - 1 - (i - from) : i;
        puppet_must(troupe_list_next(ctx, &puppet_list, &walk, &position, &bytes));
        assert_int_equal(position, expected);
        is_number(bytes, model.list[expected]);
    }
    assert_int_equal(troupe_list_next(ctx, &puppet_list, &walk, &position, &bytes), TROUPE_ENOTFOUND);
}

static void change_map(struct troupe_context *ctx)
{
    char name[16];
    size_t index = dice(KEYS);
    struct troupe_bytes key = key_of(index, name), bytes;
    uint64_t fresh = dice_state + 1;
    switch (dice(5)) {
    case 0:
        puppet_must(troupe_map_remove(ctx, &puppet_map, key));
        model.map[index] = 0;
        break;
    case 1:
        assert_int_equal(troupe_map_get(ctx, &puppet_map, key, &bytes),
                         model.map[index] ? TROUPE_OK : TROUPE_ENOTFOUND);
        if (model.map[index]) {
            is_number(bytes, model.map[index]);
        }
        break;
    default:
        puppet_must(troupe_map_set(ctx, &puppet_map, key, bytes_of(&fresh)));
        model.map[index] = fresh;
    }
}

static void push_list(struct troupe_context *ctx, bool front)
{
    uint64_t fresh = dice_state + 1;
    if (model.list_count == LIST_MAX) {
        return;
    }
    puppet_must(front ? troupe_list_push_front(ctx, &puppet_list, bytes_of(&fresh))
                      : troupe_list_push_back(ctx, &puppet_list, bytes_of(&fresh)));
    if (front) {
        memmove(model.list + 1, model.list, model.list_count * sizeof *model.list);
    }
    model.list[front ? 0 : model.list_count] = fresh;
    model.list_count++;
}

static void pop_list(struct troupe_context *ctx, bool front)
{
    struct troupe_bytes bytes;
    enum troupe_error result =
        front ? troupe_list_pop_front(ctx, &puppet_list, &bytes) : troupe_list_pop_back(ctx, &puppet_list, &bytes);
    assert_int_equal(result, model.list_count ? TROUPE_OK : TROUPE_ENOTFOUND);
    if (model.list_count > 0) {
        model.list_count--;
        is_number(bytes, model.list[front ? 0 : model.list_count]);
        if (front) {
            memmove(model.list, model.list + 1, model.list_count * sizeof *model.list);
        }
    }
}

static void change_list(struct troupe_context *ctx)
{
    uint64_t position = dice(model.list_count + 2), fresh = dice_state + 1, count;
    struct troupe_bytes bytes;
    enum troupe_error expected = position < model.list_count ? TROUPE_OK : TROUPE_ENOTFOUND;
    switch (dice(8)) {
    case 0:
        assert_int_equal(troupe_list_set(ctx, &puppet_list, position, bytes_of(&fresh)), expected);
        if (expected == TROUPE_OK) {
            model.list[position] = fresh;
        }
        break;
    case 1:
        assert_int_equal(troupe_list_get(ctx, &puppet_list, position, &bytes), expected);
        if (expected == TROUPE_OK) {
            is_number(bytes, model.list[position]);
        }
        break;
    case 2:
        puppet_must(troupe_list_count(ctx, &puppet_list, &count));
        assert_int_equal(count, model.list_count);
        break;
    case 3:
    case 4:
        pop_list(ctx, dice(2));
        break;
    default:
        push_list(ctx, dice(2));
    }
}

static enum troupe_error random_step(struct troupe_context *ctx)
{
    struct model before = model;
    for (uint64_t i = dice(dice(10) == 0 ? 120 : 8); i > 0; i--) {
        uint64_t what = dice(60);
        if (what == 0) {
            puppet_must(troupe_clear(ctx, &puppet_map));
            memset(model.map, 0, sizeof model.map);
        } else if (what == 1) {
            puppet_must(troupe_clear(ctx, &puppet_list));
            model.list_count = 0;
        } else if (what < 4) {
            walk_map(ctx, dice(KEYS), dice(KEYS + 1), dice(2));
        } else if (what < 6) {
            walk_list(ctx, dice(20), dice(40), dice(2));
        } else if (what % 2) {
            change_map(ctx);
        } else {
            change_list(ctx);
        }
    }
    delivery_fails = dice(4) == 0;
    if (delivery_fails) {
        model = before;
    }
    return delivery_fails ? TROUPE_EREJECTED : TROUPE_OK;
}

static enum troupe_error compare_all(struct troupe_context *ctx)
{
    walk_map(ctx, 0, KEYS, dice(2));
    walk_list(ctx, 0, 0, dice(2));
    return TROUPE_OK;
}

static void play_model(uint64_t seed)
{
    struct puppet *f = puppet_new(&puppet_module);
    model = (struct model){0};
    dice_seed = seed;
    dice_state = 0;
    for (int i = 0; i < 120; i++) {
        bool succeeded = puppet_deliver(f, random_step);
        if (succeeded == delivery_fails) {
            fail_msg("TROUPE_SEED=%llu: %s", (unsigned long long)seed, f->log);
        }
        switch (dice(8)) {
        case 0:
            puppet_commit(f);
            break;
        case 1:
            puppet_fold(f);
            assert_int_equal(f->machine.actors.unfolded.count, 0);
            break;
        case 2:
            puppet_reopen_as(f, &puppet_module);
            break;
        }
        if (!puppet_deliver(f, compare_all)) {
            fail_msg("TROUPE_SEED=%llu: %s", (unsigned long long)seed, f->log);
        }
    }
    puppet_free(f);
}

/* Whatever is done to a map and a list, in deliveries that fail or not, before and after commits, folds and restarts:
 * they hold what a model holds, in order, forward and backward; what is folded leaves memory. */
static void maps_and_lists_are_as_their_model(void **state)
{
    (void)state;
    const char *seed = getenv("TROUPE_SEED");
    if (seed) {
        play_model(strtoull(seed, NULL, 10));
        return;
    }
    for (uint64_t i = 1; i <= 120; i++) {
        play_model(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_and_lists_are_as_their_model),
    };
    return cmocka_run_group_tests_name("values_model", tests, NULL, NULL);
}
