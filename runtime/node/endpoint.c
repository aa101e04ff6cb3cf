/* endpoint.c - where clients reach a node: the socket, and the requests under way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/endpoint.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/node/endpoint_parts.h"
#include "transport/protocol.h"
#include "transport/socket.h"

enum {
    UNDER_WAY_MAX = 1024,   /* requests of one client */
    CLIENTS_MAX = 16384,    /* with anything under way */
    QUEUE_MAX = 4096,       /* replies to one client that it has not read */
    REQUESTS_BUDGET = 256,  /* in one turn */
    REFUSE_AFTER_MS = 1000, /* without room */
    RETRY_MS = 10,          /* a tail's client has no room */
};

int64_t troupe__endpoint_now_ms(const struct troupe__endpoint *endpoint)
{
    return (int64_t)(troupe__monotonic_ns(endpoint->node->clock) / 1000000);
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static struct troupe__client **find_client(struct troupe__endpoint *endpoint, struct troupe_bytes name)
{
    struct troupe__client **at = &endpoint->clients[troupe__hash(name.data, name.size) % 1024];
    while (*at && ((*at)->name_size != name.size || memcmp((*at)->name, name.data, name.size) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

/* NULL when there are too many, or no memory. */
static struct troupe__client *get_client(struct troupe__endpoint *endpoint, struct troupe_bytes name)
{
    struct troupe__client **at = find_client(endpoint, name);
    if (!*at && endpoint->client_count < CLIENTS_MAX && (*at = calloc(1, sizeof **at)) != NULL) {
        (*at)->name_size = (uint8_t)name.size;
        memcpy((*at)->name, name.data, name.size);
        endpoint->client_count++;
    }
    return *at;
}

/* Forget a client with nothing under way. */
void troupe__endpoint_let_go(struct troupe__endpoint *endpoint, struct troupe__client *client)
{
    if (client->under_way == 0 && client->tails == 0) {
        struct troupe__client **at = find_client(endpoint, (struct troupe_bytes){client->name, client->name_size});
        assert(*at == client);
        *at = client->next;
        endpoint->client_count--;
        free(client);
    }
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

enum troupe_error troupe__endpoint_send(const struct troupe__caller *caller, const struct troupe__reply *reply)
{
    struct troupe__endpoint *endpoint = caller->endpoint;
    struct troupe_bytes parts[3] = {{caller->client->name, caller->client->name_size}};
    size_t count = caller->delimited ? 2 : 1; /* an empty frame between */
    endpoint->out.size = 0;
    endpoint->out.failed = false;
    troupe__reply_put(&endpoint->out, reply);
    if (endpoint->out.failed) {
        return TROUPE_ENOMEM;
    }
    parts[count++] = (struct troupe_bytes){endpoint->out.data, endpoint->out.size};
    return troupe__socket_send(endpoint->socket, parts, count);
}

void troupe__endpoint_reply(const struct troupe__caller *caller, const struct troupe__reply *reply)
{
    caller->endpoint->figures.dropped += troupe__endpoint_send(caller, reply) != TROUPE_OK;
}

void troupe__endpoint_refuse(const struct troupe__caller *caller, enum troupe_error error, const char *text)
{
    struct troupe__reply reply = {.number = caller->number, .error = error, .text = text};
    caller->endpoint->figures.refused++;
    troupe__endpoint_reply(caller, &reply);
}

/* ---- send and ask ------------------------------------------------------------------------------------------------ */

struct troupe__caller *troupe__endpoint_begin(const struct troupe__caller *caller)
{
    struct troupe__caller *copy = malloc(sizeof *copy);
    if (copy) {
        *copy = *caller;
        caller->client->under_way++;
        caller->endpoint->under_way++;
    }
    return copy;
}

void troupe__endpoint_finish(struct troupe__caller *caller)
{
    caller->client->under_way--;
    caller->endpoint->under_way--;
    troupe__endpoint_let_go(caller->endpoint, caller->client);
    free(caller);
}

static void on_done(void *context, enum troupe_error result)
{
    struct troupe__caller *caller = context;
    struct troupe__reply reply = {.number = caller->number, .ok = result == TROUPE_OK, .error = result};
    reply.text = reply.ok ? NULL : "the node ended before this was known: send it again with the same id";
    troupe__endpoint_reply(caller, &reply);
    troupe__endpoint_finish(caller);
}

static void on_answer(void *context, const struct troupe_answer *answer)
{
    struct troupe__caller *caller = context;
    struct troupe__reply reply = {.number = caller->number, .ok = answer->result == TROUPE_OK};
    if (reply.ok) {
        reply.type = answer->type;
        reply.body = answer->body;
    } else {
        reply.error = answer->result;
        reply.text = answer->text;
    }
    troupe__endpoint_reply(caller, &reply);
    troupe__endpoint_finish(caller);
}

static void take_message(struct troupe__endpoint *endpoint, const struct troupe__caller *caller, bool ask)
{
    static const unsigned char nil[] = {0xc0};
    const struct troupe__request *request = &endpoint->request;
    if (!request->to || !request->type) {
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, "\"to\" and \"type\" are needed");
        return;
    }
    if (caller->client->under_way > UNDER_WAY_MAX) { /* It counts this one too. */
        troupe__endpoint_refuse(caller, TROUPE_EFULL, "1,024 requests of this client are under way: wait for a reply");
        return;
    }
    struct troupe__caller *waiting = troupe__endpoint_begin(caller);
    if (!waiting) {
        troupe__endpoint_refuse(caller, TROUPE_ENOMEM, "out of memory");
        return;
    }
    struct troupe_bytes body = request->body.data ? request->body : (struct troupe_bytes){nil, sizeof nil};
    enum troupe_error result =
        ask ? troupe_node_ask(endpoint->node, request->id, request->address, request->type, body, request->timeout_ms,
                              on_answer, waiting)
            : troupe_node_send(endpoint->node, request->id, request->address, request->type, body, on_done, waiting);
    if (result != TROUPE_OK) {
        troupe__endpoint_finish(waiting);
        troupe__endpoint_refuse(caller, result, troupe_node_error(endpoint->node));
    }
}

/* ---- inspection -------------------------------------------------------------------------------------------------- */

static void on_finding(void *context, const struct troupe__finding *finding)
{
    enum { CHUNK_SIZE = 1 << 20 };
    struct troupe__caller *caller = context;
    struct troupe__reply reply = {.number = caller->number,
                                  .ok = finding->result == TROUPE_OK,
                                  .error = finding->result,
                                  .text = finding->text,
                                  .sequence = finding->number};
    struct troupe_bytes rest = finding->rows;
    enum troupe_error sent = TROUPE_OK;
    do {
        size_t size = rest.size < CHUNK_SIZE ? rest.size : CHUNK_SIZE;
        reply.rows = (struct troupe_bytes){rest.data, size};
        rest = size > 0 ? (struct troupe_bytes){(const char *)rest.data + size, rest.size - size} : rest;
        reply.more = rest.size > 0;
        sent = troupe__endpoint_send(caller, &reply);
    } while (reply.more && sent == TROUPE_OK);
    caller->endpoint->figures.dropped += sent != TROUPE_OK;
    troupe__endpoint_finish(caller);
}

/* The lines in `text`. */
static void reply_text(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    struct troupe__buffer *text = &endpoint->text;
    troupe__buffer_put_byte(text, 0);
    struct troupe__reply reply = {.number = caller->number, .ok = true, .text = (const char *)text->data};
    if (text->failed) {
        text->failed = false;
        troupe__endpoint_refuse(caller, TROUPE_ENOMEM, "out of memory");
    } else {
        troupe__endpoint_reply(caller, &reply);
    }
}

static void tell_figures(struct troupe__endpoint *endpoint, const struct troupe__caller *caller, bool json,
                         const uint64_t *counts)
{
    endpoint->text.size = 0;
    troupe__desk_figures(endpoint->node, counts, json, &endpoint->text);
    reply_text(endpoint, caller);
}

static void on_counted(void *context, const struct troupe__finding *finding, bool json)
{
    struct troupe__caller *caller = context;
    if (finding->result == TROUPE_OK) {
        tell_figures(caller->endpoint, caller, json, finding->counts);
    } else {
        troupe__endpoint_refuse(caller, finding->result, finding->text);
    }
    troupe__endpoint_finish(caller);
}

static void on_counted_lines(void *context, const struct troupe__finding *finding)
{
    on_counted(context, finding, false);
}

static void on_counted_json(void *context, const struct troupe__finding *finding)
{
    on_counted(context, finding, true);
}

static void look(struct troupe__endpoint *endpoint, const struct troupe__caller *caller,
                 enum troupe__desk_action action, troupe__finding_fn found)
{
    const struct troupe__request *request = &endpoint->request;
    struct troupe__caller *waiting = troupe__endpoint_begin(caller);
    enum troupe_error result = TROUPE_ENOMEM;
    if (waiting) {
        result = troupe__desk_ask(endpoint->desk, action, (unsigned)(request->tables & UINT32_MAX), request->prefix,
                                  request->letter, found, waiting);
    }
    if (result != TROUPE_OK) {
        if (waiting) {
            troupe__endpoint_finish(waiting);
        }
        troupe__endpoint_refuse(caller, result,
                                result == TROUPE_EFULL    ? "64 inspections wait already: later"
                                : result == TROUPE_EINVAL ? "\"tables\" or \"prefix\" is wrong"
                                                          : "out of memory");
    }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void say_hello(const struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    char text[256];
    const struct troupe_module *module = endpoint->node->options.module;
    snprintf(text, sizeof text, "troupe " TROUPE_VERSION ", module %.100s %.60s", module->name ? module->name : "",
             module->version ? module->version : "");
    struct troupe__reply reply = {.number = caller->number, .ok = true, .text = text};
    troupe__endpoint_reply(caller, &reply);
}

/* Which nodes the troupe has, and where clients reach them; of one that is alone nothing. */
static void tell_nodes(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    const struct troupe__place *place = endpoint->node->place;
    struct troupe__buffer *text = &endpoint->text;
    text->size = 0;
    if (place) {
        troupe__cluster_describe(place->cluster, place->self, text);
    }
    reply_text(endpoint, caller);
}

static void handle(struct troupe__endpoint *endpoint, const struct troupe__caller *caller)
{
    const char *what = endpoint->request.what;
    if (strcmp(what, "send") == 0 || strcmp(what, "ask") == 0) {
        take_message(endpoint, caller, what[0] == 'a');
    } else if (strcmp(what, "tail") == 0) {
        troupe__endpoint_begin_tail(endpoint, caller);
    } else if (strcmp(what, "credit") == 0 || strcmp(what, "cancel") == 0) {
        troupe__endpoint_change_tail(endpoint, caller, what[1] == 'a');
    } else if (strcmp(what, "hello") == 0) {
        say_hello(endpoint, caller);
    } else if (troupe__endpoint_photograph(endpoint, caller)) {
        return;
    } else if (strcmp(what, "stats") == 0 && endpoint->request.tables) {
        look(endpoint, caller, TROUPE__COUNT_ROWS, endpoint->request.json ? on_counted_json : on_counted_lines);
    } else if (strcmp(what, "stats") == 0) {
        tell_figures(endpoint, caller, endpoint->request.json, NULL);
    } else if (strcmp(what, "nodes") == 0) {
        tell_nodes(endpoint, caller);
    } else if (strcmp(what, "rows") == 0) {
        look(endpoint, caller, TROUPE__READ_ROWS, on_finding);
    } else if (strcmp(what, "dead.retry") == 0 || strcmp(what, "dead.drop") == 0) {
        look(endpoint, caller, what[5] == 'r' ? TROUPE__RETRY_DEAD : TROUPE__DROP_DEAD, on_finding);
    } else {
        snprintf(endpoint->error, sizeof endpoint->error,
                 "\"do\" is hello, send, ask, tail, credit, cancel, nodes, stats, rows, snapshot, "
                 "snapshot.progress, snapshot.read, snapshot.drop, journal.forget, colour, dead.retry or dead.drop, "
                 "not '%.60s'",
                 what);
        troupe__endpoint_refuse(caller, TROUPE_EINVAL, endpoint->error);
    }
}

static void take_request(struct troupe__endpoint *endpoint, const struct troupe__frames *frames)
{
    bool delimited = frames->count > 2 && frames->part[1].size == 0;
    size_t payload = delimited ? 2 : 1;
    endpoint->figures.requests++;
    if (endpoint->gate && !troupe__gate_admits(endpoint->gate, frames->user)) {
        return; /* Nobody authenticated it, or its key is not listed any more: the gate fails closed. */
    }
    struct troupe__client *client = get_client(endpoint, frames->part[0]);
    if (!client) {
        endpoint->figures.dropped++; /* It hears nothing: there is no room to remember whom to tell. */
        return;
    }
    struct troupe__caller caller = {endpoint, client, 0, delimited};
    client->under_way++; /* It must not go while it is talked to. */
    if (frames->count != payload + 1 || frames->cut) {
        troupe__endpoint_refuse(&caller, TROUPE_EINVAL, "a request is one frame");
    } else {
        enum troupe_error result =
            troupe__request_parse(frames->part[payload], &endpoint->request, endpoint->error, sizeof endpoint->error);
        caller.number = endpoint->request.number;
        if (result == TROUPE_OK) {
            handle(endpoint, &caller);
        } else {
            troupe__endpoint_refuse(&caller, result, endpoint->error);
        }
    }
    client->under_way--;
    troupe__endpoint_let_go(endpoint, client);
}

/* Whether to take in requests now: while there is no room they wait, for a while. */
static bool may_receive(struct troupe__endpoint *endpoint)
{
    if (troupe__node_has_room(endpoint->node)) {
        endpoint->full_since_ms = 0;
        return true;
    }
    if (endpoint->full_since_ms == 0) {
        endpoint->full_since_ms = troupe__endpoint_now_ms(endpoint);
    }
    return troupe__endpoint_now_ms(endpoint) - endpoint->full_since_ms >= REFUSE_AFTER_MS;
}

static void tell_refusals(struct troupe__endpoint *endpoint)
{
    const struct troupe_node_options *options = &endpoint->node->options;
    char text[256];
    if (endpoint->gate &&
        troupe__refusals_tell(&endpoint->refusals, "a client was", troupe__endpoint_now_ms(endpoint), text,
                              sizeof text) &&
        options->log) {
        options->log(options->log_context, TROUPE_WARNING, text);
    }
}

bool troupe__endpoint_turn(struct troupe__endpoint *endpoint)
{
    struct troupe__frames frames;
    tell_refusals(endpoint);
    for (int i = 0; i < REQUESTS_BUDGET && may_receive(endpoint); i++) {
        if (troupe__socket_receive(endpoint->socket, &frames) != TROUPE_OK) {
            break;
        }
        take_request(endpoint, &frames);
    }
    troupe__desk_turn(endpoint->desk);
    bool more = troupe__endpoint_follow(endpoint); /* With the tails and the credit that have just come. */
    bool readable = troupe__socket_ready(endpoint->socket) & TROUPE__SOCKET_READABLE;
    endpoint->waiting = readable && !may_receive(endpoint);
    return more || (readable && !endpoint->waiting);
}

int64_t troupe__endpoint_due_ms(const struct troupe__endpoint *endpoint)
{
    return endpoint->waiting || endpoint->retry ? troupe__endpoint_now_ms(endpoint) + RETRY_MS
                                                : troupe__endpoint_tails_due_ms(endpoint);
}

struct troupe__endpoint_figures troupe__endpoint_figures(const struct troupe__endpoint *endpoint)
{
    struct troupe__endpoint_figures figures = endpoint->figures;
    figures.clients = endpoint->client_count;
    figures.under_way = endpoint->under_way;
    figures.tails = endpoint->tail_count;
    return figures;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static enum troupe_error write_file(struct troupe__endpoint *endpoint, const char *lines, char *error,
                                    size_t error_size)
{
    char path[PATH_MAX];
    const char *data = endpoint->node->options.data;
    if ((size_t)snprintf(path, sizeof path, "%s/" TROUPE__ENDPOINT_FILE ".new", data) >= sizeof path) {
        snprintf(error, error_size, "the path of the directory is too long");
        return TROUPE_EINVAL;
    }
    snprintf(endpoint->file, sizeof endpoint->file, "%.*s", (int)(strlen(path) - 4), path);
    FILE *file = fopen(path, "w");
    if (file) {
        bool good = fputs(lines, file) >= 0;
        if (fclose(file) == 0 && good && rename(path, endpoint->file) == 0) {
            return TROUPE_OK;
        }
    }
    bool full = errno == ENOSPC;
    snprintf(error, error_size, "write %.400s: %s", path, strerror(errno));
    return full ? TROUPE_ENOSPACE : TROUPE_EIO;
}

/* A client may be in another directory. */
static size_t put_endpoint(char *line, const char *bound)
{
    char directory[PATH_MAX];
    bool relative = strncmp(bound, "ipc://", 6) == 0 && bound[6] != '/' && bound[6] != '@';
    if (relative && getcwd(directory, sizeof directory) && strlen(directory) + strlen(bound) < TROUPE__ENDPOINT_SIZE) {
        return (size_t)sprintf(line, "ipc://%s/%s\n", directory, bound + 6);
    }
    return (size_t)sprintf(line, "%s\n", bound);
}

static enum troupe_error listen_all(struct troupe__endpoint *endpoint, char *error, size_t error_size)
{
    const struct troupe_node_options *options = &endpoint->node->options;
    char lines[(TROUPE__ENDPOINTS_MAX + 1) * (TROUPE__ENDPOINT_SIZE + 2)] = "", bound[TROUPE__ENDPOINT_SIZE];
    size_t size = 0;
    if (options->listen_count > TROUPE__ENDPOINTS_MAX) {
        snprintf(error, error_size, "%zu endpoints are over the limit of %d", options->listen_count,
                 TROUPE__ENDPOINTS_MAX);
        return TROUPE_EINVAL;
    }
    for (size_t i = 0; i < options->listen_count; i++) {
        const char *at = options->listen[i];
        if (!endpoint->gate && !troupe__endpoint_is_local(at) && !options->insecure_listen &&
            strncmp(at, "tcp://", 6) == 0) {
            snprintf(error, error_size,
                     "endpoint %.200s is reached by other machines, and nothing there is encrypted or authenticated; "
                     "listen on ipc or loopback, give the nodes keys (troupe cluster init --keys), or say "
                     "--insecure-listen",
                     at);
            return TROUPE_EINVAL;
        }
        enum troupe_error result = troupe__socket_listen(endpoint->socket, at, bound, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
        size += put_endpoint(lines + size, bound);
    }
    if (endpoint->gate) {
        sprintf(lines + size, TROUPE__ENDPOINT_KEY "%s\n", endpoint->node->place->keys->public_key);
    }
    return write_file(endpoint, lines, error, error_size);
}

/* On the gate's thread. */
static void on_refused(void *context, const char *address, const char *why)
{
    struct troupe__endpoint *endpoint = context;
    troupe__refusals_note(&endpoint->refusals, address, why);
    endpoint->wake(endpoint->node);
}

/* Whoever the cluster file lists, nodes and clients; a user is a key. NULL when out of memory. */
static struct troupe__gate_entry *list_entries(const struct troupe__cluster *cluster, size_t *ret_count)
{
    size_t nodes = cluster->slots.node_count, count = nodes + cluster->client_count;
    struct troupe__gate_entry *entries = calloc(count, sizeof *entries);
    for (size_t i = 0; entries && i < count; i++) {
        const char *key = i < nodes ? cluster->nodes[i].public_key : cluster->clients[i - nodes].public_key;
        snprintf(entries[i].public_key, sizeof entries[i].public_key, "%s", key);
        snprintf(entries[i].user, sizeof entries[i].user, "%s", key);
    }
    *ret_count = count;
    return entries;
}

/* Open the gate, or change whom it lets in. */
static enum troupe_error keep_gate(struct troupe__endpoint *endpoint, char *error, size_t error_size)
{
    size_t count;
    struct troupe__gate_entry *entries = list_entries(endpoint->node->place->cluster, &count);
    if (!entries) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    enum troupe_error result =
        endpoint->gate ? troupe__gate_change(endpoint->gate, entries, count, error, error_size)
                       : troupe__gate_open(entries, count, on_refused, endpoint, &endpoint->gate, error, error_size);
    free(entries);
    return result;
}

enum troupe_error troupe__endpoint_change_keys(struct troupe__endpoint *endpoint, char *error, size_t error_size)
{
    return endpoint->gate ? keep_gate(endpoint, error, error_size) : TROUPE_OK;
}

/* The gate comes first: a socket that listens without one lets everybody in. */
static enum troupe_error open_socket(struct troupe__endpoint *endpoint, char *error, size_t error_size)
{
    const struct troupe__place *place = endpoint->node->place;
    struct troupe__socket_options options = {.kind = TROUPE__SOCKET_ROUTER, .queue_max = QUEUE_MAX};
    struct troupe__socket_keys keys;
    if (place && place->keys) {
        enum troupe_error result = keep_gate(endpoint, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
        keys = (struct troupe__socket_keys){.public_key = place->keys->public_key,
                                            .secret_key = place->keys->secret_key,
                                            .domain = troupe__gate_domain(endpoint->gate)};
        options.keys = &keys;
    }
    enum troupe_error result = troupe__socket_open(&options, &endpoint->socket, error, error_size);
    if (result == TROUPE_OK && endpoint->gate &&
        (result = troupe__gate_watch(endpoint->gate, endpoint->socket)) != TROUPE_OK) {
        snprintf(error, error_size, "its handshakes cannot be watched");
    }
    return result;
}

enum troupe_error troupe__endpoint_open(struct troupe_node *node, void (*wake)(void *context),
                                        struct troupe__endpoint **ret, char *error, size_t error_size)
{
    struct troupe__endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (!endpoint) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    endpoint->node = node;
    endpoint->wake = wake;
    troupe__refusals_init(&endpoint->refusals);
    enum troupe_error result = open_socket(endpoint, error, error_size);
    result = result == TROUPE_OK ? troupe__desk_open(node, wake, &endpoint->desk) : result;
    result = result == TROUPE_OK ? listen_all(endpoint, error, error_size) : result;
    if (result != TROUPE_OK) {
        endpoint->file[0] = '\0'; /* If there is one it is not ours. */
        troupe__endpoint_close(endpoint);
        return result;
    }
    troupe__endpoint_clear_photograph(endpoint);
    *ret = endpoint;
    return TROUPE_OK;
}

void troupe__endpoint_close(struct troupe__endpoint *endpoint)
{
    if (!endpoint) {
        return;
    }
    troupe__desk_close(endpoint->desk);
    troupe__endpoint_drop_tails(endpoint);
    assert(endpoint->client_count == 0 && endpoint->under_way == 0);
    if (endpoint->file[0]) {
        unlink(endpoint->file);
    }
    troupe__socket_close(endpoint->socket);
    troupe__gate_close(endpoint->gate);
    troupe__refusals_fini(&endpoint->refusals);
    troupe__buffer_free(&endpoint->out);
    troupe__buffer_free(&endpoint->text);
    free(endpoint);
}

/* It only makes the loop turn. */
static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

void troupe__endpoint_start(struct troupe__endpoint *endpoint, struct ev_loop *loop)
{
    ev_io_init(&endpoint->readable, on_readable, troupe__socket_fd(endpoint->socket), EV_READ);
    ev_io_start(loop, &endpoint->readable);
}

void troupe__endpoint_stop(struct troupe__endpoint *endpoint, struct ev_loop *loop)
{
    ev_io_stop(loop, &endpoint->readable);
}
