/* message.c - a message as a node holds it, and its form in rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/message.h"

#include <assert.h>
#include <stdlib.h>

const struct troupe_message_type *troupe__message_declared(const struct troupe__type *type, const char *name)
{
    const struct troupe_message_type *const *messages = type->declared ? type->declared->messages : NULL;
    for (; messages && *messages; messages++) {
        if (strcmp((*messages)->name, name) == 0) {
            return *messages;
        }
    }
    return NULL;
}

struct troupe__message *troupe__message_new(struct troupe__actor *to, struct troupe__actor *from, const char *type,
                                            size_t type_size, struct troupe_bytes body)
{
    assert(type_size <= TROUPE_NAME_MAX && body.size <= UINT32_MAX);
    struct troupe__message *message = malloc(sizeof *message + type_size + 1 + body.size);
    if (message == NULL) {
        return NULL;
    }
    *message = (struct troupe__message){.to = to, .from = from, .fresh_index = TROUPE__HAS_ROW};
    if (to) {
        to->references++;
    }
    if (from) {
        from->references++;
    }
    message->type_size = (uint8_t)type_size;
    message->body_size = (uint32_t)body.size;
    (from ? from : to)->type->actors->message_size += troupe__message_size(message);
    memcpy(message->data, type, type_size);
    message->data[type_size] = '\0';
    if (body.size > 0) {
        memcpy(message->data + type_size + 1, body.data, body.size);
    }
    if (to) {
        troupe__message_stamp(message);
    }
    return message;
}

void troupe__message_free(struct troupe__message *message)
{
    if (!message) {
        return;
    }
    struct troupe__actor *to = message->to, *from = message->from;
    if (to) {
        to->references--;
    }
    if (from) {
        from->references--;
    }
    (to ? to : from)->type->actors->message_size -= troupe__message_size(message);
    free(message);
}

void troupe__address_encode(const struct troupe__actor *actor, struct troupe__buffer *buffer)
{
    troupe__buffer_put_string(buffer, actor->type->name, strlen(actor->type->name));
    troupe__buffer_put_string(buffer, actor->key, actor->key_size);
}

enum { FROM_ACTOR = 1, KIND_SHIFT = 1, KIND_MASK = 7, VERSIONED = 16, FLAGS_MAX = 31 };

_Static_assert((int)TROUPE__MESSAGE_KIND_COUNT - 1 <= (int)KIND_MASK, "every kind has its bits");

void troupe__message_encode(const struct troupe__message *message, struct troupe__buffer *buffer)
{
    troupe__buffer_put_byte(buffer, (unsigned)message->kind << KIND_SHIFT | (message->from ? FROM_ACTOR : 0) |
                                        (message->version ? VERSIONED : 0));
    troupe__address_encode(message->to, buffer);
    if (message->from) {
        troupe__address_encode(message->from, buffer);
    }
    troupe__buffer_put_string(buffer, message->data, message->type_size);
    troupe__buffer_put_varint(buffer, message->correlation);
    troupe__buffer_put_varint(buffer, message->attempt);
    if (message->kind == TROUPE__RESULT) {
        troupe__buffer_put_varint(buffer, message->job_attempts);
    }
    if (message->version) {
        troupe__buffer_put_varint(buffer, message->version);
    }
    troupe__buffer_put_string(buffer, troupe__message_body(message), message->body_size);
}

bool troupe__address_read(struct troupe__cursor *cursor, char type[static TROUPE_NAME_MAX + 1],
                          char key[static TROUPE_KEY_MAX + 1])
{
    size_t type_size, key_size;
    const unsigned char *type_bytes = troupe__cursor_string(cursor, &type_size);
    const unsigned char *key_bytes = troupe__cursor_string(cursor, &key_size);
    if (!type_bytes || !key_bytes || type_size > TROUPE_NAME_MAX || key_size > TROUPE_KEY_MAX || key_size == 0 ||
        memchr(key_bytes, 0, key_size)) {
        cursor->failed = true;
        return false;
    }
    memcpy(type, type_bytes, type_size);
    type[type_size] = '\0';
    memcpy(key, key_bytes, key_size);
    key[key_size] = '\0';
    cursor->failed |= !troupe__type_name_valid(type);
    return !cursor->failed;
}

struct troupe__actor *troupe__address_decode(struct troupe__actors *actors, struct troupe__cursor *cursor)
{
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    return troupe__address_read(cursor, type, key) ? troupe__actors_get(actors, type, key, strlen(key)) : NULL;
}

static struct troupe_bytes bytes_since(const unsigned char *begin, const struct troupe__cursor *cursor)
{
    return (struct troupe_bytes){begin, (size_t)(cursor->at - begin)};
}

bool troupe__message_row_decode(struct troupe_bytes row, struct troupe__message_row *ret)
{
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1];
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    const unsigned char *flags = troupe__cursor_bytes(&cursor, 1), *begin = cursor.at;
    size_t size;
    if (!flags || *flags > FLAGS_MAX || !troupe__address_read(&cursor, type, key)) {
        return false;
    }
    *ret = (struct troupe__message_row){.kind = (enum troupe__message_kind)(*flags >> KIND_SHIFT & KIND_MASK),
                                        .from_actor = (*flags & FROM_ACTOR) != 0,
                                        .to_slot = troupe__slot_of(type, key),
                                        .to = bytes_since(begin, &cursor)};
    if (ret->from_actor && !troupe__address_read(&cursor, type, key)) {
        return false;
    }
    ret->from_slot = ret->from_actor ? troupe__slot_of(type, key) : 0;
    begin = cursor.at;
    troupe__cursor_string(&cursor, &size);
    ret->name = bytes_since(begin, &cursor);
    ret->before = bytes_since(flags, &cursor);
    ret->correlation = troupe__cursor_varint(&cursor);
    ret->after = (struct troupe_bytes){cursor.at, (size_t)(cursor.end - cursor.at)};
    (void)troupe__cursor_varint(&cursor);
    if (ret->kind == TROUPE__RESULT) {
        (void)troupe__cursor_varint(&cursor);
    }
    ret->version = *flags & VERSIONED ? troupe__cursor_varint(&cursor) : 0;
    ret->body.data = troupe__cursor_string(&cursor, &ret->body.size);
    return !cursor.failed && ret->kind < TROUPE__MESSAGE_KIND_COUNT && cursor.at == cursor.end;
}

void troupe__message_row_encode(struct troupe__buffer *buffer, enum troupe__message_kind kind, struct troupe_bytes to,
                                struct troupe_bytes name, uint64_t correlation, uint64_t version,
                                struct troupe_bytes body)
{
    troupe__buffer_put_byte(buffer, (unsigned)kind << KIND_SHIFT | (version ? VERSIONED : 0));
    troupe__buffer_put(buffer, to.data, to.size);
    troupe__buffer_put(buffer, name.data, name.size);
    troupe__buffer_put_varint(buffer, correlation);
    troupe__buffer_put_varint(buffer, 0);
    if (version) {
        troupe__buffer_put_varint(buffer, version);
    }
    troupe__buffer_put_string(buffer, body.data, body.size);
}

enum troupe_error troupe__message_decode(struct troupe__actors *actors, struct troupe_bytes row,
                                         struct troupe__message **ret)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    const unsigned char *flags = troupe__cursor_bytes(&cursor, 1);
    if (!flags || *flags > FLAGS_MAX) {
        return TROUPE_ECORRUPT;
    }
    bool from_actor = (*flags & FROM_ACTOR) != 0;
    unsigned kind = *flags >> KIND_SHIFT & KIND_MASK;
    struct troupe__actor *to = troupe__address_decode(actors, &cursor);
    struct troupe__actor *from = to && from_actor ? troupe__address_decode(actors, &cursor) : NULL;
    if (!cursor.failed && (!to || (from_actor && !from))) {
        return TROUPE_ENOMEM;
    }
    size_t type_size, body_size;
    const unsigned char *type = troupe__cursor_string(&cursor, &type_size);
    uint64_t correlation = troupe__cursor_varint(&cursor);
    uint64_t attempt = troupe__cursor_varint(&cursor);
    uint64_t job_attempts = kind == TROUPE__RESULT ? troupe__cursor_varint(&cursor) : 0;
    uint64_t version = *flags & VERSIONED ? troupe__cursor_varint(&cursor) : 0;
    const unsigned char *body = troupe__cursor_string(&cursor, &body_size);
    size_t over = kind >= TROUPE__FORWARDED_SEND ? TROUPE__FORWARD_SIZE : 0;
    if (cursor.failed || kind >= TROUPE__MESSAGE_KIND_COUNT || type_size > TROUPE_NAME_MAX || attempt > UINT16_MAX ||
        version > UINT16_MAX || body_size > TROUPE_BODY_MAX + over || cursor.at != cursor.end) {
        return TROUPE_ECORRUPT;
    }
    struct troupe__message *message =
        troupe__message_new(to, from, (const char *)type, type_size, (struct troupe_bytes){body, body_size});
    if (!message) {
        return TROUPE_ENOMEM;
    }
    message->kind = (uint8_t)kind;
    message->correlation = correlation;
    message->attempt = (uint16_t)attempt;
    message->version = (uint16_t)version;
    message->job_attempts = (uint16_t)job_attempts;
    *ret = message;
    return TROUPE_OK;
}
