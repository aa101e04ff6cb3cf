/* row_json.h - one row of a cut as one JSON object, for programs like jq.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every object has "node" and "table". Then, by table:
 *
 *   state           actor, value, [element or index], [version], [expires_ms], data; of a map or list that was cleared
 *                   while it was large, or of a list, also its head: {"head":{"kind","generation","first","count"}}
 *   mail            number, message
 *   timer           number, due_ms, message
 *   dead            number, time_ms, reason, message or text
 *   outbox          to_node, number, in_flight, message
 *   job             number, actor, job, result, attempt, failures, input
 *   egress          number (of the first), records
 *   meta            of an input: input, line, offset (where it goes on behind); of an egress: egress, next
 *   all others, and what is malformed: row, data (as hexadecimal digits)
 *
 * A message: to, [from], type, [version], [attempt], [correlation], body. Data and bodies are what their msgpack says;
 * {"$raw":"hexadecimal digits"} if they are none. */
#ifndef TROUPE_RUNTIME_CLI_ROW_JSON_H
#define TROUPE_RUNTIME_CLI_ROW_JSON_H

#include "runtime/snapshot/cut.h"

/* Append the object. `actors` hold nothing afterwards that they did not before. */
void troupe__row_json(const struct troupe__cut *cut, const struct troupe__cut_row *row, struct troupe__actors *actors,
                      struct troupe__buffer *json);

/* Append msgpack as JSON, or as {"$raw":..}; of no bytes at all null. */
void troupe__row_json_data(struct troupe_bytes data, struct troupe__buffer *json);

#endif
