/* camera.c - takes a node's part of a snapshot while the node runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/camera.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "runtime/node.h"

#define SNAPSHOT_ROW "snapshot" /* META: varint, the last epoch that was photographed; it makes an idle node commit */

struct troupe__camera {
    struct troupe_node *node;
    void (*wake)(void *context);
    enum { IDLE, ARMED, WRITING } state;
    char directory[PATH_MAX];
    uint64_t colour;
    troupe__taken_fn taken;
    void *context;
    uint64_t report_after; /* the epoch that must be durable first */
    pthread_t thread;
    struct troupe__photo *photo;
    /* The thread's until `written`. */
    atomic_bool written;
    enum troupe_error result;
    struct troupe__snapshot_part part;
    char error[512];
};

enum troupe_error troupe__camera_open(struct troupe_node *node, void (*wake)(void *context),
                                      struct troupe__camera **ret)
{
    struct troupe__camera *camera = calloc(1, sizeof *camera);
    if (!camera) {
        return TROUPE_ENOMEM;
    }
    camera->node = node;
    camera->wake = wake;
    *ret = camera;
    return TROUPE_OK;
}

static void finish(struct troupe__camera *camera, enum troupe_error result, const char *text)
{
    camera->state = IDLE;
    camera->taken(camera->context, result, text, &camera->part);
}

void troupe__camera_disarm(struct troupe__camera *camera, const char *text)
{
    if (camera->state == ARMED) {
        finish(camera, TROUPE_ECLOSED, text);
    }
}

void troupe__camera_close(struct troupe__camera *camera)
{
    if (!camera) {
        return;
    }
    if (camera->state == WRITING && camera->photo) {
        camera->photo->cancel(camera->photo);
        pthread_join(camera->thread, NULL);
        camera->photo->close(camera->photo);
    }
    if (camera->state == WRITING) {
        finish(camera, TROUPE_ECLOSED, "the node ended before its part of the snapshot was done");
    }
    troupe__camera_disarm(camera, "the node ended before its part of the snapshot was begun");
    free(camera);
}

/* Make the open epoch one that is sealed even if nothing else happens. */
static enum troupe_error touch(struct troupe__camera *camera)
{
    unsigned char number[8];
    troupe__put_be64(number, camera->node->machine.epoch);
    return troupe__machine_mark(&camera->node->machine, SNAPSHOT_ROW, (struct troupe_bytes){number, sizeof number});
}

enum troupe_error troupe__camera_arm(struct troupe__camera *camera, const char *directory, uint64_t colour,
                                     troupe__taken_fn taken, void *context, char *error, size_t error_size)
{
    const struct troupe__links *links = camera->node->links;
    struct stat status;
    if (camera->state != IDLE) {
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
    memcpy(camera->directory, directory, strlen(directory) + 1);
    camera->colour = colour;
    camera->taken = taken;
    camera->context = context;
    camera->part = (struct troupe__snapshot_part){.epoch = 0};
    camera->state = ARMED;
    return TROUPE_OK;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static enum troupe_error scan_photo(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                    troupe__row_fn row, void *context)
{
    struct troupe__photo *photo = source;
    return photo->scan(photo, table, prefix, row, context);
}

static void *write_part(void *context)
{
    struct troupe__camera *camera = context;
    struct troupe__photo *photo = camera->photo;
    uint64_t cut = camera->part.epoch;
    camera->result = photo->wait(photo);
    if (camera->result != TROUPE_OK) {
        snprintf(camera->error, sizeof camera->error, "%s", photo->error);
    } else if (photo->epoch != cut) {
        snprintf(camera->error, sizeof camera->error, "the tables are at epoch %llu, not at the cut %llu",
                 (unsigned long long)photo->epoch, (unsigned long long)cut);
        camera->result = TROUPE_EINVAL;
    } else {
        camera->result = troupe__snapshot_write_part(camera->directory, camera->node->name, cut, scan_photo, photo,
                                                     photo->error, &camera->part, camera->error, sizeof camera->error);
    }
    atomic_store(&camera->written, true);
    camera->wake(camera->node);
    return NULL;
}

/* ---- in the node's turn ------------------------------------------------------------------------------------------ */

void troupe__camera_before_seal(struct troupe__camera *camera)
{
    struct troupe_node *node = camera->node;
    if (camera->state != ARMED || (node->links && node->links->colour < camera->colour)) {
        return;
    }
    uint64_t cut = node->links ? node->machine.epoch - 1 : node->machine.epoch;
    enum troupe_error result = node->store->photograph(node->store, cut, &camera->photo);
    if (result != TROUPE_OK) {
        finish(camera, result, node->store->error);
        return;
    }
    camera->part.epoch = cut;
    camera->report_after = node->machine.epoch;
    atomic_store(&camera->written, false);
    sigset_t all, before; /* Signals belong to the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&camera->thread, NULL, write_part, camera);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code) {
        camera->photo->close(camera->photo);
        finish(camera, TROUPE_ENOMEM, "no thread could be started");
        return;
    }
    camera->state = WRITING;
}

void troupe__camera_turn(struct troupe__camera *camera)
{
    if (camera->state != WRITING || !atomic_load(&camera->written)) {
        return;
    }
    if (camera->photo) {
        pthread_join(camera->thread, NULL);
        camera->photo->close(camera->photo);
        camera->photo = NULL;
    }
    if (camera->node->durable >= camera->report_after) {
        finish(camera, camera->result, camera->error);
    }
}
