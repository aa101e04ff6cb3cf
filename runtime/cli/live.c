/* live.c - a snapshot of nodes that run: the command tells each what to do, and puts their parts together.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What they are told is the photographer's to say (runtime/photographer.h). When all parts are there: check that they
 * are a cut, write the manifest, rename. */
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
#include "runtime/cli/chorus.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/remote.h"
#include "runtime/photographer.h"

enum { HELLO_MS = 3000, ANSWER_MS = 30000, LOOK_MS = 200, STARTED_MS = 2000 };

/* Two connections a node: on one the part is awaited, on the other, a voice of the chorus, it is told what to do
 * meanwhile. */
struct subject {
    const struct troupe__reach_node *node;
    const char *name;
    /* Which one it was when it was connected to, as its directory tells, or itself, which is asked now and then. */
    long process;
    uint64_t start;
    int64_t asked_ms;
    struct troupe__client part, *control;
    bool part_open;
};

struct live {
    const struct troupe__reach *reach;
    struct troupe__chorus chorus;
    struct subject *subjects;
    size_t count;
    bool troupe;
    struct troupe__photographer photographer;
    struct troupe__subject *states;    /* the photographer's */
    const char *directory;             /* of the parts, absolute */
    struct troupe__progress *progress; /* NULL: nothing is drawn */
    enum troupe_error result;          /* the first failure, with `error`: what fails later fails because of it */
    char *error;
    size_t error_size;
};

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum troupe_error fail(struct live *live, const struct subject *subject, enum troupe_error result,
                              const char *text)
{
    if (live->result == TROUPE_OK) {
        live->result = result;
        snprintf(live->error, live->error_size, "%s%s%.400s", live->troupe ? subject->name : "",
                 live->troupe ? ": " : "", text ? text : "");
    }
    return result;
}

static bool ask_start(struct subject *subject, uint64_t *ret)
{
    const char *figures;
    subject->asked_ms = wall_ms();
    return troupe__remote_stats(subject->control, false, &figures) == TROUPE_OK &&
           troupe__remote_figure(figures, "start", ret);
}

static enum troupe_error open_subject(struct live *live, size_t index)
{
    struct subject *subject = &live->subjects[index];
    struct troupe__voice *voice = &live->chorus.voices[index];
    subject->node = &live->reach->nodes[index];
    subject->name = live->troupe ? subject->node->name : "node";
    subject->control = &voice->client;
    if (voice->result != TROUPE_OK) {
        return fail(live, subject, voice->result, voice->client.error);
    }
    subject->process = subject->node->data[0] ? troupe__node_process(subject->node->data) : 0;
    if (!subject->node->data[0] && !ask_start(subject, &subject->start)) {
        return fail(live, subject, TROUPE_ETIMEOUT, "it does not say since when it runs");
    }
    enum troupe_error result = troupe__reach_connect(live->reach, subject->node, &subject->part);
    subject->part_open = result == TROUPE_OK;
    return result == TROUPE_OK ? TROUPE_OK : fail(live, subject, result, subject->part.error);
}

static enum troupe_error open_subjects(struct live *live)
{
    enum troupe_error result = troupe__chorus_open(&live->chorus, live->reach);
    if (result != TROUPE_OK) {
        snprintf(live->error, live->error_size, "out of memory");
        return result;
    }
    (void)troupe__chorus_greet(&live->chorus, HELLO_MS);
    for (size_t i = 0; i < live->count && result == TROUPE_OK; i++) {
        result = open_subject(live, i);
    }
    return result;
}

/* Whether it is still the one that it was at first: another one has forgotten what it was to do. */
static bool is_the_same(struct subject *subject)
{
    uint64_t start = 0;
    if (subject->node->data[0]) {
        return troupe__node_process(subject->node->data) == subject->process;
    }
    return wall_ms() - subject->asked_ms < STARTED_MS || (ask_start(subject, &start) && start == subject->start);
}

static void close_subjects(struct live *live)
{
    for (size_t i = 0; i < live->count; i++) {
        if (live->subjects[i].part_open) {
            troupe__client_close(&live->subjects[i].part);
        }
    }
    troupe__chorus_close(&live->chorus);
    free(live->subjects);
    free(live->states);
}

/* The body: epoch, blocks, row_bytes, chain, released, rows of each table, took_us, stall_us. */
static bool take_part(struct troupe_bytes body, struct troupe__snapshot_part *part)
{
    const unsigned char *at = body.data;
    enum { HEAD = 3, NUMBERS = 5 + TROUPE__TABLE_COUNT + 2 };
    uint64_t numbers[NUMBERS];
    if (body.size != HEAD + 9 * NUMBERS || at[0] != 0xdc || at[1] != 0 || at[2] != NUMBERS) {
        return false;
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        if (at[HEAD + 9 * i] != 0xcf) {
            return false;
        }
        numbers[i] = troupe__get_be64(at + HEAD + 9 * i + 1);
    }
    part->epoch = numbers[0];
    part->released = numbers[4];
    part->summary = (struct troupe__part_summary){.blocks = numbers[1], .row_bytes = numbers[2], .chain = numbers[3]};
    memcpy(part->summary.rows, numbers + 5, sizeof part->summary.rows);
    part->measured = true;
    part->took_us = numbers[NUMBERS - 2];
    part->stall_us = numbers[NUMBERS - 1];
    return true;
}

static struct troupe__client *client_for(struct subject *subject, enum troupe__photographer_request what)
{
    return what == TROUPE__PHOTO_ARM ? &subject->part : subject->control;
}

static void send_request(struct live *live, size_t node, enum troupe__photographer_request what)
{
    struct troupe__client *client = client_for(&live->subjects[node], what);
    struct troupe__request request = {.what = "colour"};
    if (what == TROUPE__PHOTO_ARM) {
        request = (struct troupe__request){.what = "snapshot", .path = live->directory};
    } else if (what == TROUPE__PHOTO_DROP) {
        request.what = "snapshot.drop";
    }
    request.colour = what == TROUPE__PHOTO_ASK || !live->troupe ? 0 : live->photographer.colour;
    enum troupe_error result = troupe__client_send(client, &request);
    if (result != TROUPE_OK) {
        fail(live, &live->subjects[node], result, client->error);
        troupe__photographer_gone(&live->photographer, node);
    }
}

static void receive_answer(struct live *live, size_t node)
{
    struct subject *subject = &live->subjects[node];
    struct troupe__client *client = client_for(subject, live->states[node].stage);
    struct troupe__reply reply;
    enum troupe_error result = troupe__client_receive(client, ANSWER_MS, &reply);
    if (result != TROUPE_OK) {
        fail(live, subject, result, client->error);
        troupe__photographer_gone(&live->photographer, node);
        return;
    }
    if (!reply.ok) {
        fail(live, subject, reply.error, reply.text);
    }
    troupe__photographer_answered(&live->photographer, node, reply.ok, reply.sequence);
}

/* How far each node's part is: its file grows as it is written. */
static void draw_progress(struct live *live)
{
    char text[512];
    size_t size = 0;
    text[0] = '\0';
    if (!live->progress || !troupe__progress_due(live->progress)) {
        return;
    }
    for (size_t i = 0; i < live->count && size < sizeof text - 128; i++) {
        char path[PATH_MAX];
        struct stat status;
        bool fits = (size_t)snprintf(path, sizeof path, "%.3900s/node-%s.part", live->directory,
                                     live->subjects[i].name) < sizeof path;
        off_t written = fits && stat(path, &status) == 0 ? status.st_size : 0;
        size +=
            (size_t)snprintf(text + size, sizeof text - size, "%s%s: %s bytes%s", i ? ", " : "", live->subjects[i].name,
                             troupe__progress_number((uint64_t)written), live->states[i].finished ? ", done" : "");
    }
    troupe__progress_draw(live->progress, text);
}

/* However long it takes, as long as the node lives: one that has died meanwhile has forgotten what it was to do. */
static void await_part(struct live *live, size_t node, struct troupe__snapshot_part *part)
{
    struct subject *subject = &live->subjects[node];
    struct troupe__reply reply;
    enum troupe_error result;
    while ((result = troupe__client_receive(&subject->part, LOOK_MS, &reply)) == TROUPE_ETIMEOUT &&
           is_the_same(subject)) {
        draw_progress(live);
    }
    if (result != TROUPE_OK) {
        bool died = result == TROUPE_ETIMEOUT;
        fail(live, subject, died ? TROUPE_ECLOSED : result,
             died ? "the node died before its part was done: take another snapshot" : subject->part.error);
        troupe__photographer_gone(&live->photographer, node);
        return;
    }
    bool good = reply.ok && take_part(reply.body, part);
    if (!good) {
        fail(live, subject, reply.ok ? TROUPE_EVERSION : reply.error,
             reply.ok ? "it says of its part what this program does not know" : reply.text);
    }
    snprintf(part->node, sizeof part->node, "%s", subject->name);
    part->number = node;
    troupe__photographer_reported(&live->photographer, node, good);
}

/* Do what comes next: all requests there are, else what is waited for. */
static void go_on(struct live *live, struct troupe__snapshot *snapshot)
{
    enum troupe__photographer_request what;
    size_t node;
    bool waits = false;
    while (troupe__photographer_next(&live->photographer, &node, &what)) {
        send_request(live, node, what);
    }
    for (size_t i = 0; i < live->count; i++) {
        if (live->states[i].told && !live->states[i].answered) {
            receive_answer(live, i);
            waits = true;
        }
    }
    for (size_t i = 0; i < live->count && !waits; i++) {
        if (live->states[i].armed && !live->states[i].finished) {
            await_part(live, i, &snapshot->parts[i]);
            waits = true;
        }
    }
}

static enum troupe_error take_into(struct live *live, struct troupe__snapshot *snapshot)
{
    troupe__photographer_begin(&live->photographer, live->states, live->count, !live->troupe);
    while (!troupe__photographer_over(&live->photographer)) {
        go_on(live, snapshot);
    }
    enum troupe_error result = live->result;
    snapshot->took_ms = wall_ms() - snapshot->taken_ms;
    if (result == TROUPE_OK && live->troupe) {
        result = troupe__snapshot_check_cut(live->directory, snapshot, live->error, live->error_size);
    }
    return result == TROUPE_OK
               ? troupe__snapshot_write_manifest(live->directory, snapshot, live->error, live->error_size)
               : result;
}

enum troupe_error troupe__live_snapshot(const struct troupe__reach *reach, const char *target,
                                        struct troupe__progress *progress, struct troupe__snapshot *ret, char *error,
                                        size_t error_size)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    struct live live = {.reach = reach,
                        .count = reach->count,
                        .troupe = reach->troupe,
                        .progress = progress,
                        .error = error,
                        .error_size = error_size};
    struct troupe__snapshot snapshot = {.taken_ms = wall_ms(), .part_count = live.count, .is_troupe = live.troupe};
    char writing[PATH_MAX], absolute[PATH_MAX];
    int lock;
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
    if (live.troupe) {
        snapshot.slots = reach->cluster.slots;
    }
    live.subjects = calloc(live.count, sizeof *live.subjects);
    live.states = calloc(live.count, sizeof *live.states);
    snapshot.parts = calloc(live.count, sizeof *snapshot.parts);
    enum troupe_error result = TROUPE_OK;
    if (!live.subjects || !live.states || !snapshot.parts) {
        snprintf(error, error_size, "out of memory");
        free(live.subjects);
        free(live.states);
        troupe__snapshot_fini(&snapshot);
        return TROUPE_ENOMEM;
    }
    result = open_subjects(&live);
    bool made = false;
    if (result == TROUPE_OK) {
        result = troupe__snapshot_begin(target, &lock, error, error_size);
        made = result == TROUPE_OK;
    }
    if (result == TROUPE_OK && !realpath(writing, absolute)) {
        snprintf(error, error_size, "%.300s: %s", writing, strerror(errno));
        result = TROUPE_EIO;
    }
    live.directory = absolute;
    result = result == TROUPE_OK ? take_into(&live, &snapshot) : result;
    close_subjects(&live);
    if (progress) {
        troupe__progress_end(progress);
    }
    if (made) {
        result = troupe__snapshot_end(target, lock, result, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__snapshot_fini(&snapshot);
        return result;
    }
    *ret = snapshot;
    return TROUPE_OK;
}
