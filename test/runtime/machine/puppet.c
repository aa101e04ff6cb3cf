/* puppet.c - one actor that does what the test says, on a machine on the store in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/runtime/machine/puppet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static step_fn step; /* what the next message does */

enum troupe_error puppet_handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)message;
    return step(ctx);
}

const struct troupe_value puppet_map = {.name = "map", .kind = TROUPE_MAP},
                          puppet_list = {.name = "list", .kind = TROUPE_LIST},
                          puppet_number = {.name = "number", .kind = TROUPE_INT},
                          puppet_text = {.name = "text", .kind = TROUPE_STRING};
static const struct troupe_value *const values[] = {&puppet_map, &puppet_list, &puppet_number, &puppet_text, NULL};
static const struct troupe_type types[] = {
    {.name = "test/a", .handler = puppet_handle, .values = values, .retry = {1, 1, 1}}};
const struct troupe_module puppet_module = {TROUPE_ABI, "state", "1", types, 1};

static void on_log(void *context, enum troupe_level level, const char *line)
{
    struct puppet *f = context;
    if (level >= TROUPE_WARNING) {
        snprintf(f->log, sizeof f->log, "%s", line);
    }
}

static void open_machine(struct puppet *f)
{
    assert_int_equal(troupe__memory_store_open(f->disk, &f->store, f->error, sizeof f->error), TROUPE_OK);
    if (troupe__machine_init(&f->machine, f->module, f->store, 7, on_log, f) != TROUPE_OK) {
        fail_msg("init: %s", f->machine.error);
    }
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

struct puppet *puppet_new(const struct troupe_module *of)
{
    struct puppet *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->module = of;
    f->now_ms = 1000000;
    f->disk = troupe__memory_disk_new();
    open_machine(f);
    return f;
}

static void close_machine(struct puppet *f)
{
    troupe__machine_fini(&f->machine);
    f->store->close(f->store);
}

void puppet_free(struct puppet *f)
{
    close_machine(f);
    troupe__memory_disk_free(f->disk);
    troupe__buffer_free(&f->epoch.record);
    troupe__buffer_free(&f->epoch.egress);
    free(f);
}

void puppet_commit(struct puppet *f)
{
    while (troupe__machine_dirty(&f->machine)) {
        assert_int_equal(troupe__machine_seal(&f->machine, &f->epoch), TROUPE_OK);
        struct troupe_bytes record = {f->epoch.record.data, f->epoch.record.size};
        assert_int_equal(f->store->commit(f->store, f->epoch.number, record), TROUPE_OK);
    }
}

void puppet_fold(struct puppet *f)
{
    puppet_commit(f);
    troupe__machine_refresh(&f->machine);
}

/* What is committed is there again, folded or in the journal; `as` may be another module. */
void puppet_reopen_as(struct puppet *f, const struct troupe_module *as)
{
    puppet_commit(f);
    close_machine(f);
    f->module = as;
    open_machine(f);
}

void puppet_advance(struct puppet *f, int64_t ms)
{
    f->now_ms += ms;
    assert_int_equal(troupe__machine_set_now(&f->machine, f->now_ms), TROUPE_OK);
}

/* Let the sweeper go on until it has nothing to do now. */
void puppet_sweep(struct puppet *f)
{
    for (int i = 0; i < 5000 && troupe__machine_sweep_due(&f->machine) == 0; i++) {
        if (troupe__machine_sweep(&f->machine, 7 + (size_t)i % 50) != TROUPE_OK) {
            fail_msg("%s", f->machine.error);
        }
        if (i % 3 == 0 || !f->machine.sweeper.passing) {
            puppet_fold(f);
        }
    }
    assert_int_not_equal(troupe__machine_sweep_due(&f->machine), 0);
}

/* Run one delivery of test/a/KEY that does `what`. Returns whether it succeeded. */
bool puppet_deliver_to(struct puppet *f, const char *key, step_fn what)
{
    size_t count;
    uint64_t failures = f->machine.stats.failures;
    step = what;
    struct troupe_address to = troupe_to(f->module->types[0].name, key);
    assert_int_equal(troupe__machine_arrive(&f->machine, NULL, to, "do", (struct troupe_bytes){"", 0}), TROUPE_OK);
    assert_int_equal(troupe__machine_run(&f->machine, 1, &count), TROUPE_OK);
    return f->machine.stats.failures == failures;
}

bool puppet_deliver(struct puppet *f, step_fn what)
{
    return puppet_deliver_to(f, "x", what);
}

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    (void)key, (void)value;
    ++*(size_t *)context;
    return TROUPE_OK;
}

size_t puppet_rows(struct puppet *f, enum troupe__table table)
{
    size_t count = 0;
    assert_int_equal(f->store->scan(f->store, table, (struct troupe_bytes){"", 0}, count_row, &count), TROUPE_OK);
    return count;
}

void puppet_must(enum troupe_error result)
{
    assert_int_equal(result, TROUPE_OK);
}
