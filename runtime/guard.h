/* guard.h - what a node is doing right now, kept where it survives the node: memory shared with its supervisor.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The node writes down each delivery, and each worker its job, before it begins. When the process dies of a signal the
 * supervisor reads what the thread that died was doing and counts it; a message that has crashed the node
 * TROUPE__CRASHES_MAX times becomes a dead letter instead of being delivered again, and a job fails. A process killed
 * from outside was at fault only by its handler: jobs may run for hours. A message is known by its fingerprint
 * (address, name, body), since the copy that comes again after a crash may have another number. The counts last as long
 * as the supervisor: a new start tries anew. No file: it would have to be guarded itself against a second process
 * started on the same directory. */
#ifndef TROUPE_RUNTIME_GUARD_H
#define TROUPE_RUNTIME_GUARD_H

#include <signal.h>

#include "core/job.h"
#include "core/message.h"

enum { TROUPE__CRASHES_MAX = 3, TROUPE__SUSPECTS_MAX = 64, TROUPE__TRACE_MAX = 2048, TROUPE__WORKERS_MAX = 256 };

struct troupe__suspect {
    uint64_t fingerprint;
    uint32_t crashes;
    int signal;
    char what[2 * TROUPE_NAME_MAX + TROUPE_KEY_MAX + 64]; /* for people: "handler of ..." or "job ..." */
    char trace[TROUPE__TRACE_MAX];                        /* one frame a line */
};

struct troupe__guard {
    volatile uint32_t delivering; /* a handler is running */
    volatile uint32_t opened;     /* the node could be opened by this start, ... */
    volatile uint32_t hopeless;   /* ... or could not, for a reason that does not pass by itself */
    volatile uint32_t suspect_count;
    uint32_t suspect_next;    /* of the supervisor */
    volatile uint64_t number; /* of the delivery, from 1 in each process */
    uint64_t fingerprint;
    char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1], name[TROUPE_NAME_MAX + 1];
    volatile sig_atomic_t signal, crashed; /* crashed: the thread, see enum troupe__guard_thread */
    volatile sig_atomic_t exited;          /* by a handler or job; crashed is the thread */
    char trace[TROUPE__TRACE_MAX];
    struct troupe__suspect suspects[TROUPE__SUSPECTS_MAX];
    struct troupe__guard_job {
        volatile uint32_t running;
        uint64_t fingerprint, id;
        char type[TROUPE_NAME_MAX + 1], key[TROUPE_KEY_MAX + 1], name[TROUPE_NAME_MAX + 1];
    } jobs[TROUPE__WORKERS_MAX]; /* of each worker */
};

/* Workers are TROUPE__WORKER_THREAD + index. */
enum troupe__guard_thread { TROUPE__OTHER_THREAD, TROUPE__LOOP_THREAD, TROUPE__WORKER_THREAD };

static inline uint64_t troupe__guard_fingerprint(const struct troupe__message *message)
{
    return troupe__hash(message->data, (size_t)message->type_size + 1 + message->body_size) ^ message->to->hash;
}

/* The suspect that has crashed the node too often; NULL when the message may be delivered. */
static inline const struct troupe__suspect *troupe__guard_convicted(const struct troupe__guard *guard,
                                                                    uint64_t fingerprint)
{
    for (uint32_t i = 0; i < guard->suspect_count; i++) {
        if (guard->suspects[i].fingerprint == fingerprint && guard->suspects[i].crashes >= TROUPE__CRASHES_MAX) {
            return &guard->suspects[i];
        }
    }
    return NULL;
}

static inline void troupe__guard_enter(struct troupe__guard *guard, const struct troupe__message *message,
                                       uint64_t fingerprint)
{
    guard->fingerprint = fingerprint;
    guard->number++;
    strcpy(guard->type, message->to->type->name);
    memcpy(guard->key, message->to->key, (size_t)message->to->key_size + 1);
    memcpy(guard->name, message->data, (size_t)message->type_size + 1);
    guard->delivering = 1;
}

static inline void troupe__guard_leave(struct troupe__guard *guard)
{
    guard->delivering = 0;
}

/* A job's id is durable before it begins, so that it is the same after a crash. */
static inline uint64_t troupe__guard_job_fingerprint(const struct troupe__job *job)
{
    return troupe__hash(&job->id, sizeof job->id) ^ troupe__hash(job->data, job->name_size);
}

/* On the worker's thread. */
void troupe__guard_enter_job(struct troupe__guard *guard, unsigned worker, const struct troupe__job *job);

static inline void troupe__guard_leave_job(struct troupe__guard *guard, unsigned worker)
{
    guard->jobs[worker].running = 0;
}

/* At the start of a worker's thread: its crashes are its own. Returns what the thread gives back at its end. */
void *troupe__guard_catch_thread(unsigned worker);
void troupe__guard_forget_thread(void *stack); /* NULL is fine. */

/* Signal 0 in all of this is exit: a handler or job that ends the process is treated as one that crashes it. */
enum { TROUPE__EXITED = 0, TROUPE__SIGNAL_TEXT_MAX = 64 };

/* "signal 11 (Segmentation fault)", or that it called exit. Returns `text`. */
const char *troupe__guard_signal_text(int signal, char text[static TROUPE__SIGNAL_TEXT_MAX]);

/* Memory that children of this process share with it; NULL when there is none. */
struct troupe__guard *troupe__guard_new(void);
void troupe__guard_free(struct troupe__guard *guard);

/* In the node's process: on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT note the signal and a backtrace, then die of
 * it; note an exit from within a handler or job too. */
void troupe__guard_catch_signals(struct troupe__guard *guard);

/* In the supervisor: the node died of `signal`; count the message it was delivering, or the job it was running, if one
 * was at fault. Returns the suspect. */
const struct troupe__suspect *troupe__guard_count_crash(struct troupe__guard *guard, int signal);

#endif
