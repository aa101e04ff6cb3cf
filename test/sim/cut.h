/* cut.h - what must hold in every snapshot of the simulated actors.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TEST_SIM_CUT_H
#define TROUPE_TEST_SIM_CUT_H

#include "runtime/snapshot/snapshot.h"

/* No money is made or lost: what all actors have, what waits, and what flies is 0 in all. Of each link exactly those
 * messages are there that are sent and not trimmed. Else `text` says what is not so. */
bool check_snapshot(const char *directory, const struct troupe__snapshot *snapshot, char *text, size_t text_size);

#endif
