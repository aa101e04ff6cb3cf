/* disk.h - the disk under a test: it records what is written and synced below one directory, and fails when told to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program that links disk.c has its system calls (and LMDB's: the program's definitions come first) pass through it.
 * Nothing is held back, since LMDB reads what it has written through its map. Lock files are left out: they hold
 * nothing that must survive. One directory at a time; its threads are put in order by a mutex. */
#ifndef TROUPE_TEST_CRASH_DISK_H
#define TROUPE_TEST_CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum disk_kind {
    DISK_MKDIR,      /* the directory itself */
    DISK_CREATE,     /* `file` gets `name` */
    DISK_RENAME,     /* `name` becomes `to` */
    DISK_UNLINK,     /* `name` */
    DISK_WRITE,      /* `size` bytes at `offset`; with `dsync` it is durable when its DISK_WRITTEN comes */
    DISK_WRITTEN,    /* of the write at index `begin` */
    DISK_SYNC,       /* of `file` begins; -1: the directory, -2: the directory's parent */
    DISK_SYNCED,     /* the sync at index `begin` has ended well */
    DISK_COMMITTING, /* the test's own: epoch `value` is about to be committed */
    DISK_COMMITTED   /* the test's own: epoch `value` was acknowledged */
};

enum { DISK_DIRECTORY = -1, DISK_PARENT = -2, DISK_FILES_MAX = 16, DISK_NAME_MAX = 32 };

struct disk_op {
    enum disk_kind kind;
    int file;
    bool dsync;
    char name[DISK_NAME_MAX], to[DISK_NAME_MAX];
    uint64_t offset, size, value;
    size_t begin;
    unsigned char *data;
};

struct disk_log {
    struct disk_op *ops;
    size_t count, capacity;
};

/* Begin to watch `directory`, which need not exist yet. */
void disk_watch(const char *directory);
/* End it; the caller gets what was recorded. */
struct disk_log disk_unwatch(void);
void disk_log_free(struct disk_log *log);
/* Returns the index of the note. */
size_t disk_note(enum disk_kind kind, uint64_t value);

/* Refuse to open files for writing past the page cache, as some file systems do, until it is told otherwise. */
void disk_refuse_direct(bool refuse);

/* What fails. The calls on watched files are counted per class. */
enum disk_fault {
    DISK_FAIL_SYNC,  /* fdatasync, fsync: nothing of what is pending need be on disk */
    DISK_FAIL_WRITE, /* a write */
    DISK_FAIL_META,  /* a write through a descriptor that syncs */
    DISK_FAULTS
};

/* Let the call after `calls` more of that class, on the file `name` (NULL: on any), fail with `error`, once; 0 for
 * `error` makes it a short write. With `done` the bytes are written all the same. calls -1: none fails. */
void disk_fail(enum disk_fault fault, const char *name, int64_t calls, int error, bool done);
/* Whether the call has failed. */
bool disk_failed(void);

#endif
