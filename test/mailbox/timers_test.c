/* timers_test.c - timers and ids against the simplest thing that does the same: a list that is searched.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "mailbox/ids.h"
#include "mailbox/timers.h"

enum { STEPS = 20000, MOST = 300 };

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

/* The first one by time, then by id; `count` when there is none. */
static size_t first_of(const struct troupe__timer *list, size_t count)
{
    size_t first = 0;
    for (size_t i = 1; i < count; i++) {
        bool earlier =
            list[i].due_ms != list[first].due_ms ? list[i].due_ms < list[first].due_ms : list[i].id < list[first].id;
        first = earlier ? i : first;
    }
    return first;
}

static void timers_come_in_order_and_are_found_and_cancelled_by_id(void **state)
{
    (void)state;
    struct troupe__timers timers = {0};
    static struct troupe__timer list[MOST];
    size_t count = 0;
    struct troupe__timer got;
    random_state = 1;
    for (uint64_t step = 1; step <= STEPS; step++) {
        size_t most = step / 4000 % 2 ? MOST / 8 : MOST; /* Fills up and empties in turns. */
        if (count < most && draw(3) > 0) {
            uint64_t id = draw(2) ? step : step | UINT64_C(1) << 63;
            list[count] = (struct troupe__timer){(int64_t)draw(50), id, &list[draw(MOST)], 0};
            assert_true(troupe__timers_set(&timers, list[count++]));
        } else if (count > 0) {
            size_t at = draw(2) ? first_of(list, count) : draw(count);
            if (at == first_of(list, count)) {
                assert_true(troupe__timers_first(&timers)->id == list[at].id);
            }
            assert_ptr_equal(troupe__timers_find(&timers, list[at].id)->what, list[at].what);
            assert_true(troupe__timers_cancel(&timers, list[at].id, &got));
            assert_true(got.due_ms == list[at].due_ms && got.what == list[at].what);
            assert_false(troupe__timers_pending(&timers, list[at].id));
            assert_false(troupe__timers_cancel(&timers, list[at].id, &got));
            list[at] = list[--count];
        }
        assert_int_equal(timers.count, count);
    }
    while (count > 0) {
        size_t at = first_of(list, count);
        assert_true(troupe__timers_cancel(&timers, troupe__timers_first(&timers)->id, &got));
        assert_true(got.id == list[at].id);
        list[at] = list[--count];
    }
    assert_null(troupe__timers_first(&timers));
    assert_null(troupe__timers_find(&timers, 1));
    troupe__timers_fini(&timers);
}

static struct troupe__id id_number(uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return troupe__id_of("test/type", "key", text);
}

/* In a ring that goes round, with few and with many of them. */
static void ids_are_known_until_they_are_a_day_old(void **state)
{
    (void)state;
    struct troupe__ids ids = {0};
    struct troupe__id old;
    uint64_t oldest = 0, next = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        size_t most = step / 4000 % 2 ? MOST / 8 : MOST;
        if (next - oldest < most) {
            assert_false(troupe__ids_has(&ids, id_number(next)));
            assert_true(troupe__ids_add(&ids, id_number(next), (int64_t)next));
            next++;
        }
        while (next - oldest >= most) {
            int64_t over_ms = (int64_t)oldest + TROUPE__ID_AGE_MS;
            assert_true(troupe__ids_has(&ids, id_number(oldest)));
            assert_false(troupe__ids_expire(&ids, over_ms - 1, &old));
            assert_true(troupe__ids_expire(&ids, over_ms, &old));
            assert_true(old.low == id_number(oldest).low && old.high == id_number(oldest).high);
            assert_false(troupe__ids_has(&ids, id_number(oldest)));
            oldest++;
        }
        assert_int_equal(ids.count, next - oldest);
        assert_true(next == oldest || troupe__ids_has(&ids, id_number(oldest + step % (next - oldest))));
    }
    troupe__ids_fini(&ids);
}

static void ids_that_were_added_in_disorder_expire_by_age_once_sorted(void **state)
{
    (void)state;
    struct troupe__ids ids = {0};
    struct troupe__id old;
    for (uint64_t i = 0; i < MOST; i++) {
        assert_true(troupe__ids_add(&ids, id_number(i), (int64_t)(i * 7919 % MOST)));
    }
    troupe__ids_sort(&ids);
    for (int64_t age = 0; age < MOST; age++) {
        assert_true(troupe__ids_expire(&ids, age + TROUPE__ID_AGE_MS, &old));
        assert_false(troupe__ids_expire(&ids, age + TROUPE__ID_AGE_MS, &old));
    }
    assert_int_equal(ids.count, 0);
    troupe__ids_fini(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_come_in_order_and_are_found_and_cancelled_by_id),
        cmocka_unit_test(ids_are_known_until_they_are_a_day_old),
        cmocka_unit_test(ids_that_were_added_in_disorder_expire_by_age_once_sorted),
    };
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
