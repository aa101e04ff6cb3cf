/* camera.c - takes a node's part of a snapshot while the node runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/camera.h"

#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "runtime/machine/links.h"
#include "runtime/snapshot/stall.h"

enum { PAUSE_ROWS = 64 /* between two pauses: some ten microseconds */ };

#define SNAPSHOT_ROW "snapshot" /* META: varint, the last epoch that was photographed; it makes an idle node commit */

struct troupe__camera {
    struct troupe__camera_options options;
    enum { IDLE, ARMED, WRITING } state;
    char directory[PATH_MAX];
    uint64_t colour;
    troupe__taken_fn taken;
    void *context;
    uint64_t report_after; /* the epoch that must be durable first */
    uint64_t egress_last;  /* the last record up to the cut */
    struct troupe__photo *photo;
    struct troupe__stall stall; /* since it was armed, until the part is written */
    uint64_t cut_ns;
    atomic_uint_fast64_t rows, rows_all; /* written, and about how many there will be; 0: not known yet */
    /* The writer's until `written`. */
    atomic_bool written;
    enum troupe_error result;
    struct troupe__snapshot_part part;
    char error[512];
};

enum troupe_error troupe__camera_open(const struct troupe__camera_options *options, struct troupe__camera **ret)
{
    struct troupe__camera *camera = calloc(1, sizeof *camera);
    if (!camera) {
        return TROUPE_ENOMEM;
    }
    camera->options = *options;
    *ret = camera;
    return TROUPE_OK;
}

static uint64_t now_ns(struct troupe__camera *camera)
{
    return camera->options.clock ? troupe__monotonic_ns(camera->options.clock) : 0;
}

static void finish(struct troupe__camera *camera, enum troupe_error result, const char *text)
{
    camera->state = IDLE;
    camera->taken(camera->context, result, text, &camera->part);
}

void troupe__camera_disarm(struct troupe__camera *camera, uint64_t colour, const char *text)
{
    if (camera->state == ARMED && camera->colour == colour) {
        finish(camera, TROUPE_ECLOSED, text);
    }
}

/* The writer has returned. */
static void put_photo_away(struct troupe__camera *camera)
{
    camera->options.join(camera->options.context);
    camera->photo->close(camera->photo);
    camera->photo = NULL;
}

void troupe__camera_close(struct troupe__camera *camera)
{
    if (!camera) {
        return;
    }
    if (camera->photo) {
        camera->photo->cancel(camera->photo);
        put_photo_away(camera);
    }
    if (camera->state == WRITING) {
        finish(camera, TROUPE_ECLOSED, "the node ended before its part of the snapshot was done");
    }
    troupe__camera_disarm(camera, camera->colour, "the node ended before its part of the snapshot was begun");
    free(camera);
}

uint64_t troupe__camera_colour(const struct troupe__camera *camera)
{
    const struct troupe__links *links = camera->options.machine->links;
    uint64_t colour = links ? links->colour : 0;
    return camera->state != IDLE && camera->colour > colour ? camera->colour : colour;
}

/* Make the open epoch one that is sealed even if nothing else happens. */
static enum troupe_error touch(struct troupe__camera *camera)
{
    unsigned char number[8];
    troupe__put_be64(number, camera->options.machine->epoch);
    return troupe__machine_mark(camera->options.machine, SNAPSHOT_ROW, (struct troupe_bytes){number, sizeof number});
}

enum troupe_error troupe__camera_arm(struct troupe__camera *camera, const char *directory, uint64_t colour,
                                     troupe__taken_fn taken, void *context, char *error, size_t error_size)
{
    const struct troupe__links *links = camera->options.machine->links;
    struct stat status;
    if (camera->state == WRITING || (camera->state == ARMED && colour <= camera->colour)) {
        snprintf(error, error_size, "another snapshot is being taken: try again when it is done");
        return TROUPE_EBUSY;
    }
    if (directory[0] != '/' || strlen(directory) >= sizeof camera->directory || stat(directory, &status) ||
        !S_ISDIR(status.st_mode)) {
        snprintf(error, error_size, "'%.200s' is no absolute path of a directory", directory);
        return TROUPE_EINVAL;
    }
    if (links ? colour <= links->colour : colour != 0) {
        snprintf(error, error_size, "colour %llu is not above that of this node, %llu", (unsigned long long)colour,
                 (unsigned long long)(links ? links->colour : 0));
        return TROUPE_EINVAL;
    }
    if (!links && touch(camera) != TROUPE_OK) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    if (camera->state == ARMED) {
        finish(camera, TROUPE_EBUSY, "another snapshot was begun after this one: try again when it is done");
    }
    memcpy(camera->directory, directory, strlen(directory) + 1);
    camera->colour = colour;
    camera->taken = taken;
    camera->context = context;
    camera->part = (struct troupe__snapshot_part){.epoch = 0};
    camera->stall = (struct troupe__stall){0};
    troupe__stall_turn_begins(&camera->stall, now_ns(camera));
    camera->state = ARMED;
    return TROUPE_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Rows on their way from the photo to the part: they are counted. */
struct counted {
    struct troupe__camera *camera;
    troupe__row_fn row;
    void *context;
    uint64_t count;
};

static enum troupe_error count_row(void *context, struct troupe_bytes key, struct troupe_bytes value)
{
    struct counted *counted = context;
    const struct troupe__camera_options *options = &counted->camera->options;
    atomic_store_explicit(&counted->camera->rows, ++counted->count, memory_order_relaxed);
    if (options->pause && counted->count % PAUSE_ROWS == 0) {
        options->pause(options->context);
    }
    return counted->row(counted->context, key, value);
}

static enum troupe_error scan_photo(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct troupe__camera *camera = source;
    struct counted counted = {camera, row, context, atomic_load_explicit(&camera->rows, memory_order_relaxed)};
    return camera->photo->scan(camera->photo, table, prefix, count_row, &counted);
}

void troupe__camera_write(struct troupe__camera *camera)
{
    struct troupe__photo *photo = camera->photo;
    uint64_t cut = camera->part.epoch;
    photo->pause = camera->options.pause;
    photo->pause_context = camera->options.context;
    camera->result = photo->wait(photo);
    if (camera->result != TROUPE_OK) {
        snprintf(camera->error, sizeof camera->error, "%s", photo->error);
    } else if (photo->epoch != cut) {
        snprintf(camera->error, sizeof camera->error, "the tables are at epoch %llu, not at the cut %llu",
                 (unsigned long long)photo->epoch, (unsigned long long)cut);
        camera->result = TROUPE_EINVAL;
    } else {
        atomic_store(&camera->rows_all, photo->rows > 0 ? photo->rows : 1);
        camera->result = troupe__snapshot_write_part(camera->directory, camera->options.name, cut, scan_photo, camera,
                                                     photo->error, &camera->part, camera->error, sizeof camera->error);
        camera->part.hash = photo->hash;
    }
    photo->release(photo);
    atomic_store(&camera->written, true);
}

/* ---- in the node's turn ------------------------------------------------------------------------------------------ */

void troupe__camera_before_seal(struct troupe__camera *camera)
{
    const struct troupe__machine *machine = camera->options.machine;
    if (camera->state != ARMED || (machine->links && machine->links->colour < camera->colour)) {
        return;
    }
    uint64_t cut = machine->links ? machine->epoch - 1 : machine->epoch;
    enum troupe_error result = machine->store->photograph(machine->store, cut, &camera->photo);
    if (result != TROUPE_OK) {
        finish(camera, result, machine->store->error);
        return;
    }
    camera->part.epoch = cut;
    camera->cut_ns = now_ns(camera);
    camera->report_after = machine->epoch;
    camera->egress_last = machine->egress_sealed;
    atomic_store(&camera->written, false);
    atomic_store(&camera->rows, 0);
    atomic_store(&camera->rows_all, 0);
    result = camera->options.start(camera->options.context, camera);
    if (result != TROUPE_OK) {
        camera->photo->close(camera->photo);
        camera->photo = NULL;
        finish(camera, result, "no thread could be started");
        return;
    }
    camera->state = WRITING;
}

enum troupe__camera_phase troupe__camera_progress(const struct troupe__camera *camera, uint64_t colour,
                                                  uint64_t *ret_rows, uint64_t *ret_all)
{
    bool is_it = camera->colour == colour;
    *ret_rows = *ret_all = 0;
    if (!is_it || camera->state != WRITING) {
        return is_it && camera->state == ARMED ? TROUPE__CAMERA_ARMED : TROUPE__CAMERA_IDLE;
    }
    *ret_rows = atomic_load(&camera->rows);
    *ret_all = atomic_load(&camera->rows_all);
    return atomic_load(&camera->written) ? TROUPE__CAMERA_SETTLING
           : *ret_all > 0                ? TROUPE__CAMERA_WRITING
                                         : TROUPE__CAMERA_FOLDING;
}

bool troupe__camera_waits_for_output(const struct troupe__camera *camera)
{
    const struct troupe__machine *machine = camera->options.machine;
    return camera->state == WRITING && atomic_load(&camera->written) && camera->result == TROUPE_OK && machine->links &&
           machine->egress_released < camera->egress_last;
}

/* On the loop's thread: the writer fills in the part that it reports. */
static void note_cost(struct troupe__camera *camera)
{
    camera->part.measured = camera->options.clock != NULL;
    camera->part.took_us = (now_ns(camera) - camera->cut_ns) / 1000;
    camera->part.stall_us = camera->stall.longest_ns / 1000;
}

void troupe__camera_turned(struct troupe__camera *camera, size_t delivered, bool waits)
{
    if (camera->state == ARMED || camera->photo) {
        troupe__stall_turn_ends(&camera->stall, now_ns(camera), delivered, waits);
    }
}

void troupe__camera_turn(struct troupe__camera *camera, uint64_t durable)
{
    if (camera->state == ARMED || camera->photo) {
        troupe__stall_turn_begins(&camera->stall, now_ns(camera));
    }
    if (camera->state != WRITING || !atomic_load(&camera->written)) {
        return;
    }
    if (camera->photo) {
        put_photo_away(camera);
        note_cost(camera);
    }
    camera->part.released = camera->options.machine->egress_released;
    if (durable >= camera->report_after && !troupe__camera_waits_for_output(camera)) {
        finish(camera, camera->result, camera->error);
    }
}
