/* show.h - how rows are shown: names, bodies, times and messages, as text and as JSON.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All append to a line, which troupe__show_line prints. Rows are not trusted: what they hold goes out as JSON, escaped,
 * in the text form too, but for the names of actors, values and messages, whose control characters become `?`. */
#ifndef TROUPE_RUNTIME_CLI_SHOW_H
#define TROUPE_RUNTIME_CLI_SHOW_H

#include "core/message.h"

void troupe__show_text(struct troupe__buffer *line, const char *text);
/* `before` and the number. */
void troupe__show_number(struct troupe__buffer *line, const char *before, uint64_t number);
void troupe__show_name(struct troupe__buffer *line, const char *name, size_t size);

/* The beginning of what a node has, whose name is NULL when it is alone: `{"node":"n1",`, or the name and a tab. */
void troupe__show_node(struct troupe__buffer *line, bool json, const char *node);

/* A body is msgpack by convention only: what is not is shown as {"$raw": hexadecimal digits}. */
void troupe__show_body(struct troupe__buffer *line, struct troupe_bytes body);
void troupe__show_time(struct troupe__buffer *line, int64_t time_ms);

void troupe__show_address(struct troupe__buffer *line, const struct troupe__actor *actor);
void troupe__show_json_address(struct troupe__buffer *line, const char *type, const char *key);
void troupe__show_message(struct troupe__buffer *line, const struct troupe__message *message);
/* Members of a message, behind others: "to", "from", "type", "correlation", "attempt", "body". */
void troupe__show_json_message(struct troupe__buffer *line, const struct troupe__message *message);

/* Print the line, empty it. Returns whether all went well so far. */
bool troupe__show_line(struct troupe__buffer *line);

#endif
