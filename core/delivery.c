/* delivery.c - one run of one handler on one message: what it may see, and the effects it asks for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/delivery.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/grow.h"
#include "core/pack.h"
#include "core/state.h"

/* ---- memory that lives for one delivery -------------------------------------------------------------------------- */

enum { CHUNK_SIZE = 16384 };

struct troupe__chunk {
    struct troupe__chunk *older;
    size_t size;
    _Alignas(16) char data[];
};

static void *arena_take(struct troupe_context *ctx, size_t size)
{
    size_t aligned = (size + 15) & ~(size_t)15;
    if (!ctx->arena || ctx->arena->size - ctx->arena_used < aligned) {
        size_t chunk_size = aligned > CHUNK_SIZE ? aligned : CHUNK_SIZE;
        struct troupe__chunk *chunk = malloc(sizeof *chunk + chunk_size);
        if (!chunk) {
            return NULL;
        }
        chunk->older = ctx->arena;
        chunk->size = chunk_size;
        ctx->arena = chunk;
        ctx->arena_used = 0;
    }
    char *memory = ctx->arena->data + ctx->arena_used;
    ctx->arena_used += aligned;
    return memory;
}

static void arena_reset(struct troupe_context *ctx)
{
    while (ctx->arena && (ctx->arena->older || ctx->arena->size > CHUNK_SIZE)) {
        struct troupe__chunk *older = ctx->arena->older;
        free(ctx->arena);
        ctx->arena = older;
    }
    ctx->arena_used = 0;
}

char *troupe__delivery_copy(void *context, const void *data, size_t size)
{
    char *copy = arena_take(context, size + 1);
    if (copy) {
        if (size > 0) {
            memcpy(copy, data, size);
        }
        copy[size] = '\0';
    }
    return copy;
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

enum troupe_error troupe_fail(struct troupe_context *ctx, enum troupe_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->error, sizeof ctx->error, format, args);
    va_end(args);
    return error;
}

enum troupe_error troupe__delivery_misuse(struct troupe_context *ctx, enum troupe_error error)
{
    if (ctx->sticky == TROUPE_OK) {
        ctx->sticky = error;
    }
    return error;
}

enum troupe_error troupe__delivery_check_size(struct troupe_context *ctx, struct troupe_bytes body)
{
    if (ctx->sticky != TROUPE_OK) {
        return ctx->sticky; /* The body came from a troupe_pack that failed. */
    }
    if (body.size > TROUPE_BODY_MAX) {
        return troupe_fail(ctx, TROUPE_ETOOBIG, "%zu bytes are over the limit of %d", body.size, TROUPE_BODY_MAX);
    }
    if (ctx->effects_size + body.size > TROUPE__EFFECTS_SIZE_MAX) {
        return troupe_fail(ctx, TROUPE_ETOOBIG, "the effects of one delivery are over the limit of %d bytes",
                           TROUPE__EFFECTS_SIZE_MAX);
    }
    return TROUPE_OK;
}

/* ---- effects ----------------------------------------------------------------------------------------------------- */

struct troupe__effect *troupe__delivery_stage(struct troupe_context *ctx, enum troupe__effect_kind kind)
{
    struct troupe__effect *effects =
        troupe__grow(ctx->effects, ctx->effect_count, &ctx->effect_capacity, sizeof *effects);
    if (!effects) {
        troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
        return NULL;
    }
    ctx->effects = effects;
    struct troupe__effect *effect = &effects[ctx->effect_count++];
    *effect = (struct troupe__effect){.kind = kind};
    return effect;
}

enum troupe_error troupe__delivery_check_name(struct troupe_context *ctx, const char *what, const char *name,
                                              size_t *ret_size)
{
    size_t size = name ? strlen(name) : 0;
    if (size == 0 || size > TROUPE_NAME_MAX) {
        troupe_fail(ctx, TROUPE_EINVAL, "%s '%.64s' must have 1 to %d bytes", what, name ? name : "", TROUPE_NAME_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    *ret_size = size;
    return TROUPE_OK;
}

/* The actor that is at hand, if `to` is the very address that the handler was shown of it: nothing to check or find. */
static struct troupe__actor *at_hand(struct troupe_context *ctx, struct troupe_address to)
{
    struct troupe__actor *from = ctx->message->from;
    struct troupe__actor *actor = from && to.key == from->key ? from : to.key == ctx->actor->key ? ctx->actor : NULL;
    return actor && to.type == actor->type->name ? actor : NULL;
}

/* The actor, or with `seek`, if it is not at hand, NULL and the way to it. */
static enum troupe_error find_actor(struct troupe_context *ctx, struct troupe_address to, struct troupe__seek *seek,
                                    struct troupe__actor **ret)
{
    size_t key_size = to.key ? strlen(to.key) : 0;
    if ((*ret = at_hand(ctx, to)) != NULL) {
        (*ret)->used = true;
        return TROUPE_OK;
    }
    if (key_size == 0 || key_size > TROUPE_KEY_MAX) {
        troupe_fail(ctx, TROUPE_EINVAL, "key '%.32s...' has %zu bytes and must have 1 to %d", to.key ? to.key : "",
                    key_size, TROUPE_KEY_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    if (seek && to.type && troupe__actors_seek(ctx->actors, to.type, to.key, key_size, seek)) {
        seek->key = troupe__delivery_copy(ctx, to.key, key_size);
        return seek->key ? TROUPE_OK : troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    if (!to.type || !troupe__type_name_valid(to.type)) {
        troupe_fail(ctx, TROUPE_EINVAL, "type '%.64s' is not namespace/name of at most %d bytes",
                    to.type ? to.type : "", TROUPE_NAME_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    *ret = troupe__actors_get(ctx->actors, to.type, to.key, key_size);
    return *ret ? TROUPE_OK : troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
}

static enum troupe_error new_message(struct troupe_context *ctx, struct troupe_address to, const char *type,
                                     struct troupe_bytes body, struct troupe__seek *seek, struct troupe__message **ret)
{
    size_t type_size = 0;
    struct troupe__actor *actor = NULL;
    enum troupe_error result = troupe__delivery_check_name(ctx, "message name", type, &type_size);
    if (result == TROUPE_OK) {
        result = troupe__delivery_check_size(ctx, body);
    }
    if (result == TROUPE_OK) {
        result = find_actor(ctx, to, seek, &actor);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__message *message = troupe__message_new(actor, ctx->actor, type, type_size, body);
    if (!message) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    ctx->effects_size += sizeof *message + type_size + body.size;
    *ret = message;
    return TROUPE_OK;
}

enum troupe_error troupe__delivery_send(struct troupe_context *ctx, struct troupe_address to, const char *type,
                                        struct troupe_bytes body, enum troupe__message_kind kind, uint64_t correlation)
{
    struct troupe__message *message;
    struct troupe__seek seek = {0};
    enum troupe_error result = new_message(ctx, to, type, body, &seek, &message);
    if (result != TROUPE_OK) {
        return result;
    }
    message->kind = (uint8_t)kind;
    message->correlation = correlation;
    struct troupe__effect *effect = troupe__delivery_stage(ctx, TROUPE__SEND);
    if (!effect) {
        troupe__message_free(message);
        return TROUPE_ENOMEM;
    }
    effect->message = message;
    effect->to = seek;
    return TROUPE_OK;
}

enum troupe_error troupe_send(struct troupe_context *ctx, struct troupe_address to, const char *type,
                              struct troupe_bytes body)
{
    return troupe__delivery_send(ctx, to, type, body, TROUPE__PLAIN, 0);
}

static enum troupe_error send_later(struct troupe_context *ctx, int64_t delay_ms, struct troupe_address to,
                                    const char *type, struct troupe_bytes body, struct troupe__effect **ret)
{
    const int64_t delay_max_ms = INT64_C(10) * 366 * 86400 * 1000;
    if (delay_ms < 0 || delay_ms > delay_max_ms) {
        troupe_fail(ctx, TROUPE_EINVAL, "a delay of %lld ms is not within 0 and ten years", (long long)delay_ms);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    if (ctx->timers_full) {
        return troupe_fail(ctx, TROUPE_EFULL, "delayed messages and asks fill a quarter of the node's memory");
    }
    struct troupe__message *message;
    enum troupe_error result = new_message(ctx, to, type, body, NULL, &message);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__effect *effect = troupe__delivery_stage(ctx, TROUPE__SEND_AFTER);
    if (!effect) {
        troupe__message_free(message);
        return TROUPE_ENOMEM;
    }
    effect->message = message;
    effect->timer = troupe__delivery_next_id(ctx);
    effect->due_ms = ctx->now_ms + delay_ms;
    *ret = effect;
    return TROUPE_OK;
}

enum troupe_error troupe_send_after(struct troupe_context *ctx, int64_t delay_ms, struct troupe_address to,
                                    const char *type, struct troupe_bytes body, uint64_t *ret_timer)
{
    struct troupe__effect *effect = NULL;
    enum troupe_error result = send_later(ctx, delay_ms, to, type, body, &effect);
    if (result == TROUPE_OK && ret_timer) {
        *ret_timer = effect->timer;
    }
    return result;
}

enum troupe_error troupe_ask(struct troupe_context *ctx, struct troupe_address to, const char *type,
                             struct troupe_bytes body, int64_t timeout_ms, uint64_t *ret_correlation)
{
    if (timeout_ms < 1) {
        troupe_fail(ctx, TROUPE_EINVAL, "a timeout of %lld ms is not at least 1", (long long)timeout_ms);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    struct troupe__effect *timeout = NULL;
    enum troupe_error result =
        send_later(ctx, timeout_ms, troupe_self(ctx), TROUPE_TIMEOUT, (struct troupe_bytes){NULL, 0}, &timeout);
    if (result != TROUPE_OK) {
        return result;
    }
    uint64_t correlation = timeout->timer;
    timeout->message->correlation = correlation;
    result = troupe__delivery_send(ctx, to, type, body, TROUPE__ASK, correlation);
    if (result != TROUPE_OK) {
        /* The timeout was staged last; a failed send stages nothing. */
        troupe__message_free(ctx->effects[--ctx->effect_count].message);
        return result;
    }
    if (ret_correlation) {
        *ret_correlation = correlation;
    }
    return TROUPE_OK;
}

enum troupe_error troupe_cancel(struct troupe_context *ctx, uint64_t timer)
{
    bool pending = ctx->timer_pending(ctx->owner, timer) || troupe__jobs_find(ctx->jobs, timer);
    for (size_t i = 0; i < ctx->effect_count && timer != 0; i++) { /* Effects that have none say 0. */
        if (ctx->effects[i].timer == timer) {
            pending = ctx->effects[i].kind != TROUPE__CANCEL;
        }
    }
    if (!pending) {
        return TROUPE_ENOTFOUND;
    }
    struct troupe__effect *effect = troupe__delivery_stage(ctx, TROUPE__CANCEL);
    if (!effect) {
        return TROUPE_ENOMEM;
    }
    effect->timer = timer;
    return TROUPE_OK;
}

enum troupe_error troupe_emit(struct troupe_context *ctx, const char *egress, const char *key, struct troupe_bytes body)
{
    size_t name_size, key_size = key ? strlen(key) : 0;
    enum troupe_error result = troupe__delivery_check_name(ctx, "egress", egress, &name_size);
    if (result == TROUPE_OK) {
        result = troupe__delivery_check_size(ctx, body);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    if (key_size > TROUPE_KEY_MAX) {
        troupe_fail(ctx, TROUPE_EINVAL, "a record's key has %zu bytes, over %d", key_size, TROUPE_KEY_MAX);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    const char *name_copy = troupe__delivery_copy(ctx, egress, name_size);
    const char *key_copy = troupe__delivery_copy(ctx, key ? key : "", key_size);
    const char *body_copy = troupe__delivery_copy(ctx, body.data, body.size);
    struct troupe__effect *effect =
        name_copy && key_copy && body_copy ? troupe__delivery_stage(ctx, TROUPE__EMIT) : NULL;
    if (!effect) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    effect->egress = name_copy;
    effect->key = key_copy;
    effect->body = (struct troupe_bytes){body_copy, body.size};
    ctx->effects_size += name_size + key_size + body.size;
    return TROUPE_OK;
}

static bool declares_job(const struct troupe_type *type, const struct troupe_job_type *job)
{
    for (size_t i = 0; job && type->jobs && type->jobs[i]; i++) {
        if (type->jobs[i] == job) {
            return true;
        }
    }
    return false;
}

enum troupe_error troupe_job(struct troupe_context *ctx, const struct troupe_job_type *job, struct troupe_bytes input,
                             const char *result_name, uint64_t *ret_id)
{
    size_t result_size;
    enum troupe_error result = troupe__delivery_check_name(ctx, "result name", result_name, &result_size);
    if (result == TROUPE_OK) {
        result = troupe__delivery_check_size(ctx, input);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    if (!declares_job(ctx->actor->type->declared, job)) {
        troupe_fail(ctx, TROUPE_EINVAL, "job '%s' is not declared by type '%s'", job ? job->name : "NULL",
                    ctx->actor->type->name);
        return troupe__delivery_misuse(ctx, TROUPE_EINVAL);
    }
    size_t count = ctx->jobs->count + ctx->jobs_staged, size = ctx->jobs->input_size + ctx->jobs_staged_size;
    if (count >= TROUPE__JOBS_MAX || size + input.size > TROUPE__JOBS_SIZE_MAX) {
        return troupe_fail(ctx, TROUPE_EFULL, "job '%s': %zu jobs wait already, with %zu bytes of input", job->name,
                           count, size);
    }
    struct troupe__job *new_job = troupe__job_new(ctx->actor, (struct troupe_bytes){job->name, strlen(job->name)},
                                                  (struct troupe_bytes){result_name, result_size}, input);
    struct troupe__effect *effect = new_job ? troupe__delivery_stage(ctx, TROUPE__START_JOB) : NULL;
    if (!effect) {
        troupe__job_release(new_job);
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    new_job->id = troupe__delivery_next_id(ctx);
    effect->job = new_job;
    effect->timer = new_job->id;
    ctx->effects_size += sizeof *new_job + input.size;
    ctx->jobs_staged++;
    ctx->jobs_staged_size += input.size;
    if (ret_id) {
        *ret_id = new_job->id;
    }
    return TROUPE_OK;
}

int64_t troupe_now(const struct troupe_context *ctx)
{
    return ctx->now_ms;
}

uint64_t troupe_random(struct troupe_context *ctx)
{
    uint64_t from[4] = {ctx->seed, ctx->actor->hash, ctx->message->sequence, ctx->random_count++};
    return troupe__hash(from, sizeof from);
}

struct troupe_address troupe_self(const struct troupe_context *ctx)
{
    return troupe_to(ctx->actor->type->name, ctx->actor->key);
}

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

struct troupe_bytes troupe_pack(struct troupe_context *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ctx->scratch.size = 0;
    ctx->scratch.failed = false;
    char text[160];
    enum troupe_error result = troupe__pack(&ctx->scratch, format, &args, text, sizeof text);
    va_end(args);
    if (result != TROUPE_OK) {
        if (ctx->sticky == TROUPE_OK) {
            troupe_fail(ctx, result, "troupe_pack: %s", result == TROUPE_EINVAL ? text : troupe_error_text(result));
        }
        troupe__delivery_misuse(ctx, result);
        return (struct troupe_bytes){NULL, 0};
    }
    char *copy = troupe__delivery_copy(ctx, ctx->scratch.data, ctx->scratch.size);
    if (!copy) {
        troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
        return (struct troupe_bytes){NULL, 0};
    }
    return (struct troupe_bytes){copy, ctx->scratch.size};
}

enum troupe_error troupe_unpack(struct troupe_context *ctx, struct troupe_bytes body, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error result =
        troupe__unpack(body, format, &args, troupe__delivery_copy, ctx, ctx->error, sizeof ctx->error);
    va_end(args);
    return result == TROUPE_EINVAL || result == TROUPE_ENOMEM ? troupe__delivery_misuse(ctx, result) : result;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void drop_effects(struct troupe_context *ctx)
{
    for (size_t i = 0; i < ctx->effect_count; i++) {
        troupe__message_free(ctx->effects[i].message);
        troupe__job_release(ctx->effects[i].job);
    }
    ctx->effect_count = 0;
}

enum troupe_error troupe__delivery_migrate(struct troupe_context *ctx, const struct troupe__message *message,
                                           struct troupe_bytes *body)
{
    const struct troupe_message_type *type = troupe__message_declared(message->to->type, message->data);
    uint32_t declared = type ? type->version : 0, version = message->version;
    if (version == declared) {
        return TROUPE_OK;
    }
    if (version > declared) {
        return troupe_fail(
            ctx, TROUPE_EREJECTED,
            "message '%s' is of version %u, the module knows %u: use a newer one, then retry this letter",
            message->data, version, declared);
    }
    struct troupe_bytes migrated = {NULL, 0};
    enum troupe_error result = type->migrate(ctx, type, version, *body, &migrated);
    result = result == TROUPE_OK ? ctx->sticky : result;
    if (result != TROUPE_OK) {
        char why[sizeof ctx->error];
        snprintf(why, sizeof why, "%s", ctx->error[0] ? ctx->error : troupe_error_text(result));
        return troupe_fail(ctx, result, "message '%s': migrate from version %u to %u: %.160s", message->data, version,
                           declared, why);
    }
    *body = migrated;
    return TROUPE_OK;
}

enum troupe_error troupe__delivery_run(struct troupe_context *ctx, const struct troupe__message *message)
{
    struct troupe__actor *actor = message->to;
    assert(actor->type->declared);
    ctx->actor = actor;
    ctx->message = message;
    ctx->random_count = 0;
    ctx->effect_count = 0;
    ctx->effects_size = 0;
    ctx->jobs_staged = 0;
    ctx->jobs_staged_size = 0;
    ctx->undo_count = 0;
    ctx->sticky = TROUPE_OK;
    ctx->error[0] = '\0';
    arena_reset(ctx);
    struct troupe_message seen = {
        .type = message->data,
        .from = message->from ? troupe_to(message->from->type->name, message->from->key) : troupe_to("", ""),
        .body = {troupe__message_body(message), message->body_size},
        .correlation = message->correlation,
        .attempt = message->attempt + 1,
        .job_attempts = message->job_attempts,
    };
    enum troupe_error result = TROUPE_OK;
    if (message->version > 0 || actor->type->declared->messages) {
        result = troupe__delivery_migrate(ctx, message, &seen.body);
    }
    result = result == TROUPE_OK ? actor->type->declared->handler(ctx, &seen) : result;
    if ((unsigned)result >= TROUPE_ERROR_COUNT) {
        result =
            troupe_fail(ctx, TROUPE_EFAILED, "the handler returned %d, which is no enum troupe_error", (int)result);
    }
    if (result == TROUPE_OK) {
        result = ctx->sticky;
    }
    if (result != TROUPE_OK) {
        troupe__state_roll_back(ctx);
        drop_effects(ctx);
        return result;
    }
    troupe__state_keep(ctx);
    return TROUPE_OK;
}

void troupe__delivery_forget(struct troupe_context *ctx)
{
    arena_reset(ctx);
    ctx->sticky = TROUPE_OK;
    ctx->error[0] = '\0';
}

void troupe__delivery_fini(struct troupe_context *ctx)
{
    while (ctx->arena) {
        struct troupe__chunk *older = ctx->arena->older;
        free(ctx->arena);
        ctx->arena = older;
    }
    free(ctx->effects);
    free(ctx->undo);
    free(ctx->row_undo);
    free(ctx->dirty);
    troupe__buffer_free(&ctx->scratch);
}
