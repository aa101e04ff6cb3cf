/* model.h - what the rows of a store must be after each epoch, for tests that let it crash.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The record of an epoch is a function of seed and epoch, so that a store alone, with no word from the process that
 * wrote it, can be checked. */
#ifndef TROUPE_TEST_CRASH_MODEL_H
#define TROUPE_TEST_CRASH_MODEL_H

#include "core/store.h"

enum { MODEL_EPOCHS_MAX = 1000, MODEL_TABLES = 3, MODEL_KEYS = 24, MODEL_CELLS = MODEL_TABLES * MODEL_KEYS };

struct model {
    uint64_t seed;
    uint64_t cells[MODEL_EPOCHS_MAX + 1][MODEL_CELLS]; /* the hash of each row's value; 0: there is none */
};

/* The changes of `epoch`: a few small rows, some large ones, at times a record of several journal chunks. */
void model_record(uint64_t seed, uint64_t epoch, struct troupe__buffer *record);

struct model *model_new(uint64_t seed);

/* Replay a store that has just been opened and compare all of its rows with the model at its last epoch, which must be
 * of `floor` to `top`. Returns TROUPE_OK; TROUPE_EFAILED when they differ; or what the store says. `error`
 * gets the text. */
enum troupe_error model_check(const struct model *model, struct troupe__store *store, uint64_t floor, uint64_t top,
                              char *error, size_t error_size);

/* Commit epoch `epoch` of the model, its changes repeated `times` times: to the same effect, with other bytes. */
enum troupe_error model_commit(const struct model *model, struct troupe__store *store, uint64_t epoch, int times);

#endif
