/* socket.h - a ZeroMQ socket that never blocks: whole messages of a few frames in and out, errors as ours.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One ZeroMQ context per process, made with the first socket and ended with the last: do not fork in between. A socket
 * belongs to the thread that uses it first. ZeroMQ may lose what was sent when a connection breaks, silently: only an
 * answer of the peer shows that a message came.
 *
 * In an event loop: watch troupe__socket_fd for reading, and each time before the loop would block ask
 * troupe__socket_ready and deal with what it says; the descriptor is edge-triggered and says only that something has
 * changed since the last question (zmq_getsockopt(3), ZMQ_FD). */
#ifndef TROUPE_TRANSPORT_SOCKET_H
#define TROUPE_TRANSPORT_SOCKET_H

#include "core/troupe.h"

enum troupe__socket_kind {
    TROUPE__SOCKET_ROUTER, /* many peers; the first frame, in and out, is ZeroMQ's name of one */
    TROUPE__SOCKET_DEALER, /* one peer, or several in turn */
};

/* CURVE: this side's keys and, for a socket that connects, the other side's; a socket that listens needs an open gate
 * (gate.h) that knows `domain`. All Z85, the caller's, not needed after open. */
struct troupe__socket_keys {
    const char *public_key, *secret_key;
    const char *server_key; /* NULL: this socket listens */
    const char *domain;     /* of a socket that listens */
};

struct troupe__socket_options { /* Zero fields take what is said. */
    enum troupe__socket_kind kind;
    const struct troupe__socket_keys *keys; /* NULL: nothing is encrypted, nobody authenticated */
    size_t message_size_max;                /* bytes of a frame that comes in: over it the connection ends; 0: 17 MiB */
    int queue_max;                          /* messages in each direction and connection; 0: 32 */
    bool quiet; /* a dead peer is noticed by the kernel (TCP keepalive), not by heartbeats, which wake both sides */
    bool drop_unconnected; /* DEALER: refuse to send while no connection stands, instead of queueing */
};

enum {
    TROUPE__HANDSHAKE_MS = 5000, /* a connection that has not ended its handshake by then is closed */
    TROUPE__SOCKET_PARTS_MAX = 4,
    TROUPE__SOCKET_READABLE = 1, /* a message can be received */
    TROUPE__SOCKET_WRITABLE = 2, /* DEALER: a message can be sent; a ROUTER always says so */
};

struct troupe__socket;

/* The frames of one message; valid until the next receive. */
struct troupe__frames {
    struct troupe_bytes part[TROUPE__SOCKET_PARTS_MAX];
    size_t count; /* it may have had more: then `cut` */
    bool cut;
    const char *user; /* what the gate has marked the connection with; NULL: nobody authenticated it */
};

/* Errors: TROUPE_ENOMEM, TROUPE_EIO, with a text. */
enum troupe_error troupe__socket_open(const struct troupe__socket_options *options, struct troupe__socket **ret,
                                      char *error, size_t error_size);
/* Drops what has not left yet. NULL is fine. */
void troupe__socket_close(struct troupe__socket *socket);

/* Whether everybody who reaches `endpoint` is on this machine: ipc, or tcp on a loopback address. */
bool troupe__endpoint_is_local(const char *endpoint);

/* Whether tcp://HOST:PORT has a host and a port of 1 to 65535, which is all that ZeroMQ does not check; with `any`, `*`
 * and 0 are ports too: any free one. */
bool troupe__endpoint_has_port(const char *endpoint, bool any);

/* Whether nobody listens at `endpoint` just now, as far as can be told within a second: every address refuses. Blocks.
 */
bool troupe__endpoint_refuses(const char *endpoint);

/* Accept connections at ipc://PATH or tcp://HOST:PORT (PORT `*`: any free one; HOST: an address, an interface, `*`, or
 * a name that has an address of this machine). `*ret_endpoint`, of at least TROUPE__ENDPOINT_SIZE bytes, is what a peer
 * connects to. An ipc path is held by a lock on PATH.lock, which stays behind: ZeroMQ would let a second process take
 * the path away. Errors, with a text: TROUPE_EINVAL (no such kind of endpoint, or the host is unknown), TROUPE_EBUSY
 * (in use), TROUPE_EIO. */
enum { TROUPE__ENDPOINT_SIZE = 256, TROUPE__ENDPOINTS_MAX = 8 };
enum troupe_error troupe__socket_listen(struct troupe__socket *socket, const char *endpoint, char *ret_endpoint,
                                        char *error, size_t error_size);

/* Connect, and again whenever the connection breaks. Errors: TROUPE_EINVAL with a text. */
enum troupe_error troupe__socket_connect(struct troupe__socket *socket, const char *endpoint, char *error,
                                         size_t error_size);

/* Notice from now on when a connection breaks; `*ret_fd` is to be watched as that of the socket is, and each time
 * before waiting troupe__socket_broke to be asked: whether one broke since the last question. Errors: TROUPE_EIO. */
enum troupe_error troupe__socket_watch(struct troupe__socket *socket, int *ret_fd);
bool troupe__socket_broke(struct troupe__socket *socket);

int troupe__socket_fd(const struct troupe__socket *socket);

/* The bits of what can be done now. Costs a system call. */
unsigned troupe__socket_ready(struct troupe__socket *socket);

/* Block until one of the bits in `wanted` can be done, at most `timeout_ms` (-1: for ever). For programs without a
 * loop. Returns the bits; 0 after the timeout or a signal. */
unsigned troupe__socket_wait(struct troupe__socket *socket, unsigned wanted, long timeout_ms);

/* Block until something can be received from one of `count` sockets, 1,024 at most; else as troupe__socket_wait. */
enum { TROUPE__SOCKETS_MAX = 1024 };
void troupe__socket_wait_any(struct troupe__socket *const *sockets, size_t count, long timeout_ms);

/* Errors: TROUPE_ENOTFOUND (nothing is there), TROUPE_EIO. */
enum troupe_error troupe__socket_receive(struct troupe__socket *socket, struct troupe__frames *ret);

/* Send a message whole, or nothing of it; the bytes are copied. Errors: TROUPE_EFULL (no room at this peer: later),
 * TROUPE_ENOTFOUND (ROUTER: the peer is gone), TROUPE_ENOMEM, TROUPE_EIO. */
enum troupe_error troupe__socket_send(struct troupe__socket *socket, const struct troupe_bytes *parts, size_t count);

/* A ZeroMQ socket from which a socket's events (zmq_socket_monitor(3)) can be received, for what else in this folder
 * talks to ZeroMQ; one for each socket at most. NULL on failure. The caller closes it. */
void *troupe__socket_monitor(struct troupe__socket *socket, int events);

/* The process's ZeroMQ context, for what else in this folder talks to it; NULL when out of memory. */
void *troupe__socket_context_acquire(void);
void troupe__socket_context_release(void);

#endif
