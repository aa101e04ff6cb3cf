/* memory.h - how much memory a node may use, and for what.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of the limit a part is for what handles the rest: the records of two epochs, what waits to be folded, what LMDB needs
 * to write it. All else is the machine's, for actors and messages; it keeps to that by letting go of what the store
 * has. */
#ifndef TROUPE_RUNTIME_NODE_MEMORY_H
#define TROUPE_RUNTIME_NODE_MEMORY_H

#include <stddef.h>

enum { TROUPE__MEMORY_MIN = 64 << 20 }; /* bytes; less is taken as so much */

/* Half of what the machine has, or of what this process's control group may use if that is less. */
size_t troupe__memory_default(void);

/* Of a limit of `memory` bytes: what the machine may use, how much may wait before it is folded, and how much before
 * commits wait for folding. */
size_t troupe__memory_for_machine(size_t memory);
size_t troupe__memory_for_fold(size_t memory);
size_t troupe__memory_for_unfolded(size_t memory);

/* Read a size: a number, with K, M, G or T behind it for powers of 1,024. Returns 0 for anything else. */
size_t troupe__memory_parse(const char *text);

#endif
