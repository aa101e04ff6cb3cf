/* quiet.c - when a troupe that runs has come to rest: nothing waits in it, and nothing flies in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/quiet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/chorus.h"
#include "runtime/cli/monotonic.h"
#include "runtime/cli/remote.h"

enum { PAUSE_MS = 5, PAUSE_MAX_MS = 250, HELLO_MS = 1000, ANSWER_MS = 15000 };

struct numbers {
    uint64_t pid, start, activity;
};

struct seen {
    struct numbers now, before; /* of this round, and of the one before */
    uint64_t *sent, *accepted;  /* to and from each node, this round */
};

struct quiet {
    const struct troupe__reach *reach;
    const struct troupe__quiet_options *options;
    struct troupe__chorus chorus;
    struct seen *seen;
    char *reason;
    size_t reason_size;
    enum troupe_error result; /* what waiting does not mend */
};

static const char *name_of(const struct quiet *quiet, size_t node)
{
    return quiet->reach->troupe ? quiet->reach->nodes[node].name : "the node";
}

static bool say(const struct quiet *quiet, size_t node, const char *what)
{
    snprintf(quiet->reason, quiet->reason_size, "%s: %.400s", name_of(quiet, node), what);
    return false;
}

static bool say_number(const struct quiet *quiet, size_t node, const char *figures, const char *name, const char *what)
{
    char text[64];
    uint64_t number = 0;
    if (!troupe__remote_figure(figures, name, &number) || number == 0) {
        return true;
    }
    snprintf(text, sizeof text, "%" PRIu64 " %s", number, what);
    return say(quiet, node, text);
}

/* Whether it is at rest by what it says of itself. */
static bool take_figures(const struct quiet *quiet, size_t node, const char *figures)
{
    struct seen *seen = &quiet->seen[node];
    uint64_t idle = 0, open = 0;
    if (!troupe__remote_figure(figures, "pid", &seen->now.pid) ||
        !troupe__remote_figure(figures, "start", &seen->now.start) ||
        !troupe__remote_figure(figures, "activity", &seen->now.activity) ||
        !troupe__remote_figure(figures, "idle", &idle) || !troupe__remote_figure(figures, "input_open", &open)) {
        return say(quiet, node, "it is of another version: it does not say whether it is idle");
    }
    for (size_t peer = 0; peer < quiet->reach->count; peer++) {
        char name[TROUPE__NODE_NAME_MAX + 32];
        snprintf(name, sizeof name, "link/%s/sent", quiet->reach->nodes[peer].name);
        bool there = peer == node || troupe__remote_figure(figures, name, &seen->sent[peer]);
        snprintf(name, sizeof name, "link/%s/accepted", quiet->reach->nodes[peer].name);
        there = there && (peer == node || troupe__remote_figure(figures, name, &seen->accepted[peer]));
        if (!there) {
            return say(quiet, node, "it does not know all nodes: the cluster files differ");
        }
    }
    if (!say_number(quiet, node, figures, "mail", "messages wait") ||
        !say_number(quiet, node, figures, "jobs", "jobs are under way") ||
        (quiet->options->timers && !say_number(quiet, node, figures, "timers", "timers wait for their time"))) {
        return false;
    }
    if (open && quiet->options->inputs_ended) {
        return say(quiet, node, "its input has not ended");
    }
    return idle || say(quiet, node, "it is at work");
}

/* Whether all that was sent has come. */
static bool nothing_flies(const struct quiet *quiet)
{
    for (size_t from = 0; from < quiet->reach->count; from++) {
        for (size_t to = 0; to < quiet->reach->count; to++) {
            uint64_t sent = quiet->seen[from].sent[to], accepted = quiet->seen[to].accepted[from];
            if (from != to && sent != accepted) {
                char text[160];
                snprintf(text, sizeof text, "%" PRIu64 " messages are on their way to %s", sent - accepted,
                         name_of(quiet, to));
                return say(quiet, from, text);
            }
        }
    }
    return true;
}

/* Whether the node has answered, and is at rest by what it says. */
static bool take_answer(struct quiet *quiet, size_t node)
{
    const struct troupe__voice *voice = &quiet->chorus.voices[node];
    if (voice->result == TROUPE_OK) {
        return take_figures(quiet, node, voice->reply.text ? voice->reply.text : "");
    }
    if (voice->result == TROUPE_EINVAL || voice->result == TROUPE_ENOMEM) {
        quiet->result = voice->result;
    }
    return say(quiet, node, voice->client.error);
}

/* One round. Returns whether all of it is at rest, as far as one round can tell. */
static bool look(struct quiet *quiet)
{
    const struct troupe__request stats = {.what = "stats"};
    bool rest = true;
    (void)troupe__chorus_greet(&quiet->chorus, HELLO_MS);
    (void)troupe__chorus_ask(&quiet->chorus, &stats, ANSWER_MS);
    for (size_t node = 0; node < quiet->reach->count && rest; node++) {
        rest = take_answer(quiet, node);
    }
    return rest && nothing_flies(quiet);
}

/* Whether nothing has happened since the round before; what was seen now is what is compared with next. */
static bool nothing_happened(struct quiet *quiet)
{
    bool same = true;
    for (size_t node = 0; node < quiet->reach->count; node++) {
        struct seen *seen = &quiet->seen[node];
        if (memcmp(&seen->now, &seen->before, sizeof seen->now) != 0) {
            same = say(quiet, node, "it was at work until now");
        }
        seen->before = seen->now;
    }
    return same;
}

static enum troupe_error wait(struct quiet *quiet)
{
    int64_t end_ms = troupe__monotonic_ms() + quiet->options->timeout_ms, pause_ms = PAUSE_MS;
    bool before = false; /* the round before was at rest */
    while (quiet->result == TROUPE_OK) {
        bool rest = look(quiet);
        bool same = rest && nothing_happened(quiet);
        if (rest && same && before) {
            return TROUPE_OK;
        }
        if (quiet->options->timeout_ms > 0 && troupe__monotonic_ms() >= end_ms) {
            return TROUPE_ETIMEOUT;
        }
        if (quiet->options->progress && troupe__progress_due(quiet->options->progress)) {
            troupe__progress_draw(quiet->options->progress, quiet->reason);
        }
        if (!rest) { /* After one that is, the next follows at once. */
            nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000}, NULL);
            pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
        }
        before = rest;
    }
    return quiet->result;
}

enum troupe_error troupe__quiet_wait(const struct troupe__reach *reach, const struct troupe__quiet_options *options,
                                     char *reason, size_t reason_size)
{
    size_t count = reach->count;
    struct quiet quiet = {.reach = reach,
                          .options = options,
                          .seen = calloc(count, sizeof *quiet.seen),
                          .reason = reason,
                          .reason_size = reason_size};
    uint64_t *counts = calloc(2 * count * count, sizeof *counts);
    enum troupe_error result = TROUPE_ENOMEM;
    snprintf(reason, reason_size, "out of memory");
    if (quiet.seen && counts && troupe__chorus_open(&quiet.chorus, reach) == TROUPE_OK) {
        for (size_t i = 0; i < count; i++) {
            quiet.seen[i].sent = counts + 2 * i * count;
            quiet.seen[i].accepted = counts + (2 * i + 1) * count;
        }
        result = wait(&quiet);
        troupe__chorus_close(&quiet.chorus);
    }
    free(quiet.seen);
    free(counts);
    return result;
}
