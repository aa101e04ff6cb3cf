/* committer.c - the thread that makes epochs durable and lets their egress records out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/committer.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { SYNC_INTERVAL_MS = 1000 };

struct troupe__committer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed, idle;
    struct troupe__store *store;
    struct troupe__output *output;
    void (*wake)(void *context);
    void *wake_context;
    /* Under the mutex: */
    struct troupe__epoch *epoch; /* to be committed, NULL when not busy */
    bool stopping, sync_wanted;
    struct troupe__committed state;
    uint64_t written_number;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t monotonic_ms(void)
{
    return monotonic_ns() / 1000000;
}

static enum troupe_error commit_record(struct troupe__committer *committer, const struct troupe__epoch *epoch,
                                       uint64_t *ret_took_ns, char *error, size_t error_size)
{
    int64_t began_ns = monotonic_ns();
    struct troupe_bytes record = {epoch->record.data, epoch->record.size};
    enum troupe_error result = committer->store->commit(committer->store, epoch->number, record);
    *ret_took_ns = (uint64_t)(monotonic_ns() - began_ns);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%.500s", committer->store->error);
    }
    return result;
}

/* Without the mutex: commit, then write the records out. */
static enum troupe_error do_commit(struct troupe__committer *committer, struct troupe__epoch *epoch,
                                   uint64_t *ret_took_ns, char *error, size_t error_size)
{
    enum troupe_error result = commit_record(committer, epoch, ret_took_ns, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!committer->output) {
        return TROUPE_OK;
    }
    struct troupe__cursor cursor = {epoch->egress.data, epoch->egress.data + epoch->egress.size, false};
    struct troupe__egress egress;
    while (troupe__egress_next(&cursor, &egress)) {
        result = troupe__output_add(committer->output, egress.name, egress.sequence, egress.key, egress.body);
        if (result == TROUPE_ENOMEM) {
            snprintf(error, error_size, "output: out of memory");
            return result;
        }
    }
    assert(!cursor.failed);
    return troupe__output_write(committer->output, error, error_size);
}

/* With the mutex held; gives it up while it works. */
static void fail(struct troupe__committer *committer, enum troupe_error result, const char *error)
{
    committer->state.result = result;
    snprintf(committer->state.error, sizeof committer->state.error, "%s", error);
}

static void work_on_epoch(struct troupe__committer *committer, struct troupe__epoch *epoch)
{
    char error[512] = "";
    uint64_t took_ns = 0;
    pthread_mutex_unlock(&committer->mutex);
    enum troupe_error result = do_commit(committer, epoch, &took_ns, error, sizeof error);
    pthread_mutex_lock(&committer->mutex);
    if (result != TROUPE_OK) {
        fail(committer, result, error);
        return;
    }
    committer->state.epoch = epoch->number;
    committer->state.took_ns = took_ns;
    if (epoch->egress_last && committer->output) {
        committer->written_number = epoch->egress_last;
        committer->state.unsynced = true;
    }
    committer->epoch = NULL;
    committer->state.busy = false;
}

static void work_on_sync(struct troupe__committer *committer)
{
    char error[512] = "";
    uint64_t number = committer->written_number;
    pthread_mutex_unlock(&committer->mutex);
    enum troupe_error result = troupe__output_sync(committer->output, error, sizeof error);
    uint64_t offset = committer->output->offset;
    pthread_mutex_lock(&committer->mutex);
    if (result != TROUPE_OK) {
        fail(committer, result, error);
        return;
    }
    committer->sync_wanted = false;
    committer->state.unsynced = false;
    committer->state.synced_number = number;
    committer->state.synced_offset = offset;
}

static void *run(void *context)
{
    struct troupe__committer *committer = context;
    int64_t unsynced_since_ms = 0;
    pthread_mutex_lock(&committer->mutex);
    while (committer->state.result == TROUPE_OK) {
        bool unsynced = committer->state.unsynced;
        bool due = unsynced && (committer->sync_wanted || monotonic_ms() - unsynced_since_ms >= SYNC_INTERVAL_MS);
        if (committer->epoch) {
            work_on_epoch(committer, committer->epoch);
            if (!unsynced) {
                unsynced_since_ms = monotonic_ms();
            }
            if (due && committer->state.result == TROUPE_OK) {
                work_on_sync(committer);
            }
        } else if (due) {
            work_on_sync(committer);
        } else if (committer->stopping) {
            break;
        } else if (unsynced) {
            struct timespec until;
            int64_t at_ms = unsynced_since_ms + SYNC_INTERVAL_MS;
            until.tv_sec = (time_t)(at_ms / 1000);
            until.tv_nsec = (long)(at_ms % 1000) * 1000000;
            pthread_cond_timedwait(&committer->changed, &committer->mutex, &until);
            continue;
        } else {
            pthread_cond_wait(&committer->changed, &committer->mutex);
            continue;
        }
        pthread_cond_broadcast(&committer->idle);
        /* Without the mutex, which is the first that the loop asks for. */
        pthread_mutex_unlock(&committer->mutex);
        committer->wake(committer->wake_context);
        pthread_mutex_lock(&committer->mutex);
    }
    pthread_mutex_unlock(&committer->mutex);
    return NULL;
}

enum troupe_error troupe__committer_start(struct troupe__store *store, struct troupe__output *output,
                                          void (*wake)(void *context), void *wake_context,
                                          struct troupe__committer **ret)
{
    struct troupe__committer *committer = calloc(1, sizeof *committer);
    if (!committer) {
        return TROUPE_ENOMEM;
    }
    committer->store = store;
    committer->output = output;
    committer->wake = wake;
    committer->wake_context = wake_context;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&committer->mutex, NULL);
    pthread_cond_init(&committer->changed, &attributes);
    pthread_cond_init(&committer->idle, NULL);
    pthread_condattr_destroy(&attributes);
    sigset_t all, before; /* Signals belong to the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&committer->thread, NULL, run, committer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&committer->changed);
        pthread_cond_destroy(&committer->idle);
        pthread_mutex_destroy(&committer->mutex);
        free(committer);
        return TROUPE_ENOMEM;
    }
    *ret = committer;
    return TROUPE_OK;
}

void troupe__committer_commit(struct troupe__committer *committer, struct troupe__epoch *epoch)
{
    pthread_mutex_lock(&committer->mutex);
    assert(!committer->state.busy);
    committer->epoch = epoch;
    committer->state.busy = true;
    pthread_mutex_unlock(&committer->mutex);
    pthread_cond_signal(&committer->changed); /* The thread that wakes asks for the mutex at once. */
}

/* The thread may be syncing the output meanwhile; the store it leaves alone, having no epoch. */
void troupe__committer_commit_here(struct troupe__committer *committer, struct troupe__epoch *epoch)
{
    char error[512] = "";
    uint64_t took_ns = 0;
    assert(!committer->output || epoch->egress.size == 0);
    pthread_mutex_lock(&committer->mutex); /* After it, all that an earlier commit did there is seen here. */
    assert(!committer->state.busy);
    enum troupe_error result = committer->state.result;
    pthread_mutex_unlock(&committer->mutex);
    if (result != TROUPE_OK) {
        return; /* It has stopped: a sync of the output failed. */
    }
    result = commit_record(committer, epoch, &took_ns, error, sizeof error);
    pthread_mutex_lock(&committer->mutex);
    if (result != TROUPE_OK) {
        fail(committer, result, error);
    } else {
        committer->state.epoch = epoch->number;
        committer->state.took_ns = took_ns;
    }
    pthread_mutex_unlock(&committer->mutex);
}

void troupe__committer_sync(struct troupe__committer *committer)
{
    pthread_mutex_lock(&committer->mutex);
    committer->sync_wanted = true;
    pthread_cond_signal(&committer->changed);
    pthread_mutex_unlock(&committer->mutex);
}

void troupe__committer_wait(struct troupe__committer *committer)
{
    pthread_mutex_lock(&committer->mutex);
    while ((committer->epoch || committer->sync_wanted) && committer->state.result == TROUPE_OK) {
        pthread_cond_wait(&committer->idle, &committer->mutex);
    }
    pthread_mutex_unlock(&committer->mutex);
}

void troupe__committer_poll(struct troupe__committer *committer, struct troupe__committed *ret)
{
    pthread_mutex_lock(&committer->mutex);
    *ret = committer->state;
    pthread_mutex_unlock(&committer->mutex);
}

void troupe__committer_stop(struct troupe__committer *committer)
{
    pthread_mutex_lock(&committer->mutex);
    committer->stopping = true;
    pthread_cond_signal(&committer->changed);
    pthread_mutex_unlock(&committer->mutex);
    pthread_join(committer->thread, NULL);
    pthread_cond_destroy(&committer->changed);
    pthread_cond_destroy(&committer->idle);
    pthread_mutex_destroy(&committer->mutex);
    free(committer);
}
