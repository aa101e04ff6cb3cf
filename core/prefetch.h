/* prefetch.h - begin to fetch memory that is needed soon.
 * SPDX-License-Identifier: Apache-2.0
 *
 * GCC 12 takes a function that only fetches for one without any effect, and leaves out the calls of it that it has not
 * put in line by then: a builtin alone may vanish without a word. The statement behind it is no instruction, but an
 * effect. */
#ifndef TROUPE_CORE_PREFETCH_H
#define TROUPE_CORE_PREFETCH_H

enum { TROUPE__CACHE_LINE = 64 };

/* The cache line of `at`, which may be any address. */
static inline void troupe__prefetch(const void *at)
{
    __builtin_prefetch(at);
    __asm__ volatile("");
}

/* Two of them. */
static inline void troupe__prefetch_two(const void *at)
{
    troupe__prefetch(at);
    troupe__prefetch((const char *)at + TROUPE__CACHE_LINE);
}

#endif
