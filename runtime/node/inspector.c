/* inspector.c - a thread that reads a running node's rows, as of its last durable epoch, without holding it up.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/inspector.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "runtime/snapshot/tally.h"

struct troupe__inspector {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct troupe__store *store;
    troupe__view_fn open;
    void (*wake)(void *context);
    void *wake_context;
    atomic_bool stopping;
    /* Under the mutex: */
    struct troupe__inspection *begun, *ended;
};

/* ---- on the thread ----------------------------------------------------------------------------------------------- */

struct limits {
    struct troupe__inspector *inspector;
    int64_t end_ms;
};

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether the view may go on; it asks before each row or record. */
static bool may_go_on(void *context, size_t size)
{
    const struct limits *limits = context;
    return size <= TROUPE__INSPECTION_SIZE && !atomic_load(&limits->inspector->stopping) &&
           monotonic_ms() <= limits->end_ms;
}

/* What cannot be counted in time stays as it was: that is no failure. */
static void count_rows(struct troupe__view *view, struct troupe__inspection *inspection)
{
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT; t++) {
        inspection->counts[t] = TROUPE__NOT_COUNTED;
    }
    inspection->result = troupe__tally(view, inspection->tables, inspection->counts);
    inspection->result = inspection->result == TROUPE_ETOOBIG ? TROUPE_OK : inspection->result;
}

static void read_rows(struct troupe__view *view, struct troupe__inspection *inspection)
{
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT && inspection->result == TROUPE_OK; t++) {
        if (inspection->tables & 1u << t) {
            inspection->result = troupe__view_scan(view, (enum troupe__table)t,
                                                   (struct troupe_bytes){inspection->prefix, inspection->prefix_size});
        }
    }
    inspection->result = inspection->result == TROUPE_OK ? troupe__view_replay(view) : inspection->result;
    troupe__view_settle(view);
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT && inspection->result == TROUPE_OK; t++) {
        for (size_t i = 0; i < view->tables[t].count; i++) {
            const struct troupe__view_row *row = view->tables[t].rows[i];
            troupe__record_set(&inspection->rows, (enum troupe__table)t, row->key.data, row->key.size, row->value.data,
                               row->value.size);
        }
    }
}

static void inspect(struct troupe__inspector *inspector, struct troupe__inspection *inspection)
{
    struct troupe__view view;
    struct limits limits = {inspector, monotonic_ms() + TROUPE__INSPECTION_MS};
    struct troupe__store *store;
    inspection->result = inspector->open(inspector->store, &store, inspection->error, sizeof inspection->error);
    if (inspection->result != TROUPE_OK) {
        return;
    }
    inspection->result = troupe__view_of(&view, store);
    view.may_go_on = may_go_on;
    view.limits = &limits;
    if (inspection->result == TROUPE_OK && inspection->counted) {
        count_rows(&view, inspection);
    } else {
        read_rows(&view, inspection);
    }
    inspection->epoch = store->last_epoch;
    snprintf(inspection->error, sizeof inspection->error, "%.500s", view.error);
    if (inspection->rows.failed && inspection->result == TROUPE_OK) {
        inspection->result = TROUPE_ENOMEM;
        snprintf(inspection->error, sizeof inspection->error, "out of memory: the rows do not fit");
    }
    troupe__view_close(&view);
}

static void *run(void *context)
{
    struct troupe__inspector *inspector = context;
    pthread_mutex_lock(&inspector->mutex);
    while (!atomic_load(&inspector->stopping)) {
        struct troupe__inspection *inspection = inspector->begun;
        if (!inspection) {
            pthread_cond_wait(&inspector->changed, &inspector->mutex);
            continue;
        }
        pthread_mutex_unlock(&inspector->mutex);
        inspect(inspector, inspection);
        pthread_mutex_lock(&inspector->mutex);
        inspector->begun = NULL;
        inspector->ended = inspection;
        inspector->wake(inspector->wake_context);
    }
    pthread_mutex_unlock(&inspector->mutex);
    return NULL;
}

/* ---- on the loop's thread ---------------------------------------------------------------------------------------- */

enum troupe_error troupe__inspector_start(struct troupe__store *store, troupe__view_fn open,
                                          void (*wake)(void *context), void *context, struct troupe__inspector **ret)
{
    struct troupe__inspector *inspector = calloc(1, sizeof *inspector);
    if (!inspector) {
        return TROUPE_ENOMEM;
    }
    inspector->store = store;
    inspector->open = open;
    inspector->wake = wake;
    inspector->wake_context = context;
    pthread_mutex_init(&inspector->mutex, NULL);
    pthread_cond_init(&inspector->changed, NULL);
    sigset_t all, before; /* Signals belong to the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&inspector->thread, NULL, run, inspector);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&inspector->changed);
        pthread_mutex_destroy(&inspector->mutex);
        free(inspector);
        return TROUPE_ENOMEM;
    }
    *ret = inspector;
    return TROUPE_OK;
}

void troupe__inspector_begin(struct troupe__inspector *inspector, struct troupe__inspection *inspection)
{
    pthread_mutex_lock(&inspector->mutex);
    inspector->begun = inspection;
    pthread_cond_signal(&inspector->changed);
    pthread_mutex_unlock(&inspector->mutex);
}

struct troupe__inspection *troupe__inspector_take(struct troupe__inspector *inspector)
{
    pthread_mutex_lock(&inspector->mutex);
    struct troupe__inspection *inspection = inspector->ended;
    inspector->ended = NULL;
    pthread_mutex_unlock(&inspector->mutex);
    return inspection;
}

void troupe__inspector_stop(struct troupe__inspector *inspector)
{
    pthread_mutex_lock(&inspector->mutex);
    atomic_store(&inspector->stopping, true);
    pthread_cond_signal(&inspector->changed);
    pthread_mutex_unlock(&inspector->mutex);
    pthread_join(inspector->thread, NULL);
    pthread_cond_destroy(&inspector->changed);
    pthread_mutex_destroy(&inspector->mutex);
    free(inspector);
}
