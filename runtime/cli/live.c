/* live.c - a snapshot of nodes that run: the command tells each what to do, and puts their parts together.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     ask each node for its colour; n = one more than the highest
 *     arm each for n: from now on whatever gives it colour n, a frame of another node too, makes its cut
 *     give each colour n
 *     wait for the parts, check that they are a cut, write the manifest, rename */
#include "runtime/cli/live.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/cli/client.h"

enum { ANSWER_MS = 30000, LOOK_MS = 500 };

/* Two connections a node: on one the part is awaited, on the other it is told what to do meanwhile. */
struct subject {
    char name[TROUPE__NODE_NAME_MAX + 1];
    char data[PATH_MAX];
    long process; /* which it was when it was connected to */
    struct troupe__client part, control;
    bool part_open, control_open, armed;
};

struct live {
    struct subject *subjects;
    size_t count;
    bool troupe;
    uint64_t colour;
    char *error;
    size_t error_size;
};

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum troupe_error fail(const struct live *live, const struct subject *subject, enum troupe_error result,
                              const char *text)
{
    snprintf(live->error, live->error_size, "%s%s%.400s", live->troupe ? subject->name : "", live->troupe ? ": " : "",
             text ? text : "");
    return result;
}

/* The next reply, which must say that it was done. */
static enum troupe_error receive(const struct live *live, const struct subject *subject, struct troupe__client *client,
                                 int64_t timeout_ms, struct troupe__reply *ret)
{
    enum troupe_error result = troupe__client_receive(client, timeout_ms, ret);
    if (result != TROUPE_OK) {
        return fail(live, subject, result, client->error);
    }
    return ret->ok ? TROUPE_OK : fail(live, subject, ret->error, ret->text);
}

static enum troupe_error request(const struct live *live, const struct subject *subject, struct troupe__client *client,
                                 struct troupe__request *what, struct troupe__reply *ret)
{
    enum troupe_error result = troupe__client_send(client, what);
    return result == TROUPE_OK ? receive(live, subject, client, ANSWER_MS, ret)
                               : fail(live, subject, result, client->error);
}

static enum troupe_error open_subjects(struct live *live, const char *data, const struct troupe__cluster *cluster)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < live->count && result == TROUPE_OK; i++) {
        struct subject *subject = &live->subjects[i];
        snprintf(subject->name, sizeof subject->name, "%s", cluster ? cluster->nodes[i].name : "node");
        if ((size_t)snprintf(subject->data, sizeof subject->data, "%s%s%s", data, cluster ? "/" : "",
                             cluster ? subject->name : "") >= sizeof subject->data) {
            return fail(live, subject, TROUPE_EINVAL, "the path of the directory is too long");
        }
        subject->process = troupe__node_process(subject->data);
        result = troupe__client_open(&subject->part, NULL, subject->data);
        subject->part_open = result == TROUPE_OK;
        if (result != TROUPE_OK) {
            return fail(live, subject, result, subject->part.error);
        }
        result = troupe__client_open(&subject->control, NULL, subject->data);
        subject->control_open = result == TROUPE_OK;
        if (result != TROUPE_OK) {
            return fail(live, subject, result, subject->control.error);
        }
    }
    return result;
}

static void close_subjects(struct live *live)
{
    for (size_t i = 0; i < live->count; i++) {
        if (live->subjects[i].part_open) {
            troupe__client_close(&live->subjects[i].part);
        }
        if (live->subjects[i].control_open) {
            troupe__client_close(&live->subjects[i].control);
        }
    }
    free(live->subjects);
}

static enum troupe_error choose_colour(struct live *live)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; live->troupe && i < live->count && result == TROUPE_OK; i++) {
        struct troupe__request ask = {.what = "colour"};
        struct troupe__reply reply;
        result = request(live, &live->subjects[i], &live->subjects[i].control, &ask, &reply);
        if (result == TROUPE_OK && reply.sequence >= live->colour) {
            live->colour = reply.sequence + 1;
        }
    }
    live->colour = live->troupe && live->colour == 0 ? 1 : live->colour;
    return result;
}

static enum troupe_error arm(struct live *live, const char *directory)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < live->count && result == TROUPE_OK; i++) {
        struct subject *subject = &live->subjects[i];
        struct troupe__request ask = {.what = "snapshot", .path = directory, .colour = live->colour};
        struct troupe__reply reply;
        result = request(live, subject, &subject->part, &ask, &reply);
        subject->armed = result == TROUPE_OK;
    }
    return result;
}

/* Those that are armed make their cut; also when others failed: else they would stay armed. */
static enum troupe_error give_colour(struct live *live)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; live->troupe && i < live->count; i++) {
        struct subject *subject = &live->subjects[i];
        struct troupe__request ask = {.what = "colour", .colour = live->colour};
        struct troupe__reply reply;
        enum troupe_error this = subject->armed ? request(live, subject, &subject->control, &ask, &reply) : TROUPE_OK;
        result = result == TROUPE_OK ? this : result;
    }
    return result;
}

/* The body: epoch, blocks, row_bytes, chain, rows of each table. */
static bool take_part(struct troupe_bytes body, struct troupe__snapshot_part *part)
{
    const unsigned char *at = body.data;
    enum { NUMBERS = 4 + TROUPE__TABLE_COUNT };
    uint64_t numbers[NUMBERS];
    if (body.size != 1 + 9 * NUMBERS || at[0] != (0x90 | NUMBERS)) {
        return false;
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        if (at[1 + 9 * i] != 0xcf) {
            return false;
        }
        numbers[i] = troupe__get_be64(at + 2 + 9 * i);
    }
    part->epoch = numbers[0];
    part->summary = (struct troupe__part_summary){.blocks = numbers[1], .row_bytes = numbers[2], .chain = numbers[3]};
    memcpy(part->summary.rows, numbers + 4, sizeof part->summary.rows);
    return true;
}

/* However long it takes, as long as the node lives: one that has died meanwhile has forgotten what it was to do. */
static enum troupe_error await_part(const struct live *live, struct subject *subject, struct troupe__reply *ret)
{
    enum troupe_error result;
    while ((result = receive(live, subject, &subject->part, LOOK_MS, ret)) == TROUPE_ETIMEOUT) {
        if (troupe__node_process(subject->data) != subject->process) {
            return fail(live, subject, TROUPE_ECLOSED, "the node died before its part was done: take another snapshot");
        }
    }
    return result;
}

static enum troupe_error collect(struct live *live, struct troupe__snapshot *snapshot)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < live->count; i++) {
        struct subject *subject = &live->subjects[i];
        struct troupe__snapshot_part *part = &snapshot->parts[i];
        struct troupe__reply reply;
        if (!subject->armed) {
            continue;
        }
        enum troupe_error this = await_part(live, subject, &reply);
        if (this == TROUPE_OK && !take_part(reply.body, part)) {
            this = fail(live, subject, TROUPE_EVERSION, "it says of its part what this program does not know");
        }
        memcpy(part->node, subject->name, sizeof part->node);
        part->number = i;
        result = result == TROUPE_OK ? this : result;
    }
    return result;
}

static enum troupe_error take_into(struct live *live, const char *directory, struct troupe__snapshot *snapshot)
{
    enum troupe_error result = arm(live, directory);
    if (result != TROUPE_OK) { /* Keep the text. */
        char text[512];
        snprintf(text, sizeof text, "%s", live->error);
        (void)give_colour(live);
        (void)collect(live, snapshot);
        snprintf(live->error, live->error_size, "%s", text);
        return result;
    }
    result = give_colour(live);
    enum troupe_error collected = collect(live, snapshot);
    result = result == TROUPE_OK ? collected : result;
    snapshot->took_ms = wall_ms() - snapshot->taken_ms;
    if (result == TROUPE_OK && live->troupe) {
        result = troupe__snapshot_check_cut(directory, snapshot, live->error, live->error_size);
    }
    return result == TROUPE_OK ? troupe__snapshot_write_manifest(directory, snapshot, live->error, live->error_size)
                               : result;
}

enum troupe_error troupe__live_snapshot(const char *data, const struct troupe__cluster *cluster, const char *target,
                                        struct troupe__snapshot *ret, char *error, size_t error_size)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    struct live live = {.count = cluster ? cluster->slots.node_count : 1,
                        .troupe = cluster != NULL,
                        .error = error,
                        .error_size = error_size};
    struct troupe__snapshot snapshot = {.taken_ms = wall_ms(), .part_count = live.count, .is_troupe = live.troupe};
    char writing[PATH_MAX], absolute[PATH_MAX];
    if (!troupe__snapshot_name_valid(name) ||
        (size_t)snprintf(writing, sizeof writing, "%s.writing", target) >= sizeof writing) {
        snprintf(error, error_size, "'%.64s' cannot name a snapshot: 1 to %d letters, digits, '-', '_' and '.'", name,
                 TROUPE__SNAPSHOT_NAME_MAX);
        return TROUPE_EINVAL;
    }
    if (access(target, F_OK) == 0) {
        snprintf(error, error_size, "%s exists already: name another one", target);
        return TROUPE_EBUSY;
    }
    snprintf(snapshot.name, sizeof snapshot.name, "%s", name);
    if (cluster) {
        snapshot.slots = cluster->slots;
    }
    live.subjects = calloc(live.count, sizeof *live.subjects);
    snapshot.parts = calloc(live.count, sizeof *snapshot.parts);
    enum troupe_error result = TROUPE_OK;
    if (!live.subjects || !snapshot.parts) {
        snprintf(error, error_size, "out of memory");
        free(live.subjects);
        troupe__snapshot_fini(&snapshot);
        return TROUPE_ENOMEM;
    }
    result = open_subjects(&live, data, cluster);
    result = result == TROUPE_OK ? choose_colour(&live) : result;
    bool made = false;
    if (result == TROUPE_OK) {
        result = troupe__snapshot_begin(target, error, error_size);
        made = result == TROUPE_OK;
    }
    if (result == TROUPE_OK && !realpath(writing, absolute)) {
        snprintf(error, error_size, "%.300s: %s", writing, strerror(errno));
        result = TROUPE_EIO;
    }
    result = result == TROUPE_OK ? take_into(&live, absolute, &snapshot) : result;
    close_subjects(&live);
    if (made) {
        char unused[64];
        bool good = result == TROUPE_OK;
        enum troupe_error ended =
            troupe__snapshot_end(target, good, good ? error : unused, good ? error_size : sizeof unused);
        result = good ? ended : result;
    }
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    *ret = snapshot;
    return TROUPE_OK;
}
