/* refusals.c - connections that a gate did not let in, until the node's log tells of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/refusals.h"

#include <inttypes.h>
#include <stdio.h>

void troupe__refusals_init(struct troupe__refusals *refusals)
{
    *refusals = (struct troupe__refusals){.count = 0};
    pthread_mutex_init(&refusals->mutex, NULL);
}

void troupe__refusals_fini(struct troupe__refusals *refusals)
{
    pthread_mutex_destroy(&refusals->mutex);
}

void troupe__refusals_note(void *context, const char *address, const char *public_key)
{
    struct troupe__refusals *refusals = context;
    pthread_mutex_lock(&refusals->mutex);
    refusals->count++;
    snprintf(refusals->address, sizeof refusals->address, "%s", address);
    snprintf(refusals->public_key, sizeof refusals->public_key, "%s", public_key);
    pthread_mutex_unlock(&refusals->mutex);
}

bool troupe__refusals_tell(struct troupe__refusals *refusals, const char *who, char *text, size_t size)
{
    pthread_mutex_lock(&refusals->mutex);
    bool due = refusals->count > 0 && refusals->count >= refusals->told * 2;
    if (due) {
        refusals->told = refusals->count;
        snprintf(text, size,
                 "%s refused (%" PRIu64 " connections so far), the last from %s: its key %s is not in the cluster file",
                 who, refusals->count, refusals->address[0] ? refusals->address : "this machine", refusals->public_key);
    }
    pthread_mutex_unlock(&refusals->mutex);
    return due;
}
