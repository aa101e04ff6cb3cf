/* snapshot_leftovers.c - directories of snapshots that are being made, or whose maker was killed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whoever makes one holds a lock on its directory (files.h), which ends with its process, however that ends. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "runtime/files.h"
#include "runtime/snapshot.h"

bool troupe__snapshot_is_writing(const char *name)
{
    size_t size = strlen(name), suffix = strlen(TROUPE__SNAPSHOT_WRITING);
    return size > suffix && strcmp(name + size - suffix, TROUPE__SNAPSHOT_WRITING) == 0;
}

void troupe__snapshot_leftovers(const char *directory, bool remove, troupe__snapshot_leftover_fn found, void *context)
{
    DIR *open = opendir(directory);
    for (struct dirent *entry; open && (entry = readdir(open)) != NULL;) {
        char path[PATH_MAX], unused[512];
        if (entry->d_name[0] == '.' || !troupe__snapshot_is_writing(entry->d_name) ||
            troupe__files_join(path, directory, entry->d_name, "", unused, sizeof unused) != TROUPE_OK) {
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
