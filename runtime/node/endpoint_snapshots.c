/* endpoint_snapshots.c - what clients ask of a node for a snapshot: its part, how far it is, its colour.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A part goes into the directory that the client names, or, for a client on another machine, into one of the node's own
 * (DATA/photograph), from where it is read piece by piece and then dropped. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/node/endpoint_parts.h"
#include "runtime/files.h"
#include "runtime/snapshot/snapshot_stream.h"
#include "state/lmdb_store.h"

enum {
    AHEAD_MS = 5000,        /* a snapshot's colour is so far ahead */
    PIECE_SIZE = 512 << 10, /* of a part; the loop waits while it is read */
};

static void put_uint64(struct troupe__buffer *buffer, uint64_t number)
{
    unsigned char bytes[8];
    troupe__put_be64(bytes, number);
    troupe__buffer_put_byte(buffer, 0xcf); /* msgpack: an unsigned integer of 8 bytes */
    troupe__buffer_put(buffer, bytes, sizeof bytes);
}

/* The body: an array of epoch, blocks, row_bytes, chain, released, the rows of each table, took_us, stall_us and hash.
 */
static void on_taken(void *context, enum troupe_error result, const char *text,
                     const struct troupe__snapshot_part *part)
{
    struct troupe__caller *caller = context;
    struct troupe__buffer *body = &caller->endpoint->text;
    struct troupe__reply reply = {.number = caller->number, .ok = result == TROUPE_OK, .error = result};
    reply.text = reply.ok ? NULL : text;
    body->size = 0;
    if (reply.ok) {
        troupe__buffer_put_byte(body, 0xdc); /* msgpack: an array of a number of 2 bytes */
        troupe__buffer_put_byte(body, 0);
        troupe__buffer_put_byte(body, 5 + TROUPE__TABLE_COUNT + 3);
        put_uint64(body, part->epoch);
        put_uint64(body, part->summary.blocks);
        put_uint64(body, part->summary.row_bytes);
        put_uint64(body, part->summary.chain);
        put_uint64(body, part->released);
        for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
            put_uint64(body, part->summary.rows[table]);
        }
        put_uint64(body, part->took_us);
        put_uint64(body, part->stall_us);
        put_uint64(body, part->hash);
        reply.body = (struct troupe_bytes){body->data, body->size};
    }
    if (body->failed) {
        body->failed = false;
        reply = (struct troupe__reply){.number = caller->number, .error = TROUPE_ENOMEM, .text = "out of memory"};
    }
    troupe__endpoint_reply(caller, &reply);
    troupe__endpoint_finish(caller);
}

/* ---- the node's own directory for parts -------------------------------------------------------------------------- */

/* Returns false when the path is too long. */
static bool own_directory(const struct troupe__endpoint *endpoint, char path[static PATH_MAX])
{
    char data[PATH_MAX], unused[512];
    return realpath(endpoint->node->options.data, data) &&
           troupe__files_join(path, data, "photograph", "", unused, sizeof unused) == TROUPE_OK;
}

static bool own_part(const struct troupe__endpoint *endpoint, char path[static PATH_MAX])
{
    char directory[PATH_MAX], unused[512];
    return own_directory(endpoint, directory) &&
           troupe__snapshot_part_path(path, directory, endpoint->node->name, unused, sizeof unused) == TROUPE_OK;
}

void troupe__endpoint_clear_photograph(struct troupe__endpoint *endpoint)
{
    char path[PATH_MAX], unused[512];
    if (own_directory(endpoint, path)) {
        (void)troupe__files_remove(path, unused, sizeof unused);
    }
    endpoint->photographed = false;
}

/* Arm the camera for it. What it held is gone then: whoever asked for that may be gone too. */
static enum troupe_error arm_at_home(struct troupe__endpoint *endpoint, struct troupe__caller *waiting)
{
    char directory[PATH_MAX], part[PATH_MAX];
    uint64_t colour = endpoint->request.colour;
    if (!own_directory(endpoint, directory) || !own_part(endpoint, part)) {
        snprintf(endpoint->error, sizeof endpoint->error, "the path of the node's directory is too long");
        return TROUPE_EINVAL;
    }
    if (mkdir(directory, 0700) && errno != EEXIST) {
        return troupe__files_fail("create", directory, endpoint->error, sizeof endpoint->error);
    }
    enum troupe_error result = troupe__camera_arm(endpoint->node->camera, directory, colour, on_taken, waiting,
                                                  endpoint->error, sizeof endpoint->error);
    if (result == TROUPE_OK) {
        unlink(part); /* Nothing is written before this turn is over. */
        endpoint->photographed = true;
        endpoint->photograph_colour = colour;
    }
    return result;
}

/* A piece of the part, from a byte on; none at its end. */
static void read_piece(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    char path[PATH_MAX];
    struct stat status;
    uint64_t colour = endpoint->request.colour, rows, all;
    bool ours = endpoint->photographed && endpoint->photograph_colour == colour && own_part(endpoint, path) &&
                troupe__camera_progress(endpoint->node->camera, colour, &rows, &all) == TROUPE__CAMERA_IDLE;
    int fd = ours ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    unsigned char *piece = fd >= 0 ? malloc(PIECE_SIZE) : NULL;
    if (fd < 0) {
        troupe__endpoint_refuse(caller, TROUPE_ENOTFOUND, "there is no part of such a snapshot: take another one");
    } else if (!piece) {
        troupe__endpoint_refuse(caller, TROUPE_ENOMEM, "out of memory");
    } else {
        ssize_t size = pread(fd, piece, PIECE_SIZE, (off_t)(endpoint->request.from & INT64_MAX));
        if (size < 0 || fstat(fd, &status)) {
            enum troupe_error result = troupe__files_fail("read", path, endpoint->error, sizeof endpoint->error);
            troupe__endpoint_refuse(caller, result, endpoint->error);
        } else {
            struct troupe__reply reply = {.number = caller->number, .ok = true, .sequence = (uint64_t)status.st_size};
            reply.rows = (struct troupe_bytes){piece, (size_t)size};
            troupe__endpoint_reply(caller, &reply);
        }
    }
    free(piece);
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* Arm the camera; the first reply says so, the last that the part is written. */
static void take_snapshot(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    const struct troupe__request *request = &endpoint->request;
    struct troupe__caller *waiting = troupe__endpoint_begin(caller);
    if (!waiting) {
        troupe__endpoint_refuse(caller, TROUPE_ENOMEM, "out of memory");
        return;
    }
    enum troupe_error result = request->path
                                   ? troupe__camera_arm(endpoint->node->camera, request->path, request->colour,
                                                        on_taken, waiting, endpoint->error, sizeof endpoint->error)
                                   : arm_at_home(endpoint, waiting);
    if (result != TROUPE_OK) {
        troupe__endpoint_refuse(caller, result, endpoint->error);
        troupe__endpoint_finish(waiting);
        return;
    }
    struct troupe__reply reply = {.number = caller->number, .ok = true, .more = true};
    troupe__endpoint_reply(caller, &reply);
}

/* Give the open epoch a colour, or with 0 only say above which one that of a snapshot must be; answered at once. */
static void take_colour(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    struct troupe_node *node = endpoint->node;
    struct troupe__reply reply = {.number = caller->number, .ok = true};
    if (!node->links) {
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, "this node is alone: it has no colour");
        return;
    }
    troupe__links_begin_colour(node->links, endpoint->request.colour);
    /* Above what nodes take by themselves until all have been told. */
    uint64_t soon = troupe__colour_of(node->machine.ctx.now_ms + AHEAD_MS);
    reply.sequence = troupe__camera_colour(node->camera);
    reply.sequence = reply.sequence < soon ? soon : reply.sequence;
    troupe__endpoint_reply(caller, &reply);
}

/* `text` is the phase; the body the rows that are written, and of how many about. */
static void tell_progress(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    static const char *const phases[] = {[TROUPE__CAMERA_IDLE] = "idle",
                                         [TROUPE__CAMERA_ARMED] = "waiting for its cut",
                                         [TROUPE__CAMERA_FOLDING] = "folding",
                                         [TROUPE__CAMERA_WRITING] = "writing",
                                         [TROUPE__CAMERA_SETTLING] = "waiting for its disk"};
    uint64_t rows, all;
    enum troupe__camera_phase phase =
        troupe__camera_progress(endpoint->node->camera, endpoint->request.colour, &rows, &all);
    struct troupe__reply reply = {.number = caller->number, .ok = true, .text = phases[phase]};
    endpoint->text.size = 0;
    troupe__buffer_put_byte(&endpoint->text, 0x92); /* msgpack: an array of two */
    put_uint64(&endpoint->text, rows);
    put_uint64(&endpoint->text, all);
    if (!endpoint->text.failed) {
        reply.body = (struct troupe_bytes){endpoint->text.data, endpoint->text.size};
    }
    endpoint->text.failed = false;
    troupe__endpoint_reply(caller, &reply);
}

/* Be no longer ready for a part, if it has not begun; one in the node's own directory goes when it has been fetched. */
static void drop_snapshot(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    struct troupe__reply reply = {.number = caller->number, .ok = true};
    uint64_t colour = endpoint->request.colour, rows, all;
    troupe__camera_disarm(endpoint->node->camera, colour, "it was given up");
    if (endpoint->photographed && endpoint->photograph_colour == colour &&
        troupe__camera_progress(endpoint->node->camera, colour, &rows, &all) == TROUPE__CAMERA_IDLE) {
        troupe__endpoint_clear_photograph(endpoint);
    }
    troupe__endpoint_reply(caller, &reply);
}

/* What a kept journal holds from before `from` is not needed any more. */
static void forget_journal(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    struct troupe__reply reply = {.number = caller->number, .ok = true};
    if (endpoint->request.from > 0) {
        troupe__lmdb_store_forget(endpoint->node->store, endpoint->request.from - 1);
    }
    troupe__endpoint_reply(caller, &reply);
}

bool troupe__endpoint_photograph(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    static const struct {
        const char *what;
        void (*handle)(struct troupe__endpoint *endpoint, const struct troupe__caller *caller);
    } requests[] = {{"snapshot", take_snapshot},        {"snapshot.progress", tell_progress},
                    {"snapshot.read", read_piece},      {"snapshot.drop", drop_snapshot},
                    {"journal.forget", forget_journal}, {"colour", take_colour}};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        if (strcmp(endpoint->request.what, requests[i].what) == 0) {
            requests[i].handle(endpoint, caller);
            return true;
        }
    }
    return false;
}
