/* state.h - the values of the actor that handles a message: read, changed in place, undone if the handler fails.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Single values are cells of the actor; a cell that a delivery changes is noted with what it held. For maps and lists
 * see collection.h. Both keep what changed until the epoch is sealed: `ctx->dirty`, and the end of the list of rows
 * that are not folded. */
#ifndef TROUPE_CORE_STATE_H
#define TROUPE_CORE_STATE_H

#include "core/delivery.h"

/* Find the cell of a declared value; errors have a text and fail the delivery. */
enum troupe_error troupe__state_find(struct troupe_context *ctx, const struct troupe_value *value,
                                     struct troupe__cell **ret, uint32_t *ret_index);

/* Bring a stored payload to the declared version. `*payload` may be replaced, by bytes that live until the handler
 * returns. TROUPE_OK too when there was nothing to do. */
enum troupe_error troupe__state_migrate(struct troupe_context *ctx, const struct troupe_value *value, uint32_t version,
                                        struct troupe_bytes *payload);

/* Whether what expires then is gone. */
static inline bool troupe__state_expired(const struct troupe_context *ctx, const struct troupe_value *value,
                                         int64_t expires_ms)
{
    return value->ttl_ms > 0 && expires_ms > 0 && expires_ms <= ctx->now_ms;
}

/* Whether a read of what expires then has to prolong it. */
static inline bool troupe__state_prolongs(const struct troupe_context *ctx, const struct troupe_value *value,
                                          int64_t expires_ms)
{
    return value->ttl == TROUPE_TTL_AFTER_READ &&
           (expires_ms == 0 || expires_ms - ctx->now_ms <= value->ttl_ms - value->ttl_ms / 8);
}

/* Append the row of a present cell. */
void troupe__state_encode(struct troupe__actor *actor, uint32_t index, struct troupe__buffer *buffer);

/* Between deliveries: if a value of the actor, or the element whose row key goes on with `key`, has expired, it becomes
 * absent like in a delivery that reads it. The tables' row has; what memory knows counts. Effects may stand in
 * ctx->effects. Errors: as of reading; nothing has happened then. */
enum troupe_error troupe__state_expire(struct troupe_context *ctx, struct troupe__actor *actor, uint32_t index,
                                       struct troupe_bytes key);

/* Between deliveries: the tables have no element of this map or list, of any generation, and nothing is to be swept of
 * it. If memory knows nothing else its head is removed. Errors: as of reading; nothing has happened then. */
enum troupe_error troupe__state_drop_head(struct troupe_context *ctx, struct troupe__actor *actor, uint32_t index);

/* The delivery failed: all is as it was. Or it succeeded: what was is forgotten. */
void troupe__state_roll_back(struct troupe_context *ctx);
void troupe__state_keep(struct troupe_context *ctx);

#endif
