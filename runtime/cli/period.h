/* period.h - a length of time as people write it: 30s, 10m, 6h, 1d.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_PERIOD_H
#define TROUPE_RUNTIME_CLI_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

/* A time as 30s, 10m, 6h or 1d. Returns false when it is not, or is less than a second or over a year. */
bool troupe__period_parse(const char *text, int64_t *ret_ms);

/* `ms` as such a time: 600000 is 10m. */
void troupe__period_text(int64_t ms, char text[static 24]);

#endif
