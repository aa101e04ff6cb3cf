/* recent.c - the records that went out last, kept in memory for those who follow an egress.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/node/recent.h"

static struct troupe__recent_chunk *at(const struct troupe__recent *recent, size_t index)
{
    return &recent->chunks[(recent->head + index) & (recent->capacity - 1)];
}

static void drop_oldest(struct troupe__recent *recent)
{
    recent->size -= at(recent, 0)->size;
    free(at(recent, 0)->data);
    recent->head = (recent->head + 1) & (recent->capacity - 1);
    recent->count--;
    recent->first++;
}

static bool grow(struct troupe__recent *recent)
{
    size_t capacity = recent->capacity ? recent->capacity * 2 : 16;
    struct troupe__recent_chunk *chunks = malloc(capacity * sizeof *chunks);
    if (!chunks) {
        return false;
    }
    for (size_t i = 0; i < recent->count; i++) {
        chunks[i] = *at(recent, i);
    }
    free(recent->chunks);
    recent->chunks = chunks;
    recent->capacity = capacity;
    recent->head = 0;
    return true;
}

void troupe__recent_push(struct troupe__recent *recent, const struct troupe__buffer *records)
{
    if (records->size == 0) {
        return;
    }
    while (recent->count > 0 && recent->size + records->size > TROUPE__RECENT_SIZE_MAX) {
        drop_oldest(recent);
    }
    unsigned char *copy = malloc(records->size);
    if (!copy || (recent->count == recent->capacity && !grow(recent))) {
        free(copy);
        return;
    }
    memcpy(copy, records->data, records->size);
    *at(recent, recent->count++) = (struct troupe__recent_chunk){copy, records->size};
    recent->size += records->size;
}

struct troupe__recent_place troupe__recent_end(const struct troupe__recent *recent)
{
    return (struct troupe__recent_place){recent->first + recent->count, 0};
}

bool troupe__recent_next(const struct troupe__recent *recent, struct troupe__recent_place *place,
                         struct troupe__egress *ret)
{
    if (place->chunk < recent->first) {
        *place = (struct troupe__recent_place){recent->first, 0};
    }
    while (place->chunk < recent->first + recent->count) {
        const struct troupe__recent_chunk *chunk = at(recent, (size_t)(place->chunk - recent->first));
        struct troupe__cursor cursor = {chunk->data + place->offset, chunk->data + chunk->size, false};
        if (troupe__egress_next(&cursor, ret)) {
            place->offset = (size_t)(cursor.at - chunk->data);
            return true;
        }
        *place = (struct troupe__recent_place){place->chunk + 1, 0};
    }
    return false;
}

void troupe__recent_fini(struct troupe__recent *recent)
{
    while (recent->count > 0) {
        drop_oldest(recent);
    }
    free(recent->chunks);
    *recent = (struct troupe__recent){0};
}
