/* period.c - a length of time as people write it: 30s, 10m, 6h, 1d.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/period.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    char unit;
    int64_t ms;
} units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};

bool troupe__period_parse(const char *text, int64_t *ret_ms)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (text[0] >= '1' && text[0] <= '9' && end[0] == units[i].unit && end[1] == '\0' &&
            number <= 366ul * 86400000 / (unsigned long)units[i].ms) {
            *ret_ms = (int64_t)number * units[i].ms;
            return true;
        }
    }
    return false;
}

void troupe__period_text(int64_t ms, char text[static 24])
{
    size_t at = sizeof units / sizeof *units - 1;
    while (at > 0 && ms % units[at].ms != 0) {
        at--;
    }
    snprintf(text, 24, "%" PRId64 "%c", ms / units[at].ms, units[at].unit);
}
