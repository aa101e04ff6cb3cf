/* node_inspect.h - what clients ask a node about itself: its rows, its figures, its dead letters.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows are read by the inspector's thread, one request after the other. A dead letter that is to be retried or dropped
 * is read the same way, then changed in the open epoch; until that is durable nothing else is read: so a letter is
 * never taken twice. Loop thread only. */
#ifndef TROUPE_RUNTIME_NODE_NODE_INSPECT_H
#define TROUPE_RUNTIME_NODE_NODE_INSPECT_H

#include "core/store.h"

struct troupe__desk;

/* What came of a request. `rows` are changes that set them, as in a record; valid during the call. */
struct troupe__finding {
    enum troupe_error result;
    const char *text;
    struct troupe_bytes rows;
    const uint64_t *counts; /* by table, of COUNT_ROWS */
    uint64_t epoch;         /* of the rows */
    uint64_t number;        /* the new number of a letter that was retried */
};

/* Called exactly once for each request that was taken. */
typedef void (*troupe__finding_fn)(void *context, const struct troupe__finding *finding);

/* Errors: TROUPE_ENOMEM. The thread starts with the first request. */
enum troupe_error troupe__desk_open(struct troupe_node *node, void (*wake)(void *context), struct troupe__desk **ret);

/* Ends what is under way with TROUPE_ECLOSED. NULL is fine. */
void troupe__desk_close(struct troupe__desk *desk);

enum troupe__desk_action { TROUPE__READ_ROWS, TROUPE__COUNT_ROWS, TROUPE__RETRY_DEAD, TROUPE__DROP_DEAD };

/* Of COUNT_ROWS: the tables; what cannot be counted in time is TROUPE__NOT_COUNTED. Of READ_ROWS: the tables (1 <<
 * table) and the prefix of their keys; else the letter's number. Errors: TROUPE_EFULL (too many wait), TROUPE_EINVAL,
 * TROUPE_ENOMEM. */
enum troupe_error troupe__desk_ask(struct troupe__desk *desk, enum troupe__desk_action action, unsigned tables,
                                   struct troupe_bytes prefix, uint64_t letter, troupe__finding_fn found,
                                   void *context);

/* See what has been read, begin the next. Once in each turn. */
void troupe__desk_turn(struct troupe__desk *desk);

/* Append the node's figures: lines of name, tab, number; or one JSON object. With those of `counts`, by table, unless
 * it is NULL. */
void troupe__desk_figures(const struct troupe_node *node, const uint64_t *counts, bool json,
                          struct troupe__buffer *text);

#endif
