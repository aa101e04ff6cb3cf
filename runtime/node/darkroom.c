/* darkroom.c - the thread on which a node's camera writes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/darkroom.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/node/loop_clock.h"

enum { NICE = 5 /* a third of what another thread gets of a core that both want, all of one that is free */ };

static void *write_part(void *context)
{
    struct troupe__darkroom *darkroom = context;
    pthread_setname_np(pthread_self(), "troupe-camera");
    int own = getpriority(PRIO_PROCESS, (id_t)gettid());
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), own + NICE); /* Of this thread alone, on Linux. */
    troupe__camera_write(darkroom->camera);
    darkroom->wake(darkroom->context);
    return NULL;
}

enum troupe_error troupe__darkroom_start(void *context, struct troupe__camera *camera)
{
    struct troupe__darkroom *darkroom = context;
    darkroom->camera = camera;
    darkroom->lull = (struct troupe__lull){0};
    sigset_t all, before; /* Signals belong to the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&darkroom->thread, NULL, write_part, darkroom);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code ? TROUPE_ENOMEM : TROUPE_OK;
}

void troupe__darkroom_pause(void *context)
{
    struct troupe__darkroom *darkroom = context;
    uint64_t now_ns = troupe__now_ns();
    if (troupe__lull_looks(&darkroom->lull, now_ns) &&
        troupe__lull_due(&darkroom->lull, now_ns, troupe__thread_cpu_ns())) {
        nanosleep(&(struct timespec){0, TROUPE__LULL_SLEEP_NS}, NULL);
    }
}

void troupe__darkroom_join(void *context)
{
    pthread_join(((struct troupe__darkroom *)context)->thread, NULL);
}
