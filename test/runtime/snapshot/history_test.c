/* history_test.c - kept journals: what they know of the past, and the snapshots that are made of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/snapshot/history.h"
#include "runtime/machine/counters.h"
#include "runtime/snapshot/rewind.h"
#include "state/lmdb_store.h"

enum { NODES = 2 };

struct fixture {
    char base[64], directories[NODES][96], target[96], snapshots[96];
    const char *paths[NODES];
    struct troupe__store *stores[NODES];
    uint64_t epochs[NODES];
    char error[512];
};

static void open_node(struct fixture *f, size_t node)
{
    struct troupe__lmdb_options options = {
        .sync = false, .map_size = 1 << 28, .fold_interval_ms = 5, .keep_journal = true};
    if (troupe__lmdb_store_open(f->directories[node], &options, &f->stores[node], f->error, sizeof f->error) !=
        TROUPE_OK) {
        fail_msg("%s", f->error);
    }
    assert_int_equal(f->stores[node]->replay(f->stores[node], NULL, NULL), TROUPE_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->base, sizeof f->base, "/tmp/troupe_history_test_XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->target, sizeof f->target, "%s/then", f->base);
    for (size_t i = 0; i < NODES; i++) {
        snprintf(f->directories[i], sizeof f->directories[i], "%s/n%zu", f->base, i + 1);
        f->paths[i] = f->directories[i];
        open_node(f, i);
    }
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static void close_nodes(struct fixture *f)
{
    for (size_t i = 0; i < NODES; i++) {
        if (f->stores[i]) {
            f->stores[i]->close(f->stores[i]);
        }
        f->stores[i] = NULL;
    }
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_nodes(f);
    nftw(f->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* An epoch that sets "now" to its number and adds a row; with a colour it is the first of that. */
static void commit(struct fixture *f, size_t node, uint64_t colour, int64_t time_ms)
{
    struct troupe__buffer record = {0}, row = {0};
    unsigned char number[8];
    uint64_t epoch = ++f->epochs[node];
    troupe__put_be64(number, epoch);
    troupe__record_set(&record, TROUPE__STATE, "now", 3, number, sizeof number);
    troupe__record_set(&record, TROUPE__MAIL, number, sizeof number, "m", 1);
    if (epoch > 3) { /* Three rows of mail wait at a time. */
        troupe__put_be64(number, epoch - 3);
        troupe__record_remove(&record, TROUPE__MAIL, number, sizeof number);
    }
    if (node == 0) {
        struct troupe__counters counters = {.egress = epoch, .egress_released = epoch - 1};
        struct troupe__buffer counted = {0};
        troupe__counters_encode(&counters, &counted);
        troupe__record_set(&record, TROUPE__META, TROUPE__COUNTERS_ROW, strlen(TROUPE__COUNTERS_ROW), counted.data,
                           counted.size);
        troupe__buffer_free(&counted);
    }
    if (colour) {
        troupe__buffer_put_varint(&row, colour);
        troupe__buffer_put_varint(&row, (uint64_t)time_ms);
        troupe__record_set(&record, TROUPE__META, "colour", 6, row.data, row.size);
    }
    assert_int_equal(f->stores[node]->commit(f->stores[node], epoch, (struct troupe_bytes){record.data, record.size}),
                     TROUPE_OK);
    troupe__buffer_free(&record);
    troupe__buffer_free(&row);
}

static void wait_folded(struct fixture *f)
{
    for (size_t i = 0; i < NODES; i++) {
        while (f->stores[i]->refresh(f->stores[i]) < f->epochs[i]) {
        }
    }
}

/* Node 0 takes colours 10, 20, 30 in its epochs 1, 11, 21; node 1 takes 10 and 25 in its epochs 1 and 6; then it is
 * idle. */
static void live(struct fixture *f)
{
    for (int i = 0; i < 25; i++) {
        commit(f, 0, i % 10 == 0 ? (uint64_t)(i + 10) : 0, 1000 + i * 100);
        if (i % 3 == 0) {
            commit(f, 1, i == 0 ? 10 : i == 15 ? 25 : 0, 1050 + i * 100);
        }
    }
}

static struct troupe__history look(struct fixture *f)
{
    struct troupe__history history = {.count = 0};
    if (troupe__history_open(f->paths, NODES, &history, f->error, sizeof f->error) != TROUPE_OK) {
        fail_msg("%s", f->error);
    }
    return history;
}

static void a_cut_is_the_last_epochs_below_a_colour(void **state)
{
    struct fixture *f = *state;
    live(f);
    wait_folded(f);
    close_nodes(f); /* All is in the tables, and kept all the same. */
    struct troupe__history history = look(f);
    static const struct {
        uint64_t colour, epochs[NODES];
        int64_t time_ms;
    } cuts[] = {{10, {0, 0}, 1050}, {20, {10, 5}, 2550}, {25, {20, 5}, 3000}, {30, {20, 9}, 3550}};
    uint64_t colour = 0;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        colour = troupe__history_next(&history, colour);
        assert_int_equal(colour, cuts[i].colour);
        assert_int_equal(troupe__history_time(&history, colour), cuts[i].time_ms);
        for (size_t node = 0; node < NODES; node++) {
            assert_int_equal(troupe__history_epoch(&history, node, colour), cuts[i].epochs[node]);
        }
    }
    assert_int_equal(troupe__history_next(&history, colour), 0);
    troupe__history_close(&history);
}

struct rows {
    uint64_t now, mail, mail_last;
};

static enum troupe_error take_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct rows *rows = context;
    if (table == TROUPE__STATE) {
        rows->now = troupe__get_be64(value.data);
    } else if (table == TROUPE__MAIL) {
        rows->mail++;
        rows->mail_last = troupe__get_be64(key.data);
    }
    return TROUPE_OK;
}

/* Make the snapshot of the cut below `colour` and compare it with what was then. */
static void check_rewind(struct fixture *f, struct troupe__history *history, uint64_t colour, const char *base_path,
                         const struct troupe__snapshot *base)
{
    struct troupe__snapshot_part parts[NODES] = {{.node = "n1", .number = 0}, {.node = "n2", .number = 1}};
    struct troupe__snapshot then = {.name = "then", .parts = parts, .part_count = NODES, .is_troupe = false};
    assert_true(troupe__rewind_fits(history, colour, base));
    if (troupe__rewind_make(history, colour, base_path, base, f->target, &then, f->error, sizeof f->error) !=
        TROUPE_OK) {
        fail_msg("%s", f->error);
    }
    for (size_t node = 0; node < NODES; node++) {
        struct rows rows = {0};
        uint64_t epoch = troupe__history_epoch(history, node, colour);
        assert_int_equal(parts[node].epoch, epoch);
        assert_int_equal(parts[node].released, node == 0 ? f->epochs[0] - 1 : 0); /* As is known by now. */
        assert_int_equal(
            troupe__snapshot_read_part(f->target, &parts[node], take_row, &rows, f->error, sizeof f->error), TROUPE_OK);
        assert_int_equal(rows.now, epoch);
        assert_int_equal(rows.mail, epoch < 3 ? epoch : 3);
        assert_int_equal(rows.mail_last, epoch);
    }
    assert_int_equal(troupe__snapshot_remove(f->target, f->error, sizeof f->error), TROUPE_OK);
}

/* From the beginning, and from what one cut was to a later one. */
static void a_snapshot_of_the_past_holds_what_was_then(void **state)
{
    struct fixture *f = *state;
    live(f);
    close_nodes(f);
    struct troupe__history history = look(f);
    static const uint64_t colours[] = {10, 20, 25, 30};
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++) {
        check_rewind(f, &history, colours[i], NULL, NULL);
    }
    struct troupe__snapshot_part parts[NODES] = {{.node = "n1", .number = 0}, {.node = "n2", .number = 1}};
    struct troupe__snapshot base = {.name = "base", .parts = parts, .part_count = NODES};
    char path[128];
    snprintf(path, sizeof path, "%s/base", f->base);
    assert_int_equal(troupe__rewind_make(&history, 20, NULL, NULL, path, &base, f->error, sizeof f->error), TROUPE_OK);
    check_rewind(f, &history, 25, path, &base);
    check_rewind(f, &history, 30, path, &base);
    assert_false(troupe__rewind_fits(&history, 10, &base)); /* It is younger. */
    assert_true(parts[0].hash && parts[1].hash && parts[0].hash != parts[1].hash);
    assert_true(troupe__rewind_belongs(&history, &base));
    parts[1].hash++; /* It was taken at another record of that epoch: the directory was put back since. */
    assert_false(troupe__rewind_belongs(&history, &base));
    parts[1].hash = TROUPE__HASH_NONE;
    assert_false(troupe__rewind_belongs(&history, &base));
    parts[1].hash = TROUPE__HASH_UNKNOWN; /* As older snapshots say. */
    assert_true(troupe__rewind_belongs(&history, &base));
    troupe__history_close(&history);
}

/* What is forgotten is gone, and no cut is made of what is left of it. */
static void a_journal_is_kept_until_it_is_forgotten(void **state)
{
    struct fixture *f = *state;
    live(f);
    wait_folded(f);
    troupe__lmdb_store_forget(f->stores[0], 15);
    close_nodes(f);
    open_node(f, 0); /* It goes on keeping what is left. */
    close_nodes(f);
    struct troupe__history history = look(f);
    assert_int_equal(history.nodes[0].first, 16);
    assert_int_equal(history.nodes[0].last, 25);
    assert_int_equal(history.nodes[1].first, 1);
    assert_false(troupe__rewind_fits(&history, 30, NULL));
    struct troupe__snapshot_part parts[NODES] = {{.number = 0, .epoch = 14}, {.number = 1, .epoch = 2}};
    struct troupe__snapshot base = {.parts = parts, .part_count = NODES};
    assert_false(troupe__rewind_fits(&history, 30, &base));
    parts[0].epoch = 15;
    assert_true(troupe__rewind_fits(&history, 30, &base));
    troupe__history_close(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cut_is_the_last_epochs_below_a_colour, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_of_the_past_holds_what_was_then, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_is_kept_until_it_is_forgotten, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
