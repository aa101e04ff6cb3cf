/* keys.h - CURVE key pairs: made, and kept in files.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A key is 40 characters of Z85 (rfc.zeromq.org/spec/32). A secret key's file holds it and a newline, readable by its
 * owner alone; one that others may read is refused. */
#ifndef TROUPE_TRANSPORT_KEYS_H
#define TROUPE_TRANSPORT_KEYS_H

#include "core/troupe.h"

enum { TROUPE__KEY_SIZE = 40 };

struct troupe__key_pair {
    char public_key[TROUPE__KEY_SIZE + 1], secret_key[TROUPE__KEY_SIZE + 1];
};

/* Make a new pair. Errors, with a text: TROUPE_EIO (this ZeroMQ was built without CURVE). */
enum troupe_error troupe__keys_make(struct troupe__key_pair *ret, char *error, size_t error_size);

/* Write the secret key into the new file `path`, synced. Errors, with a text: TROUPE_EBUSY (it exists),
 * TROUPE_ENOSPACE, TROUPE_EIO. */
enum troupe_error troupe__keys_write(const char *path, const struct troupe__key_pair *pair, char *error,
                                     size_t error_size);

/* Read a secret key and find its public one. Errors, with a text: TROUPE_EINVAL (no key, or others may read it),
 * TROUPE_EIO. */
enum troupe_error troupe__keys_read(const char *path, struct troupe__key_pair *ret, char *error, size_t error_size);

#endif
