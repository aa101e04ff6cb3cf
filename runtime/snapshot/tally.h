/* tally.h - how many rows tables have, counted without holding them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_TALLY_H
#define TROUPE_RUNTIME_SNAPSHOT_TALLY_H

#include "runtime/snapshot/view.h"

#define TROUPE__NOT_COUNTED UINT64_MAX

/* Count the rows of `tables` (1 << table for each) in a view that nothing was read into: into `counts`, which are
 * TROUPE__NOT_COUNTED before. Rows of state are those that are folded, since it could be millions that are not; all
 * others are exact. Memory is held for the keys of those that the journal has changed. Errors, with a text in
 * `view->error`: those of troupe__view_replay; what was counted by then is there. */
enum troupe_error troupe__tally(struct troupe__view *view, unsigned tables,
                                uint64_t counts[static TROUPE__TABLE_COUNT]);

#endif
