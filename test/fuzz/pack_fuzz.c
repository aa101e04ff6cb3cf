/* pack_fuzz.c - any bytes are refused or read, and the three readers of msgpack agree on what is whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "core/msgpack.h"
#include "core/pack.h"
#include "transport/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *copy_string(void *context, const void *data, size_t size)
{
    char *room = context;
    if (size >= 256) {
        return NULL;
    }
    if (size > 0) {
        memcpy(room, data, size);
    }
    room[size] = '\0';
    return room;
}

static enum troupe_error unpack(struct troupe_bytes body, const char *format, ...)
{
    char error[200], room[256];
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_string, room, error, sizeof error);
    va_end(args);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct troupe_bytes body = {data, size}, m, z;
    struct troupe__buffer json = {0};
    int64_t i;
    uint64_t u;
    double f;
    bool b;
    const char *s;

    unpack(body, "{s?:i s?:u s?:f s?:b s?:s s?:z s?:[m{s:n}]}", "i", &i, "u", &u, "f", &f, "b", &b, "s", &s, "z", &z,
           "l", &m, "n");
    unpack(body, "[isz]", &i, &s, &z);
    bool whole = unpack(body, "m", &m) == TROUPE_OK;
    bool valid = troupe__msgpack_valid(body, 64);
    assert(whole || !valid);
    bool written = troupe__json_write(body, &json) == TROUPE_OK;
    assert(written == valid);
    troupe__buffer_free(&json);
    return 0;
}
