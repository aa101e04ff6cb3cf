/* row_json.c - one row of a cut as one JSON object, for programs like jq.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/row_json.h"

#include <stdio.h>
#include <string.h>

#include "runtime/machine/egress.h"
#include "runtime/machine/machine_forward.h"
#include "runtime/machine/machine_rows.h"
#include "transport/json.h"

static void put(struct troupe__buffer *json, const char *text)
{
    troupe__buffer_put(json, text, strlen(text));
}

static void put_text(struct troupe__buffer *json, const char *before, const char *text)
{
    put(json, before);
    troupe__json_write_string(text, strlen(text), json);
}

static void put_bytes(struct troupe__buffer *json, const char *before, struct troupe_bytes text)
{
    put(json, before);
    troupe__json_write_string(text.data, text.size, json);
}

static void put_number(struct troupe__buffer *json, const char *before, uint64_t number)
{
    put(json, before);
    troupe__json_write_number(number, json);
}

/* Lists number their elements on from TROUPE__LIST_BEGIN in both directions: programs are told from 0. */
static void put_index(struct troupe__buffer *json, const char *before, uint64_t index)
{
    char text[32];
    put(json, before);
    snprintf(text, sizeof text, "%lld", (long long)(index - TROUPE__LIST_BEGIN));
    put(json, text);
}

static void put_hex(struct troupe__buffer *json, const char *before, struct troupe_bytes bytes)
{
    put(json, before);
    troupe__buffer_put_byte(json, '"');
    for (size_t i = 0; i < bytes.size; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", ((const unsigned char *)bytes.data)[i]);
        troupe__buffer_put(json, digits, 2);
    }
    troupe__buffer_put_byte(json, '"');
}

void troupe__row_json_data(struct troupe_bytes data, struct troupe__buffer *json)
{
    size_t size = json->size;
    if (data.size == 0) {
        put(json, "null");
    } else if (troupe__json_write(data, json) == TROUPE_ECORRUPT) {
        json->size = size;
        put_hex(json, "{\"$raw\":", data);
        put(json, "}");
    }
}

static void put_address(struct troupe__buffer *json, const char *before, const char *type, const char *key)
{
    char text[TROUPE_NAME_MAX + 1 + TROUPE_KEY_MAX + 1];
    snprintf(text, sizeof text, "%s/%s", type, key);
    put_text(json, before, text);
}

static struct troupe__cursor cursor_of(struct troupe_bytes bytes)
{
    return (struct troupe__cursor){bytes.data, (const unsigned char *)bytes.data + bytes.size, false};
}

static struct troupe_bytes rest_of(const struct troupe__cursor *cursor)
{
    return (struct troupe_bytes){cursor->at, (size_t)(cursor->end - cursor->at)};
}

static void let_go(struct troupe__actor *actor)
{
    if (actor) {
        troupe__actor_evict(actor, UINT64_MAX);
    }
}

/* Each of these returns false if the row has another form; what it has put by then is taken back. */

static bool put_message(struct troupe__buffer *json, struct troupe__actors *actors, struct troupe_bytes row)
{
    struct troupe__message *message;
    if (troupe__message_decode(actors, row, &message) != TROUPE_OK) {
        return false;
    }
    struct troupe__actor *to = message->to, *from = message->from;
    put_address(json, ",\"message\":{\"to\":", to->type->name, to->key);
    if (from) {
        put_address(json, ",\"from\":", from->type->name, from->key);
    }
    put_text(json, ",\"type\":", message->data);
    if (message->version) {
        put_number(json, ",\"version\":", message->version);
    }
    if (message->attempt) {
        put_number(json, ",\"attempt\":", message->attempt);
    }
    if (message->correlation) {
        put_number(json, ",\"correlation\":", message->correlation);
    }
    put(json, ",\"body\":");
    struct troupe_bytes body = {troupe__message_body(message), message->body_size};
    (void)troupe__forwarded_body(message, &body);
    troupe__row_json_data(body, json);
    put(json, "}");
    troupe__message_free(message);
    let_go(to);
    let_go(from != to ? from : NULL);
    return true;
}

static bool put_state(struct troupe__buffer *json, const struct troupe__cut_row *row)
{
    struct troupe__row_key key;
    struct troupe__row value;
    struct troupe__head head;
    enum troupe_kind kind;
    if (!troupe__row_key_decode(row->key, &key) || !troupe__row_decode(row->value, &value)) {
        return false;
    }
    put_address(json, ",\"actor\":", key.type, key.key);
    put_bytes(json, ",\"value\":", key.value);
    if (value.version) {
        put_number(json, ",\"version\":", value.version);
    }
    if (value.expires_ms) {
        put_number(json, ",\"expires_ms\":", (uint64_t)value.expires_ms);
    }
    if (value.head) {
        if (!troupe__head_decode(value.payload, &kind, &head)) {
            return false;
        }
        put_text(json, ",\"head\":{\"kind\":", kind == TROUPE_LIST ? "list" : "map");
        put_number(json, ",\"generation\":", head.generation);
        if (kind == TROUPE_LIST) {
            put_index(json, ",\"first\":", head.first);
            put_number(json, ",\"count\":", head.count);
        }
        put(json, "}");
        return true;
    }
    if (key.is_element) {
        put_number(json, ",\"generation\":", key.generation);
        put_bytes(json, ",\"element\":", key.element);
        if (key.element.size == 8) { /* Of a list, perhaps. */
            put_index(json, ",\"index\":", troupe__get_be64(key.element.data));
        }
    }
    put(json, ",\"data\":");
    troupe__row_json_data(value.payload, json);
    return true;
}

static bool put_dead(struct troupe__buffer *json, struct troupe__actors *actors, struct troupe_bytes row)
{
    struct troupe__cursor cursor = cursor_of(row);
    struct troupe_bytes reason;
    put_number(json, ",\"time_ms\":", troupe__cursor_varint(&cursor));
    reason.data = troupe__cursor_string(&cursor, &reason.size);
    const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
    if (!form) {
        return false;
    }
    put_bytes(json, ",\"reason\":", reason);
    if (*form == 1) {
        return put_message(json, actors, rest_of(&cursor));
    }
    put_bytes(json, ",\"text\":", rest_of(&cursor));
    return true;
}

static bool put_outbox(struct troupe__buffer *json, const struct troupe__cut *cut, const struct troupe__cut_row *row,
                       struct troupe__actors *actors)
{
    const unsigned char *at = row->key.data;
    if (row->key.size != 10) {
        return false;
    }
    uint64_t peer = (uint64_t)at[0] << 8 | at[1];
    const char *name = "?";
    for (size_t i = 0; i < cut->node_count; i++) {
        name = cut->nodes[i].number == peer ? cut->nodes[i].name : name;
    }
    put_text(json, ",\"to_node\":", name);
    put_number(json, ",\"number\":", troupe__get_be64(at + 2));
    put(json, troupe__cut_in_flight(cut, row->node, row->key) ? ",\"in_flight\":true" : ",\"in_flight\":false");
    return put_message(json, actors, row->value);
}

static bool put_job(struct troupe__buffer *json, struct troupe__actors *actors, struct troupe_bytes row)
{
    struct troupe__job *job;
    if (troupe__job_decode(actors, row, &job) != TROUPE_OK) {
        return false;
    }
    struct troupe__actor *actor = job->actor;
    put_address(json, ",\"actor\":", actor->type->name, actor->key);
    put_text(json, ",\"job\":", troupe__job_name(job));
    put_text(json, ",\"result\":", troupe__job_result(job));
    put_number(json, ",\"attempt\":", job->attempt);
    put_number(json, ",\"failures\":", job->failures);
    put(json, ",\"input\":");
    troupe__row_json_data(troupe__job_input(job), json);
    troupe__job_release(job);
    let_go(actor);
    return true;
}

static bool put_egress(struct troupe__buffer *json, struct troupe_bytes row)
{
    struct troupe__cursor cursor = cursor_of(row);
    struct troupe__egress record;
    put(json, ",\"records\":[");
    for (size_t i = 0; troupe__egress_next(&cursor, &record); i++) {
        put_bytes(json, i ? ",{\"egress\":" : "{\"egress\":", record.name);
        put_number(json, ",\"seq\":", record.sequence);
        put_bytes(json, ",\"key\":", record.key);
        put(json, ",\"body\":");
        troupe__row_json_data(record.body, json);
        put(json, "}");
    }
    put(json, "]");
    return !cursor.failed;
}

static bool put_timer(struct troupe__buffer *json, struct troupe__actors *actors, struct troupe_bytes row)
{
    struct troupe__cursor cursor = cursor_of(row);
    put_number(json, ",\"due_ms\":", troupe__cursor_varint(&cursor));
    return !cursor.failed && put_message(json, actors, rest_of(&cursor));
}

static bool has_prefix(struct troupe_bytes key, const char *prefix)
{
    return key.size > strlen(prefix) && memcmp(key.data, prefix, strlen(prefix)) == 0;
}

/* How far a node is with an input or egress. */
static bool put_meta(struct troupe__buffer *json, const struct troupe__cut_row *row)
{
    struct troupe__cursor cursor = cursor_of(row->value);
    const char *prefix = has_prefix(row->key, TROUPE__EGRESS_PREFIX)  ? TROUPE__EGRESS_PREFIX
                         : has_prefix(row->key, TROUPE__INPUT_PREFIX) ? TROUPE__INPUT_PREFIX
                                                                      : NULL;
    if (!prefix) {
        return false;
    }
    struct troupe_bytes name = {(const char *)row->key.data + strlen(prefix), row->key.size - strlen(prefix)};
    uint64_t number = troupe__cursor_varint(&cursor);
    if (strcmp(prefix, TROUPE__EGRESS_PREFIX) == 0) {
        put_bytes(json, ",\"egress\":", name);
        put_number(json, ",\"next\":", number + 1);
    } else {
        put_bytes(json, ",\"input\":", name);
        put_number(json, ",\"line\":", troupe__cursor_varint(&cursor));
        put_number(json, ",\"offset\":", number);
    }
    return !cursor.failed;
}

static bool put_row(struct troupe__buffer *json, const struct troupe__cut *cut, const struct troupe__cut_row *row,
                    struct troupe__actors *actors)
{
    switch (row->table) {
    case TROUPE__META:
        return put_meta(json, row);
    case TROUPE__STATE:
        return put_state(json, row);
    case TROUPE__OUTBOX:
        return put_outbox(json, cut, row, actors);
    case TROUPE__MAIL:
    case TROUPE__TIMER:
    case TROUPE__DEAD:
    case TROUPE__JOB:
    case TROUPE__EGRESS:
        break;
    default:
        return false;
    }
    if (row->key.size != 8) {
        return false;
    }
    put_number(json, ",\"number\":", troupe__get_be64(row->key.data));
    return row->table == TROUPE__MAIL    ? put_message(json, actors, row->value)
           : row->table == TROUPE__TIMER ? put_timer(json, actors, row->value)
           : row->table == TROUPE__DEAD  ? put_dead(json, actors, row->value)
           : row->table == TROUPE__JOB   ? put_job(json, actors, row->value)
                                         : put_egress(json, row->value);
}

static bool is_printable(struct troupe_bytes bytes)
{
    const unsigned char *at = bytes.data;
    for (size_t i = 0; i < bytes.size; i++) {
        if (at[i] < ' ' || at[i] > '~') {
            return false;
        }
    }
    return true;
}

void troupe__row_json(const struct troupe__cut *cut, const struct troupe__cut_row *row, struct troupe__actors *actors,
                      struct troupe__buffer *json)
{
    put_text(json, "{\"node\":", cut->nodes[row->node].name);
    put_text(json, ",\"table\":", troupe__view_table_names[row->table]);
    size_t size = json->size;
    if (!put_row(json, cut, row, actors)) {
        json->size = size;
        if (row->table == TROUPE__META && is_printable(row->key)) {
            put_bytes(json, ",\"row\":", row->key);
        } else {
            put_hex(json, ",\"row\":", row->key);
        }
        put_hex(json, ",\"data\":", row->value);
    }
    put(json, "}");
}
