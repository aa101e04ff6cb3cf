/* list.c - the lists of the actor that handles a message: see troupe.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/collection_use.h"

enum { LIST_KEY_SIZE = 8 };

static struct troupe_bytes list_key(uint64_t number, unsigned char to[static LIST_KEY_SIZE])
{
    troupe__put_be64(to, number);
    return (struct troupe_bytes){to, LIST_KEY_SIZE};
}

static enum troupe_error push(struct troupe_context *ctx, const struct troupe_value *list, struct troupe_bytes bytes,
                              bool front)
{
    struct troupe__use use;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, false);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__head *head = &use.collection->head;
    result = troupe__use_set(&use, list_key(front ? head->first - 1 : head->first + head->count, key), bytes);
    if (result != TROUPE_OK) {
        return result;
    }
    head->first -= front;
    head->count++;
    use.collection->expires_ms = troupe__use_lease_end(&use);
    return troupe__use_keep_head(&use);
}

enum troupe_error troupe_list_push_front(struct troupe_context *ctx, const struct troupe_value *list,
                                         struct troupe_bytes bytes)
{
    return push(ctx, list, bytes, true);
}

enum troupe_error troupe_list_push_back(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes bytes)
{
    return push(ctx, list, bytes, false);
}

/* An element that the head says is there. */
static enum troupe_error get_number(struct troupe__use *use, uint64_t number, struct troupe_bytes *ret)
{
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = troupe__use_get(use, list_key(number, key), ret);
    return result == TROUPE_ENOTFOUND
               ? troupe__use_fail(use, TROUPE_ECORRUPT, "the list lacks an element: run troupe doctor")
               : result;
}

static enum troupe_error pop(struct troupe_context *ctx, const struct troupe_value *list, struct troupe_bytes *ret,
                             bool front)
{
    struct troupe__use use;
    struct troupe_bytes bytes;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, false);
    if (result != TROUPE_OK) {
        return result;
    }
    struct troupe__head *head = &use.collection->head;
    if (head->count == 0) {
        return TROUPE_ENOTFOUND;
    }
    uint64_t number = front ? head->first : head->first + head->count - 1;
    result = get_number(&use, number, &bytes);
    result = result == TROUPE_OK ? troupe__use_remove(&use, list_key(number, key)) : result;
    if (result != TROUPE_OK) {
        return result;
    }
    head->first = head->count == 1 ? TROUPE__LIST_BEGIN : head->first + front;
    head->count--;
    use.collection->expires_ms = troupe__use_lease_end(&use);
    result = troupe__use_keep_head(&use);
    if (result == TROUPE_OK && ret) {
        *ret = bytes;
    }
    return result;
}

enum troupe_error troupe_list_pop_front(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes *ret)
{
    return pop(ctx, list, ret, true);
}

enum troupe_error troupe_list_pop_back(struct troupe_context *ctx, const struct troupe_value *list,
                                       struct troupe_bytes *ret)
{
    return pop(ctx, list, ret, false);
}

enum troupe_error troupe_list_count(struct troupe_context *ctx, const struct troupe_value *list, uint64_t *ret)
{
    struct troupe__use use;
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, true);
    if (result == TROUPE_OK) {
        *ret = use.collection->head.count;
    }
    return result;
}

enum troupe_error troupe_list_get(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes *ret)
{
    struct troupe__use use;
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, true);
    if (result == TROUPE_OK && position >= use.collection->head.count) {
        return TROUPE_ENOTFOUND;
    }
    return result == TROUPE_OK ? get_number(&use, use.collection->head.first + position, ret) : result;
}

enum troupe_error troupe_list_set(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes bytes)
{
    struct troupe__use use;
    unsigned char key[LIST_KEY_SIZE];
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, false);
    if (result == TROUPE_OK && position >= use.collection->head.count) {
        return TROUPE_ENOTFOUND;
    }
    result = result == TROUPE_OK ? troupe__use_set(&use, list_key(use.collection->head.first + position, key), bytes)
                                 : result;
    if (result == TROUPE_OK && list->ttl_ms > 0) {
        use.collection->expires_ms = troupe__use_lease_end(&use);
        result = troupe__use_keep_head(&use);
    }
    return result;
}

enum troupe_error troupe_list_next(struct troupe_context *ctx, const struct troupe_value *list,
                                   struct troupe_list_walk *at, uint64_t *ret_position, struct troupe_bytes *ret_bytes)
{
    struct troupe__use use;
    struct troupe__row_at row;
    unsigned char from[LIST_KEY_SIZE], to[LIST_KEY_SIZE];
    enum troupe_error result = troupe__use_begin(&use, ctx, list, TROUPE_LIST, true);
    if (result != TROUPE_OK) {
        return result;
    }
    const struct troupe__head *head = &use.collection->head;
    uint64_t end = at->to > 0 && at->to < head->count ? at->to : head->count;
    if (at->from >= end) {
        return TROUPE_ENOTFOUND;
    }
    result = troupe__use_next(&use, &at->batch, list_key(head->first + at->from, from), list_key(head->first + end, to),
                              at->backward, &row);
    if (result == TROUPE_OK) {
        *ret_position = troupe__get_be64(row.key.data) - head->first;
        *ret_bytes = row.bytes;
    }
    return result;
}
