/* sim.h - `troupe sim`: a module's actors on a simulated troupe, under faults, by seed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_SIM_H
#define TROUPE_RUNTIME_CLI_SIM_H

/* The command; argv[0] is its name. Returns the exit code. */
int troupe__sim(int argc, char **argv);

#endif
