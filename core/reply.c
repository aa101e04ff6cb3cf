/* reply.c - the answer to a message: at once, later, or by another actor.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The right to answer is msgpack [kind, number, type, key]. An answer to another actor goes to that type and key, with
 * the number as its correlation (0: that was a message, not an ask). An answer to the outside goes as an OUTWARD to the
 * actor that was asked, since it lives where the ask came in; that node lets it out. */
#include "core/delivery.h"

enum right_kind { TO_ACTOR, TO_ASKER, TO_OUTSIDE, RIGHT_KINDS };

static bool asked_from_outside(const struct troupe_context *ctx)
{
    return !ctx->message->from && ctx->message->kind == TROUPE__ASK;
}

static enum troupe_error nobody(struct troupe_context *ctx)
{
    return troupe_fail(ctx, TROUPE_ENOTFOUND, "no reply: the message was sent from outside, not asked");
}

/* The answer to an ask from outside leaves the node. */
static enum troupe_error respond(struct troupe_context *ctx, const char *type, struct troupe_bytes body)
{
    size_t type_size;
    enum troupe_error result = troupe__delivery_check_name(ctx, "message name", type, &type_size);
    result = result == TROUPE_OK ? troupe__delivery_check_size(ctx, body) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    const char *type_copy = troupe__delivery_copy(ctx, type, type_size);
    const char *body_copy = troupe__delivery_copy(ctx, body.data, body.size);
    struct troupe__effect *effect = type_copy && body_copy ? troupe__delivery_stage(ctx, TROUPE__RESPOND) : NULL;
    if (!effect) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    effect->egress = type_copy;
    effect->body = (struct troupe_bytes){body_copy, body.size};
    ctx->effects_size += type_size + body.size;
    return TROUPE_OK;
}

enum troupe_error troupe_reply(struct troupe_context *ctx, const char *type, struct troupe_bytes body)
{
    const struct troupe__actor *from = ctx->message->from;
    if (asked_from_outside(ctx)) {
        return respond(ctx, type, body);
    }
    if (!from) {
        return nobody(ctx);
    }
    struct troupe_address to = troupe_to(from->type->name, from->key);
    bool asked = ctx->message->kind == TROUPE__ASK;
    return troupe__delivery_send(ctx, to, type, body, asked ? TROUPE__ANSWER : TROUPE__PLAIN,
                                 asked ? ctx->message->correlation : 0);
}

enum troupe_error troupe_reply_later(struct troupe_context *ctx, struct troupe_bytes *ret)
{
    const struct troupe__message *message = ctx->message;
    const struct troupe__actor *to = message->from;
    enum right_kind kind = message->kind == TROUPE__ASK ? TO_ASKER : TO_ACTOR;
    uint64_t number = kind == TO_ASKER ? message->correlation : 0;
    if (asked_from_outside(ctx)) {
        to = ctx->actor;
        kind = TO_OUTSIDE;
        number = number << TROUPE__OUTWARD_SHIFT | (ctx->answer_open(ctx->owner, number) ? TROUPE__OUTWARD_KEPT : 0);
    }
    if (!to) {
        return nobody(ctx);
    }
    struct troupe_bytes right = troupe_pack(ctx, "[uuss]", (uint64_t)kind, number, to->type->name, to->key);
    if (!right.data || (kind == TO_OUTSIDE && !troupe__delivery_stage(ctx, TROUPE__DEFER))) {
        return troupe__delivery_misuse(ctx, TROUPE_ENOMEM);
    }
    *ret = right;
    return TROUPE_OK;
}

enum troupe_error troupe_reply_to(struct troupe_context *ctx, struct troupe_bytes right, const char *type,
                                  struct troupe_bytes body)
{
    static const enum troupe__message_kind kinds[RIGHT_KINDS] = {
        [TO_ACTOR] = TROUPE__PLAIN, [TO_ASKER] = TROUPE__ANSWER, [TO_OUTSIDE] = TROUPE__OUTWARD};
    struct troupe_address to;
    uint64_t kind, number;
    if (troupe_unpack(ctx, right, "[uuss]", &kind, &number, &to.type, &to.key) != TROUPE_OK || kind >= RIGHT_KINDS ||
        (kind == TO_ACTOR) != (number == 0) || !troupe__type_name_valid(to.type) || to.key[0] == '\0' ||
        strlen(to.key) > TROUPE_KEY_MAX) {
        return troupe_fail(ctx, TROUPE_ETYPE, "%zu bytes are not a right to answer from troupe_reply_later",
                           right.size);
    }
    return troupe__delivery_send(ctx, to, type, body, kinds[kind], number);
}
