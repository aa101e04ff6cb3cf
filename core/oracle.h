/* oracle.h - whoever decides what is free to be decided: which fault strikes, how long a frame takes, what comes next.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every free decision of a simulation is one call of `choose(kind, n, id)`. A decision is known by its kind and `id`,
 * which its asker makes unique and stable: a property of the thing decided about (node, link, ordinal of the frame),
 * not a count of calls. So a recorded decision still means the same when others are taken away. 0 is always the tame
 * answer: no fault, no delay, first in first out.
 *
 * Kinds of oracle: random (a function of seed, kind and id alone, so that switching one kind of fault on moves no
 * other), recorded (asks another one and notes what it said), replayed (says what was noted, else 0). Not thread-safe.
 */
#ifndef TROUPE_CORE_ORACLE_H
#define TROUPE_CORE_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TROUPE__CHOICES(X)                                                                                             \
    X(WORKLOAD, "workload")       /* what the actors do */                                                             \
    X(ORDER, "order")             /* of events at the same time */                                                     \
    X(TURN, "turn")               /* how much a node does in one turn, and when it seals */                            \
    X(DELAY, "delay")             /* of a frame */                                                                     \
    X(LOSS, "loss")               /* a frame does not arrive */                                                        \
    X(DUPLICATION, "duplication") /* a frame arrives twice */                                                          \
    X(REORDERING, "reordering")   /* a frame waits while others pass */                                                \
    X(PARTITION, "partition")     /* between two nodes, one way or both */                                             \
    X(SLOWNESS, "slowness")       /* of a link */                                                                      \
    X(CRASH, "crash")             /* of a node, between two steps */                                                   \
    X(PAUSE, "pause")             /* of a node */                                                                      \
    X(SLOW_COMMIT, "slow-commit")                                                                                      \
    X(FAILING_COMMIT, "failing-commit")                                                                                \
    X(CLOCK, "clock")       /* jump or drift of a node's clock */                                                      \
    X(JOB, "job")           /* how long a job takes */                                                                 \
    X(COLOUR, "colour")     /* when a node takes the next colour by itself */                                          \
    X(SNAPSHOT, "snapshot") /* when somebody asks for one, how long it takes, and whether he dies on the way */

#define TROUPE__CHOICE_ENUM(name, text) TROUPE__CHOOSE_##name,
enum troupe__choice { TROUPE__CHOICES(TROUPE__CHOICE_ENUM) TROUPE__CHOICE_COUNT };
#undef TROUPE__CHOICE_ENUM

const char *troupe__choice_name(enum troupe__choice kind);

struct troupe__oracle {
    /* A number below n; n is at least 1. Never fails. */
    uint32_t (*choose)(struct troupe__oracle *oracle, enum troupe__choice kind, uint32_t n, uint64_t id);
};

static inline uint32_t troupe__choose(struct troupe__oracle *oracle, enum troupe__choice kind, uint32_t n, uint64_t id)
{
    return oracle->choose(oracle, kind, n, id);
}

/* Mix two numbers into an id; small ones never give that of others. */
static inline uint64_t troupe__id_mix(uint64_t a, uint64_t b)
{
    uint64_t mixed = (a * UINT64_C(0xd6e8feb86659fd93)) ^ (b + UINT64_C(0x9e3779b97f4a7c15));
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xff51afd7ed558ccd);
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return mixed ^ (mixed >> 29);
}

struct troupe__random_oracle {
    struct troupe__oracle base;
    uint64_t seed;
};

void troupe__random_oracle_init(struct troupe__random_oracle *oracle, uint64_t seed);

/* One decision that was not 0. */
struct troupe__decision {
    uint64_t id;
    uint32_t answer;
    uint32_t kind; /* enum troupe__choice */
};

/* Decisions that were not 0, found by kind and id, and in the order made. */
struct troupe__decisions { /* Zero bytes are none. */
    struct troupe__decision *list;
    size_t count, capacity;
    uint32_t *table; /* open addressing, 2 * capacity places: index + 1, 0 is empty */
    bool failed;     /* out of memory: the list lacks some */
};

/* Set, or with answer 0 leave out, what is answered. Returns false when out of memory. */
bool troupe__decisions_set(struct troupe__decisions *decisions, struct troupe__decision decision);
void troupe__decisions_fini(struct troupe__decisions *decisions);

struct troupe__recorded_oracle {
    struct troupe__oracle base;
    struct troupe__oracle *asked;
    struct troupe__decisions decisions; /* fini is the caller's */
};

void troupe__recorded_oracle_init(struct troupe__recorded_oracle *oracle, struct troupe__oracle *asked);

struct troupe__replayed_oracle {
    struct troupe__oracle base;
    const struct troupe__decisions *decisions;
};

void troupe__replayed_oracle_init(struct troupe__replayed_oracle *oracle, const struct troupe__decisions *decisions);

#endif
