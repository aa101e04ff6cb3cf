/* live_test.c - while nodes are photographed a terminal shows a bar for each, and then how much of each part has come.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/snapshot/snapshot_stream.h"

enum { NODES = 2, LOOK_MS = 20, DEADLINE_S = 20, TEXT_SIZE = 65536 };

static const char clear[] = "\r\033[K", up[] = "\033[A\033[K";

/* Whoever asked something. */
struct asked {
    char name[64]; /* ZeroMQ's */
    size_t name_size;
    uint64_t number;
};

/* Nodes that do what they are asked for, but each step only when the terminal shows the one before. */
struct stage {
    char directory[64], target[PATH_MAX];
    struct troupe__reach reach;
    int terminal; /* the other end of the standard error */
    char text[TEXT_SIZE];
    size_t size; /* of what was drawn */
    struct troupe__socket *sockets[NODES];
    struct troupe__snapshot_part parts[NODES];
    unsigned char bytes[NODES][4096];
    size_t byte_count[NODES];
    struct asked photograph[NODES], piece[NODES]; /* number 0: nobody asks */
    pthread_t thread;
    atomic_bool over;
    enum troupe_error result; /* the thread's, when it has ended */
};

/* ---- the nodes' parts -------------------------------------------------------------------------------------------- */

static enum troupe_error scan_three(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    enum troupe_error result = TROUPE_OK;
    (void)source, (void)prefix;
    for (int i = 0; table == TROUPE__STATE && i < 3 && result == TROUPE_OK; i++) {
        result = row(context, (struct troupe_bytes){(const char *[]){"a", "b", "c"}[i], 1}, troupe_string("value"));
    }
    return result;
}

static void make_part(struct stage *stage, size_t node)
{
    char error[512], path[PATH_MAX];
    const char *name = stage->reach.nodes[node].name;
    assert_int_equal(troupe__snapshot_write_part(stage->directory, name, 9, scan_three, NULL, "", &stage->parts[node],
                                                 error, sizeof error),
                     TROUPE_OK);
    assert_int_equal(troupe__snapshot_part_path(path, stage->directory, name, error, sizeof error), TROUPE_OK);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    stage->byte_count[node] = fread(stage->bytes[node], 1, sizeof stage->bytes[node], file);
    fclose(file);
    unlink(path);
}

static void put_uint64(struct troupe__buffer *buffer, uint64_t number)
{
    unsigned char bytes[8];
    troupe__put_be64(bytes, number);
    troupe__buffer_put_byte(buffer, 0xcf);
    troupe__buffer_put(buffer, bytes, sizeof bytes);
}

/* As a node reports it: docs/protocol.md. */
static void put_report(struct troupe__buffer *body, const struct troupe__snapshot_part *part)
{
    const uint64_t first[] = {part->epoch, part->summary.blocks, part->summary.row_bytes, part->summary.chain, 0};
    const unsigned char head[] = {0xdc, 0, 5 + TROUPE__TABLE_COUNT + 3};
    troupe__buffer_put(body, head, sizeof head);
    for (size_t i = 0; i < 5; i++) {
        put_uint64(body, first[i]);
    }
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        put_uint64(body, part->summary.rows[table]);
    }
    for (size_t i = 0; i < 3; i++) {
        put_uint64(body, 1);
    }
}

/* ---- the nodes --------------------------------------------------------------------------------------------------- */

static void answer(struct stage *stage, size_t node, const struct asked *asked, struct troupe__reply reply)
{
    struct troupe__buffer out = {0};
    reply.number = asked->number;
    reply.ok = true;
    troupe__reply_put(&out, &reply);
    const struct troupe_bytes parts[] = {{asked->name, asked->name_size}, {out.data, out.size}};
    (void)troupe__socket_send(stage->sockets[node], parts, 2); /* They may have hung up. */
    troupe__buffer_free(&out);
}

static void take(struct stage *stage, size_t node, const struct asked *asked, const struct troupe__request *request)
{
    if (strcmp(request->what, "snapshot") == 0) {
        stage->photograph[node] = *asked;
        answer(stage, node, asked, (struct troupe__reply){.more = true});
    } else if (strcmp(request->what, "snapshot.read") == 0) {
        stage->piece[node] = *asked;
    } else if (strcmp(request->what, "snapshot.progress") == 0) {
        struct troupe__buffer body = {0};
        troupe__buffer_put_byte(&body, 0x92);
        put_uint64(&body, 50 * (node + 1));
        put_uint64(&body, 200);
        answer(stage, node, asked, (struct troupe__reply){.text = "writing", .body = {body.data, body.size}});
        troupe__buffer_free(&body);
    } else { /* hello, stats, colour, snapshot.drop */
        answer(stage, node, asked, (struct troupe__reply){.text = "start\t5\n", .sequence = 1000});
    }
}

static void take_requests(struct stage *stage, size_t node)
{
    static struct troupe__request request;
    struct troupe__frames frames;
    struct asked asked;
    char error[200];
    while (troupe__socket_receive(stage->sockets[node], &frames) == TROUPE_OK) {
        if (frames.count != 2 || frames.part[0].size > sizeof asked.name ||
            troupe__request_parse(frames.part[1], &request, error, sizeof error) != TROUPE_OK) {
            stage->result = TROUPE_EINVAL;
            return;
        }
        asked.number = request.number;
        asked.name_size = frames.part[0].size;
        memcpy(asked.name, frames.part[0].data, asked.name_size);
        take(stage, node, &asked, &request);
    }
}

static bool shows(const struct stage *stage, const char *text)
{
    return strstr(stage->text, text) != NULL;
}

/* Node 1's part is written when both bars were seen, that of node 2 when it is the last one, and both are given away
 * when it is seen that they are awaited. */
static void go_on(struct stage *stage)
{
    static const char *const signs[NODES] = {"0 of 2 parts are written", "1 of 2 parts are written"};
    for (size_t node = 0; node < NODES; node++) {
        if (stage->photograph[node].number && shows(stage, signs[node])) {
            struct troupe__buffer body = {0};
            put_report(&body, &stage->parts[node]);
            answer(stage, node, &stage->photograph[node], (struct troupe__reply){.body = {body.data, body.size}});
            troupe__buffer_free(&body);
            stage->photograph[node].number = 0;
        }
        if (stage->piece[node].number && shows(stage, "are being fetched")) {
            answer(stage, node, &stage->piece[node],
                   (struct troupe__reply){.rows = {stage->bytes[node], stage->byte_count[node]},
                                          .sequence = stage->byte_count[node]});
            stage->piece[node].number = 0;
        }
    }
}

static void read_terminal(struct stage *stage)
{
    ssize_t got;
    while (stage->size < sizeof stage->text - 1 &&
           (got = read(stage->terminal, stage->text + stage->size, sizeof stage->text - 1 - stage->size)) > 0) {
        stage->size += (size_t)got;
    }
    stage->text[stage->size] = '\0';
}

static void *serve(void *context)
{
    struct stage *stage = context;
    char bound[TROUPE__ENDPOINT_SIZE], error[200];
    const struct troupe__socket_options options = {.kind = TROUPE__SOCKET_ROUTER};
    for (size_t i = 0; i < NODES; i++) {
        enum troupe_error result = troupe__socket_open(&options, &stage->sockets[i], error, sizeof error);
        result = result == TROUPE_OK ? troupe__socket_listen(stage->sockets[i], stage->reach.nodes[i].endpoint, bound,
                                                             error, sizeof error)
                                     : result;
        stage->result = stage->result == TROUPE_OK ? result : stage->result;
    }
    time_t end = time(NULL) + DEADLINE_S;
    while (stage->result == TROUPE_OK && !atomic_load(&stage->over)) {
        stage->result = time(NULL) > end ? TROUPE_ETIMEOUT : TROUPE_OK;
        troupe__socket_wait_any(stage->sockets, NODES, LOOK_MS);
        for (size_t i = 0; i < NODES; i++) {
            take_requests(stage, i);
        }
        read_terminal(stage);
        go_on(stage);
    }
    for (size_t i = 0; i < NODES; i++) {
        troupe__socket_close(stage->sockets[i]);
    }
    return NULL;
}

/* ---- the test ---------------------------------------------------------------------------------------------------- */

static void set_up(struct stage *stage)
{
    strcpy(stage->directory, "/tmp/troupe-live.XXXXXX");
    assert_non_null(mkdtemp(stage->directory));
    snprintf(stage->target, sizeof stage->target, "%s/taken", stage->directory);
    stage->reach = (struct troupe__reach){.count = NODES, .troupe = true};
    stage->reach.nodes = calloc(NODES, sizeof *stage->reach.nodes);
    assert_non_null(stage->reach.nodes);
    troupe__slots_spread(&stage->reach.cluster.slots, 7, 1, NODES);
    for (size_t i = 0; i < NODES; i++) {
        struct troupe__reach_node *node = &stage->reach.nodes[i];
        snprintf(node->name, sizeof node->name, "n%zu", i + 1);
        snprintf(node->endpoint, sizeof node->endpoint, "ipc://%s/s%zu", stage->directory, i + 1);
        node->listed = true;
        make_part(stage, i);
    }
    stage->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(stage->terminal >= 0 && grantpt(stage->terminal) == 0 && unlockpt(stage->terminal) == 0);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(path);
}

static void tear_down(struct stage *stage)
{
    close(stage->terminal);
    free(stage->reach.nodes);
    assert_int_equal(nftw(stage->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Nothing goes on before it is shown: what is not shown is noticed by a deadline of the nodes. */
static void each_node_has_a_bar(void **state)
{
    (void)state;
    static struct stage stage;
    char error[512] = "", wanted[512];
    struct troupe__snapshot snapshot;
    struct troupe__progress progress = {.command = "snapshot create", .first_ms = 1};
    set_up(&stage);
    int before = dup(STDERR_FILENO), end = open(ptsname(stage.terminal), O_RDWR | O_NOCTTY);
    assert_true(before >= 0 && end >= 0 && dup2(end, STDERR_FILENO) >= 0);
    close(end);
    assert_int_equal(pthread_create(&stage.thread, NULL, serve, &stage), 0);
    enum troupe_error result =
        troupe__live_snapshot(&stage.reach, stage.target, &progress, &snapshot, error, sizeof error);
    atomic_store(&stage.over, true);
    pthread_join(stage.thread, NULL);
    read_terminal(&stage);
    dup2(before, STDERR_FILENO);
    close(before);
    assert_int_equal(stage.result, TROUPE_OK);
    assert_string_equal(error, "");
    assert_int_equal(result, TROUPE_OK);
    troupe__snapshot_fini(&snapshot);

    snprintf(wanted, sizeof wanted,
             "%stroupe snapshot create: 0 of 2 parts are written\r\n"
             "n1       [#####---------------]  25 %%  writing, 50 of 200 rows\r\n"
             "n2       [##########----------]  50 %%  writing, 100 of 200 rows%s%s%s",
             clear, clear, up, up);
    assert_true(shows(&stage, wanted));
    /* Who is done stands last. */
    snprintf(wanted, sizeof wanted,
             "%stroupe snapshot create: 1 of 2 parts are written\r\n"
             "n2       [##########----------]  50 %%  writing, 100 of 200 rows\r\n"
             "n1       [####################] 100 %%  done, 3 rows%s%s%s",
             up, clear, up, up);
    assert_true(shows(&stage, wanted));
    snprintf(wanted, sizeof wanted,
             "%stroupe snapshot create: all parts are written, and are being fetched\r\n"
             "n1       [--------------------]   0 %%  waiting\r\n"
             "n2       [--------------------]   0 %%  waiting%s%s%s",
             up, clear, up, up);
    assert_true(shows(&stage, wanted));
    snprintf(wanted, sizeof wanted, "%s%s%s", clear, up, up); /* Nothing is left of it. */
    assert_true(stage.size > strlen(wanted) && strcmp(stage.text + stage.size - strlen(wanted), wanted) == 0);
    tear_down(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_node_has_a_bar)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
