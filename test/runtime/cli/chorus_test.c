/* chorus_test.c - several nodes are asked at once; who is silent is named and costs the others nothing.
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

#include "runtime/cli/chorus.h"

enum { NODES = 4, DEADLINE_MS = 10000, SHORT_MS = 200, LOOK_MS = 20 };

/* Nodes that answer only when all who may answer have been asked: whoever asks one after the other waits in vain. */
struct stage {
    char directory[64];
    bool silent[NODES];
    struct troupe__reach reach;
    pthread_t thread;
    atomic_bool over;
    enum troupe_error result; /* the thread's, when it has ended */
};

struct asked {
    char name[64]; /* ZeroMQ's, of who asks */
    size_t name_size;
    uint64_t number;
};

/* The last question at a node: who asked before has hung up. Returns false when the test is over. */
static bool await(struct stage *stage, struct troupe__socket *socket, struct asked *ret)
{
    static struct troupe__request request;
    char error[200];
    struct troupe__frames frames;
    while (!troupe__socket_wait(socket, TROUPE__SOCKET_READABLE, LOOK_MS)) {
        if (atomic_load(&stage->over)) {
            return false;
        }
    }
    while (troupe__socket_receive(socket, &frames) == TROUPE_OK) {
        if (frames.count != 2 || frames.part[0].size > sizeof ret->name ||
            troupe__request_parse(frames.part[1], &request, error, sizeof error) != TROUPE_OK) {
            stage->result = TROUPE_EINVAL;
            return false;
        }
        ret->name_size = frames.part[0].size;
        memcpy(ret->name, frames.part[0].data, ret->name_size);
        ret->number = request.number;
    }
    return true;
}

static void answer(struct troupe__socket *socket, const struct asked *asked, int node)
{
    struct troupe__buffer out = {0};
    char text[32];
    snprintf(text, sizeof text, "this is n%d", node + 1);
    const struct troupe__reply reply = {.number = asked->number, .ok = true, .text = text};
    troupe__reply_put(&out, &reply);
    const struct troupe_bytes parts[] = {{asked->name, asked->name_size}, {out.data, out.size}};
    (void)troupe__socket_send(socket, parts, 2); /* They may have hung up. */
    troupe__buffer_free(&out);
}

/* Returns false when the test is over. */
static bool serve_round(struct stage *stage, struct troupe__socket **sockets)
{
    struct asked asked[NODES];
    for (int i = 0; i < NODES; i++) {
        if (!stage->silent[i] && !await(stage, sockets[i], &asked[i])) {
            return false;
        }
    }
    for (int i = 0; i < NODES; i++) {
        if (!stage->silent[i]) {
            answer(sockets[i], &asked[i], i);
        }
    }
    return true;
}

static void *serve(void *context)
{
    struct stage *stage = context;
    struct troupe__socket *sockets[NODES];
    char bound[TROUPE__ENDPOINT_SIZE], error[200];
    const struct troupe__socket_options options = {.kind = TROUPE__SOCKET_ROUTER};
    stage->result = TROUPE_OK;
    for (int i = 0; i < NODES; i++) {
        enum troupe_error result = troupe__socket_open(&options, &sockets[i], error, sizeof error);
        result = result == TROUPE_OK
                     ? troupe__socket_listen(sockets[i], stage->reach.nodes[i].endpoint, bound, error, sizeof error)
                     : result;
        stage->result = stage->result == TROUPE_OK ? result : stage->result;
    }
    while (stage->result == TROUPE_OK && serve_round(stage, sockets)) {
    }
    for (int i = 0; i < NODES; i++) {
        troupe__socket_close(sockets[i]);
    }
    return NULL;
}

static void set_up(struct stage *stage)
{
    strcpy(stage->directory, "/tmp/troupe-chorus.XXXXXX");
    assert_non_null(mkdtemp(stage->directory));
    stage->reach = (struct troupe__reach){.count = NODES, .troupe = true};
    stage->reach.nodes = calloc(NODES, sizeof *stage->reach.nodes);
    assert_non_null(stage->reach.nodes);
    for (int i = 0; i < NODES; i++) {
        struct troupe__reach_node *node = &stage->reach.nodes[i];
        snprintf(node->name, sizeof node->name, "n%d", i + 1);
        snprintf(node->endpoint, sizeof node->endpoint, "ipc://%s/n%d", stage->directory, i + 1);
        node->listed = true;
    }
    assert_int_equal(pthread_create(&stage->thread, NULL, serve, stage), 0);
}

static void tear_down(struct stage *stage)
{
    char path[128];
    atomic_store(&stage->over, true);
    pthread_join(stage->thread, NULL);
    assert_int_equal(stage->result, TROUPE_OK);
    for (int i = 0; i < NODES; i++) {
        snprintf(path, sizeof path, "%s/n%d.lock", stage->directory, i + 1);
        unlink(path);
    }
    rmdir(stage->directory);
    free(stage->reach.nodes);
}

/* All are asked before the first has answered, in both rounds; each answer is with its node. */
static void all_are_asked_before_one_answers(void **state)
{
    (void)state;
    struct stage stage = {.result = TROUPE_OK};
    struct troupe__chorus chorus;
    const struct troupe__request stats = {.what = "stats"};
    set_up(&stage);
    assert_int_equal(troupe__chorus_open(&chorus, &stage.reach), TROUPE_OK);
    assert_int_equal(troupe__chorus_greet(&chorus, DEADLINE_MS), NODES);
    assert_int_equal(troupe__chorus_ask(&chorus, &stats, DEADLINE_MS), NODES);
    assert_string_equal(chorus.voices[0].reply.text, "this is n1");
    assert_string_equal(chorus.voices[NODES - 1].reply.text, "this is n4");
    troupe__chorus_close(&chorus);
    tear_down(&stage);
}

/* Those that are silent say so, each with its endpoint; the others' answers are there; the next question is theirs. */
static void who_is_silent_is_named(void **state)
{
    (void)state;
    struct stage stage = {.silent = {true, false, true, false}};
    struct troupe__chorus chorus;
    const struct troupe__request stats = {.what = "stats"};
    set_up(&stage);
    assert_int_equal(troupe__chorus_open(&chorus, &stage.reach), TROUPE_OK);
    while (troupe__chorus_greet(&chorus, SHORT_MS) < 2) { /* On a slow machine the time may not do. */
        assert_false(chorus.voices[1].connected && chorus.voices[3].connected);
    }
    assert_int_equal(chorus.voices[0].result, TROUPE_ETIMEOUT);
    assert_false(chorus.voices[0].connected);
    assert_non_null(strstr(chorus.voices[0].client.error, "/n1 within"));
    assert_non_null(strstr(chorus.voices[2].client.error, "/n3 within"));
    assert_string_equal(chorus.voices[1].reply.text, "this is n2");
    assert_int_equal(troupe__chorus_ask(&chorus, &stats, DEADLINE_MS), 2);
    assert_int_equal(chorus.voices[0].result, TROUPE_ETIMEOUT);
    assert_string_equal(chorus.voices[3].reply.text, "this is n4");
    troupe__chorus_close(&chorus);
    tear_down(&stage);
}

/* Silence behind it is not waited for: that would take longer than the alarm. */
static void the_first_of_all_does_not_wait_for_others(void **state)
{
    (void)state;
    struct stage stage = {.silent = {false, true, false, false}};
    struct troupe__chorus chorus;
    set_up(&stage);
    assert_int_equal(troupe__chorus_open(&chorus, &stage.reach), TROUPE_OK);
    alarm(DEADLINE_MS / 1000);
    assert_int_equal(troupe__chorus_greet_first(&chorus, 10 * DEADLINE_MS), 0);
    alarm(0);
    assert_string_equal(chorus.voices[0].reply.text, "this is n1");
    troupe__chorus_close(&chorus);
    tear_down(&stage);
}

/* Who needs only one gets the first that answers, though one before it is silent. */
static void the_first_that_answers_is_enough(void **state)
{
    (void)state;
    struct stage stage = {.silent = {true, false, false, false}};
    struct troupe__chorus chorus;
    set_up(&stage);
    assert_int_equal(troupe__chorus_open(&chorus, &stage.reach), TROUPE_OK);
    int first;
    while ((first = troupe__chorus_greet_first(&chorus, SHORT_MS)) < 0) {
        assert_false(chorus.voices[0].connected);
    }
    assert_true(first >= 1);
    assert_string_equal(chorus.voices[first].reply.text, first == 1   ? "this is n2"
                                                         : first == 2 ? "this is n3"
                                                                      : "this is n4");
    troupe__chorus_close(&chorus);
    tear_down(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_asked_before_one_answers),
        cmocka_unit_test(who_is_silent_is_named),
        cmocka_unit_test(the_first_of_all_does_not_wait_for_others),
        cmocka_unit_test(the_first_that_answers_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
