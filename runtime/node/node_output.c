/* node_output.c - the output of a node: where it stands, and what is written again at a start.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "runtime/node/node.h"

static const char output_mark[] = "output";

/* META "output": string path, varint offset. */
enum troupe_error troupe__node_mark_output(struct troupe_node *node, uint64_t offset)
{
    struct troupe__buffer mark = {0};
    troupe__buffer_put_string(&mark, node->output.path, strlen(node->output.path));
    troupe__buffer_put_varint(&mark, offset);
    enum troupe_error result =
        mark.failed ? TROUPE_ENOMEM
                    : troupe__machine_mark(&node->machine, output_mark, (struct troupe_bytes){mark.data, mark.size});
    troupe__buffer_free(&mark);
    return result;
}

static enum troupe_error commit_now(struct troupe_node *node)
{
    enum troupe_error result = troupe__machine_seal(&node->machine, &node->epoch);
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
        return result;
    }
    assert(node->epoch.egress.size == 0);
    struct troupe_bytes record = {node->epoch.record.data, node->epoch.record.size};
    result = node->store->commit(node->store, node->epoch.number, record);
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->store->error);
    } else if (node->links) {
        troupe__links_durable(node->links, troupe__monotonic_ns(node->clock));
    }
    return result;
}

/* Where the output stands in this file, as of the last durable epoch. A file that the node has not written to before
 * is appended to, and where that begins must be durable before the first record is written. */
static enum troupe_error place_output(struct troupe_node *node)
{
    struct troupe__output *output = &node->output;
    struct troupe_bytes mark = troupe__machine_read_mark(&node->machine, output_mark);
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    size_t path_size;
    const unsigned char *path = mark.data ? troupe__cursor_string(&cursor, &path_size) : NULL;
    uint64_t offset = path ? troupe__cursor_varint(&cursor) : 0;
    bool known =
        path && !cursor.failed && path_size == strlen(output->path) && memcmp(path, output->path, path_size) == 0;
    if (known && output->regular && output->size < offset && output->size > 0) {
        snprintf(node->error, sizeof node->error,
                 "output %.300s: has %llu bytes and had %llu; put the old file back, move it away, or name another",
                 output->path, (unsigned long long)output->size, (unsigned long long)offset);
        return TROUPE_EINVAL;
    }
    if (known && (!output->regular || output->size >= offset)) {
        output->offset = offset;
        return TROUPE_OK;
    }
    output->offset = output->size;
    enum troupe_error result = troupe__node_mark_output(node, output->offset);
    return result == TROUPE_OK ? commit_now(node) : result;
}

/* Records that were durable but not known to be out when the node ended. */
static enum troupe_error repeat_output(struct troupe_node *node)
{
    struct troupe__buffer *rows = &node->machine.unreleased;
    struct troupe__cursor cursor = {rows->data, rows->data + rows->size, false};
    struct troupe__egress egress;
    uint64_t last = 0;
    while (troupe__egress_next(&cursor, &egress)) {
        if (troupe__output_add(&node->output, egress.name, egress.sequence, egress.key, egress.body) == TROUPE_ENOMEM) {
            return TROUPE_ENOMEM;
        }
        last = egress.number;
    }
    if (cursor.failed) {
        snprintf(node->error, sizeof node->error, "an egress row is malformed: run troupe doctor");
        return TROUPE_ECORRUPT;
    }
    /* After a loss of power a directory that is not synced may be older than its output, which is cut off then. */
    bool checked = node->options.durability == TROUPE_DISK;
    enum troupe_error result =
        checked ? troupe__output_check_rest(&node->output, node->error, sizeof node->error) : TROUPE_OK;
    result = result == TROUPE_OK ? troupe__output_write(&node->output, node->error, sizeof node->error) : result;
    if (result == TROUPE_OK) {
        result = troupe__output_sync(&node->output, node->error, sizeof node->error);
    }
    if (result == TROUPE_OK && last > 0) {
        troupe__machine_released(&node->machine, last);
        node->released = last;
        result = troupe__node_mark_output(node, node->output.offset);
    }
    troupe__buffer_free(rows);
    return result;
}

/* Without an output: what was not known to be handed out goes to the callback now. */
void troupe__node_repeat_records(struct troupe_node *node)
{
    node->released = troupe__node_hand_out(node, &node->machine.unreleased);
    troupe__buffer_free(&node->machine.unreleased);
}

enum troupe_error troupe__node_open_output(struct troupe_node *node)
{
    if (!node->options.output) {
        return TROUPE_OK;
    }
    enum troupe_error result =
        troupe__output_open(&node->output, node->options.output, node->error, sizeof node->error);
    if (result == TROUPE_OK && node->place && node->place->stream_lock) {
        result =
            troupe__output_share(&node->output, node->place->stream_lock, node->name, node->error, sizeof node->error);
    }
    result = result == TROUPE_OK ? place_output(node) : result;
    return result == TROUPE_OK ? repeat_output(node) : result;
}
