/* overlay.c - the rows of one map or list that are not in the tables yet, in the order of their keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/overlay.h"

#include <assert.h>

static int compare(const struct troupe__overlay_row *row, struct troupe_bytes key)
{
    size_t shorter = row->key_size < key.size ? row->key_size : key.size;
    int order = shorter > 0 ? memcmp(row->key, key.data, shorter) : 0;
    return order ? order : (row->key_size > key.size) - (row->key_size < key.size);
}

struct troupe__overlay_row *troupe__overlay_find(const struct troupe__overlay *overlay, struct troupe_bytes key)
{
    struct troupe__overlay_row *row = overlay->root;
    while (row) {
        int order = compare(row, key);
        if (order == 0) {
            return row;
        }
        row = order < 0 ? row->right : row->left;
    }
    return NULL;
}

struct troupe__overlay_row *troupe__overlay_next(const struct troupe__overlay *overlay, struct troupe_bytes low,
                                                 struct troupe_bytes high, bool backward)
{
    struct troupe__overlay_row *row = overlay->root, *best = NULL;
    while (row) {
        bool below = compare(row, backward ? high : low) < 0;
        if (below == backward) {
            best = row;
        }
        row = below ? row->right : row->left;
    }
    if (!best || compare(best, low) < 0 || compare(best, high) >= 0) {
        return NULL;
    }
    return best;
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

/* Split by key into what is below it and what is not. */
static void split(struct troupe__overlay_row *row, struct troupe_bytes key, struct troupe__overlay_row **left,
                  struct troupe__overlay_row **right)
{
    while (row) {
        if (compare(row, key) < 0) {
            *left = row;
            left = &row->right;
            row = row->right;
        } else {
            *right = row;
            right = &row->left;
            row = row->left;
        }
    }
    *left = *right = NULL;
}

/* The link that leads to the row, or where a row of this key and priority belongs. */
static struct troupe__overlay_row **find_link(struct troupe__overlay *overlay, struct troupe_bytes key,
                                              uint32_t priority)
{
    struct troupe__overlay_row **link = &overlay->root;
    while (*link && (*link)->priority >= priority) {
        int order = compare(*link, key);
        if (order == 0) {
            break;
        }
        link = order < 0 ? &(*link)->right : &(*link)->left;
    }
    return link;
}

static void unlink_from_tree(struct troupe__overlay_row *row)
{
    struct troupe_bytes key = {row->key, row->key_size};
    struct troupe__overlay_row **link = find_link(row->overlay, key, row->priority);
    struct troupe__overlay_row *left = row->left, *right = row->right;
    assert(*link == row);
    while (left && right) {
        if (left->priority >= right->priority) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left ? left : right;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void unlink_from_list(struct troupe__unfolded *unfolded, struct troupe__overlay_row *row)
{
    *(row->older ? &row->older->newer : &unfolded->oldest) = row->newer;
    *(row->newer ? &row->newer->older : &unfolded->newest) = row->older;
}

static void append_to_list(struct troupe__unfolded *unfolded, struct troupe__overlay_row *row)
{
    row->newer = NULL;
    row->older = unfolded->newest;
    *(unfolded->newest ? &unfolded->newest->newer : &unfolded->oldest) = row;
    unfolded->newest = row;
}

struct troupe__overlay_row *troupe__overlay_put(struct troupe__unfolded *unfolded, struct troupe__overlay *overlay,
                                                struct troupe_bytes key, uint64_t epoch)
{
    struct troupe__overlay_row *row = troupe__overlay_find(overlay, key);
    assert(!unfolded->newest || unfolded->newest->epoch <= epoch);
    if (row) {
        if (row->epoch != epoch) {
            row->epoch = epoch;
            unlink_from_list(unfolded, row);
            append_to_list(unfolded, row);
        }
        return row;
    }
    assert(key.size <= UINT8_MAX);
    row = malloc(sizeof *row + key.size);
    if (!row) {
        return NULL;
    }
    *row = (struct troupe__overlay_row){.overlay = overlay,
                                        .epoch = epoch,
                                        .priority = (uint32_t)troupe__hash(key.data, key.size),
                                        .key_size = (uint8_t)key.size};
    if (key.size > 0) {
        memcpy(row->key, key.data, key.size);
    }
    struct troupe__overlay_row **link = find_link(overlay, key, row->priority);
    split(*link, key, &row->left, &row->right);
    *link = row;
    append_to_list(unfolded, row);
    unfolded->count++;
    unfolded->size += sizeof *row + key.size;
    return row;
}

void troupe__overlay_forget(struct troupe__unfolded *unfolded, struct troupe__overlay_row *row)
{
    unlink_from_tree(row);
    unlink_from_list(unfolded, row);
    unfolded->count--;
    unfolded->size -= sizeof *row + row->key_size + row->size;
    free(row->bytes);
    free(row);
}

void troupe__overlay_fini(struct troupe__unfolded *unfolded, struct troupe__overlay *overlay)
{
    while (overlay->root) {
        troupe__overlay_forget(unfolded, overlay->root);
    }
}

void troupe__unfolded_fold(struct troupe__unfolded *unfolded, uint64_t folded)
{
    while (unfolded->oldest && unfolded->oldest->epoch <= folded) {
        troupe__overlay_forget(unfolded, unfolded->oldest);
    }
}

struct troupe__overlay_row *troupe__unfolded_of(const struct troupe__unfolded *unfolded, uint64_t epoch)
{
    struct troupe__overlay_row *row = unfolded->newest;
    if (!troupe__unfolded_has(unfolded, epoch)) {
        return NULL;
    }
    while (row->older && row->older->epoch == epoch) {
        row = row->older;
    }
    return row;
}
