/* options.c - the options of a command: one table for its command line, its --help and a configuration file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 48, FIRST_VALUE = 256, WORD_MAX = 32, HELP_COLUMN = 26 };

int troupe__wrong(const char *command, const char *what, const char *argument)
{
    fprintf(stderr, "troupe %s: %s '%s'; see troupe %s --help\n", command, what, argument, command);
    return TROUPE__EXIT_WRONG;
}

int troupe__failed(const char *command, const char *text, enum troupe_error error)
{
    fprintf(stderr, "troupe %s: %s (%s)\n", command, text, troupe_error_text(error));
    return EXIT_FAILURE;
}

int troupe__wrong_operands(const char *command, const char *what, char **operands, int count, int wanted)
{
    if (count > wanted) {
        return troupe__wrong(command, "one argument too many:", operands[wanted]);
    }
    fprintf(stderr, "troupe %s: %s; see troupe %s --help\n", command, what, command);
    return TROUPE__EXIT_WRONG;
}

/* ---- what was meant? --------------------------------------------------------------------------------------------- */

/* Letters to put in, take out or change (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], a_size = strlen(a), b_size = strlen(b);
    if (a_size > WORD_MAX || b_size > WORD_MAX) {
        return WORD_MAX;
    }
    for (size_t j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[b_size];
}

const char *troupe__nearest(const char *word, const void *names, size_t stride)
{
    const char *nearest = NULL;
    size_t least = strlen(word) / 3 + 1;
    for (const char *at = names; *(const char *const *)at; at += stride) {
        const char *name = *(const char *const *)at;
        size_t apart = distance(word, name);
        if (apart <= least && (!nearest || apart < least)) {
            least = apart;
            nearest = name;
        }
    }
    return nearest;
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

static bool takes_optional(const struct troupe__option *option)
{
    return option->argument && option->argument[0] == '[';
}

static void print_option(const char *name, const char *argument, const char *help)
{
    char left[80];
    snprintf(left, sizeof left, "  --%s%s%s", name, argument && argument[0] != '[' ? " " : "",
             argument ? argument : "");
    bool fits = strlen(left) < HELP_COLUMN - 1;
    printf("%-*s", fits ? HELP_COLUMN : 0, left);
    for (bool first = fits; *help; first = false) {
        size_t size = strcspn(help, "\n");
        printf("%s%*s%.*s", first ? "" : "\n", first ? 0 : HELP_COLUMN, "", (int)size, help);
        help += size + (help[size] == '\n');
    }
    putchar('\n');
}

static int print_help(const struct troupe__command *command)
{
    fputs(command->usage, stdout);
    puts("\nOptions:");
    for (const struct troupe__option *option = command->options; option->name; option++) {
        print_option(option->name, option->argument, option->help);
    }
    print_option("help", NULL, "print this");
    printf("\n%s", command->after);
    return EXIT_SUCCESS;
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static int complain(const struct troupe__command *command, int found, char *const *argv)
{
    char what[160];
    if (optopt >= FIRST_VALUE) {
        const struct troupe__option *option = &command->options[optopt - FIRST_VALUE];
        snprintf(what, sizeof what, "%s is missing behind", option->argument);
        if (found == '?') {
            snprintf(what, sizeof what, "a switch takes no argument:");
        }
        return troupe__wrong(command->name, what, argv[optind - 1]);
    }
    if (optopt) {
        char letter[] = {'-', (char)optopt, '\0'};
        return troupe__wrong(command->name, "there is no option", letter);
    }
    char word[WORD_MAX + 1];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(argv[optind - 1] + 2, "="), argv[optind - 1] + 2);
    size_t same = 0;
    for (const struct troupe__option *option = command->options; option->name; option++) {
        same += strncmp(option->name, word, strlen(word)) == 0;
    }
    const char *near = troupe__nearest(word, command->options, sizeof *command->options);
    if (same > 1) {
        return troupe__wrong(command->name, "more than one option begins with", argv[optind - 1]);
    }
    fprintf(stderr, "troupe %s: there is no option '--%s'%s%s; see troupe %s --help\n", command->name, word,
            near ? ", but --" : "", near ? near : "", command->name);
    return TROUPE__EXIT_WRONG;
}

static int take(const struct troupe__command *command, const struct troupe__option *option, const char *value)
{
    const char *wanted = option->set(command->target, value);
    char what[200];
    if (!wanted) {
        return -1;
    }
    snprintf(what, sizeof what, "--%s takes %s, not", option->name, wanted);
    return troupe__wrong(command->name, what, value ? value : "");
}

/* One walk over the command line; the first one only looks for --help and --config. */
static int walk(const struct troupe__command *command, int argc, char **argv, bool first)
{
    struct option long_options[OPTIONS_MAX + 2] = {0};
    size_t count = 0;
    for (; command->options[count].name; count++) {
        assert(count < OPTIONS_MAX);
        const struct troupe__option *option = &command->options[count];
        long_options[count] = (struct option){option->name,
                                              !option->argument        ? no_argument
                                              : takes_optional(option) ? optional_argument
                                                                       : required_argument,
                                              NULL, FIRST_VALUE + (int)count};
    }
    long_options[count] = (struct option){"help", no_argument, NULL, 'h'};
    opterr = 0;
    optind = 0; /* GNU: start again. */
    for (int found; (found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1;) {
        if (found == 'h') {
            return print_help(command);
        }
        if (found == '?' || found == ':') {
            return complain(command, found, argv);
        }
        const struct troupe__option *option = &command->options[found - FIRST_VALUE];
        bool config = command->read_config && strcmp(option->name, "config") == 0;
        int code =
            first == config ? (config ? command->read_config(command, optarg) : take(command, option, optarg)) : -1;
        if (code >= 0) {
            return code;
        }
    }
    return -1;
}

int troupe__options_parse(const struct troupe__command *command, int argc, char **argv, int *ret_operands)
{
    int code = walk(command, argc, argv, true);
    code = code < 0 ? walk(command, argc, argv, false) : code;
    *ret_operands = optind;
    return code;
}
