/* admission.c - whether a node may be started with a module: before anything in its directory is touched.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/admission.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/snapshot/upgrade.h"

static const char file_name[] = "specs";

static enum troupe_error encode(const struct troupe_module *module, struct troupe__buffer *ret, char *error,
                                size_t error_size)
{
    struct troupe__specs specs;
    struct troupe__actors actors;
    enum troupe_error result = troupe__actors_init(&actors, module, error, error_size); /* Is it a valid one? */
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__actors_fini(&actors);
    result = troupe__specs_of(module, &specs);
    if (result == TROUPE_OK) {
        troupe__specs_encode(&specs, ret);
        troupe__specs_fini(&specs);
    }
    if (result != TROUPE_OK || ret->failed) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    return TROUPE_OK;
}

/* Whether the file says that a module with these declarations ran last. */
static bool is_noted(const char *path, const struct troupe__buffer *specs)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool same = fstat(fd, &status) == 0 && (size_t)status.st_size == specs->size;
    char *bytes = same ? malloc(specs->size) : NULL;
    same =
        bytes && read(fd, bytes, specs->size) == (ssize_t)specs->size && memcmp(bytes, specs->data, specs->size) == 0;
    free(bytes);
    close(fd);
    return same;
}

/* What was declared when the data was written does not by itself say that all of it can be read. */
static bool leaves_doubt(const struct troupe__specs *then, const struct troupe__specs *now)
{
    for (size_t i = 0; i < now->count; i++) {
        const struct troupe__spec *item = &now->items[i];
        const struct troupe__spec *before = troupe__specs_find(then, item->what, item->type, item->name);
        if (before && troupe__specs_doubtful(before, item)) {
            return true;
        }
    }
    for (size_t i = 0; i < then->count; i++) { /* A message that is not declared is of version 0. */
        const struct troupe__spec *item = &then->items[i];
        if (item->what == TROUPE__SPEC_MESSAGE && item->version > 0 &&
            !troupe__specs_find(now, item->what, item->type, item->name)) {
            return true;
        }
    }
    return false;
}

static enum troupe_error compare_specs(const struct troupe_module *module, const char *data, bool *ret_doubt,
                                       char *error, size_t error_size)
{
    struct troupe__view view;
    struct troupe__specs then = {0}, now = {0};
    struct troupe_bytes name = {TROUPE__SPECS_ROW, strlen(TROUPE__SPECS_ROW)};
    enum troupe_error result = troupe__view_open(&view, data, false);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", view.error);
        return result;
    }
    result = troupe__view_scan(&view, TROUPE__META, name);
    result = result == TROUPE_OK ? troupe__view_replay(&view) : result;
    snprintf(error, error_size, "%s", view.error);
    if (result == TROUPE_OK) {
        troupe__view_settle(&view);
        const struct troupe__view_row *row = troupe__view_find(&view, TROUPE__META, name);
        snprintf(error, error_size, "%.200s: its row '%s' cannot be read: run troupe doctor", data, TROUPE__SPECS_ROW);
        result = row ? troupe__specs_decode(row->value, &then) : TROUPE_OK;
        result = result == TROUPE_OK ? troupe__specs_of(module, &now) : result;
        /* Rows without a word of what they are: a restored node that no node was before. */
        bool unknown = !row && view.store->last_epoch > 0;
        *ret_doubt = result == TROUPE_OK && (unknown || leaves_doubt(&then, &now));
        troupe__specs_fini(&then);
        troupe__specs_fini(&now);
    }
    troupe__view_close(&view);
    return result;
}

/* The first fault that keeps the module from reading what it declares. */
static enum troupe_error refuse(const struct troupe_module *module, const struct troupe__cut *cut,
                                const struct troupe__upgrade *found, char *error, size_t error_size)
{
    for (size_t i = 0; i < found->fault_count; i++) {
        const struct troupe__upgrade_fault *fault = &found->faults[i];
        if (fault->problem == TROUPE__UPGRADE_NEWER || fault->problem == TROUPE__UPGRADE_KIND_CHANGED) {
            char text[480];
            troupe__upgrade_describe(cut, fault, text, sizeof text);
            snprintf(error, error_size,
                     "module '%s' %s cannot read what is here: %s; nothing was changed; use the module that wrote it, "
                     "or a newer one (troupe snapshot check-upgrade tells more)",
                     module->name ? module->name : "", module->version ? module->version : "", text);
            return TROUPE_EVERSION;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error look_at_rows(const struct troupe_module *module, const char *data, char *error,
                                      size_t error_size)
{
    struct troupe__cut cut = {0};
    struct troupe__upgrade found = {0};
    const struct troupe__upgrade_options options = {.migrate = false};
    enum troupe_error result = troupe__cut_add_directory(&cut, "here", 0, data);
    result = result == TROUPE_OK ? troupe__cut_ready(&cut) : result;
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "%s", cut.error);
    } else {
        result = troupe__upgrade_check(module, &cut, &options, &found, error, error_size);
    }
    if (result == TROUPE_OK) {
        result = refuse(module, &cut, &found, error, error_size);
        troupe__upgrade_fini(&found);
    }
    troupe__cut_fini(&cut);
    return result;
}

enum troupe_error troupe__admission_ask(const struct troupe_module *module, const char *data, char *error,
                                        size_t error_size)
{
    char path[PATH_MAX];
    struct troupe__buffer specs = {0};
    bool doubt = false;
    enum troupe_error result = troupe__files_join(path, data, "tables.mdb", "", error, error_size);
    if (result != TROUPE_OK || access(path, F_OK)) {
        return result;
    }
    result = encode(module, &specs, error, error_size);
    result = result == TROUPE_OK ? troupe__files_join(path, data, file_name, "", error, error_size) : result;
    if (result == TROUPE_OK && !is_noted(path, &specs)) {
        result = compare_specs(module, data, &doubt, error, error_size);
        result = result == TROUPE_OK && doubt ? look_at_rows(module, data, error, error_size) : result;
    }
    troupe__buffer_free(&specs);
    return result;
}

static enum troupe_error write_file(const char *path, const struct troupe__buffer *specs, char *error,
                                    size_t error_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return troupe__files_fail("create", path, error, error_size);
    }
    enum troupe_error result = TROUPE_OK;
    errno = ENOSPC; /* What a short write means. */
    if (write(fd, specs->data, specs->size) != (ssize_t)specs->size || fsync(fd)) {
        result = troupe__files_fail("write", path, error, error_size);
    }
    close(fd);
    return result;
}

enum troupe_error troupe__admission_note(const struct troupe_module *module, const char *data, char *error,
                                         size_t error_size)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    struct troupe__buffer specs = {0};
    enum troupe_error result = encode(module, &specs, error, error_size);
    result = result == TROUPE_OK ? troupe__files_join(path, data, file_name, "", error, error_size) : result;
    result = result == TROUPE_OK ? troupe__files_join(fresh, data, file_name, ".new", error, error_size) : result;
    if (result == TROUPE_OK && !is_noted(path, &specs)) {
        result = write_file(fresh, &specs, error, error_size);
        if (result == TROUPE_OK && rename(fresh, path)) {
            result = troupe__files_fail("rename", fresh, error, error_size);
        }
        result = result == TROUPE_OK ? troupe__files_sync(data, error, error_size) : result;
    }
    troupe__buffer_free(&specs);
    return result;
}
