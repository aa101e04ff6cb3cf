/* pack.h - the printf-like msgpack packer and unpacker behind troupe_pack and troupe_unpack.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_CORE_PACK_H
#define TROUPE_CORE_PACK_H

#include <stdarg.h>
#include <string.h>

#include "core/buffer.h"
#include "core/troupe.h"

enum { TROUPE__DEPTH_MAX = 16 };

/* Append to `buffer` by `format` (see troupe_pack). Errors: TROUPE_EINVAL, with a text; TROUPE_ENOMEM. */
enum troupe_error troupe__pack(struct troupe__buffer *buffer, const char *format, va_list *args, char *error,
                               size_t error_size);

/* Called for each string that needs a NUL-terminated copy; NULL when out of memory. */
typedef char *(*troupe__copy_fn)(void *context, const void *data, size_t size);

/* Copy a string behind the `*used` bytes of `room`, with a NUL; NULL, which is "out of memory" to whoever reads, when
 * there is too little room. */
static inline char *troupe__copy_into(char *room, size_t room_size, size_t *used, const void *data, size_t size)
{
    if (size >= room_size - *used) {
        return NULL;
    }
    char *copy = room + *used;
    memcpy(copy, data, size);
    copy[size] = '\0';
    *used += size + 1;
    return copy;
}

/* Read `body` by `format` (see troupe_unpack). Never reads outside `body`, whatever it holds. */
enum troupe_error troupe__unpack(struct troupe_bytes body, const char *format, va_list *args, troupe__copy_fn copy,
                                 void *copy_context, char *error, size_t error_size);

#endif
