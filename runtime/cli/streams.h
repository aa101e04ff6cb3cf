/* streams.h - the command's standard streams: none of them is a file of the node, and none is lost silently.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_STREAMS_H
#define TROUPE_RUNTIME_CLI_STREAMS_H

/* To be called before anything is opened: a program may be started with its standard input, output or error closed,
 * and the next file that it opens gets that number. So records would go into a file of the data directory. What is
 * closed stays so for whoever reads or writes there (EBADF), but its number is taken. */
void troupe__streams_open(void);

/* The exit code of a command that ends with `code`: EXIT_FAILURE, with a text on the standard error, when it was done
 * but what it printed has not arrived. `command` is its name, "" for the whole. */
int troupe__streams_close(const char *command, int code);

#endif
