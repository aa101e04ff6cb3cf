/* refusals.c - connections that a gate did not let in, until the node's log tells of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/refusals.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MINUTE_MS = 60000, LINES_MAX = 10 };

void troupe__refusals_init(struct troupe__refusals *refusals)
{
    *refusals = (struct troupe__refusals){.count = 0};
    pthread_mutex_init(&refusals->mutex, NULL);
}

void troupe__refusals_fini(struct troupe__refusals *refusals)
{
    pthread_mutex_destroy(&refusals->mutex);
}

void troupe__refusals_note(void *context, const char *address, const char *why)
{
    struct troupe__refusals *refusals = context;
    pthread_mutex_lock(&refusals->mutex);
    refusals->count++;
    snprintf(refusals->address, sizeof refusals->address, "%s", address);
    snprintf(refusals->why, sizeof refusals->why, "%s", why);
    pthread_mutex_unlock(&refusals->mutex);
}

static bool is_due(struct troupe__refusals *refusals, int64_t now_ms)
{
    if (now_ms - refusals->minute_ms >= MINUTE_MS) {
        refusals->minute_ms = now_ms;
        refusals->lines = 0;
    }
    if (refusals->count >= refusals->told * 2 || now_ms - refusals->told_ms >= MINUTE_MS) {
        return true;
    }
    bool other =
        strcmp(refusals->why, refusals->told_why) != 0 || strcmp(refusals->address, refusals->told_address) != 0;
    return other && refusals->lines++ < LINES_MAX;
}

bool troupe__refusals_tell(struct troupe__refusals *refusals, const char *who, int64_t now_ms, char *text, size_t size)
{
    pthread_mutex_lock(&refusals->mutex);
    bool due = refusals->count > refusals->told && is_due(refusals, now_ms);
    if (due) {
        refusals->told = refusals->count;
        refusals->told_ms = now_ms;
        memcpy(refusals->told_address, refusals->address, sizeof refusals->address);
        memcpy(refusals->told_why, refusals->why, sizeof refusals->why);
        snprintf(text, size, "%s refused (%" PRIu64 " connections so far), the last from %s: %s", who, refusals->count,
                 refusals->address[0] ? refusals->address : "this machine", refusals->why);
    }
    pthread_mutex_unlock(&refusals->mutex);
    return due;
}
