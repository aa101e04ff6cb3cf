/* snapshot_edit.c - a new snapshot that is an old one with changes: for repair, and to seed a troupe with history.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Changes join the rows of a view as those of a journal's record do: the last one of a key wins when they are settled.
 */
#include "runtime/snapshot_edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pack.h"
#include "core/state.h"
#include "runtime/files.h"

__attribute__((format(printf, 3, 4))) static enum troupe_error fail(struct troupe__edit *edit, enum troupe_error error,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(edit->error, sizeof edit->error, format, args);
    va_end(args);
    return error;
}

static void settle(struct troupe__edit_part *part)
{
    troupe__view_settle(&part->view);
    part->settled = part->view.tables[TROUPE__STATE].count;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static enum troupe_error take_row(void *context, enum troupe__table table, struct troupe_bytes key,
                                  struct troupe_bytes value)
{
    return troupe__view_add_row(context, table, key, value);
}

static enum troupe_error open_part(struct troupe__edit *edit, const char *directory, size_t index)
{
    struct troupe__edit_part *part = &edit->parts[index];
    struct troupe__view *view = &part->view;
    enum troupe_error result = troupe__view_of(view, NULL);
    if (result != TROUPE_OK) {
        return fail(edit, result, "out of memory");
    }
    part->open = true;
    for (size_t table = 0; table < TROUPE__TABLE_COUNT; table++) {
        view->tables[table].wanted = true;
    }
    result = troupe__snapshot_read_part(directory, &edit->snapshot.parts[index], take_row, view, edit->error,
                                        sizeof edit->error);
    if (result != TROUPE_OK) {
        return result;
    }
    settle(part);
    result = troupe__view_counters(view, &part->counters);
    if (result != TROUPE_OK && result != TROUPE_ENOTFOUND) {
        return fail(edit, result, "%s", view->error);
    }
    const struct troupe__view_row *specs =
        troupe__view_find(view, TROUPE__META, (struct troupe_bytes){TROUPE__SPECS_ROW, strlen(TROUPE__SPECS_ROW)});
    result = specs ? troupe__specs_decode(specs->value, &part->specs) : TROUPE_OK;
    return result == TROUPE_OK ? result : fail(edit, result, "its row '%s' cannot be read", TROUPE__SPECS_ROW);
}

enum troupe_error troupe__edit_open(struct troupe__edit *edit, const char *directory)
{
    enum troupe_error result = troupe__snapshot_read(directory, &edit->snapshot, edit->error, sizeof edit->error);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!(edit->parts = calloc(edit->snapshot.part_count, sizeof *edit->parts))) {
        return fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        result = open_part(edit, directory, i);
    }
    return result;
}

void troupe__edit_fini(struct troupe__edit *edit)
{
    for (size_t i = 0; edit->parts && i < edit->snapshot.part_count; i++) {
        if (edit->parts[i].open) {
            troupe__view_close(&edit->parts[i].view);
        }
        troupe__specs_fini(&edit->parts[i].specs);
    }
    free(edit->parts);
    troupe__snapshot_fini(&edit->snapshot);
    *edit = (struct troupe__edit){0};
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

enum { TEXT_SIZE = 65536 };

/* What a change says; "" or no data where it says nothing. */
struct change {
    const char *what, *actor, *value, *element, *to, *from, *type, *table, *node;
    struct troupe_bytes data, body;
    uint64_t number, version;
    bool has_number, has_version;
    char text[TEXT_SIZE]; /* of its strings */
    size_t text_size;
    struct troupe__buffer made; /* data that had to be made of it */
};

static char *copy_text(void *context, const void *data, size_t size)
{
    struct change *change = context;
    return troupe__copy_into(change->text, sizeof change->text, &change->text_size, data, size);
}

static enum troupe_error unpack(struct change *change, char *error, size_t error_size, struct troupe_bytes body,
                                const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error result = troupe__unpack(body, format, &args, copy_text, change, error, error_size);
    va_end(args);
    return result;
}

struct address {
    char type[TROUPE_NAME_MAX + 1];
    const char *key;
};

static enum troupe_error parse_address(struct troupe__edit *edit, const char *text, struct address *ret)
{
    const char *slash = strchr(text, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    size_t size = slash ? (size_t)(slash - text) : 0;
    if (!slash || size > TROUPE_NAME_MAX || !slash[1] || strlen(slash + 1) > TROUPE_KEY_MAX) {
        return fail(edit, TROUPE_EINVAL, "'%.100s' is no address namespace/name/key", text);
    }
    memcpy(ret->type, text, size);
    ret->type[size] = '\0';
    ret->key = slash + 1;
    return troupe__type_name_valid(ret->type) ? TROUPE_OK : fail(edit, TROUPE_EINVAL, "'%.100s' is no address", text);
}

/* The part of the node where the actor lives. */
static struct troupe__edit_part *part_of(struct troupe__edit *edit, const struct address *address)
{
    uint16_t owner =
        edit->snapshot.is_troupe ? edit->snapshot.slots.owner[troupe__slot_of(address->type, address->key)] : 0;
    for (size_t i = 0; i < edit->snapshot.part_count; i++) {
        if (edit->snapshot.parts[i].number == owner) {
            return &edit->parts[i];
        }
    }
    return &edit->parts[0];
}

static enum troupe_error apply(struct troupe__edit *edit, struct troupe__edit_part *part, struct troupe__buffer *record)
{
    enum troupe_error result = TROUPE_ENOMEM;
    if (!record->failed) {
        result = troupe__view_add_record(&part->view, (struct troupe_bytes){record->data, record->size});
    }
    troupe__buffer_free(record);
    edit->changes += result == TROUPE_OK;
    return result == TROUPE_OK ? result
                               : fail(edit, result, "%s", part->view.error[0] ? part->view.error : "out of memory");
}

static enum troupe_error remove_row(struct troupe__edit *edit, struct troupe__edit_part *part, enum troupe__table table,
                                    struct troupe_bytes key)
{
    struct troupe__buffer record = {0};
    troupe__record_remove(&record, table, key.data, key.size);
    return apply(edit, part, &record);
}

static enum troupe_error set_row(struct troupe__edit *edit, struct troupe__edit_part *part, enum troupe__table table,
                                 struct troupe_bytes key, const struct troupe__buffer *value)
{
    struct troupe__buffer record = {.failed = value->failed};
    troupe__record_set(&record, table, key.data, key.size, value->data, value->size);
    return apply(edit, part, &record);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Key of state: slot, type NUL key NUL value. */
static size_t state_key(const struct address *address, const char *value, unsigned char key[static TROUPE__ROW_KEY_MAX])
{
    size_t size = 2;
    const char *parts[] = {address->type, address->key};
    troupe__put_be16(key, troupe__slot_of(address->type, address->key));
    for (size_t i = 0; i < 2; i++) {
        size_t length = strlen(parts[i]) + 1;
        memcpy(key + size, parts[i], length);
        size += length;
    }
    memcpy(key + size, value, strlen(value));
    return size + strlen(value);
}

static int digit_of(const char *digits, char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool put_base64(const char *text, struct troupe__buffer *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, held = 0;
    for (; *text && *text != '='; text++) {
        int digit = digit_of(digits, *text);
        if (digit < 0) {
            return false;
        }
        held = held << 6 | (unsigned)digit;
        if ((bits += 6) >= 8) {
            troupe__buffer_put_byte(bytes, held >> (bits -= 8) & 0xff);
        }
    }
    return true;
}

static bool put_hex(const char *text, struct troupe__buffer *bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (; *text; text += 2) {
        int high = digit_of(digits, text[0]), low = text[1] ? digit_of(digits, text[1]) : -1;
        if (high < 0 || low < 0) {
            return false;
        }
        troupe__buffer_put_byte(bytes, (unsigned)(high << 4 | low));
    }
    return true;
}

static void put_packed(struct troupe__buffer *buffer, const char *format, ...)
{
    va_list args;
    char unused[160];
    va_start(args, format);
    if (troupe__pack(buffer, format, &args, unused, sizeof unused) != TROUPE_OK) {
        buffer->failed = true;
    }
    va_end(args);
}

/* Bytes that JSON cannot carry are given as they are exported: {"$bin":"base64"} and {"$raw":"hexadecimal digits"}. */
static enum troupe_error take_data(struct troupe__edit *edit, struct change *change, struct troupe_bytes *data)
{
    const char *text = NULL;
    char unused[160];
    struct troupe__buffer bytes = {0};
    bool good = true;
    enum troupe_error result = unpack(change, unused, sizeof unused, *data, "{s:s}", "$bin", &text);
    if (result == TROUPE_OK) {
        good = put_base64(text, &bytes);
        put_packed(&change->made, "z", (struct troupe_bytes){bytes.data, bytes.size});
    } else if (result != TROUPE_ENOMEM) {
        result = unpack(change, unused, sizeof unused, *data, "{s:s}", "$raw", &text);
        good = result != TROUPE_OK || put_hex(text, &change->made);
    }
    if (result != TROUPE_OK) {
        return result == TROUPE_ENOMEM
                   ? fail(edit, TROUPE_ETOOBIG, "data beyond %d bytes cannot be given as text", TEXT_SIZE)
                   : TROUPE_OK;
    }
    troupe__buffer_free(&bytes);
    *data = (struct troupe_bytes){change->made.data, change->made.size};
    return good ? TROUPE_OK : fail(edit, TROUPE_EINVAL, "'%.60s' is neither base64 nor hexadecimal", text);
}

/* Whether the data are of a kind; a whole number is a double as well. */
static enum troupe_error fit_kind(struct troupe__edit *edit, struct change *change, enum troupe_kind kind)
{
    struct troupe__cell cell = {0};
    int64_t whole;
    char unused[160];
    if (kind == TROUPE_DOUBLE && unpack(change, unused, sizeof unused, change->data, "i", &whole) == TROUPE_OK) {
        change->made.size = 0;
        put_packed(&change->made, "f", (double)whole);
        change->data = (struct troupe_bytes){change->made.data, change->made.size};
    }
    enum troupe_error result = troupe__cell_decode(&cell, kind, change->data);
    troupe__cell_free(&cell, kind);
    return result == TROUPE_OK ? result
                               : fail(edit, result, "%s: value '%s' is declared as another kind than these data",
                                      change->actor, change->value);
}

/* The generation in which the elements of a map are. */
static uint64_t generation_of(struct troupe__edit_part *part, struct troupe_bytes key)
{
    struct troupe__row row;
    struct troupe__head head = {0};
    enum troupe_kind kind;
    struct troupe__view_table *table = &part->view.tables[TROUPE__STATE];
    size_t count = table->count;
    table->count =
        part->settled; /* What changed since is not in order, and no change gives a map another generation. */
    const struct troupe__view_row *found = troupe__view_find(&part->view, TROUPE__STATE, key);
    table->count = count;
    return found && troupe__row_decode(found->value, &row) && row.head && troupe__head_decode(row.payload, &kind, &head)
               ? head.generation
               : 0;
}

static enum troupe_error check_set(struct troupe__edit *edit, struct change *change, const struct address *address,
                                   const struct troupe__edit_part *part)
{
    if (!change->value[0] || strlen(change->value) > TROUPE_NAME_MAX || !change->data.data) {
        return fail(edit, TROUPE_EINVAL, "set takes actor, value and data");
    }
    if (strlen(change->element) > TROUPE_ELEMENT_KEY_MAX) {
        return fail(edit, TROUPE_EINVAL, "element '%.30s...' is too long", change->element);
    }
    if (part->specs.count == 0) {
        return TROUPE_OK; /* Nothing has run that declared anything. */
    }
    const struct troupe__spec *spec =
        troupe__specs_find(&part->specs, TROUPE__SPEC_VALUE, address->type, change->value);
    if (!spec) {
        return fail(edit, TROUPE_EINVAL, "type '%s' has no value '%s' in module %s %s, which wrote the snapshot",
                    address->type, change->value, part->specs.module, part->specs.module_version);
    }
    change->version = change->has_version ? change->version : spec->version;
    if (spec->kind == TROUPE_LIST || (spec->kind == TROUPE_MAP) != (change->element[0] != '\0')) {
        return fail(edit, TROUPE_EINVAL, "value '%s' is a %s: %s", change->value,
                    spec->kind == TROUPE_LIST  ? "list"
                    : spec->kind == TROUPE_MAP ? "map"
                                               : "single value",
                    spec->kind == TROUPE_LIST  ? "it can be cleared only"
                    : spec->kind == TROUPE_MAP ? "name an element"
                                               : "it has no elements");
    }
    /* Data of another version than is declared may be of another kind. */
    return spec->kind == TROUPE_MAP || change->version != spec->version ? TROUPE_OK
                                                                        : fit_kind(edit, change, spec->kind);
}

static enum troupe_error set(struct troupe__edit *edit, struct change *change)
{
    struct address address;
    unsigned char key[TROUPE__ROW_KEY_MAX + TROUPE_ELEMENT_KEY_MAX];
    enum troupe_error result = parse_address(edit, change->actor, &address);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = part_of(edit, &address);
    result = change->data.data ? take_data(edit, change, &change->data) : TROUPE_OK;
    result = result == TROUPE_OK ? check_set(edit, change, &address, part) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    size_t size = state_key(&address, change->value, key);
    if (change->element[0]) {
        uint64_t generation = generation_of(part, (struct troupe_bytes){key, size});
        key[size++] = '\0';
        for (; generation >= 0x80; generation >>= 7) {
            key[size++] = (unsigned char)(generation | 0x80);
        }
        key[size++] = (unsigned char)generation;
        memcpy(key + size, change->element, strlen(change->element));
        size += strlen(change->element);
    }
    struct troupe__buffer value = {0};
    struct troupe__row row = {.version = (uint32_t)change->version, .payload = change->data};
    troupe__row_encode_header(&row, &value);
    troupe__buffer_put(&value, change->data.data, change->data.size);
    result = set_row(edit, part, TROUPE__STATE, (struct troupe_bytes){key, size}, &value);
    troupe__buffer_free(&value);
    return result;
}

/* The head of a map or list stays, since a generation is never used again; a list has no elements any more. */
static enum troupe_error clear_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                   const struct troupe__view_row *found)
{
    struct troupe__row row;
    struct troupe__head head;
    enum troupe_kind kind;
    if (!troupe__row_decode(found->value, &row) || !row.head || !troupe__head_decode(row.payload, &kind, &head)) {
        return remove_row(edit, part, TROUPE__STATE, found->key);
    }
    struct troupe__buffer payload = {0}, value = {0};
    head.count = 0;
    troupe__head_encode(&head, kind, &payload);
    row.payload = (struct troupe_bytes){payload.data, payload.size};
    troupe__row_encode_header(&row, &value);
    troupe__buffer_put(&value, payload.data, payload.size);
    value.failed = value.failed || payload.failed;
    enum troupe_error result = set_row(edit, part, TROUPE__STATE, found->key, &value);
    troupe__buffer_free(&payload);
    troupe__buffer_free(&value);
    return result;
}

static enum troupe_error clear(struct troupe__edit *edit, const struct change *change)
{
    struct address address;
    unsigned char key[TROUPE__ROW_KEY_MAX];
    enum troupe_error result = parse_address(edit, change->actor, &address);
    if (result == TROUPE_OK && strlen(change->value) > TROUPE_NAME_MAX) {
        result = fail(edit, TROUPE_EINVAL, "'%.64s...' is too long for a value", change->value);
    }
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = part_of(edit, &address);
    size_t size = state_key(&address, change->value, key);
    settle(part);
    const struct troupe__view_table *table = &part->view.tables[TROUPE__STATE];
    size_t count = table->count, found = 0;
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        const struct troupe__view_row *row = table->rows[i];
        const unsigned char *at = row->key.data;
        if (row->key.size >= size && memcmp(at, key, size) == 0 &&
            (!change->value[0] || row->key.size == size || at[size] == '\0')) {
            result = clear_row(edit, part, row);
            found++;
        }
    }
    return result != TROUPE_OK || found > 0 ? result
                                            : fail(edit, TROUPE_ENOTFOUND, "%s has no value%s%s to be cleared",
                                                   change->actor, change->value[0] ? " " : "", change->value);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static enum troupe_error send(struct troupe__edit *edit, struct change *change)
{
    struct address to, from;
    size_t type_size = strlen(change->type);
    enum troupe_error result = parse_address(edit, change->to, &to);
    result = result == TROUPE_OK && change->from[0] ? parse_address(edit, change->from, &from) : result;
    if (result == TROUPE_OK && (type_size == 0 || type_size > TROUPE_NAME_MAX)) {
        result = fail(edit, TROUPE_EINVAL, "send takes to, type and body; a type has 1 to %d bytes", TROUPE_NAME_MAX);
    }
    result = result == TROUPE_OK && change->body.data ? take_data(edit, change, &change->body) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = part_of(edit, &to);
    struct troupe__actors *actors = &part->view.actors;
    struct troupe__actor *receiver = troupe__actors_get(actors, to.type, to.key, strlen(to.key));
    struct troupe__actor *sender =
        change->from[0] ? troupe__actors_get(actors, from.type, from.key, strlen(from.key)) : NULL;
    struct troupe__message *message = receiver && (sender || !change->from[0])
                                          ? troupe__message_new(receiver, sender, change->type, type_size, change->body)
                                          : NULL;
    if (!message) {
        return fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    const struct troupe__spec *spec = troupe__specs_find(&part->specs, TROUPE__SPEC_MESSAGE, to.type, change->type);
    message->version = (uint16_t)(change->has_version ? change->version : spec ? spec->version : 0);
    struct troupe__buffer value = {0};
    unsigned char key[8];
    troupe__message_encode(message, &value);
    troupe__message_free(message);
    troupe__put_be64(key, ++part->counters.sequence);
    part->counters.waiting++;
    result = set_row(edit, part, TROUPE__MAIL, (struct troupe_bytes){key, sizeof key}, &value);
    troupe__buffer_free(&value);
    return result;
}

static bool is_actor(const struct troupe__actor *actor, const char *text)
{
    size_t size = strlen(actor->type->name);
    return strncmp(text, actor->type->name, size) == 0 && text[size] == '/' && strcmp(text + size + 1, actor->key) == 0;
}

/* Whether a message fits what the change says of it; of a dead letter that never was one only by its number. */
static bool fits(struct troupe__edit_part *part, enum troupe__table table, const struct troupe__view_row *row,
                 const struct change *change)
{
    struct troupe__message *message = NULL;
    struct troupe__view_dead dead;
    int64_t due_ms;
    uint64_t number;
    if (!troupe__view_number(row, &number) || (change->has_number && number != change->number)) {
        return false;
    }
    if (!change->to[0] && !change->type[0]) {
        return true;
    }
    enum troupe_error result = TROUPE_OK;
    if (table == TROUPE__MAIL) {
        result = troupe__view_mail(&part->view, row, &message);
    } else if (table == TROUPE__TIMER) {
        result = troupe__view_timer(&part->view, row, &due_ms, &message);
    } else {
        result = troupe__view_dead(&part->view, row, &dead);
        message = result == TROUPE_OK ? dead.message : NULL;
    }
    bool good = result == TROUPE_OK && message && (!change->to[0] || is_actor(message->to, change->to)) &&
                (!change->type[0] || strcmp(message->data, change->type) == 0);
    troupe__message_free(message);
    return good;
}

static enum troupe_error drop(struct troupe__edit *edit, const struct change *change)
{
    static const struct {
        const char *name;
        enum troupe__table table;
    } tables[] = {{"mail", TROUPE__MAIL}, {"timer", TROUPE__TIMER}, {"dead", TROUPE__DEAD}};
    size_t which = 0, found = 0;
    while (which < 3 && strcmp(tables[which].name, change->table) != 0) {
        which++;
    }
    if (which == 3) {
        return fail(edit, TROUPE_EINVAL, "drop takes table: mail, timer or dead, not '%.32s'", change->table);
    }
    if (!change->has_number && !change->to[0] && !change->type[0]) {
        return fail(edit, TROUPE_EINVAL, "say which: number, to or type");
    }
    enum troupe__table table = tables[which].table;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        struct troupe__edit_part *part = &edit->parts[i];
        if (change->node[0] && strcmp(edit->snapshot.parts[i].node, change->node) != 0) {
            continue;
        }
        settle(part);
        size_t count = part->view.tables[table].count;
        for (size_t k = 0; k < count && result == TROUPE_OK; k++) {
            const struct troupe__view_row *row = part->view.tables[table].rows[k];
            if (fits(part, table, row, change)) {
                result = remove_row(edit, part, table, row->key);
                part->counters.waiting -= table == TROUPE__MAIL;
                found++;
            }
        }
    }
    return result != TROUPE_OK || found > 0 ? result
                                            : fail(edit, TROUPE_ENOTFOUND, "there is no such message to be dropped");
}

enum troupe_error troupe__edit_change(struct troupe__edit *edit, struct troupe_bytes change)
{
    struct change said = {.what = "", .actor = "", .value = "", .element = "", .to = "", .from = ""};
    const uint64_t none = UINT64_MAX;
    said.type = said.table = said.node = "";
    said.number = said.version = none;
    enum troupe_error result =
        unpack(&said, edit->error, sizeof edit->error, change,
               "{s:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s?:m,s?:m,s?:u,s?:u}", "do", &said.what, "actor",
               &said.actor, "value", &said.value, "element", &said.element, "to", &said.to, "from", &said.from, "type",
               &said.type, "table", &said.table, "node", &said.node, "data", &said.data, "body", &said.body, "number",
               &said.number, "version", &said.version);
    if (result != TROUPE_OK) {
        return result == TROUPE_ENOMEM ? fail(edit, TROUPE_EINVAL, "its texts are too long") : result;
    }
    said.has_number = said.number != none;
    said.has_version = said.version != none;
    said.version = said.has_version ? said.version : 0;
    if (said.version > UINT16_MAX) {
        return fail(edit, TROUPE_EINVAL, "a version is at most 65535");
    }
    if (strcmp(said.what, "set") == 0) {
        result = set(edit, &said);
    } else if (strcmp(said.what, "clear") == 0) {
        result = clear(edit, &said);
    } else if (strcmp(said.what, "send") == 0) {
        result = send(edit, &said);
    } else if (strcmp(said.what, "drop") == 0) {
        result = drop(edit, &said);
    } else {
        result = fail(edit, TROUPE_EINVAL, "do is set, clear, send or drop, not '%.32s'", said.what);
    }
    troupe__buffer_free(&said.made);
    return result;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static enum troupe_error scan_view(void *source, enum troupe__table table, struct troupe_bytes prefix,
                                   troupe__row_fn row, void *context)
{
    const struct troupe__view *view = source;
    enum troupe_error result = TROUPE_OK;
    (void)prefix; /* All of them. */
    for (size_t i = 0; i < view->tables[table].count && result == TROUPE_OK; i++) {
        result = row(context, view->tables[table].rows[i]->key, view->tables[table].rows[i]->value);
    }
    return result;
}

static enum troupe_error write_part(struct troupe__edit *edit, size_t index, const char *writing)
{
    struct troupe__edit_part *part = &edit->parts[index];
    struct troupe__snapshot_part *said = &edit->snapshot.parts[index], written;
    struct troupe__buffer counters = {0};
    troupe__counters_encode(&part->counters, &counters);
    enum troupe_error result = set_row(edit, part, TROUPE__META, troupe_string(TROUPE__COUNTERS_ROW), &counters);
    troupe__buffer_free(&counters);
    if (result != TROUPE_OK) {
        return result;
    }
    edit->changes--; /* That was none of the caller's. */
    settle(part);
    result = troupe__snapshot_write_part(writing, said->node, said->epoch, scan_view, &part->view, part->view.error,
                                         &written, edit->error, sizeof edit->error);
    if (result == TROUPE_OK) {
        said->summary = written.summary;
    }
    return result;
}

enum troupe_error troupe__edit_write(struct troupe__edit *edit, const char *target)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    char writing[PATH_MAX];
    int lock;
    if (!troupe__snapshot_name_valid(name)) {
        return fail(edit, TROUPE_EINVAL, "'%.64s' cannot name a snapshot: 1 to %d letters, digits, '-', '_' and '.'",
                    name, TROUPE__SNAPSHOT_NAME_MAX);
    }
    if (access(target, F_OK) == 0) {
        return fail(edit, TROUPE_EBUSY, "%.400s exists already: name another one", target);
    }
    snprintf(edit->snapshot.name, sizeof edit->snapshot.name, "%s", name);
    enum troupe_error result = troupe__files_join(writing, target, "", ".writing", edit->error, sizeof edit->error);
    result = result == TROUPE_OK ? troupe__snapshot_begin(target, &lock, edit->error, sizeof edit->error) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    for (size_t i = 0; i < edit->snapshot.part_count && result == TROUPE_OK; i++) {
        result = write_part(edit, i, writing);
    }
    result = result == TROUPE_OK
                 ? troupe__snapshot_write_manifest(writing, &edit->snapshot, edit->error, sizeof edit->error)
                 : result;
    return troupe__snapshot_end(target, lock, result, edit->error, sizeof edit->error);
}
