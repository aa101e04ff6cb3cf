/* state_test.c - values, maps and lists of an actor on a machine: against a model, over failures, folds and restarts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A failure of the model test prints its seed; TROUPE_SEED=seed runs that one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/state.h"
#include "runtime/machine/machine.h"
#include "state/memory_store.h"

/* ---- one actor that does what the test says ---------------------------------------------------------------------- */

typedef enum troupe_error (*step_fn)(struct troupe_context *ctx);

static step_fn step; /* what the next message does */

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)message;
    return step(ctx);
}

static const struct troupe_value map = {.name = "map", .kind = TROUPE_MAP},
                                 list = {.name = "list", .kind = TROUPE_LIST},
                                 number = {.name = "number", .kind = TROUPE_INT},
                                 text = {.name = "text", .kind = TROUPE_STRING};
static const struct troupe_value *const values[] = {&map, &list, &number, &text, NULL};
static const struct troupe_type types[] = {{.name = "test/a", .handler = handle, .values = values, .retry = {1, 1, 1}}};
static const struct troupe_module module = {TROUPE_ABI, "state", "1", types, 1};

struct fixture {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    const struct troupe_module *module;
    int64_t now_ms;
    char log[512]; /* the last warning */
    char error[512];
};

static void on_log(void *context, enum troupe_level level, const char *line)
{
    struct fixture *f = context;
    if (level >= TROUPE_WARNING) {
        snprintf(f->log, sizeof f->log, "%s", line);
    }
}

static void open_machine(struct fixture *f)
{
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error), TROUPE_OK);
    if (troupe__machine_init(&f->machine, f->module, f->store, 7, on_log, f) != TROUPE_OK) {
        fail_msg("init: %s", f->machine.error);
    }
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

static struct fixture *fixture_new(const struct troupe_module *of)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->module = of;
    f->now_ms = 1000000;
    f->disk = troupe__memory_disk_new();
    open_machine(f);
    return f;
}

static void close_machine(struct fixture *f)
{
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

static void fixture_free(struct fixture *f)
{
    close_machine(f);
    troupe__memory_disk_free(f->disk);
    troupe__buffer_free(&f->epoch.record);
    troupe__buffer_free(&f->epoch.egress);
    free(f);
}

static void commit(struct fixture *f)
{
    while (troupe__machine_dirty(&f->machine)) {
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
        assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
    }
}

static void fold(struct fixture *f)
{
    commit(f);
    troupe__machine_refresh(&f->machine);
}

/* What is committed is there again, folded or in the journal; `as` may be another module. */
static void reopen_as(struct fixture *f, const struct troupe_module *as)
{
    commit(f);
    close_machine(f);
    f->module = as;
    open_machine(f);
}

static void advance(struct fixture *f, int64_t ms)
{
    f->now_ms += ms;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

/* Let the sweeper go on until it has nothing to do now. */
static void sweep(struct fixture *f)
{
    for (int i = 0; i < 5000 && troupe__machine_sweep_due(&f->machine) == 0; i++) {
        if (troupe__machine_sweep(&f->machine, 7 + (size_t)i % 50) != TROUPE_OK) {
            fail_msg("%s", f->machine.error);
        }
        if (i % 3 == 0 || !f->machine.sweeper.passing) {
            fold(f);
        }
    }
    assert_int_not_equal(troupe__machine_sweep_due(&f->machine), 0);
}

/* Run one delivery of test/a/KEY that does `what`. Returns whether it succeeded. */
static bool deliver_to(struct fixture *f, const char *key, step_fn what)
{
    size_t count;
    uint64_t failures = f->machine.stats.failures;
    step = what;
    struct troupe_address to = troupe_to(f->module->types[0].name, key);
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, to, "do", (struct troupe_bytes){"", 0}), TROUPE_OK);
    assert_int_equal(troupe__machine_run(&f->machine, 1, &count), TROUPE_OK);
    return f->machine.stats.failures == failures;
}

static bool deliver(struct fixture *f, step_fn what)
{
    return deliver_to(f, "x", what);
}

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

static size_t rows(struct fixture *f, enum troupe__table table)
{
    size_t count = 0;
    assert_int_equal(f->store->scan(f->store, table, (struct troupe_bytes){"", 0}, count_row, &count), TROUPE_OK);
    return count;
}

static void must(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
}

static void set_string(struct troupe_context *ctx, const char *key, const char *value)
{
    must(troupe_map_set(ctx, &map, troupe_string(key), troupe_string(value)));
}

/* `expected` NULL: there must be none. */
static void get_is(struct troupe_context *ctx, const char *key, const char *expected)
{
    struct troupe_bytes bytes = {"?", 1};
    assert_int_equal(troupe_map_get(ctx, &map, troupe_string(key), &bytes), expected ? TROUPE_OK : TROUPE_ENOTFOUND);
    assert_string_equal(bytes.data, expected ? expected : "?");
    assert_int_equal(bytes.size, expected ? strlen(expected) : 1);
}

/* ---- against a model --------------------------------------------------------------------------------------------- */

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
            must(troupe_map_next(ctx, &map, &walk, &key, &bytes));
            assert_int_equal(key.size, expected.size);
            assert_memory_equal(key.data, expected.data, key.size);
            is_number(bytes, model.map[index]);
            if (dice(200) == 0) {
                return; /* Nobody has to walk to the end. */
            }
        }
    }
    assert_int_equal(troupe_map_next(ctx, &map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
    assert_int_equal(troupe_map_next(ctx, &map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
}

static void walk_list(struct troupe_context *ctx, uint64_t from, uint64_t to, bool backward)
{
    struct troupe_list_walk walk = {.from = from, .to = to, .backward = backward};
    uint64_t end = to == 0 || to > model.list_count ? model.list_count : to, position;
    struct troupe_bytes bytes;
    for (uint64_t i = from; i < end; i++) {
        uint64_t expected = backward ? end - 1 - (i - from) : i;
        must(troupe_list_next(ctx, &list, &walk, &position, &bytes));
        assert_int_equal(position, expected);
        is_number(bytes, model.list[expected]);
    }
    assert_int_equal(troupe_list_next(ctx, &list, &walk, &position, &bytes), TROUPE_ENOTFOUND);
}

static void change_map(struct troupe_context *ctx)
{
    char name[16];
    size_t index = dice(KEYS);
    struct troupe_bytes key = key_of(index, name), bytes;
    uint64_t fresh = dice_state + 1;
    switch (dice(5)) {
    case 0:
        must(troupe_map_remove(ctx, &map, key));
        model.map[index] = 0;
        break;
    case 1:
        assert_int_equal(troupe_map_get(ctx, &map, key, &bytes), model.map[index] ? TROUPE_OK : TROUPE_ENOTFOUND);
        if (model.map[index]) {
            is_number(bytes, model.map[index]);
        }
        break;
    default:
        must(troupe_map_set(ctx, &map, key, bytes_of(&fresh)));
        model.map[index] = fresh;
    }
}

static void push_list(struct troupe_context *ctx, bool front)
{
    uint64_t fresh = dice_state + 1;
    if (model.list_count == LIST_MAX) {
        return;
    }
    must(front ? troupe_list_push_front(ctx, &list, bytes_of(&fresh))
               : troupe_list_push_back(ctx, &list, bytes_of(&fresh)));
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
        front ? troupe_list_pop_front(ctx, &list, &bytes) : troupe_list_pop_back(ctx, &list, &bytes);
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
        assert_int_equal(troupe_list_set(ctx, &list, position, bytes_of(&fresh)), expected);
        if (expected == TROUPE_OK) {
            model.list[position] = fresh;
        }
        break;
    case 1:
        assert_int_equal(troupe_list_get(ctx, &list, position, &bytes), expected);
        if (expected == TROUPE_OK) {
            is_number(bytes, model.list[position]);
        }
        break;
    case 2:
        must(troupe_list_count(ctx, &list, &count));
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
            must(troupe_clear(ctx, &map));
            memset(model.map, 0, sizeof model.map);
        } else if (what == 1) {
            must(troupe_clear(ctx, &list));
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
    struct fixture *f = fixture_new(&module);
    model = (struct model){0};
    dice_seed = seed;
    dice_state = 0;
    for (int i = 0; i < 120; i++) {
        bool succeeded = deliver(f, random_step);
        if (succeeded == delivery_fails) {
            fail_msg("TROUPE_SEED=%llu: %s", (unsigned long long)seed, f->log);
        }
        switch (dice(8)) {
        case 0:
            commit(f);
            break;
        case 1:
            fold(f);
            assert_int_equal(f->machine.actors.unfolded.count, 0);
            break;
        case 2:
            reopen_as(f, &module);
            break;
        }
        if (!deliver(f, compare_all)) {
            fail_msg("TROUPE_SEED=%llu: %s", (unsigned long long)seed, f->log);
        }
    }
    fixture_free(f);
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

/* ---- claims about elements --------------------------------------------------------------------------------------- */

static enum troupe_error set_two(struct troupe_context *ctx)
{
    set_string(ctx, "b", "2");
    set_string(ctx, "a", "");
    must(troupe_list_push_back(ctx, &list, troupe_string("one")));
    must(troupe_set_int(ctx, &number, 7));
    return troupe_set_bytes(ctx, &text, troupe_string("words"));
}

static enum troupe_error check_two(struct troupe_context *ctx)
{
    struct troupe_bytes bytes;
    int64_t seven;
    get_is(ctx, "a", "");
    get_is(ctx, "b", "2");
    get_is(ctx, "c", NULL);
    must(troupe_list_get(ctx, &list, 0, &bytes));
    assert_string_equal(bytes.data, "one");
    must(troupe_get_int(ctx, &number, &seven));
    assert_int_equal(seven, 7);
    must(troupe_get_bytes(ctx, &text, &bytes));
    assert_string_equal(bytes.data, "words");
    return TROUPE_OK;
}

static enum troupe_error remove_two(struct troupe_context *ctx)
{
    must(troupe_map_remove(ctx, &map, troupe_string("a")));
    must(troupe_map_remove(ctx, &map, troupe_string("b")));
    must(troupe_map_remove(ctx, &map, troupe_string("never")));
    must(troupe_list_pop_front(ctx, &list, NULL));
    must(troupe_clear(ctx, &number));
    return troupe_clear(ctx, &text);
}

/* A value is seen in its own delivery, in the next one, once durable, once folded, and after a restart before and
 * after folding; what is removed leaves no row; an empty map or list has none. */
static void values_are_seen_at_once_and_ever_after(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&module);
    assert_true(deliver(f, set_two));
    assert_true(deliver(f, check_two));
    reopen_as(f, &module);
    assert_true(deliver(f, check_two));
    commit(f);
    assert_true(deliver(f, check_two));
    fold(f);
    assert_int_equal(f->machine.actors.unfolded.count, 0);
    assert_int_equal(rows(f, TROUPE__STATE), 6); /* two elements, the list's and its head, two single values */
    assert_true(deliver(f, check_two));
    reopen_as(f, &module);
    assert_true(deliver(f, check_two));
    assert_true(deliver(f, remove_two));
    fold(f);
    assert_int_equal(rows(f, TROUPE__STATE), 0);
    fixture_free(f);
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
        assert_int_equal(troupe_map_get(ctx, &map, empty, &bytes), TROUPE_EINVAL);
        break;
    case 1:
        assert_int_equal(troupe_map_get(ctx, &other, troupe_string("a"), &bytes), TROUPE_EINVAL);
        break;
    case 2:
        assert_int_equal(troupe_map_get(ctx, &list, troupe_string("a"), &bytes), TROUPE_ETYPE);
        break;
    case 3:
        assert_int_equal(troupe_map_get(ctx, &number, troupe_string("a"), &bytes), TROUPE_ETYPE);
        break;
    case 4:
        assert_int_equal(troupe_list_count(ctx, &map, &count), TROUPE_ETYPE);
        break;
    case 5:
        assert_int_equal(troupe_get_int(ctx, &map, &integer), TROUPE_ETYPE);
        break;
    case 6:
        assert_int_equal(troupe_get_bytes(ctx, &list, &bytes), TROUPE_ETYPE);
        break;
    case 7:
        assert_int_equal(troupe_set_int(ctx, &list, 1), TROUPE_ETYPE);
        break;
    case 8:
        assert_int_equal(troupe_map_get(ctx, NULL, troupe_string("a"), &bytes), TROUPE_EINVAL);
        break;
    default:
        assert_int_equal(troupe_map_get(ctx, &map, too_long, &bytes), TROUPE_EINVAL);
        break;
    }
    return TROUPE_OK; /* The delivery fails all the same. */
}

/* Keys over their limit, another kind, a value of nobody: each has its error and fails. */
static void wrong_use_of_a_map_fails_the_delivery(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&module);
    for (misused = 0; misused < 10; misused++) {
        char key[16];
        snprintf(key, sizeof key, "x%u", misused);
        assert_false(deliver_to(f, key, misuse_map));
    }
    assert_non_null(strstr(f->log, "a key of 119 bytes is not of 1 to 118"));
    fold(f);
    assert_int_equal(rows(f, TROUPE__STATE), 0);
    fixture_free(f);
}

static enum troupe_error set_too_much(struct troupe_context *ctx)
{
    static char big[TROUPE_BODY_MAX + 1];
    set_string(ctx, "a", "1");
    assert_int_equal(troupe_map_set(ctx, &map, troupe_string("a"), (struct troupe_bytes){big, sizeof big}),
                     TROUPE_ETOOBIG);
    assert_int_equal(troupe_list_push_back(ctx, &list, (struct troupe_bytes){big, sizeof big}), TROUPE_ETOOBIG);
    return TROUPE_OK;
}

/* It depends on data, which the handler may answer for otherwise. */
static void what_is_over_the_limit_has_no_effect_and_all_else_has(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&module);
    assert_true(deliver(f, set_too_much));
    fold(f);
    assert_int_equal(rows(f, TROUPE__STATE), 1);
    fixture_free(f);
}

#define NAME63 "n/1234567890123456789012345678901234567890123456789012345678901"

static const struct troupe_value longest = {.name = "v12345678901234567890123456789012345678901234567890123456789012",
                                            .kind = TROUPE_MAP};
static const struct troupe_value *const longest_values[] = {&longest, NULL};
static const struct troupe_type longest_types[] = {{.name = NAME63, .handler = handle, .values = longest_values}};
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
    must(troupe_map_set(ctx, &longest, longest_key(1), troupe_string("1")));
    return troupe_map_set(ctx, &longest, longest_key(255), troupe_string("255"));
}

static enum troupe_error check_longest(struct troupe_context *ctx)
{
    for (int backward = 0; backward < 2; backward++) {
        struct troupe_map_walk walk = {.backward = backward};
        struct troupe_bytes key, bytes;
        must(troupe_map_next(ctx, &longest, &walk, &key, &bytes));
        assert_string_equal(bytes.data, backward ? "255" : "1");
        must(troupe_map_next(ctx, &longest, &walk, &key, &bytes));
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
    struct fixture *f = fixture_new(&longest_module);
    struct troupe__row_key parts;
    assert_int_equal(strlen(longest_types[0].name), TROUPE_NAME_MAX);
    assert_int_equal(strlen(longest.name), TROUPE_NAME_MAX);
    assert_true(deliver_to(f, key, set_longest));
    assert_true(deliver_to(f, key, check_longest));
    fold(f);
    assert_true(deliver_to(f, key, check_longest));
    reopen_as(f, &longest_module);
    assert_true(deliver_to(f, key, check_longest));
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
    fixture_free(f);
}

static uint64_t filled; /* elements that fill makes */

static enum troupe_error fill(struct troupe_context *ctx)
{
    for (uint64_t i = 0; i < filled; i++) {
        char key[24];
        snprintf(key, sizeof key, "%08llu", (unsigned long long)i);
        set_string(ctx, key, "x");
        must(troupe_list_push_back(ctx, &list, troupe_string("x")));
    }
    return TROUPE_OK;
}

static enum troupe_error clear_both(struct troupe_context *ctx)
{
    must(troupe_clear(ctx, &map));
    return troupe_clear(ctx, &list);
}

static enum troupe_error check_empty(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t count;
    get_is(ctx, "00000000", NULL);
    assert_int_equal(troupe_map_next(ctx, &map, &walk, &key, &bytes), TROUPE_ENOTFOUND);
    must(troupe_list_count(ctx, &list, &count));
    assert_int_equal(count, 0);
    assert_int_equal(troupe_list_pop_back(ctx, &list, &bytes), TROUPE_ENOTFOUND);
    return TROUPE_OK;
}

static enum troupe_error clear_and_fail(struct troupe_context *ctx)
{
    must(clear_both(ctx));
    set_string(ctx, "new", "1");
    return TROUPE_EREJECTED;
}

static enum troupe_error check_filled(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t count = 0, list_count;
    while (troupe_map_next(ctx, &map, &walk, &key, &bytes) == TROUPE_OK) {
        count++;
    }
    assert_int_equal(count, filled);
    must(troupe_list_count(ctx, &list, &list_count));
    assert_int_equal(list_count, filled);
    return TROUPE_OK;
}

/* Clearing 20,000 elements takes an epoch of a few rows, wherever they are; a failed clear has no effect; what is set
 * anew is not mixed up with what was. */
static void clearing_a_large_map_or_list_is_one_small_change(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&module);
        filled = 20000;
        assert_true(deliver(f, fill));
        folded ? fold(f) : commit(f);
        assert_false(deliver(f, clear_and_fail));
        assert_true(deliver(f, check_filled));
        assert_true(deliver(f, clear_both));
        assert_true(deliver(f, check_empty));
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        assert_true(f->epoch.record.size < 10000);
        must(f->store->commit(f->store, f->epoch.number,
                              (struct troupe_bytes){f->epoch.record.data, f->epoch.record.size}));
        reopen_as(f, &module);
        assert_true(deliver(f, check_empty));
        filled = 3;
        assert_true(deliver(f, fill));
        assert_true(deliver(f, check_filled));
        fold(f);
        assert_int_equal(rows(f, TROUPE__SWEEP), 2);
        assert_true(deliver(f, check_filled));
        assert_true(rows(f, TROUPE__STATE) > 40000);
        reopen_as(f, &module);
        assert_int_equal(troupe__machine_sweep(&f->machine, 1000), TROUPE_OK); /* Then the node ends in its midst. */
        reopen_as(f, &module);
        fold(f);
        sweep(f);
        assert_int_equal(rows(f, TROUPE__SWEEP), 0);
        assert_int_equal(rows(f, TROUPE__STATE), 8); /* two heads, six elements */
        assert_true(deliver(f, check_filled));
        fixture_free(f);
    }
}

/* When all that a large map and list held has left the disk, their heads do too, and what is set then is safe: whether
 * the node has ended in the midst of it, at any commit, or not, and however often they were cleared before. */
static void heads_of_what_was_cleared_go_last(void **state)
{
    (void)state;
    int dropped = 0, stayed = 0;
    for (int ends = 0; ends < 40; ends++) { /* at the `ends`-th commit */
        struct fixture *f = fixture_new(&module);
        int commits = 0;
        for (int times = 0; times <= ends % 3; times++) {
            filled = 100;
            assert_true(deliver(f, fill));
            ends % 2 ? fold(f) : commit(f);
            assert_true(deliver(f, clear_both));
        }
        commit(f);
        bool refilled = false;
        for (int i = 0; i < 60; i++) {
            must(troupe__machine_sweep(&f->machine, 40));
            i % 4 ? commit(f) : fold(f);
            if (++commits == ends) {
                reopen_as(f, &module);
                filled = 3;
                assert_true(deliver(f, fill));
                refilled = true;
            }
        }
        size_t left = rows(f, TROUPE__STATE);
        assert_int_equal(rows(f, TROUPE__SWEEP), 0);
        assert_true(refilled ? left == 7 || left == 8 : left == 0); /* A list has a head, a map of generation 0 none. */
        dropped += left == 7;
        stayed += left == 8;
        assert_true(deliver(f, refilled ? check_filled : check_empty));
        reopen_as(f, &module);
        assert_true(deliver(f, refilled ? check_filled : check_empty));
        fixture_free(f);
    }
    assert_true(dropped > 0 && stayed > 0);
}

static enum troupe_error walk_and_change(struct troupe_context *ctx)
{
    struct troupe_map_walk outer = {.batch = NULL};
    struct troupe_bytes key, bytes;
    uint64_t met = 0;
    while (troupe_map_next(ctx, &map, &outer, &key, &bytes) == TROUPE_OK) {
        struct troupe_map_walk inner = {.backward = true};
        struct troupe_bytes other, ignored;
        char name[24], more[32];
        snprintf(name, sizeof name, "%s", (const char *)key.data);
        name[key.size] = '\0';
        must(troupe_map_next(ctx, &map, &inner, &other, &ignored));
        assert_string_equal(bytes.data, "x"); /* The inner walk has not moved it. */
        assert_memory_equal(key.data, name, key.size);
        must(troupe_map_remove(ctx, &map, key));
        if (name[0] == '0') { /* Behind the walk, and ahead of it. */
            snprintf(more, sizeof more, "1%s", name);
            must(troupe_map_set(ctx, &map, troupe_string(more), troupe_string("x")));
            must(troupe_map_set(ctx, &map, troupe_string("/behind"), troupe_string("x")));
        }
        met++;
    }
    assert_int_equal(met, 2 * filled);
    must(troupe_map_set(ctx, &map, troupe_string("/c"), troupe_string("x")));
    struct troupe_map_walk last = {.batch = NULL};
    must(troupe_map_next(ctx, &map, &last, &key, &bytes));
    assert_string_equal(key.data, "/behind");
    must(troupe_map_next(ctx, &map, &last, &key, &bytes));
    assert_string_equal(key.data, "/c"); /* Shorter than the one before it, and followed by a NUL all the same. */
    must(troupe_map_remove(ctx, &map, troupe_string("/behind")));
    must(troupe_map_remove(ctx, &map, troupe_string("/c")));
    must(troupe_clear(ctx, &list));
    return check_empty(ctx);
}

/* A walk goes on while its element is removed, others are set before and behind it, and other walks go on. */
static void a_walk_may_change_what_it_walks_over(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        struct fixture *f = fixture_new(&module);
        filled = 300;
        assert_true(deliver(f, fill));
        folded ? fold(f) : commit(f);
        assert_true(deliver(f, walk_and_change) || (print_error("%s\n", f->log), false));
        fixture_free(f);
    }
}

/* ---- versions ---------------------------------------------------------------------------------------------------- */

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
    {.name = "test/a", .handler = handle, .values = newer_values, .retry = {1, 1, 1}}};
static const struct troupe_module newer_module = {TROUPE_ABI, "state", "2", newer_types, 1};

static enum troupe_error read_newer(struct troupe_context *ctx)
{
    struct troupe_map_walk walk = {.batch = NULL};
    struct troupe_bytes key, bytes;
    int64_t integer;
    must(troupe_get_int(ctx, &number_1, &integer));
    assert_int_equal(integer, 70);
    must(troupe_get_int(ctx, &text_2, &integer));
    assert_int_equal(integer, 5);
    must(troupe_map_next(ctx, &map_1, &walk, &key, &bytes));
    assert_string_equal(bytes.data, "v0:");
    must(troupe_map_get(ctx, &map_1, troupe_string("b"), &bytes));
    assert_string_equal(bytes.data, "v0:2");
    must(troupe_list_get(ctx, &list_1, 0, &bytes));
    assert_string_equal(bytes.data, "v0:one");
    return TROUPE_OK;
}

static enum troupe_error read_newer_and_fail(struct troupe_context *ctx)
{
    must(read_newer(ctx));
    return TROUPE_EREJECTED;
}

static enum troupe_error read_number(struct troupe_context *ctx)
{
    int64_t integer;
    return troupe_get_int(ctx, &number, &integer);
}

static enum troupe_error set_thirteen(struct troupe_context *ctx)
{
    return troupe_set_int(ctx, &number, 13);
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
        struct fixture *f = fixture_new(&module);
        assert_true(deliver(f, set_two));
        folded ? fold(f) : commit(f);
        reopen_as(f, &newer_module);
        migrated = 0;
        assert_false(deliver(f, read_newer_and_fail));
        assert_int_equal(migrated, 5);
        assert_true(deliver(f, read_newer));
        assert_int_equal(migrated, 10);
        assert_true(deliver(f, read_newer));
        assert_int_equal(migrated, 11); /* Only what the walk met: a walk stores nothing. */
        reopen_as(f, &newer_module);
        assert_true(deliver(f, read_newer));
        assert_int_equal(migrated, 12);
        fold(f);
        reopen_as(f, &module);
        assert_false(deliver(f, read_number));
        assert_non_null(strstr(f->log, "value 'number' is stored in version 1, the module knows 0"));
        fixture_free(f);
    }
}

/* A migrate that fails makes the delivery fail, with a text that says which value, from what, and why. */
static void a_failing_migrate_fails_the_delivery(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&module);
    assert_true(deliver(f, set_thirteen));
    reopen_as(f, &newer_module);
    assert_false(deliver(f, read_number_1));
    assert_non_null(strstr(f->log, "value 'number': migrate from version 0 to 1: no luck with 13"));
    fixture_free(f);
}

static const struct troupe_value map_number = {.name = "map", .kind = TROUPE_INT},
                                 list_map = {.name = "list", .kind = TROUPE_MAP},
                                 number_list = {.name = "number", .kind = TROUPE_LIST};
static const struct troupe_value *const mixed_values[] = {&map_number, &list_map, &number_list, &text, NULL};
static const struct troupe_type mixed_types[] = {
    {.name = "test/a", .handler = handle, .values = mixed_values, .retry = {1, 1, 1}}};
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
        struct fixture *f = fixture_new(&module);
        assert_true(deliver(f, set_two));
        folded ? fold(f) : commit(f);
        reopen_as(f, &mixed_module);
        assert_false(deliver(f, read_mixed));
        assert_non_null(strstr(f->log, "value 'number': it is stored as another kind than the module declares"));
        fixture_free(f);
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

static void say(struct fixture *f, const char *type, const char *body)
{
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, troupe_to("test/a", "x"), type, troupe_string(body)),
                     TROUPE_OK);
}

static void run_all(struct fixture *f)
{
    size_t count;
    assert_int_equal(troupe__machine_run(&f->machine, 100, &count), TROUPE_OK);
}

/* A message that waited or was delayed is migrated for its handler; one that cannot be, or is of a newer version, is a
 * dead letter that says so. */
static void a_message_of_another_version_is_migrated_or_a_dead_letter(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&note_module);
    say(f, "plant", "");
    run_all(f);
    say(f, "note", "waits");
    say(f, "note", "bad");
    reopen_as(f, &newer_note_module);
    run_all(f);
    assert_string_equal(got, "waits");
    assert_non_null(strstr(f->log, "message 'note': migrate from version 0 to 2: a bad one"));
    advance(f, 2000);
    run_all(f);
    assert_string_equal(got, "seed");
    say(f, "note", "new"); /* Of the version that the module has which took it in. */
    reopen_as(f, &note_module);
    run_all(f);
    assert_string_equal(got, "seed");
    assert_non_null(strstr(f->log, "message 'note' is of version 2, the module knows 0"));
    assert_int_equal(f->machine.stats.dead, 1);
    fixture_free(f);
}

/* ---- time to live ------------------------------------------------------------------------------------------------ */

enum { TTL_MS = 80000 };

static const struct troupe_value
    brief = {.name = "brief", .kind = TROUPE_STRING, .ttl_ms = TTL_MS},
    fresh = {.name = "fresh", .kind = TROUPE_STRING, .ttl_ms = TTL_MS, .ttl = TROUPE_TTL_AFTER_READ},
    brief_map = {.name = "brief_map", .kind = TROUPE_MAP, .ttl_ms = TTL_MS},
    fresh_map = {.name = "fresh_map", .kind = TROUPE_MAP, .ttl_ms = TTL_MS, .ttl = TROUPE_TTL_AFTER_READ},
    brief_list = {.name = "brief_list", .kind = TROUPE_LIST, .ttl_ms = TTL_MS};
static const struct troupe_value *const brief_values[] = {&brief, &fresh, &brief_map, &fresh_map, &brief_list, NULL};
static const struct troupe_type brief_types[] = {
    {.name = "test/a", .handler = handle, .values = brief_values, .retry = {1, 1, 1}}};
static const struct troupe_module brief_module = {TROUPE_ABI, "state", "1", brief_types, 1};

static uint64_t brief_count; /* elements of the list, and of the map besides "a" */

static enum troupe_error set_brief(struct troupe_context *ctx)
{
    must(troupe_set_bytes(ctx, &brief, troupe_string("b")));
    must(troupe_set_bytes(ctx, &fresh, troupe_string("f")));
    must(troupe_map_set(ctx, &brief_map, troupe_string("a"), troupe_string("1")));
    must(troupe_map_set(ctx, &fresh_map, troupe_string("a"), troupe_string("1")));
    for (uint64_t i = 0; i < brief_count; i++) {
        must(troupe_map_set(ctx, &brief_map, bytes_of(&i), troupe_string("x")));
        must(troupe_list_push_back(ctx, &brief_list, troupe_string("l")));
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
    must(troupe_list_count(ctx, &brief_list, &count));
    assert_int_equal(count, brief_there ? brief_count : 0);
    expected = fresh_there ? TROUPE_OK : TROUPE_ENOTFOUND;
    assert_int_equal(troupe_get_bytes(ctx, &fresh, &bytes), expected);
    assert_int_equal(troupe_map_get(ctx, &fresh_map, troupe_string("a"), &bytes), expected);
    return TROUPE_OK;
}

static enum troupe_error check_brief_and_fail(struct troupe_context *ctx)
{
    must(check_brief(ctx));
    return TROUPE_EREJECTED;
}

/* The last millisecond counts, whatever has happened to the row; a failed read of what has expired changes nothing. */
static void a_value_expires_after_its_time(void **state)
{
    (void)state;
    for (int how = 0; how < 6; how++) {
        struct fixture *f = fixture_new(&brief_module);
        brief_count = 3;
        assert_true(deliver(f, set_brief));
        how % 3 == 0 ? (void)0 : how % 3 == 1 ? commit(f) : fold(f);
        if (how >= 3) {
            reopen_as(f, &brief_module);
        }
        advance(f, TTL_MS - 1);
        brief_there = fresh_there = true;
        assert_true(deliver(f, check_brief) || (print_error("%s\n", f->log), false));
        advance(f, 1);
        brief_there = false;
        assert_false(deliver(f, check_brief_and_fail));
        assert_true(deliver(f, check_brief) || (print_error("%s\n", f->log), false));
        advance(f, TTL_MS - 2);
        assert_true(deliver(f, check_brief));
        advance(f, TTL_MS - TTL_MS / 8 - 1);
        assert_true(deliver(f, check_brief));
        advance(f, TTL_MS);
        fresh_there = false;
        assert_true(deliver(f, check_brief));
        fold(f);
        assert_int_equal(rows(f, TROUPE__STATE), 3); /* elements that nobody has met */
        assert_true(deliver(f, set_brief));
        brief_there = fresh_there = true;
        assert_true(deliver(f, check_brief));
        fixture_free(f);
    }
}

static enum troupe_error read_fresh(struct troupe_context *ctx)
{
    struct troupe_bytes bytes;
    must(troupe_get_bytes(ctx, &fresh, &bytes));
    return troupe_map_get(ctx, &fresh_map, troupe_string("a"), &bytes);
}

/* Reads within the first eighth of the time change nothing; the first one after it does, once. */
static void not_every_read_is_a_write(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(&brief_module);
    brief_count = 0;
    assert_true(deliver(f, set_brief));
    fold(f);
    struct troupe__actor *actor = troupe__actors_get(&f->machine.actors, "test/a", "x", 1);
    uint64_t epoch = actor->changed_epoch;
    for (int i = 0; i < 8; i++) {
        advance(f, i < 7 ? TTL_MS / 64 : TTL_MS / 8 - 7 * (TTL_MS / 64));
        assert_true(deliver(f, read_fresh));
        assert_true((actor->changed_epoch != epoch) == (i == 7));
        commit(f);
    }
    epoch = actor->changed_epoch;
    advance(f, TTL_MS / 64);
    assert_true(deliver(f, read_fresh));
    assert_int_equal(actor->changed_epoch, epoch);
    fixture_free(f);
}

/* What nobody asks for is removed from the disk when its time is over, and what asked for it too; also if the node was
 * away meanwhile, and whether lists are small or large. What was set anew stays. */
static void what_has_expired_leaves_the_disk(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct fixture *f = fixture_new(&brief_module);
        brief_count = large ? 500 : 5;
        assert_true(deliver_to(f, "x", set_brief));
        assert_true(deliver_to(f, "y", set_brief));
        fold(f);
        assert_int_equal(rows(f, TROUPE__SWEEP), 2 * 5);
        assert_int_equal(rows(f, TROUPE__STATE), 2 * (5 + 2 * brief_count));
        sweep(f);
        int64_t due_ms = troupe__machine_sweep_due(&f->machine);
        assert_true(due_ms > TTL_MS && due_ms <= TTL_MS + TTL_MS / 8);
        advance(f, TTL_MS / 2);
        assert_true(deliver_to(f, "y", set_brief));
        reopen_as(f, &brief_module);
        advance(f, TTL_MS / 2 + TTL_MS / 8);
        fold(f);
        sweep(f);
        brief_count *= 2; /* y has pushed to its list twice */
        assert_int_equal(rows(f, TROUPE__STATE), 5 + brief_count + brief_count / 2);
        brief_there = fresh_there = true;
        assert_true(deliver_to(f, "y", check_brief) || (print_error("%s\n", f->log), false));
        brief_there = fresh_there = false;
        assert_true(deliver_to(f, "x", check_brief));
        advance(f, 3 * TTL_MS);
        fold(f);
        sweep(f);
        assert_int_equal(rows(f, TROUPE__STATE), 0);
        assert_int_equal(rows(f, TROUPE__SWEEP), 0);
        fixture_free(f);
    }
}

/* ---- declarations ------------------------------------------------------------------------------------------------ */

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
        struct troupe_type type = {.name = "test/bad", .handler = handle, .values = bad_values};
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
        cmocka_unit_test(maps_and_lists_are_as_their_model),
        cmocka_unit_test(an_older_version_is_migrated_once_with_its_delivery),
        cmocka_unit_test(a_failing_migrate_fails_the_delivery),
        cmocka_unit_test(another_kind_fails_the_delivery),
        cmocka_unit_test(a_message_of_another_version_is_migrated_or_a_dead_letter),
        cmocka_unit_test(a_value_expires_after_its_time),
        cmocka_unit_test(not_every_read_is_a_write),
        cmocka_unit_test(what_has_expired_leaves_the_disk),
        cmocka_unit_test(a_bad_declaration_is_refused),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
