/* look_stats.c - `troupe stats`: figures of nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/delivery.h"
#include "runtime/cli/look.h"
#include "runtime/cli/remote.h"
#include "runtime/cli/show.h"
#include "transport/json.h"

/* The node comes first. */
static void begin_object(const struct troupe__look *look, struct troupe__buffer *line)
{
    troupe__show_text(line, "{\"node\":");
    troupe__json_write_string(look->node, strlen(look->node), line);
}

/* One figure: `name TAB number`, or a member of the object. */
static void put_figure(const struct troupe__look *look, struct troupe__buffer *line, const char *name, size_t name_size,
                       uint64_t number)
{
    if (look->json) {
        troupe__buffer_put_byte(line, line->size > 0 ? ',' : '{');
        troupe__json_write_string(name, name_size, line);
        troupe__show_number(line, ":", number);
    } else {
        troupe__show_node(line, false, look->node);
        troupe__show_name(line, name, name_size);
        troupe__show_number(line, "\t", number);
        troupe__show_line(line);
    }
}

/* Of a node that does not run: of its rows. */
static enum troupe_error show_stats(const struct troupe__look *look, struct troupe__view *view,
                                    struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    static const char *const names[TROUPE__TABLE_COUNT] = {"meta",   "values", "mail",     "timers", "dead",
                                                           "egress", "jobs",   "response", "outbox", "sweeps"};
    struct troupe__counters counters;
    (void)context;
    *ret_table = TROUPE__META;
    enum troupe_error result = troupe__view_counters(view, &counters);
    if (result == TROUPE_ECORRUPT) {
        return result; /* Its text is the view's. */
    }
    const struct {
        const char *name;
        uint64_t number;
    } figures[] = {{"epoch", view->store->last_epoch},  {"journal_records", view->record_count},
                   {"messages", counters.sequence},     {"timers_set", counters.timer / TROUPE__ID_STEP},
                   {"egress_records", counters.egress}, {"egress_released", counters.egress_released},
                   {"now_ms", counters.now_ms}};
    if (look->json && look->node) {
        begin_object(look, line);
    }
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        put_figure(look, line, figures[i].name, strlen(figures[i].name), figures[i].number);
    }
    for (size_t t = TROUPE__STATE; t < TROUPE__TABLE_COUNT; t++) {
        put_figure(look, line, names[t], strlen(names[t]), view->tables[t].count);
    }
    for (size_t i = 0; i < view->tables[TROUPE__META].count; i++) {
        const struct troupe__view_row *row = view->tables[TROUPE__META].rows[i];
        struct troupe__cursor cursor = {row->value.data, (const unsigned char *)row->value.data + row->value.size,
                                        false};
        bool egress = row->key.size > 7 && memcmp(row->key.data, "egress/", 7) == 0;
        bool input = row->key.size > 6 && memcmp(row->key.data, "input/", 6) == 0;
        if (egress || input) {
            uint64_t first = troupe__cursor_varint(&cursor); /* an input's offset stands before its line */
            put_figure(look, line, row->key.data, row->key.size, egress ? first : troupe__cursor_varint(&cursor));
        }
    }
    if (look->json) {
        troupe__show_text(line, "}");
        troupe__show_line(line);
    }
    return TROUPE_OK;
}

/* Of a node that runs: what it says, with its name if there are several. */
static enum troupe_error show_remote(const struct troupe__look *look, struct troupe__client *client)
{
    const unsigned counted = 1u << TROUPE__STATE | 1u << TROUPE__DEAD | 1u << TROUPE__EGRESS | 1u << TROUPE__RESPONSE |
                             1u << TROUPE__OUTBOX | 1u << TROUPE__SWEEP;
    const char *text; /* Counting is not for every second. */
    enum troupe_error result = troupe__remote_stats(client, look->watch_s > 0 ? 0 : counted, look->json, &text);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__buffer line = {0};
    for (size_t size; *text; text += size) {
        bool rest = look->json && text[0] == '{' && look->node;
        size = strcspn(text, "\n");
        size += text[size] == '\n';
        if (look->node) {
            troupe__show_node(&line, look->json, look->node);
        }
        troupe__buffer_put(&line, text + rest, size - rest);
    }
    fwrite(line.data, 1, line.size, stdout);
    result = line.failed ? TROUPE_ENOMEM : TROUPE_OK;
    troupe__buffer_free(&line);
    return result;
}

static bool show_node(struct troupe__look *look, struct troupe__chorus *chorus, size_t index)
{
    const struct troupe__reach_node *node = &chorus->reach->nodes[index];
    struct troupe__voice *voice = &chorus->voices[index];
    if (!troupe__reach_runs(node)) {
        return troupe__look_at_node(look, chorus, index, (1u << TROUPE__TABLE_COUNT) - 1, (struct troupe_bytes){"", 0},
                                    show_stats, NULL) == TROUPE_OK;
    }
    look->node = chorus->reach->troupe ? node->name : NULL;
    enum troupe_error result = voice->result == TROUPE_OK ? show_remote(look, &voice->client) : voice->result;
    if (result != TROUPE_OK) {
        troupe__look_complain(look, voice->client.error, result);
    }
    look->node = NULL;
    return result == TROUPE_OK;
}

/* Returns whether all have answered. */
static bool show_all(struct troupe__look *look, struct troupe__chorus *chorus, const struct troupe__reach *reach)
{
    bool good = troupe__look_greet(look, chorus, reach);
    for (size_t i = 0; chorus->voices && i < reach->count; i++) {
        good &= !reach->nodes[i].listed || show_node(look, chorus, i);
    }
    return good;
}

int troupe__look_stats(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "stats",
        .examples = "  troupe stats --json\n",
        .help = "usage: troupe stats [--data DIR]\n\n"
                "Prints figures of the node, one a line: name, tab, number. --json: one object of them all.\n"
                "  epoch            the last durable epoch\n"
                "  messages, timers_set, egress_records\n"
                "                   the highest numbers given so far\n"
                "  egress_released  egress records known to be out\n"
                "  now_ms           the node's clock, in milliseconds since 1970; of one that stopped, then\n"
                "  mail, timers, jobs\n"
                "                   messages that wait, that are delayed; jobs without a result\n"
                "  values, dead, egress, response, outbox, sweeps\n"
                "                   rows of state, of a node that runs without those of the last seconds; dead\n"
                "                   letters, records not known to be out, kept answers, messages for other nodes,\n"
                "                   places where rows of state are to be removed. Not with --watch, nor of a node\n"
                "                   that runs where counting them takes more than 5 seconds\n"
                "Of a node that does not run:\n"
                "  journal_records  epochs that are not in the tables yet\n"
                "Of a node that runs, what it has done since its start, and what it uses:\n"
                "  deliveries, failures, dead_letters, repeats, late_answers, input_lines, bad_lines\n"
                "                   repeats: known by their id; late_answers: after the ask's timeout\n"
                "  blocked          messages that wait for their next attempt\n"
                "  requests, requests_refused, requests_under_way, replies_dropped, clients, tails\n"
                "  rss_bytes, actor_bytes, message_bytes\n"
                "                   memory of the process; of actors in use; of messages in memory\n"
                "  link/NODE/...    of a troupe: see troupe cluster status\n"
                "  pid, start, idle, activity, input_open\n"
                "                   what troupe wait goes by\n"
                "Of both:\n"
                "  egress/NAME      records put out on NAME\n"
                "  input/PATH       lines taken in from PATH\n"};
    struct troupe__reach reach;
    struct troupe__chorus chorus = {.voices = NULL};
    int code = troupe__look_parse(&look, argc, argv, 0, 0);
    code = code >= 0 ? code : troupe__look_open(&look, &reach);
    if (code >= 0) {
        return code;
    }
    bool runs = false, good;
    for (size_t i = 0; i < reach.count; i++) {
        runs |= troupe__reach_runs(&reach.nodes[i]);
    }
    if (look.watch_s > 0 && !runs) {
        troupe__reach_close(&reach);
        return troupe__wrong("stats", "only a node that runs can be watched, and none does on",
                             look.reach.data ? look.reach.data : "troupe-data");
    }
    do {
        good = show_all(&look, &chorus, &reach);
        if (look.watch_s > 0 && !look.json) {
            putchar('\n');
        }
        /* A troupe is watched on while a node is away. */
    } while (look.watch_s > 0 && (good || reach.troupe) && fflush(stdout) == 0 && !ferror(stdout) &&
             nanosleep(&(struct timespec){look.watch_s, 0}, NULL) == 0);
    troupe__chorus_close(&chorus);
    troupe__reach_close(&reach);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
