/* specs_test.c - what modules declare is written and read back, kept when it goes, and compared.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "core/specs.h"

static enum troupe_error migrate(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                 struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)ctx, (void)value, (void)version, (void)old, (void)ret;
    return TROUPE_OK;
}

static enum troupe_error migrate_message(struct troupe_context *ctx, const struct troupe_message_type *type,
                                         uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret)
{
    (void)ctx, (void)type, (void)version, (void)old, (void)ret;
    return TROUPE_OK;
}

static const struct troupe_value number = {.name = "number", .kind = TROUPE_INT},
                                 text_3 = {.name = "text", .kind = TROUPE_STRING, .version = 3, .migrate = migrate},
                                 map = {.name = "map", .kind = TROUPE_MAP};
static const struct troupe_value *const values[] = {&text_3, &number, &map, NULL};
static const struct troupe_message_type go_300 = {.name = "go", .version = 300, .migrate = migrate_message};
static const struct troupe_message_type *const messages[] = {&go_300, NULL};
static const struct troupe_type types[] = {{.name = "z/z"}, {.name = "a/a", .values = values, .messages = messages}};
static const struct troupe_module
    module = {.abi = TROUPE_ABI, .name = "m", .version = "7", .types = types, .type_count = 2},
    smaller = {.abi = TROUPE_ABI, .name = "n", .version = "8", .types = types, .type_count = 1};

static struct troupe__buffer encoded(const struct troupe_module *of)
{
    struct troupe__specs specs;
    struct troupe__buffer row = {0};
    assert_int_equal(troupe__specs_of(of, &specs), TROUPE_OK);
    troupe__specs_encode(&specs, &row);
    troupe__specs_fini(&specs);
    return row;
}

/* All of it is there again, found by what, type and name. */
static void what_is_declared_is_read_back(void **state)
{
    (void)state;
    struct troupe__buffer row = encoded(&module);
    struct troupe__specs specs;
    assert_int_equal(troupe__specs_decode((struct troupe_bytes){row.data, row.size}, &specs), TROUPE_OK);
    memset(row.data, 0xff, row.size); /* It need not stay. */
    assert_string_equal(specs.module, "m");
    assert_string_equal(specs.module_version, "7");
    assert_int_equal(specs.count, 6);
    const struct troupe__spec *text = troupe__specs_find(&specs, TROUPE__SPEC_VALUE, "a/a", "text");
    assert_non_null(text);
    assert_int_equal(text->kind, TROUPE_STRING);
    assert_int_equal(text->version, 3);
    assert_int_equal(troupe__specs_find(&specs, TROUPE__SPEC_MESSAGE, "a/a", "go")->version, 300);
    assert_non_null(troupe__specs_find(&specs, TROUPE__SPEC_TYPE, "z/z", ""));
    assert_null(troupe__specs_find(&specs, TROUPE__SPEC_VALUE, "z/z", "text"));
    assert_null(troupe__specs_find(&specs, TROUPE__SPEC_MESSAGE, "a/a", "text"));
    troupe__specs_fini(&specs);
    troupe__buffer_free(&row);
}

/* Cut short anywhere, or with any byte changed, it is read as something or refused; never beyond its end. */
static void a_damaged_row_is_refused_or_read(void **state)
{
    (void)state;
    struct troupe__buffer row = encoded(&module);
    struct troupe__specs specs;
    size_t refused = 0;
    for (size_t size = 0; size < row.size; size++) {
        unsigned char *copy = malloc(size + 1);
        memcpy(copy, row.data, size);
        if (troupe__specs_decode((struct troupe_bytes){copy, size}, &specs) == TROUPE_OK) {
            troupe__specs_fini(&specs);
        } else {
            refused++;
        }
        free(copy);
    }
    assert_true(refused > row.size / 2);
    for (size_t at = 0; at < row.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            row.data[at] ^= (unsigned char)(1u << bit);
            if (troupe__specs_decode((struct troupe_bytes){row.data, row.size}, &specs) == TROUPE_OK) {
                troupe__specs_fini(&specs);
            }
            row.data[at] ^= (unsigned char)(1u << bit);
        }
    }
    row.data[0] = 2;
    assert_int_equal(troupe__specs_decode((struct troupe_bytes){row.data, row.size}, &specs), TROUPE_EVERSION);
    troupe__buffer_free(&row);
}

/* What an earlier module declared stays known, once; what the new one says of the rest goes before. */
static void what_goes_stays_known(void **state)
{
    (void)state;
    struct troupe__buffer row = encoded(&module);
    struct troupe__specs then, now;
    assert_int_equal(troupe__specs_decode((struct troupe_bytes){row.data, row.size}, &then), TROUPE_OK);
    assert_int_equal(troupe__specs_of(&smaller, &now), TROUPE_OK);
    assert_int_equal(now.count, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(troupe__specs_keep(&now, &then), TROUPE_OK);
        assert_int_equal(now.count, 6);
    }
    assert_non_null(troupe__specs_find(&now, TROUPE__SPEC_VALUE, "a/a", "text"));
    assert_string_equal(now.module, "n");
    troupe__specs_fini(&now);
    troupe__specs_fini(&then);
    troupe__buffer_free(&row);
}

/* In doubt: a newer version, another kind without a newer version, and a map or list that is anything else. */
static void only_what_may_not_be_read_is_doubtful(void **state)
{
    (void)state;
    static const struct {
        struct troupe__spec then, now;
        bool doubtful;
    } cases[] = {
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, false},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 2}, false},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 2}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, true},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_STRING, 2}, false},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_STRING, 1}, true},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_INT, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_MAP, 2}, true},
        {{TROUPE__SPEC_VALUE, "t", "v", TROUPE_LIST, 1}, {TROUPE__SPEC_VALUE, "t", "v", TROUPE_MAP, 2}, true},
        {{TROUPE__SPEC_MESSAGE, "t", "m", 0, 2}, {TROUPE__SPEC_MESSAGE, "t", "m", 0, 1}, true},
        {{TROUPE__SPEC_MESSAGE, "t", "m", 0, 1}, {TROUPE__SPEC_MESSAGE, "t", "m", 0, 2}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(troupe__specs_doubtful(&cases[i].then, &cases[i].now), cases[i].doubtful);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_declared_is_read_back),
        cmocka_unit_test(a_damaged_row_is_refused_or_read),
        cmocka_unit_test(what_goes_stays_known),
        cmocka_unit_test(only_what_may_not_be_read_is_doubtful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
