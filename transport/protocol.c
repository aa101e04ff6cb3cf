/* protocol.c - the client protocol: requests and replies as msgpack maps, docs/protocol.md has it to the byte.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/protocol.h"

#include <stdio.h>
#include <string.h>

#include "core/msgpack.h"
#include "core/pack.h"

enum { BODY_DEPTH_MAX = 64 };

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static enum troupe_error unpack(struct troupe_bytes bytes, troupe__copy_fn copy, void *context, char *error,
                                size_t error_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__unpack(bytes, format, &args, copy, context, error, error_size);
    va_end(args);
    return result;
}

static char *copy_to_request(void *context, const void *data, size_t size)
{
    struct troupe__request *request = context;
    return troupe__copy_into(request->text, sizeof request->text, &request->text_size, data, size);
}

static enum troupe_error split_address(struct troupe__request *request, char *error, size_t error_size)
{
    const char *slash = strchr(request->to, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    size_t size = slash ? (size_t)(slash - request->to) : 0;
    if (!slash || size > TROUPE_NAME_MAX) {
        snprintf(error, error_size, "'%.100s' is not an address namespace/name/key", request->to);
        return TROUPE_EINVAL;
    }
    memcpy(request->address_type, request->to, size);
    request->address_type[size] = '\0';
    request->address = (struct troupe_address){request->address_type, slash + 1};
    return TROUPE_OK;
}

enum troupe_error troupe__request_parse(struct troupe_bytes bytes, struct troupe__request *ret, char *error,
                                        size_t error_size)
{
    uint64_t version = 0;
    memset(ret, 0, offsetof(struct troupe__request, text));
    if (bytes.size == 0 || !troupe__msgpack_valid(bytes, BODY_DEPTH_MAX + 1)) {
        snprintf(error, error_size, "the request is not one msgpack value nested at most %d deep", BODY_DEPTH_MAX);
        return TROUPE_EINVAL;
    }
    enum troupe_error result =
        unpack(bytes, copy_to_request, ret, error, error_size, "{s?:u, s?:u}", "v", &version, "n", &ret->number);
    if (result == TROUPE_OK && version != TROUPE__PROTOCOL_VERSION) {
        snprintf(error, error_size, "the request has version %llu (\"v\"), this node speaks %d",
                 (unsigned long long)version, TROUPE__PROTOCOL_VERSION);
        return TROUPE_EVERSION;
    }
    ret->timeout_ms = TROUPE__TIMEOUT_DEFAULT_MS;
    if (result == TROUPE_OK) {
        result = unpack(bytes, copy_to_request, ret, error, error_size,
                        "{s:s, s?:s, s?:s, s?:s, s?:m, s?:i, s?:s, s?:u, s?:u, s?:u, s?:u, s?:u, s?:s, s?:z, s?:b}",
                        "do", &ret->what, "id", &ret->id, "to", &ret->to, "type", &ret->type, "body", &ret->body,
                        "timeout_ms", &ret->timeout_ms, "egress", &ret->egress, "from", &ret->from, "credit",
                        &ret->credit, "letter", &ret->letter, "tables", &ret->tables, "colour", &ret->colour, "path",
                        &ret->path, "prefix", &ret->prefix, "json", &ret->json);
    }
    if (result == TROUPE_ENOMEM) {
        snprintf(error, error_size, "the strings of the request are over %d bytes", TROUPE__REQUEST_TEXT_MAX);
        return TROUPE_EINVAL;
    }
    if (result != TROUPE_OK) {
        return TROUPE_EINVAL;
    }
    if (ret->id && (!ret->id[0] || strlen(ret->id) > TROUPE__ID_MAX)) {
        snprintf(error, error_size, "an id has 1 to %d bytes", TROUPE__ID_MAX);
        return TROUPE_EINVAL;
    }
    if (ret->timeout_ms < 1 || ret->timeout_ms > TROUPE__TIMEOUT_MAX_MS) {
        snprintf(error, error_size, "a timeout is 1 to %d ms", TROUPE__TIMEOUT_MAX_MS);
        return TROUPE_EINVAL;
    }
    return ret->to ? split_address(ret, error, error_size) : TROUPE_OK;
}

static char *copy_to_buffer(void *context, const void *data, size_t size)
{
    struct troupe__buffer *texts = context;
    if (texts->capacity - texts->size <= size) {
        return NULL; /* Never: room was made for all. */
    }
    char *copy = (char *)texts->data + texts->size;
    memcpy(copy, data, size);
    copy[size] = '\0';
    texts->size += size + 1;
    return copy;
}

static enum troupe_error error_of(const char *name)
{
    static const char *const names[] = {
#define ERROR_NAME(name, text) #name,
        TROUPE_ERRORS(ERROR_NAME)
#undef ERROR_NAME
    };
    for (unsigned i = 0; i < TROUPE_ERROR_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum troupe_error)i;
        }
    }
    return TROUPE_ERROR_COUNT;
}

static const char *name_of(enum troupe_error error)
{
    switch (error) {
#define ERROR_NAME(name, text)                                                                                         \
    case name:                                                                                                         \
        return #name;
        TROUPE_ERRORS(ERROR_NAME)
#undef ERROR_NAME
    case TROUPE_ERROR_COUNT:
        break;
    }
    return "TROUPE_EFAILED"; /* A handler may return any number. */
}

enum troupe_error troupe__reply_parse(struct troupe_bytes bytes, struct troupe__buffer *texts,
                                      struct troupe__reply *ret)
{
    char text[160];
    const char *error = NULL;
    *ret = (struct troupe__reply){0};
    texts->size = 0;
    if (!troupe__buffer_reserve(texts, bytes.size + 8)) { /* Five strings, each shorter than what holds it. */
        texts->failed = false;
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = unpack(
        bytes, copy_to_buffer, texts, text, sizeof text, "{s:u, s:b, s?:b, s?:s, s?:s, s?:s, s?:s, s?:u, s?:m, s?:z}",
        "n", &ret->number, "ok", &ret->ok, "more", &ret->more, "error", &error, "text", &ret->text, "type", &ret->type,
        "key", &ret->key, "seq", &ret->sequence, "body", &ret->body, "rows", &ret->rows);
    if (result == TROUPE_OK && !ret->ok) {
        ret->error = error ? error_of(error) : TROUPE_ERROR_COUNT;
    }
    return result == TROUPE_ENOMEM ? result : result == TROUPE_OK ? TROUPE_OK : TROUPE_EINVAL;
}

/* ---- writing: the few forms of msgpack that are needed -------------------------------------------------------------
 */

static void put_head(struct troupe__buffer *buffer, unsigned form, uint64_t number, unsigned size)
{
    troupe__buffer_put_byte(buffer, form);
    while (size-- > 0) {
        troupe__buffer_put_byte(buffer, (unsigned)(number >> 8 * size) & 0xff);
    }
}

static void put_uint(struct troupe__buffer *buffer, uint64_t number)
{
    if (number < 128) {
        troupe__buffer_put_byte(buffer, (unsigned)number);
    } else {
        put_head(buffer, 0xcf, number, 8);
    }
}

static void put_string(struct troupe__buffer *buffer, const char *text)
{
    size_t size = strlen(text);
    if (size < 32) {
        troupe__buffer_put_byte(buffer, 0xa0 | (unsigned)size);
    } else {
        put_head(buffer, 0xdb, size, 4);
    }
    troupe__buffer_put(buffer, text, size);
}

/* A map whose entries are counted while they are put; at most 15. */
struct map {
    struct troupe__buffer *buffer;
    size_t start;
    unsigned count;
};

static struct map begin_map(struct troupe__buffer *buffer)
{
    struct map map = {buffer, buffer->size, 0};
    troupe__buffer_put_byte(buffer, 0x80);
    return map;
}

static void end_map(const struct map *map)
{
    if (!map->buffer->failed) {
        map->buffer->data[map->start] = (unsigned char)(0x80 | map->count);
    }
}

static void put_key(struct map *map, const char *key)
{
    map->count++;
    put_string(map->buffer, key);
}

static void put_text_entry(struct map *map, const char *key, const char *text)
{
    if (text) {
        put_key(map, key);
        put_string(map->buffer, text);
    }
}

static void put_uint_entry(struct map *map, const char *key, uint64_t number)
{
    if (number > 0) {
        put_key(map, key);
        put_uint(map->buffer, number);
    }
}

static void put_true_entry(struct map *map, const char *key, bool truth)
{
    if (truth) {
        put_key(map, key);
        troupe__buffer_put_byte(map->buffer, 0xc3);
    }
}

static void put_body_entry(struct map *map, struct troupe_bytes body)
{
    if (!body.data || body.size == 0) {
        return;
    }
    put_key(map, "body");
    if (!troupe__msgpack_valid(body, BODY_DEPTH_MAX)) {
        put_head(map->buffer, 0xc6, body.size, 4);
    }
    troupe__buffer_put(map->buffer, body.data, body.size);
}

static void put_bytes_entry(struct map *map, const char *key, struct troupe_bytes bytes)
{
    if (bytes.size > 0) {
        put_key(map, key);
        put_head(map->buffer, 0xc6, bytes.size, 4);
        troupe__buffer_put(map->buffer, bytes.data, bytes.size);
    }
}

void troupe__request_put(struct troupe__buffer *buffer, const struct troupe__request *request)
{
    struct map map = begin_map(buffer);
    put_uint_entry(&map, "v", TROUPE__PROTOCOL_VERSION);
    put_uint_entry(&map, "n", request->number);
    put_text_entry(&map, "do", request->what);
    put_text_entry(&map, "id", request->id);
    put_text_entry(&map, "to", request->to);
    put_text_entry(&map, "type", request->type);
    put_body_entry(&map, request->body);
    put_uint_entry(&map, "timeout_ms", (uint64_t)request->timeout_ms);
    put_text_entry(&map, "egress", request->egress);
    put_uint_entry(&map, "from", request->from);
    put_uint_entry(&map, "credit", request->credit);
    put_uint_entry(&map, "letter", request->letter);
    put_uint_entry(&map, "tables", request->tables);
    put_uint_entry(&map, "colour", request->colour);
    put_text_entry(&map, "path", request->path);
    put_bytes_entry(&map, "prefix", request->prefix);
    put_true_entry(&map, "json", request->json);
    end_map(&map);
}

void troupe__reply_put(struct troupe__buffer *buffer, const struct troupe__reply *reply)
{
    struct map map = begin_map(buffer);
    put_key(&map, "n");
    put_uint(buffer, reply->number);
    put_key(&map, "ok");
    troupe__buffer_put_byte(buffer, reply->ok ? 0xc3 : 0xc2);
    put_true_entry(&map, "more", reply->more);
    put_text_entry(&map, "error", reply->ok ? NULL : name_of(reply->error));
    put_text_entry(&map, "text", reply->text);
    put_text_entry(&map, "type", reply->type);
    put_text_entry(&map, "key", reply->key);
    put_uint_entry(&map, "seq", reply->sequence);
    put_body_entry(&map, reply->body);
    put_bytes_entry(&map, "rows", reply->rows);
    end_map(&map);
}
