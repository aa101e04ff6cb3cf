/* socket_test.c - sockets on this machine: messages come whole, limits and wrong endpoints are told.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/socket.h"

enum { DEADLINE_MS = 5000 };

static char directory[64], endpoint[128], bound[TROUPE__ENDPOINT_SIZE], error[300];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/troupe-socket.XXXXXX");
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", mkdtemp(directory));
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/s.lock", directory);
    unlink(path);
    return rmdir(directory); /* Fails, and so does the test, when the socket's file is left. */
}

static struct troupe__socket *open_socket(enum troupe__socket_kind kind, size_t size_max)
{
    struct troupe__socket_options options = {.kind = kind, .message_size_max = size_max};
    struct troupe__socket *socket;
    assert_int_equal(troupe__socket_open(&options, &socket, error, sizeof error), TROUPE_OK);
    return socket;
}

static void expect(struct troupe__socket *socket, struct troupe__frames *frames)
{
    assert_true(troupe__socket_wait(socket, TROUPE__SOCKET_READABLE, DEADLINE_MS) & TROUPE__SOCKET_READABLE);
    assert_int_equal(troupe__socket_receive(socket, frames), TROUPE_OK);
}

/* What a client sends comes with the client's name in front; the answer finds the way back. */
static void a_message_and_its_answer_come_whole(void **state)
{
    (void)state;
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 0);
    struct troupe__socket *client = open_socket(TROUPE__SOCKET_DEALER, 0);
    struct troupe__frames frames;
    assert_int_equal(troupe__socket_listen(server, endpoint, bound, error, sizeof error), TROUPE_OK);
    assert_string_equal(bound, endpoint);
    assert_int_equal(troupe__socket_receive(server, &frames), TROUPE_ENOTFOUND);
    assert_int_equal(troupe__socket_connect(client, bound, error, sizeof error), TROUPE_OK);
    struct troupe_bytes question[] = {{"what", 4}, {NULL, 0}, {"ever", 4}, {"more", 4}, {"end", 3}};
    assert_int_equal(troupe__socket_send(client, question, 3), TROUPE_OK);
    expect(server, &frames);
    assert_int_equal(frames.count, 4);
    assert_false(frames.cut);
    assert_memory_equal(frames.part[1].data, "what", 4);
    assert_int_equal(frames.part[2].size, 0);
    struct troupe_bytes answer[] = {frames.part[0], {"that", 4}};
    assert_int_equal(troupe__socket_send(server, answer, 2), TROUPE_OK);
    expect(client, &frames);
    assert_int_equal(frames.count, 1);
    assert_memory_equal(frames.part[0].data, "that", 4);
    /* More frames than there is room for are cut off, and the next message is not touched. */
    assert_int_equal(troupe__socket_send(client, question, 5), TROUPE_OK);
    assert_int_equal(troupe__socket_send(client, question, 1), TROUPE_OK);
    expect(server, &frames);
    assert_true(frames.cut);
    expect(server, &frames);
    assert_int_equal(frames.count, 2);
    troupe__socket_close(client);
    troupe__socket_close(server);
}

/* An answer to a client that is gone is an error, not lost in silence. */
static void a_peer_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 0);
    assert_int_equal(troupe__socket_listen(server, endpoint, bound, error, sizeof error), TROUPE_OK);
    struct troupe_bytes answer[] = {{"nobody", 6}, {"that", 4}};
    assert_int_equal(troupe__socket_send(server, answer, 2), TROUPE_ENOTFOUND);
    troupe__socket_close(server);
}

/* A frame over the limit ends its connection; the next client is served. */
static void a_frame_over_the_limit_harms_its_sender_only(void **state)
{
    (void)state;
    static char big[1001];
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 1000);
    struct troupe__socket *bad = open_socket(TROUPE__SOCKET_DEALER, 0), *good = open_socket(TROUPE__SOCKET_DEALER, 0);
    struct troupe__frames frames;
    assert_int_equal(troupe__socket_listen(server, endpoint, bound, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_connect(bad, bound, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_connect(good, bound, error, sizeof error), TROUPE_OK);
    struct troupe_bytes message = {big, sizeof big};
    assert_int_equal(troupe__socket_send(bad, &message, 1), TROUPE_OK);
    message.size = 1000;
    assert_int_equal(troupe__socket_send(good, &message, 1), TROUPE_OK);
    expect(server, &frames);
    assert_int_equal(frames.part[1].size, 1000);
    troupe__socket_close(bad);
    troupe__socket_close(good);
    troupe__socket_close(server);
}

/* ZeroMQ itself would let the second one take the path away. */
static void two_servers_do_not_share_a_path(void **state)
{
    (void)state;
    struct troupe__socket *first = open_socket(TROUPE__SOCKET_ROUTER, 0);
    struct troupe__socket *second = open_socket(TROUPE__SOCKET_ROUTER, 0);
    assert_int_equal(troupe__socket_listen(first, endpoint, bound, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_listen(second, endpoint, bound, error, sizeof error), TROUPE_EBUSY);
    assert_non_null(strstr(error, "another process"));
    troupe__socket_close(second);
    troupe__socket_close(first);
}

/* The kernel takes 107 bytes, but a node's directory may have any path. */
static void a_long_path_is_as_good_as_a_short_one(void **state)
{
    (void)state;
    char deep[TROUPE__ENDPOINT_SIZE], long_endpoint[TROUPE__ENDPOINT_SIZE];
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 0);
    struct troupe__socket *client = open_socket(TROUPE__SOCKET_DEALER, 0);
    struct troupe__frames frames;
    snprintf(deep, sizeof deep, "%s/%0150d", directory, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    snprintf(long_endpoint, sizeof long_endpoint, "ipc://%.230s/s", deep);
    assert_int_equal(troupe__socket_connect(client, long_endpoint, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_send(client, &(struct troupe_bytes){"hello", 5}, 1), TROUPE_OK);
    assert_int_equal(troupe__socket_listen(server, long_endpoint, bound, error, sizeof error), TROUPE_OK);
    assert_string_equal(bound, long_endpoint);
    expect(server, &frames);
    assert_memory_equal(frames.part[frames.count - 1].data, "hello", 5);
    troupe__socket_close(client);
    troupe__socket_close(server);
    snprintf(long_endpoint, sizeof long_endpoint, "%.240s/s.lock", deep);
    assert_int_equal(unlink(long_endpoint), 0);
    assert_int_equal(rmdir(deep), 0); /* The socket's file is gone. */
}

static void expect_listening(const char *host)
{
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 0);
    struct troupe__socket *client = open_socket(TROUPE__SOCKET_DEALER, 0);
    struct troupe__frames frames;
    char at[TROUPE__ENDPOINT_SIZE];
    snprintf(at, sizeof at, "tcp://%s:*", host);
    assert_int_equal(troupe__socket_listen(server, at, bound, error, sizeof error), TROUPE_OK);
    assert_null(strstr(bound, host));
    assert_int_equal(troupe__socket_connect(client, bound, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__socket_send(client, &(struct troupe_bytes){"hello", 5}, 1), TROUPE_OK);
    expect(server, &frames);
    assert_int_equal(frames.count, 2);
    troupe__socket_close(client);
    troupe__socket_close(server);
}

/* ZeroMQ listens at addresses only; cluster files name hosts. localhost is known where no names are, as in a chroot. */
static void a_host_is_listened_at_by_its_name(void **state)
{
    (void)state;
    expect_listening("localhost");
    assert_true(troupe__endpoint_is_local(bound));
    char name[100] = "";
    struct addrinfo *found;
    assert_int_equal(gethostname(name, sizeof name - 1), 0);
    if (strcmp(name, "localhost") != 0 && getaddrinfo(name, NULL, NULL, &found) == 0) {
        freeaddrinfo(found);
        expect_listening(name);
    }
}

/* So that a wrong port is not taken for a slow node. */
static void whether_somebody_listens_can_be_asked(void **state)
{
    (void)state;
    struct troupe__socket *server = open_socket(TROUPE__SOCKET_ROUTER, 0);
    assert_true(troupe__endpoint_refuses(endpoint));
    assert_int_equal(troupe__socket_listen(server, endpoint, bound, error, sizeof error), TROUPE_OK);
    assert_false(troupe__endpoint_refuses(endpoint));
    assert_int_equal(troupe__socket_listen(server, "tcp://127.0.0.1:*", bound, error, sizeof error), TROUPE_OK);
    assert_false(troupe__endpoint_refuses(bound));
    troupe__socket_close(server);
    assert_true(troupe__endpoint_refuses(bound));
    assert_true(troupe__endpoint_refuses(endpoint));
    assert_false(troupe__endpoint_refuses("tcp://nowhere.invalid:1"));
}

static void wrong_endpoints_are_told(void **state)
{
    (void)state;
    struct troupe__socket *socket = open_socket(TROUPE__SOCKET_ROUTER, 0);
    static const char *const wrong[] = {"",
                                        "ipc://",
                                        "inproc://x",
                                        "/tmp/x",
                                        "tcp://127.0.0.1",
                                        "tcp://nowhere.invalid:1",
                                        "tcp://127.0.0.1:65536",
                                        "tcp://127.0.0.1:-1",
                                        "tcp://127.0.0.1:",
                                        "tcp://:1",
                                        "tcp://127.0.0.1:1x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(troupe__socket_listen(socket, wrong[i], bound, error, sizeof error), TROUPE_EINVAL);
    }
    static const char *const nowhere[] = {"tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_int_equal(troupe__socket_connect(socket, nowhere[i], error, sizeof error), TROUPE_EINVAL);
        assert_non_null(strstr(error, "a port from 1 to 65535"));
    }
    troupe__socket_close(socket);
    assert_true(troupe__endpoint_is_local("tcp://127.0.0.1:*") && troupe__endpoint_is_local("tcp://[::1]:5"));
    assert_true(troupe__endpoint_is_local("ipc:///tmp/x") && troupe__endpoint_is_local("tcp://localhost:5"));
    assert_false(troupe__endpoint_is_local("tcp://*:5") || troupe__endpoint_is_local("tcp://0.0.0.0:5"));
    assert_false(troupe__endpoint_is_local("tcp://127.example.org:5") ||
                 troupe__endpoint_is_local("tcp://lo.example:5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_and_its_answer_come_whole, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_peer_that_is_not_there_is_told, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_frame_over_the_limit_harms_its_sender_only, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(two_servers_do_not_share_a_path, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_long_path_is_as_good_as_a_short_one, make_directory, remove_directory),
        cmocka_unit_test(a_host_is_listened_at_by_its_name),
        cmocka_unit_test_setup_teardown(whether_somebody_listens_can_be_asked, make_directory, remove_directory),
        cmocka_unit_test(wrong_endpoints_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
