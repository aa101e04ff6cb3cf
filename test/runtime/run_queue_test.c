/* run_queue_test.c - actors run in the order in which they were queued, and are known before their turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/run_queue.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_queue_as_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
