/* gate.c - who may connect: the keys that a socket lets in, asked by ZeroMQ at every CURVE handshake.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Request: version "1.0", id, domain, address, routing id, mechanism, and for CURVE the client's key (32 bytes).
 * Reply: version, id, status, text, user, metadata (empty). */
#include "transport/gate.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "transport/socket.h"

enum { KEY_BYTES = 32, PARTS = 7, STOP_LOOK_MS = 100 };

struct troupe__gate {
    struct troupe__gate *next;
    char domain[32];
    struct entry {
        unsigned char key[KEY_BYTES];
        char user[64];
    } * entries;
    size_t count;
    troupe__gate_refused_fn refused;
    void *context;
};

/* The process's handler: there while there are gates. `lifecycle` is held while gates are opened and closed, `mutex`
 * for moments: the handler takes it too. */
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct troupe__gate *gates; /* under the mutex */
static unsigned long gate_number;  /* under lifecycle */
static void *handler;              /* the thread's own, from its start to its end */
static pthread_t thread;
static atomic_bool stopping;

static bool send_part(void *zmq, const void *data, size_t size, bool more)
{
    int code;
    while ((code = zmq_send(zmq, data, size, more ? ZMQ_SNDMORE : 0)) < 0 && errno == EINTR) {
    }
    return code >= 0;
}

static bool is_text(zmq_msg_t *part, const char *text)
{
    return zmq_msg_size(part) == strlen(text) && memcmp(zmq_msg_data(part), text, strlen(text)) == 0;
}

/* The entry of the key that asks, NULL when it may not come in. All entries are looked at, whatever matches: the time
 * it takes says nothing. */
static const struct entry *find_entry(const struct troupe__gate *gate, zmq_msg_t *parts, size_t count)
{
    const struct entry *found = NULL;
    if (!gate || count != PARTS || !is_text(&parts[5], "CURVE") || zmq_msg_size(&parts[6]) != KEY_BYTES) {
        return NULL;
    }
    const unsigned char *key = zmq_msg_data(&parts[6]);
    for (size_t i = 0; i < gate->count; i++) {
        unsigned char different = 0;
        for (size_t at = 0; at < KEY_BYTES; at++) {
            different |= gate->entries[i].key[at] ^ key[at];
        }
        found = different ? found : &gate->entries[i];
    }
    return found;
}

static void report_refusal(const struct troupe__gate *gate, zmq_msg_t *parts, size_t count)
{
    char address[64] = "?", key[41] = "?";
    if (count > 3) {
        snprintf(address, sizeof address, "%.*s", (int)zmq_msg_size(&parts[3]), (char *)zmq_msg_data(&parts[3]));
    }
    if (count == PARTS && zmq_msg_size(&parts[6]) == KEY_BYTES) {
        zmq_z85_encode(key, zmq_msg_data(&parts[6]), KEY_BYTES);
    }
    if (gate && gate->refused) {
        gate->refused(gate->context, address, key);
    }
}

static void answer(zmq_msg_t *parts, size_t count)
{
    char user[64] = "";
    pthread_mutex_lock(&mutex);
    struct troupe__gate *gate = gates;
    while (gate && (count < 3 || !is_text(&parts[2], gate->domain))) {
        gate = gate->next;
    }
    const struct entry *entry = find_entry(gate, parts, count);
    if (entry) {
        memcpy(user, entry->user, sizeof user);
    } else {
        report_refusal(gate, parts, count);
    }
    pthread_mutex_unlock(&mutex);
    const char *status = entry ? "200" : "400", *text = entry ? "OK" : "unknown key";
    if (count < 2) {
        return; /* ZeroMQ never asks so. */
    }
    (void)(send_part(handler, "1.0", 3, true) &&
           send_part(handler, zmq_msg_data(&parts[1]), zmq_msg_size(&parts[1]), true) &&
           send_part(handler, status, 3, true) && send_part(handler, text, strlen(text), true) &&
           send_part(handler, user, strlen(user), true) && send_part(handler, "", 0, false));
}

/* Receive one request and answer it. */
static void serve(void)
{
    zmq_msg_t parts[PARTS];
    size_t count = 0;
    bool more = true;
    while (more) {
        zmq_msg_t rest, *part = count < PARTS ? &parts[count] : &rest;
        zmq_msg_init(part);
        if (zmq_msg_recv(part, handler, count == 0 ? ZMQ_DONTWAIT : 0) < 0) {
            zmq_msg_close(part);
            break;
        }
        more = zmq_msg_more(part);
        if (part == &rest) {
            zmq_msg_close(&rest);
        } else {
            count++;
        }
    }
    if (count > 0) {
        answer(parts, count);
    }
    while (count > 0) {
        zmq_msg_close(&parts[--count]);
    }
}

static void *run(void *unused)
{
    (void)unused;
    while (!atomic_load(&stopping)) {
        zmq_pollitem_t item = {.socket = handler, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, STOP_LOOK_MS) > 0) {
            serve();
        }
    }
    return NULL;
}

/* Under lifecycle, as is stop_handler. */
static enum troupe_error start_handler(char *error, size_t error_size)
{
    void *context = troupe__socket_context_acquire();
    int linger = 0;
    handler = context ? zmq_socket(context, ZMQ_REP) : NULL;
    if (!handler || zmq_setsockopt(handler, ZMQ_LINGER, &linger, sizeof linger) ||
        zmq_bind(handler, "inproc://zeromq.zap.01")) {
        snprintf(error, error_size, "open the gate: %s", context ? zmq_strerror(errno) : "out of memory");
        goto err_after_context;
    }
    atomic_store(&stopping, false);
    sigset_t all, before; /* Signals belong to the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) {
        return TROUPE_OK;
    }
    snprintf(error, error_size, "open the gate: cannot start its thread: %s", strerror(code));

err_after_context:
    if (handler) {
        zmq_close(handler);
    }
    if (context) {
        troupe__socket_context_release();
    }
    return context ? TROUPE_EIO : TROUPE_ENOMEM;
}

static void stop_handler(void)
{
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    zmq_close(handler);
    troupe__socket_context_release();
}

static void free_gate(struct troupe__gate *gate)
{
    free(gate->entries);
    free(gate);
}

enum troupe_error troupe__gate_open(const struct troupe__gate_entry *entries, size_t count,
                                    troupe__gate_refused_fn refused, void *context, struct troupe__gate **ret,
                                    char *error, size_t error_size)
{
    struct troupe__gate *gate = calloc(1, sizeof *gate);
    if (!gate || !(gate->entries = calloc(count ? count : 1, sizeof *gate->entries))) {
        free(gate);
        snprintf(error, error_size, "open the gate: out of memory");
        return TROUPE_ENOMEM;
    }
    gate->count = count;
    gate->refused = refused;
    gate->context = context;
    for (size_t i = 0; i < count; i++) {
        if (strlen(entries[i].public_key) != 40 || !zmq_z85_decode(gate->entries[i].key, entries[i].public_key)) {
            snprintf(error, error_size, "open the gate: '%s' is no key: see troupe keygen", entries[i].public_key);
            free_gate(gate);
            return TROUPE_EINVAL;
        }
        snprintf(gate->entries[i].user, sizeof gate->entries[i].user, "%s", entries[i].user);
    }
    pthread_mutex_lock(&lifecycle);
    enum troupe_error result = gates ? TROUPE_OK : start_handler(error, error_size);
    if (result == TROUPE_OK) {
        snprintf(gate->domain, sizeof gate->domain, "troupe.%lu", ++gate_number);
        pthread_mutex_lock(&mutex);
        gate->next = gates;
        gates = gate;
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_unlock(&lifecycle);
    if (result != TROUPE_OK) {
        free_gate(gate);
        return result;
    }
    *ret = gate;
    return TROUPE_OK;
}

const char *troupe__gate_domain(const struct troupe__gate *gate)
{
    return gate->domain;
}

void troupe__gate_close(struct troupe__gate *gate)
{
    if (!gate) {
        return;
    }
    pthread_mutex_lock(&lifecycle);
    pthread_mutex_lock(&mutex);
    struct troupe__gate **at = &gates;
    while (*at != gate) {
        at = &(*at)->next;
    }
    *at = gate->next;
    pthread_mutex_unlock(&mutex);
    if (!gates) {
        stop_handler();
    }
    pthread_mutex_unlock(&lifecycle);
    free_gate(gate);
}
