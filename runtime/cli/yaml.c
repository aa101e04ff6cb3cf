/* yaml.c - strict YAML: maps, lists and scalars, each with its line.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On libyaml's events; its document tree would drop duplicate keys' lines and resolve aliases. */
#include "runtime/cli/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

enum { SIZE_LIMIT = 1 << 20, DEPTH_MAX = 16 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *path;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 4, 5))) static enum troupe_error fail(struct reader *reader, enum troupe_error result,
                                                                    size_t line, const char *format, ...)
{
    va_list args;
    int size = snprintf(reader->error, reader->error_size, "%s:%zu: ", reader->path, line);
    if (size >= 0 && (size_t)size < reader->error_size) {
        va_start(args, format);
        vsnprintf(reader->error + size, reader->error_size - (size_t)size, format, args);
        va_end(args);
    }
    return result;
}

static size_t event_line(const struct reader *reader)
{
    return reader->event.start_mark.line + 1;
}

/* The next event into `event`, which frees the one before. */
static enum troupe_error next(struct reader *reader)
{
    yaml_event_delete(&reader->event);
    memset(&reader->event, 0, sizeof reader->event);
    if (yaml_parser_parse(&reader->parser, &reader->event)) {
        return TROUPE_OK;
    }
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        return fail(reader, TROUPE_ENOMEM, parser->mark.line + 1, "out of memory");
    }
    return fail(reader, TROUPE_EINVAL, parser->problem_mark.line + 1, "%s%s%s",
                parser->problem ? parser->problem : "malformed", parser->context ? ", " : "",
                parser->context ? parser->context : "");
}

/* Whether the event carries an anchor or a tag, which have no place here. */
static bool is_decorated(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

/* The text of the scalar in `event`, copied. */
static enum troupe_error copy_scalar(struct reader *reader, char **ret)
{
    const char *value = (const char *)reader->event.data.scalar.value;
    size_t size = reader->event.data.scalar.length;
    if (memchr(value, '\0', size)) {
        return fail(reader, TROUPE_EINVAL, event_line(reader), "a NUL character has no place in a text");
    }
    *ret = strndup(value, size);
    return *ret ? TROUPE_OK : fail(reader, TROUPE_ENOMEM, event_line(reader), "out of memory");
}

static enum troupe_error read_node(struct reader *reader, unsigned depth, struct troupe__yaml **ret);

/* The key in `event`, and the value behind it. */
static enum troupe_error read_member(struct reader *reader, const struct troupe__yaml *map, unsigned depth,
                                     struct troupe__yaml **ret)
{
    size_t line = event_line(reader);
    char *key = NULL;
    if (is_decorated(&reader->event) || reader->event.type != YAML_SCALAR_EVENT) {
        return fail(reader, TROUPE_EINVAL, line, "a key must be a plain word");
    }
    enum troupe_error result = copy_scalar(reader, &key);
    if (result != TROUPE_OK) {
        return result;
    }
    const struct troupe__yaml *before = troupe__yaml_find(map, key);
    result =
        before ? fail(reader, TROUPE_EINVAL, line, "'%s' stands in line %u already", key, before->line) : next(reader);
    result = result == TROUPE_OK ? read_node(reader, depth, ret) : result;
    if (result != TROUPE_OK) {
        free(key);
        return result;
    }
    (*ret)->key = key;
    (*ret)->line = (unsigned)line;
    return TROUPE_OK;
}

static enum troupe_error read_members(struct reader *reader, struct troupe__yaml *node, unsigned depth)
{
    bool map = node->kind == TROUPE__YAML_MAP;
    struct troupe__yaml **end = &node->first;
    enum troupe_error result;
    while ((result = next(reader)) == TROUPE_OK &&
           reader->event.type != (map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT)) {
        struct troupe__yaml *member = NULL;
        result = map ? read_member(reader, node, depth + 1, &member) : read_node(reader, depth + 1, &member);
        if (result != TROUPE_OK) {
            return result;
        }
        *end = member;
        end = &member->next;
    }
    return result;
}

/* The value that begins with `event`. */
static enum troupe_error read_node(struct reader *reader, unsigned depth, struct troupe__yaml **ret)
{
    yaml_event_type_t type = reader->event.type;
    size_t line = event_line(reader);
    if (is_decorated(&reader->event)) {
        return fail(reader, TROUPE_EINVAL, line, "anchors, aliases and tags have no place here");
    }
    if (depth > DEPTH_MAX) {
        return fail(reader, TROUPE_EINVAL, line, "nested more than %d deep", DEPTH_MAX);
    }
    struct troupe__yaml *node = calloc(1, sizeof *node);
    if (!node) {
        return fail(reader, TROUPE_ENOMEM, line, "out of memory");
    }
    node->line = (unsigned)line;
    enum troupe_error result;
    if (type == YAML_SCALAR_EVENT) {
        node->plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        result = copy_scalar(reader, &node->text);
    } else {
        node->kind = type == YAML_MAPPING_START_EVENT ? TROUPE__YAML_MAP : TROUPE__YAML_LIST;
        result = read_members(reader, node, depth);
    }
    if (result != TROUPE_OK) {
        troupe__yaml_free(node);
        return result;
    }
    *ret = node;
    return TROUPE_OK;
}

static enum troupe_error empty_map(struct reader *reader, struct troupe__yaml **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret) {
        return fail(reader, TROUPE_ENOMEM, 1, "out of memory");
    }
    (*ret)->kind = TROUPE__YAML_MAP;
    (*ret)->line = 1;
    return TROUPE_OK;
}

static enum troupe_error read_document(struct reader *reader, struct troupe__yaml **ret)
{
    enum troupe_error result = next(reader); /* the stream's start */
    result = result == TROUPE_OK ? next(reader) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    if (reader->event.type == YAML_STREAM_END_EVENT) {
        return empty_map(reader, ret);
    }
    if (reader->event.data.document_start.version_directive ||
        reader->event.data.document_start.tag_directives.start !=
            reader->event.data.document_start.tag_directives.end) {
        return fail(reader, TROUPE_EINVAL, event_line(reader), "directives have no place here");
    }
    if ((result = next(reader)) != TROUPE_OK) {
        return result;
    }
    if (reader->event.type != YAML_MAPPING_START_EVENT) {
        return fail(reader, TROUPE_EINVAL, event_line(reader), "the file must be a map of `name: value` lines");
    }
    struct troupe__yaml *root;
    if ((result = read_node(reader, 0, &root)) != TROUPE_OK) {
        return result;
    }
    result = next(reader); /* the document's end */
    result = result == TROUPE_OK ? next(reader) : result;
    if (result == TROUPE_OK && reader->event.type != YAML_STREAM_END_EVENT) {
        result = fail(reader, TROUPE_EINVAL, event_line(reader), "a second document has no place here");
    }
    if (result != TROUPE_OK) {
        troupe__yaml_free(root);
        return result;
    }
    *ret = root;
    return TROUPE_OK;
}

enum troupe_error troupe__yaml_parse(const char *path, const char *text, size_t size, struct troupe__yaml **ret,
                                     char *error, size_t error_size)
{
    struct reader reader = {.path = path, .error = error, .error_size = error_size};
    if (!yaml_parser_initialize(&reader.parser)) {
        return fail(&reader, TROUPE_ENOMEM, 1, "out of memory");
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
    enum troupe_error result = read_document(&reader, ret);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return result;
}

enum troupe_error troupe__yaml_read(const char *path, struct troupe__yaml **ret, char *error, size_t error_size)
{
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(SIZE_LIMIT + 1) : NULL;
    enum troupe_error result = TROUPE_OK;
    size_t size = 0;
    if (file && text) {
        size = fread(text, 1, SIZE_LIMIT + 1, file);
    }
    if (!file || (text && ferror(file))) {
        snprintf(error, error_size, "%s: %s", path, strerror(errno));
        result = TROUPE_EIO;
    } else if (!text) {
        snprintf(error, error_size, "%s: out of memory", path);
        result = TROUPE_ENOMEM;
    } else if (size > SIZE_LIMIT) {
        snprintf(error, error_size, "%s: has more than %d bytes", path, SIZE_LIMIT);
        result = TROUPE_ETOOBIG;
    } else {
        result = troupe__yaml_parse(path, text, size, ret, error, error_size);
    }
    free(text);
    if (file) {
        fclose(file);
    }
    return result;
}

void troupe__yaml_free(struct troupe__yaml *root)
{
    while (root) { /* As deep as DEPTH_MAX. */
        struct troupe__yaml *next_node = root->next;
        troupe__yaml_free(root->first);
        free(root->key);
        free(root->text);
        free(root);
        root = next_node;
    }
}

struct troupe__yaml *troupe__yaml_find(const struct troupe__yaml *map, const char *key)
{
    struct troupe__yaml *member = map->first;
    while (member && strcmp(member->key, key) != 0) {
        member = member->next;
    }
    return member;
}

bool troupe__yaml_bool(const struct troupe__yaml *node, bool *ret)
{
    bool truth = node->kind == TROUPE__YAML_SCALAR && node->plain && strcmp(node->text, "true") == 0;
    if (!truth && !(node->kind == TROUPE__YAML_SCALAR && node->plain && strcmp(node->text, "false") == 0)) {
        return false;
    }
    *ret = truth;
    return true;
}

bool troupe__yaml_is_text(const struct troupe__yaml *node)
{
    static const char *const others[] = {"", "~", "null", "true", "false", "yes", "no", "on", "off"}; /* YAML 1.1 */
    if (node->kind != TROUPE__YAML_SCALAR) {
        return false;
    }
    for (size_t i = 0; node->plain && i < sizeof others / sizeof *others; i++) {
        if (strcasecmp(node->text, others[i]) == 0) {
            return false;
        }
    }
    return true;
}
