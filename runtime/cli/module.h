/* module.h - loads the shared object of a module.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_MODULE_H
#define TROUPE_RUNTIME_CLI_MODULE_H

#include "core/troupe.h"

/* Load the module in file `path`, for as long as the process lives. Returns NULL, having printed what is wrong for
 * `troupe COMMAND`. */
const struct troupe_module *troupe__module_load(const char *command, const char *path);

#endif
