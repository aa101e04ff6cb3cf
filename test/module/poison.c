/* poison.c - a module whose handlers crash, for test/poison.sh.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "troupe.h"

static enum troupe_error poison(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "segv") == 0) {
        volatile int *volatile nowhere = NULL;
        *nowhere = 1;
    }
    if (strcmp(message->type, "abort") == 0) {
        abort();
    }
    return troupe_emit(ctx, "out", troupe_self(ctx).key, troupe_pack(ctx, "{s:s}", "type", message->type));
}

static const struct troupe_type types[] = {{.name = "test/poison", .handler = poison}};
extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "poison", "1", types, 1};
