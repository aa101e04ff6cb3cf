/* returns_test.c - who waits for the answer to an ask is found by its numbers, the newest first, and kept in its age.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "mailbox/returns.h"

enum { STEPS = 20000, ENTRIES_MAX = 400, NUMBERS = 40, ASKED = 30 };

/* The same as a plain list, the oldest first. */
struct model {
    struct entry {
        uint64_t number, asked;
        int64_t since_ms;
    } entries[ENTRIES_MAX + 1];
    size_t count;
};

static void model_remove(struct model *model, uint64_t number, uint64_t asked)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->entries[i].number != number || model->entries[i].asked != asked) {
            model->entries[kept++] = model->entries[i];
        }
    }
    model->count = kept;
}

static void compare(const struct troupe__returns *returns, const struct model *model)
{
    const struct troupe__return *at = returns->oldest, *older = NULL;
    assert_int_equal(returns->count, model->count);
    for (size_t i = 0; i < model->count; i++) {
        char key[TROUPE__RETURN_KEY_MAX + 1];
        snprintf(key, sizeof key, "n%d", (int)model->entries[i].asked);
        assert_non_null(at);
        assert_int_equal(at->number, model->entries[i].number);
        assert_int_equal(at->asked, model->entries[i].asked);
        assert_int_equal(at->since_ms, model->entries[i].since_ms);
        assert_string_equal(at->key, key);
        assert_ptr_equal(at->older, older);
        older = at;
        at = at->newer;
    }
    assert_null(at);
    assert_ptr_equal(returns->newest, older);
}

/* Of one number: the newest is found, all are counted, the oldest is known. */
static void compare_number(const struct troupe__returns *returns, const struct model *model, uint64_t number)
{
    const struct entry *oldest = NULL, *newest = NULL;
    struct troupe__return *ret_oldest = NULL;
    size_t count = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->entries[i].number == number) {
            oldest = oldest ? oldest : &model->entries[i];
            newest = &model->entries[i];
            count++;
        }
    }
    const struct troupe__return *found = troupe__returns_find(returns, number);
    assert_int_equal(found != NULL, count > 0);
    assert_true(!found || found->asked == newest->asked);
    assert_int_equal(troupe__returns_count(returns, number, &ret_oldest), count);
    assert_true(count == 0 || ret_oldest->asked == oldest->asked);
}

/* Whatever is added, added again and removed, while the table grows and while it is nearly empty. */
static void all_is_found_as_in_a_plain_list(void **state)
{
    (void)state;
    static struct model model;
    struct troupe__returns returns = {0};
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint64_t dice = troupe__hash(&step, sizeof step), number = dice % NUMBERS, asked = (dice >> 16) % ASKED;
        bool adds = (dice >> 32) % 100 < (step / 2000 % 2 ? 30u : 70u) && model.count < ENTRIES_MAX;
        char key[16];
        snprintf(key, sizeof key, "n%d", (int)asked);
        struct troupe__return *there = troupe__returns_find_both(&returns, number, asked);
        if (adds) {
            model_remove(&model, number, asked);
            model.entries[model.count++] = (struct entry){number, asked, (int64_t)step};
            assert_non_null(troupe__returns_add(&returns, number, asked, key, (int64_t)step));
        } else if (there) {
            model_remove(&model, number, asked);
            troupe__returns_remove(&returns, there);
        }
        compare_number(&returns, &model, number);
        if (step % 50 == 0) {
            compare(&returns, &model);
        }
    }
    troupe__returns_fini(&returns);
    assert_int_equal(returns.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_found_as_in_a_plain_list),
    };
    return cmocka_run_group_tests_name("returns", tests, NULL, NULL);
}
