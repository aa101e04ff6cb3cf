/* actor.c - the actors that are in memory, found by address, with their values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/actor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <msgpack.h>

#include "core/prefetch.h"

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
    *type = (struct troupe__type){.name = copy, .declared = declared, .actors = actors};
    type->hash = troupe__hash(name, strlen(name)) * 0x9e3779b97f4a7c15u;
    if (declared) {
        while (declared->values && declared->values[type->value_count]) {
            type->leased = type->leased || declared->values[type->value_count]->ttl_ms > 0;
            type->owning = type->owning || declared->values[type->value_count]->kind >= TROUPE_STRING;
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

/* What is wrong with a declaration; NULL when nothing is. */
static const char *fault_of(const struct troupe_value *value)
{
    if ((unsigned)value->kind > TROUPE_LIST) {
        return "its kind is unknown";
    }
    if (value->version > 0 && !value->migrate) {
        return "it has a version over 0 and no migrate that makes it of older ones";
    }
    if (value->version == 0 && value->migrate) {
        return "it has a migrate and version 0, of which there is no older one";
    }
    if (value->ttl_ms < 0 || value->ttl_ms > TROUPE__TTL_MAX_MS) {
        return "its ttl_ms is not within 0 and ten years";
    }
    if ((unsigned)value->ttl > TROUPE_TTL_AFTER_READ) {
        return "its ttl is neither TROUPE_TTL_AFTER_WRITE nor TROUPE_TTL_AFTER_READ";
    }
    if (value->ttl != TROUPE_TTL_AFTER_WRITE && value->ttl_ms == 0) {
        return "it has TROUPE_TTL_AFTER_READ and no ttl_ms";
    }
    return NULL;
}

static const char *fault_of_message(const struct troupe_message_type *message)
{
    if (!message->name || !*message->name || strlen(message->name) > TROUPE_NAME_MAX) {
        return "its name is empty or too long";
    }
    if (message->version > UINT16_MAX) {
        return "its version is over 65,535";
    }
    if (message->version > 0 && !message->migrate) {
        return "it has a version over 0 and no migrate that makes it of older ones";
    }
    if (message->version == 0 && message->migrate) {
        return "it has a migrate and version 0, of which there is no older one";
    }
    return NULL;
}

static enum troupe_error check_messages(const struct troupe_type *declared, char *error, size_t error_size)
{
    for (size_t i = 0; declared->messages && declared->messages[i]; i++) {
        const struct troupe_message_type *message = declared->messages[i];
        const char *fault = fault_of_message(message);
        for (size_t j = 0; j < i && !fault; j++) {
            fault = strcmp(declared->messages[j]->name, message->name) == 0 ? "it is declared twice" : NULL;
        }
        if (fault) {
            snprintf(error, error_size, "module: type '%s': message '%.64s': %s", declared->name,
                     message->name ? message->name : "", fault);
            return TROUPE_EINVAL;
        }
    }
    return TROUPE_OK;
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
    if (declared->retry.attempts > UINT16_MAX) {
        snprintf(error, error_size, "module: type '%s': its retry has more than 65,535 attempts", declared->name);
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
        const char *fault = fault_of(declared->values[i]);
        if (fault) {
            snprintf(error, error_size, "module: type '%s': value '%s': %s", declared->name, name, fault);
            return TROUPE_EINVAL;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(declared->values[j]->name, name) == 0) {
                snprintf(error, error_size, "module: type '%s': value '%s' is declared twice", declared->name, name);
                return TROUPE_EINVAL;
            }
        }
    }
    return check_messages(declared, error, error_size);
}

enum troupe_error troupe__actors_init(struct troupe__actors *actors, const struct troupe_module *module, char *error,
                                      size_t error_size)
{
    *actors = (struct troupe__actors){.far_count = TROUPE__ACTORS_NEAR};
    if (module->abi != TROUPE_ABI) {
        snprintf(error, error_size, "module '%s' was built for interface %u, this is %d: build it again",
                 module->name ? module->name : "", module->abi, TROUPE_ABI);
        return TROUPE_EVERSION;
    }
    for (size_t i = 0; i <= TROUPE__ACTOR_POOLS; i++) {
        actors->pools[i].block_size = (uint32_t)(i * TROUPE__ACTOR_GRAIN);
    }
    if (!troupe__index_init(&actors->index, &actors->slabs)) {
        snprintf(error, error_size, "out of memory");
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

/* Every size that there can be has a pool: see check_type and the limits of troupe.h. */
_Static_assert(sizeof(struct troupe__actor) + TROUPE_KEY_MAX + 1 + 8 +
                       TROUPE_VALUES_MAX * (sizeof(struct troupe__cell) + sizeof(struct troupe__lease)) <=
                   TROUPE__ACTOR_POOLS * TROUPE__ACTOR_GRAIN,
               "an actor has a pool");

static size_t actor_size(const struct troupe__type *type, size_t key_size)
{
    size_t size = (offsetof(struct troupe__actor, key) + key_size + 1 + 7) & ~(size_t)7;
    size += type->value_count * (sizeof(struct troupe__cell) + (type->leased ? sizeof(struct troupe__lease) : 0));
    size = size < sizeof(struct troupe__actor) ? sizeof(struct troupe__actor) : size;
    return (size + TROUPE__ACTOR_GRAIN - 1) / TROUPE__ACTOR_GRAIN * TROUPE__ACTOR_GRAIN;
}

static bool owns_bytes(const struct troupe__cell *cell, enum troupe_kind kind)
{
    return cell->state == TROUPE__SLOT_ROW || (cell->state == TROUPE__SLOT_PRESENT && troupe__kind_is_bytes(kind));
}

void troupe__cell_free(struct troupe__cell *cell, enum troupe_kind kind)
{
    if (owns_bytes(cell, kind)) {
        free(cell->as.bytes);
    }
}

struct troupe__collection *troupe__actor_collection(struct troupe__actor *actor, size_t index)
{
    struct troupe__cell *cell = &troupe__actor_cells(actor)[index];
    assert(troupe__kind_is_collection(actor->type->declared->values[index]->kind));
    if (!cell->as.collection && (cell->as.collection = calloc(1, sizeof *cell->as.collection))) {
        cell->as.collection->overlay.actor = actor;
        cell->as.collection->overlay.index = (uint32_t)index;
    }
    return cell->as.collection;
}

static void free_cells(struct troupe__actor *actor)
{
    struct troupe__cell *cells = troupe__actor_cells(actor);
    for (size_t i = 0; i < actor->type->value_count; i++) {
        enum troupe_kind kind = actor->type->declared->values[i]->kind;
        if (!troupe__kind_is_collection(kind)) {
            troupe__cell_free(&cells[i], kind);
        } else if (cells[i].as.collection) {
            troupe__overlay_fini(&actor->type->actors->unfolded, &cells[i].as.collection->overlay);
            free(cells[i].as.collection);
        }
    }
}

void troupe__actor_measure_owning(struct troupe__actor *actor)
{
    enum { MALLOC_HEAD = 16 };
    struct troupe__cell *cells = troupe__actor_cells(actor);
    size_t size = 0;
    for (size_t i = 0; i < actor->type->value_count; i++) {
        enum troupe_kind kind = actor->type->declared->values[i]->kind;
        if (troupe__kind_is_collection(kind)) { /* Its rows are counted by themselves. */
            size += cells[i].as.collection ? sizeof(struct troupe__collection) + MALLOC_HEAD : 0;
        } else if (owns_bytes(&cells[i], kind)) {
            size += cells[i].size + MALLOC_HEAD;
        }
    }
    actor->type->actors->size += size - actor->value_size;
    actor->value_size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    actor->type->actors->size -= size - actor->value_size;
}

static void free_type(struct troupe__type *type)
{
    free((char *)type->name);
    free(type);
}

static void free_actor(struct troupe__actor *actor)
{
    struct troupe__type *type = actor->type;
    struct troupe__actors *actors = type->actors;
    size_t size = actor_size(type, actor->key_size);
    free_cells(actor);
    actors->size -= size + actor->value_size;
    troupe__pool_give(&actors->slabs, &actors->pools[size / TROUPE__ACTOR_GRAIN], actor);
    if (--type->actor_count == 0 && !type->declared) { /* Its name came from outside: there may be any number. */
        size_t at = 0;
        while (actors->types[at] != type) {
            at++;
        }
        actors->types[at] = actors->types[--actors->type_count];
        free_type(type);
    }
}

static void free_block(void *context, troupe__block block)
{
    struct troupe__actors *actors = context;
    free_actor(troupe__slab_block(&actors->slabs, block));
}

void troupe__actors_fini(struct troupe__actors *actors)
{
    troupe__index_each(&actors->index, free_block, actors);
    troupe__index_fini(&actors->index);
    for (size_t i = 0; i < actors->type_count; i++) {
        free_type(actors->types[i]);
    }
    free(actors->types);
    troupe__slabs_fini(&actors->slabs);
    *actors = (struct troupe__actors){0};
}

static bool same_key(const struct troupe__actor *actor, const char *key, size_t key_size)
{
    return actor->key_size == key_size && memcmp(actor->key, key, key_size) == 0;
}

/* The type's address is no part of the hash: troupe_random depends on it and must be the same in every run. */
static struct troupe__seek begin_seek(struct troupe__type *type, const char *key, size_t key_size)
{
    assert(key_size >= 1 && key_size <= TROUPE_KEY_MAX);
    return (struct troupe__seek){type, troupe__hash(key, key_size) ^ type->hash, key, key_size};
}

static struct troupe__actor *make_actor(struct troupe__actors *actors, const struct troupe__seek *seek)
{
    struct troupe__type *type = seek->type;
    size_t size = actor_size(type, seek->key_size);
    struct troupe__pool *pool = &actors->pools[size / TROUPE__ACTOR_GRAIN];
    struct troupe__actor *actor = troupe__pool_take(&actors->slabs, pool);
    if (!actor || !troupe__index_add(&actors->index, seek->hash, troupe__slab_number(actor))) {
        if (actor) {
            troupe__pool_give(&actors->slabs, pool, actor);
        }
        return NULL;
    }
    memset(actor, 0, size);
    actor->hash = seek->hash;
    actor->type = type;
    actor->used = true;
    actor->key_size = (uint8_t)seek->key_size;
    memcpy(actor->key, seek->key, seek->key_size);
    actor->slot = troupe__slot_of(type->name, actor->key);
    type->actor_count++;
    actors->size += size;
    return actor;
}

bool troupe__actors_seek(struct troupe__actors *actors, const char *type_name, const char *key, size_t key_size,
                         struct troupe__seek *ret)
{
    struct troupe__type *type = troupe__actors_far(actors) ? find_type(actors, type_name) : NULL;
    if (!type || !type->declared) {
        return false;
    }
    *ret = begin_seek(type, key, key_size);
    return true;
}

void troupe__actors_approach(const struct troupe__actors *actors, const struct troupe__seek *seek)
{
    uint32_t tag = (uint32_t)(seek->hash >> 32), at = tag;
    troupe__block block;
    if (troupe__index_probe(troupe__index_segment(&actors->index, tag), tag, &at, &block)) {
        troupe__prefetch_two(troupe__slab_block(&actors->slabs, block));
    }
}

struct troupe__actor *troupe__actors_reach(struct troupe__actors *actors, const struct troupe__seek *seek)
{
    uint32_t tag = (uint32_t)(seek->hash >> 32), at = tag;
    const struct troupe__index_segment *segment = troupe__index_segment(&actors->index, tag);
    for (troupe__block block; troupe__index_probe(segment, tag, &at, &block);) {
        struct troupe__actor *actor = troupe__slab_block(&actors->slabs, block);
        if (actor->hash == seek->hash && actor->type == seek->type && same_key(actor, seek->key, seek->key_size)) {
            actor->used = true;
            return actor;
        }
    }
    return make_actor(actors, seek);
}

struct troupe__actor *troupe__actors_get(struct troupe__actors *actors, const char *type_name, const char *key,
                                         size_t key_size)
{
    struct troupe__type *type = find_type(actors, type_name);
    if (!type && !(type = add_type(actors, type_name, NULL))) {
        return NULL;
    }
    struct troupe__seek seek = begin_seek(type, key, key_size);
    return troupe__actors_reach(actors, &seek);
}

bool troupe__actor_evict(struct troupe__actor *actor, uint64_t folded)
{
    if (actor->references > 0 || actor->queued || actor->blocked || actor->changed_epoch > folded) {
        return false;
    }
    assert(!actor->oldest);
    struct troupe__actors *actors = actor->type->actors;
    troupe__index_remove(&actors->index, actor->hash, troupe__slab_number(actor));
    actors->evicted++;
    free_actor(actor);
    return true;
}

/* What evicted actors had is many small pieces. The C library (glibc's fastbins) puts them aside, and joins all of them
 * when it is next asked for a large one: of a million actors that are gone, for 150 ms. So it is asked now and then. */
static void join_freed(void)
{
    enum { LARGE = 1 << 14 };
    void *volatile large = malloc(LARGE); /* volatile: else the compiler leaves both out */
    free(large);
}

void troupe__actors_sweep(struct troupe__actors *actors, size_t places, uint64_t folded)
{
    enum { BATCH = 64 };     /* fetched from memory together; less than a round, so that none comes twice */
    enum { EVICTED = 1024 }; /* then what they had is joined */
    struct troupe__actor *batch[BATCH];
    while (places > 0 && !troupe__index_empty(&actors->index)) {
        size_t count = 0;
        for (int i = 0; places > 0 && i < BATCH; i++, places--) {
            troupe__block block = troupe__index_next(&actors->index);
            if (block) {
                batch[count] = troupe__slab_block(&actors->slabs, block);
                troupe__prefetch(&batch[count]->used);
                count++;
            }
        }
        for (size_t i = 0; i < count; i++) {
            if (batch[i]->used) {
                batch[i]->used = false;
            } else {
                troupe__actor_evict(batch[i], folded);
            }
        }
        if (actors->evicted - actors->joined >= EVICTED) {
            actors->joined = actors->evicted;
            join_freed();
        }
    }
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
    case TROUPE_MAP:
    case TROUPE_LIST:
        assert(false);
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
    if (troupe__kind_is_bytes(kind)) {
        size_t size = row.size;
        const unsigned char *bytes = kind == TROUPE_PACKED ? row.data : raw_payload(row, kind == TROUPE_STRING, &size);
        if (!bytes || row.size == 0) { /* Even nil has a byte. */
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
    if (!scalar || msgpack_unpack(row.data, row.size, &offset, NULL, &object) != MSGPACK_UNPACK_SUCCESS ||
        offset != row.size) {
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
