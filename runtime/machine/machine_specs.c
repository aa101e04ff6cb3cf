/* machine_specs.c - what the module declares is kept with the data that it writes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "core/specs.h"
#include "runtime/machine/machine_rows.h"

static void log_gone(struct troupe__machine *machine, const struct troupe__specs *now, const struct troupe__specs *then)
{
    static const char *const what[] = {"type", "value", "message"};
    for (size_t i = 0; i < then->count && machine->log; i++) {
        const struct troupe__spec *item = &then->items[i];
        char text[320];
        if (item->what != TROUPE__SPEC_MESSAGE && !troupe__specs_find(now, item->what, item->type, item->name)) {
            snprintf(text, sizeof text, "%s '%s%s%s' is not declared any more: what it holds stays, unread",
                     what[item->what], item->type, item->name[0] ? ": " : "", item->name);
            machine->log(machine->log_context, TROUPE_WARNING, text);
        }
    }
}

static enum troupe_error merge(struct troupe__machine *machine, struct troupe__specs *now, struct troupe_bytes row)
{
    struct troupe__specs then = {0};
    enum troupe_error result = row.data ? troupe__specs_decode(row, &then) : TROUPE_OK;
    if (result == TROUPE_ECORRUPT || result == TROUPE_EVERSION) {
        snprintf(machine->error, sizeof machine->error, "the row '%s' %s", TROUPE__SPECS_ROW,
                 result == TROUPE_ECORRUPT ? "is malformed: run troupe doctor"
                                           : "is of another version: use the version that wrote it");
        return result;
    }
    struct troupe__buffer *encoded = &machine->specs;
    if (result == TROUPE_OK && row.data) {
        log_gone(machine, now, &then);
        result = troupe__specs_keep(now, &then);
    }
    if (result == TROUPE_OK) {
        troupe__specs_encode(now, encoded);
    }
    troupe__specs_fini(&then);
    if (result != TROUPE_OK || encoded->failed) {
        return troupe__machine_out_of_memory(machine);
    }
    if (row.data && row.size == encoded->size && memcmp(row.data, encoded->data, row.size) == 0) {
        encoded->size = 0;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__machine_begin_specs(struct troupe__machine *machine, const struct troupe_module *module)
{
    struct troupe__specs now;
    if (troupe__specs_of(module, &now) != TROUPE_OK) {
        return troupe__machine_out_of_memory(machine);
    }
    enum troupe_error result = merge(machine, &now, troupe__machine_read_mark(machine, TROUPE__SPECS_ROW));
    troupe__specs_fini(&now);
    return result;
}

enum troupe_error troupe__machine_seal_specs(struct troupe__machine *machine)
{
    if (machine->specs.size == 0) {
        return TROUPE_OK;
    }
    struct troupe_bytes row = {machine->specs.data, machine->specs.size};
    enum troupe_error result = troupe__machine_mark(machine, TROUPE__SPECS_ROW, row);
    machine->specs.size = 0;
    return result;
}
