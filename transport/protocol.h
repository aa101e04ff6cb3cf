/* protocol.h - the client protocol: requests and replies as msgpack maps, docs/protocol.md has it to the byte.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Both sides: the node parses requests and builds replies, a client the other way round. Nothing read is trusted:
 * lengths and nesting are checked, strings are NUL-terminated copies in the struct. */
#ifndef TROUPE_TRANSPORT_PROTOCOL_H
#define TROUPE_TRANSPORT_PROTOCOL_H

#include "core/buffer.h"
#include "core/troupe.h"

enum {
    TROUPE__PROTOCOL_VERSION = 1,
    TROUPE__ID_MAX = 255,            /* bytes of an id */
    TROUPE__REQUEST_TEXT_MAX = 2048, /* bytes of all strings of a request, each with its NUL */
    TROUPE__TIMEOUT_DEFAULT_MS = 10000,
    TROUPE__TIMEOUT_MAX_MS = 3600 * 1000,
    TROUPE__CREDIT_MAX = 1024,
};

struct troupe__request {
    uint64_t number; /* the client's; replies carry it */
    const char *what;
    const char *id;                /* NULL when there is none, as for all others */
    const char *to, *type;         /* `to` as namespace/name/key */
    struct troupe_address address; /* of `to`; {NULL, NULL} when there is none */
    struct troupe_bytes body;      /* packed; in the request's bytes; {NULL, 0} when there is none */
    int64_t timeout_ms;
    const char *egress;
    uint64_t from, credit, letter, tables, colour;
    const char *path;
    struct troupe_bytes prefix; /* in the request's bytes */
    bool json;
    size_t text_size;
    char text[TROUPE__REQUEST_TEXT_MAX];
    char address_type[TROUPE_NAME_MAX + 1];
};

/* Errors, with a text: TROUPE_EINVAL (not such a map; `number` is set if it could be read, else 0), TROUPE_EVERSION. */
enum troupe_error troupe__request_parse(struct troupe_bytes bytes, struct troupe__request *ret, char *error,
                                        size_t error_size);

/* Append a request; members that are NULL, or 0, are left out. */
void troupe__request_put(struct troupe__buffer *buffer, const struct troupe__request *request);

struct troupe__reply {
    uint64_t number;
    bool ok;                  /* else `error` and `text` say why */
    bool more;                /* other replies to this request follow */
    enum troupe_error error;  /* TROUPE_ERROR_COUNT: of a later version */
    const char *text;         /* or lines of text, of an inspection */
    const char *type, *key;   /* of an answer; of a record */
    uint64_t sequence;        /* of a record; 0: none */
    struct troupe_bytes body; /* packed; {NULL, 0} when there is none */
    struct troupe_bytes rows; /* of an inspection */
};

/* Append a reply. A body that is not msgpack goes out as bytes. */
void troupe__reply_put(struct troupe__buffer *buffer, const struct troupe__reply *reply);

/* Strings are copied into `texts`, which is emptied first. Errors: TROUPE_EINVAL, TROUPE_ENOMEM. */
enum troupe_error troupe__reply_parse(struct troupe_bytes bytes, struct troupe__buffer *texts,
                                      struct troupe__reply *ret);

#endif
