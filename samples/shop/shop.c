/* shop.c - a shop: carts, orders that hold what they sell for a while, and a stock that never sells anything twice.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     outside          cart {ada}         order {ada}-1                 stock pen
 *        | add {item,count} |                   |                          |
 *        +----------------->| a map of items    |                          |
 *        | checkout         | line {item,count} |                          |
 *        +----------------->+------------------>|                          |
 *                           | place {hold_ms}   | reserve {count}          |
 *                           +------------------>+------------------------->| free -> held
 *                                               | a timer: expire          |
 *                                               |<-------------------------+ reserved (or sold out)
 *        | pay                                  |                          |
 *        +------------------------------------->| cancels the timer        |
 *                                               | sell {count}             |
 *         record on "orders": paid              +------------------------->| held -> sold
 *
 * Nobody pays in time: `expire` comes, which is a message like any other, and what was held is free again. Payment and
 * expiry cannot both win: the order handles one message at a time, and the first one decides.
 *
 * A cart and its orders share the tag in braces, which alone decides on the node: `{ada}` and `{ada}-1` always live
 * together. The stock of an item is everybody's, and may live elsewhere. */
#include <troupe.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HOLD_MS = 15 * 60 * 1000 }; /* how long an order waits for its payment */

/* ---- what all of them use ---------------------------------------------------------------------------------------- */

static enum troupe_error or_default(enum troupe_error error)
{
    return error == TROUPE_ENOTFOUND ? TROUPE_OK : error; /* `*ret` keeps what it was */
}

static enum troupe_error add_to(struct troupe_context *ctx, const struct troupe_value *value, int64_t more)
{
    int64_t number = 0;
    enum troupe_error error = or_default(troupe_get_int(ctx, value, &number));
    return error == TROUPE_OK ? troupe_set_int(ctx, value, number + more) : error;
}

static struct troupe_bytes pack_count(struct troupe_context *ctx, int64_t count)
{
    return troupe_pack(ctx, "{s:i}", "count", count);
}

static enum troupe_error unpack_count(struct troupe_context *ctx, struct troupe_bytes body, int64_t *ret)
{
    enum troupe_error error = troupe_unpack(ctx, body, "{s:i}", "count", ret);
    if (error == TROUPE_OK && (*ret < 1 || *ret > 1000000)) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a count is 1 to 1000000, not %" PRId64, *ret);
    }
    return error;
}

static enum troupe_error unknown(struct troupe_context *ctx, const struct troupe_message *message)
{
    return troupe_fail(ctx, TROUPE_EREJECTED, "%s knows no message \"%s\"", troupe_self(ctx).type, message->type);
}

/* ---- the stock of one item: every piece is free, held for an order, or sold -------------------------------------- */

static const struct troupe_value free_value = {.name = "free", .kind = TROUPE_INT};
static const struct troupe_value held_value = {.name = "held", .kind = TROUPE_INT};
static const struct troupe_value sold_value = {.name = "sold", .kind = TROUPE_INT};
static const struct troupe_value *const stock_values[] = {&free_value, &held_value, &sold_value, NULL};

static enum troupe_error move_pieces(struct troupe_context *ctx, const struct troupe_value *from,
                                     const struct troupe_value *to, int64_t count)
{
    enum troupe_error error = add_to(ctx, from, -count);
    return error == TROUPE_OK ? add_to(ctx, to, count) : error;
}

static enum troupe_error on_reserve(struct troupe_context *ctx, int64_t count)
{
    int64_t free = 0;
    enum troupe_error error = or_default(troupe_get_int(ctx, &free_value, &free));
    if (error != TROUPE_OK) {
        return error;
    }
    if (free < count) {
        return troupe_reply(ctx, "sold out", pack_count(ctx, count));
    }
    error = move_pieces(ctx, &free_value, &held_value, count);
    return error == TROUPE_OK ? troupe_reply(ctx, "reserved", pack_count(ctx, count)) : error;
}

static enum troupe_error on_audit(struct troupe_context *ctx)
{
    int64_t free = 0, held = 0, sold = 0;
    enum troupe_error error;
    if ((error = or_default(troupe_get_int(ctx, &free_value, &free))) != TROUPE_OK ||
        (error = or_default(troupe_get_int(ctx, &held_value, &held))) != TROUPE_OK ||
        (error = or_default(troupe_get_int(ctx, &sold_value, &sold))) != TROUPE_OK) {
        return error;
    }
    return troupe_emit(ctx, "stock", troupe_self(ctx).key,
                       troupe_pack(ctx, "{s:i, s:i, s:i}", "free", free, "held", held, "sold", sold));
}

static enum troupe_error stock(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t count;
    if (strcmp(message->type, "audit") == 0) {
        return on_audit(ctx);
    }
    enum troupe_error error = unpack_count(ctx, message->body, &count);
    if (error != TROUPE_OK) {
        return error;
    }
    if (strcmp(message->type, "supply") == 0) {
        return add_to(ctx, &free_value, count);
    }
    if (strcmp(message->type, "reserve") == 0) {
        return on_reserve(ctx, count);
    }
    if (strcmp(message->type, "release") == 0) {
        return move_pieces(ctx, &held_value, &free_value, count);
    }
    if (strcmp(message->type, "sell") == 0) {
        return move_pieces(ctx, &held_value, &sold_value, count);
    }
    return unknown(ctx, message);
}

/* ---- the cart ---------------------------------------------------------------------------------------------------- */

/* A map holds any number of elements; each is read and stored by itself. */
static const struct troupe_value items_value = {.name = "items", .kind = TROUPE_MAP};
static const struct troupe_value orders_value = {.name = "orders", .kind = TROUPE_INT};
static const struct troupe_value *const cart_values[] = {&items_value, &orders_value, NULL};

static enum troupe_error on_add(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *item;
    int64_t count, before = 0;
    struct troupe_bytes element;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:s}", "item", &item);
    if (error != TROUPE_OK || (error = unpack_count(ctx, message->body, &count)) != TROUPE_OK) {
        return error;
    }
    error = troupe_map_get(ctx, &items_value, troupe_string(item), &element);
    if (error == TROUPE_OK) {
        error = unpack_count(ctx, element, &before);
    }
    if (or_default(error) != TROUPE_OK) {
        return error;
    }
    return troupe_map_set(ctx, &items_value, troupe_string(item), pack_count(ctx, before + count));
}

/* Between two actors messages arrive in the order sent: the order knows all its lines when it is placed. */
static enum troupe_error on_checkout(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t hold_ms = HOLD_MS, number = 0, lines = 0;
    struct troupe_bytes item, element;
    struct troupe_map_walk walk = {0};
    char key[TROUPE_KEY_MAX + 32];
    enum troupe_error error;
    if ((error = troupe_unpack(ctx, message->body, "{s?:i}", "hold_ms", &hold_ms)) != TROUPE_OK ||
        (error = or_default(troupe_get_int(ctx, &orders_value, &number))) != TROUPE_OK) {
        return error;
    }
    snprintf(key, sizeof key, "%s-%" PRId64, troupe_self(ctx).key, ++number);
    struct troupe_address order = troupe_to("shop/order", key);
    while ((error = troupe_map_next(ctx, &items_value, &walk, &item, &element)) == TROUPE_OK) {
        int64_t count;
        if ((error = unpack_count(ctx, element, &count)) != TROUPE_OK) {
            return error;
        }
        struct troupe_bytes line = troupe_pack(ctx, "{s:s, s:i}", "item", item.data, "count", count);
        if ((error = troupe_send(ctx, order, "line", line)) != TROUPE_OK) {
            return error;
        }
        lines++;
    }
    if (error != TROUPE_ENOTFOUND) {
        return error;
    }
    if (lines == 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "the cart is empty");
    }
    if ((error = troupe_send(ctx, order, "place", troupe_pack(ctx, "{s:i}", "hold_ms", hold_ms))) != TROUPE_OK ||
        (error = troupe_set_int(ctx, &orders_value, number)) != TROUPE_OK) {
        return error;
    }
    return troupe_clear(ctx, &items_value);
}

static enum troupe_error cart(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "add") == 0) {
        return on_add(ctx, message);
    }
    if (strcmp(message->type, "checkout") == 0) {
        return on_checkout(ctx, message);
    }
    return unknown(ctx, message);
}

/* ---- the order --------------------------------------------------------------------------------------------------- */

/*            line, place            all reserved             pay
 *     NEW ----------------> PLACED ---------------> HELD ---------> PAID        a payment that comes while PLACED is
 *                             |  sold out             |                         kept until all is reserved
 *                             +-----------> REFUSED   | expire
 *                             | expire                v
 *                             +------------------> EXPIRED
 */
enum order_state { ORDER_NEW, ORDER_PLACED, ORDER_HELD, ORDER_PAID, ORDER_REFUSED, ORDER_EXPIRED };
static const char *const state_names[] = {"new", "placed", "held", "paid", "refused", "expired"};

static const struct troupe_value state_value = {.name = "state", .kind = TROUPE_INT};
static const struct troupe_value lines_value = {.name = "lines", .kind = TROUPE_MAP};      /* item -> count */
static const struct troupe_value holds_value = {.name = "holds", .kind = TROUPE_MAP};      /* those that are reserved */
static const struct troupe_value asked_value = {.name = "asked", .kind = TROUPE_INT};      /* answers yet to come */
static const struct troupe_value timer_value = {.name = "timer", .kind = TROUPE_INT};      /* of `expire` */
static const struct troupe_value payment_value = {.name = "payment", .kind = TROUPE_BOOL}; /* came early */
static const struct troupe_value curious_value = {.name = "curious", .kind = TROUPE_LIST}; /* who is to be answered */
static const struct troupe_value *const order_values[] = {&state_value, &lines_value,   &holds_value,   &asked_value,
                                                          &timer_value, &payment_value, &curious_value, NULL};

static enum troupe_error read_state(struct troupe_context *ctx, int64_t *ret)
{
    *ret = ORDER_NEW;
    return or_default(troupe_get_int(ctx, &state_value, ret));
}

/* Send `type` to the stock of every item in `map`; `*ret_count` says how many there are. */
static enum troupe_error tell_stocks(struct troupe_context *ctx, const struct troupe_value *map, const char *type,
                                     int64_t *ret_count)
{
    struct troupe_map_walk walk = {0};
    struct troupe_bytes item, element;
    enum troupe_error error;
    *ret_count = 0;
    while ((error = troupe_map_next(ctx, map, &walk, &item, &element)) == TROUPE_OK) {
        if ((error = troupe_send(ctx, troupe_to("shop/stock", item.data), type, element)) != TROUPE_OK) {
            return error;
        }
        ++*ret_count;
    }
    return or_default(error);
}

static struct troupe_bytes pack_outcome(struct troupe_context *ctx, int64_t state)
{
    return troupe_pack(ctx, "{s:s}", "state", state_names[state]);
}

/* Somebody asks how the order ends: the answer comes when it has, minutes later perhaps, and whatever crashed. */
static enum troupe_error on_outcome(struct troupe_context *ctx)
{
    int64_t state;
    struct troupe_bytes right;
    enum troupe_error error = read_state(ctx, &state);
    if (error == TROUPE_OK && state >= ORDER_PAID) {
        return troupe_reply(ctx, "outcome", pack_outcome(ctx, state));
    }
    if (error == TROUPE_OK) {
        error = troupe_reply_later(ctx, &right);
    }
    return error == TROUPE_OK ? troupe_list_push_back(ctx, &curious_value, right) : error;
}

static enum troupe_error answer_curious(struct troupe_context *ctx, int64_t state)
{
    struct troupe_list_walk walk = {0};
    struct troupe_bytes right;
    uint64_t position;
    enum troupe_error error;
    while ((error = troupe_list_next(ctx, &curious_value, &walk, &position, &right)) == TROUPE_OK) {
        if ((error = troupe_reply_to(ctx, right, "outcome", pack_outcome(ctx, state))) != TROUPE_OK) {
            return error;
        }
    }
    return or_default(error);
}

/* The end of an order: what it holds is sold or free again, its timer is gone, and of its values only the state stays.
 */
static enum troupe_error end_order(struct troupe_context *ctx, enum order_state state)
{
    int64_t timer = 0, lines;
    enum troupe_error error = tell_stocks(ctx, &holds_value, state == ORDER_PAID ? "sell" : "release", &lines);
    if (error == TROUPE_OK && (error = troupe_get_int(ctx, &timer_value, &timer)) == TROUPE_OK) {
        error = or_default(troupe_cancel(ctx, (uint64_t)timer)); /* Not found: it is what just came. */
    }
    if (error == TROUPE_OK) {
        error = answer_curious(ctx, state);
    }
    for (size_t i = 1; error == TROUPE_OK && order_values[i]; i++) {
        error = troupe_clear(ctx, order_values[i]);
    }
    if (error == TROUPE_OK) {
        error = troupe_set_int(ctx, &state_value, state);
    }
    if (error != TROUPE_OK) {
        return error;
    }
    return troupe_emit(ctx, "orders", troupe_self(ctx).key,
                       troupe_pack(ctx, "{s:s, s:i}", "state", state_names[state], "lines", lines));
}

static enum troupe_error on_line(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *item;
    int64_t count;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:s}", "item", &item);
    if (error != TROUPE_OK || (error = unpack_count(ctx, message->body, &count)) != TROUPE_OK) {
        return error;
    }
    return troupe_map_set(ctx, &lines_value, troupe_string(item), pack_count(ctx, count));
}

static enum troupe_error on_place(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t hold_ms, asked;
    uint64_t timer;
    enum troupe_error error;
    if ((error = troupe_unpack(ctx, message->body, "{s:i}", "hold_ms", &hold_ms)) != TROUPE_OK ||
        (error = tell_stocks(ctx, &lines_value, "reserve", &asked)) != TROUPE_OK ||
        (error = troupe_send_after(ctx, hold_ms, troupe_self(ctx), "expire", (struct troupe_bytes){0}, &timer)) !=
            TROUPE_OK ||
        (error = troupe_set_int(ctx, &timer_value, (int64_t)timer)) != TROUPE_OK ||
        (error = troupe_set_int(ctx, &asked_value, asked)) != TROUPE_OK) {
        return error;
    }
    return troupe_set_int(ctx, &state_value, ORDER_PLACED);
}

/* The stock of an item has answered. An order that has ended meanwhile gives back what comes late. */
static enum troupe_error on_answer(struct troupe_context *ctx, const struct troupe_message *message, bool reserved)
{
    int64_t state, asked;
    bool payment = false;
    enum troupe_error error = read_state(ctx, &state);
    if (error != TROUPE_OK) {
        return error;
    }
    if (state != ORDER_PLACED) {
        return reserved ? troupe_reply(ctx, "release", message->body) : TROUPE_OK;
    }
    if (!reserved) {
        return end_order(ctx, ORDER_REFUSED);
    }
    if ((error = troupe_map_set(ctx, &holds_value, troupe_string(message->from.key), message->body)) != TROUPE_OK ||
        (error = troupe_get_int(ctx, &asked_value, &asked)) != TROUPE_OK ||
        (error = troupe_set_int(ctx, &asked_value, asked - 1)) != TROUPE_OK ||
        (error = or_default(troupe_get_bool(ctx, &payment_value, &payment))) != TROUPE_OK) {
        return error;
    }
    if (asked > 1) {
        return TROUPE_OK;
    }
    return payment ? end_order(ctx, ORDER_PAID) : troupe_set_int(ctx, &state_value, ORDER_HELD);
}

static enum troupe_error on_pay(struct troupe_context *ctx)
{
    int64_t state;
    enum troupe_error error = read_state(ctx, &state);
    if (error != TROUPE_OK) {
        return error;
    }
    switch (state) {
    case ORDER_NEW: /* Messages from outside to two actors may overtake each other: it may not be placed yet. */
    case ORDER_PLACED:
        return troupe_set_bool(ctx, &payment_value, true);
    case ORDER_HELD:
        return end_order(ctx, ORDER_PAID);
    default:
        return troupe_emit(ctx, "refunds", troupe_self(ctx).key,
                           troupe_pack(ctx, "{s:s}", "state", state_names[state]));
    }
}

static enum troupe_error on_expire(struct troupe_context *ctx)
{
    int64_t state;
    enum troupe_error error = read_state(ctx, &state);
    if (error != TROUPE_OK) {
        return error;
    }
    return state == ORDER_PLACED || state == ORDER_HELD ? end_order(ctx, ORDER_EXPIRED) : TROUPE_OK;
}

static enum troupe_error order(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "line") == 0) {
        return on_line(ctx, message);
    }
    if (strcmp(message->type, "place") == 0) {
        return on_place(ctx, message);
    }
    if (strcmp(message->type, "reserved") == 0 || strcmp(message->type, "sold out") == 0) {
        return on_answer(ctx, message, strcmp(message->type, "reserved") == 0);
    }
    if (strcmp(message->type, "pay") == 0) {
        return on_pay(ctx);
    }
    if (strcmp(message->type, "outcome") == 0) {
        return on_outcome(ctx);
    }
    return strcmp(message->type, "expire") == 0 ? on_expire(ctx) : unknown(ctx, message);
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static const struct troupe_type types[] = {
    {.name = "shop/stock", .handler = stock, .values = stock_values},
    {.name = "shop/cart", .handler = cart, .values = cart_values},
    {.name = "shop/order", .handler = order, .values = order_values},
};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI, .name = "shop", .version = "1.0.0", .types = types, .type_count = sizeof types / sizeof *types};
