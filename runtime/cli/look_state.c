/* look_state.c - `troupe state`: the values of an actor.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "runtime/cli/look.h"
#include "runtime/cli/show.h"
#include "transport/json.h"
#include "transport/utf8.h"

struct shown { /* How far the rows of an actor are printed. */
    struct troupe__buffer *line;
    bool json, any;
    struct troupe_bytes name; /* of the map or list whose rows these are; none before the first */
    enum troupe_kind kind;
    struct troupe__head head;
    bool any_element;
};

static bool same_bytes(struct troupe_bytes left, struct troupe_bytes right)
{
    return left.size == right.size && (left.size == 0 || memcmp(left.data, right.data, left.size) == 0);
}

static void end_shown(struct shown *shown)
{
    if (shown->json && shown->name.size > 0) {
        troupe__show_text(shown->line, shown->kind == TROUPE_LIST ? "]" : "}");
    }
    shown->name = (struct troupe_bytes){NULL, 0};
}

/* A map or list begins: with its head, or a map that has none with its first element. */
static void begin_shown(struct shown *shown, struct troupe_bytes name, enum troupe_kind kind, struct troupe__head head)
{
    end_shown(shown);
    if (shown->json) {
        troupe__show_text(shown->line, shown->any ? "," : "");
        troupe__json_write_string(name.data, name.size, shown->line);
        troupe__show_text(shown->line, kind == TROUPE_LIST ? ":[" : ":{");
    }
    shown->any = true;
    shown->any_element = false;
    shown->name = name;
    shown->kind = kind;
    shown->head = head;
}

static void show_end_of_row(struct shown *shown, const struct troupe__row *row)
{
    if (!shown->json) {
        if (row->expires_ms > 0) {
            troupe__show_text(shown->line, "\texpires ");
            troupe__show_time(shown->line, row->expires_ms);
        }
        troupe__show_line(shown->line);
    }
}

/* A key is any bytes: what is not UTF-8 is shown in hexadecimal. */
static void put_key(struct troupe__buffer *line, struct troupe_bytes key)
{
    const unsigned char *at = key.data, *end = at + key.size;
    char text[5 + 2 * TROUPE_ELEMENT_KEY_MAX + 1] = "$raw:";
    while (at < end) {
        size_t length = *at < 0x80 ? 1 : troupe__utf8_length(at, end);
        if (length == 0) {
            break;
        }
        at += length;
    }
    if (at == end) {
        troupe__json_write_string(key.data, key.size, line);
        return;
    }
    for (size_t i = 0; i < key.size && i < TROUPE_ELEMENT_KEY_MAX; i++) {
        snprintf(text + 5 + 2 * i, 3, "%02x", ((const unsigned char *)key.data)[i]);
    }
    troupe__json_write_string(text, strlen(text), line);
}

static void show_element(struct shown *shown, const struct troupe__row_key *key, const struct troupe__row *row)
{
    if (shown->json) {
        troupe__show_text(shown->line, shown->any_element ? "," : "");
    } else {
        troupe__show_name(shown->line, key->value.data, key->value.size);
        troupe__buffer_put_byte(shown->line, '\t');
    }
    if (shown->kind == TROUPE_MAP) {
        put_key(shown->line, key->element);
    } else if (!shown->json) {
        troupe__show_number(shown->line, "", troupe__get_be64(key->element.data) - shown->head.first);
    }
    if (!shown->json || shown->kind == TROUPE_MAP) {
        troupe__buffer_put_byte(shown->line, shown->json ? ':' : '\t');
    }
    troupe__show_body(shown->line, row->payload);
    show_end_of_row(shown, row);
    shown->any_element = true;
}

/* Returns false for a malformed row. Rows come in the order of their keys: a head before its elements. */
static bool show_row(struct shown *shown, const struct troupe__view_row *row)
{
    struct troupe__row_key key;
    struct troupe__row content;
    struct troupe__head head = {.first = TROUPE__LIST_BEGIN};
    enum troupe_kind kind = TROUPE_MAP;
    if (!troupe__row_key_decode(row->key, &key) || !troupe__row_decode(row->value, &content)) {
        return false;
    }
    if (key.is_element) {
        if (!same_bytes(key.value, shown->name)) {
            begin_shown(shown, key.value, kind, head);
        }
        if (shown->kind == TROUPE_LIST && key.element.size != 8) {
            return false;
        }
        if (key.generation == shown->head.generation) { /* Others are left from before a clear. */
            show_element(shown, &key, &content);
        }
    } else if (content.head) {
        if (!troupe__head_decode(content.payload, &kind, &head)) {
            return false;
        }
        begin_shown(shown, key.value, kind, head);
    } else {
        end_shown(shown);
        if (shown->json) {
            troupe__show_text(shown->line, shown->any ? "," : "");
            troupe__json_write_string(key.value.data, key.value.size, shown->line);
            troupe__buffer_put_byte(shown->line, ':');
        } else {
            troupe__show_name(shown->line, key.value.data, key.value.size);
            troupe__buffer_put_byte(shown->line, '\t');
        }
        troupe__show_body(shown->line, content.payload);
        show_end_of_row(shown, &content);
        shown->any = true;
    }
    return true;
}

static enum troupe_error show_state(const struct troupe__look *look, struct troupe__view *view,
                                    struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    const struct troupe__look_address *address = context;
    struct shown shown = {.line = line, .json = look->json};
    *ret_table = TROUPE__STATE;
    if (look->json) {
        troupe__show_text(line, "{\"actor\":");
        troupe__show_json_address(line, address->type, address->key);
        troupe__show_text(line, ",\"state\":{");
    }
    for (size_t i = 0; i < view->tables[TROUPE__STATE].count; i++) {
        if (!show_row(&shown, view->tables[TROUPE__STATE].rows[i])) {
            return TROUPE_ECORRUPT;
        }
    }
    end_shown(&shown);
    if (look->json) {
        troupe__show_text(line, "}}");
        troupe__show_line(line);
    }
    return TROUPE_OK;
}

int troupe__look_state(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "state",
        .examples = "  troupe state bank/account/alice\n"
                    "  troupe state --data /var/lib/bank --json bank/account/alice\n",
        .help =
            "usage: troupe state [--data DIR | DIR] ADDRESS\n\n"
            "Prints the values of an actor, one a line: name, tab, value as JSON. An element of a map or list has a\n"
            "line of its own: name, tab, key or position, tab, value. What expires has its time behind it; it is\n"
            "shown until it is removed. An actor that was never used, or has cleared everything, has no values.\n"
            "--json: one object {\"actor\":..,\"state\":{name:value,..}}; a map is an object, a list an array.\n"};
    struct troupe__look_address address;
    int code = troupe__look_parse(&look, argc, argv, 1, 1);
    code = code >= 0 ? code : troupe__look_parse_address(&look, &address);
    if (code >= 0) {
        return code;
    }
    unsigned char prefix[2 + TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1];
    size_t type_size = strlen(address.type) + 1, key_size = strlen(address.key) + 1;
    troupe__put_be16(prefix, troupe__slot_of(address.type, address.key));
    memcpy(prefix + 2, address.type, type_size);
    memcpy(prefix + 2 + type_size, address.key, key_size);
    return troupe__look_at(&look, 1u << TROUPE__STATE, (struct troupe_bytes){prefix, 2 + type_size + key_size},
                           &address, show_state, &address);
}
