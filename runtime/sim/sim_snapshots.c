/* sim_snapshots.c - snapshots of a simulated troupe: the photographer and the cameras that a real one has, real parts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whoever asks for a snapshot is a party of its own, which talks to the nodes by messages that take their time, and may
 * die at any step. Nodes crash between any two of theirs; right after what belongs to a snapshot more often. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot/photographer.h"
#include "runtime/sim/simulation.h"

/* One node, as a session deals with it. */
struct sitting {
    struct troupe__sim_session *session;
    uint16_t node;
    uint64_t armed_life;   /* of the node when its camera was armed; 0: it was not */
    uint64_t answer_at_ns; /* when the answer to that is there: the report comes behind it */
    bool has_reported, good;
    struct troupe__snapshot_part part;
    bool done; /* the answer that is under way, */
    uint64_t colour;
};

/* A snapshot that somebody asked for. */
struct troupe__sim_session {
    struct troupe__simulator *simulator;
    uint32_t number, name; /* a later one may have the name of one that was abandoned */
    struct troupe__photographer photographer;
    struct troupe__subject *subjects;
    struct sitting *sittings;
    struct troupe__snapshot snapshot;
    bool over, abandoned; /* whoever asked for it is dead */
    bool complete;
    bool replaced; /* its name belongs to a later one */
    int lock;      /* of its directory, until it is over or abandoned; else -1 */
};

struct troupe__sim_snapshots {
    struct troupe__sim_session **sessions;
    size_t count;
    const struct troupe__sim_session *last; /* of the complete ones */
};

static uint64_t id_of(const struct troupe__sim_session *session, uint64_t what)
{
    return troupe__id_mix(troupe__id_mix(session->number, UINT64_C(0x5e55)), what);
}

static void target_of(const struct troupe__sim_session *session, char path[static PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%" PRIu32, session->simulator->options.snapshot_directory, session->name);
}

static void writing_of(const struct troupe__sim_session *session, char path[static PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%" PRIu32 TROUPE__SNAPSHOT_WRITING, session->simulator->options.snapshot_directory,
             session->name);
}

/* How long a message takes from whoever asks to the node, or back: little, but to some nodes very long; one in three
 * hears of the colour late. */
static uint64_t way_ns(const struct sitting *sitting, uint64_t id, bool is_colour)
{
    const struct troupe__sim_session *session = sitting->session;
    struct troupe__simulator *simulator = session->simulator;
    struct troupe__oracle *oracle = simulator->options.oracle;
    uint64_t most_ns = TROUPE__SIM_MS;
    if (!simulator->calm && is_colour && troupe__choose(oracle, TROUPE__CHOOSE_SNAPSHOT, 3, id) == 1) {
        most_ns = 300 * TROUPE__SIM_MS;
    } else if (!simulator->calm &&
               troupe__choose(oracle, TROUPE__CHOOSE_SNAPSHOT, 12, id_of(session, ~(uint64_t)sitting->node)) == 1) {
        most_ns = 100 * TROUPE__SIM_MS;
    }
    return troupe__sim_between(simulator, TROUPE__CHOOSE_SNAPSHOT, TROUPE__SIM_MS / 20, most_ns, id);
}

/* Returns when it will be there. */
static uint64_t send(struct sitting *sitting, enum troupe__sim_event_kind kind, unsigned detail, uint64_t after_ns)
{
    struct troupe__simulator *simulator = sitting->session->simulator;
    uint64_t id = id_of(sitting->session, troupe__id_mix(simulator->order, sitting->node));
    bool is_colour = kind == TROUPE__SIM_REQUEST && detail == TROUPE__PHOTO_COLOUR;
    uint64_t at_ns = simulator->now_ns + way_ns(sitting, id, is_colour);
    at_ns = at_ns > after_ns ? at_ns : after_ns + 1;
    troupe__sim_push_for(simulator, at_ns, kind, &simulator->nodes[sitting->node], sitting->session->number, detail);
    return at_ns;
}

/* It may crash at its next step: what has just happened is what a crash may spoil. */
static void endanger(struct troupe__sim_node *node, uint32_t parts)
{
    struct troupe__simulator *simulator = node->simulator;
    node->doomed |=
        troupe__sim_strikes(simulator, TROUPE__CHOOSE_CRASH, simulator->options.faults.snapshot_crash / parts,
                            ~troupe__id_mix(node->number, simulator->order));
}

/* ---- on the nodes ------------------------------------------------------------------------------------------------ */

static void on_taken(void *context, enum troupe_error result, const char *text,
                     const struct troupe__snapshot_part *part)
{
    struct sitting *sitting = context;
    struct troupe__simulator *simulator = sitting->session->simulator;
    (void)text;
    if (!simulator->nodes[sitting->node].alive) {
        return; /* A node that crashes says nothing. */
    }
    sitting->has_reported = true;
    sitting->good = result == TROUPE_OK;
    sitting->part = *part;
    send(sitting, TROUPE__SIM_REPORT, 0, sitting->answer_at_ns);
    endanger(&simulator->nodes[sitting->node], 1);
}

static enum troupe_error start_writing(void *context, struct troupe__camera *camera)
{
    struct troupe__sim_node *node = context;
    struct troupe__simulator *simulator = node->simulator;
    (void)camera;
    uint64_t id = troupe__id_mix(node->number, simulator->order);
    bool slow = !simulator->calm && troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_SNAPSHOT, 8, id) == 1;
    uint64_t most_ns = slow ? 200 * TROUPE__SIM_MS : 5 * TROUPE__SIM_MS;
    troupe__sim_push(simulator,
                     simulator->now_ns + troupe__sim_between(simulator, TROUPE__CHOOSE_SNAPSHOT, 0, most_ns, id),
                     TROUPE__SIM_WRITE, node);
    node->writes_part = true;
    endanger(node, 10);
    return TROUPE_OK;
}

static void nothing_to_join(void *context)
{
    (void)context;
}

enum troupe_error troupe__sim_open_camera(struct troupe__sim_node *node)
{
    snprintf(node->name, sizeof node->name, "n%u", node->number);
    struct troupe__camera_options options = {.machine = &node->machine,
                                             .name = node->name,
                                             .start = start_writing,
                                             .join = nothing_to_join,
                                             .context = node};
    return troupe__camera_open(&options, &node->camera);
}

void troupe__sim_write_part(struct troupe__sim_node *node)
{
    troupe__machine_refresh(&node->machine); /* So that it knows what the photograph has folded. */
    troupe__camera_write(node->camera);
    node->writes_part = false;
    troupe__sim_note(node->simulator, TROUPE__SIM_WRITE, node->number, TROUPE__SIM_DONE);
    troupe__sim_wake(node, node->simulator->now_ns + TROUPE__SIM_TURN_NS);
    endanger(node, 10);
}

/* A request has come to the node. */
static void do_request(struct sitting *sitting, enum troupe__photographer_request what)
{
    struct troupe__sim_session *session = sitting->session;
    struct troupe__sim_node *node = &session->simulator->nodes[sitting->node];
    char directory[PATH_MAX], error[512];
    sitting->done = true;
    sitting->colour = 0;
    switch (what) {
    case TROUPE__PHOTO_ASK:
        sitting->colour = troupe__camera_colour(node->camera);
        break;
    case TROUPE__PHOTO_ARM:
        writing_of(session, directory);
        sitting->done = troupe__camera_arm(node->camera, directory, session->photographer.colour, on_taken, sitting,
                                           error, sizeof error) == TROUPE_OK;
        sitting->armed_life = sitting->done ? node->life + 1 : 0;
        break;
    case TROUPE__PHOTO_COLOUR:
        troupe__links_begin_colour(node->links, session->photographer.colour);
        troupe__sim_wake(node, session->simulator->now_ns + TROUPE__SIM_TURN_NS);
        break;
    case TROUPE__PHOTO_DROP:
        troupe__camera_disarm(node->camera, session->photographer.colour, "it was given up");
        break;
    }
    endanger(node, 10);
}

static void take_request(struct sitting *sitting, enum troupe__photographer_request what)
{
    struct troupe__simulator *simulator = sitting->session->simulator;
    struct troupe__sim_node *node = &simulator->nodes[sitting->node];
    uint64_t id = id_of(sitting->session, troupe__id_mix(simulator->order, node->number));
    if (!node->alive && troupe__choose(simulator->options.oracle, TROUPE__CHOOSE_SNAPSHOT, 40, ~id) == 1) {
        send(sitting, TROUPE__SIM_GONE, 0, 0);
        return;
    }
    if (!node->alive || simulator->now_ns < node->paused_until_ns) { /* It is told when it is back. */
        send(sitting, TROUPE__SIM_REQUEST, what, simulator->now_ns + TROUPE__SIM_FAULTS_NS);
        return;
    }
    do_request(sitting, what);
    uint64_t there_ns = send(sitting, TROUPE__SIM_ANSWER, 0, 0);
    sitting->answer_at_ns = what == TROUPE__PHOTO_ARM ? there_ns : sitting->answer_at_ns;
}

void troupe__sim_node_lost(struct troupe__sim_node *node)
{
    struct troupe__sim_snapshots *snapshots = node->simulator->snapshots;
    for (size_t i = 0; snapshots && i < snapshots->count; i++) {
        if (node->number >= snapshots->sessions[i]->snapshot.part_count) {
            continue; /* It is of when there were fewer nodes. */
        }
        struct sitting *sitting = &snapshots->sessions[i]->sittings[node->number];
        if (!snapshots->sessions[i]->over && sitting->armed_life == node->life + 1 && !sitting->has_reported) {
            send(sitting, TROUPE__SIM_GONE, 0, 0);
        }
    }
}

/* ---- with whoever asked ------------------------------------------------------------------------------------------ */

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Whoever asked for it is dead, and so is the lock. */
static void abandon(struct troupe__sim_session *session)
{
    session->abandoned = true;
    if (session->lock >= 0) {
        close(session->lock);
        session->lock = -1;
    }
}

/* All parts are there: what the command does then, and what must be so. */
static void complete(struct troupe__sim_session *session)
{
    struct troupe__simulator *simulator = session->simulator;
    const struct troupe__sim_options *options = &simulator->options;
    struct troupe__snapshot read;
    char target[PATH_MAX], writing[PATH_MAX], error[512] = "";
    target_of(session, target);
    writing_of(session, writing);
    enum troupe_error result = troupe__snapshot_check_cut(writing, &session->snapshot, error, sizeof error);
    result = result == TROUPE_OK ? troupe__snapshot_write_manifest(writing, &session->snapshot, error, sizeof error)
                                 : result;
    if (result == TROUPE_OK) {
        result = troupe__snapshot_end(target, session->lock, TROUPE_OK, error, sizeof error);
        session->lock = -1;
    }
    result = result == TROUPE_OK ? troupe__snapshot_read(target, &read, error, sizeof error) : result;
    if (result == TROUPE_OK) {
        bool good = !options->taken || options->taken(options->context, target, &read, error, sizeof error);
        result = good ? TROUPE_OK : TROUPE_ECORRUPT;
        troupe__snapshot_fini(&read);
    }
    if (result != TROUPE_OK) {
        troupe__sim_fail(simulator, "snapshot %u: %s", session->number, error);
        return;
    }
    for (size_t i = 0; i < session->snapshot.part_count; i++) {
        const struct troupe__snapshot_part *part = &session->snapshot.parts[i];
        troupe__sim_note(simulator, TROUPE__SIM_REPORT, (uint16_t)part->number, part->summary.chain ^ part->epoch);
    }
    session->complete = true;
    simulator->snapshots->last = session;
    simulator->result.snapshots++;
}

static void give_up(struct troupe__sim_session *session)
{
    char target[PATH_MAX], writing[PATH_MAX], error[512] = "";
    target_of(session, target);
    writing_of(session, writing);
    troupe__snapshot_end(target, session->lock, TROUPE_ECLOSED, error, sizeof error);
    session->lock = -1;
    if (is_there(writing) || is_there(target)) {
        troupe__sim_fail(session->simulator, "snapshot %u was given up and left something behind", session->number);
    }
    session->simulator->result.snapshots_failed++;
}

/* Send what is to be sent, and end when nothing is waited for. */
static void go_on(struct troupe__sim_session *session)
{
    struct troupe__simulator *simulator = session->simulator;
    enum troupe__photographer_request what;
    size_t node;
    if (troupe__sim_strikes(simulator, TROUPE__CHOOSE_SNAPSHOT, 4, id_of(session, simulator->order))) {
        abandon(session);
        return;
    }
    while (troupe__photographer_next(&session->photographer, &node, &what)) {
        send(&session->sittings[node], TROUPE__SIM_REQUEST, what, 0);
    }
    if (troupe__photographer_over(&session->photographer)) {
        session->over = true;
        if (session->photographer.failed) {
            give_up(session);
        } else {
            complete(session);
        }
    }
}

void troupe__sim_session_event(struct troupe__simulator *simulator, const struct troupe__sim_event *event)
{
    struct troupe__sim_session *session = simulator->snapshots->sessions[event->session];
    struct sitting *sitting = &session->sittings[event->node];
    struct troupe__subject *subject = &session->subjects[event->node];
    struct troupe__photographer *photographer = &session->photographer;
    troupe__sim_note(simulator, event->kind, event->node, event->session);
    if (event->kind == TROUPE__SIM_REQUEST) {
        take_request(sitting, (enum troupe__photographer_request)event->detail);
        return;
    }
    if (session->over || session->abandoned) {
        return;
    }
    bool waited_for = subject->told && !subject->answered;
    if (!waited_for && (event->kind == TROUPE__SIM_ANSWER || subject->finished)) {
        return; /* It counts as gone. */
    }
    if (event->kind == TROUPE__SIM_ANSWER) {
        troupe__photographer_answered(photographer, event->node, sitting->done, sitting->colour);
    } else if (event->kind == TROUPE__SIM_REPORT && !subject->finished) {
        session->snapshot.parts[event->node] = sitting->part;
        session->snapshot.parts[event->node].number = event->node;
        troupe__photographer_reported(photographer, event->node, sitting->good);
    } else if (event->kind == TROUPE__SIM_GONE) {
        troupe__photographer_gone(photographer, event->node);
    }
    go_on(session);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void free_session(struct troupe__sim_session *session)
{
    if (session) {
        if (session->lock >= 0) {
            close(session->lock);
        }
        free(session->subjects);
        free(session->sittings);
        troupe__snapshot_fini(&session->snapshot);
        free(session);
    }
}

static struct troupe__sim_session *new_session(struct troupe__simulator *simulator)
{
    struct troupe__sim_snapshots *snapshots = simulator->snapshots;
    size_t node_count = simulator->options.node_count;
    struct troupe__sim_session **sessions =
        realloc(snapshots->sessions, (snapshots->count + 1) * sizeof(struct troupe__sim_session *));
    snapshots->sessions = sessions ? sessions : snapshots->sessions;
    struct troupe__sim_session *session = calloc(1, sizeof *session);
    if (!sessions || !session) {
        free(session);
        return NULL;
    }
    session->simulator = simulator;
    session->lock = -1;
    session->number = session->name = (uint32_t)snapshots->count;
    session->subjects = calloc(node_count, sizeof *session->subjects);
    session->sittings = calloc(node_count, sizeof *session->sittings);
    session->snapshot = (struct troupe__snapshot){.parts = calloc(node_count, sizeof *session->snapshot.parts),
                                                  .part_count = node_count,
                                                  .is_troupe = true,
                                                  .slots = simulator->slots};
    if (!session->subjects || !session->sittings || !session->snapshot.parts) {
        free_session(session);
        return NULL;
    }
    for (uint16_t node = 0; node < node_count; node++) {
        session->sittings[node] = (struct sitting){.session = session, .node = node};
    }
    return sessions[snapshots->count++] = session;
}

/* Now and then under the name of one that was left lying. */
static void choose_name(struct troupe__sim_session *session)
{
    struct troupe__sim_snapshots *snapshots = session->simulator->snapshots;
    for (size_t i = 0; i + 1 < snapshots->count; i++) {
        struct troupe__sim_session *before = snapshots->sessions[i];
        if (before->abandoned && !before->replaced && session->number % 2 == 0) {
            before->replaced = true;
            session->name = before->name;
            break;
        }
    }
    snprintf(session->snapshot.name, sizeof session->snapshot.name, "%" PRIu32, session->name);
}

void troupe__sim_take_snapshot(struct troupe__simulator *simulator)
{
    struct troupe__sim_session *session = new_session(simulator);
    char target[PATH_MAX], error[512];
    if (!session) {
        troupe__sim_fail(simulator, "out of memory");
        return;
    }
    choose_name(session);
    target_of(session, target);
    if (troupe__snapshot_begin(target, &session->lock, error, sizeof error) != TROUPE_OK) {
        troupe__sim_fail(simulator, "snapshot %u: %s", session->number, error);
        return;
    }
    troupe__photographer_begin(&session->photographer, session->subjects, simulator->options.node_count, false);
    go_on(session);
}

void troupe__sim_abandon_snapshots(struct troupe__simulator *simulator)
{
    struct troupe__sim_snapshots *snapshots = simulator->snapshots;
    for (size_t i = 0; snapshots && i < snapshots->count; i++) {
        if (!snapshots->sessions[i]->over) {
            abandon(snapshots->sessions[i]);
        }
    }
}

const struct troupe__snapshot *troupe__sim_last_snapshot(const struct troupe__simulator *simulator,
                                                         char directory[static PATH_MAX])
{
    const struct troupe__sim_session *last = simulator->snapshots ? simulator->snapshots->last : NULL;
    if (!last) {
        return NULL;
    }
    target_of(last, directory);
    return &last->snapshot;
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

bool troupe__sim_open_snapshots(struct troupe__simulator *simulator)
{
    return (simulator->snapshots = calloc(1, sizeof *simulator->snapshots)) != NULL;
}

/* How far it is with each node. */
static void describe(const struct troupe__sim_session *session, char *text, size_t text_size)
{
    static const char *const stages[] = {"ask", "arm", "colour", "drop"};
    size_t size = 0;
    for (size_t i = 0; i < session->snapshot.part_count && size < text_size; i++) {
        const struct troupe__subject *subject = &session->subjects[i];
        size +=
            (size_t)snprintf(text + size, text_size - size, "%s%s%s%s%s%s", i > 0 ? ", " : "", stages[subject->stage],
                             subject->told ? " told" : "", subject->answered ? " answered" : "",
                             subject->armed ? " armed" : "", subject->finished ? " finished" : "");
    }
}

/* What is in the directory is complete, or was left by one who died. */
void troupe__sim_check_snapshots(struct troupe__simulator *simulator)
{
    struct troupe__sim_snapshots *snapshots = simulator->snapshots;
    size_t expected = 0, found = 0;
    char path[PATH_MAX];
    for (size_t i = 0; i < snapshots->count; i++) {
        const struct troupe__sim_session *session = snapshots->sessions[i];
        if (!session->over && !session->abandoned) {
            describe(session, path, sizeof path);
            troupe__sim_fail(simulator, "snapshot %u does not end: %.300s", session->number, path);
        }
        if (session->complete) {
            target_of(session, path);
        } else {
            writing_of(session, path);
        }
        bool should_be = session->complete || (session->abandoned && !session->replaced);
        expected += should_be;
        if (should_be && !is_there(path)) {
            troupe__sim_fail(simulator, "snapshot %u is gone", session->number);
        }
    }
    if (snapshots->count == 0 || !snapshots->sessions[snapshots->count - 1]->complete) {
        troupe__sim_fail(simulator, "the snapshot that was asked for when all was calm did not succeed");
    }
    DIR *directory = opendir(simulator->options.snapshot_directory);
    while (directory && readdir(directory)) {
        found++;
    }
    if (directory) {
        closedir(directory);
    }
    if (found != expected + 2) { /* `.` and `..` */
        troupe__sim_fail(simulator, "of %zu snapshots %zu directories are left, not %zu", snapshots->count, found - 2,
                         expected);
    }
}

void troupe__sim_close_snapshots(struct troupe__simulator *simulator)
{
    struct troupe__sim_snapshots *snapshots = simulator->snapshots;
    char path[PATH_MAX], error[512];
    for (size_t i = 0; snapshots && i < snapshots->count; i++) {
        target_of(snapshots->sessions[i], path);
        troupe__files_remove(path, error, sizeof error);
        writing_of(snapshots->sessions[i], path);
        troupe__files_remove(path, error, sizeof error);
        free_session(snapshots->sessions[i]);
    }
    if (snapshots) {
        free(snapshots->sessions);
    }
    free(snapshots);
    simulator->snapshots = NULL;
}
