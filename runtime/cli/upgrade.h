/* upgrade.h - the command `troupe snapshot check-upgrade`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_UPGRADE_H
#define TROUPE_RUNTIME_CLI_UPGRADE_H

/* argv[0] is "check-upgrade". Returns the exit code. */
int troupe__check_upgrade(int argc, char **argv);

#endif
