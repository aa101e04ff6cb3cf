/* part_test.c - a part gives back what was written, and nothing else whatever happened to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/part.h"

static const struct troupe_bytes head = {"who and when", 12};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Row number `i` of a part: tables and keys ascend, keys share beginnings, values are of all sizes. */
static enum troupe__table row_at(unsigned i, unsigned count, char key[64], struct troupe__buffer *value)
{
    uint64_t random = i * 2654435761u + 1;
    snprintf(key, 64, "actor/%08u/%s", i, i % 3 ? "balance" : "b");
    value->size = 0;
    size_t size = i % 97 == 0 ? 0 : i % 501 == 401 ? 300000 : next_random(&random) % 200;
    for (size_t at = 0; at < size; at++) {
        troupe__buffer_put_byte(value, i % 2 ? (unsigned)next_random(&random) & 0xff : 'x');
    }
    return (enum troupe__table)(i * (uint64_t)TROUPE__TABLE_COUNT / count);
}

static void write_part(int fd, unsigned count)
{
    struct troupe__part_writer *writer;
    struct troupe__part_summary summary;
    struct troupe__buffer value = {0};
    char error[256] = "", key[64];
    assert_int_equal(troupe__part_begin(fd, head, &writer, error, sizeof error), TROUPE_OK);
    for (unsigned i = 0; i < count; i++) {
        enum troupe__table table = row_at(i, count, key, &value);
        assert_int_equal(troupe__part_row(writer, table, (struct troupe_bytes){key, strlen(key)},
                                          (struct troupe_bytes){value.data, value.size}, error, sizeof error),
                         TROUPE_OK);
    }
    assert_int_equal(troupe__part_end(writer, &summary, error, sizeof error), TROUPE_OK);
    troupe__part_writer_free(writer);
    troupe__buffer_free(&value);
}

/* Read all of a part; compares each row with the one that was written. Returns how it ended; `*ret_count` rows came. */
static enum troupe_error read_part(int fd, unsigned count, unsigned *ret_count)
{
    struct troupe__part_reader *reader;
    struct troupe_bytes seen_head, seen_key, seen_value;
    enum troupe__table seen_table;
    struct troupe__buffer value = {0};
    char error[256] = "", key[64];
    *ret_count = 0;
    enum troupe_error result = troupe__part_open(fd, &reader, &seen_head, error, sizeof error);
    if (result != TROUPE_OK) {
        assert_true(strlen(error) > 0);
        return result;
    }
    assert_int_equal(seen_head.size, head.size);
    assert_memory_equal(seen_head.data, head.data, head.size);
    while ((result = troupe__part_next(reader, &seen_table, &seen_key, &seen_value, error, sizeof error)) ==
           TROUPE_OK) {
        assert_true(*ret_count < count);
        enum troupe__table table = row_at((*ret_count)++, count, key, &value);
        assert_int_equal(seen_table, table);
        assert_int_equal(seen_key.size, strlen(key));
        assert_memory_equal(seen_key.data, key, seen_key.size);
        assert_int_equal(seen_value.size, value.size);
        if (value.size > 0) {
            assert_memory_equal(seen_value.data, value.data, value.size);
        }
    }
    if (result == TROUPE_ENOTFOUND) {
        assert_int_equal(troupe__part_next(reader, &seen_table, &seen_key, &seen_value, error, sizeof error),
                         TROUPE_ENOTFOUND);
        uint64_t rows = 0;
        for (size_t i = 0; i < TROUPE__TABLE_COUNT; i++) {
            rows += troupe__part_summary(reader)->rows[i];
        }
        assert_int_equal(rows, count);
    } else {
        assert_true(strlen(error) > 0);
    }
    troupe__part_reader_free(reader);
    troupe__buffer_free(&value);
    return result;
}

static int memory_file(void)
{
    int fd = memfd_create("part", 0);
    assert_true(fd >= 0);
    return fd;
}

/* Parts of no row, few rows, and many blocks. */
static void a_part_gives_back_what_was_written(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 100, 20000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int fd = memory_file();
        unsigned count;
        write_part(fd, counts[i]);
        off_t size = lseek(fd, 0, SEEK_END);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(read_part(fd, counts[i], &count), TROUPE_ENOTFOUND);
        assert_int_equal(count, counts[i]);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), size); /* Not a byte beyond: another part may follow in a stream. */
        close(fd);
    }
}

static void *write_into(void *context)
{
    int *fd = context;
    write_part(*fd, 5000);
    close(*fd);
    return NULL;
}

/* Forwards only: it may come through a pipe. */
static void a_part_passes_a_pipe(void **state)
{
    (void)state;
    int ends[2];
    pthread_t thread;
    unsigned count;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_into, &ends[1]), 0);
    enum troupe_error result = read_part(ends[0], 5000, &count);
    close(ends[0]);
    pthread_join(thread, NULL);
    assert_int_equal(result, TROUPE_ENOTFOUND);
    assert_int_equal(count, 5000);
}

/* Every place of a small part, some places of one with many blocks. */
static const struct {
    unsigned rows;
    off_t step;
} sizes[] = {{300, 1}, {6000, 4099}};

/* Cut off anywhere: what came before may be given out, but the end is never reported as good. */
static void a_part_cut_off_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = memory_file();
        unsigned count;
        write_part(fd, sizes[i].rows);
        for (off_t size = lseek(fd, 0, SEEK_END) - 1; size >= 0; size -= sizes[i].step) {
            assert_int_equal(ftruncate(fd, size), 0);
            lseek(fd, 0, SEEK_SET);
            assert_int_equal(read_part(fd, sizes[i].rows, &count), TROUPE_ECORRUPT);
        }
        close(fd);
    }
}

/* Any byte changed in any way: no wrong row comes out, and the end is never reported as good. */
static void a_part_changed_is_found(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = memory_file();
        write_part(fd, sizes[i].rows);
        off_t size = lseek(fd, 0, SEEK_END);
        unsigned char *bytes = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(bytes != MAP_FAILED);
        for (off_t at = 0; at < size; at += sizes[i].step) {
            unsigned char flip = (unsigned char)(1u << next_random(&random) % 8);
            unsigned count;
            if (at >= 12 && at < 16) {
                continue; /* Reserved: ignored by this version. */
            }
            bytes[at] ^= flip;
            lseek(fd, 0, SEEK_SET);
            enum troupe_error result = read_part(fd, sizes[i].rows, &count);
            assert_true(result == TROUPE_ECORRUPT || (result == TROUPE_EVERSION && at >= 8 && at < 12));
            bytes[at] ^= flip;
        }
        munmap(bytes, (size_t)size);
        close(fd);
    }
}

/* A writer takes rows in the order of table and key only, so that two parts can be compared in one pass. */
static void rows_out_of_order_are_refused(void **state)
{
    (void)state;
    struct troupe__part_writer *writer;
    char error[256] = "";
    struct troupe_bytes a = {"a", 1}, b = {"b", 1}, ab = {"ab", 2}, none = {"", 0};
    int fd = memory_file();
    assert_int_equal(troupe__part_begin(fd, head, &writer, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, a, none, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, ab, none, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, b, none, error, sizeof error), TROUPE_OK);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, b, none, error, sizeof error), TROUPE_EINVAL);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, a, none, error, sizeof error), TROUPE_EINVAL);
    assert_int_equal(troupe__part_row(writer, TROUPE__META, b, none, error, sizeof error), TROUPE_EINVAL);
    assert_int_equal(troupe__part_row(writer, TROUPE__STATE, none, a, error, sizeof error), TROUPE_EINVAL);
    assert_int_equal(troupe__part_row(writer, TROUPE__MAIL, a, none, error, sizeof error), TROUPE_OK);
    troupe__part_writer_free(writer);
    close(fd);
}

/* A target without room: the error says so. */
static void a_full_target_is_named(void **state)
{
    (void)state;
    struct troupe__part_writer *writer;
    char error[256] = "";
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(troupe__part_begin(fileno(full), head, &writer, error, sizeof error), TROUPE_ENOSPACE);
    assert_non_null(strstr(error, "No space"));
    fclose(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_gives_back_what_was_written),
        cmocka_unit_test(a_part_passes_a_pipe),
        cmocka_unit_test(a_part_cut_off_is_found),
        cmocka_unit_test(a_part_changed_is_found),
        cmocka_unit_test(rows_out_of_order_are_refused),
        cmocka_unit_test(a_full_target_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
