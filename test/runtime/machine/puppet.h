/* puppet.h - one actor that does what the test says, on a machine on the store in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong fails the test. */
#ifndef TROUPE_TEST_PUPPET_H
#define TROUPE_TEST_PUPPET_H

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

/* What a delivery does. */
typedef enum troupe_error (*step_fn)(struct troupe_context *ctx);

struct puppet {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    const struct troupe_module *module;
    int64_t now_ms;
    char log[512]; /* the last warning */
    char error[512];
};

/* The module of a puppet that needs no other, its values, and the handler for the type of another. */
extern const struct troupe_module puppet_module;
extern const struct troupe_value puppet_map, puppet_list, puppet_number, puppet_text;
enum troupe_error puppet_handle(struct troupe_context *ctx, const struct troupe_message *message);

struct puppet *puppet_new(const struct troupe_module *of);
void puppet_free(struct puppet *f);

/* What is committed is there again, folded or in the journal; `as` may be another module. */
void puppet_reopen_as(struct puppet *f, const struct troupe_module *as);

/* Run one delivery of the module's first type, to "x" or another key, that does `what`. Returns whether it succeeded.
 */
bool puppet_deliver(struct puppet *f, step_fn what);
bool puppet_deliver_to(struct puppet *f, const char *key, step_fn what);

void puppet_advance(struct puppet *f, int64_t ms);
void puppet_commit(struct puppet *f);
void puppet_fold(struct puppet *f);

/* Let the sweeper go on until it has nothing to do now. */
void puppet_sweep(struct puppet *f);

/* Rows of a table, as of the last fold. */
size_t puppet_rows(struct puppet *f, enum troupe__table table);

void puppet_must(enum troupe_error result);

#endif
