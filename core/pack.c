/* pack.c - the printf-like msgpack packer and unpacker.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Both walk the format once, recursing at its brackets (at most TROUPE__DEPTH_MAX deep); a body is never recursed into
 * further than the format asks, what it does not ask for is skipped without recursion. Bodies are untrusted: every read
 * goes through a bounds-checked cursor. The encoding is https://github.com/msgpack/msgpack/blob/master/spec.md. */
#include "core/pack.h"

#include <assert.h>
#include <stdio.h>

#include "core/msgpack.h"

/* Deepest nesting of what `m` may insert, counted from the top: what the JSON side can carry out. */
enum { PACKED_DEPTH_MAX = 64 };

/* ---- formats ----------------------------------------------------------------------------------------------------- */

struct format {
    const char *start, *at;
    va_list *args;
    char *error;
    size_t error_size;
};

static enum troupe_error format_fail(const struct format *format, const char *what)
{
    snprintf(format->error, format->error_size, "format \"%s\", column %d: %s", format->start,
             (int)(format->at - format->start) + 1, what);
    return TROUPE_EINVAL;
}

/* The next letter that counts; `at` stays on it. */
static inline char format_peek(struct format *format)
{
    while (*format->at == ' ' || *format->at == ',' || *format->at == ':') {
        format->at++;
    }
    return *format->at;
}

/* How many values stand between `at`, just after an opening bracket, and its closing one. Brackets that do not match
 * are found when the values themselves are walked. */
static size_t count_children(const char *at)
{
    size_t count = 0, depth = 0;
    for (;; at++) {
        switch (*at) {
        case '\0':
            return count;
        case ' ':
        case ',':
        case ':':
        case '?':
            break;
        case '{':
        case '[':
            count += depth++ == 0;
            break;
        case '}':
        case ']':
            if (depth-- == 0) {
                return count;
            }
            break;
        default:
            count += depth == 0;
        }
    }
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Write `byte` and the low `width` bytes of `number`, most significant first. */
static inline void put_tagged(struct troupe__buffer *buffer, unsigned byte, uint64_t number, unsigned width)
{
    if (!troupe__buffer_reserve(buffer, 9)) {
        return;
    }
    unsigned char *at = buffer->data + buffer->size;
    *at++ = (unsigned char)byte;
    for (unsigned i = width; i-- > 0;) {
        *at++ = (unsigned char)(number >> (8 * i));
    }
    buffer->size += 1 + width;
}

static inline void put_uint(struct troupe__buffer *buffer, uint64_t number)
{
    if (number < 0x80) {
        put_tagged(buffer, (unsigned)number, 0, 0);
    } else if (number <= UINT8_MAX) {
        put_tagged(buffer, 0xcc, number, 1);
    } else if (number <= UINT16_MAX) {
        put_tagged(buffer, 0xcd, number, 2);
    } else if (number <= UINT32_MAX) {
        put_tagged(buffer, 0xce, number, 4);
    } else {
        put_tagged(buffer, 0xcf, number, 8);
    }
}

static inline void put_int(struct troupe__buffer *buffer, int64_t number)
{
    if (number >= 0) {
        put_uint(buffer, (uint64_t)number);
    } else if (number >= -32) {
        put_tagged(buffer, (unsigned)(number & 0xff), 0, 0);
    } else if (number >= INT8_MIN) {
        put_tagged(buffer, 0xd0, (uint64_t)number, 1);
    } else if (number >= INT16_MIN) {
        put_tagged(buffer, 0xd1, (uint64_t)number, 2);
    } else if (number >= INT32_MIN) {
        put_tagged(buffer, 0xd2, (uint64_t)number, 4);
    } else {
        put_tagged(buffer, 0xd3, (uint64_t)number, 8);
    }
}

static inline void put_double(struct troupe__buffer *buffer, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_tagged(buffer, 0xcb, bits, 8);
}

static inline void put_str(struct troupe__buffer *buffer, const char *text, size_t size)
{
    assert(size <= UINT32_MAX);
    if (size < 32) { /* nearly always */
        if (troupe__buffer_reserve(buffer, 32)) {
            buffer->data[buffer->size] = (unsigned char)(0xa0 | size);
            memcpy(buffer->data + buffer->size + 1, text, size);
            buffer->size += 1 + size;
        }
        return;
    }
    if (size <= UINT8_MAX) {
        put_tagged(buffer, 0xd9, size, 1);
    } else if (size <= UINT16_MAX) {
        put_tagged(buffer, 0xda, size, 2);
    } else {
        put_tagged(buffer, 0xdb, size, 4);
    }
    troupe__buffer_put(buffer, text, size);
}

static inline void put_bin(struct troupe__buffer *buffer, const void *data, size_t size)
{
    assert(size <= UINT32_MAX);
    if (size <= UINT8_MAX) {
        put_tagged(buffer, 0xc4, size, 1);
    } else if (size <= UINT16_MAX) {
        put_tagged(buffer, 0xc5, size, 2);
    } else {
        put_tagged(buffer, 0xc6, size, 4);
    }
    troupe__buffer_put(buffer, data, size);
}

/* Make the byte at `head` the head of the array (`fix` 0x90, `wide` 0xdc) or map (0x80, 0xde) that was written behind
 * it: how much it holds is known at its end only, and one byte is enough up to 15. */
static void finish_container(struct troupe__buffer *buffer, size_t head, unsigned fix, unsigned wide, size_t count)
{
    size_t more = count < 16 ? 0 : count <= UINT16_MAX ? 2 : 4;
    if (!troupe__buffer_reserve(buffer, more) || buffer->failed) {
        return;
    }
    unsigned char *at = buffer->data + head;
    *at = (unsigned char)(more == 0 ? fix | count : more == 2 ? wide : wide + 1);
    if (more > 0) {
        memmove(at + 1 + more, at + 1, buffer->size - head - 1);
        for (size_t i = 0; i < more; i++) {
            at[1 + i] = (unsigned char)(count >> (8 * (more - 1 - i)));
        }
        buffer->size += more;
    }
}

static enum troupe_error pack_string(struct format *format, struct troupe__buffer *buffer)
{
    const char *text = va_arg(*format->args, const char *);
    if (text == NULL) {
        return format_fail(format, "the string is NULL");
    }
    size_t size = strlen(text);
    if (size > TROUPE_BODY_MAX) {
        return format_fail(format, "the string is over the limit of a body");
    }
    put_str(buffer, text, size);
    return TROUPE_OK;
}

static enum troupe_error pack_value(struct format *format, struct troupe__buffer *buffer, unsigned depth);

/* `at` is on the opening bracket. */
static enum troupe_error pack_container(struct format *format, struct troupe__buffer *buffer, unsigned depth)
{
    bool map = *format->at == '{';
    char close = map ? '}' : ']';
    if (depth == TROUPE__DEPTH_MAX) {
        return format_fail(format, "nested too deep");
    }
    size_t head = buffer->size, count = 0;
    troupe__buffer_put_byte(buffer, 0);
    format->at++;
    for (char letter; (letter = format_peek(format)) != close; count++) {
        enum troupe_error error;
        if (map) {
            if (letter != 's') {
                return format_fail(format, letter == '\0' ? "a map is not closed" : "a key must be s");
            }
            if ((error = pack_string(format, buffer)) != TROUPE_OK) {
                return error;
            }
            format->at++;
            if (format_peek(format) == close) {
                return format_fail(format, "a map has a key without a value");
            }
        }
        if ((error = pack_value(format, buffer, depth + 1)) != TROUPE_OK) {
            return error;
        }
    }
    format->at++;
    if (map) {
        finish_container(buffer, head, 0x80, 0xde, count);
    } else {
        finish_container(buffer, head, 0x90, 0xdc, count);
    }
    return TROUPE_OK;
}

static enum troupe_error pack_value(struct format *format, struct troupe__buffer *buffer, unsigned depth)
{
    enum troupe_error error = TROUPE_OK;
    struct troupe_bytes bytes;

    switch (format_peek(format)) {
    case '{':
    case '[':
        return pack_container(format, buffer, depth);
    case 'i':
        put_int(buffer, va_arg(*format->args, int64_t));
        break;
    case 'u':
        put_uint(buffer, va_arg(*format->args, uint64_t));
        break;
    case 'f':
        put_double(buffer, va_arg(*format->args, double));
        break;
    case 'b':
        put_tagged(buffer, va_arg(*format->args, int) ? 0xc3 : 0xc2, 0, 0);
        break;
    case 'n':
        put_tagged(buffer, 0xc0, 0, 0);
        break;
    case 's':
        error = pack_string(format, buffer);
        break;
    case 'z':
        bytes = va_arg(*format->args, struct troupe_bytes);
        if (bytes.data == NULL && bytes.size > 0) {
            error = format_fail(format, "the bytes are NULL");
        } else if (bytes.size > TROUPE_BODY_MAX) {
            error = format_fail(format, "the bytes are over the limit of a body");
        } else {
            put_bin(buffer, bytes.data, bytes.size);
        }
        break;
    case 'm':
        /* Checked here, where the mistake is: later it would be a corrupt body in somebody else's hands. */
        bytes = va_arg(*format->args, struct troupe_bytes);
        if (bytes.data == NULL || !troupe__msgpack_valid(bytes, PACKED_DEPTH_MAX - depth)) {
            error = format_fail(format, "the bytes are not one msgpack value");
        } else {
            troupe__buffer_put(buffer, bytes.data, bytes.size);
        }
        break;
    case '\0':
        return format_fail(format, "a value is missing");
    default:
        return format_fail(format, "not a letter of a value");
    }
    if (error == TROUPE_OK) {
        format->at++;
    }
    return error;
}

enum troupe_error troupe__pack(struct troupe__buffer *buffer, const char *format, va_list *args, char *error,
                               size_t error_size)
{
    assert(format != NULL);
    struct format walk = {format, format, args, error, error_size};
    size_t size_before = buffer->size;
    enum troupe_error result = pack_value(&walk, buffer, 0);
    if (result == TROUPE_OK && format_peek(&walk) != '\0') {
        result = format_fail(&walk, "more than one value");
    }
    if (result == TROUPE_OK && buffer->failed) {
        snprintf(error, error_size, "out of memory");
        result = TROUPE_ENOMEM;
    }
    if (result != TROUPE_OK) {
        buffer->size = size_before;
        buffer->capacity = buffer->failed ? size_before : buffer->capacity; /* appends must go on to do nothing */
    }
    return result;
}

/* ---- unpacking --------------------------------------------------------------------------------------------------- */

static const char *const kind_texts[] = {"nil",      "a bool", "an integer", "a negative integer", "a double",
                                         "a string", "bytes",  "an ext",     "an array",           "a map"};

struct unpacker {
    struct format format;
    struct troupe__cursor body;
    const char *key; /* the innermost key, for the text of an error; NULL outside of maps */
    troupe__copy_fn copy;
    void *copy_context;
};

static enum troupe_error shape_fail(const struct unpacker *unpacker, const char *what)
{
    snprintf(unpacker->format.error, unpacker->format.error_size, "%s%s%s: %s", unpacker->key ? "key \"" : "body",
             unpacker->key ? unpacker->key : "", unpacker->key ? "\"" : "", what);
    return TROUPE_ETYPE;
}

static enum troupe_error kind_fail(const struct unpacker *unpacker, const char *wanted, enum troupe__msgpack_kind got)
{
    char what[80];
    snprintf(what, sizeof what, "wanted %s, got %s", wanted, kind_texts[got]);
    return shape_fail(unpacker, what);
}

static enum troupe_error malformed(const struct unpacker *unpacker)
{
    return shape_fail(unpacker, "not well-formed msgpack");
}

/* Step over one value of the format and its arguments; what an absent optional key needs. */
static enum troupe_error skip_format(struct format *format, unsigned depth)
{
    char letter = format_peek(format);
    switch (letter) {
    case 'i':
        (void)va_arg(*format->args, int64_t *);
        break;
    case 'u':
        (void)va_arg(*format->args, uint64_t *);
        break;
    case 'f':
        (void)va_arg(*format->args, double *);
        break;
    case 'b':
        (void)va_arg(*format->args, bool *);
        break;
    case 's':
        (void)va_arg(*format->args, const char **);
        break;
    case 'z':
    case 'm':
        (void)va_arg(*format->args, struct troupe_bytes *);
        break;
    case 'n':
        break;
    case '{':
    case '[': {
        if (depth == TROUPE__DEPTH_MAX) {
            return format_fail(format, "nested too deep");
        }
        format->at++;
        for (char inner; (inner = format_peek(format)) != (letter == '{' ? '}' : ']');) {
            if (letter == '{') {
                if (inner != 's') {
                    return format_fail(format, inner == '\0' ? "a map is not closed" : "a key must be s");
                }
                (void)va_arg(*format->args, const char *);
                format->at++;
                if (format_peek(format) == '?') {
                    format->at++;
                }
            }
            enum troupe_error error = skip_format(format, depth + 1);
            if (error != TROUPE_OK) {
                return error;
            }
        }
        break;
    }
    case '\0':
        return format_fail(format, "a value is missing");
    default:
        return format_fail(format, "not a letter of a value");
    }
    format->at++;
    return TROUPE_OK;
}

/* Whether a value is asked for: one of { [ i u f b n s z m. */
static inline bool is_letter(char letter)
{
    const uint32_t letters = 1u << ('i' - 'a') | 1u << ('u' - 'a') | 1u << ('f' - 'a') | 1u << ('b' - 'a') |
                             1u << ('n' - 'a') | 1u << ('s' - 'a') | 1u << ('z' - 'a') | 1u << ('m' - 'a') |
                             1u << ('{' - 'a');
    return letter == '[' || (letter >= 'a' && letter <= '{' && (letters >> (letter - 'a') & 1));
}

static enum troupe_error unpack_value(struct unpacker *unpacker, unsigned depth);

static enum troupe_error unpack_array(struct unpacker *unpacker, uint64_t count, unsigned depth)
{
    struct format *format = &unpacker->format;
    if (count != count_children(format->at + 1)) {
        char what[80];
        snprintf(what, sizeof what, "wanted %zu elements, got %llu", count_children(format->at + 1),
                 (unsigned long long)count);
        return shape_fail(unpacker, what);
    }
    format->at++;
    while (format_peek(format) != ']') {
        enum troupe_error error = unpack_value(unpacker, depth + 1);
        if (error != TROUPE_OK) {
            return error;
        }
    }
    format->at++;
    return TROUPE_OK;
}

/* The entries of a map. The search for a key starts behind the one found last and goes around once, so that a body in
 * the order of the format is read in one pass. Of repeated keys any may be found. */
struct entries {
    const unsigned char *first, *at, *end; /* `end` is known once the last entry was passed */
    uint64_t index, count;
};

/* On true `*ret_found` says whether body.at is on the value of `key`; false is a malformed body. */
static bool find_entry(struct unpacker *unpacker, struct entries *entries, const char *key, bool *ret_found)
{
    struct troupe__cursor *body = &unpacker->body;
    size_t key_size = strlen(key);
    for (uint64_t looked = 0; looked < entries->count; looked++) {
        if (entries->index == entries->count) {
            entries->end = entries->at;
            entries->at = entries->first;
            entries->index = 0;
        }
        body->at = entries->at;
        struct troupe__msgpack head;
        if (key_size < 32 && body->at < body->end && *body->at == (0xa0 | key_size) &&
            (size_t)(body->end - body->at) > key_size && memcmp(body->at + 1, key, key_size) == 0) {
            body->at += 1 + key_size;
            *ret_found = true;
            return true;
        }
        if (!troupe__msgpack_read(body, &head)) {
            return false;
        }
        if (head.kind == TROUPE__STR && head.number == key_size && memcmp(head.data, key, key_size) == 0) {
            *ret_found = true;
            return true;
        }
        if (!troupe__msgpack_skip(body, 1 + troupe__msgpack_children(&head))) {
            return false;
        }
        entries->at = body->at;
        entries->index++;
    }
    *ret_found = false;
    return true;
}

static enum troupe_error unpack_map(struct unpacker *unpacker, uint64_t count, unsigned depth)
{
    struct format *format = &unpacker->format;
    const char *outer = unpacker->key;
    struct entries entries = {unpacker->body.at, unpacker->body.at, NULL, 0, count};

    format->at++;
    for (char letter; (letter = format_peek(format)) != '}';) {
        if (letter != 's') {
            return format_fail(format, letter == '\0' ? "a map is not closed" : "a key must be s");
        }
        const char *key = va_arg(*format->args, const char *);
        if (key == NULL) {
            return format_fail(format, "the key is NULL");
        }
        format->at++;
        bool optional = format_peek(format) == '?';
        if (optional) {
            format->at++;
        }
        if (format_peek(format) == '}') {
            return format_fail(format, "a map has a key without a value");
        }
        bool found;
        unpacker->key = key;
        if (!find_entry(unpacker, &entries, key, &found)) {
            return malformed(unpacker);
        }
        if (!found && !optional) {
            return shape_fail(unpacker, "missing");
        }
        enum troupe_error error = found ? unpack_value(unpacker, depth + 1) : skip_format(format, depth + 1);
        if (error != TROUPE_OK) {
            return error;
        }
        if (found) {
            entries.at = unpacker->body.at;
            entries.index++;
        }
    }
    format->at++;
    unpacker->key = outer;
    if (entries.end != NULL) {
        unpacker->body.at = entries.end;
        return TROUPE_OK;
    }
    unpacker->body.at = entries.at;
    return troupe__msgpack_skip(&unpacker->body, (count - entries.index) * 2) ? TROUPE_OK : malformed(unpacker);
}

static enum troupe_error unpack_string(struct unpacker *unpacker, const struct troupe__msgpack *head)
{
    if (head->kind != TROUPE__STR) {
        return kind_fail(unpacker, "a string", head->kind);
    }
    /* As a C string it would silently end there. */
    if (head->number > 0 && memchr(head->data, 0, (size_t)head->number) != NULL) {
        return shape_fail(unpacker, "the string holds a NUL byte");
    }
    const char *copy = unpacker->copy(unpacker->copy_context, head->data, (size_t)head->number);
    if (copy == NULL) {
        snprintf(unpacker->format.error, unpacker->format.error_size, "out of memory");
        return TROUPE_ENOMEM;
    }
    *va_arg(*unpacker->format.args, const char **) = copy;
    return TROUPE_OK;
}

static enum troupe_error unpack_double(struct unpacker *unpacker, const struct troupe__msgpack *head)
{
    double number;
    if (head->kind == TROUPE__FLOAT) {
        memcpy(&number, &head->number, sizeof number);
    } else if (head->kind == TROUPE__UNSIGNED) { /* JSON writers spell 5.0 as 5. */
        number = (double)head->number;
    } else if (head->kind == TROUPE__NEGATIVE) {
        number = (double)(int64_t)head->number;
    } else {
        return kind_fail(unpacker, "a double", head->kind);
    }
    *va_arg(*unpacker->format.args, double *) = number;
    return TROUPE_OK;
}

static enum troupe_error unpack_value(struct unpacker *unpacker, unsigned depth)
{
    struct format *format = &unpacker->format;
    char letter = format_peek(format);
    if (!is_letter(letter)) {
        return format_fail(format, letter == '\0' ? "a value is missing" : "not a letter of a value");
    }
    const unsigned char *start = unpacker->body.at;
    struct troupe__msgpack head;
    if (!troupe__msgpack_read(&unpacker->body, &head)) {
        return malformed(unpacker);
    }
    enum troupe_error error = TROUPE_OK;
    switch (letter) {
    case '{':
    case '[':
        if (depth == TROUPE__DEPTH_MAX) {
            return format_fail(format, "nested too deep");
        }
        if (head.kind != (letter == '{' ? TROUPE__MAP : TROUPE__ARRAY)) {
            return kind_fail(unpacker, letter == '{' ? "a map" : "an array", head.kind);
        }
        return letter == '{' ? unpack_map(unpacker, head.number, depth) : unpack_array(unpacker, head.number, depth);
    case 'i':
        if (head.kind != TROUPE__UNSIGNED && head.kind != TROUPE__NEGATIVE) {
            return kind_fail(unpacker, "an integer", head.kind);
        }
        if (head.kind == TROUPE__UNSIGNED && head.number > INT64_MAX) {
            return shape_fail(unpacker, "the integer is over 64 bits with a sign");
        }
        *va_arg(*format->args, int64_t *) = (int64_t)head.number;
        break;
    case 'u':
        if (head.kind != TROUPE__UNSIGNED) {
            return kind_fail(unpacker, "an integer from 0", head.kind);
        }
        *va_arg(*format->args, uint64_t *) = head.number;
        break;
    case 'f':
        error = unpack_double(unpacker, &head);
        break;
    case 'b':
        if (head.kind != TROUPE__BOOL) {
            return kind_fail(unpacker, "a bool", head.kind);
        }
        *va_arg(*format->args, bool *) = head.number != 0;
        break;
    case 'n':
        if (head.kind != TROUPE__NIL) {
            return kind_fail(unpacker, "nil", head.kind);
        }
        break;
    case 's':
        error = unpack_string(unpacker, &head);
        break;
    case 'z':
        if (head.kind != TROUPE__BIN) {
            return kind_fail(unpacker, "bytes", head.kind);
        }
        *va_arg(*format->args, struct troupe_bytes *) = (struct troupe_bytes){head.data, (size_t)head.number};
        break;
    default: /* m */
        if (!troupe__msgpack_skip(&unpacker->body, troupe__msgpack_children(&head))) {
            return malformed(unpacker);
        }
        *va_arg(*format->args, struct troupe_bytes *) =
            (struct troupe_bytes){start, (size_t)(unpacker->body.at - start)};
    }
    if (error == TROUPE_OK) {
        format->at++;
    }
    return error;
}

enum troupe_error troupe__unpack(struct troupe_bytes body, const char *format, va_list *args, troupe__copy_fn copy,
                                 void *copy_context, char *error, size_t error_size)
{
    assert(format != NULL && (body.data != NULL || body.size == 0));
    const unsigned char *data = body.size > 0 ? body.data : (const unsigned char *)"";
    struct unpacker unpacker = {
        .format = {format, format, args, error, error_size},
        .body = {data, data + body.size, false},
        .copy = copy,
        .copy_context = copy_context,
    };
    enum troupe_error result = unpack_value(&unpacker, 0);
    if (result == TROUPE_OK && format_peek(&unpacker.format) != '\0') {
        result = format_fail(&unpacker.format, "more than one value");
    }
    if (result == TROUPE_OK && unpacker.body.at != unpacker.body.end) {
        result = shape_fail(&unpacker, "bytes follow the value");
    }
    return result;
}
