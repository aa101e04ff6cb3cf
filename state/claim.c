/* claim.c - who has a node's directory open: one owner, or any number of readers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "state/lmdb_env.h"

static enum troupe_error lock(int fd, const char *directory, bool shared, char *error, size_t error_size)
{
    char pid[32] = "";
    if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) {
        return TROUPE_OK;
    }
    int code = errno;
    if (code != EWOULDBLOCK) {
        snprintf(error, error_size, "open store %s: flock: %s: use a local file system", directory, strerror(code));
        return TROUPE_EIO;
    }
    ssize_t length = pread(fd, pid, sizeof pid - 1, 0);
    size_t digits = length > 0 ? strspn(pid, "0123456789") : 0;
    pid[digits] = '\0';
    snprintf(error, error_size, "open store %s: process %s uses it: stop that one first", directory,
             digits > 0 ? pid : "(unknown: its lock was removed)");
    return TROUPE_EBUSY;
}

static enum troupe_error write_pid(int fd, const char *directory, char *error, size_t error_size)
{
    char pid[32];
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)length, 0) < 0) {
        snprintf(error, error_size, "open store %s: write its lock: %s", directory, strerror(errno));
        return troupe__lmdb_error(errno);
    }
    return TROUPE_OK;
}

enum troupe_error troupe__claim_take(struct troupe__claim *claim, const char *directory, bool shared, char *error,
                                     size_t error_size)
{
    char path[PATH_MAX];
    *claim = (struct troupe__claim){-1, -1};
    if ((size_t)snprintf(path, sizeof path, "%s/lock", directory) >= sizeof path) {
        snprintf(error, error_size, "open store %s: the path is too long", directory);
        return TROUPE_EINVAL;
    }
    claim->lock_fd = open(path, shared ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (claim->lock_fd < 0 && shared && errno == ENOENT) { /* A copy of the files is readable too. */
        return troupe__claim_tables(claim, directory, shared, error, error_size);
    }
    if (claim->lock_fd < 0) {
        snprintf(error, error_size, "open store %s: lock: %s: this user must be able to write there", directory,
                 strerror(errno));
        return troupe__lmdb_error(errno);
    }
    enum troupe_error result = lock(claim->lock_fd, directory, shared, error, error_size);
    result = result == TROUPE_OK ? troupe__claim_tables(claim, directory, shared, error, error_size) : result;
    if (result == TROUPE_OK && !shared) {
        result = write_pid(claim->lock_fd, directory, error, error_size);
    }
    if (result != TROUPE_OK) {
        troupe__claim_release(claim);
    }
    return result;
}

enum troupe_error troupe__claim_tables(struct troupe__claim *claim, const char *directory, bool shared, char *error,
                                       size_t error_size)
{
    char path[PATH_MAX];
    if (claim->tables_fd >= 0 || (size_t)snprintf(path, sizeof path, "%s/tables.mdb", directory) >= sizeof path) {
        return TROUPE_OK;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return TROUPE_OK; /* It is not there yet; or whoever opens it to use it will say what is wrong. */
    }
    enum troupe_error result = lock(fd, directory, shared, error, error_size);
    if (result == TROUPE_OK) {
        claim->tables_fd = fd;
    } else {
        close(fd);
    }
    return result;
}

void troupe__claim_release(struct troupe__claim *claim)
{
    if (claim->tables_fd >= 0) {
        close(claim->tables_fd);
    }
    if (claim->lock_fd >= 0) {
        close(claim->lock_fd);
    }
    *claim = (struct troupe__claim){-1, -1};
}
