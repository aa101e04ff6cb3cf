/* camera.h - takes a node's part of a snapshot while the node runs.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     IDLE --- arm ---> ARMED --- the open epoch has the colour ---> WRITING --- written, and the colour durable --->
 * IDLE
 *
 * Alone, a node's cut is the epoch that is sealed next. One of several is told a colour beforehand: its cut is the last
 * epoch below that (core/link.h and docs/design.md say why these cuts belong together). It must be armed before its
 * open epoch has the colour, which a frame may bring at any time: a cut that has gone by cannot be photographed. The
 * rows are written by a thread of its own; deliveries go on. Nothing is reported before an epoch of the colour is
 * durable: else a crash could bring the node back below it, to make another cut of the same number. Loop thread only.
 */
#ifndef TROUPE_RUNTIME_CAMERA_H
#define TROUPE_RUNTIME_CAMERA_H

#include "runtime/snapshot.h"

struct troupe_node;
struct troupe__camera;

/* Called once for each arm that succeeded: the part is written (`part`), or why not. A failure leaves no file. */
typedef void (*troupe__taken_fn)(void *context, enum troupe_error result, const char *text,
                                 const struct troupe__snapshot_part *part);

/* Errors: TROUPE_ENOMEM. `wake` makes the node's loop turn, from any thread. */
enum troupe_error troupe__camera_open(struct troupe_node *node, void (*wake)(void *context),
                                      struct troupe__camera **ret);

/* Ends what is under way: the callback is told TROUPE_ECLOSED. Before the store is closed. NULL is fine. */
void troupe__camera_close(struct troupe__camera *camera);

/* Be ready to write a part into `directory`, an absolute path that exists; `colour` is 0 for a node that is alone.
 * Errors, with a text in `error`: TROUPE_EBUSY (another is being taken), TROUPE_EINVAL (the path; the colour is not
 * above the node's), TROUPE_ENOMEM. */
enum troupe_error troupe__camera_arm(struct troupe__camera *camera, const char *directory, uint64_t colour,
                                     troupe__taken_fn taken, void *context, char *error, size_t error_size);

/* Give up what is armed but has not begun, and tell the callback. */
void troupe__camera_disarm(struct troupe__camera *camera, const char *text);

/* Before each seal. */
void troupe__camera_before_seal(struct troupe__camera *camera);

/* Once in each turn: report what has been written. */
void troupe__camera_turn(struct troupe__camera *camera);

#endif
