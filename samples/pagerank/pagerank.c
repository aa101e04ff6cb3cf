/* pagerank.c - an asynchronous iteration over a graph: every vertex is an actor, and the messages go round in circles
 * until nothing is left to say.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     outside               vertex a                    vertex b
 *        | edge {to: "b"}      |                           |
 *        +-------------------->| remembers                 |
 *        | start               |                           |
 *        +-------------------->|                           |
 *        |                     | mass {of: 0.85 * rest/n}  |
 *        |                     +-------------------------->| adds it to what it has to pass on
 *        |                     |                           +--> ... and some of it comes back to a
 *        | report              |                           |
 *        +-------------------->|                           |
 *      record on "ranks"       |                           |
 *
 * A vertex's rank is 0.15, and 0.85 of the rank of each vertex that points to it, shared among all that one points to.
 * Nobody computes in rounds: what comes in is the `rest`, which is added to the rank and passed on as soon as it is
 * worth it; so there is no step at which all is done, and no vertex knows when it is. That nothing waits and nothing
 * flies between nodes any more is seen from outside only: `troupe run --until-idle` ends then, and `troupe wait --idle`
 * returns. (Push-style PageRank: Andersen, Chung, Lang, "Local graph partitioning using PageRank vectors", 2006.)
 *
 * Exactly once is what makes this right: a mass lost or counted twice would be wrong for ever. */
#include <troupe.h>

#include <string.h>

static const double damping = 0.85;
static const double worth_it = 1e-5; /* less than this is kept */

static const struct troupe_value rank_value = {.name = "rank", .kind = TROUPE_DOUBLE};
static const struct troupe_value rest_value = {.name = "rest", .kind = TROUPE_DOUBLE};
static const struct troupe_value edges_value = {.name = "edges", .kind = TROUPE_LIST};
static const struct troupe_value started_value = {.name = "started", .kind = TROUPE_BOOL};
static const struct troupe_value passing_value = {.name = "passing", .kind = TROUPE_BOOL};
static const struct troupe_value *const vertex_values[] = {&rank_value,    &rest_value,    &edges_value,
                                                           &started_value, &passing_value, NULL};

/* A value that was never set stays as it is in `ret`. */
static enum troupe_error or_default(enum troupe_error error)
{
    return error == TROUPE_ENOTFOUND ? TROUPE_OK : error;
}

/* Take some mass in. It is passed on by a message to oneself, which waits behind those that are there already: so all
 * that came meanwhile is passed on at once. */
static enum troupe_error take(struct troupe_context *ctx, double mass)
{
    double rest = 0;
    bool started = false, passing = false;
    enum troupe_error error;
    if ((error = or_default(troupe_get_double(ctx, &rest_value, &rest))) != TROUPE_OK ||
        (error = troupe_set_double(ctx, &rest_value, rest + mass)) != TROUPE_OK ||
        (error = or_default(troupe_get_bool(ctx, &started_value, &started))) != TROUPE_OK ||
        (error = or_default(troupe_get_bool(ctx, &passing_value, &passing))) != TROUPE_OK) {
        return error;
    }
    if (!started || passing || rest + mass < worth_it) {
        return TROUPE_OK; /* Before the start it does not know all its edges. */
    }
    error = troupe_set_bool(ctx, &passing_value, true);
    return error == TROUPE_OK ? troupe_send(ctx, troupe_self(ctx), "pass", troupe_pack(ctx, "{}")) : error;
}

/* Add the rest to the rank, and pass 0.85 of it on in equal shares. */
static enum troupe_error pass(struct troupe_context *ctx)
{
    double rank = 0, rest = 0;
    uint64_t edges = 0, position;
    enum troupe_error error;
    if ((error = or_default(troupe_get_double(ctx, &rank_value, &rank))) != TROUPE_OK ||
        (error = troupe_get_double(ctx, &rest_value, &rest)) != TROUPE_OK ||
        (error = troupe_set_double(ctx, &rank_value, rank + rest)) != TROUPE_OK ||
        (error = troupe_set_double(ctx, &rest_value, 0)) != TROUPE_OK ||
        (error = troupe_set_bool(ctx, &passing_value, false)) != TROUPE_OK ||
        (error = troupe_list_count(ctx, &edges_value, &edges)) != TROUPE_OK) {
        return error;
    }
    struct troupe_list_walk walk = {0};
    struct troupe_bytes to;
    while ((error = troupe_list_next(ctx, &edges_value, &walk, &position, &to)) == TROUPE_OK) {
        struct troupe_address vertex = {"graph/vertex", to.data};
        error = troupe_send(ctx, vertex, "mass", troupe_pack(ctx, "{s:f}", "of", damping * rest / (double)edges));
        if (error != TROUPE_OK) {
            return error;
        }
    }
    return or_default(error);
}

/* What is left of the rest is less than anybody would notice; it is counted all the same. */
static enum troupe_error report(struct troupe_context *ctx, const char *key)
{
    double rank = 0, rest = 0;
    uint64_t edges = 0;
    enum troupe_error error;
    if ((error = or_default(troupe_get_double(ctx, &rank_value, &rank))) != TROUPE_OK ||
        (error = or_default(troupe_get_double(ctx, &rest_value, &rest))) != TROUPE_OK ||
        (error = troupe_list_count(ctx, &edges_value, &edges)) != TROUPE_OK) {
        return error;
    }
    return troupe_emit(ctx, "ranks", key,
                       troupe_pack(ctx, "{s:f, s:f, s:i}", "rank", rank, "rest", rest, "edges", (int64_t)edges));
}

static enum troupe_error vertex(struct troupe_context *ctx, const struct troupe_message *message)
{
    enum troupe_error error;
    if (strcmp(message->type, "mass") == 0) {
        double mass;
        error = troupe_unpack(ctx, message->body, "{s:f}", "of", &mass);
        return error == TROUPE_OK ? take(ctx, mass) : error;
    }
    if (strcmp(message->type, "pass") == 0) {
        return pass(ctx);
    }
    if (strcmp(message->type, "edge") == 0) {
        const char *to;
        error = troupe_unpack(ctx, message->body, "{s:s}", "to", &to);
        /* With its NUL, so that it is read as a string. */
        return error == TROUPE_OK ? troupe_list_push_back(ctx, &edges_value, (struct troupe_bytes){to, strlen(to) + 1})
                                  : error;
    }
    if (strcmp(message->type, "start") == 0) {
        error = troupe_set_bool(ctx, &started_value, true);
        return error == TROUPE_OK ? take(ctx, 1 - damping) : error;
    }
    if (strcmp(message->type, "report") == 0) {
        return report(ctx, troupe_self(ctx).key);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "a vertex knows no message \"%s\"", message->type);
}

static const struct troupe_type types[] = {{.name = "graph/vertex", .handler = vertex, .values = vertex_values}};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {.abi = TROUPE_ABI,
                                            .name = "pagerank",
                                            .version = "1.0.0",
                                            .types = types,
                                            .type_count = sizeof types / sizeof *types};
