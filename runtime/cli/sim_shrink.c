/* sim_shrink.c - the smallest case with which a seed of `troupe sim` still fails.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/sim_shrink.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK_MAX = 4096 /* lines that are left out together */ };

/* What the child says before it ends: how it failed, or nothing. */
static void read_all(int fd, char failure[static TROUPE__SIM_FAILURE_SIZE])
{
    size_t size = 0;
    ssize_t got;
    while ((got = read(fd, failure + size, TROUPE__SIM_FAILURE_SIZE - 1 - size)) > 0 || (got < 0 && errno == EINTR)) {
        size += got > 0 ? (size_t)got : 0;
    }
    failure[size] = '\0';
}

_Noreturn static void run_in_child(int fd, troupe__sim_case_fn fails, void *context,
                                   const struct troupe__sim_case *which)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    char failure[TROUPE__SIM_FAILURE_SIZE] = "";
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        signal(crashes[i], SIG_DFL);
    }
    if (fails(context, which, failure)) {
        ssize_t written = write(fd, failure, strlen(failure)); /* Fits into a pipe. */
        (void)written;
    }
    _exit(0);
}

bool troupe__sim_fails_apart(troupe__sim_case_fn fails, void *context, const struct troupe__sim_case *which,
                             char failure[static TROUPE__SIM_FAILURE_SIZE])
{
    int ends[2], status = 0;
    fflush(NULL); /* Else the child would write it too. */
    pid_t child = pipe(ends) ? -1 : fork();
    if (child < 0) {
        return fails(context, which, failure);
    }
    if (child == 0) {
        close(ends[0]);
        run_in_child(ends[1], fails, context, which);
    }
    close(ends[1]);
    read_all(ends[0], failure);
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        snprintf(failure, TROUPE__SIM_FAILURE_SIZE, "a handler crashed: %s", strsignal(WTERMSIG(status)));
    }
    return failure[0] != '\0';
}

/* The same but for numbers: times, counts and nodes change when a case does. */
static bool is_alike(const char *a, const char *b)
{
    for (;;) {
        while (isdigit((unsigned char)*a)) {
            a++;
        }
        while (isdigit((unsigned char)*b)) {
            b++;
        }
        if (*a != *b) {
            return false;
        }
        if (!*a) {
            return true;
        }
        a++;
        b++;
    }
}

struct shrink {
    struct troupe__sim_case *smallest;
    const char *failure;
    troupe__sim_case_fn fails;
    void *context;
    size_t runs;
};

/* Whether the case as it is now still fails. */
static bool holds(struct shrink *shrink)
{
    char failure[TROUPE__SIM_FAILURE_SIZE] = "";
    shrink->runs++;
    return troupe__sim_fails_apart(shrink->fails, shrink->context, shrink->smallest, failure) &&
           is_alike(failure, shrink->failure);
}

static bool shrink_nodes(struct shrink *shrink)
{
    uint16_t before = shrink->smallest->nodes;
    for (shrink->smallest->nodes = 1; shrink->smallest->nodes < before; shrink->smallest->nodes++) {
        if (holds(shrink)) {
            return true;
        }
    }
    return false;
}

static bool shrink_faults(struct shrink *shrink)
{
    bool less = false;
    for (unsigned bit = 0; bit < 32; bit++) {
        unsigned before = shrink->smallest->faults;
        shrink->smallest->faults &= ~(1u << bit);
        if (shrink->smallest->faults == before) {
            continue;
        }
        if (holds(shrink)) {
            less = true;
        } else {
            shrink->smallest->faults = before;
        }
    }
    return less;
}

/* Leave out `chunk` lines from each place on, where that goes. `chunk` is at most CHUNK_MAX. */
static bool shrink_lines_by(struct shrink *shrink, size_t chunk)
{
    struct troupe__sim_case *smallest = shrink->smallest;
    bool less = false;
    for (size_t at = 0; at < smallest->count;) {
        size_t out[CHUNK_MAX], count = 0;
        for (; at < smallest->count && count < chunk; at++) {
            if (smallest->kept[at]) {
                out[count++] = at;
                smallest->kept[at] = false;
            }
        }
        bool goes = count > 0 && holds(shrink);
        for (size_t i = 0; i < count && !goes; i++) {
            smallest->kept[out[i]] = true;
        }
        less |= goes;
    }
    return less;
}

static bool shrink_lines(struct shrink *shrink)
{
    bool less = false;
    size_t chunk = CHUNK_MAX;
    while (chunk > 1 && chunk > shrink->smallest->count / 2) {
        chunk /= 2;
    }
    for (; chunk > 0; chunk /= 2) {
        less |= shrink_lines_by(shrink, chunk);
    }
    return less;
}

size_t troupe__sim_shrink(struct troupe__sim_case *smallest, const char *failure, troupe__sim_case_fn fails,
                          void *context)
{
    struct shrink shrink = {smallest, failure, fails, context, 0};
    bool less = true;
    while (less) {
        less = shrink_lines(&shrink);
        less |= shrink_nodes(&shrink);
        less |= shrink_faults(&shrink);
    }
    return shrink.runs;
}
