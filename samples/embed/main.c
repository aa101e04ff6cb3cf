/* main.c - a program of its own that hosts actors: its own libev loop, its actors linked in, no `troupe` command.
 * SPDX-License-Identifier: Apache-2.0
 *
 * embed DIR WORD... counts words durably: run it again and it goes on counting, also after it was killed.
 * Build: cc -std=c11 -o embed main.c $(pkg-config --cflags --libs --static troupe) */
#include <troupe.h>

#include <stdio.h>
#include <stdlib.h>

#include <ev.h>

/* ---- the actor: one per word ------------------------------------------------------------------------------------- */

static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT};
static const struct troupe_value *const values[] = {&count_value, NULL};

static enum troupe_error word(struct troupe_context *ctx, const struct troupe_message *message)
{
    (void)message;
    int64_t count = 0;
    enum troupe_error error = troupe_get_int(ctx, &count_value, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    error = troupe_set_int(ctx, &count_value, ++count);
    if (error != TROUPE_OK) {
        return error;
    }
    char text[TROUPE_KEY_MAX + 32];
    int size = snprintf(text, sizeof text, "%s: %lld", troupe_self(ctx).key, (long long)count);
    return troupe_emit(ctx, "counts", troupe_self(ctx).key, (struct troupe_bytes){text, (size_t)size});
}

static const struct troupe_type types[] = {{.name = "embed/word", .handler = word, .values = values}};
static const struct troupe_module module = {
    .abi = TROUPE_ABI, .name = "embed", .version = "1.0.0", .types = types, .type_count = 1};

/* ---- the program ------------------------------------------------------------------------------------------------- */

struct program {
    struct troupe_node *node;
    char **words; /* still to be sent */
    int wanted, acknowledged, counted;
};

static void log_line(void *context, enum troupe_level level, const char *text)
{
    (void)context;
    if (level >= TROUPE_WARNING) {
        fprintf(stderr, "embed: %s\n", text);
    }
}

static void stop_when_done(const struct program *program)
{
    if (program->acknowledged >= program->wanted && program->counted >= program->wanted) {
        troupe_node_stop(program->node);
    }
}

/* A message is durable: it will be handled, whatever happens to this process. */
static void on_done(void *context, enum troupe_error result)
{
    struct program *program = context;
    program->acknowledged += result == TROUPE_OK;
    stop_when_done(program);
}

/* A record is durable when it comes here. */
static void on_record(void *context, const struct troupe_record *record)
{
    struct program *program = context;
    printf("%.*s\n", (int)record->body.size, (const char *)record->body.data);
    program->counted++;
    stop_when_done(program);
}

static void send_words(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    struct program *program = timer->data;
    struct troupe_bytes none = {NULL, 0};
    while (*program->words) {
        enum troupe_error error = troupe_node_send(program->node, NULL, troupe_to("embed/word", *program->words),
                                                   "seen", none, on_done, program);
        if (error == TROUPE_EFULL) {
            return; /* The timer comes again. */
        }
        if (error != TROUPE_OK) {
            fprintf(stderr, "embed: %s\n", troupe_node_error(program->node));
            program->wanted--;
        }
        program->words++;
    }
}

/* The node has ended, by troupe_node_stop or because it failed. */
static void on_end(void *context, enum troupe_error result)
{
    (void)result;
    ev_break(context, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: embed DIR WORD...\n");
        return 2;
    }
    struct ev_loop *loop = EV_DEFAULT;
    struct program program = {.words = argv + 2, .wanted = argc - 2};
    struct troupe_node_options options = {.module = &module,
                                          .data = argv[1],
                                          .loop = loop,
                                          .log = log_line,
                                          .on_record = on_record,
                                          .record_context = &program,
                                          .on_end = on_end,
                                          .end_context = loop};
    char text[512];
    if (troupe_node_open(&options, &program.node, text, sizeof text) != TROUPE_OK) {
        fprintf(stderr, "embed: %s\n", text);
        return EXIT_FAILURE;
    }
    ev_timer timer; /* Whatever else the program does on its loop, which goes on until on_end breaks it. */
    ev_timer_init(&timer, send_words, 0.0, 0.01);
    timer.data = &program;
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
    snprintf(text, sizeof text, "%s", troupe_node_error(program.node));
    if (troupe_node_close(program.node) != TROUPE_OK) {
        fprintf(stderr, "embed: %s\n", text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
