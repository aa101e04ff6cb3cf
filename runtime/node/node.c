/* node.c - a node: a machine with a loop, a committer thread and an output.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/node.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "runtime/node/admission.h"
#include "runtime/node/endpoint.h"
#include "runtime/node/memory.h"
#include "runtime/node/roster.h"
#include "runtime/node/stint.h"
#include "state/lmdb_store.h"

enum {
    YIELDS_MAX = 4,     /* before an epoch is sealed ... */
    YIELD_FROM = 8,     /* ... with so many deliveries */
    SWEEP_BUDGET = 256, /* rows that have expired or were cleared */
    WAITING_MAX = 8192, /* messages that wait: beyond it none is taken in */
    DRAIN_TURNS = 4,    /* runs without new lines before a busy epoch is sealed, for the same reason */
    BUSY_TRIES = 50,    /* to open a directory in use, 20 ms apart */
    JOBS_ENOUGH = 4096, /* jobs without a result: beyond it nothing is taken in */
};

void troupe__node_report(const struct troupe_node *node, enum troupe_level level, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (node->options.log) {
        node->options.log(node->options.log_context, level, text);
    }
}

/* ---- watchers: they only make the loop turn ---------------------------------------------------------------------- */

static void on_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

static void on_idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    ev_io_stop(loop, watcher); /* Started again when the input has been read empty. */
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop, (void)events;
    struct troupe_node *node = watcher->data;
    node->stopping = true;
}

static void wake_loop(void *context)
{
    struct troupe_node *node = context;
    ev_async_send(node->loop, &node->wake);
}

bool troupe__node_has_room(const struct troupe_node *node)
{
    return node->machine.jobs.count < JOBS_ENOUGH && node->machine.waiting < WAITING_MAX + node->machine.blocked &&
           !troupe__machine_full(&node->machine) && !node->machine.held &&
           troupe__machine_epoch_size(&node->machine) < TROUPE__RECORD_SIZE_MAX;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static enum troupe_error take_committed(struct troupe_node *node)
{
    troupe__committer_poll(node->committer, &node->committed);
    if (node->committed.result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->committed.error);
        return node->committed.result;
    }
    if (node->committed.epoch > node->durable && !node->committed.busy) {
        troupe__pace_took(&node->pace, node->committed.took_ns);
        if (node->links) {
            troupe__links_durable(node->links, troupe__monotonic_ns(node->clock));
        }
        if (node->machine.settling <= node->committed.epoch) {
            node->machine.settling = 0;
        }
        troupe__node_let_out(node);
    }
    troupe__node_tell_waiters(node);
    troupe__node_tell_late(node);
    if (node->committed.synced_number > node->released) {
        node->released = node->committed.synced_number;
        troupe__machine_released(&node->machine, node->released);
        return troupe__node_mark_output(node, node->committed.synced_offset);
    }
    return TROUPE_OK;
}

/* Whether the open epoch, due to be sealed, should first run on without new lines. */
static bool drain(struct troupe_node *node)
{
    if (node->input.fd < 0 || !troupe__machine_runnable(&node->machine)) {
        node->drain_turns = 0;
    } else if (node->drain_turns == 0) {
        node->drain_turns = DRAIN_TURNS;
    } else {
        node->drain_turns--;
    }
    return node->drain_turns > 0;
}

/* So that the journal knows a cut for about each second. A node that is alone notes what its colour would be: any of
 * its epochs is a cut. */
static enum troupe_error mark_time(struct troupe_node *node)
{
    int64_t now_ms = node->machine.ctx.now_ms;
    if (node->links) {
        troupe__links_colour_by_time(node->links, now_ms);
        return TROUPE_OK;
    }
    if (now_ms - node->marked_ms < TROUPE__COLOUR_MS) {
        return TROUPE_OK;
    }
    node->marked_ms = now_ms;
    struct troupe__buffer mark = {0};
    troupe__buffer_put_varint(&mark, troupe__colour_of(now_ms));
    troupe__buffer_put_varint(&mark, (uint64_t)now_ms);
    enum troupe_error result =
        mark.failed ? TROUPE_ENOMEM
                    : troupe__machine_mark(&node->machine, "colour", (struct troupe_bytes){mark.data, mark.size});
    troupe__buffer_free(&mark);
    return result;
}

/* On the loop's thread, when it would only sleep meanwhile; see runtime/node/pace.h. Only with other nodes: they wait
 * for what was sent, and what they send waits for this thread alone. */
static bool commits_here(const struct troupe_node *node, bool busy)
{
    return !busy && node->links && !node->stopping && (!node->options.output || node->epoch.egress.size == 0) &&
           troupe__pace_commits_here(&node->pace, troupe__thread_cpu_ns()) && !node->store->commit_waits(node->store);
}

/* What other nodes sent meanwhile has most likely come: the next turn looks, without asking the loop first. */
static enum troupe_error commit_here(struct troupe_node *node)
{
    troupe__committer_commit_here(node->committer, &node->epoch);
    node->frames_ready = true;
    return take_committed(node);
}

static enum troupe_error seal_if_due(struct troupe_node *node, bool busy)
{
    if (!troupe__machine_dirty(&node->machine) && !node->input_moved) {
        node->opened_ms = 0;
        return TROUPE_OK;
    }
    int64_t now = node->machine.ctx.now_ms;
    if (node->opened_ms == 0) {
        node->opened_ms = now;
    }
    bool full = troupe__machine_epoch_size(&node->machine) >= TROUPE__RECORD_SIZE_MAX;
    if (node->committed.busy ||
        (busy && !full && (troupe__machine_unripe(&node->machine, now - node->opened_ms) || drain(node)))) {
        return TROUPE_OK;
    }
    node->drain_turns = 0;
    enum troupe_error result = troupe__node_mark_input(node);
    if (!node->options.output && node->released > node->machine.egress_released) {
        troupe__machine_released(&node->machine, node->released);
    }
    result = result == TROUPE_OK ? mark_time(node) : result;
    troupe__camera_before_seal(node->camera);
    result = result == TROUPE_OK ? troupe__machine_seal(&node->machine, &node->epoch) : result;
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
        return result;
    }
    troupe__machine_refresh(&node->machine);
    node->opened_ms = 0;
    if (commits_here(node, busy)) {
        result = commit_here(node);
    } else {
        troupe__committer_commit(node->committer, &node->epoch);
        node->committed.busy = true;
    }
    if (node->links) {
        troupe__pace_begin(&node->pace, troupe__thread_cpu_ns());
    }
    return result;
}

/* Whether nothing is left to do: everything handled is durable and, where records were written, out and marked. */
static bool settled(const struct troupe_node *node)
{
    return !node->committed.busy && !node->committed.unsynced && !troupe__machine_dirty(&node->machine) &&
           !node->input_moved;
}

static bool finished(const struct troupe_node *node)
{
    const struct troupe__machine *machine = &node->machine;
    if (!troupe__node_jobs_ended(node)) {
        return false;
    }
    if (node->stopping) {
        return true;
    }
    return node->options.until != TROUPE_UNTIL_STOPPED && node->input.fd < 0 && machine->waiting == 0 &&
           (node->options.until != TROUPE_UNTIL_IDLE_TIMERS || machine->timers.count == 0);
}

/* Let others have the core first, as long as that brings more; see runtime/node/pace.h. */
static enum troupe_error gather(struct troupe_node *node, bool *ret_more)
{
    const struct troupe__machine *machine = &node->machine;
    enum troupe_error result = TROUPE_OK;
    bool comes = node->links && !node->committed.busy && !*ret_more &&
                 machine->stats.deliveries - machine->sealed_deliveries >= YIELD_FROM &&
                 troupe__pace_yields(&node->pace);
    for (int i = 0; i < YIELDS_MAX && comes && result == TROUPE_OK && !troupe__machine_runnable(machine); i++) {
        uint64_t frames = node->links->stats.frames_in, began_ns = troupe__monotonic_ns(node->clock);
        size_t count;
        sched_yield();
        uint64_t took_ns = troupe__monotonic_ns(node->clock) - began_ns;
        troupe__pace_yielded(&node->pace, took_ns);
        node->frames_ready = true;
        result = troupe__node_take_frames(node, ret_more);
        if (result == TROUPE_OK) {
            result = troupe__stint(&node->machine, node->clock, TROUPE__RECORD_SIZE_MAX, &count);
        }
        comes = node->links->stats.frames_in != frames && !*ret_more && took_ns <= TROUPE__PACE_YIELD_NS;
    }
    return result;
}

static enum troupe_error turn(struct troupe_node *node, bool *ret_busy, bool *ret_done)
{
    bool more = false, more_frames = false;
    size_t count = 0;
    enum troupe_error result = troupe__machine_set_now(&node->machine, troupe__wall_ms(node->clock));
    result = result == TROUPE_OK ? take_committed(node) : result;
    troupe__camera_turn(node->camera, node->durable);
    if (troupe__camera_waits_for_output(node->camera) && node->committed.unsynced && !node->committed.busy) {
        troupe__committer_sync(node->committer);
    }
    result = result == TROUPE_OK ? troupe__node_turn_jobs(node) : result;
    result = result == TROUPE_OK ? troupe__node_take_frames(node, &more_frames) : result;
    result = result == TROUPE_OK ? troupe__node_pump_input(node, &more) : result;
    more = more || more_frames;
    if (result == TROUPE_OK && node->endpoint) {
        more |= troupe__endpoint_turn(node->endpoint);
    }
    bool full = troupe__machine_epoch_size(&node->machine) >= TROUPE__RECORD_SIZE_MAX;
    if (result == TROUPE_OK && !node->stopping && !full) {
        result = troupe__stint(&node->machine, node->clock, TROUPE__RECORD_SIZE_MAX, &count);
        result = result == TROUPE_OK ? gather(node, &more) : result;
    }
    if (result != TROUPE_OK) {
        return result;
    }
    bool runnable = troupe__machine_runnable(&node->machine) && !node->stopping;
    bool done = finished(node);
    if (done && !node->options.output && node->released > node->machine.egress_released) {
        troupe__machine_released(&node->machine, node->released);
    }
    if (!done && !node->committed.busy) { /* So much with each commit. */
        result = troupe__machine_sweep(&node->machine, SWEEP_BUDGET);
        if (result != TROUPE_OK) {
            snprintf(node->error, sizeof node->error, "%s", node->machine.error);
        }
    }
    result = result == TROUPE_OK ? seal_if_due(node, runnable || more) : result;
    result = result == TROUPE_OK ? troupe__node_send_frames(node) : result;
    if (!runnable && (node->machine.crowded || troupe__machine_refresh_due(&node->machine) == 0)) {
        troupe__machine_refresh(&node->machine);
    }
    runnable = troupe__machine_runnable(&node->machine) && !node->stopping; /* By a refresh it may have become so. */
    full = troupe__machine_epoch_size(&node->machine) >= TROUPE__RECORD_SIZE_MAX;
    more |= node->frames_ready && !node->stopping; /* They may have come during a commit on this thread. */
    *ret_busy = (runnable || more) && !(full && node->committed.busy);
    *ret_busy |= troupe__waiters_due(&node->waiters, node->durable); /* Taken in since they were told. */
    if (done && node->committed.unsynced && !node->committed.busy) {
        troupe__committer_sync(node->committer);
    }
    troupe__camera_turned(node->camera, count, runnable);
    *ret_done = done && settled(node);
    return result;
}

static void stop_watchers(struct troupe_node *node)
{
    if (node->endpoint) {
        troupe__endpoint_stop(node->endpoint, node->loop);
    }
    ev_prepare_stop(node->loop, &node->prepare);
    ev_idle_stop(node->loop, &node->idle);
    ev_async_stop(node->loop, &node->wake);
    ev_io_stop(node->loop, &node->readable);
    ev_timer_stop(node->loop, &node->figures);
    ev_timer_stop(node->loop, &node->watch);
    troupe__wake_at(node->clock, TROUPE__NEVER);
}

static void end(struct troupe_node *node, enum troupe_error result)
{
    node->ended = true;
    node->result = result;
    stop_watchers(node);
    if (result == TROUPE_OK) {
        troupe__node_report(
            node, TROUPE_INFO, "node closed: %llu deliveries, %llu failures, %llu dead letters, %llu epochs",
            (unsigned long long)node->machine.stats.deliveries, (unsigned long long)node->machine.stats.failures,
            (unsigned long long)node->machine.stats.dead, (unsigned long long)node->machine.stats.epochs);
    } else if (node->error[0] == '\0') {
        snprintf(node->error, sizeof node->error, "%s", troupe_error_text(result));
    }
    troupe__node_give_up(node);
    if (node->own_loop) {
        ev_break(node->loop, EVBREAK_ALL);
    }
    if (node->options.on_end) {
        node->options.on_end(node->options.end_context, result);
    }
}

/* The earliest of what the machine, those who ask and those who are connected wait for. */
static uint64_t next_wake_ns(const struct troupe_node *node)
{
    int64_t due_ms = troupe__machine_next_due(&node->machine), asker_ms = troupe__askers_due(&node->askers);
    int64_t refresh_ms = troupe__machine_refresh_due(&node->machine);
    due_ms = due_ms < 0 || (refresh_ms >= 0 && refresh_ms < due_ms) ? refresh_ms : due_ms;
    int64_t sweep_ms = troupe__machine_sweep_due(&node->machine);
    sweep_ms = node->committed.busy ? -1 : sweep_ms; /* The end of the commit wakes the loop. */
    due_ms = due_ms < 0 || (sweep_ms >= 0 && sweep_ms < due_ms) ? sweep_ms : due_ms;
    int64_t endpoint_ms = node->endpoint ? troupe__endpoint_due_ms(node->endpoint) : INT64_MAX;
    uint64_t wake_ns = due_ms < 0 ? TROUPE__NEVER : troupe__monotonic_ns(node->clock) + (uint64_t)due_ms * 1000000;
    if (asker_ms >= 0 && (uint64_t)asker_ms * 1000000 < wake_ns) {
        wake_ns = (uint64_t)asker_ms * 1000000;
    }
    if (endpoint_ms != INT64_MAX && (uint64_t)endpoint_ms * 1000000 < wake_ns) {
        wake_ns = (uint64_t)endpoint_ms * 1000000;
    }
    return node->links && node->links_at_ns < wake_ns ? node->links_at_ns : wake_ns;
}

/* Before the loop would block: a turn, then either it must not block, or at most until the next timer. */
static void on_prepare(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)events;
    struct troupe_node *node = watcher->data;
    bool busy = false, done = false;
    if (!node->started) {
        node->started = true;
        if (!node->options.output) {
            troupe__node_repeat_records(node);
        }
    }
    enum troupe_error result = turn(node, &busy, &done);
    if (result != TROUPE_OK || done) {
        end(node, result);
    } else if (busy) {
        ev_idle_start(loop, &node->idle);
    } else {
        ev_idle_stop(loop, &node->idle);
        troupe__wake_at(node->clock, next_wake_ns(node));
    }
}

static void start_watchers(struct troupe_node *node)
{
    node->wake.data = node->prepare.data = node;
    ev_async_start(node->loop, &node->wake);
    ev_prepare_start(node->loop, &node->prepare);
    if (node->endpoint) {
        troupe__endpoint_start(node->endpoint, node->loop);
    }
}

static void init_watchers(struct troupe_node *node)
{
    ev_async_init(&node->wake, on_wake);
    ev_prepare_init(&node->prepare, on_prepare);
    ev_idle_init(&node->idle, on_idle);
    ev_signal_init(&node->on_int, on_signal, SIGINT);
    ev_signal_init(&node->on_term, on_signal, SIGTERM);
    ev_io_init(&node->readable, on_readable, node->input.fd, EV_READ);
    if (node->options.stop_on_signals) { /* From now on there is something to leave behind. */
        node->on_int.data = node->on_term.data = node;
        ev_signal_start(node->loop, &node->on_int);
        ev_signal_start(node->loop, &node->on_term);
    }
}

/* A module that cannot read what is there touches nothing. */
static enum troupe_error open_store(struct troupe_node *node, const struct troupe__lmdb_options *store_options)
{
    const struct troupe_node_options *options = &node->options;
    enum troupe_error result = troupe__admission_ask(options->module, options->data, node->error, sizeof node->error);
    if (result != TROUPE_OK) {
        return result;
    }
    result = troupe__lmdb_store_open(options->data, store_options, &node->store, node->error, sizeof node->error);
    if (result != TROUPE_OK) {
        return result;
    }
    if (node->store->cut_off > 0) {
        troupe__node_report(node, TROUPE_WARNING,
                            "%s: a crash has cut off a commit of %llu bytes that nobody was told of", options->data,
                            (unsigned long long)node->store->cut_off);
    }
    result = troupe__admission_note(options->module, options->data, node->error, sizeof node->error);
    if (result != TROUPE_OK) {
        node->store->close(node->store);
    }
    return result;
}

static enum troupe_error open_machine(struct troupe_node *node)
{
    const struct troupe_node_options *options = &node->options;
    size_t memory = options->memory ? options->memory : troupe__memory_default();
    struct troupe__lmdb_options store_options = {.sync = options->durability == TROUPE_DISK,
                                                 .fold_bytes = troupe__memory_for_fold(memory),
                                                 .unfolded_max = troupe__memory_for_unfolded(memory),
                                                 .keep_journal = options->keep_journal};
    enum troupe_error result;
    int tries = 0;
    /* A node whose supervisor was killed may need a moment to be gone. */
    while ((result = open_store(node, &store_options)) == TROUPE_EBUSY && tries++ < BUSY_TRIES) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    uint64_t seed = troupe__hash(options->module->name ? options->module->name : "",
                                 options->module->name ? strlen(options->module->name) : 0);
    result =
        troupe__machine_init(&node->machine, options->module, node->store, seed, options->log, options->log_context);
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "%s", node->machine.error);
        node->store->close(node->store);
    }
    node->machine.memory_max = troupe__memory_for_machine(memory);
    return result;
}

static enum troupe_error open_loop(struct troupe_node *node)
{
    node->own_loop = !node->options.loop;
    node->loop = node->own_loop ? ev_loop_new(EVFLAG_NOENV) : node->options.loop;
    if (!node->loop) {
        snprintf(node->error, sizeof node->error, "cannot make an event loop");
        return TROUPE_EIO;
    }
    troupe__loop_clock_init(&node->loop_clock, node->loop);
    node->clock = &node->loop_clock.base;
    return TROUPE_OK;
}

static enum troupe_error open_camera(struct troupe_node *node)
{
    node->darkroom = (struct troupe__darkroom){.wake = wake_loop, .context = node};
    struct troupe__camera_options options = {.machine = &node->machine,
                                             .name = node->name,
                                             .clock = node->clock,
                                             .start = troupe__darkroom_start,
                                             .pause = troupe__darkroom_pause,
                                             .join = troupe__darkroom_join,
                                             .context = &node->darkroom};
    return troupe__camera_open(&options, &node->camera);
}

static enum troupe_error start_committer(struct troupe_node *node)
{
    enum troupe_error result = troupe__committer_start(node->store, node->options.output ? &node->output : NULL,
                                                       wake_loop, node, &node->committer);
    if (result != TROUPE_OK) {
        snprintf(node->error, sizeof node->error, "cannot start the committer thread");
    }
    return result;
}

static void free_node(struct troupe_node *node)
{
    if (node->committer) {
        troupe__committer_stop(node->committer);
    }
    if (node->workers) {
        troupe__node_stop_jobs(node);
    }
    troupe__camera_close(node->camera); /* Its thread wakes the loop. */
    troupe__roster_close(node->roster);
    troupe__node_leave(node);
    troupe__endpoint_close(node->endpoint); /* Its threads wake the loop too. */
    troupe__input_close(&node->input);
    troupe__output_close(&node->output);
    troupe__machine_fini(&node->machine);
    node->store->close(node->store);
    if (node->loop) {
        ev_signal_stop(node->loop, &node->on_int); /* Not before: who stops a node may send more than one. */
        ev_signal_stop(node->loop, &node->on_term);
        troupe__loop_clock_fini(&node->loop_clock);
        if (node->own_loop) {
            ev_loop_destroy(node->loop);
        }
    }
    troupe__waiters_fini(&node->waiters);
    troupe__askers_fini(&node->askers);
    troupe__recent_fini(&node->recent);
    troupe__refusals_fini(&node->refusals);
    troupe__epoch_fini(&node->epoch);
    troupe__buffer_free(&node->line);
    free(node);
}

static enum troupe_error check_options(const struct troupe_node_options *options, char *error, size_t error_size)
{
    if (!options->module || !options->data) {
        snprintf(error, error_size, "a node needs a module and a data directory");
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

enum troupe_error troupe_node_open(const struct troupe_node_options *options, struct troupe_node **ret, char *error,
                                   size_t error_size)
{
    return troupe__node_open(options, NULL, ret, error, error_size);
}

enum troupe_error troupe__node_open(const struct troupe_node_options *options, const struct troupe__place *place,
                                    struct troupe_node **ret, char *error, size_t error_size)
{
    enum troupe_error result = check_options(options, error, error_size);
    struct troupe_node *node = result == TROUPE_OK ? calloc(1, sizeof *node) : NULL;
    if (!node) {
        if (result == TROUPE_OK) {
            snprintf(error, error_size, "out of memory");
            result = TROUPE_ENOMEM;
        }
        return result;
    }
    node->options = *options;
    node->place = place;
    troupe__refusals_init(&node->refusals);
    node->input.fd = node->output.fd = node->output.lock_fd = -1;
    result = open_machine(node);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", node->error);
        free(node);
        return result;
    }
    node->durable = node->store->last_epoch;
    troupe__node_report(node, TROUPE_INFO, "node open: %s, epoch %llu, %zu messages waiting, durability %s",
                        options->data, (unsigned long long)node->store->last_epoch, node->machine.waiting,
                        options->durability == TROUPE_DISK ? "disk" : "process");
    result = open_loop(node);
    /* Before the time: what is due may be for another node. */
    snprintf(node->name, sizeof node->name, "%s", place ? place->cluster->nodes[place->self].name : "node");
    result = result == TROUPE_OK ? open_camera(node) : result;
    result = result != TROUPE_OK ? result
             : place             ? troupe__node_join(node, place)
                                 : troupe__links_none(&node->machine, node->error, sizeof node->error);
    result = result == TROUPE_OK ? troupe__machine_set_now(&node->machine, troupe__wall_ms(node->clock)) : result;
    result = result == TROUPE_OK ? troupe__node_open_input(node) : result;
    if (node->options.listen_count > 0) {
        troupe__recent_push(&node->recent, &node->machine.unreleased);
    }
    result = result == TROUPE_OK ? troupe__node_open_output(node) : result;
    if (node->loop) {
        init_watchers(node);
    }
    result = result == TROUPE_OK ? troupe__node_start_jobs(node, wake_loop) : result;
    result = result == TROUPE_OK ? start_committer(node) : result;
    if (result == TROUPE_OK && node->options.listen_count > 0) {
        result = troupe__endpoint_open(node, wake_loop, &node->endpoint, node->error, sizeof node->error);
    }
    result = result == TROUPE_OK ? troupe__roster_open(node, &node->roster) : result;
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", node->error[0] ? node->error : troupe_error_text(result));
        free_node(node);
        return result;
    }
    start_watchers(node);
    *ret = node;
    return TROUPE_OK;
}

void troupe__node_set_guard(struct troupe_node *node, struct troupe__guard *guard)
{
    node->machine.guard = guard;
    troupe__workers_set_guard(node->workers, guard);
}

enum troupe_error troupe_node_run(struct troupe_node *node)
{
    while (!node->ended) {
        ev_run(node->loop, node->own_loop ? 0 : EVRUN_ONCE);
    }
    return node->result;
}

void troupe_node_stop(struct troupe_node *node)
{
    node->stopping = true;
}

const char *troupe_node_error(const struct troupe_node *node)
{
    return node->error;
}

enum troupe_error troupe_node_close(struct troupe_node *node)
{
    if (!node) {
        return TROUPE_OK;
    }
    node->stopping = true;
    while (!node->ended) { /* Without the loop, which may be the program's. */
        bool busy, done = false;
        enum troupe_error result = turn(node, &busy, &done);
        if (result != TROUPE_OK || done) {
            end(node, result);
        } else if (node->committed.busy || troupe__workers_running(node->workers) == 0) {
            troupe__committer_wait(node->committer);
        } else {
            troupe__node_wait_jobs(node);
        }
    }
    enum troupe_error result = node->result;
    free_node(node);
    return result;
}
