/* counter.h - a node whose output file shows whether anything was lost, repeated or let out too early.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each line of input makes one of some actors count and put its count out. No cmocka in here: children use it too. */
#ifndef TROUPE_TEST_CRASH_COUNTER_H
#define TROUPE_TEST_CRASH_COUNTER_H

#include "core/troupe.h"

/* Write the input file. */
void counter_input(const char *path);

/* Run the node until it is idle. */
enum troupe_error counter_run(const char *directory, const char *input, const char *output, char *error,
                              size_t error_size);

/* After a run to the end: whether each record is there once, in order, and each actor's count has no gap. */
bool counter_check(const char *output, char *wrong, size_t wrong_size);

/* At any time when no node runs: whether each record in the output is durable in the store. */
bool counter_check_release(const char *directory, const char *output, char *wrong, size_t wrong_size);

#endif
