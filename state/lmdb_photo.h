/* lmdb_photo.h - a store as of one epoch: its tables as they are, and the records that they are short of.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_STATE_LMDB_PHOTO_H
#define TROUPE_STATE_LMDB_PHOTO_H

#include <stdatomic.h>

#include "state/fold.h"

/* What the photos of one store are taken of. */
struct troupe__lmdb_photos {
    const char *directory;
    const struct troupe__lmdb_env *tables;
    struct troupe__fold *fold;
    atomic_bool taken; /* there is one, which has not been closed */
};

/* See photograph in core/store.h. `of` stays where it is until the photo is closed. Errors, with a text: TROUPE_EBUSY,
 * TROUPE_ENOMEM. */
enum troupe_error troupe__lmdb_photo_take(struct troupe__lmdb_photos *of, uint64_t epoch, struct troupe__photo **ret,
                                          char *error, size_t error_size);

#endif
