/* talk.c - the commands that talk to a running node: send, ask, tail.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/talk.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/client.h"
#include "runtime/cli/options.h"
#include "transport/json.h"

enum {
    GRACE_MS = 2000,    /* for the way of a reply, beyond the node's own timeout */
    SILENCE_MS = 25000, /* after which a tail asks again: the node speaks every 10 s */
};

struct talk {
    const char *data, *connect;
    struct troupe__request request;
    uint64_t count; /* of a tail; 0: no end */
    bool json;
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

static const char *set_data(void *talk, const char *value)
{
    ((struct talk *)talk)->data = value;
    return *value ? NULL : "a directory";
}

static const char *set_connect(void *talk, const char *value)
{
    ((struct talk *)talk)->connect = value;
    return *value && strlen(value) < TROUPE__ENDPOINT_SIZE ? NULL : "ipc://PATH or tcp://HOST:PORT";
}

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

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && *ret > 0;
}

static const char *set_from(void *talk, const char *value)
{
    return parse_number(value, &((struct talk *)talk)->request.from) ? NULL : "a record's number, from 1";
}

static const char *set_count(void *talk, const char *value)
{
    return parse_number(value, &((struct talk *)talk)->count) ? NULL : "a number of records, from 1";
}

static const char *set_json(void *talk, const char *value)
{
    (void)value;
    ((struct talk *)talk)->json = true;
    return NULL;
}

#define WHERE                                                                                                          \
    {"connect", "ENDPOINT", set_connect, "the node: ipc://PATH or tcp://HOST:PORT"},                                   \
    {                                                                                                                  \
        "data", "DIR", set_data, "the directory of a node that runs on this machine (default: troupe-data)"            \
    }

static const struct troupe__option send_options[] = {
    WHERE,
    {"id", "ID", set_id, "makes a repeat within 24 hours harmless"},
    {"timeout", "SECONDS", set_timeout, "how long to wait (default: 10)"},
    {"json", NULL, set_json, "print what became of it as one JSON object"},
    {0},
};

static const struct troupe__option tail_options[] = {
    WHERE,
    {"from", "NUMBER", set_from, "begin with this record (default: the next one)"},
    {"count", "NUMBER", set_count, "end after so many (default: go on until stopped)"},
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
    fprintf(stderr, "troupe %s: %s (%s)\n", command, text, troupe_error_text(error));
    return error == TROUPE_ETIMEOUT || error == TROUPE_ECLOSED ? TROUPE__EXIT_UNKNOWN : EXIT_FAILURE;
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
    enum troupe_error result = troupe__client_open(&client, talk->connect, talk->data);
    if (result != TROUPE_OK) {
        return fail(command, client.error, result);
    }
    result = troupe__client_send(&client, &talk->request);
    result = result == TROUPE_OK
                 ? troupe__client_receive(&client, talk->request.timeout_ms + (talk->request.what[0] == 'a') * GRACE_MS,
                                          &reply)
                 : result;
    int code = result == TROUPE_OK ? print_outcome(talk, command, &reply) : fail(command, client.error, result);
    troupe__client_close(&client);
    if (code == TROUPE__EXIT_UNKNOWN) {
        fprintf(stderr, "troupe %s: whether it took effect is not known; %s\n", command,
                talk->request.id ? "repeat it with the same --id"
                                 : "with an --id, and the same again, a repeat is harmless");
    }
    return code;
}

static int say(const char *name, const char *usage, const char *after, int argc, char **argv)
{
    struct talk talk = {.data = "troupe-data", .request = {.what = name, .timeout_ms = TROUPE__TIMEOUT_DEFAULT_MS}};
    const struct troupe__command command = {name, usage, after, send_options, &talk, NULL};
    struct troupe__buffer body = {0};
    char error[300];
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
    if (argc - operands == 3) {
        const char *text = argv[operands + 2];
        if (troupe__json_parse(text, strlen(text), &body, error, sizeof error) != TROUPE_OK) {
            fprintf(stderr, "troupe %s: the body is not JSON: %s\n", name, error);
            troupe__buffer_free(&body);
            return TROUPE__EXIT_WRONG;
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
               "Sends a message to an actor of a running node; BODY is JSON. It is durable when the command returns.\n",
               "Example:\n  troupe send demo/greeter/ada hello '{}' --id monday-1\n\n"
               "Exit codes: 0 durable, 1 refused or failed, 2 wrong arguments, 3 not known: no answer in time.\n",
               argc, argv);
}

int troupe__ask_command(int argc, char **argv)
{
    return say(
        "ask",
        "usage: troupe ask ADDRESS TYPE [BODY] [options]\n\n"
        "Sends a message to an actor of a running node, and prints the body of its handler's reply as JSON. The\n"
        "answer is durable before it is printed. With an --id the handler runs once however often you ask, and\n"
        "every time you get the same answer.\n",
        "Exit codes: 0 answered, 1 refused or failed, 2 wrong arguments, 3 not known: no answer in time.\n", argc,
        argv);
}

/* ---- tail -------------------------------------------------------------------------------------------------------- */

static int print_record(const struct talk *talk, const struct troupe__reply *reply)
{
    struct troupe__buffer line = {0};
    char number[32];
    print_json_text(&line, "{\"egress\":", talk->request.egress);
    snprintf(number, sizeof number, ",\"seq\":%llu", (unsigned long long)reply->sequence);
    troupe__buffer_put(&line, number, strlen(number));
    print_json_text(&line, ",\"key\":", reply->key ? reply->key : "");
    troupe__buffer_put(&line, ",\"body\":", 8);
    print_body(&line, reply->body);
    troupe__buffer_put_byte(&line, '}');
    int code = print_line(&line);
    troupe__buffer_free(&line);
    return code;
}

/* Credit for what was printed goes back when half of it is used up. A node that was away is asked again for what comes
 * next: with numbers nothing is missed or printed twice. */
static int follow(struct talk *talk, struct troupe__client *client)
{
    uint64_t printed = 0, used = 0;
    struct troupe__reply reply;
    enum troupe_error result = troupe__client_send(client, &talk->request);
    while (result == TROUPE_OK && (talk->count == 0 || printed < talk->count)) {
        result = troupe__client_receive(client, SILENCE_MS, &reply);
        if (result == TROUPE_ETIMEOUT) {
            result = troupe__client_send(client, &talk->request);
            used = 0;
            continue;
        }
        if (!reply.ok) {
            return fail("tail", reply.text ? reply.text : "", reply.error);
        }
        if (!reply.more || reply.sequence == 0) {
            continue;
        }
        if (print_record(talk, &reply) != EXIT_SUCCESS) {
            return EXIT_FAILURE; /* Nobody reads any more. */
        }
        printed++;
        talk->request.from = reply.sequence + 1;
        if (++used == TROUPE__CREDIT_MAX / 2) {
            struct troupe__request credit = {.what = "credit", .credit = used};
            client->number--; /* It is about the same request. */
            result = troupe__client_send(client, &credit);
            used = 0;
        }
    }
    return result == TROUPE_OK ? EXIT_SUCCESS : fail("tail", client->error, result);
}

int troupe__tail_command(int argc, char **argv)
{
    struct talk talk = {.data = "troupe-data", .request = {.what = "tail", .credit = TROUPE__CREDIT_MAX}};
    const struct troupe__command command = {
        "tail",
        "usage: troupe tail EGRESS [options]\n\n"
        "Prints the records of an egress of a running node as they become durable, as JSON lines like --output has\n"
        "them. A node keeps the last 8 MiB of records for this; its output file has them all.\n",
        "Exit codes: 0 done, 1 refused or failed (such as: a record is not kept any more), 2 wrong arguments.\n",
        tail_options,
        &talk,
        NULL};
    struct troupe__client client;
    int operands, code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (argc - operands != 1) {
        fprintf(stderr, "troupe tail: name one egress; see troupe tail --help\n");
        return TROUPE__EXIT_WRONG;
    }
    talk.request.egress = argv[operands];
    enum troupe_error result = troupe__client_open(&client, talk.connect, talk.data);
    if (result != TROUPE_OK) {
        return fail("tail", client.error, result);
    }
    code = follow(&talk, &client);
    troupe__client_close(&client);
    return code;
}
