/* recast_parts.h - what the files of recast share: old and new nodes while rows are dealt out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_RECAST_PARTS_H
#define TROUPE_RUNTIME_SNAPSHOT_RECAST_PARTS_H

#include "mailbox/responses.h"
#include "runtime/machine/counters.h"
#include "runtime/machine/egress.h"
#include "runtime/snapshot/recast.h"

struct troupe__recast_old {
    struct troupe__recast_source *source;
    enum troupe__table table; /* of the row that is next; TROUPE__TABLE_COUNT at the end */
    struct troupe_bytes key, value;
    struct troupe__buffer meta; /* its META rows but for the ids, as a record */
    struct troupe__counters counters;
    uint64_t colour;
    uint64_t *accepted; /* by the number of the sender */
};

struct troupe__recast_new {
    uint64_t sequence, waiting, egress_number, egress_released;
    struct troupe__egress_name *egresses;
    size_t egress_count;
    uint64_t id_last; /* of timers, asks and jobs */
    uint64_t *kept;   /* numbers of asks from outside that are answered later, of the earlier format */
    size_t kept_count;
};

/* An ask from outside that waits, of the earlier format: its numbers as they were and as they are. */
struct troupe__recast_ask {
    uint64_t old_number, new_number;
    uint16_t old_node, new_node;
};

/* One with an id that is not answered. */
struct troupe__recast_open {
    uint64_t number;
    uint16_t slot, node; /* of the actor */
    bool answered;       /* since */
    unsigned char key[TROUPE__RESPONSE_KEY_SIZE];
};

struct troupe__recasting {
    const struct troupe__recast_options *options;
    struct troupe__recast_old *olds;
    struct troupe__recast_new *news;
    uint16_t old_count, new_count;
    struct troupe__recast_ask *asks; /* sorted once MAIL is done */
    size_t ask_count, ask_capacity;
    struct troupe__recast_open *opens; /* sorted once RESPONSE is done */
    size_t open_count, open_capacity;
    struct troupe__buffer row; /* what is being written */
    struct troupe__recast_counts counts;
    char *error;
    size_t error_size;
};

static inline struct troupe__cursor troupe__recast_cursor(struct troupe_bytes bytes)
{
    return (struct troupe__cursor){bytes.data, (const unsigned char *)bytes.data + bytes.size, false};
}

static inline uint16_t troupe__recast_owner(const struct troupe__recasting *recast, uint16_t slot)
{
    return recast->options->slots->owner[slot];
}

/* Returns TROUPE_ENOMEM, or TROUPE_ECORRUPT, with a text. */
enum troupe_error troupe__recast_no_memory(struct troupe__recasting *recast);
enum troupe_error troupe__recast_corrupt(struct troupe__recasting *recast, uint16_t node, const char *what);

/* Set a row of a new node; `.._row` to what stands in recast->row. */
enum troupe_error troupe__recast_set(struct troupe__recasting *recast, uint16_t node, enum troupe__table table,
                                     struct troupe_bytes key, struct troupe_bytes value);
enum troupe_error troupe__recast_set_row(struct troupe__recasting *recast, uint16_t node, enum troupe__table table,
                                         struct troupe_bytes key);
enum troupe_error troupe__recast_set_number_row(struct troupe__recasting *recast, uint16_t node,
                                                enum troupe__table table, uint64_t number);

/* ---- recast_messages.c: each takes the next row of old node `from` ---- */

enum troupe_error troupe__recast_mail(struct troupe__recasting *recast, uint16_t from);
enum troupe_error troupe__recast_dead(struct troupe__recasting *recast, uint16_t from);
enum troupe_error troupe__recast_response(struct troupe__recasting *recast, uint16_t from);
enum troupe_error troupe__recast_outbox(struct troupe__recasting *recast, uint16_t from);

/* MAIL is done; RESPONSE is. */
void troupe__recast_sort_asks(struct troupe__recasting *recast);
void troupe__recast_sort_opens(struct troupe__recasting *recast);

#endif
