/* cut_of.h - the cut that a word of the command line means: a snapshot, or the directory of what does not run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_CUT_OF_H
#define TROUPE_RUNTIME_CLI_CUT_OF_H

#include <limits.h>

#include "runtime/cli/progress.h"
#include "runtime/snapshot/cut.h"

/* The path of the snapshot that is named, or given by a path with a slash. */
void troupe__cut_of_path(const char *data, const char *name, char path[static PATH_MAX]);

/* `name` is a snapshot in DATA/snapshots, or the path of a snapshot, of a node's directory or of a troupe's; `ret` is
 * ready. `shown`, if it is not NULL, says how far that is, and then how far a walk over the cut is, of all tables
 * unless its `all` is changed; it outlives the cut. Errors, with a text: those of reading, TROUPE_EBUSY (it runs),
 * which end the progress; `ret` is to be finished on TROUPE_OK. */
enum troupe_error troupe__cut_of(const char *data, const char *name, struct troupe__progress_rows *shown,
                                 struct troupe__cut *ret, char *error, size_t error_size);

#endif
