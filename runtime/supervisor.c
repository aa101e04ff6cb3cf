/* supervisor.c - the parent process of a node: starts it again when a handler crashed it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/supervisor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 5000, STEADY_S = 60, LOOK_S = 5, SLOW_LOOKS = 2 };

struct supervisor {
    struct troupe__guard *guard;
    troupe_log_fn log;
    void *log_context;
    sigset_t signals, before;
    bool stopping;
    uint64_t seen_number; /* the delivery under way at the last look */
    unsigned same_looks;
};

__attribute__((format(printf, 3, 4))) static void report(struct supervisor *supervisor, enum troupe_level level,
                                                         const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (supervisor->log) {
        supervisor->log(supervisor->log_context, level, text);
    }
}

static pid_t start(struct supervisor *supervisor, int (*child)(void *context), void *context)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(EXIT_FAILURE); /* It died before the line above. */
    }
    sigprocmask(SIG_SETMASK, &supervisor->before, NULL);
    troupe__guard_catch_signals(supervisor->guard);
    exit(child(context));
}

static void look_at_delivery(struct supervisor *supervisor)
{
    const struct troupe__guard *guard = supervisor->guard;
    if (!guard->delivering || guard->number != supervisor->seen_number) {
        supervisor->seen_number = guard->number;
        supervisor->same_looks = 0;
        return;
    }
    if (++supervisor->same_looks >= SLOW_LOOKS) {
        report(supervisor, TROUPE_WARNING,
               "handler of %s/%s message '%s' has been running for %u s or more: all others "
               "wait for it",
               guard->type, guard->key, guard->name, supervisor->same_looks * LOOK_S);
    }
}

/* Wait for the child's end, or for `pause_ms` when there is none (pid 0). Returns whether it ended. */
static bool wait_child(struct supervisor *supervisor, pid_t pid, int64_t pause_ms, int *ret_status)
{
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    struct timespec look = {LOOK_S, 0};
    for (;;) {
        if (pid && waitpid(pid, ret_status, WNOHANG) == pid) {
            return true;
        }
        int signal = sigtimedwait(&supervisor->signals, NULL, pid ? &look : &pause);
        if (signal == SIGINT || signal == SIGTERM) {
            supervisor->stopping = true;
            if (!pid) {
                return false;
            }
            kill(pid, SIGTERM);
        } else if (signal < 0 && errno == EAGAIN) {
            if (!pid) {
                return false;
            }
            look_at_delivery(supervisor);
        }
    }
}

static void report_crash(struct supervisor *supervisor, int signal)
{
    struct troupe__guard *guard = supervisor->guard;
    const struct troupe__suspect *suspect = troupe__guard_count_crash(guard, signal);
    if (!suspect) {
        report(supervisor, TROUPE_ERROR, "node died of signal %d (%s) outside of a handler or job; starting it again",
               signal, strsignal(signal));
        return;
    }
    report(supervisor, TROUPE_ERROR, "%s crashed the node: signal %d (%s), time %u of %d", suspect->what, signal,
           strsignal(signal), suspect->crashes, TROUPE__CRASHES_MAX);
    for (const char *line = suspect->trace; *line;) {
        size_t size = strcspn(line, "\n");
        report(supervisor, TROUPE_ERROR, "  at %.*s", (int)size, line);
        line += size + (line[size] == '\n');
    }
}

int troupe__supervise(struct troupe__guard *guard, int (*child)(void *context), void *context, troupe_log_fn log,
                      void *log_context)
{
    struct supervisor supervisor = {.guard = guard, .log = log, .log_context = log_context};
    sigemptyset(&supervisor.signals);
    sigaddset(&supervisor.signals, SIGINT);
    sigaddset(&supervisor.signals, SIGTERM);
    sigaddset(&supervisor.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &supervisor.signals, &supervisor.before);
    int64_t pause_ms = PAUSE_FIRST_MS;
    for (;;) {
        time_t started = time(NULL);
        pid_t pid = start(&supervisor, child, context);
        int status;
        if (pid < 0) {
            report(&supervisor, TROUPE_ERROR, "cannot start the node's process: %s", strerror(errno));
            return EXIT_FAILURE;
        }
        wait_child(&supervisor, pid, 0, &status);
        if (!WIFSIGNALED(status)) {
            return WEXITSTATUS(status);
        }
        if (supervisor.stopping && WTERMSIG(status) == SIGTERM) {
            return EXIT_SUCCESS; /* It was still opening: nothing was under way. */
        }
        report_crash(&supervisor, WTERMSIG(status));
        pause_ms = time(NULL) - started >= STEADY_S ? PAUSE_FIRST_MS : pause_ms;
        if (!supervisor.stopping) {
            wait_child(&supervisor, 0, pause_ms, &status);
        }
        if (supervisor.stopping) {
            return EXIT_FAILURE;
        }
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
}
