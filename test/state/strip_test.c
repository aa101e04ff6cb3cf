/* strip_test.c - a strip knows the last change of each number that is its own, and never changes which are.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "state/strip.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Numbers go up with steps of 1 to `step`; some lie behind. */
static void numbers_stay_where_they_were_put(void **state)
{
    enum { PUTS = 20000, NUMBERS = 1 << 20 };
    static const unsigned char changes[256];
    (void)state;
    const unsigned char **last = calloc(NUMBERS, sizeof *last);
    signed char *taken = calloc(NUMBERS, 1); /* 1: it is the strip's own, -1: it is not */
    assert_true(last && taken);
    for (uint64_t step = 1; step <= 40; step += 13) {
        struct troupe__strip strip = {0};
        uint64_t random = step * 0x9e3779b97f4a7c15u, top = 2000;
        size_t own = 0, count = 0;
        memset(last, 0, NUMBERS * sizeof *last);
        memset(taken, 0, NUMBERS);
        for (int i = 0; i < PUTS; i++) {
            top += 1 + next_random(&random) % step;
            uint64_t back = next_random(&random) % 2 ? 0 : next_random(&random) % 1500, number = top - back;
            const unsigned char *at = next_random(&random) % 3 ? &changes[next_random(&random) % 256] : NULL;
            bool took = troupe__strip_put(&strip, number, at);
            assert_true(taken[number] == 0 || (taken[number] > 0) == took);
            assert_true(!took || troupe__strip_covers(&strip, number));
            taken[number] = took ? 1 : -1;
            last[number] = took ? at : NULL;
            own += took;
        }
        for (uint64_t number = 0; number < NUMBERS; number++) {
            size_t place = number - strip.first;
            assert_ptr_equal(number >= strip.first && place < strip.size ? strip.places[place] : NULL, last[number]);
            count += last[number] != NULL;
        }
        assert_int_equal(count, strip.count);
        assert_true(step > 1 || own > PUTS / 10 * 9);          /* Few places stay empty, ... */
        assert_true(step < 40 || (strip.ended && own < PUTS)); /* ... or too many. */
        troupe__strip_clear(&strip, 0);
        assert_null(strip.places);
    }
    free(last);
    free(taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_stay_where_they_were_put)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
