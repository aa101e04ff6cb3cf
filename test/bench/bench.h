/* bench.h - what the files of the bench share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_TEST_BENCH_H
#define TROUPE_TEST_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum { RUNS = 5, SYNCS = 300 };

/* Any failure ends the measuring process. */
#define CHECK(truth) ((truth) ? (void)0 : bench_fail(__FILE__, __LINE__, #truth, ""))
_Noreturn void bench_fail(const char *file, int line, const char *what, const char *text);

extern const char *bench_build;   /* where the product was built */
extern char bench_data_path[512]; /* a directory for whatever a figure needs */

int64_t bench_now_ns(void);
int64_t bench_wall_ms(void);

/* The next one; never 0 if `*state` was not. */
uint64_t bench_random(uint64_t *state);

/* Sorts `values`; `part` is 0 to 1. */
double bench_percentile(double *values, size_t count, double part);

/* Hand a figure to the parent. `required`: at least that when positive, at most its opposite when negative, nothing
 * when 0. `beside` is the figure it is compared with, "" for none. */
void bench_report(const char *name, double value, const char *unit, double required, const char *beside);

/* The value of a figure that was measured before. */
double bench_figure(const char *name);

void bench_remove_tree(const char *path);

/* A path where nothing is. Valid until the next call. */
const char *bench_directory(void);

/* Pin the thread that calls, and those it starts from then on. A machine with one core is left alone. */
void bench_use_core(int core);

/* A number of a /proc status file, 0 when it is not there. */
double bench_status_number(const char *path, const char *name);

/* How often the threads of a process have waited for something. */
double bench_switches(int pid);

/* A number in decimal. */
const char *bench_format_key(char buffer[static 24], uint64_t number);

/* ---- what the other files measure -------------------------------------------------------------------------------- */

void measure_append(void);
void measure_lmdb(void);
void measure_zmq(void);
void measure_zmq_batches(void);
void measure_ring(void);
void measure_big(void);
void measure_growth(void);
void measure_actor_bytes(void);
void measure_update(void);
void measure_open(void);
void measure_bank_file(void);
void measure_size(void);
void measure_idle(void);
void measure_recover(void);
void measure_sim(void);
void measure_link(void);
void measure_link_curve(void);
void measure_link_rtt(void);
void measure_chain(void);
void measure_many_nodes(void);
void measure_snapshot_load(void);
void measure_snapshot_time(void);
void measure_cut_cost(void);
void measure_restore(void);

#endif
