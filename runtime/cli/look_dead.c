/* look_dead.c - `troupe dead`: the messages that failed for good.
 * SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/look.h"
#include "runtime/cli/remote.h"
#include "runtime/cli/show.h"
#include "transport/json.h"

/* What names a letter: its number, of a troupe behind its node. */
static void put_letter(const struct troupe__look *look, uint64_t number, struct troupe__buffer *line)
{
    troupe__show_text(line, look->node ? look->node : "");
    troupe__show_number(line, look->node ? ":" : "", number);
}

/* Of a crash it has several lines: what happened, then where, a frame each. A list has room for the first. */
static void put_reason(struct troupe__buffer *line, struct troupe_bytes reason, bool whole)
{
    const char *at = reason.data, *end = at + reason.size;
    while (end > at && end[-1] == '\n') {
        end--;
    }
    for (bool first = true; first || (whole && at < end); first = false) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline ? newline : end) - at);
        troupe__show_text(line, first ? "" : "\n\tat ");
        troupe__show_name(line, at, size);
        at += size + (newline != NULL);
    }
}

static void print_dead(const struct troupe__look *look, uint64_t number, const struct troupe__view_dead *dead,
                       bool whole, struct troupe__buffer *line)
{
    if (look->json) {
        troupe__show_node(line, true, look->node);
        troupe__show_number(line, "\"number\":", number);
        troupe__show_number(line, ",\"time_ms\":", (uint64_t)dead->time_ms);
        troupe__show_text(line, ",\"reason\":");
        troupe__json_write_string(dead->reason.data, dead->reason.size, line);
        if (dead->message) {
            troupe__show_json_message(line, dead->message);
        } else {
            troupe__show_text(line, ",\"text\":");
            troupe__json_write_string(dead->text.data, dead->text.size, line);
        }
        troupe__show_text(line, "}");
    } else {
        troupe__show_text(line, whole ? "number\t" : "");
        put_letter(look, number, line);
        troupe__show_text(line, whole ? "\ntime\t" : "\t");
        troupe__show_time(line, dead->time_ms);
        troupe__show_text(line, whole ? "\nreason\t" : "\t");
        put_reason(line, dead->reason, whole);
        if (whole) {
            troupe__show_text(line, dead->message ? "\nmessage\t" : "\ntext\t");
        } else {
            troupe__show_text(line, dead->message ? "\tmessage\t" : "\ttext\t");
        }
        if (dead->message) {
            troupe__show_message(line, dead->message);
        } else if (whole) {
            troupe__json_write_string(dead->text.data, dead->text.size, line);
        } else {
            troupe__show_number(line, "", dead->text.size);
            troupe__show_text(line, " bytes");
        }
    }
    troupe__show_line(line);
}

static enum troupe_error list_dead(const struct troupe__look *look, struct troupe__view *view,
                                   struct troupe__buffer *line)
{
    for (size_t i = 0; i < view->tables[TROUPE__DEAD].count; i++) {
        const struct troupe__view_row *row = view->tables[TROUPE__DEAD].rows[i];
        struct troupe__view_dead dead;
        uint64_t number;
        enum troupe_error result =
            troupe__view_number(row, &number) ? troupe__view_dead(view, row, &dead) : TROUPE_ECORRUPT;
        if (result != TROUPE_OK) {
            return result;
        }
        print_dead(look, number, &dead, false, line);
        troupe__message_free(dead.message);
    }
    return TROUPE_OK;
}

/* One epoch: the letter leaves, and if it is to be tried again comes back as mail, behind all that waits, with its
 * attempts forgotten. `*ret_number` is its new number. */
static enum troupe_error move_dead(struct troupe__view *view, uint64_t number, struct troupe__message *message,
                                   uint64_t *ret_number)
{
    struct troupe__buffer record = {0}, value = {0};
    struct troupe__counters counters;
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_remove(&record, TROUPE__DEAD, key, sizeof key);
    enum troupe_error result = TROUPE_OK;
    if (message) {
        if ((result = troupe__view_counters(view, &counters)) != TROUPE_OK || counters.sequence < number) {
            snprintf(view->error, sizeof view->error,
                     "the counters' row is missing, malformed or too low: run troupe "
                     "doctor");
            result = TROUPE_ECORRUPT;
            goto out;
        }
        *ret_number = ++counters.sequence;
        counters.waiting++;
        message->attempt = 0;
        troupe__message_encode(message, &value);
        troupe__put_be64(key, counters.sequence);
        troupe__record_set(&record, TROUPE__MAIL, key, sizeof key, value.data, value.size);
        value.size = 0;
        troupe__counters_encode(&counters, &value);
        troupe__record_set(&record, TROUPE__META, TROUPE__COUNTERS_ROW, strlen(TROUPE__COUNTERS_ROW), value.data,
                           value.size);
    }
    if (record.failed || value.failed) {
        snprintf(view->error, sizeof view->error, "out of memory");
        result = TROUPE_ENOMEM;
        goto out;
    }
    result =
        view->store->commit(view->store, view->store->last_epoch + 1, (struct troupe_bytes){record.data, record.size});
    if (result != TROUPE_OK) {
        snprintf(view->error, sizeof view->error, "%s", view->store->error);
    }
out:
    troupe__buffer_free(&record);
    troupe__buffer_free(&value);
    return result;
}

enum verb { LIST, SHOW, RETRY, DROP };

struct letter {
    enum verb verb;
    uint64_t number; /* of all but LIST */
};

static enum troupe_error change_dead(const struct troupe__look *look, struct troupe__view *view, uint64_t number,
                                     struct troupe__message *message, bool retry, struct troupe__buffer *line)
{
    uint64_t new_number = 0;
    if (retry && !message) {
        snprintf(view->error, sizeof view->error,
                 "this letter is a line that never was a message: mend it, give it to the input again, and drop the "
                 "letter");
        return TROUPE_EINVAL;
    }
    enum troupe_error result = look->client ? troupe__remote_move_dead(look->client, number, retry, &new_number)
                                            : move_dead(view, number, retry ? message : NULL, &new_number);
    if (result != TROUPE_OK) {
        if (look->client) {
            snprintf(view->error, sizeof view->error, "%s", look->client->error);
        }
        return result;
    }
    if (look->json) {
        troupe__show_node(line, true, look->node);
        troupe__show_number(line, "\"number\":", number);
        troupe__show_text(line, retry ? ",\"mail\":" : ",\"dropped\":");
        retry ? troupe__show_number(line, "", new_number) : troupe__show_text(line, "true");
        troupe__show_text(line, "}");
    } else {
        troupe__show_text(line, "dead letter ");
        put_letter(look, number, line);
        retry ? troupe__show_number(line, " waits again, as message ", new_number)
              : troupe__show_text(line, " is dropped");
    }
    troupe__show_line(line);
    return TROUPE_OK;
}

static enum troupe_error show_dead(const struct troupe__look *look, struct troupe__view *view,
                                   struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    const struct letter *letter = context;
    struct troupe__view_dead dead = {0};
    unsigned char key[8];
    *ret_table = TROUPE__DEAD;
    if (letter->verb == LIST) {
        return list_dead(look, view, line);
    }
    troupe__put_be64(key, letter->number);
    const struct troupe__view_row *row = troupe__view_find(view, TROUPE__DEAD, (struct troupe_bytes){key, sizeof key});
    if (!row) {
        snprintf(view->error, sizeof view->error, "there is no dead letter %" PRIu64 "; see troupe dead list",
                 letter->number);
        return TROUPE_ENOTFOUND;
    }
    if (letter->verb == DROP) { /* A malformed letter can be dropped too. */
        return change_dead(look, view, letter->number, NULL, false, line);
    }
    enum troupe_error result = troupe__view_dead(view, row, &dead);
    if (result == TROUPE_OK && letter->verb == SHOW) {
        print_dead(look, letter->number, &dead, true, line);
    } else if (result == TROUPE_OK) {
        result = change_dead(look, view, letter->number, dead.message, true, line);
    }
    troupe__message_free(dead.message);
    return result;
}

/* NUMBER, or NODE:NUMBER; the node's name goes into `node`. */
static bool parse_letter(const char *text, char node[static TROUPE__NODE_NAME_MAX + 1], uint64_t *ret)
{
    const char *colon = strchr(text, ':');
    size_t size = colon ? (size_t)(colon - text) : 0;
    char *end;
    if (size > TROUPE__NODE_NAME_MAX) {
        return false;
    }
    memcpy(node, text, size);
    node[size] = '\0';
    text += colon ? size + 1 : 0;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0;
}

/* The node that has the letter. Returns -1, or the exit code. */
static int choose_node(struct troupe__look *look, const char *node)
{
    struct troupe__reach reach;
    if (node[0]) {
        look->reach.node = node;
        return -1;
    }
    int code = troupe__look_open(look, &reach);
    if (code < 0 && reach.count > 1 && !look->reach.node) {
        code = troupe__wrong("dead", "of several nodes a letter is NODE:NUMBER, as troupe dead list prints it, not",
                             look->operand[1]);
    }
    if (code < 0) {
        troupe__reach_close(&reach);
    }
    return code;
}

int troupe__look_dead(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "dead",
        .examples = "  troupe dead list && troupe dead show 17 && troupe dead retry 17\n",
        .help = "usage: troupe dead list [options]\n"
                "       troupe dead show|retry|drop NUMBER [options]\n\n"
                "Dead letters are messages that failed for good and lines that were no messages.\n"
                "  list   all: number, time, reason, and the message or the size of the line\n"
                "  show   one, whole\n"
                "  retry  put the message back, behind all that waits, with no failed attempts; it has a new number\n"
                "  drop   remove it for good\n"
                "Of a troupe NUMBER is NODE:NUMBER, as list prints it.\n"
                "Retry and drop are durable when the command returns, whether a node runs or not.\n"};
    static const char *const verbs[] = {"list", "show", "retry", "drop"};
    char node[TROUPE__NODE_NAME_MAX + 1] = "";
    struct letter letter = {LIST, 0};
    int code = troupe__look_parse(&look, argc, argv, 1, 2);
    if (code >= 0) {
        return code;
    }
    const char *verb = look.operand[0];
    while (letter.verb <= DROP && strcmp(verbs[letter.verb], verb) != 0) {
        letter.verb++;
    }
    if (letter.verb > DROP) {
        return troupe__wrong("dead", "it takes list, show, retry or drop, not", verb);
    }
    if (letter.verb == LIST ? look.operand_count != 1
                            : look.operand_count != 2 || !parse_letter(look.operand[1], node, &letter.number)) {
        return troupe__wrong("dead",
                             letter.verb == LIST ? "one argument too many (a directory goes behind --data):"
                                                 : "a number (see troupe dead list) must follow",
                             letter.verb == LIST ? look.operand[1] : verb);
    }
    code = letter.verb == LIST ? -1 : choose_node(&look, node);
    if (code >= 0) {
        return code;
    }
    look.writable = letter.verb == RETRY || letter.verb == DROP;
    return troupe__look_at(&look, 1u << TROUPE__DEAD | 1u << TROUPE__META, (struct troupe_bytes){"", 0}, NULL,
                           show_dead, &letter);
}
