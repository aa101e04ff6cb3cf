/* config.h - the options of a command from a YAML file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A map from option names, as they are on the command line, to values: text, or true and false for a switch and where
 * an argument may be left out. Each is checked as on the command line, which wins over the file. Paths in it are
 * relative to where the command runs. */
#ifndef TROUPE_RUNTIME_CLI_CONFIG_H
#define TROUPE_RUNTIME_CLI_CONFIG_H

#include "runtime/cli/options.h"

/* Take the options that the file holds into command->target, for struct troupe__command's `read_config`. Returns -1, or
 * TROUPE__EXIT_WRONG with the file, the line and what is wrong on stderr. The texts stay as long as the process. */
int troupe__config_read(const struct troupe__command *command, const char *path);

#endif
