/* admission.h - whether a node may be started with a module: before anything in its directory is touched.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The file `specs` in a node's directory has what the module declares that ran last (the form of core/specs.h): one
 * that declares the same may start at once. Without the file, or with another module, what the store says was declared
 * is compared, and only if that leaves a doubt all rows are looked at. The file is written once the store is open,
 * before anything is committed; a directory that was restored or copied without it is only asked once more. */
#ifndef TROUPE_RUNTIME_NODE_ADMISSION_H
#define TROUPE_RUNTIME_NODE_ADMISSION_H

#include "core/troupe.h"

/* Whether the node in `data`, if there is one, can be read by `module`, as far as can be told without running a
 * migration; what the module does not declare is not read. Not a byte in the directory is changed. Errors, with a text:
 * TROUPE_EVERSION (it names the first value or message that the module cannot read), TROUPE_EINVAL (the module),
 * TROUPE_EBUSY (another process has it), those of reading. */
enum troupe_error troupe__admission_ask(const struct troupe_module *module, const char *data, char *error,
                                        size_t error_size);

/* Note that `data`, whose store is open, is written by `module` from now on. Errors, with a text: those of files.h. */
enum troupe_error troupe__admission_note(const struct troupe_module *module, const char *data, char *error,
                                         size_t error_size);

#endif
