/* look.c - the commands that look into nodes: what they have in common.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/look.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/remote.h"

enum { HELLO_MS = 3000 };

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static const char *set_watch(void *look, const char *value)
{
    char *end = NULL;
    unsigned long seconds = value ? strtoul(value, &end, 10) : 1;
    ((struct troupe__look *)look)->watch_s = (unsigned)seconds;
    return (!value || (isdigit((unsigned char)*value) && *end == '\0')) && seconds >= 1 && seconds <= 86400
               ? NULL
               : "seconds, 1 to 86400";
}

static const char *set_type(void *look, const char *value)
{
    ((struct troupe__look *)look)->type = value;
    return troupe__type_name_valid(value) ? NULL : "namespace/name";
}

static const char *set_json(void *look, const char *value)
{
    (void)value;
    ((struct troupe__look *)look)->json = true;
    return NULL;
}

#define JSON_OPTION                                                                                                    \
    {                                                                                                                  \
        "json", NULL, set_json, "print JSON, one object a line"                                                        \
    }

static const struct troupe__option offline_options[] = {
    {"data", "DIR", troupe__reach_set_data, "the node's directory (default: troupe-data)"},
    JSON_OPTION,
    {0},
};

static const struct troupe__option stats_options[] = {
    TROUPE__REACH_OPTIONS,
    TROUPE__REACH_NODE_OPTION,
    {"watch", "[=SECONDS]", set_watch, "of a running node: print them again every second, or as often"},
    JSON_OPTION,
    {0},
};

static const struct troupe__option common_options[] = {
    TROUPE__REACH_OPTIONS,
    TROUPE__REACH_NODE_OPTION,
    JSON_OPTION,
    {0},
};

static const struct troupe__option actors_options[] = {
    TROUPE__REACH_OPTIONS,
    TROUPE__REACH_NODE_OPTION,
    {"type", "NAMESPACE/NAME", set_type, "only actors of this type"},
    JSON_OPTION,
    {0},
};

int troupe__look_parse(struct troupe__look *look, int argc, char **argv, int least, int most)
{
    char after[700];
    bool doctor = strcmp(look->command, "doctor") == 0;
    snprintf(after, sizeof after, "%s%s%s%s", look->examples ? "Examples:\n" : "", look->examples ? look->examples : "",
             look->examples ? "\n" : "",
             doctor ? "Exit codes: 0 nothing is wrong, 1 damage, 2 wrong arguments, 3 it could not be looked at: not "
                      "there,\nin use by a node that runs, not readable, or written by a newer version.\n"
                    : "Exit codes: 0 done, 1 failed (its text is on stderr), or a node did not answer, 2 wrong "
                      "arguments.\n");
    const struct troupe__option *table = strcmp(look->command, "actors") == 0  ? actors_options
                                         : strcmp(look->command, "stats") == 0 ? stats_options
                                         : doctor                              ? offline_options
                                                                               : common_options;
    const struct troupe__command command = {look->command, look->help, after, table, look, NULL};
    int operands;
    int code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (!look->reach.data && !look->reach.connect && !look->reach.cluster && argc - operands == most + 1) {
        look->reach.data = argv[operands++];
    }
    if (argc - operands > most) {
        return troupe__wrong(look->command, "one argument too many:", argv[operands + most]);
    }
    if (argc - operands < least) {
        fprintf(stderr, "troupe %s: an argument is missing; see troupe %s --help\n", look->command, look->command);
        return TROUPE__EXIT_WRONG;
    }
    while (operands < argc) {
        look->operand[look->operand_count++] = argv[operands++];
    }
    return -1;
}

int troupe__look_parse_address(const struct troupe__look *look, struct troupe__look_address *ret)
{
    const char *text = look->operand[0], *slash = strchr(text, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    if (slash && slash - text <= TROUPE_NAME_MAX && slash[1] && strlen(slash + 1) <= TROUPE_KEY_MAX) {
        memcpy(ret->type, text, (size_t)(slash - text));
        ret->type[slash - text] = '\0';
        ret->key = slash + 1;
        if (troupe__type_name_valid(ret->type)) {
            return -1;
        }
    }
    return troupe__wrong(look->command, "an address is namespace/name/key, with a key of at most 255 bytes, not", text);
}

/* ---- what is wrong ----------------------------------------------------------------------------------------------- */

void troupe__look_complain(const struct troupe__look *look, const char *text, enum troupe_error error)
{
    fprintf(stderr, "troupe %s: %s%s%s (%s)\n", look->command, look->node ? look->node : "", look->node ? ": " : "",
            text, troupe_error_text(error));
}

static void complain_row(const struct troupe__look *look, enum troupe__table table, enum troupe_error error)
{
    char text[128];
    snprintf(text, sizeof text, "a row of table %s is malformed: run troupe doctor", troupe__view_table_names[table]);
    troupe__look_complain(look, error == TROUPE_ENOMEM ? "out of memory" : text, error);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void show_progress(void *progress, uint64_t rows)
{
    troupe__progress_count(progress, "reading", rows, "rows");
}

/* What is in the directory, opened already. */
static enum troupe_error load_local(const struct troupe__look *look, unsigned tables, struct troupe_bytes prefix,
                                    struct troupe__view *view)
{
    struct troupe__progress progress = {.command = look->command};
    enum troupe_error result = TROUPE_OK;
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
        memcpy(view->error, text, sizeof text);
    }
    return result;
}

static enum troupe_error load(const struct troupe__look *look, const struct troupe__reach_node *node, unsigned tables,
                              struct troupe_bytes prefix, struct troupe__view *view, struct troupe__voice *voice)
{
    enum troupe_error result = node->data[0] ? troupe__view_open(view, node->data, look->writable) : TROUPE_EBUSY;
    if (result != TROUPE_EBUSY) {
        return result == TROUPE_OK ? load_local(look, tables, prefix, view) : result;
    }
    /* A node runs on it: it is asked. */
    if (voice->result != TROUPE_OK) {
        snprintf(view->error, sizeof view->error, "%s", voice->client.error);
        return voice->result;
    }
    return troupe__remote_load(&voice->client, tables, prefix, view);
}

enum troupe_error troupe__look_at_node(struct troupe__look *look, struct troupe__chorus *chorus, size_t index,
                                       unsigned tables, struct troupe_bytes prefix, troupe__look_fn show, void *context)
{
    const struct troupe__reach *reach = chorus->reach;
    const struct troupe__reach_node *node = &reach->nodes[index];
    struct troupe__voice *voice = &chorus->voices[index];
    struct troupe__view view;
    struct troupe__buffer line = {0};
    enum troupe__table table = TROUPE__META;
    view.error[0] = '\0';
    look->node = reach->troupe ? node->name : NULL;
    enum troupe_error result = load(look, node, tables, prefix, &view, voice);
    if (result != TROUPE_OK) {
        troupe__look_complain(look, view.error, result);
    } else {
        look->client = view.store ? NULL : &voice->client;
        view.error[0] = '\0';
        result = show(look, &view, &line, context, &table);
        if (result != TROUPE_OK && view.error[0]) {
            troupe__look_complain(look, view.error, result);
        } else if (result != TROUPE_OK || line.failed) {
            result = result != TROUPE_OK ? result : TROUPE_ENOMEM;
            complain_row(look, table, result);
        }
        look->client = NULL;
        troupe__view_close(&view);
    }
    troupe__buffer_free(&line);
    look->node = NULL;
    return result;
}

int troupe__look_open(const struct troupe__look *look, struct troupe__reach *reach)
{
    return troupe__reach_begin(reach, &look->reach, look->command);
}

bool troupe__look_greet(const struct troupe__look *look, struct troupe__chorus *chorus,
                        const struct troupe__reach *reach)
{
    if (!chorus->voices && troupe__chorus_open(chorus, reach) != TROUPE_OK) {
        troupe__look_complain(look, "out of memory", TROUPE_ENOMEM);
        return false;
    }
    (void)troupe__chorus_greet(chorus, HELLO_MS);
    return true;
}

int troupe__look_at(struct troupe__look *look, unsigned tables, struct troupe_bytes prefix,
                    const struct troupe__look_address *address, troupe__look_fn show, void *context)
{
    struct troupe__reach reach;
    int code = troupe__look_open(look, &reach);
    if (code >= 0) {
        return code;
    }
    size_t owner = address ? troupe__reach_owner(&reach, address->type, address->key) : 0;
    for (size_t i = 0; i < reach.count; i++) {
        reach.nodes[i].listed = address ? i == owner : reach.nodes[i].listed;
    }
    struct troupe__chorus chorus = {.voices = NULL};
    bool good = troupe__look_greet(look, &chorus, &reach);
    for (size_t i = 0; chorus.voices && i < reach.count && !ferror(stdout); i++) {
        if (reach.nodes[i].listed) {
            good &= troupe__look_at_node(look, &chorus, i, tables, prefix, show, context) == TROUPE_OK;
        }
    }
    troupe__chorus_close(&chorus);
    troupe__reach_close(&reach);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
