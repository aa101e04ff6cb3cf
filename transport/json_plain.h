/* json_plain.h - the bytes that stand for themselves in a JSON string.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TRANSPORT_JSON_PLAIN_H
#define TROUPE_TRANSPORT_JSON_PLAIN_H

#include <stdint.h>
#include <string.h>

/* Step over the bytes that stand for themselves in a JSON string: ASCII but for controls, quotes and backslashes. */
static inline const unsigned char *troupe__json_skip_plain(const unsigned char *at, const unsigned char *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        /* A top bit is set for a byte below 0x20, equal to either, or above 0x7f; false alarms only cost the loop. */
        if ((((word - ones * 0x20) | (quote - ones) | (slash - ones) | word) & tops) != 0) {
            break;
        }
        at += 8;
    }
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

#endif
