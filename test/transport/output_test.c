/* output_test.c - lines on a shared stream are whole whoever dies, and what others wrote to a file stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/output.h"

struct fixture {
    char directory[64], path[96], lock[96], error[512];
    struct troupe__output output;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->directory, sizeof f->directory, "/tmp/troupe_output_test_XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/out", f->directory);
    snprintf(f->lock, sizeof f->lock, "%s/lock", f->directory);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    unlink(f->lock);
    rmdir(f->directory);
    free(f);
    return 0;
}

static void add(struct troupe__output *output, uint64_t number, const char *text, size_t size)
{
    struct troupe__buffer body = {0};
    unsigned char head[] = {0xdb, (unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                            (unsigned char)size}; /* msgpack: a string */
    troupe__buffer_put(&body, head, sizeof head);
    troupe__buffer_put(&body, text, size);
    assert_int_equal(troupe__output_add(output, troupe_string("e"), number, troupe_string("k"),
                                        (struct troupe_bytes){body.data, body.size}),
                     TROUPE_OK);
    troupe__buffer_free(&body);
}

static void open_stream(struct fixture *f, const char *node)
{
    assert_int_equal(troupe__output_open(&f->output, f->path, f->error, sizeof f->error), TROUPE_OK);
    assert_int_equal(troupe__output_share(&f->output, f->lock, node, f->error, sizeof f->error), TROUPE_OK);
}

/* In a process of its own: more than a pipe holds, so that it is in the middle of it when it is killed. */
static pid_t start_writer(struct fixture *f)
{
    enum { SIZE = 1 << 20 };
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char *text = malloc(SIZE);
        memset(text, 'x', SIZE);
        open_stream(f, "n1");
        add(&f->output, 1, text, SIZE);
        (void)troupe__output_write(&f->output, f->error, sizeof f->error);
        _exit(0);
    }
    return pid;
}

static size_t drain(int fd, char *to, size_t room)
{
    size_t count = 0;
    for (ssize_t size; count < room && (size = read(fd, to + count, room - count)) > 0;) {
        count += (size_t)size;
    }
    return count;
}

/* Its half line is ended: the next one's is whole. And only one line is ended so. */
static void who_is_killed_in_the_middle_of_a_line_spoils_no_other(void **state)
{
    struct fixture *f = *state;
    static char seen[1 << 18];
    assert_int_equal(mkfifo(f->path, 0600), 0);
    int reader = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    pid_t pid = start_writer(f);
    struct pollfd readable = {reader, POLLIN, 0};
    assert_int_equal(poll(&readable, 1, 20000), 1); /* It has begun: with what it cannot end. */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    size_t before = drain(reader, seen, sizeof seen - 1);
    assert_true(before > 0 && before < sizeof seen - 1 && seen[before - 1] == 'x');
    open_stream(f, "n2");
    for (uint64_t i = 1; i <= 2; i++) {
        add(&f->output, i, "y", 1);
        assert_int_equal(troupe__output_write(&f->output, f->error, sizeof f->error), TROUPE_OK);
    }
    size_t after = drain(reader, seen, sizeof seen - 1);
    seen[after] = '\0';
    assert_string_equal(seen, "\n{\"node\":\"n2\",\"egress\":\"e\",\"seq\":1,\"key\":\"k\",\"body\":\"y\"}\n"
                              "{\"node\":\"n2\",\"egress\":\"e\",\"seq\":2,\"key\":\"k\",\"body\":\"y\"}\n");
    troupe__output_close(&f->output);
    close(reader);
}

static void write_file(const struct fixture *f, const char *bytes, size_t size)
{
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

/* Whether a node that has written `old` bytes, and is to repeat one record, may write on in a file that has these. */
static enum troupe_error check(struct fixture *f, const char *bytes, size_t size, size_t old)
{
    write_file(f, bytes, size);
    assert_int_equal(troupe__output_open(&f->output, f->path, f->error, sizeof f->error), TROUPE_OK);
    f->output.offset = old;
    add(&f->output, 1, "y", 1);
    enum troupe_error result = troupe__output_check_rest(&f->output, f->error, sizeof f->error);
    troupe__output_close(&f->output);
    return result;
}

static void only_the_beginning_of_what_is_repeated_is_overwritten(void **state)
{
    struct fixture *f = *state;
    static const char line[] = "{\"egress\":\"e\",\"seq\":1,\"key\":\"k\",\"body\":\"y\"}\n";
    size_t size = sizeof line - 1;
    char half[sizeof line], longer[sizeof line + 1];
    assert_int_equal(check(f, "old\n", 4, 4), TROUPE_OK);
    assert_int_equal(check(f, line, size, 0), TROUPE_OK);
    assert_int_equal(check(f, line, size / 2, 0), TROUPE_OK);
    memcpy(half, line, size);
    memset(half + 10, 0, 10); /* It did not reach the disk. */
    assert_int_equal(check(f, half, size, 0), TROUPE_OK);
    half[12] = '!';
    assert_int_equal(check(f, half, size, 0), TROUPE_EINVAL);
    assert_non_null(strstr(f->error, "somebody else writes there"));
    memcpy(longer, line, size);
    longer[size] = 'z';
    assert_int_equal(check(f, longer, size + 1, 0), TROUPE_EINVAL);
    assert_int_equal(check(f, "old\nother\n", 10, 4), TROUPE_EINVAL);
}

/* What cannot be read is not taken for one's own. */
static void what_has_become_shorter_meanwhile_is_an_error(void **state)
{
    struct fixture *f = *state;
    write_file(f, "12345678", 8);
    assert_int_equal(troupe__output_open(&f->output, f->path, f->error, sizeof f->error), TROUPE_OK);
    add(&f->output, 1, "y", 1);
    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(troupe__output_check_rest(&f->output, f->error, sizeof f->error), TROUPE_EIO);
    assert_non_null(strstr(f->error, f->path));
    troupe__output_close(&f->output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_killed_in_the_middle_of_a_line_spoils_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_beginning_of_what_is_repeated_is_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_become_shorter_meanwhile_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
