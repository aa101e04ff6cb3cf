/* refusals.c - connections that a gate did not let in, until the node's log tells of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/refusals.h"

#include <inttypes.h>
#include <stdio.h>

enum { AGAIN_MS = 60000 };

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

bool troupe__refusals_tell(struct troupe__refusals *refusals, const char *who, int64_t now_ms, char *text, size_t size)
{
    pthread_mutex_lock(&refusals->mutex);
    bool due = refusals->count > refusals->told &&
               (refusals->count >= refusals->told * 2 || now_ms - refusals->told_ms >= AGAIN_MS);
    if (due) {
        refusals->told = refusals->count;
        refusals->told_ms = now_ms;
        snprintf(text, size, "%s refused (%" PRIu64 " connections so far), the last from %s: %s", who, refusals->count,
                 refusals->address[0] ? refusals->address : "this machine", refusals->why);
    }
    pthread_mutex_unlock(&refusals->mutex);
    return due;
}
