/* part_fuzz.c - a part of a snapshot, whatever it holds, is refused or read to its end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The checksums would keep nearly every input out: those of the blocks are put right first. */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* See state/part.c: 16 bytes, then blocks of a header of 24 and a payload. */
static void put_checksums(unsigned char *at, size_t size)
{
    for (size_t place = 16; place + 24 <= size;) {
        const unsigned char *header = at + place;
        size_t stored = (size_t)header[8] << 24 | (size_t)header[9] << 16 | (size_t)header[10] << 8 | header[11];
        if (stored > size - place - 24) {
            return;
        }
        unsigned char both[24];
        memcpy(both, header, 16);
        troupe__put_be64(both + 16, troupe__hash(header + 24, stored));
        troupe__put_be64(at + place + 16, troupe__hash(both, sizeof both));
        place += 24 + stored;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[300] = "";
    struct troupe__part_reader *reader;
    struct troupe_bytes head, key, value;
    enum troupe__table table;
    uint64_t rows = 0, bytes = 0;
    unsigned char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    put_checksums(copy, size);
    int fd = memfd_create("part", 0);
    assert(fd >= 0);
    ssize_t written = write(fd, copy, size);
    assert(written == (ssize_t)size);
    lseek(fd, 0, SEEK_SET);
    enum troupe_error result = troupe__part_open(fd, &reader, &head, error, sizeof error);
    if (result == TROUPE_OK) {
        while ((result = troupe__part_next(reader, &table, &key, &value, error, sizeof error)) == TROUPE_OK) {
            rows++;
            bytes += key.size + value.size;
            (void)troupe__hash(key.data, key.size);
            (void)troupe__hash(value.data, value.size);
        }
        if (result == TROUPE_ENOTFOUND) {
            const struct troupe__part_summary *summary = troupe__part_summary(reader);
            for (int i = 0; i < TROUPE__TABLE_COUNT; i++) {
                rows -= summary->rows[i];
            }
            assert(rows == 0 && bytes == summary->row_bytes);
        }
        troupe__part_reader_free(reader);
    }
    assert(result != TROUPE_OK && (error[0] || result == TROUPE_ENOTFOUND));
    close(fd);
    free(copy);
    return 0;
}
