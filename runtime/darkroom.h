/* darkroom.h - the thread on which a node's camera writes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_DARKROOM_H
#define TROUPE_RUNTIME_DARKROOM_H

#include <pthread.h>

#include "runtime/camera.h"

struct troupe__darkroom {
    void (*wake)(void *context); /* called on the thread when the part is written */
    void *context;
    pthread_t thread;
    struct troupe__camera *camera;
};

/* As `start` and `join` of a camera's options; `context` is the darkroom. Errors: TROUPE_ENOMEM (no thread). */
enum troupe_error troupe__darkroom_start(void *context, struct troupe__camera *camera);
void troupe__darkroom_join(void *context);

#endif
