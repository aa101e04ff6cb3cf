/* pages.c - checks the pages of an LMDB 0.9 file before LMDB, which believes whatever they say, gets to read them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * LMDB's pages have no checksums; a wrong page number or length in one ends the process by SIGSEGV or SIGBUS, an entry
 * too many in the list of free pages lets it write over what is in use, a damaged transaction number makes it take the
 * older meta page. The format, from mdb.c of LMDB 0.9.24, 64 bits, all integers in the machine's order:
 *   page   number (8)  pad (2)  flags (2)  lower (2)  upper (2), of an overflow page: pages (4)  then offsets (2 each)
 *   node   size or page number, low (2), high (2)  flags, or the number's next bits (2)  key size (2)  key  value
 *   meta   magic (4)  version (4)  address (8)  map size (8)  the trees of free pages and of rows (48 each)
 *          last page (8)  transaction (8); transaction n is in meta page n modulo 2
 *   tree   pad, of the first the page size (4)  flags (2)  depth (2)  branch, leaf, overflow pages, entries, root (8
 * each) free   transaction (8) -> count (8), page numbers (8 each), falling */
#include "state/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_HEADER = 16, NODE_HEADER = 8, META_SIZE = 136, DEPTH_MAX = 32, KEY_MAX = 511 };
enum { BRANCH = 1, LEAF = 2, OVERFLOW = 4, META = 8 };
enum { TREE_FLAGS = 0x7f, INTEGER_KEYS = 8 }; /* the other bits are the environment's */
enum { BIG = 1 };                             /* the flag of a node whose value is on overflow pages */

struct tree {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
    uint32_t magic, version;
    uint64_t address, map_size;
    struct tree trees[2];
    uint64_t last_page, transaction;
};

_Static_assert(sizeof(struct meta) == META_SIZE, "the format on disk");

struct check {
    const char *path;
    int fd;
    size_t page_size;
    struct meta meta;
    unsigned char *used;             /* a bit per page */
    unsigned char *pages[DEPTH_MAX]; /* the path from the root, read */
    unsigned char *value;            /* from overflow pages */
    size_t value_capacity;
    struct tree found;    /* of the tree under way: what was counted */
    bool is_free, leaves; /* the list of free pages; whether leaf pages are read */
    troupe__pages_row_fn row;
    char *error;
    size_t error_size;
};

static enum troupe_error damaged(const struct check *check, uint64_t page, const char *what)
{
    snprintf(check->error, check->error_size, "%s: page %llu: %s: damaged: run `troupe doctor`, restore a backup",
             check->path, (unsigned long long)page, what);
    return TROUPE_ECORRUPT;
}

static enum troupe_error read_at(const struct check *check, void *to, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(check->fd, (unsigned char *)to + done, size - done, (off_t)(offset + done));
        if (got == 0) {
            return damaged(check, offset / (check->page_size ? check->page_size : 4096), "the file ends before it");
        }
        if (got < 0 && errno != EINTR) {
            snprintf(check->error, check->error_size, "%s: read: %s: see to the disk", check->path, strerror(errno));
            return TROUPE_EIO;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return TROUPE_OK;
}

static uint16_t get16(const unsigned char *from)
{
    uint16_t number;
    memcpy(&number, from, sizeof number);
    return number;
}

static uint32_t get32(const unsigned char *from)
{
    uint32_t number;
    memcpy(&number, from, sizeof number);
    return number;
}

static uint64_t get64(const unsigned char *from)
{
    uint64_t number;
    memcpy(&number, from, sizeof number);
    return number;
}

/* ---- meta pages -------------------------------------------------------------------------------------------------- */

static enum troupe_error read_meta(struct check *check, unsigned which, struct meta *ret)
{
    unsigned char page[PAGE_HEADER + META_SIZE];
    enum troupe_error result = read_at(check, page, sizeof page, which * check->page_size);
    if (result != TROUPE_OK) {
        return result;
    }
    memcpy(ret, page + PAGE_HEADER, META_SIZE);
    if (get64(page) != which || !(get16(page + 10) & META) || ret->magic != 0xBEEFC0DE) {
        return damaged(check, which, "it is no meta page");
    }
    if (ret->version != 1) {
        snprintf(check->error, check->error_size, "%s: LMDB's data format %u, this program knows 1", check->path,
                 ret->version);
        return TROUPE_EVERSION;
    }
    return TROUPE_OK;
}

static enum troupe_error check_metas(struct check *check)
{
    struct meta metas[2];
    enum troupe_error result = read_meta(check, 0, &metas[0]);
    if (result != TROUPE_OK) {
        return result;
    }
    size_t page_size = metas[0].trees[0].pad;
    if (page_size < 512 || page_size > 65536 || (page_size & (page_size - 1)) != 0) {
        return damaged(check, 0, "its page size is none");
    }
    check->page_size = page_size;
    if ((result = read_meta(check, 1, &metas[1])) != TROUPE_OK) {
        return result;
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct meta *meta = &metas[i];
        if (meta->trees[0].pad != page_size || meta->trees[1].flags != 0 || meta->trees[1].pad != 0 ||
            (meta->trees[0].flags & TREE_FLAGS) != INTEGER_KEYS ||
            (meta->transaction != 0 && meta->transaction % 2 != i)) {
            return damaged(check, i, "its numbers do not fit");
        }
    }
    uint64_t first = metas[0].transaction, second = metas[1].transaction;
    if (first + 1 != second && second + 1 != first && (first | second) != 0) {
        return damaged(check, 0, "the meta pages are not of two transactions in a row");
    }
    check->meta = metas[first < second];
    return TROUPE_OK;
}

/* ---- trees ------------------------------------------------------------------------------------------------------- */

/* Take `count` pages for what refers to them. */
static bool use(struct check *check, uint64_t page, uint64_t count)
{
    if (page < 2 || count == 0 || page > check->meta.last_page || count > check->meta.last_page - page + 1) {
        return false;
    }
    for (; count > 0; count--, page++) {
        if (check->used[page / 8] & 1 << page % 8) {
            return false;
        }
        check->used[page / 8] |= (unsigned char)(1 << page % 8);
    }
    return true;
}

static int compare_keys(const struct check *check, MDB_val left, MDB_val right)
{
    if (check->is_free) {
        uint64_t a = get64(left.mv_data), b = get64(right.mv_data);
        return a < b ? -1 : a > b;
    }
    size_t shorter = left.mv_size < right.mv_size ? left.mv_size : right.mv_size;
    int order = memcmp(left.mv_data, right.mv_data, shorter);
    return order ? order : left.mv_size < right.mv_size ? -1 : left.mv_size > right.mv_size;
}

/* Page numbers, falling; each free, in bounds and listed once. */
static enum troupe_error check_free(struct check *check, uint64_t page, MDB_val value)
{
    const unsigned char *at = value.mv_data;
    uint64_t count = value.mv_size >= 8 ? get64(at) : UINT64_MAX, last = UINT64_MAX;
    if (count > value.mv_size / 8 - 1) {
        return damaged(check, page, "a list of free pages is cut off");
    }
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t number = get64(at + 8 * i);
        if (number >= last || !use(check, number, 1)) {
            return damaged(check, page, "a page in the list of free pages is in use, or listed twice");
        }
        last = number;
    }
    return TROUPE_OK;
}

static enum troupe_error check_value(struct check *check, uint64_t page, MDB_val key, MDB_val value)
{
    if (check->is_free) {
        return check_free(check, page, value);
    }
    return check->row && !check->row(key, value) ? damaged(check, page, "a row's checksum is wrong") : TROUPE_OK;
}

/* A value of `size` bytes from overflow pages that begin at `first`. */
static enum troupe_error check_big(struct check *check, uint64_t page, MDB_val key, uint64_t first, size_t size)
{
    unsigned char header[PAGE_HEADER];
    uint64_t count = (PAGE_HEADER + (uint64_t)size + check->page_size - 1) / check->page_size;
    if (!use(check, first, count)) {
        return damaged(check, page, "a large value is on pages that are not its own");
    }
    check->found.overflow_pages += count;
    enum troupe_error result = read_at(check, header, sizeof header, first * check->page_size);
    if (result != TROUPE_OK) {
        return result;
    }
    if (get64(header) != first || get16(header + 10) != OVERFLOW || get32(header + 12) != count) {
        return damaged(check, first, "it is not the first page of a large value");
    }
    if (!check->is_free && !check->row) { /* Its end must be there all the same. */
        return read_at(check, header, 1, first * check->page_size + PAGE_HEADER + size - 1);
    }
    if (size > check->value_capacity) {
        unsigned char *more = realloc(check->value, size);
        if (!more) {
            snprintf(check->error, check->error_size, "%s: out of memory", check->path);
            return TROUPE_ENOMEM;
        }
        check->value = more;
        check->value_capacity = size;
    }
    result = read_at(check, check->value, size, first * check->page_size + PAGE_HEADER);
    return result == TROUPE_OK ? check_value(check, page, key, (MDB_val){size, check->value}) : result;
}

static enum troupe_error check_page(struct check *check, uint64_t number, unsigned level, MDB_val low, MDB_val high);

static enum troupe_error check_leaf_node(struct check *check, uint64_t page, const unsigned char *node, size_t room)
{
    size_t size = get16(node) | (size_t)get16(node + 2) << 16, key_size = get16(node + 6);
    uint16_t flags = get16(node + 4);
    MDB_val key = {key_size, (void *)(node + NODE_HEADER)};
    if ((flags & ~BIG) != 0 || NODE_HEADER + key_size + (flags & BIG ? 8 : size) > room) {
        return damaged(check, page, "a row does not fit into it");
    }
    check->found.entries++;
    if (flags & BIG) {
        return size == 0 ? damaged(check, page, "an empty value is called large")
                         : check_big(check, page, key, get64(node + NODE_HEADER + key_size), size);
    }
    return check_value(check, page, key, (MDB_val){size, (void *)(node + NODE_HEADER + key_size)});
}

static enum troupe_error check_nodes(struct check *check, uint64_t number, unsigned level, MDB_val low, MDB_val high)
{
    const unsigned char *page = check->pages[level];
    bool leaf = level + 1u == check->found.depth;
    size_t lower = get16(page + 12), upper = get16(page + 14), count = (lower - PAGE_HEADER) / 2;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < count && result == TROUPE_OK; i++) {
        size_t at = get16(page + PAGE_HEADER + 2 * i);
        if (at < upper || at + NODE_HEADER > check->page_size || at % 2 != 0) {
            return damaged(check, number, "an entry is out of its bounds");
        }
        const unsigned char *node = page + at;
        MDB_val key = {get16(node + 6), (void *)(node + NODE_HEADER)}, next = high;
        bool implied = !leaf && i == 0; /* The first key of a branch page means: whatever is lower. */
        if (key.mv_size > KEY_MAX || at + NODE_HEADER + key.mv_size > check->page_size ||
            (!implied && (key.mv_size == 0 || (check->is_free && key.mv_size != 8)))) {
            return damaged(check, number, "a key does not fit");
        }
        /* `low` is what the key must not be below, or, within the page, what it must be above. */
        if (!implied && low.mv_data && compare_keys(check, key, low) < (i > (leaf ? 0 : 1) ? 1 : 0)) {
            return damaged(check, number, "its keys are out of order");
        }
        if (!implied && high.mv_data && compare_keys(check, key, high) >= 0) {
            return damaged(check, number, "a key is beyond its page's");
        }
        if (leaf) {
            result = check_leaf_node(check, number, node, check->page_size - at);
        } else {
            if (i + 1 < count) {
                size_t after = get16(page + PAGE_HEADER + 2 * (i + 1));
                if (after + NODE_HEADER > check->page_size ||
                    after + NODE_HEADER + get16(page + after + 6) > check->page_size ||
                    (check->is_free && get16(page + after + 6) != 8)) {
                    return damaged(check, number, "an entry is out of its bounds");
                }
                next = (MDB_val){get16(page + after + 6), (void *)(page + after + NODE_HEADER)};
            }
            uint64_t child = get16(node) | (uint64_t)get16(node + 2) << 16 | (uint64_t)get16(node + 4) << 32;
            result = check_page(check, child, level + 1, implied ? low : key, next);
        }
        low = implied ? low : key;
    }
    return result;
}

static enum troupe_error check_page(struct check *check, uint64_t number, unsigned level, MDB_val low, MDB_val high)
{
    bool leaf = level + 1u == check->found.depth;
    if (!use(check, number, 1)) {
        return damaged(check, number, "it is used twice, or no page of the file");
    }
    check->found.branch_pages += !leaf;
    check->found.leaf_pages += leaf;
    if (leaf && !check->leaves) {
        return TROUPE_OK;
    }
    unsigned char *page = check->pages[level];
    enum troupe_error result = read_at(check, page, check->page_size, number * check->page_size);
    if (result != TROUPE_OK) {
        return result;
    }
    size_t lower = get16(page + 12), upper = get16(page + 14);
    if (get64(page) != number || get16(page + 10) != (leaf ? LEAF : BRANCH)) {
        return damaged(check, number,
                       leaf ? "it is not the leaf page it should be" : "it is not the branch it should be");
    }
    if (lower < PAGE_HEADER || lower % 2 != 0 || upper % 2 != 0 || lower > upper || upper > check->page_size ||
        lower < PAGE_HEADER + (leaf ? 2 : 4)) {
        return damaged(check, number, "its bounds do not fit");
    }
    return check_nodes(check, number, level, low, high);
}

static enum troupe_error check_tree(struct check *check, const struct tree *tree, uint64_t meta_page)
{
    MDB_val none = {0, NULL};
    if (tree->root == UINT64_MAX) {
        return tree->depth == 0 && tree->entries == 0 && tree->leaf_pages == 0
                   ? TROUPE_OK
                   : damaged(check, meta_page, "an empty tree that is not empty");
    }
    if (tree->depth == 0 || tree->depth > DEPTH_MAX) {
        return damaged(check, meta_page, "a tree's depth is none");
    }
    check->found = (struct tree){.depth = tree->depth};
    enum troupe_error result = check_page(check, tree->root, 0, none, none);
    const struct tree *found = &check->found;
    if (result == TROUPE_OK &&
        (found->branch_pages != tree->branch_pages || found->leaf_pages != tree->leaf_pages ||
         (check->leaves && (found->entries != tree->entries || found->overflow_pages != tree->overflow_pages)))) {
        return damaged(check, meta_page, "its counts are not those of the tree");
    }
    return result;
}

static enum troupe_error check_trees(struct check *check, size_t leaves_max)
{
    const struct meta *meta = &check->meta;
    uint64_t meta_page = meta->transaction % 2;
    struct stat status;
    /* A bound on what is allocated here; the exact look comes below. */
    if (fstat(check->fd, &status) != 0 || meta->last_page < 1 ||
        meta->last_page > ((uint64_t)status.st_size / check->page_size + 1) * 2 + (1 << 16)) {
        return damaged(check, meta_page, "its last page is far beyond the file's end");
    }
    check->used = calloc(meta->last_page / 8 + 1, 1);
    bool memory = check->used != NULL;
    for (unsigned i = 0; i < DEPTH_MAX && memory; i++) {
        /* Deeper levels are not there in any sound file of a size that fits a disk, and cost nothing until used. */
        memory = (check->pages[i] = malloc(check->page_size)) != NULL;
    }
    if (!memory) {
        snprintf(check->error, check->error_size, "%s: out of memory", check->path);
        return TROUPE_ENOMEM;
    }
    check->leaves = meta->trees[1].leaf_pages <= leaves_max / check->page_size;
    enum troupe_error result = check_tree(check, &meta->trees[1], meta_page);
    if (result != TROUPE_OK) {
        return result;
    }
    check->is_free = check->leaves = true;
    result = check_tree(check, &meta->trees[0], meta_page);
    /* Pages that were taken and given back in one transaction are never written: the file may end before them. */
    for (uint64_t page = (uint64_t)status.st_size / check->page_size; result == TROUPE_OK && page <= meta->last_page;
         page++) {
        if (!(check->used[page / 8] & 1 << page % 8)) {
            result = damaged(check, page, "the file ends before it, and it is not free");
        }
    }
    return result;
}

enum troupe_error troupe__pages_check(const char *path, size_t leaves_max, troupe__pages_row_fn row, char *error,
                                      size_t error_size)
{
    struct check check = {.path = path, .row = row, .error = error, .error_size = error_size};
    check.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (check.fd < 0) {
        snprintf(error, error_size, "%s: open: %s", path, strerror(errno));
        return TROUPE_EIO;
    }
    enum troupe_error result = check_metas(&check);
    result = result == TROUPE_OK ? check_trees(&check, leaves_max) : result;
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        free(check.pages[i]);
    }
    free(check.used);
    free(check.value);
    close(check.fd);
    return result;
}
