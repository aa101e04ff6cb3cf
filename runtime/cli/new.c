/* new.c - `troupe new`: a project that builds, runs and is tested.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/new.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/options.h"

enum { NAME_MAX_SIZE = 40 };

static const char place_holder[] = "@NAME@";

static const struct troupe__option options[] = {{0}};

static const char usage[] =
    "usage: troupe new NAME\n"
    "\n"
    "Makes the directory NAME with a project: a module with one actor, a Makefile, a test, a README and a\n"
    ".gitignore. NAME is also the first part of its actors' addresses: lower-case letters, digits and _,\n"
    "a letter first, at most 40 bytes.\n";

static const char after[] =
    "Examples:\n"
    "  troupe new shop && cd shop && make test\n"
    "  troupe new shop && cd shop && make test TROUPE_DIR=/where/troupe/was/built   # when it is not installed\n"
    "\n"
    "Exit codes: 0 done, 1 it could not be written, 2 wrong arguments.\n";

static bool is_name(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return name[0] >= 'a' && name[0] <= 'z' && name[size] == '\0' && size <= NAME_MAX_SIZE;
}

/* Write `text` with the name put in. */
static void put(FILE *file, const char *text, const char *name)
{
    for (const char *at; (at = strstr(text, place_holder)); text = at + strlen(place_holder)) {
        fwrite(text, 1, (size_t)(at - text), file);
        fputs(name, file);
    }
    fputs(text, file);
}

static void path_of(const struct troupe__new_file *file, const char *name, char *path, size_t size)
{
    bool named = strncmp(file->name, place_holder, strlen(place_holder)) == 0;
    snprintf(path, size, "%s/%s%s", name, named ? name : "", file->name + (named ? strlen(place_holder) : 0));
}

static bool write_file(const struct troupe__new_file *new_file, const char *name)
{
    char path[PATH_MAX];
    path_of(new_file, name, path, sizeof path);
    FILE *file = fopen(path, "wxe");
    if (!file) {
        return false;
    }
    put(file, new_file->text, name);
    bool failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    mode_t mask = umask(0);
    umask(mask);
    return !failed && (!new_file->executable || chmod(path, 0777 & ~mask) == 0);
}

static void remove_files(const char *name)
{
    char path[PATH_MAX];
    for (const struct troupe__new_file *file = troupe__new_files; file->name; file++) {
        path_of(file, name, path, sizeof path);
        unlink(path);
    }
    rmdir(name);
}

int troupe__new(int argc, char **argv)
{
    const struct troupe__command command = {"new", usage, after, options, NULL, NULL};
    int operands;
    int code = troupe__options_parse(&command, argc, argv, &operands);
    if (code >= 0) {
        return code;
    }
    if (operands == argc) {
        fprintf(stderr, "troupe new: a name is missing; see troupe new --help\n");
        return TROUPE__EXIT_WRONG;
    }
    if (operands + 1 < argc) {
        return troupe__wrong("new", "one argument too many:", argv[operands + 1]);
    }
    const char *name = argv[operands];
    if (!is_name(name)) {
        return troupe__wrong("new", "a name is lower-case letters, digits and _, a letter first, not", name);
    }
    if (mkdir(name, 0777) != 0) {
        fprintf(stderr, "troupe new: %s: %s\n", name,
                errno == EEXIST ? "is there already: take another name, or remove it" : strerror(errno));
        return EXIT_FAILURE;
    }
    for (const struct troupe__new_file *file = troupe__new_files; file->name; file++) {
        if (!write_file(file, name)) {
            fprintf(stderr, "troupe new: %s: cannot be written: %s; nothing is left\n", name, strerror(errno));
            remove_files(name);
            return EXIT_FAILURE;
        }
    }
    printf("%s is there: cd %s && make test\n", name, name);
    return EXIT_SUCCESS;
}
