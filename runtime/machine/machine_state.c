/* machine_state.c - how the values that an epoch changed become rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/prefetch.h"
#include "core/state.h"
#include "runtime/machine/machine_rows.h"

enum { PREFETCHED = 24 };

enum { SWEEP_STEP_MS_MIN = 1024, SWEEP_STEP_MS_MAX = 1 << 22 };

void troupe__machine_note_sweep(struct troupe__machine *machine, int64_t time_ms, struct troupe_bytes key)
{
    unsigned char bytes[TROUPE__ROW_KEY_MAX];
    troupe__put_be64(bytes, (uint64_t)time_ms);
    memcpy(bytes + 8, key.data, key.size);
    troupe__record_set(&machine->record, TROUPE__SWEEP, bytes, 8 + key.size, NULL, 0);
}

/* When what expires then is to be swept: at the next of the steps into which time is cut, about eight of which go into
 * the time to live. So a value that is set over and over asks for a sweep eight times in its time to live at most. */
static int64_t sweep_time(int64_t expires_ms, int64_t ttl_ms)
{
    int64_t step = SWEEP_STEP_MS_MIN;
    while (step * 2 <= ttl_ms / 8 && step < SWEEP_STEP_MS_MAX) {
        step *= 2;
    }
    return (expires_ms / step + 1) * step;
}

static void note_expiry(struct troupe__machine *machine, struct troupe__actor *actor, uint32_t index,
                        int64_t expires_ms, struct troupe_bytes key)
{
    struct troupe__lease *lease = troupe__actor_lease(actor, index);
    int64_t time_ms = sweep_time(expires_ms, actor->type->declared->values[index]->ttl_ms);
    if (time_ms > lease->sweep_ms) {
        lease->sweep_ms = time_ms;
        troupe__machine_note_sweep(machine, time_ms, key);
    }
}

/* What was sealed last of the actor made no row. If nothing else of it will, and all that it has is nothing, it may go
 * at once: no epoch has to be folded first. Actors that live for a few messages would fill memory otherwise. */
static void let_go(struct troupe__machine *machine, struct troupe__actor *actor)
{
    const struct troupe__cell *cells = troupe__actor_cells(actor);
    bool present = false;
    for (size_t i = 0; i < actor->type->value_count; i++) {
        if (cells[i].epoch == machine->epoch) {
            return; /* It stands in the list once more. */
        }
        present |= cells[i].state == TROUPE__SLOT_PRESENT;
    }
    actor->changed_epoch = actor->row_epoch;
    if (!present) {
        (void)troupe__actor_evict(actor, machine->folded);
    }
}

static void seal_cell(struct troupe__machine *machine, const struct troupe__dirty *dirty)
{
    struct troupe__actor *actor = dirty->actor;
    struct troupe__cell *cell = &troupe__actor_cells(actor)[dirty->index];
    const struct troupe_value *value = actor->type->declared->values[dirty->index];
    unsigned char key[TROUPE_NAME_MAX * 2 + TROUPE_KEY_MAX + 8];
    cell->epoch = 0; /* It leaves the list. */
    if (cell->state == TROUPE__SLOT_PRESENT) {
        actor->row_epoch = machine->epoch;
        size_t key_size = troupe__actor_row_key(actor, value->name, key);
        machine->scratch.size = 0;
        troupe__state_encode(actor, dirty->index, &machine->scratch);
        troupe__record_set(&machine->record, TROUPE__STATE, key, key_size, machine->scratch.data,
                           machine->scratch.size);
        cell->stored = true;
        if (value->ttl_ms > 0) {
            int64_t expires_ms = troupe__actor_lease(actor, dirty->index)->expires_ms;
            if (expires_ms > 0) {
                note_expiry(machine, actor, dirty->index, expires_ms, (struct troupe_bytes){key, key_size});
            }
        }
    } else if (cell->state == TROUPE__SLOT_ABSENT && cell->stored) {
        troupe__record_remove(&machine->record, TROUPE__STATE, key, troupe__actor_row_key(actor, value->name, key));
        cell->stored = false;
        actor->row_epoch = machine->epoch;
    } else {
        let_go(machine, actor);
    }
}

static void seal_row(struct troupe__machine *machine, const struct troupe__overlay_row *changed)
{
    struct troupe__actor *actor = changed->overlay->actor;
    const struct troupe_value *value = actor->type->declared->values[changed->overlay->index];
    unsigned char key[TROUPE__ROW_KEY_MAX];
    size_t name_size = troupe__actor_row_key(actor, value->name, key), key_size = name_size + changed->key_size;
    if (changed->key_size > 0) {
        memcpy(key + name_size, changed->key, changed->key_size);
    }
    if (!changed->bytes) {
        troupe__record_remove(&machine->record, TROUPE__STATE, key, key_size);
        return;
    }
    troupe__record_set(&machine->record, TROUPE__STATE, key, key_size, changed->bytes, changed->size);
    struct troupe__row row;
    if (value->ttl_ms > 0 && troupe__row_decode((struct troupe_bytes){changed->bytes, changed->size}, &row) &&
        row.expires_ms > 0) {
        note_expiry(machine, actor, changed->overlay->index, row.expires_ms, (struct troupe_bytes){key, name_size});
    }
}

void troupe__machine_seal_state(struct troupe__machine *machine)
{
    struct troupe_context *ctx = &machine->ctx;
    for (size_t i = 0; i < ctx->dirty_count; i++) {
        if (i + PREFETCHED < ctx->dirty_count) {
            troupe__prefetch_two(ctx->dirty[i + PREFETCHED].actor);
        }
        seal_cell(machine, &ctx->dirty[i]);
    }
    ctx->dirty_count = 0;
    for (const struct troupe__overlay_row *row = troupe__unfolded_of(&machine->actors.unfolded, machine->epoch); row;
         row = row->newer) {
        seal_row(machine, row);
    }
}
