/* cut.c - what must hold in every snapshot of the simulated actors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test/sim/cut.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/frame.h"
#include "runtime/machine/links.h"
#include "test/sim/actors.h"

enum { NODES_MAX = 8 };

struct flight { /* a message in an outbox */
    uint64_t from, to, number;
    int64_t money;
};

struct cut {
    struct ledger ledger;
    struct troupe__link_row links[NODES_MAX][NODES_MAX];
    uint64_t outbox_counts[NODES_MAX][NODES_MAX], outbox_last[NODES_MAX][NODES_MAX];
    struct flight *flights;
    size_t flight_count;
    uint64_t node; /* whose part is read */
    int64_t waiting;
};

static void skip_address(struct troupe__cursor *cursor)
{
    size_t size;
    troupe__cursor_string(cursor, &size);
    troupe__cursor_string(cursor, &size);
}

/* The money in a message's row form (core/message.h). */
static int64_t money_in(struct troupe_bytes row)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct body body;
    size_t size = 0;
    const unsigned char *flags = troupe__cursor_bytes(&cursor, 1);
    skip_address(&cursor);
    if (flags && (*flags & 1)) {
        skip_address(&cursor);
    }
    const void *type = troupe__cursor_string(&cursor, &size);
    if (cursor.failed || size != 2 || memcmp(type, "go", 2) != 0 || row.size < sizeof body) {
        return 0;
    }
    memcpy(&body, (const unsigned char *)row.data + row.size - sizeof body, sizeof body);
    return body.money;
}

static bool take_link(struct cut *cut, struct troupe_bytes key, struct troupe_bytes value)
{
    struct troupe__link_row link;
    int peer = troupe__links_row_read(key, value, NODES_MAX, &link);
    if (peer >= 0) {
        cut->links[cut->node][peer] = link;
    }
    return peer != TROUPE__LINK_ROW_BAD;
}

/* A row of an outbox: messages, the first of which has the key's number. */
static bool take_flights(struct cut *cut, struct troupe_bytes key, struct troupe_bytes value)
{
    const unsigned char *at = key.data;
    if (key.size != 10) {
        return false;
    }
    struct flight flight = {.from = cut->node, .to = (uint64_t)at[0] << 8 | at[1], .number = troupe__get_be64(at + 2)};
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe_bytes message;
    for (; flight.to < NODES_MAX && troupe__frame_message(&cursor, &message); flight.number++) {
        struct flight *flights = realloc(cut->flights, (cut->flight_count + 1) * sizeof *flights);
        if (!flights) {
            return false;
        }
        flight.money = money_in(message);
        cut->flights = flights;
        cut->flights[cut->flight_count++] = flight;
        cut->outbox_counts[flight.from][flight.to]++;
        cut->outbox_last[flight.from][flight.to] = flight.number;
    }
    return flight.to < NODES_MAX && !cursor.failed;
}

static enum troupe_error take_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    struct cut *cut = context;
    bool good = true;
    if (table == TROUPE__META) {
        good = take_link(cut, key, value);
    } else if (table == TROUPE__STATE) {
        return take_books(&cut->ledger, key, value);
    } else if (table == TROUPE__MAIL) {
        cut->waiting += money_in(value);
    } else if (table == TROUPE__OUTBOX) {
        good = take_flights(cut, key, value);
    }
    return good ? TROUPE_OK : TROUPE_ECORRUPT;
}

static bool check_links(const struct cut *cut, size_t node_count, char *text, size_t text_size)
{
    for (size_t a = 0; a < node_count; a++) {
        for (size_t b = 0; b < node_count; b++) {
            const struct troupe__link_row *link = &cut->links[a][b];
            uint64_t count = cut->outbox_counts[a][b];
            if (count != link->sent - link->trimmed || (count > 0 && cut->outbox_last[a][b] != link->sent)) {
                snprintf(text, text_size,
                         "from node %zu to node %zu %" PRIu64 " messages are sent and %" PRIu64 " trimmed, but %" PRIu64
                         " are there, up to %" PRIu64,
                         a, b, link->sent, link->trimmed, count, cut->outbox_last[a][b]);
                return false;
            }
        }
    }
    return true;
}

static bool check_money(const struct cut *cut, char *text, size_t text_size)
{
    int64_t balance = 0, flying = 0;
    for (size_t i = 0; i < ACTORS_MAX; i++) {
        balance += cut->ledger.books[i].balance;
    }
    for (size_t i = 0; i < cut->flight_count; i++) { /* What the receiver has is no longer on the way. */
        const struct flight *flight = &cut->flights[i];
        flying += flight->number > cut->links[flight->to][flight->from].accepted ? flight->money : 0;
    }
    snprintf(text, text_size, "the actors have %" PRId64 ", %" PRId64 " waits and %" PRId64 " flies", balance,
             cut->waiting, flying);
    return !cut->ledger.broken && balance + cut->waiting + flying == 0;
}

bool check_snapshot(const char *directory, const struct troupe__snapshot *snapshot, char *text, size_t text_size)
{
    struct cut cut = {.node = 0};
    assert(snapshot->part_count <= NODES_MAX);
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        cut.node = snapshot->parts[i].number;
        snprintf(text, text_size, "a row is malformed");
        result = troupe__snapshot_read_part(directory, &snapshot->parts[i], take_row, &cut, text, text_size);
    }
    bool good = result == TROUPE_OK && check_links(&cut, snapshot->part_count, text, text_size) &&
                check_money(&cut, text, text_size);
    free(cut.flights);
    return good;
}
