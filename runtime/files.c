/* files.c - paths, and directories that are made durable or removed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum troupe_error remove_directory(const char *path, int depth, char *error, size_t error_size);

enum troupe_error troupe__files_fail(const char *what, const char *path, char *error, size_t error_size)
{
    int code = errno;
    snprintf(error, error_size, "%s %s: %s", what, path, strerror(code));
    return code == ENOSPC || code == EDQUOT ? TROUPE_ENOSPACE : code == ENOENT ? TROUPE_ENOTFOUND : TROUPE_EIO;
}

enum troupe_error troupe__files_join(char path[static PATH_MAX], const char *directory, const char *name,
                                     const char *suffix, char *error, size_t error_size)
{
    if ((size_t)snprintf(path, PATH_MAX, "%s%s%s%s", directory, name[0] ? "/" : "", name, suffix) >= PATH_MAX) {
        snprintf(error, error_size, "the path %.100s... is too long", directory);
        return TROUPE_EINVAL;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__files_sync(const char *path, char *error, size_t error_size)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd)) {
        enum troupe_error result = troupe__files_fail("sync", path, error, error_size);
        if (fd >= 0) {
            close(fd);
        }
        return result;
    }
    close(fd);
    return TROUPE_OK;
}

static enum troupe_error remove_entries(DIR *directory, const char *path, int depth, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (struct dirent *entry; result == TROUPE_OK && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            unlinkat(dirfd(directory), entry->d_name, 0) == 0 || errno == ENOENT) {
            continue;
        }
        int code = errno;
        char below[PATH_MAX];
        if ((code == EISDIR || code == EPERM) && depth > 0 &&
            troupe__files_join(below, path, entry->d_name, "", error, error_size) == TROUPE_OK) {
            result = remove_directory(below, depth - 1, error, error_size);
        } else {
            errno = code;
            result = troupe__files_fail("remove a file of", path, error, error_size);
        }
    }
    return result;
}

static enum troupe_error remove_directory(const char *path, int depth, char *error, size_t error_size)
{
    DIR *directory = opendir(path);
    if (!directory) {
        return errno == ENOENT ? TROUPE_OK : troupe__files_fail("open", path, error, error_size);
    }
    enum troupe_error result = remove_entries(directory, path, depth, error, error_size);
    closedir(directory);
    if (result == TROUPE_OK && rmdir(path) && errno != ENOENT) {
        result = troupe__files_fail("remove", path, error, error_size);
    }
    return result;
}

enum troupe_error troupe__files_remove(const char *path, char *error, size_t error_size)
{
    return remove_directory(path, 1, error, error_size);
}

static enum troupe_error is_claimed(const char *path, char *error, size_t error_size)
{
    snprintf(error, error_size, "another process is writing %s: wait for it, or take another name", path);
    return TROUPE_EBUSY;
}

enum troupe_error troupe__files_lock(const char *path, int *ret_lock, char *error, size_t error_size)
{
    struct stat locked, there;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? is_claimed(path, error, error_size)
                               : troupe__files_fail("open", path, error, error_size);
    }
    /* Whoever had it may have removed it, and another may have made it anew, since it was opened. */
    if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &locked) || stat(path, &there) || locked.st_ino != there.st_ino) {
        close(fd);
        return is_claimed(path, error, error_size);
    }
    *ret_lock = fd;
    return TROUPE_OK;
}

enum troupe_error troupe__files_remove_dead(const char *path, char *error, size_t error_size)
{
    int lock;
    enum troupe_error result = troupe__files_lock(path, &lock, error, error_size);
    if (result == TROUPE_OK) {
        result = troupe__files_remove(path, error, error_size);
        close(lock);
    }
    return result;
}

/* Making a directory and locking it are two steps. In between another process may take it for one that a crash left, or
 * have a look whether it is one: so who has made it goes on trying for a moment. */
enum troupe_error troupe__files_claim(const char *path, int *ret_lock, char *error, size_t error_size)
{
    enum { TRIES = 50, PAUSE_NS = 1000000 };
    bool made = false;
    for (int i = 0; i < TRIES; i++) {
        enum troupe_error result =
            access(path, F_OK) == 0 ? troupe__files_remove_dead(path, error, error_size) : TROUPE_OK;
        if (result == TROUPE_OK && mkdir(path, 0700) == 0) {
            made = true;
            result = troupe__files_lock(path, ret_lock, error, error_size);
            if (result == TROUPE_OK) {
                return result;
            }
        } else if (result == TROUPE_OK) {
            result = errno == EEXIST ? is_claimed(path, error, error_size)
                                     : troupe__files_fail("create", path, error, error_size);
        }
        if (result != TROUPE_EBUSY || !made) {
            return result;
        }
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
    return is_claimed(path, error, error_size);
}

bool troupe__files_is_dead(const char *path)
{
    char unused[64];
    int lock;
    if (troupe__files_lock(path, &lock, unused, sizeof unused) != TROUPE_OK) {
        return false;
    }
    close(lock);
    return true;
}
