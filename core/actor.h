/* actor.h - the actors that are in memory, found by address, with their values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An actor is in memory from the first message to it on. Its values are read from the store when a handler first asks
 * for them. A type that no module declares has `declared == NULL`: its messages become dead letters. */
#ifndef TROUPE_CORE_ACTOR_H
#define TROUPE_CORE_ACTOR_H

#include "core/buffer.h"
#include "core/troupe.h"

enum { TROUPE__SLOTS = 4096 };

enum troupe__slot_state { TROUPE__SLOT_UNKNOWN, TROUPE__SLOT_ABSENT, TROUPE__SLOT_PRESENT };

/* One value of one actor. */
struct troupe__cell {
    union {
        int64_t integer;
        double number;
        bool truth;
        char *bytes; /* owned; one NUL behind the last */
    } as;
    uint64_t epoch; /* the epoch whose dirty list holds it */
    uint32_t size;  /* of bytes */
    uint8_t state;  /* enum troupe__slot_state */
    uint8_t stored; /* whether the store may hold a row of it */
};

struct troupe__type {
    const char *name;
    uint64_t hash; /* of the name */
    const struct troupe_type *declared;
    size_t value_count;
    struct troupe_retry retry;
};

struct troupe__message;

struct troupe__actor {
    uint64_t hash;
    struct troupe__type *type;
    struct troupe__cell *cells; /* value_count of them, NULL until one is used */
    struct troupe__message *oldest, *newest;
    struct troupe__actor *run_next;
    uint64_t changed_epoch; /* the newest one that changed its values; once the tables have it they have them all */
    uint16_t slot;
    bool queued;  /* on the run queue, or running */
    bool blocked; /* waits for its next attempt */
    uint8_t key_size;
    char key[]; /* NUL-terminated */
};

struct troupe__actors {
    struct troupe__actor **table; /* open addressing, a power of two */
    size_t capacity, count;
    struct troupe__type **types;
    size_t type_count;
};

/* The slot of a key: of its {tag} if it has one, of all of it otherwise. */
uint16_t troupe__slot_of(const char *type, const char *key);

/* Whether `type` is namespace/name within its limit. */
bool troupe__type_name_valid(const char *type);

enum troupe_error troupe__actors_init(struct troupe__actors *actors, const struct troupe_module *module, char *error,
                                      size_t error_size);
void troupe__actors_fini(struct troupe__actors *actors);

/* Find an actor, or bring it into memory. Names must be valid. NULL when out of memory. */
struct troupe__actor *troupe__actors_get(struct troupe__actors *actors, const char *type, const char *key,
                                         size_t key_size);

/* The actor's cells; NULL when out of memory. */
struct troupe__cell *troupe__actor_cells(struct troupe__actor *actor);

/* Key of a state row: slot (2 bytes, big-endian), type NUL key NUL value. Returns its size. */
size_t troupe__actor_row_key(const struct troupe__actor *actor, const char *value,
                             unsigned char key[static TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8]);

/* A value's row form is msgpack. Errors of decode: TROUPE_ETYPE, TROUPE_ECORRUPT, TROUPE_ENOMEM. */
void troupe__cell_encode(const struct troupe__cell *cell, enum troupe_kind kind, struct troupe__buffer *buffer);
enum troupe_error troupe__cell_decode(struct troupe__cell *cell, enum troupe_kind kind, struct troupe_bytes row);

#endif
