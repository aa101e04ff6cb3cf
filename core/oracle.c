/* oracle.c - whoever decides what is free to be decided: by chance, noting it, or as noted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/oracle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHOICE_TEXT(name, text) text,
static const char *const names[] = {TROUPE__CHOICES(CHOICE_TEXT)};
#undef CHOICE_TEXT

const char *troupe__choice_name(enum troupe__choice kind)
{
    return (unsigned)kind < TROUPE__CHOICE_COUNT ? names[kind] : "unknown";
}

static uint32_t choose_by_chance(struct troupe__oracle *base, enum troupe__choice kind, uint32_t n, uint64_t id)
{
    const struct troupe__random_oracle *oracle = (struct troupe__random_oracle *)base;
    assert(n >= 1);
    uint64_t dice = troupe__id_mix(troupe__id_mix(oracle->seed, (uint64_t)kind), id);
    return (uint32_t)((dice >> 32) * n >> 32);
}

void troupe__random_oracle_init(struct troupe__random_oracle *oracle, uint64_t seed)
{
    *oracle = (struct troupe__random_oracle){.base = {choose_by_chance}, .seed = seed};
}

/* ---- decisions --------------------------------------------------------------------------------------------------- */

/* Its place in the table, or the empty one where it would be. */
static uint32_t *find(const struct troupe__decisions *decisions, uint32_t kind, uint64_t id)
{
    size_t mask = decisions->capacity * 2 - 1;
    size_t at = (size_t)troupe__id_mix(id, kind) & mask;
    for (; decisions->table[at]; at = (at + 1) & mask) {
        const struct troupe__decision *decision = &decisions->list[decisions->table[at] - 1];
        if (decision->id == id && decision->kind == kind) {
            break;
        }
    }
    return &decisions->table[at];
}

static bool grow(struct troupe__decisions *decisions)
{
    size_t capacity = decisions->capacity ? decisions->capacity * 2 : 64;
    struct troupe__decision *list = realloc(decisions->list, capacity * sizeof *list);
    if (list) {
        decisions->list = list;
    }
    uint32_t *table = list ? calloc(capacity * 2, sizeof *table) : NULL;
    if (!table) {
        return false;
    }
    free(decisions->table);
    decisions->table = table;
    decisions->capacity = capacity;
    for (size_t i = 0; i < decisions->count; i++) {
        *find(decisions, list[i].kind, list[i].id) = (uint32_t)i + 1;
    }
    return true;
}

bool troupe__decisions_set(struct troupe__decisions *decisions, struct troupe__decision decision)
{
    if (decisions->count == decisions->capacity && !grow(decisions)) {
        decisions->failed = true;
        return false;
    }
    uint32_t *place = find(decisions, decision.kind, decision.id);
    if (*place) {
        decisions->list[*place - 1].answer = decision.answer;
    } else if (decision.answer != 0) {
        decisions->list[decisions->count] = decision;
        *place = (uint32_t)++decisions->count;
    }
    return true;
}

void troupe__decisions_fini(struct troupe__decisions *decisions)
{
    free(decisions->list);
    free(decisions->table);
    *decisions = (struct troupe__decisions){0};
}

static uint32_t choose_and_note(struct troupe__oracle *base, enum troupe__choice kind, uint32_t n, uint64_t id)
{
    struct troupe__recorded_oracle *oracle = (struct troupe__recorded_oracle *)base;
    uint32_t answer = troupe__choose(oracle->asked, kind, n, id);
    if (answer != 0) {
        troupe__decisions_set(&oracle->decisions, (struct troupe__decision){id, answer, kind});
    }
    return answer;
}

void troupe__recorded_oracle_init(struct troupe__recorded_oracle *oracle, struct troupe__oracle *asked)
{
    *oracle = (struct troupe__recorded_oracle){.base = {choose_and_note}, .asked = asked};
}

static uint32_t choose_as_noted(struct troupe__oracle *base, enum troupe__choice kind, uint32_t n, uint64_t id)
{
    const struct troupe__decisions *decisions = ((struct troupe__replayed_oracle *)base)->decisions;
    uint32_t place = decisions->count > 0 ? *find(decisions, kind, id) : 0;
    uint32_t answer = place ? decisions->list[place - 1].answer : 0;
    return answer < n ? answer : n - 1; /* Less was to choose from than when it was noted. */
}

void troupe__replayed_oracle_init(struct troupe__replayed_oracle *oracle, const struct troupe__decisions *decisions)
{
    *oracle = (struct troupe__replayed_oracle){.base = {choose_as_noted}, .decisions = decisions};
}
