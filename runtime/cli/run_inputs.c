/* run_inputs.c - which node of a troupe on this machine reads which input: the one that has read it before.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A position in a file is a row of the node that reads it. Given to another node, as when inputs are named in another
 * order, or one of them is not named any more, a file would be taken in once more from its beginning. After a restore
 * to another number of nodes several have a position in one file; the furthest is that of the node that has gone on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/run_parts.h"
#include "runtime/machine_rows.h"
#include "runtime/view.h"

struct input {
    const char *path;
    char *absolute;      /* NULL: the standard input */
    uint64_t *positions; /* of each node; 0: none */
    uint64_t furthest;
};

static enum troupe_error out_of_memory(char *error, size_t error_size)
{
    snprintf(error, error_size, "out of memory");
    return TROUPE_ENOMEM;
}

/* One that cannot be read would make its node be started again for ever. A pipe is not opened to see: who writes to it
 * would take it for its reader. */
static enum troupe_error check_input(const struct input *input, char *error, size_t error_size)
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

/* What else than another process keeps a node's rows from being read its node says itself. */
static enum troupe_error read_positions(const struct troupe__run *all, uint16_t node, struct input *inputs, char *error,
                                        size_t error_size)
{
    struct troupe__view view;
    char data[PATH_MAX];
    snprintf(data, sizeof data, "%.3900s/%s", all->node.data, all->cluster.nodes[node].name);
    enum troupe_error result = open_view(&view, data);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%.500s", view.error);
        return result == TROUPE_EBUSY ? result : TROUPE_OK;
    }
    static const char prefix[] = TROUPE__INPUT_PREFIX;
    result = troupe__view_scan(&view, TROUPE__META, (struct troupe_bytes){prefix, sizeof prefix - 1});
    result = result == TROUPE_OK ? troupe__view_replay(&view) : result;
    if (result == TROUPE_OK) {
        troupe__view_settle(&view);
        note_positions(inputs, all->input_count, node, &view);
    }
    troupe__view_close(&view);
    return result == TROUPE_ENOMEM ? out_of_memory(error, error_size) : TROUPE_OK;
}

/* The node for input `i`: its own place if it may have that, else the first that is free. */
static bool find_node(const struct troupe__run *all, const struct input *inputs, size_t i, const char *const *dealt,
                      size_t *ret)
{
    for (size_t step = 0; step <= all->nodes; step++) {
        size_t node = step == 0 ? i : step - 1;
        if (!dealt[node] && inputs[i].positions[node] == inputs[i].furthest) {
            *ret = node;
            return true;
        }
    }
    return false;
}

static size_t count_readers(const struct troupe__run *all, const struct input *input)
{
    size_t count = 0;
    for (size_t node = 0; node < all->nodes; node++) {
        count += input->positions[node] == input->furthest;
    }
    return count;
}

/* Who has no choice comes first. */
static enum troupe_error deal(struct troupe__run *all, const struct input *inputs, char *error, size_t error_size)
{
    const char *dealt[TROUPE__NODES_MAX] = {NULL};
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < all->input_count; i++) {
            size_t readers = count_readers(all, &inputs[i]), node;
            if (turn != (inputs[i].furthest == 0 ? 2 : readers > 1 ? 1 : 0)) {
                continue;
            }
            if (!find_node(all, inputs, i, dealt, &node)) {
                snprintf(error, error_size,
                         "input %.300s: the node that has read it before is to read another one now: name one of them, "
                         "and the other when that has ended",
                         inputs[i].path);
                return TROUPE_EINVAL;
            }
            dealt[node] = inputs[i].path;
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
    enum troupe_error result = inputs ? TROUPE_OK : out_of_memory(error, error_size);
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        inputs[i] = (struct input){.path = all->inputs[i],
                                   .absolute = strcmp(all->inputs[i], "-") == 0 ? NULL : realpath(all->inputs[i], NULL),
                                   .positions = calloc(all->nodes, sizeof *inputs[i].positions)};
        result = inputs[i].positions ? check_input(&inputs[i], error, error_size) : out_of_memory(error, error_size);
    }
    for (uint16_t node = 0; count > 0 && node < all->nodes && result == TROUPE_OK; node++) {
        result = read_positions(all, node, inputs, error, error_size);
    }
    result = result == TROUPE_OK && count > 0 ? deal(all, inputs, error, error_size) : result;
    for (size_t i = 0; inputs && i < count; i++) {
        free(inputs[i].absolute);
        free(inputs[i].positions);
    }
    free(inputs);
    return result;
}
