/* positions.c - how far a node was in its inputs and outputs, as a part of a snapshot has it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/positions.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "transport/json.h"

/* META "egress/NAME": varint; "input/PATH": varint offset, varint line, varint trace (see transport/input.h). */
void troupe__positions_note(struct troupe__positions *positions, struct troupe_bytes key, struct troupe_bytes value)
{
    static const char egress[] = "egress/", input[] = "input/";
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__position *position = NULL;
    size_t prefix = 0;
    if (key.size > strlen(egress) && memcmp(key.data, egress, strlen(egress)) == 0 &&
        positions->egress_count < TROUPE__POSITIONS_MAX) {
        position = &positions->egresses[positions->egress_count++];
        prefix = strlen(egress);
    } else if (key.size > strlen(input) && memcmp(key.data, input, strlen(input)) == 0 &&
               positions->input_count < TROUPE__POSITIONS_MAX) {
        position = &positions->inputs[positions->input_count++];
        prefix = strlen(input);
        (void)troupe__cursor_varint(&cursor);
    }
    if (position) {
        snprintf(position->name, sizeof position->name, "%.*s", (int)(key.size - prefix),
                 (const char *)key.data + prefix);
        position->number = troupe__cursor_varint(&cursor);
    }
}

void troupe__positions_print(const struct troupe__positions *positions)
{
    for (size_t i = 0; i < positions->egress_count; i++) {
        printf("  egress %s: records up to %" PRIu64 "\n", positions->egresses[i].name, positions->egresses[i].number);
    }
    for (size_t i = 0; i < positions->input_count; i++) {
        printf("  input %s: lines up to %" PRIu64 "\n", positions->inputs[i].name, positions->inputs[i].number);
    }
}

static void print_json(const char *what, const struct troupe__position *positions, size_t position_count)
{
    printf(",\"%s\":{", what);
    for (size_t i = 0; i < position_count; i++) {
        struct troupe__buffer name = {0};
        troupe__json_write_string(positions[i].name, strlen(positions[i].name), &name);
        printf("%s%.*s:%" PRIu64, i ? "," : "", (int)name.size, (const char *)name.data, positions[i].number);
        troupe__buffer_free(&name);
    }
    fputs("}", stdout);
}

void troupe__positions_print_json(const struct troupe__positions *positions)
{
    print_json("egresses", positions->egresses, positions->egress_count);
    print_json("inputs", positions->inputs, positions->input_count);
}
