/* json.c - JSON to msgpack, in one pass and without a tree.
 * SPDX-License-Identifier: Apache-2.0
 *
 * How many elements a container has is known at its end only: its head starts as one byte, which is enough up to 15
 * elements, and the content moves up when there are more. Strings are scanned eight bytes at a time and copied in one
 * piece unless they hold an escape. Numbers of up to 19 digits with a small exponent are converted exactly without
 * strtod (Clinger, "How to Read Floating Point Numbers Accurately", 1990); strtod does the rest and needs the C locale,
 * which a node never leaves. It recurses at most TROUPE__JSON_NESTING_MAX deep. */
#include "transport/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "transport/json_plain.h"
#include "transport/utf8.h"

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

struct parser {
    const unsigned char *start, *at, *end;
    struct troupe__buffer *out;
    char *error;
    size_t error_size;
};

/* A string as it stands between its quotes. */
struct raw {
    const unsigned char *at;
    size_t size;
    bool escaped;
};

static enum troupe_error fail(const struct parser *parser, const unsigned char *at, const char *what)
{
    snprintf(parser->error, parser->error_size, "column %zu: %s", (size_t)(at - parser->start) + 1, what);
    return TROUPE_EINVAL;
}

static enum troupe_error out_of_memory(const struct parser *parser)
{
    snprintf(parser->error, parser->error_size, "out of memory");
    return TROUPE_ENOMEM;
}

static inline void skip_space(struct parser *parser)
{
    while (parser->at < parser->end &&
           (*parser->at == ' ' || *parser->at == '\n' || *parser->at == '\t' || *parser->at == '\r')) {
        parser->at++;
    }
}

/* The next byte after space; 0 at the end (a NUL byte is no JSON either). */
static inline unsigned peek(struct parser *parser)
{
    skip_space(parser);
    return parser->at < parser->end ? *parser->at : 0;
}

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

static void put_int(struct troupe__buffer *buffer, bool negative, uint64_t magnitude)
{
    uint64_t number = negative ? 0 - magnitude : magnitude;
    if (!negative) {
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
    } else if (magnitude <= 32) {
        put_tagged(buffer, (unsigned)(number & 0xff), 0, 0);
    } else if (magnitude <= 0x80) {
        put_tagged(buffer, 0xd0, number, 1);
    } else if (magnitude <= 0x8000) {
        put_tagged(buffer, 0xd1, number, 2);
    } else if (magnitude <= 0x80000000u) {
        put_tagged(buffer, 0xd2, number, 4);
    } else {
        put_tagged(buffer, 0xd3, number, 8);
    }
}

static void put_str_head(struct troupe__buffer *buffer, size_t size)
{
    if (size < 32) {
        put_tagged(buffer, 0xa0 | (unsigned)size, 0, 0);
    } else if (size <= UINT8_MAX) {
        put_tagged(buffer, 0xd9, size, 1);
    } else if (size <= UINT16_MAX) {
        put_tagged(buffer, 0xda, size, 2);
    } else {
        put_tagged(buffer, 0xdb, size, 4);
    }
}

/* Four hexadecimal digits; -1 when they are not. */
static int hex4(const unsigned char *at, const unsigned char *end)
{
    int number = 0;
    if (end - at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int c = at[i], lower = c | 0x20;
        if (c >= '0' && c <= '9') {
            number = number * 16 + c - '0';
        } else if (lower >= 'a' && lower <= 'f') {
            number = number * 16 + lower - 'a' + 10;
        } else {
            return -1;
        }
    }
    return number;
}

/* Check the string whose opening quote is at `at`, and step over it. */
static enum troupe_error scan_string(struct parser *parser, struct raw *ret)
{
    const unsigned char *at = parser->at + 1, *end = parser->end, *first = at;
    bool escaped = false;
    assert(*parser->at == '"');
    for (;;) {
        at = troupe__json_skip_plain(at, end);
        if (at == end) {
            return fail(parser, at, "the string is not closed");
        }
        if (*at == '"') {
            break;
        }
        if (*at < 0x20) {
            return fail(parser, at, "a control byte in a string");
        }
        if (*at >= 0x80) {
            size_t length = troupe__utf8_length(at, end);
            if (length == 0) {
                return fail(parser, at, "not UTF-8");
            }
            at += length;
            continue;
        }
        escaped = true;
        if (end - at < 2) {
            return fail(parser, at, "the string is not closed");
        }
        if (at[1] != 'u') {
            if (at[1] == 0 || strchr("\"\\/bfnrt", at[1]) == NULL) {
                return fail(parser, at, "no such escape");
            }
            at += 2;
            continue;
        }
        int code = hex4(at + 2, end);
        if (code < 0) {
            return fail(parser, at, "\\u needs four hexadecimal digits");
        }
        if (code >= 0xd800 && code <= 0xdfff) {
            int low = code < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u' ? hex4(at + 8, end) : -1;
            if (low < 0xdc00 || low > 0xdfff) {
                return fail(parser, at, "half of a surrogate pair");
            }
            at += 6;
        }
        at += 6;
    }
    *ret = (struct raw){first, (size_t)(at - first), escaped};
    parser->at = at + 1;
    return TROUPE_OK;
}

static unsigned char *put_utf8(unsigned char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (unsigned char)code;
    } else if (code < 0x800) {
        *to++ = (unsigned char)(0xc0 | code >> 6);
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (unsigned char)(0xe0 | code >> 12);
        *to++ = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (unsigned char)(0xf0 | code >> 18);
        *to++ = (unsigned char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* Decode a checked string to `to`, which has room for raw->size bytes: no escape is shorter than what it stands for. */
static size_t decode(const struct raw *raw, unsigned char *to)
{
    const unsigned char *at = raw->at, *end = raw->at + raw->size;
    unsigned char *first = to;
    while (at < end) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        unsigned char letter = at[1];
        if (letter == 'u') {
            unsigned code = (unsigned)hex4(at + 2, end);
            at += 6;
            if (code >= 0xd800 && code <= 0xdfff) {
                code = 0x10000 + ((code - 0xd800) << 10) + ((unsigned)hex4(at + 2, end) - 0xdc00);
                at += 6;
            }
            to = put_utf8(to, code);
            continue;
        }
        at += 2;
        *to++ = letter == 'b'   ? '\b'
                : letter == 'f' ? '\f'
                : letter == 'n' ? '\n'
                : letter == 'r' ? '\r'
                : letter == 't' ? '\t'
                                : letter;
    }
    return (size_t)(to - first);
}

static enum troupe_error parse_string(struct parser *parser)
{
    struct raw raw;
    enum troupe_error error = scan_string(parser, &raw);
    if (error != TROUPE_OK) {
        return error;
    }
    if (raw.size > UINT32_MAX) {
        return fail(parser, raw.at, "the string is too long");
    }
    struct troupe__buffer *out = parser->out;
    if (!troupe__buffer_reserve(out, raw.size + 16)) {
        return out_of_memory(parser);
    }
    if (raw.escaped) { /* Decoded behind where it goes: the size of its head depends on the outcome. */
        unsigned char *decoded = out->data + out->size + 5;
        size_t size = decode(&raw, decoded);
        put_str_head(out, size);
        memmove(out->data + out->size, decoded, size);
        out->size += size;
    } else {
        put_str_head(out, raw.size);
        memcpy(out->data + out->size, raw.at, raw.size);
        out->size += raw.size;
    }
    return TROUPE_OK;
}

static inline bool is_digit(const unsigned char *at, const unsigned char *end)
{
    return at < end && *at >= '0' && *at <= '9';
}

static enum troupe_error put_number(struct parser *parser, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_tagged(parser->out, 0xcb, bits, 8);
    return TROUPE_OK;
}

static enum troupe_error parse_number(struct parser *parser)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const unsigned char *at = parser->at, *end = parser->end, *first = at;
    bool negative = *at == '-', integer = true, overflow = false;
    uint64_t digits = 0; /* all digits as one number, unless `overflow` */
    long exponent = 0;

    at += negative;
    if (!is_digit(at, end)) {
        return fail(parser, at, "a number needs a digit");
    }
    if (*at == '0' && is_digit(at + 1, end)) {
        return fail(parser, at, "a number starts with a needless 0");
    }
    for (; is_digit(at, end); at++) {
        unsigned digit = *at - '0';
        overflow |= digits > (UINT64_MAX - digit) / 10;
        digits = digits * 10 + digit;
    }
    if (at < end && *at == '.') {
        integer = false;
        at++;
        if (!is_digit(at, end)) {
            return fail(parser, at, "a digit must follow the point");
        }
        for (; is_digit(at, end); at++) {
            unsigned digit = *at - '0';
            overflow |= digits > (UINT64_MAX - digit) / 10;
            digits = digits * 10 + digit;
            exponent--;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        integer = false;
        at++;
        bool minus = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        if (!is_digit(at, end)) {
            return fail(parser, at, "an exponent needs a digit");
        }
        long written = 0;
        for (; is_digit(at, end); at++) {
            written = written < 100000 ? written * 10 + (*at - '0') : written;
        }
        exponent += minus ? -written : written;
    }
    parser->at = at;
    if (integer && !overflow && (!negative || digits <= (uint64_t)INT64_MAX + 1)) {
        put_int(parser->out, negative && digits > 0, digits);
        return TROUPE_OK;
    }
    if (!overflow && digits <= (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22) {
        double number = exponent < 0 ? (double)digits / powers[-exponent] : (double)digits * powers[exponent];
        return put_number(parser, negative ? -number : number);
    }
    /* strtod wants a NUL behind; the room beyond the output serves for the copy. */
    size_t size = (size_t)(at - first);
    if (!troupe__buffer_reserve(parser->out, size + 1)) {
        return out_of_memory(parser);
    }
    char *copy = (char *)parser->out->data + parser->out->size;
    memcpy(copy, first, size);
    copy[size] = '\0';
    char *copy_end;
    double number = strtod(copy, &copy_end);
    assert(copy_end == copy + size);
    return isfinite(number) ? put_number(parser, number) : fail(parser, first, "the number is out of range");
}

static enum troupe_error parse_word(struct parser *parser, const char *word, size_t size, unsigned byte)
{
    if ((size_t)(parser->end - parser->at) < size || memcmp(parser->at, word, size) != 0) {
        return fail(parser, parser->at, "not a JSON value");
    }
    parser->at += size;
    put_tagged(parser->out, byte, 0, 0);
    return TROUPE_OK;
}

/* Write the count into the head that was one byte at `head`, and make room when it takes more. */
static enum troupe_error finish_container(struct parser *parser, size_t head, unsigned fix, unsigned wide, size_t count)
{
    struct troupe__buffer *out = parser->out;
    size_t more = count < 16 ? 0 : count <= UINT16_MAX ? 2 : 4;
    if (out->failed || (more > 0 && !troupe__buffer_reserve(out, more))) {
        return out_of_memory(parser);
    }
    if (count > UINT32_MAX) {
        return fail(parser, parser->at, "too many elements");
    }
    unsigned char *at = out->data + head;
    if (more == 0) {
        *at = (unsigned char)(fix | count);
        return TROUPE_OK;
    }
    memmove(at + 1 + more, at + 1, out->size - head - 1);
    out->size += more;
    *at = (unsigned char)(more == 2 ? wide : wide + 1);
    for (size_t i = 0; i < more; i++) {
        at[1 + i] = (unsigned char)(count >> (8 * (more - 1 - i)));
    }
    return TROUPE_OK;
}

static enum troupe_error parse_value(struct parser *parser, unsigned depth);

static enum troupe_error parse_container(struct parser *parser, unsigned depth)
{
    bool map = *parser->at == '{';
    unsigned close = map ? '}' : ']';
    size_t head = parser->out->size, count = 0;
    if (depth == TROUPE__JSON_NESTING_MAX) {
        return fail(parser, parser->at, "nested too deep");
    }
    parser->at++;
    troupe__buffer_put_byte(parser->out, 0);
    if (peek(parser) != close) {
        for (;; count++) {
            enum troupe_error error;
            if (map) {
                if (peek(parser) != '"') {
                    return fail(parser, parser->at, "a key in quotes must follow");
                }
                if ((error = parse_string(parser)) != TROUPE_OK) {
                    return error;
                }
                if (peek(parser) != ':') {
                    return fail(parser, parser->at, "a colon must follow the key");
                }
                parser->at++;
            }
            if ((error = parse_value(parser, depth + 1)) != TROUPE_OK) {
                return error;
            }
            unsigned next = peek(parser);
            if (next == close) {
                count++;
                break;
            }
            if (next != ',') {
                return fail(parser, parser->at, map ? "a comma or } must follow" : "a comma or ] must follow");
            }
            parser->at++;
        }
    }
    parser->at++;
    return map ? finish_container(parser, head, 0x80, 0xde, count) : finish_container(parser, head, 0x90, 0xdc, count);
}

static enum troupe_error parse_value(struct parser *parser, unsigned depth)
{
    switch (peek(parser)) {
    case '{':
    case '[':
        return parse_container(parser, depth);
    case '"':
        return parse_string(parser);
    case 't':
        return parse_word(parser, "true", 4, 0xc3);
    case 'f':
        return parse_word(parser, "false", 5, 0xc2);
    case 'n':
        return parse_word(parser, "null", 4, 0xc0);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return parse_number(parser);
    default:
        return fail(parser, parser->at, parser->at == parser->end ? "a value is missing" : "not a JSON value");
    }
}

static enum troupe_error body_too_big(const struct parser *parser, const unsigned char *at)
{
    snprintf(parser->error, parser->error_size, "column %zu: the body is over %d bytes",
             (size_t)(at - parser->start) + 1, (int)TROUPE_BODY_MAX);
    return TROUPE_ETOOBIG;
}

enum troupe_error troupe__json_parse(const char *text, size_t size, struct troupe__buffer *msgpack, char *error,
                                     size_t error_size)
{
    const unsigned char *start = (const unsigned char *)(size > 0 ? text : "");
    struct parser parser = {start, start, start + size, msgpack, error, error_size};
    size_t size_before = msgpack->size;
    enum troupe_error result = parse_value(&parser, 0);
    if (result == TROUPE_OK && (peek(&parser), parser.at != parser.end)) {
        result = fail(&parser, parser.at, "bytes follow the value");
    }
    if (result == TROUPE_OK && msgpack->failed) {
        result = out_of_memory(&parser);
    }
    if (result == TROUPE_OK && msgpack->size - size_before > TROUPE_BODY_MAX) {
        result = body_too_big(&parser, start);
    }
    if (result != TROUPE_OK) {
        msgpack->size = size_before;
        msgpack->capacity = msgpack->failed ? size_before : msgpack->capacity; /* appends must go on to do nothing */
    }
    return result;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

enum member { ID, TO, TYPE, BODY, MEMBER_COUNT };

/* Append a string with a NUL behind it. */
static enum troupe_error put_text(struct parser *parser, const struct raw *raw, size_t *ret_size)
{
    struct troupe__buffer *out = parser->out;
    if (!troupe__buffer_reserve(out, raw->size + 1)) {
        return out_of_memory(parser);
    }
    unsigned char *to = out->data + out->size;
    size_t size = raw->size;
    if (raw->escaped) {
        size = decode(raw, to);
    } else {
        memcpy(to, raw->at, size);
    }
    to[size] = '\0';
    out->size += size + 1;
    *ret_size = size;
    return TROUPE_OK;
}

static enum troupe_error parse_member_name(struct parser *parser, enum member *ret)
{
    static const char *const names[MEMBER_COUNT] = {"id", "to", "type", "body"};
    const unsigned char *start = parser->at;
    struct raw raw;
    unsigned char decoded[24]; /* "body" in \u escapes */
    enum troupe_error error = scan_string(parser, &raw);
    if (error != TROUPE_OK) {
        return error;
    }
    if (raw.size <= sizeof decoded) {
        if (raw.escaped) {
            raw.size = decode(&raw, decoded);
            raw.at = decoded;
        }
        for (int i = 0; i < MEMBER_COUNT; i++) {
            if (strlen(names[i]) == raw.size && memcmp(names[i], raw.at, raw.size) == 0) {
                *ret = (enum member)i;
                return TROUPE_OK;
            }
        }
    }
    return fail(parser, start, "unknown member; known are id, to, type and body");
}

/* Split "ns/name/key" in place at its second slash; `*ret_key` is relative to `text`. */
static enum troupe_error split_address(const struct parser *parser, const unsigned char *at, char *text, size_t size,
                                       size_t *ret_key)
{
    char *slash = memchr(text, '/', size);
    char *second = slash != NULL ? memchr(slash + 1, '/', size - (size_t)(slash + 1 - text)) : NULL;
    if (second == NULL) {
        return fail(parser, at, "\"to\" must be namespace/name/key: a slash is missing");
    }
    if (slash == text || second == slash + 1) {
        return fail(parser, at, "\"to\" must be namespace/name/key: a part is empty");
    }
    size_t type_size = (size_t)(second - text), key_size = size - type_size - 1;
    if (type_size > TROUPE_NAME_MAX) {
        return fail(parser, at, "the namespace/name of \"to\" is over 63 bytes");
    }
    if (key_size == 0 || key_size > TROUPE_KEY_MAX) {
        return fail(parser, at, key_size == 0 ? "the key of \"to\" is empty" : "the key of \"to\" is over 255 bytes");
    }
    *second = '\0';
    *ret_key = type_size + 1;
    return TROUPE_OK;
}

/* Offsets into the scratch buffer, which may move until all is parsed. */
struct places {
    size_t at[MEMBER_COUNT], key, body_size;
    bool has[MEMBER_COUNT];
};

static enum troupe_error parse_member(struct parser *parser, enum member member, struct places *places)
{
    struct troupe__buffer *out = parser->out;
    unsigned first = peek(parser);
    const unsigned char *start = parser->at;
    enum troupe_error error;

    places->has[member] = true;
    places->at[member] = out->size;
    if (member == BODY) {
        if ((error = parse_value(parser, 0)) != TROUPE_OK) {
            return error;
        }
        places->body_size = out->size - places->at[BODY];
        return places->body_size > TROUPE_BODY_MAX ? body_too_big(parser, start) : TROUPE_OK;
    }
    if (first != '"') {
        return fail(parser, start, "the value must be a string");
    }
    struct raw raw;
    size_t size;
    if ((error = scan_string(parser, &raw)) != TROUPE_OK || (error = put_text(parser, &raw, &size)) != TROUPE_OK) {
        return error;
    }
    char *text = (char *)out->data + places->at[member];
    if (raw.escaped && memchr(text, 0, size) != NULL) {
        return fail(parser, start, "a NUL byte in a name or key");
    }
    if (member == TO) {
        return split_address(parser, start, text, size, &places->key);
    }
    if (member == TYPE && (size == 0 || size > TROUPE_NAME_MAX)) {
        return fail(parser, start, size == 0 ? "\"type\" is empty" : "\"type\" is over 63 bytes");
    }
    if (member == ID && (size == 0 || size > TROUPE_KEY_MAX)) {
        return fail(parser, start, size == 0 ? "\"id\" is empty" : "\"id\" is over 255 bytes");
    }
    return TROUPE_OK;
}

static enum troupe_error parse_members(struct parser *parser, struct places *places)
{
    if (peek(parser) != '{') {
        return fail(parser, parser->at, "a line must be an object");
    }
    parser->at++;
    if (peek(parser) != '}') {
        for (;;) {
            if (peek(parser) != '"') {
                return fail(parser, parser->at, "a key in quotes must follow");
            }
            const unsigned char *start = parser->at;
            enum member member;
            enum troupe_error error = parse_member_name(parser, &member);
            if (error != TROUPE_OK) {
                return error;
            }
            if (places->has[member]) {
                return fail(parser, start, "a repeated member");
            }
            if (peek(parser) != ':') {
                return fail(parser, parser->at, "a colon must follow the key");
            }
            parser->at++;
            if ((error = parse_member(parser, member, places)) != TROUPE_OK) {
                return error;
            }
            unsigned next = peek(parser);
            if (next == '}') {
                break;
            }
            if (next != ',') {
                return fail(parser, parser->at, "a comma or } must follow");
            }
            parser->at++;
        }
    }
    const unsigned char *close = parser->at++;
    skip_space(parser);
    if (parser->at != parser->end) {
        return fail(parser, parser->at, "bytes follow the object");
    }
    if (!places->has[TO] || !places->has[TYPE]) {
        return fail(parser, close, places->has[TO] ? "\"type\" is missing" : "\"to\" is missing");
    }
    return TROUPE_OK;
}

enum troupe_error troupe__line_parse(const char *text, size_t size, struct troupe__buffer *scratch,
                                     struct troupe__line *ret, char *error, size_t error_size)
{
    const unsigned char *start = (const unsigned char *)(size > 0 ? text : "");
    struct parser parser = {start, start, start + size, scratch, error, error_size};
    struct places places = {0};
    if (size >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0) { /* A byte order mark, as Windows puts before a file. */
        parser.at += 3;
    }

    scratch->size = 0;
    scratch->failed = false;
    enum troupe_error result = parse_members(&parser, &places);
    if (result != TROUPE_OK) {
        return result;
    }
    if (!places.has[BODY]) {
        places.at[BODY] = scratch->size;
        places.body_size = 1;
        troupe__buffer_put_byte(scratch, 0xc0);
    }
    if (scratch->failed) {
        return out_of_memory(&parser);
    }
    const char *base = (const char *)scratch->data;
    ret->id = places.has[ID] ? base + places.at[ID] : NULL;
    ret->to_type = base + places.at[TO];
    ret->to_key = ret->to_type + places.key;
    ret->type = base + places.at[TYPE];
    ret->body = (struct troupe_bytes){base + places.at[BODY], places.body_size};
    return TROUPE_OK;
}
