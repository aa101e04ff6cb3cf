/* machine_dead.c - a dead letter that is tried again, or dropped, while the node runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "runtime/machine_rows.h"

enum troupe_error troupe__machine_move_dead(struct troupe__machine *machine, uint64_t number, struct troupe_bytes row,
                                            bool retry, uint64_t *ret_number)
{
    struct troupe__cursor cursor = {row.data, (const unsigned char *)row.data + row.size, false};
    struct troupe__message *message = NULL;
    unsigned char key[8];
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
    troupe__put_be64(key, number);
    troupe__record_remove(&machine->record, TROUPE__DEAD, key, sizeof key);
    return TROUPE_OK;
}
