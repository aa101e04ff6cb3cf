/* collection.h - the maps and lists of the actor that handles a message.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each element is a row of its own, see row.h. A change goes into the overlay of its collection, with what was there
 * noted; a read looks there first, then in the tables; a walk merges both, taking rows of the tables in batches.
 *
 * A list numbers its elements on from where it began; its head says which numbers it has. Clearing removes up to
 * CLEAR_DIRECT elements one by one. A larger map or list is left behind whole: its head gets the next generation, whose
 * rows have other keys, and a sweep removes the old ones in the background (runtime/machine/sweeper.c). So clearing
 * costs the same whatever the size. A generation is not used again while anything of the collection is left in the
 * tables; when nothing is, and it is empty, its head goes too, and generations begin anew. */
#ifndef TROUPE_CORE_COLLECTION_H
#define TROUPE_CORE_COLLECTION_H

#include "core/delivery.h"

enum troupe_error troupe__collection_clear(struct troupe_context *ctx, const struct troupe_value *value);

/* See troupe__state_expire. */
enum troupe_error troupe__collection_expire(struct troupe_context *ctx, const struct troupe_value *value,
                                            struct troupe_bytes key);

/* See troupe__state_drop_head. */
enum troupe_error troupe__collection_drop_head(struct troupe_context *ctx, const struct troupe_value *value);

/* The delivery failed: all is as it was. Or it succeeded: what was is forgotten. */
void troupe__collection_roll_back(struct troupe_context *ctx);
void troupe__collection_keep(struct troupe_context *ctx);

#endif
