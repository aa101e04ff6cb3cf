/* utf8.h - characters of a text that comes from anywhere.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TRANSPORT_UTF8_H
#define TROUPE_TRANSPORT_UTF8_H

#include <stddef.h>

/* Bytes of the UTF-8 character at `at`, which is below `end` and not ASCII; 0 when there is none. */
size_t troupe__utf8_length(const unsigned char *at, const unsigned char *end);

#endif
