/* edit.c - the command `troupe snapshot edit`: a new snapshot that is an old one with changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/edit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cut_of.h"
#include "runtime/cli/options.h"
#include "runtime/cli/progress.h"
#include "runtime/snapshot/snapshot_edit.h"
#include "transport/json.h"

struct options {
    const char *data, *changes;
};

static const char *set_data(void *target, const char *value)
{
    ((struct options *)target)->data = value;
    return NULL;
}

static const char *set_changes(void *target, const char *value)
{
    ((struct options *)target)->changes = value;
    return NULL;
}

/* All lines of the file, or none: the first that is wrong ends it. */
static enum troupe_error apply_file(struct troupe__edit *edit, const char *path, char *error, size_t error_size)
{
    bool is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    struct troupe__buffer change = {0};
    enum troupe_error result = TROUPE_OK;
    if (!file) {
        snprintf(error, error_size, "open %.400s: %s", path, strerror(errno));
        return errno == ENOENT ? TROUPE_ENOTFOUND : TROUPE_EIO;
    }
    for (uint64_t number = 1; result == TROUPE_OK && (size = getline(&line, &capacity, file)) >= 0; number++) {
        char text[256];
        if (strspn(line, " \t\r\n") == (size_t)size) {
            continue;
        }
        change.size = 0;
        result = troupe__json_parse(line, (size_t)size, &change, text, sizeof text);
        if (result != TROUPE_OK) {
            snprintf(error, error_size, "%.200s:%" PRIu64 ": %s", path, number, text);
        } else if ((result = troupe__edit_change(edit, (struct troupe_bytes){change.data, change.size})) != TROUPE_OK) {
            snprintf(error, error_size, "%.200s:%" PRIu64 ": %.400s", path, number, edit->error);
        }
    }
    if (result == TROUPE_OK && ferror(file)) {
        snprintf(error, error_size, "read %.400s: %s", path, strerror(errno));
        result = TROUPE_EIO;
    }
    free(line);
    troupe__buffer_free(&change);
    if (!is_input) {
        fclose(file);
    }
    return result;
}

int troupe__edit(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"data", "DIR", set_data, "the node's directory, where named snapshots stand (default: troupe-data)"},
        {"changes", "FILE|-", set_changes, "JSON lines, a change each (default: -)"},
        {0},
    };
    struct options options = {.data = "troupe-data", .changes = "-"};
    const struct troupe__command command = {
        .name = "snapshot edit",
        .usage =
            "usage: troupe snapshot edit SNAPSHOT NEW [--changes FILE]\n\n"
            "Makes the new snapshot NEW, which is SNAPSHOT with changes: to repair what is wrong, or to give a\n"
            "troupe a history to begin with. SNAPSHOT stays as it is. A change is a line, one of\n"
            "  {\"do\":\"set\",\"actor\":\"bank/account/a\",\"value\":\"balance\",\"data\":5}\n"
            "  {\"do\":\"set\",\"actor\":\"shop/cart/a\",\"value\":\"items\",\"element\":\"pen\",\"data\":{\"n\":1}}\n"
            "    \"index\":N instead of \"element\": of a list, from 0; \"append\":true: another one at its end\n"
            "  {\"do\":\"clear\",\"actor\":\"bank/account/a\",\"value\":\"balance\"}     without value: all of it;\n"
            "    with \"element\": that one of a map\n"
            "  {\"do\":\"send\",\"to\":\"bank/account/a\",\"type\":\"deposit\",\"body\":{..}}   it waits, behind all\n"
            "    with \"from\":ACTOR; \"due_ms\":TIME, it is delayed; \"in_flight\":true, it is on its way from the\n"
            "    node of \"from\" to that of \"to\", behind all that are\n"
            "    \"dead\":REASON, it is a dead letter\n"
            "  {\"do\":\"drop\",\"table\":\"mail\",\"node\":\"n1\",\"number\":7}     also outbox (what is on its way, "
            "with\n"
            "    \"to_node\"), timer, dead, job; ...\n"
            "  {\"do\":\"drop\",\"table\":\"mail\",\"to\":\"bank/account/a\",\"type\":\"deposit\"}   ... all that fit\n"
            "  {\"do\":\"set\",\"input\":\"/PATH\",\"line\":120,\"node\":\"n1\"}   it goes on behind this line of the "
            "input;\n"
            "    the file is read for that, or \"offset\":BYTES says where it ends; \"do\":\"clear\": from its "
            "beginning\n"
            "    links in /PATH are followed if the file is here; nodes know it by the path without any\n"
            "  {\"do\":\"set\",\"egress\":\"NAME\",\"next\":121,\"node\":\"n1\"}    the number of its next record\n"
            "Kinds and versions are what the module declared that wrote the snapshot; \"version\" says another.\n",
        .after = "If a line is wrong there is no new snapshot.\n"
                 "Exit codes: 0 done, 1 failed, 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (argc - operand != 2) {
        return troupe__wrong_operands(command.name, "name a snapshot and a new one", argv + operand, argc - operand, 2);
    }
    char path[PATH_MAX], target[PATH_MAX], error[700] = "";
    struct troupe__progress_rows shown = {{.command = command.name}, "reading", 0};
    struct troupe__edit edit = {.progress = troupe__progress_rows, .progress_context = &shown};
    troupe__cut_of_path(options.data, argv[operand], path);
    troupe__cut_of_path(options.data, argv[operand + 1], target);
    enum troupe_error result = troupe__edit_open(&edit, path);
    troupe__progress_end(&shown.progress);
    result = result == TROUPE_OK ? apply_file(&edit, options.changes, error, sizeof error) : result;
    shown.what = "writing";
    shown.all = troupe__snapshot_row_count(&edit.snapshot);
    result = result == TROUPE_OK ? troupe__edit_write(&edit, target) : result;
    troupe__progress_end(&shown.progress);
    if (result == TROUPE_OK) {
        printf("%s: %" PRIu64 " rows changed\n", target, edit.changes);
    } else {
        troupe__failed(command.name, error[0] ? error : edit.error, result);
    }
    troupe__edit_fini(&edit);
    return result == TROUPE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
