/* features.c - model serving as an event-driven service: a payment is enriched with what is known of its user, scored
 * by a model, and decided, each once, whatever crashes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three types of actor:
 *
 *     outside         payment {u7}p12            user {u7}                model fraud
 *        | pay {user,amount} |                       |                         |
 *        +------------------>| keeps the amount      |                         |
 *                            | ask: enrich {amount}  |                         |
 *                            +---------------------->| updates its statistics  |
 *                            |<----------------------+ vector {count,mean,..}  |
 *                            | ask: score {count,mean,..}                      |
 *                            +------------------------------------------------>| weights * vector
 *                            |<------------------------------------------------+ scored {score}
 *      record on "decisions" | emits, forgets        |
 *
 * An ask brings back exactly one message: the answer, or TROUPE_TIMEOUT when it took too long; then a plain rule
 * decides instead of the model. So every payment is decided, once, and a model may be late, away, or replaced
 * meanwhile.
 *
 * The statistics are one small actor per user: an event reads and writes the values of one key, and nobody else's. A
 * key may hold a {tag}, which alone decides on the node it lives on: `{u7}p12` is always with `{u7}`. */
#include <troupe.h>

#include <string.h>

enum { PATIENCE_MS = 30000 };

/* What a model knows about a payment. `surprise` is how far the amount is from the user's mean, in variances. */
struct vector {
    int64_t count;
    double amount, mean, surprise;
};

static enum troupe_error unpack_vector(struct troupe_context *ctx, struct troupe_bytes body, struct vector *ret)
{
    return troupe_unpack(ctx, body, "{s:i, s:f, s:f, s:f}", "count", &ret->count, "amount", &ret->amount, "mean",
                         &ret->mean, "surprise", &ret->surprise);
}

static struct troupe_bytes pack_vector(struct troupe_context *ctx, const struct vector *vector)
{
    return troupe_pack(ctx, "{s:i, s:f, s:f, s:f}", "count", vector->count, "amount", vector->amount, "mean",
                       vector->mean, "surprise", vector->surprise);
}

/* ---- the user: statistics of all payments so far ------------------------------------------------------------------
 */

static const struct troupe_value count_value = {.name = "count", .kind = TROUPE_INT};
static const struct troupe_value mean_value = {.name = "mean", .kind = TROUPE_DOUBLE};
static const struct troupe_value squares_value = {.name = "squares", .kind = TROUPE_DOUBLE};
static const struct troupe_value *const user_values[] = {&count_value, &mean_value, &squares_value, NULL};

/* A value that was never set stays as it is in `ret`. */
static enum troupe_error or_default(enum troupe_error error)
{
    return error == TROUPE_ENOTFOUND ? TROUPE_OK : error;
}

/* Answer what was known before this payment, then count it in (Welford's running mean and variance). */
static enum troupe_error user(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct vector vector = {0};
    double squares = 0;
    enum troupe_error error;
    if (strcmp(message->type, "enrich") != 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a user knows no message \"%s\"", message->type);
    }
    if ((error = troupe_unpack(ctx, message->body, "{s:f}", "amount", &vector.amount)) != TROUPE_OK ||
        (error = or_default(troupe_get_int(ctx, &count_value, &vector.count))) != TROUPE_OK ||
        (error = or_default(troupe_get_double(ctx, &mean_value, &vector.mean))) != TROUPE_OK ||
        (error = or_default(troupe_get_double(ctx, &squares_value, &squares))) != TROUPE_OK) {
        return error;
    }
    double apart = vector.amount - vector.mean;
    if (squares > 0) {
        vector.surprise = apart * apart / (squares / (double)vector.count);
    }
    int64_t count = vector.count + 1;
    double mean = vector.mean + apart / (double)count;
    if ((error = troupe_set_int(ctx, &count_value, count)) != TROUPE_OK ||
        (error = troupe_set_double(ctx, &mean_value, mean)) != TROUPE_OK ||
        (error = troupe_set_double(ctx, &squares_value, squares + apart * (vector.amount - mean))) != TROUPE_OK) {
        return error;
    }
    return troupe_reply(ctx, "vector", pack_vector(ctx, &vector));
}

/* ---- the model ----------------------------------------------------------------------------------------------------
 */

/* Weights come as a message, so a new model is one more event, and takes effect between two questions. */
static const struct troupe_value weights_value = {.name = "weights", .kind = TROUPE_PACKED};
static const struct troupe_value *const model_values[] = {&weights_value, NULL};

struct weights {
    double bias, amount, surprise, unknown; /* the last one for a user's first payments */
};

static enum troupe_error unpack_weights(struct troupe_context *ctx, struct troupe_bytes body, struct weights *ret)
{
    return troupe_unpack(ctx, body, "{s:f, s:f, s:f, s:f}", "bias", &ret->bias, "amount", &ret->amount, "surprise",
                         &ret->surprise, "unknown", &ret->unknown);
}

static enum troupe_error on_score(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes stored;
    struct weights weights;
    struct vector vector;
    enum troupe_error error = troupe_get_bytes(ctx, &weights_value, &stored);
    if (error == TROUPE_ENOTFOUND) {
        return TROUPE_OK; /* Not loaded yet: no answer, and whoever asked goes on without it in time. */
    }
    if (error != TROUPE_OK || (error = unpack_weights(ctx, stored, &weights)) != TROUPE_OK ||
        (error = unpack_vector(ctx, message->body, &vector)) != TROUPE_OK) {
        return error;
    }
    double sum = weights.bias + weights.amount * vector.amount + weights.surprise * vector.surprise +
                 weights.unknown / (double)(vector.count + 1);
    double score = sum / (1 + (sum < 0 ? -sum : sum)); /* between -1 and 1 */
    return troupe_reply(ctx, "scored", troupe_pack(ctx, "{s:f}", "score", score));
}

static enum troupe_error model(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "score") == 0) {
        return on_score(ctx, message);
    }
    if (strcmp(message->type, "load") != 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a model knows no message \"%s\"", message->type);
    }
    struct weights weights; /* Read only to refuse what is none: a refusal is final, and becomes a dead letter. */
    if (unpack_weights(ctx, message->body, &weights) != TROUPE_OK) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "a model needs bias, amount, surprise, unknown, as floats");
    }
    return troupe_set_bytes(ctx, &weights_value, message->body);
}

/* ---- the payment ---------------------------------------------------------------------------------------------------
 */

/* Set from the event to the decision. `vector` is there once the user has answered. */
static const struct troupe_value amount_value = {.name = "amount", .kind = TROUPE_DOUBLE};
static const struct troupe_value model_value = {.name = "model", .kind = TROUPE_STRING};
static const struct troupe_value patience_value = {.name = "patience_ms", .kind = TROUPE_INT};
static const struct troupe_value vector_value = {.name = "vector", .kind = TROUPE_PACKED};
static const struct troupe_value *const payment_values[] = {&amount_value, &model_value, &patience_value, &vector_value,
                                                            NULL};

static struct troupe_bytes text_bytes(const char *text)
{
    struct troupe_bytes bytes = {text, strlen(text)};
    return bytes;
}

static enum troupe_error on_pay(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *who, *by = "fraud";
    int64_t patience_ms = PATIENCE_MS;
    double amount;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:s, s:f, s?:s, s?:i}", "user", &who, "amount",
                                            &amount, "model", &by, "patience_ms", &patience_ms);
    if (error != TROUPE_OK || (error = troupe_set_double(ctx, &amount_value, amount)) != TROUPE_OK ||
        (error = troupe_set_bytes(ctx, &model_value, text_bytes(by))) != TROUPE_OK ||
        (error = troupe_set_int(ctx, &patience_value, patience_ms)) != TROUPE_OK) {
        return error;
    }
    return troupe_ask(ctx, troupe_to("features/user", who), "enrich", troupe_pack(ctx, "{s:f}", "amount", amount),
                      PATIENCE_MS, NULL);
}

static enum troupe_error on_vector(struct troupe_context *ctx, const struct troupe_message *message)
{
    struct troupe_bytes by;
    int64_t patience_ms;
    enum troupe_error error;
    if ((error = troupe_get_bytes(ctx, &model_value, &by)) != TROUPE_OK ||
        (error = troupe_get_int(ctx, &patience_value, &patience_ms)) != TROUPE_OK ||
        (error = troupe_set_bytes(ctx, &vector_value, message->body)) != TROUPE_OK) {
        return error;
    }
    return troupe_ask(ctx, troupe_to("features/model", by.data), "score", message->body, patience_ms, NULL);
}

/* Put the decision out and forget the payment. A model answers with a score; without one large amounts are held. */
static enum troupe_error decide(struct troupe_context *ctx, const double *score)
{
    struct troupe_bytes packed = {0}, by;
    double amount;
    enum troupe_error error;
    if ((error = troupe_get_double(ctx, &amount_value, &amount)) != TROUPE_OK ||
        (error = troupe_get_bytes(ctx, &model_value, &by)) != TROUPE_OK ||
        (error = or_default(troupe_get_bytes(ctx, &vector_value, &packed))) != TROUPE_OK) {
        return error;
    }
    struct vector vector = {.count = -1}; /* when not even the user has answered */
    if (packed.data && (error = unpack_vector(ctx, packed, &vector)) != TROUPE_OK) {
        return error;
    }
    bool hold = score ? *score > 0 : amount >= 500;
    struct troupe_bytes record =
        troupe_pack(ctx, "{s:f, s:i, s:f, s:f, s:f, s:s, s:b}", "amount", amount, "count", vector.count, "mean",
                    vector.mean, "surprise", vector.surprise, "score", score ? *score : 0, "by",
                    score ? (const char *)by.data : "rule", "hold", hold);
    if ((error = troupe_emit(ctx, "decisions", troupe_self(ctx).key, record)) != TROUPE_OK) {
        return error;
    }
    for (size_t i = 0; payment_values[i]; i++) {
        if ((error = troupe_clear(ctx, payment_values[i])) != TROUPE_OK) {
            return error;
        }
    }
    return TROUPE_OK;
}

static enum troupe_error payment(struct troupe_context *ctx, const struct troupe_message *message)
{
    double score;
    if (strcmp(message->type, "pay") == 0) {
        return on_pay(ctx, message);
    }
    if (strcmp(message->type, "vector") == 0) {
        return on_vector(ctx, message);
    }
    if (strcmp(message->type, "scored") == 0) {
        enum troupe_error error = troupe_unpack(ctx, message->body, "{s:f}", "score", &score);
        return error == TROUPE_OK ? decide(ctx, &score) : error;
    }
    if (strcmp(message->type, TROUPE_TIMEOUT) == 0) {
        return decide(ctx, NULL);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "a payment knows no message \"%s\"", message->type);
}

/* ---- the module ----------------------------------------------------------------------------------------------------
 */

static const struct troupe_type types[] = {
    {.name = "features/user", .handler = user, .values = user_values},
    {.name = "features/model", .handler = model, .values = model_values},
    {.name = "features/payment", .handler = payment, .values = payment_values},
};

extern const struct troupe_module troupe_module;
const struct troupe_module troupe_module = {.abi = TROUPE_ABI,
                                            .name = "features",
                                            .version = "1.0.0",
                                            .types = types,
                                            .type_count = sizeof types / sizeof *types};
