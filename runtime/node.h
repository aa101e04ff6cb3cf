/* node.h - a node: a machine with a loop, a committer thread, an input and an output.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Loop thread: input lines -> machine -> sealed epoch. Committer thread: commit, then let the epoch's egress records
 * out. While one epoch is committed the next one runs, so commits group themselves: short when idle, long under load.
 *
 * Output file: records are appended after the commit of their epoch. About once a second the file is synced, and its
 * length and the last record's number become an effect of the next epoch (META "output"), which removes the records'
 * rows. At a start the rows left are written again from that length on: the same bytes, since rows are all that a line
 * is made of. On a pipe that cannot be: records since the last mark come again, with the same numbers. */
#ifndef TROUPE_RUNTIME_NODE_H
#define TROUPE_RUNTIME_NODE_H

#include "core/troupe.h"

struct troupe__guard;

enum troupe__until { TROUPE__UNTIL_STOPPED, TROUPE__UNTIL_IDLE, TROUPE__UNTIL_IDLE_TIMERS };

struct troupe__node_options {
    const struct troupe_module *module;
    const char *data_path;
    const char *input_path;  /* NULL: none; "-": standard input */
    const char *output_path; /* "-": standard output */
    enum troupe__until until;
    bool sync;                   /* durability disk; false: process */
    struct troupe__guard *guard; /* where deliveries are written down; NULL: nowhere */
    troupe_log_fn log;
    void *log_context;
};

/* Run until idle as asked, or until SIGINT or SIGTERM; then everything handled is durable and out. Errors: with a text;
 * what was acknowledged before is safe, and another run goes on from there. */
enum troupe_error troupe__node_run(const struct troupe__node_options *options, char *error, size_t error_size);

#endif
