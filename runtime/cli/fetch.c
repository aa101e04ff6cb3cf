/* fetch.c - parts of a snapshot that nodes have at home come over the wire.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first reply says how long the part is and how much a node gives at a time. From then on a request follows each
 * reply, so that always as many are under way; a piece that came shorter is asked for the rest. */
#include "runtime/cli/fetch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/cli/monotonic.h"
#include "runtime/files.h"

enum {
    AT_ONCE = 16, /* nodes: half a megabyte a piece, 32 MiB may be on their way */
    ANSWER_MS = 30000,
    LOOK_MS = 200,
};

static enum troupe_error say(char *error, size_t error_size, enum troupe_error result, const char *text)
{
    snprintf(error, error_size, "%s", text ? text : "");
    return result;
}

/* Ask for a piece from there on, in a place of the window that is free. */
static enum troupe_error ask(struct troupe__fetch *fetch, uint64_t colour, size_t place, uint64_t from, uint64_t size,
                             char *error, size_t error_size)
{
    struct troupe__request request = {.what = "snapshot.read", .colour = colour, .from = from};
    enum troupe_error result = troupe__client_send(fetch->client, &request);
    if (result != TROUPE_OK) {
        return say(error, error_size, result, fetch->client->error);
    }
    assert(!fetch->window[place].under_way);
    fetch->window[place].under_way = true;
    fetch->window[place].number = request.number;
    fetch->window[place].from = from;
    fetch->window[place].size = size;
    return TROUPE_OK;
}

static enum troupe_error begin(struct troupe__fetch *fetch, uint64_t colour, char *error, size_t error_size)
{
    fetch->fd = open(fetch->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fetch->fd < 0) {
        return troupe__files_fail("create", fetch->path, error, error_size);
    }
    fetch->state = TROUPE__FETCH_GOES_ON;
    fetch->heard_ms = troupe__monotonic_ms();
    enum troupe_error result = ask(fetch, colour, 0, 0, 0, error, error_size);
    fetch->first = fetch->window[0].number;
    return result;
}

/* As many pieces as may be. */
static enum troupe_error fill_window(struct troupe__fetch *fetch, uint64_t colour, char *error, size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < TROUPE__FETCH_WINDOW && fetch->next < fetch->size && result == TROUPE_OK; i++) {
        if (!fetch->window[i].under_way) {
            uint64_t left = fetch->size - fetch->next, size = left < fetch->piece ? left : fetch->piece;
            result = ask(fetch, colour, i, fetch->next, size, error, error_size);
            fetch->next += size;
        }
    }
    return result;
}

static enum troupe_error write_piece(struct troupe__fetch *fetch, struct troupe_bytes bytes, uint64_t from, char *error,
                                     size_t error_size)
{
    for (size_t at = 0; at < bytes.size;) {
        ssize_t size = pwrite(fetch->fd, (const char *)bytes.data + at, bytes.size - at, (off_t)(from + at));
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return troupe__files_fail("write", fetch->path, error, error_size);
        }
        at += (size_t)size;
    }
    fetch->received += bytes.size;
    return TROUPE_OK;
}

/* So that no more files are open than parts under way. */
static enum troupe_error end(struct troupe__fetch *fetch, char *error, size_t error_size)
{
    if (fsync(fetch->fd)) {
        return troupe__files_fail("sync", fetch->path, error, error_size);
    }
    close(fetch->fd);
    fetch->fd = -1;
    fetch->state = TROUPE__FETCH_DONE;
    return TROUPE_OK;
}

static enum troupe_error take(struct troupe__fetch *fetch, uint64_t colour, const struct troupe__reply *reply,
                              char *error, size_t error_size)
{
    size_t place = 0;
    while (place < TROUPE__FETCH_WINDOW &&
           !(fetch->window[place].under_way && fetch->window[place].number == reply->number)) {
        place++;
    }
    if (place == TROUPE__FETCH_WINDOW) {
        return TROUPE_OK; /* Of a request that was answered already. */
    }
    if (!reply->ok) {
        return say(error, error_size, reply->error, reply->text);
    }
    uint64_t from = fetch->window[place].from, wanted = fetch->window[place].size, got = reply->rows.size;
    fetch->window[place].under_way = false;
    if (wanted == 0) { /* The first. */
        fetch->size = reply->sequence;
        fetch->piece = fetch->next = wanted = got;
    }
    if (got == 0 || got > wanted || reply->sequence != fetch->size || fetch->size > INT64_MAX ||
        got > fetch->size - from) {
        return say(error, error_size, TROUPE_ECORRUPT, "its part is not as long as it has said: take another snapshot");
    }
    enum troupe_error result = write_piece(fetch, reply->rows, from, error, error_size);
    if (result == TROUPE_OK && got < wanted) {
        result = ask(fetch, colour, place, from + got, wanted - got, error, error_size);
    }
    return result == TROUPE_OK ? fill_window(fetch, colour, error, error_size) : result;
}

/* All that has come of it. */
static enum troupe_error take_all(struct troupe__fetch *fetch, uint64_t colour, char *error, size_t error_size)
{
    struct troupe__reply reply;
    enum troupe_error result = TROUPE_OK;
    while (result == TROUPE_OK && (fetch->size == 0 || fetch->received < fetch->size) &&
           troupe__client_poll_from(fetch->client, fetch->first, &reply)) {
        fetch->heard_ms = troupe__monotonic_ms();
        result = take(fetch, colour, &reply, error, error_size);
    }
    if (result == TROUPE_OK && fetch->size > 0 && fetch->received == fetch->size) {
        result = end(fetch, error, error_size);
    } else if (result == TROUPE_OK && troupe__monotonic_ms() - fetch->heard_ms > ANSWER_MS) {
        result = troupe__client_say_silent(fetch->client, ANSWER_MS);
        say(error, error_size, result, fetch->client->error);
    }
    return result;
}

/* Wait until something comes of those that go on. Returns whether there are any. */
static bool wait_for_some(struct troupe__fetch *fetches, size_t count)
{
    struct troupe__socket *sockets[AT_ONCE];
    size_t active = 0;
    for (size_t i = 0; i < count; i++) {
        if (fetches[i].state == TROUPE__FETCH_GOES_ON) {
            sockets[active++] = fetches[i].client->socket;
        }
    }
    if (active > 0) {
        troupe__socket_wait_any(sockets, active, LOOK_MS);
    }
    return active > 0;
}

/* Begin those that may. */
static enum troupe_error begin_some(struct troupe__fetch *fetches, size_t count, uint64_t colour, size_t *ret_failed,
                                    char *error, size_t error_size)
{
    size_t active = 0;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < count; i++) {
        active += fetches[i].state == TROUPE__FETCH_GOES_ON;
    }
    for (size_t i = 0; i < count && active < AT_ONCE && result == TROUPE_OK; i++) {
        if (fetches[i].state == TROUPE__FETCH_WAITS) {
            *ret_failed = i;
            result = begin(&fetches[i], colour, error, error_size);
            active++;
        }
    }
    return result;
}

enum troupe_error troupe__fetch_parts(struct troupe__fetch *fetches, size_t count, uint64_t colour,
                                      troupe__fetch_look_fn look, void *context, size_t *ret_failed, char *error,
                                      size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < count; i++) {
        fetches[i].fd = -1;
    }
    while ((result = begin_some(fetches, count, colour, ret_failed, error, error_size)) == TROUPE_OK &&
           wait_for_some(fetches, count)) {
        for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
            if (fetches[i].state == TROUPE__FETCH_GOES_ON) {
                *ret_failed = i;
                result = take_all(&fetches[i], colour, error, error_size);
            }
        }
        if (result != TROUPE_OK) {
            break;
        }
        look(context);
    }
    for (size_t i = 0; i < count; i++) {
        if (fetches[i].fd >= 0) {
            close(fetches[i].fd);
        }
    }
    return result;
}
