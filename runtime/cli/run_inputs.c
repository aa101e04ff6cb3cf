/* run_inputs.c - which node of a troupe on this machine reads which input: the one that has read it before.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A position in a file is a row of the node that reads it. Given to another node, as when inputs are named in another
 * order, or one of them is not named any more, a file would be taken in once more from its beginning. After a restore
 * to another number of nodes several have a position in one file; the furthest is that of the node that has gone on.
 *
 * Where the rows of a node cannot be read, a file that no other has read may be that node's: it gets it, or nobody.
 * Where after such a restore it is that node that had gone on, that is not known: the file goes on where the others
 * know. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/run_parts.h"
#include "runtime/machine/machine_rows.h"
#include "runtime/snapshot/view.h"
#include "state/journal.h"

struct input {
    const char *path;
    char *absolute;      /* NULL: the standard input */
    bool is_file;        /* else nobody has a position in it */
    uint64_t *positions; /* of each node; 0: none */
    uint64_t furthest;
};

struct dealing {
    struct troupe__run *all;
    struct input *inputs;
    bool unknown[TROUPE__NODES_MAX]; /* nodes whose rows cannot be read */
    size_t unknown_count;
    uint16_t first_unknown;
    char why[400]; /* it cannot be */
};

static enum troupe_error out_of_memory(char *error, size_t error_size)
{
    snprintf(error, error_size, "out of memory");
    return TROUPE_ENOMEM;
}

/* One that cannot be read would make its node be started again for ever. A pipe is not opened to see: who writes to it
 * would take it for its reader. */
static enum troupe_error check_input(struct input *input, char *error, size_t error_size)
{
    struct stat info;
    bool is_stream = strcmp(input->path, "-") == 0;
    if (!is_stream && (stat(input->path, &info) || access(input->path, R_OK) || !input->absolute)) {
        snprintf(error, error_size, "input %.300s: %s", input->path, strerror(errno));
        return TROUPE_EIO;
    }
    if (!is_stream && S_ISDIR(info.st_mode)) {
        snprintf(error, error_size, "input %.300s: is a directory; name a file of JSON lines", input->path);
        return TROUPE_EIO;
    }
    input->is_file = !is_stream && S_ISREG(info.st_mode);
    return TROUPE_OK;
}

static void note_positions(struct input *inputs, size_t count, uint16_t node, const struct troupe__view *view)
{
    for (size_t i = 0; i < count; i++) {
        char key[sizeof TROUPE__INPUT_PREFIX + PATH_MAX];
        int size =
            snprintf(key, sizeof key, "%s%s", TROUPE__INPUT_PREFIX, inputs[i].absolute ? inputs[i].absolute : "");
        const struct troupe__view_row *row =
            troupe__view_find(view, TROUPE__META, (struct troupe_bytes){key, (size_t)size});
        if (row) {
            struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size,
                                            false};
            inputs[i].positions[node] = troupe__cursor_varint(&cursor);
            inputs[i].furthest =
                inputs[i].positions[node] > inputs[i].furthest ? inputs[i].positions[node] : inputs[i].furthest;
        }
    }
}

/* Nodes whose supervisor was killed are there for a moment more. */
static enum troupe_error open_view(struct troupe__view *view, const char *data)
{
    enum { TRIES = 250, PAUSE_NS = 20000000 };
    enum troupe_error result = troupe__view_open(view, data, false);
    for (int i = 0; result == TROUPE_EBUSY && i < TRIES; i++) {
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
        result = troupe__view_open(view, data, false);
    }
    return result;
}

/* Whether a node has never been there: nothing is, or what a crash left when it was made. Tables without a journal are
 * a node's, and so is a journal that holds something. */
static bool is_new(const char *data)
{
    char path[PATH_MAX], unused[400];
    struct stat info;
    struct troupe__journal journal;
    uint64_t first;
    if ((size_t)snprintf(path, sizeof path, "%s/tables.mdb", data) >= sizeof path || stat(path, &info) == 0 ||
        errno != ENOENT) {
        return false;
    }
    if (!troupe__journal_exists(data)) {
        return true;
    }
    if (troupe__journal_look(&journal, data, &first, unused, sizeof unused) != TROUPE_OK) {
        return false;
    }
    bool is_empty = journal.last == 0;
    troupe__journal_unlook(&journal);
    return is_empty;
}

static enum troupe_error read_rows(struct troupe__view *view)
{
    static const char prefix[] = TROUPE__INPUT_PREFIX;
    enum troupe_error result = troupe__view_scan(view, TROUPE__META, (struct troupe_bytes){prefix, sizeof prefix - 1});
    result = result == TROUPE_OK ? troupe__view_replay(view) : result;
    if (result == TROUPE_OK) {
        troupe__view_settle(view);
    }
    return result;
}

static void note_unknown(struct dealing *dealing, uint16_t node, const char *why)
{
    if (dealing->unknown_count++ == 0) {
        dealing->first_unknown = node;
        snprintf(dealing->why, sizeof dealing->why, "%.390s", why);
    }
    dealing->unknown[node] = true;
}

static enum troupe_error read_positions(struct dealing *dealing, uint16_t node, char *error, size_t error_size)
{
    const struct troupe__run *all = dealing->all;
    struct troupe__view view;
    char data[PATH_MAX];
    snprintf(data, sizeof data, "%.3900s/%s", all->node.data, all->cluster.nodes[node].name);
    enum troupe_error result = open_view(&view, data);
    bool is_open = result == TROUPE_OK;
    result = is_open ? read_rows(&view) : result;
    if (result == TROUPE_OK) {
        note_positions(dealing->inputs, all->input_count, node, &view);
    } else if (result == TROUPE_EBUSY || result == TROUPE_ENOMEM) {
        snprintf(error, error_size, "%.500s", view.error);
    } else { /* What is wrong with it the node says itself when it starts. */
        if (!is_new(data)) {
            note_unknown(dealing, node, view.error);
        }
        result = TROUPE_OK;
    }
    if (is_open) {
        troupe__view_close(&view);
    }
    return result;
}

/* Whether any node may have it. */
static bool is_anybodys(const struct dealing *dealing, const struct input *input)
{
    return !input->is_file || (input->furthest == 0 && dealing->unknown_count == 0);
}

/* Of several that are unknown it may be any one's, so that none gets it: they might be mended while they run. */
static bool may_read(const struct dealing *dealing, const struct input *input, size_t node)
{
    return is_anybodys(dealing, input) || (input->furthest > 0 ? input->positions[node] == input->furthest
                                                               : dealing->unknown[node] && dealing->unknown_count == 1);
}

/* The node for input `i`: its own place if it may have that, else the first that is free. */
static bool find_node(const struct dealing *dealing, size_t i, const char *const *dealt, size_t *ret)
{
    for (size_t step = 0; step <= dealing->all->nodes; step++) {
        size_t node = step == 0 ? i : step - 1;
        if (!dealt[node] && may_read(dealing, &dealing->inputs[i], node)) {
            *ret = node;
            return true;
        }
    }
    return false;
}

static size_t count_readers(const struct dealing *dealing, const struct input *input)
{
    size_t count = 0;
    for (size_t node = 0; node < dealing->all->nodes; node++) {
        count += may_read(dealing, input, node);
    }
    return count;
}

static enum troupe_error say_no_node(const struct dealing *dealing, const struct input *input, char *error,
                                     size_t error_size)
{
    if (input->furthest > 0) {
        snprintf(error, error_size,
                 "input %.300s: the node that has read it before is to read another one now: name one of them, "
                 "and the other when that has ended",
                 input->path);
    } else {
        snprintf(error, error_size,
                 "input %.200s: node %s may have read it before, and its rows cannot be read: mend that, or leave the "
                 "input out until then: %s",
                 input->path, dealing->all->cluster.nodes[dealing->first_unknown].name, dealing->why);
    }
    return TROUPE_EINVAL;
}

/* Who has no choice comes first. */
static enum troupe_error deal(const struct dealing *dealing, char *error, size_t error_size)
{
    struct troupe__run *all = dealing->all;
    const char *dealt[TROUPE__NODES_MAX] = {NULL};
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < all->input_count; i++) {
            const struct input *input = &dealing->inputs[i];
            size_t readers = count_readers(dealing, input), node;
            if (turn != (is_anybodys(dealing, input) ? 2 : readers > 1 ? 1 : 0)) {
                continue;
            }
            if (!find_node(dealing, i, dealt, &node)) {
                return say_no_node(dealing, input, error, error_size);
            }
            dealt[node] = input->path;
        }
    }
    memcpy(all->inputs, dealt, sizeof dealt);
    all->input_count = all->nodes;
    return TROUPE_OK;
}

enum troupe_error troupe__run_deal_inputs(struct troupe__run *all, char *error, size_t error_size)
{
    size_t count = all->input_count;
    struct input *inputs = calloc(count + 1, sizeof *inputs);
    struct dealing dealing = {.all = all, .inputs = inputs};
    enum troupe_error result = inputs ? TROUPE_OK : out_of_memory(error, error_size);
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        inputs[i] = (struct input){.path = all->inputs[i],
                                   .absolute = strcmp(all->inputs[i], "-") == 0 ? NULL : realpath(all->inputs[i], NULL),
                                   .positions = calloc(all->nodes, sizeof *inputs[i].positions)};
        result = inputs[i].positions ? check_input(&inputs[i], error, error_size) : out_of_memory(error, error_size);
    }
    for (uint16_t node = 0; count > 0 && node < all->nodes && result == TROUPE_OK; node++) {
        result = read_positions(&dealing, node, error, error_size);
    }
    result = result == TROUPE_OK && count > 0 ? deal(&dealing, error, error_size) : result;
    for (size_t i = 0; inputs && i < count; i++) {
        free(inputs[i].absolute);
        free(inputs[i].positions);
    }
    free(inputs);
    return result;
}
