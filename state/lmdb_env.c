/* lmdb_env.c - creates and opens one LMDB file, and puts LMDB's errors into ours.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On disk: `name` and `name`-lock (LMDB's reader table, worthless after a crash); `name`.new is a creation that a crash
 * interrupted, and is thrown away. LMDB writes a new file's two meta pages unsynced, so that a crash then leaves a file
 * it refuses: hence the rename. The map has a fixed size: LMDB 0.9 cannot grow it safely while in use. */
#include "state/lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum troupe_error troupe__lmdb_error(int code)
{
    switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return TROUPE_ENOSPACE;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return TROUPE_ECORRUPT;
    case MDB_VERSION_MISMATCH:
        return TROUPE_EVERSION;
    case ENOMEM:
        return TROUPE_ENOMEM;
    default:
        return TROUPE_EIO;
    }
}

/* Whether the file system of `fd` has no room for `size` bytes and what LMDB writes besides. */
static bool is_full(int fd, size_t size)
{
    enum { BESIDES = 16 * 4096 };
    struct statvfs status;
    return fstatvfs(fd, &status) == 0 && (uint64_t)status.f_bavail * status.f_frsize < (uint64_t)size + BESIDES;
}

/* LMDB 0.9 writes the transaction's pages into free ones, syncs them, then writes the meta page that makes them the
 * file's content, through a descriptor that syncs (mdb_txn_commit: mdb_page_flush, mdb_env_sync, mdb_env_write_meta).
 * If one of the first two fails the transaction is not in the file. If the third does it is not known, and LMDB lets no
 * other transaction begin: that tells them apart. A short write of the first it reports as EIO ("filesystem full?"). */
int troupe__lmdb_commit(const struct troupe__lmdb_env *file, MDB_txn *txn, size_t size,
                        enum troupe__lmdb_left *ret_left)
{
    int code = mdb_txn_commit(txn), fd = -1;
    if (code) {
        MDB_txn *probe = NULL;
        *ret_left = mdb_txn_begin(file->env, NULL, 0, &probe) ? TROUPE__LMDB_UNKNOWN : TROUPE__LMDB_NOTHING;
        mdb_txn_abort(probe);
        if (code == EIO && *ret_left == TROUPE__LMDB_NOTHING && mdb_env_get_fd(file->env, &fd) == 0 &&
            is_full(fd, size)) {
            code = ENOSPC;
        }
    }
    return code;
}

/* LMDB makes its lock file as one hole and writes it through a map: on a full disk that would be a SIGBUS. So it gets
 * its blocks before. */
static int allocate_lock(const char *path, unsigned flags)
{
    enum { LOCK_SIZE = 16384 }; /* more than the 8192 bytes of 126 readers */
    char lock[PATH_MAX + 16];
    if (flags & (MDB_RDONLY | MDB_NOLOCK)) {
        return 0;
    }
    snprintf(lock, sizeof lock, "%s-lock", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    int code = posix_fallocate(fd, 0, LOCK_SIZE);
    close(fd);
    return code;
}

static int open_env(const char *path, unsigned flags, size_t map_size, troupe__lmdb_first_fn first,
                    struct troupe__lmdb_env *ret)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    int code = allocate_lock(path, flags);
    if (code || (code = mdb_env_create(&env)) != 0) {
        return code;
    }
    if ((code = mdb_env_set_mapsize(env, map_size)) != 0 ||
        (code = mdb_env_open(env, path, flags | MDB_NOSUBDIR | MDB_NOTLS, 0600)) != 0 ||
        (code = mdb_txn_begin(env, NULL, flags & MDB_RDONLY, &txn)) != 0) {
        goto err_after_env;
    }
    /* Even the unnamed database must be opened once: its comparison functions are unset before. */
    code = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (!code && first) {
        code = first(txn, dbi);
    }
    if (code) {
        mdb_txn_abort(txn);
        goto err_after_env;
    }
    if ((code = mdb_txn_commit(txn)) != 0) {
        goto err_after_env;
    }
    /* What the file shows may be in memory only: after a run without syncs, or a meta page whose write failed. Nothing
     * may be built on it, or told, before it is on disk. When it is, this costs nothing. */
    if (!(flags & (MDB_RDONLY | MDB_NOSYNC)) && (code = mdb_env_sync(env, 1)) != 0) {
        goto err_after_env;
    }
    int fd = -1;
    if (mdb_env_get_fd(env, &fd) == 0) { /* LMDB opens the data file without it. */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    ret->env = env;
    ret->dbi = dbi;
    return 0;

err_after_env:
    mdb_env_close(env);
    return code;
}

int troupe__sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int code = fsync(fd) ? errno : 0;
    close(fd);
    return code;
}

static int create(const char *directory, const char *path, size_t map_size, troupe__lmdb_first_fn first)
{
    char fresh[PATH_MAX + 8], lock[PATH_MAX + 16];
    struct troupe__lmdb_env made;
    snprintf(fresh, sizeof fresh, "%s.new", path);
    snprintf(lock, sizeof lock, "%s-lock", fresh);
    unlink(fresh);
    unlink(lock);
    int code = open_env(fresh, 0, map_size, first, &made);
    if (!code) {
        mdb_env_close(made.env);
        code = troupe__sync_path(fresh);
    }
    if (!code && rename(fresh, path)) {
        code = errno;
    }
    if (code) {
        unlink(fresh);
    }
    unlink(lock);
    return code ? code : troupe__sync_path(directory);
}

enum troupe_error troupe__lmdb_env_open(const char *directory, const char *name, unsigned flags, size_t map_size,
                                        troupe__lmdb_first_fn first, size_t leaves_max, troupe__pages_row_fn row,
                                        struct troupe__lmdb_env *ret, char *error, size_t error_size)
{
    char path[PATH_MAX];
    struct stat status;
    int code = 0;
    const char *verb = "open";
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path) {
        snprintf(error, error_size, "open store %s: the path is too long", directory);
        return TROUPE_EINVAL;
    }
    if (first && stat(path, &status) && errno == ENOENT) {
        verb = "create";
        code = create(directory, path, map_size, first);
    } else if (access(path, R_OK) == 0) {
        enum troupe_error result = troupe__pages_check(path, leaves_max, row, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    if (!code) {
        code = open_env(path, flags, map_size, NULL, ret);
    }
    if (!code) {
        return TROUPE_OK;
    }
    const char *advice = code == EACCES || code == EPERM ? ": give this user the right to write there"
                         : code == EROFS                 ? ": it is on a read-only file system"
                         : code == ENOSPC                ? ": free space and start again"
                         : code == ENOMEM                ? ": too little address space for the map (see ulimit -v)"
                         : code == MDB_INVALID           ? ": damaged, restore a backup"
                                                         : "";
    snprintf(error, error_size, "%s %s: %s%s", verb, path, mdb_strerror(code), advice);
    return troupe__lmdb_error(code);
}
