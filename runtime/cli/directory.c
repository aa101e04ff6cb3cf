/* directory.c - whether a directory that a command was given is that of a node or a troupe, and what it is instead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/directory.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/client.h"

static bool has(const char *data, const char *name, const char *file)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/%s%s%s", data, name, *file ? "/" : "", file) < sizeof path &&
           access(path, F_OK) == 0;
}

static enum troupe_error fail_access(const char *data, const struct stat *status, char *error, size_t error_size)
{
    const struct passwd *owner = getpwuid(status->st_uid);
    char number[24];
    snprintf(number, sizeof number, "user %lu", (unsigned long)status->st_uid);
    snprintf(error, error_size, "%.300s cannot be looked into: it belongs to %s; run this as its owner", data,
             owner ? owner->pw_name : number);
    return TROUPE_EIO;
}

bool troupe__directory_is_snapshot(const char *data)
{
    return has(data, "manifest", "");
}

/* What is in it. */
static enum troupe_error fail_content(const char *data, char *error, size_t error_size)
{
    bool snapshots = false, empty = true;
    DIR *directory = opendir(data);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            empty = false;
            snapshots = snapshots || has(data, entry->d_name, "manifest");
        }
    }
    if (directory) {
        closedir(directory);
    }
    if (troupe__directory_is_snapshot(data)) {
        snprintf(error, error_size,
                 "%.300s is a snapshot, not the directory of a node: see troupe snapshot show, and troupe restore",
                 data);
    } else if (snapshots) {
        snprintf(error, error_size,
                 "%.300s holds snapshots, not a node or a troupe: see troupe snapshot list --to, and troupe restore",
                 data);
    } else if (empty) {
        snprintf(error, error_size, "%.300s is empty: no node has run there; name another --data", data);
    } else {
        snprintf(error, error_size,
                 "%.300s is not a node's directory: it has neither tables.mdb nor cluster.yaml; name another --data",
                 data);
    }
    return TROUPE_ENOTFOUND;
}

enum troupe_error troupe__directory_check(const char *data, char *error, size_t error_size)
{
    struct stat status;
    if (stat(data, &status)) {
        int code = errno;
        snprintf(error, error_size, "%.300s: %s; name the directory of a node or a troupe with --data", data,
                 strerror(code));
        return code == ENOENT || code == ENOTDIR ? TROUPE_ENOTFOUND : TROUPE_EIO;
    }
    if (!S_ISDIR(status.st_mode)) {
        snprintf(error, error_size, "%.300s is a file, not the directory of a node or a troupe: name that with --data",
                 data);
        return TROUPE_ENOTFOUND;
    }
    if (access(data, R_OK | X_OK)) {
        return fail_access(data, &status, error, error_size);
    }
    /* A node that has just begun has no tables yet. */
    bool lives = has(data, "cluster.yaml", "") || has(data, "tables.mdb", "") || troupe__node_runs(data);
    return lives ? TROUPE_OK : fail_content(data, error, error_size);
}
