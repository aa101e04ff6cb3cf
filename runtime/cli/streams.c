/* streams.c - the command's standard streams: none of them is a file of the node, and none is lost silently.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void troupe__streams_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* The lowest number that is free is this one. Of the log nobody needs to hear that it cannot be written. */
            int flags = fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY;
            if (open("/dev/null", flags) != fd) {
                abort(); /* Without /dev/null and with closed streams no file is safe. */
            }
        }
    }
}

int troupe__streams_close(const char *command, int code)
{
    errno = 0; /* An earlier write that failed has left its own in nobody's hands. */
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed || code != EXIT_SUCCESS) {
        return code;
    }
    fprintf(stderr, "troupe%s%s: cannot write the output%s%s (input/output error)\n", *command ? " " : "", command,
            errno ? ": " : "", errno ? strerror(errno) : "");
    return EXIT_FAILURE;
}
