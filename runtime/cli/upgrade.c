/* upgrade.c - the command `troupe snapshot check-upgrade`: what would fail, told before it does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/upgrade.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cut_of.h"
#include "runtime/cli/module.h"
#include "runtime/cli/options.h"
#include "runtime/snapshot/upgrade.h"
#include "transport/json.h"

struct options {
    const char *data;
    bool json, allow_gone;
};

static const char *set_data(void *target, const char *value)
{
    ((struct options *)target)->data = value;
    return NULL;
}

static const char *set_json(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->json = true;
    return NULL;
}

static const char *set_allow_gone(void *target, const char *value)
{
    (void)value;
    ((struct options *)target)->allow_gone = true;
    return NULL;
}

static void put_member(struct troupe__buffer *json, const char *name, const void *text, size_t size)
{
    troupe__buffer_put(json, name, strlen(name));
    troupe__json_write_string(text, size, json);
}

static void put_text(struct troupe__buffer *json, const char *name, const char *text)
{
    put_member(json, name, text, strlen(text));
}

static void put_count(struct troupe__buffer *json, const char *name, uint64_t count)
{
    troupe__buffer_put(json, name, strlen(name));
    troupe__json_write_number(count, json);
}

static void put_fault(struct troupe__buffer *json, const struct troupe__cut *cut,
                      const struct troupe__upgrade_fault *fault)
{
    put_text(json, "{\"problem\":", troupe__upgrade_problem_name(fault->problem));
    put_text(json, ",\"what\":",
             fault->problem == TROUPE__UPGRADE_TYPE_GONE  ? "type"
             : fault->problem == TROUPE__UPGRADE_JOB_GONE ? "job"
             : fault->is_message                          ? "message"
                                                          : "value");
    put_text(json, ",\"type\":", fault->type);
    put_text(json, ",\"name\":", fault->name);
    put_count(json, ",\"rows\":", fault->count);
    put_text(json, ",\"text\":", fault->text);
    put_text(json, ",\"first\":{\"node\":", cut->nodes[fault->node].name);
    put_text(json, ",\"table\":", troupe__view_table_names[fault->table]);
    put_text(json, ",\"key\":", fault->key);
    if (fault->element_size > 0) {
        put_member(json, ",\"element\":", fault->element, fault->element_size);
    }
    troupe__buffer_put(json, "}}", 2);
}

static void print_json(const struct troupe_module *module, const struct troupe__cut *cut,
                       const struct troupe__upgrade *found, bool good)
{
    struct troupe__buffer json = {0};
    put_text(&json, "{\"module\":", module->name ? module->name : "");
    put_text(&json, ",\"version\":", module->version ? module->version : "");
    put_count(&json, ",\"values\":", found->values);
    put_count(&json, ",\"messages\":", found->messages);
    put_count(&json, ",\"migrated\":", found->migrated);
    troupe__buffer_put(&json, ",\"faults\":[", 11);
    for (size_t i = 0; i < found->fault_count; i++) {
        troupe__buffer_put(&json, ",", i ? 1 : 0);
        put_fault(&json, cut, &found->faults[i]);
    }
    printf("%.*s],\"good\":%s}\n", (int)json.size, (const char *)json.data, good ? "true" : "false");
    troupe__buffer_free(&json);
}

static void print(const struct troupe_module *module, const struct troupe__cut *cut,
                  const struct troupe__upgrade *found, bool good)
{
    for (size_t i = 0; i < found->fault_count; i++) {
        char text[700];
        troupe__upgrade_describe(cut, &found->faults[i], text, sizeof text);
        printf("%s: %s\n", troupe__upgrade_problem_name(found->faults[i].problem), text);
    }
    printf("module %s %s %s: %" PRIu64 " rows of values and %" PRIu64 " messages looked at, %" PRIu64
           " migrated, %zu kinds of trouble\n",
           module->name ? module->name : "", module->version ? module->version : "",
           good ? "can go on here" : "cannot go on here", found->values, found->messages, found->migrated,
           found->fault_count);
}

static bool is_good(const struct options *options, const struct troupe__upgrade *found)
{
    for (size_t i = 0; i < found->fault_count; i++) {
        enum troupe__upgrade_problem problem = found->faults[i].problem;
        bool gone = problem == TROUPE__UPGRADE_TYPE_GONE || problem == TROUPE__UPGRADE_VALUE_GONE ||
                    problem == TROUPE__UPGRADE_JOB_GONE;
        if (!gone || !options->allow_gone) {
            return false;
        }
    }
    return true;
}

int troupe__check_upgrade(int argc, char **argv)
{
    static const struct troupe__option options_table[] = {
        {"data", "DIR", set_data, "the node's directory, where named snapshots stand (default: troupe-data)"},
        {"allow-gone", NULL, set_allow_gone, "what the module does not declare any more is no failure"},
        {"json", NULL, set_json, "print JSON"},
        {0},
    };
    struct options options = {.data = "troupe-data"};
    const struct troupe__command command = {
        .name = "snapshot check-upgrade",
        .usage = "usage: troupe snapshot check-upgrade SNAPSHOT|DIR MODULE.so\n\n"
                 "Tells what would fail if the module went on from a snapshot, or from the directory of a node or\n"
                 "troupe that does not run: types, values and jobs that it does not declare, values of another\n"
                 "kind, values and messages of a newer version, and migrations that fail: all of them are run\n"
                 "over all the data, on all cores. The first bad row of each is shown. Nothing is changed.\n",
        .after = "Exit codes: 0 it can go on, 1 it cannot, or failed, 2 wrong arguments.\n",
        .options = options_table,
        .target = &options,
    };
    int operand;
    int code = troupe__options_parse(&command, argc, argv, &operand);
    if (code >= 0) {
        return code;
    }
    if (argc - operand != 2) {
        return troupe__wrong_operands(command.name, "name a snapshot or directory, and a module", argv + operand,
                                      argc - operand, 2);
    }
    char error[640];
    struct troupe__cut cut;
    struct troupe__upgrade found;
    const struct troupe_module *module = troupe__module_load(command.name, argv[operand + 1]);
    if (!module) {
        return EXIT_FAILURE;
    }
    struct troupe__progress_rows shown = {.progress = {.command = command.name}};
    enum troupe_error result = troupe__cut_of(options.data, argv[operand], &shown, &cut, error, sizeof error);
    if (result != TROUPE_OK) {
        return troupe__failed(command.name, error, result);
    }
    const struct troupe__upgrade_options how = {.migrate = true};
    shown.what = "checking";
    result = troupe__upgrade_check(module, &cut, &how, &found, error, sizeof error);
    troupe__progress_end(&shown.progress);
    if (result != TROUPE_OK) {
        troupe__cut_fini(&cut);
        return troupe__failed(command.name, error, result);
    }
    bool good = is_good(&options, &found);
    if (options.json) {
        print_json(module, &cut, &found, good);
    } else {
        print(module, &cut, &found, good);
    }
    troupe__upgrade_fini(&found);
    troupe__cut_fini(&cut);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
