/* show.c - how rows are shown: names, bodies, times and messages, as text and as JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/show.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "transport/json.h"

void troupe__show_text(struct troupe__buffer *line, const char *text)
{
    troupe__buffer_put(line, text, strlen(text));
}

void troupe__show_number(struct troupe__buffer *line, const char *before, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    troupe__show_text(line, before);
    troupe__show_text(line, text);
}

void troupe__show_name(struct troupe__buffer *line, const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        troupe__buffer_put_byte(line, iscntrl((unsigned char)name[i]) ? '?' : (unsigned char)name[i]);
    }
}

void troupe__show_node(struct troupe__buffer *line, bool json, const char *node)
{
    troupe__show_text(line, json ? "{" : "");
    if (node) { /* Its name needs no escape. */
        troupe__show_text(line, json ? "\"node\":\"" : "");
        troupe__show_text(line, node);
        troupe__show_text(line, json ? "\"," : "\t");
    }
}

void troupe__show_body(struct troupe__buffer *line, struct troupe_bytes body)
{
    if (body.size == 0) {
        troupe__show_text(line, "null");
        return;
    }
    if (troupe__json_write(body, line) != TROUPE_ECORRUPT) {
        return;
    }
    troupe__show_text(line, "{\"$raw\":\""); /* As hexadecimal digits. */
    for (size_t i = 0; i < body.size; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", ((const unsigned char *)body.data)[i]);
        troupe__buffer_put(line, digits, 2);
    }
    troupe__show_text(line, "\"}");
}

void troupe__show_json_address(struct troupe__buffer *line, const char *type, const char *key)
{
    char text[TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1];
    int size = snprintf(text, sizeof text, "%s/%s", type, key);
    troupe__json_write_string(text, (size_t)size, line);
}

void troupe__show_time(struct troupe__buffer *line, int64_t time_ms)
{
    char text[48];
    struct tm parts;
    time_t seconds = (time_t)(time_ms / 1000);
    if (time_ms < 0 || !gmtime_r(&seconds, &parts)) {
        snprintf(text, sizeof text, "%" PRId64, time_ms);
    } else {
        size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(text + size, sizeof text - size, ".%03dZ", (int)(time_ms % 1000));
    }
    troupe__show_text(line, text);
}

bool troupe__show_line(struct troupe__buffer *line)
{
    troupe__buffer_put_byte(line, '\n');
    if (line->failed) {
        return false;
    }
    fwrite(line->data, 1, line->size, stdout);
    line->size = 0;
    return true;
}

void troupe__show_json_message(struct troupe__buffer *line, const struct troupe__message *message)
{
    troupe__show_text(line, ",\"to\":");
    troupe__show_json_address(line, message->to->type->name, message->to->key);
    if (message->from) {
        troupe__show_text(line, ",\"from\":");
        troupe__show_json_address(line, message->from->type->name, message->from->key);
    }
    troupe__show_text(line, ",\"type\":");
    troupe__json_write_string(message->data, message->type_size, line);
    troupe__show_number(line, ",\"correlation\":", message->correlation);
    troupe__show_number(line, ",\"attempt\":", message->attempt);
    troupe__show_text(line, ",\"body\":");
    troupe__show_body(line, (struct troupe_bytes){troupe__message_body(message), message->body_size});
}

void troupe__show_address(struct troupe__buffer *line, const struct troupe__actor *actor)
{
    troupe__show_name(line, actor->type->name, strlen(actor->type->name));
    troupe__buffer_put_byte(line, '/');
    troupe__show_name(line, actor->key, actor->key_size);
}

void troupe__show_message(struct troupe__buffer *line, const struct troupe__message *message)
{
    troupe__show_address(line, message->to);
    troupe__buffer_put_byte(line, '\t');
    troupe__show_name(line, message->data, message->type_size);
    troupe__buffer_put_byte(line, '\t');
    troupe__show_body(line, (struct troupe_bytes){troupe__message_body(message), message->body_size});
    troupe__show_text(line, "\tfrom ");
    if (message->from) {
        troupe__show_address(line, message->from);
    } else {
        troupe__show_text(line, "outside");
    }
    troupe__show_number(line, ", failed ", message->attempt);
}
