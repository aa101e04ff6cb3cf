/* local.c - a troupe whose nodes all run on this machine, in one directory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cluster_file.h"

static bool has_file(const char *directory, const char *name)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) < sizeof path && access(path, F_OK) == 0;
}

bool troupe__local_is_troupe(const char *directory)
{
    return has_file(directory, "cluster.yaml");
}

/* For the directory `absolute`, which need not exist. */
static enum troupe_error make_cluster(const char *absolute, uint16_t nodes, struct troupe__cluster *cluster,
                                      char *error, size_t error_size)
{
    uint64_t id;
    cluster->nodes = calloc(nodes, sizeof *cluster->nodes);
    if (!cluster->nodes || getrandom(&id, sizeof id, 0) != sizeof id) {
        snprintf(error, error_size, "out of memory, or the system gives no random numbers");
        return TROUPE_ENOMEM;
    }
    troupe__slots_spread(&cluster->slots, id, 1, nodes);
    for (unsigned i = 0; i < nodes; i++) {
        char endpoint[PATH_MAX + 32];
        snprintf(cluster->nodes[i].name, sizeof cluster->nodes[i].name, "n%u", i + 1);
        size_t size = (size_t)snprintf(endpoint, sizeof endpoint, "ipc://%s/n%u.ipc", absolute, i + 1);
        if (!troupe__endpoint_valid(endpoint)) {
            snprintf(error, error_size,
                     "%.250s cannot be the path of a socket, which has at most %zu bytes of printable ASCII: name "
                     "another --data, or use troupe cluster init --tcp",
                     endpoint + strlen("ipc://"), TROUPE__ENDPOINT_MAX - strlen("ipc://"));
            return TROUPE_EINVAL;
        }
        memcpy(cluster->nodes[i].endpoint, endpoint, size + 1);
        size = (size_t)snprintf(endpoint, sizeof endpoint, "ipc://%s/n%u/socket", absolute, i + 1);
        if (size <= TROUPE__ENDPOINT_MAX) {
            memcpy(cluster->nodes[i].clients, endpoint, size + 1);
        }
    }
    return TROUPE_OK;
}

/* Under another name first: a crash in between leaves no half file. */
static enum troupe_error write_cluster(const char *path, const struct troupe__cluster *cluster, char *error,
                                       size_t error_size)
{
    char fresh[PATH_MAX + 8];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    unlink(fresh);
    enum troupe_error result = troupe__cluster_file_write(fresh, cluster, error, error_size);
    if (result == TROUPE_OK && rename(fresh, path)) {
        snprintf(error, error_size, "rename %s: %s", fresh, strerror(errno));
        result = TROUPE_EIO;
    }
    return result;
}

enum troupe_error troupe__local_claim(const char *directory, char *error, size_t error_size)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/lock", directory) >= sizeof path) {
        snprintf(error, error_size, "the path of the directory is too long");
        return TROUPE_EINVAL;
    }
    if (mkdir(directory, 0700) && errno != EEXIST) {
        snprintf(error, error_size, "create %s: %s", directory, strerror(errno));
        return errno == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    /* Stays open: POSIX takes the lock away with the first descriptor that is closed. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0) {
        return TROUPE_OK;
    }
    int code = errno;
    bool held = fd >= 0 && (code == EACCES || code == EAGAIN);
    if (held && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
        snprintf(error, error_size, "%s: process %ld runs a troupe there: stop that one first", directory,
                 (long)lock.l_pid);
    } else {
        snprintf(error, error_size, "%s: %s", path, held ? "another process runs a troupe there" : strerror(code));
    }
    if (fd >= 0) {
        close(fd);
    }
    return held ? TROUPE_EBUSY : code == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
}

enum troupe_error troupe__local_cluster(const char *directory, uint16_t nodes, struct troupe__cluster *ret, char *error,
                                        size_t error_size)
{
    char path[PATH_MAX], absolute[PATH_MAX];
    struct troupe__cluster cluster = {.nodes = NULL};
    if ((size_t)snprintf(path, sizeof path, "%s/cluster.yaml", directory) >= sizeof path) {
        snprintf(error, error_size, "the path of the directory is too long");
        return TROUPE_EINVAL;
    }
    if (has_file(directory, "tables.mdb")) {
        snprintf(error, error_size, "%s holds a node that is alone: name another directory", directory);
        return TROUPE_EINVAL;
    }
    enum troupe_error result = TROUPE_OK;
    if (access(path, F_OK) == 0) {
        result = troupe__cluster_file_read(path, &cluster, error, error_size);
        if (result == TROUPE_OK && cluster.slots.node_count != nodes) {
            snprintf(error, error_size,
                     "%s holds a troupe of %u nodes, not %u: say --nodes %u, or name another "
                     "directory",
                     directory, cluster.slots.node_count, nodes, cluster.slots.node_count);
            result = TROUPE_EINVAL;
        }
    } else if (mkdir(directory, 0700) && errno != EEXIST) {
        snprintf(error, error_size, "create %s: %s", directory, strerror(errno));
        result = errno == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    } else if (!realpath(directory, absolute)) {
        snprintf(error, error_size, "%s: %s", directory, strerror(errno));
        result = TROUPE_EIO;
    } else {
        result = make_cluster(absolute, nodes, &cluster, error, error_size);
        result = result == TROUPE_OK ? write_cluster(path, &cluster, error, error_size) : result;
    }
    if (result != TROUPE_OK) {
        troupe__cluster_fini(&cluster);
        return result;
    }
    *ret = cluster;
    return TROUPE_OK;
}

enum troupe_error troupe__local_plan(const char *absolute, uint16_t nodes, const struct troupe__slots *slots,
                                     struct troupe__cluster *ret, char *error, size_t error_size)
{
    struct troupe__cluster cluster = {.nodes = NULL};
    enum troupe_error result = make_cluster(absolute, nodes, &cluster, error, error_size);
    if (result != TROUPE_OK) {
        troupe__cluster_fini(&cluster);
        return result;
    }
    if (slots) {
        troupe__slots_spread(&cluster.slots, slots->cluster, slots->generation + 1, nodes);
        if (slots->node_count == nodes) {
            memcpy(cluster.slots.owner, slots->owner, sizeof cluster.slots.owner);
        }
    }
    *ret = cluster;
    return TROUPE_OK;
}

enum troupe_error troupe__local_write(const char *directory, const struct troupe__cluster *cluster, char *error,
                                      size_t error_size)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/cluster.yaml", directory) >= sizeof path) {
        snprintf(error, error_size, "the path of the directory is too long");
        return TROUPE_EINVAL;
    }
    return write_cluster(path, cluster, error, error_size);
}
