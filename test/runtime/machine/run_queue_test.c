/* run_queue_test.c - actors run in the order in which they were queued, those at hand sooner, and nobody is kept
 * waiting. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/machine/run_queue.h"

enum { ACTORS = 64, STEPS = 200000 };

/* Put and take in random order, with an array beside it that is the same queue. Long runs of the one and of the other,
 * so that it is empty, full and of every length in between. */
static void it_is_the_same_queue_as_an_array(void **state)
{
    (void)state;
    static struct troupe__actor actors[ACTORS];
    struct troupe__run_queue queue = {0};
    size_t order[ACTORS], free_ones[ACTORS], first = 0, count = 0, emptied = 0, filled = 0;
    uint64_t random = 42;
    for (size_t i = 0; i < ACTORS; i++) {
        free_ones[i] = i;
    }
    for (int step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bool rising = (step / 100) % 2 == 0, put = (random >> 60 < 5) != rising;
        assert_int_equal(troupe__run_queue_empty(&queue), count == 0);
        for (size_t ahead = 0; ahead < TROUPE__RUN_LISTS; ahead++) {
            const struct troupe__actor *expected = ahead < count ? &actors[order[(first + ahead) % ACTORS]] : NULL;
            assert_ptr_equal(troupe__run_queue_peek(&queue, ahead), expected);
        }
        if (put && count < ACTORS) {
            size_t picked = (size_t)(random >> 33) % (ACTORS - count);
            size_t index = free_ones[picked];
            free_ones[picked] = free_ones[ACTORS - count - 1];
            order[(first + count++) % ACTORS] = index;
            troupe__run_queue_put(&queue, &actors[index]);
            filled += count == ACTORS;
        } else if (!put && count > 0) {
            size_t index = order[first];
            first = (first + 1) % ACTORS;
            free_ones[ACTORS - count--] = index;
            assert_ptr_equal(troupe__run_queue_take(&queue), &actors[index]);
            emptied += count == 0;
        }
    }
    assert_true(emptied > 100 && filled > 10);
}

/* Those at hand among themselves are first in, first out too, and run while others wait. */
static void those_at_hand_run_sooner(void **state)
{
    (void)state;
    static struct troupe__actor actors[ACTORS];
    struct troupe__run_queue queue = {0};
    for (size_t i = 0; i < ACTORS / 2; i++) {
        troupe__run_queue_put(&queue, &actors[i]);
    }
    for (size_t i = ACTORS / 2; i < ACTORS; i++) {
        troupe__run_queue_put_near(&queue, &actors[i]);
    }
    size_t near = ACTORS / 2, waited = 0;
    for (size_t turn = 1; turn < TROUPE__RUN_TURNS; turn++) {
        assert_ptr_equal(troupe__run_queue_take(&queue), &actors[near++]);
    }
    assert_ptr_equal(troupe__run_queue_take(&queue), &actors[waited++]); /* And one at hand goes behind all. */
    near++;
    assert_ptr_equal(troupe__run_queue_take(&queue), &actors[near++]);
    size_t left = 0;
    for (; !troupe__run_queue_empty(&queue); left++) {
        (void)troupe__run_queue_take(&queue);
    }
    assert_int_equal(left, ACTORS - TROUPE__RUN_TURNS - 1);
}

/* Whatever they do: each is taken as often as it was put, those that only ever wait in their order, and each of them
 * within eight turns for each that waited before it. What was taken is put again at once, mostly at hand, so that
 * whoever waits has all others against it. */
static void nobody_waits_for_more_than_eight_turns_for_each_before(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static struct troupe__actor actors[MANY];
    static uint64_t due[MANY], put_at[MANY]; /* the turn by which one that waits must have had its own; 0: at hand */
    static bool queued[MANY];
    struct troupe__run_queue queue = {0};
    uint64_t random = 7, turn = 0, waits = 0, longest = 0;
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned target = (step / 2000) % 3 == 0 ? 10 : (step / 2000) % 3 == 1 ? 70 : MANY;
        size_t index = (size_t)(random >> 33) % MANY;
        if (count < target && !queued[index]) {
            bool near = random >> 60 < 12;
            queued[index] = true;
            count++;
            put_at[index] = turn;
            due[index] = near ? 0 : turn + TROUPE__RUN_TURNS * (queue.put - queue.taken + 1);
            if (near) {
                uint64_t before = queue.put;
                troupe__run_queue_put_near(&queue, &actors[index]);
                assert_true(queue.put == before || queue.near_put - queue.near_taken == TROUPE__RUN_NEAR_MAX);
            } else {
                troupe__run_queue_put(&queue, &actors[index]);
            }
        }
        if (count < target) {
            continue;
        }
        turn++;
        const struct troupe__actor *taken = troupe__run_queue_take(&queue);
        index = (size_t)(taken - actors);
        assert_true(queued[index]);
        queued[index] = false;
        count--;
        if (due[index] > 0) {
            assert_true(turn <= due[index]);
            waits++;
            longest = turn - put_at[index] > longest ? turn - put_at[index] : longest;
        }
        assert_int_equal(troupe__run_queue_empty(&queue), count == 0);
    }
    assert_true(waits > STEPS / 50 && longest > MANY / 2);
    for (; count > 0; count--) {
        size_t index = (size_t)(troupe__run_queue_take(&queue) - actors);
        assert_true(queued[index]);
        queued[index] = false;
    }
    assert_true(troupe__run_queue_empty(&queue));
}

/* With few at hand those that wait come first, but they too leave each eighth turn. */
static void few_at_hand_are_not_forgotten(void **state)
{
    (void)state;
    static struct troupe__actor near, actors[2];
    struct troupe__run_queue queue = {0};
    troupe__run_queue_put(&queue, &actors[0]);
    troupe__run_queue_put(&queue, &actors[1]);
    troupe__run_queue_put_near(&queue, &near);
    struct troupe__actor *taken;
    int turns = 0;
    while ((taken = troupe__run_queue_take(&queue)) != &near) {
        troupe__run_queue_put(&queue, taken); /* It has mail for ever. */
        assert_true(++turns < TROUPE__RUN_TURNS);
    }
    assert_true(turns > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_queue_as_an_array),
        cmocka_unit_test(those_at_hand_run_sooner),
        cmocka_unit_test(nobody_waits_for_more_than_eight_turns_for_each_before),
        cmocka_unit_test(few_at_hand_are_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
