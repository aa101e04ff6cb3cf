/* handshakes.c - connections to a socket with keys that ended before anybody could be asked for: no key, the wrong one
 * of the server, or nothing said at all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An event names no connection but its descriptor, and a failure not even that: but the I/O thread, of which there is
 * one, closes a connection that has failed at once, so that its event comes next. */
#include "transport/handshakes.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <zmq.h>

enum { PATIENCE_MS = TROUPE__HANDSHAKE_MS - 100 }; /* Both ends of that time are seen a moment late. */
enum { RECENT = sizeof((struct troupe__handshakes *)0)->recent / sizeof *((struct troupe__handshakes *)0)->recent };

enum troupe_error troupe__handshakes_open(struct troupe__handshakes *handshakes, struct troupe__socket *socket)
{
    *handshakes = (struct troupe__handshakes){.monitor = NULL};
    handshakes->monitor =
        troupe__socket_monitor(socket, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                           ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED);
    return handshakes->monitor ? TROUPE_OK : TROUPE_EIO;
}

void troupe__handshakes_close(struct troupe__handshakes *handshakes)
{
    if (handshakes->monitor) {
        zmq_close(handshakes->monitor);
        handshakes->monitor = NULL;
    }
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Who it is must be asked while it is connected: later the descriptor may be another one. */
static void note(struct troupe__handshakes *handshakes, int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    size_t at = handshakes->next++ % RECENT;
    char *address = handshakes->recent[at].address;
    handshakes->recent[at].fd = fd;
    handshakes->recent[at].accepted_ms = monotonic_ms();
    strcpy(address, "an unknown address");
    if (getpeername(fd, (struct sockaddr *)&peer, &size)) {
        return;
    }
    if (peer.ss_family == AF_UNIX) {
        address[0] = '\0';
    } else if (getnameinfo((struct sockaddr *)&peer, size, address, TROUPE__ADDRESS_SIZE, NULL, 0, NI_NUMERICHOST)) {
        strcpy(address, "an unknown address");
    }
}

/* Where it came from, and since when it is there; 0: that is not known. */
static const char *find(const struct troupe__handshakes *handshakes, int fd, int64_t *ret_accepted_ms)
{
    *ret_accepted_ms = 0;
    for (size_t back = 1; back <= RECENT && back <= handshakes->next; back++) {
        size_t at = (handshakes->next - back) % RECENT;
        if (handshakes->recent[at].fd == fd) {
            *ret_accepted_ms = handshakes->recent[at].accepted_ms;
            return handshakes->recent[at].address;
        }
    }
    return "an unknown address";
}

static const char *why_of(uint32_t failure)
{
    switch (failure) {
    case ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "it has no key";
    case ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        return "it expects another public key here, or does not have the secret of its own";
    default:
        return "what it says is no handshake";
    }
}

static int receive(void *monitor, void *data, size_t size)
{
    int code;
    while ((code = zmq_recv(monitor, data, size, ZMQ_DONTWAIT)) < 0 && errno == EINTR) {
    }
    return code;
}

/* Whether a connection that has ended is to be told of, and why. ZeroMQ does not say whether it lost patience or the
 * other side went, as those do that only look whether somebody listens: the time says it. */
static const char *why_ended(struct troupe__handshakes *handshakes, int fd, char address[static TROUPE__ADDRESS_SIZE])
{
    int64_t accepted_ms;
    const char *why = NULL;
    snprintf(address, TROUPE__ADDRESS_SIZE, "%s", find(handshakes, fd, &accepted_ms));
    if (handshakes->failure) {
        why = why_of(handshakes->failure);
    } else if (handshakes->unfinished && accepted_ms > 0 && monotonic_ms() - accepted_ms >= PATIENCE_MS) {
        why = "it said nothing, or only a part of a handshake, for 5 seconds";
    }
    handshakes->failure = 0;
    handshakes->unfinished = false;
    return why;
}

bool troupe__handshakes_next(struct troupe__handshakes *handshakes, char address[static TROUPE__ADDRESS_SIZE],
                             const char **ret_why)
{
    unsigned char event[6];
    char endpoint[TROUPE__ENDPOINT_SIZE];
    while (receive(handshakes->monitor, event, sizeof event) == sizeof event) {
        uint16_t what;
        uint32_t value;
        memcpy(&what, event, sizeof what);
        memcpy(&value, event + sizeof what, sizeof value);
        (void)receive(handshakes->monitor, endpoint, sizeof endpoint); /* its second frame */
        if (what == ZMQ_EVENT_ACCEPTED) {
            note(handshakes, (int)value);
        } else if (what == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
            handshakes->failure = value;
        } else if (what == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
            handshakes->unfinished = true;
        } else if (what == ZMQ_EVENT_DISCONNECTED && (*ret_why = why_ended(handshakes, (int)value, address)) != NULL) {
            return true;
        }
    }
    return false;
}
