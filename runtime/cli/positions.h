/* positions.h - how far a node was in its inputs and outputs, as a part of a snapshot has it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_CLI_POSITIONS_H
#define TROUPE_RUNTIME_CLI_POSITIONS_H

#include "core/store.h"

enum { TROUPE__POSITIONS_MAX = 64 }; /* of each; what is beyond is not shown */

struct troupe__position {
    char name[TROUPE__ROW_KEY_MAX + 1];
    uint64_t number; /* the last record of an egress; the line that an input goes on behind */
};

struct troupe__positions { /* Zero bytes are none. */
    struct troupe__position egresses[TROUPE__POSITIONS_MAX], inputs[TROUPE__POSITIONS_MAX];
    size_t egress_count, input_count;
};

/* Note a row of META, if it is one of these. */
void troupe__positions_note(struct troupe__positions *positions, struct troupe_bytes key, struct troupe_bytes value);

/* To the standard output: lines, or `,"egresses":{..},"inputs":{..}`. */
void troupe__positions_print(const struct troupe__positions *positions);
void troupe__positions_print_json(const struct troupe__positions *positions);

#endif
