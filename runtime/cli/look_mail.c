/* look_mail.c - `troupe mailbox` and `troupe timers`: the messages that wait.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/look.h"
#include "runtime/cli/show.h"

static enum troupe_error show_mailbox(const struct troupe__look *look, struct troupe__view *view,
                                      struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    const struct troupe__look_address *address = context;
    const struct troupe__view_table *mail = &view->tables[TROUPE__MAIL];
    *ret_table = TROUPE__MAIL;
    for (size_t i = 0; i < mail->count; i++) {
        struct troupe__message *message;
        uint64_t number;
        enum troupe_error result = troupe__view_number(mail->rows[i], &number)
                                       ? troupe__view_mail(view, mail->rows[i], &message)
                                       : TROUPE_ECORRUPT;
        if (result != TROUPE_OK) {
            return result;
        }
        if (strcmp(message->to->type->name, address->type) == 0 && strcmp(message->to->key, address->key) == 0) {
            troupe__show_node(line, look->json, look->node);
            troupe__show_number(line, look->json ? "\"number\":" : "", number);
            if (look->json) {
                troupe__show_json_message(line, message);
                troupe__show_text(line, "}");
            } else {
                troupe__buffer_put_byte(line, '\t');
                troupe__show_message(line, message);
            }
            troupe__show_line(line);
        }
        troupe__message_free(message);
    }
    return TROUPE_OK;
}

int troupe__look_mailbox(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "mailbox",
        .examples = "  troupe mailbox bank/account/alice\n",
        .help = "usage: troupe mailbox [--data DIR | DIR] ADDRESS\n\n"
                "Prints the messages that wait for an actor, the next one first: number, address, name, body, sender,\n"
                "failed attempts. --json: {\"number\":n,\"to\":..,\"from\":..,\"type\":..,\"correlation\":n,\n"
                "\"attempt\":n,\"body\":..}; \"from\" is absent when it came from outside.\n"};
    struct troupe__look_address address;
    int code = troupe__look_parse(&look, argc, argv, 1, 1);
    code = code >= 0 ? code : troupe__look_parse_address(&look, &address);
    return code >= 0 ? code
                     : troupe__look_at(&look, 1u << TROUPE__MAIL, (struct troupe_bytes){"", 0}, &address, show_mailbox,
                                       &address);
}

struct due {
    int64_t due_ms;
    uint64_t id;
    const struct troupe__view_row *row;
};

static int compare_due(const void *a, const void *b)
{
    const struct due *left = a, *right = b;
    return left->due_ms != right->due_ms ? (left->due_ms > right->due_ms) - (left->due_ms < right->due_ms)
                                         : (left->id > right->id) - (left->id < right->id);
}

static enum troupe_error show_timers(const struct troupe__look *look, struct troupe__view *view,
                                     struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    (void)context;
    *ret_table = TROUPE__TIMER;
    const struct troupe__view_table *table = &view->tables[TROUPE__TIMER];
    struct due *dues = malloc((table->count + 1) * sizeof *dues);
    struct troupe__message *message;
    enum troupe_error result = dues ? TROUPE_OK : TROUPE_ENOMEM;
    for (size_t i = 0; i < table->count && result == TROUPE_OK; i++) {
        dues[i].row = table->rows[i];
        result = troupe__view_number(table->rows[i], &dues[i].id)
                     ? troupe__view_timer(view, table->rows[i], &dues[i].due_ms, &message)
                     : TROUPE_ECORRUPT;
        if (result == TROUPE_OK) {
            troupe__message_free(message);
        }
    }
    if (result == TROUPE_OK) {
        qsort(dues, table->count, sizeof *dues, compare_due);
    }
    for (size_t i = 0; i < table->count && result == TROUPE_OK; i++) {
        result = troupe__view_timer(view, dues[i].row, &dues[i].due_ms, &message);
        if (result != TROUPE_OK) {
            break;
        }
        troupe__show_node(line, look->json, look->node);
        troupe__show_number(line, look->json ? "\"timer\":" : "", dues[i].id);
        if (look->json) {
            troupe__show_number(line, ",\"due_ms\":", (uint64_t)dues[i].due_ms);
            troupe__show_json_message(line, message);
            troupe__show_text(line, "}");
        } else {
            troupe__buffer_put_byte(line, '\t');
            troupe__show_time(line, dues[i].due_ms);
            troupe__buffer_put_byte(line, '\t');
            troupe__show_message(line, message);
        }
        troupe__show_line(line);
        troupe__message_free(message);
    }
    free(dues);
    return result;
}

int troupe__look_timers(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "timers",
        .examples = "  troupe timers --json | head\n",
        .help = "usage: troupe timers [--data DIR]\n\n"
                "Prints the delayed messages, the first one due first: id, due time, address, name, body, sender.\n"
                "--json: {\"timer\":n,\"due_ms\":n,\"to\":..,\"from\":..,\"type\":..,\"correlation\":n,\"attempt\":n,\n"
                "\"body\":..}; times are milliseconds since 1970.\n"};
    int code = troupe__look_parse(&look, argc, argv, 0, 0);
    return code >= 0
               ? code
               : troupe__look_at(&look, 1u << TROUPE__TIMER, (struct troupe_bytes){"", 0}, NULL, show_timers, NULL);
}
