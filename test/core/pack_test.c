/* pack_test.c - packing and unpacking by formats, with honest and with hostile bodies.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/msgpack.h"
#include "core/pack.h"

static char error_text[256];
static char copies[4096];
static size_t copies_size;

static char *copy_string(void *context, const void *data, size_t size)
{
    (void)context;
    if (copies_size + size + 1 > sizeof copies) {
        return NULL;
    }
    char *copy = copies + copies_size;
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    copies_size += size + 1;
    return copy;
}

static enum troupe_error pack(struct troupe__buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum troupe_error error = troupe__pack(buffer, format, &args, error_text, sizeof error_text);
    va_end(args);
    return error;
}

/* The body is read from a heap copy of its exact size, so that the sanitizer sees a read beyond it. */
static enum troupe_error unpack(const void *data, size_t size, const char *format, ...)
{
    unsigned char *body = malloc(size > 0 ? size : 1);
    assert_true(body != NULL);
    memcpy(body, data, size);
    copies_size = 0;
    va_list args;
    va_start(args, format);
    enum troupe_error error = troupe__unpack((struct troupe_bytes){body, size}, format, &args, copy_string, NULL,
                                             error_text, sizeof error_text);
    va_end(args);
    free(body);
    return error;
}

/* What goes in comes out, of every letter. */
static void every_letter_round_trips(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    assert_int_equal(pack(&buffer, "{s:i, s:u, s:f, s:b, s:s, s:n, s:[iz], s:m}", "i", (int64_t)-5, "u", UINT64_MAX,
                          "f", 2.5, "b", 7, "s", "bob", "n", "list", INT64_MIN, (struct troupe_bytes){"\0\1", 2}, "m",
                          (struct troupe_bytes){"\x91\x01", 2}),
                     TROUPE_OK);
    int64_t i = 0, least = 0;
    uint64_t u = 0;
    double f = 0;
    bool b = false;
    const char *s = NULL;
    struct troupe_bytes z = {0}, m = {0};
    assert_int_equal(unpack(buffer.data, buffer.size, "{s:i, s:u, s:f, s:b, s:s, s:n, s:[iz], s:m}", "i", &i, "u", &u,
                            "f", &f, "b", &b, "s", &s, "n", "list", &least, &z, "m", &m),
                     TROUPE_OK);
    assert_true(i == -5 && least == INT64_MIN && u == UINT64_MAX && f == 2.5 && b);
    assert_string_equal(s, "bob");
    assert_int_equal(z.size, 2);
    assert_int_equal(m.size, 2);
    troupe__buffer_free(&buffer);
}

/* Each integer takes the shortest form and comes back. */
static void integers_are_compact_and_round_trip(void **state)
{
    (void)state;
    static const struct {
        int64_t number;
        size_t size;
    } cases[] = {{0, 1},          {127, 1},        {128, 2},       {255, 2},         {256, 3},
                 {65535, 3},      {65536, 5},      {-1, 1},        {-32, 1},         {-33, 2},
                 {-128, 2},       {-129, 3},       {-32768, 3},    {-32769, 5},      {INT32_MIN, 5},
                 {4294967295, 5}, {4294967296, 9}, {INT64_MAX, 9}, {-2147483649, 9}, {INT64_MIN, 9}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct troupe__buffer buffer = {0};
        int64_t got = 1;
        assert_int_equal(pack(&buffer, "i", cases[n].number), TROUPE_OK);
        assert_int_equal(buffer.size, cases[n].size);
        assert_int_equal(unpack(buffer.data, buffer.size, "i", &got), TROUPE_OK);
        assert_true(got == cases[n].number);
        troupe__buffer_free(&buffer);
    }
}

/* Keys may stand in any order; others are ignored; an optional one that is absent leaves all its targets alone. */
static void keys_are_found_in_any_order(void **state)
{
    (void)state;
    int64_t a = 0, b = 0, c = 9, d = 9;
    /* {"x":[1],"b":2,5:6,"a":1} */
    const char body[] = "\x84\xa1x\x91\x01\xa1"
                        "b\x02\x05\x06\xa1"
                        "a\x01";
    assert_int_equal(unpack(body, sizeof body - 1, "{s:i s?:[i{s?:i}] s:i}", "a", &a, "c", &c, "d", &d, "b", &b),
                     TROUPE_OK);
    assert_true(a == 1 && b == 2 && c == 9 && d == 9);
    assert_int_equal(unpack(body, sizeof body - 1, "{s:i}", "gone", &a), TROUPE_ETYPE);
    assert_string_equal(error_text, "key \"gone\": missing");
    assert_int_equal(unpack(body, sizeof body - 1, "{}"), TROUPE_OK);
}

/* A body of another shape is refused, with the key in the text. */
static void wrong_shapes_name_the_key(void **state)
{
    (void)state;
    int64_t i = 0;
    uint64_t u = 0;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(unpack("\x81\xa1"
                            "a\xc3",
                            4, "{s:i}", "a", &i),
                     TROUPE_ETYPE);
    assert_string_equal(error_text, "key \"a\": wanted an integer, got a bool");
    assert_int_equal(unpack("\xff", 1, "u", &u), TROUPE_ETYPE);
    assert_int_equal(unpack("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, "i", &i), TROUPE_ETYPE);
    assert_int_equal(unpack("\x01", 1, "b", &b), TROUPE_ETYPE);
    assert_int_equal(unpack("\xa1\0", 2, "s", &s), TROUPE_ETYPE);
    assert_int_equal(unpack("\x92\x01\x02", 3, "[i]", &i), TROUPE_ETYPE);
    assert_int_equal(unpack("\x01\x02", 2, "i", &i), TROUPE_ETYPE);
    assert_int_equal(unpack("", 0, "i", &i), TROUPE_ETYPE);
}

/* A wrong format is the caller's mistake and leaves the buffer as it was. */
static void wrong_formats_are_refused(void **state)
{
    (void)state;
    static const char *const formats[] = {"", "x", "{", "[", "}", "{n}", "{s}", "[n", "[n}", "nn", "{s?n}", "n]"};
    struct troupe__buffer buffer = {0};
    troupe__buffer_put_byte(&buffer, 1);
    for (size_t n = 0; n < sizeof formats / sizeof *formats; n++) {
        assert_int_equal(pack(&buffer, formats[n], "k", "k"), TROUPE_EINVAL);
        assert_int_equal(buffer.size, 1);
    }
    assert_int_equal(pack(&buffer, "s", (const char *)NULL), TROUPE_EINVAL);
    assert_int_equal(pack(&buffer, "m", (struct troupe_bytes){"\x91", 1}), TROUPE_EINVAL);
    assert_int_equal(unpack("\xc0", 1, "x"), TROUPE_EINVAL);
    assert_int_equal(unpack("\xc0", 1, "nn"), TROUPE_EINVAL);
    assert_int_equal(unpack("\x80", 1, "{n}"), TROUPE_EINVAL);
    troupe__buffer_free(&buffer);
}

/* Sixteen levels work, seventeen do not. */
static void nesting_ends_at_sixteen(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    assert_int_equal(pack(&buffer, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"), TROUPE_OK);
    assert_int_equal(buffer.size, 16);
    assert_int_equal(unpack(buffer.data, buffer.size, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"), TROUPE_OK);
    assert_int_equal(pack(&buffer, "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"), TROUPE_EINVAL);
    troupe__buffer_free(&buffer);
}

/* No prefix of a body is taken for a whole one. */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    char text[300];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(pack(&buffer, "{s:i s:s s:[ufn] s:z}", "a", INT64_MAX, "b", text, "c", (uint64_t)300, 1.5, "d",
                          (struct troupe_bytes){text, 280}),
                     TROUPE_OK);
    for (size_t size = 0; size < buffer.size; size++) {
        int64_t a;
        const char *b;
        struct troupe_bytes c, d;
        assert_int_equal(unpack(buffer.data, size, "{s?:i s?:s s?:m s?:z}", "a", &a, "b", &b, "c", &c, "d", &d),
                         TROUPE_ETYPE);
        assert_true(!troupe__msgpack_valid((struct troupe_bytes){buffer.data, size}, 64));
    }
    assert_true(troupe__msgpack_valid((struct troupe_bytes){buffer.data, buffer.size}, 2));
    assert_true(!troupe__msgpack_valid((struct troupe_bytes){buffer.data, buffer.size}, 1));
    troupe__buffer_free(&buffer);
}

/* Deep nesting and huge counts cost neither stack nor time. */
static void bombs_are_harmless(void **state)
{
    (void)state;
    enum { SIZE = 1000000 };
    unsigned char *bomb = malloc(SIZE);
    assert_true(bomb != NULL);
    struct troupe_bytes m;
    memset(bomb, 0x91, SIZE);
    assert_int_equal(unpack(bomb, SIZE, "m", &m), TROUPE_ETYPE);
    assert_true(!troupe__msgpack_valid((struct troupe_bytes){bomb, SIZE}, 64));
    bomb[SIZE - 1] = 0xc0;
    assert_int_equal(unpack(bomb, SIZE, "m", &m), TROUPE_OK);
    assert_true(!troupe__msgpack_valid((struct troupe_bytes){bomb, SIZE}, 64));
    assert_int_equal(unpack("\xdd\xff\xff\xff\xff", 5, "m", &m), TROUPE_ETYPE);
    assert_int_equal(unpack("\xdf\xff\xff\xff\xff", 5, "{}"), TROUPE_ETYPE);
    assert_int_equal(unpack("\xdb\xff\xff\xff\xff", 5, "m", &m), TROUPE_ETYPE);
    free(bomb);
}

/* Random bytes give an error or a value, and what is valid can be skipped. */
static void random_bytes_never_crash(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 200000; round++) {
        unsigned char body[24];
        for (size_t n = 0; n < sizeof body; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            body[n] = (unsigned char)(seed >> 56);
        }
        body[0] = (round & 1) ? 0x80 | (body[0] & 3) : body[0];
        size_t size = (size_t)(seed >> 40) % (sizeof body + 1);
        int64_t i;
        const char *s;
        struct troupe_bytes m;
        unpack(body, size, "{s?:i s?:[sm]}", "a", &i, "b", &s, &m);
        bool valid = troupe__msgpack_valid((struct troupe_bytes){body, size}, 64);
        assert_int_equal(unpack(body, size, "m", &m), valid ? TROUPE_OK : TROUPE_ETYPE);
    }
}

/* A failed append keeps the buffer failed, and smaller ones do not slip in behind. */
static void buffer_stays_failed(void **state)
{
    (void)state;
    struct troupe__buffer buffer = {0};
    troupe__buffer_put(&buffer, "ab", 2);
    assert_true(!troupe__buffer_reserve(&buffer, SIZE_MAX - 1));
    assert_true(buffer.failed);
    troupe__buffer_put_byte(&buffer, 'c');
    assert_int_equal(buffer.size, 2);
    assert_int_equal(pack(&buffer, "n"), TROUPE_ENOMEM);
    troupe__buffer_free(&buffer);
    assert_null(buffer.data);
}

/* Each error has its text, and so has a number that is none. */
static void errors_have_texts(void **state)
{
    (void)state;
    assert_string_equal(troupe_error_text(TROUPE_OK), "ok");
    assert_string_equal(troupe_error_text(TROUPE_EVERSION), "unsupported version");
    assert_string_equal(troupe_error_text((enum troupe_error)99), "unknown error");
}

/* Heads widen at 16 and at 65,536 elements, also inside of others. */
static void containers_of_every_width_have_the_right_head(void **state)
{
    (void)state;
    static const struct {
        size_t count, head_size;
        unsigned char head[5];
    } cases[] = {{15, 1, {0x9f}},
                 {16, 3, {0xdc, 0, 16}},
                 {65535, 3, {0xdc, 0xff, 0xff}},
                 {65536, 5, {0xdd, 0, 1, 0, 0}},
                 {70000, 5, {0xdd, 0, 1, 0x11, 0x70}}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct troupe__buffer buffer = {0};
        char *format = malloc(cases[n].count + 16);
        size_t at = (size_t)sprintf(format, "[n[");
        memset(format + at, 'n', cases[n].count);
        strcpy(format + at + cases[n].count, "]n]");
        assert_int_equal(pack(&buffer, format), TROUPE_OK);
        assert_int_equal(buffer.size, 2 + cases[n].head_size + cases[n].count + 1);
        assert_memory_equal(buffer.data, "\x93\xc0", 2);
        assert_memory_equal(buffer.data + 2, cases[n].head, cases[n].head_size);
        assert_int_equal(unpack(buffer.data, buffer.size, format), TROUPE_OK);
        free(format);
        troupe__buffer_free(&buffer);
    }
    struct troupe__buffer buffer = {0};
    assert_int_equal(pack(&buffer, "{sn sn sn sn sn sn sn sn sn sn sn sn sn sn sn sn}", "a", "b", "c", "d", "e", "f",
                          "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"),
                     TROUPE_OK);
    assert_int_equal(buffer.size, 3 + 16 * 3);
    assert_memory_equal(buffer.data,
                        "\xde\x00\x10\xa1"
                        "a\xc0",
                        6);
    troupe__buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_letter_round_trips),
        cmocka_unit_test(integers_are_compact_and_round_trip),
        cmocka_unit_test(keys_are_found_in_any_order),
        cmocka_unit_test(wrong_shapes_name_the_key),
        cmocka_unit_test(containers_of_every_width_have_the_right_head),
        cmocka_unit_test(wrong_formats_are_refused),
        cmocka_unit_test(nesting_ends_at_sixteen),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bombs_are_harmless),
        cmocka_unit_test(random_bytes_never_crash),
        cmocka_unit_test(buffer_stays_failed),
        cmocka_unit_test(errors_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
