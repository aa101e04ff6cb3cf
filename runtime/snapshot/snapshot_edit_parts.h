/* snapshot_edit_parts.h - what the files of snapshot_edit share: a change as it was said, and rows that are changed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_EDIT_PARTS_H
#define TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_EDIT_PARTS_H

#include "runtime/snapshot/snapshot_edit.h"

enum { TROUPE__EDIT_TEXT_SIZE = 65536 };

/* What a change says; "" or no data where it says nothing. */
struct troupe__edit_request {
    const char *what, *actor, *value, *element, *to, *from, *type, *table, *node, *to_node, *input, *egress;
    const char *dead; /* the reason, NULL where it says none */
    struct troupe_bytes data, body;
    uint64_t number, version, due_ms, index, line, offset, next;
    bool has_number, has_version, has_due, has_index, has_line, has_offset, has_next, in_flight, append;
    char text[TROUPE__EDIT_TEXT_SIZE]; /* of its strings */
    size_t text_size;
    struct troupe__buffer made; /* data that had to be made of it */
};

struct troupe__edit_address {
    char type[TROUPE_NAME_MAX + 1];
    const char *key;
};

/* Returns `error`, with a text. */
__attribute__((format(printf, 3, 4))) enum troupe_error
troupe__edit_fail(struct troupe__edit *edit, enum troupe_error error, const char *format, ...);

/* Put the rows in order: what is found in them is as all changes so far left it. */
void troupe__edit_settle(struct troupe__edit_part *part);

enum troupe_error troupe__edit_parse_address(struct troupe__edit *edit, const char *text,
                                             struct troupe__edit_address *ret);

/* The part of the node where the actor lives. */
struct troupe__edit_part *troupe__edit_part_of(struct troupe__edit *edit, const struct troupe__edit_address *address);

/* The part of the node of that name; "" is the only one there is. */
enum troupe_error troupe__edit_find_node(struct troupe__edit *edit, const char *name, struct troupe__edit_part **ret);

enum troupe_error troupe__edit_remove_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                          enum troupe__table table, struct troupe_bytes key);
enum troupe_error troupe__edit_set_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                       enum troupe__table table, struct troupe_bytes key,
                                       const struct troupe__buffer *value);

/* Read a part of what was said, whose strings are copied into `request`. */
enum troupe_error troupe__edit_unpack(struct troupe__edit_request *request, char *error, size_t error_size,
                                      struct troupe_bytes body, const char *format, ...);

/* ---- snapshot_edit_values.c ---- */

enum troupe_error troupe__edit_set(struct troupe__edit *edit, struct troupe__edit_request *request);
enum troupe_error troupe__edit_clear(struct troupe__edit *edit, const struct troupe__edit_request *request);

/* The heads of lists that have changed are written, or are not to be. */
enum troupe_error troupe__edit_write_lists(struct troupe__edit *edit, struct troupe__edit_part *part);
void troupe__edit_forget_lists(struct troupe__edit_part *part);

/* Bytes that JSON cannot carry are given as they are exported: {"$bin":"base64"} and {"$raw":"hexadecimal digits"}. */
enum troupe_error troupe__edit_take_data(struct troupe__edit *edit, struct troupe__edit_request *request,
                                         struct troupe_bytes *data);

/* ---- snapshot_edit_messages.c ---- */

enum troupe_error troupe__edit_send(struct troupe__edit *edit, struct troupe__edit_request *request);
enum troupe_error troupe__edit_drop(struct troupe__edit *edit, const struct troupe__edit_request *request);

/* ---- snapshot_edit_ends.c ---- */

enum troupe_error troupe__edit_set_input(struct troupe__edit *edit, const struct troupe__edit_request *request);
enum troupe_error troupe__edit_clear_input(struct troupe__edit *edit, const struct troupe__edit_request *request);
enum troupe_error troupe__edit_set_egress(struct troupe__edit *edit, const struct troupe__edit_request *request);

#endif
