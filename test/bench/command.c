/* command.c - `troupe run` as a process: its speed from file to file, its size, its start, and its start after a kill.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/bench.h"
#include "transport/protocol.h"
#include "transport/socket.h"

/* Start `troupe run`; `ret_in` and `ret_out` (may be NULL) become its standard input and output. */
static pid_t start_troupe(const char *module_name, const char *input, const char *output, int *ret_in, int *ret_out)
{
    char command[600], module_path[600], node_path[600];
    int in[2], out[2];
    snprintf(command, sizeof command, "%s/troupe", bench_build);
    snprintf(module_path, sizeof module_path, "%s/samples/%s.so", bench_build, module_name);
    snprintf(node_path, sizeof node_path, "%s/node", bench_data_path);
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++) {
            close(fd);
        }
        execl(command, command, "run", module_path, "--data", node_path, "--input", input, "--output", output, "--log",
              "error", ret_in ? (char *)NULL : "--until-idle", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    if (ret_in) {
        *ret_in = in[1];
        *ret_out = out[0];
    } else {
        close(in[1]);
        close(out[0]);
    }
    return pid;
}

/* The lines of a file. */
static size_t count_lines(const char *path)
{
    static char bytes[1 << 18];
    size_t lines = 0;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    for (ssize_t size; (size = read(fd, bytes, sizeof bytes)) > 0;) {
        for (const char *at = bytes, *end = bytes + size; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) {
            lines++;
        }
    }
    close(fd);
    return lines;
}

/* What the machine can do at most: read the input, write as much as the output is, sync. Returns seconds. */
static double copy_file(const char *input, const char *output)
{
    static char bytes[1 << 18];
    char path[600];
    struct stat status;
    snprintf(path, sizeof path, "%s/copy", bench_data_path);
    CHECK(stat(output, &status) == 0);
    int64_t start = bench_now_ns();
    int in = open(input, O_RDONLY), out = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(in >= 0 && out >= 0);
    while (read(in, bytes, sizeof bytes) > 0) {
    }
    for (off_t left = status.st_size; left > 0; left -= sizeof bytes) {
        size_t size = left < (off_t)sizeof bytes ? (size_t)left : sizeof bytes;
        CHECK(write(out, bytes, size) == (ssize_t)size);
    }
    CHECK(fdatasync(out) == 0);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    close(in);
    close(out);
    unlink(path);
    return seconds;
}

static double children_cpu_us(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void measure_bank_file(void)
{
    enum { TRANSFERS = 400000 };
    char input[600], output[600], command[2000];
    double rates[RUNS + 1], copies[RUNS + 1], cpu_us[RUNS + 1];
    snprintf(input, sizeof input, "%s/transfers.jsonl", bench_data_path);
    snprintf(output, sizeof output, "%s/out.jsonl", bench_data_path);
    snprintf(command, sizeof command, "awk -v transfers=%d -v accounts=1000 -f samples/bank/transfers.awk > %s",
             TRANSFERS, input);
    CHECK(system(command) == 0);
    for (int run = 0; run <= RUNS; run++) {
        int status;
        bench_directory();
        unlink(output);
        double cpu_before_us = children_cpu_us();
        int64_t start = bench_now_ns();
        pid_t pid = start_troupe("bank", input, output, NULL, NULL);
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        rates[run] = TRANSFERS * 1e9 / (double)(bench_now_ns() - start);
        cpu_us[run] = (children_cpu_us() - cpu_before_us) / TRANSFERS;
        CHECK(count_lines(output) == TRANSFERS);
        copies[run] = TRANSFERS / copy_file(input, output);
    }
    bench_report("file_copy", bench_percentile(copies + 1, RUNS, 0.5), "/s", 0, "");
    bench_report("bank_file", bench_percentile(rates + 1, RUNS, 0.5), "/s", 4e5, "file_copy");
    bench_report("bank_cpu", bench_percentile(cpu_us + 1, RUNS, 0.5), "us", 0, "");
}

static double stripped_size(const char *name)
{
    char path[600], command[2000];
    struct stat status;
    snprintf(path, sizeof path, "%s/stripped", bench_data_path);
    snprintf(command, sizeof command, "strip -o %s %s/%s", path, bench_build, name);
    CHECK(system(command) == 0 && stat(path, &status) == 0);
    unlink(path);
    return (double)status.st_size;
}

void measure_size(void)
{
    bench_report("size", (stripped_size("libtroupe.so") + stripped_size("troupe")) / 1e6, "MB", -2, "");
}

/* The node that the supervisor `pid` has started. */
static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    CHECK(file && fscanf(file, "%d", &child) == 1);
    fclose(file);
    return child;
}

/* What a node and its supervisor hold together: all that the node has, and what the supervisor has alone. Pages of
 * libraries that both have are there once. */
static double resident_mb(pid_t supervisor, pid_t node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)node);
    double kib = bench_status_number(path, "VmRSS");
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)supervisor);
    kib += bench_status_number(path, "Private_Clean") + bench_status_number(path, "Private_Dirty");
    return kib * 1024 / 1e6;
}

/* Ask the node that starts on `node_path`, as soon as it listens, until it answers. */
static void ask_greeter(const char *node_path, const char *key)
{
    char path[700], endpoint[700], error[300], to[64];
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_DEALER};
    struct troupe__socket *socket;
    struct troupe__buffer out = {0};
    struct troupe__frames frames;
    snprintf(path, sizeof path, "%s/endpoint", node_path);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/socket", node_path);
    snprintf(to, sizeof to, "demo/greeter/%s", key);
    for (int64_t end = bench_now_ns() + INT64_C(10000000000); access(path, F_OK) != 0;) {
        CHECK(bench_now_ns() < end);
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    CHECK(troupe__socket_open(&options, &socket, error, sizeof error) == TROUPE_OK);
    CHECK(troupe__socket_connect(socket, endpoint, error, sizeof error) == TROUPE_OK);
    struct troupe__request request = {.number = 1, .what = "ask", .to = to, .type = "hello", .timeout_ms = 10000};
    troupe__request_put(&out, &request);
    struct troupe_bytes part = {out.data, out.size};
    CHECK(troupe__socket_send(socket, &part, 1) == TROUPE_OK);
    CHECK(troupe__socket_wait(socket, TROUPE__SOCKET_READABLE, 10000) & TROUPE__SOCKET_READABLE);
    struct troupe__reply reply;
    CHECK(troupe__socket_receive(socket, &frames) == TROUPE_OK && frames.count == 1);
    CHECK(troupe__reply_parse(frames.part[0], &out, &reply) == TROUPE_OK && reply.ok && reply.type);
    troupe__socket_close(socket);
    troupe__buffer_free(&out);
}

/* The time from start to the first answered ask, in milliseconds; the node stays up. */
static double start_and_ask(const char *output, pid_t *ret_pid, int *ret_in, int *ret_out)
{
    char node_path[600];
    snprintf(node_path, sizeof node_path, "%s/node", bench_data_path);
    int64_t start = bench_now_ns();
    *ret_pid = start_troupe("greeter", "-", output, ret_in, ret_out);
    ask_greeter(node_path, "ann");
    return (double)(bench_now_ns() - start) / 1e6;
}

static void stop_troupe(pid_t pid, int in, int out)
{
    CHECK(kill(pid, SIGTERM) == 0 && waitpid(pid, NULL, 0) == pid);
    close(in);
    close(out);
}

void measure_idle(void)
{
    double times[RUNS], rss[RUNS];
    int in, out;
    pid_t pid;
    bench_directory();
    start_and_ask("-", &pid, &in, &out);
    stop_troupe(pid, in, out);
    for (int run = 0; run < RUNS; run++) {
        times[run] = start_and_ask("-", &pid, &in, &out);
        usleep(200000);
        rss[run] = resident_mb(pid, child_of(pid));
        if (run < RUNS - 1) {
            stop_troupe(pid, in, out);
        }
    }
    sleep(3); /* Until the last answer is synced, marked and folded. */
    pid_t node = child_of(pid);
    double before = bench_switches(pid) + bench_switches(node);
    sleep(5);
    double switches = bench_switches(pid) + bench_switches(node) - before;
    stop_troupe(pid, in, out);
    bench_report("rss_idle", bench_percentile(rss, RUNS, 0.5), "MB", -10, "");
    bench_report("cold_start", bench_percentile(times, RUNS, 0.5), "ms", -20, "");
    bench_report("idle_wakeups", switches / 5, "/s", -1, "");
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

enum { RECOVER_UPDATES = 100000 };

static off_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_size : 0;
}

/* Greet as many actors, and kill the node when they are durable and hardly anything of it is folded. */
static void update_and_kill(const char *output)
{
    static const char record[] = "{\"egress\":\"greetings\",\"seq\":12345,\"key\":\"012345\","
                                 "\"body\":{\"text\":\"Hello, 012345!\",\"count\":1}}\n";
    char line[128];
    int in, out, status;
    pid_t pid = start_troupe("greeter", "-", output, &in, &out);
    FILE *file = fdopen(in, "w");
    CHECK(file);
    for (int i = 0; i < RECOVER_UPDATES * 11 / 10; i++) {
        int size = snprintf(line, sizeof line, "{\"to\":\"demo/greeter/%06d\",\"type\":\"hello\"}\n", i);
        CHECK(fwrite(line, 1, (size_t)size, file) == (size_t)size);
    }
    CHECK(fflush(file) == 0);
    while (size_of(output) < (off_t)(sizeof record * RECOVER_UPDATES)) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    pid_t node = child_of(pid);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid); /* And with it the node. */
    kill(node, SIGKILL);
    fclose(file);
    close(out);
}

void measure_recover(void)
{
    double times[RUNS + 1];
    char endpoint[700], output[700];
    snprintf(endpoint, sizeof endpoint, "%s/node/endpoint", bench_data_path);
    snprintf(output, sizeof output, "%s/recover.jsonl", bench_data_path);
    for (int run = 0; run <= RUNS; run++) {
        int in, out;
        pid_t pid;
        bench_directory();
        unlink(output);
        update_and_kill(output);
        CHECK(unlink(endpoint) == 0); /* So that the new one's is told from it. */
        times[run] = start_and_ask(output, &pid, &in, &out) / 1000;
        stop_troupe(pid, in, out);
    }
    bench_report("recover", bench_percentile(times + 1, RUNS, 0.5), "s", -0.5, "");
}
