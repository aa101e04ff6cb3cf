/* snapshot_edit.h - a new snapshot that is an old one with changes: for repair, and to seed a troupe with history.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All rows of the snapshot are in memory. Changes are JSON objects, see troupe__edit_change; what the module declared
 * that wrote the snapshot (core/specs.h) says of which kind and version a value or message is. */
#ifndef TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_EDIT_H
#define TROUPE_RUNTIME_SNAPSHOT_SNAPSHOT_EDIT_H

#include "core/link.h"
#include "core/specs.h"
#include "runtime/snapshot/cut.h"

struct troupe__edit_link {
    struct troupe__link_row row;
    bool changed; /* it is to be written */
};

struct troupe__edit_part {
    struct troupe__view view;
    struct troupe__counters counters;
    struct troupe__specs specs;
    size_t settled;                  /* rows of state that are in order */
    struct troupe__edit_link *links; /* to the other nodes, by their numbers */
    struct troupe__edit_list *lists; /* whose heads have changed: a table by the hash of their keys */
    size_t list_count, list_capacity;
    bool open;
};

struct troupe__edit { /* Zero bytes hold nothing. */
    struct troupe__snapshot snapshot;
    struct troupe__edit_part *parts; /* as the snapshot's */
    uint64_t changes;                /* rows that were set or removed */
    /* Called now and then, with the rows that were read or written so far. The caller's, may be NULL. */
    void (*progress)(void *context, uint64_t rows);
    void *progress_context;
    uint64_t row_count; /* so far */
    char error[640];
};

/* Read all of a snapshot. Errors of all, with a text in `edit->error`: those of reading, TROUPE_ENOMEM, and what is
 * said. It is to be finished in any case. */
enum troupe_error troupe__edit_open(struct troupe__edit *edit, const char *directory);
void troupe__edit_fini(struct troupe__edit *edit);

/* Make one change, a msgpack map:
 *   do: "set", actor, value, data [, element or index or append] [, version]
 *       a single value, an element of a map, one of a list (from 0), or another one at its end
 *   do: "clear", actor [, value [, element]]                an element, a value, map or list, or all of the actor
 *   do: "set", input, line [, offset] [, node]
 *       the node goes on behind that line of the input with this absolute path; without `offset`, the bytes up to
 *       there, the file is read. Nodes know it by the path without links: one with links, which must be there, is
 *       replaced by that
 *   do: "clear", input [, node]
 *       it begins at the input's first line
 *   do: "set", egress, next [, node]                        the next record of the egress has this number
 *   do: "send", to, type, body [, from] [, version] [, due_ms or in_flight or dead]
 *       a message waits, behind all that do; or is delayed until then; or is on its way from the node of `from`, which
 *       is not that of `to`, behind all that are; or is a dead letter with that reason
 *   do: "drop", table ["mail", "outbox", "timer", "dead" or "job"] [, node] [, to_node] [, number] [, to] [, type]
 *       all that fit are gone; of an outbox only what is on its way, of a job `to` is its actor and `type` its name
 * `node` may be left out where there is one only. Errors: TROUPE_EINVAL (it is none of these, or cannot be so),
 * TROUPE_ENOTFOUND (no such node; nothing is there to be cleared or dropped), TROUPE_EIO (the input's file),
 * TROUPE_ETYPE (the data are of another kind than was declared). */
enum troupe_error troupe__edit_change(struct troupe__edit *edit, struct troupe_bytes change);

/* Write the snapshot with the changes as the new one `target`, whose last name is its name. Errors: TROUPE_EBUSY (it
 * exists), those of part.h; nothing is left then. */
enum troupe_error troupe__edit_write(struct troupe__edit *edit, const char *target);

#endif
