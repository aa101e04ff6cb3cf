/* snapshot_cut_test.c - parts that do not belong together are no snapshot: a message of one would be lost, or be there
 * twice.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/machine/links.h"
#include "runtime/snapshot/snapshot.h"

enum { NODES = 2 };

/* What each node says of its link to the other. */
struct pair {
    struct troupe__link_row of[NODES];
};

struct source {
    uint16_t peer;
    struct troupe__link_row link;
};

static enum troupe_error scan_link(void *context, enum troupe__table table, struct troupe_bytes prefix,
                                   troupe__row_fn row, void *row_context)
{
    const struct source *source = context;
    struct troupe__buffer value = {0};
    char key[16];
    enum troupe_error result = TROUPE_OK;
    (void)prefix;
    if (table == TROUPE__META) {
        troupe__links_row_key(source->peer, key);
        troupe__links_row_put(&value, &source->link);
        result = row(row_context, troupe_string(key), (struct troupe_bytes){value.data, value.size});
        troupe__buffer_free(&value);
    }
    return result;
}

/* Make the parts, ask, remove them. `ret_flights` NULL: only whether they are a cut. */
static enum troupe_error ask(const struct pair *pair, uint64_t ret_flights[NODES * NODES], char error[static 512])
{
    char directory[] = "/tmp/troupe-cut.XXXXXX", path[128];
    struct troupe__snapshot_part parts[NODES];
    struct troupe__snapshot snapshot = {.name = "one", .parts = parts, .part_count = NODES, .is_troupe = true};
    assert_non_null(mkdtemp(directory));
    for (uint16_t i = 0; i < NODES; i++) {
        struct source source = {1 - i, pair->of[i]};
        const char *name = i == 0 ? "n1" : "n2";
        assert_int_equal(troupe__snapshot_write_part(directory, name, 9, scan_link, &source, "", &parts[i], error, 512),
                         TROUPE_OK);
        parts[i].number = i;
    }
    error[0] = '\0';
    enum troupe_error result = ret_flights ? troupe__snapshot_flights(directory, &snapshot, ret_flights, error, 512)
                                           : troupe__snapshot_check_cut(directory, &snapshot, error, 512);
    for (int i = 0; i < NODES; i++) {
        snprintf(path, sizeof path, "%s/node-n%d.part", directory, i + 1);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(directory), 0);
    return result;
}

/* Between what the sender has forgotten and what it has sent: the receiver may have any number. What it lacks flies. */
static void what_flies_is_what_the_receiver_lacks(void **state)
{
    (void)state;
    uint64_t flights[NODES * NODES];
    char error[512];
    for (uint64_t accepted = 4; accepted <= 9; accepted++) {
        const struct pair pair = {
            {{.sent = 9, .left = 9, .trimmed = 4, .accepted = 2}, {.sent = 3, .left = 3, .accepted = accepted}}};
        assert_int_equal(ask(&pair, NULL, error), TROUPE_OK);
        assert_int_equal(ask(&pair, flights, error), TROUPE_OK);
        assert_int_equal(flights[1], 9 - accepted);
        assert_int_equal(flights[2], 1);
        assert_int_equal(flights[0] + flights[3], 0);
    }
}

/* Each side of each link by one. */
static void parts_of_different_moments_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct pair pair;
        const char *text;
    } cases[] = {
        {{{{.sent = 9, .left = 9, .trimmed = 4}, {.accepted = 10}}},
         "n1 has sent 9 messages to n2 and forgotten 4, which has 10: "},
        {{{{.sent = 9, .left = 9, .trimmed = 4}, {.accepted = 3}}},
         "n1 has sent 9 messages to n2 and forgotten 4, which has 3: "},
        {{{{.accepted = 6}, {.sent = 5, .left = 5}}}, "n2 has sent 5 messages to n1 and forgotten 0, which has 6: "},
        {{{{.accepted = 0}, {.sent = 5, .left = 5, .trimmed = 1}}},
         "n2 has sent 5 messages to n1 and forgotten 1, which has 0: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t flights[NODES * NODES];
        char error[512];
        assert_int_equal(ask(&cases[i].pair, NULL, error), TROUPE_ECORRUPT);
        assert_non_null(strstr(error, cases[i].text));
        assert_int_equal(ask(&cases[i].pair, flights, error), TROUPE_ECORRUPT);
        assert_non_null(strstr(error, cases[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_flies_is_what_the_receiver_lacks),
        cmocka_unit_test(parts_of_different_moments_are_refused),
    };
    return cmocka_run_group_tests_name("snapshot_cut", tests, NULL, NULL);
}
