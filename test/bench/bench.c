/* bench.c - measures what a node does beside what the machine under it can do, in one run.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     bench [NAME...]      (default: all; the limits always run)
 *
 * Run from the project's root with BUILD (default "build"). Data: BUILD/bench-data, removed afterwards. Results: a
 * table, and BUILD/bench.tsv with name, value, unit, required, compared with, its value, ratio; "-" where there is
 * none. A value is the median of five runs (or five windows of one steady run) after a warm-up.
 * Each figure is measured in a process of its own, so that none inherits another's heap; it reports through a pipe.
 * Any failure ends that process: its figures are missing, and bench exits with 1. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/bench.h"

enum { FIGURES_MAX = 64 };

const char *bench_build = "build";
char bench_data_path[512];

void bench_fail(const char *file, int line, const char *what, const char *text)
{
    fprintf(stderr, "%s:%d: %s: %s %s\n", file, line, what, text, errno ? strerror(errno) : "");
    _exit(1);
}

/* ---- time and numbers -------------------------------------------------------------------------------------------- */

int64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t bench_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_percentile(double *values, size_t count, double part)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[(size_t)(part * (double)(count - 1))];
}

const char *bench_format_key(char buffer[24], uint64_t number)
{
    char *at = buffer + 23;
    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
    } while (number /= 10);
    return at;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

/* What is required: "at least" when positive, "at most" its opposite when negative, nothing when 0. */
struct figure {
    char name[32];
    double value;
    char unit[16];
    double required;
    char beside[32]; /* the figure it is compared with, "" for none */
};

static struct figure figures[FIGURES_MAX];
static size_t figure_count;
static int report_fd = -1;

/* What others do, noted on a machine of this kind when the requirements were set; docs/performance.md says more.
 * Printed behind the table, for whoever wants to compare. */
static const struct peer {
    const char *figure, *name;
    double value;
} peers[] = {
    {"ring", "CAF (volatile, one core)", 8.0e6},
    {"ring", "Erlang (volatile, one core)", 11.7e6},
    {"ring", "Pony's runtime (volatile, one core)", 76e6},
    {"ring", "Restate (durable)", 1679},
    {"big", "CAF (volatile, two cores)", 0.77e6},
    {"big", "Erlang (volatile, two cores)", 0.46e6},
    {"big", "Pony's runtime (volatile, two cores)", 3.2e6},
    {"update_p50_us", "Restate over HTTP (durable)", 3200},
    {"open_p99", "LMDB committed directly, at 49,000/s", 18},
    {"recover", "Restate", 13.5},
    {"rss_idle", "Restate", 272},
    {"size", "Restate", 225},
    {"cold_start", "Restate", 200},
    {"actor_bytes", "phony (Go, volatile)", 92},
    {"actor_bytes", "Pony's runtime (volatile)", 546},
    {"actor_bytes", "CAF (volatile)", 1420},
    {"actor_bytes", "Erlang (volatile)", 2831},
};

static const struct figure *find_figure(const char *name)
{
    for (size_t i = 0; i < figure_count; i++) {
        if (strcmp(figures[i].name, name) == 0) {
            return &figures[i];
        }
    }
    return NULL;
}

double bench_figure(const char *name)
{
    const struct figure *figure = find_figure(name);
    return figure ? figure->value : 0;
}

/* In a measuring process: hand a figure to the parent. */
void bench_report(const char *name, double value, const char *unit, double required, const char *beside)
{
    struct figure figure = {.value = value, .required = required};
    snprintf(figure.name, sizeof figure.name, "%s", name);
    snprintf(figure.unit, sizeof figure.unit, "%s", unit);
    snprintf(figure.beside, sizeof figure.beside, "%s", beside);
    CHECK(write(report_fd, &figure, sizeof figure) == sizeof figure);
}

static void print_figure(FILE *tsv, const struct figure *figure)
{
    char required[32] = "-", other[32] = "-", ratio[32] = "-";
    const struct figure *beside = figure->beside[0] ? find_figure(figure->beside) : NULL;
    if (figure->required != 0) {
        snprintf(required, sizeof required, "%s%.10g",
                 figure->required > 0 ? ">=" : "<=", figure->required > 0 ? figure->required : -figure->required);
    }
    if (beside) {
        double value = beside->value;
        value /= strcmp(figure->unit, "ms") == 0 && strcmp(beside->unit, "us") == 0 ? 1000 : 1;
        snprintf(other, sizeof other, "%.6g", value);
        snprintf(ratio, sizeof ratio, "%.3g", figure->value / value);
    }
    const char *verdict = "";
    if (figure->required != 0) {
        bool met = figure->required > 0 ? figure->value >= figure->required : figure->value <= -figure->required;
        verdict = met ? "met" : "MISSED";
    }
    printf("%-20s %14.6g %-8s %-12s %-22s %12s %8s  %s\n", figure->name, figure->value, figure->unit, required,
           beside ? figure->beside : "-", other, ratio, verdict);
    fprintf(tsv, "%s\t%.6g\t%s\t%s\t%s\t%s\t%s\n", figure->name, figure->value, figure->unit, required,
            beside ? figure->beside : "-", other, ratio);
    fflush(stdout);
}

static void print_peers(void)
{
    printf("\nOthers, not measured in this run:\n");
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        const struct figure *figure = find_figure(peers[i].figure);
        if (figure) {
            printf("%-20s %14.6g %-8s %-38s %12.6g %8.3g\n", figure->name, figure->value, figure->unit, peers[i].name,
                   peers[i].value, figure->value / peers[i].value);
        }
    }
}

/* ---- files and processes ----------------------------------------------------------------------------------------- */

void bench_remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    if (directory) {
        for (struct dirent *entry; (entry = readdir(directory));) {
            char inner[1024];
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
                bench_remove_tree(inner);
            }
        }
        closedir(directory);
        rmdir(path);
    } else {
        unlink(path);
    }
}

const char *bench_directory(void)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/node", bench_data_path);
    bench_remove_tree(path);
    return path;
}

/* A number of a /proc status file, 0 when it is not there. */
double bench_status_number(const char *path, const char *name)
{
    char line[256];
    double number = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            number = strtod(line + strlen(name) + 1, NULL);
        }
    }
    if (file) {
        fclose(file);
    }
    return number;
}

/* The thread that calls, and those it starts from then on. A machine with one core is left alone. */
void bench_use_core(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

double bench_switches(int pid)
{
    char path[600];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", pid, task->d_name);
        sum += bench_status_number(path, "voluntary_ctxt_switches");
    }
    closedir(tasks);
    return sum;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static const struct measurement {
    const char *names; /* what selects it, blank-separated */
    void (*measure)(void);
    bool always;
} measurements[] = {
    {"append_sync_p50", measure_append, true},
    {"lmdb_commit_p50", measure_lmdb, true},
    {"zmq_one_way", measure_zmq, true},
    {"zmq_batches zmq_curve_batches", measure_zmq_batches, true},
    {"ring", measure_ring, false},
    {"big", measure_big, false},
    {"update_p50", measure_update, false},
    {"open_p50 open_p99 open", measure_open, false},
    {"bank_file", measure_bank_file, false},
    {"recover", measure_recover, false},
    {"link", measure_link, false},
    {"link_curve", measure_link_curve, false},
    {"link_rtt", measure_link_rtt, false},
    {"chain chain_1000", measure_chain, false},
    {"link_64 idle_wakeups_64", measure_many_nodes, false},
    {"snapshot_stall snapshot_throughput snapshot_size file_growth", measure_snapshot_load, false},
    {"snapshot_time", measure_snapshot_time, false},
    {"cut_cost", measure_cut_cost, false},
    {"restore_limit restore_same restore_time restore", measure_restore, false},
    {"actor_bytes actor_bytes_idle", measure_actor_bytes, false},
    {"growth", measure_growth, false},
    {"size", measure_size, false},
    {"rss_idle cold_start idle_wakeups idle", measure_idle, false},
    {"sim_rate sim_speed sim_hash sim", measure_sim, false},
};

static bool selected(const struct measurement *measurement, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char padded[128], name[128];
        snprintf(padded, sizeof padded, " %s ", measurement->names);
        snprintf(name, sizeof name, " %s ", argv[i]);
        if (strstr(padded, name)) {
            return true;
        }
    }
    return argc == 1 || measurement->always;
}

/* Measure in a process of its own; returns false when that failed. */
static bool measure_apart(const struct measurement *measurement, FILE *tsv)
{
    int fds[2], status;
    struct figure figure;
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    sync(); /* What the figure before left to be written is not this one's. */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        fcntl(fds[1], F_SETFD, FD_CLOEXEC);
        report_fd = fds[1];
        measurement->measure();
        _exit(0);
    }
    close(fds[1]);
    while (read(fds[0], &figure, sizeof figure) == sizeof figure) {
        CHECK(figure_count < FIGURES_MAX);
        figures[figure_count++] = figure;
        print_figure(tsv, &figure);
    }
    close(fds[0]);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    char path[600];
    bool ok = true;
    if (getenv("BUILD")) {
        bench_build = getenv("BUILD");
    }
    signal(SIGPIPE, SIG_IGN);
    snprintf(bench_data_path, sizeof bench_data_path, "%.400s/bench-data", bench_build);
    bench_remove_tree(bench_data_path);
    snprintf(path, sizeof path, "%s/bench.tsv", bench_build);
    FILE *tsv = fopen(path, "w");
    CHECK(mkdir(bench_data_path, 0700) == 0 && tsv);
    for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++) {
        if (selected(&measurements[i], argc, argv)) {
            ok = measure_apart(&measurements[i], tsv) && ok;
        }
    }
    fclose(tsv);
    print_peers();
    bench_remove_tree(bench_data_path);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
