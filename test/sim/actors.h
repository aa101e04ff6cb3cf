/* actors.h - the actors of the simulated troupes: each keeps books of what it sent and got, and money goes around.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TEST_SIM_ACTORS_H
#define TROUPE_TEST_SIM_ACTORS_H

#include "core/collection.h"
#include "core/troupe.h"

enum { ACTORS_MAX = 12, OUTSIDE = ACTORS_MAX };

/* Messages to and from each of the others, numbered per pair; money goes with them. */
struct books {
    uint32_t sent[ACTORS_MAX], got[ACTORS_MAX + 1];
    int64_t balance;
    uint32_t faults, asked, answered, delayed, undelayed, cancelled, jobs_begun, jobs_ended;
    uint32_t handled, started;
};

/* Of a message. Those of type "go" carry money. */
struct body {
    uint64_t id;
    int64_t money;
    uint32_t number, hops, to;
};

extern const struct troupe_module actors_module;

/* Of the seed being run: how many there are, and whether they cancel timers, so that what comes of it all depends on
 * when what happens. */
extern size_t actor_count;
extern bool actors_cancel;

struct troupe_address actor_at(size_t index);

/* The books of all actors. */
struct ledger {
    struct books books[ACTORS_MAX];
    size_t seen, dead;     /* letters */
    uint64_t started_once; /* so many messages came from outside, each with an id of its own or once */
    bool broken;
};

/* Add a row of state to the ledger in `context`, if it is somebody's books. */
enum troupe_error take_books(void *context, struct troupe_bytes key, struct troupe_bytes value);

/* Every message to an actor was handled once, in order, and every ask had one end; else `text` says what was not. */
bool check_ledger(const struct ledger *ledger, char *text, size_t text_size);

#endif
