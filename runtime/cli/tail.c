/* tail.c - `troupe tail`: follows the records of an egress, of one node or of all of a troupe.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each node numbers its own records. A node that was away is asked again for what comes next: with numbers nothing is
 * missed or printed twice. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/options.h"
#include "runtime/cli/reach.h"
#include "runtime/cli/talk.h"
#include "transport/json.h"

enum {
    SILENCE_MS = 25000, /* after which a node is asked again: it speaks every 10 s */
    AGAIN_MS = 500,     /* between two tries to connect */
    BACK_MS = 100,      /* after a connection broke: a node that crashed is started again after that */
    FROM_MAX = 64,
};

struct tail {
    struct troupe__reach_options reach; /* first: see reach.h */
    const char *egress;
    const char *from[FROM_MAX];
    size_t from_count;
    uint64_t count; /* 0: no end */
};

/* A node whose records are followed. */
struct source {
    const struct troupe__reach_node *node;
    struct troupe__client client;
    uint64_t from; /* the next record; 0: whatever comes */
    uint64_t used; /* credit */
    int64_t at_ms; /* when something is to be done though nothing comes */
    int watch_fd;  /* of the connection's breaking; -1: it is not noticed, but by silence */
    bool connected, ended, told;
    bool known;  /* it was connected once */
    bool broken; /* the connection: whoever is there now does not know of this tail */
};

struct following {
    const struct tail *tail;
    struct troupe__reach reach;
    struct source *sources;
    size_t count;
    uint64_t printed;
    bool good;
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && *ret > 0;
}

static const char *set_from(void *target, const char *value)
{
    struct tail *tail = target;
    const char *colon = strchr(value, ':');
    uint64_t number;
    if (tail->from_count == FROM_MAX || !parse_number(colon ? colon + 1 : value, &number)) {
        return "a record's number, from 1, or NODE:NUMBER, at most 64 times";
    }
    tail->from[tail->from_count++] = value;
    return NULL;
}

static const char *set_count(void *target, const char *value)
{
    return parse_number(value, &((struct tail *)target)->count) ? NULL : "a number of records, from 1";
}

static const struct troupe__option options[] = {
    TROUPE__REACH_OPTIONS,
    TROUPE__REACH_NODE_OPTION,
    {"from", "NUMBER", set_from,
     "begin with this record (default: the next one); of several nodes\nNODE:NUMBER, once for each"},
    {"count", "NUMBER", set_count, "end after so many (default: go on until stopped)"},
    {0},
};

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void put_text(struct troupe__buffer *line, const char *key, const char *text)
{
    troupe__buffer_put(line, key, strlen(key));
    troupe__json_write_string(text, strlen(text), line);
}

static bool print_record(const struct following *following, const struct source *source,
                         const struct troupe__reply *reply)
{
    struct troupe__buffer line = {0};
    char number[32];
    troupe__buffer_put_byte(&line, '{');
    if (following->reach.troupe) {
        put_text(&line, "\"node\":", source->node->name);
        troupe__buffer_put_byte(&line, ',');
    }
    put_text(&line, "\"egress\":", following->tail->egress);
    snprintf(number, sizeof number, ",\"seq\":%llu", (unsigned long long)reply->sequence);
    troupe__buffer_put(&line, number, strlen(number));
    put_text(&line, ",\"key\":", reply->key ? reply->key : "");
    troupe__buffer_put(&line, ",\"body\":", 8);
    if (!reply->body.data || troupe__json_write(reply->body, &line) != TROUPE_OK) {
        troupe__buffer_put(&line, "null", 4);
    }
    troupe__buffer_put(&line, "}\n", 2);
    bool good = !line.failed && fwrite(line.data, 1, line.size, stdout) == line.size && fflush(stdout) == 0;
    troupe__buffer_free(&line);
    return good;
}

static void complain(const struct following *following, const struct source *source, const char *text,
                     enum troupe_error error, const char *after)
{
    bool named = following->reach.troupe;
    fprintf(stderr, "troupe tail: %s%s%s (%s)%s\n", named ? source->node->name : "", named ? ": " : "", text,
            troupe_error_text(error), after);
}

/* ---- following --------------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum troupe_error ask(const struct following *following, struct source *source)
{
    struct troupe__request request = {
        .what = "tail", .egress = following->tail->egress, .from = source->from, .credit = TROUPE__CREDIT_MAX};
    source->used = 0;
    source->at_ms = now_ms() + SILENCE_MS;
    return troupe__client_send(&source->client, &request);
}

static void hang_up(struct source *source)
{
    if (source->connected) {
        troupe__client_close(&source->client);
        source->connected = false;
    }
}

/* The source ends; a tail of one node, or of the last one, with it. */
static void give_up(struct following *following, struct source *source, const char *text, enum troupe_error error)
{
    complain(following, source, text, error, "");
    hang_up(source);
    source->ended = true;
    following->good = false;
}

/* Connect, or ask again after a silence. In a troupe a node may be away for a while. */
static void attend(struct following *following, struct source *source)
{
    enum troupe_error result = TROUPE_OK;
    if (source->connected && troupe__socket_broke(source->client.socket)) {
        source->at_ms = now_ms() + BACK_MS;
        source->broken = true;
    }
    if (source->ended || source->at_ms > now_ms()) {
        return;
    }
    if (source->broken) {
        source->broken = false;
        hang_up(source);
    }
    if (source->connected && source->node->data[0] && !troupe__reach_runs(source->node)) {
        hang_up(source); /* It may come back elsewhere. */
    }
    if (!source->connected) {
        result = troupe__reach_connect(&following->reach, source->node, &source->client);
        source->connected = result == TROUPE_OK;
        if (source->connected && troupe__socket_watch(source->client.socket, &source->watch_fd) != TROUPE_OK) {
            source->watch_fd = -1;
        }
    }
    result = result == TROUPE_OK ? ask(following, source) : result;
    if (result == TROUPE_OK) {
        source->known = true;
        source->told = false;
        return;
    }
    if ((!following->reach.troupe && !source->known) || result == TROUPE_EINVAL) {
        give_up(following, source, source->client.error, result);
        return;
    }
    if (!source->told) {
        complain(following, source, source->client.error, result, "; it is tried again");
        source->told = true;
    }
    hang_up(source);
    source->at_ms = now_ms() + AGAIN_MS;
}

/* Returns false when nobody reads any more. */
static bool take(struct following *following, struct source *source, const struct troupe__reply *reply)
{
    source->at_ms = now_ms() + SILENCE_MS;
    if (!reply->ok) {
        give_up(following, source, reply->text ? reply->text : "", reply->error);
        return true;
    }
    if (!reply->more || reply->sequence == 0) {
        return true;
    }
    if (!print_record(following, source, reply)) {
        return false;
    }
    following->printed++;
    source->from = reply->sequence + 1;
    if (++source->used == TROUPE__CREDIT_MAX / 2) {
        struct troupe__request credit = {.what = "credit", .credit = source->used};
        source->client.number--;                             /* It is about the same request. */
        (void)troupe__client_send(&source->client, &credit); /* If it does not arrive, silence follows. */
        source->used = 0;
    }
    return true;
}

static bool done(const struct following *following)
{
    bool any = false;
    for (size_t i = 0; i < following->count; i++) {
        any |= !following->sources[i].ended;
    }
    return !any || (following->tail->count > 0 && following->printed == following->tail->count);
}

/* Until something comes from one of them, or its time is over. */
static void wait_for_any(struct following *following)
{
    struct pollfd fds[2 * TROUPE__NODES_MAX];
    int64_t until_ms = now_ms() + SILENCE_MS;
    nfds_t count = 0;
    for (size_t i = 0; i < following->count; i++) {
        const struct source *source = &following->sources[i];
        if (source->connected) {
            if (troupe__socket_ready(source->client.socket) & TROUPE__SOCKET_READABLE) {
                return;
            }
            fds[count++] = (struct pollfd){.fd = troupe__socket_fd(source->client.socket), .events = POLLIN};
            fds[count++] = (struct pollfd){.fd = source->watch_fd, .events = POLLIN};
        }
        until_ms = !source->ended && source->at_ms < until_ms ? source->at_ms : until_ms;
    }
    int64_t left_ms = until_ms - now_ms();
    poll(fds, count, left_ms > 0 ? (int)left_ms : 0);
}

static bool follow(struct following *following)
{
    struct troupe__reply reply;
    while (!done(following)) {
        for (size_t i = 0; i < following->count; i++) {
            attend(following, &following->sources[i]);
        }
        for (size_t i = 0; i < following->count; i++) {
            struct source *source = &following->sources[i];
            while (source->connected && !done(following) && troupe__client_poll(&source->client, &reply)) {
                if (!take(following, source, &reply)) {
                    return false;
                }
            }
        }
        if (!done(following)) {
            wait_for_any(following);
        }
    }
    return following->good;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Where each begins, by --from. Returns -1, or the exit code. */
static int place_sources(struct following *following)
{
    const struct tail *tail = following->tail;
    for (size_t i = 0; i < following->reach.count; i++) {
        if (following->reach.nodes[i].listed) {
            following->sources[following->count++].node = &following->reach.nodes[i];
        }
    }
    for (size_t i = 0; i < tail->from_count; i++) {
        const char *colon = strchr(tail->from[i], ':');
        size_t size = colon ? (size_t)(colon - tail->from[i]) : 0;
        uint64_t number = strtoull(colon ? colon + 1 : tail->from[i], NULL, 10);
        bool found = false;
        for (size_t s = 0; s < following->count; s++) {
            struct source *source = &following->sources[s];
            bool named =
                colon && strlen(source->node->name) == size && memcmp(source->node->name, tail->from[i], size) == 0;
            source->from = !colon || named ? number : source->from;
            found |= !colon || named;
        }
        if (!found) {
            return troupe__wrong("tail", "there is no such node in --from", tail->from[i]);
        }
    }
    return -1;
}

int troupe__tail_command(int argc, char **argv)
{
    struct tail tail = {.egress = NULL};
    const struct troupe__command command = {
        "tail",
        "usage: troupe tail EGRESS [options]\n\n"
        "Prints the records of an egress of a running node as they become durable, as JSON lines like --output has\n"
        "them; of a troupe those of all nodes, each with its node, which numbers its own. A node keeps the last 8 MiB\n"
        "of records for this; its output file has them all. A node that goes away is waited for.\n",
        "Exit codes: 0 done, 1 refused or failed (such as: a record is not kept any more), 2 wrong arguments.\n",
        options,
        &tail,
        NULL};
    struct following following = {.tail = &tail, .good = true};
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (argc - operands != 1) {
        fprintf(stderr, "troupe tail: name one egress; see troupe tail --help\n");
        return TROUPE__EXIT_WRONG;
    }
    tail.egress = argv[operands];
    code = troupe__reach_begin(&following.reach, &tail.reach, "tail");
    if (code >= 0) {
        return code;
    }
    following.sources = calloc(following.reach.count, sizeof *following.sources);
    code = following.sources ? place_sources(&following) : EXIT_FAILURE;
    if (code < 0) {
        code = follow(&following) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    for (size_t i = 0; following.sources && i < following.count; i++) {
        hang_up(&following.sources[i]);
    }
    free(following.sources);
    troupe__reach_close(&following.reach);
    return code;
}
