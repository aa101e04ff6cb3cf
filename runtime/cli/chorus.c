/* chorus.c - the nodes of a troupe that run, asked all at once: silent ones cost one deadline, not one each.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/chorus.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/monotonic.h"

enum { HELLO_MS = 2000 };

enum troupe_error troupe__chorus_open(struct troupe__chorus *chorus, const struct troupe__reach *reach)
{
    *chorus = (struct troupe__chorus){reach, calloc(reach->count, sizeof *chorus->voices)};
    return chorus->voices ? TROUPE_OK : TROUPE_ENOMEM;
}

/* Its text stays. It may come back elsewhere. */
static void hang_up(struct troupe__voice *voice)
{
    if (voice->connected) {
        troupe__client_close(&voice->client);
        voice->connected = false;
    }
}

void troupe__chorus_close(struct troupe__chorus *chorus)
{
    for (size_t i = 0; chorus->voices && i < chorus->reach->count; i++) {
        hang_up(&chorus->voices[i]);
    }
    free(chorus->voices);
    chorus->voices = NULL;
}

/* While its answer is awaited a voice is connected and TROUPE_ETIMEOUT. */
static bool is_awaited(const struct troupe__voice *voice)
{
    return voice->connected && voice->result == TROUPE_ETIMEOUT;
}

static void fail(struct troupe__voice *voice, enum troupe_error result)
{
    voice->result = result;
    hang_up(voice);
}

static void begin(struct troupe__voice *voice, const struct troupe__request *request)
{
    struct troupe__request copy = *request; /* It gets a number of its own. */
    enum troupe_error result = troupe__client_send(&voice->client, &copy);
    voice->result = TROUPE_ETIMEOUT;
    if (result != TROUPE_OK) {
        fail(voice, result);
    }
}

static void listen_to(struct troupe__voice *voice)
{
    if (!troupe__client_poll(&voice->client, &voice->reply)) {
        return;
    }
    voice->result = TROUPE_OK;
    if (!voice->reply.ok) {
        snprintf(voice->client.error, sizeof voice->client.error, "%s", voice->reply.text ? voice->reply.text : "");
        fail(voice, voice->reply.error);
    }
}

/* What has come already is taken. Returns how many have answered, and in `sockets` those of the `*ret_awaited` others.
 */
static size_t listen_to_all(struct troupe__chorus *chorus, struct troupe__socket **sockets, size_t *ret_awaited)
{
    size_t answered = 0;
    *ret_awaited = 0;
    for (size_t i = 0; i < chorus->reach->count; i++) {
        struct troupe__voice *voice = &chorus->voices[i];
        if (is_awaited(voice)) {
            listen_to(voice);
        }
        if (is_awaited(voice)) {
            sockets[(*ret_awaited)++] = voice->client.socket;
        }
        answered += voice->result == TROUPE_OK;
    }
    return answered;
}

/* Whether the first that has not failed has answered. */
static bool first_is_known(const struct troupe__chorus *chorus)
{
    size_t at = 0;
    while (at + 1 < chorus->reach->count && chorus->voices[at].result != TROUPE_OK &&
           !is_awaited(&chorus->voices[at])) {
        at++;
    }
    return !is_awaited(&chorus->voices[at]);
}

/* Until all have answered or failed; with `first_only` until the first that has not failed has answered. */
static size_t collect(struct troupe__chorus *chorus, bool first_only, int64_t timeout_ms)
{
    struct troupe__socket *sockets[TROUPE__NODES_MAX];
    int64_t end_ms = troupe__monotonic_ms() + timeout_ms, left_ms = timeout_ms;
    size_t awaited, answered;
    while ((answered = listen_to_all(chorus, sockets, &awaited), awaited > 0) && left_ms > 0 &&
           !(first_only && first_is_known(chorus))) {
        troupe__socket_wait_any(sockets, awaited, (long)left_ms);
        left_ms = end_ms - troupe__monotonic_ms();
    }
    for (size_t i = 0; i < chorus->reach->count; i++) {
        struct troupe__voice *voice = &chorus->voices[i];
        if (is_awaited(voice)) {
            fail(voice, troupe__client_say_silent(&voice->client, timeout_ms));
        }
    }
    return answered;
}

static void begin_greeting(struct troupe__chorus *chorus)
{
    const struct troupe__request hello = {.what = "hello"};
    for (size_t i = 0; i < chorus->reach->count; i++) {
        struct troupe__voice *voice = &chorus->voices[i];
        const struct troupe__reach_node *node = &chorus->reach->nodes[i];
        voice->result = TROUPE_ENOTFOUND;
        if (node->listed && !voice->connected) {
            voice->result = troupe__reach_connect(chorus->reach, node, &voice->client);
            voice->connected = voice->result == TROUPE_OK;
        }
        if (voice->connected) {
            begin(voice, &hello);
        }
    }
}

size_t troupe__chorus_greet(struct troupe__chorus *chorus, int64_t timeout_ms)
{
    begin_greeting(chorus);
    return collect(chorus, false, timeout_ms);
}

int troupe__chorus_greet_first(struct troupe__chorus *chorus, int64_t timeout_ms)
{
    begin_greeting(chorus);
    (void)collect(chorus, true, timeout_ms);
    for (size_t i = 0; i < chorus->reach->count; i++) {
        if (chorus->voices[i].result == TROUPE_OK) {
            return (int)i;
        }
    }
    return -1;
}

size_t troupe__chorus_ask(struct troupe__chorus *chorus, const struct troupe__request *request, int64_t timeout_ms)
{
    for (size_t i = 0; i < chorus->reach->count; i++) {
        if (chorus->voices[i].result == TROUPE_OK) {
            begin(&chorus->voices[i], request);
        }
    }
    return collect(chorus, false, timeout_ms);
}

/* ---- one of them ------------------------------------------------------------------------------------------------- */

/* Of several: what is sent to a node that is gone is answered by nobody. */
static enum troupe_error connect_first(const struct troupe__reach *reach, struct troupe__client *client)
{
    struct troupe__chorus chorus;
    size_t listed = 0;
    *client = (struct troupe__client){0};
    if (troupe__chorus_open(&chorus, reach) != TROUPE_OK) {
        snprintf(client->error, sizeof client->error, "out of memory");
        return TROUPE_ENOMEM;
    }
    int first = troupe__chorus_greet_first(&chorus, HELLO_MS);
    while (first < 0 && !reach->nodes[listed].listed) {
        listed++;
    }
    struct troupe__voice *voice = &chorus.voices[first < 0 ? listed : (size_t)first];
    *client = voice->client; /* With its text, when it failed. */
    voice->connected = false;
    enum troupe_error result = voice->result;
    troupe__chorus_close(&chorus);
    return result;
}

enum troupe_error troupe__chorus_any(const struct troupe__reach_options *options, struct troupe__client *client)
{
    struct troupe__reach reach;
    enum troupe_error result = troupe__reach_open_near(&reach, options);
    if (result != TROUPE_OK) {
        *client = (struct troupe__client){0};
        snprintf(client->error, sizeof client->error, "%.500s", reach.error);
        return result;
    }
    size_t listed = 0, last = 0;
    for (size_t i = 0; i < reach.count; i++) {
        listed += reach.nodes[i].listed;
        last = reach.nodes[i].listed ? i : last;
    }
    result = listed == 1 ? troupe__reach_connect(&reach, &reach.nodes[last], client) : connect_first(&reach, client);
    troupe__reach_close(&reach);
    return result;
}
