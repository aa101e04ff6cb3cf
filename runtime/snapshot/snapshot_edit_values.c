/* snapshot_edit_values.c - values that are set or cleared in a snapshot: single ones, elements of maps and of lists.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/pack.h"
#include "core/state.h"
#include "runtime/snapshot/snapshot_edit_parts.h"

/* Key of state: slot, type NUL key NUL value. */
static size_t state_key(const struct troupe__edit_address *address, const char *value,
                        unsigned char key[static TROUPE__ROW_KEY_MAX])
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

enum troupe_error troupe__edit_take_data(struct troupe__edit *edit, struct troupe__edit_request *change,
                                         struct troupe_bytes *data)
{
    const char *text = NULL;
    char unused[160];
    struct troupe__buffer bytes = {0};
    bool good = true;
    enum troupe_error result = troupe__edit_unpack(change, unused, sizeof unused, *data, "{s:s}", "$bin", &text);
    if (result == TROUPE_OK) {
        good = put_base64(text, &bytes);
        put_packed(&change->made, "z", (struct troupe_bytes){bytes.data, bytes.size});
    } else if (result != TROUPE_ENOMEM) {
        result = troupe__edit_unpack(change, unused, sizeof unused, *data, "{s:s}", "$raw", &text);
        good = result != TROUPE_OK || put_hex(text, &change->made);
    }
    if (result != TROUPE_OK) {
        return result == TROUPE_ENOMEM
                   ? troupe__edit_fail(edit, TROUPE_ETOOBIG, "data beyond %d bytes cannot be given as text",
                                       TROUPE__EDIT_TEXT_SIZE)
                   : TROUPE_OK;
    }
    troupe__buffer_free(&bytes);
    *data = (struct troupe_bytes){change->made.data, change->made.size};
    return good ? TROUPE_OK : troupe__edit_fail(edit, TROUPE_EINVAL, "'%.60s' is neither base64 nor hexadecimal", text);
}

/* Whether the data are of a kind; a whole number is a double as well. */
static enum troupe_error fit_kind(struct troupe__edit *edit, struct troupe__edit_request *change, enum troupe_kind kind)
{
    struct troupe__cell cell = {0};
    int64_t whole;
    char unused[160];
    if (kind == TROUPE_DOUBLE &&
        troupe__edit_unpack(change, unused, sizeof unused, change->data, "i", &whole) == TROUPE_OK) {
        change->made.size = 0;
        put_packed(&change->made, "f", (double)whole);
        change->data = (struct troupe_bytes){change->made.data, change->made.size};
    }
    enum troupe_error result = troupe__cell_decode(&cell, kind, change->data);
    troupe__cell_free(&cell, kind);
    return result == TROUPE_OK
               ? result
               : troupe__edit_fail(edit, result, "%s: value '%s' is declared as another kind than these data",
                                   change->actor, change->value);
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

/* A list whose head has changed: the row is written when all changes are made, or something is cleared. */
struct troupe__edit_list {
    unsigned char *key; /* of the head; NULL: nothing stands here */
    size_t key_size;
    struct troupe__head head;
};

/* What was in order last says of a map or list; no change gives it another generation. */
static struct troupe__head settled_head(struct troupe__edit_part *part, struct troupe_bytes key)
{
    struct troupe__row row;
    struct troupe__head head = {.first = TROUPE__LIST_BEGIN};
    enum troupe_kind kind;
    struct troupe__view_table *table = &part->view.tables[TROUPE__STATE];
    size_t count = table->count;
    table->count = part->settled;
    const struct troupe__view_row *found = troupe__view_find(&part->view, TROUPE__STATE, key);
    table->count = count;
    if (!found || !troupe__row_decode(found->value, &row) || !row.head ||
        !troupe__head_decode(row.payload, &kind, &head)) {
        head = (struct troupe__head){.first = TROUPE__LIST_BEGIN};
    }
    return head;
}

static struct troupe__edit_list *place_of(struct troupe__edit_list *lists, size_t capacity, struct troupe_bytes key)
{
    size_t at = troupe__hash(key.data, key.size) % capacity;
    while (lists[at].key && (lists[at].key_size != key.size || memcmp(lists[at].key, key.data, key.size) != 0)) {
        at = (at + 1) % capacity;
    }
    return &lists[at];
}

static bool grow_lists(struct troupe__edit_part *part)
{
    size_t capacity = part->list_capacity ? part->list_capacity * 2 : 64;
    struct troupe__edit_list *lists = calloc(capacity, sizeof *lists);
    if (!lists) {
        return false;
    }
    for (size_t i = 0; i < part->list_capacity; i++) {
        const struct troupe__edit_list *list = &part->lists[i];
        if (list->key) {
            *place_of(lists, capacity, (struct troupe_bytes){list->key, list->key_size}) = *list;
        }
    }
    free(part->lists);
    part->lists = lists;
    part->list_capacity = capacity;
    return true;
}

/* The list with that key, as it is now; NULL when out of memory. */
static struct troupe__edit_list *list_of(struct troupe__edit_part *part, struct troupe_bytes key)
{
    if (part->list_count * 2 >= part->list_capacity && !grow_lists(part)) {
        return NULL;
    }
    struct troupe__edit_list *list = place_of(part->lists, part->list_capacity, key);
    if (!list->key && (list->key = malloc(key.size)) != NULL) {
        memcpy(list->key, key.data, key.size);
        list->key_size = key.size;
        list->head = settled_head(part, key);
        part->list_count++;
    }
    return list->key ? list : NULL;
}

void troupe__edit_forget_lists(struct troupe__edit_part *part)
{
    for (size_t i = 0; i < part->list_capacity; i++) {
        free(part->lists[i].key);
    }
    free(part->lists);
    part->lists = NULL;
    part->list_count = part->list_capacity = 0;
}

static enum troupe_error set_head(struct troupe__edit *edit, struct troupe__edit_part *part, struct troupe_bytes key,
                                  const struct troupe__head *head, enum troupe_kind kind, int64_t expires_ms)
{
    struct troupe__buffer payload = {0}, value = {0};
    troupe__head_encode(head, kind, &payload);
    struct troupe__row row = {.head = true, .expires_ms = expires_ms, .payload = {payload.data, payload.size}};
    troupe__row_encode_header(&row, &value);
    troupe__buffer_put(&value, payload.data, payload.size);
    value.failed = value.failed || payload.failed;
    enum troupe_error result = troupe__edit_set_row(edit, part, TROUPE__STATE, key, &value);
    troupe__buffer_free(&payload);
    troupe__buffer_free(&value);
    return result;
}

enum troupe_error troupe__edit_write_lists(struct troupe__edit *edit, struct troupe__edit_part *part)
{
    enum troupe_error result = TROUPE_OK;
    uint64_t changes = edit->changes; /* They belong to those that are counted. */
    for (size_t i = 0; i < part->list_capacity && result == TROUPE_OK; i++) {
        const struct troupe__edit_list *list = &part->lists[i];
        if (list->key) {
            result =
                set_head(edit, part, (struct troupe_bytes){list->key, list->key_size}, &list->head, TROUPE_LIST, 0);
        }
    }
    edit->changes = changes;
    troupe__edit_forget_lists(part);
    return result;
}

static size_t put_generation(unsigned char *key, size_t size, uint64_t generation)
{
    key[size++] = '\0';
    for (; generation >= 0x80; generation >>= 7) {
        key[size++] = (unsigned char)(generation | 0x80);
    }
    key[size++] = (unsigned char)generation;
    return size;
}

/* Make the key of the value that of an element which is set: of a map, or of a list, which may get longer. */
static enum troupe_error element_key(struct troupe__edit *edit, struct troupe__edit_part *part,
                                     const struct troupe__edit_request *request, unsigned char *key, size_t *size)
{
    struct troupe_bytes value = {key, *size};
    if (request->element[0]) {
        *size = put_generation(key, *size, settled_head(part, value).generation);
        memcpy(key + *size, request->element, strlen(request->element));
        *size += strlen(request->element);
        return TROUPE_OK;
    }
    struct troupe__edit_list *list = list_of(part, value);
    if (!list) {
        return troupe__edit_fail(edit, TROUPE_ENOMEM, "out of memory");
    }
    uint64_t index = request->append ? list->head.count : request->index;
    if (!request->append && index >= list->head.count) {
        return troupe__edit_fail(edit, TROUPE_ENOTFOUND, "list '%s' has %llu elements: the first is 0", request->value,
                                 (unsigned long long)list->head.count);
    }
    *size = put_generation(key, *size, list->head.generation);
    troupe__put_be64(key + *size, list->head.first + index);
    *size += 8;
    list->head.count += request->append;
    return TROUPE_OK;
}

/* ---- setting ----------------------------------------------------------------------------------------------------- */

static enum troupe_error check_set(struct troupe__edit *edit, struct troupe__edit_request *change,
                                   const struct troupe__edit_address *address, const struct troupe__edit_part *part)
{
    if (!change->value[0] || strlen(change->value) > TROUPE_NAME_MAX || !change->data.data) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "set takes actor, value and data");
    }
    if ((change->element[0] != '\0') + change->has_index + change->append > 1) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "say one of element, index and append");
    }
    if (strlen(change->element) > TROUPE_ELEMENT_KEY_MAX) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "element '%.30s...' is too long", change->element);
    }
    if (part->specs.count == 0) {
        return TROUPE_OK; /* Nothing has run that declared anything. */
    }
    const struct troupe__spec *spec =
        troupe__specs_find(&part->specs, TROUPE__SPEC_VALUE, address->type, change->value);
    if (!spec) {
        return troupe__edit_fail(edit, TROUPE_EINVAL,
                                 "type '%s' has no value '%s' in module %s %s, which wrote the snapshot", address->type,
                                 change->value, part->specs.module, part->specs.module_version);
    }
    change->version = change->has_version ? change->version : spec->version;
    bool is_element = change->element[0] != '\0', is_place = change->has_index || change->append;
    if ((spec->kind == TROUPE_MAP) != is_element || (spec->kind == TROUPE_LIST) != is_place) {
        return troupe__edit_fail(edit, TROUPE_EINVAL, "value '%s' is a %s: %s", change->value,
                                 spec->kind == TROUPE_LIST  ? "list"
                                 : spec->kind == TROUPE_MAP ? "map"
                                                            : "single value",
                                 spec->kind == TROUPE_LIST  ? "say index or append"
                                 : spec->kind == TROUPE_MAP ? "name an element"
                                                            : "it has no elements");
    }
    /* Data of another version than is declared may be of another kind. */
    return is_element || is_place || change->version != spec->version ? TROUPE_OK : fit_kind(edit, change, spec->kind);
}

enum troupe_error troupe__edit_set(struct troupe__edit *edit, struct troupe__edit_request *change)
{
    struct troupe__edit_address address;
    unsigned char key[TROUPE__ROW_KEY_MAX + TROUPE_ELEMENT_KEY_MAX];
    enum troupe_error result = troupe__edit_parse_address(edit, change->actor, &address);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = troupe__edit_part_of(edit, &address);
    result = change->data.data ? troupe__edit_take_data(edit, change, &change->data) : TROUPE_OK;
    result = result == TROUPE_OK ? check_set(edit, change, &address, part) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    size_t size = state_key(&address, change->value, key);
    if (change->element[0] || change->has_index || change->append) {
        result = element_key(edit, part, change, key, &size);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    struct troupe__buffer value = {0};
    struct troupe__row row = {.version = (uint32_t)change->version, .payload = change->data};
    troupe__row_encode_header(&row, &value);
    troupe__buffer_put(&value, change->data.data, change->data.size);
    result = troupe__edit_set_row(edit, part, TROUPE__STATE, (struct troupe_bytes){key, size}, &value);
    troupe__buffer_free(&value);
    return result;
}

/* ---- clearing ---------------------------------------------------------------------------------------------------- */

/* The head of a map or list stays as long as rows of an earlier generation may; a list has no elements any more. */
static enum troupe_error clear_row(struct troupe__edit *edit, struct troupe__edit_part *part,
                                   const struct troupe__view_row *found)
{
    struct troupe__row row;
    struct troupe__head head;
    enum troupe_kind kind;
    if (!troupe__row_decode(found->value, &row) || !row.head || !troupe__head_decode(row.payload, &kind, &head)) {
        return troupe__edit_remove_row(edit, part, TROUPE__STATE, found->key);
    }
    head.count = 0;
    return set_head(edit, part, found->key, &head, kind, row.expires_ms);
}

static enum troupe_error clear_rows(struct troupe__edit *edit, struct troupe__edit_part *part,
                                    const struct troupe__edit_request *request, struct troupe_bytes key,
                                    size_t *ret_found)
{
    const struct troupe__view_table *table = &part->view.tables[TROUPE__STATE];
    enum troupe_error result = TROUPE_OK;
    size_t count = table->count;
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        const struct troupe__view_row *row = table->rows[i];
        const unsigned char *at = row->key.data;
        if (row->key.size >= key.size && memcmp(at, key.data, key.size) == 0 &&
            (!request->value[0] || row->key.size == key.size || at[key.size] == '\0')) {
            result = clear_row(edit, part, row);
            ++*ret_found;
        }
    }
    return result;
}

static enum troupe_error clear_element(struct troupe__edit *edit, struct troupe__edit_part *part,
                                       const struct troupe__edit_request *request, unsigned char *key, size_t size,
                                       size_t *ret_found)
{
    struct troupe_bytes value = {key, size};
    size = put_generation(key, size, settled_head(part, value).generation);
    memcpy(key + size, request->element, strlen(request->element));
    struct troupe_bytes element = {key, size + strlen(request->element)};
    if (!troupe__view_find(&part->view, TROUPE__STATE, element)) {
        return TROUPE_OK;
    }
    ++*ret_found;
    return troupe__edit_remove_row(edit, part, TROUPE__STATE, element);
}

enum troupe_error troupe__edit_clear(struct troupe__edit *edit, const struct troupe__edit_request *request)
{
    struct troupe__edit_address address;
    unsigned char key[TROUPE__ROW_KEY_MAX + TROUPE_ELEMENT_KEY_MAX];
    size_t found = 0;
    enum troupe_error result = troupe__edit_parse_address(edit, request->actor, &address);
    if (result == TROUPE_OK && strlen(request->value) > TROUPE_NAME_MAX) {
        result = troupe__edit_fail(edit, TROUPE_EINVAL, "'%.64s...' is too long for a value", request->value);
    }
    if (result == TROUPE_OK && (request->has_index || request->append || (request->element[0] && !request->value[0]) ||
                                strlen(request->element) > TROUPE_ELEMENT_KEY_MAX)) {
        result = troupe__edit_fail(edit, TROUPE_EINVAL, "clear takes actor, value, and of a map an element");
    }
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__edit_part *part = troupe__edit_part_of(edit, &address);
    size_t size = state_key(&address, request->value, key);
    result = troupe__edit_write_lists(edit, part);
    troupe__edit_settle(part);
    if (result == TROUPE_OK) {
        result = request->element[0] ? clear_element(edit, part, request, key, size, &found)
                                     : clear_rows(edit, part, request, (struct troupe_bytes){key, size}, &found);
    }
    troupe__edit_settle(part);
    return result != TROUPE_OK || found > 0
               ? result
               : troupe__edit_fail(edit, TROUPE_ENOTFOUND, "%s has no value%s%s to be cleared", request->actor,
                                   request->value[0] ? " " : "", request->value);
}
