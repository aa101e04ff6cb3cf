/* look.c - the commands that look into a node: its directory, or when it runs, the node itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows are not trusted: what they hold goes out as JSON, escaped, in the text form too, but for the names of actors,
 * values and messages, whose control characters become `?`. */
#include "runtime/cli/look.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/remote.h"
#include "runtime/view.h"
#include "transport/json.h"

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static int wrong(const struct troupe__look_options *options, const char *what, const char *argument)
{
    return troupe__wrong(options->command, what, argument);
}

static const char *set_data(void *options, const char *value)
{
    ((struct troupe__look_options *)options)->data = value;
    return *value ? NULL : "a directory";
}

static const char *set_connect(void *options, const char *value)
{
    ((struct troupe__look_options *)options)->connect = value;
    return *value ? NULL : "ipc://PATH or tcp://HOST:PORT";
}

static const char *set_watch(void *options, const char *value)
{
    char *end = NULL;
    unsigned long seconds = value ? strtoul(value, &end, 10) : 1;
    ((struct troupe__look_options *)options)->watch_s = (unsigned)seconds;
    return (!value || (isdigit((unsigned char)*value) && *end == '\0')) && seconds >= 1 && seconds <= 86400
               ? NULL
               : "seconds, 1 to 86400";
}

static const char *set_type(void *options, const char *value)
{
    ((struct troupe__look_options *)options)->type = value;
    return troupe__type_name_valid(value) ? NULL : "namespace/name";
}

static const char *set_json(void *options, const char *value)
{
    (void)value;
    ((struct troupe__look_options *)options)->json = true;
    return NULL;
}

static const struct troupe__option offline_options[] = {
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    {"json", NULL, set_json, "print JSON, one object a line"},
    {0},
};

#define CONNECT_OPTION                                                                                                 \
    {                                                                                                                  \
        "connect", "ENDPOINT", set_connect, "a running node, wherever its directory is"                                \
    }

static const struct troupe__option stats_options[] = {
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    CONNECT_OPTION,
    {"watch", "[=SECONDS]", set_watch, "of a running node: print them again every second, or as often"},
    {"json", NULL, set_json, "print JSON, one object a line"},
    {0},
};

static const struct troupe__option common_options[] = {
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    CONNECT_OPTION,
    {"json", NULL, set_json, "print JSON, one object a line"},
    {0},
};

static const struct troupe__option actors_options[] = {
    {"data", "DIR", set_data, "the node's directory (default: troupe-data)"},
    CONNECT_OPTION,
    {"type", "NAMESPACE/NAME", set_type, "only actors of this type"},
    {"json", NULL, set_json, "print JSON, one object a line"},
    {0},
};

int troupe__look_parse(struct troupe__look_options *options, int argc, char **argv, int least, int most)
{
    char after[640];
    snprintf(after, sizeof after, "%s%s%sExit codes: 0 done, 1 failed (its text is on stderr)%s, 2 wrong arguments.\n",
             options->examples ? "Examples:\n" : "", options->examples ? options->examples : "",
             options->examples ? "\n" : "", strcmp(options->command, "doctor") == 0 ? " or damaged" : "");
    const struct troupe__option *table = strcmp(options->command, "actors") == 0   ? actors_options
                                         : strcmp(options->command, "stats") == 0  ? stats_options
                                         : strcmp(options->command, "doctor") == 0 ? offline_options
                                                                                   : common_options;
    const struct troupe__command command = {options->command, options->help, after, table, options, NULL};
    int operands;
    int code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (!options->data && argc - operands == most + 1) {
        options->data = argv[operands++];
    }
    options->data = options->data ? options->data : "troupe-data";
    if (argc - operands > most) {
        return wrong(options, "one argument too many:", argv[operands + most]);
    }
    if (argc - operands < least) {
        fprintf(stderr, "troupe %s: an argument is missing; see troupe %s --help\n", options->command,
                options->command);
        return TROUPE__EXIT_WRONG;
    }
    while (operands < argc) {
        options->operand[options->operand_count++] = argv[operands++];
    }
    return -1;
}

struct address {
    char type[TROUPE_NAME_MAX + 1];
    const char *key;
};

/* Type and key are what stands before and after the second slash. */
static bool parse_address(const char *text, struct address *ret)
{
    const char *slash = strchr(text, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    if (!slash || slash - text > TROUPE_NAME_MAX || !slash[1] || strlen(slash + 1) > TROUPE_KEY_MAX) {
        return false;
    }
    memcpy(ret->type, text, (size_t)(slash - text));
    ret->type[slash - text] = '\0';
    ret->key = slash + 1;
    return troupe__type_name_valid(ret->type);
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0;
}

static int fail(const struct troupe__look_options *options, const char *text, enum troupe_error error)
{
    fprintf(stderr, "troupe %s: %s (%s)\n", options->command, text, troupe_error_text(error));
    return EXIT_FAILURE;
}

static int fail_row(const struct troupe__look_options *options, enum troupe__table table, enum troupe_error error)
{
    char text[128];
    snprintf(text, sizeof text, "a row of table %s is malformed: run troupe doctor", troupe__view_table_names[table]);
    return fail(options, error == TROUPE_ENOMEM ? "out of memory" : text, error);
}

static void show_progress(void *progress, uint64_t rows)
{
    troupe__progress_count(progress, "reading", rows, "rows");
}

/* Open, and load `tables` unless there are none. Returns -1, or the exit code, with nothing to close then. */
static int load_prefix(const struct troupe__look_options *options, bool writable, unsigned tables,
                       struct troupe_bytes prefix, struct troupe__view *view)
{
    struct troupe__progress progress = {.command = options->command};
    enum troupe_error result = options->connect ? TROUPE_EBUSY : troupe__view_open(view, options->data, writable);
    if (result == TROUPE_EBUSY) { /* A node runs on it: it is asked. */
        result = troupe__remote_load(options->connect, options->data, tables, prefix, view);
        return result == TROUPE_OK ? -1 : fail(options, view->error, result);
    }
    if (result != TROUPE_OK) {
        return fail(options, view->error, result);
    }
    view->progress = show_progress;
    view->progress_context = &progress;
    for (unsigned t = 0; t < TROUPE__TABLE_COUNT && result == TROUPE_OK; t++) {
        if (tables & 1u << t) {
            result = troupe__view_scan(view, (enum troupe__table)t, prefix);
        }
    }
    result = result == TROUPE_OK ? troupe__view_replay(view) : result;
    troupe__view_settle(view);
    troupe__progress_end(&progress);
    view->progress = NULL;
    if (result != TROUPE_OK) {
        char text[sizeof view->error];
        memcpy(text, view->error, sizeof text);
        troupe__view_close(view);
        return fail(options, text, result);
    }
    return -1;
}

static int load(const struct troupe__look_options *options, bool writable, unsigned tables, struct troupe__view *view)
{
    return load_prefix(options, writable, tables, (struct troupe_bytes){"", 0}, view);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void put_text(struct troupe__buffer *line, const char *text)
{
    troupe__buffer_put(line, text, strlen(text));
}

static void put_number(struct troupe__buffer *line, const char *before, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    put_text(line, before);
    put_text(line, text);
}

static void put_name(struct troupe__buffer *line, const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        troupe__buffer_put_byte(line, iscntrl((unsigned char)name[i]) ? '?' : (unsigned char)name[i]);
    }
}

/* A body is msgpack by convention only. */
static void put_body(struct troupe__buffer *line, struct troupe_bytes body)
{
    if (body.size == 0) {
        put_text(line, "null");
        return;
    }
    if (troupe__json_write(body, line) != TROUPE_ECORRUPT) {
        return;
    }
    put_text(line, "{\"$raw\":\""); /* As hexadecimal digits. */
    for (size_t i = 0; i < body.size; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", ((const unsigned char *)body.data)[i]);
        troupe__buffer_put(line, digits, 2);
    }
    put_text(line, "\"}");
}

static void put_json_address(struct troupe__buffer *line, const char *type, const char *key)
{
    char text[TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1];
    int size = snprintf(text, sizeof text, "%s/%s", type, key);
    troupe__json_write_string(text, (size_t)size, line);
}

static void put_time(struct troupe__buffer *line, int64_t time_ms)
{
    char text[48];
    struct tm parts;
    time_t seconds = (time_t)(time_ms / 1000);
    if (time_ms < 0 || !gmtime_r(&seconds, &parts)) {
        snprintf(text, sizeof text, "%" PRId64, time_ms);
    } else {
        size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(text + size, sizeof text - size, ".%03dZ", (int)(time_ms % 1000));
    }
    put_text(line, text);
}

/* Print the line, empty it. Returns whether all went well so far. */
static bool end_line(struct troupe__buffer *line)
{
    troupe__buffer_put_byte(line, '\n');
    if (line->failed) {
        return false;
    }
    fwrite(line->data, 1, line->size, stdout);
    line->size = 0;
    return true;
}

/* The exit code of a command that has printed all it had. */
static int finish(const struct troupe__look_options *options, struct troupe__buffer *line)
{
    bool failed = line->failed;
    troupe__buffer_free(line);
    if (failed) {
        return fail(options, "out of memory", TROUPE_ENOMEM);
    }
    if (fflush(stdout) || ferror(stdout)) {
        return fail(options, "cannot write the output", TROUPE_EIO);
    }
    return EXIT_SUCCESS;
}

/* Members of a message, behind others: "to", "from", "type", "correlation", "attempt", "body". */
static void put_json_message(struct troupe__buffer *line, const struct troupe__message *message)
{
    put_text(line, ",\"to\":");
    put_json_address(line, message->to->type->name, message->to->key);
    if (message->from) {
        put_text(line, ",\"from\":");
        put_json_address(line, message->from->type->name, message->from->key);
    }
    put_text(line, ",\"type\":");
    troupe__json_write_string(message->data, message->type_size, line);
    put_number(line, ",\"correlation\":", message->correlation);
    put_number(line, ",\"attempt\":", message->attempt);
    put_text(line, ",\"body\":");
    put_body(line, (struct troupe_bytes){troupe__message_body(message), message->body_size});
}

static void put_address(struct troupe__buffer *line, const struct troupe__actor *actor)
{
    put_name(line, actor->type->name, strlen(actor->type->name));
    troupe__buffer_put_byte(line, '/');
    put_name(line, actor->key, actor->key_size);
}

static void put_message(struct troupe__buffer *line, const struct troupe__message *message)
{
    put_address(line, message->to);
    troupe__buffer_put_byte(line, '\t');
    put_name(line, message->data, message->type_size);
    troupe__buffer_put_byte(line, '\t');
    put_body(line, (struct troupe_bytes){troupe__message_body(message), message->body_size});
    put_text(line, "\tfrom ");
    if (message->from) {
        put_address(line, message->from);
    } else {
        put_text(line, "outside");
    }
    put_number(line, ", failed ", message->attempt);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

struct shown { /* How far the rows of an actor are printed. */
    struct troupe__buffer *line;
    bool json, any;
    struct troupe_bytes name; /* of the map or list whose rows these are; none before the first */
    enum troupe_kind kind;
    struct troupe__head head;
    bool any_element;
};

static bool same_bytes(struct troupe_bytes left, struct troupe_bytes right)
{
    return left.size == right.size && (left.size == 0 || memcmp(left.data, right.data, left.size) == 0);
}

static void end_shown(struct shown *shown)
{
    if (shown->json && shown->name.size > 0) {
        put_text(shown->line, shown->kind == TROUPE_LIST ? "]" : "}");
    }
    shown->name = (struct troupe_bytes){NULL, 0};
}

/* A map or list begins: with its head, or a map that has none with its first element. */
static void begin_shown(struct shown *shown, struct troupe_bytes name, enum troupe_kind kind, struct troupe__head head)
{
    end_shown(shown);
    if (shown->json) {
        put_text(shown->line, shown->any ? "," : "");
        troupe__json_write_string(name.data, name.size, shown->line);
        put_text(shown->line, kind == TROUPE_LIST ? ":[" : ":{");
    }
    shown->any = true;
    shown->any_element = false;
    shown->name = name;
    shown->kind = kind;
    shown->head = head;
}

static void show_end_of_row(struct shown *shown, const struct troupe__row *row)
{
    if (!shown->json) {
        if (row->expires_ms > 0) {
            put_text(shown->line, "\texpires ");
            put_time(shown->line, row->expires_ms);
        }
        end_line(shown->line);
    }
}

/* A key is any bytes: what is not UTF-8 is shown in hexadecimal. */
static void put_key(struct troupe__buffer *line, struct troupe_bytes key)
{
    const unsigned char *at = key.data, *end = at + key.size;
    char text[5 + 2 * TROUPE_ELEMENT_KEY_MAX + 1] = "$raw:";
    while (at < end) {
        size_t length = *at < 0x80 ? 1 : troupe__utf8_length(at, end);
        if (length == 0) {
            break;
        }
        at += length;
    }
    if (at == end) {
        troupe__json_write_string(key.data, key.size, line);
        return;
    }
    for (size_t i = 0; i < key.size && i < TROUPE_ELEMENT_KEY_MAX; i++) {
        snprintf(text + 5 + 2 * i, 3, "%02x", ((const unsigned char *)key.data)[i]);
    }
    troupe__json_write_string(text, strlen(text), line);
}

static void show_element(struct shown *shown, const struct troupe__row_key *key, const struct troupe__row *row)
{
    if (shown->json) {
        put_text(shown->line, shown->any_element ? "," : "");
    } else {
        put_name(shown->line, key->value.data, key->value.size);
        troupe__buffer_put_byte(shown->line, '\t');
    }
    if (shown->kind == TROUPE_MAP) {
        put_key(shown->line, key->element);
    } else if (!shown->json) {
        put_number(shown->line, "", troupe__get_be64(key->element.data) - shown->head.first);
    }
    if (!shown->json || shown->kind == TROUPE_MAP) {
        troupe__buffer_put_byte(shown->line, shown->json ? ':' : '\t');
    }
    put_body(shown->line, row->payload);
    show_end_of_row(shown, row);
    shown->any_element = true;
}

/* Returns false for a malformed row. Rows come in the order of their keys: a head before its elements. */
static bool show_row(struct shown *shown, const struct troupe__view_row *row)
{
    struct troupe__row_key key;
    struct troupe__row content;
    struct troupe__head head = {.first = TROUPE__LIST_BEGIN};
    enum troupe_kind kind = TROUPE_MAP;
    if (!troupe__row_key_decode(row->key, &key) || !troupe__row_decode(row->value, &content)) {
        return false;
    }
    if (key.is_element) {
        if (!same_bytes(key.value, shown->name)) {
            begin_shown(shown, key.value, kind, head);
        }
        if (shown->kind == TROUPE_LIST && key.element.size != 8) {
            return false;
        }
        if (key.generation == shown->head.generation) { /* Others are left from before a clear. */
            show_element(shown, &key, &content);
        }
    } else if (content.head) {
        if (!troupe__head_decode(content.payload, &kind, &head)) {
            return false;
        }
        begin_shown(shown, key.value, kind, head);
    } else {
        end_shown(shown);
        if (shown->json) {
            put_text(shown->line, shown->any ? "," : "");
            troupe__json_write_string(key.value.data, key.value.size, shown->line);
            troupe__buffer_put_byte(shown->line, ':');
        } else {
            put_name(shown->line, key.value.data, key.value.size);
            troupe__buffer_put_byte(shown->line, '\t');
        }
        put_body(shown->line, content.payload);
        show_end_of_row(shown, &content);
        shown->any = true;
    }
    return true;
}

int troupe__look_state(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "state",
        .examples = "  troupe state bank/account/alice\n"
                    "  troupe state --data /var/lib/bank --json bank/account/alice\n",
        .help =
            "usage: troupe state [--data DIR | DIR] ADDRESS\n\n"
            "Prints the values of an actor, one a line: name, tab, value as JSON. An element of a map or list has a\n"
            "line of its own: name, tab, key or position, tab, value. What expires has its time behind it; it is\n"
            "shown until it is removed. An actor that was never used, or has cleared everything, has no values.\n"
            "--json: one object {\"actor\":..,\"state\":{name:value,..}}; a map is an object, a list an array.\n"};
    struct address address;
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 1, 1);
    if (code >= 0) {
        return code;
    }
    if (!parse_address(options.operand[0], &address)) {
        return wrong(&options, "an address is namespace/name/key, not", options.operand[0]);
    }
    unsigned char prefix[2 + TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1];
    size_t type_size = strlen(address.type) + 1, key_size = strlen(address.key) + 1;
    troupe__put_be16(prefix, troupe__slot_of(address.type, address.key));
    memcpy(prefix + 2, address.type, type_size);
    memcpy(prefix + 2 + type_size, address.key, key_size);
    if ((code = load_prefix(&options, false, 1u << TROUPE__STATE,
                            (struct troupe_bytes){prefix, 2 + type_size + key_size}, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    if (options.json) {
        put_text(&line, "{\"actor\":");
        put_json_address(&line, address.type, address.key);
        put_text(&line, ",\"state\":{");
    }
    struct shown shown = {.line = &line, .json = options.json};
    for (size_t i = 0; i < view.tables[TROUPE__STATE].count && code < 0; i++) {
        if (!show_row(&shown, view.tables[TROUPE__STATE].rows[i])) {
            code = fail_row(&options, TROUPE__STATE, TROUPE_ECORRUPT);
        }
    }
    end_shown(&shown);
    if (options.json && code < 0) {
        put_text(&line, "}}");
        end_line(&line);
    }
    troupe__view_close(&view);
    int end = finish(&options, &line);
    return code < 0 ? end : code;
}

/* ---- actors ------------------------------------------------------------------------------------------------------ */

struct seen { /* An actor by one of its rows; then, merged, by all. */
    const char *type, *key;
    uint64_t values, mail, timers;
};

static int compare_seen(const void *a, const void *b)
{
    const struct seen *left = a, *right = b;
    int order = strcmp(left->type, right->type);
    return order ? order : strcmp(left->key, right->key);
}

/* One entry for each row of state, mail and timers; the messages only lend their actors, which the view keeps. */
static enum troupe_error collect(struct troupe__view *view, struct seen *seen, enum troupe__table *ret_table)
{
    for (unsigned t = TROUPE__STATE; t <= TROUPE__TIMER; t++) {
        const struct troupe__view_table *table = &view->tables[t];
        *ret_table = (enum troupe__table)t;
        for (size_t i = 0; i < table->count; i++, seen++) {
            struct troupe__row_key state;
            struct troupe__message *message;
            int64_t due_ms;
            if (t == TROUPE__STATE) {
                if (!troupe__row_key_decode(table->rows[i]->key, &state)) {
                    return TROUPE_ECORRUPT;
                }
                *seen = (struct seen){state.type, state.key, 1, 0, 0};
                continue;
            }
            enum troupe_error result = t == TROUPE__MAIL ? troupe__view_mail(view, table->rows[i], &message)
                                                         : troupe__view_timer(view, table->rows[i], &due_ms, &message);
            if (result != TROUPE_OK) {
                return result;
            }
            *seen = (struct seen){message->to->type->name, message->to->key, 0, t == TROUPE__MAIL, t == TROUPE__TIMER};
            troupe__message_free(message);
        }
    }
    return TROUPE_OK;
}

static void print_seen(const struct troupe__look_options *options, const struct seen *seen, struct troupe__buffer *line)
{
    if (options->json) {
        put_text(line, "{\"actor\":");
        put_json_address(line, seen->type, seen->key);
        put_number(line, ",\"values\":", seen->values);
        put_number(line, ",\"mail\":", seen->mail);
        put_number(line, ",\"timers\":", seen->timers);
        put_text(line, "}");
    } else {
        put_name(line, seen->type, strlen(seen->type));
        troupe__buffer_put_byte(line, '/');
        put_name(line, seen->key, strlen(seen->key));
        put_number(line, "\tvalues ", seen->values);
        put_number(line, ", mail ", seen->mail);
        put_number(line, ", timers ", seen->timers);
    }
    end_line(line);
}

int troupe__look_actors(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "actors",
        .examples = "  troupe actors --type bank/account --json\n",
        .help = "usage: troupe actors [--data DIR] [--type NAMESPACE/NAME]\n\n"
                "Lists the actors that have values, waiting messages or delayed messages, in the order of their\n"
                "addresses, with how many of each. --json: {\"actor\":..,\"values\":n,\"mail\":n,\"timers\":n}.\n"};
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 0, 0);
    if (code >= 0 ||
        (code = load(&options, false, 1u << TROUPE__STATE | 1u << TROUPE__MAIL | 1u << TROUPE__TIMER, &view)) >= 0) {
        return code;
    }
    size_t count =
        view.tables[TROUPE__STATE].count + view.tables[TROUPE__MAIL].count + view.tables[TROUPE__TIMER].count;
    struct seen *seen = malloc((count + 1) * sizeof *seen);
    struct troupe__buffer line = {0};
    enum troupe__table table = TROUPE__STATE;
    enum troupe_error result = seen ? collect(&view, seen, &table) : TROUPE_ENOMEM;
    if (result == TROUPE_OK) {
        qsort(seen, count, sizeof *seen, compare_seen);
        for (size_t i = 0; i < count; i++) {
            struct seen sum = seen[i];
            while (i + 1 < count && compare_seen(&sum, &seen[i + 1]) == 0) {
                i++;
                sum.values += seen[i].values;
                sum.mail += seen[i].mail;
                sum.timers += seen[i].timers;
            }
            if (!options.type || strcmp(options.type, sum.type) == 0) {
                print_seen(&options, &sum, &line);
            }
        }
    }
    free(seen);
    troupe__view_close(&view);
    code = finish(&options, &line);
    return result == TROUPE_OK ? code : fail_row(&options, table, result);
}

/* ---- mailbox and timers ------------------------------------------------------------------------------------------ */

int troupe__look_mailbox(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "mailbox",
        .examples = "  troupe mailbox bank/account/alice\n",
        .help = "usage: troupe mailbox [--data DIR | DIR] ADDRESS\n\n"
                "Prints the messages that wait for an actor, the next one first: number, address, name, body, sender,\n"
                "failed attempts. --json: {\"number\":n,\"to\":..,\"from\":..,\"type\":..,\"correlation\":n,\n"
                "\"attempt\":n,\"body\":..}; \"from\" is absent when it came from outside.\n"};
    struct address address;
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 1, 1);
    if (code >= 0) {
        return code;
    }
    if (!parse_address(options.operand[0], &address)) {
        return wrong(&options, "an address is namespace/name/key, not", options.operand[0]);
    }
    if ((code = load(&options, false, 1u << TROUPE__MAIL, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < view.tables[TROUPE__MAIL].count && result == TROUPE_OK; i++) {
        const struct troupe__view_row *row = view.tables[TROUPE__MAIL].rows[i];
        struct troupe__message *message;
        uint64_t number;
        result = troupe__view_number(row, &number) ? troupe__view_mail(&view, row, &message) : TROUPE_ECORRUPT;
        if (result != TROUPE_OK) {
            break;
        }
        if (strcmp(message->to->type->name, address.type) == 0 && strcmp(message->to->key, address.key) == 0) {
            put_number(&line, options.json ? "{\"number\":" : "", number);
            if (options.json) {
                put_json_message(&line, message);
                put_text(&line, "}");
            } else {
                troupe__buffer_put_byte(&line, '\t');
                put_message(&line, message);
            }
            end_line(&line);
        }
        troupe__message_free(message);
    }
    troupe__view_close(&view);
    code = finish(&options, &line);
    return result == TROUPE_OK ? code : fail_row(&options, TROUPE__MAIL, result);
}

struct due {
    int64_t due_ms;
    uint64_t id;
    const struct troupe__view_row *row;
};

static int compare_due(const void *a, const void *b)
{
    const struct due *left = a, *right = b;
    return left->due_ms != right->due_ms ? (left->due_ms > right->due_ms) - (left->due_ms < right->due_ms)
                                         : (left->id > right->id) - (left->id < right->id);
}

static enum troupe_error print_timers(const struct troupe__look_options *options, struct troupe__view *view,
                                      struct troupe__buffer *line)
{
    const struct troupe__view_table *table = &view->tables[TROUPE__TIMER];
    struct due *dues = malloc((table->count + 1) * sizeof *dues);
    struct troupe__message *message;
    enum troupe_error result = dues ? TROUPE_OK : TROUPE_ENOMEM;
    for (size_t i = 0; i < table->count && result == TROUPE_OK; i++) {
        dues[i].row = table->rows[i];
        result = troupe__view_number(table->rows[i], &dues[i].id)
                     ? troupe__view_timer(view, table->rows[i], &dues[i].due_ms, &message)
                     : TROUPE_ECORRUPT;
        if (result == TROUPE_OK) {
            troupe__message_free(message);
        }
    }
    if (result == TROUPE_OK) {
        qsort(dues, table->count, sizeof *dues, compare_due);
    }
    for (size_t i = 0; i < table->count && result == TROUPE_OK; i++) {
        result = troupe__view_timer(view, dues[i].row, &dues[i].due_ms, &message);
        if (result != TROUPE_OK) {
            break;
        }
        put_number(line, options->json ? "{\"timer\":" : "", dues[i].id);
        if (options->json) {
            put_number(line, ",\"due_ms\":", (uint64_t)dues[i].due_ms);
            put_json_message(line, message);
            put_text(line, "}");
        } else {
            troupe__buffer_put_byte(line, '\t');
            put_time(line, dues[i].due_ms);
            troupe__buffer_put_byte(line, '\t');
            put_message(line, message);
        }
        end_line(line);
        troupe__message_free(message);
    }
    free(dues);
    return result;
}

int troupe__look_timers(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "timers",
        .examples = "  troupe timers --json | head\n",
        .help = "usage: troupe timers [--data DIR]\n\n"
                "Prints the delayed messages, the first one due first: id, due time, address, name, body, sender.\n"
                "--json: {\"timer\":n,\"due_ms\":n,\"to\":..,\"from\":..,\"type\":..,\"correlation\":n,\"attempt\":n,\n"
                "\"body\":..}; times are milliseconds since 1970.\n"};
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 0, 0);
    if (code >= 0 || (code = load(&options, false, 1u << TROUPE__TIMER, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    enum troupe_error result = print_timers(&options, &view, &line);
    troupe__view_close(&view);
    code = finish(&options, &line);
    return result == TROUPE_OK ? code : fail_row(&options, TROUPE__TIMER, result);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void print_job(const struct troupe__look_options *options, const struct troupe__job *job,
                      struct troupe__buffer *line)
{
    put_number(line, options->json ? "{\"id\":" : "", job->id);
    if (options->json) {
        put_text(line, ",\"actor\":");
        put_json_address(line, troupe__job_actor_type(job), troupe__job_actor_key(job));
        put_text(line, ",\"job\":");
        troupe__json_write_string(troupe__job_name(job), job->name_size, line);
        put_text(line, ",\"result\":");
        troupe__json_write_string(troupe__job_result(job), job->result_size, line);
        put_number(line, ",\"begun\":", job->attempt);
        put_number(line, ",\"failed\":", job->failures);
        put_text(line, ",\"input\":");
        put_body(line, troupe__job_input(job));
        put_text(line, "}");
    } else {
        troupe__buffer_put_byte(line, '\t');
        put_address(line, job->actor);
        troupe__buffer_put_byte(line, '\t');
        put_name(line, troupe__job_name(job), job->name_size);
        troupe__buffer_put_byte(line, '\t');
        put_body(line, troupe__job_input(job));
        put_number(line, "\tbegun ", job->attempt);
        put_number(line, ", failed ", job->failures);
    }
    end_line(line);
}

int troupe__look_jobs(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "jobs",
        .examples = "  troupe jobs --data /var/lib/shop\n",
        .help = "usage: troupe jobs [--data DIR]\n\n"
                "Prints the jobs whose results have not come back, the oldest first: id, the actor that waits for it,\n"
                "name, input, how often it was begun and how often it failed.\n"
                "--json: {\"id\":n,\"actor\":..,\"job\":..,\"result\":..,\"begun\":n,\"failed\":n,\"input\":..}.\n"};
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 0, 0);
    if (code >= 0 || (code = load(&options, false, 1u << TROUPE__JOB, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < view.tables[TROUPE__JOB].count && result == TROUPE_OK; i++) {
        struct troupe__job *job;
        result = troupe__view_job(&view, view.tables[TROUPE__JOB].rows[i], &job);
        if (result == TROUPE_OK) {
            print_job(&options, job, &line);
            troupe__job_release(job);
        }
    }
    troupe__view_close(&view);
    code = finish(&options, &line);
    return result == TROUPE_OK ? code : fail_row(&options, TROUPE__JOB, result);
}

/* ---- dead letters ------------------------------------------------------------------------------------------------ */

static void print_dead(const struct troupe__look_options *options, uint64_t number,
                       const struct troupe__view_dead *dead, bool whole, struct troupe__buffer *line)
{
    if (options->json) {
        put_number(line, "{\"number\":", number);
        put_number(line, ",\"time_ms\":", (uint64_t)dead->time_ms);
        put_text(line, ",\"reason\":");
        troupe__json_write_string(dead->reason.data, dead->reason.size, line);
        if (dead->message) {
            put_json_message(line, dead->message);
        } else {
            put_text(line, ",\"text\":");
            troupe__json_write_string(dead->text.data, dead->text.size, line);
        }
        put_text(line, "}");
    } else {
        put_number(line, whole ? "number\t" : "", number);
        put_text(line, whole ? "\ntime\t" : "\t");
        put_time(line, dead->time_ms);
        put_text(line, whole ? "\nreason\t" : "\t");
        put_name(line, dead->reason.data, dead->reason.size);
        if (whole) {
            put_text(line, dead->message ? "\nmessage\t" : "\ntext\t");
        } else {
            put_text(line, dead->message ? "\tmessage\t" : "\ttext\t");
        }
        if (dead->message) {
            put_message(line, dead->message);
        } else if (whole) {
            troupe__json_write_string(dead->text.data, dead->text.size, line);
        } else {
            put_number(line, "", dead->text.size);
            put_text(line, " bytes");
        }
    }
    end_line(line);
}

static enum troupe_error list_dead(const struct troupe__look_options *options, struct troupe__view *view,
                                   struct troupe__buffer *line)
{
    for (size_t i = 0; i < view->tables[TROUPE__DEAD].count; i++) {
        const struct troupe__view_row *row = view->tables[TROUPE__DEAD].rows[i];
        struct troupe__view_dead dead;
        uint64_t number;
        enum troupe_error result =
            troupe__view_number(row, &number) ? troupe__view_dead(view, row, &dead) : TROUPE_ECORRUPT;
        if (result != TROUPE_OK) {
            return result;
        }
        print_dead(options, number, &dead, false, line);
        troupe__message_free(dead.message);
    }
    return TROUPE_OK;
}

/* One epoch: the letter leaves, and if it is to be tried again comes back as mail, behind all that waits, with its
 * attempts forgotten. `*ret_number` is its new number. */
static enum troupe_error move_dead(struct troupe__view *view, uint64_t number, struct troupe__message *message,
                                   uint64_t *ret_number)
{
    struct troupe__buffer record = {0}, value = {0};
    struct troupe__view_counters counters;
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_remove(&record, TROUPE__DEAD, key, sizeof key);
    enum troupe_error result = TROUPE_OK;
    if (message) {
        if ((result = troupe__view_counters(view, &counters)) != TROUPE_OK || counters.sequence < number) {
            snprintf(view->error, sizeof view->error,
                     "the counters' row is missing, malformed or too low: run troupe "
                     "doctor");
            result = TROUPE_ECORRUPT;
            goto out;
        }
        *ret_number = ++counters.sequence;
        counters.waiting++;
        message->attempt = 0;
        troupe__message_encode(message, &value);
        troupe__put_be64(key, counters.sequence);
        troupe__record_set(&record, TROUPE__MAIL, key, sizeof key, value.data, value.size);
        value.size = 0;
        troupe__view_counters_encode(&counters, &value);
        troupe__record_set(&record, TROUPE__META, "counters", strlen("counters"), value.data, value.size);
    }
    if (record.failed || value.failed) {
        snprintf(view->error, sizeof view->error, "out of memory");
        result = TROUPE_ENOMEM;
        goto out;
    }
    result =
        view->store->commit(view->store, view->store->last_epoch + 1, (struct troupe_bytes){record.data, record.size});
    if (result != TROUPE_OK) {
        snprintf(view->error, sizeof view->error, "%s", view->store->error);
    }
out:
    troupe__buffer_free(&record);
    troupe__buffer_free(&value);
    return result;
}

static int change_dead(const struct troupe__look_options *options, struct troupe__view *view, uint64_t number,
                       struct troupe__message *message, bool retry)
{
    uint64_t new_number = 0;
    if (retry && !message) {
        return fail(options,
                    "this letter is a line that never was a message: mend it, give it to the input again, "
                    "and drop the letter",
                    TROUPE_EINVAL);
    }
    char error[512];
    enum troupe_error result = view->store ? move_dead(view, number, retry ? message : NULL, &new_number)
                                           : troupe__remote_move_dead(options->connect, options->data, number, retry,
                                                                      &new_number, error, sizeof error);
    if (result != TROUPE_OK) {
        return fail(options, view->store ? view->error : error, result);
    }
    if (options->json) {
        printf("{\"number\":%" PRIu64 ",\"%s\":", number, retry ? "mail" : "dropped");
        retry ? printf("%" PRIu64 "}\n", new_number) : printf("true}\n");
    } else if (retry) {
        printf("dead letter %" PRIu64 " waits again, as message %" PRIu64 "\n", number, new_number);
    } else {
        printf("dead letter %" PRIu64 " is dropped\n", number);
    }
    return EXIT_SUCCESS;
}

int troupe__look_dead(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "dead",
        .examples = "  troupe dead list && troupe dead show 17 && troupe dead retry 17\n",
        .help = "usage: troupe dead list [--data DIR]\n"
                "       troupe dead show|retry|drop NUMBER [--data DIR]\n\n"
                "Dead letters are messages that failed for good and lines that were no messages.\n"
                "  list   all: number, time, reason, and the message or the size of the line\n"
                "  show   one, whole\n"
                "  retry  put the message back, behind all that waits, with no failed attempts; it has a new number\n"
                "  drop   remove it for good\n"
                "Retry and drop are durable when the command returns, whether a node runs or not.\n"};
    struct troupe__view view;
    int code = troupe__look_parse(&options, argc, argv, 1, 2);
    if (code >= 0) {
        return code;
    }
    const char *verb = options.operand[0];
    bool list = strcmp(verb, "list") == 0, show = strcmp(verb, "show") == 0, retry = strcmp(verb, "retry") == 0;
    uint64_t number = 0;
    if (!list && !show && !retry && strcmp(verb, "drop") != 0) {
        return wrong(&options, "it takes list, show, retry or drop, not", verb);
    }
    if (list ? options.operand_count != 1 : options.operand_count != 2 || !parse_number(options.operand[1], &number)) {
        return wrong(&options,
                     list ? "one argument too many (a directory goes behind --data):"
                          : "a number (see troupe dead list) must follow",
                     list ? options.operand[1] : verb);
    }
    if ((code = load(&options, !list && !show, 1u << TROUPE__DEAD | 1u << TROUPE__META, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    struct troupe__view_dead dead = {0};
    enum troupe_error result = TROUPE_OK;
    unsigned char key[8];
    troupe__put_be64(key, number);
    const struct troupe__view_row *row = troupe__view_find(&view, TROUPE__DEAD, (struct troupe_bytes){key, sizeof key});
    if (list) {
        result = list_dead(&options, &view, &line);
    } else if (!row) {
        fprintf(stderr, "troupe dead: there is no dead letter %" PRIu64 "; see troupe dead list\n", number);
        code = EXIT_FAILURE;
    } else if ((result = troupe__view_dead(&view, row, &dead)) == TROUPE_OK && show) {
        print_dead(&options, number, &dead, true, &line);
    } else if (strcmp(verb, "drop") == 0) {
        code = change_dead(&options, &view, number, NULL, false); /* A malformed letter can be dropped too. */
        result = TROUPE_OK;
    } else if (result == TROUPE_OK) {
        code = change_dead(&options, &view, number, dead.message, true);
    }
    troupe__message_free(dead.message);
    troupe__view_close(&view);
    int end = finish(&options, &line);
    return result != TROUPE_OK ? fail_row(&options, TROUPE__DEAD, result) : code > 0 ? code : end;
}

/* ---- stats ------------------------------------------------------------------------------------------------------- */

/* One figure: `name TAB number`, or a member of the object. */
static void put_figure(const struct troupe__look_options *options, struct troupe__buffer *line, const char *name,
                       size_t name_size, uint64_t number)
{
    if (options->json) {
        troupe__buffer_put_byte(line, line->size > 0 ? ',' : '{');
        troupe__json_write_string(name, name_size, line);
        put_number(line, ":", number);
    } else {
        put_name(line, name, name_size);
        put_number(line, "\t", number);
        end_line(line);
    }
}

int troupe__look_stats(int argc, char **argv)
{
    struct troupe__look_options options = {
        .command = "stats",
        .examples = "  troupe stats --json\n",
        .help =
            "usage: troupe stats [--data DIR]\n\n"
            "Prints figures of the node, one a line: name, tab, number. --json: one object of them all.\n"
            "  epoch            the last durable epoch\n"
            "  journal_records  epochs that are not in the tables yet\n"
            "  messages, timers_set, egress_records\n"
            "                   the highest numbers given so far\n"
            "  egress_released  egress records known to be out\n"
            "  now_ms           the node's clock when it stopped, in milliseconds since 1970\n"
            "  values, mail, timers, dead, egress, jobs, response, outbox, sweeps\n"
            "                   rows of state, messages that wait, are delayed, failed for good, records not known\n"
            "                   to be out, jobs without a result, kept answers, messages for other nodes, places "
            "where\n"
            "                   rows of state are to be removed\n"
            "  egress/NAME      records put out on NAME\n"
            "  input/PATH       lines taken in from PATH\n"};
    static const char *const names[TROUPE__TABLE_COUNT] = {"meta",   "values", "mail",     "timers", "dead",
                                                           "egress", "jobs",   "response", "outbox", "sweeps"};
    struct troupe__view view;
    struct troupe__view_counters counters;
    int code = troupe__look_parse(&options, argc, argv, 0, 0);
    if (code >= 0) {
        return code;
    }
    if (options.connect || troupe__node_runs(options.data)) {
        return troupe__remote_stats(options.connect, options.data, options.json, options.watch_s);
    }
    if (options.watch_s > 0) {
        return wrong(&options, "only a node that runs can be watched, and none does on", options.data);
    }
    if ((code = load(&options, false, (1u << TROUPE__TABLE_COUNT) - 1, &view)) >= 0) {
        return code;
    }
    struct troupe__buffer line = {0};
    enum troupe_error result = troupe__view_counters(&view, &counters);
    if (result == TROUPE_ECORRUPT) {
        code = fail(&options, view.error, result);
        troupe__view_close(&view);
        return code;
    }
    const struct {
        const char *name;
        uint64_t number;
    } figures[] = {{"epoch", view.store->last_epoch},   {"journal_records", view.record_count},
                   {"messages", counters.sequence},     {"timers_set", counters.timer},
                   {"egress_records", counters.egress}, {"egress_released", counters.egress_released},
                   {"now_ms", counters.now_ms}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        put_figure(&options, &line, figures[i].name, strlen(figures[i].name), figures[i].number);
    }
    for (size_t t = TROUPE__STATE; t < TROUPE__TABLE_COUNT; t++) {
        put_figure(&options, &line, names[t], strlen(names[t]), view.tables[t].count);
    }
    for (size_t i = 0; i < view.tables[TROUPE__META].count; i++) {
        const struct troupe__view_row *row = view.tables[TROUPE__META].rows[i];
        struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size,
                                        false};
        bool egress = row->key.size > 7 && memcmp(row->key.data, "egress/", 7) == 0;
        bool input = row->key.size > 6 && memcmp(row->key.data, "input/", 6) == 0;
        if (egress || input) {
            uint64_t first = troupe__cursor_varint(&cursor); /* an input's offset stands before its line */
            put_figure(&options, &line, row->key.data, row->key.size, egress ? first : troupe__cursor_varint(&cursor));
        }
    }
    if (options.json) {
        put_text(&line, "}");
        end_line(&line);
    }
    troupe__view_close(&view);
    return finish(&options, &line);
}
