/* memory_store.h - the store in memory, for tests and simulations: its disk survives close, and so a simulated crash.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_MEMORY_STORE_H
#define TROUPE_STATE_MEMORY_STORE_H

#include "core/store.h"

struct troupe__memory_disk;

/* Returns NULL when out of memory. No store may be open when the disk is freed. */
struct troupe__memory_disk *troupe__memory_disk_new(void);
void troupe__memory_disk_free(struct troupe__memory_disk *disk);

/* A copy of what is durable; a store may be open on `disk`. Returns NULL when out of memory. */
struct troupe__memory_disk *troupe__memory_disk_copy(struct troupe__memory_disk *disk);

/* After `commits` more commits each one fails with TROUPE_EIO, durable or not as `durable` says. -1: none fails. */
void troupe__memory_disk_fail_after(struct troupe__memory_disk *disk, int64_t commits, bool durable);

/* What is committed and not folded is folded by `refresh`, which is also the only call that changes rows: so a store
 * that is closed without one replays it when it is opened again. commit and refresh may be on two threads.
 * Errors: TROUPE_EBUSY (a store is open on this disk), TROUPE_ENOMEM. */
enum troupe_error troupe__memory_store_open(struct troupe__memory_disk *disk, struct troupe__store **ret, char *error,
                                            size_t error_size);

#endif
