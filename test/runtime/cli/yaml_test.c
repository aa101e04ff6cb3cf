/* yaml_test.c - a YAML file means one thing, or is refused with the line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "runtime/cli/yaml.h"

static struct troupe__yaml *parse(const char *text)
{
    struct troupe__yaml *root = NULL;
    char error[256] = "";
    if (troupe__yaml_parse("f.yaml", text, strlen(text), &root, error, sizeof error) != TROUPE_OK) {
        fail_msg("%s", error);
    }
    return root;
}

static void expect_refused(const char *text, size_t size, const char *wanted)
{
    struct troupe__yaml *root = NULL;
    char error[256] = "";
    assert_int_equal(troupe__yaml_parse("f.yaml", text, size, &root, error, sizeof error), TROUPE_EINVAL);
    assert_null(root);
    if (strncmp(error, wanted, strlen(wanted)) != 0) {
        fail_msg("'%s' does not begin with '%s'", error, wanted);
    }
}

static void a_tree_keeps_order_lines_and_quotes(void **state)
{
    (void)state;
    struct troupe__yaml *root =
        parse("# first\nname: t1\nnodes:\n  - {id: 1, up: true}\n  - id: \"2\"\n    up: false\n");
    const struct troupe__yaml *nodes = troupe__yaml_find(root, "nodes");
    bool up = false;

    assert_string_equal(root->first->key, "name");
    assert_string_equal(root->first->text, "t1");
    assert_int_equal(root->first->line, 2);
    assert_int_equal(nodes->kind, TROUPE__YAML_LIST);
    assert_int_equal(nodes->line, 3);
    assert_int_equal(nodes->first->line, 4);
    assert_true(troupe__yaml_find(nodes->first, "id")->plain);
    assert_true(troupe__yaml_bool(troupe__yaml_find(nodes->first, "up"), &up));
    assert_true(up);
    const struct troupe__yaml *second = nodes->first->next;
    assert_string_equal(troupe__yaml_find(second, "id")->text, "2");
    assert_false(troupe__yaml_find(second, "id")->plain);
    assert_int_equal(troupe__yaml_find(second, "up")->line, 6);
    assert_true(troupe__yaml_bool(troupe__yaml_find(second, "up"), &up));
    assert_false(up);
    assert_null(second->next);
    assert_null(troupe__yaml_find(root, "none"));
    troupe__yaml_free(root);
}

/* `no` is a country for some and false for others: it is neither here. */
static void a_word_that_may_be_a_truth_is_no_text_and_no_truth(void **state)
{
    (void)state;
    struct troupe__yaml *root = parse("a: no\nb: 'no'\nc: True\nd:\ne: 5\nf: {}\n");
    bool truth;
    assert_false(troupe__yaml_is_text(troupe__yaml_find(root, "a")));
    assert_false(troupe__yaml_bool(troupe__yaml_find(root, "a"), &truth));
    assert_true(troupe__yaml_is_text(troupe__yaml_find(root, "b")));
    assert_false(troupe__yaml_is_text(troupe__yaml_find(root, "c")));
    assert_false(troupe__yaml_bool(troupe__yaml_find(root, "c"), &truth));
    assert_false(troupe__yaml_is_text(troupe__yaml_find(root, "d")));
    assert_true(troupe__yaml_is_text(troupe__yaml_find(root, "e")));
    assert_false(troupe__yaml_is_text(troupe__yaml_find(root, "f")));
    troupe__yaml_free(root);
}

static void nothing_is_an_empty_map(void **state)
{
    (void)state;
    const char *const texts[] = {"", "\n# only a comment\n", "{}"};
    for (size_t i = 0; i < 3; i++) {
        struct troupe__yaml *root = parse(texts[i]);
        assert_int_equal(root->kind, TROUPE__YAML_MAP);
        assert_null(root->first);
        troupe__yaml_free(root);
    }
}

static void what_is_ambiguous_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3: 'a' stands in line 1 already"},
        {"a: {x: 1,\n  x: 2}\n", "f.yaml:2: 'x' stands in line 1 already"},
        {"a: &x 1\n", "f.yaml:1: anchors"},
        {"a: &x [1]\nb: *x\n", "f.yaml:1: anchors"},
        {"b: *x\n", "f.yaml:1: anchors"},
        {"a: !!str 1\n", "f.yaml:1: anchors"},
        {"\n? [a, b]\n: 1\n", "f.yaml:2: a key must be a plain word"},
        {"%YAML 1.1\n---\na: 1\n", "f.yaml:1: directives"},
        {"a: 1\n---\nb: 1\n", "f.yaml:2: a second document"},
        {"text\n", "f.yaml:1: the file must be a map"},
        {"- a\n", "f.yaml:1: the file must be a map"},
        {"a: \"x\\0y\"\n", "f.yaml:1: a NUL character"},
        {"a: [1, 2\n", "f.yaml:2: "},
        {"a: 1\n\tb: 2\n", "f.yaml:2: "},
        {"a: \xff\n", "f.yaml:1: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(cases[i].text, strlen(cases[i].text), cases[i].wanted);
    }
    char deep[200] = "a: ";
    memset(deep + 3, '[', 100);
    expect_refused(deep, 103, "f.yaml:1: nested more than 16 deep");
}

/* Whatever a text is cut off at, it is read or refused, and nothing is left over (with the address sanitizer). */
static void a_text_cut_off_anywhere_is_no_harm(void **state)
{
    (void)state;
    static const char text[] = "a: [1, {b: 'x y', c: \"\\u00e4\"}]\nd:\n  - e: |\n      f\n    g: true\n";
    for (size_t size = 0; size < sizeof text; size++) {
        struct troupe__yaml *root = NULL;
        char error[256] = "";
        enum troupe_error result = troupe__yaml_parse("f.yaml", text, size, &root, error, sizeof error);
        assert_true(result == TROUPE_OK || result == TROUPE_EINVAL);
        assert_int_equal(result == TROUPE_OK, root != NULL);
        assert_int_equal(result == TROUPE_OK, error[0] == '\0');
        troupe__yaml_free(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_keeps_order_lines_and_quotes),
        cmocka_unit_test(a_word_that_may_be_a_truth_is_no_text_and_no_truth),
        cmocka_unit_test(nothing_is_an_empty_map),
        cmocka_unit_test(what_is_ambiguous_is_refused_with_its_line),
        cmocka_unit_test(a_text_cut_off_anywhere_is_no_harm),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
