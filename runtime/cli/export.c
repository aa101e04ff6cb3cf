/* export.c - the command `troupe snapshot export`: all rows of a snapshot, one JSON object a line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/cut_of.h"
#include "runtime/cli/options.h"
#include "runtime/cli/row_json.h"

struct options {
    const char *data;
    unsigned tables;
};

static const char *set_data(void *target, const char *value)
{
    ((struct options *)target)->data = value;
    return NULL;
}

static const char *set_json(void *target, const char *value)
{
    (void)target, (void)value; /* There is no other form yet; who says it will not be surprised by one. */
    return NULL;
}

static const char *set_table(void *target, const char *value)
{
    struct options *options = target;
    for (unsigned table = 0; table < TROUPE__TABLE_COUNT; table++) {
        if (strcmp(troupe__view_table_names[table], value) == 0) {
            options->tables |= 1u << table;
            return NULL;
        }
    }
    return "meta, state, mail, timer, dead, egress, job, response, outbox or sweep";
}

static enum troupe_error print_rows(const struct troupe__cut *cut, unsigned tables, struct troupe__actors *actors,
                                    char *error, size_t error_size)
{
    struct troupe__cut_walk walk;
    struct troupe__cut_row row;
    struct troupe__buffer line = {0};
    enum troupe_error result;
    troupe__cut_walk_begin(&walk, cut, tables);
    while ((result = troupe__cut_next(&walk, &row)) == TROUPE_OK) {
        line.size = 0;
        troupe__row_json(cut, &row, actors, &line);
        troupe__buffer_put_byte(&line, '\n');
        if (line.failed) {
            snprintf(walk.error, sizeof walk.error, "out of memory");
            result = TROUPE_ENOMEM;
            break;
        }
        if (fwrite(line.data, 1, line.size, stdout) != line.size) {
            break; /* Said at the end. */
        }
    }
    snprintf(error, error_size, "%s", walk.error);
    troupe__cut_walk_end(&walk);
    troupe__buffer_free(&line);
    if ((result == TROUPE_OK || result == TROUPE_ENOTFOUND) && (fflush(stdout) || ferror(stdout))) {
        snprintf(error, error_size, "write: %s", strerror(errno));
        return errno == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

int troupe__export(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"data", "DIR", set_data, "the node's directory, where named snapshots stand (default: troupe-data)"},
        {"table", "NAME", set_table, "only this table; may be repeated: state, mail, timer, dead, outbox, job, ..."},
        {"json", NULL, set_json, "JSON objects, which is all there is"},
        {0},
    };
    struct options options = {.data = "troupe-data"};
    const struct troupe__command command = {
        .name = "snapshot export",
        .usage = "usage: troupe snapshot export SNAPSHOT|DIR [--table NAME]... [--json]\n\n"
                 "Prints all rows, each as a JSON object on a line of its own, as they are read: values, waiting and\n"
                 "delayed messages, dead letters, messages between nodes, jobs.\n",
        .after =
            "Example: what do the accounts hold?\n"
            "  troupe snapshot export monday --table state | jq -r 'select(.value==\"balance\") | [.actor, .data]'\n"
            "Exit codes: 0 done, 1 failed or damaged, 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (argc - operand != 1) {
        return troupe__wrong_operands(command.name, "name a snapshot or directory", argv + operand, argc - operand, 1);
    }
    static const struct troupe_module no_module = {.abi = TROUPE_ABI, .name = "none"};
    char error[640];
    struct troupe__cut cut;
    struct troupe__actors actors;
    struct troupe__progress_rows shown = {.progress = {.command = command.name}};
    bool shows = !isatty(STDOUT_FILENO); /* There the rows say how far it is. */
    enum troupe_error result =
        troupe__cut_of(options.data, argv[operand], shows ? &shown : NULL, &cut, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed(command.name, error, result);
    }
    result = troupe__actors_init(&actors, &no_module, error, sizeof error);
    if (result == TROUPE_OK) {
        unsigned tables = options.tables ? options.tables : (1u << TROUPE__TABLE_COUNT) - 1;
        shown.what = "exporting";
        shown.all = troupe__cut_rows(&cut, tables);
        result = print_rows(&cut, tables, &actors, error, sizeof error);
        troupe__progress_end(&shown.progress);
        troupe__actors_fini(&actors);
    }
    troupe__cut_fini(&cut);
    return result == TROUPE_OK ? EXIT_SUCCESS : troupe__failed(command.name, error, result);
}
