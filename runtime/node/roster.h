/* roster.h - whose keys a node that runs lets in: taken up again when the file that lists them changes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The file is watched by the kernel where it can be (inotify, else a look every two seconds); once it has rested for a
 * moment it is read. Keys of clients and of other nodes are all that may change while a node runs. A file that cannot
 * be read, or differs in more, changes nothing: the log says so. Loop thread only. */
#ifndef TROUPE_RUNTIME_NODE_ROSTER_H
#define TROUPE_RUNTIME_NODE_ROSTER_H

#include "runtime/node/node.h"

/* NULL, and TROUPE_OK, when there is no such file. Errors: TROUPE_ENOMEM. */
struct troupe__roster;
enum troupe_error troupe__roster_open(struct troupe_node *node, struct troupe__roster **ret);

/* Before the loop, wire and endpoint of the node are gone. NULL is fine. */
void troupe__roster_close(struct troupe__roster *roster);

#endif
