/* disk.c - the disk under a test: it records what is written and synced below one directory, and fails when told to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/crash/disk.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 1024, NONE = 0 };

static struct {
    pthread_mutex_t mutex;
    char root[256];
    size_t root_size;
    struct disk_log log;
    char names[DISK_FILES_MAX][DISK_NAME_MAX]; /* of each file; "" once it has none */
    int file_count;
    int fds[FDS_MAX]; /* file + 1, DISK_DIRECTORY, DISK_PARENT, or NONE */
    bool dsync[FDS_MAX];
    enum disk_fault fault;
    const char *fault_name;
    int64_t calls; /* until it fails; -1: it does not */
    int error;
    bool done, failed, no_direct;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .calls = -1};

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void disk_watch(const char *directory)
{
    assert(disk.root_size == 0);
    memset(disk.fds, 0, sizeof disk.fds);
    memset(disk.names, 0, sizeof disk.names);
    disk.file_count = 0;
    disk.log = (struct disk_log){0};
    disk.root_size = (size_t)snprintf(disk.root, sizeof disk.root, "%s", directory);
    assert(disk.root_size < sizeof disk.root);
}

struct disk_log disk_unwatch(void)
{
    disk.root_size = 0;
    disk.calls = -1;
    return disk.log;
}

void disk_log_free(struct disk_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        free(log->ops[i].data);
    }
    free(log->ops);
    *log = (struct disk_log){0};
}

/* Under the mutex. Returns the index. */
static size_t add(struct disk_op op)
{
    struct disk_log *log = &disk.log;
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 1024;
        log->ops = realloc(log->ops, log->capacity * sizeof *log->ops);
        assert(log->ops);
    }
    log->ops[log->count] = op;
    return log->count++;
}

static void lock(void)
{
    pthread_mutex_lock(&disk.mutex);
}

static void unlock(void)
{
    int saved = errno;
    pthread_mutex_unlock(&disk.mutex);
    errno = saved;
}

size_t disk_note(enum disk_kind kind, uint64_t value)
{
    lock();
    size_t at = add((struct disk_op){.kind = kind, .value = value});
    unlock();
    return at;
}

void disk_fail(enum disk_fault fault, const char *name, int64_t calls, int error, bool done)
{
    lock();
    disk.fault = fault;
    disk.fault_name = name;
    disk.calls = calls;
    disk.error = error;
    disk.done = done;
    disk.failed = false;
    unlock();
}

void disk_refuse_direct(bool refuse)
{
    disk.no_direct = refuse;
}

bool disk_failed(void)
{
    return disk.failed;
}

/* Under the mutex: whether this call is the one to fail. */
static bool fails(enum disk_fault fault, int file)
{
    if (fault != disk.fault || disk.calls < 0 ||
        (disk.fault_name && (file < 0 || strcmp(disk.fault_name, disk.names[file]) != 0)) || disk.calls-- > 0) {
        return false;
    }
    disk.failed = true;
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* The name of a watched file; NULL for any other path. */
static const char *name_of(const char *path)
{
    size_t size = strlen(path);
    const char *name = path + disk.root_size + 1;
    if (disk.root_size == 0 || size < disk.root_size + 2 || strncmp(path, disk.root, disk.root_size) != 0 ||
        path[disk.root_size] != '/' || strchr(name, '/') || strcmp(name, "lock") == 0 || strcmp(name, "..") == 0 ||
        strcmp(name, ".") == 0 || (size > 5 && strcmp(path + size - 5, "-lock") == 0)) {
        return NULL;
    }
    assert(strlen(name) < DISK_NAME_MAX);
    return name;
}

static bool is_parent(const char *path)
{
    size_t size = strlen(path);
    if (strncmp(path, disk.root, disk.root_size) == 0 && strcmp(path + disk.root_size, "/..") == 0) {
        return true;
    }
    while (size > 1 && path[size - 1] == '/') {
        size--;
    }
    const char *slash = strrchr(disk.root, '/');
    return slash && size == (size_t)(slash - disk.root) && strncmp(path, disk.root, size) == 0;
}

static int find(const char *name)
{
    for (int i = 0; i < disk.file_count; i++) {
        if (strcmp(disk.names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Under the mutex. */
static void opened(int fd, const char *path, int flags)
{
    assert(fd < FDS_MAX);
    disk.fds[fd] = NONE;
    if (disk.root_size == 0) {
        return;
    }
    if (strncmp(path, disk.root, disk.root_size) == 0 &&
        (path[disk.root_size] == '\0' || strcmp(path + disk.root_size, "/.") == 0)) {
        disk.fds[fd] = DISK_DIRECTORY;
    } else if (is_parent(path)) {
        disk.fds[fd] = DISK_PARENT;
    }
    const char *name = name_of(path);
    if (!name) {
        return;
    }
    int file = find(name);
    if (file < 0) {
        struct disk_op op = {.kind = DISK_CREATE, .file = file = disk.file_count++};
        assert(file < DISK_FILES_MAX);
        strcpy(op.name, name);
        strcpy(disk.names[file], name);
        add(op);
    }
    disk.fds[fd] = file + 1;
    disk.dsync[fd] = (flags & O_DSYNC) != 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_DIRECT && disk.no_direct) {
        errno = EINVAL;
        return -1;
    }
    lock();
    int fd = REAL(open)(path, flags, mode);
    if (fd >= 0) {
        opened(fd, path, flags);
    }
    unlock();
    return fd;
}

int close(int fd)
{
    lock();
    if (fd >= 0 && fd < FDS_MAX) {
        disk.fds[fd] = NONE;
    }
    int result = REAL(close)(fd);
    unlock();
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    lock();
    int result = REAL(mkdir)(path, mode);
    if (result == 0 && disk.root_size > 0 && strcmp(path, disk.root) == 0) {
        add((struct disk_op){.kind = DISK_MKDIR});
    }
    unlock();
    return result;
}

int rename(const char *from, const char *to)
{
    lock();
    int result = REAL(rename)(from, to);
    const char *name = name_of(from), *new_name = name_of(to);
    if (result == 0 && name && new_name) {
        struct disk_op op = {.kind = DISK_RENAME, .file = find(name)};
        strcpy(op.name, name);
        strcpy(op.to, new_name);
        int old = find(new_name);
        if (old >= 0) {
            disk.names[old][0] = '\0';
        }
        strcpy(disk.names[op.file], new_name);
        add(op);
    }
    unlock();
    return result;
}

int unlink(const char *path)
{
    lock();
    int result = REAL(unlink)(path);
    const char *name = name_of(path);
    if (result == 0 && name && find(name) >= 0) {
        struct disk_op op = {.kind = DISK_UNLINK, .file = find(name)};
        strcpy(op.name, name);
        disk.names[op.file][0] = '\0';
        add(op);
    }
    unlock();
    return result;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static bool watched(int fd)
{
    return disk.root_size > 0 && fd >= 0 && fd < FDS_MAX && disk.fds[fd] > 0;
}

/* Under the mutex: write all of `data` at `offset`, recorded, or fail as told. */
static ssize_t write_at(int fd, unsigned char *data, size_t size, off_t offset)
{
    bool dsync = disk.dsync[fd], fail = fails(dsync ? DISK_FAIL_META : DISK_FAIL_WRITE, disk.fds[fd] - 1);
    size_t wanted = !fail || disk.done ? size : disk.error ? 0 : size / 2;
    ssize_t done = wanted > 0 ? REAL(pwrite)(fd, data, wanted, offset) : 0;
    if (done > 0) {
        size_t at = add((struct disk_op){.kind = DISK_WRITE,
                                         .file = disk.fds[fd] - 1,
                                         .dsync = dsync,
                                         .offset = (uint64_t)offset,
                                         .size = (uint64_t)done,
                                         .data = data});
        if (dsync && !fail) {
            add((struct disk_op){.kind = DISK_WRITTEN, .file = disk.fds[fd] - 1, .begin = at});
        }
    } else {
        free(data);
    }
    if (fail && disk.error) {
        errno = disk.error;
        return -1;
    }
    return done;
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
    if (!watched(fd)) {
        return REAL(pwrite)(fd, from, size, offset);
    }
    unsigned char *data = malloc(size);
    assert(data);
    memcpy(data, from, size);
    lock();
    ssize_t result = write_at(fd, data, size, offset);
    unlock();
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!watched(fd)) {
        return REAL(writev)(fd, parts, count);
    }
    size_t size = 0, at = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    unsigned char *data = malloc(size);
    assert(data);
    for (int i = 0; i < count; i++) {
        memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    lock();
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t result = write_at(fd, data, size, offset);
    if (result > 0) {
        lseek(fd, offset + result, SEEK_SET);
    }
    unlock();
    return result;
}

static int sync_with(int fd, int (*real)(int fd))
{
    if (disk.root_size == 0 || fd < 0 || fd >= FDS_MAX || disk.fds[fd] == NONE) {
        return real(fd);
    }
    lock();
    int file = disk.fds[fd] > 0 ? disk.fds[fd] - 1 : disk.fds[fd];
    size_t begin = add((struct disk_op){.kind = DISK_SYNC, .file = file});
    bool fail = fails(DISK_FAIL_SYNC, file);
    unlock();
    if (fail) {
        errno = disk.error;
        return -1;
    }
    int result = real(fd); /* Others may write meanwhile. */
    lock();
    if (result == 0) {
        add((struct disk_op){.kind = DISK_SYNCED, .file = file, .begin = begin});
    }
    unlock();
    return result;
}

int fdatasync(int fd)
{
    return sync_with(fd, REAL(fdatasync));
}

int fsync(int fd)
{
    return sync_with(fd, REAL(fsync));
}
