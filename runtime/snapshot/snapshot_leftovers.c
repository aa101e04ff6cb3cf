/* snapshot_leftovers.c - directories of snapshots that are being made or deleted, or were when that was killed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whoever makes or deletes one holds a lock on its directory (files.h), which ends with its process, however that ends.
 */
#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "runtime/files.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/snapshot_stream.h"

bool troupe__snapshot_is_writing(const char *name)
{
    size_t size = strlen(name), suffix = strlen(TROUPE__SNAPSHOT_WRITING);
    return size > suffix && strcmp(name + size - suffix, TROUPE__SNAPSHOT_WRITING) == 0;
}

/* The directory may be one for other things too: whether this one holds what a snapshot does, and nothing else. */
static bool is_ours(const char *path)
{
    DIR *open = opendir(path);
    bool ours = open != NULL;
    for (struct dirent *entry; ours && (entry = readdir(open)) != NULL;) {
        const char *name = entry->d_name, *end = name + strlen(name);
        bool part = strncmp(name, "node-", 5) == 0 && end - name > 10 && strcmp(end - 5, ".part") == 0;
        ours = part || strcmp(name, TROUPE__SNAPSHOT_MANIFEST) == 0 ||
               strcmp(name, TROUPE__SNAPSHOT_MANIFEST_NEW) == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    }
    if (open) {
        closedir(open);
    }
    return ours;
}

void troupe__snapshot_leftovers(const char *directory, bool remove, troupe__snapshot_leftover_fn found, void *context)
{
    DIR *open = opendir(directory);
    for (struct dirent *entry; open && (entry = readdir(open)) != NULL;) {
        char path[PATH_MAX], unused[512];
        if (entry->d_name[0] == '.' || !troupe__snapshot_is_writing(entry->d_name) ||
            troupe__files_join(path, directory, entry->d_name, "", unused, sizeof unused) != TROUPE_OK ||
            !is_ours(path)) {
            continue;
        }
        bool is_dead =
            remove ? troupe__files_remove_dead(path, unused, sizeof unused) == TROUPE_OK : troupe__files_is_dead(path);
        found(context, entry->d_name, is_dead);
    }
    if (open) {
        closedir(open);
    }
}
