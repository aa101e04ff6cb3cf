/* actor.h - the actors that are in memory, found by address, with their values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An actor is in memory while something refers to it (a message to it or from it, that waits or has its time later),
 * while a change of it is not in the store's tables, and some while longer. Its values are read from the store when a
 * handler first asks for them. One that is not in memory costs nothing; when it is addressed again it is made anew from
 * its rows. A type that no module declares has `declared == NULL`: its messages become dead letters.
 *
 * An actor is one block of a slab: struct, key, cells, and leases if a value of its type has a time to live. */
#ifndef TROUPE_CORE_ACTOR_H
#define TROUPE_CORE_ACTOR_H

#include "core/buffer.h"
#include "core/index.h"
#include "core/overlay.h"
#include "core/row.h"
#include "core/slab.h"
#include "core/troupe.h"

enum { TROUPE__SLOTS = 4096 };

#define TROUPE__TTL_MAX_MS (INT64_C(10) * 366 * 86400 * 1000)

enum troupe__slot_state {
    TROUPE__SLOT_UNKNOWN,
    TROUPE__SLOT_ROW, /* `bytes` are its row, as replayed, not yet looked at */
    TROUPE__SLOT_ABSENT,
    TROUPE__SLOT_PRESENT
};

/* A map or list of one actor: what a delivery has learnt of its head, and the rows that are not in the tables. */
struct troupe__collection {
    struct troupe__overlay overlay;
    struct troupe__head head;
    int64_t expires_ms; /* of a list */
    bool known;         /* the head and its time, else they are read again */
};

/* One value of one actor. */
struct troupe__cell {
    union {
        int64_t integer;
        double number;
        bool truth;
        char *bytes;                           /* owned; one NUL behind the last */
        struct troupe__collection *collection; /* owned; NULL until used */
    } as;
    uint64_t epoch; /* the epoch whose dirty list holds it */
    uint32_t size;  /* of bytes */
    uint8_t state;  /* enum troupe__slot_state */
    uint8_t stored; /* whether the store may hold a row of it */
};

/* When a value that has a time to live expires. */
struct troupe__lease {
    int64_t expires_ms; /* of a single value; 0: never */
    int64_t sweep_ms;   /* the latest time for which a sweep of this value was noted since it came into memory */
};

struct troupe__actors;

struct troupe__type {
    const char *name;
    uint64_t hash; /* of the name */
    const struct troupe_type *declared;
    size_t value_count;
    size_t actor_count; /* in memory */
    bool leased;        /* a value has a time to live */
    bool owning;        /* a value of it owns memory, once it is set */
    struct troupe_retry retry;
    struct troupe__actors *actors;
};

struct troupe__message;

struct troupe__actor {
    uint64_t hash;
    struct troupe__type *type;
    struct troupe__message *oldest, *newest;
    struct troupe__actor *run_next; /* see runtime/machine/run_queue.h */
    uint64_t changed_epoch; /* the newest one that changed its values; once the tables have it they have them all */
    uint64_t row_epoch;     /* the newest one that made a row of them; what is set and cleared in between makes none */
    uint32_t references;    /* messages to it or from it, and its jobs */
    uint32_t value_size;    /* bytes that its cells own */
    uint16_t slot;
    bool queued;  /* on the run queue, or running */
    bool blocked; /* waits for its next attempt */
    bool used;    /* addressed since the hand was here; see troupe__actors_sweep */
    uint8_t key_size;
    char key[]; /* NUL-terminated; the cells follow */
};

enum {
    TROUPE__ACTOR_GRAIN = 32,                         /* sizes of actors differ by it: one pool for each */
    TROUPE__ACTOR_POOLS = 3072 / TROUPE__ACTOR_GRAIN, /* the largest has 255 bytes of key and 64 leased values */
};

enum { TROUPE__ACTORS_NEAR = 8192 }; /* so many are in the processor's cache */

struct troupe__actors {
    struct troupe__slabs slabs;
    struct troupe__index index;
    struct troupe__pool pools[TROUPE__ACTOR_POOLS + 1];
    struct troupe__type **types;
    size_t type_count;
    size_t far_count;    /* see troupe__actors_far: ACTORS_NEAR, or what a test wants */
    size_t size;         /* bytes of actors and of what their cells own */
    size_t message_size; /* bytes of messages to them */
    uint64_t evicted;
    uint64_t joined;                  /* of those, so many when what they had was joined; see troupe__actors_sweep */
    struct troupe__unfolded unfolded; /* rows of maps and lists */
};

static inline bool troupe__kind_is_collection(enum troupe_kind kind)
{
    return kind >= TROUPE_MAP;
}

/* Whether a present cell of this kind owns bytes. */
static inline bool troupe__kind_is_bytes(enum troupe_kind kind)
{
    return kind >= TROUPE_STRING && kind <= TROUPE_PACKED;
}

/* The slot of a key: of its {tag} if it has one, of all of it otherwise. */
uint16_t troupe__slot_of(const char *type, const char *key);

/* Whether `type` is namespace/name within its limit. */
bool troupe__type_name_valid(const char *type);

/* Errors, with a text: TROUPE_EVERSION (the module is of another interface), TROUPE_EINVAL (it declares something
 * wrong), TROUPE_ENOMEM. */
enum troupe_error troupe__actors_init(struct troupe__actors *actors, const struct troupe_module *module, char *error,
                                      size_t error_size);
void troupe__actors_fini(struct troupe__actors *actors);

/* Find an actor, or bring it into memory. Names must be valid. NULL when out of memory. */
struct troupe__actor *troupe__actors_get(struct troupe__actors *actors, const char *type, const char *key,
                                         size_t key_size);

/* An address on its way to its actor. Among millions of actors finding one waits for memory twice, for its place in the
 * index and for the actor itself; who has several to find takes the steps of one between those of others. `key` is the
 * caller's, and must be there to the end. Anything may happen to the actors in between, but for their fini. */
struct troupe__seek {
    struct troupe__type *type;
    uint64_t hash;
    const char *key;
    size_t key_size;
};

/* Whether they are too many for the processor's cache: what is done about that costs a little otherwise. */
static inline bool troupe__actors_far(const struct troupe__actors *actors)
{
    return actors->index.count >= actors->far_count;
}

/* Begin; nothing is fetched yet. Returns false when the actor is to be found at once: there are few, or its type is not
 * declared. */
bool troupe__actors_seek(struct troupe__actors *actors, const char *type, const char *key, size_t key_size,
                         struct troupe__seek *ret);
/* Begin to fetch where it will be looked up. */
static inline void troupe__actors_turn_to(const struct troupe__actors *actors, const struct troupe__seek *seek)
{
    troupe__index_prefetch(&actors->index, (uint32_t)(seek->hash >> 32));
}
/* That may be there by now: begin to fetch the actor. */
void troupe__actors_approach(const struct troupe__actors *actors, const struct troupe__seek *seek);
/* The end; as troupe__actors_get. */
struct troupe__actor *troupe__actors_reach(struct troupe__actors *actors, const struct troupe__seek *seek);

/* Its cells, value_count of them. */
static inline struct troupe__cell *troupe__actor_cells(struct troupe__actor *actor)
{
    size_t offset = (offsetof(struct troupe__actor, key) + (size_t)actor->key_size + 1 + 7) & ~(size_t)7;
    return (struct troupe__cell *)(void *)((char *)actor + offset);
}

/* The lease of a value that has a time to live. */
static inline struct troupe__lease *troupe__actor_lease(struct troupe__actor *actor, size_t index)
{
    return (struct troupe__lease *)(void *)(troupe__actor_cells(actor) + actor->type->value_count) + index;
}

/* The map or list that is value `index`; NULL when out of memory. */
struct troupe__collection *troupe__actor_collection(struct troupe__actor *actor, size_t index);

/* Count anew what the cells own; call it after a delivery. */
void troupe__actor_measure_owning(struct troupe__actor *actor);

static inline void troupe__actor_measure(struct troupe__actor *actor)
{
    if (actor->type->owning) {
        troupe__actor_measure_owning(actor);
    }
}

/* Let the actor go if nothing refers to it and the store's tables, which hold everything up to epoch `folded`, have all
 * that it is. Returns whether it is gone. */
bool troupe__actor_evict(struct troupe__actor *actor, uint64_t folded);

/* Let the hand pass over `places` more of the index, and evict what can be and was not used since the hand was there
 * last. So an actor that nobody uses is gone after two rounds, of troupe__index_places() each. */
void troupe__actors_sweep(struct troupe__actors *actors, size_t places, uint64_t folded);

/* Bytes of memory in use. */
static inline size_t troupe__actors_size(const struct troupe__actors *actors)
{
    return actors->size + actors->message_size + actors->unfolded.size + troupe__index_size(&actors->index);
}

/* Key of a state row, see row.h; of an element it is the beginning. Returns its size. */
size_t troupe__actor_row_key(const struct troupe__actor *actor, const char *value,
                             unsigned char key[static TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8]);

/* Free what a single value's cell owns. */
void troupe__cell_free(struct troupe__cell *cell, enum troupe_kind kind);

/* A single value's payload is msgpack. Errors of decode: TROUPE_ETYPE, TROUPE_ECORRUPT, TROUPE_ENOMEM. */
void troupe__cell_encode(const struct troupe__cell *cell, enum troupe_kind kind, struct troupe__buffer *buffer);
enum troupe_error troupe__cell_decode(struct troupe__cell *cell, enum troupe_kind kind, struct troupe_bytes row);

#endif
