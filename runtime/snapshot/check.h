/* check.h - runs what a module says must hold over a consistent cut (troupe.h, checks).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_CHECK_H
#define TROUPE_RUNTIME_SNAPSHOT_CHECK_H

#include "runtime/snapshot/cut.h"

enum { TROUPE__FAULTS_SIZE_MAX = 65536 };

/* What a check reported. */
struct troupe_report {
    uint64_t fault_count;
    struct troupe__buffer faults; /* their texts, a line each; those beyond TROUPE__FAULTS_SIZE_MAX are only counted */
};

void troupe__report_fini(struct troupe_report *report);

/* Run the check of `module` over a cut that is ready; a module without one reports nothing. TROUPE_OK: it has
 * seen all it asked for, and `ret` (zero bytes before, to be finished in any case) has what it found wrong. Errors,
 * with a text in `error`: those of reading the cut, TROUPE_EINVAL (the module), what the check returned. Thread-safe.
 */
enum troupe_error troupe__check_cut(const struct troupe_module *module, const struct troupe__cut *cut,
                                    struct troupe_report *ret, char *error, size_t error_size);

/* The same over a snapshot. Faults make it TROUPE_EFAILED, with the first ones as the text. `progress`, which may be
 * NULL, is called now and then with the rows of the walk that goes on: of actors, or of messages. */
enum troupe_error troupe__check_snapshot(const struct troupe_module *module, const char *directory,
                                         void (*progress)(void *context, uint64_t rows), void *progress_context,
                                         char *error, size_t error_size);

#endif
