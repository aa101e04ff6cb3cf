/* machine_dead.c - dead letters: how they are buried, and tried again or dropped while the node runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "runtime/machine/machine_rows.h"

/* Row form: varint time (ms), string reason, byte 1 and a message, or byte 0 and the raw text. */
static void bury(struct troupe__machine *machine, const char *reason, const struct troupe__message *message,
                 struct troupe_bytes text)
{
    struct troupe__buffer *row = &machine->scratch;
    row->size = 0;
    troupe__buffer_put_varint(row, (uint64_t)machine->ctx.now_ms);
    troupe__buffer_put_string(row, reason, strlen(reason));
    troupe__buffer_put_byte(row, message ? 1 : 0);
    if (message) {
        troupe__message_encode(message, row);
    } else {
        troupe__buffer_put(row, text.data, text.size);
    }
    troupe__machine_put_row(&machine->record, TROUPE__DEAD, ++machine->sequence, row);
    machine->counters_changed = true;
    machine->stats.dead++;
}

void troupe__machine_bury_message(struct troupe__machine *machine, const char *reason,
                                  const struct troupe__message *message)
{
    bury(machine, reason, message, (struct troupe_bytes){NULL, 0});
}

enum troupe_error troupe__machine_bury(struct troupe__machine *machine, const char *reason, struct troupe_bytes text)
{
    bury(machine, reason, NULL, text);
    return TROUPE_OK;
}

enum troupe_error troupe__machine_move_dead(struct troupe__machine *machine, uint64_t number, struct troupe_bytes row,
                                            bool retry, uint64_t *ret_number)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe__message *message = NULL;
    size_t reason_size;
    if (retry) {
        troupe__cursor_varint(&cursor); /* when */
        troupe__cursor_string(&cursor, &reason_size);
        const unsigned char *form = troupe__cursor_bytes(&cursor, 1);
        if (form && *form == 0) {
            snprintf(machine->error, sizeof machine->error,
                     "this letter is a line that never was a message: mend it, give it to the input again, and drop "
                     "the letter");
            return TROUPE_EINVAL;
        }
        enum troupe_error result =
            form ? troupe__message_decode(&machine->actors,
                                          (struct troupe_bytes){cursor.at, (size_t)(cursor.end - cursor.at)}, &message)
                 : TROUPE_ECORRUPT;
        if (result != TROUPE_OK) {
            snprintf(machine->error, sizeof machine->error, "dead letter %llu is malformed: run troupe doctor",
                     (unsigned long long)number);
            return result;
        }
        message->attempt = 0;
        result = troupe__machine_take(machine, message);
        if (result != TROUPE_OK) {
            troupe__message_free(message);
            return result;
        }
        *ret_number = machine->sequence;
    }
    troupe__machine_remove_row(&machine->record, TROUPE__DEAD, number);
    return TROUPE_OK;
}
