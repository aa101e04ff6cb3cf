/* fetch_test.c - parts come from several nodes at once, several pieces of each under way, whole and in their places.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/fetch.h"

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
#include <sys/stat.h>
#include <unistd.h>

enum { NODES = 3, PIECE = 1000, SIZE_MAX_OF = 20000, PIECES_MAX = SIZE_MAX_OF / PIECE + 1, LOOK_MS = 20, COLOUR = 77 };

enum fault { NONE, REFUSES, LIES, BOASTS };

/* A node that answers only when as much has been asked for as may be: whoever asks one node after the other, or for one
 * piece after the other, waits in vain. It answers the last request first, and some of them only in part. */
struct node {
    struct troupe__socket *socket;
    char endpoint[128];
    uint64_t size, done[PIECES_MAX]; /* bytes of each piece that were given */
    enum fault fault;
    struct {
        uint64_t number, from;
        char name[64]; /* ZeroMQ's, of who asks */
        size_t name_size;
    } asked[TROUPE__FETCH_WINDOW];
    size_t asked_count, answered;
};

struct stage {
    char directory[64];
    struct node nodes[NODES];
    struct troupe__client clients[NODES];
    struct troupe__fetch fetches[NODES];
    size_t looks;
    pthread_t thread;
    atomic_bool over;
    enum troupe_error result; /* the thread's, when it has ended */
};

static unsigned char byte_at(size_t node, uint64_t at)
{
    return (unsigned char)(at * 31 + at / 256 + node);
}

static uint64_t piece_size(const struct node *node, size_t piece)
{
    uint64_t left = node->size - piece * PIECE;
    return left < PIECE ? left : PIECE;
}

/* How many requests there must be before it answers. */
static size_t expected(const struct node *node)
{
    size_t open = 0;
    for (size_t piece = 0; piece * PIECE < node->size; piece++) {
        open += node->done[piece] < piece_size(node, piece);
    }
    return node->answered == 0 ? 1 : open < TROUPE__FETCH_WINDOW ? open : TROUPE__FETCH_WINDOW;
}

static void take_requests(struct stage *stage, struct node *node)
{
    static struct troupe__request request;
    struct troupe__frames frames;
    char error[200];
    while (node->asked_count < TROUPE__FETCH_WINDOW && troupe__socket_receive(node->socket, &frames) == TROUPE_OK) {
        if (frames.count != 2 || frames.part[0].size > sizeof node->asked[0].name ||
            troupe__request_parse(frames.part[1], &request, error, sizeof error) != TROUPE_OK ||
            strcmp(request.what, "snapshot.read") != 0 || request.colour != COLOUR || request.from >= node->size) {
            stage->result = TROUPE_EINVAL;
            return;
        }
        size_t at = node->asked_count++;
        node->asked[at].number = request.number;
        node->asked[at].from = request.from;
        node->asked[at].name_size = frames.part[0].size;
        memcpy(node->asked[at].name, frames.part[0].data, frames.part[0].size);
    }
}

static void answer(struct stage *stage, size_t index)
{
    struct node *node = &stage->nodes[index];
    size_t last = --node->asked_count, piece = node->asked[last].from / PIECE;
    uint64_t from = node->asked[last].from, size = piece_size(node, piece) - from % PIECE;
    unsigned char bytes[PIECE];
    struct troupe__buffer out = {0};
    struct troupe__reply reply = {.number = node->asked[last].number, .ok = true, .sequence = node->size};
    if (++node->answered % 3 == 0 && size > 1) {
        size /= 2;
    }
    for (uint64_t i = 0; i < size; i++) {
        bytes[i] = byte_at(index, from + i);
    }
    reply.rows = (struct troupe_bytes){bytes, size};
    node->done[piece] += size;
    if (node->fault == LIES && node->answered > 3) {
        reply.sequence++;
    } else if (node->fault == BOASTS) {
        reply.sequence = size - 1;
    } else if (node->fault == REFUSES && node->answered > 3) {
        reply =
            (struct troupe__reply){.number = reply.number, .error = TROUPE_ENOTFOUND, .text = "there is no such part"};
    }
    troupe__reply_put(&out, &reply);
    const struct troupe_bytes parts[] = {{node->asked[last].name, node->asked[last].name_size}, {out.data, out.size}};
    (void)troupe__socket_send(node->socket, parts, 2); /* They may have hung up. */
    troupe__buffer_free(&out);
}

/* The first pieces only when all have been asked for theirs. */
static bool all_have_begun(const struct stage *stage)
{
    bool begun = true;
    for (size_t i = 0; i < NODES; i++) {
        begun = begun && stage->nodes[i].asked_count + stage->nodes[i].answered > 0;
    }
    return begun;
}

static void *serve(void *context)
{
    struct stage *stage = context;
    struct troupe__socket *sockets[NODES];
    char bound[TROUPE__ENDPOINT_SIZE], error[200];
    const struct troupe__socket_options options = {.kind = TROUPE__SOCKET_ROUTER};
    for (size_t i = 0; i < NODES; i++) {
        enum troupe_error result = troupe__socket_open(&options, &sockets[i], error, sizeof error);
        stage->nodes[i].socket = sockets[i];
        result = result == TROUPE_OK
                     ? troupe__socket_listen(sockets[i], stage->nodes[i].endpoint, bound, error, sizeof error)
                     : result;
        stage->result = stage->result == TROUPE_OK ? result : stage->result;
    }
    while (stage->result == TROUPE_OK && !atomic_load(&stage->over)) {
        troupe__socket_wait_any(sockets, NODES, LOOK_MS);
        for (size_t i = 0; i < NODES; i++) {
            take_requests(stage, &stage->nodes[i]);
        }
        for (size_t i = 0; i < NODES && all_have_begun(stage); i++) {
            struct node *node = &stage->nodes[i];
            while (node->asked_count > 0 && (node->fault != NONE || node->asked_count == expected(node))) {
                do {
                    answer(stage, i);
                } while (node->asked_count > 0);
            }
        }
    }
    for (size_t i = 0; i < NODES; i++) {
        troupe__socket_close(sockets[i]);
    }
    return NULL;
}

/* Node `faulty` (NODES: none) has the fault. */
static void set_up(struct stage *stage, size_t faulty, enum fault fault)
{
    memset(stage, 0, sizeof *stage);
    strcpy(stage->directory, "/tmp/troupe-fetch.XXXXXX");
    assert_non_null(mkdtemp(stage->directory));
    for (size_t i = 0; i < NODES; i++) {
        snprintf(stage->nodes[i].endpoint, sizeof stage->nodes[i].endpoint, "ipc://%s/s%zu", stage->directory, i);
        snprintf(stage->fetches[i].path, sizeof stage->fetches[i].path, "%s/part%zu", stage->directory, i);
        stage->nodes[i].size = i == 0 ? 1 : 3000 * i * i + 7; /* One is less than a piece. */
        stage->nodes[i].fault = i == faulty ? fault : NONE;
        stage->fetches[i].client = &stage->clients[i];
    }
    assert_int_equal(pthread_create(&stage->thread, NULL, serve, stage), 0);
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(troupe__client_connect(&stage->clients[i], stage->nodes[i].endpoint, NULL), TROUPE_OK);
    }
}

static void tear_down(struct stage *stage)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < NODES; i++) {
        troupe__client_close(&stage->clients[i]);
    }
    atomic_store(&stage->over, true);
    pthread_join(stage->thread, NULL);
    assert_int_equal(stage->result, TROUPE_OK);
    for (size_t i = 0; i < NODES; i++) {
        unlink(stage->fetches[i].path);
        snprintf(path, sizeof path, "%s/s%zu.lock", stage->directory, i);
        unlink(path);
    }
    assert_int_equal(rmdir(stage->directory), 0);
}

/* A file that is whole is not open any more. */
static void look(void *context)
{
    struct stage *stage = context;
    stage->looks++;
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(stage->fetches[i].state == TROUPE__FETCH_GOES_ON, stage->fetches[i].fd >= 0);
    }
}

static void parts_come_at_once_and_whole(void **state)
{
    (void)state;
    static struct stage stage;
    char error[300] = "";
    size_t failed = NODES;
    set_up(&stage, NODES, NONE);
    enum troupe_error result =
        troupe__fetch_parts(stage.fetches, NODES, COLOUR, look, &stage, &failed, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(result, TROUPE_OK);
    assert_true(stage.looks > 0);
    for (size_t i = 0; i < NODES; i++) {
        static unsigned char bytes[SIZE_MAX_OF];
        FILE *file = fopen(stage.fetches[i].path, "r");
        assert_non_null(file);
        assert_int_equal(fread(bytes, 1, sizeof bytes, file), stage.nodes[i].size);
        fclose(file);
        for (uint64_t at = 0; at < stage.nodes[i].size; at++) {
            assert_int_equal(bytes[at], byte_at(i, at));
        }
    }
    tear_down(&stage);
}

static void expect_failure(size_t node, enum fault fault, enum troupe_error wanted, const char *text)
{
    static struct stage stage;
    char error[300] = "";
    size_t failed = NODES;
    set_up(&stage, node, fault);
    assert_int_equal(troupe__fetch_parts(stage.fetches, NODES, COLOUR, look, &stage, &failed, error, sizeof error),
                     wanted);
    assert_int_equal(failed, node);
    assert_non_null(strstr(error, text));
    tear_down(&stage);
}

/* Whatever the others have got by then. */
static void the_node_that_fails_is_told(void **state)
{
    (void)state;
    expect_failure(1, REFUSES, TROUPE_ENOTFOUND, "there is no such part");
    expect_failure(2, LIES, TROUPE_ECORRUPT, "is not as long as it has said");
    expect_failure(1, BOASTS, TROUPE_ECORRUPT, "is not as long as it has said"); /* Its first piece is longer. */
}

static void a_file_that_is_there_is_not_written_over(void **state)
{
    (void)state;
    static struct stage stage;
    char error[300] = "";
    size_t failed = NODES;
    set_up(&stage, NODES, NONE);
    fclose(fopen(stage.fetches[1].path, "w"));
    assert_int_equal(troupe__fetch_parts(stage.fetches, NODES, COLOUR, look, &stage, &failed, error, sizeof error),
                     TROUPE_EIO);
    assert_int_equal(failed, 1);
    assert_non_null(strstr(error, "create "));
    tear_down(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_at_once_and_whole),
        cmocka_unit_test(the_node_that_fails_is_told),
        cmocka_unit_test(a_file_that_is_there_is_not_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
