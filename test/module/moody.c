/* moody.c - actors that break the rule: what they do depends on more than messages and state.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <troupe.h>

static int64_t counter; /* nobody resets it when a run begins anew */

static enum troupe_error moody(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "abort") == 0) {
        abort();
    }
    if (strcmp(message->type, "reject") == 0) {
        return TROUPE_EREJECTED;
    }
    int64_t number = strcmp(message->type, "count") == 0 ? ++counter : 0;
    return troupe_emit(ctx, "out", troupe_self(ctx).key, troupe_pack(ctx, "{s:i}", "number", number));
}

static const struct troupe_type types[] = {{.name = "test/moody", .handler = moody}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "moody", "1", types, 1};
