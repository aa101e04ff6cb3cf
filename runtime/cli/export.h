/* export.h - the command `troupe snapshot export`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_EXPORT_H
#define TROUPE_RUNTIME_CLI_EXPORT_H

/* argv[0] is "export". Returns the exit code. */
int troupe__export(int argc, char **argv);

#endif
