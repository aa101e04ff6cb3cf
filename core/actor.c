/* actor.c - the actors that are in memory, found by address, with their values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/actor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <msgpack.h>

uint16_t troupe__slot_of(const char *type, const char *key)
{
    size_t size = strlen(key);
    const char *open = strchr(key, '{');
    const char *close = open ? strchr(open + 1, '}') : NULL;
    if (close && close > open + 1) {
        /* Only the tag counts, not even the type: actors of several types can live together. */
        return (uint16_t)(troupe__hash(open + 1, (size_t)(close - open - 1)) % TROUPE__SLOTS);
    }
    return (uint16_t)((troupe__hash(key, size) ^ troupe__hash(type, strlen(type))) % TROUPE__SLOTS);
}

bool troupe__type_name_valid(const char *type)
{
    const char *slash = strchr(type, '/');
    return slash && slash > type && slash[1] && !strchr(slash + 1, '/') && strlen(type) <= TROUPE_NAME_MAX;
}

static struct troupe__type *find_type(struct troupe__actors *actors, const char *name)
{
    for (size_t i = 0; i < actors->type_count; i++) {
        if (actors->types[i]->name == name || strcmp(actors->types[i]->name, name) == 0) {
            return actors->types[i];
        }
    }
    return NULL;
}

static struct troupe__type *add_type(struct troupe__actors *actors, const char *name,
                                     const struct troupe_type *declared)
{
    struct troupe__type **types = realloc(actors->types, (actors->type_count + 1) * sizeof *types);
    if (!types) {
        return NULL;
    }
    actors->types = types;
    struct troupe__type *type = calloc(1, sizeof *type);
    char *copy = strdup(name);
    if (!type || !copy) {
        free(type);
        free(copy);
        return NULL;
    }
    *type = (struct troupe__type){.name = copy, .declared = declared};
    type->hash = troupe__hash(name, strlen(name)) * 0x9e3779b97f4a7c15u;
    if (declared) {
        while (declared->values && declared->values[type->value_count]) {
            type->value_count++;
        }
        type->retry = declared->retry;
    }
    type->retry.attempts = type->retry.attempts ? type->retry.attempts : 3;
    type->retry.backoff_ms = type->retry.backoff_ms ? type->retry.backoff_ms : 100;
    type->retry.backoff_max_ms = type->retry.backoff_max_ms ? type->retry.backoff_max_ms : 60000;
    actors->types[actors->type_count++] = type;
    return type;
}

static enum troupe_error check_type(const struct troupe_type *declared, const struct troupe__type *known, char *error,
                                    size_t error_size)
{
    if (!declared->name || !troupe__type_name_valid(declared->name)) {
        snprintf(error, error_size, "module: type '%s' is not namespace/name of at most %d bytes",
                 declared->name ? declared->name : "", TROUPE_NAME_MAX);
        return TROUPE_EINVAL;
    }
    if (known) {
        snprintf(error, error_size, "module: type '%s' is declared twice", declared->name);
        return TROUPE_EINVAL;
    }
    if (!declared->handler) {
        snprintf(error, error_size, "module: type '%s' has no handler", declared->name);
        return TROUPE_EINVAL;
    }
    for (size_t i = 0; declared->values && declared->values[i]; i++) {
        const char *name = declared->values[i]->name;
        if (i >= TROUPE_VALUES_MAX || !name || !*name || strlen(name) > TROUPE_NAME_MAX) {
            snprintf(error, error_size,
                     "module: type '%s': value %zu: needs a name of 1 to %d bytes, at most %d values", declared->name,
                     i, TROUPE_NAME_MAX, TROUPE_VALUES_MAX);
            return TROUPE_EINVAL;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(declared->values[j]->name, name) == 0) {
                snprintf(error, error_size, "module: type '%s': value '%s' is declared twice", declared->name, name);
                return TROUPE_EINVAL;
            }
        }
    }
    return TROUPE_OK;
}

enum troupe_error troupe__actors_init(struct troupe__actors *actors, const struct troupe_module *module, char *error,
                                      size_t error_size)
{
    *actors = (struct troupe__actors){0};
    actors->capacity = 1024;
    actors->table = calloc(actors->capacity, sizeof *actors->table);
    if (!actors->table) {
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < module->type_count; i++) {
        const struct troupe_type *declared = &module->types[i];
        const struct troupe__type *known = declared->name ? find_type(actors, declared->name) : NULL;
        enum troupe_error result = check_type(declared, known, error, error_size);
        if (result == TROUPE_OK && !add_type(actors, declared->name, declared)) {
            result = TROUPE_ENOMEM;
        }
        if (result != TROUPE_OK) {
            troupe__actors_fini(actors);
            return result;
        }
    }
    return TROUPE_OK;
}

static void free_cells(struct troupe__actor *actor)
{
    for (size_t i = 0; actor->cells && i < actor->type->value_count; i++) {
        if (actor->type->declared->values[i]->kind >= TROUPE_STRING && actor->cells[i].state == TROUPE__SLOT_PRESENT) {
            free(actor->cells[i].as.bytes);
        }
    }
    free(actor->cells);
}

void troupe__actors_fini(struct troupe__actors *actors)
{
    for (size_t i = 0; i < actors->capacity && actors->table; i++) {
        if (actors->table[i]) {
            free_cells(actors->table[i]);
            free(actors->table[i]);
        }
    }
    for (size_t i = 0; i < actors->type_count; i++) {
        free((char *)actors->types[i]->name);
        free(actors->types[i]);
    }
    free(actors->types);
    free(actors->table);
    *actors = (struct troupe__actors){0};
}

static bool grow(struct troupe__actors *actors)
{
    size_t capacity = actors->capacity * 2;
    struct troupe__actor **table = calloc(capacity, sizeof *table);
    if (!table) {
        return false;
    }
    for (size_t i = 0; i < actors->capacity; i++) {
        struct troupe__actor *actor = actors->table[i];
        if (actor) {
            size_t at = actor->hash & (capacity - 1);
            while (table[at]) {
                at = (at + 1) & (capacity - 1);
            }
            table[at] = actor;
        }
    }
    free(actors->table);
    actors->table = table;
    actors->capacity = capacity;
    return true;
}

struct troupe__actor *troupe__actors_get(struct troupe__actors *actors, const char *type_name, const char *key,
                                         size_t key_size)
{
    assert(key_size >= 1 && key_size <= TROUPE_KEY_MAX);
    struct troupe__type *type = find_type(actors, type_name);
    if (!type && !(type = add_type(actors, type_name, NULL))) {
        return NULL;
    }
    /* The type's address is no part of the hash: troupe_random depends on it and must be the same in every run. */
    uint64_t hash = troupe__hash(key, key_size) ^ type->hash;
    size_t at = hash & (actors->capacity - 1);
    for (struct troupe__actor *actor; (actor = actors->table[at]) != NULL; at = (at + 1) & (actors->capacity - 1)) {
        if (actor->hash == hash && actor->type == type && actor->key_size == key_size &&
            memcmp(actor->key, key, key_size) == 0) {
            return actor;
        }
    }
    if (actors->count * 2 >= actors->capacity) {
        if (!grow(actors)) {
            return NULL;
        }
        for (at = hash & (actors->capacity - 1); actors->table[at]; at = (at + 1) & (actors->capacity - 1)) {
        }
    }
    struct troupe__actor *actor = malloc(sizeof *actor + key_size + 1);
    if (!actor) {
        return NULL;
    }
    *actor = (struct troupe__actor){.hash = hash, .type = type, .key_size = (uint8_t)key_size};
    memcpy(actor->key, key, key_size);
    actor->key[key_size] = '\0';
    actor->slot = troupe__slot_of(type->name, actor->key);
    actors->table[at] = actor;
    actors->count++;
    return actor;
}

struct troupe__cell *troupe__actor_cells(struct troupe__actor *actor)
{
    if (!actor->cells && actor->type->value_count > 0) {
        actor->cells = calloc(actor->type->value_count, sizeof *actor->cells);
    }
    return actor->cells;
}

size_t troupe__actor_row_key(const struct troupe__actor *actor, const char *value,
                             unsigned char key[static TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8])
{
    size_t type_size = strlen(actor->type->name), value_size = strlen(value), size = 2;
    troupe__put_be16(key, actor->slot);
    memcpy(key + size, actor->type->name, type_size + 1);
    size += type_size + 1;
    memcpy(key + size, actor->key, (size_t)actor->key_size + 1);
    size += (size_t)actor->key_size + 1;
    memcpy(key + size, value, value_size);
    return size + value_size;
}

static int pack_write(void *buffer, const char *data, size_t size)
{
    troupe__buffer_put(buffer, data, size);
    return 0;
}

void troupe__cell_encode(const struct troupe__cell *cell, enum troupe_kind kind, struct troupe__buffer *buffer)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, pack_write);
    switch (kind) {
    case TROUPE_INT:
        msgpack_pack_int64(&packer, cell->as.integer);
        break;
    case TROUPE_DOUBLE:
        msgpack_pack_double(&packer, cell->as.number);
        break;
    case TROUPE_BOOL:
        cell->as.truth ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer);
        break;
    case TROUPE_STRING:
        msgpack_pack_str(&packer, cell->size);
        msgpack_pack_str_body(&packer, cell->as.bytes, cell->size);
        break;
    case TROUPE_BYTES:
        msgpack_pack_bin(&packer, cell->size);
        msgpack_pack_bin_body(&packer, cell->as.bytes, cell->size);
        break;
    case TROUPE_PACKED:
        troupe__buffer_put(buffer, cell->as.bytes, cell->size);
        break;
    }
}

/* The payload of a str or bin that fills all of `row`; NULL for anything else. */
static const unsigned char *raw_payload(struct troupe_bytes row, bool string, size_t *ret_size)
{
    const unsigned char *at = row.data;
    size_t head = 0, size = 0;
    if (row.size == 0) {
        return NULL;
    }
    if (string && (at[0] & 0xe0) == 0xa0) {
        head = 1;
        size = at[0] & 0x1f;
    } else if (at[0] == (string ? 0xd9 : 0xc4) && row.size >= 2) {
        head = 2;
        size = at[1];
    } else if (at[0] == (string ? 0xda : 0xc5) && row.size >= 3) {
        head = 3;
        size = (size_t)at[1] << 8 | at[2];
    } else if (at[0] == (string ? 0xdb : 0xc6) && row.size >= 5) {
        head = 5;
        size = (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4];
    }
    if (head == 0 || size != row.size - head) {
        return NULL;
    }
    *ret_size = size;
    return at + head;
}

enum troupe_error troupe__cell_decode(struct troupe__cell *cell, enum troupe_kind kind, struct troupe_bytes row)
{
    if (kind >= TROUPE_STRING) {
        size_t size = row.size;
        const unsigned char *bytes = kind == TROUPE_PACKED ? row.data : raw_payload(row, kind == TROUPE_STRING, &size);
        if (!bytes) {
            return TROUPE_ETYPE;
        }
        char *copy = malloc(size + 1);
        if (!copy) {
            return TROUPE_ENOMEM;
        }
        memcpy(copy, bytes, size);
        copy[size] = '\0';
        cell->as.bytes = copy;
        cell->size = (uint32_t)size;
        cell->state = TROUPE__SLOT_PRESENT;
        return TROUPE_OK;
    }
    /* A number or truth has at most nine bytes: nothing here can make msgpack-c reserve memory by a size it reads. */
    msgpack_object object;
    size_t offset = 0;
    if (row.size == 0 || row.size > 9) {
        return TROUPE_ETYPE;
    }
    unsigned char first = *(const unsigned char *)row.data;
    bool scalar = first < 0x80 || first >= 0xe0 || (first >= 0xc2 && first <= 0xc3) || (first >= 0xca && first <= 0xd3);
    if (!scalar || msgpack_unpack(row.data, row.size, &offset, NULL, &object) < 0 || offset != row.size) {
        return TROUPE_ETYPE;
    }
    if (kind == TROUPE_INT && object.type == MSGPACK_OBJECT_POSITIVE_INTEGER && object.via.u64 <= INT64_MAX) {
        cell->as.integer = (int64_t)object.via.u64;
    } else if (kind == TROUPE_INT && object.type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        cell->as.integer = object.via.i64;
    } else if (kind == TROUPE_DOUBLE &&
               (object.type == MSGPACK_OBJECT_FLOAT64 || object.type == MSGPACK_OBJECT_FLOAT32)) {
        cell->as.number = object.via.f64;
    } else if (kind == TROUPE_BOOL && object.type == MSGPACK_OBJECT_BOOLEAN) {
        cell->as.truth = object.via.boolean;
    } else {
        return TROUPE_ETYPE;
    }
    cell->state = TROUPE__SLOT_PRESENT;
    return TROUPE_OK;
}
