/* camera.h - takes a node's part of a snapshot while the node runs.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     IDLE --- arm ---> ARMED --- the open epoch has the colour ---> WRITING --- written, and the colour durable --->
 * IDLE
 *
 * Alone, a node's cut is the epoch that is sealed next. One of several is told a colour beforehand: its cut is the last
 * epoch below that (core/link.h and docs/design.md say why these cuts belong together). It must be armed before its
 * open epoch has the colour, which a frame may bring at any time: a cut that has gone by cannot be photographed. The
 * rows are written elsewhere, on a thread of its own (runtime/node/darkroom.h) or as a step of a simulated node;
 * deliveries go on. Nothing is reported before an epoch of the colour is durable: else a crash could bring the node
 * back below it, to make another cut of the same number. Nor, with several nodes, before all records up to the cut are
 * out for good: a node that they are restored to, and that is not the next of the one that emitted them, would let them
 * out again under other numbers. Loop thread only, but for `write`. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_CAMERA_H
#define TROUPE_RUNTIME_SNAPSHOT_CAMERA_H

#include "core/clock.h"
#include "runtime/machine/machine.h"
#include "runtime/snapshot/snapshot.h"

struct troupe__camera;

/* Called once for each arm that succeeded: the part is written (`part`), or why not. A failure leaves no file. */
typedef void (*troupe__taken_fn)(void *context, enum troupe_error result, const char *text,
                                 const struct troupe__snapshot_part *part);

struct troupe__camera_options {
    struct troupe__machine *machine; /* with its store, and with its links if it is one of several nodes */
    const char *name;                /* of the node */
    struct troupe__clock *clock;     /* NULL: what a snapshot costs the node is not measured */
    /* Have troupe__camera_write called once, on any thread. Errors: TROUPE_ENOMEM. */
    enum troupe_error (*start)(void *context, struct troupe__camera *camera);
    /* If not NULL, called on that thread again and again while it works: it may sleep for a moment. */
    void (*pause)(void *context);
    /* Return when the write that was started has returned, or never will be called. */
    void (*join)(void *context);
    void *context;
};

/* Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__camera_open(const struct troupe__camera_options *options, struct troupe__camera **ret);

/* Ends what is under way: the callback is told TROUPE_ECLOSED. Before the store is closed. NULL is fine. */
void troupe__camera_close(struct troupe__camera *camera);

/* The highest colour that the node, or who armed it, has given: the next snapshot's must be above. */
uint64_t troupe__camera_colour(const struct troupe__camera *camera);

/* Be ready to write a part into `directory`, an absolute path that exists; `colour` is 0 for a node that is alone. What
 * is armed for a lower colour and has not begun is given up: whoever asked for it may be gone. Errors, with a text in
 * `error`: TROUPE_EBUSY (another is being taken), TROUPE_EINVAL (the path; the colour is not above the node's),
 * TROUPE_ENOMEM. */
enum troupe_error troupe__camera_arm(struct troupe__camera *camera, const char *directory, uint64_t colour,
                                     troupe__taken_fn taken, void *context, char *error, size_t error_size);

/* Give up what is armed for this colour but has not begun, and tell the callback. */
void troupe__camera_disarm(struct troupe__camera *camera, uint64_t colour, const char *text);

/* Before each seal. */
void troupe__camera_before_seal(struct troupe__camera *camera);

/* Write the part. On any thread, once for each `start`. */
void troupe__camera_write(struct troupe__camera *camera);

enum troupe__camera_phase {
    TROUPE__CAMERA_IDLE,    /* it has nothing to do with such a snapshot, or not any more */
    TROUPE__CAMERA_ARMED,   /* it waits for its cut */
    TROUPE__CAMERA_FOLDING, /* the rows of the cut cannot be read yet */
    TROUPE__CAMERA_WRITING,
    TROUPE__CAMERA_SETTLING, /* the part is written, but may not be reported yet */
};

/* How far it is with the part of this colour; with `*ret_rows` of about `*ret_all` rows. */
enum troupe__camera_phase troupe__camera_progress(const struct troupe__camera *camera, uint64_t colour,
                                                  uint64_t *ret_rows, uint64_t *ret_all);

/* Whether nothing but records that are not out for good yet keeps a part from being reported. */
bool troupe__camera_waits_for_output(const struct troupe__camera *camera);

/* Once in each turn, at its beginning: report what has been written; epochs up to `durable` are on the disk. */
void troupe__camera_turn(struct troupe__camera *camera, uint64_t durable);

/* At the end of each turn: it has `delivered` so many, and something `waits` to be delivered. */
void troupe__camera_turned(struct troupe__camera *camera, size_t delivered, bool waits);

#endif
