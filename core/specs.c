/* specs.c - what modules have declared of their data, kept beside it: types, values, messages, and their versions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/specs.h"

#include <stdlib.h>
#include <string.h>

#include "core/grow.h"

enum { FORM = 1 };

void troupe__specs_fini(struct troupe__specs *specs)
{
    free(specs->items);
    free(specs->text);
    *specs = (struct troupe__specs){0};
}

static enum troupe_error add(struct troupe__specs *specs, struct troupe__spec item)
{
    struct troupe__spec *items = troupe__grow(specs->items, specs->count, &specs->capacity, sizeof *items);
    if (!items) {
        return TROUPE_ENOMEM;
    }
    specs->items = items;
    specs->items[specs->count++] = item;
    return TROUPE_OK;
}

static int compare(const void *a, const void *b)
{
    const struct troupe__spec *left = a, *right = b;
    int order = strcmp(left->type, right->type);
    order = order ? order : (int)left->what - (int)right->what;
    return order ? order : strcmp(left->name, right->name);
}

static void sort(struct troupe__specs *specs)
{
    if (specs->count > 0) {
        qsort(specs->items, specs->count, sizeof *specs->items, compare);
    }
}

static enum troupe_error add_type(struct troupe__specs *specs, const struct troupe_type *type)
{
    enum troupe_error result = add(specs, (struct troupe__spec){TROUPE__SPEC_TYPE, type->name, "", 0, 0});
    for (size_t i = 0; type->values && type->values[i] && result == TROUPE_OK; i++) {
        const struct troupe_value *value = type->values[i];
        result =
            add(specs, (struct troupe__spec){TROUPE__SPEC_VALUE, type->name, value->name, value->kind, value->version});
    }
    for (size_t i = 0; type->messages && type->messages[i] && result == TROUPE_OK; i++) {
        const struct troupe_message_type *message = type->messages[i];
        result =
            add(specs, (struct troupe__spec){TROUPE__SPEC_MESSAGE, type->name, message->name, 0, message->version});
    }
    return result;
}

enum troupe_error troupe__specs_of(const struct troupe_module *module, struct troupe__specs *ret)
{
    struct troupe__specs specs = {.module = module->name ? module->name : "",
                                  .module_version = module->version ? module->version : ""};
    for (size_t i = 0; i < module->type_count; i++) {
        if (add_type(&specs, &module->types[i]) != TROUPE_OK) {
            troupe__specs_fini(&specs);
            return TROUPE_ENOMEM;
        }
    }
    sort(&specs);
    *ret = specs;
    return TROUPE_OK;
}

void troupe__specs_encode(const struct troupe__specs *specs, struct troupe__buffer *buffer)
{
    troupe__buffer_put_byte(buffer, FORM);
    troupe__buffer_put_string(buffer, specs->module, strlen(specs->module));
    troupe__buffer_put_string(buffer, specs->module_version, strlen(specs->module_version));
    for (size_t i = 0; i < specs->count; i++) {
        const struct troupe__spec *item = &specs->items[i];
        troupe__buffer_put_byte(buffer, item->what);
        troupe__buffer_put_string(buffer, item->type, strlen(item->type));
        troupe__buffer_put_string(buffer, item->name, strlen(item->name));
        troupe__buffer_put_byte(buffer, item->kind);
        troupe__buffer_put_varint(buffer, item->version);
    }
}

/* Copy a string of the row to the end of the text; a NUL within it makes it fail. */
static const char *take_text(struct troupe__cursor *cursor, char **text)
{
    size_t size;
    const unsigned char *bytes = troupe__cursor_string(cursor, &size);
    char *copy = *text;
    if (!bytes || memchr(bytes, 0, size)) {
        cursor->failed = true;
        return "";
    }
    memcpy(copy, bytes, size);
    copy[size] = '\0';
    *text += size + 1;
    return copy;
}

enum troupe_error troupe__specs_decode(struct troupe_bytes row, struct troupe__specs *ret)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe__specs specs = {.text = malloc(row.size + 1)}; /* A size and a string are more than it and a NUL. */
    const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
    char *text = specs.text;
    enum troupe_error result = !text ? TROUPE_ENOMEM : !form ? TROUPE_ECORRUPT : *form != FORM ? TROUPE_EVERSION : 0;
    if (result == TROUPE_OK) {
        specs.module = take_text(&cursor, &text);
        specs.module_version = take_text(&cursor, &text);
    }
    while (result == TROUPE_OK && !cursor.failed && cursor.at != cursor.end) {
        const unsigned char *what = troupe__cursor_bytes(&cursor, 1);
        struct troupe__spec item = {.what = (enum troupe__spec_what) * what};
        item.type = take_text(&cursor, &text);
        item.name = take_text(&cursor, &text);
        const unsigned char *kind = troupe__cursor_bytes(&cursor, 1);
        uint64_t version = troupe__cursor_varint(&cursor);
        if (cursor.failed || *what > TROUPE__SPEC_MESSAGE || *kind > TROUPE_LIST || version > UINT32_MAX ||
            strlen(item.type) > TROUPE_NAME_MAX || strlen(item.name) > TROUPE_NAME_MAX) {
            cursor.failed = true;
            break;
        }
        item.kind = (enum troupe_kind) * kind;
        item.version = (uint32_t)version;
        result = add(&specs, item);
    }
    result = result == TROUPE_OK && cursor.failed ? TROUPE_ECORRUPT : result;
    if (result != TROUPE_OK) {
        troupe__specs_fini(&specs);
        return result;
    }
    sort(&specs); /* What was written is; a row that was not would be searched in vain. */
    *ret = specs;
    return TROUPE_OK;
}

const struct troupe__spec *troupe__specs_find(const struct troupe__specs *specs, enum troupe__spec_what what,
                                              const char *type, const char *name)
{
    struct troupe__spec item = {.what = what, .type = type, .name = name};
    return specs->count > 0 ? bsearch(&item, specs->items, specs->count, sizeof item, compare) : NULL;
}

enum troupe_error troupe__specs_keep(struct troupe__specs *specs, const struct troupe__specs *older)
{
    size_t count = specs->count;
    for (size_t i = 0; i < older->count; i++) {
        struct troupe__specs now = {.items = specs->items, .count = count};
        const struct troupe__spec *item = &older->items[i];
        if (!troupe__specs_find(&now, item->what, item->type, item->name) && add(specs, *item) != TROUPE_OK) {
            return TROUPE_ENOMEM;
        }
    }
    sort(specs);
    return TROUPE_OK;
}

bool troupe__specs_doubtful(const struct troupe__spec *then, const struct troupe__spec *now)
{
    if (now->what == TROUPE__SPEC_TYPE) {
        return false;
    }
    bool one_by_one = then->kind >= TROUPE_MAP || now->kind >= TROUPE_MAP; /* No migrate makes a map of a number. */
    return then->version > now->version || (now->what == TROUPE__SPEC_VALUE && then->kind != now->kind &&
                                            (then->version == now->version || one_by_one));
}
