/* socket.c - a ZeroMQ socket that never blocks: whole messages of a few frames in and out, errors as ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transport/socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

enum {
    MESSAGE_SIZE_MAX = 17 << 20,
    QUEUE_MAX = 32,
    CURVE_SIZE = 64,      /* what encryption adds to a frame, at most */
    HEARTBEAT_MS = 10000, /* a dead peer is noticed within two of them; so are these: */
    KEEPALIVE_IDLE_S = 10,
    KEEPALIVE_INTERVAL_S = 3,
    KEEPALIVE_COUNT = 3,
    UNACKNOWLEDGED_MS = 20000,
    DESCRIPTORS = 16,  /* that ZeroMQ takes at most for its threads and a socket */
    RECONNECT_MS = 20, /* the first pause; it doubles */
    RECONNECT_MAX_MS = 1000,
};

struct troupe__socket {
    void *zmq;
    void *monitor; /* NULL: not watched */
    int fd;
    struct lock {
        int fd;
        char path[TROUPE__ENDPOINT_SIZE]; /* of the socket's file */
    } locks[TROUPE__ENDPOINTS_MAX];
    size_t lock_count;
    int directories[TROUPE__ENDPOINTS_MAX]; /* of paths that are too long, held open */
    size_t directory_count;
    zmq_msg_t parts[TROUPE__SOCKET_PARTS_MAX];
    size_t part_count; /* of the last message, to be closed */
};

/* ---- the context: ZeroMQ's I/O thread, one per process ----------------------------------------------------------- */

static pthread_mutex_t context_mutex = PTHREAD_MUTEX_INITIALIZER;
static void *context;
static size_t context_users;

void *troupe__socket_context_acquire(void)
{
    pthread_mutex_lock(&context_mutex);
    if (context_users == 0) {
        context = zmq_ctx_new();
    }
    void *result = context;
    context_users += result != NULL;
    pthread_mutex_unlock(&context_mutex);
    return result;
}

void troupe__socket_context_release(void)
{
    pthread_mutex_lock(&context_mutex);
    assert(context_users > 0);
    if (--context_users == 0) {
        while (zmq_ctx_term(context) && errno == EINTR) {
        }
        context = NULL;
    }
    pthread_mutex_unlock(&context_mutex);
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static bool set_int(void *zmq, int option, int value)
{
    return zmq_setsockopt(zmq, option, &value, sizeof value) == 0;
}

static bool set_keys(void *zmq, const struct troupe__socket_keys *keys)
{
    bool listens = keys->server_key == NULL;
    if ((listens && (!set_int(zmq, ZMQ_CURVE_SERVER, 1) ||
                     zmq_setsockopt(zmq, ZMQ_ZAP_DOMAIN, keys->domain, strlen(keys->domain)))) ||
        (!listens && (zmq_setsockopt(zmq, ZMQ_CURVE_SERVERKEY, keys->server_key, 41) ||
                      zmq_setsockopt(zmq, ZMQ_CURVE_PUBLICKEY, keys->public_key, 41)))) {
        return false;
    }
    return zmq_setsockopt(zmq, ZMQ_CURVE_SECRETKEY, keys->secret_key, 41) == 0;
}

static bool set_liveness(void *zmq, bool quiet)
{
    if (quiet) {
        return set_int(zmq, ZMQ_TCP_KEEPALIVE, 1) && set_int(zmq, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S) &&
               set_int(zmq, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S) &&
               set_int(zmq, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT) && set_int(zmq, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS);
    }
    return set_int(zmq, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) && set_int(zmq, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_MS) &&
           set_int(zmq, ZMQ_HEARTBEAT_TTL, 2 * HEARTBEAT_MS);
}

static bool set_options(void *zmq, const struct troupe__socket_options *options)
{
    int queue_max = options->queue_max > 0 ? options->queue_max : QUEUE_MAX;
    int64_t size_max = options->message_size_max > 0 ? (int64_t)options->message_size_max : MESSAGE_SIZE_MAX;
    size_max += options->keys ? CURVE_SIZE : 0;
    return zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &size_max, sizeof size_max) == 0 && set_int(zmq, ZMQ_LINGER, 0) &&
           set_int(zmq, ZMQ_SNDHWM, queue_max) && set_int(zmq, ZMQ_RCVHWM, queue_max) &&
           set_int(zmq, ZMQ_HANDSHAKE_IVL, TROUPE__HANDSHAKE_MS) && set_liveness(zmq, options->quiet) &&
           set_int(zmq, ZMQ_RECONNECT_IVL, RECONNECT_MS) && set_int(zmq, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS) &&
           (options->kind != TROUPE__SOCKET_ROUTER || set_int(zmq, ZMQ_ROUTER_MANDATORY, 1)) &&
           (!options->drop_unconnected || set_int(zmq, ZMQ_IMMEDIATE, 1)) &&
           (!options->keys || set_keys(zmq, options->keys));
}

/* Without them ZeroMQ aborts the process. Others may be quicker to take them, but that is what this can be sure of. */
static bool has_descriptors(void)
{
    int taken[DESCRIPTORS], count = 0;
    while (count < DESCRIPTORS && (taken[count] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0) {
        count++;
    }
    bool enough = count == DESCRIPTORS || errno != EMFILE;
    while (count > 0) {
        close(taken[--count]);
    }
    return enough;
}

enum troupe_error troupe__socket_open(const struct troupe__socket_options *options, struct troupe__socket **ret,
                                      char *error, size_t error_size)
{
    if (!has_descriptors()) {
        snprintf(error, error_size, "open socket: too many open files: allow more (ulimit -n)");
        return TROUPE_EIO;
    }
    struct troupe__socket *socket = calloc(1, sizeof *socket);
    void *zmq_context = socket ? troupe__socket_context_acquire() : NULL;
    if (!zmq_context) {
        snprintf(error, error_size, "open socket: out of memory");
        free(socket);
        return TROUPE_ENOMEM;
    }
    socket->zmq = zmq_socket(zmq_context, options->kind == TROUPE__SOCKET_ROUTER ? ZMQ_ROUTER : ZMQ_DEALER);
    size_t fd_size = sizeof socket->fd;
    if (!socket->zmq || !set_options(socket->zmq, options) ||
        zmq_getsockopt(socket->zmq, ZMQ_FD, &socket->fd, &fd_size)) {
        snprintf(error, error_size, "open socket: %s", zmq_strerror(errno));
        if (socket->zmq) {
            zmq_close(socket->zmq);
        }
        troupe__socket_context_release();
        free(socket);
        return TROUPE_EIO;
    }
    *ret = socket;
    return TROUPE_OK;
}

static void close_parts(struct troupe__socket *socket)
{
    while (socket->part_count > 0) {
        zmq_msg_close(&socket->parts[--socket->part_count]);
    }
}

void troupe__socket_close(struct troupe__socket *socket)
{
    if (!socket) {
        return;
    }
    close_parts(socket);
    zmq_close(socket->zmq);
    if (socket->monitor) {
        zmq_close(socket->monitor);
    }
    troupe__socket_context_release();
    while (socket->lock_count > 0) {
        struct lock *lock = &socket->locks[--socket->lock_count];
        unlink(lock->path); /* ZeroMQ leaves it. */
        close(lock->fd);
    }
    while (socket->directory_count > 0) {
        close(socket->directories[--socket->directory_count]);
    }
    free(socket);
}

/* ---- endpoints --------------------------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool troupe__endpoint_is_local(const char *endpoint)
{
    static const char *const local[] = {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "tcp://lo:"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        if (begins(endpoint, local[i])) {
            /* 127.example.org is a name: what stands before the port must be digits and dots. */
            const char *host = endpoint + strlen("tcp://");
            return i != 1 || host[strspn(host, "0123456789.")] == ':';
        }
    }
    return false;
}

bool troupe__endpoint_has_port(const char *endpoint, bool any)
{
    const char *colon = strrchr(endpoint, ':');
    if (strlen(endpoint) <= strlen("tcp://") || colon <= endpoint + strlen("tcp://")) {
        return false;
    }
    if (any && strcmp(colon, ":*") == 0) {
        return true;
    }
    size_t digits = strspn(colon + 1, "0123456789");
    int port = digits > 0 && digits <= 5 && colon[1 + digits] == '\0' ? atoi(colon + 1) : -1;
    return port <= 65535 && port >= (any ? 0 : 1);
}

/* Whether a connection to the address is refused at once. */
static bool refuses(int family, const struct sockaddr *address, socklen_t size)
{
    int code = 0, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t code_size = sizeof code;
    if (fd < 0) {
        return false;
    }
    if (connect(fd, address, size)) {
        code = errno;
    }
    if (code == EINPROGRESS) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, 1000) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &code_size)) {
            code = 0;
        }
    }
    close(fd);
    return code == ECONNREFUSED || code == ENOENT;
}

bool troupe__endpoint_refuses(const char *endpoint)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    if (begins(endpoint, "ipc://")) {
        int size = snprintf(path.sun_path, sizeof path.sun_path, "%s", endpoint + strlen("ipc://"));
        return size < (int)sizeof path.sun_path &&
               refuses(AF_UNIX, (const struct sockaddr *)&path, (socklen_t)sizeof path);
    }
    const char *host = endpoint + strlen("tcp://"), *colon = strrchr(host, ':');
    char name[TROUPE__ENDPOINT_SIZE];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    bool bracketed = host[0] == '[', all = true;
    if (!colon || colon - host < 3) {
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)(colon - host) - 2 * bracketed, host + bracketed);
    if (getaddrinfo(strcmp(name, "localhost") == 0 ? "127.0.0.1" : name, colon + 1, &hints, &found)) {
        return false;
    }
    for (const struct addrinfo *at = found; at && all; at = at->ai_next) {
        all = refuses(at->ai_family, at->ai_addr, at->ai_addrlen);
    }
    freeaddrinfo(found);
    return all;
}

static enum troupe_error check_kind(const char *endpoint, bool listens, char *error, size_t error_size)
{
    bool ipc = begins(endpoint, "ipc://");
    if ((ipc || begins(endpoint, "tcp://")) && endpoint[6] && strlen(endpoint) < TROUPE__ENDPOINT_SIZE) {
        if (ipc || troupe__endpoint_has_port(endpoint, listens)) {
            return TROUPE_OK;
        }
        snprintf(error, error_size, "endpoint '%.100s' needs a host and, behind a colon, a port from 1 to 65535",
                 endpoint);
        return TROUPE_EINVAL;
    }
    snprintf(error, error_size, "endpoint '%.100s' is not ipc://PATH or tcp://HOST:PORT of less than %d bytes",
             endpoint, TROUPE__ENDPOINT_SIZE);
    return TROUPE_EINVAL;
}

/* For the next endpoint: else ZeroMQ writes IPv4 addresses as IPv6 ones. */
static void choose_family(struct troupe__socket *socket, const char *endpoint)
{
    set_int(socket->zmq, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

static enum troupe_error lock_path(struct troupe__socket *socket, const char *path, char *error, size_t error_size)
{
    char name[TROUPE__ENDPOINT_SIZE + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_size, "listen on ipc://%s: %s: %s", path, name, strerror(errno));
        return TROUPE_EIO;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        snprintf(error, error_size, "listen on ipc://%s: another process listens there", path);
        close(fd);
        return TROUPE_EBUSY;
    }
    struct lock *lock = &socket->locks[socket->lock_count++];
    lock->fd = fd;
    snprintf(lock->path, sizeof lock->path, "%s", path);
    return TROUPE_OK;
}

/* `localhost` is this machine, whatever a name server or /etc/hosts says (RFC 6761): troupe__endpoint_is_local relies
 * on it. */
static const char *without_localhost(const char *endpoint, char ret[static TROUPE__ENDPOINT_SIZE])
{
    static const char name[] = "tcp://localhost:";
    if (!begins(endpoint, name)) {
        return endpoint;
    }
    snprintf(ret, TROUPE__ENDPOINT_SIZE, "tcp://127.0.0.1:%s", endpoint + strlen(name));
    return ret;
}

/* The kernel takes less than 108 bytes as the path of a socket. A longer one goes by way of its directory, which stays
 * open as long as the socket does; without /proc it stays too long. */
static const char *without_long_path(struct troupe__socket *socket, const char *endpoint,
                                     char ret[static TROUPE__ENDPOINT_SIZE])
{
    const char *path = endpoint + strlen("ipc://"), *slash = strrchr(endpoint, '/');
    char directory[TROUPE__ENDPOINT_SIZE];
    if (!begins(endpoint, "ipc://") || strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path || slash <= path ||
        socket->directory_count == TROUPE__ENDPOINTS_MAX || access("/proc/self/fd", X_OK)) {
        return endpoint;
    }
    snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path);
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return endpoint;
    }
    socket->directories[socket->directory_count++] = fd;
    snprintf(ret, TROUPE__ENDPOINT_SIZE, "ipc:///proc/self/fd/%d/%.200s", fd, slash + 1);
    return ret;
}

static bool bind_at(struct troupe__socket *socket, const char *endpoint, char *ret_endpoint)
{
    char numeric[TROUPE__ENDPOINT_SIZE], by_directory[TROUPE__ENDPOINT_SIZE];
    size_t size = TROUPE__ENDPOINT_SIZE;
    endpoint = without_localhost(endpoint, numeric);
    choose_family(socket, endpoint);
    const char *way = without_long_path(socket, endpoint, by_directory);
    if (zmq_bind(socket->zmq, way)) {
        return false;
    }
    if (way == by_directory) {
        snprintf(ret_endpoint, TROUPE__ENDPOINT_SIZE, "%s", endpoint);
        return true;
    }
    return zmq_getsockopt(socket->zmq, ZMQ_LAST_ENDPOINT, ret_endpoint, &size) == 0;
}

/* ZeroMQ connects to a host by its name, but listens at addresses and interfaces only: look the name up, once. Sets
 * errno. */
static bool bind_at_name(struct troupe__socket *socket, const char *endpoint, char *ret_endpoint)
{
    const char *host = endpoint + strlen("tcp://"), *port = strrchr(host, ':');
    char name[TROUPE__ENDPOINT_SIZE], address[NI_MAXHOST], numeric[TROUPE__ENDPOINT_SIZE + NI_MAXHOST];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    bool done = false;
    int code = ENODEV; /* What ZeroMQ says of a name. */
    snprintf(name, sizeof name, "%.*s", port ? (int)(port - host) : 0, host);
    if (!port || getaddrinfo(name, NULL, &hints, &found)) {
        errno = code;
        return false;
    }
    for (const struct addrinfo *at = found; at && !done; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) == 0) {
            bool six = at->ai_family == AF_INET6;
            snprintf(numeric, sizeof numeric, "tcp://%s%s%s%s", six ? "[" : "", address, six ? "]" : "", port);
            done = bind_at(socket, numeric, ret_endpoint);
            code = done ? 0 : errno;
        }
    }
    freeaddrinfo(found);
    errno = code;
    return done;
}

enum troupe_error troupe__socket_listen(struct troupe__socket *socket, const char *endpoint, char *ret_endpoint,
                                        char *error, size_t error_size)
{
    enum troupe_error result = check_kind(endpoint, true, error, error_size);
    bool ipc = result == TROUPE_OK && begins(endpoint, "ipc://");
    if (ipc && socket->lock_count == TROUPE__ENDPOINTS_MAX) {
        snprintf(error, error_size, "listen on %s: over %d endpoints", endpoint, TROUPE__ENDPOINTS_MAX);
        result = TROUPE_EINVAL;
    }
    if (ipc && result == TROUPE_OK) {
        result = lock_path(socket, endpoint + strlen("ipc://"), error, error_size);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    if (bind_at(socket, endpoint, ret_endpoint) ||
        (!ipc && errno == ENODEV && bind_at_name(socket, endpoint, ret_endpoint))) {
        return TROUPE_OK;
    }
    int code = errno;
    snprintf(error, error_size, "listen on %s: %s", endpoint, zmq_strerror(code));
    if (ipc) {
        close(socket->locks[--socket->lock_count].fd);
    }
    return code == EADDRINUSE ? TROUPE_EBUSY : code == EINVAL || code == ENODEV ? TROUPE_EINVAL : TROUPE_EIO;
}

enum troupe_error troupe__socket_connect(struct troupe__socket *socket, const char *endpoint, char *error,
                                         size_t error_size)
{
    enum troupe_error result = check_kind(endpoint, false, error, error_size);
    char numeric[TROUPE__ENDPOINT_SIZE], by_directory[TROUPE__ENDPOINT_SIZE];
    choose_family(socket, endpoint);
    if (result == TROUPE_OK &&
        zmq_connect(socket->zmq, without_long_path(socket, without_localhost(endpoint, numeric), by_directory))) {
        snprintf(error, error_size, "connect to %s: %s", endpoint, zmq_strerror(errno));
        result = TROUPE_EINVAL;
    }
    return result;
}

void *troupe__socket_monitor(struct troupe__socket *socket, int events)
{
    static atomic_ulong number; /* A name is free again only some time after its socket was closed. */
    char endpoint[64];
    void *zmq_context = troupe__socket_context_acquire(); /* There is one: that of the socket. */
    snprintf(endpoint, sizeof endpoint, "inproc://troupe-monitor-%lu", atomic_fetch_add(&number, 1));
    void *monitor = zmq_socket(zmq_context, ZMQ_PAIR);
    troupe__socket_context_release();
    if (monitor && (!set_int(monitor, ZMQ_LINGER, 0) || zmq_socket_monitor(socket->zmq, endpoint, events) ||
                    zmq_connect(monitor, endpoint))) {
        zmq_close(monitor);
        monitor = NULL;
    }
    return monitor;
}

enum troupe_error troupe__socket_watch(struct troupe__socket *socket, int *ret_fd)
{
    size_t size = sizeof *ret_fd;
    assert(!socket->monitor);
    socket->monitor = troupe__socket_monitor(socket, ZMQ_EVENT_DISCONNECTED);
    if (socket->monitor && zmq_getsockopt(socket->monitor, ZMQ_FD, ret_fd, &size)) {
        zmq_close(socket->monitor);
        socket->monitor = NULL;
    }
    return socket->monitor ? TROUPE_OK : TROUPE_EIO;
}

bool troupe__socket_broke(struct troupe__socket *socket)
{
    bool broke = false;
    char event[256];
    while (socket->monitor) { /* Each event is two frames: what it is, and the endpoint. */
        int size = zmq_recv(socket->monitor, event, sizeof event, ZMQ_DONTWAIT);
        if (size >= 0) {
            broke = true;
        } else if (errno != EINTR) {
            return broke;
        }
    }
    return broke;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

int troupe__socket_fd(const struct troupe__socket *socket)
{
    return socket->fd;
}

unsigned troupe__socket_ready(struct troupe__socket *socket)
{
    int events = 0;
    size_t size = sizeof events;
    while (zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size)) {
        if (errno != EINTR) {
            return 0;
        }
    }
    return (events & ZMQ_POLLIN ? TROUPE__SOCKET_READABLE : 0u) | (events & ZMQ_POLLOUT ? TROUPE__SOCKET_WRITABLE : 0u);
}

unsigned troupe__socket_wait(struct troupe__socket *socket, unsigned wanted, long timeout_ms)
{
    short events = (short)((wanted & TROUPE__SOCKET_READABLE ? ZMQ_POLLIN : 0) |
                           (wanted & TROUPE__SOCKET_WRITABLE ? ZMQ_POLLOUT : 0));
    zmq_pollitem_t item = {.socket = socket->zmq, .events = events};
    if (zmq_poll(&item, 1, timeout_ms) <= 0) {
        return 0;
    }
    return (item.revents & ZMQ_POLLIN ? TROUPE__SOCKET_READABLE : 0u) |
           (item.revents & ZMQ_POLLOUT ? TROUPE__SOCKET_WRITABLE : 0u);
}

void troupe__socket_wait_any(struct troupe__socket *const *sockets, size_t count, long timeout_ms)
{
    zmq_pollitem_t items[TROUPE__SOCKETS_MAX];
    assert(count <= TROUPE__SOCKETS_MAX);
    for (size_t i = 0; i < count; i++) {
        items[i] = (zmq_pollitem_t){.socket = sockets[i]->zmq, .events = ZMQ_POLLIN};
    }
    (void)zmq_poll(items, (int)count, timeout_ms);
}

static int receive_part(struct troupe__socket *socket, zmq_msg_t *part)
{
    int code;
    while ((code = zmq_msg_recv(part, socket->zmq, ZMQ_DONTWAIT)) < 0 && errno == EINTR) {
    }
    return code;
}

enum troupe_error troupe__socket_receive(struct troupe__socket *socket, struct troupe__frames *ret)
{
    struct troupe__frames frames = {0};
    bool more = true;
    close_parts(socket);
    while (more) {
        zmq_msg_t rest;
        zmq_msg_t *part = frames.count < TROUPE__SOCKET_PARTS_MAX ? &socket->parts[frames.count] : &rest;
        zmq_msg_init(part);
        if (receive_part(socket, part) < 0) {
            /* ZeroMQ hands messages over whole: only the first part can be missing. */
            int code = errno;
            zmq_msg_close(part);
            close_parts(socket);
            return code == EAGAIN ? TROUPE_ENOTFOUND : TROUPE_EIO;
        }
        more = zmq_msg_more(part);
        if (part == &rest) {
            zmq_msg_close(part);
            frames.cut = true;
            continue;
        }
        frames.part[frames.count++] = (struct troupe_bytes){zmq_msg_data(part), zmq_msg_size(part)};
        socket->part_count = frames.count;
    }
    /* Not from a ROUTER's first part: libzmq 4.3.4 may have lost it there. */
    frames.user = zmq_msg_gets(&socket->parts[frames.count - 1], "User-Id");
    *ret = frames;
    return TROUPE_OK;
}

enum troupe_error troupe__socket_send(struct troupe__socket *socket, const struct troupe_bytes *parts, size_t count)
{
    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        while (zmq_send(socket->zmq, parts[i].size > 0 ? parts[i].data : "", parts[i].size, flags) < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == ENOMEM) {
                return TROUPE_ENOMEM;
            }
            return errno == EAGAIN ? TROUPE_EFULL : errno == EHOSTUNREACH ? TROUPE_ENOTFOUND : TROUPE_EIO;
        }
    }
    return TROUPE_OK;
}
