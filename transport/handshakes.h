/* handshakes.h - connections to a socket with keys that ended before anybody could be asked for: no key, the wrong one
 * of the server, or nothing said at all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * ZeroMQ tells of them as events (zmq_socket_monitor(3)), written by its I/O thread, which waits when nobody reads
 * them: so they are read on a thread that does nothing else (gate.c). Keys that are not listed are the gate's to tell
 * of. */
#ifndef TROUPE_TRANSPORT_HANDSHAKES_H
#define TROUPE_TRANSPORT_HANDSHAKES_H

#include <stdint.h>

#include "transport/socket.h"

enum { TROUPE__ADDRESS_SIZE = 64 };

struct troupe__handshakes {
    void *monitor; /* a ZeroMQ socket; NULL: closed */
    struct {
        int fd;
        int64_t accepted_ms;
        char address[TROUPE__ADDRESS_SIZE];
    } recent[64]; /* connections that were accepted last */
    size_t next;
    uint32_t failure; /* of the connection that is disconnected next; 0: it did not fail so ... */
    bool unfinished;  /* ... but in the middle of its handshake */
};

/* Watch a socket that does not listen yet. Errors: TROUPE_EIO. */
enum troupe_error troupe__handshakes_open(struct troupe__handshakes *handshakes, struct troupe__socket *socket);
/* The socket may be closed already. */
void troupe__handshakes_close(struct troupe__handshakes *handshakes);

/* The next that broke off, or was closed since its handshake did not end; one that left by itself before is none: where
 * it came from ("": this machine), and why. Returns false when there is none now. */
bool troupe__handshakes_next(struct troupe__handshakes *handshakes, char address[static TROUPE__ADDRESS_SIZE],
                             const char **ret_why);

#endif
