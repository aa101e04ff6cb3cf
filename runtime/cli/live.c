/* live.c - a snapshot of nodes that run: the command tells each what to do, and puts their parts together.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What they are told is the photographer's to say (runtime/snapshot/photographer.h). A node whose directory is known is
 * on this machine and writes its part where the snapshot goes; any other one into a directory of its own, from where it
 * is fetched. When all parts are there: check that they are a cut, write the manifest, rename. */
#include "runtime/cli/live.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/pack.h"
#include "runtime/cli/chorus.h"
#include "runtime/cli/fetch.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/remote.h"
#include "runtime/snapshot/photographer.h"
#include "runtime/snapshot/snapshot_stream.h"

enum {
    HELLO_MS = 3000,
    ANSWER_MS = 30000,
    LOOK_MS = 200,
    STARTED_MS = 2000,
    SILENT_MS = 500, /* a node that is busy need not say how far it is */
    DRAWN_MAX = 128, /* nodes */
};

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
    bool fetched;   /* its part comes over the wire */
    char phase[32]; /* what it said last of how far it is */
    uint64_t rows, rows_all;
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
    return troupe__remote_stats(subject->control, 0, false, &figures) == TROUPE_OK &&
           troupe__remote_figure(figures, "start", ret);
}

static enum troupe_error open_subject(struct live *live, size_t index)
{
    struct subject *subject = &live->subjects[index];
    struct troupe__voice *voice = &live->chorus.voices[index];
    subject->node = &live->reach->nodes[index];
    subject->name = live->troupe ? subject->node->name : "node";
    subject->control = &voice->client;
    subject->fetched = !subject->node->data[0];
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

/* When several do not answer all of them are named, as many as there is room for. */
static enum troupe_error name_silent(struct live *live)
{
    char names[400] = "";
    size_t silent = 0, size = 0;
    for (size_t i = 0; i < live->count; i++) {
        if (live->chorus.voices[i].result == TROUPE_ETIMEOUT) {
            const char *between = silent++ ? ", " : "";
            size += size < sizeof names ? (size_t)snprintf(names + size, sizeof names - size, "%s%s", between,
                                                           live->reach->nodes[i].name)
                                        : 0;
        }
    }
    if (silent < 2) {
        return TROUPE_OK; /* A single one is named with where it was asked. */
    }
    live->result = TROUPE_ETIMEOUT;
    snprintf(live->error, live->error_size, "%zu nodes did not answer within %d s: %s", silent, HELLO_MS / 1000, names);
    return TROUPE_ETIMEOUT;
}

static enum troupe_error open_subjects(struct live *live)
{
    enum troupe_error result = troupe__chorus_open(&live->chorus, live->reach);
    if (result != TROUPE_OK) {
        snprintf(live->error, live->error_size, "out of memory");
        return result;
    }
    (void)troupe__chorus_greet(&live->chorus, HELLO_MS);
    result = name_silent(live);
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

/* The body: epoch, blocks, row_bytes, chain, released, rows of each table, took_us, stall_us, hash. */
static bool take_part(struct troupe_bytes body, struct troupe__snapshot_part *part)
{
    const unsigned char *at = body.data;
    enum { HEAD = 3, NUMBERS = 5 + TROUPE__TABLE_COUNT + 3 };
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
    part->took_us = numbers[NUMBERS - 3];
    part->stall_us = numbers[NUMBERS - 2];
    part->hash = numbers[NUMBERS - 1];
    return true;
}

/* Of the snapshot, as the nodes know it. */
static uint64_t colour_of(const struct live *live)
{
    return live->troupe ? live->photographer.colour : 0;
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
        request.what = "snapshot";
        request.path = live->subjects[node].fetched ? NULL : live->directory;
    } else if (what == TROUPE__PHOTO_DROP) {
        request.what = "snapshot.drop";
    }
    request.colour = what == TROUPE__PHOTO_ASK ? 0 : colour_of(live);
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

/* ---- how far they are -------------------------------------------------------------------------------------------- */

static void ask_how_far(struct live *live, struct subject *subject)
{
    struct troupe__request request = {.what = "snapshot.progress", .colour = colour_of(live)};
    struct troupe__reply reply;
    if (troupe__client_send(subject->control, &request) != TROUPE_OK ||
        troupe__client_receive(subject->control, SILENT_MS, &reply) != TROUPE_OK) {
        return;
    }
    const unsigned char *body = reply.body.data;
    if (reply.ok && reply.text && reply.body.size == 19 && body[0] == 0x92 && body[1] == 0xcf && body[10] == 0xcf) {
        snprintf(subject->phase, sizeof subject->phase, "%s", reply.text);
        subject->rows = troupe__get_be64(body + 2);
        subject->rows_all = troupe__get_be64(body + 11);
    }
}

/* The node's line. */
static void put_subject(struct troupe__buffer *text, const struct subject *subject, bool finished)
{
    char line[TROUPE__NODE_NAME_MAX + 160], bar[TROUPE__PROGRESS_BAR_SIZE];
    const char *phase = finished ? "done" : subject->phase, *rows = troupe__progress_number(subject->rows);
    troupe__progress_bar(finished ? 1 : subject->rows, finished ? 1 : subject->rows_all, bar);
    int size = snprintf(line, sizeof line, "\n%-8s %s  %s", subject->name, bar, phase);
    if (finished) {
        size += snprintf(line + size, sizeof line - (size_t)size, ", %s rows", rows);
    } else if (subject->rows_all > 0) {
        size += snprintf(line + size, sizeof line - (size_t)size, ", %s of %s rows", rows,
                         troupe__progress_number(subject->rows_all));
    }
    troupe__buffer_put(text, line, (size_t)size);
}

/* A line for each node, those that are done last. */
static void draw_progress(struct live *live)
{
    struct troupe__buffer text = {0};
    char head[64];
    size_t done = 0, drawn = 0;
    for (size_t i = 0; i < live->count; i++) {
        done += live->states[i].finished;
    }
    int size = snprintf(head, sizeof head, "%zu of %zu parts are written", done, live->count);
    troupe__buffer_put(&text, head, (size_t)size);
    for (int finished = 0; finished < 2; finished++) {
        for (size_t i = 0; i < live->count && drawn < DRAWN_MAX; i++) {
            if (live->states[i].finished == finished) {
                put_subject(&text, &live->subjects[i], finished);
                drawn++;
            }
        }
    }
    troupe__buffer_put_byte(&text, 0);
    if (!text.failed) {
        troupe__progress_draw(live->progress, (const char *)text.data);
    }
    troupe__buffer_free(&text);
}

static void look_around(struct live *live)
{
    if (!live->progress || !troupe__progress_due(live->progress)) {
        return;
    }
    for (size_t i = 0; i < live->count && i < DRAWN_MAX; i++) {
        if (live->states[i].armed && !live->states[i].finished) {
            ask_how_far(live, &live->subjects[i]);
        }
    }
    draw_progress(live);
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* However long it takes, as long as the node lives: one that has died meanwhile has forgotten what it was to do. */
static void await_part(struct live *live, size_t node, struct troupe__snapshot_part *part)
{
    struct subject *subject = &live->subjects[node];
    struct troupe__reply reply;
    enum troupe_error result;
    while ((result = troupe__client_receive(&subject->part, LOOK_MS, &reply)) == TROUPE_ETIMEOUT &&
           is_the_same(subject)) {
        look_around(live);
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
    subject->rows = 0;
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        subject->rows += part->summary.rows[table];
    }
    troupe__photographer_reported(&live->photographer, node, good);
}

struct fetching {
    struct live *live;
    struct troupe__fetch *fetches;
    struct subject **subjects; /* in the same order */
    size_t count;
};

static void put_fetched(struct troupe__buffer *text, const struct subject *subject, const struct troupe__fetch *fetch)
{
    char line[TROUPE__NODE_NAME_MAX + 160], bar[TROUPE__PROGRESS_BAR_SIZE];
    troupe__progress_bar(fetch->received, fetch->size, bar);
    int size = snprintf(line, sizeof line, "\n%-8s %s  ", subject->name, bar);
    size += fetch->size == 0 ? snprintf(line + size, sizeof line - (size_t)size, "waiting")
                             : snprintf(line + size, sizeof line - (size_t)size, "%s of %s bytes",
                                        troupe__progress_number(fetch->received), troupe__progress_number(fetch->size));
    troupe__buffer_put(text, line, (size_t)size);
}

static void draw_fetching(void *context)
{
    static const char head[] = "all parts are written, and are being fetched";
    const struct fetching *fetching = context;
    struct troupe__buffer text = {0};
    if (!fetching->live->progress || !troupe__progress_due(fetching->live->progress)) {
        return;
    }
    troupe__buffer_put(&text, head, strlen(head));
    for (size_t i = 0; i < fetching->count && i < DRAWN_MAX; i++) {
        put_fetched(&text, fetching->subjects[i], &fetching->fetches[i]);
    }
    troupe__buffer_put_byte(&text, 0);
    if (!text.failed) {
        troupe__progress_draw(fetching->live->progress, (const char *)text.data);
    }
    troupe__buffer_free(&text);
}

/* Over the wire, all of them at once. */
static enum troupe_error fetch(struct fetching *fetching)
{
    struct live *live = fetching->live;
    size_t failed = 0;
    char text[512] = "";
    for (size_t i = 0; i < live->count; i++) {
        struct subject *subject = &live->subjects[i];
        if (subject->fetched) {
            enum troupe_error result = troupe__snapshot_part_path(
                fetching->fetches[fetching->count].path, live->directory, subject->name, live->error, live->error_size);
            if (result != TROUPE_OK) {
                return result;
            }
            fetching->fetches[fetching->count].client = subject->control;
            fetching->subjects[fetching->count++] = subject;
        }
    }
    enum troupe_error result = troupe__fetch_parts(fetching->fetches, fetching->count, colour_of(live), draw_fetching,
                                                   fetching, &failed, text, sizeof text);
    return result == TROUPE_OK ? result : fail(live, fetching->subjects[failed], result, text);
}

/* The parts of the nodes that have them at home. What came is read through: it must be what they have reported. */
static enum troupe_error fetch_parts(struct live *live, const struct troupe__snapshot *snapshot)
{
    struct fetching fetching = {.live = live};
    fetching.fetches = calloc(live->count, sizeof *fetching.fetches);
    fetching.subjects = calloc(live->count, sizeof *fetching.subjects);
    enum troupe_error result = TROUPE_ENOMEM;
    if (fetching.fetches && fetching.subjects) {
        result = fetch(&fetching);
    } else {
        snprintf(live->error, live->error_size, "out of memory");
    }
    free(fetching.fetches);
    free(fetching.subjects);
    for (size_t i = 0; i < live->count && result == TROUPE_OK; i++) {
        if (live->subjects[i].fetched) {
            result = troupe__snapshot_read_part(live->directory, &snapshot->parts[i], NULL, NULL, live->error,
                                                live->error_size);
        }
    }
    return result;
}

/* They need not keep them any longer, whatever came of it. */
static void drop_parts(struct live *live)
{
    struct troupe__request request = {.what = "snapshot.drop", .colour = colour_of(live)};
    struct troupe__reply reply;
    for (size_t i = 0; i < live->count; i++) {
        struct subject *subject = &live->subjects[i];
        if (subject->fetched && subject->part_open && live->states[i].armed &&
            troupe__client_send(subject->control, &request) == TROUPE_OK) {
            (void)troupe__client_receive(subject->control, SILENT_MS, &reply);
        }
    }
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
    if (live->progress) {
        (void)troupe__progress_due(live->progress); /* Its time begins. */
    }
    troupe__photographer_begin(&live->photographer, live->states, live->count, !live->troupe);
    while (!troupe__photographer_over(&live->photographer)) {
        go_on(live, snapshot);
    }
    enum troupe_error result = live->result == TROUPE_OK ? fetch_parts(live, snapshot) : live->result;
    drop_parts(live);
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
        (size_t)snprintf(writing, sizeof writing, "%s" TROUPE__SNAPSHOT_WRITING, target) >= sizeof writing) {
        snprintf(error, error_size, "'%.64s' cannot name a snapshot: " TROUPE__SNAPSHOT_NAME_RULE, name);
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
