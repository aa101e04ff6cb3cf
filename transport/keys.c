/* keys.c - CURVE key pairs: made, and kept in files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

enum troupe_error troupe__keys_make(struct troupe__key_pair *ret, char *error, size_t error_size)
{
    struct troupe__key_pair pair;
    if (zmq_curve_keypair(pair.public_key, pair.secret_key)) {
        snprintf(error, error_size, "make a key pair: %s: use a ZeroMQ with CURVE", zmq_strerror(errno));
        return TROUPE_EIO;
    }
    *ret = pair;
    return TROUPE_OK;
}

enum troupe_error troupe__keys_write(const char *path, const struct troupe__key_pair *pair, char *error,
                                     size_t error_size)
{
    char line[TROUPE__KEY_SIZE + 2];
    int size = snprintf(line, sizeof line, "%s\n", pair->secret_key);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        int code = errno;
        snprintf(error, error_size,
                 code == EEXIST ? "%s exists already, and a key is never written over: name another file"
                                : "create %s: %s",
                 path, strerror(code));
        return code == EEXIST ? TROUPE_EBUSY : code == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    ssize_t done = write(fd, line, (size_t)size);
    int code = done < 0 ? errno : done != size ? ENOSPC : fsync(fd) ? errno : 0;
    if (close(fd) && !code) {
        code = errno;
    }
    if (code) {
        snprintf(error, error_size, "write %s: %s", path, strerror(code));
        unlink(path);
        return code == ENOSPC ? TROUPE_ENOSPACE : TROUPE_EIO;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__keys_read(const char *path, struct troupe__key_pair *ret, char *error, size_t error_size)
{
    struct troupe__key_pair pair = {.secret_key = ""};
    char text[TROUPE__KEY_SIZE + 2] = "";
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status)) {
        snprintf(error, error_size, "open the key %s: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return TROUPE_EIO;
    }
    if (S_ISREG(status.st_mode) && status.st_mode & 077) {
        snprintf(error, error_size, "the key %s can be read by others: chmod 600 it, or make a new one", path);
        close(fd);
        return TROUPE_EINVAL;
    }
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    if (size == TROUPE__KEY_SIZE + 1 && text[TROUPE__KEY_SIZE] == '\n') {
        size--;
    }
    if (size != TROUPE__KEY_SIZE) {
        snprintf(error, error_size, "%s is no secret key: it must hold %d characters; see troupe keygen", path,
                 TROUPE__KEY_SIZE);
        return TROUPE_EINVAL;
    }
    memcpy(pair.secret_key, text, TROUPE__KEY_SIZE);
    if (zmq_curve_public(pair.public_key, pair.secret_key)) {
        snprintf(error, error_size, "%s is no secret key: %s", path, zmq_strerror(errno));
        return TROUPE_EINVAL;
    }
    *ret = pair;
    return TROUPE_OK;
}
