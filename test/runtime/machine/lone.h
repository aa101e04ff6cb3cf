/* lone.h - a machine on the store in memory, without a thread, a socket or a clock, and what is outside of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong fails the test. */
#ifndef TROUPE_TEST_LONE_H
#define TROUPE_TEST_LONE_H

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

enum { EPOCH_MS = 1000 }; /* Where simulated time begins. */

/* What the outside has got, in order. */
struct record {
    char name[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    uint64_t sequence, hash; /* of the body */
};

enum { ASKS_MAX = 16 };

struct outside {
    struct record *records;
    size_t count, capacity, faults; /* faults: gaps, and repeats that differ from the first time */
    struct {
        uint64_t number, hash;
    } answers[ASKS_MAX]; /* to asks, as they came */
    size_t answer_count;
};

struct lone {
    struct troupe__memory_disk *disk;
    struct troupe__store *store;
    struct troupe__machine machine;
    struct troupe__epoch epoch;
    struct outside outside;
    struct troupe__job **running; /* jobs that a durable epoch said to begin */
    size_t running_count, running_capacity;
    const struct troupe_module *module;
    int64_t now_ms;
    size_t memory_max;
    bool far; /* runs actors in the order of a node that has too many for a cache */
    char error[512];
};

struct lone *lone_new(const struct troupe_module *module);
void lone_free(struct lone *f);

/* Let it end, with all that is not durable, and start again. */
void lone_reopen(struct lone *f);

void lone_arrive(struct lone *f, const char *id, const char *to_type, const char *to_key, const char *type);
void lone_run(struct lone *f, size_t budget);
void lone_advance(struct lone *f, int64_t ms);

/* Make the sealed epoch durable, and let out what that lets out. Returns false when the disk fails. */
bool lone_commit(struct lone *f);

/* Make all durable that has happened; `fold` moves it to the tables too. */
void lone_settle(struct lone *f, bool fold);

/* Rows of a table, as of the last fold. */
size_t lone_rows(struct lone *f, enum troupe__table table);

/* Of all that an answer says. */
uint64_t lone_hash_answer(const struct troupe__answer *answer);

#endif
