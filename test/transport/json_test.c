/* json_test.c - JSON lines in and out, honest and hostile.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/msgpack.h"
#include "core/pack.h"
#include "transport/json.h"

static char error_text[256];

/* Text is read from a heap copy of its exact size, so that the sanitizer sees a read beyond it. */
static enum troupe_error parse(const char *text, size_t size, struct troupe__buffer *msgpack)
{
    char *copy = malloc(size > 0 ? size : 1);
    assert_true(copy != NULL);
    memcpy(copy, text, size);
    enum troupe_error error = troupe__json_parse(copy, size, msgpack, error_text, sizeof error_text);
    free(copy);
    return error;
}

static enum troupe_error parse_line(const char *text, size_t size, struct troupe__buffer *scratch,
                                    struct troupe__line *ret)
{
    char *copy = malloc(size > 0 ? size : 1);
    assert_true(copy != NULL);
    memcpy(copy, text, size);
    enum troupe_error error = troupe__line_parse(copy, size, scratch, ret, error_text, sizeof error_text);
    free(copy);
    return error;
}

static void check_round_trip(const char *in, const char *out)
{
    struct troupe__buffer msgpack = {0}, json = {0};
    assert_int_equal(parse(in, strlen(in), &msgpack), TROUPE_OK);
    assert_true(troupe__msgpack_valid((struct troupe_bytes){msgpack.data, msgpack.size}, 64));
    assert_int_equal(troupe__json_write((struct troupe_bytes){msgpack.data, msgpack.size}, &json), TROUPE_OK);
    troupe__buffer_put_byte(&json, 0);
    assert_string_equal((char *)json.data, out);
    troupe__buffer_free(&msgpack);
    troupe__buffer_free(&json);
}

static void check_write(const char *msgpack, size_t size, const char *out)
{
    struct troupe__buffer json = {0};
    assert_int_equal(troupe__json_write((struct troupe_bytes){msgpack, size}, &json), TROUPE_OK);
    troupe__buffer_put_byte(&json, 0);
    assert_string_equal((char *)json.data, out);
    troupe__buffer_free(&json);
}

/* JSON survives the way through msgpack; only spaces and spellings change. */
static void json_round_trips(void **state)
{
    (void)state;
    check_round_trip(" [ ] ", "[]");
    check_round_trip("{\"a\" : [1,-2 ,true,false,null], \"b\":{}}\r\n", "{\"a\":[1,-2,true,false,null],\"b\":{}}");
    check_round_trip("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,[16],\"17\"]",
                     "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,[16],\"17\"]");
    check_round_trip("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\n\\/\\\"\\\\\\u0001\"",
                     "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\n/\\\"\\\\\\u0001\"");
    check_round_trip("\"plain text that is longer than thirty-one bytes \xc3\xa9\"",
                     "\"plain text that is longer than thirty-one bytes \xc3\xa9\"");
}

/* Integers of 64 bits stay integers; all else stays a double, to the last bit. */
static void numbers_round_trip(void **state)
{
    (void)state;
    static const char *const same[] = {"0",
                                       "-1",
                                       "127",
                                       "128",
                                       "-32",
                                       "-33",
                                       "65536",
                                       "-129",
                                       "18446744073709551615",
                                       "-9223372036854775808",
                                       "1.0",
                                       "0.1",
                                       "1.5",
                                       "-0.0",
                                       "1e+20",
                                       "1e-07",
                                       "4.94065645841247e-324",
                                       "1.7976931348623157e+308",
                                       "0.30000000000000004",
                                       "-2.0"};
    for (size_t n = 0; n < sizeof same / sizeof *same; n++) {
        check_round_trip(same[n], same[n]);
    }
    check_round_trip("18446744073709551616", "1.8446744073709552e+19");
    check_round_trip("1E2", "100.0");
    check_round_trip("-0", "0");
    check_round_trip("123456789012345678901234567890e-10", "1.2345678901234567e+19");
}

/* Doubles of random bits are written in a form that reads back as the same bits. */
static void random_doubles_round_trip(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = seed ^ seed >> 29;
        if ((bits >> 52 & 0x7ff) == 0x7ff) {
            continue;
        }
        unsigned char packed[9] = {0xcb};
        troupe__put_be64(packed + 1, bits);
        struct troupe__buffer json = {0}, again = {0};
        assert_int_equal(troupe__json_write((struct troupe_bytes){packed, 9}, &json), TROUPE_OK);
        assert_int_equal(parse((char *)json.data, json.size, &again), TROUPE_OK);
        assert_int_equal(again.size, 9);
        assert_memory_equal(again.data, packed, 9);
        troupe__buffer_free(&json);
        troupe__buffer_free(&again);
    }
}

/* What RFC 8259 does not allow is refused, and the buffer stays as it was. */
static void wrong_json_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        "01",
                                        "-",
                                        "1.",
                                        ".5",
                                        "1e",
                                        "+1",
                                        "1e999",
                                        "nul",
                                        "truex",
                                        "[1,]",
                                        "[,1]",
                                        "{\"a\"}",
                                        "{a:1}",
                                        "{\"a\":1,}",
                                        "[1",
                                        "{",
                                        "\"",
                                        "\"\\x\"",
                                        "\"\\",
                                        "\"\\u12\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\\ud800\\u0041\"",
                                        "\"\t\"",
                                        "1 2",
                                        "[1}",
                                        "NaN",
                                        "'a'",
                                        "\"\x80\"",
                                        "\"\xc0\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf5\x80\x80\x80\"",
                                        "\"\xe2\x82\"",
                                        "// c\n1"};
    struct troupe__buffer msgpack = {0};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        assert_int_equal(parse(wrong[n], strlen(wrong[n]), &msgpack), TROUPE_EINVAL);
        assert_int_equal(msgpack.size, 0);
    }
    assert_int_equal(parse("[1, x]", 6, &msgpack), TROUPE_EINVAL);
    assert_string_equal(error_text, "column 5: not a JSON value");
    troupe__buffer_free(&msgpack);
}

/* Containers get the head their size needs: 1, 3 or 5 bytes. */
static void large_containers_get_wider_heads(void **state)
{
    (void)state;
    static const struct {
        size_t count, size;
    } cases[] = {{15, 16}, {16, 19}, {65535, 65538}, {65536, 65541}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct troupe__buffer json = {0}, msgpack = {0};
        for (size_t i = 0; i < cases[n].count; i++) {
            troupe__buffer_put(&json, i == 0 ? "[1" : ",1", 2);
        }
        troupe__buffer_put_byte(&json, ']');
        assert_int_equal(parse((char *)json.data, json.size, &msgpack), TROUPE_OK);
        assert_int_equal(msgpack.size, cases[n].size);
        assert_true(troupe__msgpack_valid((struct troupe_bytes){msgpack.data, msgpack.size}, 1));
        troupe__buffer_free(&json);
        troupe__buffer_free(&msgpack);
    }
}

/* Nesting of 64 works both ways, of 65 it is refused, and a bomb too. */
static void nesting_ends_at_sixty_four(void **state)
{
    (void)state;
    enum { SIZE = 100000 };
    char *bomb = malloc(SIZE);
    struct troupe__buffer msgpack = {0};
    assert_true(bomb != NULL);
    memset(bomb, '[', SIZE);
    assert_int_equal(parse(bomb, SIZE, &msgpack), TROUPE_EINVAL);
    memset(bomb + 64, ']', 64);
    assert_int_equal(parse(bomb, 128, &msgpack), TROUPE_OK);
    memset(bomb + 64, '[', 1);
    memset(bomb + 65, ']', 65);
    msgpack.size = 0;
    assert_int_equal(parse(bomb, 130, &msgpack), TROUPE_EINVAL);
    memset(bomb, 0x91, SIZE);
    bomb[64] = (char)0xc0;
    assert_int_equal(troupe__json_write((struct troupe_bytes){bomb, 65}, &msgpack), TROUPE_OK);
    bomb[64] = (char)0x90;
    assert_int_equal(troupe__json_write((struct troupe_bytes){bomb, 65}, &msgpack), TROUPE_ECORRUPT);
    assert_int_equal(troupe__json_write((struct troupe_bytes){bomb, SIZE}, &msgpack), TROUPE_ECORRUPT);
    troupe__buffer_free(&msgpack);
    free(bomb);
}

/* What JSON does not have is written in the documented forms. */
static void msgpack_beyond_json_is_written(void **state)
{
    (void)state;
    check_write("\xc4\x02\xff\x01", 4, "{\"$bin\":\"/wE=\"}");
    check_write("\xd4\xff\x61", 3, "{\"$ext\":[-1,\"YQ==\"]}");
    check_write("\xcb\x7f\xf0\0\0\0\0\0\0", 9, "null");
    check_write("\xca\x3f\x80\0\0", 5, "1.0");
    check_write("\xa2\xff"
                "a",
                3,
                "\"\xef\xbf\xbd"
                "a\"");
    check_write("\x82\x05\xc3\xc0\x01", 5, "{\"5\":true,\"null\":1}");
    check_write("\x81\x90\x01", 3, "{\"kA==\":1}");
}

/* A whole line, its members in any order and spelling. */
static void a_line_is_taken_apart(void **state)
{
    (void)state;
    struct troupe__buffer scratch = {0};
    struct troupe__line line;
    const char text[] =
        "{\"id\":\"o-1\",\"to\":\"bank/account/al/ice\",\"type\":\"deposit\",\"body\":{\"amount\":5}}\n";
    assert_int_equal(parse_line(text, strlen(text), &scratch, &line), TROUPE_OK);
    assert_string_equal(line.id, "o-1");
    assert_string_equal(line.to_type, "bank/account");
    assert_string_equal(line.to_key, "al/ice");
    assert_string_equal(line.type, "deposit");
    assert_int_equal(line.body.size, 9);
    assert_memory_equal(line.body.data,
                        "\x81\xa6"
                        "amount\x05",
                        9);
    const char bare[] = "{\"t\\u0079pe\":\"x\",\"to\":\"a\\/b/\xc3\xa9\"}";
    assert_int_equal(parse_line(bare, strlen(bare), &scratch, &line), TROUPE_OK);
    assert_null(line.id);
    assert_string_equal(line.to_type, "a/b");
    assert_string_equal(line.to_key, "\xc3\xa9");
    assert_string_equal(line.type, "x");
    assert_int_equal(line.body.size, 1);
    assert_memory_equal(line.body.data, "\xc0", 1);
    troupe__buffer_free(&scratch);
}

/* A line that is not a message is refused with its column. */
static void wrong_lines_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"to\":\"a/b/c\"}",
                                        "{\"type\":\"x\"}",
                                        "{\"to\":\"a/b\",\"type\":\"x\"}",
                                        "{\"to\":\"a/b/\",\"type\":\"x\"}",
                                        "{\"to\":\"/b/c\",\"type\":\"x\"}",
                                        "{\"to\":\"a//c\",\"type\":\"x\"}",
                                        "{\"to\":\"a/b/c\",\"type\":\"\"}",
                                        "{\"to\":\"a/b/c\",\"type\":5}",
                                        "{\"to\":\"a/b/c\\u0000\",\"type\":\"x\"}",
                                        "{\"to\":\"a/b/c\",\"to\":\"a/b/c\",\"type\":\"x\"}",
                                        "{\"to\":\"a/b/c\",\"type\":\"x\",\"more\":1}",
                                        "{\"to\":\"a/b/c\",\"type\":\"x\"} x",
                                        "{\"to\":\"a/b/c\",\"type\":\"x\",}"};
    struct troupe__buffer scratch = {0};
    struct troupe__line line = {.type = "untouched"};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        assert_int_equal(parse_line(wrong[n], strlen(wrong[n]), &scratch, &line), TROUPE_EINVAL);
        assert_memory_equal(error_text, "column ", 7);
    }
    assert_string_equal(line.type, "untouched");
    assert_int_equal(parse_line(wrong[5], strlen(wrong[5]), &scratch, &line), TROUPE_EINVAL);
    assert_string_equal(error_text, "column 7: \"to\" must be namespace/name/key: a slash is missing");
    troupe__buffer_free(&scratch);
}

/* The limits hold to the byte: 63 of a type, 255 of a key, 63 of a message's name. */
static void limits_hold_to_the_byte(void **state)
{
    (void)state;
    static const struct {
        int name, key, type;
        enum troupe_error error;
    } cases[] = {{61, 255, 63, TROUPE_OK},
                 {62, 255, 63, TROUPE_EINVAL},
                 {61, 256, 63, TROUPE_EINVAL},
                 {61, 255, 64, TROUPE_EINVAL}};
    char x[300], text[1000];
    struct troupe__buffer scratch = {0};
    struct troupe__line line;
    memset(x, 'x', sizeof x);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        int size = snprintf(text, sizeof text, "{\"to\":\"n/%.*s/%.*s\",\"type\":\"%.*s\"}", cases[n].name, x,
                            cases[n].key, x, cases[n].type, x);
        assert_int_equal(parse_line(text, (size_t)size, &scratch, &line), cases[n].error);
    }
    troupe__buffer_free(&scratch);
}

/* A body over the limit is TROUPE_ETOOBIG, not a mistake in the line. */
static void a_big_body_is_too_big(void **state)
{
    (void)state;
    struct troupe__buffer text = {0}, scratch = {0};
    struct troupe__line line;
    const char head[] = "{\"to\":\"a/b/c\",\"type\":\"x\",\"body\":\"";
    troupe__buffer_put(&text, head, strlen(head));
    assert_true(troupe__buffer_reserve(&text, TROUPE_BODY_MAX));
    memset(text.data + text.size, 'x', TROUPE_BODY_MAX);
    text.size += TROUPE_BODY_MAX;
    troupe__buffer_put(&text, "\"}", 2);
    assert_int_equal(parse_line((char *)text.data, text.size, &scratch, &line), TROUPE_ETOOBIG);
    troupe__buffer_free(&text);
    troupe__buffer_free(&scratch);
}

/* No prefix of a line or of a packed value is taken for a whole one. */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char text[] =
        "{\"id\":\"\\ud83d\\ude00\",\"to\":\"a/b/\xe2\x82\xac\",\"type\":\"t\",\"body\":[1.5e3,{\"a\":true}]}";
    struct troupe__buffer scratch = {0}, json = {0};
    struct troupe__line line;
    for (size_t size = 0; size < strlen(text); size++) {
        assert_int_equal(parse_line(text, size, &scratch, &line), TROUPE_EINVAL);
    }
    assert_int_equal(parse_line(text, strlen(text), &scratch, &line), TROUPE_OK);
    for (size_t size = 0; size < line.body.size; size++) {
        assert_int_equal(troupe__json_write((struct troupe_bytes){line.body.data, size}, &json), TROUPE_ECORRUPT);
        assert_int_equal(json.size, 0);
    }
    troupe__buffer_free(&scratch);
    troupe__buffer_free(&json);
}

/* Random msgpack and mutated lines give an error or a value; what is written is JSON again. */
static void random_bytes_never_crash(void **state)
{
    (void)state;
    const char text[] = "{\"id\":\"a\\u00e9\",\"to\":\"a/b/c\",\"type\":\"t\",\"body\":[1.5e3,{\"a\":true}]}";
    uint64_t seed = 1;
    struct troupe__buffer scratch = {0}, json = {0}, again = {0};
    for (int round = 0; round < 100000; round++) {
        unsigned char body[24];
        char mutated[sizeof text];
        struct troupe__line line;
        memcpy(mutated, text, sizeof text);
        for (size_t n = 0; n < sizeof body; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            body[n] = (unsigned char)(seed >> 56);
        }
        mutated[body[0] % strlen(text)] = (char)body[1];
        mutated[body[2] % strlen(text)] = text[body[3] % strlen(text)];
        parse_line(mutated, strlen(text), &scratch, &line);
        json.size = again.size = 0;
        struct troupe_bytes packed = {body, (size_t)body[4] % sizeof body};
        bool valid = troupe__msgpack_valid(packed, 64);
        assert_int_equal(troupe__json_write(packed, &json), valid ? TROUPE_OK : TROUPE_ECORRUPT);
        if (valid) {
            assert_int_equal(parse((char *)json.data, json.size, &again), TROUPE_OK);
        }
    }
    troupe__buffer_free(&scratch);
    troupe__buffer_free(&json);
    troupe__buffer_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_round_trips),
        cmocka_unit_test(numbers_round_trip),
        cmocka_unit_test(random_doubles_round_trip),
        cmocka_unit_test(wrong_json_is_refused),
        cmocka_unit_test(large_containers_get_wider_heads),
        cmocka_unit_test(nesting_ends_at_sixty_four),
        cmocka_unit_test(msgpack_beyond_json_is_written),
        cmocka_unit_test(a_line_is_taken_apart),
        cmocka_unit_test(wrong_lines_are_refused),
        cmocka_unit_test(limits_hold_to_the_byte),
        cmocka_unit_test(a_big_body_is_too_big),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(random_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
