/* oracle_test.c - decisions depend on what they are about, and come back as they were noted.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/oracle.h"

enum { MANY = 10000 };

/* What one kind decides does not depend on what else is asked, in which order, or how often. */
static void a_decision_is_a_function_of_seed_kind_and_id(void **state)
{
    (void)state;
    struct troupe__random_oracle one, other;
    troupe__random_oracle_init(&one, 7);
    troupe__random_oracle_init(&other, 7);
    uint32_t expected[100];
    for (uint64_t id = 0; id < 100; id++) {
        expected[id] = troupe__choose(&one.base, TROUPE__CHOOSE_DELAY, 1000, id);
    }
    size_t same_across_kinds = 0;
    for (uint64_t id = 100; id-- > 0;) {
        same_across_kinds += troupe__choose(&other.base, TROUPE__CHOOSE_LOSS, 1000, id) == expected[id];
        assert_int_equal(troupe__choose(&other.base, TROUPE__CHOOSE_DELAY, 1000, id), expected[id]);
    }
    assert_true(same_across_kinds < 5);
}

/* Each answer is below n, and each comes about equally often. */
static void chance_is_fair_and_within_its_bound(void **state)
{
    (void)state;
    struct troupe__random_oracle oracle;
    troupe__random_oracle_init(&oracle, 3);
    size_t counts[10] = {0};
    for (uint64_t id = 0; id < MANY; id++) {
        uint32_t answer = troupe__choose(&oracle.base, TROUPE__CHOOSE_ORDER, 10, id);
        assert_true(answer < 10);
        counts[answer]++;
        assert_int_equal(troupe__choose(&oracle.base, TROUPE__CHOOSE_ORDER, 1, id), 0);
    }
    for (size_t i = 0; i < 10; i++) {
        assert_in_range(counts[i], MANY / 10 - 150, MANY / 10 + 150);
    }
}

/* The replayed oracle says what the recorded one noted, and 0 to what was taken out or never asked. */
static void a_replayed_oracle_says_what_was_noted_and_else_nothing(void **state)
{
    (void)state;
    struct troupe__random_oracle random;
    struct troupe__recorded_oracle recorded;
    struct troupe__replayed_oracle replayed;
    troupe__random_oracle_init(&random, 11);
    troupe__recorded_oracle_init(&recorded, &random.base);
    for (uint64_t id = 0; id < MANY; id++) {
        troupe__choose(&recorded.base, id % 2 ? TROUPE__CHOOSE_LOSS : TROUPE__CHOOSE_CRASH, 4, id);
    }
    assert_in_range(recorded.decisions.count, MANY / 4 * 3 - 300, MANY / 4 * 3 + 300);
    struct troupe__decision out = recorded.decisions.list[5];
    out.answer = 0;
    assert_true(troupe__decisions_set(&recorded.decisions, out));
    troupe__replayed_oracle_init(&replayed, &recorded.decisions);
    for (uint64_t id = MANY; id-- > 0;) {
        enum troupe__choice kind = id % 2 ? TROUPE__CHOOSE_LOSS : TROUPE__CHOOSE_CRASH;
        uint32_t expected = id == out.id ? 0 : troupe__choose(&random.base, kind, 4, id);
        assert_int_equal(troupe__choose(&replayed.base, kind, 4, id), expected);
    }
    assert_int_equal(troupe__choose(&replayed.base, TROUPE__CHOOSE_CLOCK, 4, 1), 0);
    troupe__decisions_fini(&recorded.decisions);
}

/* Ids made of small numbers, as (node, step), are all different. */
static void small_numbers_mix_into_different_ids(void **state)
{
    (void)state;
    enum { SIDE = 200 };
    struct troupe__decisions seen = {0};
    for (uint64_t a = 0; a < SIDE; a++) {
        for (uint64_t b = 0; b < SIDE; b++) {
            assert_true(troupe__decisions_set(&seen, (struct troupe__decision){troupe__id_mix(a, b), 1, 0}));
        }
    }
    assert_int_equal(seen.count, SIDE * SIDE);
    troupe__decisions_fini(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_numbers_mix_into_different_ids),
        cmocka_unit_test(a_decision_is_a_function_of_seed_kind_and_id),
        cmocka_unit_test(chance_is_fair_and_within_its_bound),
        cmocka_unit_test(a_replayed_oracle_says_what_was_noted_and_else_nothing),
    };
    return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
