/* photographer.c - takes a snapshot of a troupe that runs: what its nodes' cameras are told, and in which order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/snapshot/photographer.h"

#include <assert.h>

/* Nodes take colours by themselves meanwhile; those that nobody uses cost nothing. */
enum { COLOURS_AHEAD = 16 };

void troupe__photographer_begin(struct troupe__photographer *photographer, struct troupe__subject *subjects,
                                size_t count, bool alone)
{
    assert(!alone || count == 1);
    *photographer = (struct troupe__photographer){.subjects = subjects, .count = count, .alone = alone};
    for (size_t i = 0; i < count; i++) {
        subjects[i] = (struct troupe__subject){.stage = alone ? TROUPE__PHOTO_ARM : TROUPE__PHOTO_ASK};
    }
}

static void tell(struct troupe__subject *subject, enum troupe__photographer_request what)
{
    subject->stage = what;
    subject->told = subject->answered = false;
}

static bool all_answered(const struct troupe__photographer *photographer, enum troupe__photographer_request stage)
{
    for (size_t i = 0; i < photographer->count; i++) {
        if (photographer->subjects[i].stage != stage || !photographer->subjects[i].answered) {
            return false;
        }
    }
    return true;
}

static void tell_all(struct troupe__photographer *photographer, enum troupe__photographer_request what)
{
    for (size_t i = 0; i < photographer->count; i++) {
        tell(&photographer->subjects[i], what);
    }
}

/* Whoever is armed is to drop it; one that has not answered yet is told when it has. */
static void let_go(struct troupe__photographer *photographer)
{
    for (size_t i = 0; photographer->failed && i < photographer->count; i++) {
        struct troupe__subject *subject = &photographer->subjects[i];
        bool waited_for = subject->told && !subject->answered;
        if (!waited_for && !subject->finished && subject->armed && subject->stage != TROUPE__PHOTO_DROP) {
            tell(subject, TROUPE__PHOTO_DROP);
        }
    }
}

bool troupe__photographer_next(struct troupe__photographer *photographer, size_t *ret_node,
                               enum troupe__photographer_request *ret_what)
{
    for (size_t i = 0; i < photographer->count; i++) {
        struct troupe__subject *subject = &photographer->subjects[i];
        bool useless = photographer->failed && subject->stage != TROUPE__PHOTO_DROP;
        if (!subject->told && !subject->finished && !useless) {
            subject->told = true;
            *ret_node = i;
            *ret_what = subject->stage;
            return true;
        }
    }
    return false;
}

void troupe__photographer_answered(struct troupe__photographer *photographer, size_t node, bool done, uint64_t colour)
{
    struct troupe__subject *subject = &photographer->subjects[node];
    assert(subject->told && !subject->answered);
    subject->answered = true;
    photographer->failed |= !done;
    if (subject->stage == TROUPE__PHOTO_ASK) {
        photographer->colour = colour > photographer->colour ? colour : photographer->colour;
        if (!photographer->failed && all_answered(photographer, TROUPE__PHOTO_ASK)) {
            photographer->colour += COLOURS_AHEAD;
            tell_all(photographer, TROUPE__PHOTO_ARM);
        }
    } else if (subject->stage == TROUPE__PHOTO_ARM) {
        subject->armed = done;
        if (!photographer->failed && !photographer->alone && all_answered(photographer, TROUPE__PHOTO_ARM)) {
            tell_all(photographer, TROUPE__PHOTO_COLOUR);
        }
    }
    let_go(photographer);
}

void troupe__photographer_reported(struct troupe__photographer *photographer, size_t node, bool written)
{
    assert(photographer->subjects[node].armed);
    photographer->subjects[node].finished = true;
    photographer->failed |= !written;
    let_go(photographer);
}

void troupe__photographer_gone(struct troupe__photographer *photographer, size_t node)
{
    struct troupe__subject *subject = &photographer->subjects[node];
    photographer->failed |= !subject->finished; /* Else its part is there, or the snapshot has failed already. */
    subject->answered = subject->finished = true;
    let_go(photographer);
}

bool troupe__photographer_over(const struct troupe__photographer *photographer)
{
    for (size_t i = 0; i < photographer->count; i++) {
        const struct troupe__subject *subject = &photographer->subjects[i];
        bool waited_for = subject->told && !subject->answered, will_report = subject->armed && !subject->finished;
        if (waited_for || will_report || (!photographer->failed && !subject->finished)) {
            return false;
        }
    }
    return true;
}
