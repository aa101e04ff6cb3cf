/* utf8.c - characters of a text that comes from anywhere.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/utf8.h"

/* The length of the character at `at`, which is not ASCII; 0 when it is not UTF-8 (RFC 3629: no overlong forms, no
 * surrogates, nothing over U+10FFFF). */
size_t troupe__utf8_length(const unsigned char *at, const unsigned char *end)
{
    size_t left = (size_t)(end - at);
    unsigned first = at[0];
    if (first < 0xc2 || first > 0xf4 || left < 2) {
        return 0;
    }
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < length) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}
