/* part.c - one node's rows at a cut, as a stream of blocks: what a snapshot is made of.
 * SPDX-License-Identifier: Apache-2.0
 *
 * stream  "troupeS" NUL, version (4), 0 (4), then blocks: one of kind H, any number of R, one of E
 * block   kind (1), codec (1: 0 as it is, 1 zstd), 0 (2), size of the payload (4), size as stored (4), number from 0
 * (4), checksum (8): XXH3 of the 16 bytes before it and the XXH3 of the stored payload (8); then the stored payload
 * rows    table (1), varint bytes shared with the key before (0 at the start of a block and where the table changes),
 *         counted string: the rest of the key, counted string: the value
 * end     varint count of tables, of each a varint of rows; varint bytes of keys and values; varint blocks; chain (8):
 *         XXH3 of the chain before (8, 0 at first) and the block's checksum (8), over all blocks before
 * All integers big-endian; varints LEB128. */
#include "state/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

enum {
    PREAMBLE_SIZE = 16,
    HEADER_SIZE = 24,
    ZSTD_LEVEL = 1, /* level 3 takes more than twice the time, for 1 % fewer bytes of half random ones */
    CODEC_NONE = 0,
    CODEC_ZSTD = 1,
    PUSH_SIZE = 1 << 22, /* bytes after which the disk is told to begin with them: see push_out */
};

static const unsigned char magic[8] = "troupeS";

struct troupe__part_writer {
    int fd;
    ZSTD_CCtx *compressor;
    struct troupe__buffer rows, stored, last_key;
    enum troupe__table last_table;
    bool any_row, block_empty;
    uint32_t number;
    size_t written; /* since the last push */
    struct troupe__part_summary summary;
};

struct troupe__part_reader {
    int fd;
    ZSTD_DCtx *decompressor;
    struct troupe__buffer head, stored, rows, key;
    struct troupe__buffer raw;         /* of the head: its block as it came */
    unsigned char header[HEADER_SIZE]; /* of the last block */
    struct troupe__cursor cursor;      /* in rows */
    enum troupe__table last_table;
    bool any_row, block_start, ended, failed;
    uint32_t number;
    struct troupe__part_summary seen, summary;
};

static void put_be32(unsigned char *to, uint32_t number)
{
    troupe__put_be16(to, (uint16_t)(number >> 16));
    troupe__put_be16(to + 2, (uint16_t)number);
}

static uint32_t get_be32(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* Of a header whose first 16 bytes are set. */
static uint64_t block_checksum(const unsigned char *header, const void *stored, size_t size)
{
    unsigned char both[24];
    memcpy(both, header, 16);
    troupe__put_be64(both + 16, troupe__hash(stored, size));
    return troupe__hash(both, sizeof both);
}

static uint64_t chain_on(uint64_t chain, uint64_t checksum)
{
    unsigned char both[16];
    troupe__put_be64(both, chain);
    troupe__put_be64(both + 8, checksum);
    return troupe__hash(both, sizeof both);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static enum troupe_error fail_write(int code, char *error, size_t error_size)
{
    snprintf(error, error_size, "write snapshot: %s", strerror(code));
    return code == ENOSPC || code == EDQUOT ? TROUPE_ENOSPACE : code == ENOMEM ? TROUPE_ENOMEM : TROUPE_EIO;
}

static enum troupe_error write_all(int fd, const void *data, size_t size, char *error, size_t error_size)
{
    for (const char *at = data; size > 0;) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return fail_write(done < 0 ? errno : ENOSPC, error, error_size);
        }
        at += done;
        size -= (size_t)done;
    }
    return TROUPE_OK;
}

/* Have what is written go to the disk now and then, without waiting for it. All of it at the end's sync would be a
 * hundred megabytes ahead of every commit. */
static void push_out(struct troupe__part_writer *writer, size_t size)
{
    writer->written += size;
    if (writer->written >= PUSH_SIZE) {
        writer->written = 0;
        (void)sync_file_range(writer->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* No file, as a pipe: nothing to do. */
    }
}

static enum troupe_error write_block(struct troupe__part_writer *writer, char kind, struct troupe_bytes payload,
                                     char *error, size_t error_size)
{
    unsigned char header[HEADER_SIZE] = {(unsigned char)kind, CODEC_NONE};
    if (payload.size > TROUPE__PART_BLOCK_MAX) {
        snprintf(error, error_size, "write snapshot: %zu bytes are over the limit of %d for a block", payload.size,
                 TROUPE__PART_BLOCK_MAX);
        return TROUPE_ETOOBIG;
    }
    struct troupe_bytes stored = payload;
    size_t bound = ZSTD_compressBound(payload.size);
    writer->stored.size = 0;
    if (!troupe__buffer_reserve(&writer->stored, bound)) {
        return fail_write(ENOMEM, error, error_size);
    }
    size_t size =
        ZSTD_compressCCtx(writer->compressor, writer->stored.data, bound, payload.data, payload.size, ZSTD_LEVEL);
    if (!ZSTD_isError(size) && size < payload.size) {
        header[1] = CODEC_ZSTD;
        stored = (struct troupe_bytes){writer->stored.data, size};
    }
    put_be32(header + 4, (uint32_t)payload.size);
    put_be32(header + 8, (uint32_t)stored.size);
    put_be32(header + 12, writer->number++);
    uint64_t checksum = block_checksum(header, stored.data, stored.size);
    troupe__put_be64(header + 16, checksum);
    writer->summary.chain = chain_on(writer->summary.chain, checksum);
    writer->summary.blocks++;
    enum troupe_error result = write_all(writer->fd, header, sizeof header, error, error_size);
    result = result == TROUPE_OK ? write_all(writer->fd, stored.data, stored.size, error, error_size) : result;
    push_out(writer, stored.size);
    return result;
}

enum troupe_error troupe__part_begin(int fd, struct troupe_bytes head, struct troupe__part_writer **ret, char *error,
                                     size_t error_size)
{
    struct troupe__part_writer *writer = calloc(1, sizeof *writer);
    if (!writer || !(writer->compressor = ZSTD_createCCtx())) {
        free(writer);
        return fail_write(ENOMEM, error, error_size);
    }
    unsigned char preamble[PREAMBLE_SIZE] = {0};
    memcpy(preamble, magic, sizeof magic);
    put_be32(preamble + 8, TROUPE__PART_VERSION);
    writer->fd = fd;
    writer->block_empty = true;
    enum troupe_error result = write_all(fd, preamble, sizeof preamble, error, error_size);
    result = result == TROUPE_OK ? write_block(writer, 'H', head, error, error_size) : result;
    if (result != TROUPE_OK) {
        troupe__part_writer_free(writer);
        return result;
    }
    *ret = writer;
    return TROUPE_OK;
}

static enum troupe_error flush_rows(struct troupe__part_writer *writer, char *error, size_t error_size)
{
    if (writer->rows.failed || writer->last_key.failed) {
        return fail_write(ENOMEM, error, error_size);
    }
    if (writer->rows.size == 0) {
        return TROUPE_OK;
    }
    struct troupe_bytes rows = {writer->rows.data, writer->rows.size};
    enum troupe_error result = write_block(writer, 'R', rows, error, error_size);
    writer->rows.size = 0;
    writer->block_empty = true;
    return result;
}

static size_t shared_size(const struct troupe__buffer *before, struct troupe_bytes key)
{
    size_t size = 0;
    while (size < before->size && size < key.size && before->data[size] == ((const unsigned char *)key.data)[size]) {
        size++;
    }
    return size;
}

/* Whether `key` comes behind `before`, of which it shares `shared` bytes. */
static bool ascends(const struct troupe__buffer *before, struct troupe_bytes key, size_t shared)
{
    return shared < key.size &&
           (shared == before->size || before->data[shared] < ((const unsigned char *)key.data)[shared]);
}

enum troupe_error troupe__part_row(struct troupe__part_writer *writer, enum troupe__table table,
                                   struct troupe_bytes key, struct troupe_bytes value, char *error, size_t error_size)
{
    size_t size = key.size + value.size;
    if (writer->rows.size > 0 && writer->rows.size + size > TROUPE__PART_BLOCK_SIZE) {
        enum troupe_error result = flush_rows(writer, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    bool follows = writer->any_row && writer->last_table == table;
    size_t shared = follows ? shared_size(&writer->last_key, key) : 0;
    if (key.size == 0 || key.size > TROUPE__ROW_KEY_MAX || (unsigned)table >= TROUPE__TABLE_COUNT ||
        (writer->any_row && table < writer->last_table) || (follows && !ascends(&writer->last_key, key, shared))) {
        snprintf(error, error_size, "write snapshot: a row of table %d is out of order or its key has %zu bytes",
                 (int)table, key.size);
        return TROUPE_EINVAL;
    }
    shared = writer->block_empty ? 0 : shared;
    troupe__buffer_put_byte(&writer->rows, table);
    troupe__buffer_put_varint(&writer->rows, shared);
    troupe__buffer_put_string(&writer->rows, (const char *)key.data + shared, key.size - shared);
    troupe__buffer_put_string(&writer->rows, value.data, value.size);
    writer->last_key.size = 0;
    troupe__buffer_put(&writer->last_key, key.data, key.size);
    writer->last_table = table;
    writer->any_row = true;
    writer->block_empty = false;
    writer->summary.rows[table]++;
    writer->summary.row_bytes += size;
    return writer->rows.failed || writer->last_key.failed ? fail_write(ENOMEM, error, error_size) : TROUPE_OK;
}

enum troupe_error troupe__part_end(struct troupe__part_writer *writer, struct troupe__part_summary *ret, char *error,
                                   size_t error_size)
{
    enum troupe_error result = flush_rows(writer, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__part_summary summary = writer->summary;
    unsigned char chain[8];
    troupe__put_be64(chain, summary.chain);
    troupe__buffer_put_varint(&writer->rows, TROUPE__TABLE_COUNT);
    for (size_t i = 0; i < TROUPE__TABLE_COUNT; i++) {
        troupe__buffer_put_varint(&writer->rows, summary.rows[i]);
    }
    troupe__buffer_put_varint(&writer->rows, summary.row_bytes);
    troupe__buffer_put_varint(&writer->rows, summary.blocks);
    troupe__buffer_put(&writer->rows, chain, sizeof chain);
    if (writer->rows.failed) {
        return fail_write(ENOMEM, error, error_size);
    }
    struct troupe_bytes end = {writer->rows.data, writer->rows.size};
    result = write_block(writer, 'E', end, error, error_size);
    struct stat status;
    if (result == TROUPE_OK && fstat(writer->fd, &status) == 0 && S_ISREG(status.st_mode) && fsync(writer->fd)) {
        result = fail_write(errno, error, error_size);
    }
    if (result == TROUPE_OK) {
        *ret = summary;
    }
    return result;
}

void troupe__part_writer_free(struct troupe__part_writer *writer)
{
    if (writer) {
        ZSTD_freeCCtx(writer->compressor);
        troupe__buffer_free(&writer->rows);
        troupe__buffer_free(&writer->stored);
        troupe__buffer_free(&writer->last_key);
        free(writer);
    }
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static enum troupe_error damaged(const struct troupe__part_reader *reader, const char *what, char *error,
                                 size_t error_size)
{
    snprintf(error, error_size, "read snapshot: block %u: %s: the file is damaged, use another snapshot",
             reader->number, what);
    return TROUPE_ECORRUPT;
}

static enum troupe_error read_all(struct troupe__part_reader *reader, void *to, size_t size, char *error,
                                  size_t error_size)
{
    for (char *at = to; size > 0;) {
        ssize_t done = read(reader->fd, at, size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            snprintf(error, error_size, "read snapshot: %s", strerror(errno));
            return TROUPE_EIO;
        }
        if (done == 0) {
            return damaged(reader, "it is cut off", error, error_size);
        }
        at += done;
        size -= (size_t)done;
    }
    return TROUPE_OK;
}

static enum troupe_error out_of_memory(char *error, size_t error_size)
{
    snprintf(error, error_size, "read snapshot: out of memory");
    return TROUPE_ENOMEM;
}

/* Read the next block, checked and unpacked into `to`. Memory grows with what has come, never by a size that was only
 * announced. */
static enum troupe_error read_block(struct troupe__part_reader *reader, struct troupe__buffer *to, char *ret_kind,
                                    char *error, size_t error_size)
{
    unsigned char header[HEADER_SIZE];
    enum troupe_error result = read_all(reader, header, sizeof header, error, error_size);
    if (result != TROUPE_OK) {
        return result;
    }
    size_t size = get_be32(header + 4), stored = get_be32(header + 8);
    if (header[1] > CODEC_ZSTD || header[2] || header[3] || size > TROUPE__PART_BLOCK_MAX || stored > size ||
        (header[1] == CODEC_NONE && stored != size) || get_be32(header + 12) != reader->number) {
        return damaged(reader, "its header is wrong", error, error_size);
    }
    reader->stored.size = 0;
    while (reader->stored.size < stored) {
        size_t left = stored - reader->stored.size, step = left < (1 << 20) ? left : 1 << 20;
        if (!troupe__buffer_reserve(&reader->stored, step)) {
            return out_of_memory(error, error_size);
        }
        result = read_all(reader, reader->stored.data + reader->stored.size, step, error, error_size);
        if (result != TROUPE_OK) {
            return result;
        }
        reader->stored.size += step;
    }
    uint64_t checksum = troupe__get_be64(header + 16);
    if (block_checksum(header, reader->stored.data, stored) != checksum) {
        return damaged(reader, "its checksum is wrong", error, error_size);
    }
    to->size = 0;
    if (!troupe__buffer_reserve(to, size > 0 ? size : 1)) {
        return out_of_memory(error, error_size);
    }
    if (header[1] == CODEC_ZSTD) {
        size_t got = ZSTD_decompressDCtx(reader->decompressor, to->data, size, reader->stored.data, stored);
        if (ZSTD_isError(got) || got != size) {
            return damaged(reader, "it cannot be unpacked", error, error_size);
        }
    } else if (size > 0) {
        memcpy(to->data, reader->stored.data, size);
    }
    to->size = size;
    reader->number++;
    memcpy(reader->header, header, sizeof header);
    *ret_kind = (char)header[0];
    if (*ret_kind != 'E') {
        reader->seen.chain = chain_on(reader->seen.chain, checksum);
        reader->seen.blocks++;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__part_open(int fd, struct troupe__part_reader **ret, struct troupe_bytes *ret_head,
                                    char *error, size_t error_size)
{
    struct troupe__part_reader *reader = calloc(1, sizeof *reader);
    if (!reader || !(reader->decompressor = ZSTD_createDCtx())) {
        free(reader);
        return out_of_memory(error, error_size);
    }
    reader->fd = fd;
    unsigned char preamble[PREAMBLE_SIZE];
    char kind = 0;
    enum troupe_error result = read_all(reader, preamble, sizeof preamble, error, error_size);
    if (result == TROUPE_OK && memcmp(preamble, magic, sizeof magic) != 0) {
        snprintf(error, error_size, "read snapshot: this is no snapshot");
        result = TROUPE_ECORRUPT;
    } else if (result == TROUPE_OK && get_be32(preamble + 8) != TROUPE__PART_VERSION) {
        snprintf(error, error_size, "read snapshot: format %u, this program knows %d: use the one that wrote it",
                 get_be32(preamble + 8), TROUPE__PART_VERSION);
        result = TROUPE_EVERSION;
    }
    result = result == TROUPE_OK ? read_block(reader, &reader->head, &kind, error, error_size) : result;
    if (result == TROUPE_OK && kind != 'H') {
        result = damaged(reader, "it is no head", error, error_size);
    }
    if (result == TROUPE_OK) {
        troupe__buffer_put(&reader->raw, preamble, sizeof preamble);
        troupe__buffer_put(&reader->raw, reader->header, sizeof reader->header);
        troupe__buffer_put(&reader->raw, reader->stored.data, reader->stored.size);
        result = reader->raw.failed ? out_of_memory(error, error_size) : TROUPE_OK;
    }
    if (result != TROUPE_OK) {
        troupe__part_reader_free(reader);
        return result;
    }
    *ret_head = (struct troupe_bytes){reader->head.data, reader->head.size};
    *ret = reader;
    return TROUPE_OK;
}

/* The last block is in `rows`: compare what it says with what came. */
static enum troupe_error check_end(struct troupe__part_reader *reader, char *error, size_t error_size)
{
    struct troupe__cursor cursor = {reader->rows.data, reader->rows.data + reader->rows.size, false};
    struct troupe__part_summary *said = &reader->summary;
    uint64_t tables = troupe__cursor_varint(&cursor);
    for (uint64_t i = 0; i < tables && i < TROUPE__TABLE_COUNT; i++) {
        said->rows[i] = troupe__cursor_varint(&cursor);
    }
    said->row_bytes = troupe__cursor_varint(&cursor);
    said->blocks = troupe__cursor_varint(&cursor);
    const unsigned char *chain = troupe__cursor_bytes(&cursor, 8);
    said->chain = chain ? troupe__get_be64(chain) : 0;
    if (cursor.failed || cursor.at != cursor.end || tables > TROUPE__TABLE_COUNT ||
        memcmp(said, &reader->seen, sizeof *said) != 0) {
        return damaged(reader, "the end does not fit what came before it", error, error_size);
    }
    reader->ended = true;
    return TROUPE_ENOTFOUND;
}

static enum troupe_error next_row(struct troupe__part_reader *reader, enum troupe__table *ret_table,
                                  struct troupe_bytes *ret_value, char *error, size_t error_size)
{
    struct troupe__cursor *cursor = &reader->cursor;
    const unsigned char *table = troupe__cursor_bytes(cursor, 1);
    size_t shared = (size_t)troupe__cursor_varint(cursor), rest_size, value_size;
    const unsigned char *rest = troupe__cursor_string(cursor, &rest_size);
    const unsigned char *value = troupe__cursor_string(cursor, &value_size);
    if (cursor->failed || *table >= TROUPE__TABLE_COUNT || rest_size == 0 || rest_size > TROUPE__ROW_KEY_MAX ||
        shared > reader->key.size || shared + rest_size > TROUPE__ROW_KEY_MAX ||
        (shared > 0 && (reader->block_start || *table != reader->last_table)) ||
        (reader->any_row && *table < reader->last_table)) {
        return damaged(reader, "a row is malformed", error, error_size);
    }
    if (reader->any_row && *table == reader->last_table) {
        size_t left = reader->key.size - shared, common = left < rest_size ? left : rest_size;
        int order = memcmp(reader->key.data + shared, rest, common);
        if (order > 0 || (order == 0 && rest_size <= left)) {
            return damaged(reader, "a row is out of order", error, error_size);
        }
    }
    reader->key.size = shared;
    troupe__buffer_put(&reader->key, rest, rest_size);
    if (reader->key.failed) {
        return out_of_memory(error, error_size);
    }
    reader->last_table = (enum troupe__table) * table;
    reader->any_row = true;
    reader->block_start = false;
    reader->seen.rows[*table]++;
    reader->seen.row_bytes += reader->key.size + value_size;
    *ret_table = reader->last_table;
    *ret_value = (struct troupe_bytes){value, value_size};
    return TROUPE_OK;
}

enum troupe_error troupe__part_next(struct troupe__part_reader *reader, enum troupe__table *ret_table,
                                    struct troupe_bytes *ret_key, struct troupe_bytes *ret_value, char *error,
                                    size_t error_size)
{
    enum troupe_error result = TROUPE_OK;
    if (reader->ended) {
        return TROUPE_ENOTFOUND;
    }
    if (reader->failed) {
        snprintf(error, error_size, "read snapshot: it failed before");
        return TROUPE_ECORRUPT;
    }
    while (result == TROUPE_OK && reader->cursor.at == reader->cursor.end) {
        char kind = 0;
        result = read_block(reader, &reader->rows, &kind, error, error_size);
        if (result == TROUPE_OK && kind == 'E') {
            result = check_end(reader, error, error_size);
        } else if (result == TROUPE_OK && kind == 'R') {
            reader->cursor = (struct troupe__cursor){reader->rows.data, reader->rows.data + reader->rows.size, false};
            reader->block_start = true;
        } else if (result == TROUPE_OK) {
            result = damaged(reader, "its kind is unknown", error, error_size);
        }
    }
    result = result == TROUPE_OK ? next_row(reader, ret_table, ret_value, error, error_size) : result;
    if (result == TROUPE_OK) {
        *ret_key = (struct troupe_bytes){reader->key.data, reader->key.size};
    }
    reader->failed = result != TROUPE_OK && result != TROUPE_ENOTFOUND;
    return result;
}

enum troupe_error troupe__part_copy(struct troupe__part_reader *reader, int to,
                                    void (*copied)(void *context, uint64_t bytes), void *context, char *error,
                                    size_t error_size)
{
    enum troupe_error result = write_all(to, reader->raw.data, reader->raw.size, error, error_size);
    for (char kind = 'H'; result == TROUPE_OK && kind != 'E';) {
        result = read_block(reader, &reader->rows, &kind, error, error_size);
        result = result == TROUPE_OK ? write_all(to, reader->header, HEADER_SIZE, error, error_size) : result;
        if (result == TROUPE_OK) {
            result = write_all(to, reader->stored.data, reader->stored.size, error, error_size);
        }
        if (result == TROUPE_OK && copied) {
            copied(context, HEADER_SIZE + reader->stored.size);
        }
    }
    struct stat status;
    if (result == TROUPE_OK && fstat(to, &status) == 0 && S_ISREG(status.st_mode) && fsync(to)) {
        result = fail_write(errno, error, error_size);
    }
    return result;
}

const struct troupe__part_summary *troupe__part_summary(const struct troupe__part_reader *reader)
{
    return &reader->summary;
}

void troupe__part_reader_free(struct troupe__part_reader *reader)
{
    if (reader) {
        ZSTD_freeDCtx(reader->decompressor);
        troupe__buffer_free(&reader->head);
        troupe__buffer_free(&reader->raw);
        troupe__buffer_free(&reader->stored);
        troupe__buffer_free(&reader->rows);
        troupe__buffer_free(&reader->key);
        free(reader);
    }
}
