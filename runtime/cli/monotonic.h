/* monotonic.h - the time by which a command waits.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_MONOTONIC_H
#define TROUPE_RUNTIME_CLI_MONOTONIC_H

#include <stdint.h>
#include <time.h>

/* Milliseconds; it never goes back. */
static inline int64_t troupe__monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
