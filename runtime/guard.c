/* guard.c - what a node is doing right now, kept where it survives the node: memory shared with its supervisor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/guard.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <sys/mman.h>

struct troupe__guard *troupe__guard_new(void)
{
    void *memory = mmap(NULL, sizeof(struct troupe__guard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void troupe__guard_free(struct troupe__guard *guard)
{
    if (guard) {
        munmap(guard, sizeof *guard);
    }
}

static struct troupe__guard *caught; /* A signal handler has no other way to it; one node per process is watched. */

static _Thread_local sig_atomic_t this_thread; /* enum troupe__guard_thread */

static void on_crash(int signal)
{
    void *frames[32];
    int count = backtrace(frames, sizeof frames / sizeof *frames);
    size_t at = 0;
    caught->signal = signal;
    caught->crashed = this_thread;
    /* Frame 0 is this function, 1 the kernel's signal frame. dladdr and snprintf are not async-signal-safe by the
     * letter; the process is lost anyway, and a second signal in here kills it at once. */
    for (int i = 2; i < count && at + 160 < sizeof caught->trace; i++) {
        Dl_info info;
        const char *symbol = "?", *object = "?";
        void *base = NULL;
        if (dladdr(frames[i], &info)) {
            symbol = info.dli_sname ? info.dli_sname : "?";
            const char *slash = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
            object = slash ? slash + 1 : info.dli_fname ? info.dli_fname : "?";
            base = info.dli_fbase;
        }
        int size = snprintf(caught->trace + at, sizeof caught->trace - at, "%.60s in %.60s+0x%tx\n", symbol, object,
                            (char *)frames[i] - (char *)base);
        at += size > 0 ? (size_t)size : 0;
        if (strcmp(symbol, "troupe__delivery_run") == 0 || strcmp(symbol, "troupe__job_run") == 0) {
            break; /* Below the handler or job all backtraces are alike. */
        }
    }
    caught->trace[at < sizeof caught->trace ? at : sizeof caught->trace - 1] = '\0';
    raise(signal); /* SA_RESETHAND: now it kills. */
}

/* The node itself ends its process when no handler runs; its workers never do. */
static void on_exit_of_process(void)
{
    if (this_thread >= TROUPE__WORKER_THREAD || (this_thread == TROUPE__LOOP_THREAD && caught->delivering)) {
        caught->crashed = this_thread;
        caught->exited = 1;
    }
}

const char *troupe__guard_signal_text(int signal, char text[static TROUPE__SIGNAL_TEXT_MAX])
{
    if (signal == TROUPE__EXITED) {
        snprintf(text, TROUPE__SIGNAL_TEXT_MAX, "it called exit");
    } else {
        snprintf(text, TROUPE__SIGNAL_TEXT_MAX, "signal %d (%s)", signal, strsignal(signal));
    }
    return text;
}

void troupe__guard_catch_signals(struct troupe__guard *guard)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack_memory[1 << 16]; /* A handler that overflowed its stack needs another one. */
    void *frame;
    backtrace(&frame, 1); /* Loads what backtrace needs now, not in the handler. */
    caught = guard;
    this_thread = TROUPE__LOOP_THREAD;
    atexit(on_exit_of_process);
    stack_t stack = {.ss_sp = stack_memory, .ss_size = sizeof stack_memory};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND | SA_NODEFER};
        sigaction(signals[i], &action, NULL);
    }
}

enum { STACK_SIZE = 1 << 16 };

void *troupe__guard_catch_thread(unsigned worker)
{
    stack_t stack = {.ss_sp = malloc(STACK_SIZE), .ss_size = STACK_SIZE};
    this_thread = (sig_atomic_t)(TROUPE__WORKER_THREAD + worker);
    if (stack.ss_sp) {
        sigaltstack(&stack, NULL);
    }
    return stack.ss_sp;
}

void troupe__guard_forget_thread(void *memory)
{
    if (memory) {
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
        free(memory);
    }
}

void troupe__guard_enter_job(struct troupe__guard *guard, unsigned worker, const struct troupe__job *job)
{
    struct troupe__guard_job *at = &guard->jobs[worker];
    at->fingerprint = troupe__guard_job_fingerprint(job);
    at->id = job->id;
    snprintf(at->type, sizeof at->type, "%s", troupe__job_actor_type(job));
    snprintf(at->key, sizeof at->key, "%s", troupe__job_actor_key(job));
    snprintf(at->name, sizeof at->name, "%s", troupe__job_name(job));
    at->running = 1;
}

static struct troupe__suspect *find_suspect(struct troupe__guard *guard, uint64_t fingerprint)
{
    for (uint32_t i = 0; i < guard->suspect_count; i++) {
        if (guard->suspects[i].fingerprint == fingerprint) {
            return &guard->suspects[i];
        }
    }
    /* Full: they make room in turn. One is counted anew should it still be about. */
    uint32_t at = guard->suspect_next++ % TROUPE__SUSPECTS_MAX;
    guard->suspects[at] = (struct troupe__suspect){.fingerprint = fingerprint};
    guard->suspect_count = at + 1 > guard->suspect_count ? at + 1 : guard->suspect_count;
    return &guard->suspects[at];
}

const struct troupe__suspect *troupe__guard_count_crash(struct troupe__guard *guard, int signal)
{
    struct troupe__suspect *suspect = NULL;
    bool noted = guard->signal != 0;
    sig_atomic_t thread = noted || guard->exited ? guard->crashed : TROUPE__LOOP_THREAD;
    int worker = thread - TROUPE__WORKER_THREAD;
    if (thread == TROUPE__LOOP_THREAD && guard->delivering) {
        suspect = find_suspect(guard, guard->fingerprint);
        snprintf(suspect->what, sizeof suspect->what, "handler of %s/%s message '%s'", guard->type, guard->key,
                 guard->name);
    } else if (worker >= 0 && worker < TROUPE__WORKERS_MAX && guard->jobs[worker].running) {
        const struct troupe__guard_job *job = &guard->jobs[worker];
        suspect = find_suspect(guard, job->fingerprint);
        snprintf(suspect->what, sizeof suspect->what, "job %llu '%s' of %s/%s", (unsigned long long)job->id, job->name,
                 job->type, job->key);
    }
    if (suspect) {
        suspect->crashes++;
        suspect->signal = signal;
        memcpy(suspect->trace, noted ? guard->trace : "", noted ? sizeof suspect->trace : 1);
    }
    guard->delivering = 0;
    guard->number = 0;
    guard->signal = 0;
    guard->exited = 0;
    for (size_t i = 0; i < TROUPE__WORKERS_MAX && guard->jobs[i].type[0]; i++) {
        guard->jobs[i].running = 0; /* Workers are started in order. */
    }
    return suspect;
}
