/* gate.c - who may connect: the keys that a socket lets in, asked by ZeroMQ at every CURVE handshake.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Request: version "1.0", id, domain, address, routing id, mechanism, and for CURVE the client's key (32 bytes).
 * Reply: version, id, status, text, user, metadata (empty). */
#include "transport/gate.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <zmq.h>

#include "transport/handshakes.h"

enum { KEY_BYTES = 32, PARTS = 7, WATCHED_MAX = 60 };

struct entries {
    struct entry {
        unsigned char key[KEY_BYTES];
        char user[64];
    } * items;
    size_t count;
};

struct troupe__gate {
    struct troupe__gate *next;
    char domain[32];
    struct entries entries; /* under the mutex */
    struct entries gone;    /* that were let in before a change */
    troupe__gate_refused_fn refused;
    void *context;
    struct troupe__handshakes handshakes; /* of its socket; the thread's own while it watches */
    bool watches, leaves;                 /* under the mutex: the thread watches; it is to end that */
};

/* The process's handler: there while there are gates. `lifecycle` is held while gates are opened and closed, `mutex`
 * for moments: the handler takes it too. */
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER; /* a gate is not watched any more */
static struct troupe__gate *gates;                     /* under the mutex */
static size_t watched_count;                           /* under the mutex */
static unsigned long gate_number;                      /* under lifecycle */
static void *handler;                                  /* the thread's own, from its start to its end */
static int wake_fd;
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
    for (size_t i = 0; i < gate->entries.count; i++) {
        const struct entry *entry = &gate->entries.items[i];
        unsigned char different = 0;
        for (size_t at = 0; at < KEY_BYTES; at++) {
            different |= entry->key[at] ^ key[at];
        }
        found = different ? found : entry;
    }
    return found;
}

static void report_refusal(const struct troupe__gate *gate, zmq_msg_t *parts, size_t count)
{
    char address[TROUPE__ADDRESS_SIZE] = "an unknown address", key[41] = "?", why[100];
    if (count > 3) {
        snprintf(address, sizeof address, "%.*s", (int)zmq_msg_size(&parts[3]), (char *)zmq_msg_data(&parts[3]));
    }
    if (count == PARTS && zmq_msg_size(&parts[6]) == KEY_BYTES) {
        zmq_z85_encode(key, zmq_msg_data(&parts[6]), KEY_BYTES);
    }
    snprintf(why, sizeof why, "its key %s is not in the cluster file", key);
    if (gate && gate->refused) {
        gate->refused(gate->context, address, why);
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

static void wake_thread(void)
{
    uint64_t one = 1;
    (void)!write(wake_fd, &one, sizeof one);
}

/* What to wait for; a gate that leaves is let go. */
static int gather(zmq_pollitem_t items[static WATCHED_MAX + 2])
{
    int count = 0;
    items[count++] = (zmq_pollitem_t){.socket = handler, .events = ZMQ_POLLIN};
    items[count++] = (zmq_pollitem_t){.fd = wake_fd, .events = ZMQ_POLLIN};
    pthread_mutex_lock(&mutex);
    for (struct troupe__gate *gate = gates; gate; gate = gate->next) {
        if (gate->watches && gate->leaves) {
            troupe__handshakes_close(&gate->handshakes);
            gate->watches = false;
            watched_count--;
            pthread_cond_broadcast(&left);
        } else if (gate->watches) {
            items[count++] = (zmq_pollitem_t){.socket = gate->handshakes.monitor, .events = ZMQ_POLLIN};
        }
    }
    pthread_mutex_unlock(&mutex);
    return count;
}

static void read_handshakes(void)
{
    char address[TROUPE__ADDRESS_SIZE];
    const char *why;
    pthread_mutex_lock(&mutex);
    for (struct troupe__gate *gate = gates; gate; gate = gate->next) {
        while (gate->watches && troupe__handshakes_next(&gate->handshakes, address, &why)) {
            if (gate->refused) {
                gate->refused(gate->context, address, why);
            }
        }
    }
    pthread_mutex_unlock(&mutex);
}

static void *run(void *unused)
{
    zmq_pollitem_t items[WATCHED_MAX + 2];
    (void)unused;
    while (!atomic_load(&stopping)) {
        int count = gather(items);
        if (zmq_poll(items, count, -1) <= 0) {
            continue;
        }
        if (items[1].revents) {
            uint64_t wakes;
            (void)!read(wake_fd, &wakes, sizeof wakes);
        }
        if (items[0].revents) {
            serve();
        }
        read_handshakes();
    }
    return NULL;
}

/* Under lifecycle, as is stop_handler. */
static enum troupe_error start_handler(char *error, size_t error_size)
{
    void *context = troupe__socket_context_acquire();
    int linger = 0;
    handler = context ? zmq_socket(context, ZMQ_REP) : NULL;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!handler || wake_fd < 0 || zmq_setsockopt(handler, ZMQ_LINGER, &linger, sizeof linger) ||
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
    if (wake_fd >= 0) {
        close(wake_fd);
    }
    if (context) {
        troupe__socket_context_release();
    }
    return context ? TROUPE_EIO : TROUPE_ENOMEM;
}

static void stop_handler(void)
{
    atomic_store(&stopping, true);
    wake_thread();
    pthread_join(thread, NULL);
    zmq_close(handler);
    close(wake_fd);
    troupe__socket_context_release();
}

static void free_gate(struct troupe__gate *gate)
{
    free(gate->entries.items);
    free(gate->gone.items);
    free(gate);
}

static enum troupe_error read_entries(const struct troupe__gate_entry *entries, size_t count, struct entries *ret,
                                      char *error, size_t error_size)
{
    struct entries read = {calloc(count ? count : 1, sizeof *read.items), count};
    if (!read.items) {
        snprintf(error, error_size, "open the gate: out of memory");
        return TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        if (strlen(entries[i].public_key) != 40 || !zmq_z85_decode(read.items[i].key, entries[i].public_key)) {
            snprintf(error, error_size, "open the gate: '%s' is no key: see troupe keygen", entries[i].public_key);
            free(read.items);
            return TROUPE_EINVAL;
        }
        snprintf(read.items[i].user, sizeof read.items[i].user, "%s", entries[i].user);
    }
    *ret = read;
    return TROUPE_OK;
}

enum troupe_error troupe__gate_open(const struct troupe__gate_entry *entries, size_t count,
                                    troupe__gate_refused_fn refused, void *context, struct troupe__gate **ret,
                                    char *error, size_t error_size)
{
    struct troupe__gate *gate = calloc(1, sizeof *gate);
    if (!gate) {
        snprintf(error, error_size, "open the gate: out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result = read_entries(entries, count, &gate->entries, error, error_size);
    gate->refused = refused;
    gate->context = context;
    pthread_mutex_lock(&lifecycle);
    result = result == TROUPE_OK && !gates ? start_handler(error, error_size) : result;
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

enum troupe_error troupe__gate_watch(struct troupe__gate *gate, struct troupe__socket *socket)
{
    assert(!gate->watches);
    enum troupe_error result = TROUPE_OK;
    pthread_mutex_lock(&mutex);
    if (watched_count < WATCHED_MAX) {
        result = troupe__handshakes_open(&gate->handshakes, socket);
        gate->watches = result == TROUPE_OK;
        watched_count += gate->watches;
    }
    pthread_mutex_unlock(&mutex);
    wake_thread();
    return result;
}

static bool has_user(const struct entries *entries, const char *user)
{
    for (size_t i = 0; i < entries->count; i++) {
        if (strcmp(entries->items[i].user, user) == 0) {
            return true;
        }
    }
    return false;
}

/* All that were let in once, and are not in `now`. Errors: TROUPE_ENOMEM. */
static enum troupe_error list_gone(const struct troupe__gate *gate, const struct entries *now, struct entries *ret)
{
    const struct entries *const before[] = {&gate->entries, &gate->gone};
    struct entries gone = {calloc(gate->entries.count + gate->gone.count + 1, sizeof *gone.items), 0};
    if (!gone.items) {
        return TROUPE_ENOMEM;
    }
    for (size_t b = 0; b < 2; b++) {
        for (size_t i = 0; i < before[b]->count; i++) {
            const struct entry *entry = &before[b]->items[i];
            if (!has_user(now, entry->user) && !has_user(&gone, entry->user)) {
                gone.items[gone.count++] = *entry;
            }
        }
    }
    *ret = gone;
    return TROUPE_OK;
}

enum troupe_error troupe__gate_change(struct troupe__gate *gate, const struct troupe__gate_entry *entries, size_t count,
                                      char *error, size_t error_size)
{
    struct entries now, gone;
    enum troupe_error result = read_entries(entries, count, &now, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    result = list_gone(gate, &now, &gone);
    if (result != TROUPE_OK) {
        snprintf(error, error_size, "change the gate: out of memory");
        free(now.items);
        return result;
    }
    pthread_mutex_lock(&mutex);
    free(gate->entries.items);
    gate->entries = now;
    pthread_mutex_unlock(&mutex);
    free(gate->gone.items);
    gate->gone = gone;
    return TROUPE_OK;
}

bool troupe__gate_admits(const struct troupe__gate *gate, const char *user)
{
    return user && !has_user(&gate->gone, user);
}

void troupe__gate_close(struct troupe__gate *gate)
{
    if (!gate) {
        return;
    }
    pthread_mutex_lock(&lifecycle);
    pthread_mutex_lock(&mutex);
    gate->leaves = true;
    wake_thread();
    while (gate->watches) {
        pthread_cond_wait(&left, &mutex);
    }
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
