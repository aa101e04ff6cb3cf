/* quiet_test.c - a troupe is at rest when two rounds of questions have found it so, and nothing happened in between.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/quiet.h"
#include "transport/socket.h"

enum { NODES = 2, ROUNDS_MAX = 4, LOOK_MS = 20, DEADLINE_S = 60 };

/* What a node says of itself. */
struct figures {
    unsigned start, activity, busy, sent, accepted, mail, timers, input_open;
};

/* What the nodes say, round after round; the last one again and again. */
struct play {
    struct figures rounds[ROUNDS_MAX][NODES];
    unsigned count;
    struct troupe__quiet_options options;
    unsigned wanted; /* so many rounds it takes at least */
};

/* Nodes that say what stands in the play. */
struct stage {
    const struct play *play;
    char directory[64];
    struct troupe__reach reach;
    pthread_t thread;
    atomic_bool over;
    bool asked[NODES]; /* in this round */
    unsigned rounds;   /* in which all were asked: on a slow machine one may not be in time */
    enum troupe_error result;
};

static void put_figures(const struct figures *figures, int node, char *text, size_t size)
{
    snprintf(text, size,
             "pid\t7\nstart\t%u\nactivity\t%u\nidle\t%u\ninput_open\t%u\nmail\t%u\ntimers\t%u\nlink/n%d/sent\t%u\n"
             "link/n%d/accepted\t%u\n",
             figures->start, figures->activity, !figures->busy, figures->input_open, figures->mail, figures->timers,
             2 - node, figures->sent, 2 - node, figures->accepted);
}

static enum troupe_error answer(struct stage *stage, int node, struct troupe__socket *socket,
                                const struct troupe__frames *frames)
{
    static struct troupe__request request;
    struct troupe__buffer out = {0};
    char text[400] = "0.1.0", error[200];
    if (frames->count != 2 || troupe__request_parse(frames->part[1], &request, error, sizeof error) != TROUPE_OK) {
        return TROUPE_EINVAL;
    }
    if (strcmp(request.what, "stats") == 0) {
        unsigned last = stage->play->count - 1, round = stage->rounds < last ? stage->rounds : last;
        put_figures(&stage->play->rounds[round][node], node, text, sizeof text);
        stage->asked[node] = true;
        if (stage->asked[0] && stage->asked[1]) {
            stage->asked[0] = stage->asked[1] = false;
            stage->rounds++;
        }
    }
    const struct troupe__reply reply = {.number = request.number, .ok = true, .text = text};
    troupe__reply_put(&out, &reply);
    const struct troupe_bytes parts[] = {frames->part[0], {out.data, out.size}};
    enum troupe_error result = troupe__socket_send(socket, parts, 2);
    troupe__buffer_free(&out);
    return result;
}

static void *serve(void *context)
{
    struct stage *stage = context;
    struct troupe__socket *sockets[NODES] = {NULL};
    char bound[TROUPE__ENDPOINT_SIZE], error[200];
    const struct troupe__socket_options options = {.kind = TROUPE__SOCKET_ROUTER};
    stage->result = TROUPE_OK;
    for (int i = 0; i < NODES && stage->result == TROUPE_OK; i++) {
        stage->result = troupe__socket_open(&options, &sockets[i], error, sizeof error);
        stage->result = stage->result == TROUPE_OK ? troupe__socket_listen(sockets[i], stage->reach.nodes[i].endpoint,
                                                                           bound, error, sizeof error)
                                                   : stage->result;
    }
    while (stage->result == TROUPE_OK && !atomic_load(&stage->over)) {
        struct troupe__frames frames;
        troupe__socket_wait_any(sockets, NODES, LOOK_MS);
        for (int i = 0; i < NODES; i++) {
            while (stage->result == TROUPE_OK && troupe__socket_receive(sockets[i], &frames) == TROUPE_OK) {
                stage->result = answer(stage, i, sockets[i], &frames);
            }
        }
    }
    for (int i = 0; i < NODES; i++) {
        troupe__socket_close(sockets[i]);
    }
    return NULL;
}

/* Wait as the play says; the nodes were asked as often as it takes, or there is that reason why it is in vain. */
static void perform(const struct play *play, enum troupe_error wanted, const char *reason)
{
    struct stage stage = {.play = play, .directory = "/tmp/troupe-quiet.XXXXXX"};
    struct troupe__reach_node nodes[NODES] = {{.listed = true}, {.listed = true}};
    char text[500], path[128];
    assert_non_null(mkdtemp(stage.directory));
    stage.reach = (struct troupe__reach){.nodes = nodes, .count = NODES, .troupe = true};
    for (int i = 0; i < NODES; i++) {
        snprintf(nodes[i].name, sizeof nodes[i].name, "n%d", i + 1);
        snprintf(nodes[i].endpoint, sizeof nodes[i].endpoint, "ipc://%s/n%d", stage.directory, i + 1);
    }
    assert_int_equal(pthread_create(&stage.thread, NULL, serve, &stage), 0);
    alarm(DEADLINE_S);
    enum troupe_error result = troupe__quiet_wait(&stage.reach, &play->options, text, sizeof text);
    alarm(0);
    atomic_store(&stage.over, true);
    pthread_join(stage.thread, NULL);
    assert_int_equal(stage.result, TROUPE_OK);
    for (int i = 0; i < NODES; i++) {
        snprintf(path, sizeof path, "%s/n%d.lock", stage.directory, i + 1);
        unlink(path);
    }
    rmdir(stage.directory);
    assert_int_equal(result, wanted);
    if (reason) {
        assert_string_equal(text, reason);
    } else {
        assert_true(stage.rounds >= play->wanted);
    }
}

/* What was at rest when it was asked first may have got a message from what was asked before it. */
static void two_rounds_must_find_the_same(void **state)
{
    (void)state;
    static const struct play plays[] = {
        {.rounds = {{{.activity = 5}, {.activity = 9}}}, .count = 1, .wanted = 2},
        {.rounds = {{{.activity = 5}, {.activity = 9}}, {{.activity = 6}, {.activity = 9}}}, .count = 2, .wanted = 3},
        {.rounds = {{{.activity = 5}, {.activity = 9}}, {{.activity = 5}, {.activity = 10}}}, .count = 2, .wanted = 3},
        {.rounds = {{{.start = 1}, {.start = 1}}, {{.start = 1}, {.start = 2}}}, .count = 2, .wanted = 3},
        {.rounds = {{{.activity = 5}, {.activity = 9}},
                    {{.activity = 5}, {.busy = 1, .activity = 9}},
                    {{.activity = 5}, {.activity = 9}}},
         .count = 3,
         .wanted = 4},
    };
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
        perform(&plays[i], TROUPE_OK, NULL);
    }
}

/* Each node may be idle while a message is on its way between them. */
static void what_flies_is_waited_for(void **state)
{
    (void)state;
    static const struct play flies = {
        .rounds = {{{.sent = 8}, {.accepted = 7}}, {{.sent = 8}, {.accepted = 8}}}, .count = 2, .wanted = 3};
    static const struct play back = {
        .rounds = {{{.accepted = 2}, {.sent = 3}}, {{.accepted = 3}, {.sent = 3}}}, .count = 2, .wanted = 3};
    static const struct play for_ever = {
        .rounds = {{{.sent = 8}, {.accepted = 5}}}, .count = 1, .options = {.timeout_ms = 100}};
    perform(&flies, TROUPE_OK, NULL);
    perform(&back, TROUPE_OK, NULL);
    perform(&for_ever, TROUPE_ETIMEOUT, "n1: 3 messages are on their way to n2");
}

/* Mail is waited for in any case; what waits for its time, and an input that may have more, as the options say. */
static void what_waits_is_waited_for(void **state)
{
    (void)state;
    static const struct play mail = {.rounds = {{{.mail = 0}, {.mail = 3}}}, .count = 1, .options = {.timeout_ms = 50}};
    static const struct play timers = {
        .rounds = {{{.timers = 4}, {.timers = 0}}}, .count = 1, .options = {.timers = true, .timeout_ms = 50}};
    static const struct play input = {
        .rounds = {{{.input_open = 1}}}, .count = 1, .options = {.inputs_ended = true, .timeout_ms = 50}};
    static const struct play neither = {
        .rounds = {{{.timers = 4, .input_open = 1}, {.timers = 1}}}, .count = 1, .wanted = 2};
    perform(&mail, TROUPE_ETIMEOUT, "n2: 3 messages wait");
    perform(&timers, TROUPE_ETIMEOUT, "n1: 4 timers wait for their time");
    perform(&input, TROUPE_ETIMEOUT, "n1: its input has not ended");
    perform(&neither, TROUPE_OK, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_rounds_must_find_the_same),
        cmocka_unit_test(what_flies_is_waited_for),
        cmocka_unit_test(what_waits_is_waited_for),
    };
    return cmocka_run_group_tests_name("quiet", tests, NULL, NULL);
}
