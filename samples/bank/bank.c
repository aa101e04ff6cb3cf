/* bank.c - a bank: transfers between accounts that never lose or invent money, whatever crashes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * There are two types of actor. An account (`bank/account/a12`) knows its balance. A transfer (`bank/transfer/T17`)
 * moves money between two accounts, and is four messages, each handled once:
 *
 *     outside                  transfer T17              account a12               account a40
 *        | transfer {from,to,amount} |                        |                         |
 *     1  +-------------------------->| keeps from,to,amount   |                         |
 *     2                              | withdraw {transfer,..} |                         |
 *                                    +----------------------->| balance -= amount       |
 *     3                              |<-----------------------+ withdrawn (or refused)  |
 *     4          forgets, done       | deposit {transfer,from,amount}                   |
 *                                    +------------------------------------------------->| balance += amount
 *                                                                                       | emits {"ok":true}
 *
 * Between 2 and 4 the money is in a message. There is no code for crashes here: the new balance and the message that
 * carries the money are effects of one delivery, so either both exist afterwards or neither does. `check`, at the end,
 * looks whether that is so, in any snapshot of a bank at work. */
#include <troupe.h>

#include <inttypes.h>
#include <string.h>

enum { OPENING_BALANCE = 1000 }; /* An account that nobody has touched yet holds this. */

/* ---- the account ------------------------------------------------------------------------------------------------- */

/* Values are declared once and named by their address; `account_values` lists those that an account has. */
static const struct troupe_value balance_value = {.name = "balance", .kind = TROUPE_INT};
static const struct troupe_value *const account_values[] = {&balance_value, NULL};

/* An actor always exists, so "was never set" is how a new account looks. */
static enum troupe_error read_balance(struct troupe_context *ctx, int64_t *ret)
{
    enum troupe_error error = troupe_get_int(ctx, &balance_value, ret);
    if (error == TROUPE_ENOTFOUND) {
        *ret = OPENING_BALANCE;
        return TROUPE_OK;
    }
    return error;
}

static enum troupe_error on_withdraw(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *transfer;
    int64_t amount, balance;
    enum troupe_error error = troupe_unpack(ctx, message->body, "{s:s, s:i}", "transfer", &transfer, "amount", &amount);
    if (error == TROUPE_OK) {
        error = read_balance(ctx, &balance);
    }
    if (error != TROUPE_OK) {
        return error;
    }
    struct troupe_bytes body = troupe_pack(ctx, "{s:s, s:i}", "transfer", transfer, "amount", amount);
    if (amount > balance) {
        return troupe_reply(ctx, "refused", body);
    }
    error = troupe_set_int(ctx, &balance_value, balance - amount);
    if (error != TROUPE_OK) {
        return error;
    }
    return troupe_reply(ctx, "withdrawn", body);
}

static enum troupe_error on_deposit(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *transfer, *from;
    int64_t amount, balance;
    enum troupe_error error =
        troupe_unpack(ctx, message->body, "{s:s, s:s, s:i}", "transfer", &transfer, "from", &from, "amount", &amount);
    if (error == TROUPE_OK) {
        error = read_balance(ctx, &balance);
    }
    if (error != TROUPE_OK) {
        return error;
    }
    if (balance > INT64_MAX - amount) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "the balance would not fit: %" PRId64 " + %" PRId64, balance, amount);
    }
    error = troupe_set_int(ctx, &balance_value, balance + amount);
    if (error != TROUPE_OK) {
        return error;
    }
    struct troupe_bytes record = troupe_pack(ctx, "{s:s, s:s, s:s, s:i, s:b}", "transfer", transfer, "from", from, "to",
                                             troupe_self(ctx).key, "amount", amount, "ok", 1);
    return troupe_emit(ctx, "transfers", transfer, record);
}

static enum troupe_error on_audit(struct troupe_context *ctx)
{
    int64_t balance;
    enum troupe_error error = read_balance(ctx, &balance);
    if (error != TROUPE_OK) {
        return error;
    }
    return troupe_emit(ctx, "balances", troupe_self(ctx).key, troupe_pack(ctx, "{s:i}", "balance", balance));
}

static enum troupe_error account(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "withdraw") == 0) {
        return on_withdraw(ctx, message);
    }
    if (strcmp(message->type, "deposit") == 0) {
        return on_deposit(ctx, message);
    }
    if (strcmp(message->type, "audit") == 0) {
        return on_audit(ctx);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "an account knows no message \"%s\"", message->type);
}

/* ---- the transfer ------------------------------------------------------------------------------------------------ */

/* Set while the transfer is under way, cleared when it is done: a finished transfer costs nothing. */
static const struct troupe_value from_value = {.name = "from", .kind = TROUPE_STRING};
static const struct troupe_value to_value = {.name = "to", .kind = TROUPE_STRING};
static const struct troupe_value amount_value = {.name = "amount", .kind = TROUPE_INT};
static const struct troupe_value *const transfer_values[] = {&from_value, &to_value, &amount_value, NULL};

static struct troupe_bytes text_bytes(const char *text)
{
    struct troupe_bytes bytes = {text, strlen(text)};
    return bytes;
}

static enum troupe_error on_transfer(struct troupe_context *ctx, const struct troupe_message *message)
{
    const char *from, *to;
    int64_t amount, pending;
    enum troupe_error error =
        troupe_unpack(ctx, message->body, "{s:s, s:s, s:i}", "from", &from, "to", &to, "amount", &amount);
    if (error != TROUPE_OK) {
        return error;
    }
    /* A refusal is final: trying again would not make a wrong order right. It becomes a dead letter. */
    if (amount <= 0) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "the amount is %" PRId64 ", must be above 0", amount);
    }
    error = troupe_get_int(ctx, &amount_value, &pending);
    if (error == TROUPE_OK) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "this transfer is under way already");
    }
    if (error != TROUPE_ENOTFOUND) {
        return error;
    }
    if ((error = troupe_set_bytes(ctx, &from_value, text_bytes(from))) != TROUPE_OK ||
        (error = troupe_set_bytes(ctx, &to_value, text_bytes(to))) != TROUPE_OK ||
        (error = troupe_set_int(ctx, &amount_value, amount)) != TROUPE_OK) {
        return error;
    }
    struct troupe_bytes body = troupe_pack(ctx, "{s:s, s:i}", "transfer", troupe_self(ctx).key, "amount", amount);
    return troupe_send(ctx, troupe_to("bank/account", from), "withdraw", body);
}

/* The account has answered: pass the money on, or report that there was too little of it; then forget. */
static enum troupe_error on_answer(struct troupe_context *ctx, bool withdrawn)
{
    struct troupe_bytes from, to;
    int64_t amount;
    enum troupe_error error;
    if ((error = troupe_get_bytes(ctx, &from_value, &from)) != TROUPE_OK ||
        (error = troupe_get_bytes(ctx, &to_value, &to)) != TROUPE_OK ||
        (error = troupe_get_int(ctx, &amount_value, &amount)) != TROUPE_OK) {
        return error;
    }
    const char *transfer = troupe_self(ctx).key;
    const char *from_key = from.data, *to_key = to.data; /* Strings in the state end with a NUL. */
    if (withdrawn) {
        struct troupe_bytes body =
            troupe_pack(ctx, "{s:s, s:s, s:i}", "transfer", transfer, "from", from_key, "amount", amount);
        error = troupe_send(ctx, troupe_to("bank/account", to_key), "deposit", body);
    } else {
        struct troupe_bytes record = troupe_pack(ctx, "{s:s, s:s, s:s, s:i, s:b}", "transfer", transfer, "from",
                                                 from_key, "to", to_key, "amount", amount, "ok", 0);
        error = troupe_emit(ctx, "transfers", transfer, record);
    }
    if (error != TROUPE_OK || (error = troupe_clear(ctx, &from_value)) != TROUPE_OK ||
        (error = troupe_clear(ctx, &to_value)) != TROUPE_OK) {
        return error;
    }
    return troupe_clear(ctx, &amount_value);
}

static enum troupe_error transfer(struct troupe_context *ctx, const struct troupe_message *message)
{
    if (strcmp(message->type, "transfer") == 0) {
        return on_transfer(ctx, message);
    }
    if (strcmp(message->type, "withdrawn") == 0 || strcmp(message->type, "refused") == 0) {
        return on_answer(ctx, strcmp(message->type, "withdrawn") == 0);
    }
    return troupe_fail(ctx, TROUPE_EREJECTED, "a transfer knows no message \"%s\"", message->type);
}

/* ---- what always holds ------------------------------------------------------------------------------------------- */

/* The money that a message carries: from one account that no longer has it to one that does not have it yet. One that
 * became a dead letter still carries it. */
static enum troupe_error money_of(struct troupe_view *view, const struct troupe_view_message *seen, int64_t *ret)
{
    const char *type = seen->message.type;
    *ret = 0;
    if (seen->place == TROUPE_IN_JOB || (strcmp(type, "withdrawn") != 0 && strcmp(type, "deposit") != 0)) {
        return TROUPE_OK;
    }
    return troupe_view_unpack(view, seen->message.body, "{s:i}", "amount", ret);
}

/* Balances and the money in messages make up what the accounts were opened with, at every moment. */
static enum troupe_error check(struct troupe_view *view, struct troupe_report *report)
{
    struct troupe_address actor;
    struct troupe_view_message seen;
    int64_t balance, money, balances = 0, on_the_way = 0, accounts = 0;
    enum troupe_error error;
    while ((error = troupe_view_next_actor(view, "bank/account", &actor)) == TROUPE_OK) {
        if ((error = troupe_view_int(view, &balance_value, &balance)) != TROUPE_OK) {
            return error;
        }
        if (balance < 0) {
            troupe_report_fault(report, "%s/%s has a balance of %" PRId64, actor.type, actor.key, balance);
        }
        balances += balance;
        accounts++;
    }
    if (error != TROUPE_ENOTFOUND) {
        return error;
    }
    while ((error = troupe_view_next_message(view, &seen)) == TROUPE_OK) {
        if ((error = money_of(view, &seen, &money)) != TROUPE_OK) {
            return error;
        }
        on_the_way += money;
    }
    if (error != TROUPE_ENOTFOUND) {
        return error;
    }
    if (balances + on_the_way != accounts * OPENING_BALANCE) {
        troupe_report_fault(report,
                            "%" PRId64 " accounts were opened with %" PRId64 ", but hold %" PRId64 " and %" PRId64
                            " is on the way",
                            accounts, accounts * OPENING_BALANCE, balances, on_the_way);
    }
    return TROUPE_OK;
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static const struct troupe_type types[] = {
    {.name = "bank/transfer", .handler = transfer, .values = transfer_values},
    {.name = "bank/account", .handler = account, .values = account_values},
};

extern const struct troupe_module troupe_module; /* the one symbol that a module exports */
const struct troupe_module troupe_module = {
    .abi = TROUPE_ABI,
    .name = "bank",
    .version = "1.0.0",
    .types = types,
    .type_count = sizeof types / sizeof types[0],
    .check = check,
};
