/* snapshot_cut.c - whether the parts of a troupe are one consistent cut.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/machine/links.h"
#include "runtime/snapshot/snapshot.h"
#include "runtime/snapshot/snapshot_stream.h"

/* What the parts say of their links. */
struct cut {
    struct troupe__link_row *links; /* count * count, by node and peer */
    size_t count, node;
    bool malformed;
};

/* Rows of META "link/PEER" (runtime/machine/links.h); META stands first, so that the rest need not be read. */
static enum troupe_error note_link(void *context, enum troupe__table table, struct troupe_bytes key,
                                   struct troupe_bytes value)
{
    struct cut *cut = context;
    if (table != TROUPE__META) {
        return TROUPE_ECLOSED;
    }
    struct troupe__link_row link;
    int peer = troupe__links_row_read(key, value, cut->count, &link);
    if (peer == TROUPE__LINK_ROW_BAD) {
        cut->malformed = true;
        return TROUPE_ECLOSED;
    }
    if (peer >= 0) {
        cut->links[cut->node * cut->count + (size_t)peer] = link;
    }
    return TROUPE_OK;
}

static const char *name_of(const struct troupe__snapshot *snapshot, size_t number)
{
    for (size_t i = 0; i < snapshot->part_count; i++) {
        if (snapshot->parts[i].number == number) {
            return snapshot->parts[i].node;
        }
    }
    return "?";
}

static enum troupe_error compare_links(const char *directory, const struct troupe__snapshot *snapshot,
                                       const struct cut *cut, char *error, size_t error_size)
{
    for (size_t a = 0; a < cut->count; a++) {
        for (size_t b = 0; b < cut->count; b++) {
            const struct troupe__link_row *out = &cut->links[a * cut->count + b], *in = &cut->links[b * cut->count + a];
            if (a != b && (out->trimmed > in->accepted || in->accepted > out->sent)) {
                snprintf(
                    error, error_size,
                    "%s: its parts are no cut: %s has sent %llu messages to %s and forgotten %llu, which has %llu: "
                    "use another snapshot",
                    directory, name_of(snapshot, a), (unsigned long long)out->sent, name_of(snapshot, b),
                    (unsigned long long)out->trimmed, (unsigned long long)in->accepted);
                return TROUPE_ECORRUPT;
            }
        }
    }
    return TROUPE_OK;
}

/* What all parts say of their links; `cut->links` is to be freed on TROUPE_OK. */
static enum troupe_error read_links(const char *directory, const struct troupe__snapshot *snapshot, struct cut *cut,
                                    char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    *cut = (struct cut){.count = snapshot->part_count};
    if (!(cut->links = calloc(cut->count * cut->count, sizeof *cut->links))) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < snapshot->part_count && result == TROUPE_OK; i++) {
        cut->node = (size_t)snapshot->parts[i].number;
        result = troupe__snapshot_read_part(directory, &snapshot->parts[i], note_link, cut, error, error_size);
        result = result == TROUPE_ECLOSED ? TROUPE_OK : result;
        if (cut->malformed) {
            result = troupe__snapshot_damaged(directory, "a row of a link is malformed", error, error_size);
        }
    }
    if (result != TROUPE_OK) {
        free(cut->links);
    }
    return result;
}

enum troupe_error troupe__snapshot_check_cut(const char *directory, const struct troupe__snapshot *snapshot,
                                             char *error, size_t error_size)
{
    struct cut cut;
    enum troupe_error result = read_links(directory, snapshot, &cut, error, error_size);
    if (result == TROUPE_OK) {
        result = compare_links(directory, snapshot, &cut, error, error_size);
        free(cut.links);
    }
    return result;
}

enum troupe_error troupe__snapshot_flights(const char *directory, const struct troupe__snapshot *snapshot,
                                           uint64_t *ret, char *error, size_t error_size)
{
    struct cut cut;
    enum troupe_error result = read_links(directory, snapshot, &cut, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = compare_links(directory, snapshot, &cut, error, error_size);
    for (size_t a = 0; a < cut.count && result == TROUPE_OK; a++) {
        for (size_t b = 0; b < cut.count; b++) {
            ret[a * cut.count + b] =
                a == b ? 0 : cut.links[a * cut.count + b].sent - cut.links[b * cut.count + a].accepted;
        }
    }
    free(cut.links);
    return result;
}
