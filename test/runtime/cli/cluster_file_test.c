/* cluster_file_test.c - a cluster file says who owns every slot, or what is wrong and on which line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"
#include "transport/keys.h"

static char path[64];

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/troupe_cluster_XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static enum troupe_error read_text(const char *text, struct troupe__cluster *ret, char error[static 512])
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    error[0] = '\0';
    return troupe__cluster_file_read(path, ret, error, 512);
}

#define HEAD "cluster: \"0123456789abcdef\"\ngeneration: 3\nnodes:\n"
#define N1 "  - name: n1\n    endpoint: tcp://127.0.0.1:7001\n"
#define ONE HEAD N1 "    slots: 0-4095\n"
#define N2 "  - name: n2\n    endpoint: ipc:///tmp/n2\n"
#define KEY "    public_key: \"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"\n"

static void a_good_file_is_read(void **state)
{
    (void)state;
    struct troupe__cluster cluster;
    char error[512];
    enum troupe_error result =
        read_text(HEAD N1 KEY "    slots: 0-1000, 4095\n" N2 KEY "    slots: 1001 - 4094\n", &cluster, error);
    assert_string_equal(error, "");
    assert_int_equal(result, TROUPE_OK);
    assert_true(cluster.slots.cluster == UINT64_C(0x0123456789abcdef) && cluster.slots.generation == 3);
    assert_int_equal(cluster.slots.node_count, 2);
    assert_int_equal(cluster.slots.owner[1000], 0);
    assert_int_equal(cluster.slots.owner[1001], 1);
    assert_int_equal(cluster.slots.owner[4095], 0);
    assert_string_equal(cluster.nodes[1].endpoint, "ipc:///tmp/n2");
    assert_true(cluster.keys);
    assert_int_equal(troupe__cluster_find(&cluster, "n2"), 1);
    assert_int_equal(troupe__cluster_find(&cluster, "n3"), -1);
    troupe__cluster_fini(&cluster);
}

/* Each with the line that is wrong, and a word of why. */
static void what_is_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line, *why;
    } cases[] = {
        {HEAD N1 "    slots: 0-4000\n" N2 "    slots: 4002-4095\n", ":3: ", "slots 4001 to 4001 belong to no node"},
        {HEAD N1 "    slots: 0-4000\n" N2 "    slots: 4000-4095\n", ":9: ", "slot 4000 belongs to node 'n1' already"},
        {HEAD N1 "    slots: 0-4095\n" N1 "    slots: 1\n", ":7: ", "two nodes named 'n1'"},
        {HEAD N1 "    slots: 0-4095\n    color: red\n", ":7: ", "unknown key 'color'"},
        {"cluster: 1\n" N1, ":", ""},
        {"cluster: \"0123456789abcdeg\"\ngeneration: 1\nnodes:\n" N1 "    slots: 0-4095\n", ":1: ", "16 digits"},
        {"cluster: \"0123456789abcdef\"\ngeneration: 0\nnodes:\n" N1 "    slots: 0-4095\n", ":2: ", "from 1 on"},
        {"cluster: \"0123456789abcdef\"\ngeneration: 1\nnodes: 5\n", ":3: ", "list of nodes"},
        {"cluster: \"0123456789abcdef\"\ngeneration: 1\n", ":1: ", "list of nodes"},
        {HEAD N1, ":4: ", "'slots' is missing"},
        {HEAD N1 "    slots: 4096\n", ":6: ", "numbers from 0 to 4095"},
        {HEAD N1 "    slots: 0-4096\n", ":6: ", "no good end"},
        {HEAD N1 "    slots: 9-4\n", ":6: ", "no good end"},
        {HEAD N1 "    slots: 1,,2\n", ":6: ", "numbers from 0"},
        {HEAD N1 "    slots: 1 2\n", ":6: ", "a comma"},
        {HEAD "  - name: \"n 1\"\n    endpoint: tcp://h:1\n    slots: 0\n", ":4: ", "a node's name"},
        {HEAD "  - name: n1\n    endpoint: udp://h:1\n    slots: 0\n", ":5: ", "an endpoint is"},
        {HEAD "  - name: n1\n    endpoint: tcp://h\n    slots: 0\n", ":5: ", "an endpoint is"},
        {HEAD "  - n1\n", ":4: ", "a node is a map"},
        {HEAD N1 KEY "    slots: 0-10\n" N2 "    slots: 11-4095\n", ":8: ", "either all nodes"},
        {HEAD N1 "    public_key: short\n    slots: 0-4095\n", ":6: ", "40 characters"},
        {HEAD "  - name: n1\n    endpoint: tcp://h:65536\n    slots: 0\n", ":5: ", "an endpoint is"},
        {HEAD N1 "    slots: 0-2047\n" N2 "    client_endpoint: tcp://127.0.0.1:7001\n    slots: 2048-4095\n",
         ":9: ", "node 'n1' has this endpoint already"},
        {HEAD N1 "    client_endpoint: here\n    slots: 0-4095\n", ":6: ", "a client_endpoint is"},
        {HEAD N1 "    client_endpoint: tcp://127.0.0.1:7001\n    slots: 0-4095\n", ":6: ", "another one than endpoint"},
        {HEAD N1 "    slots: 0-4095\nclients:\n  - name: ops\n" KEY, ":7: ", "whose nodes have keys"},
        {HEAD N1 KEY "    slots: 0-4095\nclients:\n  - name: ops\n", ":9: ", "'public_key' is missing"},
        {HEAD N1 KEY "    slots: 0-4095\nclients:\n  - ops\n", ":9: ", "a client is a map"},
        {HEAD N1 KEY "    slots: 0-4095\nclients:\n  - name: ops\n    public_key: x\n", ":10: ", "40 characters"},
        {ONE "snapshots: often\n", ":7: ", "takes a map"},
        {ONE "snapshots:\n  keep: 3\n", ":7: ", "'every' is missing"},
        {ONE "snapshots:\n  every: 10\n", ":8: ", "10m"},
        {ONE "snapshots:\n  every: 10m\n  keep: 0\n", ":9: ", "'keep' takes a number"},
        {ONE "snapshots:\n  every: 10m\n  keep: 24h\n", ":9: ", "'keep' takes a number"},
        {ONE "snapshots:\n  every: 10m\n  check: maybe\n", ":9: ", "true or false"},
        {ONE "snapshots:\n  every: 10m\n  node: n7\n", ":9: ", "no node 'n7'"},
        {ONE "snapshots:\n  every: 10m\n  to: here\n", ":9: ", "absolute path"},
        {ONE "snapshots:\n  every: 10m\n  when: now\n", ":9: ", "unknown key 'when'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct troupe__cluster cluster;
        char error[512];
        assert_int_equal(read_text(cases[i].text, &cluster, error), TROUPE_EINVAL);
        if (!strstr(error, cases[i].line) || !strstr(error, cases[i].why) || strncmp(error, path, strlen(path)) != 0) {
            fail_msg("case %zu says: %s", i, error);
        }
    }
}

static void snapshots_by_the_clock_need_only_a_time(void **state)
{
    (void)state;
    struct troupe__cluster cluster;
    char error[512];
    assert_int_equal(read_text(ONE, &cluster, error), TROUPE_OK);
    assert_int_equal(cluster.snapshots.every_ms, 0);
    troupe__cluster_fini(&cluster);
    assert_int_equal(read_text(ONE "snapshots:\n  every: 6h\n", &cluster, error), TROUPE_OK);
    assert_int_equal(cluster.snapshots.every_ms, 6 * 3600 * 1000);
    assert_int_equal(cluster.snapshots.keep, 24);
    assert_false(cluster.snapshots.check);
    assert_int_equal(cluster.snapshots.node, 0);
    assert_string_equal(cluster.snapshots.to, "");
    troupe__cluster_fini(&cluster);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static const char key[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    struct troupe__cluster_node nodes[3] = {{"a", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", ""},
                                            {"b", "ipc:///x", "", ""},
                                            {"c", "ipc:///y", "ipc:///z", ""}};
    struct troupe__cluster_client clients[2] = {{"ops", ""}, {"web", ""}};
    struct troupe__cluster cluster = {.nodes = nodes, .clients = clients, .client_count = 2, .keys = true}, again;
    char error[512] = "";
    for (size_t i = 0; i < 5; i++) {
        strcpy(i < 3 ? nodes[i].public_key : clients[i - 3].public_key, key);
    }
    cluster.snapshots = (struct troupe__cluster_snapshots){5400 * 1000, 7, true, 2, "/var/it's \"here\": #1"};
    troupe__slots_spread(&cluster.slots, UINT64_C(0xfedcba9876543210), 7, 3);
    assert_int_equal(troupe__slots_give(&cluster.slots, 17, 17, 2), TROUPE_OK);
    assert_int_equal(troupe__cluster_file_write(path, &cluster, error, sizeof error), TROUPE_EBUSY);
    unlink(path);
    assert_int_equal(troupe__cluster_file_write(path, &cluster, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__cluster_file_read(path, &again, error, sizeof error), TROUPE_OK);
    assert_memory_equal(&again.slots, &cluster.slots, sizeof cluster.slots);
    assert_memory_equal(again.nodes, nodes, sizeof nodes);
    assert_int_equal(again.client_count, 2);
    assert_memory_equal(again.clients, clients, sizeof clients);
    assert_true(again.snapshots.every_ms == 5400 * 1000 && again.snapshots.keep == 7 && again.snapshots.check);
    assert_int_equal(again.snapshots.node, 2);
    assert_string_equal(again.snapshots.to, cluster.snapshots.to);
    troupe__cluster_fini(&again);
}

static void write_anew(const struct troupe__cluster *cluster)
{
    char error[512] = "";
    unlink(path);
    assert_int_equal(troupe__cluster_file_write(path, cluster, error, sizeof error), TROUPE_OK);
}

/* Of a cluster that is in use only keys change: other ones of nodes, clients more and less. Anything else, or a file
 * that cannot be read, changes nothing. */
static void only_keys_are_taken_up_from_a_file_that_changes(void **state)
{
    (void)state;
    static const char *const keys[] = {"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
                                       "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"};
    struct troupe__cluster_node nodes[2] = {{"a", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", ""},
                                            {"b", "tcp://127.0.0.1:3", "tcp://127.0.0.1:4", ""}};
    struct troupe__cluster_client clients[2] = {{"ops", ""}, {"web", ""}};
    struct troupe__cluster file = {.nodes = nodes, .clients = clients, .client_count = 1, .keys = true}, used;
    char error[512] = "";
    bool changed = true;
    for (size_t i = 0; i < 2; i++) {
        strcpy(nodes[i].public_key, keys[i]);
        strcpy(clients[i].public_key, keys[1 - i]);
    }
    troupe__slots_spread(&file.slots, 7, 3, 2);
    write_anew(&file);
    assert_int_equal(troupe__cluster_file_read(path, &used, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_OK);
    assert_false(changed);

    file.client_count = 2;
    strcpy(nodes[1].public_key, keys[0]);
    write_anew(&file);
    assert_int_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_OK);
    assert_true(changed && used.client_count == 2);
    assert_string_equal(used.clients[1].name, "web");
    assert_string_equal(used.nodes[1].public_key, keys[0]);

    file.client_count = 0;
    strcpy(nodes[0].clients, "tcp://127.0.0.1:5");
    write_anew(&file);
    assert_int_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_EINVAL);
    assert_non_null(strstr(error, "more than keys has changed"));
    strcpy(nodes[0].clients, "tcp://127.0.0.1:2");
    file.snapshots = (struct troupe__cluster_snapshots){.every_ms = 60000, .keep = 3};
    write_anew(&file);
    assert_int_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_EINVAL);
    unlink(path);
    assert_int_not_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_OK);
    assert_int_equal(used.client_count, 2);

    file.snapshots = (struct troupe__cluster_snapshots){.every_ms = 0};
    write_anew(&file);
    assert_int_equal(troupe__cluster_file_reread(path, &used, &changed, error, sizeof error), TROUPE_OK);
    assert_true(changed && used.client_count == 0);
    troupe__cluster_fini(&used);
}

/* A node tells its clients of the troupe what they need; what is cut off or no such text is refused. */
static void what_a_node_tells_of_its_troupe_is_read_back(void **state)
{
    (void)state;
    struct troupe__cluster_node nodes[2] = {{"a", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", ""},
                                            {"b", "ipc:///x", "", ""}};
    struct troupe__cluster cluster = {.nodes = nodes}, again;
    struct troupe__buffer text = {0};
    uint16_t self;
    troupe__slots_spread(&cluster.slots, 0xabc, 7, 2);
    assert_int_equal(troupe__slots_give(&cluster.slots, 17, 17, 1), TROUPE_OK);
    troupe__cluster_describe(&cluster, 1, &text);
    troupe__buffer_put_byte(&text, 0);
    assert_int_equal(troupe__cluster_read_description((const char *)text.data, &again, &self), TROUPE_OK);
    assert_int_equal(self, 1);
    assert_memory_equal(&again.slots, &cluster.slots, sizeof cluster.slots);
    assert_string_equal(again.nodes[0].name, "a");
    assert_string_equal(again.nodes[0].clients, "tcp://127.0.0.1:2");
    assert_string_equal(again.nodes[1].clients, "");
    assert_false(again.keys);
    troupe__cluster_fini(&again);
    static const char *const wrong[] = {"",
                                        "abc\t7\ta",
                                        "abc\t7\tc\na\t\t\t0",
                                        "abc\t7\ta\na\t\t\t0-4096",
                                        "abc\t7\ta\na\t\t\t5-x",
                                        "abc\t7\ta\na b\t\t\t0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(troupe__cluster_read_description(wrong[i], &again, &self), TROUPE_ECORRUPT);
    }
    troupe__buffer_free(&text);
}

/* A secret key is for its owner's eyes; one that others can read is refused. */
static void a_key_is_kept_from_others(void **state)
{
    (void)state;
    struct troupe__key_pair pair, again;
    char error[512] = "";
    struct stat status;
    unlink(path);
    assert_int_equal(troupe__keys_make(&pair, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__keys_write(path, &pair, error, sizeof error), TROUPE_OK);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(troupe__keys_read(path, &again, error, sizeof error), TROUPE_OK);
    assert_string_equal(again.public_key, pair.public_key);
    assert_string_equal(again.secret_key, pair.secret_key);
    assert_int_equal(troupe__keys_write(path, &pair, error, sizeof error), TROUPE_EBUSY);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(troupe__keys_read(path, &again, error, sizeof error), TROUPE_EINVAL);
    assert_non_null(strstr(error, "read by others"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(troupe__keys_read(path, &again, error, sizeof error), TROUPE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_file_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named_with_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_by_the_clock_need_only_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(only_keys_are_taken_up_from_a_file_that_changes, setup, teardown),
        cmocka_unit_test(what_a_node_tells_of_its_troupe_is_read_back),
        cmocka_unit_test_setup_teardown(a_key_is_kept_from_others, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
