/* talk.c - the commands that talk to a running node: send and ask.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/chorus.h"
#include "runtime/cli/look.h"
#include "runtime/cli/options.h"
#include "transport/input.h"
#include "transport/json.h"

enum { GRACE_MS = 2000 /* for the way of a reply, beyond the node's own timeout */ };

struct talk {
    struct troupe__reach_options reach; /* first: see reach.h */
    struct troupe__request request;
    bool json;
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

static const char *set_id(void *talk, const char *value)
{
    ((struct talk *)talk)->request.id = value;
    return *value && strlen(value) <= TROUPE__ID_MAX ? NULL : "1 to 255 bytes";
}

static const char *set_timeout(void *talk, const char *value)
{
    char *end;
    double seconds = strtod(value, &end);
    bool good = *value && *end == '\0' && seconds >= 0.001 && seconds <= TROUPE__TIMEOUT_MAX_MS / 1000.0;
    ((struct talk *)talk)->request.timeout_ms = good ? (int64_t)(seconds * 1000 + 0.5) : 0;
    return good ? NULL : "seconds, 0.001 to 3600";
}

static const char *set_json(void *talk, const char *value)
{
    (void)value;
    ((struct talk *)talk)->json = true;
    return NULL;
}

static const struct troupe__option send_options[] = {
    TROUPE__REACH_OPTIONS,
    {"node", "NAME", troupe__reach_set_node, "the node of the troupe that takes it (default: any)"},
    {"id", "ID", set_id, "makes a repeat within 24 hours harmless"},
    {"timeout", "SECONDS", set_timeout, "how long to wait (default: 10)"},
    {"json", NULL, set_json, "print what became of it as one JSON object"},
    {0},
};

/* ---- send and ask ------------------------------------------------------------------------------------------------ */

static void print_json_text(struct troupe__buffer *line, const char *key, const char *text)
{
    troupe__buffer_put(line, key, strlen(key));
    troupe__json_write_string(text, strlen(text), line);
}

static void print_body(struct troupe__buffer *line, struct troupe_bytes body)
{
    if (!body.data || troupe__json_write(body, line) != TROUPE_OK) {
        troupe__buffer_put(line, "null", 4);
    }
}

static int print_line(struct troupe__buffer *line)
{
    troupe__buffer_put_byte(line, '\n');
    bool good = !line->failed && fwrite(line->data, 1, line->size, stdout) == line->size && fflush(stdout) == 0;
    line->size = 0;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int fail(const char *command, const char *text, enum troupe_error error)
{
    int code = troupe__failed(command, text, error);
    return error == TROUPE_ETIMEOUT || error == TROUPE_ECLOSED ? TROUPE__EXIT_UNKNOWN : code;
}

static int print_outcome(const struct talk *talk, const char *command, const struct troupe__reply *reply)
{
    struct troupe__buffer line = {0};
    const char *text = reply->text ? reply->text : "";
    if (talk->json) {
        troupe__buffer_put(&line, reply->ok ? "{\"ok\":true" : "{\"ok\":false", reply->ok ? 10 : 11);
        if (!reply->ok) {
            print_json_text(&line, ",\"error\":", troupe_error_text(reply->error));
            print_json_text(&line, ",\"text\":", text);
        } else if (reply->type) {
            print_json_text(&line, ",\"type\":", reply->type);
            troupe__buffer_put(&line, ",\"body\":", 8);
            print_body(&line, reply->body);
        }
        troupe__buffer_put_byte(&line, '}');
    } else if (reply->type) {
        print_body(&line, reply->body);
    }
    int code = line.size > 0 ? print_line(&line) : EXIT_SUCCESS;
    troupe__buffer_free(&line);
    return reply->ok ? code : fail(command, text, reply->error);
}

static int exchange(struct talk *talk, const char *command)
{
    struct troupe__client client;
    struct troupe__reply reply;
    enum troupe_error result = troupe__chorus_any(&talk->reach, &client);
    if (result != TROUPE_OK) {
        return fail(command, client.error, result);
    }
    result = troupe__client_send(&client, &talk->request);
    result = result == TROUPE_OK
                 ? troupe__client_receive(&client, talk->request.timeout_ms + (talk->request.what[0] == 'a') * GRACE_MS,
                                          &reply)
                 : result;
    if (result == TROUPE_ETIMEOUT) {
        troupe__client_say_silent(&client, talk->request.timeout_ms);
        size_t size = strlen(client.error);
        if (troupe__endpoint_refuses(client.endpoint)) {
            snprintf(client.error + size, sizeof client.error - size, "; nobody listens there");
        } else if (!client.keyed && talk->reach.connect) {
            snprintf(client.error + size, sizeof client.error - size,
                     "; if its cluster file has keys, say --key FILE and --server-key KEY");
        }
    }
    int code = result == TROUPE_OK ? print_outcome(talk, command, &reply) : fail(command, client.error, result);
    troupe__client_close(&client);
    if (code == TROUPE__EXIT_UNKNOWN) {
        fprintf(stderr, "troupe %s: whether it took effect is not known; %s\n", command,
                talk->request.id ? "repeat it with the same --id"
                                 : "with an --id, and the same again, a repeat is harmless");
    }
    return code;
}

/* The standard input, for what an argument is too short for. Returns false, with errno set, when it cannot be read. */
static bool read_input(struct troupe__buffer *text)
{
    errno = 0;
    while (!text->failed && !feof(stdin) && !ferror(stdin)) {
        char block[65536];
        troupe__buffer_put(text, block, fread(block, 1, sizeof block, stdin));
        if (text->size > TROUPE__LINE_SIZE_MAX) {
            errno = EFBIG;
            return false;
        }
    }
    if (text->failed) {
        errno = ENOMEM;
    }
    return !text->failed && !ferror(stdin);
}

/* The body as msgpack. Returns -1 to go on, or the exit code. */
static int take_body(const char *name, const char *operand, struct troupe__buffer *body)
{
    struct troupe__buffer input = {0};
    char error[300];
    int code = -1;
    bool piped = strcmp(operand, "-") == 0;
    if (piped && !read_input(&input)) {
        fprintf(stderr, "troupe %s: the body, from the standard input: %s\n", name, strerror(errno));
        code = EXIT_FAILURE;
    } else if (troupe__json_parse(piped ? (const char *)input.data : operand, piped ? input.size : strlen(operand),
                                  body, error, sizeof error) != TROUPE_OK) {
        fprintf(stderr, "troupe %s: the body is not JSON: %s\n", name, error);
        code = TROUPE__EXIT_WRONG;
    }
    troupe__buffer_free(&input);
    return code;
}

static int say(const char *name, const char *usage, const char *after, int argc, char **argv)
{
    struct talk talk = {.request = {.what = name, .timeout_ms = TROUPE__TIMEOUT_DEFAULT_MS}};
    const struct troupe__command command = {name, usage, after, send_options, &talk, NULL};
    struct troupe__buffer body = {0};
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (argc - operands < 2 || argc - operands > 3) {
        fprintf(stderr, "troupe %s: ADDRESS and TYPE are needed, and at most a BODY; see troupe %s --help\n", name,
                name);
        return TROUPE__EXIT_WRONG;
    }
    talk.request.to = argv[operands];
    talk.request.type = argv[operands + 1];
    struct troupe__look_address address;
    const struct troupe__look look = {.command = name, .operand = {argv[operands]}};
    if ((code = troupe__look_parse_address(&look, &address)) >= 0) {
        return code;
    }
    if (argc - operands == 3) {
        code = take_body(name, argv[operands + 2], &body);
        if (code >= 0) {
            troupe__buffer_free(&body);
            return code;
        }
        talk.request.body = (struct troupe_bytes){body.data, body.size};
    }
    code = exchange(&talk, name);
    troupe__buffer_free(&body);
    return code;
}

int troupe__send_command(int argc, char **argv)
{
    return say("send",
               "usage: troupe send ADDRESS TYPE [BODY] [options]\n\n"
               "Sends a message to an actor of a running node; BODY is JSON, or - for what the\n"
               "standard input has. It is durable when the command returns.\n",
               "Example:\n  troupe send demo/greeter/ada hello '{}' --id monday-1\n\n"
               "Exit codes: 0 durable, 1 refused or failed, 2 wrong arguments, 3 not known: no answer in time.\n",
               argc, argv);
}

int troupe__ask_command(int argc, char **argv)
{
    return say(
        "ask",
        "usage: troupe ask ADDRESS TYPE [BODY] [options]\n\n"
        "Sends a message to an actor of a running node, and prints the body of its handler's reply as JSON. BODY\n"
        "is JSON, or - for what the standard input has. The answer is durable before it is printed. With an --id the "
        "handler runs once however often you ask, and\n"
        "every time you get the same answer.\n",
        "Exit codes: 0 answered, 1 refused or failed, 2 wrong arguments, 3 not known: no answer in time.\n", argc,
        argv);
}
