/* supervisor.c - the parent process of one node or several: starts them again when they crash.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     PAUSED --- its time has come ---> RUNNING --- ended by itself ---> ENDED
 *        ^------ died of a signal ---------'
 */
#include "runtime/node/supervisor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PAUSE_FIRST_MS = 100,
    PAUSE_MAX_MS = 5000,
    STEADY_MS = 60000,
    BARREN_MS = 10000,    /* who dies before that has died soon */
    LOOKS = 2,            /* at a delivery until it is slow */
    SAME_SIGNAL_MS = 300, /* a terminal, `timeout` and the like may send one twice: to us and to our group */
};
enum { EXIT_WRONG = 2 };

struct charge {
    const struct troupe__child *child;
    enum { PAUSED, RUNNING, ENDED } state;
    pid_t pid;
    int64_t start_ms;             /* when it is to be, or was, started */
    int64_t pause_ms;             /* the next one */
    bool was_open;                /* at an earlier start */
    unsigned deaths;              /* in a row, soon after the start and by nothing that it handled */
    uint64_t seen_number;         /* the delivery under way at the last look */
    unsigned looks, report_looks; /* how often it was seen since, and when to say so */
};

struct supervisor {
    struct charge *charges;
    size_t count, nodes; /* nodes: those that are no companions */
    troupe_log_fn log;
    void *log_context;
    sigset_t signals, before;
    bool stopping;
    int64_t stopping_ms; /* since when */
    int64_t slow_ms, pause_max_ms;
    int code;
};

__attribute__((format(printf, 4, 5))) static void report(struct supervisor *supervisor, const struct charge *charge,
                                                         enum troupe_level level, const char *format, ...)
{
    char text[640];
    const char *name = charge->child->name;
    int size = name ? snprintf(text, sizeof text, "%.63s: ", name) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(text + size, sizeof text - (size_t)size, format, args);
    va_end(args);
    if (supervisor->log) {
        supervisor->log(supervisor->log_context, level, text);
    }
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- starting and ending ----------------------------------------------------------------------------------------- */

static void pause_charge(const struct supervisor *supervisor, struct charge *charge)
{
    int64_t now_ms = monotonic_ms();
    if (now_ms - charge->start_ms >= STEADY_MS) {
        charge->pause_ms = PAUSE_FIRST_MS;
    }
    charge->state = PAUSED;
    charge->start_ms = now_ms + charge->pause_ms;
    int64_t max_ms = supervisor->pause_max_ms;
    charge->pause_ms = charge->pause_ms * 2 < max_ms ? charge->pause_ms * 2 : max_ms;
}

static void start(struct supervisor *supervisor, struct charge *charge)
{
    pid_t parent = getpid();
    charge->start_ms = monotonic_ms();
    charge->was_open |= charge->child->guard->opened != 0;
    charge->child->guard->opened = charge->child->guard->hopeless = 0;
    charge->pid = fork();
    if (charge->pid < 0) {
        report(supervisor, charge, TROUPE_ERROR, "cannot start the node's process: %s", strerror(errno));
        pause_charge(supervisor, charge);
        return;
    }
    charge->state = RUNNING;
    if (charge->pid > 0) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(EXIT_FAILURE); /* It died before the line above. */
    }
    sigprocmask(SIG_SETMASK, &supervisor->before, NULL);
    troupe__guard_catch_signals(charge->child->guard);
    exit(charge->child->run(charge->child->context));
}

/* Killed from outside once it was open is no death of its own. */
static bool is_barren(const struct charge *charge, int signal)
{
    return monotonic_ms() - charge->start_ms < BARREN_MS && (signal != SIGKILL || !charge->child->guard->opened);
}

static void report_crash(struct supervisor *supervisor, struct charge *charge, int signal)
{
    char text[TROUPE__SIGNAL_TEXT_MAX];
    bool barren = is_barren(charge, signal);
    const struct troupe__suspect *suspect = troupe__guard_count_crash(charge->child->guard, signal);
    charge->deaths = barren && !suspect ? charge->deaths + 1 : 0;
    if (charge->deaths == TROUPE__DEATHS_MAX) {
        report(
            supervisor, charge, TROUPE_ERROR,
            "node died %d times in a row within %d s of its start, outside of a handler or job, now of %s: given up. "
            "Nothing durable is lost. %s",
            TROUPE__DEATHS_MAX, BARREN_MS / 1000, troupe__guard_signal_text(signal, text),
            signal == SIGKILL
                ? "If the system ran out of memory, give it more or lower --memory; then start it again"
                : "Run troupe doctor on its directory, and --no-supervisor under a debugger to see where");
        return;
    }
    if (!suspect) {
        report(supervisor, charge, TROUPE_ERROR, "node died outside of a handler or job: %s; starting it again",
               troupe__guard_signal_text(signal, text));
        return;
    }
    /* That ends with the third time: a pause is for what may pass, not for the next message of many that crash. */
    charge->pause_ms =
        suspect->crashes < TROUPE__CRASHES_MAX ? PAUSE_FIRST_MS << (suspect->crashes - 1) : PAUSE_FIRST_MS;
    report(supervisor, charge, TROUPE_ERROR, "%s crashed the node: %s, time %u of %d", suspect->what,
           troupe__guard_signal_text(signal, text), suspect->crashes, TROUPE__CRASHES_MAX);
    for (const char *line = suspect->trace; *line;) {
        size_t size = strcspn(line, "\n");
        report(supervisor, charge, TROUPE_ERROR, "  at %.*s", (int)size, line);
        line += size + (line[size] == '\n');
    }
}

static void signal_all(struct supervisor *supervisor, int signal)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        if (supervisor->charges[i].state == RUNNING) {
            kill(supervisor->charges[i].pid, signal);
        }
    }
}

/* Let all end, if they are not told already. */
static void stop_all_once(struct supervisor *supervisor)
{
    if (!supervisor->stopping) {
        supervisor->stopping = true;
        supervisor->stopping_ms = monotonic_ms();
        signal_all(supervisor, SIGTERM);
    }
}

/* The same by a signal, the second of which ends them at once. */
static void stop_all(struct supervisor *supervisor)
{
    if (!supervisor->stopping) {
        stop_all_once(supervisor);
    } else if (monotonic_ms() - supervisor->stopping_ms >= SAME_SIGNAL_MS) {
        report(supervisor, &supervisor->charges[0], TROUPE_WARNING,
               "told to stop again: all ends at once; what is durable is safe");
        signal_all(supervisor, SIGKILL);
    }
}

static void take_end(struct supervisor *supervisor, struct charge *charge, int status)
{
    bool alone = supervisor->nodes == 1;
    if (charge->child->companion) {
        if (supervisor->stopping) {
            charge->state = ENDED;
        } else {
            report(supervisor, charge, TROUPE_WARNING, "has ended; starting it again in %lld ms",
                   (long long)charge->pause_ms);
            pause_charge(supervisor, charge);
        }
        return;
    }
    if (WIFSIGNALED(status) && supervisor->stopping && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT)) {
        charge->state = ENDED; /* It was still opening: nothing was under way. */
        return;
    }
    if (WIFSIGNALED(status) && supervisor->stopping && WTERMSIG(status) == SIGKILL) {
        charge->state = ENDED;
        supervisor->code = EXIT_FAILURE;
        return;
    }
    const struct troupe__guard *guard = charge->child->guard;
    if (WIFSIGNALED(status) || guard->exited || guard->delivering) {
        report_crash(supervisor, charge, WIFSIGNALED(status) ? WTERMSIG(status) : TROUPE__EXITED);
        supervisor->code = supervisor->stopping ? EXIT_FAILURE : supervisor->code;
        pause_charge(supervisor, charge);
        if (charge->deaths == TROUPE__DEATHS_MAX) {
            charge->state = ENDED;
            supervisor->code = EXIT_FAILURE;
            stop_all_once(supervisor);
        }
        return;
    }
    int code = WEXITSTATUS(status);
    bool was_open = guard->opened || charge->was_open, hopeless = guard->hopeless && !was_open;
    if (code == EXIT_FAILURE && charge->child->needed && (was_open || (!alone && !hopeless)) && !supervisor->stopping) {
        report(supervisor, charge, TROUPE_ERROR, "node has failed; starting it again in %lld ms",
               (long long)charge->pause_ms);
        pause_charge(supervisor, charge);
        return;
    }
    charge->state = ENDED;
    supervisor->code = code != 0 ? (alone || code == EXIT_WRONG ? code : EXIT_FAILURE) : supervisor->code;
    bool ends_all = code == EXIT_WRONG || (code == EXIT_FAILURE && hopeless) || (code == 0 && charge->child->ends_all);
    if (ends_all && !alone) {
        stop_all_once(supervisor);
    }
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

static void look_at_delivery(struct supervisor *supervisor, struct charge *charge)
{
    const struct troupe__guard *guard = charge->child->guard;
    if (!guard->delivering || guard->number != charge->seen_number) {
        charge->seen_number = guard->number;
        charge->looks = 0;
        charge->report_looks = LOOKS;
        return;
    }
    if (++charge->looks >= charge->report_looks) {
        charge->report_looks = charge->looks * 2;
        report(supervisor, charge, TROUPE_WARNING,
               "handler of %s/%s message '%s' has been running for %.1f s or more: all others wait for it", guard->type,
               guard->key, guard->name, (double)supervisor->slow_ms * charge->looks / LOOKS / 1000);
    }
}

/* Start what is due, note what has ended. Returns the time of the next start, -1 for none; `*ret_left` says whether
 * any child runs or is to be started. */
static int64_t turn(struct supervisor *supervisor, bool *ret_left)
{
    int64_t next_ms = -1;
    *ret_left = false;
    for (size_t i = 0; i < supervisor->count; i++) {
        struct charge *charge = &supervisor->charges[i];
        int status;
        if (charge->state == RUNNING && waitpid(charge->pid, &status, WNOHANG) == charge->pid) {
            take_end(supervisor, charge, status);
        }
        if (charge->state == PAUSED && supervisor->stopping) {
            charge->state = ENDED;
        }
        if (charge->state == PAUSED && charge->start_ms <= monotonic_ms()) {
            start(supervisor, charge);
        }
        if (charge->state == PAUSED && (next_ms < 0 || charge->start_ms < next_ms)) {
            next_ms = charge->start_ms;
        }
        *ret_left = *ret_left || (charge->state != ENDED && !charge->child->companion);
    }
    return next_ms;
}

static void watch(struct supervisor *supervisor)
{
    int64_t interval_ms = supervisor->slow_ms / LOOKS, look_ms = monotonic_ms() + interval_ms;
    bool left;
    for (;;) {
        int64_t next_ms = turn(supervisor, &left), now_ms = monotonic_ms();
        if (!left) {
            return;
        }
        if (now_ms >= look_ms) {
            look_ms = now_ms + interval_ms;
            for (size_t i = 0; i < supervisor->count; i++) {
                if (supervisor->charges[i].state == RUNNING) {
                    look_at_delivery(supervisor, &supervisor->charges[i]);
                }
            }
        }
        int64_t until_ms = next_ms >= 0 && next_ms < look_ms ? next_ms : look_ms;
        int64_t wait_ms = until_ms > now_ms ? until_ms - now_ms : 0;
        struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};
        int signal = sigtimedwait(&supervisor->signals, NULL, &wait);
        if (signal == SIGINT || signal == SIGTERM) {
            stop_all(supervisor);
        }
    }
}

int troupe__supervise(const struct troupe__child *children, size_t count, int64_t slow_ms, troupe_log_fn log,
                      void *log_context)
{
    return troupe__supervise_pausing(children, count, PAUSE_MAX_MS, slow_ms, log, log_context);
}

int troupe__supervise_pausing(const struct troupe__child *children, size_t count, int64_t pause_max_ms, int64_t slow_ms,
                              troupe_log_fn log, void *log_context)
{
    struct supervisor supervisor = {.charges = calloc(count, sizeof *supervisor.charges),
                                    .count = count,
                                    .slow_ms = slow_ms,
                                    .pause_max_ms = pause_max_ms,
                                    .log = log,
                                    .log_context = log_context};
    if (!supervisor.charges) {
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < count; i++) {
        supervisor.charges[i] = (struct charge){.child = &children[i], .pause_ms = PAUSE_FIRST_MS};
        supervisor.nodes += !children[i].companion;
    }
    sigemptyset(&supervisor.signals);
    sigaddset(&supervisor.signals, SIGINT);
    sigaddset(&supervisor.signals, SIGTERM);
    sigaddset(&supervisor.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &supervisor.signals, &supervisor.before);
    sigdelset(&supervisor.before, SIGINT);
    sigdelset(&supervisor.before, SIGTERM);
    watch(&supervisor);
    signal_all(&supervisor, SIGKILL); /* Companions. */
    for (size_t i = 0; i < count; i++) {
        if (supervisor.charges[i].state == RUNNING) {
            waitpid(supervisor.charges[i].pid, NULL, 0);
        }
    }
    sigset_t after = supervisor.before;
    sigaddset(&after, SIGINT);
    sigaddset(&after, SIGTERM);
    sigprocmask(SIG_SETMASK, &after, NULL);
    free(supervisor.charges);
    return supervisor.code;
}
