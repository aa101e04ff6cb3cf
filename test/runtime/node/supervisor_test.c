/* supervisor_test.c - which nodes are started again, and when that ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/node/supervisor.h"

struct node { /* shared with the process that plays it */
    struct troupe__guard *guard;
    unsigned starts, deaths; /* of the latter: how many it is to have, before it ends well */
    int signal;
    bool works;        /* before it dies */
    bool waits;        /* until it is told to stop, instead of ending */
    unsigned failures; /* of its starts: exit code 1 */
    bool hopeless;
};

static int play(void *context)
{
    struct node *node = context;
    node->starts++;
    if (node->works) {
        node->guard->opened = 1;
    }
    if (node->starts <= node->failures) {
        node->guard->hopeless = node->hopeless;
        _exit(EXIT_FAILURE);
    }
    if (node->starts <= node->deaths) {
        signal(node->signal, SIG_DFL); /* No sanitizer is to make a report of it. */
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        raise(node->signal);
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (int signal = 0; node->waits && signal != SIGTERM;) {
        sigwait(&signals, &signal);
    }
    _exit(0);
}

static char last_error[700];

static void log_line(void *context, enum troupe_level level, const char *text)
{
    (void)context;
    if (level == TROUPE_ERROR) {
        strncpy(last_error, text, sizeof last_error - 1);
    }
}

static struct node *new_nodes(size_t count)
{
    struct node *nodes = mmap(NULL, count * sizeof *nodes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(nodes != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        nodes[i].guard = troupe__guard_new();
        assert_non_null(nodes[i].guard);
    }
    last_error[0] = '\0';
    return nodes;
}

static int supervise(struct node *nodes, size_t count)
{
    static const char *const names[] = {"n1", "n2"};
    struct troupe__child children[2];
    for (size_t i = 0; i < count; i++) {
        children[i] = (struct troupe__child){.name = count > 1 ? names[i] : NULL,
                                             .guard = nodes[i].guard,
                                             .run = play,
                                             .context = &nodes[i],
                                             .needed = count > 1};
    }
    return troupe__supervise_pausing(children, count, 1, 60000, log_line, NULL);
}

static void free_nodes(struct node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        troupe__guard_free(nodes[i].guard);
    }
    munmap(nodes, count * sizeof *nodes);
}

/* As by damage that ends each start at the same place. */
static void a_node_that_dies_at_each_start_is_given_up_with_what_to_do(void **state)
{
    (void)state;
    struct node *node = new_nodes(1);
    node->signal = SIGSEGV;
    node->deaths = 1000;
    assert_int_equal(supervise(node, 1), EXIT_FAILURE);
    assert_int_equal(node->starts, TROUPE__DEATHS_MAX);
    assert_non_null(strstr(last_error, "given up"));
    assert_non_null(strstr(last_error, "troupe doctor"));
    free_nodes(node, 1);
}

static void a_node_that_dies_a_few_times_is_started_again(void **state)
{
    (void)state;
    struct node *node = new_nodes(1);
    node->signal = SIGSEGV;
    node->deaths = TROUPE__DEATHS_MAX - 1;
    assert_int_equal(supervise(node, 1), EXIT_SUCCESS);
    assert_int_equal(node->starts, TROUPE__DEATHS_MAX);
    free_nodes(node, 1);
}

/* By whoever does so: it could be opened. One that could not is as good as dead, e.g. for lack of memory. */
static void a_node_that_is_killed_while_it_works_is_never_given_up(void **state)
{
    (void)state;
    struct node *node = new_nodes(1);
    node->signal = SIGKILL;
    node->deaths = 3 * TROUPE__DEATHS_MAX;
    node->works = true;
    assert_int_equal(supervise(node, 1), EXIT_SUCCESS);
    assert_int_equal(node->starts, node->deaths + 1);
    free_nodes(node, 1);
    node = new_nodes(1);
    node->signal = SIGKILL;
    node->deaths = 3 * TROUPE__DEATHS_MAX;
    assert_int_equal(supervise(node, 1), EXIT_FAILURE);
    assert_int_equal(node->starts, TROUPE__DEATHS_MAX);
    assert_non_null(strstr(last_error, "memory"));
    free_nodes(node, 1);
}

static void one_of_several_that_is_given_up_ends_all(void **state)
{
    (void)state;
    struct node *nodes = new_nodes(2);
    nodes[0].waits = true;
    nodes[1].signal = SIGABRT;
    nodes[1].deaths = 1000;
    assert_int_equal(supervise(nodes, 2), EXIT_FAILURE);
    assert_int_equal(nodes[0].starts, 1);
    assert_int_equal(nodes[1].starts, TROUPE__DEATHS_MAX);
    assert_non_null(strstr(last_error, "n2: "));
    free_nodes(nodes, 2);
}

/* A wrong path at the start is for a person to mend; what is full may have room later. */
static void one_of_several_that_cannot_be_opened_ends_all_if_that_does_not_pass(void **state)
{
    (void)state;
    for (int hopeless = 0; hopeless < 2; hopeless++) {
        struct node *nodes = new_nodes(2);
        nodes[0].waits = hopeless;
        nodes[1].failures = 5;
        nodes[1].hopeless = hopeless;
        assert_int_equal(supervise(nodes, 2), hopeless ? EXIT_FAILURE : EXIT_SUCCESS);
        assert_int_equal(nodes[1].starts, hopeless ? 1 : 6);
        free_nodes(nodes, 2);
    }
}

/* But others go on when it was open before: its file may come back. */
static void one_of_several_that_cannot_be_opened_again_is_tried_for_ever(void **state)
{
    (void)state;
    struct node *nodes = new_nodes(2);
    nodes[1].works = nodes[1].hopeless = true;
    nodes[1].failures = 5;
    assert_int_equal(supervise(nodes, 2), EXIT_SUCCESS);
    assert_int_equal(nodes[1].starts, 6);
    free_nodes(nodes, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_dies_at_each_start_is_given_up_with_what_to_do),
        cmocka_unit_test(a_node_that_dies_a_few_times_is_started_again),
        cmocka_unit_test(a_node_that_is_killed_while_it_works_is_never_given_up),
        cmocka_unit_test(one_of_several_that_is_given_up_ends_all),
        cmocka_unit_test(one_of_several_that_cannot_be_opened_ends_all_if_that_does_not_pass),
        cmocka_unit_test(one_of_several_that_cannot_be_opened_again_is_tried_for_ever),
    };
    return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
