/* files.h - paths, and directories that are made durable or removed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All block on the disk. Errors, each with a text that names the path: TROUPE_ENOSPACE, TROUPE_ENOTFOUND, TROUPE_EIO.
 */
#ifndef TROUPE_RUNTIME_FILES_H
#define TROUPE_RUNTIME_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/troupe.h"

/* The error that errno means, and its text: "WHAT PATH: reason". */
enum troupe_error troupe__files_fail(const char *what, const char *path, char *error, size_t error_size);

/* Write DIRECTORY/NAME and `suffix`; without the slash if `name` is empty. Errors: TROUPE_EINVAL (too long). */
enum troupe_error troupe__files_join(char path[static PATH_MAX], const char *directory, const char *name,
                                     const char *suffix, char *error, size_t error_size);

/* Make durable which names the directory `path` holds. */
enum troupe_error troupe__files_sync(const char *path, char *error, size_t error_size);

/* Remove a directory with all files in it and in its directories, which hold files only; what is not there, or goes
 * meanwhile, is removed already. */
enum troupe_error troupe__files_remove(const char *path, char *error, size_t error_size);

/* Make the directory `path`, which only this process writes as long as `*ret_lock` is open: closed, or dead, another
 * one's claim throws away what is there under that name. Errors: TROUPE_EBUSY (another process has it) too. */
enum troupe_error troupe__files_claim(const char *path, int *ret_lock, char *error, size_t error_size);

/* Claim the directory `path` that is there. Errors: TROUPE_EBUSY (another process has it) too. */
enum troupe_error troupe__files_lock(const char *path, int *ret_lock, char *error, size_t error_size);

/* Whether nobody has a claim to the directory `path` any more. */
bool troupe__files_is_dead(const char *path);

/* Remove it, if so. Errors: TROUPE_EBUSY (somebody has) too. */
enum troupe_error troupe__files_remove_dead(const char *path, char *error, size_t error_size);

#endif
