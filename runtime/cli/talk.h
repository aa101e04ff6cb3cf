/* talk.h - the commands that talk to nodes that run: send, ask, tail.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each takes its own name as argv[0] and returns the exit code: 0 done, 1 refused or failed, 2 wrong arguments, 3 not
 * known, for no answer came in time. */
#ifndef TROUPE_RUNTIME_CLI_TALK_H
#define TROUPE_RUNTIME_CLI_TALK_H

enum { TROUPE__EXIT_UNKNOWN = 3 };

int troupe__send_command(int argc, char **argv);
int troupe__ask_command(int argc, char **argv);
int troupe__tail_command(int argc, char **argv);

#endif
