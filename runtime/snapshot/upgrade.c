/* upgrade.c - looks whether a module can read what another one, or an older version of it, has written.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One thread walks over the cut and hands the rows out in batches; workers, each with a context and actors of its own,
 * look at them. What they find is put together at the end: the first bad row is the first of the cut, whoever saw it.
 */
#include "runtime/snapshot/upgrade.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/grow.h"
#include "core/state.h"
#include "runtime/machine/machine_forward.h"

enum { WORKERS_MAX = 64, BATCH_SIZE = 262144, QUEUE_MAX = 128 };

/* Rows one behind the other: varint order, node, table, strings key and value. */
struct batch {
    struct batch *next;
    struct troupe__buffer rows;
};

struct upgrade {
    const struct troupe_module *module;
    const struct troupe__cut *cut;
    struct troupe__specs *specs; /* by node */
    bool migrate;
    pthread_mutex_t mutex;
    pthread_cond_t filled, taken;
    struct batch *oldest, *newest;
    size_t queued;
    bool ended; /* no more comes */
};

struct worker {
    struct upgrade *upgrade;
    pthread_t thread;
    struct troupe_context ctx;
    struct troupe__actors actors;
    struct troupe__upgrade found;
    size_t fault_capacity;
    bool failed;
};

/* A row that is looked at. */
struct looked {
    uint64_t order;
    size_t node;
    enum troupe__table table;
    struct troupe_bytes key, value;
};

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static const char *const problem_names[TROUPE__UPGRADE_PROBLEM_COUNT] = {
    "type-gone", "value-gone", "job-gone", "kind-changed", "newer", "migrate-fails", "malformed"};

const char *troupe__upgrade_problem_name(enum troupe__upgrade_problem problem)
{
    return problem_names[problem];
}

void troupe__upgrade_fini(struct troupe__upgrade *upgrade)
{
    free(upgrade->faults);
    *upgrade = (struct troupe__upgrade){0};
}

static bool same_fault(const struct troupe__upgrade_fault *left, const struct troupe__upgrade_fault *right)
{
    return left->problem == right->problem && left->is_message == right->is_message &&
           strcmp(left->type, right->type) == 0 && strcmp(left->name, right->name) == 0;
}

/* Returns false when out of memory. */
static bool add_fault(struct troupe__upgrade *upgrade, size_t *capacity, const struct troupe__upgrade_fault *fault)
{
    for (size_t i = 0; i < upgrade->fault_count; i++) {
        struct troupe__upgrade_fault *known = &upgrade->faults[i];
        if (same_fault(known, fault)) {
            uint64_t count = known->count + fault->count;
            if (fault->order < known->order) {
                *known = *fault;
            }
            known->count = count;
            return true;
        }
    }
    struct troupe__upgrade_fault *faults =
        troupe__grow(upgrade->faults, upgrade->fault_count, capacity, sizeof *faults);
    if (!faults) {
        return false;
    }
    upgrade->faults = faults;
    upgrade->faults[upgrade->fault_count++] = *fault;
    return true;
}

struct subject {
    const char *type, *name, *key;
    struct troupe_bytes element;
    bool is_message;
};

__attribute__((format(printf, 5, 6))) static void note(struct worker *worker, const struct looked *row,
                                                       enum troupe__upgrade_problem problem,
                                                       const struct subject *subject, const char *format, ...)
{
    struct troupe__upgrade_fault fault = {.problem = problem, .count = 1, .order = row->order, .node = row->node};
    va_list args;
    fault.table = row->table;
    fault.is_message = subject->is_message;
    snprintf(fault.type, sizeof fault.type, "%s", subject->type);
    snprintf(fault.name, sizeof fault.name, "%s", subject->name);
    snprintf(fault.key, sizeof fault.key, "%s", subject->key);
    fault.element_size = subject->element.size < sizeof fault.element ? subject->element.size : sizeof fault.element;
    if (fault.element_size > 0) {
        memcpy(fault.element, subject->element.data, fault.element_size);
    }
    va_start(args, format);
    vsnprintf(fault.text, sizeof fault.text, format, args);
    va_end(args);
    worker->failed |= !add_fault(&worker->found, &worker->fault_capacity, &fault);
}

/* Bytes of a key for people: plain ones as they are, others as \xHH. */
static void put_element(const struct troupe__upgrade_fault *fault, char *text, size_t text_size)
{
    size_t at = (size_t)snprintf(text, text_size, " element ");
    for (size_t i = 0; i < fault->element_size && at + 5 < text_size; i++) {
        unsigned char byte = fault->element[i];
        bool plain = byte > ' ' && byte < 0x7f && byte != '\\';
        at += (size_t)snprintf(text + at, text_size - at, plain ? "%c" : "\\x%02x", byte);
    }
}

void troupe__upgrade_describe(const struct troupe__cut *cut, const struct troupe__upgrade_fault *fault, char *text,
                              size_t text_size)
{
    char what[TROUPE_NAME_MAX + 32] = "", element[128] = "";
    if (fault->problem != TROUPE__UPGRADE_TYPE_GONE) {
        const char *kind = fault->is_message ? "message" : fault->problem == TROUPE__UPGRADE_JOB_GONE ? "job" : "value";
        snprintf(what, sizeof what, " %s '%s':", kind, fault->name);
    }
    if (fault->element_size > 0) {
        put_element(fault, element, sizeof element);
    }
    snprintf(text, text_size, "type '%s':%s %s (%llu rows, the first in table %s of node %s: %s/%s%s)", fault->type,
             what, fault->text, (unsigned long long)fault->count, troupe__view_table_names[fault->table],
             cut->nodes[fault->node].name, fault->type, fault->key, element);
}

/* ---- one row ----------------------------------------------------------------------------------------------------- */

static const struct troupe_type *find_type(const struct troupe_module *module, const char *name)
{
    for (size_t i = 0; i < module->type_count; i++) {
        if (strcmp(module->types[i].name, name) == 0) {
            return &module->types[i];
        }
    }
    return NULL;
}

static const struct troupe_value *find_value(const struct troupe_type *type, const char *name)
{
    for (size_t i = 0; type->values && type->values[i]; i++) {
        if (strcmp(type->values[i]->name, name) == 0) {
            return type->values[i];
        }
    }
    return NULL;
}

/* The row of a head, of an element or of a single value fits the kind that is declared. */
static bool fits(const struct troupe_value *value, const struct troupe__row_key *parts, const struct troupe__row *row)
{
    struct troupe__head head;
    enum troupe_kind kind;
    if (parts->is_element) {
        return troupe__kind_is_collection(value->kind);
    }
    if (row->head) {
        return troupe__head_decode(row->payload, &kind, &head) && kind == value->kind;
    }
    return !troupe__kind_is_collection(value->kind);
}

static void look_at_payload(struct worker *worker, const struct looked *looked, const struct troupe_value *value,
                            const struct subject *subject, struct troupe__row *row)
{
    bool older = row->version < value->version;
    uint32_t version = row->version;
    if (older && !worker->upgrade->migrate) {
        return;
    }
    if (older) {
        enum troupe_error result = troupe__state_migrate(&worker->ctx, value, version, &row->payload);
        if (result != TROUPE_OK) {
            note(worker, looked, TROUPE__UPGRADE_FAILS, subject, "%s", worker->ctx.error);
            return;
        }
    }
    struct troupe__cell cell = {0};
    enum troupe_error result = subject->element.size > 0 || troupe__kind_is_collection(value->kind)
                                   ? TROUPE_OK
                                   : troupe__cell_decode(&cell, value->kind, row->payload);
    if (result == TROUPE_ENOMEM) {
        worker->failed = true;
    } else if (result != TROUPE_OK) {
        note(worker, looked, TROUPE__UPGRADE_KIND_CHANGED, subject,
             older ? "migrate from version %u makes another kind of it" : "it is stored as another kind, in version %u",
             version);
    } else {
        worker->found.migrated += older;
    }
    troupe__cell_free(&cell, value->kind);
}

static void look_at_state(struct worker *worker, const struct looked *looked)
{
    struct troupe__row_key parts;
    struct troupe__row row;
    char name[TROUPE_NAME_MAX + 1];
    struct subject subject = {.type = "", .name = "", .key = ""};
    if (!troupe__row_key_decode(looked->key, &parts) || parts.value.size > TROUPE_NAME_MAX) {
        note(worker, looked, TROUPE__UPGRADE_MALFORMED, &subject, "the key of a row is malformed: run troupe doctor");
        return;
    }
    memcpy(name, parts.value.data, parts.value.size);
    name[parts.value.size] = '\0';
    subject = (struct subject){.type = parts.type, .name = name, .key = parts.key, .element = parts.element};
    worker->found.values++;
    const struct troupe_type *type = find_type(worker->upgrade->module, parts.type);
    if (!type) {
        subject.name = "";
        note(worker, looked, TROUPE__UPGRADE_TYPE_GONE, &subject, "the module does not declare it");
        return;
    }
    const struct troupe_value *value = find_value(type, name);
    if (!value) {
        note(worker, looked, TROUPE__UPGRADE_VALUE_GONE, &subject, "the module does not declare it");
        return;
    }
    if (!troupe__row_decode(looked->value, &row)) {
        note(worker, looked, TROUPE__UPGRADE_MALFORMED, &subject, "its row is malformed: run troupe doctor");
        return;
    }
    const struct troupe__spec *then =
        troupe__specs_find(&worker->upgrade->specs[looked->node], TROUPE__SPEC_VALUE, parts.type, name);
    bool changed = then && then->kind != value->kind && row.version == value->version && !row.head;
    if (!fits(value, &parts, &row) || changed) {
        note(worker, looked, TROUPE__UPGRADE_KIND_CHANGED, &subject, "it is stored as another kind than is declared%s",
             changed ? ", which takes a new version and a migrate" : "");
    } else if (row.version > value->version) {
        note(worker, looked, TROUPE__UPGRADE_NEWER, &subject, "it is stored in version %u, the module knows %u",
             row.version, value->version);
    } else if (!row.head) {
        look_at_payload(worker, looked, value, &subject, &row);
    }
}

static void look_at_decoded(struct worker *worker, const struct looked *looked, const struct troupe__message *message)
{
    const struct troupe__type *type = message->to->type;
    struct subject subject = {.type = type->name, .name = message->data, .key = message->to->key, .is_message = true};
    const struct troupe_message_type *declared = troupe__message_declared(type, message->data);
    uint32_t version = declared ? declared->version : 0;
    struct troupe_bytes body;
    if (!troupe__forwarded_body(message, &body)) {
        return; /* An answer on its way to a client. */
    }
    worker->found.messages++;
    if (!type->declared) {
        if (looked->table != TROUPE__DEAD) { /* That one is where it would go. */
            note(worker, looked, TROUPE__UPGRADE_TYPE_GONE, &subject, "a message waits, the module has no such type");
        }
    } else if (message->version > version) {
        note(worker, looked, TROUPE__UPGRADE_NEWER, &subject, "it waits in version %u, the module knows %u",
             message->version, version);
    } else if (message->version < version && worker->upgrade->migrate) {
        if (troupe__delivery_migrate(&worker->ctx, message, &body) != TROUPE_OK) {
            note(worker, looked, TROUPE__UPGRADE_FAILS, &subject, "%s", worker->ctx.error);
        } else {
            worker->found.migrated++;
        }
    }
}

static void let_go(struct troupe__actor *actor)
{
    if (actor) {
        troupe__actor_evict(actor, UINT64_MAX);
    }
}

static void note_undecoded(struct worker *worker, const struct looked *looked, enum troupe_error result)
{
    struct subject subject = {.type = "", .name = "", .key = "", .is_message = true};
    if (result == TROUPE_ENOMEM) {
        worker->failed = true;
    } else {
        note(worker, looked, TROUPE__UPGRADE_MALFORMED, &subject, "a row is malformed: run troupe doctor");
    }
}

static void look_at_message(struct worker *worker, const struct looked *looked)
{
    const unsigned char *data = looked->value.data, *form = (const unsigned char *)"\1";
    struct troupe__cursor cursor = {data, data + looked->value.size, false};
    struct troupe__message *message = NULL;
    size_t reason_size;
    if (looked->table == TROUPE__TIMER || looked->table == TROUPE__DEAD) {
        (void)troupe__cursor_varint(&cursor); /* when */
    }
    if (looked->table == TROUPE__DEAD) {
        (void)troupe__cursor_string(&cursor, &reason_size);
        form = troupe__cursor_bytes(&cursor, 1);
    }
    if (form && *form == 0) {
        return; /* It never was a message. */
    }
    struct troupe_bytes rest = {cursor.at, (size_t)(cursor.end - cursor.at)};
    enum troupe_error result =
        cursor.failed ? TROUPE_ECORRUPT : troupe__message_decode(&worker->actors, rest, &message);
    if (result != TROUPE_OK) {
        note_undecoded(worker, looked, result);
        return;
    }
    look_at_decoded(worker, looked, message);
    struct troupe__actor *to = message->to, *from = message->from != to ? message->from : NULL;
    troupe__message_free(message);
    let_go(to);
    let_go(from);
}

static void look_at_job(struct worker *worker, const struct looked *looked)
{
    struct troupe__job *job;
    enum troupe_error result = troupe__job_decode(&worker->actors, looked->value, &job);
    if (result != TROUPE_OK) {
        note_undecoded(worker, looked, result);
        return;
    }
    struct troupe__actor *actor = job->actor;
    struct subject subject = {.type = actor->type->name, .name = troupe__job_name(job), .key = actor->key};
    if (!actor->type->declared) {
        note(worker, looked, TROUPE__UPGRADE_TYPE_GONE, &subject, "a job waits, the module has no such type");
    } else if (!job->declared) {
        note(worker, looked, TROUPE__UPGRADE_JOB_GONE, &subject, "it waits, the module does not declare it");
    }
    troupe__job_release(job);
    let_go(actor);
}

static void look_at(struct worker *worker, const struct looked *looked)
{
    troupe__delivery_forget(&worker->ctx);
    if (looked->table == TROUPE__STATE) {
        look_at_state(worker, looked);
    } else if (looked->table == TROUPE__JOB) {
        look_at_job(worker, looked);
    } else {
        look_at_message(worker, looked);
    }
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static struct batch *take_batch(struct upgrade *upgrade)
{
    pthread_mutex_lock(&upgrade->mutex);
    while (!upgrade->oldest && !upgrade->ended) {
        pthread_cond_wait(&upgrade->filled, &upgrade->mutex);
    }
    struct batch *batch = upgrade->oldest;
    if (batch) {
        upgrade->oldest = batch->next;
        upgrade->newest = upgrade->oldest ? upgrade->newest : NULL;
        upgrade->queued--;
        pthread_cond_signal(&upgrade->taken);
    }
    pthread_mutex_unlock(&upgrade->mutex);
    return batch;
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct batch *batch;
    while ((batch = take_batch(worker->upgrade)) != NULL) {
        struct troupe__cursor cursor = {batch->rows.data, batch->rows.data + batch->rows.size, false};
        while (cursor.at != cursor.end) {
            struct looked looked = {.order = troupe__cursor_varint(&cursor)};
            looked.node = (size_t)troupe__cursor_varint(&cursor);
            looked.table = (enum troupe__table)troupe__cursor_varint(&cursor);
            looked.key.data = troupe__cursor_string(&cursor, &looked.key.size);
            looked.value.data = troupe__cursor_string(&cursor, &looked.value.size);
            look_at(worker, &looked);
        }
        troupe__buffer_free(&batch->rows);
        free(batch);
    }
    return NULL;
}

static void give_batch(struct upgrade *upgrade, struct batch *batch)
{
    pthread_mutex_lock(&upgrade->mutex);
    while (upgrade->queued == QUEUE_MAX) {
        pthread_cond_wait(&upgrade->taken, &upgrade->mutex);
    }
    if (upgrade->newest) {
        upgrade->newest->next = batch;
    } else {
        upgrade->oldest = batch;
    }
    upgrade->newest = batch;
    upgrade->queued++;
    pthread_cond_signal(&upgrade->filled);
    pthread_mutex_unlock(&upgrade->mutex);
}

/* Elements of a generation that is over wait to be removed: nobody reads them. The head stands before its elements. */
struct generation {
    unsigned char prefix[TROUPE__ROW_KEY_MAX]; /* up to the value's name */
    size_t prefix_size;
    uint64_t number;
};

static bool is_over(struct generation *current, const struct troupe__cut_row *row)
{
    struct troupe__row_key parts;
    struct troupe__row value;
    struct troupe__head head = {0};
    enum troupe_kind kind;
    if (!troupe__row_key_decode(row->key, &parts)) {
        return false;
    }
    const unsigned char *end = (const unsigned char *)parts.value.data + parts.value.size;
    size_t size = (size_t)(end - (const unsigned char *)row->key.data);
    if (size != current->prefix_size || memcmp(current->prefix, row->key.data, size) != 0) {
        memcpy(current->prefix, row->key.data, size);
        current->prefix_size = size;
        current->number = 0;
    }
    if (parts.is_element) {
        return parts.generation != current->number;
    }
    if (troupe__row_decode(row->value, &value) && value.head && troupe__head_decode(value.payload, &kind, &head)) {
        current->number = head.generation;
    }
    return false;
}

static enum troupe_error walk(struct upgrade *upgrade, char *error, size_t error_size)
{
    const unsigned tables = 1u << TROUPE__STATE | 1u << TROUPE__MAIL | 1u << TROUPE__TIMER | 1u << TROUPE__DEAD |
                            1u << TROUPE__JOB | 1u << TROUPE__OUTBOX;
    struct troupe__cut_walk walk;
    struct troupe__cut_row row;
    struct generation generation = {.prefix_size = 0};
    struct batch *batch = NULL;
    uint64_t order = 0;
    enum troupe_error result;
    troupe__cut_walk_begin(&walk, upgrade->cut, tables);
    while ((result = troupe__cut_next(&walk, &row)) == TROUPE_OK) {
        order++;
        if ((row.table == TROUPE__STATE && is_over(&generation, &row)) ||
            (row.table == TROUPE__OUTBOX && !troupe__cut_in_flight(upgrade->cut, row.node, row.key))) {
            continue;
        }
        if (!batch && !(batch = calloc(1, sizeof *batch))) {
            result = TROUPE_ENOMEM;
            break;
        }
        troupe__buffer_put_varint(&batch->rows, order);
        troupe__buffer_put_varint(&batch->rows, row.node);
        troupe__buffer_put_varint(&batch->rows, row.table);
        troupe__buffer_put_string(&batch->rows, row.key.data, row.key.size);
        troupe__buffer_put_string(&batch->rows, row.value.data, row.value.size);
        if (batch->rows.failed) {
            result = TROUPE_ENOMEM;
            break;
        }
        if (batch->rows.size >= BATCH_SIZE) {
            give_batch(upgrade, batch);
            batch = NULL;
        }
    }
    if (result != TROUPE_ENOTFOUND) {
        snprintf(error, error_size, "%s", result == TROUPE_ENOMEM ? "out of memory" : walk.error);
    }
    troupe__cut_walk_end(&walk);
    if (batch && result == TROUPE_ENOTFOUND) {
        give_batch(upgrade, batch);
    } else if (batch) {
        troupe__buffer_free(&batch->rows);
        free(batch);
    }
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

static int compare_faults(const void *a, const void *b)
{
    const struct troupe__upgrade_fault *left = a, *right = b;
    int order = strcmp(left->type, right->type);
    order = order ? order : (int)left->is_message - (int)right->is_message;
    order = order ? order : strcmp(left->name, right->name);
    return order ? order : (int)left->problem - (int)right->problem;
}

/* Put together what the workers found. */
static bool gather(struct worker *workers, size_t count, struct troupe__upgrade *ret)
{
    size_t capacity = 0;
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        const struct troupe__upgrade *found = &workers[i].found;
        good = good && !workers[i].failed;
        for (size_t k = 0; k < found->fault_count && good; k++) {
            good = add_fault(ret, &capacity, &found->faults[k]);
        }
        ret->values += found->values;
        ret->messages += found->messages;
        ret->migrated += found->migrated;
    }
    if (ret->fault_count > 0) {
        qsort(ret->faults, ret->fault_count, sizeof *ret->faults, compare_faults);
    }
    return good;
}

static enum troupe_error run(struct upgrade *upgrade, unsigned worker_count, struct troupe__upgrade *ret, char *error,
                             size_t error_size)
{
    struct worker *workers = calloc(worker_count, sizeof *workers);
    enum troupe_error result = workers ? TROUPE_OK : TROUPE_ENOMEM;
    size_t begun = 0, prepared = 0;
    snprintf(error, error_size, "out of memory");
    while (result == TROUPE_OK && prepared < worker_count) {
        struct worker *worker = &workers[prepared];
        worker->upgrade = upgrade;
        result = troupe__actors_init(&worker->actors, upgrade->module, error, error_size);
        prepared += result == TROUPE_OK;
    }
    while (result == TROUPE_OK && begun < worker_count) {
        if (pthread_create(&workers[begun].thread, NULL, work, &workers[begun])) {
            snprintf(error, error_size, "cannot start a thread");
            result = TROUPE_ENOMEM;
            break;
        }
        begun++;
    }
    result = result == TROUPE_OK ? walk(upgrade, error, error_size) : result;
    pthread_mutex_lock(&upgrade->mutex);
    upgrade->ended = true;
    pthread_cond_broadcast(&upgrade->filled);
    pthread_mutex_unlock(&upgrade->mutex);
    for (size_t i = 0; i < begun; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    if (result == TROUPE_OK && !gather(workers, worker_count, ret)) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    }
    for (size_t i = 0; i < prepared; i++) {
        troupe__upgrade_fini(&workers[i].found);
        troupe__delivery_fini(&workers[i].ctx);
        troupe__actors_fini(&workers[i].actors);
    }
    free(workers);
    return result;
}

static unsigned core_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
}

/* What each node says was declared. */
static enum troupe_error read_specs(const struct troupe__cut *cut, struct troupe__specs *specs, char *error,
                                    size_t error_size)
{
    struct troupe__cut_walk walk;
    struct troupe__cut_row row;
    enum troupe_error result;
    troupe__cut_walk_begin(&walk, cut, 1u << TROUPE__META);
    while ((result = troupe__cut_next(&walk, &row)) == TROUPE_OK) {
        if (row.key.size == strlen(TROUPE__SPECS_ROW) && memcmp(row.key.data, TROUPE__SPECS_ROW, row.key.size) == 0 &&
            (result = troupe__specs_decode(row.value, &specs[row.node])) != TROUPE_OK) {
            snprintf(walk.error, sizeof walk.error, "node %s: its row '%s' cannot be read", cut->nodes[row.node].name,
                     TROUPE__SPECS_ROW);
            break;
        }
    }
    snprintf(error, error_size, "%s", walk.error);
    troupe__cut_walk_end(&walk);
    return result == TROUPE_ENOTFOUND ? TROUPE_OK : result;
}

enum troupe_error troupe__upgrade_check(const struct troupe_module *module, const struct troupe__cut *cut,
                                        const struct troupe__upgrade_options *options, struct troupe__upgrade *ret,
                                        char *error, size_t error_size)
{
    struct upgrade upgrade = {.module = module, .cut = cut, .migrate = options->migrate};
    struct troupe__upgrade found = {.fault_count = 0};
    unsigned workers = options->workers ? options->workers : core_count();
    if (!(upgrade.specs = calloc(cut->node_count + 1, sizeof *upgrade.specs))) {
        snprintf(error, error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    pthread_mutex_init(&upgrade.mutex, NULL);
    pthread_cond_init(&upgrade.filled, NULL);
    pthread_cond_init(&upgrade.taken, NULL);
    enum troupe_error result = read_specs(cut, upgrade.specs, error, error_size);
    result = result == TROUPE_OK ? run(&upgrade, workers, &found, error, error_size) : result;
    for (size_t i = 0; i < cut->node_count; i++) {
        troupe__specs_fini(&upgrade.specs[i]);
    }
    free(upgrade.specs);
    pthread_cond_destroy(&upgrade.taken);
    pthread_cond_destroy(&upgrade.filled);
    pthread_mutex_destroy(&upgrade.mutex);
    if (result != TROUPE_OK) {
        troupe__upgrade_fini(&found);
        return result;
    }
    *ret = found;
    return TROUPE_OK;
}
