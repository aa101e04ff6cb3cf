/* main.c - the troupe command.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Exit codes: 0 done, 1 a failure of the node (its text on stderr), 2 wrong arguments. */
#include <dlfcn.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "core/troupe.h"
#include "runtime/cli/look.h"
#include "runtime/node.h"
#include "runtime/supervisor.h"

enum { EXIT_WRONG_ARGUMENTS = 2 };

static const char usage[] =
    "usage: troupe run MODULE.so [options]\n"
    "       troupe state|actors|mailbox|timers|dead|stats|doctor ...\n"
    "       troupe --help | --version\n"
    "\n"
    "Runs a node that hosts the actors of a module. It goes on where the last run ended, however that was.\n"
    "\n"
    "  --data DIR            the node's directory (default: troupe-data)\n"
    "  --input FILE|-        JSON lines to take in, each exactly once from a file:\n"
    "                        {\"id\":\"optional, makes a repeat harmless\",\"to\":\"bank/account/alice\",\n"
    "                         \"type\":\"deposit\",\"body\":{\"amount\":5}}\n"
    "  --output FILE|-       where egress records go as JSON lines (default: -)\n"
    "  --until-idle[=timers] end when nothing waits in any mailbox; with =timers, nor for its time\n"
    "  --durability disk|process\n"
    "                        what an epoch survives: power loss (default), or only the process's death\n"
    "  --no-supervisor       one process only: a handler that crashes ends the run. Otherwise the node is started\n"
    "                        again, and a message that crashed it three times becomes a dead letter\n"
    "  --log LEVEL           debug, info, warning or error (default: info)\n"
    "\n"
    "These look into the directory of a node that does not run; each has its own --help:\n"
    "  state ADDRESS         an actor's values           mailbox ADDRESS  the messages that wait for it\n"
    "  actors                the actors there are        timers           the delayed messages\n"
    "  dead list|show|retry|drop                         the messages that failed for good\n"
    "  stats                 figures                     doctor           whether all of it is intact\n"
    "\n"
    "Exit codes: 0 done, 1 the node failed (see its text), 2 wrong arguments.\n";

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* logfmt, one line per event. */
static void log_line(void *context, enum troupe_level level, const char *text)
{
    const enum troupe_level *least = context;
    if (level < *least) {
        return;
    }
    struct timespec now;
    struct tm parts;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    flockfile(stderr);
    fprintf(stderr, "time=%s.%03ldZ level=%s msg=\"", when, now.tv_nsec / 1000000, level_names[level]);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\') {
            putc('\\', stderr);
        }
        putc((unsigned char)*at < ' ' ? ' ' : *at, stderr);
    }
    fputs("\"\n", stderr);
    funlockfile(stderr);
}

static int wrong(const char *what, const char *argument)
{
    fprintf(stderr, "troupe run: %s '%s'; see troupe --help\n", what, argument);
    return EXIT_WRONG_ARGUMENTS;
}

static int run_node(void *context)
{
    char error[512] = "";
    enum troupe_error result = troupe__node_run(context, error, sizeof error);
    if (result != TROUPE_OK) {
        fprintf(stderr, "troupe run: %s (%s)\n", error, troupe_error_text(result));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int run(int argc, char **argv)
{
    bool supervised = true;
    static const struct option long_options[] = {
        {"data", required_argument, NULL, 'd'},
        {"input", required_argument, NULL, 'i'},
        {"output", required_argument, NULL, 'o'},
        {"until-idle", optional_argument, NULL, 'u'},
        {"durability", required_argument, NULL, 'D'},
        {"log", required_argument, NULL, 'l'},
        {"no-supervisor", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    enum troupe_level level = TROUPE_INFO;
    struct troupe__node_options options = {
        .data_path = "troupe-data", .output_path = "-", .sync = true, .log = log_line, .log_context = &level};
    for (int c; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        switch (c) {
        case 'd':
            options.data_path = optarg;
            break;
        case 'i':
            options.input_path = optarg;
            break;
        case 'o':
            options.output_path = optarg;
            break;
        case 'u':
            if (optarg && strcmp(optarg, "timers") != 0) {
                return wrong("--until-idle takes nothing or timers, not", optarg);
            }
            options.until = optarg ? TROUPE__UNTIL_IDLE_TIMERS : TROUPE__UNTIL_IDLE;
            break;
        case 'D':
            if (strcmp(optarg, "disk") != 0 && strcmp(optarg, "process") != 0) {
                return wrong("--durability takes disk or process, not", optarg);
            }
            options.sync = strcmp(optarg, "disk") == 0;
            break;
        case 's':
            supervised = false;
            break;
        case 'l':
            level = TROUPE_DEBUG;
            while (level <= TROUPE_ERROR && strcmp(optarg, level_names[level]) != 0) {
                level++;
            }
            if (level > TROUPE_ERROR) {
                return wrong("--log takes debug, info, warning or error, not", optarg);
            }
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            return EXIT_WRONG_ARGUMENTS;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "troupe run: name one module; see troupe --help\n");
        return EXIT_WRONG_ARGUMENTS;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s%s", strchr(argv[optind], '/') ? "" : "./", argv[optind]);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        fprintf(stderr, "troupe run: cannot load module: %s\n", dlerror());
        return EXIT_WRONG_ARGUMENTS;
    }
    options.module = dlsym(object, "troupe_module");
    if (!options.module) {
        fprintf(stderr, "troupe run: %s exports no `troupe_module`: see core/troupe.h, modules\n", path);
        return EXIT_WRONG_ARGUMENTS;
    }
    if (!supervised) {
        return run_node(&options);
    }
    options.guard = troupe__guard_new();
    if (!options.guard) {
        fprintf(stderr, "troupe run: out of memory\n");
        return EXIT_FAILURE;
    }
    return troupe__supervise(options.guard, run_node, &options, log_line, &level);
}

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"run", run},
    {"state", troupe__look_state},
    {"actors", troupe__look_actors},
    {"mailbox", troupe__look_mailbox},
    {"timers", troupe__look_timers},
    {"dead", troupe__look_dead},
    {"stats", troupe__look_stats},
    {"doctor", troupe__doctor},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].main(argc - 1, argv + 1);
        }
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("troupe " TROUPE_VERSION);
        return EXIT_SUCCESS;
    }
    bool asked = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0);
    fputs(usage, asked ? stdout : stderr);
    return asked ? EXIT_SUCCESS : EXIT_WRONG_ARGUMENTS;
}
