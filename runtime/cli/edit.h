/* edit.h - the command `troupe snapshot edit`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_EDIT_H
#define TROUPE_RUNTIME_CLI_EDIT_H

/* argv[0] is "edit". Returns the exit code. */
int troupe__edit(int argc, char **argv);

#endif
