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

static void on_crash(int signal)
{
    void *frames[32];
    int count = backtrace(frames, sizeof frames / sizeof *frames);
    size_t at = 0;
    caught->signal = signal;
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
        if (strcmp(symbol, "troupe__delivery_run") == 0) {
            break; /* Below the handler all backtraces are alike. */
        }
    }
    caught->trace[at < sizeof caught->trace ? at : sizeof caught->trace - 1] = '\0';
    raise(signal); /* SA_RESETHAND: now it kills. */
}

void troupe__guard_catch_signals(struct troupe__guard *guard)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack_memory[1 << 16]; /* A handler that overflowed its stack needs another one. */
    void *frame;
    backtrace(&frame, 1); /* Loads what backtrace needs now, not in the handler. */
    caught = guard;
    stack_t stack = {.ss_sp = stack_memory, .ss_size = sizeof stack_memory};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND | SA_NODEFER};
        sigaction(signals[i], &action, NULL);
    }
}

const struct troupe__suspect *troupe__guard_count_crash(struct troupe__guard *guard, int signal)
{
    bool delivering = guard->delivering;
    guard->delivering = 0;
    guard->number = 0;
    if (!delivering) {
        return NULL;
    }
    struct troupe__suspect *suspect = NULL;
    for (uint32_t i = 0; i < guard->suspect_count && !suspect; i++) {
        if (guard->suspects[i].fingerprint == guard->fingerprint) {
            suspect = &guard->suspects[i];
        }
    }
    if (!suspect) {
        /* Full: the first one makes room. It is counted anew should it still be about. */
        uint32_t at = guard->suspect_count < TROUPE__SUSPECTS_MAX ? guard->suspect_count : 0;
        suspect = &guard->suspects[at];
        *suspect = (struct troupe__suspect){.fingerprint = guard->fingerprint};
        guard->suspect_count = at + 1 > guard->suspect_count ? at + 1 : guard->suspect_count;
    }
    suspect->crashes++;
    suspect->signal = signal;
    memcpy(suspect->trace, guard->signal ? guard->trace : "", guard->signal ? sizeof suspect->trace : 1);
    guard->signal = 0;
    return suspect;
}
