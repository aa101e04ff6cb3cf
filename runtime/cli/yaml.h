/* yaml.h - strict YAML: maps, lists and scalars, each with its line.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What makes two readers disagree is refused: duplicate keys, anchors and aliases, tags, directives, a second document,
 * keys that are not scalars, NUL characters. A scalar is its text; who reads it decides on the type. A file has at most
 * 1 MiB and a nesting of 16; an empty one is an empty map. */
#ifndef TROUPE_RUNTIME_CLI_YAML_H
#define TROUPE_RUNTIME_CLI_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "core/troupe.h"

enum troupe__yaml_kind { TROUPE__YAML_SCALAR, TROUPE__YAML_MAP, TROUPE__YAML_LIST };

struct troupe__yaml {
    enum troupe__yaml_kind kind;
    unsigned line;              /* from 1: of its key, or of itself */
    char *key;                  /* of a member of a map, else NULL */
    char *text;                 /* of a scalar */
    bool plain;                 /* a scalar without quotes: true is a truth, "true" is text */
    struct troupe__yaml *first; /* member of a map or list */
    struct troupe__yaml *next;  /* in the same map or list */
};

/* Read a file, whose root must be a map. Errors, with a text `PATH:LINE: what`: TROUPE_EINVAL (its content),
 * TROUPE_EIO (it cannot be read), TROUPE_ETOOBIG, TROUPE_ENOMEM. */
enum troupe_error troupe__yaml_read(const char *path, struct troupe__yaml **ret, char *error, size_t error_size);

/* The same from memory; `path` is for the error text. */
enum troupe_error troupe__yaml_parse(const char *path, const char *text, size_t size, struct troupe__yaml **ret,
                                     char *error, size_t error_size);
void troupe__yaml_free(struct troupe__yaml *root);

/* The member `key` of a map, or NULL. */
struct troupe__yaml *troupe__yaml_find(const struct troupe__yaml *map, const char *key);

/* Read `true` or `false`, without quotes and in lower case. Returns false, `*ret` untouched, if it is neither. */
bool troupe__yaml_bool(const struct troupe__yaml *node, bool *ret);

/* Whether it is a scalar that holds text: in quotes, or plain and not what YAML takes as nothing or a truth. */
bool troupe__yaml_is_text(const struct troupe__yaml *node);

#endif
