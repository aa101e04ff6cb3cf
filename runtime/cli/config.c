/* config.c - the options of a command from a YAML file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/config.h"

#include <string.h>

#include "runtime/cli/yaml.h"

static const struct troupe__option *find(const struct troupe__command *command, const char *name)
{
    const struct troupe__option *option = command->options;
    while (option->name && strcmp(option->name, name) != 0) {
        option++;
    }
    return option->name && strcmp(name, "config") != 0 ? option : NULL;
}

static int fail(const struct troupe__command *command, const char *path, const struct troupe__yaml *node)
{
    fprintf(stderr, "troupe %s: %s:%u: ", command->name, path, node->line);
    return TROUPE__EXIT_WRONG;
}

static int take(const struct troupe__command *command, const char *path, const struct troupe__yaml *node)
{
    const struct troupe__option *option = find(command, node->key);
    if (!option) {
        const char *near = troupe__nearest(node->key, command->options, sizeof *command->options);
        int code = fail(command, path, node);
        fprintf(stderr, "there is no option '%s'%s%s; see troupe %s --help\n", node->key, near ? ", but " : "",
                near ? near : "", command->name);
        return code;
    }
    bool optional = option->argument && option->argument[0] == '[', truth;
    const char *wanted = NULL;
    if ((!option->argument || optional) && troupe__yaml_bool(node, &truth)) {
        wanted = truth ? option->set(command->target, NULL) : NULL;
    } else if (!option->argument) {
        wanted = "true or false";
    } else if (!troupe__yaml_is_text(node)) {
        wanted = optional ? "true, false or a text" : "a text (in quotes, if it is a word like true)";
    } else {
        wanted = option->set(command->target, node->text);
    }
    if (!wanted) {
        return -1;
    }
    int code = fail(command, path, node);
    fprintf(stderr, "%s takes %s, not %s%s%s\n", node->key, wanted, node->text ? "'" : "",
            node->text                       ? node->text
            : node->kind == TROUPE__YAML_MAP ? "a map"
                                             : "a list",
            node->text ? "'" : "");
    return code;
}

int troupe__config_read(const struct troupe__command *command, const char *path)
{
    static struct troupe__yaml *kept; /* Options point into it. */
    struct troupe__yaml *root;
    char error[512];
    if (troupe__yaml_read(path, &root, error, sizeof error) != TROUPE_OK) {
        fprintf(stderr, "troupe %s: configuration %s\n", command->name, error);
        return TROUPE__EXIT_WRONG;
    }
    root->next = kept;
    kept = root;
    int code = -1;
    for (const struct troupe__yaml *node = root->first; node && code < 0; node = node->next) {
        code = take(command, path, node);
    }
    return code;
}
