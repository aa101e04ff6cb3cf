/* chorus.h - the nodes of a troupe that run, asked all at once: silent ones cost one deadline, not one each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_CHORUS_H
#define TROUPE_RUNTIME_CLI_CHORUS_H

#include "runtime/cli/reach.h"

/* One node. */
struct troupe__voice {
    /* TROUPE_OK: it answered the last question, with `reply`, valid until the next one. Else why not, with a text in
     * client.error: it cannot be connected to, was silent (TROUPE_ETIMEOUT) or refused; it is not connected then. */
    enum troupe_error result;
    struct troupe__reply reply;
    struct troupe__client client;
    bool connected;
};

struct troupe__chorus {
    const struct troupe__reach *reach;
    struct troupe__voice *voices; /* one for each node of `reach`, which outlives it */
};

/* Nobody is connected yet. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__chorus_open(struct troupe__chorus *chorus, const struct troupe__reach *reach);
void troupe__chorus_close(struct troupe__chorus *chorus);

/* Connect to each listed node that is not connected, and say hello to all; an answer's text is its version. Those that
 * do not run, or are not listed, fail at once. Returns how many have answered: all of them, or all that did within the
 * time. */
size_t troupe__chorus_greet(struct troupe__chorus *chorus, int64_t timeout_ms);

/* The same for who needs only one: the index of the first that answers, as soon as all before it have failed, or of
 * those that did within the time; -1 when none did. */
int troupe__chorus_greet_first(struct troupe__chorus *chorus, int64_t timeout_ms);

/* For a command that any node serves: connect to the one of --connect or --data; of a troupe to that of --node, or to
 * the first that answers. Errors, with a text in client->error: those of reach.h. */
enum troupe_error troupe__chorus_any(const struct troupe__reach_options *options, struct troupe__client *client);

/* Ask those that have answered the last question another one, which takes one reply. Returns how many have answered. */
size_t troupe__chorus_ask(struct troupe__chorus *chorus, const struct troupe__request *request, int64_t timeout_ms);

#endif
