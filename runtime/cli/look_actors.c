/* look_actors.c - `troupe actors`: the actors that have anything.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/look.h"
#include "runtime/cli/show.h"

struct seen { /* An actor by one of its rows; then, merged, by all. */
    const char *type, *key;
    uint64_t values, mail, timers;
};

static int compare_seen(const void *a, const void *b)
{
    const struct seen *left = a, *right = b;
    int order = strcmp(left->type, right->type);
    return order ? order : strcmp(left->key, right->key);
}

/* One entry for each row of state, mail and timers; the messages only lend their actors, which the view keeps. */
static enum troupe_error collect(struct troupe__view *view, struct seen *seen, enum troupe__table *ret_table)
{
    for (unsigned t = TROUPE__STATE; t <= TROUPE__TIMER; t++) {
        const struct troupe__view_table *table = &view->tables[t];
        *ret_table = (enum troupe__table)t;
        for (size_t i = 0; i < table->count; i++, seen++) {
            struct troupe__row_key state;
            struct troupe__message *message;
            int64_t due_ms;
            if (t == TROUPE__STATE) {
                if (!troupe__row_key_decode(table->rows[i]->key, &state)) {
                    return TROUPE_ECORRUPT;
                }
                *seen = (struct seen){state.type, state.key, 1, 0, 0};
                continue;
            }
            enum troupe_error result = t == TROUPE__MAIL ? troupe__view_mail(view, table->rows[i], &message)
                                                         : troupe__view_timer(view, table->rows[i], &due_ms, &message);
            if (result != TROUPE_OK) {
                return result;
            }
            *seen = (struct seen){message->to->type->name, message->to->key, 0, t == TROUPE__MAIL, t == TROUPE__TIMER};
            troupe__message_free(message);
        }
    }
    return TROUPE_OK;
}

static void print_seen(const struct troupe__look *look, const struct seen *seen, struct troupe__buffer *line)
{
    troupe__show_node(line, look->json, look->node);
    if (look->json) {
        troupe__show_text(line, "\"actor\":");
        troupe__show_json_address(line, seen->type, seen->key);
        troupe__show_number(line, ",\"values\":", seen->values);
        troupe__show_number(line, ",\"mail\":", seen->mail);
        troupe__show_number(line, ",\"timers\":", seen->timers);
        troupe__show_text(line, "}");
    } else {
        troupe__show_name(line, seen->type, strlen(seen->type));
        troupe__buffer_put_byte(line, '/');
        troupe__show_name(line, seen->key, strlen(seen->key));
        troupe__show_number(line, "\tvalues ", seen->values);
        troupe__show_number(line, ", mail ", seen->mail);
        troupe__show_number(line, ", timers ", seen->timers);
    }
    troupe__show_line(line);
}

static enum troupe_error show_actors(const struct troupe__look *look, struct troupe__view *view,
                                     struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    size_t count =
        view->tables[TROUPE__STATE].count + view->tables[TROUPE__MAIL].count + view->tables[TROUPE__TIMER].count;
    struct seen *seen = malloc((count + 1) * sizeof *seen);
    (void)context;
    enum troupe_error result = seen ? collect(view, seen, ret_table) : TROUPE_ENOMEM;
    if (result == TROUPE_OK) {
        qsort(seen, count, sizeof *seen, compare_seen);
        for (size_t i = 0; i < count; i++) {
            struct seen sum = seen[i];
            while (i + 1 < count && compare_seen(&sum, &seen[i + 1]) == 0) {
                i++;
                sum.values += seen[i].values;
                sum.mail += seen[i].mail;
                sum.timers += seen[i].timers;
            }
            if (!look->type || strcmp(look->type, sum.type) == 0) {
                print_seen(look, &sum, line);
            }
        }
    }
    free(seen);
    return result;
}

int troupe__look_actors(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "actors",
        .examples = "  troupe actors --type bank/account --json\n",
        .help = "usage: troupe actors [--data DIR] [--type NAMESPACE/NAME]\n\n"
                "Lists the actors that have values, waiting messages or delayed messages, in the order of their\n"
                "addresses, with how many of each; of a troupe node by node, the node's name first.\n"
                "--json: {\"actor\":..,\"values\":n,\"mail\":n,\"timers\":n}, of a troupe with \"node\".\n"};
    int code = troupe__look_parse(&look, argc, argv, 0, 0);
    return code >= 0 ? code
                     : troupe__look_at(&look, 1u << TROUPE__STATE | 1u << TROUPE__MAIL | 1u << TROUPE__TIMER,
                                       (struct troupe_bytes){"", 0}, NULL, show_actors, NULL);
}
