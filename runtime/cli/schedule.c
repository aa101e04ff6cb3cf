/* schedule.c - snapshots of a node or troupe that runs, one after the other by the clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/schedule.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "runtime/snapshot/check.h"
#include "runtime/cli/client.h"
#include "runtime/cli/live.h"

enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000, ANSWER_MS = 5000 };

static const char prefix[] = "auto-";

__attribute__((format(printf, 3, 4))) static void report(const struct troupe__schedule *schedule,
                                                         enum troupe_level level, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    schedule->log(schedule->log_context, level, text);
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what stands there ------------------------------------------------------------------------------------------- */

struct listed {
    char name[TROUPE__SNAPSHOT_NAME_MAX + 1];
    struct troupe__snapshot snapshot;
};

struct list {
    struct listed *items; /* complete ones, the oldest first */
    size_t count;
};

static int compare_listed(const void *left, const void *right)
{
    int64_t a = ((const struct listed *)left)->snapshot.taken_ms, b = ((const struct listed *)right)->snapshot.taken_ms;
    return (a > b) - (a < b);
}

static void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        troupe__snapshot_fini(&list->items[i].snapshot);
    }
    free(list->items);
}

static void path_of(const char *directory, const char *name, char path[static PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.3900s/%s", directory, name);
}

static bool is_auto(const char *name)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Others may have theirs in the same directory. */
static bool is_ours(const struct troupe__schedule *schedule, const struct troupe__snapshot *snapshot)
{
    return schedule->slots ? snapshot->is_troupe && snapshot->slots.cluster == schedule->slots->cluster
                           : !snapshot->is_troupe;
}

static void list_read(const struct troupe__schedule *schedule, struct list *ret)
{
    char path[PATH_MAX], error[512];
    *ret = (struct list){.items = NULL};
    DIR *open = opendir(schedule->directory);
    for (struct dirent *entry; open && (entry = readdir(open)) != NULL;) {
        struct listed listed;
        if (!troupe__snapshot_name_valid(entry->d_name)) {
            continue;
        }
        memcpy(listed.name, entry->d_name, strlen(entry->d_name) + 1);
        path_of(schedule->directory, listed.name, path);
        if (troupe__snapshot_read(path, &listed.snapshot, error, sizeof error) != TROUPE_OK) {
            continue;
        }
        bool ours = is_ours(schedule, &listed.snapshot);
        struct listed *items = ours ? realloc(ret->items, (ret->count + 1) * sizeof *items) : NULL;
        if (!items) {
            troupe__snapshot_fini(&listed.snapshot);
            if (ours) {
                break;
            }
            continue;
        }
        ret->items = items;
        ret->items[ret->count++] = listed;
    }
    if (open) {
        closedir(open);
    }
    if (ret->count > 0) {
        qsort(ret->items, ret->count, sizeof *ret->items, compare_listed);
    }
}

/* ---- what is not needed any more --------------------------------------------------------------------------------- */

/* One that does not hear it will be told after the next one. */
static void tell(const struct troupe__reach *reach, size_t node, uint64_t epoch)
{
    struct troupe__client client;
    struct troupe__request request = {.what = "journal.forget", .from = epoch + 1};
    struct troupe__reply reply;
    if (troupe__reach_connect(reach, &reach->nodes[node], &client) == TROUPE_OK) {
        if (troupe__client_send(&client, &request) == TROUPE_OK) {
            (void)troupe__client_receive(&client, ANSWER_MS, &reply);
        }
        troupe__client_close(&client);
    }
}

/* What kept journals hold from before the oldest snapshot is not needed any more. Those of an earlier generation may
 * have later epochs: it was restored from one before them. */
static void forget(const struct troupe__schedule *schedule)
{
    struct list list;
    struct troupe__reach reach;
    size_t first = 0;
    list_read(schedule, &list);
    while (first < list.count && schedule->slots &&
           list.items[first].snapshot.slots.generation != schedule->slots->generation) {
        first++;
    }
    if (first < list.count && troupe__reach_open(&reach, &schedule->where) == TROUPE_OK) {
        const struct troupe__snapshot *oldest = &list.items[first].snapshot;
        for (size_t i = 0; i < oldest->part_count; i++) {
            if (oldest->parts[i].number < reach.count) {
                tell(&reach, (size_t)oldest->parts[i].number, oldest->parts[i].epoch);
            }
        }
        troupe__reach_close(&reach);
    }
    list_free(&list);
}

static void remove_old(const struct troupe__schedule *schedule)
{
    struct list list;
    char path[PATH_MAX], error[512];
    list_read(schedule, &list);
    size_t autos = 0;
    for (size_t i = 0; i < list.count; i++) {
        autos += is_auto(list.items[i].name);
    }
    for (size_t i = 0; i < list.count && autos > schedule->keep; i++) {
        if (is_auto(list.items[i].name)) {
            autos--;
            path_of(schedule->directory, list.items[i].name, path);
            if (troupe__snapshot_remove(path, error, sizeof error) != TROUPE_OK) {
                report(schedule, TROUPE_WARNING, "snapshot %s stays: %s", list.items[i].name, error);
            }
        }
    }
    list_free(&list);
    forget(schedule);
}

/* What it was about when it was killed, or another one. */
static void note_leftover(void *context, const char *name, bool is_dead)
{
    if (is_dead) {
        report(context, TROUPE_INFO, "snapshots/%s is removed: what made or deleted it was killed", name);
    }
}

/* ---- the clock --------------------------------------------------------------------------------------------------- */

static bool take(const struct troupe__schedule *schedule)
{
    char path[PATH_MAX], name[64], error[512] = "";
    struct troupe__snapshot snapshot;
    struct tm parts;
    time_t now = time(NULL);
    if (mkdir(schedule->directory, 0700) && errno != EEXIST) {
        report(schedule, TROUPE_WARNING, "no snapshot: create %.300s: %s", schedule->directory, strerror(errno));
        return false;
    }
    gmtime_r(&now, &parts);
    strftime(name, sizeof name, "auto-%Y-%m-%dT%H-%M-%SZ", &parts);
    path_of(schedule->directory, name, path);
    struct troupe__reach reach;
    enum troupe_error result = troupe__reach_open(&reach, &schedule->where);
    snprintf(error, sizeof error, "%.500s", reach.error);
    if (result == TROUPE_OK) {
        result = troupe__live_snapshot(&reach, path, NULL, &snapshot, error, sizeof error);
        troupe__reach_close(&reach);
    }
    if (result != TROUPE_OK) {
        report(schedule, TROUPE_WARNING, "no snapshot: %s (%s)", error, troupe_error_text(result));
        return false;
    }
    report(schedule, TROUPE_INFO, "snapshot %s taken in %" PRId64 " ms", name, snapshot.took_ms);
    troupe__snapshot_fini(&snapshot);
    if (schedule->module &&
        (result = troupe__check_snapshot(schedule->module, path, NULL, NULL, error, sizeof error)) != TROUPE_OK) {
        report(schedule, TROUPE_ERROR, "snapshot %s: %s", name, error);
    }
    return true;
}

/* When the newest of its own was taken, 0 when there is none. */
static int64_t last_taken(const struct troupe__schedule *schedule)
{
    struct list list;
    int64_t last_ms = 0;
    list_read(schedule, &list);
    for (size_t i = 0; i < list.count; i++) {
        last_ms = is_auto(list.items[i].name) ? list.items[i].snapshot.taken_ms : last_ms;
    }
    list_free(&list);
    return last_ms;
}

static void sleep_ms(int64_t ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) && errno == EINTR) {
    }
}

int troupe__schedule_run(void *context)
{
    const struct troupe__schedule *schedule = context;
    int64_t retry_ms = schedule->every_ms / 10;
    retry_ms = retry_ms < RETRY_MIN_MS ? RETRY_MIN_MS : retry_ms > RETRY_MAX_MS ? RETRY_MAX_MS : retry_ms;
    troupe__snapshot_leftovers(schedule->directory, true, note_leftover, context);
    int64_t last_ms = last_taken(schedule), start_ms = wall_ms();
    int64_t due_ms = last_ms > 0 && last_ms <= start_ms ? last_ms + schedule->every_ms : start_ms + schedule->every_ms;
    for (;;) {
        int64_t now_ms = wall_ms();
        if (due_ms > now_ms) {
            /* In pieces: the clock may be set meanwhile. */
            sleep_ms(due_ms - now_ms < RETRY_MAX_MS ? due_ms - now_ms : RETRY_MAX_MS);
        } else if (take(schedule)) {
            remove_old(schedule);
            int64_t rested_ms = wall_ms() + schedule->every_ms / 2; /* Others may want one too. */
            due_ms = now_ms + schedule->every_ms > rested_ms ? now_ms + schedule->every_ms : rested_ms;
        } else {
            due_ms = now_ms + (retry_ms < schedule->every_ms ? retry_ms : schedule->every_ms);
        }
    }
}
