/* darkroom.h - the thread on which a node's camera writes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is nicer than loop and committer: where the three want two cores, each would else wait for a tick of the
 * scheduler, four milliseconds, again and again. And it sleeps between pieces of work, see runtime/snapshot/lull.h. Not
 * an idle thread: on a machine whose cores are all busy its work would never end, and what is not folded meanwhile
 * would fill the memory. */
#ifndef TROUPE_RUNTIME_NODE_DARKROOM_H
#define TROUPE_RUNTIME_NODE_DARKROOM_H

#include <pthread.h>

#include "runtime/snapshot/camera.h"
#include "runtime/snapshot/lull.h"

struct troupe__darkroom {
    void (*wake)(void *context); /* called on the thread when the part is written */
    void *context;
    pthread_t thread;
    struct troupe__camera *camera;
    struct troupe__lull lull; /* the thread's */
};

/* As `start`, `pause` and `join` of a camera's options; `context` is the darkroom. Errors: TROUPE_ENOMEM (no thread).
 */
enum troupe_error troupe__darkroom_start(void *context, struct troupe__camera *camera);
void troupe__darkroom_pause(void *context);
void troupe__darkroom_join(void *context);

#endif
